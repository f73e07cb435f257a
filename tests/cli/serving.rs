//! Starting, serving, stopping.

use std::net::TcpListener;

use crate::support::{Process, Ran, database, ledger, mode, rota, run, tamper};

/// The operator's key of a service that was started by a machine would be lost, or lie open.
#[test]
fn without_a_terminal_the_operator_key_goes_to_a_private_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::serve(folder.path());
    assert_eq!(server.lines.len(), 1, "one line: {:?}", server.lines);
    let path = folder.path().join("rota-data/operator.key");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&folder.path().join("rota-data/master.key")), 0o600);
    let key = std::fs::read_to_string(&path).unwrap();
    assert!(key.trim().len() >= 32);
    assert_eq!(server.signal("-TERM"), 0);
    // And again: the same key goes on being accepted, and no other one is made.
    let mut server = Process::serve(folder.path());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), key);
    server.verb(folder.path(), &["rebuild"]).exits(0);
    assert_eq!(server.signal("-INT"), 0);
}

/// A log that goes to a file or a journal would be full of a terminal's control codes.
#[test]
fn what_is_logged_without_a_terminal_is_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let said = Process::serve_at(folder.path(), "127.0.0.1:0").stop();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("DEBUG") && !said.contains('\u{1b}'), "{said}");
}

/// Two processes would number the same positions.
#[test]
fn a_second_process_on_the_same_ledger_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _server = Process::serve(folder.path());
    for arguments in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &["verify"],
        &["backup", "copy.db"],
        &["rewrap", "--generate"],
    ] {
        let ran = run(folder.path(), arguments).exits(1);
        assert!(ran.err.contains("in use by another rota process"), "{arguments:?}: {}", ran.err);
    }
    let ran = run(folder.path(), &["doctor", "--format", "json"]).exits(0);
    assert!(ran.out.contains("held"), "{}", ran.out);
}

/// Somebody would look for the fault in the network.
#[test]
fn an_address_that_is_taken_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = run(folder.path(), &["serve", "--listen", &address]).exits(1);
    assert!(ran.err.contains("can't listen on") && ran.err.contains("--listen"), "{}", ran.err);
}

/// A ledger could be opened with a key that can't read it, and go on under two keys.
#[test]
fn a_wrong_or_missing_master_key_is_refused_at_the_start() {
    let folder = ledger();
    let mut command = rota(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command.env("ROTA_MASTER_KEY", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    let ran: Ran = command.output().unwrap().into();
    assert!(ran.exits(1).err.contains("the master key does not open this store"));
    let file = folder.path().join("rota-data/master.key");
    std::fs::remove_file(&file).unwrap();
    let ran = run(folder.path(), &["serve", "--listen", "127.0.0.1:0"]).exits(1);
    assert!(ran.err.contains("master.key is not there"), "{}", ran.err);
    assert!(!file.exists(), "a new master key was made for an old ledger");
}

/// An old program would write into a ledger that it does not understand.
#[tokio::test]
async fn a_ledger_of_a_newer_rota_is_refused() {
    let folder = ledger();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (99, 'future', true, x'00', 0)";
    tamper(&database(folder.path()), newer).await;
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["verify"]] {
        let ran = run(folder.path(), arguments).exits(1);
        assert!(ran.err.contains("written by a newer rota"), "{arguments:?}: {}", ran.err);
    }
    let ran = run(folder.path(), &["doctor"]).exits(1);
    assert!(ran.out.contains("schema 99"), "{}", ran.out);
}

/// The first command of the README would not work, or only once.
#[test]
fn quickstart_works_twice_and_shows_the_overlap_and_its_end() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let ran = run(folder.path(), &["quickstart", "--once", "--listen", "127.0.0.1:0"]).exits(0);
        assert!(ran.out.contains("old secret valid, new secret valid"), "{}", ran.out);
        assert!(ran.out.contains("old secret refused, new secret valid"), "{}", ran.out);
        assert!(ran.out.contains("credential.secret-rotated.v1"), "{}", ran.out);
        assert_eq!(mode(&folder.path().join("rota-data/operator.key")), 0o600);
    }
}

/// Somebody who tries rota beside another program on its port would give up.
#[test]
fn quickstart_takes_a_free_port_when_its_own_is_taken_and_stops_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    // Taken by this or by anybody else: both will do.
    let _taken = TcpListener::bind("127.0.0.1:8700");
    let mut command = rota(folder.path());
    command.arg("quickstart");
    let mut server = Process::start(command);
    assert!(server.lines.iter().any(|line| line.starts_with("Port 8700 is taken")), "{:?}", server.lines);
    assert!(!server.url.ends_with(":8700"));
    assert_eq!(server.signal("-TERM"), 0);
    run(folder.path(), &["verify"]).exits(0);
}
