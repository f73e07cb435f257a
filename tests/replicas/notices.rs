//! Notices of one ledger that several replicas serve: whoever tells may die, and nothing is left untold.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::client::{Caller, Receiver, text};
use crate::postgres_cluster::Cluster;
use crate::process::Process;

/// Deliveries that are on their way to one webhook at once: those that nobody notes when their sender dies.
const AT_ONCE_EACH: u64 = 4;
/// A lease is taken within 4 s of its holder's death, what that one had claimed within 25 s.
const TOLD: Duration = Duration::from_mins(1);

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < TOLD, "{what} within {TOLD:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Who tells, and how often that has changed.
async fn holder(admin: &mut PgConnection) -> (Vec<u8>, u64) {
    let sql = "SELECT holder, token FROM leases WHERE name = 'notices'";
    let (holder, token): (_, i64) = sqlx::query_as(sql).fetch_one(admin).await.unwrap();
    (holder, token as u64)
}

/// Starts a replica, and finds out under which name it holds leases.
async fn start(store: &str, admin: &mut PgConnection) -> (Vec<u8>, Process) {
    let sql = "SELECT holder FROM leases WHERE name LIKE 'replica/%'";
    let before: Vec<Vec<u8>> = sqlx::query_scalar(sql).fetch_all(&mut *admin).await.unwrap_or_default();
    let process = Process::start(store, 0).await;
    let after: Vec<Vec<u8>> = sqlx::query_scalar(sql).fetch_all(admin).await.unwrap();
    let name = after.into_iter().find(|name| !before.contains(name)).expect("it tells that it is there");
    (name, process)
}

async fn deliveries(caller: &Caller, webhook: &str, state: &str) -> Option<Vec<Value>> {
    let path = format!("/v1/webhooks/{webhook}/deliveries?limit=1000&state={state}");
    let reply = caller.send(Method::GET, &path, &[], None).await.ok().filter(|reply| reply.status == 200)?;
    Some(reply.json()["items"].as_array().unwrap().clone())
}

/// If this fails, a notice is lost with the replica that was to tell it, or told over and over.
#[tokio::test(flavor = "multi_thread")]
async fn every_rotation_is_told_though_whoever_tells_is_killed() {
    let cluster = Cluster::shared();
    let schema = cluster.schema().await;
    let store = cluster.url(&schema);
    let mut admin = cluster.connect(&schema).await;
    let mut replicas = BTreeMap::new();
    for _ in 0..3 {
        let (name, process) = start(&store, &mut admin).await;
        replicas.insert(name, process);
    }
    let receiver = Receiver::start();
    // So that some are always on their way.
    receiver.takes(Duration::from_millis(100));
    let (first, tokens_before) = holder(&mut admin).await;
    let other = |replicas: &BTreeMap<Vec<u8>, Process>, but: &[u8]| {
        let (_, process) = replicas.iter().find(|(name, _)| *name != but).unwrap();
        process.operator.clone()
    };
    // Everything is asked of replicas that do not tell.
    let caller = other(&replicas, &first);
    let workspace = caller.open_workspace("told").await;
    let body = json!({ "url": receiver.url, "types": ["secret.rotated"], "workspaceId": workspace });
    let made = caller.post("/v1/webhooks", body).await.expect(201).json();
    let webhook = text(&made["webhook"]["id"]);
    caller.post(&format!("/v1/webhooks/{webhook}/test"), json!({})).await.expect(202);
    receiver.wait_for("webhook.test").await;
    let (id, ..) = caller.issue(&workspace, "client").await;

    let mut rotations = 0;
    let mut kills = 0;
    for _ in 0..2 {
        let (name, _) = holder(&mut admin).await;
        let caller = other(&replicas, &name);
        for _ in 0..40 {
            caller.rotate(&id, json!({})).await;
            rotations += 1;
        }
        let seen = receiver.seen().len();
        until("some is told", async || receiver.seen().len() > seen + 2).await;
        replicas.remove(&name).expect("the holder is one of them").kill();
        kills += 1;
        // Those that happen while nobody tells.
        for _ in 0..20 {
            caller.rotate(&id, json!({})).await;
            rotations += 1;
        }
        let (name_of_new, process) = start(&store, &mut admin).await;
        replicas.insert(name_of_new, process);
        until("a successor", async || holder(&mut admin).await.0 != name).await;
    }
    let caller = replicas.values().next().unwrap().operator.clone();
    let mut recorded = Vec::new();
    let page =
        caller.get("/v1/events?type=rota.credential.secret-rotated.v1&limit=1000").await.expect(200).json();
    recorded.extend(page["items"].as_array().unwrap().iter().map(|event| text(&event["id"])));
    recorded.sort();
    assert_eq!(recorded.len(), rotations);
    let told = || {
        let mut told = BTreeMap::<String, u64>::new();
        for seen in receiver.seen().iter().filter(|seen| seen.name() == "secret.rotated") {
            *told.entry(seen.header("webhook-id").to_owned()).or_default() += 1;
        }
        told
    };
    until("every rotation is told", async || told().len() == rotations).await;
    until("every delivery is settled", async || {
        deliveries(&caller, &webhook, "waiting").await.is_some_and(|waiting| waiting.is_empty())
    })
    .await;
    let told = told();
    assert!(told.keys().eq(recorded.iter()), "each by the id of its event");
    let doubles: u64 = told.values().map(|times| times - 1).sum();
    let (last, tokens) = holder(&mut admin).await;
    let changes = tokens - tokens_before;
    println!(
        "{rotations} rotations told, {doubles} of them again; {kills} kills, {changes} changes of holder"
    );
    assert!(changes >= kills);
    // What is on its way when the job changes hands, and nothing else.
    assert!(doubles <= AT_ONCE_EACH * changes, "{doubles}");
    // All replicas show the same log, and each takes a redelivery.
    for (name, process) in &replicas {
        let delivered = deliveries(&process.operator, &webhook, "delivered").await.unwrap();
        // One that a replica before this one was asked to deliver again may not be noted yet.
        let shown = async || deliveries(&process.operator, &webhook, "delivered").await.unwrap().len();
        until("the log shows all, with the test", async || shown().await == rotations + 1).await;
        if *name != last {
            let again = text(&delivered[0]["id"]);
            let path = format!("/v1/webhooks/{webhook}/deliveries/{again}/redeliver");
            let before = receiver.seen().len();
            process.operator.post(&path, json!({})).await.expect(202);
            until("it is delivered again", async || {
                receiver.seen()[before..].iter().any(|seen| seen.header("webhook-id") == again)
            })
            .await;
        }
    }
}

/// Nobody has to wait for the first one to have made the schema and the keys.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_start_together_on_an_empty_database() {
    let cluster = Cluster::shared();
    for _ in 0..4 {
        let store = cluster.url(&cluster.schema().await);
        let (one, two, three) =
            tokio::join!(Process::start(&store, 0), Process::start(&store, 0), Process::start(&store, 0));
        let workspace = one.operator.open_workspace("together").await;
        let (_, public, secret) = two.operator.issue(&workspace, "client").await;
        assert!(three.operator.verifies(&public, &secret).await);
    }
}
