//! One attempt from its intent on. After each of its [steps](super::steps) an event says what came of it; a process that
//! dies in between leaves what the next one needs to go on.
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
use rota_aggregates::managed_rotation::{AttemptCause, ManagedRotationCommand, StartAttempt};
use rota_aggregates::{AttemptId, Position, RotationId, StreamId};
use rota_projections::live::LiveRotation;
use rota_targets::Slot;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::ground::{Beside, Change, Claimed, Outcome, Planned};
use super::rotations::Changed;
use super::sealed::SealedIntent;
use super::steps::{Stop, timed};
use super::{ROTATORS, Running};
use crate::app::change::ATTEMPTS_MAX;
use crate::app::idempotency::Idempotency;
use crate::app::rotate::{COMPROMISED, check_reason};
use crate::app::{App, Caller, Failure, Principal};

/// A caller is answered within this long; the attempt goes on.
pub(super) const ANSWER: Duration = Duration::from_secs(55);

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
        let running = self.begin_work(id)?;
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
            let vacated = self.vacated_credential(&live).await?;
            let random = Zeroizing::new(self.entropy()?.take::<32>());
            let intent = {
                let _place = self.managed.place(&host).await;
                timed(target.has_room(vacated.as_ref())).await?;
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
}

/// How an attempt was begun.
pub(super) enum Started {
    /// By this call.
    Now(AttemptId),
    /// By the same named request before, whose event is there.
    Before(Position),
}
