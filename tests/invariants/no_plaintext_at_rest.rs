//! No secret reaches a disk, an event, a log line, a metric or a backup.

use base64::Engine;
use reqwest::Method;
use serde_json::json;

use crate::support::{Caller, OPERATOR, Process, files, pair, text};

/// The forms in which a secret could lie about.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap();
    let hex: String = secret.bytes().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect();
    let mut forms = vec![secret.as_bytes().to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    forms.push(base64::engine::general_purpose::STANDARD_NO_PAD.encode(secret).into_bytes());
    // A client secret that is hexadecimal digits could be kept as the bytes that they write.
    if secret.len() == 64 {
        let raw = (0..32).map(|i| u8::from_str_radix(&secret[2 * i..2 * i + 2], 16));
        forms.extend(raw.collect::<Result<Vec<u8>, _>>().ok());
    }
    forms
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// If this fails, whoever reads the disk, the logs or the metrics reads secrets.
#[tokio::test(flavor = "multi_thread")]
async fn no_plaintext_at_rest() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::serve_at(folder.path(), "127.0.0.1:0");
    let operator = Caller::bearer(&process.url, OPERATOR);
    let mut secrets = vec![OPERATOR.to_owned()];
    let workspace = operator.open_workspace("secrets").await;
    let (key_id, key, admin) = operator.workspace_key(&workspace, &["admin"]).await;
    secrets.push(key);
    for kind in ["client", "exchange", "signing"] {
        let (id, public, first) = admin.issue(&workspace, kind).await;
        secrets.push(first.clone());
        let idempotency_key = format!("idempotency-key-for-{kind}-0123456789");
        let named = [("idempotency-key", idempotency_key.as_str())];
        let path = format!("/v1/credentials/{id}/rotate");
        let body = Some(br#"{"gracePeriodSeconds":600}"#.to_vec());
        let reply = admin.send(Method::POST, &path, &named, body).await.unwrap().expect(200);
        let second = pair(&reply.json()["secrets"]).1;
        assert!(admin.verifies(&public, &first).await && admin.verifies(&public, &second).await);
        // A secret in the wrong place: names, reasons and addresses are the caller's own, paths are not logged.
        admin.post(&path, json!({ "gracePeriodSeconds": &second })).await.expect(400);
        admin
            .with_basic(&public, "wrong-secret-that-somebody-typed")
            .get("/v1/credentials")
            .await
            .expect(401);
        let prepared = admin.post(&format!("/v1/credentials/{id}/rotations"), json!({})).await.expect(200);
        if kind == "exchange" {
            // Tokens come and go in headers and answers alone, right ones and wrong ones.
            let (given, session) = operator.session(&public, &second).await;
            session.current().await.expect(200);
            session.get(&format!("/v1/credentials/{id}")).await.expect(200);
            let token = text(&given["accessToken"]);
            let wrong = format!("{}A", &token[..token.len() - 2]);
            operator.with_bearer(&wrong).current().await.expect(401);
            secrets.extend([token, wrong]);
        }
        secrets.extend([idempotency_key, second, pair(&prepared.json()["secrets"]).1]);
        secrets.push("wrong-secret-that-somebody-typed".to_owned());
    }
    let rotated = operator.post(&format!("/v1/credentials/{key_id}/rotate"), json!({})).await.expect(200);
    secrets.push(text(&rotated.json()["secrets"]["key"]));

    let backup = folder.path().join("backup.db");
    operator.post("/v1/admin/backup", json!({ "path": backup })).await.expect(200);
    let metrics = operator.get("/metrics").await.text.into_bytes();
    let events = operator.get("/v1/events?limit=1000").await.text.into_bytes();
    let said = process.stop();

    let mut places = vec![("the logs".to_owned(), said), ("the metrics".to_owned(), metrics)];
    places.push(("the events".to_owned(), events));
    for file in files(folder.path()) {
        places.push((file.display().to_string(), std::fs::read(&file).unwrap()));
    }
    assert!(places.iter().any(|(name, bytes)| name.ends_with("backup.db") && bytes.len() > 4_096));
    let master = std::fs::read_to_string(folder.path().join("master.key")).unwrap();
    for (name, bytes) in &places {
        for secret in &secrets {
            for form in forms(secret) {
                assert!(
                    !contains(bytes, &form),
                    "{name} has a secret that ends in {}",
                    &secret[secret.len() - 4..]
                );
            }
        }
        if !name.ends_with("master.key") {
            assert!(!contains(bytes, master.trim().as_bytes()), "{name} has the master key");
        }
    }
}

/// If this fails, a secret type can be printed by accident.
#[test]
fn secret_types_print_no_secret() {
    let secret = rota_aggregates::secret::Secret::new("do-not-print".to_owned());
    assert!(!format!("{secret:?}").contains("do-not-print"));
}
