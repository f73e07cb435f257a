//! `/connect/v1/console/api-keys`: workspace keys.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::CredentialId;
use rota_aggregates::authority::Roles;
use rota_aggregates::credential::Kind;
use rota_aggregates::secret::Mode;
use serde::Deserialize;
use serde_json::{Map, json};

use super::super::answer::Shown;
use super::super::request::Request;
use super::super::{answer, body, idempotency};
use super::{ok, wire, with_key};
use crate::app::Failure;
use crate::app::issue::Issue;
use crate::app::lifecycle::Change;
use crate::app::read::Paging;
use crate::app::rotate::Made;

/// Keys that are read at once.
const PAGE: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    name: String,
    mode: Option<Mode>,
}

/// `POST /connect/v1/console/api-keys`
pub(super) async fn create(request: Request, payload: web::Payload) -> HttpResponse {
    with_key(request, async |request, asker| {
        let bytes = body::bytes(payload).await?;
        let body: KeyBody = body::json(&bytes)?;
        let issue = Issue {
            workspace: asker.workspace,
            kind: Kind::WorkspaceKey,
            name: body.name,
            roles: Roles::ADMIN,
            mode: Some(body.mode.unwrap_or(Mode::Prod)),
            parent: None,
            profile: Map::new(),
        };
        let idempotency = idempotency(request, &bytes)?;
        let render = |made: &Made| {
            let body = wire::ApiKey {
                id: made.credential.to_string(),
                name: Some(&issue.name),
                secret: Shown(&made.secret),
                created_at: made.at.seconds(),
            };
            answer::encode(StatusCode::CREATED, None, &body)
        };
        let answer = request.app().issue(&asker.caller, &issue, idempotency.as_ref(), render).await?;
        answer::respond(request, &answer)
    })
    .await
}

/// `GET /connect/v1/console/api-keys`: all of them, those that were revoked too.
pub(super) async fn list(request: Request) -> HttpResponse {
    with_key(request, async |request, asker| {
        let (mut after, mut keys) = (None, Vec::new());
        loop {
            let paging = Paging { after, limit: PAGE, offset: 0 };
            let kinds = &[Kind::WorkspaceKey];
            let page =
                request.app().credentials(&asker.caller, asker.workspace, kinds, false, paging, None).await?;
            keys.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let keys: Vec<_> = keys.iter().map(|seen| wire::ListedKey::of(&seen.view)).collect();
        Ok(ok(request, None, &keys))
    })
    .await
}

/// `POST /connect/v1/console/api-keys/{id}/revoke` and `DELETE /connect/v1/console/api-keys/{id}`
pub(super) async fn revoke(request: Request) -> HttpResponse {
    with_key(request, async |request, asker| {
        let text = request.http.match_info().get("id").unwrap_or_default();
        let id: CredentialId = text.parse().map_err(|_| Failure::NotFound("credential"))?;
        request.app().find_by_id(asker.workspace, Kind::WorkspaceKey, id)?;
        let position = request.app().change(&asker.caller, id, &Change::Revoke, None).await?;
        Ok(ok(request, position, &json!({ "revoked": true })))
    })
    .await
}
