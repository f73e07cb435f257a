//! The official clients for Node and Python, unmodified: they log in and read what a rotation publishes, before it is
//! rotated and after.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::infisical::ok;
use crate::infisical_target::Rotating;

/// Where the clients are installed; nothing if the registries they come from can't be reached.
fn clients() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let into = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("sdk");
    let installed = Command::new(root.join("tests/sdk/install")).arg(&into).status().unwrap();
    match installed.code() {
        Some(0) => Some(into),
        Some(3) => {
            eprintln!(
                "SKIPPED: Infisical's official clients can't be installed: no way to a package registry"
            );
            None
        }
        other => panic!("tests/sdk/install failed: {other:?}"),
    }
}

/// Runs a client's program; the secret is on no command line.
fn run(program: &Path, script: &Path, arguments: &[&str], secret: &str) -> Value {
    let mut child = Command::new(program)
        .arg(script)
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It is closed at the end of the statement.
    child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_clients_read_what_is_published_before_and_after_a_rotation() {
    let Some(clients) = tokio::task::spawn_blocking(clients).await.unwrap() else { return };
    let node = (PathBuf::from("node"), clients.join("node/read.mjs"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/read.py");
    let python = (clients.join("python/bin/python"), script);
    let rotating = Rotating::new().await;
    let infisical = &rotating.infisical;
    let folder = json!({ "workspaceId": infisical.project, "environment": "dev", "name": "apps" });
    ok(&infisical.post(&rotating.token, "/api/v1/folders", folder).await);
    let identity = infisical.identity(&["verifier"]).await;
    let mut before = rotating.published().await;
    for version in 1..=3 {
        let (user, password) = rotating.published().await;
        assert!(rotating.users.lets_in(&user, &password));
        for (program, script) in [&node, &python] {
            let arguments = [infisical.server.url(), &identity.client_id, &infisical.project, "dev", "/"];
            let said = tokio::task::block_in_place(|| run(program, script, &arguments, &identity.secret));
            let expected = json!({
                "db-USER": { "value": user, "version": version },
                "db-PASSWORD": { "value": password, "version": version },
            });
            assert_eq!(said["read"], expected, "{}", script.display());
            assert_eq!(said["folders"], json!(["apps"]));
            assert!(said["missing"].as_str().unwrap().contains("404"), "{said}");
        }
        rotating.rotate().await;
        let after = rotating.published().await;
        assert_ne!(after, before);
        before = after;
    }
}
