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

async fn ready(request: Request) -> HttpResponse {
    let app = request.app();
    let store = app.log().next().await;
    let writable = app.is_healthy();
    let lag = match &store {
        Ok(next) => next.0.saturating_sub(app.views().projected().0),
        Err(_) => 0,
    };
    let clock = app.clock_agrees();
    let all = store.is_ok() && writable && clock && lag <= LAG_MAX;
    let word = |good: bool| if good { "ok" } else { "failed" };
    let body = json!({
        "status": if all { "ready" } else { "not ready" },
        "store": word(store.is_ok()),
        "storeAt": app.store(),
        "clock": word(clock),
        "commits": word(writable),
        "views": { "status": word(lag <= LAG_MAX), "lag": lag },
    });
    if all { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}

async fn metrics(request: Request) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(request.server.metrics.render())
}
