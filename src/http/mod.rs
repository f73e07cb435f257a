//! HTTP: the ways in over the network. What all dialects share is here; each dialect has a folder that knows
//! its wire shapes and no rules.
//!
//! A handler authenticates, reads a request into a command or question, calls one function of [`crate::app`]
//! and maps what comes of it. A handler with an `if` about the domain is in the wrong room.

mod answer;
mod auth;
mod body;
mod edge;
pub mod fluide;
mod health;
mod hopae;
mod infisical;
mod jwks;
mod limiter;
mod native;
pub mod problem;
mod receipt;
mod request;
mod spritz;
mod tls;
pub mod witness;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App as HttpApp, HttpServer, web};
use metrics_exporter_prometheus::PrometheusHandle;
use rota_aggregates::CredentialId;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::fluide::TokenAnswer;
use self::limiter::Limiter;
pub use self::native::{credential_document, policy_document};
use self::request::RequestIds;
use crate::app::idempotency::Idempotency;
use crate::app::{App, Failure};

/// A request body has at most this many bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1_024;
/// A stopping server waits so long for requests that it has accepted.
const STOP_SECONDS: u64 = 30;

/// The Idempotency-Key of a request, if it has one. A repeat must have method, path and body in common.
fn idempotency(request: &request::Request, body: &[u8]) -> Result<Option<Idempotency>, Failure> {
    let mut headers = request.http.headers().get_all("idempotency-key");
    let Some(header) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
        return Err(Failure::invalid("Idempotency-Key", "must be given once"));
    }
    let method = request.http.method().as_str().as_bytes();
    let path = request.http.uri().path().as_bytes();
    Idempotency::new(header.as_bytes(), &[method, path, body]).map(Some)
}

/// Certificate and key in PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// TLS, if rota itself is to speak it.
    pub tls: Option<TlsFiles>,
    /// Worker threads; `None` for one a core.
    pub workers: Option<usize>,
    /// Failed authentications that one address may have in a minute.
    pub failed_logins_per_minute: u32,
    /// Whether a proxy in front sets `X-Forwarded-For`, so that it can be believed.
    pub trust_forwarded_for: bool,
    /// How Fluide's token exchange answers.
    pub fluide_token_answer: TokenAnswer,
}

impl ServeOptions {
    /// The defaults for an address.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            workers: None,
            failed_logins_per_minute: 100,
            trust_forwarded_for: false,
            fluide_token_answer: TokenAnswer::Flat,
        }
    }
}

/// What handlers share.
pub(crate) struct Server {
    pub(crate) app: Arc<App>,
    limiter: Limiter<IpAddr>,
    /// By integrator.
    exchanges: Limiter<CredentialId>,
    ids: RequestIds,
    metrics: PrometheusHandle,
    trust_forwarded_for: bool,
    fluide_token_answer: TokenAnswer,
    stopping: watch::Receiver<bool>,
}

/// A server that is running.
pub struct Running {
    /// Where it is, such as `http://127.0.0.1:8700`.
    pub url: String,
    handle: ServerHandle,
    task: JoinHandle<std::io::Result<()>>,
    stopping: watch::Sender<bool>,
}

impl Running {
    /// Stops: accepts nothing more, ends what goes on for ever, finishes what was accepted.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        self.handle.stop(true).await;
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the server ended badly"),
            Err(error) => tracing::error!(%error, "the server's task ended badly"),
        }
    }
}

/// Starts serving.
#[expect(clippy::unused_async, reason = "it spawns, and so can only be called on a runtime")]
pub async fn start(app: Arc<App>, options: ServeOptions) -> std::io::Result<Running> {
    let (stopping, watched) = watch::channel(false);
    let server = web::Data::new(Server {
        app,
        limiter: Limiter::new(options.failed_logins_per_minute),
        exchanges: Limiter::new(spritz::EXCHANGES_PER_MINUTE),
        ids: RequestIds::new()?,
        metrics: crate::telemetry::metrics(),
        trust_forwarded_for: options.trust_forwarded_for,
        fluide_token_answer: options.fluide_token_answer,
        stopping: watched,
    });
    let mut http = HttpServer::new(move || {
        HttpApp::new()
            .app_data(server.clone())
            .wrap(from_fn(receipt::attach))
            .configure(health::routes)
            .configure(jwks::routes)
            .configure(hopae::routes)
            .configure(spritz::routes)
            .configure(fluide::routes)
            .configure(edge::routes)
            .configure(native::routes)
            .configure(infisical::routes)
            .default_service(web::to(native::not_found))
    })
    .disable_signals()
    .client_request_timeout(Duration::from_secs(10))
    .keep_alive(Duration::from_secs(75))
    .shutdown_timeout(STOP_SECONDS);
    if let Some(workers) = options.workers {
        http = http.workers(workers);
    }
    let (http, scheme) = match &options.tls {
        Some(files) => (http.bind_rustls_0_23(options.listen, tls::config(files)?)?, "https"),
        None => (http.bind(options.listen)?, "http"),
    };
    let address = http.addrs().first().copied().unwrap_or(options.listen);
    let running = http.run();
    let handle = running.handle();
    Ok(Running { url: format!("{scheme}://{address}"), handle, task: tokio::spawn(running), stopping })
}
