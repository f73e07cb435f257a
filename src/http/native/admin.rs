//! `/v1/admin`: what the operator's command line asks of a running service.

use std::path::PathBuf;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::super::body;
use super::super::request::Request;
use super::{builder, changed, ok, with};
use crate::app::Failure;
use crate::app::jobs::{Job, State};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupBody {
    path: PathBuf,
}

/// `POST /v1/admin/backup`: writes a consistent copy on the server's own disk.
pub(super) async fn backup(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        caller.operator_only()?;
        let body: BackupBody = body::json(&body::bytes(payload).await?)?;
        if !body.path.is_absolute() {
            return Err(Failure::invalid("path", "must be absolute: it is on the server's disk"));
        }
        request.app().log().backup(&body.path).await?;
        let bytes = std::fs::metadata(&body.path).map_or(0, |m| m.len());
        Ok(ok(request, &json!({ "path": body.path, "bytes": bytes })))
    })
    .await
}

/// `POST /v1/admin/rebuild`: drops the views and folds them again.
pub(super) async fn rebuild(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        caller.operator_only()?;
        request.server.app.start_job(Job::Rebuild)?;
        Ok(builder(request, StatusCode::ACCEPTED).json(json!({ "job": "rebuild" })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RewrapBody {
    new_master_key_file: Option<PathBuf>,
}

/// `POST /v1/admin/rewrap`: a new master key from a file on the server's disk, or, without one, the rest of a
/// rewrapping that was interrupted.
pub(super) async fn rewrap(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        caller.operator_only()?;
        let body: RewrapBody = body::json(&body::bytes(payload).await?)?;
        request.server.app.start_job(Job::Rewrap { file: body.new_master_key_file })?;
        Ok(builder(request, StatusCode::ACCEPTED).json(json!({ "job": "rewrap" })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenKeysBody {
    #[serde(default)]
    compromised: bool,
}

/// The keys of session tokens whose signatures count now, oldest first.
fn token_keys(request: &Request) -> serde_json::Value {
    let now = request.app().now();
    let keys = request.app().published_keys();
    let signing = keys.iter().rposition(|key| key.signs_from <= now);
    let items: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(index, key)| {
            let status = match signing {
                Some(signing) if index < signing => "verifying",
                Some(signing) if index == signing => "signing",
                _ => "next",
            };
            json!({
                "kid": key.id, "publicKey": key.public, "status": status,
                "signsFrom": key.signs_from, "verifiesUntil": key.verifies_until,
            })
        })
        .collect();
    json!({ "items": items, "next": null })
}

/// `GET /v1/admin/token-keys`
pub(super) async fn list_token_keys(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        caller.operator_only()?;
        Ok(ok(request, &token_keys(request)))
    })
    .await
}

/// `POST /v1/admin/token-keys`: replaces the key that signs session tokens.
pub(super) async fn replace_token_key(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        caller.operator_only()?;
        let body: TokenKeysBody = body::json(&body::bytes(payload).await?)?;
        let position = request.app().replace_token_key(&caller, body.compromised).await?;
        Ok(changed(request, position, &token_keys(request)))
    })
    .await
}

/// `GET /v1/admin/jobs/{name}`
pub(super) async fn job(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        caller.operator_only()?;
        let name = request.http.match_info().get("name").unwrap_or_default();
        let status = request.app().job(name).ok_or(Failure::NotFound("job"))?;
        let (state, error) = match status.state {
            State::Running => ("running", None),
            State::Done => ("done", None),
            State::Failed(error) => ("failed", Some(error)),
        };
        let body = json!({ "state": state, "done": status.done, "total": status.total, "error": error });
        Ok(ok(request, &body))
    })
    .await
}
