//! `/connect/v1/console/api-keys`: workspace keys, as Hopae's console makes them. Times are Unix seconds.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::Timestamp;
use rota_aggregates::authority::{Role, Roles};
use rota_aggregates::credential::Kind;
use rota_aggregates::secret::Mode;
use rota_projections::credential::CredentialView;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::native::Shown;
use super::super::request::Request;
use super::super::{answer, body, idempotency};
use super::{json, with};
use crate::app::Failure;
use crate::app::issue::Issue;
use crate::app::lifecycle::Change;
use crate::app::read::Paging;
use crate::app::rotate::Made;

/// Keys that are listed at once.
const KEYS_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    name: String,
    mode: Option<Mode>,
}

/// `POST /connect/v1/console/api-keys`: a key that may do everything in its workspace, as Hopae's do.
pub(super) async fn create(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let bytes = body::bytes(payload).await?;
        let body: KeyBody = body::json(&bytes)?;
        let issue = Issue {
            workspace,
            kind: Kind::WorkspaceKey,
            name: body.name,
            roles: Roles::ADMIN,
            mode: Some(body.mode.unwrap_or(Mode::Prod)),
            parent: None,
            profile: Map::new(),
        };
        let idempotency = idempotency(request, &bytes)?;
        let render = |made: &Made| {
            let body = json!({
                "id": made.credential,
                "name": issue.name,
                "secret": Shown(&made.secret),
                "created_at": made.at.seconds(),
            });
            answer::encode(StatusCode::CREATED, None, &body)
        };
        let answer = request.app().issue(&caller, &issue, idempotency.as_ref(), render).await?;
        answer::respond(request, &answer)
    })
    .await
}

fn key(view: &CredentialView) -> Value {
    let used = view.versions.iter().filter_map(|v| v.last_used_at).max();
    json!({
        "id": view.id,
        "name": view.name,
        "created_at": view.created_at.seconds(),
        "last_used_at": used.map(Timestamp::seconds),
        "revoked_at": view.revoked_at.map(Timestamp::seconds),
    })
}

/// `GET /connect/v1/console/api-keys`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        caller.allow(workspace, &[Role::Admin], "workspace")?;
        let paging = Paging { after: None, limit: KEYS_MAX, offset: 0 };
        let kinds = [Kind::WorkspaceKey];
        let page = request.app().credentials(&caller, workspace, &kinds, false, paging, None).await?;
        let data: Vec<_> = page.items.iter().map(|seen| key(&seen.view)).collect();
        Ok(json(request, StatusCode::OK, &json!({ "data": data })))
    })
    .await
}

/// `POST /connect/v1/console/api-keys/{id}/revoke` and `DELETE /connect/v1/console/api-keys/{id}`
pub(super) async fn revoke(request: Request) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let text = request.http.match_info().get("id").unwrap_or_default();
        let id = text.parse().map_err(|_| Failure::NotFound("key"))?;
        request.app().expect_kind(workspace, id, Kind::WorkspaceKey)?;
        request.app().change(&caller, id, &Change::Revoke, None).await?;
        Ok(json(request, StatusCode::OK, &json!({ "revoked": true })))
    })
    .await
}
