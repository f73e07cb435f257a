//! Three replicas, each a process of the built program, on one PostgreSQL: dead is dead under load, with replicas
//! killed, the database crashing, and a replica stopped and resumed. The short forms are part of every test run; the
//! long ones print what they reach:
//!
//! `cargo test --release -p rota --test replicas -- --ignored --nocapture --test-threads 1`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{Mutex, RwLock};

use crate::client::{Caller, pair, text};
use crate::postgres_cluster::Cluster;
use crate::process::Process;

/// Rotations of the long forms.
const LONG: u64 = 10_000;
/// Whoever rotates and verifies at the same time.
const CALLERS: usize = 16;

/// One of these at a time: they load the machine, and some of them measure time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What a run came to.
#[derive(Default)]
struct Counts {
    rotations: AtomicU64,
    verifications: AtomicU64,
    /// Old secrets that were accepted.
    accepted: AtomicU64,
    /// New secrets that were not.
    refused: AtomicU64,
    /// Requests that got no answer, 503 or 409, and were sent again.
    again: AtomicU64,
}

/// Three replicas that callers find by number, whichever process it is at the time.
struct Site {
    store: String,
    replicas: [RwLock<Option<Process>>; 3],
    callers: [Caller; 3],
}

impl Site {
    async fn start() -> Arc<Self> {
        Self::on(Cluster::shared()).await
    }

    async fn on(cluster: &Cluster) -> Arc<Self> {
        let store = cluster.url(&cluster.schema().await);
        let first = Process::start(&store, 0).await;
        let (second, third) = tokio::join!(Process::start(&store, 0), Process::start(&store, 0));
        let callers = [first.operator.clone(), second.operator.clone(), third.operator.clone()];
        let replicas = [first, second, third].map(|process| RwLock::new(Some(process)));
        Arc::new(Self { store, replicas, callers })
    }

    /// Kills a replica and starts another in its place.
    async fn replace(&self, number: usize) {
        let mut place = self.replicas[number].write().await;
        let port = place.as_ref().unwrap().port();
        place.take().unwrap().kill();
        *place = Some(Process::start(&self.store, port).await);
    }

    async fn signal(&self, number: usize, name: &str) {
        self.replicas[number].read().await.as_ref().unwrap().signal(name);
    }
}

/// Asks until there is an answer that says something, at one replica after the other.
async fn ask(
    site: &Site,
    counts: &Counts,
    first: usize,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Value {
    for attempt in 0_usize.. {
        assert!(attempt < 3_000, "an answer in time to {path}");
        let caller = &site.callers[(first + attempt) % 3];
        let sent = caller.send(Method::POST, path, headers, Some(body.to_string().into_bytes()));
        match tokio::time::timeout(Duration::from_secs(15), sent).await {
            Ok(Ok(reply)) if reply.status == 200 => return reply.json(),
            Ok(Ok(reply)) => {
                // 408: where the machine is overloaded it had not read the request in time.
                let known = matches!(reply.status.as_u16(), 408 | 409 | 503);
                assert!(known, "{} {}", reply.status, reply.text);
            }
            Ok(Err(_)) | Err(_) => {}
        }
        counts.again.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    unreachable!()
}

/// The types of a credential's events, from whichever replica can tell.
async fn history(site: &Site, id: &str) -> Vec<String> {
    let path = format!("/v1/credentials/{id}/history?limit=1000");
    for attempt in 0..3_000 {
        let mut types = Vec::new();
        let mut after = String::new();
        loop {
            let sent =
                site.callers[attempt % 3].send(Method::GET, &format!("{path}{after}"), &[], None).await;
            let Some(page) = sent.ok().filter(|reply| reply.status == 200) else { break };
            let page = page.json();
            types.extend(page["items"].as_array().unwrap().iter().map(|e| text(&e["type"])));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return types,
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no replica can tell the history of {id}");
}

/// Rotates without grace, and asks another replica at once whether the old secret is valid.
/// The credential, and how often it was rotated.
async fn hammer(site: Arc<Site>, counts: Arc<Counts>, number: usize, rotations: u64) -> (String, usize) {
    let operator = &site.callers[number % 3];
    let workspace = operator.open_workspace(&format!("hammer-{number}")).await;
    let (id, public, mut secret) = operator.issue(&workspace, "client").await;
    let path = format!("/v1/credentials/{id}/rotate");
    let mut round = 0;
    while counts.rotations.load(Ordering::Relaxed) < rotations {
        round += 1;
        let here = (number + round) % 3;
        // With a name, since a replica may die before it answers.
        let key = format!("hammer-{number}-{round}");
        let made = ask(&site, &counts, here, &path, &[("idempotency-key", &key)], &json!({})).await;
        let new = pair(&made["secrets"]).1;
        counts.rotations.fetch_add(1, Ordering::Relaxed);
        let old = json!({ "publicId": public, "secret": secret });
        let verdict = ask(&site, &counts, here + 1, "/v1/verify", &[], &old).await;
        counts.verifications.fetch_add(1, Ordering::Relaxed);
        if verdict["active"] != json!(false) {
            counts.accepted.fetch_add(1, Ordering::Relaxed);
        }
        let current = json!({ "publicId": public, "secret": new });
        let verdict = ask(&site, &counts, here + 2, "/v1/verify", &[], &current).await;
        counts.verifications.fetch_add(1, Ordering::Relaxed);
        if verdict["active"] != json!(true) {
            counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        secret = new;
    }
    (id, round)
}

/// Runs the callers while `trouble` happens.
async fn run(what: &str, site: &Arc<Site>, rotations: u64, trouble: impl AsyncFn(u64)) -> Arc<Counts> {
    let counts = Arc::new(Counts::default());
    let started = Instant::now();
    let hammers: Vec<_> = (0..CALLERS)
        .map(|number| tokio::spawn(hammer(Arc::clone(site), Arc::clone(&counts), number, rotations)))
        .collect();
    let mut troubles = 0;
    let over = join_all(hammers);
    tokio::pin!(over);
    let ended = loop {
        tokio::select! {
            ended = &mut over => break ended,
            () = trouble(troubles) => troubles += 1,
        }
    };
    let took = started.elapsed().as_secs_f64();
    // Each rotation once, whatever happened on the way.
    for hammer in ended {
        let (id, rounds) = hammer.unwrap();
        let rotated = history(site, &id).await.iter().filter(|t| t.contains("secret-rotated")).count();
        assert_eq!(rotated, rounds, "rotations of one credential");
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{what}: {} rotations ({:.0}/s), {} verifications ({:.0}/s) in {took:.1} s, {troubles} troubles, {} requests \
         sent again; old secrets accepted: {}, new ones refused: {}",
        count(&counts.rotations),
        count(&counts.rotations) as f64 / took,
        count(&counts.verifications),
        count(&counts.verifications) as f64 / took,
        count(&counts.again),
        count(&counts.accepted),
        count(&counts.refused),
    );
    assert_eq!(count(&counts.accepted), 0, "old secrets that were accepted");
    assert_eq!(count(&counts.refused), 0, "new secrets that were refused");
    assert!(count(&counts.rotations) >= rotations);
    counts
}

/// Kills a process of the server that it can't do without: it ends all connections, recovers, and goes on.
async fn crash(cluster: &Cluster) {
    let mut admin = cluster.connect("public").await;
    let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let pid: i32 = sqlx::query_scalar(sql).fetch_one(&mut admin).await.unwrap();
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
}

async fn forever(_: u64) {
    std::future::pending::<()>().await;
}

async fn under_load(rotations: u64) {
    let _alone = ALONE.lock().await;
    let site = Site::start().await;
    run("under load", &site, rotations, forever).await;
}

async fn replicas_killed(rotations: u64, every: Duration) {
    let _alone = ALONE.lock().await;
    let site = Site::start().await;
    run("replicas killed", &site, rotations, async |round| {
        tokio::time::sleep(every).await;
        site.replace(round as usize % 3).await;
    })
    .await;
}

async fn database_crashing(rotations: u64, every: Duration) {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start();
    let site = Site::on(&cluster).await;
    run("database crashing", &site, rotations, async |_| {
        tokio::time::sleep(every).await;
        crash(&cluster).await;
    })
    .await;
}

/// A replica is stopped in the middle of its work; while it is, secrets end, and requests about them arrive there.
async fn stopped_and_resumed(stopped: Duration) {
    const SECRETS: usize = 40;
    let _alone = ALONE.lock().await;
    let site = Site::start().await;
    let workspace = site.callers[0].open_workspace("stopped").await;
    let made = join_all((0..SECRETS).map(|_| site.callers[0].issue(&workspace, "client"))).await;
    // It has them all in memory, and is at work when it is stopped.
    let stop = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = made
        .iter()
        .cloned()
        .map(|(_, public, secret)| {
            let (caller, stop) = (site.callers[2].clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let body = json!({ "publicId": public, "secret": secret }).to_string().into_bytes();
                    let _ = caller.send(Method::POST, "/v1/verify", &[], Some(body)).await;
                }
            })
        })
        .collect();
    let counts = Counts::default();
    let verify = |public: &str, secret: &str| json!({ "publicId": public, "secret": secret });
    for (_, public, secret) in &made {
        let verdict = ask(&site, &counts, 2, "/v1/verify", &[], &verify(public, secret)).await;
        assert_eq!(verdict["active"], json!(true));
    }
    site.signal(2, "-STOP").await;
    let since = Instant::now();
    stop.store(true, Ordering::Relaxed);
    let rotations = made.iter().map(|(id, ..)| {
        let (site, counts) = (&site, &counts);
        async move {
            let path = format!("/v1/credentials/{id}/rotate");
            let named = [("idempotency-key", id.as_str())];
            // At those that are not stopped.
            while site.callers[0].send(Method::POST, &path, &named, None).await.unwrap().status != 200 {
                counts.again.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    join_all(rotations).await;
    let answers: Vec<_> = made
        .iter()
        .map(|(_, public, secret)| {
            let caller = site.callers[2].clone();
            let body = json!({ "publicId": public, "secret": secret }).to_string().into_bytes();
            tokio::spawn(
                async move { caller.send(Method::POST, "/v1/verify", &[], Some(body)).await.unwrap() },
            )
        })
        .collect();
    tokio::time::sleep(stopped.saturating_sub(since.elapsed())).await;
    site.signal(2, "-CONT").await;
    let (mut refused, mut unavailable) = (0, 0);
    for answer in join_all(answers).await {
        let answer = answer.unwrap();
        match answer.status.as_u16() {
            200 => {
                assert_eq!(answer.json()["active"], json!(false), "it answered from its stale view");
                refused += 1;
            }
            // 408: it was stopped before it had read the request, and its time was over when it went on.
            503 | 408 => unavailable += 1,
            other => panic!("{other} {}", answer.text),
        }
    }
    println!(
        "stopped for {stopped:?} and resumed: {refused} old secrets refused, {unavailable} times 503 or 408, 0 accepted"
    );
    join_all(busy).await;
    for (_, public, secret) in &made {
        let verdict = ask(&site, &counts, 2, "/v1/verify", &[], &verify(public, secret)).await;
        assert_eq!(verdict["active"], json!(false), "it serves again");
    }
}

/// Secrets that fall due at once.
const DUE: usize = 25;

/// What falls due when its replica has just died is done by another within five seconds, once.
async fn upkeep_moves(rounds: usize) {
    let _alone = ALONE.lock().await;
    let site = Site::start().await;
    let workspace = site.callers[0].open_workspace("moves").await;
    for round in 0..rounds {
        let mut holder = None;
        for _ in 0..500 {
            for number in 0..3 {
                if site.callers[number].get("/health/ready").await.json()["upkeep"] == "here" {
                    holder = Some(number);
                }
            }
            if holder.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let holder = holder.expect("one replica does the upkeep");
        let asks = &site.callers[(holder + 1) % 3];
        let made = join_all((0..DUE).map(|_| asks.issue(&workspace, "client"))).await;
        join_all(made.iter().map(|(id, ..)| asks.rotate(id, json!({ "gracePeriodSeconds": 1 })))).await;
        let place = site.replicas[holder].write().await.take().unwrap();
        let port = place.port();
        place.kill();
        let died = Instant::now();
        let ends = async |id: &String| {
            history(&site, id).await.iter().filter(|t| t.contains("old-secret-expired")).count()
        };
        loop {
            let counts = join_all(made.iter().map(|(id, ..)| ends(id))).await;
            if counts.iter().all(|count| *count >= 1) {
                break;
            }
            assert!(died.elapsed() < Duration::from_secs(10), "{counts:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = died.elapsed();
        println!("round {round}: {DUE} expiries done by another replica {took:.1?} after the death");
        assert!(took < Duration::from_secs(5), "{took:?}");
        *site.replicas[holder].write().await = Some(Process::start(&site.store, port).await);
        let counts = join_all(made.iter().map(|(id, ..)| ends(id))).await;
        assert!(counts.iter().all(|count| *count == 1), "each exactly once: {counts:?}");
    }
}

/// If this fails, a secret whose end was answered at one replica lets others in at another.
#[tokio::test(flavor = "multi_thread")]
async fn dead_is_dead_on_postgres() {
    under_load(300).await;
}

/// If this fails, it does when replicas die.
#[tokio::test(flavor = "multi_thread")]
async fn dead_is_dead_while_replicas_are_killed() {
    replicas_killed(300, Duration::from_millis(700)).await;
}

/// If this fails, it does when the database crashes and recovers.
#[tokio::test(flavor = "multi_thread")]
async fn dead_is_dead_while_the_database_crashes() {
    database_crashing(300, Duration::from_millis(1_500)).await;
}

/// If this fails, a replica that was stopped answers from what it knew before.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_replica_does_not_answer_from_its_stale_view() {
    stopped_and_resumed(Duration::from_secs(3)).await;
}

/// If this fails, what is due waits for a replica that is dead, or is done twice.
#[tokio::test(flavor = "multi_thread")]
async fn upkeep_moves_within_five_seconds() {
    upkeep_moves(1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn long_dead_is_dead_on_postgres() {
    under_load(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn long_dead_is_dead_while_replicas_are_killed() {
    replicas_killed(LONG, Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn long_dead_is_dead_while_the_database_crashes() {
    database_crashing(LONG, Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a while"]
async fn long_stopped_for_ten_seconds() {
    stopped_and_resumed(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a while"]
async fn long_upkeep_moves() {
    upkeep_moves(6).await;
}
