//! What is recorded about credentials without being a change of one.
//!
//! Observations live in streams of their own and carry ids that follow from what they say, so that noticing
//! the same thing twice records it once, and noticing anything never makes an honest command stale.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{CredentialId, EventId, Position, WorkspaceId};
use crate::time::Timestamp;

crate::event::events! {
    /// What was noticed.
    ObservationEvent {
        /// A retiring secret was used: its first use in the grace period, then at most one a minute.
        OldSecretUsed = "rota.credential.old-secret-used.v1",
        /// An authenticated caller was refused: at most one a minute per actor, credential and reason.
        RotationRefused = "rota.credential.rotation-refused.v1",
        /// A session was ended before its time, by whoever had its token.
        SessionEnded = "rota.credential.session-ended.v1",
        /// Somebody showed a secret that leaked, and it is this one: at most one a minute for each version.
        LeakReported = "rota.credential.leak-reported.v1",
        /// Sealed parts came to the end of their time and were destroyed with their data keys.
        SealedPartsShredded = "rota.workspace.sealed-parts-shredded.v1",
        /// Somebody read of the ledger: at most one a minute for each actor, workspace and kind of reading.
        LedgerRead = "rota.workspace.ledger-read.v1",
    }
}

/// A retiring secret was used.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OldSecretUsed {
    /// The credential.
    pub credential: CredentialId,
    /// The version that was used.
    pub version: u32,
    /// When it was used.
    pub at: Timestamp,
    /// When it stops being valid.
    pub expires_at: Timestamp,
}

/// A secret was found where it should not be.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeakReported {
    /// The credential.
    pub credential: CredentialId,
    /// The version that leaked.
    pub version: u32,
    /// Whether it was accepted still.
    pub live: bool,
    /// When it was reported.
    pub at: Timestamp,
}

/// An authenticated caller was refused by rule or role.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationRefused {
    /// The credential that was to be changed.
    pub credential: CredentialId,
    /// What was asked for, such as `rotate`.
    pub operation: String,
    /// The stable code of the refusal.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A session was ended: none of its tokens is accepted any more.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionEnded {
    /// The credential that it was given for.
    pub credential: CredentialId,
    /// The session: the id of its first token.
    pub session: Uuid,
    /// When its last token would have expired at the latest: until then the end has to be known.
    pub until: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// A part that is kept sealed beside an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SealedPart {
    /// The digest by which a secret is verified.
    Digest,
    /// A secret that must be recoverable.
    Secret,
    /// The answer kept for a retry.
    Answer,
    /// Client address, user agent, names and free text.
    Details,
}

/// A sealed part, named by the event that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartRef {
    /// The event's position.
    pub position: Position,
    /// Which of its parts.
    pub part: SealedPart,
}

/// Sealed parts were destroyed with their data keys. Every proof stays valid.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealedPartsShredded {
    /// What was destroyed.
    pub parts: Vec<PartRef>,
    /// When.
    pub at: Timestamp,
}

/// Somebody read of the ledger. Recorded only where the deployment is told to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerRead {
    /// What was read: events, history, entry, hand-over, or report and its name behind a slash.
    pub what: String,
    /// When it was read first in this minute.
    pub at: Timestamp,
}

/// The id under which a reading is recorded: the same for all of one minute, actor, workspace and kind of reading.
pub fn ledger_read_id(actor: Uuid, workspace: WorkspaceId, what: &str, at: Timestamp) -> EventId {
    named(&format!("ledger-read/{actor}/{workspace}/{what}/{}", at.minute()))
}

/// The id under which a use of a retiring secret is recorded: the same for every use in one minute.
pub fn old_secret_used_id(credential: CredentialId, version: u32, at: Timestamp) -> EventId {
    named(&format!("old-secret-used/{credential}/{version}/{}", at.minute()))
}

/// The id under which a leak is recorded: the same for every report of it in one minute.
pub fn leak_reported_id(credential: CredentialId, version: u32, at: Timestamp) -> EventId {
    named(&format!("leak-reported/{credential}/{version}/{}", at.minute()))
}

/// The id under which a refusal is recorded: the same for all of one minute, actor, credential and reason.
pub fn refusal_id(actor: Uuid, credential: CredentialId, reason: &str, at: Timestamp) -> EventId {
    named(&format!("refused/{actor}/{credential}/{reason}/{}", at.minute()))
}

/// The id under which the end of a session is recorded.
pub fn session_ended_id(session: Uuid) -> EventId {
    named(&format!("session-ended/{session}"))
}

fn named(name: &str) -> EventId {
    /// The name space of observations.
    const OBSERVATIONS: Uuid = Uuid::from_u128(0x6f2b_7a54_9d0e_4c0b_9f43_2d1b_0c5a_7e11);
    EventId(Uuid::new_v5(&OBSERVATIONS, name.as_bytes()))
}
