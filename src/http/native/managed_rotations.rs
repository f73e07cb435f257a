//! `/v1/managed-rotations`: credentials that live in other systems, and what dialects have no words for: windows,
//! plans, reconciling, the end of sessions.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue, LOCATION};
use actix_web::{HttpResponse, web};
use rota_aggregates::managed_rotation::schedule::{Schedule, TimeOfDay, Window};
use rota_aggregates::managed_rotation::{Held, ManagedRotation};
use rota_aggregates::{ConnectionId, RotationId, Timestamp, WorkspaceId};
use rota_targets::{Issue, Kind, Parameters};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::body::{self, Given};
use super::super::request::Request;
use super::{changed, idempotency, limit, ok, with};
use crate::app::Failure;
use crate::app::managed::rotations::Changed;
use crate::app::managed::{DeleteRotation, NewRotation, RotateManaged, RotationEdit, RotationView};
use crate::app::places::Place;

fn rotation_id(request: &Request) -> Result<RotationId, Failure> {
    let text = request.http.match_info().get("id").unwrap_or_default();
    text.parse().map_err(|_| Failure::NotFound("rotation"))
}

/// Whether anything goes on, or is to be done by somebody.
fn status(state: &ManagedRotation) -> &'static str {
    match &state.attempt {
        _ if state.deletion.is_some() => "deleting",
        Some(a) if a.stuck.is_some() => "stuck",
        Some(_) => "in-progress",
        None if state.last.fault.is_some() => "failed",
        None => "ok",
    }
}

fn document(view: &RotationView, now: Timestamp) -> Value {
    let state = &view.state;
    let schedule = &state.settings.schedule;
    let held = |held: &Held| {
        json!({
            "version": held.version,
            "since": held.since,
            "replacedAt": held.replaced_at,
            "valid": !held.ended,
        })
    };
    let (connection, place) = (view.connection.as_ref(), view.place.as_ref());
    let mapping: BTreeMap<_, _> =
        state.settings.mapping.iter().map(|(field, mapped)| (field, &mapped.key)).collect();
    json!({
        "id": view.id,
        "workspaceId": state.workspace,
        "kind": view.kind.id(),
        "experimental": view.kind.description().experimental,
        "name": state.settings.name,
        "description": view.description,
        "connection": {
            "id": state.connection,
            "name": connection.map(|(name, _)| name),
            "app": connection.map(|(_, app)| app),
        },
        "environment": place.map(|(environment, _)| environment),
        "path": place.map(|(_, path)| path),
        "parameters": view.parameters,
        "mapping": mapping,
        "status": status(state),
        "version": state.version,
        "activeSlot": state.active,
        "slots": state.slots.iter().map(|slot| slot.as_ref().map(held)).collect::<Vec<_>>(),
        "schedule": schedule,
        "endSessions": state.settings.end_sessions,
        "nextAt": state.next_at.map(|next| schedule.runs_at(next, next.max(now))),
        "overdue": state.overdue_at().is_some_and(|at| at <= now),
        "lastAttemptAt": state.last.attempted_at,
        "lastSuccessAt": state.last.succeeded_at,
        "lastManual": state.last.manual,
        "fault": state.last.fault.as_ref().map(|fault| json!({
            "step": fault.step, "aftermath": fault.aftermath, "reason": fault.reason,
        })),
        "attempt": state.attempt.as_ref().map(|a| json!({
            "id": a.id,
            "slot": a.slot,
            "cause": a.cause,
            "step": a.step,
            "tries": a.tries,
            "notBefore": a.not_before,
            "stuck": a.stuck,
            "reason": a.reason,
            "startedAt": a.started_at,
        })),
        "createdAt": state.created_at,
        "updatedAt": state.updated_at,
    })
}

fn changed_to(request: &Request, changed_to: &Changed) -> HttpResponse {
    let body = document(&changed_to.view, request.app().now());
    let mut response = changed(request, changed_to.position, &body);
    if changed_to.replayed {
        let name = HeaderName::from_static("idempotency-replayed");
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ListQuery {
    workspace_id: Option<WorkspaceId>,
    limit: Option<usize>,
    after: Option<RotationId>,
}

/// `GET /v1/managed-rotations`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: ListQuery = body::query(request.http.query_string())?;
        let workspace = caller.resolve_workspace(query.workspace_id)?;
        let limit = limit(query.limit)?;
        let app = request.app();
        let now = app.now();
        let (views, more) = app.managed_rotations_page(&caller, workspace, query.after, limit).await?;
        let next = views.last().filter(|_| more).map(|view| view.id);
        let items: Vec<_> = views.iter().map(|view| document(view, now)).collect();
        Ok(ok(request, &json!({ "items": items, "next": next })))
    })
    .await
}

/// `GET /v1/managed-rotations/{id}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let view = request.app().rotation(&caller, rotation_id(request)?).await?;
        Ok(ok(request, &document(&view, request.app().now())))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ScheduleBody {
    auto: Option<bool>,
    interval_days: Option<u32>,
    at: Option<TimeOfDay>,
    #[serde(default)]
    window: Given<Window>,
}

impl ScheduleBody {
    /// The schedule that it makes of another one.
    fn over(self, before: Schedule) -> Schedule {
        Schedule {
            auto: self.auto.unwrap_or(before.auto),
            interval_days: self.interval_days.unwrap_or(before.interval_days),
            at: self.at.unwrap_or(before.at),
            window: self.window.over(before.window),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CreateBody {
    workspace_id: Option<WorkspaceId>,
    kind: Kind,
    name: String,
    description: Option<String>,
    connection_id: ConnectionId,
    environment: String,
    path: Option<String>,
    parameters: Value,
    /// What is used once and never kept: the password that an account has before.
    temporary_parameters: Option<Value>,
    mapping: Option<BTreeMap<String, String>>,
    schedule: ScheduleBody,
    #[serde(default)]
    end_sessions: bool,
}

/// The first thing that is wrong with parameters.
fn wrong(issues: Vec<Issue>) -> Failure {
    let issue = issues.into_iter().next();
    issue.map_or(Failure::invalid("parameters", "are wrong"), |issue| {
        Failure::invalid(&issue.path.join("."), issue.message)
    })
}

/// `POST /v1/managed-rotations`
pub(super) async fn create(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let bytes = body::bytes(payload).await?;
        let mut body: CreateBody = body::json(&bytes)?;
        let parameters = Parameters::check(body.kind, &body.parameters, body.temporary_parameters.as_ref());
        body.temporary_parameters.iter_mut().for_each(body::wipe);
        let workspace = caller.resolve_workspace(body.workspace_id)?;
        let path = body.path.as_deref().unwrap_or("/");
        let place = Place { workspace, environment: &body.environment, path };
        let app = request.app();
        let folder = app.folder_at(&caller, &place)?.id;
        let mapping = body.mapping.unwrap_or_else(|| {
            let fields = body.kind.description().fields;
            fields.map(|field| (field.name.to_owned(), field.mapped.to_owned())).into()
        });
        if body.schedule.interval_days.is_none() {
            return Err(Failure::invalid("schedule.intervalDays", "is missing"));
        }
        let new = NewRotation {
            workspace,
            folder,
            kind: body.kind,
            name: body.name,
            description: body.description,
            connection: body.connection_id,
            parameters: parameters.map_err(wrong)?,
            mapping,
            schedule: body.schedule.over(Schedule { auto: true, ..Schedule::default() }),
            end_sessions: body.end_sessions,
        };
        let idempotency = idempotency(request, &bytes)?;
        let made = request.server.app.create_rotation(&caller, new, idempotency.as_ref()).await?;
        let mut response = changed_to(request, &made);
        *response.status_mut() = StatusCode::CREATED;
        if let Ok(location) = HeaderValue::from_str(&format!("/v1/managed-rotations/{}", made.view.id)) {
            response.headers_mut().insert(LOCATION, location);
        }
        Ok(response)
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EditBody {
    name: Option<String>,
    #[serde(default)]
    description: Given<String>,
    parameters: Option<Value>,
    mapping: Option<BTreeMap<String, String>>,
    schedule: Option<ScheduleBody>,
    end_sessions: Option<bool>,
}

/// `PATCH /v1/managed-rotations/{id}`
pub(super) async fn edit(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let body: EditBody = body::json(&body::bytes(payload).await?)?;
        let id = rotation_id(request)?;
        let before = request.app().rotation(&caller, id).await?;
        let parameters = match &body.parameters {
            None => None,
            Some(given) => {
                let kept = Parameters::from_value(before.kind, &before.parameters).map_err(wrong)?;
                Some(kept.check_update(given).map_err(wrong)?)
            }
        };
        let edit = RotationEdit {
            name: body.name,
            description: match body.description {
                Given::Absent => None,
                Given::Null => Some(String::new()),
                Given::Value(text) => Some(text),
            },
            parameters,
            mapping: body.mapping,
            schedule: body.schedule.map(|schedule| schedule.over(before.state.settings.schedule)),
            end_sessions: body.end_sessions,
        };
        let changed = request.app().update_rotation(&caller, id, edit).await?;
        Ok(changed_to(request, &changed))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DeleteQuery {
    #[serde(default)]
    delete_secrets: bool,
    #[serde(default)]
    revoke_credentials: bool,
}

/// `DELETE /v1/managed-rotations/{id}`
pub(super) async fn delete(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: DeleteQuery = body::query(request.http.query_string())?;
        let delete =
            DeleteRotation { delete_secrets: query.delete_secrets, revoke: query.revoke_credentials };
        let deleted = request.server.app.delete_rotation(&caller, rotation_id(request)?, delete).await?;
        Ok(changed_to(request, &deleted))
    })
    .await
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RotateBody {
    reason: Option<String>,
}

/// `POST /v1/managed-rotations/{id}/rotate`
pub(super) async fn rotate(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let bytes = body::bytes(payload).await?;
        let body: RotateBody = body::json(&bytes)?;
        let idempotency = idempotency(request, &bytes)?;
        let rotate = RotateManaged { reason: body.reason };
        let app = &request.server.app;
        let changed =
            app.rotate_managed(&caller, rotation_id(request)?, &rotate, idempotency.as_ref()).await?;
        Ok(changed_to(request, &changed))
    })
    .await
}

/// `POST /v1/managed-rotations/{id}/reconcile`
pub(super) async fn reconcile(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        body::nothing(payload).await?;
        let (outcome, view) = request.server.app.reconcile_rotation(&caller, rotation_id(request)?).await?;
        let rotation = document(&view, request.app().now());
        Ok(ok(request, &json!({ "outcome": outcome, "rotation": rotation })))
    })
    .await
}

/// `GET /v1/managed-rotations/{id}/plan`
pub(super) async fn plan(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let plan = request.app().plan_rotation(&caller, rotation_id(request)?).await?;
        let body = json!({
            "slot": plan.slot,
            "notBefore": plan.not_before,
            "refused": plan.refused,
            "steps": plan.target.steps,
            "rights": plan.target.rights,
        });
        Ok(ok(request, &body))
    })
    .await
}
