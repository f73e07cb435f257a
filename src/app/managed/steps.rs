//! The steps of an attempt, one after the other.

use std::time::Duration;

use rota_aggregates::managed_rotation::{
    Attempt, FailStep, ManagedRotationCommand, ManagedRotationEvent, Model, STEP_SECONDS, Step,
};
use rota_aggregates::{AttemptId, RotationId};
use rota_projections::live::LiveRotation;
use rota_targets::{Certainty, Credential, Login, Target};
use tokio::sync::oneshot;

use super::Running;
use super::attempt::Ended;
use super::awaited::ended;
use super::ground::Opening;
use super::note::PAUSE;
use super::sealed::credential_bytes;
use crate::app::{App, Caller, Failure};

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
    /// Does one step after the other until the attempt is over, given up, or somebody else's.
    pub(super) async fn carry_out(
        &self,
        caller: &Caller,
        id: RotationId,
        attempt: AttemptId,
        mut done: Option<oneshot::Sender<Ended>>,
        running: Running,
    ) {
        running.is_recorded();
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
            Step::Set | Step::Intend => self.set(caller, live, a, &*target).await,
            Step::Verify => self.try_login(caller, live, a, &*target).await,
            Step::Vacate | Step::Retire => self.retire(caller, live, a, &*target).await,
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

    /// Ends what rota made before, as far as there is something to end: after the new credential is published, or
    /// before it is set where the target has no room for a third.
    async fn retire(
        &self,
        caller: &Caller,
        live: &LiveRotation,
        a: &Attempt,
        target: &dyn Target,
    ) -> Result<Vec<ManagedRotationEvent>, Stop> {
        let (slots, active) = (live.sealed.slots, usize::from(live.state.active % 2));
        let old = match (a.step, live.state.model) {
            (Step::Vacate, _) => slots[usize::from(a.slot % 2)],
            (_, Model::Single) => slots[(active + 1) % 2],
            _ => live.sealed.former,
        };
        let old = self.credential_at(old).await?;
        let active = self.credential_at(slots[active]).await?;
        timed(target.retire(&old, &active, live.state.settings.end_sessions)).await?;
        let (attempt, by) = (a.id, a.by);
        let retired = |sealed, now| ManagedRotationCommand::NoteRetired { attempt, by, sealed, now };
        Ok(self.note_step(caller, live.id, retired).await?)
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

    /// Publishes what the attempt has set, after a login with it.
    pub(super) async fn promote(
        &self,
        caller: &Caller,
        id: RotationId,
        a: &Attempt,
    ) -> Result<Vec<ManagedRotationEvent>, Failure> {
        let (attempt, by) = (a.id, a.by);
        let promote = |sealed, now| ManagedRotationCommand::Promote { attempt, by, sealed, now };
        self.note_step(caller, id, promote).await
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
}
