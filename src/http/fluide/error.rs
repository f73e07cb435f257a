//! How Fluide Connect says no: one envelope, and no code that its clients do not know.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use rota_aggregates::credential::CredentialRefusal;
use serde::Serialize;

use super::super::auth::NotLetIn;
use super::super::problem;
use super::super::request::{REQUEST_ID, Request};
use crate::app::Failure;

/// A refusal in this dialect's words.
pub(crate) struct Refused(Box<Parts>);

struct Parts {
    status: StatusCode,
    code: &'static str,
    message: String,
    errors: Option<BTreeMap<String, Vec<String>>>,
    challenge: Option<&'static str>,
    retry_after: Option<u64>,
    /// What happened, for the log; `None` where there is no more to it.
    failure: Option<Failure>,
    /// What it is counted as, where it is no failure.
    counted: Option<&'static str>,
}

const NOTHING_SHOWN: &str = "Bearer realm=\"fluide\"";
const INVALID: &str = "Bearer realm=\"fluide\", error=\"invalid_token\"";
const INSUFFICIENT: &str = "Bearer realm=\"fluide\", error=\"insufficient_scope\"";

impl Refused {
    fn new(parts: Parts) -> Self {
        Self(Box::new(parts))
    }

    fn unauthenticated(code: &'static str, message: String, challenge: &'static str) -> Self {
        Self::new(Parts {
            status: StatusCode::UNAUTHORIZED,
            code,
            message,
            errors: None,
            challenge: Some(challenge),
            retry_after: None,
            failure: None,
            counted: Some("unauthenticated"),
        })
    }

    /// A header of a session is missing.
    pub(super) fn missing(header: &str) -> Self {
        Self::unauthenticated("GATEWAY_AUTH_REQUIRED", format!("{header} field missing"), NOTHING_SHOWN)
    }

    /// Key or secret is missing where they are exchanged.
    pub(super) fn missing_key(header: &str) -> Self {
        Self::unauthenticated("DEVELOPER_KEYS_INVALID", format!("{header} field missing"), NOTHING_SHOWN)
    }

    /// Key or secret is wrong, or the key is not the token's.
    pub(super) fn keys() -> Self {
        let message = "the API key or secret is not valid".to_owned();
        Self::unauthenticated("DEVELOPER_KEYS_INVALID", message, INVALID)
    }

    /// The token is not valid, or the client id is not the token's.
    pub(super) fn session() -> Self {
        let message = "the session is not valid: exchange key and secret for a new token".to_owned();
        Self::unauthenticated("GATEWAY_AUTH_INVALID", message, INVALID)
    }

    /// The client id is not one that is known.
    pub(super) fn client() -> Self {
        let message = "X-Fluide-Client-Id is not the one that the token is for".to_owned();
        Self::unauthenticated("GATEWAY_AUTH_INVALID", message, INVALID)
    }

    /// There is nothing here.
    pub(super) fn nowhere() -> Self {
        Failure::NotFound("resource").into()
    }

    /// Something that rota needs does not work; what is known of each part goes along.
    pub(super) fn unavailable(parts: BTreeMap<String, Vec<String>>) -> Self {
        let mut refused = Self::from(Failure::Unavailable(None));
        refused.0.errors = Some(parts);
        refused
    }

    /// Why somebody is not let in; `keys` if a key and a secret were shown, and not a token.
    pub(super) fn entry(not: NotLetIn, keys: bool) -> Self {
        match not {
            NotLetIn::Unknown { shown: false } => Self::missing("Authorization"),
            NotLetIn::Unknown { shown: true } if keys => Self::keys(),
            NotLetIn::Unknown { shown: true } => Self::session(),
            NotLetIn::TooMany { retry_after } => Self::new(Parts {
                status: StatusCode::TOO_MANY_REQUESTS,
                code: "HTTP_ERROR",
                message: "too many failed authentications from this address".to_owned(),
                errors: None,
                challenge: None,
                retry_after: Some(retry_after),
                failure: None,
                counted: Some("too-many-failures"),
            }),
            NotLetIn::Failed(failure) => failure.into(),
        }
    }
}

fn status(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Credential(CredentialRefusal::Revoked) => StatusCode::NOT_FOUND,
        Failure::KeyReused | Failure::AnswerGone => StatusCode::CONFLICT,
        other => problem::status(other),
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        let status = status(&failure);
        let server = status.is_server_error();
        let code = match status {
            StatusCode::BAD_REQUEST => "VALIDATION_FAILED",
            StatusCode::UNAUTHORIZED => "GATEWAY_AUTH_INVALID",
            _ if server => "INTERNAL_ERROR",
            _ => "HTTP_ERROR",
        };
        let errors = failure.field().filter(|_| status == StatusCode::BAD_REQUEST).map(|field| {
            let reason = match &failure {
                Failure::Invalid { reason, .. } => reason.clone(),
                other => other.to_string(),
            };
            BTreeMap::from([(field.to_owned(), vec![reason])])
        });
        let message = match &failure {
            _ if server => "an internal error occurred; try again later".to_owned(),
            Failure::NotRecordable(_) => "the request is too large".to_owned(),
            _ if status == StatusCode::BAD_REQUEST => "Validation failed".to_owned(),
            other => other.to_string(),
        };
        let challenge = match status {
            StatusCode::UNAUTHORIZED => Some(INVALID),
            StatusCode::FORBIDDEN => Some(INSUFFICIENT),
            _ => None,
        };
        let retry_after = problem::retry_after(&failure);
        Self::new(Parts {
            status,
            code,
            message,
            errors,
            challenge,
            retry_after,
            failure: Some(failure),
            counted: None,
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    success: bool,
    message: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a BTreeMap<String, Vec<String>>>,
    status_code: u16,
    timestamp: String,
}

/// Gives a refusal.
pub(super) fn respond(request: &Request, refused: &Refused) -> HttpResponse {
    let refused = &refused.0;
    if let Some(failure) = &refused.failure {
        problem::log(request, failure);
    }
    if let Some(code) = refused.counted {
        metrics::counter!("rota_refusals_total", "code" => code).increment(1);
    }
    let body = Envelope {
        success: false,
        message: &refused.message,
        code: refused.code,
        errors: refused.errors.as_ref(),
        status_code: refused.status.as_u16(),
        timestamp: request.app().now().to_millis_text(),
    };
    let mut response = HttpResponse::build(refused.status);
    response.insert_header((REQUEST_ID, request.id.to_string()));
    response.insert_header((CACHE_CONTROL, "no-store"));
    if let Some(challenge) = refused.challenge {
        response.insert_header((WWW_AUTHENTICATE, challenge));
    }
    if let Some(seconds) = refused.retry_after {
        response.insert_header((RETRY_AFTER, seconds.to_string()));
    }
    let bytes = serde_json::to_vec(&body).unwrap_or_default();
    response.insert_header((CONTENT_TYPE, "application/json")).body(bytes)
}
