//! Whether rota lives, is ready, and how it fares.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::request::Request;

/// Events that the views may lag behind before rota counts as not ready.
const LAG_MAX: u64 = 100_000;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/health/live", web::get().to(live))
        .route("/health/ready", web::get().to(ready))
        .route("/metrics", web::get().to(metrics));
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/json")).body(r#"{"status":"live"}"#)
}

/// How rota and what it depends on fare.
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
pub(super) struct Readiness {
    /// The store can be read.
    pub(super) store: bool,
    /// This machine's clock agrees with the store's.
    pub(super) clock: bool,
    /// The last commit succeeded.
    pub(super) commits: bool,
    /// The store is the history that was signed for.
    pub(super) ledger: bool,
    /// By how many events the views are behind.
    lag: u64,
}

impl Readiness {
    /// The views are not far behind.
    pub(super) fn views(&self) -> bool {
        self.lag <= LAG_MAX
    }

    pub(super) fn all(&self) -> bool {
        self.store && self.clock && self.commits && self.ledger && self.views()
    }
}

pub(super) async fn readiness(request: &Request) -> Readiness {
    let app = request.app();
    let store = app.log().next().await;
    let lag = match &store {
        Ok(next) => next.0.saturating_sub(app.views().projected().0),
        Err(_) => 0,
    };
    Readiness {
        store: store.is_ok(),
        clock: app.clock_agrees(),
        commits: app.is_healthy(),
        ledger: app.is_whole().is_ok(),
        lag,
    }
}

async fn ready(request: Request) -> HttpResponse {
    let ready = readiness(&request).await;
    let all = ready.all();
    let word = |good: bool| if good { "ok" } else { "failed" };
    let body = json!({
        "status": if all { "ready" } else { "not ready" },
        "store": word(ready.store),
        "storeAt": request.app().store(),
        "clock": word(ready.clock),
        "commits": word(ready.commits),
        "ledger": word(ready.ledger),
        "views": { "status": word(ready.views()), "lag": ready.lag },
        "upkeep": if request.app().does_upkeep() { "here" } else { "another replica's" },
    });
    if all { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}

async fn metrics(request: Request) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(request.server.metrics.render())
}
