//! `/connect/v1/apps`

use std::cell::Cell;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::CredentialId;
use rota_aggregates::authority::Roles;
use rota_aggregates::credential::{CredentialRefusal, Kind};
use rota_projections::credential::CredentialView;
use serde::Deserialize;
use serde_json::{Map, json};

use super::super::request::Request;
use super::super::{answer, body, idempotency};
use super::error::MISSING;
use super::profile::{AppBody, Profile};
use super::{Asker, Outcome, app_id, ok, wire, with_key};
use crate::app::idempotency::Idempotency;
use crate::app::issue::{Issue, webhook_of};
use crate::app::lifecycle::Change;
use crate::app::read::Paging;
use crate::app::rotate::Made;
use crate::app::{Answer, Failure};

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 100;

/// Makes an app, and its webhook secret if it has a webhook from the start.
pub(super) async fn make(
    request: &Request,
    asker: &Asker,
    body: &AppBody,
    idempotency: Option<&Idempotency>,
) -> Result<Answer, Failure> {
    let Some(name) = body.name.clone() else {
        return Err(Failure::invalid("name", format!("{MISSING}: an app needs a name")));
    };
    body.check()?;
    let (mut profile, mut map) = (Profile::default(), Map::new());
    body.apply(&mut profile);
    profile.write(&mut map)?;
    let issue = Issue {
        workspace: asker.workspace,
        kind: Kind::Client,
        name,
        roles: Roles::NONE,
        mode: None,
        parent: None,
        profile: map,
    };
    let made_id = Cell::new(None);
    let render = |made: &Made| {
        made_id.set(Some(made.credential));
        let view = made.view.as_ref().ok_or(Failure::Unavailable(None))?;
        let location = format!("/connect/v1/apps/{}", made.public_id);
        let body = wire::AppAnswer::of(view, Some(&made.secret), None);
        answer::encode(StatusCode::CREATED, Some(&location), &body)
    };
    let answer = request.app().issue(&asker.caller, &issue, idempotency, render).await?;
    if let Some(id) = made_id.get().filter(|_| !answer.replayed && profile.webhook_config.url.is_some()) {
        ensure_webhook(request, asker, id).await?;
    }
    Ok(answer)
}

/// The webhook secret of an app that is to have one.
pub(super) fn webhook_issue(asker: &Asker, app: CredentialId) -> Issue {
    Issue {
        workspace: asker.workspace,
        kind: Kind::Webhook,
        name: "webhook".to_owned(),
        roles: Roles::NONE,
        mode: None,
        parent: Some(app),
        profile: Map::new(),
    }
}

/// Issues an app's webhook secret unless it has one.
async fn ensure_webhook(request: &Request, asker: &Asker, app: CredentialId) -> Result<(), Failure> {
    let issue = webhook_issue(asker, app);
    match request.app().issue(&asker.caller, &issue, None, |_| Ok(Vec::new())).await {
        Ok(_) | Err(Failure::Credential(CredentialRefusal::AlreadyIssued)) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// An app's webhook secret, if it has one.
pub(super) async fn webhook(request: &Request, app: CredentialId) -> Result<Option<CredentialView>, Failure> {
    let id = webhook_of(app);
    if request.app().workspace_of(id).is_err() {
        return Ok(None);
    }
    request.app().outcome(id).await.map(|seen| Some(seen.view))
}

/// `POST /connect/v1/apps`
pub(super) async fn create(request: Request, payload: web::Payload) -> HttpResponse {
    with_key(request, async |request, asker| {
        let bytes = body::bytes(payload).await?;
        let body: AppBody = body::json(&bytes)?;
        let idempotency = idempotency(request, &bytes)?;
        let answer = make(request, &asker, &body, idempotency.as_ref()).await?;
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
    with_key(request, async |request, asker| {
        let query: ListQuery = body::query(request.http.query_string())?;
        let (limit, offset) = (query.limit.unwrap_or(LIMIT_DEFAULT), query.offset.unwrap_or(0));
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Failure::invalid("limit", format!("must be between 1 and {LIMIT_MAX}")));
        }
        if i64::try_from(offset).is_err() {
            return Err(Failure::invalid("offset", "is too large"));
        }
        let (app, workspace) = (request.app(), asker.workspace);
        let paging = Paging { after: None, limit, offset };
        let page = app.credentials(&asker.caller, workspace, &[Kind::Client], true, paging, None).await?;
        let mut webhooks = Vec::with_capacity(page.items.len());
        for seen in &page.items {
            webhooks.push(webhook(request, seen.view.id).await?);
        }
        let pairs = page.items.iter().zip(&webhooks);
        let data: Vec<_> = pairs.map(|(s, w)| wire::AppAnswer::of(&s.view, None, w.as_ref())).collect();
        let total = app.tip().tip.read().live.count(workspace, Kind::Client);
        Ok(ok(request, None, &json!({ "data": data, "total": total, "limit": limit, "offset": offset })))
    })
    .await
}

/// `GET /connect/v1/apps/{id}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with_key(request, async |request, asker| {
        let id = app_id(request, asker.workspace)?;
        let seen = request.app().credential(&asker.caller, id, None).await?;
        let webhook = webhook(request, id).await?;
        Ok(ok(request, None, &wire::AppAnswer::of(&seen.view, None, webhook.as_ref())))
    })
    .await
}

/// Changes what an app is, and shows it as it is then.
pub(super) async fn edit(request: &Request, asker: &Asker, body: &AppBody) -> Outcome {
    body.check()?;
    let id = app_id(request, asker.workspace)?;
    let app = request.app();
    let position = app.describe(&asker.caller, id, |view| body.change(&view.profile)).await?;
    // Whoever may change it may see what came of it.
    let seen = app.outcome(id).await?;
    if Profile::of(&seen.view.profile).webhook_config.url.is_some() && body.webhook_config.is_some() {
        ensure_webhook(request, asker, id).await?;
    }
    let webhook = webhook(request, id).await?;
    Ok(ok(request, position, &wire::AppAnswer::of(&seen.view, None, webhook.as_ref())))
}

/// `PATCH /connect/v1/apps/{id}`: what is left out stays as it is.
pub(super) async fn patch(request: Request, payload: web::Payload) -> HttpResponse {
    with_key(request, async |request, asker| {
        let body: AppBody = body::json(&body::bytes(payload).await?)?;
        edit(request, &asker, &body).await
    })
    .await
}

/// `DELETE /connect/v1/apps/{id}`
pub(super) async fn delete(request: Request) -> HttpResponse {
    with_key(request, async |request, asker| {
        let id = app_id(request, asker.workspace)?;
        let position = request.app().change(&asker.caller, id, &Change::Revoke, None).await?;
        Ok(ok(request, position, &json!({ "deleted": true })))
    })
    .await
}
