//! What may be asked of a credential.

use crate::authority::{Proof, Roles};
use crate::credential::{CommitCause, Kind, ReplayEndCause, SecretRef};
use crate::ids::{CredentialId, Position, WorkspaceId};
use crate::secret::Mode;
use crate::time::Timestamp;
use crate::workspace::Policy;

/// A command to a credential.
#[derive(Clone, Debug)]
pub enum CredentialCommand {
    /// Make it.
    Issue(IssueCredential),
    /// Replace its secret, at once or with a grace period.
    Rotate(RotateSecret),
    /// Make the next secret, beside the active one.
    Prepare(PrepareRotation),
    /// Let the prepared secret replace the active one.
    Commit(CommitRotation),
    /// Drop the prepared secret.
    Cancel(CancelRotation),
    /// End the grace period of the retiring secret.
    ExpireOld(ExpireOldSecret),
    /// End one version.
    RevokeSecret(RevokeSecret),
    /// End the credential.
    Revoke(RevokeCredential),
    /// Change its name or description, which travel in the event's sealed details.
    Describe(DescribeCredential),
    /// Let a replaced secret fetch its rotation's answer no longer.
    EndReplay(EndReplay),
    /// End the grace period of a secret that nobody uses.
    EndQuietGrace(EndQuietGrace),
    /// Prolong the grace period of a secret that somebody uses.
    HoldGrace(HoldGrace),
}

/// The sealed parts that exist for a credential: what the end of a version or of the credential destroys.
#[derive(Clone, Debug, Default)]
pub struct SealedParts {
    /// Recoverable secrets, by version.
    pub secrets: Vec<(u32, Position)>,
    /// Answers that are kept for a retry, by the version whose secret is in them.
    pub answers: Vec<(u32, Position)>,
}

/// Make a credential.
#[derive(Clone, Debug)]
pub struct IssueCredential {
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
    pub mode: Option<Mode>,
    /// For webhook secrets: the credential that they belong to.
    pub parent: Option<CredentialId>,
    /// Its first secret.
    pub secret: SecretRef,
    /// What proved the caller's authority.
    pub proof: Proof,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Replace the secret.
#[derive(Clone, Debug)]
pub struct RotateSecret {
    /// The new secret.
    pub secret: SecretRef,
    /// The active version that the caller means to replace; `None` where it was revoked.
    pub means: Option<u32>,
    /// How long the replaced version stays valid; `None` for the policy's default.
    pub grace_seconds: Option<u64>,
    /// Whether the old secret is known to others.
    pub compromised: bool,
    /// Whether the request has a name under which its answer can be fetched again, and that is hard to guess.
    pub replayable: bool,
    /// What proved the caller's authority.
    pub proof: Proof,
    /// The workspace's policy.
    pub policy: Policy,
    /// What may have to be destroyed.
    pub sealed: SealedParts,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Make the next secret, beside the active one.
#[derive(Clone, Debug)]
pub struct PrepareRotation {
    /// The new secret.
    pub secret: SecretRef,
    /// The active version that the caller means to replace.
    pub means: Option<u32>,
    /// The grace period that the replaced version gets at the commit; `None` for the policy's default.
    pub grace_seconds: Option<u64>,
    /// How long the rotation may wait; `None` for [`super::PREPARED_SECONDS_DEFAULT`].
    pub deadline_seconds: Option<u64>,
    /// What proved the caller's authority.
    pub proof: Proof,
    /// The workspace's policy.
    pub policy: Policy,
    /// What may have to be destroyed.
    pub sealed: SealedParts,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Let the prepared secret replace the active one.
#[derive(Clone, Debug)]
pub struct CommitRotation {
    /// The prepared version that the caller means; `None` for whichever it is, but for a first use.
    pub means: Option<u32>,
    /// What led to it.
    pub cause: CommitCause,
    /// What proved the caller's authority.
    pub proof: Proof,
    /// The workspace's policy.
    pub policy: Policy,
    /// What may have to be destroyed.
    pub sealed: SealedParts,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Why a version is to end that waits for its own end: a retiring one for the end of its grace period, a prepared
/// one for its deadline. Every other cause that an event can have is that of another command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndCause {
    /// Somebody asked for it.
    Call,
    /// The time has come.
    Due,
}

/// Drop the prepared secret.
#[derive(Clone, Debug)]
pub struct CancelRotation {
    /// The prepared version that the caller means; `None` for whichever it is.
    pub means: Option<u32>,
    /// Why now.
    pub cause: EndCause,
    /// What proved the caller's authority.
    pub proof: Proof,
    /// What may have to be destroyed.
    pub sealed: SealedParts,
    /// The time of the decision.
    pub now: Timestamp,
}

/// End the grace period of the retiring secret.
#[derive(Clone, Debug)]
pub struct ExpireOldSecret {
    /// The retiring version that the caller means; `None` for whichever it is.
    pub means: Option<u32>,
    /// Why now.
    pub cause: EndCause,
    /// What proved the caller's authority.
    pub proof: Proof,
    /// What may have to be destroyed.
    pub sealed: SealedParts,
    /// The time of the decision.
    pub now: Timestamp,
}

/// End one version.
#[derive(Clone, Debug)]
pub struct RevokeSecret {
    /// The version.
    pub version: u32,
    /// What proved the caller's authority.
    pub proof: Proof,
    /// What may have to be destroyed.
    pub sealed: SealedParts,
    /// The time of the decision.
    pub now: Timestamp,
}

/// End the credential.
#[derive(Clone, Debug)]
pub struct RevokeCredential {
    /// What proved the caller's authority.
    pub proof: Proof,
    /// What may have to be destroyed.
    pub sealed: SealedParts,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Let a replaced secret fetch its rotation's answer no longer.
#[derive(Clone, Debug)]
pub struct EndReplay {
    /// What led to it.
    pub cause: ReplayEndCause,
    /// What may have to be destroyed.
    pub sealed: SealedParts,
    /// The time of the decision.
    pub now: Timestamp,
}

/// End the grace period of a secret that nobody uses, as the policy says.
#[derive(Clone, Debug)]
pub struct EndQuietGrace {
    /// The retiring version.
    pub version: u32,
    /// When it was replaced.
    pub replaced_at: Timestamp,
    /// Since when nobody is known to have used it.
    pub quiet_since: Timestamp,
    /// The workspace's policy.
    pub policy: Policy,
    /// What may have to be destroyed.
    pub sealed: SealedParts,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Prolong the grace period of a secret that somebody uses, as the policy says.
#[derive(Clone, Debug)]
pub struct HoldGrace {
    /// The retiring version.
    pub version: u32,
    /// When it was replaced.
    pub replaced_at: Timestamp,
    /// When it was used last.
    pub used_at: Timestamp,
    /// The workspace's policy.
    pub policy: Policy,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Change the name or the description.
#[derive(Clone, Debug)]
pub struct DescribeCredential {
    /// The names of what changes; the values travel in the event's sealed details.
    pub changed: Vec<String>,
    /// What proved the caller's authority.
    pub proof: Proof,
    /// The time of the decision.
    pub now: Timestamp,
}
