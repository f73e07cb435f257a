//! Replacing an app's secret and its webhook's.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::hopae::{Hopae, refused, refused_for, text};
use crate::support::{As, OPERATOR, members, send};

/// How many events of a type there are.
async fn count(hopae: &Hopae, event_type: &str) -> usize {
    let path = format!("/v1/events?limit=1000&type={event_type}");
    hopae.server.get(&As::Bearer(OPERATOR), &path).await.json()["items"].as_array().unwrap().len()
}

const ROTATED: &str = "rota.credential.secret-rotated.v1";

#[tokio::test]
async fn a_rotation_gives_the_new_secret_and_kills_the_old_one() {
    let hopae = Hopae::new().await;
    let app = hopae.app("one").await;
    let (id, old) = (text(&app, "clientId"), text(&app, "clientSecret"));
    let reply = hopae.rotate(&id, "").await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(members(&reply.json()), ["clientSecret"]);
    let new = text(&reply.json(), "clientSecret");
    assert!(new.len() == 64 && new != old);
    let refused = hopae.userinfo(&id, &old).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["title"]),
        (401, &json!("AUTH_INVALID_CREDENTIALS"))
    );
    let info = hopae.userinfo(&id, &new).await;
    let expected = json!({
        "clientId": id, "name": "one", "workspace": hopae.workspace, "secretVersion": 2, "retiring": false
    });
    assert_eq!((info.status.as_u16(), info.json()), (200, expected));
}

#[tokio::test]
async fn the_body_is_left_out_empty_or_an_empty_object_and_that_is_one_request() {
    let hopae = Hopae::new().await;
    let path = format!("/apps/{}/rotate-client-secret", text(&hopae.app("one").await, "clientId"));
    let rotate = |body: &'static str| {
        let request = hopae.request(Method::POST, &path).header("Idempotency-Key", "same");
        send(request.body(body))
    };
    let first = rotate("").await;
    assert_eq!(first.text, rotate("{}").await.text);
    assert_eq!(first.text, rotate(" \n").await.text);
    let events = hopae.server.events();
    let graceful = rotate(r#"{"gracePeriodSeconds":60}"#).await;
    refused_for(&graceful, "VALIDATION_INVALID_PARAMETER", "gracePeriodSeconds");
    for bad in ["[]", "[1]", "null", "{", "secret"] {
        refused(&rotate(bad).await, 400, "VALIDATION_INVALID_PARAMETER");
    }
    assert_eq!(hopae.server.events(), events);
}

#[tokio::test]
async fn a_retry_after_a_restart_gets_the_same_secret() {
    let hopae = Hopae::new().await;
    let id = text(&hopae.app("one").await, "clientId");
    let first = hopae.rotate(&id, "retry-1").await;
    let hopae = hopae.restart().await;
    let events = hopae.server.events();
    let again = hopae.rotate(&id, "retry-1").await;
    assert_eq!((again.status.as_u16(), &again.text), (201, &first.text));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.header("rota-secret-superseded"), "");
    assert_eq!(hopae.server.events(), events);
    // Quoted as the draft wants it, it is the same key.
    assert_eq!(hopae.rotate(&id, "\"retry-1\"").await.text, first.text);
    hopae.rotate(&id, "retry-2").await;
    let superseded = hopae.rotate(&id, "retry-1").await;
    assert_eq!(superseded.text, first.text);
    assert_eq!(superseded.header("rota-secret-superseded"), "true");
    assert_eq!(count(&hopae, ROTATED).await, 2);
}

#[tokio::test]
async fn after_24_hours_the_key_is_free_again() {
    let hopae = Hopae::new().await;
    let id = text(&hopae.app("one").await, "clientId");
    let first = hopae.rotate(&id, "daily").await;
    hopae.home.clock.advance(Duration::from_hours(24) - Duration::from_micros(1));
    assert_eq!(hopae.rotate(&id, "daily").await.text, first.text);
    hopae.home.clock.advance(Duration::from_micros(1));
    let second = hopae.rotate(&id, "daily").await;
    assert_eq!((second.status.as_u16(), second.header("idempotency-replayed")), (201, ""));
    assert_ne!(second.text, first.text);
}

#[tokio::test]
async fn a_key_is_spent_for_the_whole_workspace_and_for_no_other() {
    let hopae = Hopae::new().await;
    let one = text(&hopae.app("one").await, "clientId");
    let two = text(&hopae.app("two").await, "clientId");
    assert_eq!(hopae.rotate(&one, "k").await.status, 201);
    let events = hopae.server.events();
    refused(&hopae.rotate(&two, "k").await, 409, "IDEMPOTENCY_KEY_CONFLICT");
    assert_eq!(hopae.server.events(), events);

    let workspace = hopae.server.workspace("Other").await;
    let key = hopae.server.key(&workspace, &["admin"]).await;
    let other = As::Bearer(&key);
    let app = hopae.server.post(&other, "/connect/v1/apps", &json!({ "name": "three" })).await.json();
    let path = format!("/connect/v1/apps/{}/rotate-client-secret", text(&app, "clientId"));
    let request = hopae.server.request(&other, Method::POST, &path).header("Idempotency-Key", "k");
    assert_eq!(send(request).await.status, 201);
}

#[tokio::test]
async fn keys_out_of_bounds_are_refused() {
    let hopae = Hopae::new().await;
    let id = text(&hopae.app("one").await, "clientId");
    let events = hopae.server.events();
    let path = format!("/apps/{id}/rotate-client-secret");
    let too_long = "k".repeat(256);
    for bad in [too_long.as_bytes(), b"a b", b"\"open", b"\"\"", b"", "schl\u{fc}ssel".as_bytes(), b"\xff"] {
        let value = reqwest::header::HeaderValue::from_bytes(bad).unwrap();
        let reply = send(hopae.request(Method::POST, &path).header("Idempotency-Key", value)).await;
        refused_for(&reply, "VALIDATION_INVALID_PARAMETER", "Idempotency-Key");
    }
    let twice = hopae.request(Method::POST, &path).header("Idempotency-Key", "a");
    let reply = send(twice.header("Idempotency-Key", "b")).await;
    refused_for(&reply, "VALIDATION_INVALID_PARAMETER", "Idempotency-Key");
    assert_eq!(hopae.server.events(), events);
    assert_eq!(hopae.rotate(&id, &"k".repeat(255)).await.status, 201);
}

#[tokio::test]
async fn a_storm_with_one_key_is_one_rotation() {
    let hopae = Hopae::new().await;
    let id = text(&hopae.app("one").await, "clientId");
    let replies = futures_util::future::join_all((0..100).map(|_| hopae.rotate(&id, "storm"))).await;
    let mut secrets = BTreeSet::new();
    let mut first = 0;
    for reply in &replies {
        if reply.status == 201 {
            first += usize::from(reply.header("idempotency-replayed").is_empty());
            secrets.insert(&reply.text);
        } else {
            refused(reply, 409, "IDEMPOTENCY_REQUEST_IN_PROGRESS");
            assert_eq!(reply.header("retry-after"), "1");
        }
    }
    assert_eq!((secrets.len(), first), (1, 1));
    assert_eq!(count(&hopae, ROTATED).await, 1);
    assert_eq!(&&hopae.rotate(&id, "storm").await.text, secrets.first().unwrap());
}

#[tokio::test]
async fn a_webhook_secret_is_made_by_the_first_call_and_replaced_by_the_next() {
    let hopae = Hopae::new().await;
    let id = text(&hopae.app("one").await, "clientId");
    let path = format!("/apps/{id}/webhook-config");
    let rotate = |key: &'static str| {
        let request = hopae.request(Method::POST, &format!("{path}/rotate-secret"));
        send(request.header("Idempotency-Key", key))
    };
    assert!(hopae.get(&path).await.json()["secret"].is_null());
    let first = rotate("w1").await;
    assert_eq!((first.status.as_u16(), members(&first.json())), (200, vec!["secret"]));
    assert_eq!(first.header("cache-control"), "no-store");
    let secret = text(&first.json(), "secret");
    assert!(secret.starts_with("whsec_"));
    let shown = |secret: &str| format!("whsec_****{}", &secret[secret.len() - 4..]);
    assert_eq!(hopae.get(&path).await.json()["secret"], shown(&secret));
    let again = rotate("w1").await;
    assert_eq!((&again.text, again.header("idempotency-replayed")), (&first.text, "true"));
    let second = text(&rotate("w2").await.json(), "secret");
    assert_ne!(second, secret);
    let app = hopae.get(&format!("/apps/{id}")).await;
    assert_eq!(app.json()["webhookConfig"]["secret"], shown(&second));
    assert!(!app.text.contains(&second));
    assert_eq!(rotate("w1").await.text, first.text);
    assert_eq!(count(&hopae, ROTATED).await, 1);
}

#[tokio::test]
async fn first_calls_at_the_same_time_make_one_webhook_secret() {
    let hopae = Hopae::new().await;
    let id = text(&hopae.app("one").await, "clientId");
    let issued = count(&hopae, "rota.credential.issued.v1").await;
    let path = format!("/apps/{id}/webhook-config/rotate-secret");
    let calls = (0..20).map(|_| send(hopae.request(Method::POST, &path)));
    let replies = futures_util::future::join_all(calls).await;
    for reply in &replies {
        if reply.status != 200 {
            refused(reply, 409, "RESOURCE_CONFLICT");
        }
    }
    // No two callers are told the same secret.
    let given = replies.iter().filter(|reply| reply.status == 200).count();
    let secrets: BTreeSet<_> = replies.iter().filter(|r| r.status == 200).map(|r| &r.text).collect();
    assert!(given >= 1 && secrets.len() == given);
    assert_eq!(count(&hopae, "rota.credential.issued.v1").await, issued + 1);
}

#[tokio::test]
async fn a_policy_that_demands_an_overlap_is_a_conflict() {
    let hopae = Hopae::new().await;
    let id = text(&hopae.app("one").await, "clientId");
    let path = format!("/v1/workspaces/{}/policy", hopae.workspace);
    let policy = json!({ "minOverlapSeconds": 60 });
    let set = hopae.server.request(&As::Bearer(OPERATOR), Method::PUT, &path).json(&policy);
    assert_eq!(send(set).await.status, 200);
    let events = hopae.server.events();
    refused(&hopae.rotate(&id, "").await, 409, "RESOURCE_CONFLICT");
    assert_eq!(hopae.server.events(), events);
}
