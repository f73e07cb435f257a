//! What an event means for each version of a credential's secret.

use rota_aggregates::Timestamp;
use rota_aggregates::credential::{CancelCause, CommitCause, CredentialEvent, ExpiryCause, Replaced};

/// How a version ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It was replaced without a grace period.
    Replaced,
    /// Its grace period ended.
    Expired(ExpiryCause),
    /// It was prepared, and dropped.
    Cancelled(CancelCause),
    /// It was ended.
    Revoked,
    /// Its credential was ended.
    CredentialRevoked,
}

impl End {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Replaced => "replaced-without-grace",
            Self::Expired(ExpiryCause::Due) => "grace-over",
            Self::Expired(ExpiryCause::EarlyEnd) => "grace-ended-early",
            Self::Expired(ExpiryCause::RotatedAgain) => "replaced-again",
            Self::Expired(ExpiryCause::Prepared) => "next-prepared",
            Self::Expired(ExpiryCause::Quiet) => "nobody-used-it",
            Self::Cancelled(CancelCause::Call) => "cancelled",
            Self::Cancelled(CancelCause::Deadline) => "not-committed-in-time",
            Self::Cancelled(CancelCause::Compromised) => "cancelled-as-compromised",
            Self::Revoked => "revoked",
            Self::CredentialRevoked => "credential-revoked",
        }
    }
}

/// One thing that happens to one version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// It was made; with a deadline if it waits to be committed.
    Began { version: u32, at: Timestamp, deadline: Option<Timestamp> },
    /// It became the one to use.
    Activated { version: u32, at: Timestamp, by_use: bool },
    /// It was replaced and has a grace period.
    Retiring { version: u32, at: Timestamp, until: Timestamp },
    /// Its grace period was prolonged.
    Held { version: u32, until: Timestamp },
    /// It ended.
    Ended { version: u32, at: Timestamp, how: End },
}

fn replaced(replaced: Option<&Replaced>, at: Timestamp, each: &mut impl FnMut(Step)) {
    let Some(Replaced { version, expires_at, .. }) = replaced else { return };
    let version = *version;
    each(match expires_at {
        Some(until) => Step::Retiring { version, at, until: *until },
        None => Step::Ended { version, at, how: End::Replaced },
    });
}

/// Tells the steps of an event, in order.
pub(super) fn steps(event: &CredentialEvent, mut each: impl FnMut(Step)) {
    match event {
        CredentialEvent::CredentialIssued(e) => {
            let version = e.secret.version;
            each(Step::Began { version, at: e.at, deadline: None });
            each(Step::Activated { version, at: e.at, by_use: false });
        }
        CredentialEvent::SecretRotated(e) => {
            replaced(e.replaced.as_ref(), e.at, &mut each);
            let version = e.secret.version;
            each(Step::Began { version, at: e.at, deadline: None });
            each(Step::Activated { version, at: e.at, by_use: false });
        }
        CredentialEvent::RotationPrepared(e) => {
            each(Step::Began { version: e.secret.version, at: e.at, deadline: Some(e.deadline) });
        }
        CredentialEvent::PreparedSecretRotated(e) => {
            replaced(e.replaced.as_ref(), e.at, &mut each);
            let by_use = e.cause == CommitCause::FirstUse;
            each(Step::Activated { version: e.version, at: e.at, by_use });
        }
        CredentialEvent::RotationCancelled(e) => {
            each(Step::Ended { version: e.version, at: e.cancelled_at, how: End::Cancelled(e.cause) });
        }
        CredentialEvent::OldSecretExpired(e) => {
            each(Step::Ended { version: e.version, at: e.expired_at, how: End::Expired(e.cause) });
        }
        CredentialEvent::SecretRevoked(e) => {
            each(Step::Ended { version: e.version, at: e.at, how: End::Revoked });
        }
        CredentialEvent::CredentialRevoked(e) => {
            for version in &e.versions {
                each(Step::Ended { version: *version, at: e.at, how: End::CredentialRevoked });
            }
        }
        CredentialEvent::GraceHeld(e) => each(Step::Held { version: e.version, until: e.expires_at }),
        CredentialEvent::CredentialDescribed(_) | CredentialEvent::ReplayEnded(_) => {}
    }
}
