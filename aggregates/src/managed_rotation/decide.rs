//! The rules of a managed rotation.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{
    Aftermath, Attempt, AttemptCause, AttemptFailed, AttemptStarted, AttemptTakenOver, CredentialPromoted,
    CredentialRevoked, CredentialSet, CredentialVerified, DeletionFailed, DeletionStarted, FIELDS_MAX,
    FailStep, KEY_BYTES_MAX, ManagedRotation, ManagedRotationCommand, ManagedRotationEvent, Model,
    NAME_BYTES_MAX, PreviousRetired, RETRY_SECONDS, RETRY_SECONDS_MAX, RotationCreated, RotationDeleted,
    RotationMoved, RotationReconciled, RotationRefusal, RotationUpdated, SETTLE_TRIES_MAX, STEP_SECONDS,
    SealedAt, SecretsDeleted, Settings, Stage, StartAttempt, Step, StepFailed, TRIES_MAX, UpdateRotation,
};
use crate::connection::cut;
use crate::ids::{AttemptId, Position};
use crate::observation::{PartRef, SealedPart};
use crate::time::Timestamp;

type Decision = Result<Vec<ManagedRotationEvent>, RotationRefusal>;

#[expect(clippy::unnecessary_wraps, reason = "most decisions end in it")]
fn one(event: impl Into<ManagedRotationEvent>) -> Decision {
    Ok(vec![event.into()])
}

fn parts(positions: impl IntoIterator<Item = Option<Position>>) -> Vec<PartRef> {
    let positions: BTreeSet<_> = positions.into_iter().flatten().collect();
    positions.into_iter().map(|position| PartRef { position, part: SealedPart::Secret }).collect()
}

impl Settings {
    /// The field that is out of bounds, and what is wrong with it.
    fn fault(&self) -> Option<(&'static str, &'static str)> {
        let slug = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=NAME_BYTES_MAX).contains(&self.name.len()) || !self.name.bytes().all(slug) {
            return Some(("name", "must be 1 to 64 lower-case letters, digits and hyphens"));
        }
        if !(1..=FIELDS_MAX).contains(&self.mapping.len()) {
            return Some(("secretsMapping", "must name the secret of every field"));
        }
        let key = |key: &str| {
            (1..=KEY_BYTES_MAX).contains(&key.len())
                && key.trim() == key
                && !key.contains([':', '/'])
                && !key.chars().any(char::is_control)
        };
        if !self.mapping.values().all(|mapped| key(&mapped.key)) {
            let reason = "must have names of 1 to 255 bytes without a colon, a slash or space around them";
            return Some(("secretsMapping", reason));
        }
        let keys: BTreeSet<_> = self.mapping.values().map(|mapped| &mapped.key).collect();
        if keys.len() != self.mapping.len() {
            return Some(("secretsMapping", "must have a name of its own for every field"));
        }
        self.schedule.fault()
    }

    fn check(&self) -> Result<(), RotationRefusal> {
        self.fault().map_or(Ok(()), |(field, reason)| Err(RotationRefusal::Invalid { field, reason }))
    }
}

impl ManagedRotation {
    /// The decision: what happens, or why not. No event means that it is so already.
    pub fn decide(&self, command: ManagedRotationCommand) -> Decision {
        use ManagedRotationCommand as C;
        if let C::Create(create) = command {
            return self.create(create);
        }
        if let C::DeleteSecrets { fields, sealed, now } = command {
            return self.delete_secrets(fields, sealed, now);
        }
        if matches!(self.stage, Stage::Absent | Stage::Deleted) {
            return Err(RotationRefusal::Unknown);
        }
        match command {
            C::Update(update) => self.update(update),
            C::Move { to, now } => match self.stage {
                Stage::Deleting => Err(RotationRefusal::Deleting),
                // Where it is belongs to what was asked for.
                Stage::Creating => Err(RotationRefusal::InProgress),
                _ if to == self.folder => Ok(vec![]),
                _ => one(RotationMoved { from: self.folder, to, at: now }),
            },
            C::Start(start) => self.start(&start),
            C::FailStart { attempt, cause, reason, now } => self.fail_start(attempt, cause, reason, now),
            C::TakeOver { attempt, by, now } => self.take_over(attempt, by, now),
            C::NoteSet { attempt, by, found, credential, now } => {
                let a = self.working(attempt, by, &[Step::Set, Step::Settle])?;
                if a.is_set {
                    return Err(RotationRefusal::Overtaken);
                }
                one(CredentialSet { attempt, slot: a.slot, found, sealed: credential, at: now })
            }
            C::Promote { attempt, by, sealed, now } => self.promote(attempt, by, sealed, now),
            C::NoteRetired { attempt, by, sealed, now } => {
                let a = self.working(attempt, by, &[Step::Vacate, Step::Retire])?;
                let slot = sealed.slots[usize::from(a.slot % 2)];
                let shredded = parts([if a.step == Step::Vacate { slot } else { sealed.former }]);
                let (version, sessions_ended) = (a.retires.unwrap_or_default(), self.settings.end_sessions);
                one(PreviousRetired { attempt, version, sessions_ended, shredded, at: now })
            }
            C::Fail(fail) => self.fail(fail),
            C::Settle { attempt, by, active, reason, sealed, now } => {
                let a = self.working(attempt, by, &[Step::Settle])?;
                if let Some(until) = a.unclear_at.map(|at| at.plus_seconds(STEP_SECONDS))
                    && now < until
                {
                    return Err(RotationRefusal::TooEarly { until });
                }
                let aftermath = if active == Some(false) { Aftermath::OutOfStep } else { Aftermath::Intact };
                Ok(self.give_up(&a, Step::Settle, aftermath, reason, sealed, now))
            }
            C::Reconcile { outcome, now } => one(RotationReconciled { outcome, at: now }),
            C::StartDeletion { attempt, by, delete_secrets, now } => {
                self.idle(true)?;
                one(DeletionStarted { attempt, by, delete_secrets, at: now })
            }
            C::NoteRevoked { attempt, by, slot, now } => {
                self.deleting(attempt, by)?;
                let held = self.slots[usize::from(slot % 2)].is_some_and(|held| !held.ended);
                if held { one(CredentialRevoked { attempt, slot, at: now }) } else { Ok(vec![]) }
            }
            C::FailDeletion { attempt, by, reason, now } => {
                self.deleting(attempt, by)?;
                one(DeletionFailed { attempt, reason: cut(reason), at: now })
            }
            C::Delete { revoked, delete_secrets, sealed, now } => {
                match (revoked, self.deletion) {
                    (None, _) => self.idle(true)?,
                    (Some(id), Some(deletion)) if deletion.id == id => {}
                    (Some(_), _) => return Err(RotationRefusal::Overtaken),
                }
                Ok(vec![self.deleted(revoked.is_some(), delete_secrets, sealed, now)])
            }
            C::Create(_) | C::DeleteSecrets { .. } => Ok(vec![]),
        }
    }

    fn create(&self, create: super::CreateRotation) -> Decision {
        if self.stage != Stage::Absent {
            return Err(RotationRefusal::AlreadyCreated);
        }
        create.settings.check()?;
        one(RotationCreated {
            rotation: create.rotation,
            workspace: create.workspace,
            kind: create.kind,
            model: create.model,
            connection: create.connection,
            folder: create.folder,
            settings: create.settings,
            sealed: create.sealed,
            at: create.now,
        })
    }

    fn update(&self, update: UpdateRotation) -> Decision {
        let UpdateRotation { settings, described, parameters, sealed, now } = update;
        if self.stage == Stage::Deleting {
            return Err(RotationRefusal::Deleting);
        }
        settings.check()?;
        if !settings.mapping.keys().eq(self.settings.mapping.keys()) {
            let reason = "must name the secrets of the fields that are published, and of no others";
            return Err(RotationRefusal::Invalid { field: "secretsMapping", reason });
        }
        // What an attempt is about to do was sealed for the parameters that there are.
        if parameters.is_some() {
            self.idle(false)?;
        }
        if settings == self.settings && !described && parameters.is_none() {
            return Ok(vec![]);
        }
        let shredded = parts([sealed.parameters.filter(|_| parameters.is_some())]);
        one(RotationUpdated { settings, described, sealed: parameters, shredded, at: now })
    }

    fn start(&self, start: &StartAttempt) -> Decision {
        let StartAttempt { attempt, cause, by, intent, min_overlap_seconds, sealed, now } = *start;
        let creates = cause == AttemptCause::Create;
        if creates != (self.stage == Stage::Creating) {
            let creating = self.stage == Stage::Creating;
            return Err(if creating { RotationRefusal::InProgress } else { RotationRefusal::AlreadyCreated });
        }
        let over = self.attempt.as_ref().filter(|a| {
            matches!(a.stuck, Some(Aftermath::OutOfStep | Aftermath::NotRetired))
                || (creates && a.stuck.is_some())
        });
        if over.is_none() {
            self.idle(false)?;
        } else if self.stage == Stage::Deleting {
            return Err(RotationRefusal::Deleting);
        }
        let due_at = self.next_at.filter(|next| *next <= now);
        if cause == AttemptCause::Schedule && due_at.is_none() {
            return Err(RotationRefusal::NotDue);
        }
        if let Some(until) = self.overlap_until(min_overlap_seconds)
            && now < until
        {
            return Err(RotationRefusal::Overlap { until });
        }
        let old = over.map(|_| [sealed.intent, sealed.pending, sealed.former]);
        let due_at = due_at.filter(|_| cause == AttemptCause::Schedule);
        let shredded = parts(old.into_iter().flatten());
        let slot = self.next_slot();
        one(AttemptStarted { attempt, slot, cause, by, sealed: intent, due_at, shredded, at: now })
    }

    fn fail_start(
        &self,
        attempt: AttemptId,
        cause: AttemptCause,
        reason: String,
        now: Timestamp,
    ) -> Decision {
        self.idle(true)?;
        let due_at = self.next_at.filter(|next| cause == AttemptCause::Schedule && *next <= now);
        if cause == AttemptCause::Schedule && due_at.is_none() {
            return Err(RotationRefusal::NotDue);
        }
        one(AttemptFailed {
            attempt,
            cause,
            due_at,
            step: Step::Intend,
            aftermath: Aftermath::Intact,
            reason: cut(reason),
            shredded: vec![],
            next_at: self.schedule().after_failure(now),
            at: now,
        })
    }

    fn take_over(&self, attempt: AttemptId, by: Uuid, now: Timestamp) -> Decision {
        let of_attempt = self.attempt.as_ref().filter(|a| a.id == attempt).map(|a| a.by);
        let of_deletion = self.deletion.filter(|d| d.id == attempt).map(|d| d.by);
        if of_attempt.or(of_deletion).is_none() {
            return Err(RotationRefusal::Overtaken);
        }
        one(AttemptTakenOver { attempt, by, at: now })
    }

    fn promote(&self, attempt: AttemptId, by: Uuid, sealed: SealedAt, now: Timestamp) -> Decision {
        let a = self.working(attempt, by, &[Step::Verify, Step::Settle])?;
        if !a.is_set {
            return Err(RotationRefusal::Overtaken);
        }
        let there = self.slots[usize::from(a.slot % 2)];
        let keeps = self.model != Model::Single && there.is_some_and(|held| !held.ended);
        let replaced = sealed.slots[usize::from(a.slot % 2)].filter(|_| !keeps);
        let verified = CredentialVerified { attempt, at: now };
        let promoted = CredentialPromoted {
            attempt,
            slot: a.slot,
            version: self.version + 1,
            shredded: parts([sealed.intent, replaced]),
            next_at: self.next_after(now, a.due_at),
            at: now,
        };
        Ok(vec![verified.into(), promoted.into()])
    }

    fn fail(&self, fail: FailStep) -> Decision {
        let FailStep { attempt, by, step, unclear, may_pass, reason, .. } = fail;
        let (sealed, now) = (fail.sealed, fail.now);
        let a = self.working(attempt, by, &[step])?;
        let tries = a.tries + 1;
        let most = if step == Step::Settle { SETTLE_TRIES_MAX } else { TRIES_MAX };
        let again = |next: Step, retry_at: Timestamp, reason: String| {
            let reason = cut(reason);
            one(StepFailed { attempt, step, next, unclear, reason, tries, retry_at, at: now })
        };
        if may_pass && tries < most {
            let pause = RETRY_SECONDS.saturating_mul(1 << (tries - 1).min(16)).min(RETRY_SECONDS_MAX);
            // Half of it, and a random part of the other half: what failed together does not come back together.
            let pause = pause / 2 + (pause - pause / 2) * (u64::from(fail.jitter) + 1) / 65_536;
            return again(step, now.plus_seconds(pause.max(fail.retry_after_seconds)), reason);
        }
        match step {
            Step::Set => match if unclear { Some(now) } else { a.unclear_at } {
                Some(at) => again(Step::Settle, at.plus_seconds(STEP_SECONDS), reason),
                None => Ok(self.give_up(&a, step, Aftermath::Intact, reason, sealed, now)),
            },
            Step::Verify => again(Step::Settle, now, reason),
            Step::Vacate | Step::Intend => Ok(self.give_up(&a, step, Aftermath::Intact, reason, sealed, now)),
            Step::Retire => Ok(self.give_up(&a, step, Aftermath::NotRetired, reason, sealed, now)),
            Step::Settle | Step::Revoke => {
                Ok(self.give_up(&a, step, Aftermath::Unsettled, reason, sealed, now))
            }
        }
    }

    /// The end of an attempt that brought no credential, or could not end the one before.
    fn give_up(
        &self,
        a: &Attempt,
        step: Step,
        aftermath: Aftermath,
        reason: String,
        sealed: SealedAt,
        now: Timestamp,
    ) -> Vec<ManagedRotationEvent> {
        let is_over = aftermath == Aftermath::Intact;
        let of_no_use = [sealed.intent, sealed.pending].into_iter().filter(|_| is_over);
        let next_at = match aftermath {
            Aftermath::NotRetired => self.next_at,
            _ => self.schedule().after_failure(now),
        };
        let failed = AttemptFailed {
            attempt: a.id,
            cause: a.cause,
            due_at: a.due_at,
            step,
            aftermath,
            reason: cut(reason),
            shredded: parts(of_no_use),
            next_at: next_at.filter(|_| self.stage != Stage::Creating),
            at: now,
        };
        let mut events = vec![failed.into()];
        if is_over && self.stage == Stage::Creating {
            // Nothing was ever published: it is as if it had not been asked for.
            let left = SealedAt { parameters: sealed.parameters, ..SealedAt::default() };
            events.push(self.deleted(false, true, left, now));
        }
        events
    }

    fn deleted(
        &self,
        revoked: bool,
        delete_secrets: bool,
        sealed: SealedAt,
        now: Timestamp,
    ) -> ManagedRotationEvent {
        let active = usize::from(self.active % 2);
        let mut slots = sealed.slots;
        if !delete_secrets {
            slots[active] = None;
        }
        let all = [sealed.parameters, sealed.intent, sealed.pending, sealed.former, slots[0], slots[1]];
        RotationDeleted { secrets_deleted: delete_secrets, revoked, shredded: parts(all), at: now }.into()
    }

    fn delete_secrets(&self, fields: Vec<String>, sealed: SealedAt, now: Timestamp) -> Decision {
        if self.stage != Stage::Deleted {
            return Err(RotationRefusal::InProgress);
        }
        let known: Vec<_> =
            fields.into_iter().filter(|field| self.settings.mapping.contains_key(field)).collect();
        if known.is_empty() {
            return Err(RotationRefusal::Unknown);
        }
        let last = self.settings.mapping.keys().all(|field| known.contains(field));
        let shredded = if last { parts(sealed.slots) } else { vec![] };
        one(SecretsDeleted { fields: known, shredded, at: now })
    }

    /// Nothing goes on. An attempt that was given up counts as such if `stuck_too`.
    fn idle(&self, stuck_too: bool) -> Result<(), RotationRefusal> {
        if self.stage == Stage::Deleting {
            return Err(RotationRefusal::Deleting);
        }
        match self.attempt.as_ref().map(|a| a.stuck) {
            None => Ok(()),
            Some(Some(_)) if stuck_too => Ok(()),
            Some(Some(_)) => Err(RotationRefusal::Unsettled),
            Some(None) => Err(RotationRefusal::InProgress),
        }
    }

    /// The attempt, if it is this one, this process carries it out, and it is at one of these steps.
    fn working(&self, attempt: AttemptId, by: Uuid, steps: &[Step]) -> Result<Attempt, RotationRefusal> {
        let ours =
            |a: &Attempt| a.id == attempt && a.by == by && a.stuck.is_none() && steps.contains(&a.step);
        self.attempt.clone().filter(ours).ok_or(RotationRefusal::Overtaken)
    }

    fn deleting(&self, attempt: AttemptId, by: Uuid) -> Result<(), RotationRefusal> {
        let ours = self.deletion.is_some_and(|deletion| deletion.id == attempt && deletion.by == by);
        if ours { Ok(()) } else { Err(RotationRefusal::Overtaken) }
    }
}
