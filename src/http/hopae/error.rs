//! How the workspace surface says no: `{"error": {"code", "message", "details"?}, "request_id"}`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use rota_aggregates::credential::CredentialRefusal;
use serde::Serialize;
use serde_json::json;

use super::super::auth::NotLetIn;
use super::super::problem;
use super::super::request::{REQUEST_ID, Request};
use crate::app::Failure;

/// Hopae's code and status for a failure.
pub(super) fn code(failure: &Failure) -> (&'static str, StatusCode) {
    match failure {
        Failure::Invalid { reason, .. } if reason.starts_with("missing field") => {
            ("VALIDATION_MISSING_PARAMETER", StatusCode::BAD_REQUEST)
        }
        Failure::KeyReused => ("IDEMPOTENCY_KEY_CONFLICT", StatusCode::CONFLICT),
        Failure::InProgress => ("IDEMPOTENCY_REQUEST_IN_PROGRESS", StatusCode::CONFLICT),
        Failure::AnswerGone => ("RESOURCE_CONFLICT", StatusCode::CONFLICT),
        // A revoked app is a deleted one.
        Failure::Credential(CredentialRefusal::Revoked) => ("RESOURCE_NOT_FOUND", StatusCode::NOT_FOUND),
        other => {
            let status = problem::status(other);
            let code = match status {
                StatusCode::UNAUTHORIZED => "AUTH_INVALID_CREDENTIALS",
                StatusCode::FORBIDDEN => "AUTH_FORBIDDEN",
                StatusCode::NOT_FOUND => "RESOURCE_NOT_FOUND",
                StatusCode::CONFLICT => "RESOURCE_CONFLICT",
                status if status.is_client_error() => "VALIDATION_INVALID_PARAMETER",
                _ => "SYSTEM_INTERNAL_ERROR",
            };
            (code, status)
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
    request_id: String,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<serde_json::Value>,
}

/// A failure as a member of a batch's result, or of an answer.
pub(super) fn member(failure: &Failure) -> serde_json::Value {
    let (code, _) = code(failure);
    let details = failure.field().map(|field| json!({ "parameter": field }));
    serde_json::to_value(Inner { code, message: message(failure), details }).unwrap_or_default()
}

/// What is told: nothing of what went wrong inside.
fn message(failure: &Failure) -> String {
    match problem::status(failure) {
        StatusCode::INTERNAL_SERVER_ERROR => "an internal error occurred".to_owned(),
        _ => failure.to_string(),
    }
}

/// A failure in Hopae's shape.
pub(super) fn of_failure(request: &Request, failure: &Failure) -> HttpResponse {
    problem::log(request, failure);
    let (code, status) = code(failure);
    let details = failure.field().map(|field| json!({ "parameter": field }));
    let challenge = match status {
        StatusCode::UNAUTHORIZED => Some("invalid_token"),
        StatusCode::FORBIDDEN => Some("insufficient_scope"),
        _ => None,
    };
    respond(request, status, code, message(failure), details, challenge, problem::retry_after(failure))
}

/// Why somebody is not let in, in Hopae's shape.
pub(super) fn of_entry(request: &Request, not: &NotLetIn) -> HttpResponse {
    match not {
        NotLetIn::Unknown { shown } => {
            let message = "send Authorization: Bearer with a workspace key".to_owned();
            let status = StatusCode::UNAUTHORIZED;
            let challenge = Some(if *shown { "invalid_token" } else { "" });
            respond(request, status, "AUTH_INVALID_CREDENTIALS", message, None, challenge, None)
        }
        NotLetIn::TooMany { retry_after } => {
            let message = "too many failed authentications from this address".to_owned();
            let status = StatusCode::TOO_MANY_REQUESTS;
            respond(request, status, "AUTH_INVALID_CREDENTIALS", message, None, None, Some(*retry_after))
        }
        NotLetIn::Failed(failure) => of_failure(request, failure),
    }
}

fn respond(
    request: &Request,
    status: StatusCode,
    code: &str,
    message: String,
    details: Option<serde_json::Value>,
    challenge: Option<&str>,
    retry_after: Option<u64>,
) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    response.insert_header((REQUEST_ID, request.id.to_string()));
    response.insert_header((CACHE_CONTROL, "no-store"));
    match challenge {
        // RFC 6750, section 3.1: no error code for a request without credentials.
        Some("") => {
            response.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"hopae-workspace\""));
        }
        Some(error) => {
            let value = format!("Bearer realm=\"hopae-workspace\", error=\"{error}\"");
            response.insert_header((WWW_AUTHENTICATE, value));
        }
        None => {}
    }
    if let Some(seconds) = retry_after {
        response.insert_header((RETRY_AFTER, seconds.to_string()));
    }
    response.json(Body { error: Inner { code, message, details }, request_id: request.id.to_string() })
}
