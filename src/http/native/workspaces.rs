//! `/v1/workspaces`

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::WorkspaceId;
use rota_aggregates::authority::{Role, Roles};
use rota_aggregates::credential::Kind;
use rota_aggregates::secret::Mode;
use serde::Deserialize;
use serde_json::{Map, json};

use super::super::body::Given;
use super::super::{answer, body};
use super::query::Page;
use super::{answered, builder, changed, idempotency, limit, ok, wire, with};
use crate::app::Failure;
use crate::app::issue::Issue;
use crate::app::read::Paging;

use super::super::request::Request;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenBody {
    name: String,
}

/// `POST /v1/workspaces`
pub(super) async fn open(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let body: OpenBody = body::json(&body::bytes(payload).await?)?;
        let (workspace, position) = request.app().open_workspace(&caller, &body.name).await?;
        let location = format!("/v1/workspaces/{}", workspace.id);
        Ok(builder(request, StatusCode::CREATED)
            .insert_header(("Location", location))
            .insert_header(("Rota-Position", position.to_string()))
            .json(wire::workspace(&workspace)))
    })
    .await
}

/// `GET /v1/workspaces`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let all = request.app().workspaces(&caller).await?;
        let items: Vec<_> = all.iter().map(wire::workspace).collect();
        Ok(ok(request, &json!({ "items": items, "next": null })))
    })
    .await
}

/// `GET /v1/workspaces/{id}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let workspace = request.app().workspace(&caller, workspace_id(request)?).await?;
        Ok(ok(request, &wire::workspace(&workspace)))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    name: String,
    roles: Vec<Role>,
    mode: Mode,
}

/// `POST /v1/workspaces/{id}/keys`
pub(super) async fn issue_key(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let bytes = body::bytes(payload).await?;
        let body: KeyBody = body::json(&bytes)?;
        if body.roles.is_empty() {
            return Err(Failure::invalid("roles", "must name at least one role"));
        }
        let issue = Issue {
            workspace: workspace_id(request)?,
            kind: Kind::WorkspaceKey,
            name: body.name,
            roles: Roles::from_iter(body.roles),
            mode: Some(body.mode),
            parent: None,
            profile: Map::new(),
        };
        let idempotency = idempotency(request, &bytes)?;
        let render = |made: &crate::app::rotate::Made| {
            let body = json!({
                "id": made.credential,
                "key": wire::Shown(&made.secret),
                "name": issue.name,
                "roles": issue.roles,
                "mode": issue.mode,
                "createdAt": made.at,
            });
            answer::encode(StatusCode::CREATED, None, &body)
        };
        let answer = request.app().issue(&caller, &issue, idempotency.as_ref(), render).await?;
        answered(request, &answer)
    })
    .await
}

/// `GET /v1/workspaces/{id}/keys`
pub(super) async fn list_keys(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: Page = body::query(request.http.query_string())?;
        let paging = Paging { after: query.after()?, limit: limit(query.limit)?, offset: 0 };
        let id = workspace_id(request)?;
        let page = request.app().credentials(&caller, id, &[Kind::WorkspaceKey], false, paging, None).await?;
        let items: Vec<_> = page.items.iter().map(|seen| wire::credential(&seen.view, seen.at)).collect();
        Ok(ok(request, &json!({ "items": items, "next": page.next.map(|p| p.to_string()) })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PolicyBody {
    #[serde(default)]
    max_secret_age_days: Given<u32>,
    default_grace_seconds: Option<u64>,
    max_grace_seconds: Option<u64>,
    min_overlap_seconds: Option<u64>,
    rotate_requires_secret: Option<bool>,
    digest_retention_days: Option<u32>,
    #[serde(default)]
    end_grace_when_quiet_seconds: Given<u64>,
    #[serde(default)]
    hold_grace_while_used_seconds: Given<u64>,
}

/// `PUT /v1/workspaces/{id}/policy`: what is left out stays as it is.
pub(super) async fn set_policy(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let body: PolicyBody = body::json(&body::bytes(payload).await?)?;
        let (policy, position) = request
            .app()
            .set_policy(&caller, workspace_id(request)?, |mut policy| {
                policy.max_secret_age_days = body.max_secret_age_days.over(policy.max_secret_age_days);
                policy.default_grace_seconds =
                    body.default_grace_seconds.unwrap_or(policy.default_grace_seconds);
                policy.max_grace_seconds = body.max_grace_seconds.unwrap_or(policy.max_grace_seconds);
                policy.min_overlap_seconds = body.min_overlap_seconds.unwrap_or(policy.min_overlap_seconds);
                policy.rotate_requires_secret =
                    body.rotate_requires_secret.unwrap_or(policy.rotate_requires_secret);
                policy.digest_retention_days =
                    body.digest_retention_days.unwrap_or(policy.digest_retention_days);
                policy.end_grace_when_quiet_seconds =
                    body.end_grace_when_quiet_seconds.over(policy.end_grace_when_quiet_seconds);
                policy.hold_grace_while_used_seconds =
                    body.hold_grace_while_used_seconds.over(policy.hold_grace_while_used_seconds);
                policy
            })
            .await?;
        Ok(changed(request, position, &wire::policy(&policy)))
    })
    .await
}

/// `GET /v1/workspaces/{id}/policy`
pub(super) async fn policy(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let workspace = request.app().workspace(&caller, workspace_id(request)?).await?;
        Ok(ok(request, &wire::policy(&workspace.policy)))
    })
    .await
}

fn workspace_id(request: &Request) -> Result<WorkspaceId, Failure> {
    let text = request.http.match_info().get("id").unwrap_or_default();
    text.parse().map_err(|_| Failure::NotFound("workspace"))
}
