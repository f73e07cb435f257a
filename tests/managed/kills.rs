//! The real program, killed at many places of a rotation at every system that has a real server.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use crate::stands::Stand;
use crate::support::{As, Caller, OPERATOR, Process, Reply, rota, text, until};
use testbed::Speaker;

/// So often is it killed. Each time every target is at another place of its rotation.
const KILLS: usize = 8;
/// The same where there is time.
const KILLS_LONG: usize = 24;

type Asked = tokio::task::JoinHandle<Result<Reply, reqwest::Error>>;

/// A rotation at a target.
struct Under {
    stand: Arc<Stand>,
    id: String,
    /// What the two sides say to each other in a whole rotation.
    messages: usize,
}

/// User and password.
type Pair = (String, String);

/// The program on a store, and a rotation at every stand.
struct Killed {
    folder: tempfile::TempDir,
    process: Option<Process>,
    workspace: String,
    /// A machine that reads what is published.
    reader: (String, String),
    all: Vec<Under>,
}

fn start(folder: &Path) -> Process {
    let mut command = rota(folder);
    command.args(["serve", "--listen", "127.0.0.1:0", "--store"]);
    command.arg(format!("sqlite:{}", folder.join("rota.db").display()));
    command.env("ROTA_OPERATOR_KEY", OPERATOR).env("ROTA_ALLOW_PRIVATE_NETWORKS", "true");
    Process::start(command)
}

fn path(id: &str, verb: &str) -> String {
    format!("/v1/managed-rotations/{id}{verb}")
}

/// What the secret of a field is called.
fn key(stand: &Stand, field: &str) -> String {
    format!("{}_{field}", stand.name).to_uppercase()
}

impl Killed {
    async fn new(stands: Vec<Arc<Stand>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = start(folder.path());
        let operator = Caller::bearer(&process.url, OPERATOR);
        let workspace = operator.open_workspace("acme").await;
        let machine = json!({
            "kind": "client", "name": "reader", "workspaceId": workspace, "roles": ["verifier"],
        });
        let made = operator.post("/v1/credentials", machine).await.expect(201).json();
        let reader = (text(&made["secrets"]["clientId"]), text(&made["secrets"]["clientSecret"]));
        let (.., admin) = operator.workspace_key(&workspace, &["admin"]).await;
        let mut this = Self { folder, process: Some(process), workspace, reader, all: Vec::new() };
        for stand in stands {
            let id = make(&admin, &stand).await;
            this.all.push(Under { stand, id, messages: 0 });
        }
        // From the third on there is a credential that is ended.
        for _ in 0..2 {
            let before: Vec<_> = this.all.iter().map(|under| under.stand.way.messages()).collect();
            for asked in this.rotate_all() {
                asked.await.unwrap().unwrap().expect(200);
            }
            for (under, before) in this.all.iter_mut().zip(before) {
                under.messages = under.stand.way.messages() - before;
            }
        }
        this
    }

    fn operator(&self) -> Caller {
        Caller::bearer(&self.process.as_ref().unwrap().url, OPERATOR)
    }

    /// Asks the same of every rotation.
    fn ask_all(&self, method: &Method, verb: &str) -> Vec<Asked> {
        let operator = self.operator();
        let ask = |under: &Under| {
            let (operator, method, path) = (operator.clone(), method.clone(), path(&under.id, verb));
            let body = (method == Method::POST).then(|| b"{}".to_vec());
            tokio::spawn(async move { operator.send(method, &path, &[], body).await })
        };
        self.all.iter().map(ask).collect()
    }

    fn rotate_all(&self) -> Vec<Asked> {
        self.ask_all(&Method::POST, "/rotate")
    }

    /// Waits until every way is at its place, kills the program, and starts another one with all ways open. The names
    /// of those that were stopped: a place may lie behind the end.
    async fn die(&mut self, asked: Vec<Asked>) -> Vec<&'static str> {
        until("every way is at its place", async || {
            let there =
                |(under, asked): (&Under, &Asked)| under.stand.way.has_stopped() || asked.is_finished();
            self.all.iter().zip(&asked).all(there)
        })
        .await;
        let stopped = self.all.iter().filter(|under| under.stand.way.has_stopped());
        let stopped = stopped.map(|under| under.stand.name).collect();
        drop(self.process.take().unwrap().kill());
        for asked in asked {
            let _ = asked.await.unwrap();
        }
        for under in &self.all {
            under.stand.way.open();
        }
        self.process = Some(start(self.folder.path()));
        stopped
    }

    /// Ends every rotation and what it made, through a death in the middle.
    async fn end_all(&mut self, last: &[Pair], foreign: &[String]) {
        for under in &self.all {
            under.stand.way.stop_after(under.messages / 3, Speaker::Server);
        }
        let asked = self.ask_all(&Method::DELETE, "?deleteSecrets=true&revokeCredentials=true");
        assert!(!self.die(asked).await.is_empty(), "nothing was in the middle of its end");
        let operator = self.operator();
        for under in &self.all {
            until("it is ended", async || operator.get(&path(&under.id, "")).await.status == 404).await;
        }
        for ((under, (user, password)), foreign) in self.all.iter().zip(last).zip(foreign) {
            let (stand, name) = (&under.stand, under.stand.name);
            assert!(!stand.lets_in(user, password), "{name}: what rota made still logs in");
            assert!(stand.lets_bystanders_in(), "{name}: a foreign account was touched");
            assert_eq!(stand.foreign(user), *foreign, "{name}: something else was touched");
        }
    }

    async fn states(&self) -> Vec<Value> {
        let operator = self.operator();
        let mut states = Vec::new();
        for under in &self.all {
            states.push(operator.get(&path(&under.id, "")).await.expect(200).json());
        }
        states
    }

    /// What is published, as Infisical's clients read it.
    async fn published(&self) -> Vec<Pair> {
        let nobody = Caller::nobody(&self.process.as_ref().unwrap().url);
        let (id, secret) = &self.reader;
        let login = json!({ "clientId": id, "clientSecret": secret });
        let login = nobody.post("/api/v1/auth/universal-auth/login/", login).await.expect(200).json();
        let machine = nobody.with(&As::Bearer(&text(&login["accessToken"])));
        let read = async |key: String| {
            let place = format!("workspaceId={}&environment=prod&secretPath=/", self.workspace);
            let path = format!("/api/v3/secrets/raw/{key}?{place}");
            text(&machine.get(&path).await.expect(200).json()["secret"]["secretValue"])
        };
        let mut all = Vec::new();
        for under in &self.all {
            let stand = &under.stand;
            all.push((read(key(stand, stand.user)).await, read(key(stand, "password")).await));
        }
        all
    }

    /// The events of every rotation from a position on, as text too.
    async fn events(&self, after: &str) -> (BTreeMap<String, Vec<String>>, String) {
        let path = format!("/v1/events?workspaceId={}&limit=1000&after={after}", self.workspace);
        let page = self.operator().get(&path).await.expect(200);
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in page.json()["items"].as_array().unwrap() {
            let Some(name) = event["type"].as_str().unwrap().strip_prefix("rota.managed-rotation.") else {
                continue;
            };
            let subject = text(&event["subject"]);
            let of = self.all.iter().find(|under| subject.contains(&under.id)).expect("it is one of these");
            all.entry(of.id.clone()).or_default().push(name.trim_end_matches(".v1").to_owned());
        }
        (all, page.text)
    }

    async fn head(&self) -> String {
        let mut after = String::new();
        loop {
            let path = format!("/v1/events?workspaceId={}&limit=1000{after}", self.workspace);
            let page = self.operator().get(&path).await.expect(200).json();
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return page["items"].as_array().unwrap().last().unwrap()["position"].to_string(),
            }
        }
    }
}

/// Makes a connection and a rotation over it.
async fn make(admin: &Caller, stand: &Stand) -> String {
    let body = json!({ "name": stand.name, "method": stand.method, "credentials": stand.credentials });
    let made = admin.post(&format!("/api/v1/app-connections/{}", stand.app), body).await;
    let mut body = json!({
        "kind": stand.kind, "name": stand.name, "environment": "prod", "parameters": stand.parameters,
        "connectionId": made.expect(200).json()["appConnection"]["id"], "endSessions": stand.overlap,
        "mapping": { stand.user: key(stand, stand.user), "password": key(stand, "password") },
        "schedule": { "auto": false, "intervalDays": 30 },
    });
    if let Some(temporary) = &stand.temporary {
        body["temporaryParameters"] = temporary.clone();
    }
    text(&admin.post("/v1/managed-rotations", body).await.expect(201).json()["id"])
}

/// That whoever uses a target gets in with what is published, and with what was until now where there is an overlap.
fn check(stand: &Stand, now: &Pair, before: &Pair, foreign: &str, when: &str) {
    assert!(stand.lets_in(&now.0, &now.1), "{when}: what is published does not log in");
    assert_eq!(stand.foreign(&now.0), foreign, "{when}: something else was touched");
    if now != before && stand.overlap {
        assert!(stand.lets_in(&before.0, &before.1), "{when}: the one before is the overlap");
    }
}

/// That nothing was set without an intent and published without a login, and each thing once.
fn check_history(events: &[String], version: u64, before: u64, when: &str) {
    let count = |name: &str| events.iter().filter(|event| *event == name).count();
    let at = |name: &str| events.iter().position(|event| event == name);
    let begun = u64::from(count("attempt-started") > 0);
    assert!(count("attempt-started") <= 1 && count("credential-set") <= 1, "{when}: {events:?}");
    assert_eq!(version, before + begun, "{when}: what was begun is done: {events:?}");
    assert_eq!(count("promoted") as u64, begun, "{when}: {events:?}");
    let steps = ["attempt-started", "credential-set", "verified", "promoted"].map(at);
    assert!(
        begun == 0 && steps == [None; 4] || steps.is_sorted() && steps[0].is_some(),
        "{when}: {events:?}"
    );
}

/// If this fails, a power cut in the middle of a rotation locks somebody out of a system, or changes what is none of
/// rota's.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_message_leaves_what_is_published_valid() {
    let stands = tokio::task::spawn_blocking(Stand::soon).await.unwrap();
    kill(stands, KILLS).await;
}

/// The same at more places, and at the servers that take their time to start.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn long_kills_at_every_system() {
    let start = || Stand::soon().into_iter().chain(Stand::late()).collect();
    let stands = tokio::task::spawn_blocking(start).await.unwrap();
    kill(stands, KILLS_LONG).await;
}

/// Kills the program so often, each time with every target at another place of its rotation.
async fn kill(stands: Vec<Arc<Stand>>, kills: usize) {
    let mut killed = Killed::new(stands).await;
    let (mut now, mut stopped) = (killed.published().await, BTreeMap::<_, Vec<_>>::new());
    let foreign: Vec<_> =
        killed.all.iter().zip(&now).map(|(under, pair)| under.stand.foreign(&pair.0)).collect();
    for round in 0..kills {
        let (versions, head, before) = (killed.states().await, killed.head().await, now);
        // Before rota is heard by turns, and after it was heard and before it hears.
        let speaker = if round % 2 == 0 { Speaker::Client } else { Speaker::Server };
        for under in &killed.all {
            under.stand.way.stop_after(under.messages * round / kills, speaker);
        }
        let asked = killed.rotate_all();
        for name in killed.die(asked).await {
            stopped.entry(name).or_default().push(round);
        }
        until("every rotation is over", async || {
            killed.states().await.iter().all(|state| state["attempt"].is_null() && state["status"] == "ok")
        })
        .await;
        now = killed.published().await;
        let (events, said) = killed.events(&head).await;
        let states = killed.states().await;
        let mut checks = Vec::new();
        for (n, under) in killed.all.iter().enumerate() {
            let when = format!("round {round}, {}", under.stand.name);
            let version = |state: &Value| state["version"].as_u64().unwrap();
            let none = Vec::new();
            let history = events.get(&under.id).unwrap_or(&none);
            check_history(history, version(&states[n]), version(&versions[n]), &when);
            assert!(!said.contains(&now[n].1) && !said.contains(&before[n].1), "{when}: a password is told");
            let (stand, now, before) = (Arc::clone(&under.stand), now[n].clone(), before[n].clone());
            let foreign = foreign[n].clone();
            checks.push(tokio::task::spawn_blocking(move || check(&stand, &now, &before, &foreign, &when)));
        }
        for check in checks {
            check.await.unwrap();
        }
    }
    for (under, (user, _)) in killed.all.iter().zip(&now) {
        let name = under.stand.name;
        assert!(!under.stand.lets_in(user, "no such password"), "{name}: anything logs in");
        // How much is said differs a little from time to time.
        let rounds = stopped.remove(name).unwrap_or_default();
        assert!(rounds.len() * 4 >= kills * 3, "{name}: it was stopped in these rounds alone: {rounds:?}");
    }
    killed.end_all(&now, &foreign).await;
}
