//! The edge of Fluide's products: token, key and client id, or nothing. The products themselves are elsewhere.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::json;

use super::super::request::Request;
use super::error::Refused;
use super::wire::Enveloped;
use super::{Outcome, answered, entry, success};

async fn enter(request: &Request) -> Outcome {
    entry::session(request, true).await?;
    let product = request.http.path().trim_start_matches("/api/v1/").split('/').next().unwrap_or_default();
    let body = Enveloped::new("Service is healthy", json!({ "service": product, "status": "ok" }));
    Ok(success(request, StatusCode::OK, &body))
}

/// `GET /api/v1/{product}/health`
pub(super) async fn health(request: Request) -> HttpResponse {
    let outcome = enter(&request).await;
    answered(&request, outcome)
}

/// Everything else of a product: whoever is let in hears that it is not here.
pub(super) async fn elsewhere(request: Request) -> HttpResponse {
    let outcome = entry::session(&request, true).await.and_then(|_| Err(Refused::nowhere()));
    answered(&request, outcome)
}
