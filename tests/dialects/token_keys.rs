//! The keys that sign session tokens: published, replaced, and checked as a stranger would.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::fluide::{Fluide, refused};
use crate::hopae::text;
use crate::support::{As, OPERATOR, members, send};

const JWKS: &str = "/.well-known/jwks.json";
const KEYS: &str = "/v1/admin/token-keys";

async fn published(fluide: &Fluide) -> Vec<Value> {
    let reply = fluide.server.get(&As::Nobody, JWKS).await;
    assert_eq!(reply.status, 200);
    reply.json()["keys"].as_array().unwrap().clone()
}

fn kid(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    text(&serde_json::from_slice(&header).unwrap(), "kid")
}

async fn replace(fluide: &Fluide, compromised: bool) -> Value {
    let reply = fluide.operator(Method::POST, KEYS, json!({ "compromised": compromised })).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[tokio::test]
async fn a_stranger_checks_a_token_with_the_published_key() {
    let fluide = Fluide::new().await;
    let reply = fluide.server.get(&As::Nobody, JWKS).await;
    assert_eq!(reply.header("content-type"), "application/jwk-set+json");
    assert_eq!(reply.header("cache-control"), "public, max-age=300");
    let keys = reply.json()["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 1);
    assert_eq!(members(&keys[0]), ["alg", "crv", "kid", "kty", "use", "x"]);
    let fixed = ["kty", "crv", "alg", "use"].map(|name| keys[0][name].as_str().unwrap());
    assert_eq!(fixed, ["OKP", "Ed25519", "EdDSA", "sig"]);

    let token = fluide.token(&fluide.issue(&[]).await).await;
    assert_eq!(kid(&token), text(&keys[0], "kid"));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let public = URL_SAFE_NO_PAD.decode(text(&keys[0], "x")).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&ED25519, public).verify(message.as_bytes(), &signature).unwrap();

    let tag = reply.header("etag").to_owned();
    let again = fluide.request(Method::GET, JWKS, &[("If-None-Match", &tag)]);
    let again = send(again).await;
    assert_eq!((again.status.as_u16(), again.text.as_str(), again.header("etag")), (304, "", tag.as_str()));
    replace(&fluide, false).await;
    let again = send(fluide.request(Method::GET, JWKS, &[("If-None-Match", &tag)])).await;
    assert_eq!(again.status, 200);
}

#[tokio::test]
async fn a_new_key_is_published_before_it_signs_and_the_old_one_stays_for_its_tokens() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let first = kid(&fluide.token(&keys).await);
    let listed = replace(&fluide, false).await;
    let statuses: Vec<_> = listed["items"].as_array().unwrap().iter().map(|k| text(k, "status")).collect();
    assert_eq!(statuses, ["signing", "next"]);
    let second = text(&listed["items"][1], "kid");
    assert_eq!(published(&fluide).await.len(), 2);
    assert_eq!(kid(&fluide.token(&keys).await), first);
    let again = fluide.operator(Method::POST, KEYS, json!({})).await;
    assert_eq!((again.status.as_u16(), &again.json()["code"]), (409, &json!("key-waits")));

    fluide.home.clock.advance(Duration::from_mins(10) - Duration::from_millis(1));
    let last = fluide.token(&keys).await;
    assert_eq!(kid(&last), first);
    fluide.home.clock.advance(Duration::from_millis(1));
    let token = fluide.token(&keys).await;
    assert_eq!(kid(&token), second);
    let fluide = fluide.restart().await;
    assert_eq!(fluide.current(&last).await.status, 200);
    assert_eq!(fluide.current(&token).await.status, 200);
    assert_eq!(kid(&fluide.token(&keys).await), second);
    // The last token of the old key has expired with it.
    fluide.home.clock.advance(Duration::from_hours(1));
    refused(&fluide.current(&last).await, 401, "GATEWAY_AUTH_INVALID");
    assert_eq!(published(&fluide).await.len(), 1);
    assert_eq!(fluide.count("rota.token-keys.key-retired.v1").await, 1);
}

#[tokio::test]
async fn a_key_that_others_may_have_ends_with_all_its_tokens_at_once() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let token = fluide.token(&keys).await;
    replace(&fluide, false).await;
    replace(&fluide, true).await;
    refused(&fluide.current(&token).await, 401, "GATEWAY_AUTH_INVALID");
    let only = published(&fluide).await;
    assert_eq!(only.len(), 1);
    let fresh = fluide.token(&keys).await;
    assert_eq!(kid(&fresh), text(&only[0], "kid"));
    assert_eq!(fluide.current(&fresh).await.status, 200);
    // Both private keys are gone, and events say so.
    assert_eq!(fluide.count("rota.token-keys.key-retired.v1").await, 2);
}

#[tokio::test]
async fn a_key_that_has_signed_for_long_is_replaced_by_itself() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let first = kid(&fluide.token(&keys).await);
    fluide.home.clock.advance(Duration::from_hours(90 * 24));
    fluide.until(async || published(&fluide).await.len() == 2).await;
    assert_eq!(kid(&fluide.token(&keys).await), first);
    fluide.home.clock.advance(Duration::from_mins(10));
    assert_ne!(kid(&fluide.token(&keys).await), first);
    fluide.until(async || fluide.count("rota.token-keys.key-retired.v1").await == 1).await;
}

#[tokio::test]
async fn keys_are_the_operators_business_and_bad_input_changes_nothing() {
    let fluide = Fluide::new().await;
    let events = fluide.server.events();
    let admin = As::Bearer(&fluide.admin);
    assert_eq!(fluide.server.get(&admin, KEYS).await.status, 403);
    assert_eq!(fluide.server.post(&admin, KEYS, &json!({})).await.status, 403);
    assert_eq!(fluide.server.post(&As::Nobody, KEYS, &json!({})).await.status, 401);
    let bad = fluide.operator(Method::POST, KEYS, json!({ "compromised": "yes" })).await;
    assert_eq!((bad.status.as_u16(), &bad.json()["field"]), (400, &json!("compromised")));
    assert_eq!(fluide.server.events(), events);
    let listed = fluide.server.get(&As::Bearer(OPERATOR), KEYS).await.json();
    let expected = ["kid", "publicKey", "signsFrom", "status", "verifiesUntil"];
    assert_eq!(members(&listed["items"][0]), expected);
}
