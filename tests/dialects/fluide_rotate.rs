//! Replacing a secret by session: who may, what becomes of the old one and of its tokens, and what a retry gets.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::fluide::{CLIENT, Fluide, Keys, ROTATE, claims, data, refused, refused_for};
use crate::hopae::text;
use crate::support::{As, OPERATOR, members, send};

const ROTATED: &str = "rota.credential.secret-rotated.v1";
const REFUSED: &str = "rota.credential.rotation-refused.v1";

async fn event(fluide: &Fluide, event_type: &str) -> Value {
    let path = format!("/v1/events?limit=1000&type={event_type}");
    let reply = fluide.server.get(&As::Bearer(OPERATOR), &path).await.json();
    reply["items"].as_array().unwrap().last().unwrap().clone()
}

async fn policy(fluide: &Fluide, policy: Value) {
    let path = format!("/v1/workspaces/{}/policy", fluide.workspace);
    assert_eq!(fluide.operator(Method::PUT, &path, policy).await.status, 200);
}

#[tokio::test]
async fn a_rotation_gives_the_new_secret_once_and_kills_the_old_one() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let token = fluide.token(&keys).await;
    let reply = fluide.rotate(&token, "").await;
    let made = data(&reply, 201);
    assert_eq!(members(&made), ["apiKey", "apiSecret", "rotatedAt"]);
    assert_eq!(made["apiKey"], keys.key.as_str());
    assert_eq!(made["rotatedAt"], "2027-01-15T08:00:00.000Z");
    let new = text(&made, "apiSecret");
    assert!(new.starts_with("fl_sec_") && new != keys.secret);
    refused(&fluide.exchange(&keys.key, &keys.secret).await, 401, "DEVELOPER_KEYS_INVALID");
    assert_eq!(fluide.exchange(&keys.key, &new).await.status, 201);
    let recorded = event(&fluide, ROTATED).await;
    assert_eq!(
        (&recorded["proof"], &recorded["dialect"], &recorded["actorid"]),
        (&json!("session"), &json!("fluide"), &json!(keys.id))
    );
    let path = format!("/api/v1/authorize/rotate-secret?x={}", keys.key);
    assert_eq!(send(fluide.with(Method::GET, &path, &token, None)).await.status, 404);
}

#[tokio::test]
async fn a_session_of_a_replaced_secret_reads_to_its_end_and_changes_nothing() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&["admin"]).await;
    let token = fluide.token(&keys).await;
    data(&fluide.rotate(&token, "").await, 201);
    let product = fluide.with(Method::GET, "/api/v1/hr/health", &token, Some(&keys.key));
    assert_eq!(send(product).await.status, 200);
    assert_eq!(data(&fluide.current(&token).await, 200)["apiKey"], keys.key.as_str());
    let events = fluide.server.events();
    refused(&fluide.rotate(&token, "").await, 403, "HTTP_ERROR");
    // The refusal is recorded, once a minute; it is all that is.
    assert_eq!((fluide.server.events(), fluide.count(REFUSED).await), (events + 1, 1));
    refused(&fluide.rotate(&token, "").await, 403, "HTTP_ERROR");
    let bearer = As::Bearer(&token);
    let own = format!("/v1/credentials/{}", keys.id);
    let issue = json!({ "kind": "client", "name": "n" });
    for (path, body) in [
        (format!("{own}/rotate"), json!({})),
        (format!("{own}/rotations"), json!({})),
        (format!("{own}/expire-old"), json!({})),
        (format!("{own}/revoke"), json!({})),
        ("/v1/credentials".to_owned(), issue),
    ] {
        let reply = fluide.server.post(&bearer, &path, &body).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (403, &json!("session-superseded")),
            "{path}"
        );
    }
    assert_eq!(fluide.count(ROTATED).await, 1);
    fluide.home.clock.advance(Duration::from_hours(1));
    refused(&fluide.current(&token).await, 401, "GATEWAY_AUTH_INVALID");
}

#[tokio::test]
async fn a_revocation_and_an_emergency_rotation_end_sessions_at_once() {
    let fluide = Fluide::new().await;
    let operator = As::Bearer(OPERATOR);
    for (route, body) in [
        ("revoke", json!({})),
        ("rotate", json!({ "reason": "compromised" })),
        ("versions/1/revoke", json!({})),
    ] {
        let keys = fluide.issue(&[]).await;
        let token = fluide.token(&keys).await;
        assert_eq!(fluide.current(&token).await.status, 200);
        let path = format!("/v1/credentials/{}/{route}", keys.id);
        assert_eq!(fluide.server.post(&operator, &path, &body).await.status, 200);
        for reply in [
            fluide.current(&token).await,
            fluide.rotate(&token, "").await,
            send(fluide.with(Method::GET, "/api/v1/pay/health", &token, Some(&keys.key))).await,
        ] {
            refused(&reply, 401, "GATEWAY_AUTH_INVALID");
        }
        let own = format!("/v1/credentials/{}", keys.id);
        assert_eq!(fluide.server.get(&As::Bearer(&token), &own).await.status, 401);
    }
    // Also after a restart, from the snapshot as from the events.
    let keys = fluide.issue(&[]).await;
    let token = fluide.token(&keys).await;
    let path = format!("/v1/credentials/{}/rotate", keys.id);
    let rotated = fluide.server.post(&operator, &path, &json!({ "reason": "compromised" })).await.json();
    let new = Keys { secret: text(&rotated["secrets"], "apiSecret"), ..keys };
    let fresh = fluide.token(&new).await;
    let fluide = fluide.restart().await;
    refused(&fluide.current(&token).await, 401, "GATEWAY_AUTH_INVALID");
    assert_eq!(fluide.current(&fresh).await.status, 200);
}

#[tokio::test]
async fn a_token_of_a_retiring_secret_ends_with_it() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let before = fluide.token(&keys).await;
    let rotate = fluide.with(Method::POST, ROTATE, &before, None).json(&json!({ "gracePeriodSeconds": 60 }));
    let made = data(&send(rotate).await, 201);
    assert_eq!(made["oldSecretExpiresAt"], "2027-01-15T08:01:00.000Z");
    let retiring = fluide.token(&keys).await;
    assert_eq!(claims(&retiring)["exp"], 1_800_000_060);
    // It reads, and mints no successor.
    assert_eq!(fluide.current(&retiring).await.status, 200);
    for token in [&before, &retiring] {
        refused(&fluide.rotate(token, "").await, 403, "HTTP_ERROR");
    }
    fluide.home.clock.advance(Duration::from_mins(1) - Duration::from_millis(1));
    assert_eq!(fluide.current(&retiring).await.status, 200);
    fluide.home.clock.advance(Duration::from_millis(1));
    refused(&fluide.current(&retiring).await, 401, "GATEWAY_AUTH_INVALID");
    // One that was given before the rotation keeps its own end.
    assert_eq!(fluide.current(&before).await.status, 200);

    // The end may come early.
    let new = Keys { secret: text(&made, "apiSecret"), ..keys };
    let session = fluide.token(&new).await;
    let rotate =
        fluide.with(Method::POST, ROTATE, &session, None).json(&json!({ "gracePeriodSeconds": 600 }));
    data(&send(rotate).await, 201);
    let retiring = fluide.token(&new).await;
    assert_eq!(fluide.current(&retiring).await.status, 200);
    let path = format!("/v1/credentials/{}/expire-old", new.id);
    assert_eq!(fluide.operator(Method::POST, &path, json!({})).await.status, 200);
    refused(&fluide.current(&retiring).await, 401, "GATEWAY_AUTH_INVALID");
    assert_eq!(fluide.current(&session).await.status, 200);
}

#[tokio::test]
async fn a_policy_may_ask_for_the_secret_itself() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let other = fluide.issue(&[]).await;
    policy(&fluide, json!({ "rotateRequiresSecret": true })).await;
    let token = fluide.token(&keys).await;
    refused(&fluide.rotate(&token, "").await, 403, "HTTP_ERROR");
    let with =
        |secret: &str| fluide.with(Method::POST, ROTATE, &token, None).header("X-Fluide-Api-Secret", secret);
    for wrong in [other.secret.as_str(), "nonsense"] {
        refused(&send(with(wrong)).await, 401, "DEVELOPER_KEYS_INVALID");
    }
    assert_eq!(fluide.count(ROTATED).await, 0);
    let alone = [("X-Fluide-Api-Secret", keys.secret.as_str()), ("X-Fluide-Client-Id", CLIENT)];
    refused(&send(fluide.request(Method::POST, ROTATE, &alone)).await, 401, "GATEWAY_AUTH_REQUIRED");
    data(&send(with(&keys.secret)).await, 201);
    assert_eq!(event(&fluide, ROTATED).await["proof"], "secret");
}

#[tokio::test]
async fn bad_input_names_the_field_and_changes_nothing() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let token = fluide.token(&keys).await;
    let events = fluide.server.events();
    let rotate = |body: &'static str| send(fluide.with(Method::POST, ROTATE, &token, None).body(body));
    for (body, field) in [
        (r#"{"gracePeriodSeconds":-1}"#, "gracePeriodSeconds"),
        (r#"{"gracePeriodSeconds":"60"}"#, "gracePeriodSeconds"),
        (r#"{"gracePeriodSeconds":604801}"#, "gracePeriodSeconds"),
        (r#"{"gracePeriodSeconds":1e300}"#, "gracePeriodSeconds"),
        (r#"{"grace":1}"#, "grace"),
        ("[]", "body"),
        ("{", "body"),
        ("secret", "body"),
    ] {
        refused_for(&rotate(body).await, field);
    }
    let large = fluide.with(Method::POST, ROTATE, &token, None).body(vec![b' '; 64 * 1_024 + 1]);
    refused(&send(large).await, 413, "HTTP_ERROR");
    let named = |key: &str| fluide.with(Method::POST, ROTATE, &token, None).header("Idempotency-Key", key);
    refused_for(&send(named("a b")).await, "Idempotency-Key");
    refused_for(&send(named("a").header("Idempotency-Key", "b")).await, "Idempotency-Key");
    assert_eq!(fluide.server.events(), events);
    policy(&fluide, json!({ "minOverlapSeconds": 60 })).await;
    refused_for(&rotate("").await, "gracePeriodSeconds");
    assert_eq!(fluide.count(ROTATED).await, 0);
}

#[tokio::test]
async fn a_retry_gets_its_answer_again_until_the_new_secret_is_used() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let token = fluide.token(&keys).await;
    let other = fluide.token(&keys).await;
    let first = fluide.rotate(&token, "retry-1").await;
    let made = data(&first, 201);
    let fluide = fluide.restart().await;
    let events = fluide.server.events();
    for body in ["", "{}", r#"{"gracePeriodSeconds":0}"#] {
        let request = fluide.with(Method::POST, ROTATE, &token, None).header("Idempotency-Key", "retry-1");
        let again = send(request.body(body)).await;
        assert_eq!((again.status.as_u16(), &again.text), (201, &first.text));
        assert_eq!(again.header("idempotency-replayed"), "true");
    }
    assert_eq!(fluide.server.events(), events);
    // Another key is another rotation, for which the session has no right any more.
    refused(&fluide.rotate(&token, "retry-2").await, 403, "HTTP_ERROR");
    let request = fluide.with(Method::POST, ROTATE, &other, None).header("Idempotency-Key", "retry-1");
    refused(&send(request.json(&json!({ "gracePeriodSeconds": 60 }))).await, 409, "HTTP_ERROR");
    // Whoever uses the new secret has the answer.
    let new = Keys { secret: text(&made, "apiSecret"), ..keys };
    let session = fluide.token(&new).await;
    refused(&fluide.rotate(&token, "retry-1").await, 403, "HTTP_ERROR");
    assert_eq!(fluide.rotate(&session, "retry-1").await.text, first.text);
    assert_eq!(fluide.count(ROTATED).await, 1);
}

#[tokio::test]
async fn a_lost_answer_is_not_kept_for_long_nor_beyond_a_revocation() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let token = fluide.token(&keys).await;
    data(&fluide.rotate(&token, "late").await, 201);
    fluide.home.clock.advance(Duration::from_mins(10) - Duration::from_millis(1));
    assert_eq!(fluide.rotate(&token, "late").await.status, 201);
    fluide.home.clock.advance(Duration::from_millis(1));
    refused(&fluide.rotate(&token, "late").await, 403, "HTTP_ERROR");

    let keys = fluide.issue(&[]).await;
    let token = fluide.token(&keys).await;
    data(&fluide.rotate(&token, "revoked").await, 201);
    let path = format!("/v1/credentials/{}/revoke", keys.id);
    assert_eq!(fluide.operator(Method::POST, &path, json!({})).await.status, 200);
    refused(&fluide.rotate(&token, "revoked").await, 401, "GATEWAY_AUTH_INVALID");

    // A session that was given for the retiring secret was not the one that rotated.
    let keys = fluide.issue(&[]).await;
    let token = fluide.token(&keys).await;
    let grace = json!({ "gracePeriodSeconds": 60 });
    let rotate = |token: &str| {
        let request = fluide.with(Method::POST, ROTATE, token, None).header("Idempotency-Key", "grace");
        send(request.json(&grace))
    };
    let first = rotate(&token).await;
    data(&first, 201);
    let retiring = fluide.token(&keys).await;
    refused(&rotate(&retiring).await, 403, "HTTP_ERROR");
    assert_eq!(rotate(&token).await.text, first.text);

    // A policy that asks for the secret asks for it here too.
    policy(&fluide, json!({ "rotateRequiresSecret": true })).await;
    refused(&rotate(&token).await, 403, "HTTP_ERROR");
}

#[tokio::test]
async fn a_storm_with_one_key_is_one_rotation_and_without_one_too() {
    let fluide = Fluide::new().await;
    for key in ["storm", ""] {
        let keys = fluide.issue(&[]).await;
        let token = fluide.token(&keys).await;
        let before = fluide.count(ROTATED).await;
        let replies = futures_util::future::join_all((0..40).map(|_| fluide.rotate(&token, key))).await;
        let given: BTreeSet<_> = replies.iter().filter(|r| r.status == 201).map(|r| &r.text).collect();
        assert_eq!(given.len(), 1);
        for reply in replies.iter().filter(|r| r.status != 201) {
            // Whoever comes second has a session of a secret that is replaced.
            let status = if key.is_empty() { 403 } else { 409 };
            refused(reply, status, "HTTP_ERROR");
        }
        assert_eq!(fluide.count(ROTATED).await, before + 1);
    }
}
