//! The credential: a public identifier and one or more secret versions.
//!
//! At any instant at most two versions are live: the *active* one, and beside it either the *retiring* one
//! (replaced, valid until its grace period ends) or the *prepared* one (not yet committed). Every rule is in
//! [`decide`](Credential::decide), a plain function of state and command; [`evolve`](Credential::evolve)
//! takes events in and holds no rule.
//!
//! The secret itself is never seen here: a command brings a [`SecretRef`], the digest of what the store
//! keeps sealed beside the event.

mod commands;
mod decide;
mod events;
mod refusal;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::commands::CancelRotation;
pub use self::commands::{
    CommitRotation, CredentialCommand, DescribeCredential, EndCause, EndQuietGrace, EndReplay,
    ExpireOldSecret, HoldGrace, IssueCredential, PrepareRotation, RevokeCredential, RevokeSecret,
    RotateSecret, SealedParts,
};
pub use self::events::{
    CancelCause, CommitCause, CredentialDescribed, CredentialEvent, CredentialIssued, CredentialRevoked,
    ExpiryCause, GraceHeld, OldSecretExpired, PreparedSecretRotated, Replaced, ReplayEndCause, ReplayEnded,
    RotationCancelled, RotationPrepared, SecretRevoked, SecretRotated,
};
pub use self::refusal::CredentialRefusal;
use crate::ids::{CredentialId, Hash, WorkspaceId};
use crate::time::Timestamp;

/// A prepared rotation is cancelled after this long by default: 24 hours.
pub const PREPARED_SECONDS_DEFAULT: u64 = 86_400;
/// A prepared rotation may wait at most this long: 7 days.
pub const PREPARED_SECONDS_MAX: u64 = 7 * 86_400;

/// A replaced secret may fetch its rotation's answer for at most this long: 10 minutes.
pub const REPLAY_SECONDS_MAX: u64 = 600;

/// How a credential's secret is presented, and so how it must be kept.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Kind {
    /// HTTP Basic (Hopae).
    #[default]
    Client = 0,
    /// Key and secret, exchanged for a token (Fluide).
    Exchange = 1,
    /// HMAC over the request (Spritz): the secret must be recoverable.
    Signing = 2,
    /// A workspace's own key, presented as a bearer token.
    WorkspaceKey = 3,
    /// Signs what is sent to a webhook: the secret must be recoverable. Belongs to another credential, or to a webhook.
    Webhook = 4,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Client, Self::Exchange, Self::Signing, Self::WorkspaceKey, Self::Webhook];

    /// The kind's name on every wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Exchange => "exchange",
            Self::Signing => "signing",
            Self::WorkspaceKey => "workspace-key",
            Self::Webhook => "webhook",
        }
    }

    /// Whether rota must be able to recover the secret, not only to recognise it.
    pub fn recoverable(self) -> bool {
        matches!(self, Self::Signing | Self::Webhook)
    }
}

/// What an event says about a secret: enough to tell a swapped digest, nothing that authenticates.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The version's number, from 1.
    pub version: u32,
    /// The last four characters of the secret.
    pub hint: String,
    /// SHA-256 of the keyed digest that the store keeps beside the event.
    pub digest: Hash,
    /// SHA-256 of the sealed secret, where the kind must be recoverable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Hash>,
}

/// Whether a credential can still do anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Status {
    /// It was never issued.
    #[default]
    Absent,
    /// It was issued and not revoked.
    Active,
    /// It is dead for good.
    Revoked,
}

/// A version that was replaced and is valid until `expires_at`, exclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Retiring {
    /// The version.
    pub version: u32,
    /// The first instant at which it is refused.
    pub expires_at: Timestamp,
}

/// A version that was replaced and may fetch that rotation's answer until `until`, exclusive, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplayOnly {
    /// The version.
    pub version: u32,
    /// The first instant at which it may not.
    pub until: Timestamp,
}

/// A version that waits to be committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Prepared {
    /// The version.
    pub version: u32,
    /// The first instant at which it can no longer be committed, nor used.
    pub deadline: Timestamp,
    /// The grace period that the replaced version gets at the commit.
    pub grace_seconds: u64,
}

/// A credential's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Credential {
    /// Whether it can still do anything.
    pub status: Status,
    /// Its id.
    pub id: CredentialId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// How its secret is presented.
    pub kind: Kind,
    /// The highest version ever made.
    pub last_version: u32,
    /// The active version, unless it was revoked.
    pub active: Option<u32>,
    /// The version in its grace period.
    pub retiring: Option<Retiring>,
    /// The version that waits to be committed.
    pub prepared: Option<Prepared>,
    /// The version that may still fetch the answer to its own replacement.
    pub replay_only: Option<ReplayOnly>,
}

impl Credential {
    /// The version that may fetch an answer and nothing else, unless its time is over.
    pub fn replay_only_at(&self, now: Timestamp) -> Option<ReplayOnly> {
        self.replay_only.filter(|r| now < r.until)
    }

    /// The retiring version, unless its time is over. Time decides, not the expiry event.
    pub fn retiring_at(&self, now: Timestamp) -> Option<Retiring> {
        self.retiring.filter(|r| now < r.expires_at)
    }

    /// The prepared version, unless its deadline is over.
    pub fn prepared_at(&self, now: Timestamp) -> Option<Prepared> {
        self.prepared.filter(|p| now < p.deadline)
    }

    /// The versions that are accepted at `now`, newest first.
    pub fn live_versions(&self, now: Timestamp) -> impl Iterator<Item = u32> {
        let alive = self.status == Status::Active;
        [self.prepared_at(now).map(|p| p.version), self.active, self.retiring_at(now).map(|r| r.version)]
            .into_iter()
            .flatten()
            .filter(move |_| alive)
    }

    /// Takes in what has happened.
    pub fn evolve(&mut self, event: &CredentialEvent) {
        match event {
            CredentialEvent::CredentialIssued(e) => {
                self.status = Status::Active;
                self.id = e.credential;
                self.workspace = e.workspace;
                self.kind = e.kind;
                self.last_version = e.secret.version;
                self.active = Some(e.secret.version);
            }
            CredentialEvent::SecretRotated(e) => {
                self.last_version = e.secret.version;
                self.active = Some(e.secret.version);
                self.retiring = e.replaced.as_ref().and_then(Replaced::retiring);
                self.replay_only = e.replaced.as_ref().and_then(Replaced::replay_only);
            }
            CredentialEvent::RotationPrepared(e) => {
                self.last_version = e.secret.version;
                self.prepared = Some(Prepared {
                    version: e.secret.version,
                    deadline: e.deadline,
                    grace_seconds: e.grace_seconds,
                });
            }
            CredentialEvent::PreparedSecretRotated(e) => {
                self.prepared = None;
                self.active = Some(e.version);
                self.retiring = e.replaced.as_ref().and_then(Replaced::retiring);
                self.replay_only = None;
            }
            CredentialEvent::RotationCancelled(_) => self.prepared = None,
            CredentialEvent::OldSecretExpired(e) => {
                self.retiring = None;
                // Time alone leaves it what it may still fetch; whoever ends it early means it.
                if e.cause != ExpiryCause::Due {
                    self.replay_only = None;
                }
            }
            CredentialEvent::SecretRevoked(e) => {
                self.active = self.active.filter(|v| *v != e.version);
                self.retiring = self.retiring.filter(|r| r.version != e.version);
                self.prepared = self.prepared.filter(|p| p.version != e.version);
                self.replay_only = None;
            }
            CredentialEvent::CredentialRevoked(_) => {
                self.status = Status::Revoked;
                self.active = None;
                self.retiring = None;
                self.prepared = None;
                self.replay_only = None;
            }
            CredentialEvent::ReplayEnded(_) => self.replay_only = None,
            CredentialEvent::GraceHeld(e) => {
                if let Some(retiring) = self.retiring.as_mut().filter(|r| r.version == e.version) {
                    retiring.expires_at = e.expires_at;
                }
            }
            CredentialEvent::CredentialDescribed(_) => {}
        }
    }
}

impl Aggregate for Credential {
    const TYPE: &'static str = "credential";
    type Command = CredentialCommand;
    type Event = CredentialEvent;
    type Error = CredentialRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: CredentialCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), CredentialRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: CredentialEvent) {
        self.evolve(&event);
    }
}
