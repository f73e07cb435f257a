//! Erasing a subject leaves every receipt valid: also those that were given away before.

use std::time::Duration;

use reqwest::Method;
use rota::ledger::checkpoint::Checkpoint;
use rota::ledger::receipt::Receipt;
use serde_json::json;

use crate::nothing_is_altered_unseen::{ask, assert_consistent, checkpoint, keys, leaf, receipt};
use crate::support::{Service, text};

/// If this fails, erasing a person's data costs everybody the proofs that they hold.
#[tokio::test(flavor = "multi_thread")]
async fn erasing_a_subject_leaves_every_receipt_valid() {
    let mut service = Service::start().await;
    let operator = service.operator.clone();
    let [key] = keys(&operator).await.try_into().unwrap();
    let workspace = operator.open_workspace("w").await;
    let mut receipts = Vec::new();
    let mut change = async |path: &str, body: &str| {
        let reply = ask(&operator, Method::POST, path, body).await;
        receipts.push(receipt(&reply));
        reply.json()
    };

    // All that can be sealed about a subject: names, reasons and addresses; secrets; digests; answers for retries.
    let mut subjects = Vec::new();
    for kind in ["client", "exchange", "signing"] {
        let body = json!({ "kind": kind, "name": "Anna Muster", "workspaceId": workspace }).to_string();
        let issued = change("/v1/credentials", &body).await;
        subjects.push(format!("/v1/credentials/{}", text(&issued["credential"]["id"])));
    }
    for subject in &subjects {
        for _ in 0..4 {
            let body = r#"{"gracePeriodSeconds":60,"reason":"Anna asked for it"}"#;
            change(&format!("{subject}/rotate"), body).await;
        }
    }
    let named = [("idempotency-key", "0123456789abcdef0123456789"), ("prefer", "ledger-proof")];
    let path = format!("{}/rotate", subjects[0]);
    let reply = operator.send(Method::POST, &path, &named, Some(b"{}".to_vec())).await.unwrap().expect(200);
    receipts.push(receipt(&reply));
    let events = service.app().head().borrow().0;
    let mut leaves = Vec::new();
    for position in 0..events {
        leaves.push(leaf(&operator, position).await);
    }
    let before = Checkpoint::open(&checkpoint(&operator).await, &key).unwrap();

    // All of it is destroyed: on demand, with a revocation, and as its time is over.
    for subject in &subjects {
        operator.post(&format!("{subject}/erase-details"), json!({})).await.expect(200);
        operator.post(&format!("{subject}/revoke"), json!({ "reason": "Anna has left" })).await.expect(200);
        operator.post(&format!("{subject}/erase-details"), json!({})).await.expect(200);
    }
    service.clock.advance(Duration::from_hours(24 * 400));
    service.app().shred_digests().await.unwrap();
    let erased = operator.get("/v1/reports/erasures?limit=1000").await.expect(200).json();
    let parts: std::collections::BTreeSet<_> =
        erased["rows"].as_array().unwrap().iter().map(|row| text(&row["part"])).collect();
    let expected = ["answer", "details", "digest", "secret"].map(str::to_owned);
    assert_eq!(parts, expected.into());

    // After a restart, too, every leaf is the same, and every receipt holds for what the ledger gives out now.
    service.restart(|_| ()).await;
    let operator = service.operator.clone();
    for (position, leaf_before) in (0..).zip(&leaves) {
        assert_eq!(&leaf(&operator, position).await, leaf_before, "{position}");
    }
    let after = Checkpoint::open(&checkpoint(&operator).await, &key).unwrap();
    assert_consistent(&operator, &before, &after).await;
    assert_eq!(receipts.len(), 16);
    for (position, receipt) in &receipts {
        let receipt = Receipt::parse(receipt).unwrap();
        let signed = receipt.check(&leaf(&operator, *position).await, &key).unwrap();
        assert_consistent(&operator, &signed, &after).await;
    }
}
