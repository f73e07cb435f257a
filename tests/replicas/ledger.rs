//! Three replicas on one PostgreSQL sign one history: whichever of them signs, dies, or takes over.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use rota::app::clock::SystemClock;
use rota::ledger::checkpoint::Checkpoint;
use rota::ledger::note::{SignedNote, VerifierKey};
use rota::ledger::policy::Policy;
use rota::ledger::proof::check_consistency;
use rota::ledger::receipt::Receipt;
use rota::witness::{Folder, Witness};
use rota_aggregates::ids::Hash;
use tokio::sync::Mutex;

use crate::client::{Caller, text};
use crate::postgres_cluster::Cluster;
use crate::process::Process;

async fn key(operator: &Caller) -> VerifierKey {
    let keys = operator.get("/v1/ledger/key").await.expect(200).json();
    text(&keys["keys"][0]["vkey"]).parse().unwrap()
}

/// Makes a change and asks for its receipt; the receipt, if an answer came with one.
async fn change(operator: &Caller) -> Option<Receipt> {
    let headers = [("prefer", "ledger-proof")];
    let body = Some(br#"{"name":"w"}"#.to_vec());
    let reply = operator.send(Method::POST, "/v1/workspaces", &headers, body).await.ok()?;
    let receipt = STANDARD.decode(reply.header("rota-receipt")).unwrap();
    if receipt.is_empty() {
        None
    } else {
        Some(Receipt::parse(&String::from_utf8(receipt).unwrap()).unwrap())
    }
}

/// If this fails, two replicas sign two histories, or a receipt that one gave is worth nothing at another.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_sign_one_history() {
    let cluster = Cluster::shared();
    let store = cluster.url(&cluster.schema().await);
    let first = Process::start(&store, 0).await;
    let key = key(&first.operator).await;
    let mut replicas = [Some(first), None, None];
    for place in &mut replicas[1..] {
        *place = Some(Process::start(&store, 0).await);
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    for round in 0..4 {
        let callers: Vec<_> = replicas.iter().flatten().map(|replica| replica.operator.clone()).collect();
        let work = callers.into_iter().map(|operator| {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                for _ in 0..12 {
                    if let Some(receipt) = change(&operator).await {
                        seen.lock().await.push(receipt);
                    }
                }
            })
        });
        let work: Vec<_> = work.collect();
        // One of them dies in the middle: at some time it is the one that signs.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        replicas[round % 3].take().unwrap().kill();
        for done in work {
            done.await.unwrap();
        }
        replicas[round % 3] = Some(Process::start(&store, 0).await);
    }
    let mut roots: BTreeMap<u64, Hash> = BTreeMap::new();
    let operators: Vec<_> = replicas.iter().flatten().map(|replica| replica.operator.clone()).collect();
    let receipts = seen.lock().await;
    assert!(receipts.len() > 60, "{} changes had a receipt", receipts.len());
    let mut newest = Vec::new();
    for operator in &operators {
        let note = operator.get("/ledger/checkpoint").await.expect(200).text;
        newest.push(Checkpoint::open(&note, &key).unwrap());
    }
    for (number, receipt) in receipts.iter().enumerate() {
        // Whoever is asked knows what another has signed.
        let operator = &operators[number % 3];
        let path = format!("/v1/ledger/entries/{}", receipt.index);
        let entry = operator.get(&path).await.expect(200).text;
        let signed = receipt.check(entry.as_bytes(), &key).unwrap();
        let known = *roots.entry(signed.size).or_insert(signed.root);
        assert_eq!(known, signed.root, "two roots of {} events", signed.size);
    }
    let last = newest.into_iter().max_by_key(|checkpoint| checkpoint.size).unwrap();
    for (size, root) in roots {
        let path = format!("/v1/ledger/consistency?from={size}&to={}", last.size);
        let lines = operators[0].get(&path).await.expect(200).text;
        let hash = |line: &str| Hash(STANDARD.decode(line).unwrap().try_into().unwrap());
        let proof: Vec<Hash> = lines.lines().map(hash).collect();
        check_consistency(size, &root, last.size, &last.root, &proof).unwrap();
    }
}

/// If this fails, cosignatures end with the replica that signed, a replica knows nothing of what another collected, or
/// the witness is shown a second history at a change of signers.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_have_one_history_cosigned() {
    let cluster = Cluster::shared();
    let store = cluster.url(&cluster.schema().await);
    let at = tempfile::tempdir().unwrap();
    let folder = Folder::new(at.path().join("witness"));
    let witness_key = folder.init("witness.example/w1").unwrap();
    let witness = Arc::new(Witness::open(folder.clone(), Arc::new(SystemClock)).unwrap());
    let served = rota::http::witness::start(witness, "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let text = format!("witness W {witness_key} {}\nquorum W\n", served.url);
    let policy: Policy = text.parse().unwrap();
    let file = at.path().join("witnesses");
    std::fs::write(&file, text).unwrap();
    let settings = [("ROTA_WITNESSES", file.display().to_string()), ("ROTA_ANCHOR_SECONDS", "1".to_owned())];
    let mut replicas = std::collections::VecDeque::new();
    for _ in 0..2 {
        replicas.push_back(Process::start_with(&store, &settings).await);
    }
    let key = key(&replicas[0].operator).await;
    folder.add(&key).unwrap();
    for _ in 0..3 {
        for replica in &replicas {
            change(&replica.operator).await;
        }
        let events = replicas[0].operator.events().await;
        // Each of them knows, whichever collected it.
        for replica in &replicas {
            let cosigned = async || {
                let reply = replica.operator.get("/ledger/cosigned/checkpoint").await;
                let note = SignedNote::parse(&reply.text).ok()?;
                assert!(policy.is_satisfied(&note), "{}", reply.text);
                Some(Checkpoint::open(&reply.text, &key).unwrap().size)
            };
            let started = std::time::Instant::now();
            while cosigned().await.is_none_or(|size| size < events) {
                assert!(started.elapsed().as_secs() < 60, "the witness cosigns what is recorded");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
        // One of them dies, at some time the one that signs; another comes.
        replicas.pop_front().unwrap().kill();
        replicas.push_back(Process::start_with(&store, &settings).await);
    }
    let [log] = <[_; 1]>::try_from(folder.logs().unwrap()).unwrap();
    assert!(log.evidence.is_empty() && log.last.unwrap().size > 4, "{:?}", log.evidence);
    served.stop().await;
}
