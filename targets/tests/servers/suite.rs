//! What holds for every target, whatever its system.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use rota_aggregates::Timestamp;
use rota_targets::surroundings::{Clock, Endpoints, Surroundings};
use rota_targets::{
    Certainty, Connection, Credential, Failure, Intent, Kind, Login, Network, Parameters, Slot, Target,
};
use serde_json::Value;
use testbed::Proxy;

/// Knows one name.
pub struct Loopback;

#[async_trait]
impl Network for Loopback {
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        if host == "localhost" || host == "127.0.0.1" {
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
        } else {
            Err(Failure::refused(format!("{host} may not be reached")))
        }
    }
}

/// No target here asks for the time.
struct NoTime;

impl Clock for NoTime {
    fn now(&self) -> Timestamp {
        chrono::DateTime::UNIX_EPOCH.into()
    }
}

/// The way to the tests' servers.
pub fn around() -> Surroundings {
    // Several of rustls' providers are in the tree; every program of rota says which it means.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Surroundings {
        network: Arc::new(Loopback),
        clock: Arc::new(NoTime),
        endpoints: Arc::new(Endpoints::default()),
        aws: None,
    }
}

/// 32 bytes that were not there before in this process.
pub fn random() -> [u8; 32] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::SeqCst).to_be_bytes());
    bytes[8..12].copy_from_slice(&std::process::id().to_be_bytes());
    bytes
}

/// A target from what a user would give.
pub fn open(kind: Kind, method: &str, credentials: &Value, parameters: &Value) -> Box<dyn Target> {
    open_with(&connection(kind, method, credentials), kind, parameters)
}

/// A connection from what a user would give.
pub fn connection(kind: Kind, method: &str, credentials: &Value) -> Connection {
    let app = kind.description().app;
    Connection::check(app, method, credentials).unwrap_or_else(|issues| panic!("{issues:?}"))
}

/// A target over a connection.
pub fn open_with(connection: &Connection, kind: Kind, parameters: &Value) -> Box<dyn Target> {
    let parameters = Parameters::from_value(kind, parameters).unwrap_or_else(|issues| panic!("{issues:?}"));
    rota_targets::open(kind, connection, &parameters, &around()).unwrap()
}

/// The credential of an intent.
pub fn credential_of(intent: &Intent) -> &Credential {
    match intent {
        Intent::Set { credential, .. } => credential,
        Intent::Mint { .. } => panic!("rota chooses"),
    }
}

/// Intends, sets and logs in: one rotation.
pub async fn rotate(target: &dyn Target, slot: Slot, current: Option<&Credential>) -> Credential {
    let intent = target.intend(slot, current, random()).await.unwrap();
    let set = target.set(&intent, current).await.unwrap();
    assert_eq!(set.secret.expose(), credential_of(&intent).secret.expose());
    assert_eq!(target.log_in(&set).await.unwrap(), Login::Accepted);
    set
}

/// Rotates twenty times. After each the system's own client logs in with what was published and, where there is an
/// overlap, with what was published before; never with what was retired.
pub async fn rotate_twenty_times(
    target: &dyn Target,
    overlap: bool,
    mut current: Option<Credential>,
    client: impl Fn(&Credential) -> Output,
) -> (Credential, Vec<String>) {
    let mut secrets = Vec::new();
    let mut slot = Slot(0);
    for round in 0..20 {
        let new = rotate(target, slot, current.as_ref()).await;
        assert_accepted(&client(&new), round);
        if let Some(old) = &current {
            if overlap {
                assert_accepted(&client(old), round);
                assert_eq!(target.log_in(old).await.unwrap(), Login::Accepted);
            }
            target.retire(old, &new, false).await.unwrap();
            target.retire(old, &new, false).await.unwrap();
            assert_eq!(target.log_in(&new).await.unwrap(), Login::Accepted);
        }
        secrets.push(new.secret.expose().to_owned());
        current = Some(new);
        slot = slot.other();
    }
    (current.unwrap(), secrets)
}

/// The client got in.
#[track_caller]
pub fn assert_accepted(out: &Output, round: usize) {
    assert!(out.status.success(), "round {round}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Cuts the connection at many places of a change, and holds the target to what it says of that: unchanged is unchanged,
/// and whatever happened, doing it again does it. The old credential of the other place is never touched.
pub async fn survive_cuts(
    target: &dyn Target,
    proxy: &Proxy,
    cuts: usize,
    overlap: bool,
    first: Option<Credential>,
) {
    let mut slot = Slot(0);
    let before = proxy.passed();
    let mut current = rotate(target, slot, first.as_ref()).await;
    let whole = proxy.passed() - before;
    let mut unclear = 0;
    for cut in 0..cuts {
        slot = slot.other();
        // A step that shares no factor with what repeats; a different place in every run.
        let place = (cut * whole / cuts + usize::from(random()[7]) * 13) % whole;
        let intent = target.intend(slot, Some(&current), random()).await.unwrap();
        proxy.cut_after(place);
        let answer = target.set(&intent, Some(&current)).await;
        proxy.open();
        let new = credential_of(&intent);
        let mut is_set = target.log_in(new).await.unwrap() == Login::Accepted;
        match answer {
            Ok(_) => assert!(is_set, "cut at {place}: it said that it was set"),
            Err(failure) if failure.certainty == Certainty::Unchanged => {
                assert!(!is_set, "cut at {place}: it said that nothing changed: {failure}");
                assert!(failure.may_pass, "{failure}");
                assert_eq!(target.log_in(&current).await.unwrap(), Login::Accepted, "cut at {place}");
            }
            Err(failure) => {
                unclear += 1;
                assert!(failure.may_pass && !failure.text().contains(new.secret.expose()), "{failure}");
                // What was begun there may end after the connection did; one of the two is good throughout.
                for _ in 0..20 {
                    if is_set || target.log_in(&current).await.unwrap() == Login::Accepted {
                        break;
                    }
                    is_set = target.log_in(new).await.unwrap() == Login::Accepted;
                }
            }
        }
        if overlap {
            assert_eq!(target.log_in(&current).await.unwrap(), Login::Accepted, "cut at {place}");
        }
        // Where only the account itself can change it, doing it again takes what it has by now.
        let has = if is_set { new } else { &current };
        let again = target.set(&intent, Some(has)).await.unwrap();
        assert_eq!(target.log_in(&again).await.unwrap(), Login::Accepted);
        target.retire(&current, &again, false).await.unwrap();
        current = again;
    }
    assert!(unclear < cuts, "a cut before anything was sent is clear");
}

/// None of the secrets is in any of the texts.
#[track_caller]
pub fn assert_hidden<'a>(secrets: impl IntoIterator<Item = &'a str>, texts: &[(&str, String)]) {
    for secret in secrets {
        assert!(secret.len() > 5);
        for (name, text) in texts {
            assert!(!text.contains(secret), "{name} has a secret in it");
        }
    }
}

/// Why it is refused for good, with nothing changed.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, Failure>) -> String {
    let failure = answer.unwrap_err();
    assert_eq!((failure.certainty, failure.may_pass), (Certainty::Unchanged, false), "{failure}");
    failure.text().to_owned()
}

/// Why it is not reached, with nothing changed.
#[track_caller]
pub fn unreachable<T: std::fmt::Debug>(answer: Result<T, Failure>) -> String {
    let failure = answer.unwrap_err();
    assert_eq!((failure.certainty, failure.may_pass), (Certainty::Unchanged, true), "{failure}");
    failure.text().to_owned()
}
