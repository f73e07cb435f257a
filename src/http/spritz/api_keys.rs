//! `/v1/api-keys/`: workspace keys, whose roles are called permissions here.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::CredentialId;
use rota_aggregates::authority::{Role, Roles};
use rota_aggregates::credential::{Kind, Status};
use rota_aggregates::secret::Mode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::answer::Shown;
use super::super::request::Request;
use super::super::{answer, body, idempotency};
use super::{ok, with};
use crate::app::Failure;
use crate::app::issue::Issue;
use crate::app::lifecycle::Change;
use crate::app::read::Paging;
use crate::app::rotate::Made;

/// Keys that are read at once.
const PAGE: usize = 200;
const WARNING: &str = "Keep this key: it is not shown again.";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KeyBody {
    permissions: Vec<Role>,
    expires_at: Option<Value>,
    name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    id: CredentialId,
    key_prefix: &'a str,
    raw_key: Shown<'a>,
    warning: &'static str,
}

/// `POST /v1/api-keys/`
pub(super) async fn create(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, payload, async |request, asker| {
        let body: KeyBody = body::json(&asker.body)?;
        if body.permissions.is_empty() {
            return Err(Failure::invalid("permissions", "must name at least one"));
        }
        if body.expires_at.is_some() {
            return Err(Failure::invalid("expiresAt", "keys do not expire by themselves: delete them"));
        }
        let issue = Issue {
            workspace: asker.workspace,
            kind: Kind::WorkspaceKey,
            name: body.name.unwrap_or_else(|| "API key".to_owned()),
            roles: Roles::from_iter(body.permissions),
            mode: Some(Mode::Prod),
            parent: None,
            profile: Map::new(),
        };
        let idempotency = idempotency(request, &asker.body)?;
        let render = |made: &Made| {
            let body = Created {
                id: made.credential,
                key_prefix: &made.public_id,
                raw_key: Shown(&made.secret),
                warning: WARNING,
            };
            answer::encode(StatusCode::OK, None, &body)
        };
        let answer = request.app().issue(&asker.caller, &issue, idempotency.as_ref(), render).await?;
        answer::respond(request, &answer)
    })
    .await
}

/// `GET /v1/api-keys/`: all of them, those that were deleted too.
pub(super) async fn list(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, payload, async |request, asker| {
        let (mut after, mut keys) = (None, Vec::new());
        loop {
            let paging = Paging { after, limit: PAGE, offset: 0 };
            let kinds = &[Kind::WorkspaceKey];
            let page =
                request.app().credentials(&asker.caller, asker.workspace, kinds, false, paging, None).await?;
            for seen in page.items {
                let view = seen.view;
                let used = view.versions.iter().filter_map(|v| v.last_used_at).max();
                keys.push(json!({
                    "id": view.id,
                    "name": view.name,
                    "keyPrefix": view.public_id,
                    "permissions": view.roles,
                    "status": if view.status == Status::Revoked { "revoked" } else { "active" },
                    "expiresAt": null,
                    "createdAt": view.created_at.to_millis_text(),
                    "lastUsedAt": used.map(rota_aggregates::Timestamp::to_millis_text),
                }));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(ok(request, None, &keys))
    })
    .await
}

/// `DELETE /v1/api-keys/{id}`
pub(super) async fn delete(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, payload, async |request, asker| {
        let text = request.http.match_info().get("id").unwrap_or_default();
        let id: CredentialId = text.parse().map_err(|_| Failure::NotFound("api-key"))?;
        request.app().find_by_id(asker.workspace, Kind::WorkspaceKey, id)?;
        let position = request.app().change(&asker.caller, id, &Change::Revoke, None).await?;
        Ok(ok(request, position, &json!({ "success": true })))
    })
    .await
}
