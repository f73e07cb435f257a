//! `aws-iam-user-secret` on moto with authentication switched on. What others do there is done by boto3.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rota_aggregates::Timestamp;
use rota_aggregates::secret::Secret;
use rota_targets::aws_iam_user_secret::{Authority, AwsIamUserSecret, Settings};
use rota_targets::surroundings::{AwsIdentity, AwsKey, Clock, Endpoints};
use rota_targets::target::Intent;
use rota_targets::{Credential, Login, Slot, Target};
use serde::de::DeserializeOwned;

use crate::support::process::{Process, program, serve};
use crate::support::{RealTime, around, random};

type Pair = (String, String);

/// Longer than a key that was in use is held back.
const IDLE: u64 = 1_000;

/// The time of this machine, and what a test lets pass beyond it.
#[derive(Default)]
struct Later(AtomicU64);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        RealTime.now().plus_seconds(self.0.load(Ordering::SeqCst))
    }
}

struct Moto {
    url: String,
    python: PathBuf,
    keys: BTreeMap<String, Pair>,
    clock: Arc<Later>,
    _process: Process,
}

impl Moto {
    async fn start() -> Option<Self> {
        let python = program("moto", "venv/bin/python")?;
        let server = python.with_file_name("moto_server");
        let (process, port) = serve(|port| {
            let mut command = Command::new(&server);
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command
        })
        .await;
        let mut moto = Self {
            url: format!("http://127.0.0.1:{port}"),
            python,
            keys: BTreeMap::new(),
            clock: Arc::default(),
            _process: process,
        };
        moto.keys = moto.boto(&["set-up", "2"]);
        Some(moto)
    }

    /// AWS' own client.
    fn boto<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clouds/boto.py");
        let output = Command::new(&self.python).arg(script).arg(&self.url).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn key(&self, user: &str) -> AwsKey {
        let (id, secret) = self.keys[user].clone();
        AwsKey { id, secret: Secret::new(secret), session: None }
    }

    fn target(&self, authority: Authority, user: &str) -> AwsIamUserSecret {
        let address = Some(self.url.clone());
        let endpoints = Endpoints { aws_iam: address.clone(), aws_sts: address, ..Endpoints::default() };
        let identity = AwsIdentity { key: self.key("outer"), external_id: "workspace-1".to_owned() };
        let settings = Settings { authority, user: user.to_owned(), region: None, sts: None };
        let mut around = around(endpoints, Some(identity));
        around.clock = Arc::<Later>::clone(&self.clock);
        AwsIamUserSecret::new(settings, &around).unwrap()
    }

    fn pass(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }

    fn as_user(&self, actor: &str, user: &str) -> AwsIamUserSecret {
        self.target(Authority::Key(self.key(actor)), user)
    }

    fn keys_of(&self, user: &str) -> BTreeMap<String, String> {
        let (id, secret) = &self.keys["god"];
        self.boto(&["keys-of", id, secret, user])
    }

    fn make_key(&self, user: &str) -> Pair {
        let (id, secret) = &self.keys["god"];
        self.boto(&["make-key", id, secret, user])
    }

    fn log_in(&self, credential: &Credential) -> String {
        self.boto(&["log-in", &credential.public["accessKeyId"], credential.secret.expose()])
    }
}

fn credential((id, secret): &Pair) -> Credential {
    let public = BTreeMap::from([("accessKeyId".to_owned(), id.clone())]);
    Credential { public, secret: Secret::new(secret.clone()) }
}

async fn rotate(target: &AwsIamUserSecret, slot: u8, current: Option<&Credential>) -> Credential {
    let intent = target.intend(Slot(slot), current, random()).await.unwrap();
    let new = target.set(&intent, current).await.unwrap();
    assert_eq!(target.log_in(&new).await, Ok(Login::Accepted));
    new
}

async fn flow(moto: &Moto, target: &AwsIamUserSecret, user: &str) {
    target.check().await.unwrap();
    let mut current: Option<Credential> = None;
    for turn in 0..4 {
        let new = rotate(target, turn % 2, current.as_ref()).await;
        assert_eq!(moto.log_in(&new), "accepted");
        assert!(target.last_used(&new).await.unwrap().is_some());
        if let Some(old) = current {
            // Both are good until the old one is retired.
            assert_eq!(target.log_in(&old).await, Ok(Login::Accepted));
            moto.pass(IDLE);
            target.retire(&old, &new, true).await.unwrap();
            target.retire(&old, &new, true).await.unwrap();
            assert_eq!(target.log_in(&old).await, Ok(Login::Refused));
            assert_eq!(moto.log_in(&old), "InvalidClientTokenId");
        }
        let only = BTreeMap::from([(new.public["accessKeyId"].clone(), "Active".to_owned())]);
        assert_eq!(moto.keys_of(user), only);
        current = Some(new);
    }
    let last = current.unwrap();
    assert!(target.retire(&last, &last, false).await.is_err());
    assert_eq!(moto.keys_of(user).len(), 1);
    target.revoke(&last, random()).await.unwrap();
    target.revoke(&last, random()).await.unwrap();
    assert_eq!(moto.log_in(&last), "InvalidClientTokenId");
    assert!(moto.keys_of(user).is_empty());
}

/// Each key that is published logs in, by rota's client and by AWS' own, until it is retired, and then not any more.
#[tokio::test]
async fn keys_are_made_tried_and_ended() {
    let Some(moto) = Moto::start().await else { return };
    flow(&moto, &moto.as_user("rota", "app0"), "app0").await;
    let role = Authority::Role { arn: "arn:aws:iam::123456789012:role/rotator".to_owned() };
    flow(&moto, &moto.target(role, "app1"), "app1").await;
}

/// A key that somebody goes on to use after it was replaced is made inactive, and not deleted before it has been idle for
/// a while: until then whoever needs it can be helped.
#[tokio::test]
async fn a_key_that_is_in_use_is_not_deleted() {
    let Some(moto) = Moto::start().await else { return };
    let target = moto.as_user("rota", "app0");
    let old = rotate(&target, 0, None).await;
    let before = target.last_used(&old).await.unwrap().unwrap();
    let new = rotate(&target, 1, Some(&old)).await;
    // Times there are of whole seconds.
    let replaced = target.last_used(&new).await.unwrap().unwrap();
    while target.last_used(&old).await.unwrap().unwrap() <= replaced.max(before) {
        assert_eq!(moto.log_in(&old), "accepted");
    }
    let expected = |status: &str| {
        let of = |credential: &Credential, status: &str| {
            (credential.public["accessKeyId"].clone(), status.to_owned())
        };
        BTreeMap::from([of(&old, status), of(&new, "Active")])
    };
    assert_eq!(moto.keys_of("app0"), expected("Active"));
    for _ in 0..2 {
        let held = target.retire(&old, &new, false).await.unwrap_err();
        assert!(held.may_pass && held.text().contains("not deleted yet"), "{held}");
        let wait = held.retry_after.unwrap();
        assert!(wait > Duration::from_mins(10) && wait <= Duration::from_mins(15), "{wait:?}");
        assert_eq!(moto.keys_of("app0"), expected("Inactive"));
    }
    moto.pass(IDLE);
    target.retire(&old, &new, false).await.unwrap();
    assert_eq!(moto.keys_of("app0").into_keys().collect::<Vec<_>>(), [new.public["accessKeyId"].clone()]);
}

/// A right that is missing is named, and nothing changes; a plan finds out beforehand.
#[tokio::test]
async fn what_is_not_allowed_is_named() {
    let Some(moto) = Moto::start().await else { return };
    let refused = moto.as_user("nobody", "app0").check().await.unwrap_err();
    assert!(refused.text().contains("iam:ListAccessKeys"), "{refused}");
    assert!(!refused.may_pass);

    let reader = moto.as_user("reader", "app0");
    let intent = reader.intend(Slot(0), None, random()).await.unwrap();
    let refused = reader.set(&intent, None).await.unwrap_err();
    assert!(refused.text().contains("iam:CreateAccessKey"), "{refused}");
    assert!(moto.keys_of("app0").is_empty());

    let held = |plan: rota_targets::Plan| -> Vec<_> {
        plan.rights.into_iter().map(|right| (right.name, right.held)).collect()
    };
    let names =
        ["ListAccessKeys", "CreateAccessKey", "GetAccessKeyLastUsed", "UpdateAccessKey", "DeleteAccessKey"];
    for (actor, expected) in [
        ("rota", [Some(true), None, Some(true), Some(true), Some(true)]),
        ("maker", [Some(true), None, Some(false), Some(false), Some(false)]),
    ] {
        let plan = moto.as_user(actor, "app0").plan(Slot(0)).await.unwrap();
        let named = names.map(|name| format!("iam:{name} on user app0"));
        assert_eq!(held(plan), named.into_iter().zip(expected).collect::<Vec<_>>());
    }
    assert!(moto.keys_of("app0").is_empty());

    let missing = moto.as_user("rota", "nobody-of-this-name").check().await.unwrap_err();
    assert!(missing.text().contains("no such user"), "{missing}");

    // A wrong secret, and a key that does not exist.
    for (id, secret) in [(moto.keys["rota"].0.clone(), "x"), ("AKIAXXXXXXXXXXXXXXXX".to_owned(), "x")] {
        let key = AwsKey { id, secret: Secret::new(secret.to_owned()), session: None };
        let refused = moto.target(Authority::Key(key), "app0").check().await.unwrap_err();
        assert!(refused.text().contains("access key"), "{refused}");
        assert!(!refused.text().contains("signature we calculated"), "{refused}");
    }
}

/// Infisical deletes the oldest of two keys, whoever made it; rota stops and says which there are.
#[tokio::test]
async fn of_two_keys_none_is_deleted() {
    let Some(moto) = Moto::start().await else { return };
    let (one, two) = (moto.make_key("app0"), moto.make_key("app0"));
    let target = moto.as_user("rota", "app0");
    let intent = target.intend(Slot(0), None, random()).await.unwrap();
    for refused in
        [target.has_room(None).await.unwrap_err(), target.set(&intent, None).await.map(drop).unwrap_err()]
    {
        assert!(refused.text().contains(&one.0) && refused.text().contains(&two.0), "{refused}");
        assert!(!refused.may_pass);
    }
    for pair in [&one, &two] {
        assert_eq!(moto.log_in(&credential(pair)), "accepted");
        target.has_room(Some(&credential(pair))).await.unwrap();
    }
    // Also if they appeared after the intent.
    let existing = vec![one.0.clone(), two.0.clone()];
    let intent = Intent::Mint { slot: Slot(1), existing, label: "rota-x".to_owned() };
    assert!(target.set(&intent, None).await.is_err());
    assert_eq!(moto.keys_of("app0").len(), 2);
}

/// A crash between `CreateAccessKey` and its event leaves a key whose secret nobody has: it is found and deleted, and the
/// active one is not touched. One that is in use is not deleted.
#[tokio::test]
async fn an_orphan_is_removed_and_nothing_else() {
    let Some(moto) = Moto::start().await else { return };
    let target = moto.as_user("rota", "app0");
    let active = rotate(&target, 0, None).await;

    let intent = target.intend(Slot(1), Some(&active), random()).await.unwrap();
    let orphan = target.set(&intent, Some(&active)).await.unwrap();
    // The answer is lost here. Whoever finds the intent undoes it, and once more.
    drop(orphan);
    assert_eq!(moto.keys_of("app0").len(), 2);
    assert_eq!(target.undo(&intent, &[&active]).await, Ok(1));
    assert_eq!(target.undo(&intent, &[&active]).await, Ok(0));
    assert_eq!(moto.keys_of("app0").into_keys().collect::<Vec<_>>(), [active.public["accessKeyId"].clone()]);
    assert_eq!(moto.log_in(&active), "accepted");

    // Doing the same intent again does it itself.
    drop(target.set(&intent, Some(&active)).await.unwrap());
    let new = target.set(&intent, Some(&active)).await.unwrap();
    assert_eq!(moto.keys_of("app0").len(), 2);
    assert_eq!(target.log_in(&new).await, Ok(Login::Accepted));
    // Known by now: nothing to undo.
    assert_eq!(target.undo(&intent, &[&active, &new]).await, Ok(0));

    // Somebody made a key of their own meanwhile, and uses it.
    moto.pass(IDLE);
    target.retire(&new, &active, false).await.unwrap();
    let strangers = credential(&moto.make_key("app0"));
    assert_eq!(moto.log_in(&strangers), "accepted");
    let refused = target.undo(&intent, &[&active]).await.unwrap_err();
    assert!(refused.text().contains(&strangers.public["accessKeyId"]), "{refused}");
    assert_eq!(moto.log_in(&strangers), "accepted");
}

/// Nothing of a failure changes the user, and nobody at the address is said to be just that.
#[tokio::test]
async fn nobody_there_is_no_refusal() {
    let url = Some(format!("http://127.0.0.1:{}", crate::support::process::free_port()));
    let endpoints = Endpoints { aws_iam: url.clone(), aws_sts: url, ..Endpoints::default() };
    let key = AwsKey { id: "AKIAX".to_owned(), secret: Secret::new("s3cret".to_owned()), session: None };
    let settings =
        Settings { authority: Authority::Key(key), user: "app0".to_owned(), region: None, sts: None };
    let target = AwsIamUserSecret::new(settings, &around(endpoints, None)).unwrap();
    let failure = target.check().await.unwrap_err();
    assert!(failure.may_pass && failure.text().contains("can't be reached"), "{failure}");
    let role = Authority::Role { arn: "arn:aws:iam::123456789012:role/x".to_owned() };
    let settings = Settings { authority: role, user: "app0".to_owned(), region: None, sts: None };
    let target = AwsIamUserSecret::new(settings, &around(Endpoints::default(), None)).unwrap();
    let failure = target.check().await.unwrap_err();
    assert!(failure.text().contains("identity of rota's own"), "{failure}");
}
