//! `/v1/credentials/{id}/…`: everything that changes a credential.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::credential::{CommitCause, EndCause};
use serde::Deserialize;

use super::super::request::Request;
use super::super::{answer, body};
use super::{Outcome, answered, changed, credential_id, idempotency, wire, with};
use crate::app::lifecycle::Change;
use crate::app::rotate::{Made, Prepare, Rotate};
use crate::app::{Caller, Failure};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RotateBody {
    grace_period_seconds: Option<u64>,
    reason: Option<String>,
}

/// `Prefer: return=minimal` (RFC 7240) spares the caller the credential, and rota the reading of its history.
fn wants_view(request: &Request) -> bool {
    request.header("prefer").is_none_or(|value| !value.split(',').any(|p| p.trim() == "return=minimal"))
}

fn render(made: &Made) -> Result<Vec<u8>, Failure> {
    answer::encode(StatusCode::OK, None, &wire::MadeAnswer::of(made))
}

/// `POST /v1/credentials/{id}/rotate`
pub(super) async fn rotate(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let bytes = body::bytes(payload).await?;
        let body: RotateBody = body::json(&bytes)?;
        let rotate = Rotate {
            grace_seconds: body.grace_period_seconds,
            reason: body.reason,
            with_view: wants_view(request),
        };
        let idempotency = idempotency(request, &bytes)?;
        let id = credential_id(request)?;
        let answer = request.app().rotate(&caller, id, &rotate, idempotency.as_ref(), render).await?;
        answered(request, &answer)
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PrepareBody {
    grace_period_seconds: Option<u64>,
    deadline_seconds: Option<u64>,
    reason: Option<String>,
}

/// `POST /v1/credentials/{id}/rotations`
pub(super) async fn prepare(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let bytes = body::bytes(payload).await?;
        let body: PrepareBody = body::json(&bytes)?;
        let prepare = Prepare {
            grace_seconds: body.grace_period_seconds,
            deadline_seconds: body.deadline_seconds,
            reason: body.reason,
            with_view: wants_view(request),
        };
        let idempotency = idempotency(request, &bytes)?;
        let id = credential_id(request)?;
        let answer = request.app().prepare(&caller, id, &prepare, idempotency.as_ref(), render).await?;
        answered(request, &answer)
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonBody {
    reason: Option<String>,
}

/// Carries a change out and shows the credential as it is then.
async fn change(request: &Request, caller: &Caller, payload: web::Payload, change: Change) -> Outcome {
    let body: ReasonBody = body::json(&body::bytes(payload).await?)?;
    let id = credential_id(request)?;
    let position = request.app().change(caller, id, &change, body.reason.as_deref()).await?;
    // Whoever may change it may see what came of it.
    let seen = request.app().outcome(id).await?;
    Ok(changed(request, position, &wire::credential(&seen.view, seen.at)))
}

/// `POST /v1/credentials/{id}/rotations/commit`
pub(super) async fn commit(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let commit = Change::Commit { cause: CommitCause::Call, version: None };
        change(request, &caller, payload, commit).await
    })
    .await
}

/// `POST /v1/credentials/{id}/rotations/cancel`
pub(super) async fn cancel(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        change(request, &caller, payload, Change::Cancel { cause: EndCause::Call }).await
    })
    .await
}

/// `POST /v1/credentials/{id}/expire-old`
pub(super) async fn expire_old(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| change(request, &caller, payload, Change::EndGrace).await).await
}

/// `POST /v1/credentials/{id}/revoke`
pub(super) async fn revoke(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| change(request, &caller, payload, Change::Revoke).await).await
}

/// `POST /v1/credentials/{id}/versions/{version}/revoke`
pub(super) async fn revoke_version(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let version = request.http.match_info().get("version").and_then(|text| text.parse().ok());
        let version = version.ok_or(Failure::NotFound("version"))?;
        change(request, &caller, payload, Change::RevokeSecret { version }).await
    })
    .await
}
