//! `rota copy`, killed while it works.

use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;

use crate::support::{Caller, OPERATOR, Process, rota, run};

/// A ledger could be lost, changed or half served when the copying is cut short.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_killed_is_finished_by_the_next() {
    const CREDENTIALS: usize = 1_500;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let server = Process::serve_at(at, "127.0.0.1:0");
    let operator = Caller::bearer(&server.url, OPERATOR);
    let workspace = operator.open_workspace("moved").await;
    for _ in 0..CREDENTIALS / 50 {
        join_all((0..50).map(|_| operator.issue(&workspace, "client"))).await;
    }
    let (_, public, secret) = operator.issue(&workspace, "signing").await;
    server.stop();

    let copy = ["copy", "--from", "sqlite:rota.db", "--to", "sqlite:moved/rota.db", "--format", "json"];
    std::fs::create_dir(at.join("moved")).unwrap();
    let mut killed = 0;
    for round in 0..12 {
        let mut command = rota(at);
        let mut child = command.args(copy).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The moment of the kill: from before anything is written to shortly before the proof.
        tokio::time::sleep(Duration::from_millis(10 + 25 * round)).await;
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
    }
    assert!(killed > 0);
    let done = run(at, &copy);
    // The last round may have ended by itself: then there is nothing left to do, and the copy is there.
    if done.code != 0 {
        assert!(done.err.contains("is not empty"), "{}", done.err);
    }
    let report = run(at, &["verify", "--store", "sqlite:moved/rota.db", "--format", "json"]);
    let (there, here) =
        (report.exits(0).json(), run(at, &["verify", "--store", "sqlite:rota.db", "--format", "json"]));
    assert_eq!(there["events"], here.exits(0).json()["events"]);

    std::fs::copy(at.join("master.key"), at.join("moved/master.key")).unwrap();
    let server = Process::serve_at(&at.join("moved"), "127.0.0.1:0");
    assert!(Caller::bearer(&server.url, OPERATOR).verifies(&public, &secret).await);
}
