//! App connections: how other systems are reached. Making one, and giving it other credentials, asks the system first.

use actix_web::{HttpResponse, web};
use rota_aggregates::{ConnectionId, WorkspaceId};
use rota_targets::{App, Connection};
use serde_json::{Value, json};

use super::super::body::{self, Given};
use super::super::request::Request;
use super::error::Refused;
use super::input::{Code, Input};
use super::projects::name_and_slug;
use super::{ok, part, project, with};
use crate::app::managed::{ConnectionEdit, ConnectionView, DESCRIPTION_CHARS_MAX, NewConnection};
use crate::app::{Caller, Failure};

async fn shown(request: &Request, view: &ConnectionView) -> Result<Value, Failure> {
    let workspace = view.state.workspace;
    let name = request.app().workspace_name(workspace).await?;
    let (project_name, slug) = name_and_slug(name.as_deref(), workspace);
    Ok(json!({
        "id": view.id,
        "name": view.state.name,
        "description": view.description,
        "version": view.state.version,
        "orgId": workspace,
        "projectId": workspace,
        "createdAt": view.state.created_at.to_millis_text(),
        "updatedAt": view.state.updated_at.to_millis_text(),
        "app": view.state.app,
        "method": view.state.method,
        "credentials": view.credentials,
        "isPlatformManagedCredentials": false,
        "gatewayId": null,
        "credentialsHash": view.credentials_hash,
        "project": { "id": workspace, "name": project_name, "type": "secret-manager", "slug": slug },
    }))
}

/// The app of the path.
fn app(request: &Request) -> Result<App, Refused> {
    part(request, "app").parse().map_err(|_| Refused::nowhere(request))
}

/// The project that a request names, or the caller's own.
fn project_or_own(caller: &Caller, named: Option<&str>) -> Result<WorkspaceId, Failure> {
    match named {
        Some(id) => project(caller, id),
        None => caller
            .resolve_workspace(None)
            .map_err(|_| Failure::invalid("projectId", "the operator must name the project")),
    }
}

fn of_query(request: &Request, caller: &Caller) -> Result<WorkspaceId, Refused> {
    let mut input = Input::query(request);
    let named = input.optional_text("projectId").filter(|text| !text.is_empty());
    input.check()?;
    Ok(project_or_own(caller, named.as_deref())?)
}

/// The connection of the path. One of another app is none of this one.
async fn connection(request: &Request, caller: &Caller) -> Result<ConnectionView, Refused> {
    let app = app(request)?;
    let mut input = Input::of(serde_json::Map::new());
    let id: Option<ConnectionId> = input.id("connectionId", part(request, "connection"));
    input.check()?;
    let view = request.app().connection(caller, id.unwrap_or_default()).await?;
    if view.state.app == app.id() {
        Ok(view)
    } else {
        Err(Refused::bad_request(format!("the connection is one of the app {}", view.state.app)))
    }
}

/// What other servers of this format do with a connection and rota does not.
fn pass_over(input: &mut Input) -> Result<(), Refused> {
    if input.take("isPlatformManagedCredentials") == Some(Value::Bool(true)) {
        let message =
            "rota does not take over the password of a connection's own user: make a rotation for it";
        return Err(Refused::bad_request(message));
    }
    if input.take("gatewayId").is_some_and(|id| !id.is_null()) {
        return Err(Refused::bad_request("there are no gateways: rota reaches the system itself"));
    }
    Ok(())
}

async fn list_of(
    request: &Request,
    caller: &Caller,
    app: Option<App>,
) -> Result<Vec<ConnectionView>, Refused> {
    let all = request.app().connections(caller, of_query(request, caller)?).await?;
    Ok(all.into_iter().filter(|view| app.is_none_or(|app| view.state.app == app.id())).collect())
}

async fn listed(request: &Request, caller: &Caller, app: Option<App>) -> super::Outcome {
    let mut all = Vec::new();
    for view in list_of(request, caller, app).await? {
        all.push(shown(request, &view).await?);
    }
    Ok(ok(request, None, &json!({ "appConnections": all })))
}

/// `GET /api/v1/app-connections`
pub(super) async fn list_all(request: Request) -> HttpResponse {
    with(request, async |request, caller| listed(request, caller, None).await).await
}

/// `GET /api/v1/app-connections/{app}`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller| listed(request, caller, Some(app(request)?)).await).await
}

/// `GET /api/v1/app-connections/{app}/available`
pub(super) async fn available(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let all = list_of(request, caller, Some(app(request)?)).await?;
        let brief = |view: &ConnectionView| {
            let workspace = view.state.workspace;
            json!({
                "app": view.state.app, "name": view.state.name, "id": view.id,
                "projectId": workspace, "orgId": workspace,
            })
        };
        Ok(ok(request, None, &json!({ "appConnections": all.iter().map(brief).collect::<Vec<_>>() })))
    })
    .await
}

/// `GET /api/v1/app-connections/{app}/{connection}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let view = connection(request, caller).await?;
        Ok(ok(request, None, &json!({ "appConnection": shown(request, &view).await? })))
    })
    .await
}

/// `GET /api/v1/app-connections/{app}/connection-name/{name}`
pub(super) async fn by_name(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let name = part(request, "name");
        let mut all = list_of(request, caller, Some(app(request)?)).await?;
        all.retain(|view| view.state.name == name);
        let view = all.pop().ok_or(Failure::NotFound("connection"))?;
        Ok(ok(request, None, &json!({ "appConnection": shown(request, &view).await? })))
    })
    .await
}

/// Reads credentials, and leaves no copy of them.
fn credentials(input: &mut Input, app: App, method: &str) -> Option<Connection> {
    let Some(mut given) = input.take("credentials") else {
        input.issue("credentials", Code::InvalidType, "Required");
        return None;
    };
    let checked = Connection::check(app, method, &given);
    body::wipe(&mut given);
    input.accept(checked)
}

/// `POST /api/v1/app-connections/{app}`
pub(super) async fn create(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let app = app(request)?;
        let mut input = Input::body(payload).await?;
        let name = input.slug("name");
        let description = input.nullable_text("description", DESCRIPTION_CHARS_MAX).over(None);
        let named = input.nullable_text("projectId", 64).over(None);
        let method = input.filled("method");
        let connection = if method.is_empty() { None } else { credentials(&mut input, app, &method) };
        input.check()?;
        pass_over(&mut input)?;
        let Some(connection) = connection else {
            return Err(Refused::bad_request("credentials are missing"));
        };
        let workspace = project_or_own(caller, named.as_deref())?;
        let new = NewConnection { workspace, name, description, connection };
        let (view, position) = request.app().create_connection(caller, new).await?;
        Ok(ok(request, Some(position), &json!({ "appConnection": shown(request, &view).await? })))
    })
    .await
}

/// `PATCH /api/v1/app-connections/{app}/{connection}`: app, method and project stay, whatever is sent.
pub(super) async fn change(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let before = connection(request, caller).await?;
        let app = app(request)?;
        let mut input = Input::body(payload).await?;
        let name = input.has("name").then(|| input.slug("name"));
        let description = match input.nullable_text("description", DESCRIPTION_CHARS_MAX) {
            Given::Absent => None,
            Given::Null => Some(String::new()),
            Given::Value(text) => Some(text),
        };
        let given = input.has("credentials");
        let connection = if given { credentials(&mut input, app, &before.state.method) } else { None };
        input.check()?;
        pass_over(&mut input)?;
        let edit = ConnectionEdit { name, description, connection };
        let (view, position) = request.app().update_connection(caller, before.id, edit).await?;
        Ok(ok(request, position, &json!({ "appConnection": shown(request, &view).await? })))
    })
    .await
}

/// `DELETE /api/v1/app-connections/{app}/{connection}`
pub(super) async fn remove(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let before = connection(request, caller).await?;
        let (view, position) = request.app().delete_connection(caller, before.id).await?;
        Ok(ok(request, Some(position), &json!({ "appConnection": shown(request, &view).await? })))
    })
    .await
}
