//! Recording what was done at a target, or came of it.

use std::time::Duration;

use rota_aggregates::ids::Hash;
use rota_aggregates::managed_rotation::{ManagedRotationCommand, ManagedRotationEvent, SealedAt};
use rota_aggregates::{RotationId, StreamId, Timestamp};
use rota_projections::live::LiveRotation;
use zeroize::Zeroizing;

use super::ground::{Beside, Change, Outcome, Planned};
use crate::app::{App, Caller, Failure};

/// After a failure of the ledger the next try waits so long.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// What a target has done is recorded even if the ledger can't be written to for a while: so often is it tried.
const RECORD_TRIES: usize = 120;

impl App {
    /// As [`App::note`], for what rests on where the rotation's sealed parts are by then.
    pub(super) async fn note_step(
        &self,
        caller: &Caller,
        id: RotationId,
        command: impl Fn(SealedAt, Timestamp) -> ManagedRotationCommand,
    ) -> Result<Vec<ManagedRotationEvent>, Failure> {
        self.note(caller, id, None, |live, _, now| command(live.sealed, now)).await
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
}
