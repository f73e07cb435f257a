//! Talking to a server: which one, as whom, and what its answers mean for a command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use super::error::Stop;

/// A request may take so long.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Attempts at a change that must not get lost, the first one included.
const ATTEMPTS_MAX: u32 = 8;
/// Attempts at a question.
const QUESTIONS_MAX: u32 = 3;
/// The first pause between two attempts; each further one is twice as long, up to ten times the first.
const PAUSE: Duration = Duration::from_millis(200);
/// No pause is longer, even if the server asks for it.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Which server, and as whom.
#[derive(clap::Args, Clone)]
pub struct ServerArgs {
    /// The server
    #[arg(long, env = "ROTA_URL", value_name = "URL")]
    pub url: Option<String>,
    /// The operator's or a workspace's key. Other users of this machine can read flags: prefer `ROTA_KEY`
    #[arg(long, env = "ROTA_KEY", value_name = "KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// A certificate in PEM to trust beside the public authorities, for a server with one of your own
    #[arg(long, env = "ROTA_CA_CERT", value_name = "PATH")]
    pub ca_cert: Option<PathBuf>,
}

/// A server, and who asks it.
pub struct Remote {
    client: Client,
    url: String,
    key: Zeroizing<String>,
}

impl ServerArgs {
    /// The server that was named.
    pub fn remote(self) -> Result<Remote, Stop> {
        let url = self.url.ok_or_else(|| {
            Stop::usage("which server?")
                .advise("name it with --url or in ROTA_URL, such as http://127.0.0.1:8700")
        })?;
        let key = self.key.ok_or_else(|| {
            let what = Stop::usage("as whom?");
            what.advise(
                "put the operator's or a workspace's key into ROTA_KEY (or --key, which others can see)",
            )
        })?;
        let trusted = self.ca_cert.as_deref().map(certificates).transpose()?.unwrap_or_default();
        Remote::trusting(&url, Zeroizing::new(key), trusted)
    }

    /// The server, if one was named.
    pub fn named(self) -> Result<Option<Remote>, Stop> {
        if self.url.is_some() { self.remote().map(Some) } else { Ok(None) }
    }
}

/// An answer that is no JSON, and its headers.
pub struct Raw {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What came of one attempt.
enum Attempt<T> {
    Answered(T),
    /// Nobody answered, or asked to come back: with a request that may be repeated, try again.
    Again {
        after: Option<Duration>,
        stop: Stop,
    },
    Refused(Stop),
}

impl Remote {
    /// A server by its URL.
    pub fn new(url: &str, key: Zeroizing<String>) -> Result<Self, Stop> {
        Self::trusting(url, key, Vec::new())
    }

    fn trusting(url: &str, key: Zeroizing<String>, trusted: Vec<Certificate>) -> Result<Self, Stop> {
        let parsed = reqwest::Url::parse(url).ok().filter(|u| matches!(u.scheme(), "http" | "https"));
        let Some(parsed) = parsed else {
            return Err(
                Stop::usage(format!("{url} is no URL of a server")).advise("such as http://127.0.0.1:8700")
            );
        };
        let mut client = Client::builder();
        for certificate in trusted {
            client = client.add_root_certificate(certificate);
        }
        // A proxy of the network's knows no way to this machine.
        if parsed.host_str().is_some_and(|host| host == "localhost" || is_loopback(host)) {
            client = client.no_proxy();
        }
        let client = client
            .user_agent(concat!("rota/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Stop::failed("can't talk HTTP", error))?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), key })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(self.key.as_str())
    }

    /// Asks for something. Asking changes nothing, so it is repeated when nobody answers.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Stop> {
        match self.persist(QUESTIONS_MAX, || self.request(Method::GET, path).query(query)).await {
            Attempt::Answered(raw) => self.json(&raw),
            Attempt::Again { stop, .. } | Attempt::Refused(stop) => Err(stop),
        }
    }

    /// Asks for something that is no JSON.
    pub async fn get_raw(&self, path: &str, query: &[(&str, &str)]) -> Result<Raw, Stop> {
        match self.persist(QUESTIONS_MAX, || self.request(Method::GET, path).query(query)).await {
            Attempt::Answered(raw) => Ok(raw),
            Attempt::Again { stop, .. } | Attempt::Refused(stop) => Err(stop),
        }
    }

    /// The same, or nothing where there is no such thing, or not for this caller.
    pub async fn find_raw(&self, path: &str) -> Result<Option<Raw>, Stop> {
        match self.persist(QUESTIONS_MAX, || self.request(Method::GET, path)).await {
            Attempt::Answered(raw) => Ok(Some(raw)),
            Attempt::Again { stop, .. } => Err(stop),
            Attempt::Refused(_) => Ok(None),
        }
    }

    fn json(&self, raw: &Raw) -> Result<Value, Stop> {
        serde_json::from_slice(&raw.body)
            .map_err(|_| Stop::refused(format!("{} answered something that is no JSON", self.url)))
    }

    /// Asks for a change, once: whoever repeats it has to know whether it happened.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Stop> {
        match self.attempt(self.request(Method::POST, path).json(body)).await {
            Attempt::Answered(raw) => self.json(&raw),
            Attempt::Again { stop, .. } | Attempt::Refused(stop) => Err(stop),
        }
    }

    /// Asks for something to be so. Once it is, asking again changes nothing.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, Stop> {
        match self.persist(ATTEMPTS_MAX, || self.request(Method::PUT, path).json(body)).await {
            Attempt::Answered(raw) => self.json(&raw),
            Attempt::Again { stop, .. } | Attempt::Refused(stop) => Err(stop),
        }
    }

    /// Asks for something to be taken away. It can be gone once.
    pub async fn delete(&self, path: &str) -> Result<Value, Stop> {
        match self.attempt(self.request(Method::DELETE, path)).await {
            Attempt::Answered(raw) => self.json(&raw),
            Attempt::Again { stop, .. } | Attempt::Refused(stop) => Err(stop),
        }
    }

    /// Asks for a change under an Idempotency-Key, and repeats it under the same key when the answer got lost: it
    /// happens once, and every repeat gets the first answer.
    pub async fn post_once(&self, path: &str, body: &Value, idempotency_key: &str) -> Result<Value, Stop> {
        let request =
            || self.request(Method::POST, path).header("Idempotency-Key", idempotency_key).json(body);
        match self.persist(ATTEMPTS_MAX, request).await {
            Attempt::Answered(raw) => self.json(&raw),
            Attempt::Again { stop, .. } => Err(stop.advise(format!(
                "nobody knows whether it happened: run it again with --idempotency-key {idempotency_key}"
            ))),
            Attempt::Refused(stop) => Err(stop),
        }
    }

    /// Tries until there is an answer or no attempt is left. What came of the last one.
    async fn persist(&self, attempts_max: u32, request: impl Fn() -> RequestBuilder) -> Attempt<Raw> {
        let mut pause = PAUSE;
        let mut attempts = 1;
        loop {
            match self.attempt(request()).await {
                Attempt::Again { after, .. } if attempts < attempts_max => {
                    tokio::time::sleep(after.unwrap_or(pause).min(PAUSE_MAX)).await;
                    pause = (pause * 2).min(PAUSE * 10);
                    attempts += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt(&self, request: RequestBuilder) -> Attempt<Raw> {
        let lost = |error: reqwest::Error| Attempt::Again {
            after: None,
            stop: Stop::failed(format!("no answer from {}", self.url), error.without_url())
                .advise("is the server running there? `rota doctor` looks at one on this machine"),
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return lost(error),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let body = match response.bytes().await {
            Ok(bytes) => bytes,
            Err(error) => return lost(error),
        };
        if status.is_success() {
            return Attempt::Answered(Raw { headers, body });
        }
        let after = retry_after(&headers);
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let code = problem["code"].as_str().unwrap_or_default();
        let stop = refusal(status, code, &problem);
        // A system that rota asked has refused, and that is the answer.
        let again = code != "target-failed"
            && matches!(
                status,
                StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
                    | StatusCode::TOO_MANY_REQUESTS
            );
        if again || code == "idempotency-in-progress" {
            Attempt::Again { after, stop }
        } else {
            Attempt::Refused(stop)
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Stop> {
    let pem =
        std::fs::read(path).map_err(|error| Stop::failed(format!("can't read {}", path.display()), error))?;
    Certificate::from_pem_bundle(&pem)
        .map_err(|error| Stop::failed(format!("{} holds no certificates in PEM", path.display()), error))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// A problem document as a command's error.
fn refusal(status: StatusCode, code: &str, problem: &Value) -> Stop {
    let detail = problem["detail"].as_str().or(problem["title"].as_str());
    let what = detail.map_or_else(|| format!("the server answered {status}"), str::to_owned);
    let mut what = if code.is_empty() { what } else { format!("{what} ({code})") };
    for moved in problem["moved"].as_array().into_iter().flatten() {
        let part = |name: &str| moved[name].as_str().unwrap_or("nothing");
        let (id, of) = (part("credentialId"), part("what"));
        let listed = format!("\n  {id}: {of} was {}, is {}", part("planned"), part("now"));
        what.push_str(&listed);
    }
    let stop = Stop::refused(what);
    match status {
        StatusCode::UNAUTHORIZED => stop.advise("check the key in ROTA_KEY, and that it is for this server"),
        StatusCode::FORBIDDEN => stop.advise("use a key with that right"),
        _ => stop,
    }
}
