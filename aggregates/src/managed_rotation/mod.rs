//! The managed rotation: a credential that lives in another system, and that rota rotates.
//!
//! An attempt goes through its steps one by one, and each has an event of its own: the intent is durable before the
//! target is touched; the new credential is published after a login with it; only then is the one before retired, and
//! only if rota made it. A step that fails is tried again, a bounded number of times. What nobody knows is settled by
//! asking the target, and until then the intent stays.
//!
//! - `schedule.rs`: when it is due;
//! - `decide.rs`: the rules;
//! - `events.rs`: what is stored for ever.

mod commands;
mod decide;
mod events;
mod evolve;
mod refusal;
pub mod schedule;

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::commands::{
    CreateRotation, FailStep, ManagedRotationCommand, SealedAt, StartAttempt, UpdateRotation,
};
pub use self::events::{
    Aftermath, AttemptCause, AttemptFailed, AttemptStarted, AttemptTakenOver, CredentialPromoted,
    CredentialRevoked, CredentialSet, CredentialVerified, DeletionFailed, DeletionStarted,
    ManagedRotationEvent, Mapped, Model, PreviousRetired, Reconciliation, RotationCreated, RotationDeleted,
    RotationMoved, RotationReconciled, RotationUpdated, SecretsDeleted, Settings, Step, StepFailed,
};
pub use self::refusal::RotationRefusal;
use self::schedule::{Schedule, Success};
use crate::ids::{AttemptId, ConnectionId, FolderId, WorkspaceId};
use crate::time::Timestamp;

/// A step is tried at most so often.
pub const TRIES_MAX: u32 = 5;
/// Settling is tried so often before an attempt is given up unsettled.
pub const SETTLE_TRIES_MAX: u32 = 8;
/// The first pause before another try; each further one is twice as long.
pub const RETRY_SECONDS: u64 = 2;
/// The longest such pause.
pub const RETRY_SECONDS_MAX: u64 = 300;
/// What was sent to a target has arrived, or never will, after so long.
pub const STEP_SECONDS: u64 = 30;
/// An attempt that was given up unsettled is looked at again after so long, and then after twice that …
pub const UNSETTLED_SECONDS: u64 = 3_600;
/// … up to this long.
pub const UNSETTLED_SECONDS_MAX: u64 = 86_400;
/// A rotation that was due so long ago is overdue.
pub const OVERDUE_SECONDS: u64 = 3_600;
/// A rotation has at most so many fields.
pub const FIELDS_MAX: usize = 8;
/// The longest name of a mapped secret, in bytes.
pub const KEY_BYTES_MAX: usize = 255;
/// The longest name of a rotation.
pub const NAME_BYTES_MAX: usize = 64;

/// Whether there is such a rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Stage {
    /// It was never made.
    #[default]
    Absent,
    /// Its first credential is still to be published.
    Creating,
    /// It has published a credential.
    Active,
    /// What it made is being ended at the target.
    Deleting,
    /// It is no more. Secrets that it left behind may be.
    Deleted,
}

/// A credential that rota made, in one of the two places.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// The version of the mapped secrets that it was published as.
    pub version: u32,
    /// When it was published.
    pub since: Timestamp,
    /// When another took its place as the active one.
    pub replaced_at: Option<Timestamp>,
    /// Whether the target takes it no more.
    pub ended: bool,
}

/// An attempt that is not over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// The place that it fills.
    pub slot: u8,
    /// What led to it.
    pub cause: AttemptCause,
    /// The process that carries it out.
    pub by: Uuid,
    /// The step that comes next.
    pub step: Step,
    /// How often that was tried.
    pub tries: u32,
    /// It is not tried before then.
    pub not_before: Timestamp,
    /// When something was last sent to the target whose answer was lost.
    pub unclear_at: Option<Timestamp>,
    /// Whether the target has the new credential.
    pub is_set: bool,
    /// Whether it is published.
    pub is_promoted: bool,
    /// Whether the connection sets the credential by its own authority, since nobody knows a valid one.
    pub is_reset: bool,
    /// How it was given up, if it was: nobody works on it until somebody asks, or for a long while.
    pub stuck: Option<Aftermath>,
    /// Why the last step that failed did.
    pub reason: Option<String>,
    /// The version of the mapped secrets that is to be retired.
    pub retires: Option<u32>,
    /// When it began.
    pub started_at: Timestamp,
    /// The instant at which it was due.
    pub due_at: Option<Timestamp>,
}

/// A deletion that is not over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Deletion {
    /// Its id.
    pub id: AttemptId,
    /// The process that carries it out.
    pub by: Uuid,
    /// Whether the mapped secrets are deleted too.
    pub delete_secrets: bool,
    /// When it began.
    pub started_at: Timestamp,
}

/// Why the last attempt failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// The step that failed.
    pub step: Step,
    /// What is known of the target.
    pub aftermath: Aftermath,
    /// Why.
    pub reason: String,
}

/// What became of the attempts so far.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Last {
    /// The last attempt that is over.
    pub attempt: Option<AttemptId>,
    /// When that was.
    pub attempted_at: Option<Timestamp>,
    /// When one last succeeded.
    pub succeeded_at: Option<Timestamp>,
    /// Whether that one was asked for.
    pub manual: bool,
    /// The instant at which that one was due.
    pub due_at: Option<Timestamp>,
    /// Why the last one failed; nothing if it succeeded.
    pub fault: Option<Fault>,
    /// The last attempt that the schedule began.
    pub scheduled: Option<AttemptId>,
    /// The instant at which what keeps failing was first due: what comes after it is counted from there.
    pub anchor: Option<Timestamp>,
}

/// A managed rotation's state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ManagedRotation {
    /// Whether there is such a rotation.
    pub stage: Stage,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// The kind of target.
    pub kind: String,
    /// Who chooses the secret there.
    pub model: Model,
    /// How the target is reached.
    pub connection: ConnectionId,
    /// The folder that its secrets are in.
    pub folder: FolderId,
    /// What may be changed.
    pub settings: Settings,
    /// The place that is published.
    pub active: u8,
    /// What is in the two places.
    pub slots: [Option<Held>; 2],
    /// The version of the mapped secrets: how often a credential was published.
    pub version: u32,
    /// The attempt that is not over.
    pub attempt: Option<Attempt>,
    /// The deletion that is not over.
    pub deletion: Option<Deletion>,
    /// What became of the attempts so far.
    pub last: Last,
    /// When it is due.
    pub next_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl ManagedRotation {
    /// Whether people see it.
    pub fn exists(&self) -> bool {
        matches!(self.stage, Stage::Active | Stage::Deleting)
    }

    /// The place that the next attempt fills.
    pub fn next_slot(&self) -> u8 {
        if self.version == 0 { 0 } else { (self.active + 1) % 2 }
    }

    /// What is published, if the target still takes it as far as rota knows.
    pub fn active_held(&self) -> Option<Held> {
        self.slots[usize::from(self.active % 2)]
    }

    /// The names of the mapped secrets.
    pub fn keys(&self) -> BTreeMap<&str, &Mapped> {
        self.settings.mapping.iter().map(|(field, mapped)| (field.as_str(), mapped)).collect()
    }

    /// The first instant at which an attempt may replace what is in its place.
    pub fn overlap_until(&self, min_overlap_seconds: u64) -> Option<Timestamp> {
        if self.model == Model::Single || min_overlap_seconds == 0 {
            return None;
        }
        let held = self.slots[usize::from(self.next_slot())].filter(|held| !held.ended)?;
        held.replaced_at.map(|at| at.plus_seconds(min_overlap_seconds))
    }

    /// When it runs by its schedule, if nothing fails.
    pub fn runs_at(&self) -> Option<Timestamp> {
        self.next_at.map(|next| self.schedule().runs_at(next, next))
    }

    /// When it is overdue, unless it succeeds before.
    pub fn overdue_at(&self) -> Option<Timestamp> {
        let next = self.next_at?;
        // What keeps failing is put off from day to day, and is due since it first was.
        let due = self.last.anchor.map_or(next, |anchor| anchor.min(next));
        Some(self.schedule().runs_at(due, due).plus_seconds(OVERDUE_SECONDS))
    }

    /// When something is to be done about an attempt or a deletion that is not over.
    pub fn unfinished_at(&self) -> Option<Timestamp> {
        let deletion = self.deletion.map(|deletion| deletion.started_at);
        let waits =
            |attempt: &&Attempt| !matches!(attempt.stuck, Some(Aftermath::OutOfStep | Aftermath::NotRetired));
        let attempt = self.attempt.as_ref().filter(waits).map(|attempt| attempt.not_before);
        [deletion, attempt].into_iter().flatten().min()
    }

    fn next_after(&self, at: Timestamp, due_at: Option<Timestamp>) -> Option<Timestamp> {
        self.schedule()
            .after_success(Success { at, due_at: due_at.map(|due| self.last.anchor.unwrap_or(due)) })
    }

    fn schedule(&self) -> &Schedule {
        &self.settings.schedule
    }
}

impl Aggregate for ManagedRotation {
    const TYPE: &'static str = "managed-rotation";
    type Command = ManagedRotationCommand;
    type Event = ManagedRotationEvent;
    type Error = RotationRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: ManagedRotationCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), RotationRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ManagedRotationEvent) {
        self.evolve(&event);
    }
}
