//! What rotations publish, as clients read it.

use serde_json::json;

use crate::hopae::text;
use crate::infisical::{NOBODY, ok, refused, refused_for, same_refusal};
use crate::infisical_target::{ROTATIONS, Rotating};
use crate::support::{As, OPERATOR, members, send};
use reqwest::Method;

const MEMBERS: [&str; 21] = [
    "_id",
    "actor",
    "createdAt",
    "environment",
    "id",
    "isRotatedSecret",
    "rotationId",
    "secretComment",
    "secretKey",
    "secretMetadata",
    "secretPath",
    "secretReminderNote",
    "secretReminderRepeatDays",
    "secretValue",
    "secretValueHidden",
    "skipMultilineEncoding",
    "tags",
    "type",
    "updatedAt",
    "version",
    "workspace",
];

#[tokio::test]
async fn secrets_are_read_in_both_versions_by_either_spelling() {
    let rotating = Rotating::new().await;
    let (infisical, token, project) = (&rotating.infisical, &rotating.token, &rotating.infisical.project);
    let slug = ok(&infisical.get(token, "/api/v1/projects").await);
    let slug = text(&slug["projects"][0], "slug");
    let mut lists = Vec::new();
    for query in [
        format!("workspaceId={project}&environment=dev"),
        format!("projectId={project}&environment=dev&secretPath=/"),
        format!("workspaceSlug={slug}&environment=dev&secretPath=%2F&include_imports=true&tagSlugs=a,b"),
        format!(
            "projectId={project}&environment=dev&recursive=true&includeImports=false&expandSecretReferences=true"
        ),
    ] {
        for base in ["/api/v3/secrets/raw", "/api/v4/secrets", "/api/v4/secrets/"] {
            lists.push(ok(&infisical.get(token, &format!("{base}?{query}")).await));
        }
    }
    let list = lists[0].clone();
    assert!(lists.iter().all(|other| *other == list));
    assert_eq!(members(&list), ["imports", "secrets"]);
    assert_eq!(list["imports"], json!([]));
    let secrets = list["secrets"].as_array().unwrap();
    let names: Vec<_> = secrets.iter().map(|secret| text(secret, "secretKey")).collect();
    assert_eq!(names, ["db-PASSWORD", "db-USER"]);
    for secret in secrets {
        assert_eq!(members(secret), MEMBERS);
        assert_eq!(secret["id"], secret["_id"]);
        assert_eq!((&secret["workspace"], &secret["environment"]), (&json!(project), &json!("dev")));
        assert_eq!((&secret["version"], &secret["type"]), (&json!(1), &json!("shared")));
        assert_eq!((&secret["secretComment"], &secret["secretPath"]), (&json!(""), &json!("/")));
        assert_eq!(secret["rotationId"], rotating.rotation["id"]);
        let one = |base: &str| {
            format!("{base}/{}?workspaceId={project}&environment=dev", text(secret, "secretKey"))
        };
        for base in ["/api/v3/secrets/raw", "/api/v4/secrets"] {
            let read =
                ok(&infisical.get(token, &format!("{}&type=shared&secretName=x&version=1", one(base))).await);
            assert_eq!(read, json!({ "secret": secret }));
            let by_id = format!("{base}/id/{}", text(secret, "id"));
            assert_eq!(ok(&infisical.get(token, &by_id).await), json!({ "secret": secret }));
        }
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_named_is_told_apart() {
    let rotating = Rotating::new().await;
    let (infisical, token, project) = (&rotating.infisical, &rotating.token, &rotating.infisical.project);
    for base in ["/api/v3/secrets/raw", "/api/v4/secrets"] {
        let get = async |rest: &str| infisical.get(token, &format!("{base}{rest}")).await;
        refused(&get("").await, 400, "BadRequest");
        refused(&get(&format!("?workspaceId={project}")).await, 400, "BadRequest");
        refused(&get(&format!("?projectId={project}&environment=nowhere")).await, 404, "NotFound");
        refused(
            &get(&format!("?projectId={project}&environment=dev&secretPath=/nowhere")).await,
            404,
            "NotFound",
        );
        let there = get(&format!("/nothing?projectId={project}&environment=dev")).await;
        refused(&there, 404, "NotFound");
        let personal = get(&format!("/db-USER?projectId={project}&environment=dev&type=personal")).await;
        same_refusal(&there, &personal);
        refused(&get(&format!("/id/{NOBODY}?projectId={project}")).await, 404, "NotFound");
        refused_for(&get("/id/nothing").await, &["secretId"]);
        refused_for(
            &get(&format!("/db-USER?projectId={project}&environment=dev&version=x")).await,
            &["version"],
        );
        refused_for(
            &get(&format!("?projectId={project}&environment=dev&recursive=yes")).await,
            &["recursive"],
        );
        let (stranger, _) = infisical.stranger().await;
        let foreign = infisical.get(&stranger, &format!("{base}?projectId={project}&environment=dev")).await;
        let nowhere = infisical.get(&stranger, &format!("{base}?projectId={NOBODY}&environment=dev")).await;
        refused(&foreign, 404, "NotFound");
        same_refusal(&foreign, &nowhere);
    }
    let by_hand = json!({ "workspaceId": project, "environment": "dev", "secretValue": "x" });
    for (method, path) in [(Method::POST, "NEW"), (Method::PATCH, "db-USER")] {
        let path = format!("/api/v3/secrets/raw/{path}");
        let request = infisical.server.request(&As::Bearer(token), method, &path);
        refused(&send(request.json(&by_hand)).await, 400, "BadRequest");
    }
    let place = json!({ "projectId": project, "environment": "dev" });
    refused(&infisical.delete(token, "/api/v4/secrets/db-USER", Some(place)).await, 400, "BadRequest");
}

#[tokio::test]
async fn a_tag_tells_whether_anything_has_changed_and_nothing_about_values() {
    let rotating = Rotating::new().await;
    let (infisical, token) = (&rotating.infisical, &rotating.token);
    let path = format!("/api/v4/secrets?projectId={}&environment=dev", infisical.project);
    let ask = async |token: &str, tag: &str| {
        let request = infisical.server.request(&As::Bearer(token), Method::GET, &path);
        send(if tag.is_empty() { request } else { request.header("If-None-Match", tag) }).await
    };
    let first = ask(token, "").await;
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    let same = ask(token, &tag).await;
    assert_eq!((same.status.as_u16(), same.text.as_str(), same.header("etag")), (304, "", tag.as_str()));
    assert_eq!(ask(token, &format!("\"other\", {tag}")).await.status, 304);
    // Who may not read values has another answer, and another tag.
    let auditor = infisical.token_with(&["auditor"]).await;
    let hidden = ask(&auditor, &tag).await;
    assert_eq!(ok(&hidden)["secrets"][0]["secretValue"], "<hidden-by-infisical>");
    let unasked = infisical.get(token, &format!("{path}&viewSecretValue=false")).await;
    assert_eq!(
        (unasked.header("etag"), unasked.text.as_str()),
        (hidden.header("etag"), hidden.text.as_str())
    );
    rotating.rotate().await;
    let changed = ask(token, &tag).await;
    assert_eq!(ok(&changed)["secrets"][0]["version"], 2);
    assert_ne!(changed.header("etag"), tag);
}

#[tokio::test]
async fn versions_of_both_places_are_read_and_older_ones_are_gone() {
    let rotating = Rotating::new().await;
    let (infisical, token) = (&rotating.infisical, &rotating.token);
    let mut published = vec![rotating.published().await.1];
    for _ in 0..2 {
        rotating.rotate().await;
        published.push(rotating.published().await.1);
    }
    let version =
        async |n: u32| infisical.get(token, &rotating.secret("db-PASSWORD", &format!("&version={n}"))).await;
    assert_eq!(ok(&version(3).await)["secret"]["secretValue"], published[2].as_str());
    assert_eq!(ok(&version(2).await)["secret"]["secretValue"], published[1].as_str());
    refused(&version(1).await, 404, "NotFound");
    refused(&version(4).await, 404, "NotFound");
    refused_for(&version(0).await, &["version"]);
}

#[tokio::test]
async fn secrets_are_in_folders_and_a_folder_with_secrets_stays() {
    let rotating = Rotating::new().await;
    let (infisical, users, token) = (&rotating.infisical, &rotating.users, &rotating.token);
    let folder = json!({ "workspaceId": infisical.project, "environment": "dev", "name": "apps" });
    let folder = text(&ok(&infisical.post(token, "/api/v1/folders", folder).await)["folder"], "id");
    let mut body = users.rotation(&infisical.project, &rotating.connection, "db");
    body["secretPath"] = json!("/apps/");
    let made = ok(&infisical.post(token, ROTATIONS, body).await);
    assert_eq!(made["secretRotation"]["folder"], json!({ "id": folder, "path": "/apps" }));
    let list = async |rest: &str| {
        let path = format!("/api/v3/secrets/raw?workspaceId={}&environment=dev{rest}", infisical.project);
        let listed = ok(&infisical.get(token, &path).await);
        let paths = listed["secrets"].as_array().unwrap().iter().map(|secret| text(secret, "secretPath"));
        paths.collect::<Vec<_>>()
    };
    assert_eq!(list("").await, ["/", "/"]);
    assert_eq!(list("&secretPath=/apps").await, ["/apps", "/apps"]);
    assert_eq!(list("&recursive=true").await, ["/", "/", "/apps", "/apps"]);
    let place = json!({ "workspaceId": infisical.project, "environment": "dev" });
    let one = format!("/api/v1/folders/{folder}");
    refused(&infisical.delete(token, &one, Some(place.clone())).await, 400, "BadRequest");
    let rotation = format!("{ROTATIONS}/{}?deleteSecrets=true", text(&made["secretRotation"], "id"));
    ok(&infisical.delete(token, &rotation, None).await);
    ok(&infisical.delete(token, &one, Some(place)).await);
}

#[tokio::test]
async fn no_password_is_in_any_event_or_error() {
    let rotating = Rotating::new().await;
    let (infisical, token) = (&rotating.infisical, &rotating.token);
    let mut secrets = vec!["what the own user has".to_owned(), rotating.published().await.1];
    rotating.rotate().await;
    secrets.push(rotating.published().await.1);
    let mut wrong = rotating.users.connection("wrong");
    wrong["credentials"]["password"] = json!("a wrong password of rota's own");
    secrets.push("a wrong password of rota's own".to_owned());
    let reply = infisical.post(token, crate::infisical_target::CONNECTIONS, wrong).await;
    refused(&reply, 400, "BadRequest");
    let events = infisical.get(OPERATOR, "/v1/events?limit=1000").await;
    let listed = infisical.get(token, "/api/v1/app-connections").await;
    for secret in secrets {
        for reply in [&reply, &events, &listed] {
            assert!(!reply.text.contains(&secret));
        }
    }
}
