//! A rotation that was answered is durable; a retry with the same key gets the same secret and never makes a
//! second rotation, whatever happens in between.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::signer::Signer;
use crate::support::{As, Caller, OPERATOR, Process, Service, free_port, pair, text};

const ROUNDS: u64 = 200;
const SEED: u64 = 20_270_101;
const CLIENTS: usize = 4;
const CREDENTIALS: usize = 8;

/// A rotation that a client has begun: it is asked for until it is answered.
async fn rotate_until_answered(caller: &Caller, id: &str, key: &str, give_up: &AtomicBool) -> Option<Value> {
    let path = format!("/v1/credentials/{id}/rotate");
    while !give_up.load(Ordering::Relaxed) {
        let asked = caller.send(Method::POST, &path, &[("idempotency-key", key)], Some(b"{}".to_vec())).await;
        match asked {
            Ok(reply) if reply.status == 200 => return Some(reply.json()),
            // Busy with this very key, with another client's rotation, or not able to write: ask again.
            Ok(reply) if [409, 503].contains(&reply.status.as_u16()) => {}
            Ok(reply) => panic!("{}: {}", reply.status, reply.text),
            // Killed in the middle, or not up yet.
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
    None
}

/// Numbers that look random and can be had again from their seed.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// If this fails, a crash loses a rotation, makes one twice, or hands out different answers for one request.
#[tokio::test(flavor = "multi_thread")]
async fn exactly_once_under_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let mut process = Process::serve_at(folder.path(), &listen);
    let operator = Caller::bearer(&process.url, OPERATOR);
    let workspace = operator.open_workspace("kill").await;
    let mut ids = Vec::new();
    for _ in 0..CREDENTIALS {
        ids.push(operator.issue(&workspace, "client").await.0);
    }
    let ids = Arc::new(ids);
    let (stop, give_up) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let answers: Arc<Mutex<HashMap<(String, String), String>>> = Arc::default();
    let answered = Arc::new(AtomicU64::new(0));

    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let (caller, ids, stop, give_up) =
            (operator.clone(), Arc::clone(&ids), Arc::clone(&stop), Arc::clone(&give_up));
        let (answers, answered) = (Arc::clone(&answers), Arc::clone(&answered));
        clients.push(tokio::spawn(async move {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                // Each client has credentials of its own, so that nobody else's rotation gets in between.
                let id = &ids[client + CLIENTS * (number % (CREDENTIALS / CLIENTS))];
                let key = format!("client-{client}-{number}");
                let Some(answer) = rotate_until_answered(&caller, id, &key, &give_up).await else { return };
                let (_, secret) = pair(&answer["secrets"]);
                answers.lock().await.insert((id.clone(), key), secret);
                answered.fetch_add(1, Ordering::Relaxed);
                number += 1;
            }
        }));
    }

    let mut seed = SEED;
    let mut round = 0;
    // On a machine that has other things to do, longer, and with more time between the kills.
    while round < ROUNDS || answered.load(Ordering::Relaxed) < ROUNDS / 2 {
        let window = 60 * (1 + round / ROUNDS);
        round += 1;
        // Not waiting for anything: the instant of the kill is the point.
        tokio::time::sleep(Duration::from_millis(5 + next_random(&mut seed) % window)).await;
        let folder = folder.path().to_owned();
        let listen = listen.clone();
        process = tokio::task::spawn_blocking(move || {
            drop(process.kill());
            Process::serve_at(&folder, &listen)
        })
        .await
        .unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let all = futures_util::future::join_all(clients);
    tokio::time::timeout(Duration::from_mins(1), all).await.expect("every client gets its answer");

    let answers = answers.lock().await;
    for ((id, key), secret) in answers.iter() {
        let again = rotate_until_answered(&operator, id, key, &give_up).await.unwrap();
        assert_eq!(&pair(&again["secrets"]).1, secret, "the replay of {key} differs");
    }
    for id in ids.iter() {
        let rotated = operator.history(id).await.into_iter().filter(|t| t.contains("rotated")).count();
        let keys: HashSet<_> = answers.keys().filter(|(of, _)| of == id).collect();
        assert_eq!(
            rotated,
            keys.len(),
            "credential {id} was rotated {rotated} times for {} keys",
            keys.len()
        );
    }
    process.stop();
}

/// If this fails, clients that retry in a hurry rotate a secret away from each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_on_one_key_is_one_rotation() {
    let service = Service::start().await;
    let workspace = service.operator.open_workspace("storm").await;
    let (id, public, _) = service.operator.issue(&workspace, "client").await;
    let never = Arc::new(AtomicBool::new(false));
    let asked = (0..100).map(|_| {
        let (caller, id, never) = (service.operator.clone(), id.clone(), Arc::clone(&never));
        tokio::spawn(async move { rotate_until_answered(&caller, &id, "one", &never).await.unwrap() })
    });
    let answers: HashSet<String> =
        futures_util::future::join_all(asked).await.into_iter().map(|a| a.unwrap().to_string()).collect();
    assert_eq!(answers.len(), 1, "all hundred get the same answer");
    let rotated = service.operator.history(&id).await.iter().filter(|t| t.contains("rotated")).count();
    assert_eq!(rotated, 1);
    let answer: Value = serde_json::from_str(answers.iter().next().unwrap()).unwrap();
    assert!(service.operator.verifies(&public, &pair(&answer["secrets"]).1).await);
}

/// If this fails, a key that was used for one thing answers another, or a day-old key does not work afresh.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_for_one_request_and_one_day() {
    let mut service = Service::start().await;
    let workspace = service.operator.open_workspace("keys").await;
    let (id, ..) = service.operator.issue(&workspace, "client").await;
    let (other, ..) = service.operator.issue(&workspace, "client").await;
    let named = [("idempotency-key", "k")];
    let ask = async |service: &Service, id: &str, body: &str| {
        let path = format!("/v1/credentials/{id}/rotate");
        service.operator.send(Method::POST, &path, &named, Some(body.as_bytes().to_vec())).await.unwrap()
    };
    let first = ask(&service, &id, "{}").await.expect(200);
    for (of, body) in [(&id, r#"{"reason":"x"}"#), (&other, "{}")] {
        assert_eq!(ask(&service, of, body).await.expect(422).code(), "idempotency-key-reused");
    }
    // Creating shares the key space.
    let body = json!({ "kind": "client", "name": "app", "workspaceId": workspace }).to_string();
    let create = service.operator.send(Method::POST, "/v1/credentials", &named, Some(body.into_bytes()));
    assert_eq!(create.await.unwrap().expect(422).code(), "idempotency-key-reused");

    service.restart(|_| ()).await;
    let again = ask(&service, &id, "{}").await.expect(200);
    assert_eq!(again.text, first.text);
    assert_eq!(again.headers["idempotency-replayed"], "true");

    service.clock.advance(Duration::from_hours(24));
    let shredded = "rota.workspace.sealed-parts-shredded.v1";
    Service::until(|| async {
        let page = service.operator.get(&format!("/v1/events?type={shredded}")).await.json();
        page["items"].as_array().is_some_and(|items| !items.is_empty())
    })
    .await;
    let afresh = ask(&service, &id, "{}").await.expect(200);
    assert_ne!(pair(&afresh.json()["secrets"]).1, pair(&first.json()["secrets"]).1);
    assert!(afresh.headers.get("idempotency-replayed").is_none());
    assert_eq!(service.operator.history(&id).await.iter().filter(|t| t.contains("rotated")).count(), 2);
}

/// If this fails, a retried creation leaves two credentials behind.
#[tokio::test(flavor = "multi_thread")]
async fn creating_is_exactly_once_too() {
    let service = Service::start().await;
    let workspace = service.operator.open_workspace("create").await;
    let body =
        json!({ "kind": "exchange", "name": "app", "workspaceId": workspace }).to_string().into_bytes();
    let create = async || {
        let named = [("idempotency-key", "\"make\"")];
        service.operator.send(Method::POST, "/v1/credentials", &named, Some(body.clone())).await.unwrap()
    };
    let first = create().await.expect(201);
    let again = create().await.expect(201);
    assert_eq!(first.text, again.text);
    assert_eq!(first.headers["location"], again.headers["location"]);
    let listed = service.operator.get(&format!("/v1/credentials?workspaceId={workspace}")).await.json();
    let ids: Vec<_> = listed["items"].as_array().unwrap().iter().map(|c| text(&c["id"])).collect();
    assert_eq!(ids.len(), 1);
}

/// If this fails, an integrator whose answer was lost in a crash has no secret any more, or two.
#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "the process runs on the system's clock, and signatures say the time"
)]
async fn a_signed_regeneration_survives_kill_9() {
    const PATH: &str = "/v1/integrator/regenerate-secret";
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let mut process = Some(Process::serve_at(folder.path(), &listen));
    let operator = Caller::bearer(&format!("http://{listen}"), OPERATOR);
    let workspace = operator.open_workspace("kill").await;
    let (id, public, secret) = operator.issue(&workspace, "signing").await;
    let mut signer = Signer::new(&public, &secret);
    let nobody = operator.with(&As::Nobody);
    let ask = async |signer: &Signer, key: &str| {
        let millis = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let mut headers = signer.headers(millis as i64, "POST", PATH, "{}");
        headers.push(("Idempotency-Key".to_owned(), key.to_owned()));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        nobody.send(Method::POST, PATH, &headers, Some(b"{}".to_vec())).await
    };
    let mut seed = SEED;
    for round in 0..25 {
        let key = format!("regeneration-number-{round:04}");
        // The answer is lost: the process dies at some instant around it.
        let pause = Duration::from_micros(next_random(&mut seed) % 12_000);
        let (answer, ()) = tokio::join!(ask(&signer, &key), async {
            tokio::time::sleep(pause).await;
            let (folder, listen, running) = (folder.path().to_owned(), listen.clone(), process.take());
            let again = move || {
                drop(running.map(Process::kill));
                Process::serve_at(&folder, &listen)
            };
            process = Some(tokio::task::spawn_blocking(again).await.unwrap());
        });
        drop(answer);
        let secret = loop {
            match ask(&signer, &key).await {
                Ok(reply) if reply.status == 200 => break text(&reply.json()["secret"]),
                Ok(reply) if [409, 503].contains(&reply.status.as_u16()) => {}
                Ok(reply) => panic!("round {round}: {}: {}", reply.status, reply.text),
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        };
        signer = Signer::new(&public, &secret);
    }
    let rotated = operator.history(&id).await.into_iter().filter(|t| t.contains("rotated")).count();
    assert_eq!(rotated, 25);
    process.take().map(Process::stop);
}

/// If this fails, whoever rotates by session and is cut off has lost their credential.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_by_session_survives_a_kill_before_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let mut process = Process::serve_at(folder.path(), &listen);
    let operator = Caller::bearer(&process.url, OPERATOR);
    let workspace = operator.open_workspace("kill").await;
    let mut random = SEED;
    for round in 0..12 {
        let (id, public, secret) = operator.issue(&workspace, "exchange").await;
        let (_, session) = operator.session(&public, &secret).await;
        let key = format!("a-key-that-nobody-guesses-{round}");
        let ask = {
            let (session, key) = (session.clone(), key.clone());
            async move || {
                let headers = [crate::support::FLUIDE_CLIENT, ("idempotency-key", key.as_str())];
                session.send(Method::POST, "/api/v1/authorize/rotate-secret", &headers, None).await
            }
        };
        let asked = tokio::spawn({
            let ask = ask.clone();
            async move { drop(ask().await) }
        });
        tokio::time::sleep(Duration::from_micros(next_random(&mut random) % 6_000)).await;
        process.kill();
        asked.await.unwrap();
        process = Process::serve_at(folder.path(), &listen);
        let first = ask().await.unwrap().expect(201);
        let again = ask().await.unwrap().expect(201);
        assert_eq!(first.text, again.text);
        let new = text(&first.json()["data"]["apiSecret"]);
        operator.exchange(&public, &secret).await.expect(401);
        let (_, newer) = operator.session(&public, &new).await;
        newer.current().await.expect(200);
        // The owner has it: from here on the old session gets nothing more.
        ask().await.unwrap().expect(403);
        let history = operator.history(&id).await;
        assert_eq!(history.iter().filter(|t| t.contains("rotated")).count(), 1, "round {round}");
    }
    process.kill();
}
