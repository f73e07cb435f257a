//! Somebody who is told: a real HTTP server that remembers what came.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::until;

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
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
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
    millis: AtomicU64,
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
                    let millis = shared.millis.load(Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(millis)).await;
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

    /// How long it takes to answer from now on.
    pub fn takes(&self, time: Duration) {
        self.shared.millis.store(time.as_millis() as u64, Ordering::SeqCst);
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
