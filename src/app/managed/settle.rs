//! What is done where nobody knows what the target has: it is asked, by logging in.

use std::sync::Arc;

use rota_aggregates::RotationId;
use rota_aggregates::managed_rotation::{
    Aftermath, Attempt, AttemptCause, ManagedRotationCommand, ManagedRotationEvent, Reconciliation,
    RotationRefusal,
};
use rota_projections::live::LiveRotation;
use rota_targets::{Login, Target};

use super::attempt::{Ended, RotateManaged, Started};
use super::ground::Claimed;
use super::rotations::RotationView;
use super::steps::{Stop, timed};
use super::{ROTATORS, Running};
use crate::app::{App, Caller, Failure};

impl App {
    /// Finds out what an attempt came to: the new credential is valid and is published, or it is not and the attempt
    /// is over.
    pub(super) async fn settle(
        &self,
        caller: &Caller,
        live: &LiveRotation,
        a: &Attempt,
        target: &dyn Target,
    ) -> Result<Vec<ManagedRotationEvent>, Stop> {
        let intent = self.intent(live).await?;
        let pending = if a.is_set { Some(self.credential_at(live.sealed.pending).await?) } else { None };
        if let Some(new) = pending.as_ref().or(intent.chosen())
            && timed(target.log_in(new)).await? == Login::Accepted
        {
            return if a.is_set {
                Ok(self.promote(caller, live.id, a).await?)
            } else {
                Ok(self.note_set(caller, live.id, a, true, new).await?)
            };
        }
        let kept = self.kept_credentials(live).await?;
        let keep: Vec<_> = kept.iter().collect();
        timed(target.undo(&intent.intent, &keep)).await?;
        let active = match self.active_credential(live).await? {
            Some(active) => Some(timed(target.log_in(&active)).await? == Login::Accepted),
            None => None,
        };
        let (attempt, by) = (a.id, a.by);
        let reason = a.reason.clone().unwrap_or_else(|| "the target does not have the new credential".into());
        let settled = |live: &LiveRotation, _, now| {
            let (sealed, reason) = (live.sealed, reason.clone());
            ManagedRotationCommand::Settle { attempt, by, active, reason, sealed, now }
        };
        Ok(self.note(caller, live.id, None, settled).await?)
    }

    /// Before another attempt begins, the one that was given up unsettled is settled. The mark of the work, to go on
    /// with; nothing if its credential is published by now.
    pub(super) async fn settle_first(
        self: &Arc<Self>,
        caller: &Caller,
        id: RotationId,
        running: Running,
    ) -> Result<Option<Running>, Failure> {
        let live = self.live_rotation(id)?;
        let unsettled = |a: &&Attempt| a.stuck == Some(Aftermath::Unsettled);
        let Some(a) = live.state.attempt.as_ref().filter(unsettled) else { return Ok(Some(running)) };
        let published = live.state.version;
        match self.go_on_with(caller, &live, a, running).await? {
            Ended::GoesOn => return Err(Failure::GoesOn),
            Ended::Published | Ended::Failed(_) => {}
        }
        let live = self.live_rotation(id)?;
        if live.state.version > published {
            return Ok(None);
        }
        if let Some(a) = live.state.attempt.as_ref().filter(unsettled) {
            let reason = a.reason.clone().unwrap_or_default();
            return Err(rota_targets::Failure::unreachable(reason).into());
        }
        Ok(Some(self.begin_work(id)?))
    }

    /// Goes on with an attempt that somebody else began, or that was given up.
    async fn go_on_with(
        self: &Arc<Self>,
        caller: &Caller,
        live: &LiveRotation,
        a: &Attempt,
        running: Running,
    ) -> Result<Ended, Failure> {
        self.take_over(caller, live, a.id).await?;
        Ok(self.go_on(caller, live.id, a.id, running).await)
    }

    /// Makes an attempt or a deletion this process's, if nobody has done anything about it since it was looked at.
    pub(super) async fn take_over(
        &self,
        caller: &Caller,
        seen: &LiveRotation,
        attempt: rota_aggregates::AttemptId,
    ) -> Result<(), Failure> {
        let by = self.managed.process;
        let events = seen.state.decide(ManagedRotationCommand::TakeOver { attempt, by, now: self.now() })?;
        let stream = rota_aggregates::StreamId::managed_rotation(seen.id);
        let change = super::ground::Change {
            workspace: seen.state.workspace,
            expected: vec![(stream, Some(seen.sequence))],
            events: events.into_iter().map(|e| super::ground::Planned::new(stream, e)).collect(),
            claim: None,
            now: self.now(),
        };
        match self.record(caller, change, None).await? {
            super::ground::Outcome::Recorded(_) => Ok(()),
            _ => Err(RotationRefusal::Overtaken.into()),
        }
    }

    /// Compares what rota has with what the target takes, and brings them together: goes on with an attempt that was
    /// given up, leaves what is valid, and sets a new credential where nothing is.
    pub async fn reconcile_rotation(
        self: &Arc<Self>,
        caller: &Caller,
        id: RotationId,
    ) -> Result<(Reconciliation, RotationView), Failure> {
        self.managed_rotation(caller, id, ROTATORS)?;
        let running = self.begin_work(id)?;
        let live = self.live_rotation(id)?;
        let version = live.state.version;
        let mut outcome = match &live.state.attempt {
            Some(a) if a.stuck.is_none() => return Err(RotationRefusal::InProgress.into()),
            Some(a) => {
                let retires = a.stuck == Some(Aftermath::NotRetired);
                if self.go_on_with(caller, &live, a, running).await? == Ended::GoesOn {
                    return Err(Failure::GoesOn);
                }
                let after = self.live_rotation(id)?;
                match after.state.attempt.as_ref().and_then(|a| a.stuck) {
                    Some(Aftermath::OutOfStep) => None,
                    Some(Aftermath::Intact | Aftermath::Unsettled | Aftermath::NotRetired) => {
                        let reason = after.state.attempt.and_then(|a| a.reason).unwrap_or_default();
                        return Err(rota_targets::Failure::unreachable(reason).into());
                    }
                    None if retires => Some(Reconciliation::InStep),
                    None if after.state.version > version => Some(Reconciliation::Adopted),
                    None => Some(Reconciliation::Kept),
                }
            }
            None => {
                drop(running);
                self.is_published_valid(&live).await?.then_some(Reconciliation::InStep)
            }
        };
        if outcome.is_none() {
            self.reset(caller, id).await?;
            outcome = Some(Reconciliation::Reset);
        }
        let outcome = outcome.unwrap_or(Reconciliation::InStep);
        let note = |_: &LiveRotation, _, now| ManagedRotationCommand::Reconcile { outcome, now };
        self.note(caller, id, None, note).await?;
        Ok((outcome, self.rotation_view(&self.live_rotation(id)?).await?))
    }

    /// Logs in at the target with what is published. Whether it let rota in; nothing is changed by asking.
    async fn is_published_valid(&self, live: &LiveRotation) -> Result<bool, Failure> {
        let (target, host) = self.open_target(live).await.map_err(Stop::from)?;
        let _place = self.managed.place(&host).await;
        let active = self.active_credential(live).await?.ok_or(RotationRefusal::Unknown)?;
        Ok(timed(target.log_in(&active)).await? == Login::Accepted)
    }

    /// That what is published is valid: the rotation, or why a login with it did not succeed.
    pub async fn check_rotation(&self, caller: &Caller, id: RotationId) -> Result<RotationView, Failure> {
        let live = self.managed_rotation(caller, id, ROTATORS)?;
        if self.is_published_valid(&live).await? {
            return self.rotation_view(&self.live_rotation(id)?).await;
        }
        let state = self.live_rotation(id)?.state;
        // What was published when it was read may have had its turn by now.
        if state.version != live.state.version || state.attempt.is_some_and(|a| a.stuck.is_none()) {
            return Err(RotationRefusal::InProgress.into());
        }
        let reason =
            "the target refuses a login with the credential that is published: reconcile the rotation";
        Err(rota_targets::Failure::refused(reason).into())
    }

    /// Sets a new credential by the authority of the connection: nobody knows a valid one.
    async fn reset(self: &Arc<Self>, caller: &Caller, id: RotationId) -> Result<(), Failure> {
        let running = self.begin_work(id)?;
        let rotate = RotateManaged { reason: Some(crate::app::rotate::COMPROMISED.to_owned()) };
        let started = self.start(caller, id, AttemptCause::Reset, &rotate, Claimed::default()).await;
        let Started::Now(attempt) = started.map_err(Failure::from)? else {
            return Err(RotationRefusal::Overtaken.into());
        };
        match self.go_on(caller, id, attempt, running).await {
            Ended::Published => Ok(()),
            Ended::Failed(reason) => Err(rota_targets::Failure::refused(reason).into()),
            Ended::GoesOn => Err(Failure::GoesOn),
        }
    }
}
