//! When the end of a secret has been answered, it is not accepted any more: from that instant, not from a
//! moment later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use serde_json::json;

use crate::signer::Signer;
use crate::signing::{opens, regenerate, signed};
use crate::support::Service;

/// If this fails, a secret that somebody was told is dead lets others in.
#[tokio::test(flavor = "multi_thread")]
async fn dead_is_dead() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("dead").await;
    for kind in ["client", "exchange", "signing"] {
        let (id, public, mut secret) = operator.issue(&workspace, kind).await;
        // Others ask all the time, so that whatever could cache an answer has every reason to.
        let stop = Arc::new(AtomicBool::new(false));
        let hammers: Vec<_> = (0..4)
            .map(|_| {
                let (caller, public, stop) = (operator.clone(), public.clone(), Arc::clone(&stop));
                let secret = secret.clone();
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        caller.verifies(&public, &secret).await;
                    }
                })
            })
            .collect();
        for _ in 0..25 {
            let new = operator.rotate(&id, json!({})).await;
            assert!(!operator.verifies(&public, &secret).await, "the old secret of a rotation without grace");
            assert!(operator.verifies(&public, &new).await);
            secret = new;
        }
        stop.store(true, Ordering::Relaxed);
        futures_util::future::join_all(hammers).await;

        let new = operator.rotate(&id, json!({ "gracePeriodSeconds": 600 })).await;
        assert!(operator.verifies(&public, &secret).await, "a retiring secret is valid");
        operator.post(&format!("/v1/credentials/{id}/expire-old"), json!({})).await.expect(200);
        assert!(!operator.verifies(&public, &secret).await, "an early end of grace");

        operator.post(&format!("/v1/credentials/{id}/revoke"), json!({ "reason": "left" })).await.expect(200);
        assert!(!operator.verifies(&public, &new).await, "a revoked credential");
    }
}

/// If this fails, a workspace key goes on working after it was revoked or rotated.
#[tokio::test(flavor = "multi_thread")]
async fn dead_keys_open_nothing() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("keys").await;
    let (id, _, admin) = operator.workspace_key(&workspace, &["admin"]).await;
    admin.get("/v1/credentials").await.expect(200);
    let rotated = operator.post(&format!("/v1/credentials/{id}/rotate"), json!({})).await.expect(200);
    let reply = admin.get("/v1/credentials").await.expect(401);
    assert_eq!(reply.code(), "unauthenticated");
    assert!(reply.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    let new = admin.with_bearer(rotated.json()["secrets"]["key"].as_str().unwrap());
    new.get("/v1/credentials").await.expect(200);
    operator.post(&format!("/v1/credentials/{id}/revoke"), json!({})).await.expect(200);
    new.get("/v1/credentials").await.expect(401);
}

/// If this fails, the answers that are kept for retries outlive what they open.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_destroys_the_answers_of_what_it_revokes() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("answers").await;
    let (id, ..) = operator.issue(&workspace, "client").await;
    let path = format!("/v1/credentials/{id}/rotate");
    let named = [("idempotency-key", "k")];
    let ask = async || operator.send(reqwest::Method::POST, &path, &named, None).await.unwrap();
    ask().await.expect(200);
    operator.post(&format!("/v1/credentials/{id}/revoke"), json!({})).await.expect(200);
    assert_eq!(ask().await.expect(410).code(), "answer-destroyed");
}

/// If this fails, a signature by a dead secret opens something.
#[tokio::test(flavor = "multi_thread")]
async fn dead_signing_secrets_sign_nothing() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("signing").await;
    let (id, public, secret) = operator.issue(&workspace, "signing").await;
    let mut signer = Signer::new(&public, &secret);
    for _ in 0..10 {
        assert!(opens(&service, &signer).await);
        let new = regenerate(&service, &signer, "").await.unwrap();
        assert!(!opens(&service, &signer).await, "the old secret of a rotation without grace");
        signer = new;
    }
    let new = regenerate(&service, &signer, r#"{"oldSecretValidForSeconds":600}"#).await.unwrap();
    assert!(opens(&service, &signer).await, "a retiring secret is valid");
    operator.post(&format!("/v1/credentials/{id}/expire-old"), json!({})).await.expect(200);
    assert!(!opens(&service, &signer).await, "an early end of grace");
    assert!(opens(&service, &new).await);
    operator.post(&format!("/v1/credentials/{id}/revoke"), json!({})).await.expect(200);
    assert!(!opens(&service, &new).await, "a revoked credential");
}

/// If this fails, a session lets somebody in after the credential was revoked, or a dead secret still opens one.
#[tokio::test(flavor = "multi_thread")]
async fn dead_sessions_open_nothing() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("sessions").await;
    for round in 0..12 {
        let (id, public, secret) = operator.issue(&workspace, "exchange").await;
        let (_, session) = operator.session(&public, &secret).await;
        let stop = Arc::new(AtomicBool::new(false));
        let hammers: Vec<_> = (0..2)
            .map(|_| {
                let (session, stop) = (session.clone(), Arc::clone(&stop));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        session.current().await;
                    }
                })
            })
            .collect();
        session.current().await.expect(200);
        let new = operator.rotate(&id, json!({})).await;
        let reply = operator.exchange(&public, &secret).await;
        assert!([401, 429].contains(&reply.status.as_u16()), "{}", reply.text);
        // An ordinary rotation leaves it its reading rights.
        session.current().await.expect(200);
        let (_, newer) = operator.session(&public, &new).await;
        let (route, body) = match round % 3 {
            0 => ("revoke", json!({})),
            1 => ("rotate", json!({ "reason": "compromised" })),
            _ => ("versions/2/revoke", json!({})),
        };
        operator.post(&format!("/v1/credentials/{id}/{route}"), body).await.expect(200);
        // Whoever goes on asking with a dead session is told to wait after a while.
        let is_dead = |reply: &crate::support::Reply| [401, 429].contains(&reply.status.as_u16());
        for dead in [&session, &newer] {
            let reply = dead.current().await;
            assert!(is_dead(&reply), "{}", reply.text);
            let reply = dead.get(&format!("/v1/credentials/{id}")).await;
            assert!(is_dead(&reply), "{}", reply.text);
        }
        let reply = operator.exchange(&public, &new).await;
        assert!(is_dead(&reply), "{}", reply.text);
        stop.store(true, Ordering::Relaxed);
        futures_util::future::join_all(hammers).await;
    }
}

/// If this fails, a token that an integrator got for a user outlives the integrator's key or the user's.
#[tokio::test(flavor = "multi_thread")]
async fn dead_user_tokens_open_nothing() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("users").await;
    for round in 0..8 {
        let (id, public, secret) = operator.issue(&workspace, "signing").await;
        let (user, key, _) = operator.workspace_key(&workspace, &["analyst"]).await;
        let signer = Signer::new(&public, &secret);
        let body = json!({ "userApiKey": key }).to_string();
        let reply = signed(&service, &signer, Method::POST, "/v1/integrator/tokens", &body, &[]).await;
        let session = operator.with_bearer(reply.expect(200).json()["accessToken"].as_str().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let hammers: Vec<_> = (0..2)
            .map(|_| {
                let (session, stop) = (session.clone(), Arc::clone(&stop));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        session.get("/v1/integrator/").await;
                    }
                })
            })
            .collect();
        session.get("/v1/integrator/").await.expect(200);
        let ended = if round % 2 == 0 { &id } else { &user };
        // An ordinary rotation leaves it its reading rights.
        operator.post(&format!("/v1/credentials/{ended}/rotate"), json!({})).await.expect(200);
        session.get("/v1/integrator/").await.expect(200);
        let (route, body) = match round / 2 {
            0 | 1 => ("revoke", json!({})),
            2 => ("rotate", json!({ "reason": "compromised" })),
            _ => ("versions/2/revoke", json!({})),
        };
        operator.post(&format!("/v1/credentials/{ended}/{route}"), body).await.expect(200);
        let reply = session.get("/v1/integrator/").await;
        assert!([401, 429].contains(&reply.status.as_u16()), "{}", reply.text);
        stop.store(true, Ordering::Relaxed);
        futures_util::future::join_all(hammers).await;
    }
}
