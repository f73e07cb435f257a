//! `/v1/credentials`

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::WorkspaceId;
use rota_aggregates::authority::{Role, Roles};
use rota_aggregates::credential::Kind;
use serde::Deserialize;
use serde_json::{Map, json};

use super::super::request::Request;
use super::super::{answer, body};
use super::query::as_of;
use super::{answered, credential_id, cursor, idempotency, limit, ok, wire, with};
use crate::app::Failure;
use crate::app::issue::Issue;
use crate::app::read::Paging;

/// The kinds that this route makes and lists. Workspace keys and webhook secrets have routes of their own.
const KINDS: [Kind; 3] = [Kind::Client, Kind::Exchange, Kind::Signing];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct IssueBody {
    kind: Kind,
    name: String,
    workspace_id: Option<WorkspaceId>,
    #[serde(default)]
    roles: Vec<Role>,
}

/// `POST /v1/credentials`
pub(super) async fn issue(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let bytes = body::bytes(payload).await?;
        let body: IssueBody = body::json(&bytes)?;
        if !KINDS.contains(&body.kind) {
            return Err(Failure::invalid("kind", "must be client, exchange or signing"));
        }
        let issue = Issue {
            workspace: caller.resolve_workspace(body.workspace_id)?,
            kind: body.kind,
            name: body.name,
            roles: Roles::from_iter(body.roles),
            mode: None,
            parent: None,
            profile: Map::new(),
        };
        let idempotency = idempotency(request, &bytes)?;
        let render = |made: &crate::app::rotate::Made| {
            let location = format!("/v1/credentials/{}", made.credential);
            answer::encode(StatusCode::CREATED, Some(&location), &wire::MadeAnswer::of(made))
        };
        let answer = request.app().issue(&caller, &issue, idempotency.as_ref(), render).await?;
        answered(request, &answer)
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ListQuery {
    workspace_id: Option<WorkspaceId>,
    kind: Option<Kind>,
    limit: Option<usize>,
    after: Option<String>,
    as_of: Option<String>,
}

/// `GET /v1/credentials`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: ListQuery = body::query(request.http.query_string())?;
        let workspace = caller.resolve_workspace(query.workspace_id)?;
        let paging = Paging { after: cursor(query.after.as_deref())?, limit: limit(query.limit)?, offset: 0 };
        let as_of = as_of(query.as_of.as_deref())?;
        let kinds = query.kind.map_or(KINDS.to_vec(), |kind| vec![kind]);
        let page = request.app().credentials(&caller, workspace, &kinds, false, paging, as_of).await?;
        let items: Vec<_> = page.items.iter().map(|seen| wire::credential(&seen.view, seen.at)).collect();
        Ok(ok(request, &json!({ "items": items, "next": page.next.map(|p| p.to_string()) })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct GetQuery {
    as_of: Option<String>,
}

/// `GET /v1/credentials/{id}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: GetQuery = body::query(request.http.query_string())?;
        let as_of = as_of(query.as_of.as_deref())?;
        let seen = request.app().credential(&caller, credential_id(request)?, as_of).await?;
        Ok(ok(request, &wire::credential(&seen.view, seen.at)))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct HistoryQuery {
    limit: Option<usize>,
    after: Option<String>,
    as_of: Option<String>,
}

/// `GET /v1/credentials/{id}/history`
pub(super) async fn history(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: HistoryQuery = body::query(request.http.query_string())?;
        let paging = Paging { after: cursor(query.after.as_deref())?, limit: limit(query.limit)?, offset: 0 };
        let as_of = as_of(query.as_of.as_deref())?;
        let page = request.app().history(&caller, credential_id(request)?, paging, as_of).await?;
        Ok(ok(request, &wire::events(&page)?))
    })
    .await
}
