//! Doubles of vendors: they keep state, as far as a rotation can see it. Each stands behind Prism, which lets only
//! requests through that fit the vendor's published schema; what a double answers is checked against the same schema.
//!
//! ```text
//! target → front (faults, token endpoints) → Prism (requests) → core (state; answers checked)
//! ```

pub mod auth0;
pub mod contract;
pub mod databricks;
pub mod front;
pub mod graph;
pub mod okta;

use std::collections::BTreeMap;

use serde_json::Value;

/// What arrives at a double.
#[derive(Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub authorization: String,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The fields of a form.
    pub fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The user and password of `Authorization: Basic`.
    pub fn basic(&self) -> (String, String) {
        use base64::Engine as _;
        let encoded = self.authorization.strip_prefix("Basic ").unwrap_or_default();
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
        let text = String::from_utf8(decoded).unwrap_or_default();
        let (user, password) = text.split_once(':').unwrap_or_default();
        (user.to_owned(), password.to_owned())
    }

    /// The path without the slashes.
    pub fn parts(&self) -> Vec<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }
}

/// What a double answers.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub body: Option<Value>,
}

pub fn answer(status: u16, body: Value) -> Answered {
    Answered { status, body: Some(body) }
}

pub fn empty(status: u16) -> Answered {
    Answered { status, body: None }
}

/// A vendor.
pub trait Double: Send + Sync + 'static {
    /// The file of its schema, in `tests/contracts`.
    const CONTRACT: &'static str;

    /// Whether a path is none of the schema: the token endpoint, which no published schema has.
    fn outside(path: &str) -> bool;

    fn answer(&self, asked: &Asked) -> Answered;
}

/// The text of a moment as vendors write it.
pub fn date(seconds_ago: u64) -> String {
    use rota_targets::surroundings::Clock as _;
    crate::support::RealTime.now().minus_seconds(seconds_ago).to_string()
}

/// A text that is different each time.
pub fn unique(prefix: &str) -> String {
    let bytes = crate::support::random();
    format!("{prefix}{:032x}", u128::from_be_bytes(bytes[..16].try_into().unwrap()))
}
