//! Secret rotations: credentials that live in other systems, by kind and over all kinds.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use rota_aggregates::managed_rotation::Reconciliation;
use rota_aggregates::managed_rotation::schedule::{Schedule, TimeOfDay};
use rota_aggregates::{ConnectionId, FolderId, RotationId, Timestamp};
use rota_targets::{Kind, Parameters};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::super::answer::Shown;
use super::super::body::{self, Given};
use super::super::idempotency;
use super::super::request::Request;
use super::error::Refused;
use super::folders::path;
use super::input::{Code, Input};
use super::{Outcome, ok, part, project, with};
use crate::app::managed::rotations::Changed;
use crate::app::managed::{
    DESCRIPTION_CHARS_MAX, DeleteRotation, Generated, NewRotation, RotateManaged, RotationEdit, RotationView,
};
use crate::app::places::Place;
use crate::app::{Caller, Failure};

/// Why an attempt failed is cut to so many bytes.
const MESSAGE_BYTES_MAX: usize = 1_024;
/// What stands before the reason of every failed attempt.
const COULD_NOT: &str = "rota could not issue credentials with the inputs that are configured: ";

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(Timestamp::to_millis_text)
}

fn message(reason: &str) -> String {
    let mut text = format!("{COULD_NOT}{reason}");
    text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
    text
}

/// A rotation, with nothing that the format does not have.
async fn shown(request: &Request, caller: &Caller, view: &RotationView) -> Result<Value, Failure> {
    let state = &view.state;
    let (folder, environment) = request.app().folder(caller, state.folder).await?;
    let mapping: Map<_, _> = state
        .settings
        .mapping
        .iter()
        .map(|(field, mapped)| (field.clone(), Value::from(mapped.key.as_str())))
        .collect();
    let (connection, app) = view.connection.clone().unwrap_or_default();
    let schedule = &state.settings.schedule;
    let fault = state.last.fault.as_ref();
    Ok(json!({
        "id": view.id,
        "name": state.settings.name,
        "description": view.description,
        "isAutoRotationEnabled": schedule.auto,
        "activeIndex": state.active,
        "folderId": folder.id,
        "connectionId": state.connection,
        "createdAt": state.created_at.to_millis_text(),
        "updatedAt": state.updated_at.to_millis_text(),
        "rotationInterval": schedule.interval_days,
        "rotationStatus": if fault.is_some() { "failed" } else { "success" },
        "lastRotationAttemptedAt": time(state.last.attempted_at).unwrap_or_else(|| state.created_at.to_millis_text()),
        "lastRotatedAt": time(state.last.succeeded_at).unwrap_or_else(|| state.created_at.to_millis_text()),
        "lastRotationJobId": state.last.scheduled,
        "nextRotationAt": time(state.next_at),
        "isLastRotationManual": state.last.manual,
        "connection": { "app": app, "name": connection, "id": state.connection },
        "environment": {
            "slug": environment.slug,
            "name": environment.name.as_ref().unwrap_or(&environment.slug),
            "id": environment.id,
        },
        "projectId": state.workspace,
        "folder": { "id": folder.id, "path": folder.path },
        "rotateAtUtc": { "hours": schedule.at.hours, "minutes": schedule.at.minutes },
        "lastRotationMessage": fault.map(|fault| message(&fault.reason)),
        "type": view.kind.id(),
        "parameters": view.parameters,
        "secretsMapping": mapping,
    }))
}

async fn changed(request: &Request, caller: &Caller, changed: &Changed) -> Outcome {
    let body = json!({ "secretRotation": shown(request, caller, &changed.view).await? });
    let mut response = ok(request, changed.position, &body);
    if changed.replayed {
        response.headers_mut().insert(
            actix_web::http::header::HeaderName::from_static("idempotency-replayed"),
            actix_web::http::header::HeaderValue::from_static("true"),
        );
    }
    Ok(response)
}

/// The kind of the path.
fn kind(request: &Request) -> Result<Kind, Refused> {
    part(request, "type").parse().map_err(|_| Refused::nowhere(request))
}

fn rotation_id(request: &Request) -> Result<RotationId, Refused> {
    let mut input = Input::of(Map::new());
    let id: Option<RotationId> = input.id("rotationId", part(request, "rotation"));
    input.check()?;
    Ok(id.unwrap_or_default())
}

/// The rotation of the path. One of another kind is none of this one.
async fn rotation(request: &Request, caller: &Caller) -> Result<RotationView, Refused> {
    let kind = kind(request)?;
    let view = request.app().rotation(caller, rotation_id(request)?).await?;
    if view.kind == kind {
        Ok(view)
    } else {
        Err(Refused::bad_request(format!("the rotation is one of the kind {}", view.kind)))
    }
}

/// A place that the input names. What is not there is a fault of the input.
fn folder(
    request: &Request,
    caller: &Caller,
    named: &str,
    environment: &str,
    path: &str,
) -> Result<FolderId, Refused> {
    let workspace = project(caller, named)?;
    let place = Place { workspace, environment, path };
    let missing = |failure| match failure {
        Failure::NotFound("folder") => {
            Refused::bad_request(format!("there is no folder {path} in the environment {environment}"))
        }
        Failure::NotFound("environment") => {
            Refused::bad_request(format!("there is no environment {environment}"))
        }
        other => other.into(),
    };
    Ok(request.app().folder_at(caller, &place).map_err(missing)?.id)
}

/// What the target refused, where nothing was asked of it before, or while the rotation was made.
fn of_create(failure: Failure) -> Refused {
    match failure {
        Failure::Target(reason) => Refused::bad_request(message(reason.text())),
        // Well formed, and not for this kind.
        Failure::Invalid { field, reason } if matches!(&*field, "kind" | "schedule.intervalDays") => {
            Refused::bad_request(reason)
        }
        other => other.into(),
    }
}

/// As [`of_create`], for a rotation that is there.
fn of_rotate(failure: Failure) -> Refused {
    match failure {
        Failure::Target(reason) => Refused::failed(message(reason.text())),
        other => other.into(),
    }
}

async fn listed(request: &Request, caller: &Caller, kind: Option<Kind>) -> Outcome {
    let mut input = Input::query(request);
    let named = input.filled("projectId");
    input.check()?;
    let mut all = Vec::new();
    for view in request.app().managed_rotations(caller, project(caller, &named)?).await? {
        if kind.is_none_or(|kind| kind == view.kind) {
            all.push(shown(request, caller, &view).await?);
        }
    }
    Ok(ok(request, None, &json!({ "secretRotations": all })))
}

/// `GET /api/v2/secret-rotations`
pub(super) async fn list_all(request: Request) -> HttpResponse {
    with(request, async |request, caller| listed(request, caller, None).await).await
}

/// `GET /api/v2/secret-rotations/{type}`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller| listed(request, caller, Some(kind(request)?)).await).await
}

/// `GET /api/v2/secret-rotations/{type}/{rotation}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let view = rotation(request, caller).await?;
        Ok(ok(request, None, &json!({ "secretRotation": shown(request, caller, &view).await? })))
    })
    .await
}

/// `GET /api/v2/secret-rotations/{type}/rotation-name/{name}`
pub(super) async fn by_name(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let kind = kind(request)?;
        let mut input = Input::query(request);
        let (named, environment) = (input.filled("projectId"), input.filled("environment"));
        let secret_path = path(&input.filled("secretPath"));
        input.check()?;
        let folder = folder(request, caller, &named, &environment, &secret_path)?;
        let workspace = project(caller, &named)?;
        let view = request.app().rotation_named(caller, workspace, folder, part(request, "name")).await?;
        if view.kind != kind {
            return Err(Refused::bad_request(format!("the rotation is one of the kind {}", view.kind)));
        }
        Ok(ok(request, None, &json!({ "secretRotation": shown(request, caller, &view).await? })))
    })
    .await
}

/// The names of the secrets that a kind publishes.
fn mapping(input: &mut Input, kind: Kind, given: Value) -> Option<BTreeMap<String, String>> {
    let Value::Object(mut given) = given else {
        input.issue("secretsMapping", Code::InvalidType, "Expected object");
        return None;
    };
    let mut mapping = BTreeMap::new();
    for field in kind.description().fields {
        let path = ["secretsMapping", field.name];
        match given.remove(field.name) {
            Some(Value::String(key)) => {
                let key = key.trim().to_owned();
                if key.is_empty() {
                    input.issue_at(&path, Code::TooSmall, "String must contain at least 1 character(s)");
                } else if key.contains([':', '/']) {
                    input.issue_at(&path, Code::Custom, "must not have a colon or a slash");
                } else if mapping.values().any(|other| *other == key) {
                    input.issue_at(
                        &["secretsMapping"],
                        Code::Custom,
                        "must have a name of its own for every field",
                    );
                }
                mapping.insert(field.name.to_owned(), key);
            }
            Some(_) => input.issue_at(&path, Code::InvalidType, "Expected string"),
            None => input.issue_at(&path, Code::InvalidType, "Required"),
        }
    }
    Some(mapping)
}

/// Days, also as a text.
fn interval(input: &mut Input, given: &Value) -> Option<u32> {
    let number = match given {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number {
        None => input.issue("rotationInterval", Code::InvalidType, "Expected number"),
        Some(days) if days < 1.0 => {
            input.issue("rotationInterval", Code::TooSmall, "Number must be greater than or equal to 1");
        }
        Some(days) if days.fract() != 0.0 || days > 3_650.0 => {
            input.issue("rotationInterval", Code::Custom, "must be a whole number of days, at most 3650");
        }
        Some(days) => return Some(days as u32),
    }
    None
}

fn time_of_day(input: &mut Input, given: Value) -> Option<TimeOfDay> {
    let Value::Object(given) = given else {
        input.issue("rotateAtUtc", Code::InvalidType, "Expected object");
        return None;
    };
    let mut number = |name: &'static str, max: u64| {
        let path = ["rotateAtUtc", name];
        match given.get(name).map(Value::as_u64) {
            Some(Some(number)) if number <= max => return number as u8,
            Some(Some(_)) => {
                input.issue_at(&path, Code::TooBig, format!("Number must be less than or equal to {max}"));
            }
            Some(None) => input.issue_at(&path, Code::InvalidType, "Expected a whole number from 0 on"),
            None => input.issue_at(&path, Code::InvalidType, "Required"),
        }
        0
    };
    Some(TimeOfDay { hours: number("hours", 23), minutes: number("minutes", 59) })
}

/// `POST /api/v2/secret-rotations/{type}`
pub(super) async fn create(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let kind = kind(request)?;
        let bytes = body::bytes(payload).await?;
        let mut input = Input::of_bytes(&bytes)?;
        let name = input.slug("name");
        let named = input.filled("projectId");
        let description = input.nullable_text("description", DESCRIPTION_CHARS_MAX).over(None);
        let given = input.filled("connectionId");
        let connection: Option<ConnectionId> =
            if given.is_empty() { None } else { input.id("connectionId", &given) };
        let environment = input.slug("environment");
        let secret_path = path(&input.filled("secretPath"));
        let auto = input.optional_flag("isAutoRotationEnabled").unwrap_or(true);
        let interval_days = if let Some(given) = input.take("rotationInterval") {
            interval(&mut input, &given)
        } else {
            input.issue("rotationInterval", Code::InvalidType, "Required");
            None
        };
        let at = input.take("rotateAtUtc").and_then(|given| time_of_day(&mut input, given));
        let mapping = if let Some(given) = input.take("secretsMapping") {
            mapping(&mut input, kind, given)
        } else {
            input.issue("secretsMapping", Code::InvalidType, "Required");
            None
        };
        let mut temporary = input.take("temporaryParameters");
        let given = input.take("parameters").unwrap_or(Value::Null);
        let parameters = Parameters::check(kind, &given, temporary.as_ref());
        temporary.iter_mut().for_each(body::wipe);
        let parameters = input.accept(parameters);
        input.check()?;
        let (Some(connection), Some(interval_days), Some(mapping), Some(parameters)) =
            (connection, interval_days, mapping, parameters)
        else {
            return Err(Refused::bad_request("something is missing"));
        };
        let folder = folder(request, caller, &named, &environment, &secret_path)?;
        let new = NewRotation {
            workspace: project(caller, &named)?,
            folder,
            kind,
            name,
            description,
            connection,
            parameters,
            mapping,
            schedule: Schedule { auto, interval_days, at: at.unwrap_or_default(), window: None },
            end_sessions: false,
        };
        let idempotency = idempotency(request, &bytes)?;
        let made = request.server.app.create_rotation(caller, new, idempotency.as_ref()).await;
        changed(request, caller, &made.map_err(of_create)?).await
    })
    .await
}

/// `PATCH /api/v2/secret-rotations/{type}/{rotation}`: where it is, its connection and its kind stay, whatever is sent.
pub(super) async fn change(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let before = rotation(request, caller).await?;
        let mut input = Input::body(payload).await?;
        let name = input.has("name").then(|| input.slug("name"));
        let description = match input.nullable_text("description", DESCRIPTION_CHARS_MAX) {
            Given::Absent => None,
            Given::Null => Some(String::new()),
            Given::Value(text) => Some(text),
        };
        let mut schedule = before.state.settings.schedule.clone();
        if let Some(auto) = input.optional_flag("isAutoRotationEnabled") {
            schedule.auto = auto;
        }
        if let Some(given) = input.take("rotationInterval")
            && let Some(days) = interval(&mut input, &given)
        {
            schedule.interval_days = days;
        }
        if let Some(given) = input.take("rotateAtUtc")
            && let Some(at) = time_of_day(&mut input, given)
        {
            schedule.at = at;
        }
        let mapping = match input.take("secretsMapping") {
            Some(given) => mapping(&mut input, before.kind, given),
            None => None,
        };
        let parameters = match input.take("parameters") {
            Some(given) => {
                let kept = Parameters::from_value(before.kind, &before.parameters);
                let kept = kept
                    .map_err(|_| Refused::failed("the parameters that are kept can't be read".to_owned()))?;
                input.accept(kept.check_update(&given))
            }
            None => None,
        };
        input.check()?;
        let schedule = Some(schedule);
        let edit = RotationEdit { name, description, parameters, mapping, schedule, end_sessions: None };
        let edited = request.app().update_rotation(caller, before.id, edit).await;
        changed(request, caller, &edited.map_err(of_create)?).await
    })
    .await
}

/// `DELETE /api/v2/secret-rotations/{type}/{rotation}`
pub(super) async fn remove(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let mut input = Input::query(request);
        let secrets = input.strict_word("deleteSecrets", false);
        let revoke = input.strict_word("revokeGeneratedCredentials", false);
        input.check()?;
        let before = rotation(request, caller).await?;
        let delete = DeleteRotation { delete_secrets: secrets, revoke };
        let removed = request.server.app.delete_rotation(caller, before.id, delete).await;
        changed(request, caller, &removed.map_err(of_create)?).await
    })
    .await
}

/// `POST /api/v2/secret-rotations/{type}/{rotation}/rotate-secrets`
pub(super) async fn rotate(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        // A body is taken, and says nothing.
        body::bytes(payload).await?;
        let before = rotation(request, caller).await?;
        let idempotency = idempotency(request, b"")?;
        let rotate = RotateManaged::default();
        let rotated =
            request.server.app.rotate_managed(caller, before.id, &rotate, idempotency.as_ref()).await;
        changed(request, caller, &rotated.map_err(of_rotate)?).await
    })
    .await
}

/// `POST /api/v2/secret-rotations/{type}/{rotation}/reconcile`
pub(super) async fn reconcile(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        body::bytes(payload).await?;
        // Other kinds have no such route in this format.
        if !matches!(kind(request)?, Kind::UnixLinuxLocalAccount | Kind::WindowsLocalAccount) {
            return Err(Refused::nowhere(request));
        }
        let before = rotation(request, caller).await?;
        let outcome = request.server.app.reconcile_rotation(caller, before.id).await;
        let (outcome, view) = outcome.map_err(of_rotate)?;
        let message = match outcome {
            Reconciliation::InStep => "the target takes what is published: nothing had to be done",
            Reconciliation::Adopted => "the target had the new credential already: it is published now",
            Reconciliation::Kept => "the target takes what is published: the attempt that was open is over",
            Reconciliation::Reset => "the target took nothing that is known: a new credential is set",
        };
        let rotation = shown(request, caller, &view).await?;
        let body = json!({ "message": message, "reconciled": true, "secretRotation": rotation });
        Ok(ok(request, None, &body))
    })
    .await
}

/// `POST /api/v2/secret-rotations/{type}/{rotation}/move`
pub(super) async fn relocate(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let before = rotation(request, caller).await?;
        let mut input = Input::body(payload).await?;
        let environment = input.slug("destinationEnvironment");
        let secret_path = path(&input.filled("destinationSecretPath"));
        let overwrite = input.optional_flag("overwriteDestination").unwrap_or(false);
        input.check()?;
        let project = before.state.workspace.to_string();
        let to = folder(request, caller, &project, &environment, &secret_path)?;
        let moved = request.app().move_rotation(caller, before.id, to, overwrite).await?;
        changed(request, caller, &moved).await
    })
    .await
}

/// `POST /api/v2/secret-rotations/{type}/{rotation}/check-credentials`
pub(super) async fn check(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        body::bytes(payload).await?;
        let before = rotation(request, caller).await?;
        let view = request.app().check_rotation(caller, before.id).await?;
        Ok(ok(request, None, &json!({ "secretRotation": shown(request, caller, &view).await? })))
    })
    .await
}

/// A generated credential: its fields, the last of them secret.
struct Fields<'a>(&'a Generated);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.public.len() + 1))?;
        for (name, value) in &self.0.public {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry(self.0.secret_field, &Shown(&self.0.secret))?;
        map.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Slots<'a> {
    #[serde(rename = "generatedCredentials")]
    credentials: Vec<Fields<'a>>,
    active_index: u8,
    rotation_id: RotationId,
    r#type: &'static str,
}

/// `GET /api/v2/secret-rotations/{type}/{rotation}/generated-credentials`
pub(super) async fn generated(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let view = rotation(request, caller).await?;
        let (active_index, all) = request.app().generated_credentials(caller, view.id).await?;
        let body = Slots {
            credentials: all.iter().map(Fields).collect(),
            active_index,
            rotation_id: view.id,
            r#type: view.kind.id(),
        };
        Ok(ok(request, None, &body))
    })
    .await
}
