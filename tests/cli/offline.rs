//! What is done to a ledger that nobody serves.

use std::path::Path;

use crate::support::{Process, database, ledger, run, set_mode, tamper};

/// What `rota verify` finds after a change that nobody may make.
async fn found(sql: &str) -> serde_json::Value {
    let folder = ledger();
    tamper(&database(folder.path()), sql).await;
    run(folder.path(), &["verify", "--format", "json"]).exits(1).json()
}

/// An honest ledger would be called a forged one.
#[test]
fn a_ledger_that_was_only_used_is_what_it_says() {
    let folder = ledger();
    let report = run(folder.path(), &["verify", "--format", "json"]).exits(0).json();
    assert_eq!(report["ok"], true);
    assert!(report["events"].as_u64().unwrap() >= 5);
    assert!(report["parts"].as_u64().unwrap() >= 5);
    assert!(report["snapshotComparedAt"].is_u64(), "{report}");
    assert!(run(folder.path(), &["verify"]).exits(0).out.contains("the ledger is what it says"));
}

/// An altered event would go unseen.
#[tokio::test]
async fn a_flipped_byte_in_an_event_is_found() {
    let sql = "UPDATE events SET leaf = CAST(replace(CAST(leaf AS TEXT), '\"v\":1', '\"w\":1') AS BLOB) \
               WHERE position = 2";
    assert_eq!(found(sql).await["firstBadPosition"], 2);
    // Readable still: only what is elsewhere about the same credential contradicts it.
    let sql = "UPDATE events SET leaf = CAST(replace(CAST(leaf AS TEXT), '\"sequence\":1,', '\"sequence\":2,') AS BLOB) \
               WHERE position = 2";
    assert_eq!(found(sql).await["firstBadPosition"], 2);
    let sql = "UPDATE events SET leaf = CAST(replace(CAST(leaf AS TEXT), '\"time\":\"2', '\"time\":\"1') AS BLOB) \
               WHERE position = 2";
    assert_eq!(found(sql).await["ok"], false);
}

/// A digest of another secret could let somebody in.
#[tokio::test]
async fn a_swapped_digest_is_found() {
    let sql = "UPDATE sealed SET digest = randomblob(32) \
               WHERE position = (SELECT max(position) FROM sealed WHERE digest NOT NULL)";
    let report = found(sql).await;
    assert!(report["findings"][0]["problem"].as_str().unwrap().contains("digest"), "{report}");
}

/// What was recorded beside an event could vanish, and nobody would have done it.
#[tokio::test]
async fn a_part_that_vanished_is_found() {
    let sql = "UPDATE sealed SET details = NULL, details_key = NULL WHERE position = 2";
    let report = found(sql).await;
    assert_eq!(report["firstBadPosition"], 2);
    assert!(report["findings"][0]["problem"].as_str().unwrap().contains("no event says"), "{report}");
}

/// Events could be cut out, in the middle or at the end.
#[tokio::test]
async fn removed_events_are_found() {
    let report = found("DELETE FROM events WHERE position = 3").await;
    assert_eq!(report["firstBadPosition"], 3);
    let end = "DELETE FROM events WHERE position = (SELECT max(position) FROM events)";
    let report = found(end).await;
    assert!(report["findings"][0]["problem"].as_str().unwrap().contains("snapshot"), "{report}");
}

/// A backup could not be trusted, or not be brought back.
#[test]
fn a_backup_is_restored_and_is_what_it_says() {
    let folder = ledger();
    let at = folder.path();
    run(at, &["backup", "copies/rota.db"]).exits(1);
    std::fs::create_dir(at.join("copies")).unwrap();
    run(at, &["backup", "copies/rota.db"]).exits(0);
    assert_eq!(crate::support::mode(&at.join("copies/rota.db")), 0o600);
    let again = run(at, &["backup", "copies/rota.db"]).exits(1);
    assert!(again.err.contains("exists already"), "{}", again.err);
    run(at, &["verify", "--store", "sqlite:copies/rota.db"]).exits(0);
    // Brought back to another machine, with the master key that was kept apart.
    std::fs::create_dir(at.join("elsewhere")).unwrap();
    std::fs::create_dir(at.join("elsewhere/rota-data")).unwrap();
    std::fs::copy(at.join("copies/rota.db"), at.join("elsewhere/rota-data/rota.db")).unwrap();
    std::fs::copy(at.join("rota-data/master.key"), at.join("elsewhere/rota-data/master.key")).unwrap();
    let mut server = Process::serve(&at.join("elsewhere"));
    assert_eq!(server.signal("-TERM"), 0);
    run(&at.join("elsewhere"), &["verify"]).exits(0);
}

/// Views would be a second truth.
#[test]
fn views_are_folded_anew() {
    let folder = ledger();
    run(folder.path(), &["rebuild"]).exits(0);
    run(folder.path(), &["verify"]).exits(0);
    let nowhere = tempfile::tempdir().unwrap();
    let ran = run(nowhere.path(), &["rebuild"]).exits(1);
    assert!(ran.err.contains("there is no ledger in"), "{}", ran.err);
    assert!(!nowhere.path().join("rota-data").exists(), "a ledger was made");
}

fn starts(folder: &Path) {
    assert_eq!(Process::serve(folder).signal("-TERM"), 0);
}

/// A new master key could lock its owner out, at any point at which the work is cut short.
#[test]
fn a_rewrapping_can_be_cut_short_anywhere() {
    let folder = ledger();
    let at = folder.path();
    let (file, previous) = (at.join("rota-data/master.key"), at.join("rota-data/master.key.previous"));
    let first = std::fs::read(&file).unwrap();
    run(at, &["rewrap", "--generate"]).exits(0);
    let second = std::fs::read(&file).unwrap();
    assert_ne!(first, second);
    assert!(!previous.exists());
    starts(at);

    // Cut short after the copy of the old key.
    std::fs::copy(&file, &previous).unwrap();
    starts(at);
    let ran = run(at, &["rewrap", "--generate"]).exits(1);
    assert!(ran.err.contains("--resume"), "{}", ran.err);
    run(at, &["doctor"]).exits(1);
    run(at, &["rewrap", "--resume"]).exits(0);
    assert!(!previous.exists());

    // Cut short after the new key took its place, before the store knew of it.
    std::fs::rename(&file, &previous).unwrap();
    std::fs::write(&file, "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=").unwrap();
    set_mode(&file, 0o600);
    starts(at);
    run(at, &["rewrap", "--resume"]).exits(0);
    assert!(!previous.exists());
    starts(at);
    run(at, &["rewrap", "--resume"]).exits(0);
    run(at, &["doctor"]).exits(0);
    run(at, &["verify"]).exits(0);
}

/// A fault of the installation would be looked for in the program.
#[test]
fn the_doctor_finds_what_is_wrong_and_says_how_to_mend_it() {
    let folder = ledger();
    let at = folder.path();
    let healthy = run(at, &["doctor", "--format", "json"]).exits(0).json();
    let checks: Vec<_> = healthy.as_array().unwrap().iter().map(|f| f["check"].as_str().unwrap()).collect();
    for check in [
        "folder",
        "disk",
        "flush",
        "lock",
        "master key",
        "database",
        "clock",
        "operator key",
        "views",
        "snapshot",
    ] {
        assert!(checks.contains(&check), "{check} is not looked at: {checks:?}");
    }
    let key = at.join("rota-data/master.key");
    set_mode(&key, 0o644);
    let ran = run(at, &["doctor"]).exits(1);
    assert!(ran.out.contains("chmod 600"), "{}", ran.out);
    set_mode(&key, 0o600);
    for entry in std::fs::read_dir(at.join("rota-data")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("snapshot-") {
            std::fs::write(path, "damaged").unwrap();
        }
    }
    let ran = run(at, &["doctor"]).exits(1);
    assert!(ran.out.contains("snapshot") && ran.out.contains("rota verify"), "{}", ran.out);
    let nowhere = tempfile::tempdir().unwrap();
    let ran = run(nowhere.path(), &["doctor"]).exits(1);
    assert!(ran.out.contains("is not there") && ran.out.contains("rota quickstart"), "{}", ran.out);
}
