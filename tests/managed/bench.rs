//! A ledger on disk, the service on it, a clock that runs by itself, and one managed rotation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rota::app::clock::ManualClock;
use rota::app::managed::rotations::Changed;
use rota::app::managed::{MappedSecret, NewConnection, NewRotation, RotateManaged};
use rota::app::{App, Caller, Failure, Opened, OperatorKey, Options, Principal, StoreUrl};
use rota::egress::Egress;
use rota::http::{Running, ServeOptions, start};
use rota::log::EventLog;
use rota::sealing::MasterKey;
use rota_aggregates::authority::Dialect;
use rota_aggregates::managed_rotation::schedule::{Schedule, TimeOfDay};
use rota_aggregates::managed_rotation::{ManagedRotation, ManagedRotationEvent, Stage};
use rota_aggregates::places::GIVEN;
use rota_aggregates::secret::Secret;
use rota_aggregates::{
    ConnectionId, EnvironmentId, Event, FolderId, Position, RequestId, RotationId, Timestamp, WorkspaceId,
};
use rota_targets::{Connection, Kind, Parameters};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::double::Double;
use crate::support::{Caller as Asks, OPERATOR, Ran, rota, text};

/// The master key that replicas share.
const MASTER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What outlives a service.
pub struct Bench {
    folder: tempfile::TempDir,
    shared: Option<Arc<dyn EventLog>>,
    pub clock: Arc<ManualClock>,
    pub target: Double,
    pub workspace: WorkspaceId,
    pub rotation: RotationId,
}

/// Who asks.
pub fn operator() -> Caller {
    static ASKED: AtomicU64 = AtomicU64::new(1);
    let request = Uuid::from_u64_pair(0x0199_0000_0000_7000, ASKED.fetch_add(1, Ordering::SeqCst));
    Caller {
        principal: Principal::Operator,
        dialect: Dialect::Native,
        request: RequestId(request),
        correlation: request,
        client_address: None,
        user_agent: None,
    }
}

pub fn schedule(auto: bool, interval_days: u32) -> Schedule {
    Schedule { auto, interval_days, at: TimeOfDay { hours: 3, minutes: 30 }, window: None }
}

impl Bench {
    pub fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000)));
        Self {
            folder: tempfile::tempdir().unwrap(),
            shared: None,
            clock,
            target: Double::new(),
            workspace: WorkspaceId::default(),
            rotation: RotationId::default(),
        }
    }

    /// One whose services are replicas on a log that they share.
    pub fn on(log: Arc<dyn EventLog>) -> Self {
        Self { shared: Some(log), ..Self::new() }
    }

    pub async fn open(&self) -> Opened {
        App::open(self.options(), |_, _| ()).await.unwrap()
    }

    pub fn options(&self) -> Options {
        let store = match &self.shared {
            Some(_) => StoreUrl::Memory,
            None => StoreUrl::Sqlite(self.folder.path().join("rota.db")),
        };
        let mut options = Options::new(store, self.clock.clone());
        options.operator_key = OperatorKey::Given(Secret::new(OPERATOR.to_owned()));
        options.targets = Some(Arc::new(self.target.clone()));
        options.egress = Egress::new(true);
        if let Some(log) = &self.shared {
            options.log = Some(Arc::clone(log));
            options.master_key = Some(MasterKey::from_base64(MASTER).unwrap());
        }
        options
    }

    /// A clock that runs a hundred times as fast as the real one, so that pauses pass.
    pub fn run_clock(&self) -> Ticking {
        let clock = self.clock.clone();
        Ticking(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                clock.advance(Duration::from_secs(1));
            }
        }))
    }

    pub fn clock_now(&self) -> Timestamp {
        rota::app::clock::Clock::now(&*self.clock)
    }

    pub fn folder(&self) -> FolderId {
        EnvironmentId::given(self.workspace, GIVEN[0].0).root()
    }

    /// Opens a workspace and makes a connection in it: what a rotation needs.
    pub async fn begin(&mut self, app: &App) -> NewRotation {
        let (workspace, _) = app.open_workspace(&operator(), "acme").await.unwrap();
        self.workspace = workspace.id;
        let connection = self.connect(app, "orders", "db.example").await;
        self.described("orders-db", connection, schedule(false, 30))
    }

    /// Makes a connection to a host.
    pub async fn connect(&self, app: &App, name: &str, host: &str) -> ConnectionId {
        let credentials = json!({
            "host": host, "port": 5432, "database": "orders", "username": "rota",
            "password": "admin password", "sslEnabled": false, "sslRejectUnauthorized": false,
        });
        let connection =
            Connection::check(rota_targets::App::Postgres, "username-and-password", &credentials);
        let new = NewConnection {
            workspace: self.workspace,
            name: name.to_owned(),
            description: None,
            connection: connection.unwrap(),
        };
        app.create_connection(&operator(), new).await.unwrap().0.id
    }

    pub fn described(&self, name: &str, connection: ConnectionId, schedule: Schedule) -> NewRotation {
        let kind = Kind::PostgresCredentials;
        let users = json!({ "username1": "app_a", "username2": "app_b" });
        let mapping = [("username", "DB_USER"), ("password", "DB_PASSWORD")];
        NewRotation {
            workspace: self.workspace,
            folder: self.folder(),
            kind,
            name: name.to_owned(),
            description: Some("the orders' database".to_owned()),
            connection,
            parameters: Parameters::check(kind, &users, None).unwrap(),
            mapping: mapping.map(|(field, key)| (field.to_owned(), key.to_owned())).into(),
            schedule,
            end_sessions: false,
        }
    }

    /// A rotation with its first credential.
    pub async fn create(&mut self, app: &Arc<App>, schedule: Schedule) {
        let new = NewRotation { schedule, ..self.begin(app).await };
        self.rotation = app.create_rotation(&operator(), new, None).await.unwrap().view.id;
    }

    pub async fn rotate(&self, app: &Arc<App>) -> Result<Changed, Failure> {
        app.rotate_managed(&operator(), self.rotation, &RotateManaged::default(), None).await
    }

    /// What is published: user and password.
    pub async fn published(&self, app: &App) -> (String, String) {
        let secrets = app.mapped_secrets(&operator(), self.workspace, self.folder(), true).await.unwrap();
        let values: BTreeMap<String, MappedSecret> =
            secrets.into_iter().map(|secret| (secret.key.clone(), secret)).collect();
        let value = |key: &str| values[key].value.as_ref().unwrap().expose().to_owned();
        (value("DB_USER"), value("DB_PASSWORD"))
    }

    /// That whoever reads what is published gets in.
    pub async fn assert_published_logs_in(&self, app: &App, when: &str) {
        let (user, password) = self.published(app).await;
        assert!(self.target.accepts(&user, &password), "{when}: the published credential does not log in");
        assert!(self.target.accepts("somebody_else", "first of somebody_else"), "{when}");
    }

    pub fn state(&self, app: &App) -> ManagedRotation {
        self.find(app).unwrap()
    }

    /// The rotation, if this replica knows of it.
    pub fn find(&self, app: &App) -> Option<ManagedRotation> {
        app.tip().tip.read().live.managed_rotation(self.rotation).map(|live| live.state.clone())
    }

    /// Whether there is such a rotation still.
    pub fn stage(&self, app: &App) -> Stage {
        app.tip()
            .tip
            .read()
            .live
            .managed_rotation(self.rotation)
            .map_or(Stage::Deleted, |live| live.state.stage)
    }

    /// Waits until nothing goes on.
    pub async fn settled(&self, app: &App) -> ManagedRotation {
        let mut head = app.head();
        let settled = async {
            loop {
                let state = self.state(app);
                if state.attempt.as_ref().is_none_or(|a| a.stuck.is_some()) && state.deletion.is_none() {
                    return state;
                }
                head.changed().await.unwrap();
            }
        };
        let state = tokio::time::timeout(Duration::from_secs(30), settled).await;
        let Ok(state) = state else { panic!("it goes on for ever: {:?}", self.state(app).attempt) };
        state
    }

    /// The events of the rotation, oldest first.
    pub async fn history(&self, app: &App) -> Vec<ManagedRotationEvent> {
        let page = app.log().read(Position(0), 100_000).await.unwrap();
        rota::log::reading::decode(page)
            .filter_map(|recorded| match recorded.unwrap().record.event {
                Event::ManagedRotation(event) => Some(event),
                _ => None,
            })
            .collect()
    }
}

/// A workspace with a connection, over HTTP, and its operator.
pub struct Desk {
    opened: Opened,
    running: Running,
    pub operator: Asks,
    pub workspace: String,
    connection: String,
}

impl Desk {
    pub async fn new(bench: &mut Bench) -> Self {
        let opened = bench.open().await;
        let connection = bench.begin(&opened.app).await.connection.to_string();
        let mut serve = ServeOptions::new("127.0.0.1:0".parse().unwrap());
        serve.workers = Some(2);
        let running = start(Arc::clone(&opened.app), serve).await.unwrap();
        let operator = Asks::bearer(&running.url, OPERATOR);
        Self { opened, running, operator, workspace: bench.workspace.to_string(), connection }
    }

    /// The body that makes a rotation of this name.
    pub fn body(&self, name: &str) -> Value {
        json!({
            "workspaceId": self.workspace, "kind": "postgres-credentials", "name": name, "environment": "dev",
            "connectionId": self.connection, "description": "the orders' database",
            "parameters": { "username1": "app_a", "username2": "app_b" },
            "schedule": { "intervalDays": 30, "at": { "hours": 3, "minutes": 30 } },
        })
    }

    /// Makes a rotation of a kind that was never run on a real system.
    pub async fn make_experimental(&self) {
        let (.., admin) = self.operator.workspace_key(&self.workspace, &["admin"]).await;
        let credentials = json!({
            "domain": "acme.example", "clientId": "rota", "clientSecret": "s",
            "audience": "https://acme.example/api/v2/",
        });
        let connection = json!({ "name": "idp", "method": "client-credentials", "credentials": credentials });
        let made = admin.post("/api/v1/app-connections/auth0", connection).await.expect(200).json();
        let body = json!({
            "kind": "auth0-client-secret", "name": "portal", "environment": "dev",
            "connectionId": made["appConnection"]["id"], "parameters": { "clientId": "portal" },
            "schedule": { "intervalDays": 30 },
        });
        admin.post("/v1/managed-rotations", body).await.expect(201);
    }

    /// Runs a verb of `rota rotations`.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = rota(std::path::Path::new("/"));
        command.arg("rotations").args(arguments);
        command.env("ROTA_URL", &self.running.url).env("ROTA_KEY", OPERATOR);
        command.output().unwrap().into()
    }

    /// User and password that are published under these names.
    pub async fn published(&self, bench: &Bench, user: &str, password: &str) -> (String, String) {
        let app = &self.opened.app;
        let secrets = app.mapped_secrets(&operator(), bench.workspace, bench.folder(), true).await.unwrap();
        let value = |key: &str| {
            let secret = secrets.iter().find(|secret| secret.key == key).unwrap();
            secret.value.as_ref().unwrap().expose().to_owned()
        };
        (value(user), value(password))
    }

    /// How many notices of a type wait for their time.
    pub async fn waiting(&self, name: &str) -> usize {
        let path = format!("/v1/webhooks?workspaceId={}", self.workspace);
        let hooks = self.operator.get(&path).await.expect(200).json();
        let path =
            format!("/v1/webhooks/{}/deliveries?state=waiting&limit=1000", text(&hooks["items"][0]["id"]));
        let waiting = self.operator.get(&path).await.expect(200).json();
        waiting["items"].as_array().unwrap().iter().filter(|delivery| delivery["type"] == name).count()
    }

    pub async fn close(self) {
        drop(self.operator);
        self.running.stop().await;
        self.opened.close().await;
    }
}

/// A clock that runs until this is dropped.
pub struct Ticking(tokio::task::JoinHandle<()>);

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.abort();
    }
}
