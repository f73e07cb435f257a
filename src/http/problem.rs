//! RFC 9457 problems: how the native API says no.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use rota_aggregates::campaign::CampaignRefusal;
use rota_aggregates::connection::ConnectionRefusal;
use rota_aggregates::credential::CredentialRefusal;
use rota_aggregates::ledger::LedgerRefusal;
use rota_aggregates::managed_rotation::RotationRefusal;
use rota_aggregates::name_space::NameRefusal;
use rota_aggregates::places::PlacesRefusal;
use rota_aggregates::record::NotRecordable;
use rota_aggregates::webhook::WebhookRefusal;
use rota_aggregates::workspace::WorkspaceRefusal;
use serde::Serialize;
use serde_json::{Value, json};

use super::auth::NotLetIn;
use super::request::{REQUEST_ID, Request};
use crate::app::Failure;
use crate::app::campaigns::Moved;

/// A problem lists at most so many things that have moved.
const MOVED_MAX: usize = 1_000;

/// The status that a failure has on every dialect that has no opinion of its own.
pub(crate) fn status(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Credential(refusal) => refusal_status(refusal),
        Failure::Workspace(WorkspaceRefusal::PolicyInvalid { .. })
        | Failure::Webhook(WebhookRefusal::Invalid { .. })
        | Failure::Rotation(RotationRefusal::Invalid { .. })
        | Failure::Campaign(CampaignRefusal::Invalid { .. })
        | Failure::Name(NameRefusal::Length)
        | Failure::Places(PlacesRefusal::Invalid { .. } | PlacesRefusal::RootFolder)
        | Failure::Invalid { .. } => StatusCode::BAD_REQUEST,
        Failure::Workspace(WorkspaceRefusal::NotOpen)
        | Failure::Webhook(WebhookRefusal::Unknown)
        | Failure::Connection(ConnectionRefusal::Unknown)
        | Failure::Rotation(RotationRefusal::Unknown)
        | Failure::Campaign(CampaignRefusal::Unknown)
        | Failure::Places(PlacesRefusal::UnknownEnvironment | PlacesRefusal::UnknownFolder)
        | Failure::Ledger(LedgerRefusal::NoSuchAuditor)
        | Failure::NotFound(_) => StatusCode::NOT_FOUND,
        Failure::Workspace(WorkspaceRefusal::AlreadyOpen)
        | Failure::Webhook(WebhookRefusal::AlreadyRegistered | WebhookRefusal::Disabled)
        | Failure::TokenKeys(_)
        | Failure::Places(_)
        | Failure::Connection(_)
        | Failure::Rotation(_)
        | Failure::Campaign(_)
        | Failure::PlanMoved(_)
        | Failure::Name(_)
        | Failure::Ledger(_)
        | Failure::NothingLost
        | Failure::TooMany { .. }
        | Failure::InProgress => StatusCode::CONFLICT,
        Failure::Unauthenticated | Failure::Captured => StatusCode::UNAUTHORIZED,
        Failure::Forbidden { .. } | Failure::OperatorOnly | Failure::ReadsAlone => StatusCode::FORBIDDEN,
        Failure::Target(_) => StatusCode::BAD_GATEWAY,
        Failure::GoesOn => StatusCode::GATEWAY_TIMEOUT,
        Failure::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Failure::AnswerGone => StatusCode::GONE,
        Failure::Overloaded | Failure::Unavailable(_) | Failure::NotWhole(_) | Failure::OutcomeUnknown => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Failure::NotRecordable(NotRecordable::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Failure::Sealed(_) | Failure::NotRecordable(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn refusal_status(refusal: &CredentialRefusal) -> StatusCode {
    match refusal {
        CredentialRefusal::Unknown | CredentialRefusal::UnknownVersion { .. } => StatusCode::NOT_FOUND,
        CredentialRefusal::RetiringSecret
        | CredentialRefusal::SessionSuperseded
        | CredentialRefusal::SecretRequired => StatusCode::FORBIDDEN,
        CredentialRefusal::ProofStale => StatusCode::UNAUTHORIZED,
        CredentialRefusal::GraceTooLong { .. }
        | CredentialRefusal::GraceTooShort { .. }
        | CredentialRefusal::DeadlineOutOfRange { .. } => StatusCode::BAD_REQUEST,
        CredentialRefusal::AlreadyIssued
        | CredentialRefusal::Revoked
        | CredentialRefusal::VersionConflict
        | CredentialRefusal::RotationPending
        | CredentialRefusal::NothingPrepared
        | CredentialRefusal::NothingRetiring
        | CredentialRefusal::NotDue { .. }
        | CredentialRefusal::NoActiveSecret => StatusCode::CONFLICT,
        CredentialRefusal::Contradictory { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Seconds after which trying again makes sense, if it ever does.
pub(crate) fn retry_after(failure: &Failure) -> Option<u64> {
    match failure {
        Failure::InProgress | Failure::Overloaded => Some(1),
        Failure::Unavailable(_) | Failure::OutcomeUnknown => Some(2),
        _ => None,
    }
}

/// Writes down what the caller is not told.
pub(crate) fn log(request: &Request, failure: &Failure) {
    metrics::counter!("rota_refusals_total", "code" => failure.code()).increment(1);
    if status(failure).is_server_error() {
        let error: &dyn std::error::Error = failure;
        tracing::error!(request = %request.id, error, code = failure.code(), "a request failed");
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    instance: &'a str,
    request_id: String,
    /// What has moved since a plan was made, as far as it is listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    moved: Option<Value>,
}

pub(super) fn problem(
    request: &Request,
    status: StatusCode,
    code: &str,
    detail: String,
    field: Option<&str>,
    retry_after: Option<u64>,
) -> HttpResponse {
    listing(request, status, code, detail, field, retry_after, None)
}

/// A problem that lists what has moved.
fn listing(
    request: &Request,
    status: StatusCode,
    code: &str,
    detail: String,
    field: Option<&str>,
    retry_after: Option<u64>,
    moved: Option<Value>,
) -> HttpResponse {
    let body = Problem {
        r#type: format!("urn:rota:problem:{code}"),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        code,
        detail,
        field,
        instance: request.http.path(),
        request_id: request.id.to_string(),
        moved,
    };
    let mut response = HttpResponse::build(status);
    response.insert_header((REQUEST_ID, request.id.to_string()));
    response.insert_header((CACHE_CONTROL, "no-store"));
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"rota\""));
    }
    if let Some(seconds) = retry_after {
        response.insert_header((RETRY_AFTER, seconds.to_string()));
    }
    let bytes = serde_json::to_vec(&body).unwrap_or_default();
    response.insert_header((CONTENT_TYPE, "application/problem+json")).body(bytes)
}

/// A failure as the native API puts it.
pub(super) fn of_failure(request: &Request, failure: &Failure) -> HttpResponse {
    log(request, failure);
    let moved = match failure {
        Failure::PlanMoved(moved) => Some(moved.iter().take(MOVED_MAX).map(of_moved).collect()),
        _ => None,
    };
    listing(
        request,
        status(failure),
        failure.code(),
        failure.to_string(),
        failure.field(),
        retry_after(failure),
        moved,
    )
}

fn of_moved(moved: &Moved) -> Value {
    json!({
        "credentialId": moved.credential, "what": moved.what, "planned": moved.planned, "now": moved.now,
    })
}

/// Why somebody is not let in, as the native API puts it.
pub(super) fn of_entry(request: &Request, not: &NotLetIn) -> HttpResponse {
    match not {
        NotLetIn::Unknown { shown } => {
            metrics::counter!("rota_refusals_total", "code" => "unauthenticated").increment(1);
            let detail = if *shown {
                "the key or secret is not valid"
            } else {
                "send Authorization: Bearer with an operator key or workspace key"
            };
            let status = StatusCode::UNAUTHORIZED;
            problem(request, status, "unauthenticated", detail.to_owned(), None, None)
        }
        NotLetIn::TooMany { retry_after } => {
            metrics::counter!("rota_refusals_total", "code" => "too-many-failures").increment(1);
            let detail = "too many failed authentications from this address".to_owned();
            let status = StatusCode::TOO_MANY_REQUESTS;
            problem(request, status, "too-many-failures", detail, None, Some(*retry_after))
        }
        NotLetIn::Failed(failure) => of_failure(request, failure),
    }
}
