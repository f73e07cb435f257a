//! The service inside the test's own process, with a clock that the test turns. One [`Home`] is one store; it can be
//! served, stopped and served again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use rota::app::clock::ManualClock;
use rota::app::{App, Opened, OperatorKey, Options, StoreUrl};
use rota::egress::Egress;
use rota::http::fluide::TokenAnswer;
use rota::http::{Running, ServeOptions, start};
use rota_aggregates::Timestamp;
use rota_aggregates::secret::Secret;
use serde_json::Value;

use super::OPERATOR;
use super::client::{As, Caller, Reply, send};

/// A store on disk, which outlives the servers on it.
pub struct Home {
    pub folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    /// Failed authentications that an address may have in a minute.
    pub failed_logins: u32,
    /// Where requests to others' addresses may go.
    pub egress: Egress,
    /// How Fluide's token exchange answers.
    pub token_answer: TokenAnswer,
    /// Whether it is recorded who reads of the ledger.
    pub record_reads: bool,
}

/// A server on a [`Home`].
pub struct Server {
    opened: Opened,
    running: Running,
    nobody: Caller,
}

impl Home {
    /// An empty one, on 2027-01-15 at 8 o'clock.
    pub fn new() -> Self {
        Self::at(Timestamp::from_micros(1_800_000_000_000_000))
    }

    /// An empty one, at this time.
    pub fn at(time: Timestamp) -> Self {
        // The first to come installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Arc::new(ManualClock::new(time));
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock,
            failed_logins: 1_000_000,
            egress: Egress::new(false),
            token_answer: TokenAnswer::Flat,
            record_reads: false,
        }
    }

    /// The database file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("rota.db")
    }

    pub async fn serve(&self) -> Server {
        let mut options = Options::new(StoreUrl::Sqlite(self.path()), self.clock.clone());
        options.operator_key = OperatorKey::Given(Secret::new(OPERATOR.to_owned()));
        options.egress = self.egress.clone();
        options.record_reads = self.record_reads;
        let opened = App::open(options, |_, _| ()).await.unwrap();
        let mut serve = ServeOptions::new("127.0.0.1:0".parse().unwrap());
        serve.workers = Some(2);
        serve.failed_logins_per_minute = self.failed_logins;
        serve.fluide_token_answer = self.token_answer;
        let running = start(Arc::clone(&opened.app), serve).await.unwrap();
        let nobody = Caller::nobody(&running.url);
        Server { opened, running, nobody }
    }
}

impl Server {
    pub fn url(&self) -> &str {
        &self.running.url
    }

    /// The service below HTTP.
    pub fn app(&self) -> &Arc<App> {
        &self.opened.app
    }

    /// How many events there are.
    pub fn events(&self) -> u64 {
        self.app().head().borrow().0
    }

    /// Somebody who asks this server.
    pub fn caller(&self, who: &As<'_>) -> Caller {
        self.nobody.with(who)
    }

    pub fn operator(&self) -> Caller {
        self.caller(&As::Bearer(OPERATOR))
    }

    pub fn request(&self, who: &As<'_>, method: Method, path: &str) -> RequestBuilder {
        self.caller(who).request(method, path)
    }

    pub async fn get(&self, who: &As<'_>, path: &str) -> Reply {
        send(self.request(who, Method::GET, path)).await
    }

    pub async fn delete(&self, who: &As<'_>, path: &str) -> Reply {
        send(self.request(who, Method::DELETE, path)).await
    }

    pub async fn patch(&self, who: &As<'_>, path: &str, body: &Value) -> Reply {
        send(self.request(who, Method::PATCH, path).json(body)).await
    }

    pub async fn post(&self, who: &As<'_>, path: &str, body: &Value) -> Reply {
        send(self.request(who, Method::POST, path).json(body)).await
    }

    /// Opens a workspace; its id.
    pub async fn workspace(&self, name: &str) -> String {
        self.operator().open_workspace(name).await
    }

    /// Makes a workspace key.
    pub async fn key(&self, workspace: &str, roles: &[&str]) -> String {
        self.operator().workspace_key(workspace, roles).await.1
    }

    /// Sends bytes that no proper client would, and reads what comes back until the connection is closed.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let address = self.url().trim_start_matches("http://");
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Stops; the store can be served again then.
    pub async fn stop(self) {
        drop(self.nobody);
        self.running.stop().await;
        self.opened.close().await;
    }
}

/// A home that is served, and its operator.
pub struct Service {
    pub home: Home,
    pub clock: Arc<ManualClock>,
    pub operator: Caller,
    server: Option<Server>,
}

impl Service {
    /// Starts one at the beginning of 2027, with the limits of a real one.
    pub async fn start() -> Self {
        let mut home = Home::at("2027-01-01T00:00:00Z".parse().unwrap());
        home.failed_logins = ServeOptions::new("127.0.0.1:0".parse().unwrap()).failed_logins_per_minute;
        let server = home.serve().await;
        let (clock, operator) = (Arc::clone(&home.clock), server.operator());
        Self { home, clock, operator, server: Some(server) }
    }

    /// The database file.
    pub fn path(&self) -> PathBuf {
        self.home.path()
    }

    /// The service below HTTP.
    pub fn app(&self) -> &Arc<App> {
        self.server.as_ref().unwrap().app()
    }

    /// Stops it, lets `meanwhile` happen, and starts it again on the same files.
    pub async fn restart(&mut self, meanwhile: impl FnOnce(&Self)) {
        self.server.take().unwrap().stop().await;
        meanwhile(self);
        let server = self.home.serve().await;
        self.operator = server.operator();
        self.server = Some(server);
    }

    /// Stops, lets something happen to the files, and serves them again.
    pub async fn restart_async(&mut self, meanwhile: impl AsyncFnOnce()) {
        self.server.take().unwrap().stop().await;
        meanwhile().await;
        let server = self.home.serve().await;
        self.operator = server.operator();
        self.server = Some(server);
    }

    /// Waits until a condition holds; fails after half a minute.
    pub async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
        let wait = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the condition comes to hold");
    }
}

/// Waits until a condition holds; fails after half a minute.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let held = tokio::time::timeout(Duration::from_secs(30), wait).await;
    assert!(held.is_ok(), "it does not come to hold: {what}");
}
