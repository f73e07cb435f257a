//! Workspace keys, as the console makes and ends them.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::hopae::{Hopae, refused, refused_for, text};
use crate::support::{As, members, send};

#[tokio::test]
async fn a_key_is_shown_once_works_at_once_and_ends_when_revoked() {
    let hopae = Hopae::new().await;
    let reply = hopae.call(Method::POST, "/console/api-keys", &json!({ "name": "Backend CI" })).await;
    assert_eq!((reply.status.as_u16(), reply.header("cache-control")), (201, "no-store"));
    let key = reply.json();
    assert_eq!(members(&key), ["created_at", "id", "name", "secret"]);
    assert_eq!((&key["name"], &key["created_at"]), (&json!("Backend CI"), &json!(1_800_000_000)));
    let secret = text(&key, "secret");
    assert!(secret.starts_with("sk_workspace_prod_"));
    let made = As::Bearer(&secret);
    // It has the role admin.
    let app = hopae.server.post(&made, "/connect/v1/apps", &json!({ "name": "one" })).await;
    assert_eq!(app.status, 201);

    hopae.home.clock.advance(Duration::from_mins(2));
    let id = text(&key, "id");
    let revoked = hopae.call(Method::POST, &format!("/console/api-keys/{id}/revoke"), &json!({})).await;
    assert_eq!((revoked.status.as_u16(), revoked.json()), (200, json!({ "revoked": true })));
    let again = hopae.call(Method::DELETE, &format!("/console/api-keys/{id}"), &json!({})).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, json!({ "revoked": true })));
    let events = hopae.server.events();
    refused(&hopae.server.get(&made, "/connect/v1/apps").await, 401, "AUTH_INVALID_CREDENTIALS");
    assert_eq!(hopae.server.events(), events);

    let list = hopae.get("/console/api-keys").await;
    assert!(!list.text.contains(&secret));
    let list = list.json();
    let listed = list.as_array().unwrap().iter().find(|k| k["id"] == key["id"]).unwrap();
    assert_eq!(members(listed), ["created_at", "id", "last_used_at", "name", "revoked_at"]);
    assert_eq!(listed["revoked_at"], 1_800_000_120);
    // The key that asks is in use.
    let asking = list.as_array().unwrap().iter().find(|k| k["id"] != key["id"]).unwrap();
    assert_eq!((&asking["last_used_at"], &asking["revoked_at"]), (&json!(1_800_000_120), &json!(null)));
}

#[tokio::test]
async fn the_mode_can_be_chosen_and_a_repeat_makes_no_second_key() {
    let hopae = Hopae::new().await;
    let body = json!({ "name": "t", "mode": "test" });
    let make = || {
        let request = hopae.request(Method::POST, "/console/api-keys").header("Idempotency-Key", "key-1");
        send(request.json(&body))
    };
    let first = make().await;
    assert!(text(&first.json(), "secret").starts_with("sk_workspace_test_"));
    let again = make().await;
    assert_eq!((&again.text, again.header("idempotency-replayed")), (&first.text, "true"));
    let deleted = format!("/console/api-keys/{}", text(&first.json(), "id"));
    assert_eq!(hopae.call(Method::DELETE, &deleted, &json!({})).await.json(), json!({ "revoked": true }));
}

#[tokio::test]
async fn bad_keys_are_refused() {
    let hopae = Hopae::new().await;
    let events = hopae.server.events();
    let app = json!({});
    refused_for(
        &hopae.call(Method::POST, "/console/api-keys", &app).await,
        "VALIDATION_MISSING_PARAMETER",
        "name",
    );
    for (body, parameter) in [
        (json!({ "name": "" }), "name"),
        (json!({ "name": "a", "mode": "live" }), "mode"),
        (json!({ "name": "a", "roles": ["admin"] }), "roles"),
    ] {
        let reply = hopae.call(Method::POST, "/console/api-keys", &body).await;
        refused_for(&reply, "VALIDATION_INVALID_PARAMETER", parameter);
    }
    for id in ["x", "01997c4e-0000-7000-8000-000000000000"] {
        let path = format!("/console/api-keys/{id}");
        refused(&hopae.call(Method::DELETE, &path, &json!({})).await, 404, "RESOURCE_NOT_FOUND");
        let path = format!("{path}/revoke");
        refused(&hopae.call(Method::POST, &path, &json!({})).await, 404, "RESOURCE_NOT_FOUND");
    }
    assert_eq!(hopae.server.events(), events);
}
