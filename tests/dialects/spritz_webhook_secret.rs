//! The webhook secret that an integrator chooses.

use reqwest::Method;
use serde_json::json;

use crate::spritz::{Spritz, refused, refused_for};
use crate::support::{As, OPERATOR};

const PATH: &str = "/v1/integrator/webhook-secret";
const BODY: &str = r#"{"secret":"whsec_chosen-by-the-integrator"}"#;

#[tokio::test]
async fn an_integrator_chooses_its_webhook_secret_again_and_again() {
    let spritz = Spritz::new().await;
    for (number, body) in [BODY, r#"{"secret":"another-secret-of-its-own"}"#].into_iter().enumerate() {
        spritz.tick();
        let reply = spritz.call(&spritz.signer, Method::POST, PATH, body).await;
        assert_eq!((reply.status.as_u16(), reply.json()), (200, json!({ "secretConfigured": true })));
        assert_eq!(spritz.count("secret-rotated").await, number);
        // The same request again is a captured one.
        refused(&spritz.call(&spritz.signer, Method::POST, PATH, body).await, 401, "auth:unauthorized");
    }
    // It verifies as the webhook's secret, and the one before does not.
    let listed = format!("/v1/credentials?kind=webhook&workspaceId={}", spritz.workspace);
    let listed = spritz.server.get(&As::Bearer(OPERATOR), &listed).await.json();
    let public = listed["items"][0]["publicId"].as_str().unwrap();
    for (secret, active) in [("another-secret-of-its-own", true), ("whsec_chosen-by-the-integrator", false)] {
        let body = json!({ "publicId": public, "secret": secret });
        let reply = spritz.server.post(&As::Bearer(OPERATOR), "/v1/verify", &body).await;
        assert_eq!(reply.json()["active"], active, "{secret}");
    }
    // It is nobody's way in.
    assert!(spritz.opens(&spritz.signer).await);
}

#[tokio::test]
async fn neither_a_bad_secret_nor_a_retiring_one_nor_a_stranger_changes_anything() {
    let spritz = Spritz::new().await;
    let old = spritz.signer.clone();
    let new = spritz.with_secret_of(&spritz.regenerate(&old, r#"{"oldSecretValidForSeconds":60}"#).await);
    let events = spritz.server.events();
    for body in
        [r#"{"secret":"short"}"#, r#"{"secret":"with spaces in it, which is bad"}"#, r#"{"secret":1}"#, "{}"]
    {
        spritz.tick();
        refused_for(&spritz.call(&new, Method::POST, PATH, body).await, "secret");
    }
    assert_eq!(spritz.server.events(), events);
    spritz.tick();
    refused(&spritz.call(&old, Method::POST, PATH, BODY).await, 403, "auth:forbidden");
    let verifier = spritz.server.key(&spritz.workspace, &["verifier"]).await;
    let request = spritz.server.request(&As::Bearer(&verifier), Method::POST, PATH);
    let reply = crate::support::send(request.header("X-Integrator-Key", &old.key).body(BODY)).await;
    refused(&reply, 403, "auth:forbidden");
    let admin = spritz.server.key(&spritz.workspace, &["admin"]).await;
    let request = spritz.server.request(&As::Bearer(&admin), Method::POST, PATH);
    let reply = crate::support::send(request.header("X-Integrator-Key", &old.key).body(BODY)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}
