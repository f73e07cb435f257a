//! App connections on a real PostgreSQL.

use reqwest::Method;
use serde_json::{Value, json};

use crate::hopae::text;
use crate::infisical::{Infisical, NOBODY, ok, refused, refused_for};
use crate::infisical_target::{CONNECTIONS, Users, reaching};
use crate::support::{As, OPERATOR, members, send};

const ALL: &str = "/api/v1/app-connections";
const MEMBERS: [&str; 15] = [
    "app",
    "createdAt",
    "credentials",
    "credentialsHash",
    "description",
    "gatewayId",
    "id",
    "isPlatformManagedCredentials",
    "method",
    "name",
    "orgId",
    "project",
    "projectId",
    "updatedAt",
    "version",
];

#[tokio::test]
async fn a_connection_is_made_found_changed_and_ended() {
    let (infisical, users) = (reaching().await, Users::new().await);
    let token = infisical.token_with(&["admin"]).await;
    let reply = infisical.post(&token, CONNECTIONS, users.connection("pg-main")).await;
    let made = ok(&reply)["appConnection"].clone();
    assert_eq!(members(&made), MEMBERS);
    let mut shown = users.credentials();
    let password = shown.as_object_mut().unwrap().remove("password").unwrap();
    shown.as_object_mut().unwrap().remove("sslCertificate");
    assert_eq!(made["credentials"], shown);
    assert!(!reply.text.contains(password.as_str().unwrap()));
    assert_eq!((&made["projectId"], &made["version"]), (&json!(infisical.project), &json!(1)));
    assert_eq!(made["project"]["type"], "secret-manager");
    let hash = text(&made, "credentialsHash");
    assert_eq!(hash.len(), 64);

    let one = format!("{CONNECTIONS}/{}", text(&made, "id"));
    let wrapped = json!({ "appConnection": made });
    assert_eq!(ok(&infisical.get(&token, &one).await), wrapped);
    assert_eq!(ok(&infisical.get(&token, &format!("{CONNECTIONS}/connection-name/pg-main")).await), wrapped);
    refused(&infisical.get(&token, &format!("{CONNECTIONS}/connection-name/other")).await, 404, "NotFound");
    let project = &infisical.project;
    for list in [ALL.to_owned(), CONNECTIONS.to_owned(), format!("{ALL}/?projectId={project}")] {
        assert_eq!(ok(&infisical.get(&token, &list).await), json!({ "appConnections": [made] }));
    }
    assert_eq!(ok(&infisical.get(&token, &format!("{ALL}/redis")).await), json!({ "appConnections": [] }));
    let brief = json!({ "app": "postgres", "name": "pg-main", "id": made["id"], "projectId": project, "orgId": project });
    let available = ok(&infisical.get(&token, &format!("{CONNECTIONS}/available")).await);
    assert_eq!(available, json!({ "appConnections": [brief] }));
    refused(&infisical.get(OPERATOR, ALL).await, 422, "ValidationFailure");
    ok(&infisical.get(OPERATOR, &format!("{ALL}?projectId={project}")).await);

    // Terraform sends everything that it knows, and expects the hash to stay while the credentials do.
    let mut same = users.connection("pg-main");
    same["ID"] = made["id"].clone();
    let infisical = infisical.restart().await;
    let again = ok(&infisical.patch(&token, &one, same).await)["appConnection"].clone();
    assert_eq!(again["credentialsHash"], hash.as_str());
    let changed = json!({ "name": "pg-2", "description": "the main one", "method": "ignored" });
    let changed = ok(&infisical.patch(&token, &one, changed).await)["appConnection"].clone();
    assert_eq!((&changed["name"], &changed["description"]), (&json!("pg-2"), &json!("the main one")));
    assert_eq!(changed["credentialsHash"], hash.as_str());
    users.execute(&format!("ALTER ROLE {} PASSWORD 'another one'", users.admin)).await;
    let mut other = users.credentials();
    other["password"] = json!("another one");
    let other = ok(&infisical.patch(&token, &one, json!({ "credentials": other })).await);
    assert_ne!(other["appConnection"]["credentialsHash"], hash.as_str());

    let gone = ok(&infisical.delete(&token, &one, Some(json!({ "App": "postgres" }))).await);
    assert_eq!(gone["appConnection"]["id"], made["id"]);
    refused(&infisical.get(&token, &one).await, 404, "NotFound");
    refused(&infisical.delete(&token, &one, None).await, 404, "NotFound");
}

#[tokio::test]
async fn what_does_not_let_rota_in_is_no_connection() {
    let (infisical, users) = (reaching().await, Users::new().await);
    let token = infisical.token_with(&["admin"]).await;
    let made = ok(&infisical.post(&token, CONNECTIONS, users.connection("good")).await);
    let one = format!("{CONNECTIONS}/{}", text(&made["appConnection"], "id"));
    let events = infisical.server.events();
    let with = |name: &str, value: Value| {
        let mut body = users.connection("bad");
        body["credentials"][name] = value;
        body
    };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (name, value) in
        [("password", json!("hush-hush")), ("database", json!("nowhere")), ("port", json!(port))]
    {
        let reply = infisical.post(&token, CONNECTIONS, with(name, value.clone())).await;
        refused(&reply, 400, "BadRequest");
        assert!(!reply.text.contains("hush-hush"), "{reply:?}");
        let body = json!({ "credentials": with(name, value)["credentials"] });
        refused(&infisical.patch(&token, &one, body).await, 400, "BadRequest");
    }
    for (name, value) in
        [("host", json!("")), ("port", json!(0)), ("port", json!("x")), ("sslEnabled", json!("no"))]
    {
        let field = format!("credentials.{name}");
        refused_for(&infisical.post(&token, CONNECTIONS, with(name, value)).await, &[&field]);
    }
    let mut no = users.connection("bad");
    for field in ["name", "method", "credentials"] {
        no.as_object_mut().unwrap().remove(field);
    }
    refused_for(&infisical.post(&token, CONNECTIONS, no).await, &["name", "method"]);
    let mut body = users.connection("Bad Name");
    body["method"] = json!("telepathy");
    refused_for(&infisical.post(&token, CONNECTIONS, body).await, &["name", "method"]);
    refused(&infisical.post(&token, CONNECTIONS, users.connection("good")).await, 400, "BadRequest");
    for (field, value) in [("isPlatformManagedCredentials", json!(true)), ("gatewayId", json!(NOBODY))] {
        let mut body = users.connection("bad");
        body[field] = value;
        refused(&infisical.post(&token, CONNECTIONS, body).await, 400, "BadRequest");
    }
    assert_eq!(infisical.server.events(), events);
    let id = one.rsplit('/').next().unwrap();
    refused(&infisical.get(&token, &format!("{ALL}/redis/{id}")).await, 400, "BadRequest");
    refused(&infisical.get(&token, &format!("{ALL}/nothing-known/{id}")).await, 404, "NotFound");
    refused_for(&infisical.get(&token, &format!("{CONNECTIONS}/not-an-id")).await, &["connectionId"]);
}

#[tokio::test]
async fn this_machine_is_not_reached_unless_the_operator_allows_it() {
    let (infisical, users) = (Infisical::new().await, Users::new().await);
    let token = infisical.token_with(&["admin"]).await;
    refused(&infisical.post(&token, CONNECTIONS, users.connection("pg")).await, 400, "BadRequest");
    for role in ["rotator", "verifier", "auditor", "analyst"] {
        let token = infisical.token_with(&[role]).await;
        let reply = infisical.post(&token, CONNECTIONS, users.connection("pg")).await;
        refused(&reply, 403, "PermissionDenied");
        ok(&infisical.get(&token, ALL).await);
    }
    let request = infisical.server.request(&As::Nobody, Method::GET, ALL);
    refused(&send(request).await, 401, "UnauthorizedError");
}
