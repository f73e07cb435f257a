//! Environments of a project.

use actix_web::{HttpResponse, web};
use rota_aggregates::{EnvironmentId, Position};
use serde_json::{Value, json};

use super::super::request::Request;
use super::input::{Code, Input};
use super::{ok, part, project, with};
use crate::app::Failure;
use crate::app::places::EnvironmentView;

fn shown(view: &EnvironmentView) -> Value {
    json!({
        "id": view.id,
        "name": view.name.as_ref().unwrap_or(&view.slug),
        "slug": view.slug,
        "position": view.position,
        "projectId": view.workspace,
        "createdAt": view.created_at.to_millis_text(),
        "updatedAt": view.updated_at.to_millis_text(),
    })
}

fn changed(
    request: &Request,
    done: &str,
    (view, position): &(EnvironmentView, Option<Position>),
) -> HttpResponse {
    let message = format!("Successfully {done} environment");
    let workspace = view.workspace;
    let body = json!({
        "message": message, "projectId": workspace, "workspace": workspace, "environment": shown(view),
    });
    ok(request, *position, &body)
}

fn environment(request: &Request) -> Result<EnvironmentId, Failure> {
    part(request, "environment").parse().map_err(|_| Failure::NotFound("environment"))
}

/// `position` is taken and has no effect: environments are in the order of their making.
fn pass_over_position(input: &mut Input) {
    if input.take("position").is_some_and(|position| !position.is_number()) {
        input.issue("position", Code::InvalidType, "Expected number, received something else");
    }
}

/// `POST /api/v1/workspace/{id}/environments`
pub(super) async fn add(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let project = project(caller, part(request, "project"))?;
        let mut input = Input::body(payload).await?;
        let (name, slug) = (input.filled("name"), input.filled("slug"));
        pass_over_position(&mut input);
        input.check()?;
        let added = request.app().add_environment(caller, project, &name, &slug).await?;
        Ok(changed(request, "created new", &added))
    })
    .await
}

/// `GET /api/v1/workspace/{id}/environments/{environment}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let project = project(caller, part(request, "project"))?;
        let view = request.app().environment(caller, project, environment(request)?).await?;
        Ok(ok(request, None, &json!({ "environment": shown(&view) })))
    })
    .await
}

/// `PATCH /api/v1/workspace/{id}/environments/{environment}`
pub(super) async fn change(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let project = project(caller, part(request, "project"))?;
        let id = environment(request)?;
        let mut input = Input::body(payload).await?;
        let (name, slug) = (input.optional_text("name"), input.optional_text("slug"));
        pass_over_position(&mut input);
        input.check()?;
        let app = request.app();
        let changes = app.change_environment(caller, project, id, name.as_deref(), slug.as_deref()).await?;
        Ok(changed(request, "updated", &changes))
    })
    .await
}

/// `DELETE /api/v1/workspace/{id}/environments/{environment}`
pub(super) async fn remove(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let project = project(caller, part(request, "project"))?;
        let removed = request.app().remove_environment(caller, project, environment(request)?).await?;
        Ok(changed(request, "deleted", &removed))
    })
    .await
}
