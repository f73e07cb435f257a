//! How Hopae Connect says no: in one shape on the workspace API, in another on the app's.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use rota_aggregates::credential::CredentialRefusal;
use rota_aggregates::record::NotRecordable;
use serde::Serialize;

use super::super::auth::NotLetIn;
use super::super::problem;
use super::super::request::{REQUEST_ID, Request};
use crate::app::Failure;

/// What a reason begins with if something is not there at all.
pub(super) const MISSING: &str = "missing";

/// Which half of the API is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Surface {
    /// With a workspace key.
    Workspace,
    /// With an app's own secret.
    App,
}

/// An error as the workspace API puts it, alone or as one of a batch.
#[derive(Serialize)]
pub(super) struct Body {
    pub(super) code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    parameter: String,
}

/// Status and code of a failure.
pub(super) fn kind(failure: &Failure) -> (StatusCode, &'static str) {
    let status = match failure {
        // The caller names no grace period here, so what forbids having none is the workspace's policy.
        Failure::Credential(CredentialRefusal::Revoked) => StatusCode::NOT_FOUND,
        // The caller names no grace period here, so what forbids having none is the workspace's policy.
        Failure::Credential(
            CredentialRefusal::GraceTooShort { .. } | CredentialRefusal::GraceTooLong { .. },
        )
        | Failure::KeyReused
        | Failure::AnswerGone => StatusCode::CONFLICT,
        other => problem::status(other),
    };
    let code = match (failure, status.as_u16()) {
        (Failure::KeyReused, _) => "IDEMPOTENCY_KEY_CONFLICT",
        (Failure::InProgress, _) => "IDEMPOTENCY_REQUEST_IN_PROGRESS",
        (Failure::Invalid { reason, .. }, _) if reason.starts_with(MISSING) => "VALIDATION_MISSING_PARAMETER",
        (_, 401) => "AUTH_INVALID_CREDENTIALS",
        (_, 403) => "AUTH_FORBIDDEN",
        (_, 404) => "RESOURCE_NOT_FOUND",
        (_, 409) => "RESOURCE_CONFLICT",
        (_, 400..500) => "VALIDATION_INVALID_PARAMETER",
        _ => "SYSTEM_INTERNAL_ERROR",
    };
    (status, code)
}

/// A failure's body on the workspace API.
pub(super) fn body(failure: &Failure) -> Body {
    let parameter = match failure {
        Failure::NotRecordable(NotRecordable::TooLarge) => Some("body"),
        Failure::Invalid { field, .. } => Some(field.as_str()),
        _ => None,
    };
    let details = parameter.map(|parameter| Details { parameter: parameter.to_owned() });
    let message = match failure {
        Failure::NotRecordable(NotRecordable::TooLarge) => "the request is too large".to_owned(),
        other => other.to_string(),
    };
    Body { code: kind(failure).1, message, details }
}

#[derive(Serialize)]
struct Envelope {
    error: Body,
    request_id: String,
}

#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a Details>,
}

fn respond(
    request: &Request,
    surface: Surface,
    status: StatusCode,
    body: Body,
    challenge: Option<&'static str>,
    retry_after: Option<u64>,
) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    response.insert_header((REQUEST_ID, request.id.to_string()));
    response.insert_header((CACHE_CONTROL, "no-store"));
    if let Some(challenge) = challenge {
        response.insert_header((WWW_AUTHENTICATE, challenge));
    }
    if let Some(seconds) = retry_after {
        response.insert_header((RETRY_AFTER, seconds.to_string()));
    }
    let (content_type, bytes) = match surface {
        Surface::Workspace => {
            let envelope = Envelope { error: body, request_id: request.id.to_string() };
            ("application/json", serde_json::to_vec(&envelope))
        }
        Surface::App => {
            let problem = Problem {
                title: body.code,
                status: status.as_u16(),
                detail: &body.message,
                instance: request.http.path(),
                timestamp: request.app().now().to_millis_text(),
                context: body.details.as_ref(),
            };
            ("application/problem+json", serde_json::to_vec(&problem))
        }
    };
    response.insert_header((CONTENT_TYPE, content_type)).body(bytes.unwrap_or_default())
}

/// What a refused caller is told of how to get in.
fn challenge(surface: Surface, status: StatusCode, shown: bool) -> Option<&'static str> {
    match (surface, status) {
        (Surface::App, StatusCode::UNAUTHORIZED) => Some("Basic realm=\"hopae\", charset=\"UTF-8\""),
        (Surface::Workspace, StatusCode::UNAUTHORIZED) if shown => {
            Some("Bearer realm=\"hopae-workspace\", error=\"invalid_token\"")
        }
        (Surface::Workspace, StatusCode::UNAUTHORIZED) => Some("Bearer realm=\"hopae-workspace\""),
        (Surface::Workspace, StatusCode::FORBIDDEN) => {
            Some("Bearer realm=\"hopae-workspace\", error=\"insufficient_scope\"")
        }
        _ => None,
    }
}

/// A failure as Hopae puts it.
pub(super) fn of_failure(request: &Request, surface: Surface, failure: &Failure) -> HttpResponse {
    problem::log(request, failure);
    let (status, _) = kind(failure);
    let challenge = challenge(surface, status, true);
    respond(request, surface, status, body(failure), challenge, problem::retry_after(failure))
}

/// Why somebody is not let in, as Hopae puts it.
pub(super) fn of_entry(request: &Request, surface: Surface, not: &NotLetIn) -> HttpResponse {
    let (status, code, message, shown, retry_after) = match not {
        NotLetIn::Failed(failure) => return of_failure(request, surface, failure),
        NotLetIn::Unknown { shown } => {
            metrics::counter!("rota_refusals_total", "code" => "unauthenticated").increment(1);
            let message = match surface {
                Surface::Workspace => "send Authorization: Bearer with a valid workspace key",
                Surface::App => "send Authorization: Basic with a valid clientId and clientSecret",
            };
            (StatusCode::UNAUTHORIZED, "AUTH_INVALID_CREDENTIALS", message, *shown, None)
        }
        NotLetIn::TooMany { retry_after } => {
            metrics::counter!("rota_refusals_total", "code" => "too-many-failures").increment(1);
            let message = "too many failed authentications from this address";
            (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED", message, true, Some(*retry_after))
        }
    };
    let body = Body { code, message: message.to_owned(), details: None };
    respond(request, surface, status, body, challenge(surface, status, shown), retry_after)
}
