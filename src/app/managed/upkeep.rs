//! What is due by the schedule, and what a crash left unfinished.
//!
//! One replica does it, the one with the lease for upkeep. That two do not rotate the same thing is the order's doing
//! and not the lease's: an attempt begins with an event at an exact place in the rotation's stream.

use std::sync::Arc;
use std::time::Duration;

use rota_aggregates::managed_rotation::{Aftermath, AttemptCause, RotationRefusal, STEP_SECONDS, Stage};
use rota_aggregates::{AttemptId, RotationId, Timestamp};
use rota_projections::live::LiveRotation;

use super::attempt::{Ended, RotateManaged, Started};
use super::ground::Claimed;
use super::steps::Stop;
use crate::app::{App, Caller, Failure};
use crate::telemetry;

/// What is due is looked for at least this often.
const LOOK_SECONDS: u64 = 60;
/// After events came, what is due because of them is looked for so much later.
const PAUSE: Duration = Duration::from_millis(100);
/// Rotations that are begun or gone on with at the same time.
const AT_ONCE_MAX: usize = 64;
/// Another process's attempt is taken over so long after its last word: by then nothing that it sent is still on its
/// way, and one that lives has said something.
const TAKE_OVER_SECONDS: u64 = 3 * STEP_SECONDS;
/// What can't begin is tried so often before that counts as a failure.
const START_TRIES: u32 = 5;

impl App {
    /// Rotates what is due and goes on with what is unfinished, for ever.
    pub(crate) async fn keep_rotations(self: Arc<Self>) {
        let mut head = self.head();
        let mut duty = self.upkeep_duty.leads();
        loop {
            let now = self.now();
            let mut next = now.plus_seconds(LOOK_SECONDS);
            if self.does_upkeep() {
                match self.do_rotations() {
                    Ok(Some(at)) => next = next.min(at),
                    Ok(None) => {}
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "what is to be rotated could not be looked at");
                    }
                }
            }
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = self.managed.wake.notified() => tokio::time::sleep(PAUSE).await,
                changed = head.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                changed = duty.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Begins what is due and goes on with what is unfinished. When to look again.
    pub fn do_rotations(self: &Arc<Self>) -> Result<Option<Timestamp>, Failure> {
        let now = self.now();
        let mut next = None;
        let mut wake = |at: Timestamp| next = Some(next.map_or(at, |next: Timestamp| next.min(at)));
        let (unfinished, due, overdue, later) = {
            let tip = self.tip.tip.read();
            let unfinished: Vec<_> = tip.live.unfinished_rotations(now).take(1_024).cloned().collect();
            let mut due = Vec::new();
            let mut put_off = self.managed.put_off.lock();
            for (at, live) in tip.live.due_rotations(now) {
                let schedule = &live.state.settings.schedule;
                let runs_at = schedule.runs_at(at, now);
                let put_off_until = put_off.get(&live.id).copied().filter(|until| *until > now);
                match put_off_until.into_iter().chain([runs_at]).max() {
                    Some(at) if at > now => wake(at),
                    _ if due.len() < AT_ONCE_MAX => due.push(live.clone()),
                    _ => {}
                }
            }
            put_off.retain(|_, until| *until > now);
            (unfinished, due, tip.live.overdue_rotations(now), tip.live.next_rotation_after(now))
        };
        telemetry::overdue_rotations(overdue);
        if let Some(at) = later {
            wake(at);
        }
        let caller = Caller::scheduler(self.new_request_id()?);
        for live in unfinished {
            match self.may_take(&live, now) {
                Some(at) if at > now => wake(at),
                Some(_) => self.resume(&caller, live),
                None => {}
            }
        }
        for live in due {
            self.rotate_due(&live);
        }
        Ok(next)
    }

    /// When an unfinished attempt or deletion may be taken over; nothing while this process works on it.
    fn may_take(&self, live: &LiveRotation, now: Timestamp) -> Option<Timestamp> {
        if self.managed.is_running(live.id) {
            return None;
        }
        let (by, since, stuck) = match (&live.state.attempt, live.state.deletion) {
            (_, Some(deletion)) => (deletion.by, deletion.started_at, false),
            (Some(a), None) => (a.by, a.not_before, a.stuck.is_some()),
            (None, None) => return None,
        };
        // On a store of one process nobody else can be at work.
        let waits = self.is_shared() && by != self.managed.process && !stuck;
        Some(if waits { since.plus_seconds(TAKE_OVER_SECONDS) } else { now })
    }

    /// Goes on with an attempt or a deletion that nobody works on.
    fn resume(self: &Arc<Self>, caller: &Caller, live: LiveRotation) {
        let Ok(running) = self.begin_work(live.id) else { return };
        let (app, caller) = (Arc::clone(self), caller.clone());
        self.managed.spawn(async move {
            let deletion = live.state.deletion.map(|deletion| deletion.id);
            let attempt = live.state.attempt.as_ref().map(|a| a.id);
            let Some(id) = deletion.or(attempt) else { return };
            match app.take_over(&caller, &live, id).await {
                Ok(()) => tracing::info!(rotation = %live.id, "going on with an unfinished rotation"),
                // Somebody else was faster.
                Err(Failure::Rotation(_)) => return,
                Err(failure) => {
                    let error = &failure as &dyn std::error::Error;
                    tracing::error!(error, rotation = %live.id, "an unfinished rotation can't be taken up");
                    return;
                }
            }
            if deletion.is_some() {
                if let Err(failure) = app.carry_out_deletion(&caller, live.id, id, running).await {
                    let error = &failure as &dyn std::error::Error;
                    tracing::warn!(error, rotation = %live.id, "a deletion was not finished");
                }
            } else {
                app.carry_out(&caller, live.id, id, None, running).await;
            }
        });
    }

    /// Rotates what is due.
    fn rotate_due(self: &Arc<Self>, live: &LiveRotation) {
        let idle = match &live.state.attempt {
            None => true,
            Some(a) => a.stuck.is_some(),
        };
        if live.state.stage != Stage::Active || !idle {
            return;
        }
        let id = live.id;
        let Ok(running) = self.begin_work(id) else { return };
        let app = Arc::clone(self);
        self.managed.spawn(async move {
            let rotated = app.rotate_by_schedule(id, running).await;
            match rotated {
                // Somebody was faster, or it is no more.
                Ok(()) | Err(Failure::Rotation(RotationRefusal::NotDue | RotationRefusal::InProgress)) => {}
                Err(Failure::Rotation(RotationRefusal::Overlap { until })) => {
                    app.managed.put_off.lock().insert(id, until);
                }
                Err(failure) => {
                    let error = &failure as &dyn std::error::Error;
                    tracing::error!(error, rotation = %id, "what was due could not be rotated");
                    let until = app.now().plus_seconds(LOOK_SECONDS);
                    app.managed.put_off.lock().insert(id, until);
                }
            }
            app.managed.wake.notify_waiters();
        });
    }

    async fn rotate_by_schedule(
        self: &Arc<Self>,
        id: RotationId,
        running: super::Running,
    ) -> Result<(), Failure> {
        let caller = Caller::scheduler(self.new_request_id()?);
        let due_before = self.live_rotation(id)?.state.next_at;
        let unsettled = |live: &LiveRotation| {
            live.state.attempt.as_ref().is_some_and(|a| a.stuck == Some(Aftermath::Unsettled))
        };
        let running = match self.settle_first(&caller, id, running).await {
            Ok(Some(running)) => running,
            Ok(None) => return Ok(()),
            Err(Failure::Target(_)) if unsettled(&self.live_rotation(id)?) => return Ok(()),
            Err(failure) => return Err(failure),
        };
        if self.live_rotation(id)?.state.next_at != due_before {
            return Ok(());
        }
        for tries in 1..=START_TRIES {
            let rotate = RotateManaged::default();
            let started = self.start(&caller, id, AttemptCause::Schedule, &rotate, Claimed::default()).await;
            let failure = match started {
                Ok(Started::Now(attempt)) => return self.carry_out_due(&caller, id, attempt, running).await,
                Ok(Started::Before(_)) => return Ok(()),
                Err(Stop::Ours(failure)) => return Err(failure),
                Err(Stop::Theirs(failure)) => failure,
            };
            if failure.may_pass && tries < START_TRIES {
                let pause = (1_u64 << tries) + u64::from(self.jitter()? % 2);
                self.clock.sleep_until(self.now().plus_seconds(pause)).await;
                continue;
            }
            return self.fail_start(&caller, id, AttemptCause::Schedule, failure.text()).await;
        }
        Ok(())
    }

    async fn carry_out_due(
        self: &Arc<Self>,
        caller: &Caller,
        id: RotationId,
        attempt: AttemptId,
        running: super::Running,
    ) -> Result<(), Failure> {
        let ended = self.go_on(caller, id, attempt, running).await;
        if ended == Ended::Published {
            tracing::info!(rotation = %id, "a managed rotation was carried out on time");
        }
        Ok(())
    }
}
