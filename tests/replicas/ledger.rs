//! Three replicas on one PostgreSQL sign one history: whichever of them signs, dies, or takes over.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use rota::ledger::checkpoint::Checkpoint;
use rota::ledger::note::VerifierKey;
use rota::ledger::proof::check_consistency;
use rota::ledger::receipt::Receipt;
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
