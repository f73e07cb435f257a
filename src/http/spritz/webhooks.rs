//! `/v1/integrator/webhooks`: where an integrator is told what happens to it, and what became of that.

use std::collections::HashMap;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::webhook::{Settings, Status};
use rota_aggregates::{CredentialId, WebhookId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::request::Request;
use super::super::{answer, body};
use super::{Asker, ok, with};
use crate::app::Failure;
use crate::app::rotate::Made;
use crate::app::webhooks::{Address, DeliveryQuery, Edit, Register, WebhookView};
use crate::notices::store::{Delivery, State};

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 100;

fn webhook(view: &WebhookView) -> Value {
    json!({
        "id": view.id,
        "url": view.address.url,
        "events": view.state.settings.types,
        "failureCount": view.health.failures,
        "disabled": matches!(view.state.status, Status::Disabled(..)),
    })
}

/// The webhooks of the integrator that is asked about.
async fn of_integrator(
    request: &Request,
    asker: &Asker,
    id: CredentialId,
) -> Result<Vec<WebhookView>, Failure> {
    request.app().webhooks(&asker.caller, asker.workspace, Some(id)).await
}

/// The webhook that the path names, if it is the integrator's.
async fn named(request: &Request, asker: &Asker) -> Result<WebhookId, Failure> {
    let text = request.http.match_info().get("id").unwrap_or_default();
    let integrator = asker.integrator(request)?;
    let id = text.parse().map_err(|_| Failure::NotFound("webhook"))?;
    let hidden = |failure| match failure {
        Failure::Forbidden { .. } => Failure::NotFound("webhook"),
        other => other,
    };
    let view = request.app().webhook(&asker.caller, id).await.map_err(hidden)?;
    if view.state.owner == Some(integrator) { Ok(id) } else { Err(Failure::NotFound("webhook")) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    url: String,
    events: Option<Vec<String>>,
}

/// `POST /v1/integrator/webhooks`
pub(super) async fn create(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, payload, async |request, asker| {
        let body: CreateBody = body::json(&asker.body)?;
        let defaults = Settings::default();
        let register = Register {
            workspace: asker.workspace,
            owner: Some(asker.integrator(request)?),
            address: Address { url: Some(body.url), description: None },
            settings: Settings { types: body.events.unwrap_or(defaults.types), ..Settings::default() },
        };
        let render =
            |view: &WebhookView, _: Option<&Made>| answer::encode(StatusCode::OK, None, &webhook(view));
        let answer = request.app().register_webhook(&asker.caller, &register, None, render).await?;
        answer::respond(request, &answer)
    })
    .await
}

/// `GET /v1/integrator/webhooks`
pub(super) async fn list(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, payload, async |request, asker| {
        let views = of_integrator(request, &asker, asker.integrator(request)?).await?;
        let all: Vec<_> = views.iter().map(webhook).collect();
        Ok(ok(request, None, &all))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchBody {
    events: Vec<String>,
}

/// `PATCH /v1/integrator/webhooks/{webhookId}`
pub(super) async fn patch(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, payload, async |request, asker| {
        let body: PatchBody = body::json(&asker.body)?;
        let id = named(request, &asker).await?;
        let edit = Edit { types: Some(body.events), ..Edit::default() };
        let position = request.app().change_webhook(&asker.caller, id, &edit).await?;
        let view = request.app().webhook(&asker.caller, id).await?;
        Ok(ok(request, position, &webhook(&view)))
    })
    .await
}

/// `DELETE /v1/integrator/webhooks/{webhookId}`
pub(super) async fn delete(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, payload, async |request, asker| {
        let id = named(request, &asker).await?;
        let position = request.app().delete_webhook(&asker.caller, id).await?;
        Ok(ok(request, position, &json!({ "id": id, "deleted": true })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeliveriesQuery {
    limit: Option<usize>,
    cursor: Option<u64>,
}

fn delivery(delivery: &Delivery, url: Option<&str>) -> Value {
    let payload: Value = serde_json::from_str(&delivery.payload).unwrap_or(Value::Null);
    let last = delivery.attempts.last();
    let mut entry = json!({
        "event": delivery.name,
        "webhookUrl": url,
        "payload": payload,
        "success": delivery.state == State::Delivered,
        "timestamp": last.map_or(delivery.created, |attempt| attempt.at).to_millis_text(),
    });
    if let Some(status) = last.and_then(|attempt| attempt.status) {
        entry["responseStatus"] = json!(status);
    }
    if let Some(error) = last.and_then(|attempt| attempt.error.as_ref()) {
        entry["error"] = json!(error);
    }
    entry
}

/// `GET /v1/integrator/webhooks/deliveries`: newest first.
pub(super) async fn deliveries(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, payload, async |request, asker| {
        let query: DeliveriesQuery = body::query(request.http.query_string())?;
        let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Failure::invalid("limit", format!("must be between 1 and {LIMIT_MAX}")));
        }
        let views = of_integrator(request, &asker, asker.integrator(request)?).await?;
        let urls: HashMap<_, _> = views.iter().map(|view| (view.id, view.address.url.as_deref())).collect();
        let ids: Vec<_> = views.iter().map(|view| view.id).collect();
        let before = query.cursor.map(|cursor| cursor.min(i64::MAX as u64));
        let query = DeliveryQuery { state: None, before, limit: limit + 1 };
        let mut found = request.app().deliveries(&asker.caller, &ids, &query).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| last.number.to_string());
        let data: Vec<_> =
            found.iter().map(|d| delivery(d, urls.get(&d.webhook).copied().flatten())).collect();
        Ok(ok(request, None, &json!({ "data": data, "hasMore": more, "nextCursor": next })))
    })
    .await
}
