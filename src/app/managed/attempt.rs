//! One attempt, step by step. After each step an event says what came of it; a process that dies in between leaves
//! what the next one needs to go on.
//!
//! | the process dies | what is durable | who goes on, and how |
//! |---|---|---|
//! | before the intent is recorded | nothing | nobody: nothing was done |
//! | before or while the credential is set | the intent | the next one tries to log in with it, else sets the same again |
//! | after it was set, before that is recorded | the intent | the same: the login shows it |
//! | before or after the login | the credential | the login again |
//! | after it was published | everything | the one before is retired again, which does no harm |
//!
//! Who works on an attempt is in the ledger: whoever was overtaken finds that out with its next event, which is
//! refused, and stops.

use std::sync::Arc;
use std::time::Duration;

use rota_aggregates::ids::Hash;
use rota_aggregates::managed_rotation::{
    Attempt, AttemptCause, FailStep, ManagedRotationCommand, ManagedRotationEvent, Model, RotationRefusal,
    STEP_SECONDS, Stage, StartAttempt, Step,
};
use rota_aggregates::{AttemptId, Event, Position, RotationId, StreamId, Timestamp};
use rota_projections::live::LiveRotation;
use rota_targets::{Certainty, Credential, Login, Slot, Target};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::ground::{Beside, Change, Claimed, Opening, Outcome, Planned};
use super::rotations::Changed;
use super::sealed::{SealedIntent, copy, credential_bytes, credential_of};
use super::{ROTATORS, Running};
use crate::app::change::ATTEMPTS_MAX;
use crate::app::idempotency::Idempotency;
use crate::app::rotate::{COMPROMISED, check_reason};
use crate::app::{App, Caller, Failure, Principal};
use crate::log::committer::decode;

/// A caller is answered within this long; the attempt goes on.
const ANSWER: Duration = Duration::from_secs(55);
/// After a failure of the ledger the next try waits so long.
const PAUSE: Duration = Duration::from_millis(500);
/// What a target has done is recorded even if the ledger can't be written to for a while: so often is it tried.
const RECORD_TRIES: usize = 120;

/// Events that are read at once to find what a request came to, and how often.
const HISTORY_PAGE: usize = 2_048;
const HISTORY_PAGES: usize = 64;

/// Rotate a managed credential.
#[derive(Clone, Debug, Default)]
pub struct RotateManaged {
    /// Why; `compromised` makes away with the minimum overlap.
    pub reason: Option<String>,
}

/// How an attempt ended, as far as it is waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// Its credential is published.
    Published,
    /// It brought none, and why.
    Failed(String),
    /// It is not over.
    GoesOn,
}

/// What a step at a target comes to in time; a step that does not answer may have done something.
pub(super) async fn timed<T>(
    step: impl Future<Output = Result<T, rota_targets::Failure>>,
) -> Result<T, rota_targets::Failure> {
    let limit = Duration::from_secs(STEP_SECONDS);
    tokio::time::timeout(limit, step).await.unwrap_or_else(|_| {
        Err(rota_targets::Failure::unclear(format!(
            "the target did not answer within {STEP_SECONDS} seconds"
        )))
    })
}

/// Why a step can't go on.
pub(super) enum Stop {
    /// The ledger says so, or can't be used.
    Ours(Failure),
    /// The target.
    Theirs(rota_targets::Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Ours(failure)
    }
}

impl From<Opening> for Stop {
    fn from(opening: Opening) -> Self {
        match opening {
            Opening::Ours(failure) => Self::Ours(failure),
            Opening::Theirs(failure) => Self::Theirs(failure),
        }
    }
}

impl From<rota_targets::Failure> for Stop {
    fn from(failure: rota_targets::Failure) -> Self {
        Self::Theirs(failure)
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Ours(failure) => failure,
            Stop::Theirs(failure) => Self::Target(failure),
        }
    }
}

impl App {
    /// Rotates a credential that lives in another system.
    pub async fn rotate_managed(
        self: &Arc<Self>,
        caller: &Caller,
        id: RotationId,
        rotate: &RotateManaged,
        idempotency: Option<&Idempotency>,
    ) -> Result<Changed, Failure> {
        check_reason(rotate.reason.as_deref())?;
        let live = self.managed_rotation(caller, id, ROTATORS)?;
        let claimed = self.claim(idempotency, live.state.workspace)?;
        if let Some(position) = claimed.before {
            self.ground(caller, live.state.workspace)?;
            let (rotation, ended) = self.wait_for(position).await?;
            return self.after_attempt(rotation, ended, true).await;
        }
        let running = self.managed.begin(id, self.managed.process).ok_or(RotationRefusal::InProgress)?;
        let Some(running) = self.settle_first(caller, id, running).await? else {
            // What an earlier attempt had set is published by now: that is a new credential.
            return self.after_attempt(id, Ended::Published, false).await;
        };
        match self.start(caller, id, AttemptCause::Call, rotate, claimed).await {
            Ok(Started::Now(attempt)) => {
                let ended = self.go_on(caller, id, attempt, running).await;
                self.after_attempt(id, ended, false).await
            }
            Ok(Started::Before(position)) => {
                drop(running);
                let (rotation, ended) = self.wait_for(position).await?;
                self.after_attempt(rotation, ended, true).await
            }
            Err(Stop::Theirs(failure)) => {
                self.fail_start(caller, id, AttemptCause::Call, failure.text()).await?;
                Err(failure.into())
            }
            Err(Stop::Ours(failure)) => Err(failure),
        }
    }

    /// Seals what is to be done and records it. From here on the target may be touched.
    pub(super) async fn start(
        &self,
        caller: &Caller,
        id: RotationId,
        cause: AttemptCause,
        rotate: &RotateManaged,
        claimed: Claimed,
    ) -> Result<Started, Stop> {
        for _ in 0..ATTEMPTS_MAX {
            let _ring = self.keys();
            let live = self.live_rotation(id)?;
            let workspace = live.state.workspace;
            let (caller, mut expected, _) = self.ground(caller, workspace)?;
            let overlap = self.min_overlap(&live, rotate);
            // Refused before the target is asked for anything.
            let attempt = AttemptId(self.entropy()?.id(self.now()));
            let start = |intent, now| {
                ManagedRotationCommand::Start(StartAttempt {
                    attempt,
                    cause,
                    by: self.managed.process,
                    intent,
                    min_overlap_seconds: overlap,
                    sealed: live.sealed,
                    now,
                })
            };
            live.state.decide(start(Hash([0; 32]), self.now())).map_err(Failure::from)?;
            let (target, host) = self.open_target(&live).await?;
            let current = self.active_credential(&live).await?;
            let random = Zeroizing::new(self.entropy()?.take::<32>());
            let intent = {
                let _place = self.managed.place(&host).await;
                timed(target.intend(Slot(live.state.next_slot()), current.as_ref(), *random)).await?
            };
            let intent = SealedIntent { intent, current: None }.to_bytes()?;
            let now = self.now();
            let mut entropy = self.entropy()?;
            let (event_id, sealed) = self.seal_beside(&intent, now, &mut entropy);
            let decided = live.state.decide(start(Hash(sealed.sha256()), now)).map_err(Failure::from)?;
            let stream = StreamId::managed_rotation(id);
            expected.push((stream, Some(live.sequence)));
            let details = rota_projections::Details { reason: rotate.reason.clone(), ..Default::default() };
            let beside = Beside {
                id: Some(event_id),
                secret: Some(sealed),
                details: Some(details).filter(|details| !details.is_empty()),
                digest: None,
            };
            let mut events: Vec<_> = decided.into_iter().map(|event| Planned::new(stream, event)).collect();
            if let Some(first) = events.first_mut() {
                first.beside = beside;
            }
            let change = Change { workspace, expected, events, claim: claimed.claim, now };
            match self.record(&caller, change, claimed.held.clone()).await? {
                Outcome::Recorded(_) => return Ok(Started::Now(attempt)),
                Outcome::Before(position) => return Ok(Started::Before(position)),
                Outcome::Stale => {}
            }
        }
        Err(Failure::Overloaded.into())
    }

    fn min_overlap(&self, live: &LiveRotation, rotate: &RotateManaged) -> u64 {
        if rotate.reason.as_deref() == Some(COMPROMISED) {
            return 0;
        }
        let tip = self.tip.tip.read();
        tip.live.workspace(live.state.workspace).map_or(0, |(state, _)| state.policy.min_overlap_seconds)
    }

    /// Records that an attempt could not even begin.
    pub(super) async fn fail_start(
        &self,
        caller: &Caller,
        id: RotationId,
        cause: AttemptCause,
        reason: &str,
    ) -> Result<(), Failure> {
        let attempt = AttemptId(self.entropy()?.id(self.now()));
        let fail = |_: &LiveRotation, _, now| {
            let reason = reason.to_owned();
            ManagedRotationCommand::FailStart { attempt, cause, reason, now }
        };
        match self.note(caller, id, None, fail).await {
            // Somebody else began one meanwhile.
            Err(Failure::Rotation(_)) | Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Carries an attempt out in the background, and waits for it as long as a caller waits.
    pub(super) async fn go_on(
        self: &Arc<Self>,
        caller: &Caller,
        id: RotationId,
        attempt: AttemptId,
        running: Running,
    ) -> Ended {
        let (done, ended) = oneshot::channel();
        let app = Arc::clone(self);
        // What rota does from here on is its own doing, on behalf of the request.
        let caller = Caller { principal: Principal::Scheduler, ..caller.clone() };
        self.managed.spawn(async move { app.carry_out(&caller, id, attempt, Some(done), running).await });
        match tokio::time::timeout(ANSWER, ended).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) | Err(_) => Ended::GoesOn,
        }
    }

    /// Waits for the attempt of a request that began at a position.
    pub(super) async fn wait_for(&self, began: Position) -> Result<(RotationId, Ended), Failure> {
        let (id, attempt) = self.attempt_at(began).await?;
        let mut head = self.head();
        let over = async {
            loop {
                match ended(&self.any_rotation(id)?, attempt) {
                    Some(Ended::GoesOn) => {}
                    Some(over) => return Ok(over),
                    // Another one came after it: what it came to is in the history alone.
                    None => return self.ended_in_history(began, id, attempt).await,
                }
                if head.changed().await.is_err() {
                    return Ok(Ended::GoesOn);
                }
            }
        };
        Ok((id, tokio::time::timeout(ANSWER, over).await.unwrap_or(Ok(Ended::GoesOn))?))
    }

    async fn ended_in_history(
        &self,
        mut next: Position,
        id: RotationId,
        attempt: Option<AttemptId>,
    ) -> Result<Ended, Failure> {
        for _ in 0..HISTORY_PAGES {
            let page = self.log.read(next, HISTORY_PAGE).await?;
            let short = page.leaves.len() < HISTORY_PAGE;
            for recorded in decode(page) {
                let recorded = recorded?;
                next = Position(recorded.position.0 + 1);
                match &recorded.record.event {
                    Event::ManagedRotation(_) if recorded.record.stream.id != id.0 => {}
                    Event::ManagedRotation(ManagedRotationEvent::CredentialPromoted(e))
                        if Some(e.attempt) == attempt =>
                    {
                        return Ok(Ended::Published);
                    }
                    Event::ManagedRotation(ManagedRotationEvent::AttemptFailed(e))
                        if Some(e.attempt) == attempt =>
                    {
                        return Ok(Ended::Failed(e.reason.clone()));
                    }
                    _ => {}
                }
            }
            if short {
                break;
            }
        }
        Err(Failure::AnswerGone)
    }

    /// Does one step after the other until the attempt is over, given up, or somebody else's.
    pub(super) async fn carry_out(
        &self,
        caller: &Caller,
        id: RotationId,
        attempt: AttemptId,
        mut done: Option<oneshot::Sender<Ended>>,
        _running: Running,
    ) {
        let mut tell = |ended: Ended| {
            if let Some(done) = done.take() {
                // Whoever asked may have stopped waiting.
                let _ = done.send(ended);
            }
        };
        loop {
            let Ok(live) = self.any_rotation(id) else { return };
            let ours = |a: &&Attempt| a.id == attempt && a.by == self.managed.process && a.stuck.is_none();
            let Some(a) = live.state.attempt.as_ref().filter(ours).cloned() else {
                if let Some(ended) = ended(&live, Some(attempt)) {
                    tell(ended);
                }
                return;
            };
            if a.not_before > self.now() {
                if a.is_promoted {
                    // Ending the one before takes longer than the caller's question.
                    tell(Ended::Published);
                }
                self.clock.sleep_until(a.not_before).await;
            }
            match self.step(caller, &live, &a).await {
                Ok(events) => {
                    let failed = events.iter().find_map(|event| match event {
                        ManagedRotationEvent::AttemptFailed(e) if !a.is_promoted => Some(e.reason.clone()),
                        _ => None,
                    });
                    if let Some(reason) = failed {
                        tracing::warn!(rotation = %id, step = ?a.step, reason, "a managed rotation failed");
                        tell(Ended::Failed(reason));
                    }
                }
                // Looked at again, and found to be somebody else's.
                Err(Failure::Rotation(_)) => {}
                Err(failure) => {
                    tracing::error!(
                        error = &failure as &dyn std::error::Error,
                        rotation = %id,
                        "an attempt waits for the ledger"
                    );
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Does the step that comes next, and records what came of it.
    async fn step(
        &self,
        caller: &Caller,
        live: &LiveRotation,
        a: &Attempt,
    ) -> Result<Vec<ManagedRotationEvent>, Failure> {
        let (target, host) = match self.open_target(live).await {
            Ok(opened) => opened,
            Err(Opening::Ours(failure)) => return Err(failure),
            Err(Opening::Theirs(failure)) => return self.note_failure(caller, live.id, a, &failure).await,
        };
        let place = self.managed.place(&host).await;
        let stepped = match a.step {
            Step::Vacate => self.vacate(caller, live, a, &*target).await,
            Step::Set | Step::Intend => self.set(caller, live, a, &*target).await,
            Step::Verify => self.try_login(caller, live, a, &*target).await,
            Step::Retire => self.retire(caller, live, a, &*target).await,
            Step::Settle | Step::Revoke => self.settle(caller, live, a, &*target).await,
        };
        drop(place);
        match stepped {
            Ok(events) => Ok(events),
            Err(Stop::Ours(failure)) => Err(failure),
            Err(Stop::Theirs(failure)) => self.note_failure(caller, live.id, a, &failure).await,
        }
    }

    /// Sets the new credential, unless an earlier try has done so.
    async fn set(
        &self,
        caller: &Caller,
        live: &LiveRotation,
        a: &Attempt,
        target: &dyn Target,
    ) -> Result<Vec<ManagedRotationEvent>, Stop> {
        let intent = self.intent(live).await?;
        if let Some(chosen) = intent.chosen().filter(|_| a.tries > 0 || a.unclear_at.is_some())
            && matches!(timed(target.log_in(chosen)).await, Ok(Login::Accepted))
        {
            return Ok(self.note_set(caller, live.id, a, true, chosen).await?);
        }
        let active = self.active_credential(live).await?;
        let current = intent.current.as_ref().or(active.as_ref());
        let set = if a.is_reset {
            timed(target.reset(&intent.intent)).await
        } else {
            timed(target.set(&intent.intent, current)).await
        };
        match set {
            Ok(credential) => Ok(self.note_set(caller, live.id, a, false, &credential).await?),
            Err(failure) if failure.certainty == Certainty::Unclear => {
                // The answer was lost: the target knows.
                if let Some(chosen) = intent.chosen()
                    && matches!(timed(target.log_in(chosen)).await, Ok(Login::Accepted))
                {
                    return Ok(self.note_set(caller, live.id, a, true, chosen).await?);
                }
                Err(failure.into())
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Logs in with the new credential, and publishes it if that succeeds.
    async fn try_login(
        &self,
        caller: &Caller,
        live: &LiveRotation,
        a: &Attempt,
        target: &dyn Target,
    ) -> Result<Vec<ManagedRotationEvent>, Stop> {
        let pending = self.credential_at(live.sealed.pending).await?;
        match timed(target.log_in(&pending)).await? {
            Login::Accepted => Ok(self.promote(caller, live.id, a).await?),
            // It may take a moment until every part of a system knows a credential.
            Login::Refused => Err(rota_targets::Failure::unreachable(
                "the target took the new credential and refuses a login with it",
            )
            .into()),
        }
    }

    /// Ends what was published before, as far as rota made it and there is something to end.
    async fn retire(
        &self,
        caller: &Caller,
        live: &LiveRotation,
        a: &Attempt,
        target: &dyn Target,
    ) -> Result<Vec<ManagedRotationEvent>, Stop> {
        let old = match live.state.model {
            Model::Single => live.sealed.slots[usize::from((a.slot + 1) % 2)],
            _ => live.sealed.former,
        };
        let old = self.credential_at(old).await?;
        let active = self.credential_at(live.sealed.slots[usize::from(a.slot % 2)]).await?;
        timed(target.retire(&old, &active, live.state.settings.end_sessions)).await?;
        Ok(self.note_retired(caller, live.id, a).await?)
    }

    /// Ends what is in the place that is to be filled, where the target has no room for a third credential.
    async fn vacate(
        &self,
        caller: &Caller,
        live: &LiveRotation,
        a: &Attempt,
        target: &dyn Target,
    ) -> Result<Vec<ManagedRotationEvent>, Stop> {
        let old = self.credential_at(live.sealed.slots[usize::from(a.slot % 2)]).await?;
        let active = self.credential_at(live.sealed.slots[usize::from(live.state.active % 2)]).await?;
        timed(target.retire(&old, &active, live.state.settings.end_sessions)).await?;
        Ok(self.note_retired(caller, live.id, a).await?)
    }

    pub(super) async fn note_set(
        &self,
        caller: &Caller,
        id: RotationId,
        a: &Attempt,
        found: bool,
        credential: &Credential,
    ) -> Result<Vec<ManagedRotationEvent>, Failure> {
        let bytes = credential_bytes(credential)?;
        let (attempt, by) = (a.id, a.by);
        self.note(caller, id, Some(&bytes), |_, credential, now| ManagedRotationCommand::NoteSet {
            attempt,
            by,
            found,
            credential,
            now,
        })
        .await
    }

    pub(super) async fn promote(
        &self,
        caller: &Caller,
        id: RotationId,
        a: &Attempt,
    ) -> Result<Vec<ManagedRotationEvent>, Failure> {
        let (attempt, by) = (a.id, a.by);
        let command = |live: &LiveRotation, _, now| {
            let sealed = live.sealed;
            ManagedRotationCommand::Promote { attempt, by, sealed, now }
        };
        self.note(caller, id, None, command).await
    }

    async fn note_retired(
        &self,
        caller: &Caller,
        id: RotationId,
        a: &Attempt,
    ) -> Result<Vec<ManagedRotationEvent>, Failure> {
        let (attempt, by) = (a.id, a.by);
        let command = |live: &LiveRotation, _, now| {
            let sealed = live.sealed;
            ManagedRotationCommand::NoteRetired { attempt, by, sealed, now }
        };
        self.note(caller, id, None, command).await
    }

    async fn note_failure(
        &self,
        caller: &Caller,
        id: RotationId,
        a: &Attempt,
        failure: &rota_targets::Failure,
    ) -> Result<Vec<ManagedRotationEvent>, Failure> {
        let jitter = self.jitter()?;
        // A login changes nothing, whether its answer comes or not.
        let changes = matches!(a.step, Step::Set | Step::Vacate | Step::Retire);
        let unclear = changes && failure.certainty == Certainty::Unclear;
        let (attempt, by, step) = (a.id, a.by, a.step);
        self.note(caller, id, None, |live, _, now| {
            ManagedRotationCommand::Fail(FailStep {
                attempt,
                by,
                step,
                unclear,
                may_pass: failure.may_pass,
                reason: failure.text().to_owned(),
                retry_after_seconds: failure.retry_after.map_or(0, |wait| wait.as_secs().min(3_600)),
                jitter,
                sealed: live.sealed,
                now,
            })
        })
        .await
    }

    /// Lets the rotation decide on what is there now and records it, also if the ledger can't be written to for a
    /// while: what was done at a target has been done. The command is given the hash of what is sealed beside it.
    pub(super) async fn note(
        &self,
        caller: &Caller,
        id: RotationId,
        secret: Option<&Zeroizing<Vec<u8>>>,
        command: impl Fn(&LiveRotation, Hash, Timestamp) -> ManagedRotationCommand,
    ) -> Result<Vec<ManagedRotationEvent>, Failure> {
        let mut last = Failure::Overloaded;
        for _ in 0..RECORD_TRIES {
            let _ring = self.keys();
            let live = self.any_rotation(id)?;
            let now = self.now();
            let mut entropy = self.entropy()?;
            let sealed = secret.map(|bytes| self.seal_beside(bytes, now, &mut entropy));
            let hash = sealed.as_ref().map_or(Hash([0; 32]), |(_, sealed)| Hash(sealed.sha256()));
            let events = live.state.decide(command(&live, hash, now))?;
            if events.is_empty() {
                return Ok(events);
            }
            let stream = StreamId::managed_rotation(id);
            let mut expected = vec![(stream, Some(live.sequence))];
            let mut planned: Vec<_> = events.iter().map(|e| Planned::new(stream, e.clone())).collect();
            if let (Some(first), Some((event_id, secret))) = (planned.first_mut(), sealed) {
                first.beside = Beside { id: Some(event_id), secret: Some(secret), ..Beside::default() };
            }
            let deleted = events.iter().find_map(|event| match event {
                ManagedRotationEvent::RotationDeleted(e) => Some((!e.secrets_deleted).then_some(&[][..])),
                ManagedRotationEvent::SecretsDeleted(e) => Some(Some(&e.fields[..])),
                _ => None,
            });
            if let Some(kept_but) = deleted {
                let (held, names) = self.hold_after(&live, kept_but, now)?;
                planned.extend(held);
                expected.push(names);
            }
            let workspace = live.state.workspace;
            let change = Change { workspace, expected, events: planned, claim: None, now };
            match self.record(caller, change, None).await {
                Ok(Outcome::Recorded(_)) => return Ok(events),
                Ok(Outcome::Stale | Outcome::Before(_)) => {}
                Err(failure @ (Failure::Unavailable(_) | Failure::OutcomeUnknown | Failure::Overloaded)) => {
                    tracing::warn!(
                        error = &failure as &dyn std::error::Error,
                        rotation = %id,
                        "a step could not be recorded yet"
                    );
                    last = failure;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }

    /// What an attempt is to do.
    pub(super) async fn intent(&self, live: &LiveRotation) -> Result<SealedIntent, Failure> {
        let position = live.sealed.intent.ok_or(RotationRefusal::Overtaken)?;
        SealedIntent::of(&self.open_beside(position).await?)
    }

    /// The credential that is sealed beside the event at a position.
    pub(super) async fn credential_at(&self, position: Option<Position>) -> Result<Credential, Failure> {
        let position = position.ok_or(RotationRefusal::Overtaken)?;
        credential_of(&self.open_beside(position).await?)
    }

    /// The credential that is published, if one is.
    pub(super) async fn active_credential(&self, live: &LiveRotation) -> Result<Option<Credential>, Failure> {
        match live.sealed.slots[usize::from(live.state.active % 2)] {
            Some(position) if live.state.version > 0 => Ok(Some(self.credential_at(Some(position)).await?)),
            _ => Ok(None),
        }
    }

    /// The credentials in both places: what must not be taken for something that nobody knows.
    pub(super) async fn kept_credentials(&self, live: &LiveRotation) -> Result<Vec<Credential>, Failure> {
        let mut kept = Vec::new();
        for position in live.sealed.slots.into_iter().chain([live.sealed.former]).flatten() {
            kept.push(copy(&self.credential_at(Some(position)).await?));
        }
        Ok(kept)
    }
}

/// How an attempt was begun.
pub(super) enum Started {
    /// By this call.
    Now(AttemptId),
    /// By the same named request before, whose event is there.
    Before(Position),
}

/// How an attempt ended, as far as the rotation's state still has it.
fn ended(live: &LiveRotation, attempt: Option<AttemptId>) -> Option<Ended> {
    let state = &live.state;
    if let Some(a) = state.attempt.as_ref().filter(|a| attempt.is_none_or(|id| a.id == id)) {
        return Some(match a.stuck {
            _ if a.is_promoted => Ended::Published,
            Some(_) => Ended::Failed(a.reason.clone().unwrap_or_default()),
            None => Ended::GoesOn,
        });
    }
    if state.stage == Stage::Deleted || attempt.is_some() && state.last.attempt != attempt {
        return None;
    }
    Some(state.last.fault.as_ref().map_or(Ended::Published, |fault| Ended::Failed(fault.reason.clone())))
}
