//! Who is not let in, what is not taken, and that neither leaves a trace.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::json;

use crate::hopae::{Hopae, refused, refused_for, text};
use crate::support::{As, Home, members, send};

const ROUTES: [(&str, &str); 17] = [
    ("POST", "/apps"),
    ("GET", "/apps"),
    ("POST", "/apps/batch"),
    ("GET", "/apps/{id}"),
    ("PATCH", "/apps/{id}"),
    ("DELETE", "/apps/{id}"),
    ("GET", "/apps/{id}/redirect-uris"),
    ("PUT", "/apps/{id}/redirect-uris"),
    ("GET", "/apps/{id}/webhook-config"),
    ("PATCH", "/apps/{id}/webhook-config"),
    ("POST", "/apps/{id}/webhook-config/rotate-secret"),
    ("POST", "/apps/{id}/rotate-client-secret"),
    ("GET", "/workspace"),
    ("POST", "/console/api-keys"),
    ("GET", "/console/api-keys"),
    ("POST", "/console/api-keys/{id}/revoke"),
    ("DELETE", "/console/api-keys/{id}"),
];

fn route(route: (&str, &str), id: &str) -> (Method, String) {
    (route.0.parse().unwrap(), format!("/connect/v1{}", route.1.replace("{id}", id)))
}

/// A body that each route would take.
fn body(path: &str) -> serde_json::Value {
    match path {
        p if p.ends_with("batch") => json!({ "items": [{ "name": "x" }] }),
        p if p.ends_with("redirect-uris") => json!({ "redirectUris": [] }),
        p if p.ends_with("webhook-config") => json!({ "enabled": true }),
        p if p.ends_with("rotate-secret") || p.ends_with("client-secret") => json!({}),
        _ => json!({ "name": "x" }),
    }
}

#[tokio::test]
async fn every_workspace_route_wants_a_valid_workspace_key() {
    let hopae = Hopae::new().await;
    let app = hopae.app("one").await;
    let (id, secret) = (text(&app, "clientId"), text(&app, "clientSecret"));
    let mut mistyped = hopae.key.clone();
    mistyped.pop();
    let events = hopae.server.events();
    for entry in ROUTES {
        let (method, path) = route(entry, &id);
        let nobody = send(hopae.server.request(&As::Nobody, method.clone(), &path)).await;
        refused(&nobody, 401, "AUTH_INVALID_CREDENTIALS");
        assert_eq!(nobody.header("www-authenticate"), "Bearer realm=\"hopae-workspace\"");
        for who in [As::Basic(&id, &secret), As::Bearer(&secret), As::Bearer(&mistyped), As::Bearer("x")] {
            let reply = send(hopae.server.request(&who, method.clone(), &path)).await;
            refused(&reply, 401, "AUTH_INVALID_CREDENTIALS");
            let challenge = "Bearer realm=\"hopae-workspace\", error=\"invalid_token\"";
            assert_eq!(reply.header("www-authenticate"), challenge);
        }
    }
    assert_eq!(hopae.server.events(), events);
}

#[tokio::test]
async fn a_key_without_the_role_is_refused_and_a_rotator_rotates() {
    let hopae = Hopae::new().await;
    let id = text(&hopae.app("one").await, "clientId");
    let analyst = hopae.server.key(&hopae.workspace, &["analyst"]).await;
    let rotator = hopae.server.key(&hopae.workspace, &["rotator"]).await;
    for entry in ROUTES.into_iter().filter(|(method, path)| *method != "GET" && !path.contains("keys/{id}")) {
        let (method, path) = route(entry, &id);
        let request = hopae.server.request(&As::Bearer(&analyst), method, &path).json(&body(&path));
        let reply = send(request).await;
        if path.ends_with("batch") {
            assert_eq!(reply.json()["results"][0]["error"]["code"], "AUTH_FORBIDDEN");
            continue;
        }
        refused(&reply, 403, "AUTH_FORBIDDEN");
        let challenge = "Bearer realm=\"hopae-workspace\", error=\"insufficient_scope\"";
        assert_eq!(reply.header("www-authenticate"), challenge);
    }
    let path = format!("/connect/v1/apps/{id}/rotate-client-secret");
    assert_eq!(hopae.server.post(&As::Bearer(&rotator), &path, &json!({})).await.status, 201);
    let create = hopae.server.post(&As::Bearer(&rotator), "/connect/v1/apps", &json!({ "name": "x" })).await;
    refused(&create, 403, "AUTH_FORBIDDEN");
}

#[tokio::test]
async fn another_workspaces_app_answers_as_one_that_does_not_exist() {
    let hopae = Hopae::new().await;
    let id = text(&hopae.app("one").await, "clientId");
    let workspace = hopae.server.workspace("Other").await;
    let key = hopae.server.key(&workspace, &["admin"]).await;
    let events = hopae.server.events();
    for entry in ROUTES.into_iter().filter(|(_, path)| path.contains("{id}")) {
        let mut errors = Vec::new();
        for id in [id.as_str(), "zzzzzzzz", "nothing-like-an-id"] {
            let (method, path) = route(entry, id);
            let reply = send(hopae.server.request(&As::Bearer(&key), method, &path).json(&body(&path))).await;
            refused(&reply, 404, "RESOURCE_NOT_FOUND");
            errors.push(reply.json()["error"].clone());
        }
        assert!(errors.windows(2).all(|pair| pair[0] == pair[1]));
    }
    let named = hopae.server.request(&As::Bearer(&key), Method::GET, "/connect/v1/apps");
    let named = named.header("X-Rota-Workspace", &hopae.workspace);
    refused(&send(named).await, 404, "RESOURCE_NOT_FOUND");
    assert_eq!(hopae.server.events(), events);
}

#[tokio::test]
async fn unknown_routes_and_methods_answer_in_hopaes_shape() {
    let hopae = Hopae::new().await;
    for (method, path) in [
        (Method::GET, "/connect"),
        (Method::GET, "/connect/v1/nothing"),
        (Method::PUT, "/connect/v1/apps"),
        (Method::GET, "/connect/v1/apps/x/rotate-client-secret"),
        (Method::POST, "/connect/v2/apps"),
    ] {
        let reply = send(hopae.server.request(&hopae.admin(), method, path)).await;
        refused(&reply, 404, "RESOURCE_NOT_FOUND");
    }
}

#[tokio::test]
async fn userinfo_wants_basic_and_says_so_as_a_problem() {
    let hopae = Hopae::new().await;
    let app = hopae.app("one").await;
    let (id, secret) = (text(&app, "clientId"), text(&app, "clientSecret"));
    let events = hopae.server.events();
    let pair = |text: &[u8]| format!("Basic {}", STANDARD.encode(text));
    let good = pair(format!("{id}:{secret}").as_bytes());
    for header in [
        format!("Bearer {}", hopae.key),
        pair(format!("{id}:wrong").as_bytes()),
        pair(format!("zzzzzzzz:{secret}").as_bytes()),
        pair(format!("{id}{secret}").as_bytes()),
        pair(format!("{id}:").as_bytes()),
        pair(format!("{id}:{secret}:").as_bytes()),
        pair(b":"),
        pair(b"\xff\xfe:\xff"),
        "Basic".to_owned(),
        "Basic !!!".to_owned(),
        format!("{good}="),
        good.replace("Basic ", "Digest "),
    ] {
        let request = hopae.server.request(&As::Nobody, Method::GET, "/connect/v1/userinfo");
        let reply = send(request.header("Authorization", &header)).await;
        assert_eq!(reply.status, 401, "{header}");
        assert_eq!(reply.header("www-authenticate"), "Basic realm=\"hopae\", charset=\"UTF-8\"");
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert_eq!(reply.header("x-request-id").len(), 36);
        let problem = reply.json();
        assert_eq!(members(&problem), ["detail", "instance", "status", "timestamp", "title"]);
        assert_eq!(
            (&problem["title"], &problem["status"]),
            (&json!("AUTH_INVALID_CREDENTIALS"), &json!(401))
        );
        assert_eq!(problem["instance"], "/connect/v1/userinfo");
        assert_eq!(problem["timestamp"], "2027-01-15T08:00:00.000Z");
    }
    let nobody = hopae.server.get(&As::Nobody, "/connect/v1/userinfo").await;
    assert_eq!(nobody.status, 401);
    assert_eq!(hopae.server.events(), events);
    let lower = hopae.server.request(&As::Nobody, Method::GET, "/connect/v1/userinfo");
    let lower = lower.header("Authorization", good.replace("Basic", "bAsIc"));
    assert_eq!(send(lower).await.status, 200);
}

#[tokio::test]
async fn a_secret_in_its_grace_period_is_told_so() {
    let hopae = Hopae::new().await;
    let app = hopae.app("one").await;
    let (id, secret) = (text(&app, "clientId"), text(&app, "clientSecret"));
    let list = hopae.server.get(&hopae.admin(), "/v1/credentials").await.json();
    let path = format!("/v1/credentials/{}/rotate", text(&list["items"][0], "id"));
    hopae.server.post(&hopae.admin(), &path, &json!({ "gracePeriodSeconds": 60 })).await;
    let info = hopae.userinfo(&id, &secret).await.json();
    assert_eq!((&info["secretVersion"], &info["retiring"]), (&json!(1), &json!(true)));
}

#[tokio::test]
async fn bodies_that_are_no_json_or_too_large_are_refused() {
    let hopae = Hopae::new().await;
    let events = hopae.server.events();
    let post = |bytes: Vec<u8>| send(hopae.request(Method::POST, "/apps").body(bytes));
    for bad in [&b"{\"name\":\"a"[..], b"{\"name\":\"\xff\xfe\"}", b"[]", b"{\"name\":\"a\"} x", b"\0"] {
        refused(&post(bad.to_vec()).await, 400, "VALIDATION_INVALID_PARAMETER");
    }
    let deep = "[".repeat(20_000).into_bytes();
    refused(&post(deep).await, 400, "VALIDATION_INVALID_PARAMETER");
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(64 * 1_024)).into_bytes();
    let reply = post(large).await;
    refused(&reply, 413, "VALIDATION_INVALID_PARAMETER");
    assert_eq!(reply.json()["error"]["details"]["parameter"], "body");
    assert_eq!(hopae.server.events(), events);
}

#[tokio::test]
async fn nothing_that_is_sent_ends_up_in_a_header_of_its_own() {
    let hopae = Hopae::new().await;
    let id = text(&hopae.app("one").await, "clientId");
    let events = hopae.server.events();
    for key in ["k\r\n\tX-Injected: 1", "k\u{0}", "k\nX-Injected: 1\r"] {
        let request = format!(
            "POST /connect/v1/apps/{id}/rotate-client-secret HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
             Authorization: Bearer {}\r\nContent-Length: 0\r\nIdempotency-Key: {key}\r\n\r\n",
            hopae.key
        );
        let answer = hopae.server.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(!answer.to_ascii_lowercase().contains("x-injected"), "{answer}");
    }
    for path in ["%0d%0aX-Injected:%201", "..%2f..%2fv1", "%00", "%ff"] {
        let reply = hopae.get(&format!("/apps/{path}")).await;
        refused(&reply, 404, "RESOURCE_NOT_FOUND");
        assert!(!reply.headers.contains_key("x-injected"));
    }
    let own = send(hopae.request(Method::GET, "/apps").header("X-Request-Id", "mine")).await;
    assert_ne!(own.header("x-request-id"), "mine");
    assert_eq!(hopae.server.events(), events);
}

#[tokio::test]
async fn too_many_failures_are_told_to_wait_and_a_right_key_is_not() {
    let mut home = Home::new();
    home.failed_logins = 3;
    let hopae = Hopae::on(home).await;
    let app = hopae.app("one").await;
    for _ in 0..3 {
        let reply = hopae.server.get(&As::Bearer("wrong"), "/connect/v1/apps").await;
        refused(&reply, 401, "AUTH_INVALID_CREDENTIALS");
    }
    let reply = hopae.server.get(&As::Bearer("wrong"), "/connect/v1/apps").await;
    refused(&reply, 429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(reply.header("retry-after"), "60");
    let reply = hopae.userinfo(&text(&app, "clientId"), "wrong").await;
    assert_eq!((reply.status.as_u16(), &reply.json()["title"]), (429, &json!("RATE_LIMIT_EXCEEDED")));
    assert_eq!(hopae.get("/apps").await.status, 200);
    assert_eq!(hopae.userinfo(&text(&app, "clientId"), &text(&app, "clientSecret")).await.status, 200);
}

#[tokio::test]
async fn a_missing_member_is_named() {
    let hopae = Hopae::new().await;
    let reply = hopae.call(Method::POST, "/apps", &json!({ "logo": "" })).await;
    refused_for(&reply, "VALIDATION_MISSING_PARAMETER", "name");
    assert_eq!(members(&reply.json()), ["error", "request_id"]);
    assert_eq!(members(&reply.json()["error"]), ["code", "details", "message"]);
}
