//! What has happened, taken into the state. No rules here.

use super::schedule::Success;
use super::{
    Aftermath, Attempt, AttemptCause, AttemptFailed, AttemptStarted, CredentialPromoted, Deletion, Fault,
    Held, ManagedRotation, ManagedRotationEvent as E, Model, Reconciliation, SETTLE_TRIES_MAX, SealedAt,
    Stage, Step, UNSETTLED_SECONDS, UNSETTLED_SECONDS_MAX,
};
use crate::ids::Position;

impl ManagedRotation {
    /// Takes in what has happened.
    pub fn evolve(&mut self, event: &E) {
        match event {
            E::RotationCreated(e) => {
                *self = Self {
                    stage: Stage::Creating,
                    workspace: e.workspace,
                    kind: e.kind.clone(),
                    model: e.model,
                    connection: e.connection,
                    folder: e.folder,
                    settings: e.settings.clone(),
                    created_at: e.at,
                    updated_at: e.at,
                    ..Self::default()
                };
            }
            E::RotationUpdated(e) => {
                let due = self.settings.schedule != e.settings.schedule;
                self.settings = e.settings.clone();
                self.updated_at = e.at;
                if due {
                    self.next_at = self.next_from_last();
                }
            }
            E::RotationMoved(e) => (self.folder, self.updated_at) = (e.to, e.at),
            E::AttemptStarted(e) => self.started(e),
            E::AttemptTakenOver(e) => {
                if let Some(a) = self.attempt.as_mut().filter(|a| a.id == e.attempt) {
                    // Whoever had it may have sent something to the target a moment ago.
                    if a.by != e.by && matches!(a.step, Step::Set | Step::Vacate) {
                        a.unclear_at = Some(e.at);
                    }
                    a.by = e.by;
                    a.stuck = None;
                    a.not_before = e.at;
                }
                if let Some(deletion) = self.deletion.as_mut().filter(|d| d.id == e.attempt) {
                    deletion.by = e.by;
                }
            }
            E::CredentialSet(e) => {
                if let Some(a) = &mut self.attempt {
                    a.is_set = true;
                    (a.step, a.tries, a.not_before) = (Step::Verify, 0, e.at);
                }
            }
            E::CredentialVerified(_) => {}
            E::CredentialPromoted(e) => self.promoted(e),
            E::PreviousRetired(e) => {
                let Some(a) = &mut self.attempt else { return };
                if a.step == Step::Vacate {
                    (a.step, a.tries, a.not_before, a.retires) = (Step::Set, 0, e.at, None);
                    self.slots[usize::from(a.slot % 2)] = None;
                } else {
                    self.attempt = None;
                }
            }
            E::StepFailed(e) => {
                let Some(a) = &mut self.attempt else { return };
                if e.unclear {
                    a.unclear_at = Some(e.at);
                }
                a.tries = if e.next == e.step { e.tries } else { 0 };
                a.step = e.next;
                a.reason = Some(e.reason.clone());
                a.not_before = e.retry_at;
            }
            E::AttemptFailed(e) => self.failed(e),
            E::RotationReconciled(e) => {
                if e.outcome == Reconciliation::InStep {
                    self.last.fault = None;
                    self.next_at = self.next_from_last();
                }
            }
            E::DeletionStarted(e) => {
                self.stage = Stage::Deleting;
                let (id, by, delete_secrets, started_at) = (e.attempt, e.by, e.delete_secrets, e.at);
                self.deletion = Some(Deletion { id, by, delete_secrets, started_at });
            }
            E::CredentialRevoked(e) => {
                if let Some(held) = &mut self.slots[usize::from(e.slot % 2)] {
                    held.ended = true;
                }
            }
            E::DeletionFailed(_) => {
                self.stage = if self.version == 0 { Stage::Creating } else { Stage::Active };
                self.deletion = None;
            }
            E::RotationDeleted(e) => {
                self.stage = Stage::Deleted;
                (self.attempt, self.deletion, self.next_at) = (None, None, None);
                self.updated_at = e.at;
                if e.secrets_deleted {
                    self.settings.mapping.clear();
                }
            }
            E::SecretsDeleted(e) => {
                self.settings.mapping.retain(|field, _| !e.fields.contains(field));
                self.updated_at = e.at;
            }
        }
    }

    fn started(&mut self, e: &AttemptStarted) {
        let slot = usize::from(e.slot % 2);
        let occupied = self.slots[slot].filter(|held| !held.ended);
        let vacates = occupied.filter(|_| self.model == Model::Keys);
        let is_reset = e.cause == AttemptCause::Reset
            || self.attempt.as_ref().is_some_and(|a| a.stuck == Some(Aftermath::OutOfStep));
        self.attempt = Some(Attempt {
            id: e.attempt,
            slot: e.slot % 2,
            cause: e.cause,
            by: e.by,
            step: if vacates.is_some() { Step::Vacate } else { Step::Set },
            tries: 0,
            not_before: e.at,
            unclear_at: None,
            is_set: false,
            is_promoted: false,
            is_reset,
            stuck: None,
            reason: None,
            retires: vacates.map(|held| held.version),
            started_at: e.at,
            due_at: e.due_at,
        });
    }

    fn promoted(&mut self, e: &CredentialPromoted) {
        let Some(mut a) = self.attempt.take() else { return };
        let (slot, before) = (usize::from(e.slot % 2), usize::from(self.active % 2));
        let first = self.version == 0;
        let former = self.slots[slot].filter(|held| !held.ended);
        let replaced = self.slots[before].filter(|held| !first && !held.ended);
        if !first && let Some(held) = &mut self.slots[before] {
            held.replaced_at = Some(e.at);
            held.ended |= self.model == Model::Single;
        }
        self.slots[slot] = Some(Held { version: e.version, since: e.at, replaced_at: None, ended: false });
        (self.active, self.version, self.stage) = (e.slot % 2, e.version, Stage::Active);
        let by_hand = a.cause != AttemptCause::Schedule;
        self.last.attempt = Some(a.id);
        (self.last.attempted_at, self.last.succeeded_at) = (Some(e.at), Some(e.at));
        self.last.manual = by_hand;
        self.last.due_at = a.due_at.map(|due| self.last.anchor.unwrap_or(due));
        (self.last.fault, self.last.anchor) = (None, None);
        if !by_hand {
            self.last.scheduled = Some(a.id);
        }
        (self.next_at, self.updated_at) = (e.next_at, e.at);
        let retires = if self.model == Model::Single { replaced } else { former };
        a.retires = retires.map(|held| held.version);
        a.is_promoted = true;
        (a.step, a.tries, a.not_before, a.unclear_at) = (Step::Retire, 0, e.at, None);
        self.attempt = retires.map(|_| a);
    }

    fn failed(&mut self, e: &AttemptFailed) {
        if e.aftermath != Aftermath::NotRetired {
            self.last.attempt = Some(e.attempt);
            self.last.attempted_at = Some(e.at);
            let (step, aftermath, reason) = (e.step, e.aftermath, e.reason.clone());
            self.last.fault = Some(Fault { step, aftermath, reason });
            if e.cause == AttemptCause::Schedule {
                self.last.scheduled = Some(e.attempt);
                self.last.anchor = self.last.anchor.or(e.due_at);
            }
            (self.next_at, self.updated_at) = (e.next_at, e.at);
        }
        let Some(a) = self.attempt.as_mut().filter(|a| a.id == e.attempt) else { return };
        if e.aftermath == Aftermath::Intact {
            self.attempt = None;
            return;
        }
        a.stuck = Some(e.aftermath);
        a.reason = Some(e.reason.clone());
        a.tries = (a.tries + 1).max(if e.step == Step::Settle { SETTLE_TRIES_MAX } else { 1 });
        let doublings = a.tries.saturating_sub(SETTLE_TRIES_MAX).min(8);
        let pause = (UNSETTLED_SECONDS << doublings).min(UNSETTLED_SECONDS_MAX);
        a.not_before = e.at.plus_seconds(pause);
    }

    /// When it is due, after its schedule was changed.
    fn next_from_last(&self) -> Option<crate::Timestamp> {
        match (self.last.fault.is_some(), self.last.attempted_at, self.last.succeeded_at) {
            (true, Some(at), _) => self.settings.schedule.after_failure(at),
            (_, _, Some(at)) => {
                self.settings.schedule.after_success(Success { at, due_at: self.last.due_at })
            }
            _ => None,
        }
    }
}

impl SealedAt {
    /// Follows the sealed parts through an event at `position`, from the state before it.
    pub fn follow(&mut self, before: &ManagedRotation, event: &E, position: Position) {
        for part in event.shredded() {
            let gone = |at: &mut Option<Position>| *at = at.filter(|at| *at != part.position);
            gone(&mut self.parameters);
            gone(&mut self.intent);
            gone(&mut self.pending);
            gone(&mut self.former);
            self.slots.iter_mut().for_each(gone);
        }
        match event {
            E::RotationCreated(_) => self.parameters = Some(position),
            E::RotationUpdated(e) if e.sealed.is_some() => self.parameters = Some(position),
            E::AttemptStarted(_) => self.intent = Some(position),
            E::CredentialSet(_) => self.pending = Some(position),
            E::CredentialPromoted(e) => {
                let slot = &mut self.slots[usize::from(e.slot % 2)];
                // What is to be retired was not destroyed with this event.
                self.former = slot.take().filter(|_| before.model != Model::Single);
                *slot = self.pending.take();
            }
            _ => {}
        }
    }
}
