//! Recording that an authenticated caller was refused: at most once a minute per actor, credential and
//! reason, in a stream of its own.

use rota_aggregates::authority::Role;
use rota_aggregates::credential::CredentialRefusal;
use rota_aggregates::observation::{ObservationEvent, RotationRefused, refusal_id};
use rota_aggregates::record::{SealedHashes, encode_body};
use rota_aggregates::{CredentialId, EventId, StreamId, Timestamp, WorkspaceId};

use super::change::ATTEMPTS_MAX;
use super::{App, Caller, Failure, Principal};
use crate::log::committer::Verdict;
use crate::log::{Append, NewEvent, Side};

/// Whether a refusal says something about who asked, rather than about what was asked.
fn is_worth_recording(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Forbidden { .. }
            | Failure::OperatorOnly
            | Failure::Credential(
                CredentialRefusal::RetiringSecret
                    | CredentialRefusal::SessionSuperseded
                    | CredentialRefusal::SecretRequired
                    | CredentialRefusal::Revoked
                    | CredentialRefusal::RotationPending
            )
    )
}

impl App {
    /// Passes a failure on, and records it if it is a refusal by rule or role.
    pub(super) async fn refuse(
        &self,
        caller: &Caller,
        credential: CredentialId,
        operation: &'static str,
        failure: Failure,
    ) -> Failure {
        if !is_worth_recording(&failure) || caller.principal == Principal::Scheduler {
            return failure;
        }
        let workspace = self.tip.tip.read().live.credential(credential).map(|c| c.state.workspace);
        let Some(workspace) = workspace else { return failure };
        let now = self.now();
        let actor = caller.actor();
        let reason = failure.code();
        let event = RotationRefused {
            credential,
            operation: operation.to_owned(),
            reason: reason.to_owned(),
            at: now,
        };
        let id = refusal_id(actor.id, credential, reason, now);
        let stream = StreamId::refusals(actor.id);
        if let Err(error) = self.observe(caller, workspace, id, stream, event.into(), now).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a refusal could not be recorded");
        }
        failure
    }

    /// As [`App::refuse`] for a session that may change nothing any more.
    pub(super) async fn check_current(
        &self,
        caller: &Caller,
        credential: CredentialId,
        operation: &'static str,
    ) -> Result<(), Failure> {
        let checked = caller.credential().map_or(Ok(()), |who| who.check_current());
        match checked {
            Ok(()) => Ok(()),
            Err(refusal) => Err(self.refuse(caller, credential, operation, refusal.into()).await),
        }
    }

    /// As [`App::refuse`] for a missing role.
    pub(super) async fn allow(
        &self,
        caller: &Caller,
        credential: CredentialId,
        workspace: WorkspaceId,
        roles: &[Role],
        itself: bool,
        operation: &'static str,
    ) -> Result<(), Failure> {
        let allowed = if itself {
            caller.allow_self(credential, workspace, roles)
        } else {
            caller.allow(workspace, roles, "credential")
        };
        match allowed {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.refuse(caller, credential, operation, failure).await),
        }
    }

    /// Records an observation, unless the same one is recorded already. Nothing is sealed beside it: its id
    /// follows from what it says, and a data key must never be bound to an id that can come up twice.
    pub(super) async fn observe(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        id: EventId,
        stream: StreamId,
        event: ObservationEvent,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let mut context = caller.context(workspace);
        // Noticing something is no change: the request may still make one.
        context.proof.signed = None;
        let event = event.into();
        let body = encode_body(id, stream, &context, None, SealedHashes::default(), &event)?;
        // Others may observe something in the same stream at the same time.
        for _ in 0..ATTEMPTS_MAX {
            let sequence = {
                let tip = self.tip.tip.read();
                if tip.live.was_observed(id) {
                    return Ok(());
                }
                tip.live.sequence(&stream)
            };
            let (event, body) = (event.clone(), body.clone());
            let new = NewEvent { id, stream, context, event, body, side: Side::default() };
            let append = Append {
                expected: vec![(stream, sequence)],
                claim: None,
                events: vec![new],
                shred: Vec::new(),
                decided_at: now,
            };
            if self.committer.append(append, None).await? != Verdict::Stale {
                break;
            }
        }
        Ok(())
    }
}
