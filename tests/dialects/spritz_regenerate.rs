//! Regenerating an integrator's secret.

use std::time::Duration;

use reqwest::Method;
use rota_aggregates::Timestamp;
use serde_json::json;

use crate::spritz::{KEY, REGENERATE, Spritz, refused, refused_for};
use crate::support::{As, OPERATOR, members, send};

#[tokio::test]
async fn without_a_grace_period_the_old_secret_is_dead_at_once() {
    let spritz = Spritz::new().await;
    let mut signer = spritz.signer.clone();
    for body in ["", "{}", r#"{"oldSecretValidForSeconds":0}"#] {
        let reply = spritz.regenerate(&signer, body).await;
        assert_eq!(members(&reply.json()), ["secret"]);
        assert_eq!(reply.header("cache-control"), "no-store");
        let new = spritz.with_secret_of(&reply);
        assert!(new.secret.starts_with("sk_live_"));
        assert!(spritz.opens(&new).await && !spritz.opens(&signer).await);
        signer = new;
    }
    assert_eq!(spritz.count("secret-rotated").await, 3);
}

#[tokio::test]
async fn a_grace_period_ends_to_the_millisecond() {
    let spritz = Spritz::new().await;
    let old = &spritz.signer;
    let reply = spritz.regenerate(old, r#"{"oldSecretValidForSeconds":300}"#).await;
    assert_eq!(members(&reply.json()), ["oldSecretExpiresAt", "secret"]);
    let new = spritz.with_secret_of(&reply);
    let end: Timestamp = reply.json()["oldSecretExpiresAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(end.micros(), spritz.millis() * 1_000 + 300_000_000);
    assert!(spritz.opens(old).await && spritz.opens(&new).await);
    // Each question is a millisecond after the last.
    spritz.home.clock.set(Timestamp::from_micros(end.micros() - 2_000));
    assert!(spritz.opens(old).await, "a millisecond before the end");
    assert!(!spritz.opens(old).await, "at the end");
    assert!(!spritz.opens(old).await && spritz.opens(&new).await);
}

#[tokio::test]
async fn forms_say_the_same_as_json() {
    let spritz = Spritz::new().await;
    let mut signer = spritz.signer.clone();
    let multipart =
        "--b\r\nContent-Disposition: form-data; name=\"oldSecretValidForSeconds\"\r\n\r\n60\r\n--b--\r\n";
    for (content_type, body) in [
        ("application/x-www-form-urlencoded", "oldSecretValidForSeconds=60"),
        ("multipart/form-data; boundary=b", multipart),
        ("application/json; charset=utf-8", r#"{"oldSecretValidForSeconds":59.5}"#),
    ] {
        spritz.tick();
        let headers = signer.headers(spritz.millis(), "POST", REGENERATE, body);
        let mut request = spritz.server.request(&As::Nobody, Method::POST, REGENERATE).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let reply = send(request.header("content-type", content_type)).await;
        let end: Timestamp = reply.json()["oldSecretExpiresAt"].as_str().unwrap().parse().unwrap();
        assert_eq!(end.micros(), spritz.millis() * 1_000 + 60_000_000, "{content_type}");
        signer = spritz.with_secret_of(&reply);
    }
}

#[tokio::test]
async fn bad_input_names_the_field_and_changes_nothing() {
    const FIELD: &str = "oldSecretValidForSeconds";
    let spritz = Spritz::new().await;
    let events = spritz.server.events();
    for (body, field) in [
        (r#"{"oldSecretValidForSeconds":-1}"#, FIELD),
        (r#"{"oldSecretValidForSeconds":3600.5}"#, FIELD),
        (r#"{"oldSecretValidForSeconds":3601}"#, FIELD),
        (r#"{"oldSecretValidForSeconds":1e300}"#, FIELD),
        (r#"{"oldSecretValidForSeconds":"300"}"#, FIELD),
        (r#"{"oldSecretValidForSeconds":[]}"#, FIELD),
        (r#"{"oldSecretValidForSeconds":NaN}"#, "body"),
        (r#"{"oldSecretValidFor":1}"#, "oldSecretValidFor"),
        ("[]", "body"),
        ("{", "body"),
    ] {
        refused_for(&spritz.regenerate(&spritz.signer, body).await, field);
    }
    for (content_type, body, field) in [
        ("application/x-www-form-urlencoded", "oldSecretValidForSeconds=x", FIELD),
        ("application/x-www-form-urlencoded", "oldSecretValidForSeconds=1e3", FIELD),
        ("application/x-www-form-urlencoded", "other=1", "other"),
        ("multipart/form-data", "x", "body"),
        ("multipart/form-data; boundary=b", "--b\r\n", "body"),
        ("text/plain", "x", "Content-Type"),
    ] {
        let headers = spritz.signer.headers(spritz.millis(), "POST", REGENERATE, body);
        let mut request = spritz.server.request(&As::Nobody, Method::POST, REGENERATE).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        refused_for(&send(request.header("content-type", content_type)).await, field);
    }
    assert_eq!(spritz.server.events(), events);
    assert!(spritz.opens(&spritz.signer).await);
}

#[tokio::test]
async fn a_retiring_secret_may_not_regenerate() {
    let spritz = Spritz::new().await;
    let old = spritz.signer.clone();
    let new = spritz.with_secret_of(&spritz.regenerate(&old, r#"{"oldSecretValidForSeconds":3600}"#).await);
    for body in ["{}", r#"{"oldSecretValidForSeconds":3600}"#] {
        refused(&spritz.regenerate(&old, body).await, 403, "auth:forbidden");
    }
    assert_eq!((spritz.count("secret-rotated").await, spritz.count("rotation-refused").await), (1, 1));
    // Its successor may, and ends it.
    let newer = spritz.with_secret_of(&spritz.regenerate(&new, r#"{"oldSecretValidForSeconds":60}"#).await);
    assert!(!spritz.opens(&old).await && spritz.opens(&new).await && spritz.opens(&newer).await);
}

/// If this fails, whoever sees one signed regeneration gets the next secret.
#[tokio::test]
async fn a_captured_regeneration_is_refused_also_after_a_restart() {
    let mut spritz = Spritz::new().await;
    for grace in [0, 3_600] {
        let body = format!("{{\"oldSecretValidForSeconds\":{grace}}}");
        let signer = spritz.signer.clone();
        spritz.tick();
        let captured = spritz.request(&signer, Method::POST, REGENERATE, &body).build().unwrap();
        let replay = |server: &crate::support::Server| {
            let request = server.request(&As::Nobody, Method::POST, REGENERATE);
            send(request.headers(captured.headers().clone()).body(body.clone()))
        };
        let answered = replay(&spritz.server).await.expect(200).text;
        refused(&replay(&spritz.server).await, 401, "auth:unauthorized");
        let events = spritz.server.events();
        let Spritz { home, server, workspace, id, signer: _ } = spritz;
        server.stop().await;
        let server = home.serve().await;
        refused(&replay(&server).await, 401, "auth:unauthorized");
        assert_eq!(server.events(), events);
        let secret = serde_json::from_str::<serde_json::Value>(&answered).unwrap();
        let signer = crate::signer::Signer::new(&signer.key, secret["secret"].as_str().unwrap());
        spritz = Spritz { home, server, workspace, id, signer };
    }
    assert_eq!(spritz.count("secret-rotated").await, 2);
}

/// If this fails, an integrator whose connection broke has lost its only secret.
#[tokio::test]
async fn a_lost_answer_is_fetched_with_the_old_secret_and_the_same_key() {
    let spritz = Spritz::new().await;
    let old = spritz.signer.clone();
    let lost = spritz.regenerate_as(&old, "{}", KEY).await;
    assert_eq!(lost.status, 200);
    assert!(!spritz.opens(&old).await, "it opens nothing else");
    let spritz = spritz.restart().await;
    let found = spritz.regenerate_as(&old, "{}", KEY).await;
    assert_eq!((found.text.as_str(), found.header("idempotency-replayed")), (lost.text.as_str(), "true"));
    // Only this request, and only with this key.
    for (body, key) in [("{}", "another-key-that-is-long-enough"), (r#"{"oldSecretValidForSeconds":1}"#, KEY)]
    {
        refused(&spritz.regenerate_as(&old, body, key).await, 401, "auth:unauthorized");
    }
    refused(&spritz.regenerate(&old, "{}").await, 401, "auth:unauthorized");
    // Once the new secret is used it has arrived.
    let new = spritz.with_secret_of(&found);
    assert!(spritz.opens(&new).await);
    assert_eq!(spritz.count("replay-ended").await, 1);
    let spritz = spritz.restart().await;
    refused(&spritz.regenerate_as(&old, "{}", KEY).await, 401, "auth:unauthorized");
    assert_eq!(spritz.count("secret-rotated").await, 1);
    // The new one may still ask what the first answer was.
    let again = spritz.regenerate_as(&new, "{}", KEY).await;
    assert_eq!(again.text, lost.text);
}

#[tokio::test]
async fn a_captured_retry_gets_no_answer() {
    let spritz = Spritz::new().await;
    let old = spritz.signer.clone();
    assert_eq!(spritz.regenerate_as(&old, "{}", KEY).await.status, 200);
    spritz.tick();
    let retry = || send(spritz.request(&old, Method::POST, REGENERATE, "{}").header("Idempotency-Key", KEY));
    assert_eq!(retry().await.status, 200);
    refused(&retry().await, 401, "auth:unauthorized");
}

#[tokio::test]
async fn a_lost_answer_is_lost_after_ten_minutes() {
    let spritz = Spritz::new().await;
    let old = spritz.signer.clone();
    let at = spritz.home.clock.clone();
    assert_eq!(spritz.regenerate_as(&old, "{}", KEY).await.status, 200);
    at.advance(Duration::from_mins(10) - Duration::from_millis(2));
    assert_eq!(spritz.regenerate_as(&old, "{}", KEY).await.status, 200);
    refused(&spritz.regenerate_as(&old, "{}", KEY).await, 401, "auth:unauthorized");
}

#[tokio::test]
async fn no_answer_is_kept_for_a_key_that_can_be_guessed_nor_after_a_revocation() {
    let spritz = Spritz::new().await;
    let old = spritz.signer.clone();
    let lost = spritz.regenerate_as(&old, "{}", &KEY[..21]).await;
    refused(&spritz.regenerate_as(&old, "{}", &KEY[..21]).await, 401, "auth:unauthorized");

    let new = spritz.with_secret_of(&lost);
    assert_eq!(spritz.regenerate_as(&new, "{}", KEY).await.status, 200);
    let revoke = format!("/v1/credentials/{}/versions/3/revoke", spritz.id);
    assert_eq!(spritz.server.post(&As::Bearer(OPERATOR), &revoke, &json!({})).await.status, 200);
    refused(&spritz.regenerate_as(&new, "{}", KEY).await, 401, "auth:unauthorized");
}

#[tokio::test]
async fn a_lost_answer_is_not_given_after_somebody_called_the_secret_compromised() {
    let spritz = Spritz::new().await;
    let old = spritz.signer.clone();
    assert_eq!(spritz.regenerate_as(&old, "{}", KEY).await.status, 200);
    let rotate = format!("/v1/credentials/{}/rotate", spritz.id);
    let body = json!({ "reason": "compromised" });
    assert_eq!(spritz.server.post(&As::Bearer(OPERATOR), &rotate, &body).await.status, 200);
    refused(&spritz.regenerate_as(&old, "{}", KEY).await, 401, "auth:unauthorized");
}

#[tokio::test]
async fn a_retiring_secret_fetches_the_answer_to_its_own_replacement_only() {
    let spritz = Spritz::new().await;
    let old = spritz.signer.clone();
    let body = r#"{"oldSecretValidForSeconds":60}"#;
    let lost = spritz.regenerate_as(&old, body, KEY).await;
    assert_eq!(spritz.regenerate_as(&old, body, KEY).await.text, lost.text);
    // After the grace period too.
    spritz.home.clock.advance(Duration::from_secs(90));
    assert!(!spritz.opens(&old).await);
    assert_eq!(spritz.regenerate_as(&old, body, KEY).await.text, lost.text);
    assert!(spritz.opens(&spritz.with_secret_of(&lost)).await);
    refused(&spritz.regenerate_as(&old, body, KEY).await, 401, "auth:unauthorized");
}

#[tokio::test]
async fn an_administrator_may_regenerate_for_an_integrator_that_it_names() {
    let spritz = Spritz::new().await;
    let key = spritz.server.key(&spritz.workspace, &["admin"]).await;
    let ask = |bearer: &str, integrator: &str| {
        let request = spritz.server.request(&As::Bearer(bearer), Method::POST, REGENERATE);
        send(request.header("X-Integrator-Key", integrator))
    };
    let reply = ask(&key, &spritz.signer.key).await;
    assert!(spritz.opens(&spritz.with_secret_of(&reply)).await);
    let missing = ask(&key, "int_0000000000000000000000").await;
    refused(&missing, 404, "resource:not-found");
    let problem = missing.json();
    assert_eq!(
        (&problem["resourceType"], &problem["resourceId"]),
        (&json!("integrator"), &json!("int_0000000000000000000000"))
    );
    // Another workspace's is as if it were not there.
    let other = spritz.server.workspace("Other").await;
    let other = spritz.server.key(&other, &["admin"]).await;
    refused(&ask(&other, &spritz.signer.key).await, 404, "resource:not-found");
    let unnamed = send(spritz.server.request(&As::Bearer(&key), Method::POST, REGENERATE)).await;
    refused_for(&unnamed, "X-Integrator-Key");
}

#[tokio::test]
async fn a_policy_that_demands_an_overlap_names_the_field() {
    let spritz = Spritz::new().await;
    let path = format!("/v1/workspaces/{}/policy", spritz.workspace);
    let set = spritz.server.request(&As::Bearer(OPERATOR), Method::PUT, &path);
    assert_eq!(send(set.json(&json!({ "minOverlapSeconds": 60 }))).await.status, 200);
    refused_for(&spritz.regenerate(&spritz.signer, "{}").await, "oldSecretValidForSeconds");
}
