//! Changes that bring no secret: ending grace periods, committing and cancelling rotations, revoking,
//! describing.

use rota_aggregates::authority::Role;
use rota_aggregates::credential::{
    CancelRotation, CommitCause, CommitRotation, CredentialCommand, CredentialEvent, DescribeCredential,
    EndCause, EndQuietGrace, EndReplay, ExpireOldSecret, HoldGrace, ReplayEndCause, RevokeCredential,
    RevokeSecret,
};
use rota_aggregates::{CredentialId, Event, Position, StreamId, Timestamp};
use rota_projections::credential::CredentialView;
use serde_json::{Map, Value};

use super::change::{ATTEMPTS_MAX, Along, Committed, Expected, Subject, decide};
use super::issue::webhook_of;
use super::rotate::check_reason;
use super::{App, Caller, Failure};
use crate::log::Append;

/// A change without a secret.
#[derive(Clone, Debug)]
pub enum Change {
    /// End the grace period now.
    EndGrace,
    /// End the grace period of this version because its time is over.
    Expire {
        /// The version that was due.
        version: u32,
    },
    /// Let the prepared secret replace the active one.
    Commit {
        /// What led to it.
        cause: CommitCause,
        /// The prepared version that is meant; `None` for whichever it is.
        version: Option<u32>,
    },
    /// Drop the prepared secret.
    Cancel {
        /// Why now.
        cause: EndCause,
    },
    /// End the grace period of this version because nobody uses it.
    EndQuiet {
        /// The version.
        version: u32,
        /// When it was replaced.
        replaced_at: Timestamp,
        /// Since when nobody is known to have used it.
        quiet_since: Timestamp,
    },
    /// Prolong the grace period of this version because somebody uses it.
    Hold {
        /// The version.
        version: u32,
        /// When it was replaced.
        replaced_at: Timestamp,
        /// When it was used last.
        used_at: Timestamp,
    },
    /// Let a replaced secret fetch its rotation's answer no longer.
    EndReplay {
        /// What led to it.
        cause: ReplayEndCause,
    },
    /// End one version.
    RevokeSecret {
        /// The version.
        version: u32,
    },
    /// End the credential.
    Revoke,
    /// Change name or description. A profile is given whole.
    Describe {
        /// The new name.
        name: Option<String>,
        /// The new profile.
        profile: Option<Map<String, Value>>,
        /// The names of what changes.
        changed: Vec<String>,
    },
}

/// What came of deciding once.
pub(super) enum Attempt {
    /// It is recorded; without a position it was so already.
    Done(Option<Position>),
    /// The log has moved on: look again.
    Stale,
}

impl Change {
    fn operation(&self) -> &'static str {
        match self {
            Self::EndGrace | Self::Expire { .. } | Self::EndQuiet { .. } => "expire-old",
            Self::Hold { .. } => "hold-grace",
            Self::Commit { .. } => "commit",
            Self::Cancel { .. } => "cancel",
            Self::EndReplay { .. } => "end-replay",
            Self::RevokeSecret { .. } => "revoke-secret",
            Self::Revoke => "revoke",
            Self::Describe { .. } => "describe",
        }
    }

    /// Who may do it, and whether a credential may do it to itself.
    fn allowed(&self) -> (&'static [Role], bool) {
        match self {
            Self::EndGrace
            | Self::Expire { .. }
            | Self::EndQuiet { .. }
            | Self::Hold { .. }
            | Self::Commit { .. }
            | Self::Cancel { .. }
            | Self::EndReplay { .. } => (&[Role::Rotator], true),
            Self::RevokeSecret { .. } | Self::Revoke | Self::Describe { .. } => (&[Role::Admin], false),
        }
    }

    /// The version that is meant: as it is at the first look. A decision that is made again means the same.
    fn version(&self, subject: &Subject) -> Option<u32> {
        let state = &subject.live.state;
        match self {
            Self::EndGrace => state.retiring.map(|r| r.version),
            Self::Commit { version, .. } => version.or(state.prepared.map(|p| p.version)),
            Self::Cancel { .. } => state.prepared.map(|p| p.version),
            Self::Expire { version }
            | Self::RevokeSecret { version }
            | Self::EndQuiet { version, .. }
            | Self::Hold { version, .. } => Some(*version),
            Self::Revoke | Self::Describe { .. } | Self::EndReplay { .. } => None,
        }
    }

    fn command(&self, subject: &Subject, means: Option<u32>) -> CredentialCommand {
        let (proof, sealed, now) = (subject.caller.proof(), subject.sealed.clone(), subject.now);
        match self {
            Self::EndGrace => CredentialCommand::ExpireOld(ExpireOldSecret {
                means,
                cause: EndCause::Call,
                proof,
                sealed,
                now,
            }),
            Self::Expire { .. } => CredentialCommand::ExpireOld(ExpireOldSecret {
                means,
                cause: EndCause::Due,
                proof,
                sealed,
                now,
            }),
            Self::EndQuiet { version, replaced_at, quiet_since } => {
                CredentialCommand::EndQuietGrace(EndQuietGrace {
                    version: *version,
                    replaced_at: *replaced_at,
                    quiet_since: *quiet_since,
                    policy: subject.policy,
                    sealed,
                    now,
                })
            }
            Self::Hold { version, replaced_at, used_at } => CredentialCommand::HoldGrace(HoldGrace {
                version: *version,
                replaced_at: *replaced_at,
                used_at: *used_at,
                policy: subject.policy,
                now,
            }),
            Self::Commit { cause, .. } => CredentialCommand::Commit(CommitRotation {
                means,
                cause: *cause,
                proof,
                policy: subject.policy,
                sealed,
                now,
            }),
            Self::Cancel { cause } => {
                CredentialCommand::Cancel(CancelRotation { means: None, cause: *cause, proof, sealed, now })
            }
            Self::EndReplay { cause } => {
                CredentialCommand::EndReplay(EndReplay { cause: *cause, sealed, now })
            }
            Self::RevokeSecret { version } => {
                CredentialCommand::RevokeSecret(RevokeSecret { version: *version, proof, sealed, now })
            }
            Self::Revoke => CredentialCommand::Revoke(RevokeCredential { proof, sealed, now }),
            Self::Describe { changed, .. } => {
                CredentialCommand::Describe(DescribeCredential { changed: changed.clone(), proof, now })
            }
        }
    }
}

impl App {
    /// Carries out a change. The position of its last event; `None` if it was so already.
    pub async fn change(
        &self,
        caller: &Caller,
        id: CredentialId,
        change: &Change,
        reason: Option<&str>,
    ) -> Result<Option<Position>, Failure> {
        check_reason(reason)?;
        if let Change::Describe { name: Some(name), .. } = change {
            super::issue::check_name("name", name)?;
        }
        let (roles, itself) = change.allowed();
        let mut means = None;
        for _ in 0..ATTEMPTS_MAX {
            let subject = self.subject(caller, id)?;
            means = means.or_else(|| change.version(&subject));
            let workspace = subject.live.state.workspace;
            self.allow(&subject.caller, id, workspace, roles, itself, change.operation()).await?;
            self.check_current(&subject.caller, id, change.operation()).await?;
            if let Attempt::Done(position) = self.attempt(subject, id, change, means, reason).await? {
                return Ok(position);
            }
        }
        Err(Failure::Overloaded)
    }

    /// Changes name or description from what they are: `edit` is given the credential as it is at the decision, and
    /// is asked again if it has changed in the meantime.
    pub async fn describe(
        &self,
        caller: &Caller,
        id: CredentialId,
        edit: impl Fn(&CredentialView) -> Result<Change, Failure>,
    ) -> Result<Option<Position>, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let subject = self.subject(caller, id)?;
            let workspace = subject.live.state.workspace;
            self.allow(&subject.caller, id, workspace, &[Role::Admin], false, "describe").await?;
            self.check_current(&subject.caller, id, "describe").await?;
            let view = self.view(id, None).await?.ok_or(Failure::NotFound("credential"))?;
            if view.sequence != subject.live.sequence {
                // On a shared store the views may be ahead of the tip.
                self.current().await?;
                continue;
            }
            let change = edit(&view)?;
            if let Change::Describe { name: Some(name), .. } = &change {
                super::issue::check_name("name", name)?;
            }
            if let Attempt::Done(position) = self.attempt(subject, id, &change, None, None).await? {
                return Ok(position);
            }
        }
        Err(Failure::Overloaded)
    }

    /// What ends with a credential, in the same append, since it is of no use without it: its webhook secret.
    async fn belongings(&self, subject: &Subject) -> Result<(Expected, Vec<CredentialEvent>), Failure> {
        let id = webhook_of(subject.live.state.id);
        let webhook = match self.subject(&subject.caller, id) {
            Ok(webhook) => webhook,
            // Nor may one be made in the meantime.
            Err(Failure::NotFound(_)) => return Ok((vec![(StreamId::credential(id), None)], Vec::new())),
            Err(failure) => return Err(failure),
        };
        let events = decide(webhook.live.state, Change::Revoke.command(&webhook, None)).await?;
        Ok((webhook.expected, events))
    }

    /// Decides and appends once.
    pub(super) async fn attempt(
        &self,
        subject: Subject,
        id: CredentialId,
        change: &Change,
        means: Option<u32>,
        reason: Option<&str>,
    ) -> Result<Attempt, Failure> {
        let workspace = subject.live.state.workspace;
        let place = self.place()?;
        let events = match decide(subject.live.state, change.command(&subject, means)).await {
            Ok(events) => events,
            Err(refusal) if matches!(change, Change::Commit { cause: CommitCause::FirstUse, .. }) => {
                // A login that came too late for it is no refused change.
                return Err(refusal.into());
            }
            Err(refusal) => {
                drop(place);
                return Err(self.refuse(&subject.caller, id, change.operation(), refusal.into()).await);
            }
        };
        let mut expected = subject.expected.clone();
        let mut decided = Vec::with_capacity(2);
        if matches!(change, Change::Revoke) {
            let (theirs, events) = self.belongings(&subject).await?;
            expected.extend(theirs);
            decided.extend(events.into_iter().map(|event| (webhook_of(id), event)));
        }
        decided.extend(events.into_iter().map(|event| (id, event)));
        if decided.is_empty() {
            return Ok(Attempt::Done(None));
        }
        let mut details = subject.caller.details();
        details.reason = reason.map(str::to_owned);
        if let Change::Describe { name, profile, .. } = change {
            details.name.clone_from(name);
            details.profile.clone_from(profile);
        }
        let along = Along { details, ..Along::default() };
        let shred = decided.iter().flat_map(|(_, event)| event.shredded()).copied().collect();
        let events = decided.into_iter().map(|(id, e)| (StreamId::credential(id), Event::from(e))).collect();
        let mut entropy = self.entropy()?;
        let events = self.encode(&subject.caller, workspace, events, &along, subject.now, &mut entropy)?;
        let append = Append { expected, claim: None, events, shred, decided_at: subject.now };
        match self.commit(place, append, None).await {
            Ok(Some(recording)) => Ok(Attempt::Done(Some(recording.last))),
            Ok(None) => Ok(Attempt::Stale),
            Err(Committed::Failed(failure)) => Err(failure),
            Err(Committed::Before(position)) => Ok(Attempt::Done(Some(position))),
        }
    }
}
