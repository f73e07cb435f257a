//! `/v1/webhooks`: where a workspace wants to be told what happens, and what became of that.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::webhook::{Settings, Status};
use rota_aggregates::{WebhookId, WorkspaceId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::answer;
use super::super::body::{self, Given};
use super::super::request::Request;
use super::{answered, builder, changed, idempotency, limit, ok, wire, with};
use crate::app::Failure;
use crate::app::rotate::{Made, Rotate};
use crate::app::webhooks::{Address, DeliveryQuery, Edit, Register, WebhookView};
use crate::notices::notice::TYPES;
use crate::notices::store::{Delivery, State};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RegisterBody {
    url: String,
    description: Option<String>,
    types: Option<Vec<String>>,
    expiry_lead_seconds: Option<u64>,
    workspace_id: Option<WorkspaceId>,
}

/// Types that exist, or all of them: a misspelt one would never be told.
fn check_types(types: &[String]) -> Result<(), Failure> {
    for (index, name) in types.iter().enumerate() {
        if name != rota_aggregates::webhook::EVERY_TYPE && !TYPES.contains(&name.as_str()) {
            let reason = format!("must be * or one of {}", TYPES.join(", "));
            return Err(Failure::invalid(&format!("types[{index}]"), reason));
        }
    }
    Ok(())
}

fn webhook(view: &WebhookView) -> Value {
    let (status, cause, since) = match view.state.status {
        Status::Disabled(cause, since) => ("disabled", Some(cause.name()), Some(since)),
        _ => ("enabled", None, None),
    };
    json!({
        "id": view.id,
        "workspaceId": view.state.workspace,
        "ownerId": view.state.owner,
        "url": view.address.url,
        "description": view.address.description,
        "types": view.state.settings.types,
        "expiryLeadSeconds": view.state.settings.expiry_lead_seconds,
        "status": status,
        "disabledCause": cause,
        "disabledAt": since,
        "createdAt": view.state.created_at,
        "updatedAt": view.state.updated_at,
        "failures": view.health.failures,
        "waiting": view.health.waiting,
        "lastSuccessAt": view.health.last_success,
        "lastFailureAt": view.health.last_failure,
    })
}

fn delivery(delivery: &Delivery) -> Value {
    let payload: Value = serde_json::from_str(&delivery.payload).unwrap_or(Value::Null);
    json!({
        "id": delivery.notice,
        "webhookId": delivery.webhook,
        "type": delivery.name,
        "position": delivery.position,
        "state": delivery.state.name(),
        "attempts": delivery.attempts,
        "createdAt": delivery.created,
        "nextAttemptAt": delivery.next,
        "payload": payload,
    })
}

/// `POST /v1/webhooks`
pub(super) async fn register(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let bytes = body::bytes(payload).await?;
        let body: RegisterBody = body::json(&bytes)?;
        check_types(body.types.as_deref().unwrap_or_default())?;
        let defaults = Settings::default();
        let register = Register {
            workspace: caller.resolve_workspace(body.workspace_id)?,
            owner: None,
            address: Address { url: Some(body.url), description: body.description },
            settings: Settings {
                types: body.types.unwrap_or(defaults.types),
                expiry_lead_seconds: body.expiry_lead_seconds.unwrap_or(defaults.expiry_lead_seconds),
            },
        };
        let idempotency = idempotency(request, &bytes)?;
        let render = |view: &WebhookView, made: Option<&Made>| {
            let location = format!("/v1/webhooks/{}", view.id);
            let secret = made.map(|made| wire::Shown(&made.secret));
            let body = Registered { webhook: webhook(view), secret };
            answer::encode(StatusCode::CREATED, Some(&location), &body)
        };
        let app = request.app();
        let answer = app.register_webhook(&caller, &register, idempotency.as_ref(), render).await?;
        answered(request, &answer)
    })
    .await
}

#[derive(serde::Serialize)]
struct Registered<'a> {
    webhook: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<wire::Shown<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ListQuery {
    workspace_id: Option<WorkspaceId>,
    limit: Option<usize>,
    after: Option<String>,
}

/// `GET /v1/webhooks`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: ListQuery = body::query(request.http.query_string())?;
        let workspace = caller.resolve_workspace(query.workspace_id)?;
        let limit = limit(query.limit)?;
        let mut views = request.app().webhooks(&caller, workspace, None).await?;
        if let Some(after) = &query.after {
            let at = views.iter().position(|view| view.id.to_string() == *after);
            let at = at.ok_or_else(|| Failure::invalid("after", "must be `next` of an earlier page"))?;
            views.drain(..=at);
        }
        let more = views.len() > limit;
        views.truncate(limit);
        let next = views.last().filter(|_| more).map(|view| view.id);
        let items: Vec<_> = views.iter().map(webhook).collect();
        Ok(ok(request, &json!({ "items": items, "next": next })))
    })
    .await
}

/// `GET /v1/webhooks/{id}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let view = request.app().webhook(&caller, webhook_id(request)?).await?;
        Ok(ok(request, &webhook(&view)))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EditBody {
    url: Option<String>,
    #[serde(default)]
    description: Given<String>,
    types: Option<Vec<String>>,
    expiry_lead_seconds: Option<u64>,
    enabled: Option<bool>,
}

/// `PATCH /v1/webhooks/{id}`: what is left out stays as it is.
pub(super) async fn edit(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let body: EditBody = body::json(&body::bytes(payload).await?)?;
        check_types(body.types.as_deref().unwrap_or_default())?;
        let edit = Edit {
            url: body.url,
            description: match body.description {
                Given::Absent => None,
                Given::Null => Some(String::new()),
                Given::Value(text) => Some(text),
            },
            types: body.types,
            expiry_lead_seconds: body.expiry_lead_seconds,
            enabled: body.enabled,
        };
        let id = webhook_id(request)?;
        let position = request.app().change_webhook(&caller, id, &edit).await?;
        let view = request.app().webhook(&caller, id).await?;
        Ok(changed(request, position, &webhook(&view)))
    })
    .await
}

/// `DELETE /v1/webhooks/{id}`
pub(super) async fn delete(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let id = webhook_id(request)?;
        let position = request.app().delete_webhook(&caller, id).await?;
        Ok(changed(request, position, &json!({ "id": id, "status": "deleted" })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RotateBody {
    grace_period_seconds: Option<u64>,
    reason: Option<String>,
}

/// `POST /v1/webhooks/{id}/rotate-secret`
pub(super) async fn rotate_secret(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let bytes = body::bytes(payload).await?;
        let body: RotateBody = body::json(&bytes)?;
        let rotate =
            Rotate { grace_seconds: body.grace_period_seconds, reason: body.reason, with_view: false };
        let idempotency = idempotency(request, &bytes)?;
        let id = webhook_id(request)?;
        let render = |made: &Made| {
            let body = json!({
                "webhookId": id,
                "secret": wire::Shown(&made.secret),
                "version": made.version,
                "oldSecretExpiresAt": made.old_expires_at,
            });
            answer::encode(StatusCode::OK, None, &body)
        };
        let app = request.app();
        let answer = app.rotate_webhook_secret(&caller, id, &rotate, idempotency.as_ref(), render).await?;
        answered(request, &answer)
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeliveriesQuery {
    limit: Option<usize>,
    after: Option<u64>,
    state: Option<String>,
}

/// `GET /v1/webhooks/{id}/deliveries`: newest first.
pub(super) async fn deliveries(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: DeliveriesQuery = body::query(request.http.query_string())?;
        let state = query.state.as_deref().map(|name| {
            let state = State::ALL.into_iter().find(|state| state.name() == name);
            let wrong = || Failure::invalid("state", "must be waiting, delivered, failed or dropped");
            state.ok_or_else(wrong)
        });
        let limit = limit(query.limit)?;
        let before = query.after.map(|after| after.min(i64::MAX as u64));
        let query = DeliveryQuery { state: state.transpose()?, before, limit: limit + 1 };
        let mut found = request.app().deliveries(&caller, &[webhook_id(request)?], &query).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| last.number.to_string());
        let items: Vec<_> = found.iter().map(delivery).collect();
        Ok(ok(request, &json!({ "items": items, "next": next })))
    })
    .await
}

/// `POST /v1/webhooks/{id}/test`
pub(super) async fn test(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let _: Nothing = body::json(&body::bytes(payload).await?)?;
        let made = request.app().test_webhook(&caller, webhook_id(request)?).await?;
        Ok(builder(request, StatusCode::ACCEPTED).json(delivery(&made)))
    })
    .await
}

/// `POST /v1/webhooks/{id}/deliveries/{delivery}/redeliver`
pub(super) async fn redeliver(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let _: Nothing = body::json(&body::bytes(payload).await?)?;
        let text = request.http.match_info().get("delivery").unwrap_or_default();
        let notice = text.parse().map_err(|_| Failure::NotFound("delivery"))?;
        let again = request.app().redeliver(&caller, webhook_id(request)?, notice).await?;
        Ok(builder(request, StatusCode::ACCEPTED).json(delivery(&again)))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn webhook_id(request: &Request) -> Result<WebhookId, Failure> {
    let text = request.http.match_info().get("id").unwrap_or_default();
    text.parse().map_err(|_| Failure::NotFound("webhook"))
}
