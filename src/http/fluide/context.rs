//! `GET /api/v1/auth-context/{id}`: what a session is.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;

use super::super::request::Request;
use super::error::Refused;
use super::wire::{Context, Enveloped};
use super::{Outcome, answered, entry, success};
use crate::app::Failure;

async fn show(request: &Request) -> Outcome {
    let asker = entry::session(request, false).await?;
    let id = request.http.match_info().get("id").unwrap_or_default();
    // Another session's is as unknown as one that never was.
    if id != asker.claims.jti.to_string() {
        return Err(Refused::from(Failure::NotFound("session")));
    }
    let roles = asker.caller.credential().ok_or(Failure::Unauthenticated)?.roles;
    let body = Enveloped::new("Session found", Context::of(&asker.claims, roles));
    Ok(success(request, StatusCode::OK, &body))
}

/// Shows the caller's own session.
pub(super) async fn get(request: Request) -> HttpResponse {
    let outcome = show(&request).await;
    answered(&request, outcome)
}
