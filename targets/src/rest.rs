//! What the targets share that are spoken to over HTTP: one request, its answer, and what a failure says about
//! whether anything changed.
//!
//! Names are resolved by [`Network`] alone and for every request anew; no proxy of the environment is used and no
//! redirect followed. An answer's body never gets into an error: of it only the vendor's own error code is told.

mod token;

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Url, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::target::Network;

pub(crate) use token::{Tokens, client_credentials};

const CONNECT: Duration = Duration::from_secs(10);
/// From the first byte of the request to the last of the answer.
const TOTAL: Duration = Duration::from_secs(20);
/// More than any answer of use has.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How often a request is sent at most, where nothing can have come of the one before.
const ATTEMPTS: u32 = 3;
/// Whoever wants to be left alone for longer is left alone by whoever asked for the step.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The longest `Retry-After` that is passed on.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// What is left in doubt when a request's answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: it only reads.
    Reads,
    /// Whether it happened.
    Changes,
}

/// One request.
pub(crate) struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Zeroizing<Vec<u8>>>,
    effect: Effect,
    /// For people: what it is for, as in "to list the secrets".
    purpose: &'static str,
}

impl Request {
    pub(crate) fn new(method: Method, url: Url, effect: Effect, purpose: &'static str) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None, effect, purpose }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Failure> {
        let value = HeaderValue::from_str(value);
        let mut value =
            value.map_err(|_| Failure::refused(format!("{name} can't hold what is configured")))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    pub(crate) fn body(mut self, content_type: &'static str, body: Vec<u8>) -> Self {
        self.headers.insert(reqwest::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = Some(Zeroizing::new(body));
        self
    }

    pub(crate) fn json<T: Serialize>(self, body: &T) -> Self {
        let body = serde_json::to_vec(body).expect("what is sent has string keys only");
        self.body("application/json", body)
    }

    pub(crate) fn form(self, fields: &[(&str, &str)]) -> Self {
        self.body("application/x-www-form-urlencoded", form(fields))
    }
}

/// Fields as forms write them.
pub(crate) fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::with_capacity(1_024);
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        encode(&mut text, name);
        text.push('=');
        encode(&mut text, value);
    }
    text.into_bytes()
}

/// Everything but the unreserved characters of RFC 3986 as `%XX`, as signatures and forms alike understand it.
fn encode(text: &mut String, part: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(crate) fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Its body, read. What can't be read is told without being quoted.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The vendor's name of the error, wherever it keeps it, if it is a name at all.
    pub(crate) fn code(&self) -> Option<String> {
        let body: Value = self.read()?;
        let code = [&body["error"]["code"], &body["errorCode"], &body["error_code"], &body["error"]]
            .into_iter()
            .find_map(Value::as_str)?;
        is_code(code).then(|| code.to_owned())
    }
}

/// Whether a text can be told as an error's name: it then is too short and too plain to carry anything else.
pub(crate) fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// A vendor's API.
pub(crate) struct Rest {
    vendor: &'static str,
    network: Arc<dyn Network>,
}

impl Rest {
    pub(crate) fn new(vendor: &'static str, network: Arc<dyn Network>) -> Self {
        Self { vendor, network }
    }

    pub(crate) fn vendor(&self) -> &'static str {
        self.vendor
    }

    /// Asks, and asks again after a short pause where the vendor is busy and nothing can have come of it. An answer
    /// that is no success is the caller's to read.
    pub(crate) async fn ask(&self, request: Request) -> Result<Answer, Failure> {
        let client = self.client(&request.url).await?;
        let mut pause = Duration::from_millis(250);
        for attempt in 1.. {
            let answer = self.ask_once(&client, &request).await?;
            let again = match answer.status {
                429 => true,
                408 | 500..=599 => request.effect == Effect::Reads,
                _ => false,
            };
            let wait = answer.retry_after.unwrap_or(pause);
            if !again || attempt == ATTEMPTS || wait > WAIT_MAX {
                return Ok(answer);
            }
            tokio::time::sleep(wait).await;
            pause *= 3;
        }
        unreachable!("the last attempt returns")
    }

    /// The same, where anything but a success is a failure.
    pub(crate) async fn done(&self, request: Request) -> Result<Answer, Failure> {
        let (effect, purpose) = (request.effect, request.purpose);
        let answer = self.ask(request).await?;
        if answer.ok() { Ok(answer) } else { Err(self.failure(&answer, effect, purpose)) }
    }

    /// The same, and its body read.
    pub(crate) async fn read<T: DeserializeOwned>(&self, request: Request) -> Result<T, Failure> {
        let (effect, purpose) = (request.effect, request.purpose);
        let answer = self.done(request).await?;
        answer.read().ok_or_else(|| self.not_understood(effect, purpose))
    }

    /// An answer that has not the form that the vendor documents.
    pub(crate) fn not_understood(&self, effect: Effect, purpose: &str) -> Failure {
        let text = format!("{} gave an answer {purpose} that can't be understood", self.vendor);
        match effect {
            Effect::Reads => Failure::refused(text),
            Effect::Changes => Failure::unclear(text),
        }
    }

    /// What an answer without success means.
    pub(crate) fn failure(&self, answer: &Answer, effect: Effect, purpose: &str) -> Failure {
        let code = answer.code();
        self.failure_with(answer, effect, purpose, code.as_deref())
    }

    /// The same, where the error's name was found otherwise.
    pub(crate) fn failure_with(
        &self,
        answer: &Answer,
        effect: Effect,
        purpose: &str,
        code: Option<&str>,
    ) -> Failure {
        let Self { vendor, .. } = self;
        let status = answer.status;
        let code = code.map_or_else(String::new, |code| format!(", {code}"));
        let text = match status {
            429 => format!("{vendor} has had too many requests and refuses one {purpose} (429{code})"),
            401 => format!("{vendor} does not accept the connection's credentials {purpose} (401{code})"),
            403 => format!("{vendor} does not allow the connection {purpose} (403{code})"),
            300..=399 => format!(
                "{vendor} answers a request {purpose} with a redirect ({status}): is the address right?"
            ),
            500..=599 => format!("{vendor} failed at a request {purpose} ({status}{code})"),
            _ => format!("{vendor} refuses a request {purpose} ({status}{code})"),
        };
        let failure = match status {
            408 | 500..=599 if effect == Effect::Changes => Failure::unclear(text),
            408 | 429 | 500..=599 => Failure::unreachable(text),
            _ => Failure::refused(text),
        };
        match answer.retry_after {
            Some(wait) => failure.after(wait),
            None => failure,
        }
    }

    /// A client that reaches this address and nothing else.
    async fn client(&self, url: &Url) -> Result<Client, Failure> {
        let vendor = self.vendor;
        let bad = || Failure::refused(format!("the address of {vendor} is none that can be reached"));
        let host = url.host_str().ok_or_else(bad)?.trim_matches(['[', ']']);
        let port = url.port_or_known_default().ok_or_else(bad)?;
        check_scheme(url).map_err(|why| Failure::refused(format!("the address of {vendor} {why}")))?;
        let addresses = self.network.resolve(host, port).await?;
        if let Ok(ip) = host.parse::<IpAddr>() {
            // Numbers are never asked of a resolver.
            if !addresses.iter().any(|address| address.ip() == ip) {
                return Err(bad());
            }
        }
        Client::builder()
            .resolve_to_addrs(host, &addresses)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT)
            .timeout(TOTAL)
            .referer(false)
            .user_agent(concat!("rota/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| Failure::refused("no TLS client can be set up here"))
    }

    async fn ask_once(&self, client: &Client, request: &Request) -> Result<Answer, Failure> {
        let lost = |error: &reqwest::Error| {
            let Self { vendor, .. } = self;
            let (why, purpose) = (trouble(error), request.purpose);
            if error.is_connect() {
                return Failure::unreachable(format!("{vendor} can't be reached {purpose}: {why}"));
            }
            match request.effect {
                Effect::Reads => {
                    Failure::unreachable(format!("{vendor} gave no answer to a request {purpose}: {why}"))
                }
                Effect::Changes => Failure::unclear(format!(
                    "{vendor} gave no answer to a request {purpose}, which may have been obeyed: {why}"
                )),
            }
        };
        let mut sent = client.request(request.method.clone(), request.url.clone());
        sent = sent.headers(request.headers.clone());
        if let Some(body) = &request.body {
            sent = sent.body(body.to_vec());
        }
        let mut response = sent.send().await.map_err(|error| lost(&error))?;
        let retry_after = retry_after(response.headers());
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| lost(&error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.not_understood(request.effect, request.purpose));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: response.status().as_u16(), retry_after, body })
    }
}

/// Credentials go over TLS, or stay on this machine.
pub(crate) fn check_scheme(url: &Url) -> Result<(), &'static str> {
    let here = url
        .host_str()
        .and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok())
        .is_some_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => Ok(()),
        "http" if here => Ok(()),
        _ => Err("must begin with https://"),
    }
}

/// A base address with a path below it, whose parts can hold anything.
pub(crate) fn below(base: &Url, parts: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}

/// Whole seconds; a date is not looked at, since that takes a clock which agrees with the vendor's.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// Why there is no answer, without an address or a header in it.
fn trouble(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return format!("TLS: {tls}");
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            match io.get_ref() {
                Some(inner) if inner.is::<rustls::Error>() => return format!("TLS: {inner}"),
                _ if io.kind() != std::io::ErrorKind::Other => return io.kind().to_string(),
                _ => {}
            }
        }
        cause = error.source();
    }
    "the connection broke".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_escape_everything_that_means_something() {
        let body = form(&[("a b", "x&y=z+1/ü~"), ("n", "")]);
        assert_eq!(body, b"a%20b=x%26y%3Dz%2B1%2F%C3%BC~&n=");
    }

    #[test]
    fn parts_of_a_path_stay_parts() {
        let base = "https://a.example/x/".parse().unwrap();
        let url = below(&base, &["api", "..", "a/b?c#d", "e"]);
        assert!(url.as_str().starts_with("https://a.example/x/api/"), "{url}");
        assert!(url.as_str().ends_with("/a%2Fb%3Fc%23d/e"), "{url}");
    }

    #[test]
    fn secrets_go_over_tls_or_stay_here() {
        for (url, good) in [
            ("https://a.example", true),
            ("http://127.0.0.1:80", true),
            ("http://[::1]:80", true),
            ("http://a.example", false),
            ("http://localhost", false),
            ("http://10.0.0.1", false),
            ("ftp://a.example", false),
        ] {
            assert_eq!(check_scheme(&url.parse().unwrap()).is_ok(), good, "{url}");
        }
    }

    #[test]
    fn only_names_of_errors_are_told() {
        let answer = |body: &str| Answer {
            status: 400,
            retry_after: None,
            body: Zeroizing::new(body.as_bytes().to_vec()),
        };
        for (body, code) in [
            (r#"{"error":"invalid_client","error_description":"x"}"#, Some("invalid_client")),
            (r#"{"error":{"code":"Request_ResourceNotFound"}}"#, Some("Request_ResourceNotFound")),
            (r#"{"errorCode":"E0000001"}"#, Some("E0000001")),
            (r#"{"error_code":"RESOURCE_DOES_NOT_EXIST"}"#, Some("RESOURCE_DOES_NOT_EXIST")),
            (r#"{"error":"the secret hunter2 is bad"}"#, None),
            (r#"{"error":""}"#, None),
            (r#"["x"]"#, None),
            ("<html>", None),
        ] {
            assert_eq!(answer(body).code().as_deref(), code, "{body}");
        }
    }

    #[test]
    fn a_lost_answer_to_a_change_leaves_doubt_and_a_busy_vendor_does_not() {
        struct Nowhere;
        #[async_trait::async_trait]
        impl Network for Nowhere {
            async fn resolve(&self, _: &str, _: u16) -> Result<Vec<std::net::SocketAddr>, Failure> {
                Err(Failure::unreachable("nowhere"))
            }
        }
        use crate::failure::Certainty::{Unchanged, Unclear};
        let rest = Rest::new("Vendor", Arc::new(Nowhere));
        for (status, effect, certainty, may_pass) in [
            (429, Effect::Changes, Unchanged, true),
            (500, Effect::Changes, Unclear, true),
            (503, Effect::Reads, Unchanged, true),
            (408, Effect::Changes, Unclear, true),
            (403, Effect::Changes, Unchanged, false),
            (302, Effect::Changes, Unchanged, false),
        ] {
            let wait = Some(Duration::from_secs(7));
            let answer = Answer { status, retry_after: wait, body: Zeroizing::default() };
            let failure = rest.failure(&answer, effect, "to test");
            assert_eq!((failure.certainty, failure.may_pass), (certainty, may_pass), "{status}");
            assert_eq!(failure.retry_after, wait);
        }
    }
}
