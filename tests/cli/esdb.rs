//! The built program on the protocol double of EventStoreDB.

use std::path::Path;
use std::process::Command;

use esdb_double::Double;
use serde_json::{Value, json};

use crate::support::{Process, Ran, rota};

const OPERATOR: &str = "operator-key-for-tests-0123456789abcdef";
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A verb on the double's ledger.
fn on(double: &Double, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = rota(folder);
    command.args(arguments).env("ROTA_STORE", double.url());
    command.env("ROTA_MASTER_KEY", MASTER_KEY).env("ROTA_OPERATOR_KEY", OPERATOR);
    command
}

fn run(mut command: Command) -> Ran {
    command.output().unwrap().into()
}

fn serve(double: &Double, folder: &Path) -> Process {
    Process::start(on(double, folder, &["serve", "--listen", "127.0.0.1:0"]))
}

async fn post(server: &Process, path: &str, body: Value) -> Value {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request = reqwest::Client::new().post(format!("{}{path}", server.url)).bearer_auth(OPERATOR);
    request.json(&body).send().await.unwrap().json().await.unwrap()
}

async fn is_active(server: &Process, public: &Value, secret: &Value) -> bool {
    let body = json!({ "publicId": public, "secret": secret });
    post(server, "/v1/verify", body).await["active"].as_bool().unwrap()
}

/// What was answered would be lost with the process, or done twice by a retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ledger_in_eventstoredb_outlives_its_process() {
    let double = Double::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut server = serve(&double, at);
    let workspace = post(&server, "/v1/workspaces", json!({ "name": "tests" })).await["id"].clone();
    let body = json!({ "kind": "client", "name": "billing", "workspaceId": workspace });
    let issued = post(&server, "/v1/credentials", body).await;
    let id = issued["credential"]["id"].as_str().unwrap();
    let (public, first) = (&issued["secrets"]["clientId"], &issued["secrets"]["clientSecret"]);
    let rotate = ["rotate", id, "--idempotency-key", "nightly-2026-11-21-eventstoredb", "--format", "json"];
    let rotated = server.verb_as(at, OPERATOR, &rotate).exits(0).json();
    let second = &rotated["secrets"]["clientSecret"];
    server.signal("-KILL");

    let mut server = serve(&double, at);
    let again = server.verb_as(at, OPERATOR, &rotate).exits(0).json();
    assert_eq!(again["secrets"], rotated["secrets"], "a retry after the crash gets the same answer");
    assert!(is_active(&server, public, second).await);
    assert!(!is_active(&server, public, first).await);
    let history = server.verb_as(at, OPERATOR, &["history", id, "--format", "json"]).exits(0).json();
    let rotations = history.as_array().unwrap().iter();
    assert_eq!(rotations.filter(|e| e["type"].as_str().unwrap().contains("rotated")).count(), 1);
    assert_eq!(server.signal("-TERM"), 0);

    let report = run(on(&double, at, &["verify", "--format", "json"])).exits(0).json();
    assert_eq!(report["ok"], true, "{report}");
    assert!(report["snapshotComparedAt"].is_u64(), "{report}");
    let mut server = serve(&double, at);
    assert!(is_active(&server, public, second).await, "also from the snapshot");
    server.verb_as(at, OPERATOR, &["revoke", id, "--reason", "tests"]).exits(0);
    assert!(!is_active(&server, public, second).await);
    assert_eq!(server.signal("-TERM"), 0);
    run(on(&double, at, &["verify"])).exits(0);
    let doctor = run(on(&double, at, &["doctor"]));
    assert!(doctor.out.contains("answers"), "{}{}", doctor.out, doctor.err);
}

/// Views and snapshots of two processes would be written into one another.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_replica_has_a_folder_of_its_own() {
    let double = Double::start().await;
    let folder = tempfile::tempdir().unwrap();
    let _server = serve(&double, folder.path());
    let other = on(&double, folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let refused = run(other).exits(1);
    assert!(refused.err.contains("in use"), "{}", refused.err);
    let mut other = on(&double, folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    other.env("ROTA_DATA_DIR", folder.path().join("other"));
    Process::start(other);
}

/// Somebody would be left with an error and no way on; or read a password in a log.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_can_not_be_done_says_what_can() {
    let double = Double::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let backup = run(on(&double, at, &["backup", "/tmp/never"])).exits(2);
    assert!(backup.err.contains("cluster"), "{}", backup.err);
    let verify = run(on(&double, at, &["verify"])).exits(1);
    assert!(verify.err.contains("no ledger in esdb://"), "{}", verify.err);
    let mut keyless = on(&double, at, &["serve", "--listen", "127.0.0.1:0"]);
    let keyless = run({
        keyless.env_remove("ROTA_MASTER_KEY");
        keyless
    });
    assert!(keyless.exits(1).err.contains("ROTA_MASTER_KEY"));
    for bad in ["esdb://admin:geheim@a:99999999", "esdb://admin:geheim@a:1?ledger=A"] {
        let refused = run({
            let mut command = on(&double, at, &["serve"]);
            command.env("ROTA_STORE", bad);
            command
        });
        let refused = refused.exits(2);
        assert!(!refused.err.contains("geheim"), "{}", refused.err);
    }
    let help = run(on(&double, at, &["serve", "--help"])).exits(0);
    assert!(!help.out.contains("127.0.0.1:0") && !help.out.contains(&double.url()), "{}", help.out);
    double.go_away();
    let gone = run(on(&double, at, &["serve", "--listen", "127.0.0.1:0"])).exits(1);
    assert!(gone.err.contains("Is it running"), "{}", gone.err);
}

/// A ledger would be kept in a cluster, or out of it, by accident of where it was begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ledger_moves_into_a_cluster_and_out_of_it() {
    let double = Double::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut server = serve(&double, at);
    let workspace = post(&server, "/v1/workspaces", json!({ "name": "tests" })).await["id"].clone();
    let body = json!({ "kind": "client", "name": "billing", "workspaceId": workspace });
    let issued = post(&server, "/v1/credentials", body).await;
    let (public, secret) = (&issued["secrets"]["clientId"], &issued["secrets"]["clientSecret"]);
    let (cluster, copied) = (double.url(), format!("{}&ledger=copied", double.url()));
    let file = format!("sqlite:{}", at.join("copied.db").display());
    let copy = |from: &str, to: &str| {
        run(on(&double, at, &["copy", "--from", from, "--to", to, "--format", "json"]))
    };
    let served = copy(&cluster, &file).exits(1);
    assert!(served.err.contains("a rota process serves the store"), "{}", served.err);
    // Its leases end by themselves.
    server.signal("-KILL");
    let out = copy(&cluster, &file).exits(0).json();
    let back = copy(&file, &copied).exits(0).json();
    assert_eq!((&out["root"], &out["events"]), (&back["root"], &back["events"]));
    let mut command = on(&double, at, &["serve", "--listen", "127.0.0.1:0"]);
    command.env("ROTA_STORE", &copied).env("ROTA_DATA_DIR", at.join("other"));
    let mut server = Process::start(command);
    assert!(is_active(&server, public, secret).await);
    assert_eq!(server.signal("-TERM"), 0);
    let mut command = on(&double, at, &["verify"]);
    command.env("ROTA_STORE", &copied).env("ROTA_DATA_DIR", at.join("other"));
    run(command).exits(0);
}

/// A process without a TLS provider, or with one too many, would die of its first connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tls_is_served_whatever_the_store() {
    let double = Double::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (key, certificate) = (at.join("key.pem"), at.join("cert.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"]);
    run({
        openssl.arg(&key).arg("-out").arg(&certificate);
        openssl
    })
    .exits(0);
    let _ = rustls::crypto::ring::default_provider().install_default();
    // What is tried is the server's half; the certificate is its own authority.
    let client = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true).build().unwrap();
    for store in [double.url(), format!("sqlite:{}", at.join("rota.db").display())] {
        let mut command = on(&double, at, &["serve", "--listen", "127.0.0.1:0"]);
        command.env("ROTA_STORE", &store).env("ROTA_TLS_CERT", &certificate).env("ROTA_TLS_KEY", &key);
        let server = Process::start(command);
        assert!(server.url.starts_with("https://"), "{}", server.url);
        let answer = client.get(format!("{}/health/live", server.url)).send().await;
        assert_eq!(answer.expect("TLS is spoken").status(), 200, "{store}");
    }
}
