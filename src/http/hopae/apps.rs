//! `/connect/v1/apps`

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::authority::Roles;
use rota_aggregates::credential::Kind;
use rota_aggregates::{CredentialId, WorkspaceId};
use rota_projections::credential::CredentialView;
use serde::Deserialize;
use serde_json::json;

use super::super::request::Request;
use super::super::{answer, body, idempotency};
use super::profile::{AppChange, Profile, WebhookChange, changes, from_map, to_map};
use super::{Outcome, app, json, wire, with};
use crate::app::issue::Issue;
use crate::app::lifecycle::Change;
use crate::app::read::Paging;
use crate::app::rotate::Made;
use crate::app::{Caller, Failure};

/// The command that an app's description comes to.
pub(super) fn issue(workspace: WorkspaceId, body: AppChange) -> Result<Issue, Failure> {
    let name = body.name.clone().ok_or_else(|| Failure::invalid("name", "missing field `name`"))?;
    let mut profile = Profile::default();
    body.apply(&mut profile)?;
    Ok(Issue {
        workspace,
        kind: Kind::Client,
        name,
        roles: Roles::NONE,
        mode: None,
        parent: None,
        profile: to_map(&profile),
    })
}

/// The answer to a creation.
pub(super) fn render(made: &Made) -> Result<Vec<u8>, Failure> {
    let location = format!("/connect/v1/apps/{}", made.public_id);
    answer::encode(StatusCode::CREATED, Some(&location), &wire::created(made))
}

/// `POST /connect/v1/apps`
pub(super) async fn create(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let bytes = body::bytes(payload).await?;
        let issue = issue(workspace, body::json(&bytes)?)?;
        let idempotency = idempotency(request, &bytes)?;
        let answer = request.app().issue(&caller, &issue, idempotency.as_ref(), render).await?;
        answer::respond(request, &answer)
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<usize>,
    offset: Option<usize>,
}

/// `GET /connect/v1/apps`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let query: ListQuery = body::query(request.http.query_string())?;
        let (limit, offset) = (query.limit.unwrap_or(20), query.offset.unwrap_or(0));
        if !(1..=100).contains(&limit) {
            return Err(Failure::invalid("limit", "must be between 1 and 100"));
        }
        if offset > 1_000_000_000 {
            return Err(Failure::invalid("offset", "must be at most 1000000000"));
        }
        let paging = Paging { after: None, limit, offset };
        let app = request.app();
        let page = app.credentials(&caller, workspace, &[Kind::Client], true, paging, None).await?;
        let mut data = Vec::with_capacity(page.items.len());
        for seen in &page.items {
            let hint = app.webhook_hint(seen.view.id).await?;
            data.push(wire::app(&seen.view, hint.as_deref()));
        }
        let total = app.count(workspace, Kind::Client);
        let body = json!({ "data": data, "total": total, "limit": limit, "offset": offset });
        Ok(json(request, StatusCode::OK, &body))
    })
    .await
}

/// The app of the path, for whoever may read it.
async fn look(
    request: &Request,
    caller: &Caller,
    workspace: WorkspaceId,
) -> Result<(CredentialId, CredentialView), Failure> {
    let id = app(request, workspace)?;
    let seen = request.app().credential(caller, id, None).await?;
    Ok((id, seen.view))
}

async fn show(request: &Request, id: CredentialId, view: &CredentialView) -> Outcome {
    let hint = request.app().webhook_hint(id).await?;
    Ok(json(request, StatusCode::OK, &wire::app(view, hint.as_deref())))
}

/// `GET /connect/v1/apps/{id}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let (id, view) = look(request, &caller, workspace).await?;
        show(request, id, &view).await
    })
    .await
}

/// Describes an app anew and gives it as it is then.
async fn describe(
    request: &Request,
    caller: &Caller,
    workspace: WorkspaceId,
    change: impl FnOnce(&mut Profile) -> Result<(Option<String>, Vec<String>), Failure>,
) -> Result<(CredentialId, CredentialView), Failure> {
    let (id, view) = look(request, caller, workspace).await?;
    let mut profile = from_map(&view.profile);
    let (name, mut changed) = change(&mut profile)?;
    if name.is_some() && name != view.name {
        changed.push("name".to_owned());
    }
    if changed.is_empty() {
        return Ok((id, view));
    }
    if profile.webhook_config.url.is_some() {
        request.app().ensure_webhook_secret(caller, workspace, id).await?;
    }
    // What was described in between is not to be overwritten unseen.
    let describe = Change::Describe {
        name: name.filter(|_| changed.iter().any(|c| c == "name")),
        profile: Some(to_map(&profile)),
        changed,
        at: Some(view.sequence),
    };
    request.app().change(caller, id, &describe, None).await?;
    Ok((id, request.app().outcome(id).await?.view))
}

/// `PATCH /connect/v1/apps/{id}`
pub(super) async fn update(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let body: AppChange = body::json(&body::bytes(payload).await?)?;
        let (id, view) = describe(request, &caller, workspace, |profile| {
            let name = body.name.clone();
            Ok((name, body.apply(profile)?))
        })
        .await?;
        show(request, id, &view).await
    })
    .await
}

/// `DELETE /connect/v1/apps/{id}`
pub(super) async fn delete(request: Request) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let id = app(request, workspace)?;
        request.app().change(&caller, id, &Change::Revoke, None).await?;
        request.app().revoke_webhook_secret(&caller, id).await?;
        Ok(json(request, StatusCode::OK, &json!({ "deleted": true })))
    })
    .await
}

fn uris_of(view: &CredentialView) -> serde_json::Value {
    json!({ "redirectUris": from_map(&view.profile).redirect_uris })
}

/// `GET /connect/v1/apps/{id}/redirect-uris`
pub(super) async fn redirect_uris(request: Request) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let (_, view) = look(request, &caller, workspace).await?;
        Ok(json(request, StatusCode::OK, &uris_of(&view)))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RedirectUris {
    redirect_uris: Vec<String>,
}

/// `PUT /connect/v1/apps/{id}/redirect-uris`: replaces them.
pub(super) async fn set_redirect_uris(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let body: RedirectUris = body::json(&body::bytes(payload).await?)?;
        let (_, view) = describe(request, &caller, workspace, |profile| {
            let before = profile.clone();
            profile.redirect_uris = super::profile::redirect_uris(body.redirect_uris)?;
            Ok((None, changes(&before, profile)))
        })
        .await?;
        Ok(json(request, StatusCode::OK, &uris_of(&view)))
    })
    .await
}

async fn show_webhook_config(request: &Request, id: CredentialId, view: &CredentialView) -> Outcome {
    let hint = request.app().webhook_hint(id).await?;
    let body = wire::webhook_config(&from_map(&view.profile).webhook_config, hint.as_deref());
    Ok(json(request, StatusCode::OK, &body))
}

/// `GET /connect/v1/apps/{id}/webhook-config`
pub(super) async fn webhook_config(request: Request) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let (id, view) = look(request, &caller, workspace).await?;
        show_webhook_config(request, id, &view).await
    })
    .await
}

/// `PATCH /connect/v1/apps/{id}/webhook-config`: merges.
pub(super) async fn set_webhook_config(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let body: WebhookChange = body::json(&body::bytes(payload).await?)?;
        let (id, view) = describe(request, &caller, workspace, |profile| {
            let before = profile.clone();
            body.apply(&mut profile.webhook_config)?;
            Ok((None, changes(&before, profile)))
        })
        .await?;
        show_webhook_config(request, id, &view).await
    })
    .await
}
