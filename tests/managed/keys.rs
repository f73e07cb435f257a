//! A system that chooses the secret itself and has room for two keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use rota::app::App;
use rota::app::managed::{DeleteRotation, NewConnection, NewRotation, RotateManaged};
use rota_aggregates::managed_rotation::ManagedRotationEvent as E;
use rota_aggregates::secret::Secret;
use rota_targets::{Connection, Credential, Failure, Intent, Kind, Login, Parameters, Plan, Slot, Target};
use serde_json::json;

use crate::bench::{Bench, operator, schedule};
use crate::double::{Double, Fault, State};

/// So many keys it has room for.
const ROOM: usize = 2;

/// The double, as a target of such a system.
pub struct Keys(pub Double);

fn id(credential: &Credential) -> &str {
    &credential.public["accessKeyId"]
}

fn full(state: &State, without: Option<&str>) -> Result<(), Failure> {
    let there = state.keys.keys().filter(|key| Some(key.as_str()) != without).count();
    if there < ROOM { Ok(()) } else { Err(Failure::refused("there are two keys")) }
}

/// Ends what an attempt left that nobody has the secret of. How many.
fn clean(state: &mut State, intent: &Intent, keep: &[&Credential]) -> usize {
    let Intent::Mint { existing, .. } = intent else { return 0 };
    let before = state.keys.len();
    let known = |key: &String| existing.contains(key) || keep.iter().any(|kept| id(kept) == key);
    state.keys.retain(|key, _| known(key));
    before - state.keys.len()
}

#[async_trait]
impl Target for Keys {
    async fn check(&self) -> Result<(), Failure> {
        self.0.call("check", |_| ()).await
    }

    async fn plan(&self, _: Slot) -> Result<Plan, Failure> {
        let steps = vec!["make a key".to_owned()];
        self.0.call("plan", |_| Plan { steps, rights: vec![] }).await
    }

    async fn has_room(&self, vacated: Option<&Credential>) -> Result<(), Failure> {
        self.0.call("has-room", |state| full(state, vacated.map(id))).await?
    }

    async fn intend(&self, slot: Slot, _: Option<&Credential>, _: [u8; 32]) -> Result<Intent, Failure> {
        let intent = |state: &mut State| {
            let existing = state.keys.keys().cloned().collect();
            Intent::Mint { slot, existing, label: String::new() }
        };
        self.0.call("intend", intent).await
    }

    async fn set(&self, intent: &Intent, current: Option<&Credential>) -> Result<Credential, Failure> {
        let keep: Vec<_> = current.into_iter().collect();
        let make = |state: &mut State| {
            clean(state, intent, &keep);
            full(state, None)?;
            state.made += 1;
            let id = format!("key-{}", state.made);
            let secret = uuid::Uuid::new_v5(&uuid::Uuid::nil(), id.as_bytes()).to_string();
            state.keys.insert(id.clone(), secret.clone());
            let public = BTreeMap::from([("accessKeyId".to_owned(), id)]);
            Ok(Credential { public, secret: Secret::new(secret) })
        };
        self.0.call("set", make).await?
    }

    async fn log_in(&self, credential: &Credential) -> Result<Login, Failure> {
        let accepts = |state: &mut State| {
            let there = state.keys.get(id(credential));
            let good = there.is_some_and(|secret| secret == credential.secret.expose());
            if good { Login::Accepted } else { Login::Refused }
        };
        self.0.call("log-in", accepts).await
    }

    async fn undo(&self, intent: &Intent, keep: &[&Credential]) -> Result<usize, Failure> {
        self.0.call("undo", |state| clean(state, intent, keep)).await
    }

    async fn retire(&self, old: &Credential, active: &Credential, _: bool) -> Result<(), Failure> {
        assert_ne!(id(old), id(active), "the active one is not ended");
        self.0.call("retire", |state| drop(state.keys.remove(id(old)))).await
    }

    async fn revoke(&self, credential: &Credential, _: [u8; 32]) -> Result<(), Failure> {
        self.0.call("revoke", |state| drop(state.keys.remove(id(credential)))).await
    }
}

/// A rotation of a user's keys that is to be made.
async fn described(bench: &mut Bench, app: &App) -> NewRotation {
    let new = bench.begin(app).await;
    let credentials = json!({ "accessKeyId": "AKIAROTA", "secretAccessKey": "rota's own" });
    let connection = Connection::check(rota_targets::App::Aws, "access-key", &credentials).unwrap();
    let connection =
        NewConnection { workspace: bench.workspace, name: "aws".to_owned(), description: None, connection };
    let (connection, _) = app.create_connection(&operator(), connection).await.unwrap();
    let kind = Kind::AwsIamUserSecret;
    let mapping = [("accessKeyId", "DB_USER"), ("secretAccessKey", "DB_PASSWORD")];
    NewRotation {
        kind,
        connection: connection.id,
        parameters: Parameters::check(kind, &json!({ "userName": "app" }), None).unwrap(),
        mapping: mapping.map(|(field, key)| (field.to_owned(), key.to_owned())).into(),
        schedule: schedule(false, 30),
        ..new
    }
}

/// If this fails, a system with room for two keys is rotated twice and never again, or what is published has no overlap.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_gives_way_to_the_one_after_the_next() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    let app = &opened.app;
    let new = described(&mut bench, app).await;
    bench.rotation = app.create_rotation(&operator(), new, None).await.unwrap().view.id;
    let mut before = bench.published(app).await;
    for round in 2..=20 {
        app.plan_rotation(&operator(), bench.rotation).await.unwrap();
        bench.rotate(app).await.unwrap();
        bench.assert_published_logs_in(app, "after a rotation").await;
        let published = bench.published(app).await;
        assert!(bench.target.accepts(&before.0, &before.1), "round {round}: the one before is the overlap");
        assert_eq!(bench.target.keys(), BTreeSet::from([before.0, published.0.clone()]), "round {round}");
        before = published;
    }
    let delete = DeleteRotation { delete_secrets: true, revoke: true };
    app.delete_rotation(&operator(), bench.rotation, delete).await.unwrap();
    assert!(bench.target.keys().is_empty());
    opened.close().await;
}

/// If this fails, rota deletes somebody's key to make room for its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_rota_did_not_make_gives_way_to_none() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    let app = &opened.app;
    let new = described(&mut bench, app).await;
    bench.rotation = app.create_rotation(&operator(), new, None).await.unwrap().view.id;
    bench.target.make_key("foreign", "of somebody else");
    let (keys, published) = (bench.target.keys(), bench.published(app).await);
    assert_eq!(bench.rotate(app).await.unwrap_err().to_string(), "there are two keys");
    let plan = app.plan_rotation(&operator(), bench.rotation).await.unwrap_err();
    assert_eq!(plan.to_string(), "there are two keys");
    assert_eq!((bench.target.keys(), bench.published(app).await), (keys, published));
    assert!(!bench.history(app).await.iter().skip(5).any(|event| matches!(event, E::AttemptStarted(_))));
    opened.close().await;
}

/// If this fails, a death leaves a key that nobody knows, so that there is no room for another one, or takes the one
/// that is published.
#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_any_step_leaves_no_key_that_nobody_knows() {
    let mut bench = Bench::new();
    let mut opened = bench.open().await;
    let new = described(&mut bench, &opened.app).await;
    bench.rotation = opened.app.create_rotation(&operator(), new, None).await.unwrap().view.id;
    bench.rotate(&opened.app).await.unwrap();
    let _ticking = bench.run_clock();
    // Room, intent, the end of the key before last, the new one, a login.
    for call in 0..5 {
        for fault in [Fault::SilentBefore, Fault::SilentAfter] {
            let app = Arc::clone(&opened.app);
            let (version, before) = (bench.state(&app).version, bench.published(&app).await);
            bench.target.fail(call, 1, fault);
            let asked = {
                let (app, id) = (Arc::clone(&app), bench.rotation);
                tokio::spawn(async move {
                    app.rotate_managed(&operator(), id, &RotateManaged::default(), None).await.map(|_| ())
                })
            };
            bench.target.silent.notified().await;
            bench.assert_published_logs_in(&app, "before the death").await;
            asked.abort();
            drop(app);
            opened.close().await;
            bench.target.heal();

            opened = bench.open().await;
            let when = format!("{fault:?} at call {call}");
            let state = bench.settled(&opened.app).await;
            assert!(state.attempt.is_none(), "{when}: {:?}", state.attempt);
            assert_eq!(state.version, version + u32::from(call > 1), "{when}");
            bench.assert_published_logs_in(&opened.app, &when).await;
            assert!(bench.target.accepts(&before.0, &before.1), "{when}: the one before is the overlap");
            let published = bench.published(&opened.app).await;
            if call > 1 {
                assert_eq!(bench.target.keys(), BTreeSet::from([before.0, published.0]), "{when}");
            }
        }
    }
    opened.close().await;
}
