//! Secret rotations on a real PostgreSQL: made, rotated, changed, found and ended.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::hopae::text;
use crate::infisical::{Infisical, NOBODY, ok, refused, refused_for, same_refusal};
use crate::infisical_target::{CONNECTIONS, ROTATIONS, Rotating};
use crate::support::{As, members, send};

/// What the format has, and nothing else.
const MEMBERS: [&str; 25] = [
    "activeIndex",
    "connection",
    "connectionId",
    "createdAt",
    "description",
    "environment",
    "folder",
    "folderId",
    "id",
    "isAutoRotationEnabled",
    "isLastRotationManual",
    "lastRotatedAt",
    "lastRotationAttemptedAt",
    "lastRotationJobId",
    "lastRotationMessage",
    "name",
    "nextRotationAt",
    "parameters",
    "projectId",
    "rotateAtUtc",
    "rotationInterval",
    "rotationStatus",
    "secretsMapping",
    "type",
    "updatedAt",
];

#[tokio::test]
async fn a_rotation_is_made_rotated_and_read() {
    let mut rotating = Rotating::new().await;
    let (infisical, users) = (&rotating.infisical, &rotating.users);
    let rotation = &rotating.rotation;
    assert_eq!(members(rotation), MEMBERS);
    let folder = &rotation["folderId"];
    let expected = json!({
        "activeIndex": 0,
        "connection": { "app": "postgres", "name": "pg", "id": rotating.connection },
        "connectionId": rotating.connection,
        "createdAt": "2027-01-15T08:00:00.000Z",
        "description": null,
        "environment": { "slug": "dev", "name": "Development", "id": rotation["environment"]["id"] },
        "folder": { "id": folder, "path": "/" },
        "folderId": folder,
        "id": rotation["id"],
        "isAutoRotationEnabled": true,
        "isLastRotationManual": true,
        "lastRotatedAt": "2027-01-15T08:00:00.000Z",
        "lastRotationAttemptedAt": "2027-01-15T08:00:00.000Z",
        "lastRotationJobId": null,
        "lastRotationMessage": null,
        "name": "db",
        "nextRotationAt": "2027-02-15T03:15:00.000Z",
        "parameters": { "username1": users.first, "username2": users.second },
        "projectId": infisical.project,
        "rotateAtUtc": { "hours": 3, "minutes": 15 },
        "rotationInterval": 30,
        "rotationStatus": "success",
        "secretsMapping": { "username": "db-USER", "password": "db-PASSWORD" },
        "type": "postgres-credentials",
        "updatedAt": rotation["updatedAt"],
    });
    assert_eq!(rotation, &expected);

    let first = rotating.published().await;
    assert_eq!(first.0, users.first);
    assert!(users.lets_in(&first.0, &first.1));
    infisical.home.clock.advance(Duration::from_hours(24));
    rotating.log_in_again().await;
    let (infisical, users, token) = (&rotating.infisical, &rotating.users, &rotating.token);
    let rotation = &rotating.rotation;
    let rotated = rotating.rotate().await;
    assert_eq!(members(&rotated), MEMBERS);
    assert_eq!((&rotated["activeIndex"], &rotated["rotationStatus"]), (&json!(1), &json!("success")));
    assert_eq!(rotated["lastRotatedAt"], "2027-01-16T08:00:00.000Z");
    assert_eq!(rotated["nextRotationAt"], "2027-02-16T03:15:00.000Z");
    let second = rotating.published().await;
    assert_eq!(second.0, users.second);
    assert!(users.lets_in(&second.0, &second.1), "the new one logs in");
    assert!(users.lets_in(&first.0, &first.1), "and so does the one before, until the next rotation");

    let generated = ok(&infisical.get(token, &format!("{}/generated-credentials", rotating.path())).await);
    let pair = |(user, password): &(String, String)| json!({ "username": user, "password": password });
    assert_eq!(
        generated,
        json!({
            "generatedCredentials": [pair(&first), pair(&second)], "activeIndex": 1,
            "rotationId": rotation["id"], "type": "postgres-credentials",
        })
    );
    rotating.rotate().await;
    let third = rotating.published().await;
    assert_eq!(third.0, users.first);
    assert!(users.lets_in(&third.0, &third.1) && users.lets_in(&second.0, &second.1));
    assert!(!users.lets_in(&first.0, &first.1), "its turn is over");
}

#[tokio::test]
async fn a_rotation_is_found_by_id_by_name_by_kind_and_over_all_kinds() {
    let rotating = Rotating::new().await;
    let (infisical, token, project) = (&rotating.infisical, &rotating.token, &rotating.infisical.project);
    let all = json!({ "secretRotations": [rotating.rotation] });
    let one = json!({ "secretRotation": rotating.rotation });
    assert_eq!(ok(&infisical.get(token, &format!("{ROTATIONS}?projectId={project}")).await), all);
    assert_eq!(
        ok(&infisical.get(token, &format!("/api/v2/secret-rotations?projectId={project}")).await),
        all
    );
    let others = format!("/api/v2/secret-rotations/redis-credentials/?projectId={project}");
    assert_eq!(ok(&infisical.get(token, &others).await), json!({ "secretRotations": [] }));
    assert_eq!(ok(&infisical.get(token, &rotating.path()).await), one);
    assert_eq!(ok(&infisical.get(token, &format!("{}/", rotating.path())).await), one);
    let named = |name: &str, environment: &str, path: &str| {
        format!(
            "{ROTATIONS}/rotation-name/{name}?projectId={project}&environment={environment}&secretPath={path}"
        )
    };
    assert_eq!(ok(&infisical.get(token, &named("db", "dev", "/")).await), one);
    refused(&infisical.get(token, &named("other", "dev", "/")).await, 404, "NotFound");
    refused(&infisical.get(token, &named("db", "prod", "/")).await, 404, "NotFound");
    refused(&infisical.get(token, &named("db", "dev", "/nowhere")).await, 400, "BadRequest");
    refused(&infisical.get(token, &named("db", "nowhere", "/")).await, 400, "BadRequest");
    let bare = format!("{ROTATIONS}/rotation-name/db");
    refused_for(&infisical.get(token, &bare).await, &["projectId", "environment", "secretPath"]);
    refused_for(&infisical.get(token, ROTATIONS).await, &["projectId"]);
    refused_for(&infisical.get(token, &format!("{ROTATIONS}/not-an-id")).await, &["rotationId"]);
    refused(&infisical.get(token, &format!("{ROTATIONS}/{NOBODY}")).await, 404, "NotFound");
    let id = text(&rotating.rotation, "id");
    let other_kind = format!("/api/v2/secret-rotations/redis-credentials/{id}");
    refused(&infisical.get(token, &other_kind).await, 400, "BadRequest");
    refused(&infisical.get(token, "/api/v2/secret-rotations/nothing-known").await, 404, "NotFound");
    let reconcile = format!("{}/reconcile", rotating.path());
    refused(&infisical.post(token, &reconcile, json!({})).await, 404, "NotFound");
}

#[tokio::test]
async fn another_projects_rotations_and_connections_are_not_there() {
    let rotating = Rotating::new().await;
    let infisical = &rotating.infisical;
    let (stranger, _) = infisical.stranger().await;
    let events = infisical.server.events();
    let paths = |id: &str| {
        let one = format!("{ROTATIONS}/{id}");
        [
            (Method::GET, one.clone()),
            (Method::PATCH, one.clone()),
            (Method::DELETE, one.clone()),
            (Method::GET, format!("{one}/generated-credentials")),
            (Method::POST, format!("{one}/rotate-secrets")),
        ]
    };
    let ask = async |method: &Method, path: &str| {
        let request = infisical.server.request(&As::Bearer(&stranger), method.clone(), path);
        send(request.json(&json!({}))).await
    };
    for ((method, there), (_, nowhere)) in
        paths(&text(&rotating.rotation, "id")).into_iter().zip(paths(NOBODY))
    {
        let there = ask(&method, &there).await;
        refused(&there, 404, "NotFound");
        same_refusal(&there, &ask(&method, &nowhere).await);
    }
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let there = ask(&method, &format!("{CONNECTIONS}/{}", rotating.connection)).await;
        refused(&there, 404, "NotFound");
        same_refusal(&there, &ask(&method, &format!("{CONNECTIONS}/{NOBODY}")).await);
    }
    let listed = |project: &str| format!("{ROTATIONS}?projectId={project}");
    let there = ask(&Method::GET, &listed(&infisical.project)).await;
    refused(&there, 404, "NotFound");
    same_refusal(&there, &ask(&Method::GET, &listed(NOBODY)).await);
    assert_eq!(ok(&ask(&Method::GET, "/api/v1/app-connections").await), json!({ "appConnections": [] }));
    assert_eq!(infisical.server.events(), events);
}

#[tokio::test]
async fn what_is_wrong_with_a_new_rotation_is_told_and_changes_nothing() {
    let rotating = Rotating::new().await;
    let (infisical, users, token) = (&rotating.infisical, &rotating.users, &rotating.token);
    let good = || users.rotation(&infisical.project, &rotating.connection, "other");
    let published = rotating.published().await;
    let events = infisical.server.events();
    let with = |path: &[&str], value: Value| {
        let mut body = good();
        let mut at = &mut body;
        for part in path {
            at = &mut at[*part];
        }
        *at = value;
        body
    };
    for (path, value) in [
        (&["name"][..], json!("Upper")),
        (&["name"], json!("x".repeat(65))),
        (&["name"], json!(7)),
        (&["projectId"], json!("")),
        (&["description"], json!("x".repeat(257))),
        (&["connectionId"], json!("pg")),
        (&["environment"], json!("")),
        (&["secretPath"], json!("")),
        (&["isAutoRotationEnabled"], json!("true")),
        (&["rotationInterval"], json!(0)),
        (&["rotationInterval"], json!("soon")),
        (&["rotationInterval"], json!(1.5)),
        (&["rotateAtUtc", "hours"], json!(24)),
        (&["rotateAtUtc", "minutes"], json!(-1)),
        (&["parameters", "username1"], json!("")),
        (&["parameters", "rotationStatement"], json!("DROP TABLE {{password}}")),
        (&["secretsMapping", "username"], json!(" ")),
        (&["secretsMapping", "password"], json!("a/b")),
        (&["secretsMapping", "password"], json!("a:b")),
    ] {
        let field = path.join(".");
        refused_for(&infisical.post(token, ROTATIONS, with(path, value)).await, &[&field]);
    }
    refused_for(
        &infisical.post(token, ROTATIONS, with(&["rotateAtUtc"], json!({}))).await,
        &["rotateAtUtc.hours", "rotateAtUtc.minutes"],
    );
    let nothing = ["name", "projectId", "connectionId", "environment", "secretPath", "rotationInterval"];
    let nothing = [&nothing[..], &["secretsMapping", "parameters"]].concat();
    refused_for(&infisical.post(token, ROTATIONS, json!({})).await, &nothing);
    let same = with(&["secretsMapping", "password"], json!("other-USER"));
    refused_for(&infisical.post(token, ROTATIONS, same).await, &["secretsMapping"]);

    // What is well formed and can't be done.
    for (path, value) in [
        (&["name"][..], json!("db")),
        (&["environment"], json!("nowhere")),
        (&["secretPath"], json!("/nowhere")),
        (&["secretsMapping", "password"], json!("db-PASSWORD")),
        (&["parameters", "username2"], json!(users.first)),
        (&["parameters", "username1"], json!("nobody_here")),
    ] {
        refused(&infisical.post(token, ROTATIONS, with(path, value)).await, 400, "BadRequest");
    }
    let unknown = with(&["connectionId"], json!(NOBODY));
    refused(&infisical.post(token, ROTATIONS, unknown).await, 404, "NotFound");
    // What failed at the target is in the history, as an attempt; nothing else is.
    let left = ok(&infisical.get(token, &format!("{ROTATIONS}?projectId={}", infisical.project)).await);
    assert_eq!(left["secretRotations"].as_array().unwrap().len(), 1);
    assert_eq!(rotating.published().await, published);
    assert!(infisical.server.events() <= events + 6);
}

#[tokio::test]
async fn a_rotation_is_changed_and_its_secrets_are_renamed_in_place() {
    let rotating = Rotating::new().await;
    let (infisical, users, token) = (&rotating.infisical, &rotating.users, &rotating.token);
    let before = ok(&infisical.get(token, &rotating.secret("db-USER", "")).await)["secret"].clone();
    let password = rotating.published().await.1;
    let body = json!({
        "Provider": "postgres-credentials", "ID": rotating.rotation["id"], "name": "renamed", "description": "why",
        "rotationInterval": "7", "rotateAtUtc": { "hours": 0, "minutes": 0 }, "isAutoRotationEnabled": false,
        "secretsMapping": { "username": "NEW_USER", "password": "NEW_PASSWORD" },
        "environment": "prod", "secretPath": "/elsewhere", "connectionId": NOBODY, "projectId": NOBODY,
        "type": "redis-credentials",
    });
    let changed = ok(&infisical.patch(token, &rotating.path(), body).await)["secretRotation"].clone();
    let mut expected = rotating.rotation.clone();
    for (name, value) in [
        ("name", json!("renamed")),
        ("description", json!("why")),
        ("rotationInterval", json!(7)),
        ("rotateAtUtc", json!({ "hours": 0, "minutes": 0 })),
        ("isAutoRotationEnabled", json!(false)),
        ("nextRotationAt", json!(null)),
        ("secretsMapping", json!({ "username": "NEW_USER", "password": "NEW_PASSWORD" })),
        ("updatedAt", changed["updatedAt"].clone()),
    ] {
        expected[name] = value;
    }
    assert_eq!(changed, expected);
    let after = ok(&infisical.get(token, &rotating.secret("NEW_USER", "")).await)["secret"].clone();
    assert_eq!((&after["id"], &after["version"]), (&before["id"], &before["version"]));
    let after = ok(&infisical.get(token, &rotating.secret("NEW_PASSWORD", "")).await)["secret"].clone();
    assert_eq!(after["secretValue"], password.as_str());
    assert!(users.lets_in(&users.first, &password), "nothing was rotated");
    refused(&infisical.get(token, &rotating.secret("db-USER", "")).await, 404, "NotFound");

    let cleared = ok(&infisical.patch(token, &rotating.path(), json!({ "description": null })).await);
    assert_eq!(cleared["secretRotation"]["description"], json!(null));
    let events = infisical.server.events();
    refused_for(
        &infisical.patch(token, &rotating.path(), json!({ "rotationInterval": 0 })).await,
        &["rotationInterval"],
    );
    let unequal = json!({ "parameters": { "username1": users.first, "username2": users.first } });
    refused(&infisical.patch(token, &rotating.path(), unequal).await, 400, "BadRequest");
    refused_for(
        &infisical.patch(token, &rotating.path(), json!({ "parameters": {} })).await,
        &["parameters.username1", "parameters.username2"],
    );
    assert_eq!(infisical.server.events(), events);
}

#[tokio::test]
async fn a_rotation_that_fails_is_a_500_with_the_reason_and_what_was_published_stays() {
    let rotating = Rotating::new().await;
    let (infisical, users) = (&rotating.infisical, &rotating.users);
    let published = rotating.published().await;
    users.execute(&format!("REVOKE {} FROM {}", users.second, users.admin)).await;
    users.execute(&format!("ALTER ROLE {} NOCREATEROLE", users.admin)).await;
    let path = format!("{}/rotate-secrets", rotating.path());
    let body = refused(&infisical.post(&rotating.token, &path, json!({})).await, 500, "InternalServerError");
    assert!(text(&body, "message").starts_with("rota could not issue credentials"), "{body}");
    let shown = ok(&infisical.get(&rotating.token, &rotating.path()).await)["secretRotation"].clone();
    assert_eq!((&shown["rotationStatus"], &shown["activeIndex"]), (&json!("failed"), &json!(0)));
    assert_eq!(shown["lastRotationMessage"], body["message"]);
    assert_eq!(shown["nextRotationAt"], "2027-01-16T03:15:00.000Z");
    assert_eq!(rotating.published().await, published);
    assert!(users.lets_in(&published.0, &published.1));
    users.execute(&format!("ALTER ROLE {} CREATEROLE", users.admin)).await;
    users.execute(&format!("GRANT {} TO {} WITH ADMIN OPTION", users.second, users.admin)).await;
    assert_eq!(rotating.rotate().await["rotationStatus"], "success");
}

#[tokio::test]
async fn a_rotation_ends_with_or_without_what_it_made() {
    let rotating = Rotating::new().await;
    let (infisical, users, token) = (&rotating.infisical, &rotating.users, &rotating.token);
    let published = rotating.published().await;
    for wrong in ["deleteSecrets=yes", "revokeGeneratedCredentials=1", "deleteSecrets="] {
        let path = format!("{}?{wrong}", rotating.path());
        refused_for(&infisical.delete(token, &path, None).await, &[wrong.split('=').next().unwrap()]);
    }
    let in_use = format!("{CONNECTIONS}/{}", rotating.connection);
    refused(&infisical.delete(token, &in_use, None).await, 400, "BadRequest");
    // Terraform sends a body, and neither flag.
    let gone = ok(&infisical.delete(token, &rotating.path(), Some(json!({ "ID": "x" }))).await);
    assert_eq!(gone["secretRotation"]["id"], rotating.rotation["id"]);
    refused(&infisical.get(token, &rotating.path()).await, 404, "NotFound");
    refused(&infisical.delete(token, &rotating.path(), None).await, 404, "NotFound");
    assert_eq!(rotating.published().await, published);
    assert!(users.lets_in(&published.0, &published.1), "what was made stays");
    let left = ok(&infisical.get(token, &rotating.secret("db-USER", "")).await)["secret"].clone();
    assert_eq!((&left["isRotatedSecret"], left.get("rotationId")), (&json!(false), None));

    // Its secrets are in the way of another one until they are deleted.
    let again = || users.rotation(&infisical.project, &rotating.connection, "db");
    refused(&infisical.post(token, ROTATIONS, again()).await, 400, "BadRequest");
    let place = json!({ "workspaceId": infisical.project, "environment": "dev", "secretPath": "/", "type": "shared" });
    for name in ["db-USER", "db-PASSWORD"] {
        let path = format!("/api/v3/secrets/raw/{name}");
        ok(&infisical.delete(token, &path, Some(place.clone())).await);
        refused(&infisical.get(token, &rotating.secret(name, "")).await, 404, "NotFound");
    }
    let again = ok(&infisical.post(token, ROTATIONS, again()).await);
    let again = format!("{ROTATIONS}/{}", text(&again["secretRotation"], "id"));
    let published = rotating.published().await;
    let path = format!("{again}?deleteSecrets=true&revokeGeneratedCredentials=true");
    ok(&infisical.delete(token, &path, None).await);
    refused(&infisical.get(token, &rotating.secret("db-USER", "")).await, 404, "NotFound");
    assert!(!users.lets_in(&published.0, &published.1), "what was made is dead");
    ok(&infisical.delete(token, &in_use, None).await);
    refused(&infisical.get(token, &in_use).await, 404, "NotFound");
}

#[tokio::test]
async fn a_named_rotation_is_done_once() {
    let rotating = Rotating::new().await;
    let infisical = &rotating.infisical;
    let path = format!("{}/rotate-secrets", rotating.path());
    let ask = async |key: &str| {
        let request = infisical.server.request(&As::Bearer(&rotating.token), Method::POST, &path);
        send(request.header("Idempotency-Key", key)).await
    };
    let first = ask("one").await;
    let published = rotating.published().await;
    let again = ask("one").await;
    assert_eq!(ok(&first), ok(&again));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(rotating.published().await, published);
    assert_eq!(ok(&ask("two").await)["secretRotation"]["activeIndex"], 0);
    assert_ne!(rotating.published().await, published);
}

#[tokio::test]
async fn each_role_does_its_part() {
    let rotating = Rotating::new().await;
    let (infisical, one) = (&rotating.infisical, rotating.path());
    let denied = async |token: &str, method: Method, path: &str| {
        let request = infisical.server.request(&As::Bearer(token), method, path);
        refused(&send(request.json(&json!({}))).await, 403, "PermissionDenied");
    };
    for (role, reads_values, rotates) in [
        ("rotator", true, true),
        ("verifier", true, false),
        ("auditor", false, false),
        ("analyst", false, false),
    ] {
        let token = infisical.token_with(&[role]).await;
        assert_eq!(ok(&infisical.get(&token, &one).await)["secretRotation"]["id"], rotating.rotation["id"]);
        let secret = ok(&infisical.get(&token, &rotating.secret("db-PASSWORD", "")).await)["secret"].clone();
        assert_eq!(secret["secretValueHidden"], !reads_values, "{role}");
        if rotates {
            ok(&infisical.post(&token, &format!("{one}/rotate-secrets"), json!({})).await);
            ok(&infisical.get(&token, &format!("{one}/generated-credentials")).await);
        } else {
            denied(&token, Method::POST, &format!("{one}/rotate-secrets")).await;
            denied(&token, Method::GET, &format!("{one}/generated-credentials")).await;
        }
        denied(&token, Method::PATCH, &one).await;
        denied(&token, Method::DELETE, &one).await;
        let connection = format!("{CONNECTIONS}/{}", rotating.connection);
        denied(&token, Method::DELETE, &connection).await;
    }
    let nobody = infisical.token_with(&[]).await;
    denied(&nobody, Method::GET, &one).await;
    denied(&nobody, Method::GET, &rotating.secret("db-PASSWORD", "")).await;
}

#[tokio::test]
async fn there_are_fourteen_kinds() {
    let infisical = Infisical::new().await;
    let token = infisical.token_with(&["admin"]).await;
    let options = ok(&infisical.get(&token, "/api/v2/secret-rotations/options").await);
    let options = options["secretRotationOptions"].as_array().unwrap();
    assert_eq!(options.len(), 14);
    let names: Vec<_> = options.iter().map(|option| option["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted());
    let postgres = options.iter().find(|option| option["type"] == "postgres-credentials").unwrap();
    assert_eq!(postgres["connection"], "postgres");
    let mapping = json!({ "username": "POSTGRES_DB_USERNAME", "password": "POSTGRES_DB_PASSWORD" });
    assert_eq!(postgres["template"]["secretsMapping"], mapping);
    assert!(text(&postgres["template"], "rotationStatement").contains("{{password}}"));
    let connections = ok(&infisical.get(&token, "/api/v1/app-connections/options").await);
    assert_eq!(connections["appConnectionOptions"].as_array().unwrap().len(), 14);

    for option in options {
        let kind = text(option, "type");
        let path = format!("/api/v2/secret-rotations/{kind}");
        let reply = infisical.get(&token, &format!("{path}?projectId={}", infisical.project)).await;
        assert_eq!(ok(&reply), json!({ "secretRotations": [] }));
        let reply = infisical.post(&token, &path, json!({})).await;
        assert_eq!(reply.status, 422, "{kind}: {reply:?}");
    }
}
