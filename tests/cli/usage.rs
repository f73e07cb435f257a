//! Help and wrong usage.

use crate::support::{rota, run};

const VERBS: [&str; 14] = [
    "serve",
    "quickstart",
    "issue",
    "rotate",
    "rotations",
    "expire",
    "revoke",
    "history",
    "verify",
    "rebuild",
    "rewrap",
    "backup",
    "token-keys",
    "doctor",
];

/// Somebody who has only the program could not learn how to use it.
#[test]
fn help_teaches_by_example() {
    let folder = tempfile::tempdir().unwrap();
    let help = run(folder.path(), &["--help"]).exits(0);
    for verb in VERBS {
        assert!(help.out.contains(verb), "{verb} is not in the help");
        let of_verb = run(folder.path(), &[verb, "--help"]).exits(0);
        assert!(of_verb.out.contains("Example"), "{verb} --help has no example");
    }
    assert!(help.out.contains("Exit codes"));
}

/// A script could not tell its own mistake from a refusal.
#[test]
fn wrong_usage_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["frobnicate"][..],
        &["serve", "--listen", "nowhere"],
        &["serve", "--store", "mysql://db"],
        &["serve", "--tls-cert", "cert.pem"],
        &["issue", "--kind", "carrier-pigeon", "--name", "x"],
        &["issue", "--kind", "client", "--name", "x"],
        &["rotate", "id", "--grace", "soon", "--url", "http://127.0.0.1:1", "--key", "k"],
        &["rotate", "../admin/rebuild", "--url", "http://127.0.0.1:1", "--key", "k"],
        &["history", "id", "--url", "ftp://127.0.0.1", "--key", "k"],
        &["history", "id", "--url", "http://127.0.0.1:1"],
        &["revoke", "id"],
        &["rewrap"],
        &["rewrap", "--generate", "--resume"],
        &["verify", "--store", "memory:"],
        &["token-keys", "--compromised", "--url", "http://127.0.0.1:1", "--key", "k"],
        &["serve", "--token-seconds", "0"],
        &["serve", "--token-seconds", "86401"],
        &["serve", "--token-key-days", "0"],
        &["serve", "--issuer", "two words"],
        &["serve", "--fluide-token-answer", "loud"],
    ] {
        let ran = run(folder.path(), arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert!(!ran.err.is_empty(), "{arguments:?} says nothing");
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "wrong usage left something behind");
}

/// An operator could protect everything with a key that is guessed in a day.
#[test]
fn a_short_operator_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = rota(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("ROTA_OPERATOR_KEY", "too-short");
    let ran: crate::support::Ran = command.output().unwrap().into();
    let ran = ran.exits(2);
    assert!(ran.err.contains("at least 32 characters"), "{}", ran.err);
    assert!(!ran.err.contains("too-short"), "the key is in the message");
}

/// A master key with a typo could be taken for none, and another one be made.
#[test]
fn a_master_key_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = rota(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("ROTA_MASTER_KEY", "c2hvcnQ=");
    let ran: crate::support::Ran = command.output().unwrap().into();
    let ran = ran.exits(1);
    assert!(ran.err.contains("ROTA_MASTER_KEY") && ran.err.contains("32 bytes"), "{}", ran.err);
    assert!(!folder.path().join("rota-data").exists());
}
