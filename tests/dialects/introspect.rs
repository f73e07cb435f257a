//! What a token is worth now (RFC 7662).

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::forward_auth::Guarded;
use crate::support::{As, Home, OPERATOR, Reply, Server, send};

const INTROSPECT: &str = "/v1/introspect";

async fn ask(server: &Server, who: &As<'_>, form: &[(&str, &str)]) -> Reply {
    send(server.request(who, Method::POST, INTROSPECT).form(form)).await
}

#[track_caller]
fn inactive(reply: &Reply) {
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, r#"{"active":false}"#));
    assert_eq!(reply.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_key_is_worth_what_it_is_worth_now() {
    let home = Home::new();
    let server = home.serve().await;
    let workspace = server.workspace("Acme").await;
    let operator = server.operator();
    let (id, key, _) = operator.workspace_key(&workspace, &["auditor", "rotator"]).await;
    let (_, verifier, _) = operator.workspace_key(&workspace, &["verifier"]).await;
    for who in [As::Bearer(OPERATOR), As::Bearer(&verifier)] {
        for form in [&[("token", key.as_str())][..], &[("token", &key), ("token_type_hint", "pat")]] {
            let reply = ask(&server, &who, form).await.expect(200);
            assert_eq!(reply.header("cache-control"), "no-store");
            assert_eq!(reply.header("content-type"), "application/json");
            let expected = json!({
                "active": true, "scope": "rotator auditor", "client_id": &key[..30], "sub": id,
                "token_type": "Bearer", "credentialId": id, "workspaceId": workspace,
                "kind": "workspace-key", "version": 1,
            });
            assert_eq!(reply.json(), expected);
            assert!(!reply.text.contains(&key));
        }
    }
    // In its grace period it says until when.
    let path = format!("/v1/credentials/{id}/rotate");
    operator.post(&path, json!({ "gracePeriodSeconds": 60 })).await.expect(200);
    let reply = ask(&server, &As::Bearer(&verifier), &[("token", &key)]).await.json();
    assert_eq!((&reply["active"], &reply["exp"]), (&json!(true), &json!(1_800_000_060)));
    home.clock.advance(Duration::from_mins(1));
    inactive(&ask(&server, &As::Bearer(&verifier), &[("token", &key)]).await);
    operator.post(&format!("/v1/credentials/{id}/revoke"), json!({})).await.expect(200);
    inactive(&ask(&server, &As::Bearer(OPERATOR), &[("token", &key)]).await);
}

#[tokio::test]
async fn a_session_is_worth_what_it_is_worth_now() {
    let guarded = Guarded::new().await;
    let held = guarded.issue_in(&guarded.workspace, "exchange", &["rotator"]).await;
    let token = guarded.token(&held).await;
    let verifier = guarded.server.key(&guarded.workspace, &["verifier"]).await;
    let worth = async |who: &As<'_>| ask(&guarded.server, who, &[("token", &token)]).await.expect(200);
    let own = As::Bearer(&verifier);
    let reply = worth(&own).await;
    let jti = reply.json()["jti"].clone();
    assert_eq!(jti.as_str().unwrap().len(), 36);
    let expected = json!({
        "active": true, "scope": "rotator", "client_id": held.public, "sub": held.id, "token_type": "Bearer",
        "iat": 1_800_000_000, "nbf": 1_800_000_000, "exp": 1_800_003_600, "iss": "rota",
        "aud": crate::fluide::CLIENT, "jti": jti, "credentialId": held.id, "workspaceId": guarded.workspace,
        "kind": "exchange", "version": 1,
    });
    assert_eq!(reply.json(), expected);
    assert_eq!(worth(&As::Bearer(OPERATOR)).await.json(), expected);
    let other = guarded.server.workspace("Other").await;
    let stranger = guarded.server.key(&other, &["admin"]).await;
    inactive(&worth(&As::Bearer(&stranger)).await);
    guarded.rotate(&held, json!({})).await;
    assert_eq!(worth(&own).await.json()["active"], true);
    guarded
        .server
        .operator()
        .post(&format!("/v1/credentials/{}/revoke", held.id), json!({}))
        .await
        .expect(200);
    inactive(&worth(&own).await);
}

/// What is of another workspace is as worthless as what nobody knows, and is never an error.
#[tokio::test]
async fn what_is_not_the_askers_is_inactive() {
    let home = Home::new();
    let server = home.serve().await;
    let (own, other) = (server.workspace("Acme").await, server.workspace("Other").await);
    let verifier = server.key(&own, &["verifier"]).await;
    let foreign = server.key(&other, &["admin"]).await;
    let events = server.events();
    let typo = verifier.replace("_test_", "_prod_");
    let long = "x".repeat(60_000);
    for token in [foreign.as_str(), &typo, "nonsense", "a.b.c", "ü \n%", &long, OPERATOR] {
        inactive(&ask(&server, &As::Bearer(&verifier), &[("token", token)]).await);
    }
    assert_eq!(ask(&server, &As::Bearer(OPERATOR), &[("token", &foreign)]).await.json()["active"], true);
    inactive(&ask(&server, &As::Bearer(OPERATOR), &[("token", OPERATOR)]).await);
    assert_eq!(server.events(), events);
}

#[tokio::test]
async fn only_who_may_verify_may_ask() {
    let mut home = Home::new();
    home.failed_logins = 3;
    let server = home.serve().await;
    let workspace = server.workspace("Acme").await;
    for (role, status) in
        [("admin", 200), ("verifier", 200), ("rotator", 403), ("auditor", 403), ("analyst", 403)]
    {
        let key = server.key(&workspace, &[role]).await;
        assert_eq!(ask(&server, &As::Bearer(&key), &[("token", "x")]).await.status, status, "{role}");
    }
    assert_eq!(ask(&server, &As::Nobody, &[("token", "x")]).await.code(), "unauthenticated");
    for status in [401, 401, 401, 429] {
        assert_eq!(ask(&server, &As::Bearer("wrong"), &[("token", "x")]).await.status, status);
    }
    // Asking about wrong tokens is no failed login of the asker's.
    for _ in 0..10 {
        inactive(&ask(&server, &As::Bearer(OPERATOR), &[("token", "wrong")]).await);
    }
}

#[tokio::test]
async fn a_wrong_form_is_named() {
    let home = Home::new();
    let server = home.serve().await;
    let operator = As::Bearer(OPERATOR);
    for (form, field) in [
        (&[][..], "token"),
        (&[("token", "")], "token"),
        (&[("token", "a"), ("token", "b")], "token"),
        (&[("token", "a"), ("tokentypehint", "b")], "tokentypehint"),
        (&[("token_type_hint", "access_token")], "token"),
    ] {
        let reply = ask(&server, &operator, form).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["field"]), (400, &json!(field)), "{reply:?}");
        assert_eq!(reply.header("content-type"), "application/problem+json");
    }
    let json = server.post(&operator, INTROSPECT, &json!({ "token": "secret-of-somebody" })).await;
    assert_eq!((json.status.as_u16(), &json.json()["field"]), (400, &json!("Content-Type")));
    assert!(!json.text.contains("secret-of-somebody"));
    let request = server.request(&operator, Method::POST, INTROSPECT);
    let request =
        request.header("content-type", "application/x-www-form-urlencoded").body("token=a".repeat(20_000));
    assert_eq!(send(request).await.status, 413);
    assert_eq!(send(server.request(&operator, Method::GET, INTROSPECT)).await.status, 404);
}
