//! Folders of an environment. The newer routes say `projectId`, the older ones `workspaceId`; both are understood on
//! both, and so is `directory` for `path`.

use actix_web::{HttpResponse, web};
use rota_aggregates::{FolderId, WorkspaceId};
use serde_json::{Value, json};

use super::super::body::Given;
use super::super::request::Request;
use super::error::Refused;
use super::input::Input;
use super::{ok, part, project, with};
use crate::app::places::{DESCRIPTION_CHARS_MAX, EnvironmentView, FolderEdit, FolderView, Place};
use crate::app::{Caller, Failure};

fn shown(view: &FolderView) -> Value {
    json!({
        "id": view.id,
        "name": view.name,
        "envId": view.environment,
        "parentId": view.parent,
        "version": 1,
        "isReserved": false,
        "description": view.description,
        "lastSecretModified": null,
        "path": view.path,
        "relativePath": view.path,
        "createdAt": view.created_at.to_millis_text(),
        "updatedAt": view.updated_at.to_millis_text(),
    })
}

fn with_environment(view: &FolderView, environment: &EnvironmentView) -> Value {
    let name = environment.name.as_ref().unwrap_or(&environment.slug);
    let mut body = shown(view);
    body["projectId"] = json!(view.workspace);
    body["environment"] = json!({ "envId": environment.id, "envName": name, "envSlug": environment.slug });
    body
}

/// Where a request is about, as it names it.
pub(super) struct Named {
    workspace: String,
    environment: String,
    path: String,
}

/// A path with one slash before it and none behind.
pub(super) fn path(given: &str) -> String {
    let inner = given.trim().trim_matches('/');
    format!("/{inner}")
}

impl Named {
    fn of(input: &mut Input) -> Self {
        let id = if input.has("projectId") { "projectId" } else { "workspaceId" };
        let (workspace, environment) = (input.filled(id), input.filled("environment"));
        let given = input.optional_text("path");
        let given = given.or_else(|| input.optional_text("directory")).unwrap_or_default();
        Self { workspace, environment, path: path(&given) }
    }

    fn place(&self, caller: &Caller) -> Result<Place<'_>, Failure> {
        let workspace = project(caller, &self.workspace)?;
        Ok(Place { workspace, environment: &self.environment, path: &self.path })
    }
}

fn folder_id(text: &str) -> Result<FolderId, Failure> {
    text.parse().map_err(|_| Failure::NotFound("folder"))
}

/// `POST /api/v1/folders`
pub(super) async fn add(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let mut input = Input::body(payload).await?;
        let named = Named::of(&mut input);
        let name = input.filled("name");
        let description = input.nullable_text("description", DESCRIPTION_CHARS_MAX).over(None);
        input.check()?;
        let place = named.place(caller)?;
        let description = description.as_deref().filter(|text| !text.is_empty());
        let (view, position) = request.app().add_folder(caller, &place, &name, description).await?;
        Ok(ok(request, position, &json!({ "folder": shown(&view) })))
    })
    .await
}

/// `GET /api/v1/folders`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let mut input = Input::query(request);
        let named = Named::of(&mut input);
        // Python's clients write it with a capital.
        let deep = input.optional_text("recursive").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        input.check()?;
        let views = request.app().folders(caller, &named.place(caller)?, deep).await?;
        Ok(ok(request, None, &json!({ "folders": views.iter().map(shown).collect::<Vec<_>>() })))
    })
    .await
}

/// `GET /api/v1/folders/{id}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let id = folder_id(part(request, "folder"))?;
        let (view, environment) = request.app().folder(caller, id).await?;
        Ok(ok(request, None, &json!({ "folder": with_environment(&view, &environment) })))
    })
    .await
}

/// The folder that a request names in its path, by id or by name within the place that its body names.
async fn named_folder(
    request: &Request,
    caller: &Caller,
    input: &mut Input,
) -> Result<(WorkspaceId, FolderId), Refused> {
    let named = Named::of(input);
    input.check()?;
    let place = named.place(caller)?;
    let given = part(request, "folder");
    if let Ok(id) = folder_id(given) {
        let folder = request.app().folder(caller, id).await?.0;
        let same = folder.workspace == place.workspace;
        return if same { Ok((place.workspace, id)) } else { Err(Failure::NotFound("folder").into()) };
    }
    let path = format!("{}/{given}", place.path.trim_end_matches('/'));
    let folder = request.app().folder_at(caller, &Place { path: &path, ..place })?;
    Ok((place.workspace, folder.id))
}

/// `PATCH /api/v1/folders/{id}`
pub(super) async fn change(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let mut input = Input::body(payload).await?;
        let name = Some(input.filled("name"));
        let description = input.nullable_text("description", DESCRIPTION_CHARS_MAX);
        let (workspace, id) = named_folder(request, caller, &mut input).await?;
        let description = match description {
            Given::Absent => None,
            Given::Null => Some(String::new()),
            Given::Value(text) => Some(text),
        };
        let edit = FolderEdit { name, description };
        let (view, position) = request.app().change_folder(caller, workspace, id, &edit).await?;
        Ok(ok(request, position, &json!({ "folder": shown(&view) })))
    })
    .await
}

/// `DELETE /api/v1/folders/{id}`: clients name the place in a body, or in the query string.
pub(super) async fn remove(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let mut input = Input::body(payload).await?;
        if !input.has("environment") {
            input = Input::query(request);
        }
        let (workspace, id) = named_folder(request, caller, &mut input).await?;
        let (view, position) = request.app().remove_folder(caller, workspace, id).await?;
        Ok(ok(request, position, &json!({ "folder": shown(&view) })))
    })
    .await
}
