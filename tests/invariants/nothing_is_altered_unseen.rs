//! Nothing can be removed or altered unseen: every event is a leaf of an RFC 6962 tree in position order; checkpoints
//! are signed, consistent with all earlier ones, and provable offline.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use rota::ledger::checkpoint::Checkpoint;
use rota::ledger::note::VerifierKey;
use rota::ledger::proof::check_consistency;
use rota::ledger::receipt::Receipt;
use rota::ledger::rfc6962::{Frontier, leaf_hash};
use rota::ledger::tile::entries;
use rota_aggregates::ids::Hash;
use serde_json::json;

use crate::support::{Caller, Reply, Service, tamper, text};

const PROOF: [(&str, &str); 1] = [("prefer", "ledger-proof")];

pub async fn ask(who: &Caller, method: Method, path: &str, body: &str) -> Reply {
    who.send(method, path, &PROOF, Some(body.as_bytes().to_vec())).await.unwrap()
}

/// The position that an answer names and the receipt that it carries.
pub fn receipt(reply: &Reply) -> (u64, String) {
    assert_eq!(reply.header("preference-applied"), "ledger-proof", "{}", reply.text);
    let receipt = STANDARD.decode(reply.header("rota-receipt")).unwrap();
    (reply.header("rota-position").parse().unwrap(), String::from_utf8(receipt).unwrap())
}

pub async fn keys(operator: &Caller) -> Vec<VerifierKey> {
    let keys = operator.get("/v1/ledger/key").await.expect(200).json();
    keys["keys"].as_array().unwrap().iter().map(|key| text(&key["vkey"]).parse().unwrap()).collect()
}

pub async fn checkpoint(operator: &Caller) -> String {
    operator.get("/ledger/checkpoint").await.expect(200).text
}

pub async fn leaf(who: &Caller, position: u64) -> Vec<u8> {
    who.get(&format!("/v1/ledger/entries/{position}")).await.expect(200).text.into_bytes()
}

pub async fn assert_consistent(operator: &Caller, old: &Checkpoint, new: &Checkpoint) {
    let path = format!("/v1/ledger/consistency?from={}&to={}", old.size, new.size);
    let lines = operator.get(&path).await.expect(200).text;
    let hash = |line: &str| Hash(STANDARD.decode(line).unwrap().try_into().unwrap());
    let proof: Vec<Hash> = lines.lines().map(hash).collect();
    check_consistency(old.size, &old.root, new.size, &new.root, &proof).unwrap();
}

/// If this fails, an answer can't be proved later, or history can be rewritten between two looks at it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_altered_unseen() {
    let mut service = Service::start().await;
    let operator = service.operator.clone();
    let [key] = keys(&operator).await.try_into().unwrap();
    let workspace = operator.open_workspace("audited").await;
    let (_, audits, _) = operator.workspace_key(&workspace, &["auditor"]).await;
    let (id, ..) = operator.issue(&workspace, "client").await;

    let mut receipts = Vec::new();
    for round in 0..150 {
        let rotate = format!("/v1/credentials/{id}/rotate");
        let reply = ask(&operator, Method::POST, &rotate, "{}").await.expect(200);
        receipts.push(receipt(&reply));
        if round % 50 == 0 {
            let policy = format!("/v1/workspaces/{workspace}/policy");
            let reply =
                ask(&operator, Method::PUT, &policy, &format!(r#"{{"maxGraceSeconds":{}}}"#, 3_600 + round))
                    .await
                    .expect(200);
            receipts.push(receipt(&reply));
        }
    }
    // An ordinary answer carries its position alone.
    let plain = operator.post(&format!("/v1/credentials/{id}/rotate"), json!({})).await.expect(200);
    assert!(plain.header("rota-receipt").is_empty() && !plain.header("rota-position").is_empty());

    let old = Checkpoint::open(&checkpoint(&operator).await, &key).unwrap();
    service.restart(|_| ()).await;
    let operator = service.operator.clone();
    operator.issue(&workspace, "exchange").await;
    let new = Checkpoint::open(&checkpoint(&operator).await, &key).unwrap();
    assert!(new.size > old.size && old.size > 150);
    assert_consistent(&operator, &old, &new).await;

    // Every receipt proves its event offline, and no other.
    for (position, receipt) in &receipts {
        let receipt = Receipt::parse(receipt).unwrap();
        assert_eq!(receipt.index, *position);
        let signed = receipt.check(&leaf(&operator, *position).await, &key).unwrap();
        assert!(receipt.check(b"something else", &key).is_err());
        if signed.size < new.size {
            assert_consistent(&operator, &signed, &new).await;
        }
    }

    // The entries are the tree, and each has a proof, also under a checkpoint of the past.
    let mut tree = Frontier::default();
    for bundle in 0..new.size.div_ceil(256) {
        let width = (new.size - bundle * 256).min(256);
        let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
        let path = format!("/ledger/tile/entries/{bundle:03}{partial}");
        let reply = operator.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(reply.status(), 200, "{path}");
        for entry in entries(&reply.bytes().await.unwrap()).unwrap() {
            tree.push(leaf_hash(entry), |_, _| ());
        }
    }
    assert_eq!((tree.size(), tree.root()), (new.size, new.root));
    for (position, size) in [(0, old.size), (7, 100), (old.size - 1, old.size), (3, new.size)] {
        let path = format!("/v1/ledger/proof/{position}?size={size}");
        let proof = Receipt::parse(&operator.get(&path).await.expect(200).text).unwrap();
        let signed = proof.check(&leaf(&operator, position).await, &key).unwrap();
        assert_eq!(signed.size, size);
        assert_consistent(&operator, &signed, &new).await;
    }

    // A workspace's auditor has proofs of its own events; others' are where nothing is.
    let (position, _) = receipts[3];
    let auditor = operator.with_bearer(&audits);
    let proof = auditor.get(&format!("/v1/ledger/proof/{position}")).await.expect(200).text;
    Receipt::parse(&proof).unwrap().check(&leaf(&auditor, position).await, &key).unwrap();
    let (foreign, beyond) =
        (auditor.get("/v1/ledger/proof/0").await, auditor.get("/v1/ledger/proof/999999").await);
    assert_eq!(foreign.clone().expect(404).code(), beyond.expect(404).code());
    auditor.get("/ledger/checkpoint").await.expect(403);
    auditor.get("/v1/ledger/key").await.expect(200);
    operator.get(&format!("/ledger/tile/entries/000.p/{}", new.size + 1)).await.expect(404);
    operator.get("/v1/ledger/consistency?from=0").await.expect(400);
    Caller::nobody(&operator.url).get("/ledger/~0000/checkpoint").await.expect(404);

    // A named auditor reads by their path, until they are dismissed.
    let named =
        operator.post("/v1/ledger/auditors", json!({ "name": "Example Audit" })).await.expect(201).json();
    let (id, prefix) = (text(&named["id"]), text(&named["prefix"]));
    let nobody = Caller::nobody(&operator.url);
    let path = format!("{prefix}/checkpoint");
    Checkpoint::open(&nobody.get(&path).await.expect(200).text, &key).unwrap();
    let listed = operator.get("/v1/ledger/auditors").await.expect(200).json();
    assert_eq!(listed["items"][0]["name"], "Example Audit");
    let dismissed = format!("/v1/ledger/auditors/{id}");
    operator.send(Method::DELETE, &dismissed, &[], None).await.unwrap().expect(200);
    nobody.get(&path).await.expect(404);

    // After a change of keys both sign, and then the new one alone.
    let body = json!({ "overlapSeconds": 60 });
    operator.post("/v1/ledger/keys", body).await.expect(200);
    let [first, second] = keys(&operator).await.try_into().unwrap();
    assert_eq!(first, key);
    let both = checkpoint(&operator).await;
    let signed = Checkpoint::open(&both, &first).unwrap();
    assert_eq!(Checkpoint::open(&both, &second).as_ref(), Ok(&signed));
    assert_consistent(&operator, &new, &signed).await;
    service.clock.advance(Duration::from_secs(61));
    operator.post("/v1/workspaces", json!({ "name": "later" })).await.expect(201);
    let alone = checkpoint(&operator).await;
    assert!(Checkpoint::open(&alone, &second).is_ok() && Checkpoint::open(&alone, &first).is_err());
}

/// If this fails, somebody who can write to the store changes what was signed for, and rota goes on as if nothing had
/// happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_what_was_signed_for_is_not_served() {
    for tampering in [
        r#"UPDATE events SET leaf = CAST(replace(CAST(leaf AS TEXT), '"native"', '"hopae"') AS BLOB) WHERE position = 3"#,
        "DROP TRIGGER sealed_rows_are_never_deleted; DELETE FROM sealed WHERE position >= 5; \
         DELETE FROM events WHERE position >= 5",
    ] {
        let mut service = Service::start().await;
        let operator = service.operator.clone();
        let workspace = operator.open_workspace("audited").await;
        let (_, public, secret) = operator.issue(&workspace, "client").await;
        for _ in 0..4 {
            operator.issue(&workspace, "client").await;
        }
        let before = operator.events().await;
        let key = keys(&operator).await.remove(0);
        let signed = Checkpoint::open(&checkpoint(&operator).await, &key).unwrap();
        assert!(operator.verifies(&public, &secret).await);
        let path = service.home.path();
        service.restart_async(async || tamper(&path, tampering).await).await;
        let operator = service.operator.clone();
        let body = json!({ "publicId": public, "secret": secret });
        let verified = operator.post("/v1/verify", body.clone()).await;
        assert_eq!(verified.code(), "history-lost", "{tampering}: {}", verified.text);
        let opened = operator.post("/v1/workspaces", json!({ "name": "another" })).await;
        assert_eq!(opened.expect(503).code(), "history-lost");
        operator.get("/ledger/checkpoint").await.expect(503);
        operator.get("/health/ready").await.expect(503);
        let state = operator.get("/v1/ledger/state").await.expect(200).json();
        assert_eq!((&state["whole"], &state["lost"]["size"]), (&json!(false), &json!(signed.size)));

        // The operator decides: the ledger goes on, under another name.
        operator.post("/v1/ledger/restored", json!({ "lostFrom": before + 50 })).await.expect(400);
        let lost_from = if tampering.starts_with("UPDATE") { 3 } else { 5 };
        operator.post("/v1/ledger/restored", json!({ "lostFrom": lost_from })).await.expect(200);
        let next = keys(&operator).await.remove(0);
        assert_ne!(next.name(), key.name(), "what was signed under the former name is not contradicted");
        Checkpoint::open(&checkpoint(&operator).await, &next).unwrap();
        operator.post("/v1/verify", body).await.expect(200);
        let types = operator.get("/v1/events?type=rota.ledger.restored.v1").await.expect(200).json();
        assert_eq!(types["items"][0]["data"]["lostFrom"], lost_from);
        operator.post("/v1/ledger/restored", json!({})).await.expect(409);
        service.restart(|_| ()).await;
        service.operator.get("/health/ready").await.expect(200);
    }
}
