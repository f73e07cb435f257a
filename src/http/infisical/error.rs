//! How Infisical says no: one envelope; what is wrong with the input as a list of issues.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use rota_aggregates::authority::Role;
use rota_aggregates::managed_rotation::RotationRefusal;
use rota_aggregates::places::PlacesRefusal;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::auth::NotLetIn;
use super::super::body::BadBody;
use super::super::problem;
use super::super::request::{REQUEST_ID, Request};
use super::input::{Code, Issue};
use crate::app::{Caller, Failure};

/// A refusal in this dialect's words.
pub(super) struct Refused(Box<Parts>);

struct Parts {
    status: StatusCode,
    error: &'static str,
    message: Value,
    retry_after: Option<u64>,
    /// What happened, for the log; `None` where there is no more to it.
    failure: Option<Failure>,
    /// What it is counted as, where it is no failure.
    counted: &'static str,
}

const LOG_IN: &str = "the token is not valid or has expired: log in for a new one";

impl Refused {
    fn new(
        status: StatusCode,
        error: &'static str,
        message: impl Into<Value>,
        counted: &'static str,
    ) -> Self {
        let message = message.into();
        Self(Box::new(Parts { status, error, message, retry_after: None, failure: None, counted }))
    }

    /// What was asked for can't be done.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message.into(), "invalid-input")
    }

    /// What was tried did not succeed.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "InternalServerError", message.into(), "target-failed")
    }

    /// The input is not what is asked for.
    pub(super) fn issues(issues: &[Issue]) -> Self {
        let issue = |issue: &Issue| json!({ "code": issue.code.as_str(), "message": issue.message, "path": issue.path });
        let message: Vec<_> = issues.iter().map(issue).collect();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "ValidationFailure", message, "invalid-input")
    }

    /// There is no such route.
    pub(super) fn nowhere(request: &Request) -> Self {
        let message = format!("Route {}:{} not found", request.http.method(), request.http.path());
        Self::new(StatusCode::NOT_FOUND, "NotFound", message, "not-found")
    }

    /// Identifier and secret are not valid.
    fn login() -> Self {
        let message = "the client id or the client secret is not valid";
        Self::new(StatusCode::UNAUTHORIZED, "UnauthorizedError", message, "unauthenticated")
    }

    /// The token is not valid.
    pub(super) fn token() -> Self {
        Self::new(StatusCode::FORBIDDEN, "TokenError", LOG_IN, "unauthenticated")
    }

    fn too_many(retry_after: u64) -> Self {
        let message = format!("Rate limit exceeded. Please try again in {retry_after} seconds");
        let status = StatusCode::TOO_MANY_REQUESTS;
        let mut refused = Self::new(status, "RateLimitExceeded", message, "too-many-failures");
        refused.0.retry_after = Some(retry_after);
        refused
    }

    /// Why somebody with a token is not let in.
    pub(super) fn entry(not: NotLetIn) -> Self {
        match not {
            NotLetIn::Unknown { shown: false } => {
                let message = "Token missing";
                Self::new(StatusCode::UNAUTHORIZED, "UnauthorizedError", message, "unauthenticated")
            }
            NotLetIn::Unknown { shown: true } => Self::token(),
            NotLetIn::TooMany { retry_after } => Self::too_many(retry_after),
            NotLetIn::Failed(failure) => failure.into(),
        }
    }

    /// Why somebody with an identifier and a secret is not let in.
    pub(super) fn of_login(not: NotLetIn) -> Self {
        match not {
            NotLetIn::Unknown { .. } => Self::login(),
            other => Self::entry(other),
        }
    }
}

impl From<BadBody> for Refused {
    fn from(bad: BadBody) -> Self {
        match bad {
            BadBody::TooLarge => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                Self::new(status, "PayloadTooLarge", "Request body is too large", "too-large")
            }
            BadBody::Broken => Self::bad_request("the body did not arrive whole"),
            BadBody::Wrong { reason, .. } => Self::bad_request(format!("the body {reason}")),
        }
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        if let (Some(field), Failure::Invalid { reason, .. }) = (failure.field(), &failure) {
            let issue = Issue::new(&[field], Code::Custom, reason.clone());
            let mut refused = Self::issues(&[issue]);
            refused.0.failure = Some(failure);
            return refused;
        }
        if let Failure::Places(PlacesRefusal::Invalid { field, reason })
        | Failure::Rotation(RotationRefusal::Invalid { field, reason }) = &failure
        {
            let mut refused = Self::issues(&[Issue::new(&[field], Code::Custom, *reason)]);
            refused.0.failure = Some(failure);
            return refused;
        }
        let status = problem::status(&failure);
        let (status, error) = match status {
            // The caller named the system.
            _ if matches!(failure, Failure::Target(_)) => (StatusCode::BAD_REQUEST, "BadRequest"),
            _ if matches!(failure, Failure::Unauthenticated | Failure::Captured) => {
                (StatusCode::FORBIDDEN, "TokenError")
            }
            StatusCode::FORBIDDEN => match failure {
                Failure::Forbidden { .. } | Failure::OperatorOnly => (status, "PermissionDenied"),
                _ => (status, "ForbiddenError"),
            },
            StatusCode::NOT_FOUND => (status, "NotFound"),
            StatusCode::PAYLOAD_TOO_LARGE => (status, "PayloadTooLarge"),
            StatusCode::GATEWAY_TIMEOUT => (status, "GatewayTimeoutError"),
            _ if status.is_server_error() => (status, "InternalServerError"),
            // Clients know no other way of being told that it can't be done.
            _ => (StatusCode::BAD_REQUEST, "BadRequest"),
        };
        let message = match &failure {
            Failure::Unauthenticated | Failure::Captured => LOG_IN.to_owned(),
            _ if status.is_server_error() => match &failure {
                Failure::OutcomeUnknown | Failure::Overloaded | Failure::Unavailable(_) => {
                    failure.to_string()
                }
                _ => "Something went wrong".to_owned(),
            },
            other => other.to_string(),
        };
        let mut refused = Self::new(status, error, message, "");
        refused.0.retry_after = problem::retry_after(&failure);
        refused.0.failure = Some(failure);
        refused
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    req_id: String,
    status_code: u16,
    message: &'a Value,
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
}

/// What the caller may do, as rules.
fn rules(caller: Option<&Caller>) -> Value {
    let roles = caller.and_then(Caller::credential).map(|who| who.roles);
    let rule = |role: Role| json!({ "action": role.name(), "subject": "project", "inverted": false });
    roles.map_or_else(Vec::new, |roles| roles.iter().map(rule).collect()).into()
}

/// Gives a refusal.
pub(super) fn respond(request: &Request, refused: &Refused, caller: Option<&Caller>) -> HttpResponse {
    let refused = &refused.0;
    match &refused.failure {
        Some(failure) => problem::log(request, failure),
        None => metrics::counter!("rota_refusals_total", "code" => refused.counted).increment(1),
    }
    let details = match refused.error {
        "PermissionDenied" => Some(rules(caller)),
        "ForbiddenError" => refused.failure.as_ref().map(|failure| json!({ "code": failure.code() })),
        _ => None,
    };
    let body = Envelope {
        req_id: format!("req-{}", request.id),
        status_code: refused.status.as_u16(),
        message: &refused.message,
        error: refused.error,
        details,
    };
    let mut response = HttpResponse::build(refused.status);
    response.insert_header((REQUEST_ID, request.id.to_string()));
    response.insert_header((CACHE_CONTROL, "no-store"));
    if let Some(seconds) = refused.retry_after {
        response.insert_header((RETRY_AFTER, seconds.to_string()));
    }
    let bytes = serde_json::to_vec(&body).unwrap_or_default();
    response.insert_header((CONTENT_TYPE, "application/json")).body(bytes)
}
