//! Projects: workspaces under another name.

use actix_web::{HttpResponse, web};
use rota_aggregates::WorkspaceId;
use serde_json::{Value, json};

use super::super::request::Request;
use super::error::Refused;
use super::input::{Code, Input};
use super::{ok, part, project, with};
use crate::app::places::EnvironmentView;
use crate::app::workspaces::WorkspaceView;
use crate::app::{Caller, Failure};

/// A name has at most so many characters here.
const NAME_CHARS_MAX: usize = 64;

/// What a project is called, and its slug: the name's letters and digits, and the end of the id, so that no two are
/// the same.
pub(super) fn name_and_slug(name: Option<&str>, id: WorkspaceId) -> (String, String) {
    let id = id.0.simple().to_string();
    let name = name.map_or_else(|| format!("project {}", &id[24..]), str::to_owned);
    let mut slug = String::with_capacity(40);
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() && slug.len() < 30 => slug.push(c),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    let slug = slug.trim_end_matches('-');
    let slug = if slug.is_empty() { "project" } else { slug };
    (name, format!("{slug}-{}", &id[24..]))
}

fn environment(view: &EnvironmentView) -> Value {
    let name = view.name.as_ref().unwrap_or(&view.slug);
    json!({ "id": view.id, "name": name, "slug": view.slug })
}

async fn shown(request: &Request, caller: &Caller, view: &WorkspaceView) -> Result<Value, Refused> {
    let (name, slug) = name_and_slug(view.name.as_deref(), view.id);
    let environments = request.app().environments(caller, view.id).await?;
    Ok(json!({
        "id": view.id,
        "_id": view.id,
        "name": name,
        "slug": slug,
        "description": null,
        "type": "secret-manager",
        "orgId": view.id,
        "autoCapitalization": false,
        "hasDeleteProtection": false,
        "version": 3,
        "upgradeStatus": null,
        "pitVersionLimit": 0,
        "auditLogsRetentionDays": null,
        "createdAt": view.created_at.to_millis_text(),
        "updatedAt": view.created_at.to_millis_text(),
        "environments": environments.iter().map(environment).collect::<Vec<_>>(),
    }))
}

/// The projects that a caller sees: its own, or all of them.
async fn visible(request: &Request, caller: &Caller) -> Result<Vec<WorkspaceView>, Failure> {
    match caller.workspace() {
        Some(own) => Ok(vec![request.app().workspace(caller, own).await?]),
        None => request.app().workspaces(caller).await,
    }
}

/// The project of a slug.
pub(super) async fn of_slug(
    request: &Request,
    caller: &Caller,
    slug: &str,
) -> Result<WorkspaceView, Failure> {
    let all = visible(request, caller).await?;
    let found = all.into_iter().find(|view| name_and_slug(view.name.as_deref(), view.id).1 == slug);
    found.ok_or(Failure::NotFound("project"))
}

/// Under which name an answer has projects: the older routes call them workspaces.
fn plural(request: &Request) -> &'static str {
    if request.http.path().starts_with("/api/v1/workspace") { "workspaces" } else { "projects" }
}

/// `GET /api/v1/workspace`, `GET /api/v1/projects`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let mut all = Vec::new();
        for view in visible(request, caller).await? {
            all.push(shown(request, caller, &view).await?);
        }
        Ok(ok(request, None, &json!({ plural(request): all })))
    })
    .await
}

/// `GET /api/v1/workspace/{id}`, `GET /api/v1/projects/{id}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let id = project(caller, part(request, "project"))?;
        let view = request.app().workspace(caller, id).await?;
        let one = plural(request).trim_end_matches('s');
        Ok(ok(request, None, &json!({ one: shown(request, caller, &view).await? })))
    })
    .await
}

/// `GET /api/v1/projects/slug/{slug}`, `GET /api/v2/workspace/{slug}`
pub(super) async fn by_slug(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let view = of_slug(request, caller, part(request, "slug")).await?;
        Ok(ok(request, None, &shown(request, caller, &view).await?))
    })
    .await
}

/// `POST /api/v2/workspace`, `POST /api/v1/projects`: the operator's to do, as everywhere.
pub(super) async fn open(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let mut input = Input::body(payload).await?;
        let name = input.filled("projectName");
        if name.chars().count() > NAME_CHARS_MAX {
            input.issue("projectName", Code::TooBig, "Name must be 64 or fewer characters");
        }
        input.check()?;
        let (view, position) = request.app().open_workspace(caller, &name).await?;
        let body = json!({ "project": shown(request, caller, &view).await? });
        Ok(ok(request, Some(position), &body))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_has_the_names_letters_and_the_end_of_the_id() {
        let id: WorkspaceId = "01a1fca2-b210-7104-9f94-1d0f3de77402".parse().unwrap();
        let slug = |name: Option<&str>| name_and_slug(name, id).1;
        assert_eq!(slug(Some("Acme")), "acme-3de77402");
        assert_eq!(slug(Some(" Über & Söhne GmbH! ")), "ber-s-hne-gmbh-3de77402");
        assert_eq!(slug(Some("---")), "project-3de77402");
        assert_eq!(slug(None), "project-3de77402-3de77402");
        assert!(slug(Some(&"a".repeat(200))).len() <= 64);
        for name in [Some("Acme"), Some("日本"), None] {
            assert!(rota_aggregates::places::is_slug(&slug(name)), "{name:?}");
        }
    }
}
