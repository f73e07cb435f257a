//! Where an integrator is told what happens to it.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::signer::Signer;
use crate::spritz::{Spritz, refused, refused_for};
use crate::support::{As, OPERATOR, Service, members};

const PATH: &str = "/v1/integrator/webhooks";
const DELIVERIES: &str = "/v1/integrator/webhooks/deliveries?limit=5";

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_made_listed_changed_and_deleted() {
    let spritz = Spritz::new().await;
    let call = async |method: Method, path: &str, body: &str| {
        spritz.tick();
        spritz.call(&spritz.signer, method, path, body).await
    };
    let body = r#"{"url":"https://hooks.invalid/x","events":["payment.done","*"]}"#;
    let made = call(Method::POST, PATH, body).await;
    assert_eq!(made.status, 200, "{made:?}");
    assert_eq!(members(&made.json()), ["disabled", "events", "failureCount", "id", "url"]);
    assert_eq!(made.json()["events"], json!(["payment.done", "*"]));
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(call(Method::GET, PATH, "").await.json(), json!([made.json()]));

    let one = format!("{PATH}/{id}");
    let changed = call(Method::PATCH, &one, r#"{"events":["*"]}"#).await;
    assert_eq!((changed.status.as_u16(), &changed.json()["events"]), (200, &json!(["*"])));
    for (body, field) in [
        (r#"{"events":[]}"#, "events"),
        (r#"{"events":[""]}"#, "events"),
        (r#"{"events":"*"}"#, "events"),
        ("{}", "events"),
    ] {
        refused_for(&call(Method::PATCH, &one, body).await, field);
    }
    for body in [r#"{"url":"http://127.0.0.1/x"}"#, r#"{"url":"nowhere"}"#] {
        refused_for(&call(Method::POST, PATH, body).await, "url");
    }
    refused_for(&call(Method::GET, "/v1/integrator/webhooks/deliveries?limit=0", "").await, "limit");

    // Another integrator of the workspace knows nothing of it.
    let body = json!({ "kind": "signing", "name": "other", "workspaceId": spritz.workspace });
    let other = spritz.server.post(&As::Bearer(OPERATOR), "/v1/credentials", &body).await.json();
    let text = |name: &str| other["secrets"][name].as_str().unwrap().to_owned();
    let other = Signer::new(&text("integratorKey"), &text("secret"));
    assert_eq!(spritz.call(&other, Method::GET, PATH, "").await.json(), json!([]));
    let stranger = spritz.call(&other, Method::DELETE, &one, "").await;
    refused(&stranger, 404, "resource:not-found");
    assert_eq!(stranger.json()["resourceType"], "webhook");

    let deleted = call(Method::DELETE, &one, "").await;
    assert_eq!((deleted.status.as_u16(), deleted.json()), (200, json!({ "id": id, "deleted": true })));
    assert_eq!(call(Method::GET, PATH, "").await.json(), json!([]));
    refused(&call(Method::DELETE, &one, "").await, 404, "resource:not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_told_and_what_became_of_it_is_in_the_log() {
    let spritz = Spritz::new().await;
    let made = spritz.call(&spritz.signer, Method::POST, PATH, r#"{"url":"https://hooks.invalid/x"}"#).await;
    assert_eq!(made.status, 200, "{made:?}");
    let new = spritz.with_secret_of(&spritz.regenerate(&spritz.signer, "").await);
    Service::until(|| async {
        spritz.tick();
        let log = spritz.call(&new, Method::GET, DELIVERIES, "").await;
        assert_eq!(log.status, 200, "{log:?}");
        assert_eq!(members(&log.json()), ["data", "hasMore", "nextCursor"]);
        let first = log.json()["data"][0].clone();
        first["event"] == "secret.rotated"
            && first["webhookUrl"] == "https://hooks.invalid/x"
            && first["success"] == false
            && first["payload"].is_object()
    })
    .await;
    spritz.home.clock.advance(Duration::from_secs(1));
}
