//! The end of a rotation, and at the target of what rota made there.

use std::sync::Arc;

use rota_aggregates::managed_rotation::{ManagedRotationCommand, ManagedRotationEvent};
use rota_aggregates::{AttemptId, RotationId};
use rota_projections::live::LiveRotation;
use zeroize::Zeroizing;

use super::attempt::ANSWER;
use super::rotations::Changed;
use super::steps::{Stop, timed};
use super::{ADMINS, Running};
use crate::app::{App, Caller, Failure, Principal};

/// Ending one credential is tried so often.
const TRIES: u32 = 3;

/// End a rotation.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeleteRotation {
    /// Whether the mapped secrets are deleted too. If not, they stay with their last values.
    pub delete_secrets: bool,
    /// Whether the credentials that rota made are ended at the target. If that fails, the rotation stays.
    pub revoke: bool,
}

impl App {
    /// Ends a rotation. What it was.
    pub async fn delete_rotation(
        self: &Arc<Self>,
        caller: &Caller,
        id: RotationId,
        delete: DeleteRotation,
    ) -> Result<Changed, Failure> {
        let live = self.managed_rotation(caller, id, ADMINS)?;
        let view = self.rotation_view(&live).await?;
        let (caller, _, _) = self.ground(caller, live.state.workspace)?;
        let running = self.begin_work(id)?;
        if !delete.revoke {
            let delete_secrets = delete.delete_secrets;
            let command = |live: &LiveRotation, _, now| {
                let sealed = live.sealed;
                ManagedRotationCommand::Delete { revoked: None, delete_secrets, sealed, now }
            };
            self.note(&caller, id, None, command).await?;
            return Ok(Changed { view, position: None, replayed: false });
        }
        let attempt = AttemptId(self.entropy()?.id(self.now()));
        let (by, delete_secrets) = (self.managed.process, delete.delete_secrets);
        let command = |_: &LiveRotation, _, now| ManagedRotationCommand::StartDeletion {
            attempt,
            by,
            delete_secrets,
            now,
        };
        self.note(&caller, id, None, command).await?;
        let (done, ended) = tokio::sync::oneshot::channel();
        let app = Arc::clone(self);
        let caller = Caller { principal: Principal::Scheduler, ..caller };
        self.managed.spawn(async move {
            let deleted = app.carry_out_deletion(&caller, id, attempt, running).await;
            // Whoever asked may have stopped waiting.
            let _ = done.send(deleted);
        });
        match tokio::time::timeout(ANSWER, ended).await {
            Ok(Ok(deleted)) => deleted.map(|()| Changed { view, position: None, replayed: false }),
            Ok(Err(_)) | Err(_) => Err(Failure::GoesOn),
        }
    }

    /// Ends what rota made, the active credential last, and then the rotation.
    pub(super) async fn carry_out_deletion(
        &self,
        caller: &Caller,
        id: RotationId,
        attempt: AttemptId,
        running: Running,
    ) -> Result<(), Failure> {
        running.is_recorded();
        let live = self.any_rotation(id)?;
        let by = self.managed.process;
        match self.revoke_all(caller, &live, attempt).await {
            Ok(()) => {}
            Err(Stop::Ours(failure)) => return Err(failure),
            Err(Stop::Theirs(failure)) => {
                let command = |_: &LiveRotation, _, now| {
                    let reason = failure.text().to_owned();
                    ManagedRotationCommand::FailDeletion { attempt, by, reason, now }
                };
                self.note(caller, id, None, command).await?;
                tracing::warn!(rotation = %id, "what a rotation made could not be ended; it stays");
                return Err(failure.into());
            }
        }
        let delete_secrets = live.state.deletion.is_some_and(|deletion| deletion.delete_secrets);
        let command = |live: &LiveRotation, _, now| {
            let sealed = live.sealed;
            ManagedRotationCommand::Delete { revoked: Some(attempt), delete_secrets, sealed, now }
        };
        self.note(caller, id, None, command).await.map(|_: Vec<ManagedRotationEvent>| ())
    }

    async fn revoke_all(&self, caller: &Caller, live: &LiveRotation, attempt: AttemptId) -> Result<(), Stop> {
        let (target, host) = self.open_target(live).await?;
        let by = self.managed.process;
        // What an attempt that was never settled may have set.
        if live.sealed.intent.is_some() {
            let intent = self.intent(live).await?;
            let kept = self.kept_credentials(live).await?;
            let keep: Vec<_> = kept.iter().collect();
            let _place = self.managed.place(&host).await;
            timed(target.undo(&intent.intent, &keep)).await?;
            if let Some(chosen) = intent.chosen() {
                let random = Zeroizing::new(self.entropy()?.take::<32>());
                timed(target.revoke(chosen, *random)).await?;
            }
        }
        let active = live.state.active % 2;
        for slot in [(active + 1) % 2, active] {
            let held = live.state.slots[usize::from(slot)].is_some_and(|held| !held.ended);
            let Some(position) = live.sealed.slots[usize::from(slot)].filter(|_| held) else { continue };
            let credential = self.credential_at(Some(position)).await?;
            let mut tries = 0;
            loop {
                tries += 1;
                let random = Zeroizing::new(self.entropy()?.take::<32>());
                let revoked = {
                    let _place = self.managed.place(&host).await;
                    timed(target.revoke(&credential, *random)).await
                };
                match revoked {
                    Ok(()) => break,
                    Err(failure) if failure.may_pass && tries < TRIES => {
                        let pause = self.now().plus_seconds(u64::from(tries));
                        self.clock.sleep_until(pause).await;
                    }
                    Err(failure) => return Err(failure.into()),
                }
            }
            let command =
                |_: &LiveRotation, _, now| ManagedRotationCommand::NoteRevoked { attempt, by, slot, now };
            self.note(caller, live.id, None, command).await?;
        }
        Ok(())
    }
}
