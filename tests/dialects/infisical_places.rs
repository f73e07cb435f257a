//! Projects, environments and folders.

use reqwest::Method;
use serde_json::{Value, json};

use crate::hopae::text;
use crate::infisical::{Infisical, NOBODY, ok, refused, refused_for, same_refusal};
use crate::support::{As, OPERATOR, members, send};

const FOLDERS: [&str; 2] = ["/api/v1/folders", "/api/v2/folders"];

fn slugs(project: &Value) -> Vec<&str> {
    project["environments"].as_array().unwrap().iter().map(|e| e["slug"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_project_is_found_by_id_by_slug_and_in_the_list() {
    let infisical = Infisical::new().await;
    let (token, id) = (infisical.token_with(&["verifier"]).await, &infisical.project);
    let listed = ok(&infisical.get(&token, "/api/v1/workspace").await);
    let project = listed["workspaces"][0].clone();
    assert_eq!(listed["workspaces"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&project["id"], &project["_id"], &project["name"]),
        (&json!(id), &json!(id), &json!("Acme & Co"))
    );
    assert_eq!(slugs(&project), ["dev", "staging", "prod"]);
    let slug = text(&project, "slug");
    let one = |reply, name: &str| ok(&reply)[name].clone();
    assert_eq!(one(infisical.get(&token, &format!("/api/v1/workspace/{id}")).await, "workspace"), project);
    assert_eq!(one(infisical.get(&token, "/api/v1/projects/").await, "projects")[0], project);
    assert_eq!(one(infisical.get(&token, &format!("/api/v1/projects/{id}/")).await, "project"), project);
    for path in ["/api/v1/projects/slug/", "/api/v2/workspace/"] {
        assert_eq!(ok(&infisical.get(&token, &format!("{path}{slug}")).await), project);
        refused(&infisical.get(&token, &format!("{path}nothing")).await, 404, "NotFound");
    }
    refused(&infisical.get(&token, "/api/v1/projects/slug/a/b").await, 404, "NotFound");
}

#[tokio::test]
async fn another_project_is_not_there() {
    let infisical = Infisical::new().await;
    let (stranger, theirs) = infisical.stranger().await;
    let added = json!({ "workspaceId": theirs, "environment": "dev", "name": "apps" });
    let folder = ok(&infisical.post(&stranger, "/api/v1/folders", added).await);
    let environment = ok(&infisical.get(&stranger, &format!("/api/v1/workspace/{theirs}")).await);
    let environment = text(&environment["workspace"]["environments"][0], "id");
    let folder = text(&folder["folder"], "id");
    let token = infisical.token_with(&["admin"]).await;
    let events = infisical.server.events();
    for (there, nowhere) in [
        (format!("/api/v1/workspace/{theirs}"), format!("/api/v1/workspace/{NOBODY}")),
        (format!("/api/v1/folders/{folder}"), format!("/api/v1/folders/{NOBODY}")),
        (
            format!("/api/v1/folders?workspaceId={theirs}&environment=dev"),
            format!("/api/v1/folders?workspaceId={NOBODY}&environment=dev"),
        ),
        (
            format!("/api/v1/workspace/{theirs}/environments/{environment}"),
            format!("/api/v1/workspace/{NOBODY}/environments/{environment}"),
        ),
    ] {
        let (there, nowhere) = (infisical.get(&token, &there).await, infisical.get(&token, &nowhere).await);
        refused(&there, 404, "NotFound");
        same_refusal(&there, &nowhere);
    }
    let add = |project: &str| json!({ "projectId": project, "environment": "dev", "name": "mine" });
    let there = infisical.post(&token, "/api/v2/folders", add(&theirs)).await;
    same_refusal(&there, &infisical.post(&token, "/api/v2/folders", add(NOBODY)).await);
    let own = |id: &str| format!("/api/v1/folders/{id}?workspaceId={}&environment=dev", infisical.project);
    let there = infisical.delete(&token, &own(&folder), None).await;
    refused(&there, 404, "NotFound");
    same_refusal(&there, &infisical.delete(&token, &own(NOBODY), None).await);
    assert_eq!(infisical.server.events(), events);
}

#[tokio::test]
async fn only_the_operator_opens_projects() {
    let infisical = Infisical::new().await;
    let token = infisical.token_with(&["admin"]).await;
    let body = json!({ "projectName": "New one", "slug": "is-passed-over", "type": "secret-manager" });
    let denied =
        refused(&infisical.post(&token, "/api/v2/workspace", body.clone()).await, 403, "PermissionDenied");
    assert!(denied["details"].as_array().unwrap().iter().any(|rule| rule["action"] == "admin"));
    let made = ok(&infisical.post(OPERATOR, "/api/v2/workspace", body.clone()).await);
    let id = text(&made["project"], "id");
    assert_eq!(text(&made["project"], "slug"), format!("new-one-{}", &id[28..]));
    ok(&infisical.post(OPERATOR, "/api/v1/projects", body).await);
    refused_for(&infisical.post(OPERATOR, "/api/v2/workspace", json!({})).await, &["projectName"]);
    let long = json!({ "projectName": "x".repeat(65) });
    refused_for(&infisical.post(OPERATOR, "/api/v2/workspace", long).await, &["projectName"]);
}

#[tokio::test]
async fn environments_are_added_changed_and_removed() {
    let infisical = Infisical::new().await;
    let token = infisical.token_with(&["admin"]).await;
    let base = format!("/api/v1/workspace/{}/environments", infisical.project);
    let body = json!({ "name": "Quality", "slug": "qa", "position": 4, "projectId": "whatever" });
    let made = ok(&infisical.post(&token, &base, body.clone()).await);
    assert_eq!(members(&made), ["environment", "message", "projectId", "workspace"]);
    let environment = &made["environment"];
    assert_eq!((&environment["slug"], &environment["position"]), (&json!("qa"), &json!(4)));
    let one = format!("{base}/{}", text(environment, "id"));
    assert_eq!(&ok(&infisical.get(&token, &one).await)["environment"], environment);
    refused(&infisical.post(&token, &base, body).await, 400, "BadRequest");
    refused_for(&infisical.post(&token, &base, json!({ "slug": "" })).await, &["name", "slug"]);
    refused_for(
        &infisical.post(&token, &base, json!({ "name": "x", "slug": "Not A Slug" })).await,
        &["slug"],
    );

    let changed = ok(&infisical.patch(&token, &one, json!({ "name": "Test", "ID": "ignored" })).await);
    assert_eq!(
        (&changed["environment"]["name"], &changed["environment"]["slug"]),
        (&json!("Test"), &json!("qa"))
    );
    ok(&infisical.patch(&token, &one, json!({ "slug": "test" })).await);
    refused(&infisical.patch(&token, &one, json!({ "slug": "dev" })).await, 400, "BadRequest");
    let infisical = infisical.restart().await;
    let project = ok(&infisical.get(&token, &format!("/api/v1/workspace/{}", infisical.project)).await);
    assert_eq!(slugs(&project["workspace"]), ["dev", "staging", "prod", "test"]);
    assert_eq!(project["workspace"]["environments"][3]["name"], "Test");

    let folder = json!({ "workspaceId": infisical.project, "environment": "test", "name": "apps" });
    let folder = text(&ok(&infisical.post(&token, "/api/v1/folders", folder).await)["folder"], "id");
    refused(&infisical.delete(&token, &one, Some(json!({ "id": "x" }))).await, 400, "BadRequest");
    let place = json!({ "workspaceId": infisical.project, "environment": "test" });
    ok(&infisical.delete(&token, &format!("/api/v1/folders/{folder}"), Some(place)).await);
    ok(&infisical.delete(&token, &one, None).await);
    refused(&infisical.get(&token, &one).await, 404, "NotFound");
    refused(&infisical.delete(&token, &one, None).await, 404, "NotFound");
    assert_eq!(infisical.count("rota.places.environment-added.v1").await, 1);
    assert_eq!(infisical.count("rota.places.environment-changed.v1").await, 2);
    let events = infisical.get(OPERATOR, "/v1/events?limit=1000").await.text;
    assert!(!events.contains("Quality") && !events.contains("Test"), "names are not in events");
}

#[tokio::test]
async fn folders_are_made_found_changed_and_removed() {
    let infisical = Infisical::new().await;
    let (token, project) = (infisical.token_with(&["admin"]).await, infisical.project.as_str());
    for (base, id, environment) in [(FOLDERS[0], "workspaceId", "dev"), (FOLDERS[1], "projectId", "prod")] {
        let body = |name: &str, path: &str| json!({ id: project, "environment": environment, "name": name, "path": path });
        let apps = ok(&infisical.post(&token, &format!("{base}/"), body("apps", "/")).await);
        let mut inner = body("billing", "/apps/");
        inner["description"] = json!("what it bills");
        let billing = ok(&infisical.post(&token, base, inner).await)["folder"].clone();
        assert_eq!(
            (&billing["path"], &billing["parentId"]),
            (&json!("/apps/billing"), &apps["folder"]["id"])
        );
        refused(&infisical.post(&token, base, body("billing", "apps")).await, 400, "BadRequest");
        refused(&infisical.post(&token, base, body("x", "/nowhere")).await, 404, "NotFound");
        refused_for(&infisical.post(&token, base, body("a/b", "/")).await, &["name"]);
        refused_for(
            &infisical.post(&token, base, json!({ "path": 7 })).await,
            &["workspaceId", "environment", "name", "path"],
        );

        let list = |path: &str, deep: bool| {
            format!(
                "{base}?{id}={project}&environment={environment}&path={path}&recursive={}",
                if deep { "True" } else { "False" }
            )
        };
        let names = async |path: &str, deep| {
            let listed = ok(&infisical.get(&token, &list(path, deep)).await);
            let all = listed["folders"].as_array().unwrap().iter().map(|f| text(f, "path"));
            all.collect::<Vec<_>>()
        };
        assert_eq!(names("/", false).await, ["/apps"]);
        assert_eq!(names("/", true).await, ["/apps", "/apps/billing"]);
        assert_eq!(names("/apps", false).await, ["/apps/billing"]);
        refused(&infisical.get(&token, &list("/nowhere", false)).await, 404, "NotFound");

        let one = format!("{base}/{}", text(&billing, "id"));
        let shown = ok(&infisical.get(&token, &one).await)["folder"].clone();
        assert_eq!((&shown["description"], &shown["projectId"]), (&json!("what it bills"), &json!(project)));
        assert_eq!(shown["environment"]["envSlug"], environment);
        let place = json!({ id: project, "environment": environment, "path": "/apps", "name": "pay" });
        let changed = ok(&infisical.patch(&token, &one, place).await);
        assert_eq!(
            (&changed["folder"]["path"], &changed["folder"]["description"]),
            (&json!("/apps/pay"), &json!("what it bills"))
        );

        let place = |path: &str| json!({ id: project, "environment": environment, "path": path, "forceDelete": true });
        refused(
            &infisical.delete(&token, &format!("{base}/apps"), Some(place("/"))).await,
            400,
            "BadRequest",
        );
        let gone = ok(&infisical.delete(&token, &format!("{base}/pay"), Some(place("/apps"))).await);
        assert_eq!(gone["folder"]["id"], billing["id"]);
        refused(
            &infisical.delete(&token, &format!("{base}/pay"), Some(place("/apps"))).await,
            404,
            "NotFound",
        );
    }
}

#[tokio::test]
async fn whoever_is_no_admin_reads_and_changes_nothing() {
    let infisical = Infisical::new().await;
    let nobody = infisical.token_with(&[]).await;
    let list = format!("/api/v1/folders?workspaceId={}&environment=dev", infisical.project);
    refused(&infisical.get(&nobody, &list).await, 403, "PermissionDenied");
    for role in ["rotator", "verifier", "auditor", "analyst"] {
        let token = infisical.token_with(&[role]).await;
        let events = infisical.server.events();
        ok(&infisical.get(&token, &list).await);
        let body = json!({ "workspaceId": infisical.project, "environment": "dev", "name": "x" });
        let denied = refused(&infisical.post(&token, "/api/v1/folders", body).await, 403, "PermissionDenied");
        assert_eq!(denied["details"][0]["action"], role);
        let path = format!("/api/v1/workspace/{}/environments", infisical.project);
        let body = json!({ "name": "x", "slug": "x" });
        refused(&infisical.post(&token, &path, body).await, 403, "PermissionDenied");
        assert_eq!(infisical.server.events(), events);
    }
}

#[tokio::test]
async fn what_is_nowhere_answers_in_this_formats_words() {
    let infisical = Infisical::new().await;
    for path in ["/api/v1/auth/oidc-auth/login", "/api/v2/workspace/a/memberships", "/api/v1/folders/a/b/c"] {
        refused(&send(infisical.server.request(&As::Nobody, Method::POST, path)).await, 404, "NotFound");
    }
}
