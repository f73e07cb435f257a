//! Dead is dead across replicas, and what that costs: on a log in memory that several services share.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::watched::Site;

/// If this fails, a secret whose end was answered at one replica lets others in at another.
#[tokio::test(flavor = "multi_thread")]
async fn dead_is_dead_across_replicas() {
    let site = Site::new();
    let replicas = [site.replica().await, site.replica().await, site.replica().await];
    let workspace = replicas[0].operator.open_workspace("dead").await;
    let (id, public, mut secret) = replicas[1].operator.issue(&workspace, "client").await;
    for round in 0..150 {
        let (here, there) = (&replicas[round % 3].operator, &replicas[(round + 1) % 3].operator);
        let new = here.rotate(&id, json!({})).await;
        assert!(!there.verifies(&public, &secret).await, "round {round}: the old secret at another replica");
        assert!(replicas[(round + 2) % 3].operator.verifies(&public, &new).await, "round {round}");
        secret = new;
    }
    // An early end of grace, a revocation, and a key that may ask.
    let new = replicas[0].operator.rotate(&id, json!({ "gracePeriodSeconds": 600 })).await;
    assert!(replicas[1].operator.verifies(&public, &secret).await, "a retiring secret is valid everywhere");
    replicas[0].operator.post(&format!("/v1/credentials/{id}/expire-old"), json!({})).await.expect(200);
    assert!(!replicas[2].operator.verifies(&public, &secret).await, "an early end of grace");
    replicas[2].operator.post(&format!("/v1/credentials/{id}/revoke"), json!({})).await.expect(200);
    assert!(!replicas[1].operator.verifies(&public, &new).await, "a revoked credential");
    let (key_id, key, _) = replicas[0].operator.workspace_key(&workspace, &["admin"]).await;
    let there = replicas[1].operator.with_bearer(&key);
    there.get("/v1/credentials").await.expect(200);
    replicas[2].operator.post(&format!("/v1/credentials/{key_id}/revoke"), json!({})).await.expect(200);
    there.get("/v1/credentials").await.expect(401);
    for replica in replicas {
        replica.stop().await;
    }
}

/// If this fails, each verification pays a round trip of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_verifications_share_a_head_read() {
    let site = Site::new();
    let replica = site.replica().await;
    replica.log.hold(true);
    let before = replica.log.reads.load(Ordering::SeqCst);
    let asking: Vec<_> = (0..1_000)
        .map(|_| {
            let app = replica.app.clone();
            tokio::spawn(async move { app.current().await })
        })
        .collect();
    // The first has sent a read; the others gather behind it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    replica.log.hold(false);
    for asked in join_all(asking).await {
        asked.unwrap().unwrap();
    }
    let reads = replica.log.reads.load(Ordering::SeqCst) - before;
    // One on its way, one for all who came meanwhile, and what follows the feed in that time.
    assert!((1..=5).contains(&reads), "{reads} reads");
    replica.stop().await;
}

/// If this fails, a request rests on a read that was answered before the request came.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_joins_no_read_that_was_sent_before_it() {
    let site = Site::new();
    let (here, there) = (site.replica().await, site.replica().await);
    let workspace = here.operator.open_workspace("joins").await;
    let (id, public, secret) = here.operator.issue(&workspace, "client").await;
    assert!(there.operator.verifies(&public, &secret).await);
    // From here on nothing reaches that replica; a first request has sent its read.
    there.log.hold(true);
    let first = {
        let (operator, public, secret) = (there.operator.clone(), public.clone(), secret.clone());
        tokio::spawn(async move { operator.verifies(&public, &secret).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    here.operator.rotate(&id, json!({})).await;
    let second = {
        let (operator, public, secret) = (there.operator.clone(), public.clone(), secret.clone());
        tokio::spawn(async move { operator.verifies(&public, &secret).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    there.log.hold(false);
    // The first was asked before the rotation: either answer is right.
    first.await.unwrap();
    assert!(!second.await.unwrap(), "it came after the rotation was answered");
    here.stop().await;
    there.stop().await;
}

/// If this fails, a replica that is cut off guesses.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_cut_off_answers_503() {
    let site = Site::new();
    let replica = site.replica().await;
    let workspace = replica.operator.open_workspace("cut").await;
    let (_, public, secret) = replica.operator.issue(&workspace, "client").await;
    let (_, key, _) = replica.operator.workspace_key(&workspace, &["verifier"]).await;
    let verifier = replica.operator.with_bearer(&key);
    let body = json!({ "publicId": public, "secret": secret });

    replica.log.unreachable.store(true, Ordering::SeqCst);
    for asks in [&verifier, &replica.operator] {
        let reply = asks.post("/v1/verify", body.clone()).await.expect(503);
        assert_eq!(reply.code(), "store-unavailable");
        assert!(reply.headers.contains_key("retry-after"));
    }
    replica.operator.with_bearer("no such key, but long enough for one").get("/v1/events").await.expect(401);
    replica.log.unreachable.store(false, Ordering::SeqCst);
    assert!(verifier.verifies(&public, &secret).await, "it goes on by itself");

    // Not refused, but never answered: the wait is bounded.
    replica.log.hold(true);
    let asked = Instant::now();
    verifier.post("/v1/verify", body).await.expect(503);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    replica.log.hold(false);
    assert!(verifier.verifies(&public, &secret).await);
    replica.stop().await;
}

/// If this fails, the trade of freshness for round trips is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_bounded_staleness_spares_round_trips() {
    let mut site = Site::new();
    site.max_staleness = Duration::from_mins(1);
    let replica = site.replica().await;
    let workspace = replica.operator.open_workspace("stale").await;
    let (_, public, secret) = replica.operator.issue(&workspace, "client").await;
    replica.log.unreachable.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        assert!(replica.operator.verifies(&public, &secret).await, "the last proof serves for a while");
    }
    replica.stop().await;
}

/// If this fails, a key that was used at one replica makes a second change at another.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_at_another_replica_gets_the_same_secret() {
    let site = Site::new();
    let (here, there) = (site.replica().await, site.replica().await);
    let workspace = here.operator.open_workspace("retry").await;
    let (id, ..) = here.operator.issue(&workspace, "client").await;
    let path = format!("/v1/credentials/{id}/rotate");
    for round in 0..20 {
        let key = format!("retry-{round}");
        let named = [("idempotency-key", key.as_str())];
        let ask = async |who: &crate::client::Caller| {
            loop {
                let reply = who.send(reqwest::Method::POST, &path, &named, None).await.unwrap();
                // The same replica may be at it still.
                if reply.status != 409 {
                    return reply.expect(200).json()["secrets"]["clientSecret"].clone();
                }
            }
        };
        let (a, b) = tokio::join!(ask(&here.operator), ask(&there.operator));
        assert_eq!(a, b, "round {round}");
    }
    let rotated = here.operator.history(&id).await.iter().filter(|t| t.contains("rotated")).count();
    assert_eq!(rotated, 20);
    here.stop().await;
    there.stop().await;
}
