//! A double of a target: two users with passwords, in memory. It counts its calls, and can be told what to do at one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use rota::app::managed::targets::Targets;
use rota_aggregates::secret::Secret;
use rota_targets::{Connection, Credential, Failure, Intent, Kind, Login, Parameters, Plan, Slot, Target};
use tokio::sync::Notify;

use crate::keys::Keys;

/// What happens at a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It falls silent before doing anything: whoever asked dies waiting.
    SilentBefore,
    /// It does what was asked and falls silent.
    SilentAfter,
    /// It does what was asked, and the answer is lost.
    LostAnswer,
    /// It is not reached.
    Unreachable,
    /// It says no.
    Refused,
}

#[derive(Default)]
pub struct State {
    /// Users and their passwords.
    users: BTreeMap<String, String>,
    /// Keys and their secrets, which this system chooses.
    pub keys: BTreeMap<String, String>,
    /// How many of those there ever were.
    pub made: usize,
    /// Every password that was ever set.
    set: BTreeSet<String>,
    calls: Vec<&'static str>,
    /// At which call, and for how many calls from there on, what happens.
    fault: Option<(usize, usize, Fault)>,
}

/// The system.
#[derive(Clone, Default)]
pub struct Double {
    state: Arc<Mutex<State>>,
    /// Told when it has fallen silent.
    pub silent: Arc<Notify>,
}

impl Double {
    /// With two users, and one that is nobody's business.
    pub fn new() -> Self {
        let double = Self::default();
        let users = ["app_a", "app_b", "somebody_else"];
        double.state.lock().users =
            users.into_iter().map(|user| (user.to_owned(), format!("first of {user}"))).collect();
        double
    }

    /// From the call `after` calls from now on, so many of them have a fault.
    pub fn fail(&self, after: usize, times: usize, fault: Fault) {
        let mut state = self.state.lock();
        state.fault = Some((state.calls.len() + after, times, fault));
    }

    /// It works again.
    pub fn heal(&self) {
        self.state.lock().fault = None;
    }

    pub fn accepts(&self, user: &str, password: &str) -> bool {
        let state = self.state.lock();
        state.users.get(user).or(state.keys.get(user)).is_some_and(|there| there == password)
    }

    /// Somebody changes a password by hand.
    pub fn change(&self, user: &str, password: &str) {
        self.state.lock().users.insert(user.to_owned(), password.to_owned());
    }

    /// How often it was called.
    pub fn calls(&self) -> usize {
        self.state.lock().calls.len()
    }

    /// What was called since then.
    pub fn calls_since(&self, calls: usize) -> Vec<&'static str> {
        self.state.lock().calls[calls..].to_vec()
    }

    /// Every password that rota ever set there.
    pub fn every_password(&self) -> BTreeSet<String> {
        self.state.lock().set.clone()
    }

    /// The ids of all keys.
    pub fn keys(&self) -> BTreeSet<String> {
        self.state.lock().keys.keys().cloned().collect()
    }

    /// Somebody else makes a key.
    pub fn make_key(&self, id: &str, secret: &str) {
        self.state.lock().keys.insert(id.to_owned(), secret.to_owned());
    }

    pub async fn call<T>(&self, name: &'static str, act: impl FnOnce(&mut State) -> T) -> Result<T, Failure> {
        let (silent, answer) = {
            let mut state = self.state.lock();
            let at = state.calls.len();
            state.calls.push(name);
            let fault = state.fault.filter(|(from, times, _)| (*from..*from + *times).contains(&at));
            match fault.map(|(.., fault)| fault) {
                None => (false, Ok(act(&mut state))),
                Some(Fault::SilentBefore) => (true, Err(Failure::unclear("silent"))),
                Some(Fault::SilentAfter) => (true, Ok(act(&mut state))),
                Some(Fault::LostAnswer) => {
                    act(&mut state);
                    (false, Err(Failure::unclear("the connection was closed")))
                }
                Some(Fault::Unreachable) => (false, Err(Failure::unreachable("connection refused"))),
                Some(Fault::Refused) => (false, Err(Failure::refused("permission denied"))),
            }
        };
        if silent {
            self.silent.notify_one();
            std::future::pending::<()>().await;
        }
        answer
    }
}

#[async_trait]
impl Targets for Double {
    fn open(&self, kind: Kind, _: &Connection, _: &Parameters) -> Result<Box<dyn Target>, Failure> {
        if kind == Kind::AwsIamUserSecret {
            return Ok(Box::new(Keys(self.clone())));
        }
        Ok(Box::new(self.clone()))
    }

    async fn check(&self, connection: Connection) -> Result<Connection, Failure> {
        Ok(connection)
    }
}

fn user(credential: &Credential) -> String {
    credential.public["username"].clone()
}

fn password_of(random: &[u8; 32]) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::nil(), random).to_string()
}

fn copy(credential: &Credential) -> Credential {
    let secret = Secret::new(credential.secret.expose().to_owned());
    Credential { public: credential.public.clone(), secret }
}

#[async_trait]
impl Target for Double {
    async fn check(&self) -> Result<(), Failure> {
        self.call("check", |_| ()).await
    }

    async fn plan(&self, slot: Slot) -> Result<Plan, Failure> {
        let steps = vec![format!("set the password of the user of place {}", slot.0)];
        self.call("plan", |_| Plan { steps, rights: vec![] }).await
    }

    async fn intend(&self, slot: Slot, _: Option<&Credential>, random: [u8; 32]) -> Result<Intent, Failure> {
        let user = if slot.0 == 0 { "app_a" } else { "app_b" };
        let password = password_of(&random);
        let public = BTreeMap::from([("username".to_owned(), user.to_owned())]);
        let credential = Credential { public, secret: Secret::new(password) };
        self.call("intend", |_| Intent::Set { slot, credential }).await
    }

    async fn set(&self, intent: &Intent, _: Option<&Credential>) -> Result<Credential, Failure> {
        let Intent::Set { credential, .. } = intent else { return Err(Failure::refused("rota chooses")) };
        self.call("set", |state| {
            let password = credential.secret.expose().to_owned();
            state.set.insert(password.clone());
            state.users.insert(user(credential), password);
            copy(credential)
        })
        .await
    }

    async fn log_in(&self, credential: &Credential) -> Result<Login, Failure> {
        self.call("log-in", |state| {
            let there = state.users.get(&user(credential));
            let accepted = there.is_some_and(|password| password == credential.secret.expose());
            if accepted { Login::Accepted } else { Login::Refused }
        })
        .await
    }

    async fn undo(&self, _: &Intent, _: &[&Credential]) -> Result<usize, Failure> {
        self.call("undo", |_| 0).await
    }

    async fn retire(&self, _: &Credential, _: &Credential, _: bool) -> Result<(), Failure> {
        self.call("retire", |_| ()).await
    }

    async fn revoke(&self, credential: &Credential, random: [u8; 32]) -> Result<(), Failure> {
        let password = password_of(&random);
        self.call("revoke", |state| {
            state.users.insert(user(credential), password);
        })
        .await
    }
}
