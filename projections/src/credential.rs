//! One credential with all its versions, as people see it: folded when somebody asks, up to any position.

use rota_aggregates::authority::Roles;
use rota_aggregates::credential::{CredentialEvent, Kind, Replaced, SecretRef, Status};
use rota_aggregates::custody::Custody;
use rota_aggregates::observation::ObservationEvent;
use rota_aggregates::secret::Mode;
use rota_aggregates::{CredentialId, Event, Position, Sequence, StreamKind, Timestamp, WorkspaceId};
use serde_json::{Map, Value};

use crate::live::UseMark;
use crate::{Details, Fact, Recorded};

/// Where a version stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VersionStatus {
    /// It waits to be committed.
    Prepared,
    /// It is the one to use.
    Active,
    /// It was replaced and is in its grace period.
    Retiring,
    /// Its time is over.
    Expired,
    /// It was ended before its time.
    Revoked,
}

impl VersionStatus {
    /// The status's name on every wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A secret version.
#[derive(Clone, PartialEq, Debug)]
pub struct VersionView {
    /// Its number, from 1.
    pub version: u32,
    /// The last four characters.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What the events say of it; see [`VersionView::status_at`] for what it is at an instant.
    pub status: VersionStatus,
    /// The first instant at which it is refused, while or after it retires or waits.
    pub expires_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its first known use.
    pub first_used_at: Option<Timestamp>,
    /// Its last known use, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// In how many minutes of its grace period it was used.
    pub old_uses: u64,
}

impl VersionView {
    fn new(secret: &SecretRef, at: Timestamp, status: VersionStatus) -> Self {
        Self {
            version: secret.version,
            hint: secret.hint.clone(),
            created_at: at,
            status,
            expires_at: None,
            ended_at: None,
            first_used_at: None,
            last_used_at: None,
            old_uses: 0,
        }
    }

    /// What the version is at an instant. Time decides, not the event that records it: invariant 4.
    pub fn status_at(&self, now: Timestamp) -> VersionStatus {
        match (self.status, self.expires_at) {
            (VersionStatus::Retiring | VersionStatus::Prepared, Some(end)) if now >= end => {
                VersionStatus::Expired
            }
            (status, _) => status,
        }
    }

    /// When the version ended, as known at an instant.
    pub fn ended_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self.status_at(now) {
            VersionStatus::Expired => self.ended_at.or(self.expires_at),
            _ => self.ended_at,
        }
    }

    fn end(&mut self, status: VersionStatus, at: Timestamp) {
        self.status = status;
        self.ended_at = Some(at);
    }

    fn used(&mut self, at: Timestamp) {
        self.first_used_at = Some(self.first_used_at.map_or(at, |first| first.min(at)));
        self.last_used_at = Some(self.last_used_at.map_or(at, |last| last.max(at)));
    }
}

/// A credential.
#[derive(Clone, PartialEq, Debug)]
pub struct CredentialView {
    /// Its id.
    pub id: CredentialId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// How its secret is presented.
    pub kind: Kind,
    /// Its public identifier.
    pub public_id: String,
    /// Its name; `None` once erased.
    pub name: Option<String>,
    /// The dialect's own description of it.
    pub profile: Map<String, Value>,
    /// What it may do in its workspace beyond itself.
    pub roles: Roles,
    /// For workspace keys: test or production.
    pub mode: Option<Mode>,
    /// For webhook secrets: whose they are.
    pub parent: Option<CredentialId>,
    /// Who answers for it, and its own key as an owner.
    pub custody: Custody,
    /// Whether it can still do anything.
    pub status: Status,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When its active secret last changed.
    pub rotated_at: Timestamp,
    /// When anything about it last changed.
    pub updated_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Every version, oldest first.
    pub versions: Vec<VersionView>,
    /// The last event of its own stream that was folded in.
    pub sequence: Sequence,
    /// The event that issued it.
    pub issued_position: Position,
}

impl CredentialView {
    /// Folds the events about one credential, in position order. `None` if it was not issued among them.
    pub fn fold<'a>(events: impl IntoIterator<Item = &'a Recorded>) -> Option<Self> {
        let mut view = None;
        for event in events {
            Self::step(&mut view, &event.fact(), event.details.as_ref());
        }
        view
    }

    /// Takes one event in; the one that issues the credential makes the view.
    pub fn step(view: &mut Option<Self>, fact: &Fact<'_>, details: Option<&Details>) {
        match view {
            Some(view) => view.apply(fact, details),
            None => *view = Self::issued(fact, details),
        }
    }

    fn issued(fact: &Fact<'_>, details: Option<&Details>) -> Option<Self> {
        let Event::Credential(CredentialEvent::CredentialIssued(e)) = fact.event else { return None };
        Some(Self {
            id: e.credential,
            workspace: e.workspace,
            kind: e.kind,
            public_id: e.public_id.clone(),
            name: details.and_then(|d| d.name.clone()),
            profile: details.and_then(|d| d.profile.clone()).unwrap_or_default(),
            roles: e.roles,
            mode: e.mode,
            parent: e.parent,
            custody: Custody::default(),
            status: Status::Active,
            created_at: e.at,
            rotated_at: e.at,
            updated_at: e.at,
            revoked_at: None,
            versions: vec![VersionView::new(&e.secret, e.at, VersionStatus::Active)],
            sequence: fact.sequence,
            issued_position: fact.position,
        })
    }

    fn version(&mut self, number: u32) -> Option<&mut VersionView> {
        self.versions.iter_mut().rev().find(|v| v.version == number)
    }

    fn replace(&mut self, replaced: Option<&Replaced>, at: Timestamp) {
        self.rotated_at = at;
        let Some(Replaced { version, expires_at, .. }) = replaced else { return };
        let Some(version) = self.version(*version) else { return };
        match expires_at {
            Some(end) => {
                version.status = VersionStatus::Retiring;
                version.expires_at = Some(*end);
            }
            None => version.end(VersionStatus::Expired, at),
        }
    }

    /// Takes an event about this credential in.
    pub fn apply(&mut self, fact: &Fact<'_>, details: Option<&Details>) {
        if fact.stream.kind == StreamKind::Credential {
            self.sequence = fact.sequence;
        }
        let event = match fact.event {
            Event::Credential(event) => event,
            Event::Observation(ObservationEvent::OldSecretUsed(e)) => {
                if let Some(version) = self.version(e.version) {
                    version.used(e.at);
                    version.old_uses += 1;
                }
                return;
            }
            Event::Custody(event) => return self.custody.evolve(event),
            _ => return,
        };
        match event {
            CredentialEvent::CredentialIssued(_) | CredentialEvent::ReplayEnded(_) => {}
            CredentialEvent::SecretRotated(e) => {
                self.replace(e.replaced.as_ref(), e.at);
                self.versions.push(VersionView::new(&e.secret, e.at, VersionStatus::Active));
                self.updated_at = e.at;
            }
            CredentialEvent::RotationPrepared(e) => {
                let mut version = VersionView::new(&e.secret, e.at, VersionStatus::Prepared);
                version.expires_at = Some(e.deadline);
                self.versions.push(version);
                self.updated_at = e.at;
            }
            CredentialEvent::PreparedSecretRotated(e) => {
                self.replace(e.replaced.as_ref(), e.at);
                if let Some(version) = self.version(e.version) {
                    version.status = VersionStatus::Active;
                    version.expires_at = None;
                    if e.cause == rota_aggregates::credential::CommitCause::FirstUse {
                        version.used(e.at);
                    }
                }
                self.updated_at = e.at;
            }
            CredentialEvent::RotationCancelled(e) => {
                if let Some(version) = self.version(e.version) {
                    version.end(VersionStatus::Expired, e.cancelled_at);
                }
                self.updated_at = self.updated_at.max(e.cancelled_at);
            }
            CredentialEvent::OldSecretExpired(e) => {
                if let Some(version) = self.version(e.version) {
                    version.end(VersionStatus::Expired, e.expired_at);
                    version.expires_at = Some(e.expired_at);
                }
                self.updated_at = self.updated_at.max(e.expired_at);
            }
            CredentialEvent::GraceHeld(e) => {
                if let Some(version) = self.version(e.version) {
                    version.expires_at = Some(e.expires_at);
                }
                self.updated_at = e.at;
            }
            CredentialEvent::SecretRevoked(e) => {
                if let Some(version) = self.version(e.version) {
                    version.end(VersionStatus::Revoked, e.at);
                }
                self.updated_at = e.at;
            }
            CredentialEvent::CredentialRevoked(e) => {
                for number in &e.versions {
                    if let Some(version) = self.version(*number) {
                        version.end(VersionStatus::Revoked, e.at);
                    }
                }
                self.status = Status::Revoked;
                self.revoked_at = Some(e.at);
                self.updated_at = e.at;
            }
            CredentialEvent::CredentialDescribed(e) => {
                if let Some(details) = details {
                    if e.changed.iter().any(|field| field == "name") {
                        self.name.clone_from(&details.name);
                    }
                    if let Some(profile) = &details.profile {
                        self.profile.clone_from(profile);
                    }
                }
                self.updated_at = e.at;
            }
        }
    }

    /// Adds the uses of the active secret, which are noted outside the feed.
    pub fn note(&mut self, mark: &UseMark) {
        let seconds = |s: u32| Timestamp::from_micros(i64::from(s) * 1_000_000);
        if let Some(version) = self.version(mark.version) {
            version.used(seconds(mark.first).max(version.created_at));
            version.used(seconds(mark.last).max(version.created_at));
        }
    }

    /// The newest version's hint.
    pub fn hint(&self) -> &str {
        self.versions.last().map_or("", |v| v.hint.as_str())
    }
}
