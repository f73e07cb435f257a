//! `POST /v1/integrator/tokens`: a user's API key for a token that stands for that user for a while.

use actix_web::{HttpResponse, web};
use rota_aggregates::authority::Dialect;
use rota_aggregates::secret::Secret;
use rota_aggregates::{CredentialId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::auth::NotLetIn;
use super::super::body;
use super::super::request::Request;
use super::{Outcome, error, ok};
use crate::app::sessions::USER_TOKEN_SECONDS_MAX;
use crate::app::{Caller, Failure};

/// An integrator may ask so often in a minute.
pub(in crate::http) const EXCHANGES_PER_MINUTE: u32 = 100;
const USER_API_KEY: &str = "userApiKey";
const EXPIRES_IN: &str = "expiresIn";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Asked {
    user_api_key: Secret,
    expires_in: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Given<'a> {
    access_token: &'a str,
    user_id: CredentialId,
    token_type: &'static str,
    expires_in: i64,
    expires_at: Timestamp,
}

/// Gives a token to whoever signs: no bearer gets one.
pub(super) async fn post(request: Request, payload: web::Payload) -> HttpResponse {
    let bytes = match body::bytes(payload).await {
        Ok(bytes) => bytes,
        Err(bad) => return error::of_failure(&request, &bad.into()),
    };
    if !request.is_signed() {
        return error::of_entry(&request, &NotLetIn::Unknown { shown: false });
    }
    let outcome = match request.signed(Dialect::Spritz, &bytes).await {
        Ok(caller) => give(&request, &caller, &bytes).await,
        Err(not) => return error::of_entry(&request, &not),
    };
    outcome.unwrap_or_else(|failure| error::of_failure(&request, &failure))
}

async fn give(request: &Request, caller: &Caller, bytes: &[u8]) -> Outcome {
    let asked: Asked = body::json(bytes)?;
    let seconds = seconds(asked.expires_in.as_ref())?;
    let who = caller.credential().ok_or(Failure::Unauthenticated)?;
    if let Some(retry_after) = request.server.exchanges.count(who.credential, request.app().clock().now()) {
        let detail = "too many tokens were asked for by this integrator";
        return Ok(error::too_many(request, "too-many-exchanges", detail, retry_after));
    }
    let given = request.app().exchange_for_user(caller, asked.user_api_key.expose(), seconds).await?;
    let Some((user_id, issued)) = given else {
        return Ok(match request.keep_out(Failure::Unauthenticated) {
            NotLetIn::Unknown { .. } => {
                let detail = "userApiKey is no API key that is valid now in the integrator's workspace";
                error::of_wrong_field(request, USER_API_KEY, detail)
            }
            limited => error::of_entry(request, &limited),
        });
    };
    let claims = &issued.claims;
    let body = Given {
        access_token: &issued.token,
        user_id,
        token_type: "Bearer",
        expires_in: claims.exp - claims.iat,
        expires_at: Timestamp::from_micros(claims.exp.saturating_mul(1_000_000)),
    };
    Ok(ok(request, None, &body))
}

/// For how long a token is asked for, in seconds.
fn seconds(asked: Option<&Value>) -> Result<u32, Failure> {
    let Some(asked) = asked else { return Ok(USER_TOKEN_SECONDS_MAX) };
    let seconds = asked.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
    let seconds = seconds.filter(|seconds| (1..=USER_TOKEN_SECONDS_MAX).contains(seconds));
    seconds.ok_or_else(|| {
        Failure::invalid(EXPIRES_IN, format!("must be a whole number from 1 to {USER_TOKEN_SECONDS_MAX}"))
    })
}
