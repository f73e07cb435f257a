//! How Spritz says no: RFC 9457 problems with types of its own.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use rota_aggregates::credential::CredentialRefusal;
use serde::Serialize;

use super::super::auth::NotLetIn;
use super::super::problem;
use super::super::request::{REQUEST_ID, Request};
use super::body::GRACE;
use crate::app::Failure;

const REALM: &str = "API";
const SCOPE: &str = "integrator";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: String,
    instance: String,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    realm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError<'a>>,
    retryable: bool,
}

#[derive(Serialize)]
struct FieldError<'a> {
    field: &'a str,
    message: String,
    code: &'static str,
}

/// The status of a failure here.
fn status(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Credential(CredentialRefusal::Revoked) => StatusCode::NOT_FOUND,
        Failure::AnswerGone => StatusCode::CONFLICT,
        other => problem::status(other),
    }
}

/// The field that a failure is about, as it is called here.
fn field(failure: &Failure) -> Option<&str> {
    match failure.field() {
        Some("gracePeriodSeconds") => Some(GRACE),
        Some("roles") => Some("permissions"),
        Some("types") => Some("events"),
        other => other,
    }
}

/// The last part of a problem's type.
fn kind(failure: &Failure, status: StatusCode) -> &'static str {
    match (failure, status.as_u16()) {
        (Failure::KeyReused, _) => "business:idempotency-key-reused",
        (Failure::Unavailable(_), _) => "system:database-error",
        (_, 400) if field(failure).is_some_and(|f| f != "query") => "validation:invalid-fields",
        (_, 401) => "auth:unauthorized",
        (_, 403) => "auth:forbidden",
        (_, 404) => "resource:not-found",
        (_, 409) => "resource:conflict",
        (_, 400..500) => "validation:invalid-request",
        (_, 503) => "system:service-unavailable",
        _ => "system:internal-error",
    }
}

/// What was not found: which type of thing, and its name in the request.
fn resource(request: &Request, failure: &Failure) -> (&'static str, String) {
    let key = request.header(crate::signing::INTEGRATOR_KEY);
    match (failure, request.http.match_info().get("id")) {
        (Failure::NotFound("route"), _) => ("route", request.http.path().to_owned()),
        (Failure::NotFound("webhook"), Some(id)) => ("webhook", id.to_owned()),
        (_, Some(id)) => ("api-key", id.to_owned()),
        _ => ("integrator", key.unwrap_or_default().to_owned()),
    }
}

fn respond(
    request: &Request,
    status: StatusCode,
    kind: &str,
    mut problem: Problem<'_>,
    retry_after: Option<u64>,
) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    response.insert_header((REQUEST_ID, request.id.to_string()));
    response.insert_header((CACHE_CONTROL, "no-store"));
    if status == StatusCode::UNAUTHORIZED {
        (problem.realm, problem.scope) = (Some(REALM), Some(SCOPE));
        let challenge = |scheme: &str| format!("{scheme} realm=\"{REALM}\", scope=\"{SCOPE}\"");
        response.append_header((WWW_AUTHENTICATE, challenge("Spritz-HMAC")));
        response.append_header((WWW_AUTHENTICATE, challenge("Bearer")));
    }
    if let Some(seconds) = retry_after {
        response.insert_header((RETRY_AFTER, seconds.to_string()));
    }
    problem.r#type = format!("urn:problem-type:{kind}");
    problem.retryable = retry_after.is_some();
    let bytes = serde_json::to_vec(&problem).unwrap_or_default();
    response.insert_header((CONTENT_TYPE, "application/problem+json")).body(bytes)
}

fn blank<'a>(request: &Request, status: StatusCode, code: &'a str, detail: String) -> Problem<'a> {
    Problem {
        r#type: String::new(),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail,
        instance: format!("/errors/{}", request.app().clock().now().micros() / 1_000),
        code,
        realm: None,
        scope: None,
        resource_type: None,
        resource_id: None,
        field: None,
        errors: Vec::new(),
        retryable: false,
    }
}

/// A failure as Spritz puts it.
pub(super) fn of_failure(request: &Request, failure: &Failure) -> HttpResponse {
    if matches!(failure, Failure::Unauthenticated | Failure::Captured) {
        problem::log(request, failure);
        return unauthorized(request);
    }
    problem::log(request, failure);
    let status = status(failure);
    let kind = kind(failure, status);
    let mut problem = blank(request, status, failure.code(), failure.to_string());
    if status == StatusCode::NOT_FOUND {
        let (of, id) = resource(request, failure);
        (problem.resource_type, problem.resource_id) = (Some(of), Some(id));
    }
    problem.field = field(failure);
    if let Some(field) = problem.field.filter(|_| kind == "validation:invalid-fields") {
        let message = match failure {
            Failure::Invalid { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        problem.errors.push(FieldError { field, message, code: "INVALID_INPUT" });
    }
    respond(request, status, kind, problem, problem::retry_after(failure))
}

/// The one answer to an unknown key, a wrong signature, a wrong time, a dead secret and a captured request.
fn unauthorized(request: &Request) -> HttpResponse {
    let status = StatusCode::UNAUTHORIZED;
    let detail = "send a valid signature with X-Integrator-Key, X-Timestamp and X-Signature".to_owned();
    let problem = blank(request, status, "unauthenticated", detail);
    respond(request, status, "auth:unauthorized", problem, None)
}

/// Why somebody is not let in, as Spritz puts it.
pub(super) fn of_entry(request: &Request, not: &NotLetIn) -> HttpResponse {
    match not {
        NotLetIn::Failed(failure) => of_failure(request, failure),
        NotLetIn::Unknown { .. } => {
            metrics::counter!("rota_refusals_total", "code" => "unauthenticated").increment(1);
            unauthorized(request)
        }
        NotLetIn::TooMany { retry_after } => {
            let detail = "too many failed authentications from this address";
            too_many(request, "too-many-failures", detail, *retry_after)
        }
    }
}

/// The answer to one too many of something.
pub(super) fn too_many(
    request: &Request,
    code: &'static str,
    detail: &str,
    retry_after: u64,
) -> HttpResponse {
    metrics::counter!("rota_refusals_total", "code" => code).increment(1);
    let status = StatusCode::TOO_MANY_REQUESTS;
    let problem = blank(request, status, code, detail.to_owned());
    respond(request, status, "system:rate-limited", problem, Some(retry_after))
}

/// The answer to a field that should prove something and does not.
pub(super) fn of_wrong_field(request: &Request, field: &str, detail: &str) -> HttpResponse {
    metrics::counter!("rota_refusals_total", "code" => "unauthenticated").increment(1);
    let status = StatusCode::UNAUTHORIZED;
    let problem =
        Problem { field: Some(field), ..blank(request, status, "unauthenticated", detail.to_owned()) };
    respond(request, status, "auth:unauthorized", problem, None)
}
