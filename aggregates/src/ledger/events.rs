//! What has happened to the ledger as a whole. These shapes are stored for ever.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{Hash, Position};
use crate::observation::PartRef;
use crate::time::Timestamp;

crate::event::events! {
    /// What has happened to the ledger as a whole.
    LedgerEvent {
        /// A key was made that signs checkpoints.
        LedgerKeyAdded = "rota.ledger.key-added.v1",
        /// A key signs no more: its private part was destroyed.
        LedgerKeyRetired = "rota.ledger.key-retired.v1",
        /// Events that had been signed for were lost, and the ledger goes on under another origin.
        LedgerRestored = "rota.ledger.restored.v1",
        /// Somebody was given the tiles of the whole deployment to read.
        LedgerAuditorNamed = "rota.ledger.auditor-named.v1",
        /// Somebody may read them no more.
        LedgerAuditorDismissed = "rota.ledger.auditor-dismissed.v1",
    }
}

/// What led to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerKeyCause {
    /// There was none.
    First,
    /// The operator asked for it.
    Call,
    /// The ledger goes on under another origin, for which no earlier key speaks.
    Restored,
}

/// A key that another takes over from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignsUntil {
    /// The key.
    pub verifier_key: String,
    /// The first instant at which it signs no more.
    pub until: Timestamp,
}

/// A key was made that signs checkpoints, beside those before it for a while.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerKeyAdded {
    /// The name of the log: the first line of its checkpoints.
    pub origin: String,
    /// What its signatures are checked with, as c2sp.org/signed-note writes it.
    pub verifier_key: String,
    /// SHA-256 of its sealed private part.
    pub sealed: Hash,
    /// The keys that it takes over from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub succeeds: Vec<SignsUntil>,
    /// What led to it.
    pub cause: LedgerKeyCause,
    /// When it was decided.
    pub at: Timestamp,
}

/// A key signs no more. What it signed verifies for ever.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerKeyRetired {
    /// The key.
    pub verifier_key: String,
    /// Its private part, which was destroyed in the same append.
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

/// Events that had been signed for were lost, such as by a backup that was put back.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerRestored {
    /// The first position whose event was lost.
    pub lost_from: Position,
    /// The origin under which checkpoints over lost events were signed.
    pub former_origin: String,
    /// How many events the last of them is over.
    pub signed_size: u64,
    /// The root over those.
    pub signed_root: Hash,
    /// When the operator said so.
    pub at: Timestamp,
}

/// Somebody was given the tiles of the whole deployment to read.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerAuditorNamed {
    /// Who: a pseudonym. The name is sealed beside the event.
    pub auditor: Uuid,
    /// When.
    pub at: Timestamp,
}

/// Somebody may read the tiles no more.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerAuditorDismissed {
    /// Who.
    pub auditor: Uuid,
    /// When.
    pub at: Timestamp,
}

impl LedgerEvent {
    /// The sealed parts that this event destroys.
    pub fn shredded(&self) -> &[PartRef] {
        match self {
            Self::LedgerKeyRetired(e) => &e.shredded,
            _ => &[],
        }
    }

    /// SHA-256 of the private part that is sealed beside this event.
    pub fn sealed(&self) -> Option<Hash> {
        match self {
            Self::LedgerKeyAdded(e) => Some(e.sealed),
            _ => None,
        }
    }
}
