//! Why a credential refuses a command.

use crate::time::Timestamp;

/// A refusal: one variant per reason. `Display` is for people, [`CredentialRefusal::code`] for programs.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CredentialRefusal {
    /// The id is taken.
    #[error("the credential was issued already")]
    AlreadyIssued,
    /// There is no such credential.
    #[error("there is no such credential")]
    Unknown,
    /// It was revoked, for good.
    #[error("the credential is revoked")]
    Revoked,
    /// The caller showed a secret that is in its grace period.
    #[error("a secret in its grace period can't do this: use the current one")]
    RetiringSecret,
    /// The caller showed a session, and the policy wants the secret.
    #[error("the workspace's policy asks for the secret itself, a session is not enough")]
    SecretRequired,
    /// The caller showed a session of a secret that has been replaced.
    #[error("the secret behind this session has been replaced: exchange the new one first")]
    SessionSuperseded,
    /// The secret that the caller showed is not live any more.
    #[error("the secret that was shown is no longer valid")]
    ProofStale,
    /// The version that the caller meant is not the active one any more.
    #[error("the secret was changed by somebody else at the same time: look, then decide again")]
    VersionConflict,
    /// The grace period is longer than the policy allows.
    #[error("the grace period may be at most {max_seconds} seconds")]
    GraceTooLong {
        /// The policy's maximum.
        max_seconds: u64,
    },
    /// The grace period is shorter than the overlap that the policy demands.
    #[error("the workspace's policy asks for an overlap of at least {min_seconds} seconds")]
    GraceTooShort {
        /// The policy's minimum.
        min_seconds: u64,
    },
    /// The deadline of a prepared rotation is out of range.
    #[error("a prepared rotation may wait between 1 and {max_seconds} seconds")]
    DeadlineOutOfRange {
        /// The longest wait.
        max_seconds: u64,
    },
    /// A prepared rotation waits.
    #[error("a rotation is prepared: commit or cancel it first")]
    RotationPending,
    /// No rotation is prepared.
    #[error("no rotation is prepared")]
    NothingPrepared,
    /// No secret is retiring.
    #[error("no secret is in its grace period")]
    NothingRetiring,
    /// The grace period is not over yet.
    #[error("the grace period ends at {expires_at}")]
    NotDue {
        /// When it ends.
        expires_at: Timestamp,
    },
    /// There is no such live version.
    #[error("there is no live version {version}")]
    UnknownVersion {
        /// The version that was meant.
        version: u32,
    },
    /// The active secret was revoked.
    #[error("there is no active secret to stand beside: rotate instead")]
    NoActiveSecret,
    /// The command contradicts itself: whoever made it is at fault, and no caller.
    #[error("the command contradicts itself: {why}")]
    Contradictory {
        /// What does not fit together.
        why: &'static str,
    },
}

impl CredentialRefusal {
    /// The stable code of the reason.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AlreadyIssued => "already-issued",
            Self::Unknown => "not-found",
            Self::Revoked => "credential-revoked",
            Self::RetiringSecret => "retiring-secret",
            Self::SecretRequired => "secret-required",
            Self::SessionSuperseded => "session-superseded",
            Self::ProofStale => "proof-stale",
            Self::VersionConflict => "version-conflict",
            Self::GraceTooLong { .. } => "grace-too-long",
            Self::GraceTooShort { .. } => "grace-too-short",
            Self::DeadlineOutOfRange { .. } => "deadline-out-of-range",
            Self::RotationPending => "rotation-pending",
            Self::NothingPrepared => "nothing-prepared",
            Self::NothingRetiring => "nothing-retiring",
            Self::NotDue { .. } => "not-due",
            Self::UnknownVersion { .. } => "unknown-version",
            Self::NoActiveSecret => "no-active-secret",
            Self::Contradictory { .. } => "contradictory-command",
        }
    }
}
