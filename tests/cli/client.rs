//! The verbs that talk to a server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::support::{Process, database, ledger, run, tamper};

/// A server with a workspace, and the workspace's id.
async fn workspace(folder: &std::path::Path, server: &Process) -> String {
    let key = std::fs::read_to_string(folder.join("rota-data/operator.key")).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request =
        reqwest::Client::new().post(format!("{}/v1/workspaces", server.url)).bearer_auth(key.trim());
    let request = request.json(&serde_json::json!({ "name": "tests" }));
    let made: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    made["id"].as_str().unwrap().to_owned()
}

/// A credential's life could not be led from the command line.
#[tokio::test]
async fn a_credential_is_issued_rotated_expired_and_revoked() {
    let folder = ledger();
    let at = folder.path();
    let server = Process::serve(at);
    let workspace = workspace(at, &server).await;
    let issue =
        ["issue", "--kind", "client", "--name", "billing", "--workspace", &workspace, "--format", "json"];
    let issued = server.verb(at, &issue).exits(0).json();
    let id = issued["credential"]["id"].as_str().unwrap();
    let first = issued["secrets"]["clientSecret"].as_str().unwrap();

    // The same key twice is one rotation with one answer.
    let rotate =
        ["rotate", id, "--grace", "1h", "--idempotency-key", "nightly-2026-11-21", "--format", "json"];
    let rotated = server.verb(at, &rotate).exits(0).json();
    let again = server.verb(at, &rotate).exits(0).json();
    assert_eq!(rotated["secrets"], again["secrets"]);
    assert_ne!(rotated["secrets"]["clientSecret"], first);
    assert!(rotated["oldSecretExpiresAt"].is_string());

    server.verb(at, &["expire", id]).exits(0);
    let nothing = server.verb(at, &["expire", id]).exits(1);
    assert!(nothing.err.starts_with("rota: "), "{}", nothing.err);
    let revoked = server.verb(at, &["revoke", id, "--reason", "tests", "--format", "json"]).exits(0).json();
    assert_eq!(revoked["status"], "revoked");

    let history = server.verb(at, &["history", id, "--format", "json"]).exits(0).json();
    let types: Vec<_> = history.as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(types.iter().filter(|t| t.contains("rotated")).count(), 1, "{types:?}");
    let lines = server.verb(at, &["history", id, "--format", "ndjson"]).exits(0);
    assert_eq!(lines.out.lines().count(), types.len());
    let csv = server.verb(at, &["history", id, "--format", "csv"]).exits(0);
    assert!(csv.out.starts_with("position,time,event"), "{}", csv.out);
    let position = history[0]["position"].to_string();
    let then = server.verb(at, &["history", id, "--as-of", &position, "--format", "json"]).exits(0).json();
    assert_eq!(then.as_array().unwrap().len(), 1, "as of the first event there is one event");
    assert!(server.verb(at, &["history", id]).exits(0).out.contains("credential.issued.v1"));
}

/// The key that signs session tokens could not be replaced when others may have it.
#[test]
fn the_key_of_session_tokens_is_listed_and_replaced() {
    let folder = ledger();
    let at = folder.path();
    let mut server = Process::serve(at);
    let keys = |arguments: &[&str]| {
        let arguments = [&["token-keys", "--format", "json"], arguments].concat();
        server.verb(at, &arguments).exits(0).json()
    };
    let first = keys(&[]);
    assert_eq!(first.as_array().unwrap().len(), 1);
    let two = keys(&["--replace"]);
    let status = |n: usize| two[n]["status"].as_str().unwrap().to_owned();
    assert_eq!((status(0), status(1)), ("signing".to_owned(), "next".to_owned()));
    let refused = server.verb(at, &["token-keys", "--replace"]).exits(1);
    assert!(refused.err.contains("signs from"), "{}", refused.err);
    let only = keys(&["--replace", "--compromised"]);
    assert_eq!(only.as_array().unwrap().len(), 1);
    assert_ne!(only[0]["kid"], first[0]["kid"]);
    assert!(server.verb(at, &["token-keys"]).exits(0).out.contains("signing"));
    assert_eq!(server.signal("-TERM"), 0);
    run(at, &["verify"]).exits(0);
    run(at, &["rewrap", "--generate"]).exits(0);
    run(at, &["verify"]).exits(0);
}

/// What was said to be destroyed could be kept, or what was destroyed rightly be called a loss.
#[tokio::test]
async fn a_revocation_destroys_the_answers_and_a_kept_one_is_found() {
    let folder = ledger();
    let at = folder.path();
    let mut server = Process::serve(at);
    let workspace = workspace(at, &server).await;
    let issue = ["issue", "--kind", "client", "--name", "ci", "--workspace", &workspace, "--format", "json"];
    let id = server.verb(at, &issue).exits(0).json()["credential"]["id"].as_str().unwrap().to_owned();
    server.verb(at, &["rotate", &id, "--grace", "0"]).exits(0);
    let history = server.verb(at, &["history", &id, "--format", "json"]).exits(0).json();
    let position = &history[1]["position"];
    server.verb(at, &["revoke", &id, "--reason", "tests"]).exits(0);
    assert_eq!(server.signal("-TERM"), 0);
    let report = run(at, &["verify", "--format", "json"]).exits(0).json();
    assert!(report["destroyedParts"].as_u64().unwrap() >= 1, "{report}");
    let sql = format!("UPDATE sealed SET answer = x'00', answer_key = x'00' WHERE position = {position}");
    tamper(&database(at), &sql).await;
    let report = run(at, &["verify", "--format", "json"]).exits(1).json();
    assert!(report["findings"].to_string().contains("still there"), "{report}");
}

/// A refusal would look like success, or say nothing.
#[test]
fn a_wrong_key_and_a_server_that_is_not_there_are_told() {
    let folder = ledger();
    let server = Process::serve(folder.path());
    let ran = server.verb_as(folder.path(), "wrong", &["history", "x"]).exits(1);
    assert!(ran.err.contains("ROTA_KEY"), "{}", ran.err);
    let ran = run(folder.path(), &["expire", "x", "--url", "http://127.0.0.1:9", "--key", "k"]).exits(1);
    assert!(ran.err.contains("no answer from"), "{}", ran.err);
}

/// Reads a request. Its head.
fn request(stream: &mut TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0);
    }
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    head
}

/// A lost answer would become a second rotation, or none.
#[test]
fn a_rotation_whose_answer_was_lost_is_repeated_under_the_same_key() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = std::thread::spawn(move || {
        let mut keys = Vec::new();
        let answers = [
            "",
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 44\r\nconnection: close\r\n\r\n\
             {\"credential\":{},\"secrets\":{\"secret\":\"new\"}}",
        ];
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let head = request(&mut stream);
            keys.push(head.split("idempotency-key: ").nth(1).unwrap().lines().next().unwrap().to_owned());
            stream.write_all(answer.as_bytes()).unwrap();
        }
        keys
    });
    let folder = tempfile::tempdir().unwrap();
    let ran = run(folder.path(), &["rotate", "some-id", "--url", &url, "--key", "k"]).exits(0);
    assert!(ran.out.contains("new"), "{}", ran.out);
    let keys = seen.join().unwrap();
    assert!(keys[0].len() >= 22 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

/// The operator of a running service could not look after it.
#[test]
fn backup_rebuild_and_rewrap_go_through_the_serving_process() {
    let folder = ledger();
    let at = folder.path();
    let mut server = Process::serve(at);
    server.verb(at, &["backup", "copy.db"]).exits(0);
    server.verb(at, &["rebuild"]).exits(0);
    let new = at.join("new.key");
    std::fs::write(&new, "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=").unwrap();
    crate::support::set_mode(&new, 0o600);
    server.verb(at, &["rewrap", "--new-master-key-file", new.to_str().unwrap()]).exits(0);
    server.verb(at, &["rewrap", "--generate"]).exits(2);
    assert_eq!(server.signal("-TERM"), 0);
    // The copy is whole, and the ledger starts with the key that is in its file now.
    run(at, &["verify", "--store", "sqlite:copy.db"]).exits(0);
    let file = std::fs::read_to_string(at.join("rota-data/master.key")).unwrap();
    assert!(file.starts_with("AgICAgIC"), "the new key did not take the old one's place");
    assert!(!at.join("rota-data/master.key.previous").exists());
    assert_eq!(Process::serve(at).signal("-TERM"), 0);
}
