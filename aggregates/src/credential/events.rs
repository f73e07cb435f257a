//! What has happened to a credential. These shapes are stored for ever.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authority::Roles;
use crate::credential::{Kind, ReplayOnly, Retiring, SecretRef};
use crate::ids::{CredentialId, WorkspaceId};
use crate::observation::PartRef;
use crate::secret::Mode;
use crate::time::Timestamp;

crate::event::events! {
    /// What has happened to a credential.
    CredentialEvent {
        /// It was made. Serves invariant 2.
        CredentialIssued = "rota.credential.issued.v1",
        /// Its secret was replaced. Each rotation is one event with `rotated` in its type: this one, or in two
        /// steps [`CredentialEvent::PreparedSecretRotated`]. Serves invariants 2, 3 and 5.
        SecretRotated = "rota.credential.secret-rotated.v1",
        /// The next secret was made, beside the active one. Serves invariant 6.
        RotationPrepared = "rota.credential.rotation-prepared.v1",
        /// The prepared secret replaced the active one: the rotation of two steps. Serves invariants 3 and 5.
        PreparedSecretRotated = "rota.credential.prepared-secret-rotated.v1",
        /// The prepared secret was dropped.
        RotationCancelled = "rota.credential.rotation-cancelled.v1",
        /// A grace period ended. Serves invariants 4 and 6.
        OldSecretExpired = "rota.credential.old-secret-expired.v1",
        /// One version was ended. Serves invariant 3.
        SecretRevoked = "rota.credential.secret-revoked.v1",
        /// The credential was ended. Serves invariant 3.
        CredentialRevoked = "rota.credential.revoked.v1",
        /// Its name or description was changed.
        CredentialDescribed = "rota.credential.described.v1",
        /// A replaced secret can't fetch its rotation's answer any more. Serves invariants 3 and 5.
        ReplayEnded = "rota.credential.replay-ended.v1",
        /// A grace period was prolonged, since the old secret was used still. Serves invariant 4.
        GraceHeld = "rota.credential.grace-held.v1",
    }
}

/// The credential was made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialIssued {
    /// Its id.
    pub credential: CredentialId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// How its secret is presented.
    pub kind: Kind,
    /// Its public identifier.
    pub public_id: String,
    /// What it may do in its workspace beyond itself.
    pub roles: Roles,
    /// For workspace keys: test or production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// For webhook secrets: the credential that they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<CredentialId>,
    /// Its first secret.
    pub secret: SecretRef,
    /// When it was decided.
    pub at: Timestamp,
}

/// The version that a new one replaced.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replaced {
    /// The version.
    pub version: u32,
    /// The end of its grace period, exclusive; absent if it ended at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Until when, exclusive, it may fetch the answer to the rotation that replaced it, and nothing else: for a
    /// rotation that it signed itself and whose answer may have been lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_until: Option<Timestamp>,
}

impl Replaced {
    /// The replaced version as one that may fetch the answer, if it may.
    pub fn replay_only(&self) -> Option<ReplayOnly> {
        self.replay_until.map(|until| ReplayOnly { version: self.version, until })
    }

    /// The replaced version as retiring, if it got a grace period.
    pub fn retiring(&self) -> Option<Retiring> {
        self.expires_at.map(|expires_at| Retiring { version: self.version, expires_at })
    }
}

/// The secret was replaced.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRotated {
    /// The new secret.
    pub secret: SecretRef,
    /// The version that it replaced; absent if that had been revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
    /// The grace period of the replaced version.
    pub grace_seconds: u64,
    /// Whether the replaced secret was said to be known to others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compromised: bool,
    /// Sealed parts that were destroyed in the same append.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

/// The next secret was made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationPrepared {
    /// The new secret.
    pub secret: SecretRef,
    /// The first instant at which it can no longer be committed.
    pub deadline: Timestamp,
    /// The grace period that the replaced version gets at the commit.
    pub grace_seconds: u64,
    /// When it was decided.
    pub at: Timestamp,
}

/// What led to a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CommitCause {
    /// Somebody asked for it.
    Call,
    /// The new secret was used for the first time.
    FirstUse,
}

/// The prepared secret replaced the active one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreparedSecretRotated {
    /// The version that became active.
    pub version: u32,
    /// The version that it replaced; absent if that had been revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
    /// The grace period of the replaced version.
    pub grace_seconds: u64,
    /// What led to it.
    pub cause: CommitCause,
    /// Sealed parts that were destroyed in the same append.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

/// What led to a cancellation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CancelCause {
    /// Somebody asked for it.
    Call,
    /// It was not committed in time.
    Deadline,
    /// The credential was said to be compromised, and rotated.
    Compromised,
}

/// The prepared secret was dropped.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationCancelled {
    /// The version that was prepared.
    pub version: u32,
    /// The first instant at which it was refused.
    pub cancelled_at: Timestamp,
    /// What led to it.
    pub cause: CancelCause,
    /// Sealed parts that were destroyed in the same append.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shredded: Vec<PartRef>,
}

/// What ended a grace period.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExpiryCause {
    /// Its time was over.
    Due,
    /// Somebody ended it early.
    EarlyEnd,
    /// The secret was rotated again.
    RotatedAgain,
    /// A further rotation was prepared.
    Prepared,
    /// Nobody had used it for as long as the policy asks.
    Quiet,
}

/// A grace period was prolonged.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GraceHeld {
    /// The retiring version.
    pub version: u32,
    /// When its grace period was to end.
    pub held_from: Timestamp,
    /// When it ends now, exclusive.
    pub expires_at: Timestamp,
    /// The use that led to it.
    pub last_used_at: Timestamp,
    /// When it was decided.
    pub at: Timestamp,
}

/// A grace period ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OldSecretExpired {
    /// The version that was retiring.
    pub version: u32,
    /// The first instant at which it was refused.
    pub expired_at: Timestamp,
    /// What led to it.
    pub cause: ExpiryCause,
    /// Sealed parts that were destroyed in the same append.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shredded: Vec<PartRef>,
}

/// One version was ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRevoked {
    /// The version.
    pub version: u32,
    /// Sealed parts that were destroyed in the same append.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

/// The credential was ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialRevoked {
    /// The versions that were live until then.
    pub versions: Vec<u32>,
    /// Sealed parts that were destroyed in the same append.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

/// The name or description was changed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialDescribed {
    /// The names of what changed.
    pub changed: Vec<String>,
    /// When it was decided.
    pub at: Timestamp,
}

/// What ended the time in which a replaced secret could fetch its rotation's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReplayEndCause {
    /// Its time was over.
    Due,
    /// The new secret was used for the first time, and so had arrived.
    FirstUse,
}

/// A replaced secret can't fetch its rotation's answer any more.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayEnded {
    /// The version that was replaced.
    pub version: u32,
    /// What led to it.
    pub cause: ReplayEndCause,
    /// Sealed parts that were destroyed in the same append.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

impl CredentialEvent {
    /// The sealed parts that this event destroys.
    pub fn shredded(&self) -> &[PartRef] {
        match self {
            Self::SecretRotated(e) => &e.shredded,
            Self::PreparedSecretRotated(e) => &e.shredded,
            Self::RotationCancelled(e) => &e.shredded,
            Self::OldSecretExpired(e) => &e.shredded,
            Self::SecretRevoked(e) => &e.shredded,
            Self::CredentialRevoked(e) => &e.shredded,
            Self::ReplayEnded(e) => &e.shredded,
            Self::CredentialIssued(_)
            | Self::RotationPrepared(_)
            | Self::CredentialDescribed(_)
            | Self::GraceHeld(_) => &[],
        }
    }

    /// The version that this event replaced, if it replaced one.
    pub fn replaced(&self) -> Option<&Replaced> {
        match self {
            Self::SecretRotated(e) => e.replaced.as_ref(),
            Self::PreparedSecretRotated(e) => e.replaced.as_ref(),
            _ => None,
        }
    }

    /// Whether every session that was given for this credential before ends with it: somebody may have what they
    /// should not have.
    pub fn ends_sessions(&self) -> bool {
        match self {
            Self::SecretRevoked(_) | Self::CredentialRevoked(_) => true,
            Self::SecretRotated(e) => e.compromised,
            _ => false,
        }
    }

    /// The secret that this event brought, if it brought one.
    pub fn secret(&self) -> Option<&SecretRef> {
        match self {
            Self::CredentialIssued(e) => Some(&e.secret),
            Self::SecretRotated(e) => Some(&e.secret),
            Self::RotationPrepared(e) => Some(&e.secret),
            _ => None,
        }
    }
}
