//! What `esdb://…` names: a cluster, and a ledger in it.

use std::fmt;
use std::str::FromStr;

use eventstore::{ClientSettings, NodePreference};

/// The longest name of a ledger.
const NAME_CHARS_MAX: usize = 40;

/// `esdb://HOST:PORT[,HOST:PORT…][?…]` or `esdb+discover://…`, as EventStoreDB's clients take it, and with
/// `ledger=NAME` among its parameters. It may hold a password: neither `Debug` nor an error shows it.
#[derive(Clone)]
pub struct EsdbUrl {
    text: String,
    ledger: String,
    settings: Box<ClientSettings>,
}

impl EsdbUrl {
    /// How the client reaches the cluster.
    pub(super) fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// The ledger's name: what its streams begin with.
    pub fn ledger(&self) -> &str {
        &self.ledger
    }

    /// The nodes, for people.
    pub fn nodes(&self) -> String {
        let nodes: Vec<_> = self.settings.hosts().iter().map(|n| format!("{}:{}", n.host, n.port)).collect();
        nodes.join(",")
    }
}

impl FromStr for EsdbUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "an EventStoreDB store is named esdb://HOST:PORT, such as \
                             esdb://node1:2113,node2:2113,node3:2113?ledger=rota";
        if !text.starts_with("esdb://") && !text.starts_with("esdb+discover://") {
            return Err(SHAPE.to_owned());
        }
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let mut ledger = "rota".to_owned();
        let mut kept = Vec::new();
        let mut paced = false;
        for parameter in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.to_ascii_lowercase().as_str() {
                "ledger" => value.clone_into(&mut ledger),
                name => {
                    paced |= name == "discoveryinterval";
                    kept.push(parameter);
                }
            }
        }
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if ledger.is_empty() || ledger.len() > NAME_CHARS_MAX || !ledger.chars().all(fits) {
            return Err(format!(
                "ledger= names the ledger in the cluster, with a-z, 0-9 and _, {NAME_CHARS_MAX} at most"
            ));
        }
        // The client waits this long before each attempt to connect, the first one included.
        if !paced {
            kept.push("discoveryInterval=100");
        }
        // The client's own errors quote the whole URL, password and all.
        let settings = format!("{address}?{}", kept.join("&")).parse::<ClientSettings>();
        let settings = settings.map_err(|_| format!("this is not an EventStoreDB URL: {SHAPE}"))?;
        if settings.node_preference() != NodePreference::Leader {
            return Err(
                "rota reads from the leader, which alone knows the tip: leave nodePreference out".to_owned()
            );
        }
        Ok(Self { text: text.to_owned(), ledger, settings: Box::new(settings) })
    }
}

impl PartialEq for EsdbUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for EsdbUrl {}

/// The cluster and the ledger in it, and nothing secret.
impl fmt::Display for EsdbUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "esdb://{}?ledger={}", self.nodes(), self.ledger)
    }
}

impl fmt::Debug for EsdbUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EsdbUrl({}, ledger {})", self.nodes(), self.ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::EsdbUrl;

    #[test]
    fn a_ledger_can_be_named() {
        let url: EsdbUrl = "esdb://a:1,b:2?tls=false&ledger=acme_7".parse().unwrap();
        assert_eq!((url.ledger(), url.nodes().as_str()), ("acme_7", "a:1,b:2"));
        let plain: EsdbUrl = "esdb://localhost".parse().unwrap();
        assert_eq!((plain.ledger(), plain.nodes().as_str()), ("rota", "localhost:2113"));
    }

    #[test]
    fn a_bad_url_is_refused_without_its_password() {
        for bad in [
            "esdb://admin:geheim@",
            "esdb://admin:geheim@a:99999999",
            "esdb://admin:geheim@a:1?ledger=A-b",
            "esdb://admin:geheim@a:1?ledger=",
            "esdb://admin:geheim@a:1?nodePreference=follower",
            "esdb://admin:geheim@a:1?tls=perhaps",
            "http://admin:geheim@a:1",
        ] {
            let error = bad.parse::<EsdbUrl>().unwrap_err();
            assert!(!error.contains("geheim"), "{error}");
        }
        let url: EsdbUrl = "esdb://admin:geheim@a:1".parse().unwrap();
        assert!(!format!("{url:?}").contains("geheim"));
        assert_eq!(url.to_string(), "esdb://a:1?ledger=rota");
    }
}
