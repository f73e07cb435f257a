//! What has happened to the keys of session tokens. These shapes are stored for ever.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Hash, PublicKey, TokenKeyId};
use crate::observation::PartRef;
use crate::time::Timestamp;

crate::event::events! {
    /// What has happened to the keys of session tokens.
    TokenKeysEvent {
        /// A key was made, and takes over from those before it.
        TokenKeyMade = "rota.token-keys.key-made.v1",
        /// A key signs no more: its private part was destroyed.
        TokenKeyRetired = "rota.token-keys.key-retired.v1",
    }
}

/// What led to a new key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenKeyCause {
    /// There was none.
    First,
    /// The operator asked for it.
    Call,
    /// The one before had signed long enough.
    Schedule,
    /// Somebody else may have the one before.
    Compromised,
}

/// A key that another took over from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Succeeded {
    /// The key.
    pub key: TokenKeyId,
    /// The first instant at which its signatures count no more.
    pub verifies_until: Timestamp,
}

/// A key was made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenKeyMade {
    /// Its id: the `kid` of what it signs.
    pub key: TokenKeyId,
    /// Its public part, for Ed25519.
    pub public_key: PublicKey,
    /// SHA-256 of its sealed private part.
    pub sealed: Hash,
    /// From when it signs.
    pub signs_from: Timestamp,
    /// The keys that it takes over from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub succeeds: Vec<Succeeded>,
    /// What led to it.
    pub cause: TokenKeyCause,
    /// When it was decided.
    pub at: Timestamp,
}

/// A key signs no more.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenKeyRetired {
    /// The key.
    pub key: TokenKeyId,
    /// Its private part, which was destroyed in the same append.
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

impl TokenKeysEvent {
    /// The sealed parts that this event destroys.
    pub fn shredded(&self) -> &[PartRef] {
        match self {
            Self::TokenKeyMade(_) => &[],
            Self::TokenKeyRetired(e) => &e.shredded,
        }
    }

    /// SHA-256 of the private part that is sealed beside this event.
    pub fn sealed(&self) -> Option<Hash> {
        match self {
            Self::TokenKeyMade(e) => Some(e.sealed),
            Self::TokenKeyRetired(_) => None,
        }
    }
}
