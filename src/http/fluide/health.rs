//! `GET /api/v1` and `GET /api/v1/health`: for orchestrators and monitors, who have no token.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::json;

use super::super::health::readiness;
use super::super::request::Request;
use super::error::Refused;
use super::wire::Enveloped;
use super::{answered, success};

/// Says that rota answers, and which one it is.
pub(super) async fn root(request: Request) -> HttpResponse {
    let data = json!({ "name": "rota", "version": env!("CARGO_PKG_VERSION") });
    let response = success(&request, StatusCode::OK, &Enveloped::new("Service is running", data));
    answered(&request, Ok(response))
}

/// Says how rota and what it depends on fare.
pub(super) async fn health(request: Request) -> HttpResponse {
    let ready = readiness(&request).await;
    let parts = [("database", ready.store), ("commits", ready.commits), ("views", ready.views())];
    let word = |good: bool| if good { "ok" } else { "failed" };
    let outcome = if ready.all() {
        let parts: BTreeMap<_, _> = parts.into_iter().map(|(name, good)| (name, word(good))).collect();
        let data = json!({ "status": "ok", "dependencies": parts });
        Ok(success(&request, StatusCode::OK, &Enveloped::new("Service is healthy", data)))
    } else {
        let parts = parts.into_iter().map(|(name, good)| (name.to_owned(), vec![word(good).to_owned()]));
        Err(Refused::unavailable(parts.collect()))
    };
    answered(&request, outcome)
}
