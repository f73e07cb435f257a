//! Somebody who is told: a real HTTP server that remembers what came, and a desk to set everything up.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;
use ring::digest::{SHA256, digest};
use rota::egress::Egress;
use serde_json::{Value, json};

use crate::support::{As, Home, OPERATOR, Server, until};

/// What came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn name(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// Whether a secret's signature is among those of Standard Webhooks.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let signed =
            format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        let expected = format!("v1,{}", STANDARD.encode(hmac_sha256(&key, signed.as_bytes())));
        self.header("webhook-signature").split(' ').any(|signature| signature == expected)
    }

    pub fn signatures(&self) -> usize {
        self.header("webhook-signature").split(' ').count()
    }
}

/// RFC 2104 by hand: the service has its own from a library.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    assert!(key.len() <= 64);
    let pad = |byte: u8| -> Vec<u8> { (0..64).map(|i| key.get(i).copied().unwrap_or(0) ^ byte).collect() };
    let inner = digest(&SHA256, &[pad(0x36), message.to_vec()].concat());
    digest(&SHA256, &[pad(0x5c), inner.as_ref().to_vec()].concat()).as_ref().to_vec()
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    status: AtomicU16,
    hangs: AtomicBool,
}

/// A server that remembers.
pub struct Receiver {
    shared: Arc<Shared>,
    pub url: String,
}

impl Receiver {
    pub fn start() -> Self {
        let shared = Arc::new(Shared { status: AtomicU16::new(204), ..Shared::default() });
        let data = web::Data::from(Arc::clone(&shared));
        let server = HttpServer::new(move || {
            App::new().app_data(data.clone()).default_service(web::to(
                async |shared: web::Data<Shared>, request: HttpRequest, body: web::Bytes| {
                    let mut headers = HeaderMap::new();
                    for (name, value) in request.headers() {
                        let name = reqwest::header::HeaderName::from_bytes(name.as_str().as_bytes()).unwrap();
                        headers.append(name, value.as_bytes().try_into().unwrap());
                    }
                    let body = String::from_utf8(body.to_vec()).unwrap();
                    shared.seen.lock().unwrap().push(Seen { headers, body });
                    if shared.hangs.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_hours(1)).await;
                    }
                    let status = StatusCode::from_u16(shared.status.load(Ordering::SeqCst)).unwrap();
                    HttpResponse::build(status).insert_header(("Location", "/elsewhere")).finish()
                },
            ))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook?token=in-the-address", server.addrs()[0]);
        tokio::spawn(server.shutdown_timeout(0).run());
        Self { shared, url }
    }

    /// What it answers from now on.
    pub fn answers(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// Whether it answers at all from now on.
    pub fn hangs(&self, hangs: bool) {
        self.shared.hangs.store(hangs, Ordering::SeqCst);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits until so many deliveries came.
    pub async fn wait(&self, count: usize) -> Vec<Seen> {
        until(&format!("{count} deliveries"), async || self.seen().len() >= count).await;
        self.seen()
    }

    /// Waits for the first delivery of a type.
    pub async fn wait_for(&self, name: &str) -> Seen {
        let find = || self.seen().into_iter().find(|seen| seen.name() == name);
        until(name, async || find().is_some()).await;
        find().unwrap()
    }
}

/// A server whose webhooks may lead to this machine, with a workspace and its keys.
pub struct Desk {
    pub home: Home,
    pub server: Server,
    pub workspace: String,
    pub key: String,
}

impl Desk {
    pub async fn new() -> Self {
        Self::with(Egress::new(true)).await
    }

    pub async fn with(egress: Egress) -> Self {
        let mut home = Home::new();
        home.egress = egress;
        let server = home.serve().await;
        let workspace = server.workspace("acme").await;
        let key = server.key(&workspace, &["admin"]).await;
        Self { home, server, workspace, key }
    }

    pub fn admin(&self) -> As<'_> {
        As::Bearer(&self.key)
    }

    /// Registers a webhook: its id and secret.
    pub async fn register(&self, body: Value) -> (String, String) {
        let reply = self.server.post(&self.admin(), "/v1/webhooks", &body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let made = reply.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&made["webhook"]["id"]), text(&made["secret"]))
    }

    /// Issues a credential: its id, public id and secret.
    pub async fn issue(&self) -> (String, String, String) {
        let body = json!({ "kind": "client", "name": "Very Private Name" });
        let made = self.server.post(&self.admin(), "/v1/credentials", &body).await.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let secrets = &made["secrets"];
        (text(&made["credential"]["id"]), text(&secrets["clientId"]), text(&secrets["clientSecret"]))
    }

    /// Rotates a credential: the new secret.
    pub async fn rotate(&self, id: &str, body: Value) -> String {
        let path = format!("/v1/credentials/{id}/rotate");
        let reply = self.server.post(&self.admin(), &path, &body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["secrets"]["clientSecret"].as_str().unwrap().to_owned()
    }

    pub async fn webhook(&self, id: &str) -> Value {
        self.server.get(&self.admin(), &format!("/v1/webhooks/{id}")).await.json()
    }

    pub async fn deliveries(&self, id: &str) -> Vec<Value> {
        let reply = self.server.get(&self.admin(), &format!("/v1/webhooks/{id}/deliveries?limit=1000")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["items"].as_array().unwrap().clone()
    }

    /// The data of the events of a type, oldest first.
    pub async fn events(&self, name: &str) -> Vec<Value> {
        let path = format!("/v1/events?type={name}&limit=1000");
        let page = self.server.get(&As::Bearer(OPERATOR), &path).await.json();
        page["items"].as_array().unwrap().iter().map(|event| event["data"].clone()).collect()
    }

    pub fn advance(&self, seconds: u64) {
        self.home.clock.advance(Duration::from_secs(seconds));
    }
}
