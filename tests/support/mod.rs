//! A server in this process and callers for it. One [`Home`] is one store; it can be served, stopped and served
//! again.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::sync::{Arc, Once};

use reqwest::{Client, Method, RequestBuilder, StatusCode, header::HeaderMap};
use rota::app::clock::{Clock, ManualClock};
use rota::app::{App, Opened, OperatorKey, Options, StoreUrl};
use rota::http::{Running, ServeOptions, start};
use rota_aggregates::Timestamp;
use rota_aggregates::secret::Secret;
use serde_json::{Value, json};

/// The operator key of every test's store.
pub const OPERATOR: &str = "operator-key-of-a-test-that-is-long-enough";

static PROVIDER: Once = Once::new();

/// A store on disk, which outlives the servers on it.
pub struct Home {
    directory: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    /// Failed authentications that an address may have in a minute.
    pub failed_logins: u32,
}

/// A server on a [`Home`].
pub struct Server {
    opened: Opened,
    running: Running,
    pub client: Client,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

/// Who asks.
#[derive(Clone)]
pub enum As<'a> {
    Nobody,
    Bearer(&'a str),
    Basic(&'a str, &'a str),
}

impl Home {
    pub fn new() -> Self {
        // Another test of this process may have been first.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000)));
        Self { directory: tempfile::tempdir().unwrap(), clock, failed_logins: 1_000_000 }
    }

    pub async fn serve(&self) -> Server {
        let store = StoreUrl::Sqlite(self.directory.path().join("rota.db"));
        let clock: Arc<dyn Clock> = self.clock.clone();
        let mut options = Options::new(store, clock);
        options.operator_key = OperatorKey::Given(Secret::new(OPERATOR.to_owned()));
        let opened = App::open(options, |_, _| {}).await.unwrap();
        let mut serve = ServeOptions::new("127.0.0.1:0".parse().unwrap());
        serve.workers = Some(2);
        serve.failed_logins_per_minute = self.failed_logins;
        let running = start(opened.app.clone(), serve).await.unwrap();
        Server { opened, running, client: Client::builder().build().unwrap() }
    }
}

impl Server {
    pub fn url(&self) -> &str {
        &self.running.url
    }

    pub fn app(&self) -> &App {
        &self.opened.app
    }

    /// How many events there are.
    pub fn events(&self) -> u64 {
        self.app().head().borrow().0
    }

    pub fn request(&self, who: &As<'_>, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url()));
        match who {
            As::Nobody => request,
            As::Bearer(key) => request.bearer_auth(key),
            As::Basic(id, secret) => request.basic_auth(id, Some(secret)),
        }
    }

    pub async fn get(&self, who: &As<'_>, path: &str) -> Reply {
        send(self.request(who, Method::GET, path)).await
    }

    pub async fn delete(&self, who: &As<'_>, path: &str) -> Reply {
        send(self.request(who, Method::DELETE, path)).await
    }

    pub async fn post(&self, who: &As<'_>, path: &str, body: &Value) -> Reply {
        send(self.request(who, Method::POST, path).json(body)).await
    }

    /// Opens a workspace; its id.
    pub async fn workspace(&self, name: &str) -> String {
        let reply = self.post(&As::Bearer(OPERATOR), "/v1/workspaces", &json!({ "name": name })).await;
        reply.json()["id"].as_str().unwrap().to_owned()
    }

    /// Makes a workspace key.
    pub async fn key(&self, workspace: &str, roles: &[&str]) -> String {
        let body = json!({ "name": "test", "roles": roles, "mode": "test" });
        let path = format!("/v1/workspaces/{workspace}/keys");
        let reply = self.post(&As::Bearer(OPERATOR), &path, &body).await;
        reply.json()["key"].as_str().unwrap().to_owned()
    }

    /// Stops; the store can be served again then.
    pub async fn stop(self) {
        drop(self.client);
        self.running.stop().await;
        self.opened.close().await;
    }
}

/// Sends a request and reads the whole answer.
pub async fn send(request: RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Reply { status, headers, text: response.text().await.unwrap() }
}

/// Sends bytes that no proper client would, and reads what comes back until the connection is closed.
pub async fn raw(server: &Server, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = server.url().trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The names of an object's members, in order.
pub fn members(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}
