//! A managed rotation seals what it will do before it touches the target, logs in with the new credential before it
//! publishes it, and ends the one before last. After a death at any point it settles by asking the target.

use reqwest::Method;
use serde_json::{Value, json};

use crate::gate::{Gate, Side};
use crate::support::{Caller, OPERATOR, Process, rota, text, until};
use crate::users::Users;

/// A password that nobody asked rota to change.
const FOREIGN: &str = "of somebody else";

/// What the client says at a step, for the user whose turn it is.
type Word = fn(&str) -> Vec<u8>;

/// The program on a store, and one managed rotation of two users of a real PostgreSQL.
struct Bench {
    folder: tempfile::TempDir,
    users: Users,
    gate: Gate,
    workspace: String,
    rotation: String,
    process: Option<Process>,
}

impl Bench {
    fn start(folder: &std::path::Path) -> Process {
        let mut command = rota(folder);
        command.args(["serve", "--listen", "127.0.0.1:0", "--store"]);
        command.arg(format!("sqlite:{}", folder.join("rota.db").display()));
        command.env("ROTA_OPERATOR_KEY", OPERATOR).env("ROTA_ALLOW_PRIVATE_NETWORKS", "true");
        Process::start(command)
    }

    async fn new() -> Self {
        let (folder, users) = (tempfile::tempdir().unwrap(), Users::new().await);
        users.execute(&format!("CREATE ROLE bystander LOGIN PASSWORD '{FOREIGN}'")).await;
        let gate = Gate::start(users.cluster.port);
        let process = Self::start(folder.path());
        let operator = Caller::bearer(&process.url, OPERATOR);
        let workspace = operator.open_workspace("acme").await;
        let mut credentials = users.credentials();
        credentials["port"] = gate.port.into();
        let (.., admin) = operator.workspace_key(&workspace, &["admin"]).await;
        let connection =
            json!({ "name": "pg", "method": "username-and-password", "credentials": credentials });
        let made = admin.post("/api/v1/app-connections/postgres", connection).await.expect(200).json();
        let rotation = json!({
            "kind": "postgres-credentials", "name": "orders", "environment": "prod",
            "connectionId": made["appConnection"]["id"], "endSessions": true,
            "parameters": { "username1": users.first, "username2": users.second },
            "mapping": { "username": "DB_USER", "password": "DB_PASSWORD" },
            "schedule": { "auto": false, "intervalDays": 30 },
        });
        let made = admin.post("/v1/managed-rotations", rotation).await.expect(201).json();
        let rotation = text(&made["id"]);
        let bench = Self { folder, users, gate, workspace, rotation, process: Some(process) };
        // From the third on there is a credential that is ended.
        for _ in 0..2 {
            bench.rotate().await;
        }
        bench
    }

    fn operator(&self) -> Caller {
        Caller::bearer(&self.process.as_ref().unwrap().url, OPERATOR)
    }

    fn path(&self, verb: &str) -> String {
        format!("/v1/managed-rotations/{}{verb}", self.rotation)
    }

    async fn state(&self) -> Value {
        self.operator().get(&self.path("")).await.expect(200).json()
    }

    async fn rotate(&self) {
        self.operator().post(&self.path("/rotate"), json!({})).await.expect(200);
    }

    /// User and password, as whoever uses them reads them.
    async fn published(&self) -> (String, String) {
        let operator = self.operator();
        let read = async |name: &str| {
            let project = &self.workspace;
            let path = format!("/api/v4/secrets/{name}?projectId={project}&environment=prod");
            text(&operator.get(&path).await.expect(200).json()["secret"]["secretValue"])
        };
        (read("DB_USER").await, read("DB_PASSWORD").await)
    }

    async fn assert_published_logs_in(&self, when: &str) {
        let (user, password) = self.published().await;
        assert!(self.users.lets_in(&user, &password), "{when}: what is published does not log in");
        assert!(self.users.lets_in("bystander", FOREIGN), "{when}: a foreign user was touched");
        assert!(!self.users.lets_in(&user, "no such password"), "{when}: anything logs in");
    }

    /// The types of the rotation's events from a position on, without what they have in common, and their data.
    async fn events(&self, after: &str) -> Vec<(String, Value)> {
        let path = format!("/v1/events?workspaceId={}&limit=1000{after}", self.workspace);
        let page = self.operator().get(&path).await.expect(200).json();
        let events = page["items"].as_array().unwrap().iter();
        let named = events.filter_map(|event| {
            let name = event["type"].as_str()?.strip_prefix("rota.managed-rotation.")?;
            Some((name.trim_end_matches(".v1").to_owned(), event["data"].clone()))
        });
        named.collect()
    }

    async fn head(&self) -> String {
        let path = format!("/v1/events?workspaceId={}&limit=1000", self.workspace);
        let page = self.operator().get(&path).await.expect(200).json();
        page["items"].as_array().unwrap().last().unwrap()["position"].to_string()
    }
}

/// If this fails, a power cut in the middle of a rotation locks somebody out of a database, or nobody learns of it.
#[tokio::test(flavor = "multi_thread")]
async fn intent_before_effect_under_kill_9() {
    let mut bench = Bench::new().await;
    let folder = bench.folder.path().to_owned();
    // What the client says at each step, and how many of the steps are in the ledger when it dies there.
    let alter: Word = |_| b"ALTER ROLE".to_vec();
    let ask: Word = |_| b"SELECT 1\0".to_vec();
    let end: Word = |_| b"pg_terminate_backend".to_vec();
    let log_in: Word = |user| format!("user\0{user}\0").into_bytes();
    let deaths = [
        (alter, Side::Before, 1),
        (alter, Side::After, 1),
        (log_in, Side::Before, 2),
        (ask, Side::After, 2),
        (end, Side::Before, 4),
        (end, Side::After, 4),
    ];
    for (round, (word, side, recorded)) in deaths.into_iter().enumerate() {
        let state = bench.state().await;
        let version = state["version"].as_u64().unwrap();
        let next = if state["activeSlot"] == 0 { &bench.users.second } else { &bench.users.first };
        let (word, when) = (word(next), format!("round {round}, {side:?}"));
        let (before, after) = (bench.published().await, format!("&after={}", bench.head().await));
        bench.gate.stop_at(&word, side);
        let (operator, path) = (bench.operator(), bench.path("/rotate"));
        let asked = tokio::spawn(async move {
            let body = Some(b"{}".to_vec());
            operator.send(Method::POST, &path, &[], body).await
        });
        until(&when, async || bench.gate.has_stopped()).await;
        // The event of the step before may be on its way still.
        until(&when, async || bench.events(&after).await.len() == recorded).await;
        bench.assert_published_logs_in(&format!("{when}, before the death")).await;
        drop(bench.process.take().unwrap().kill());
        assert!(asked.await.unwrap().is_err(), "{when}: nobody was answered");

        bench.process = Some(Bench::start(&folder));
        until(&format!("{when}: it is over"), async || bench.state().await["attempt"].is_null()).await;
        bench.assert_published_logs_in(&when).await;
        assert!(bench.users.lets_in(&before.0, &before.1), "{when}: the one before is the overlap");
        let state = bench.state().await;
        assert_eq!((&state["version"], &state["status"]), (&json!(version + 1), &json!("ok")), "{when}");
        // Whoever reads the history sees every step once, and that another process went on.
        let events = bench.events(&after).await;
        let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
        let mut expected =
            vec!["attempt-started", "credential-set", "verified", "promoted", "previous-retired"];
        expected.insert(recorded, "attempt-taken-over");
        assert_eq!(names, expected, "{when}");
        let set = &events.iter().find(|(name, _)| name == "credential-set").unwrap().1;
        let found = round == 1;
        assert_eq!(set["found"].as_bool().unwrap_or(false), found, "{when}: a login showed that it was set");
        let password = bench.published().await.1;
        assert!(!events.iter().any(|(_, data)| data.to_string().contains(&password)), "{when}");
    }
    let said = bench.process.take().unwrap().stop();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("going on with an unfinished rotation"), "{said}");
}
