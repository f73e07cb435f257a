//! The query protocol of IAM and STS: an action with parameters as a signed form, an answer in XML.

use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, HOST, HeaderName};
use reqwest::{Method, Url};
use roxmltree::{Document, Node};

use super::signature::{self, Scope};
use crate::failure::Failure;
use crate::rest::{Answer, Effect, Request, Rest, form, is_code};
use crate::surroundings::{AwsKey, Clock};
use crate::target::Network;

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SESSION: HeaderName = HeaderName::from_static("x-amz-security-token");

/// One of the two services, at its address.
pub(super) struct Service {
    rest: Rest,
    url: Url,
    /// `host`, or `host:port` where the port is not the scheme's own, as the header has it.
    host: String,
    region: String,
    name: &'static str,
    version: &'static str,
    clock: Arc<dyn Clock>,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Action<'a> {
    pub(super) name: &'static str,
    pub(super) parameters: &'a [(&'a str, &'a str)],
    pub(super) effect: Effect,
    /// As in "to list the keys".
    pub(super) purpose: &'static str,
}

/// What a service answers to a request that it understood and did not obey.
#[derive(Debug)]
pub(super) struct Refusal {
    /// AWS' name of it, such as `AccessDenied`; empty where there is none.
    pub(super) code: String,
    pub(super) failure: Failure,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.failure
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { code: String::new(), failure }
    }
}

impl Service {
    pub(super) fn iam(
        address: &str,
        region: &str,
        network: &Arc<dyn Network>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        Self::new("AWS IAM", "iam", "2010-05-08", address, region, network, clock)
    }

    pub(super) fn sts(
        address: &str,
        region: &str,
        network: &Arc<dyn Network>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        Self::new("AWS STS", "sts", "2011-06-15", address, region, network, clock)
    }

    fn new(
        vendor: &'static str,
        name: &'static str,
        version: &'static str,
        address: &str,
        region: &str,
        network: &Arc<dyn Network>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let bad = |_| Failure::refused(format!("the address of {vendor} is not a URL"));
        let url = Url::parse(address).map_err(bad)?;
        let mut host = url.host_str().unwrap_or_default().to_owned();
        if let Some(port) = url.port() {
            host = format!("{host}:{port}");
        }
        let rest = Rest::new(vendor, Arc::clone(network));
        Ok(Self { rest, url, host, region: region.to_owned(), name, version, clock: Arc::clone(clock) })
    }

    /// Asks with this key.
    pub(super) async fn ask(&self, key: &AwsKey, action: Action<'_>) -> Result<Reply, Refusal> {
        let mut fields = vec![("Action", action.name), ("Version", self.version)];
        fields.extend_from_slice(action.parameters);
        let body = form(&fields);
        let scope = Scope { region: &self.region, service: self.name };
        let signed = signature::sign(key, scope, &self.host, &body, self.clock.now());
        let mut request = Request::new(Method::POST, self.url.clone(), action.effect, action.purpose)
            .body(signature::CONTENT_TYPE, body)
            .header(HOST, &self.host)?
            .header(DATE, &signed.date)?
            .header(AUTHORIZATION, &signed.authorization)?;
        if let Some(session) = &key.session {
            request = request.header(SESSION, session.expose())?;
        }
        let answer = self.rest.ask(request).await?;
        let text = std::str::from_utf8(answer.body()).unwrap_or_default();
        if answer.ok() {
            // What can't be parsed is of no use, whatever it was.
            Document::parse(text).map_err(|_| self.rest.not_understood(action.effect, action.purpose))?;
            return Ok(Reply { text: zeroize::Zeroizing::new(text.to_owned()) });
        }
        let code = Document::parse(text).ok().and_then(|xml| value(xml.root(), "Code").map(str::to_owned));
        let code = code.filter(|code| is_code(code)).unwrap_or_default();
        let failure = self.failure(&answer, action, &code);
        Err(Refusal { code, failure })
    }

    fn failure(&self, answer: &Answer, action: Action<'_>, code: &str) -> Failure {
        let vendor = self.rest.vendor();
        let Action { name, purpose, effect, .. } = action;
        let named = |advice: &str| format!("{vendor} refuses a request {purpose} ({code}): {advice}");
        match code {
            "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequestsException" => {
                Failure::unreachable(named("it has had too many requests"))
            }
            // Another change of the same user is under way.
            "EntityTemporarilyUnmodifiable" | "ConcurrentModification" => {
                Failure::unreachable(named("the user is being changed by somebody else"))
            }
            "AccessDenied" => {
                Failure::refused(named(&format!("allow the connection {}:{name} on this user", self.name)))
            }
            "InvalidClientTokenId" => {
                Failure::refused(named("the connection's access key does not exist or is inactive"))
            }
            "SignatureDoesNotMatch" => Failure::refused(named(
                "the connection's secret access key is wrong, or this machine's clock is",
            )),
            "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
                Failure::unreachable(named("the session or this machine's clock is too old"))
            }
            "NoSuchEntity" => Failure::refused(named("there is no such user or key")),
            "" => self.rest.failure(answer, effect, purpose),
            _ => self.rest.failure_with(answer, effect, purpose, Some(code)),
        }
    }

    /// An answer in which something is missing.
    pub(super) fn not_understood(&self, action: Action<'_>) -> Failure {
        self.rest.not_understood(action.effect, action.purpose)
    }
}

/// A successful answer.
pub(super) struct Reply {
    text: zeroize::Zeroizing<String>,
}

impl Reply {
    /// The text of the first element of this name.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let xml = Document::parse(&self.text).ok()?;
        value(xml.root(), name).map(str::to_owned)
    }

    /// For each element of this name, the texts of those inside it.
    pub(super) fn each<const N: usize>(&self, name: &str, inside: [&str; N]) -> Vec<[Option<String>; N]> {
        let Ok(xml) = Document::parse(&self.text) else { return Vec::new() };
        let elements = xml.descendants().filter(|node| node.tag_name().name() == name);
        elements.map(|node| inside.map(|name| value(node, name).map(str::to_owned))).collect()
    }
}

fn value<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.descendants().find(|node| node.tag_name().name() == name)?.text()
}
