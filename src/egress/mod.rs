//! The way out: requests to addresses that somebody else chose, such as webhooks.
//!
//! Such an address must not lead into the network that rota runs in. A URL is checked when it is given, which
//! resolves no name; and at each request the name is resolved by [`Egress`] itself, what it gives is checked,
//! and only checked addresses are connected to. So a name that is public today and private tomorrow gets
//! nobody in. Redirects are not followed and no proxy of the environment is used.

mod address;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url, redirect};
use rota_targets::{Failure, Network};

use self::address::{Reach, reach};

/// A URL has at most this many characters.
pub const URL_CHARS_MAX: usize = 2_048;

/// Why an address is not gone to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// It is none, or not of HTTP.
    #[error("must be an absolute http or https URL of visible ASCII characters")]
    NotHttp,
    /// It is too long.
    #[error("must have at most {URL_CHARS_MAX} characters")]
    TooLong,
    /// There is a user or password in it.
    #[error("must not have a user name or password in it")]
    UserInfo,
    /// There is a fragment in it.
    #[error("must not have a fragment")]
    Fragment,
    /// The port belongs to another protocol.
    #[error("must use port 80, port 443 or one above 1023")]
    Port,
    /// It is not on the public internet.
    #[error(
        "leads to an address that is not public; the operator can allow private networks with \
         ROTA_ALLOW_PRIVATE_NETWORKS=true"
    )]
    NotPublic,
}

/// Resolves names.
#[async_trait]
pub trait Names: Send + Sync + 'static {
    /// The addresses of a name.
    async fn look_up(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
pub struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn look_up(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// What may be gone to.
#[derive(Clone)]
pub struct Egress {
    names: Arc<dyn Names>,
    allow_private: bool,
}

impl Egress {
    /// The way out through the system's resolver.
    pub fn new(allow_private: bool) -> Self {
        Self { names: Arc::new(SystemNames), allow_private }
    }

    /// The same with another resolver.
    #[must_use]
    pub fn with_names(self, names: Arc<dyn Names>) -> Self {
        Self { names, ..self }
    }

    /// Whether an address may be connected to.
    pub fn allows(&self, address: IpAddr) -> bool {
        match reach(address) {
            Reach::Public => true,
            Reach::Private => self.allow_private,
            Reach::Never => false,
        }
    }

    /// Reads a URL and checks everything about it that needs no name resolved.
    pub fn check(&self, text: &str) -> Result<Url, Refused> {
        if text.len() > URL_CHARS_MAX {
            return Err(Refused::TooLong);
        }
        // A parser drops tabs and line feeds and escapes the rest: what was given must be what is gone to.
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Refused::NotHttp);
        }
        let url = Url::parse(text).map_err(|_| Refused::NotHttp)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::NotHttp);
        }
        if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
            return Err(Refused::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(Refused::Fragment);
        }
        if !matches!(url.port_or_known_default(), Some(80 | 443 | 1_024..)) {
            return Err(Refused::Port);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(Refused::NotHttp)?;
        let allowed = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => self.allows(address),
            Err(_) => self.allow_private || !is_local_name(host),
        };
        if allowed { Ok(url) } else { Err(Refused::NotPublic) }
    }

    /// The addresses of a name that may be connected to.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, NotResolved> {
        let found = self.names.look_up(name).await.map_err(NotResolved::Unknown)?;
        let allowed: Vec<_> = found.into_iter().filter(|address| self.allows(*address)).collect();
        if allowed.is_empty() { Err(NotResolved::Refused(Refused::NotPublic)) } else { Ok(allowed) }
    }

    /// A client that goes only where it may. It keeps no connection, so that every request is checked anew.
    /// A URL whose host is a number is connected to as it is: [`Egress::check`] it before each request.
    pub fn client(&self, connect: Duration, total: Duration) -> reqwest::Result<Client> {
        Client::builder()
            .dns_resolver(Arc::new(Guard(self.clone())))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .connect_timeout(connect)
            .timeout(total)
            .referer(false)
            .user_agent(concat!("rota/", env!("CARGO_PKG_VERSION")))
            .build()
    }
}

/// Targets of managed rotations are gone to by the same rule as webhooks, at any port.
#[async_trait]
impl Network for Egress {
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let bare = host.trim_matches(['[', ']']);
        if let Ok(address) = bare.parse::<IpAddr>() {
            let allowed = self.allows(address);
            return allowed
                .then(|| vec![SocketAddr::new(address, port)])
                .ok_or_else(|| Failure::refused(format!("the host {}", Refused::NotPublic)));
        }
        match Self::resolve(self, host).await {
            Ok(addresses) => Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()),
            Err(NotResolved::Refused(refused)) => Err(Failure::refused(format!("the host {refused}"))),
            Err(NotResolved::Unknown(_)) => {
                Err(Failure::unreachable("the name of the host can't be resolved"))
            }
        }
    }
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum NotResolved {
    /// The resolver has no answer.
    #[error("the name can't be resolved")]
    Unknown(#[source] std::io::Error),
    /// Every address of it is refused.
    #[error("the name {0}")]
    Refused(Refused),
}

/// What the client resolves names with.
struct Guard(Egress);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.0.clone();
        Box::pin(async move {
            let found = egress.resolve(name.as_str()).await?;
            // The client puts the URL's port in.
            let addresses: Addrs = Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

/// What stands between the scheme and the path, as it was given.
fn authority(text: &str) -> &str {
    let rest = text.split_once(':').map_or(text, |(_, rest)| rest).trim_start_matches(['/', '\\']);
    rest.split(['/', '\\', '?', '#']).next().unwrap_or_default()
}

/// Names that mean this machine wherever they are resolved (RFC 6761).
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// The first error of a kind in an error and what led to it.
pub(crate) fn find<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // An I/O error hides what is inside it from `source`.
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(found) = find(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_http_urls_pass() {
        let strict = Egress::new(false);
        for good in [
            "https://a.example/hook?x=1",
            "http://a.example:8080",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]:8443/",
            "https://localhost.example/",
        ] {
            assert!(strict.check(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", Refused::NotHttp),
            ("/hook", Refused::NotHttp),
            ("a.example", Refused::NotHttp),
            ("ftp://a.example/", Refused::NotHttp),
            ("file:///etc/passwd", Refused::NotHttp),
            ("gopher://a.example/", Refused::NotHttp),
            ("https://a.example/\r\nX: y", Refused::NotHttp),
            ("https://a.example/a b", Refused::NotHttp),
            ("https://", Refused::NotHttp),
            ("https://u@a.example/", Refused::UserInfo),
            ("https://u:p@a.example/", Refused::UserInfo),
            ("https://@a.example/", Refused::UserInfo),
            ("https://a.example/#f", Refused::Fragment),
            ("https://a.example:22/", Refused::Port),
            ("https://a.example:0/", Refused::Port),
            ("http://127.0.0.1:8080/", Refused::NotPublic),
            ("http://0x7f.1:8080/", Refused::NotPublic),
            ("http://2130706433:8080/", Refused::NotPublic),
            ("http://017700000001:8080/", Refused::NotPublic),
            ("http://[::1]:8080/", Refused::NotPublic),
            ("http://[::ffff:10.0.0.1]/", Refused::NotPublic),
            ("http://[64:ff9b::7f00:1]/", Refused::NotPublic),
            ("http://169.254.169.254/latest/meta-data", Refused::NotPublic),
            ("http://localhost:8080/", Refused::NotPublic),
            ("http://LOCALHOST./", Refused::NotPublic),
            ("http://db.localhost/", Refused::NotPublic),
        ] {
            assert_eq!(strict.check(bad).map(|url| url.to_string()), Err(why), "{bad}");
        }
        assert_eq!(strict.check(&format!("https://a/{}", "x".repeat(2_048))).err(), Some(Refused::TooLong));
        let open = Egress::new(true);
        for private in ["http://127.0.0.1:8080/", "http://[::1]:8080/", "http://localhost:8080/"] {
            assert!(open.check(private).is_ok(), "{private}");
        }
        assert_eq!(open.check("http://169.254.169.254/").err(), Some(Refused::NotPublic));
    }
}
