//! Moving a rotation with its secrets, and asking whether what is published is valid.

use reqwest::Method;
use serde_json::{Value, json};

use crate::hopae::text;
use crate::infisical::{Infisical, NOBODY, ok, refused, refused_for, same_refusal};
use crate::infisical_target::{CONNECTIONS, ROTATIONS, Rotating};
use crate::support::{As, members, send};
use crate::users::Users;

fn to(environment: &str, path: &str, overwrite: bool) -> Value {
    json!({
        "destinationEnvironment": environment, "destinationSecretPath": path, "overwriteDestination": overwrite,
    })
}

/// The path of a secret of an environment and a folder.
fn secret(infisical: &Infisical, name: &str, environment: &str, path: &str) -> String {
    let project = &infisical.project;
    format!("/api/v4/secrets/{name}?projectId={project}&environment={environment}&secretPath={path}")
}

async fn value(rotating: &Rotating, name: &str, environment: &str, path: &str) -> Value {
    let infisical = &rotating.infisical;
    ok(&infisical.get(&rotating.token, &secret(infisical, name, environment, path)).await)["secret"].clone()
}

#[tokio::test]
async fn a_rotation_moves_with_its_secrets() {
    let rotating = Rotating::new().await;
    let (infisical, token) = (&rotating.infisical, &rotating.token);
    let apps =
        json!({ "workspaceId": infisical.project, "environment": "prod", "name": "apps", "path": "/" });
    ok(&infisical.post(token, "/api/v1/folders", apps).await);
    let before = value(&rotating, "db-PASSWORD", "dev", "/").await;
    let (user, password) = rotating.published().await;
    let path = format!("{}/move", rotating.path());
    let moved =
        ok(&infisical.post(token, &path, to("prod", "/apps/", false)).await)["secretRotation"].clone();
    let mut expected = rotating.rotation.clone();
    for changed in ["environment", "folder", "folderId", "updatedAt"] {
        expected[changed] = moved[changed].clone();
    }
    assert_eq!(moved, expected);
    assert_eq!((&moved["environment"]["slug"], &moved["folder"]["path"]), (&json!("prod"), &json!("/apps")));
    assert_eq!(moved["folderId"], moved["folder"]["id"]);

    // Whoever reads by id reads the same; whoever reads by place finds it in the new one alone.
    let after = value(&rotating, "db-PASSWORD", "prod", "/apps").await;
    assert_eq!((&after["id"], &after["version"]), (&before["id"], &before["version"]));
    assert_eq!(after["secretValue"], password.as_str());
    refused(&infisical.get(token, &secret(infisical, "db-USER", "dev", "/")).await, 404, "NotFound");
    let by_id = format!("/api/v4/secrets/id/{}", text(&before, "id"));
    let by_id = ok(&infisical.get(token, &format!("{by_id}?projectId={}", infisical.project)).await);
    assert_eq!(
        (&by_id["secret"]["environment"], &by_id["secret"]["secretPath"]),
        (&json!("prod"), &json!("/apps"))
    );
    let named = |environment: &str, path: &str| {
        let project = &infisical.project;
        format!(
            "{ROTATIONS}/rotation-name/db?projectId={project}&environment={environment}&secretPath={path}"
        )
    };
    assert_eq!(ok(&infisical.get(token, &named("prod", "/apps")).await)["secretRotation"], moved);
    refused(&infisical.get(token, &named("dev", "/")).await, 404, "NotFound");

    // What it was moved to is in use now, and moving it there again changes nothing.
    let folder = format!("/api/v1/folders/{}", text(&moved, "folderId"));
    let place = json!({ "workspaceId": infisical.project, "environment": "prod", "path": "/" });
    refused(&infisical.delete(token, &folder, Some(place)).await, 400, "BadRequest");
    let events = infisical.server.events();
    assert_eq!(ok(&infisical.post(token, &path, to("prod", "/apps", true)).await)["secretRotation"], moved);
    assert_eq!(infisical.server.events(), events);
    assert_eq!(infisical.count("rota.managed-rotation.moved.v1").await, 1);

    assert_eq!(members(&rotating.rotate().await), members(&moved));
    let rotated = value(&rotating, "db-PASSWORD", "prod", "/apps").await;
    assert_eq!(rotated["version"], 2);
    let now = text(&value(&rotating, "db-USER", "prod", "/apps").await, "secretValue");
    assert!(rotating.users.lets_in(&now, &text(&rotated, "secretValue")));
    assert!(rotating.users.lets_in(&user, &password));
}

#[tokio::test]
async fn what_is_in_the_way_is_overwritten_only_where_nobody_rotates_it() {
    let rotating = Rotating::new().await;
    let (infisical, token) = (&rotating.infisical, &rotating.token);
    let others = Users::new().await;
    let connection = ok(&infisical.post(token, CONNECTIONS, others.connection("others")).await);
    let connection = text(&connection["appConnection"], "id");
    let make = async |name: &str, user: &str| {
        let mut body = others.rotation(&infisical.project, &connection, name);
        body["environment"] = json!("prod");
        body["secretsMapping"] = json!({ "username": user, "password": "db-PASSWORD" });
        let made = ok(&infisical.post(token, ROTATIONS, body).await);
        format!("{ROTATIONS}/{}", text(&made["secretRotation"], "id"))
    };
    let theirs = make("theirs", "theirs-USER").await;
    let (published, path) = (rotating.published().await, format!("{}/move", rotating.path()));
    let unchanged = async |overwrite: bool| {
        let events = infisical.server.events();
        let body =
            refused(&infisical.post(token, &path, to("prod", "/", overwrite)).await, 400, "BadRequest");
        assert!(text(&body, "message").contains("taken"), "{body}");
        assert_eq!(infisical.server.events(), events);
        assert_eq!(rotating.published().await, published);
    };
    unchanged(false).await;
    unchanged(true).await;
    // What it leaves behind may be overwritten by whoever says so, and what is not in the way stays.
    ok(&infisical.delete(token, &theirs, None).await);
    unchanged(false).await;
    let moved = ok(&infisical.post(token, &path, to("prod", "/", true)).await)["secretRotation"].clone();
    assert_eq!(moved["environment"]["slug"], "prod");
    let password = value(&rotating, "db-PASSWORD", "prod", "/").await;
    assert_eq!((&password["secretValue"], &password["isRotatedSecret"]), (&json!(published.1), &json!(true)));
    let left = value(&rotating, "theirs-USER", "prod", "/").await;
    assert_eq!(left["isRotatedSecret"], false);
    assert_eq!(infisical.count("rota.managed-rotation.secrets-deleted.v1").await, 1);
    // A name is taken by a rotation, too, and free again where it was moved away from.
    let mut back = others.rotation(&infisical.project, &connection, "db");
    back["secretsMapping"] = json!({ "username": "a", "password": "b" });
    ok(&infisical.post(token, ROTATIONS, back).await);
    let events = infisical.server.events();
    refused(&infisical.post(token, &path, to("dev", "/", true)).await, 400, "BadRequest");
    assert_eq!(infisical.server.events(), events);
}

#[tokio::test]
async fn what_is_wrong_with_a_move_is_told_and_changes_nothing() {
    let rotating = Rotating::new().await;
    let (infisical, token, path) =
        (&rotating.infisical, &rotating.token, format!("{}/move", rotating.path()));
    let auditor = infisical.token_with(&["auditor"]).await;
    let rotator = infisical.token_with(&["rotator"]).await;
    let (stranger, _) = infisical.stranger().await;
    let events = infisical.server.events();
    let both = ["destinationEnvironment", "destinationSecretPath"];
    refused_for(&infisical.post(token, &path, json!({})).await, &both);
    refused_for(&infisical.post(token, &path, to("", "", false)).await, &both);
    let mut wrong = to("prod", "/", false);
    wrong["overwriteDestination"] = json!("true");
    refused_for(&infisical.post(token, &path, wrong).await, &["overwriteDestination"]);
    for (environment, folder) in [("nowhere", "/"), ("prod", "/nowhere")] {
        refused(&infisical.post(token, &path, to(environment, folder, false)).await, 400, "BadRequest");
    }
    let other_kind = path.replace("postgres-credentials", "redis-credentials");
    refused(&infisical.post(token, &other_kind, to("prod", "/", false)).await, 400, "BadRequest");
    let nobody = format!("{ROTATIONS}/{NOBODY}/move");
    let there = infisical.post(&stranger, &path, to("prod", "/", false)).await;
    refused(&there, 404, "NotFound");
    same_refusal(&there, &infisical.post(&stranger, &nobody, to("prod", "/", false)).await);
    assert_eq!(infisical.server.events(), events);
    for token in [auditor, rotator] {
        refused(&infisical.post(&token, &path, to("prod", "/", false)).await, 403, "PermissionDenied");
    }
    assert_eq!(infisical.count("rota.managed-rotation.moved.v1").await, 0);
}

#[tokio::test]
async fn a_check_logs_in_with_what_is_published_and_changes_nothing() {
    let rotating = Rotating::new().await;
    let (infisical, users, token) = (&rotating.infisical, &rotating.users, &rotating.token);
    let path = format!("{}/check-credentials", rotating.path());
    let verifier = infisical.token_with(&["verifier"]).await;
    let rotator = infisical.token_with(&["rotator"]).await;
    let (stranger, _) = infisical.stranger().await;
    let events = infisical.server.events();
    let request = infisical.server.request(&As::Bearer(&rotator), Method::POST, &path);
    assert_eq!(ok(&send(request).await), json!({ "secretRotation": rotating.rotation }));
    let (user, password) = rotating.published().await;
    users.execute(&format!("ALTER ROLE {user} PASSWORD 'by hand'")).await;
    let body = refused(&infisical.post(token, &path, json!({})).await, 400, "BadRequest");
    assert!(text(&body, "message").contains("reconcile"), "{body}");
    users.execute(&format!("ALTER ROLE {user} PASSWORD '{password}'")).await;
    ok(&infisical.post(token, &path, json!({})).await);
    refused(&infisical.post(&stranger, &path, json!({})).await, 404, "NotFound");
    assert_eq!(infisical.server.events(), events);
    refused(&infisical.post(&verifier, &path, json!({})).await, 403, "PermissionDenied");
}
