//! Replacing a credential's secret: at once, with a grace period, or in two phases.

use rota_aggregates::authority::Role;
use rota_aggregates::credential::Kind;
use rota_aggregates::credential::{
    CredentialCommand, CredentialEvent, PrepareRotation, RotateSecret, SecretRef,
};
use rota_aggregates::secret::Secret;
use rota_aggregates::{CredentialId, Event, Position, Sequence, StreamId, Timestamp, WorkspaceId};
use rota_projections::Fact;
use rota_projections::credential::CredentialView;

use super::change::{Along, Answer, Subject, decide, shredded};
use super::idempotency::{Idempotency, InProgress};
use super::issue::webhook_of;
use super::webhook_secret::is_owner;
use super::{App, Caller, Failure};
use crate::app::change::ATTEMPTS_MAX;
use crate::log::Append;

/// The reason that says that somebody else knows the old secret.
pub const COMPROMISED: &str = "compromised";
/// A reason has at most this many characters.
pub const REASON_CHARS_MAX: usize = 500;

/// Replace a secret.
#[derive(Clone, Debug, Default)]
pub struct Rotate {
    /// How long the replaced version stays valid; `None` for the policy's default.
    pub grace_seconds: Option<u64>,
    /// Why; [`COMPROMISED`] has consequences.
    pub reason: Option<String>,
    /// Whether the answer shows the credential.
    pub with_view: bool,
}

/// Make the next secret, beside the active one.
#[derive(Clone, Debug, Default)]
pub struct Prepare {
    /// The grace period that the replaced version gets at the commit.
    pub grace_seconds: Option<u64>,
    /// How long the rotation may wait.
    pub deadline_seconds: Option<u64>,
    /// Why.
    pub reason: Option<String>,
    /// Whether the answer shows the credential.
    pub with_view: bool,
}

/// A credential that got a secret, for rendering the answer. The secret is in no other place.
#[derive(Debug)]
pub struct Made {
    /// The credential.
    pub credential: CredentialId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Its kind.
    pub kind: Kind,
    /// Its public identifier.
    pub public_id: String,
    /// The new version.
    pub version: u32,
    /// The new secret.
    pub secret: Secret,
    /// When it was made.
    pub at: Timestamp,
    /// The end of the replaced version's grace period, if it got one.
    pub old_expires_at: Option<Timestamp>,
    /// Until when a prepared version can be committed.
    pub deadline: Option<Timestamp>,
    /// The credential as it is after this, if that was asked for.
    pub view: Option<CredentialView>,
}

/// A reason within bounds.
pub(super) fn check_reason(reason: Option<&str>) -> Result<(), Failure> {
    match reason {
        Some(reason) if reason.chars().count() > REASON_CHARS_MAX => {
            Err(Failure::invalid("reason", format!("must have at most {REASON_CHARS_MAX} characters")))
        }
        Some(reason) if reason.chars().any(|c| c.is_control() && c != '\n') => {
            Err(Failure::invalid("reason", "must not have control characters"))
        }
        _ => Ok(()),
    }
}

struct Plan<'a> {
    operation: &'static str,
    reason: Option<String>,
    with_view: bool,
    /// The secret, if it was chosen, and whose it is.
    chosen: Option<(&'a Secret, CredentialId)>,
}

impl App {
    /// Rotates a secret. `render` makes the answer's bytes; they are sealed with the event if the request is named.
    pub async fn rotate(
        &self,
        caller: &Caller,
        credential: CredentialId,
        rotate: &Rotate,
        idempotency: Option<&Idempotency>,
        render: impl Fn(&Made) -> Result<Vec<u8>, Failure>,
    ) -> Result<Answer, Failure> {
        self.rotate_planned(caller, credential, rotate, None, idempotency, render).await
    }

    /// Rotates the webhook secret of `owner` to one that the caller chose; the owner may do it too.
    pub(super) async fn rotate_chosen(
        &self,
        caller: &Caller,
        owner: CredentialId,
        rotate: &Rotate,
        chosen: &Secret,
        idempotency: Option<&Idempotency>,
        render: impl Fn(&Made) -> Result<Vec<u8>, Failure>,
    ) -> Result<Answer, Failure> {
        let chosen = Some((chosen, owner));
        self.rotate_planned(caller, webhook_of(owner), rotate, chosen, idempotency, render).await
    }

    async fn rotate_planned(
        &self,
        caller: &Caller,
        credential: CredentialId,
        rotate: &Rotate,
        chosen: Option<(&Secret, CredentialId)>,
        idempotency: Option<&Idempotency>,
        render: impl Fn(&Made) -> Result<Vec<u8>, Failure>,
    ) -> Result<Answer, Failure> {
        let (reason, with_view) = (rotate.reason.clone(), rotate.with_view);
        let plan = Plan { operation: "rotate", reason, with_view, chosen };
        let compromised = rotate.reason.as_deref() == Some(COMPROMISED);
        let grace_seconds = rotate.grace_seconds;
        let replayable = idempotency.is_some_and(Idempotency::is_hard_to_guess);
        let command = |subject: &Subject, secret: SecretRef, means: Option<u32>| {
            CredentialCommand::Rotate(RotateSecret {
                secret,
                means,
                grace_seconds,
                compromised,
                replayable,
                proof: subject.caller.proof(),
                policy: subject.policy,
                sealed: subject.sealed.clone(),
                now: subject.now,
            })
        };
        self.bring(caller, credential, &plan, idempotency, command, render).await
    }

    /// Makes the next secret and leaves the active one as it is: both are valid until commit or cancellation.
    pub async fn prepare(
        &self,
        caller: &Caller,
        credential: CredentialId,
        prepare: &Prepare,
        idempotency: Option<&Idempotency>,
        render: impl Fn(&Made) -> Result<Vec<u8>, Failure>,
    ) -> Result<Answer, Failure> {
        let (reason, with_view) = (prepare.reason.clone(), prepare.with_view);
        let plan = Plan { operation: "prepare", reason, with_view, chosen: None };
        let (grace_seconds, deadline_seconds) = (prepare.grace_seconds, prepare.deadline_seconds);
        let command = |subject: &Subject, secret: SecretRef, means: Option<u32>| {
            CredentialCommand::Prepare(PrepareRotation {
                secret,
                means,
                grace_seconds,
                deadline_seconds,
                proof: subject.caller.proof(),
                policy: subject.policy,
                sealed: subject.sealed.clone(),
                now: subject.now,
            })
        };
        self.bring(caller, credential, &plan, idempotency, command, render).await
    }

    /// Brings a credential a new secret.
    async fn bring(
        &self,
        caller: &Caller,
        id: CredentialId,
        plan: &Plan<'_>,
        idempotency: Option<&Idempotency>,
        command: impl Fn(&Subject, SecretRef, Option<u32>) -> CredentialCommand,
        render: impl Fn(&Made) -> Result<Vec<u8>, Failure>,
    ) -> Result<Answer, Failure> {
        check_reason(plan.reason.as_deref())?;
        let mut means: Option<Option<u32>> = None;
        let mut held = None;
        for _ in 0..ATTEMPTS_MAX {
            let subject = self.subject(caller, id)?;
            let workspace = subject.live.state.workspace;
            let owner = plan.chosen.map(|(_, owner)| owner);
            match is_owner(&subject.caller, owner) {
                Ok(true) => {}
                Ok(false) => {
                    self.allow(&subject.caller, id, workspace, &[Role::Rotator], true, plan.operation)
                        .await?;
                }
                Err(refusal) => return Err(self.refuse(&subject.caller, id, plan.operation, refusal).await),
            }
            let claim = idempotency.map(|i| i.claim(self, workspace));
            if let (Some(claim), Some(idempotency)) = (&claim, idempotency) {
                if held.is_none() {
                    held = Some(InProgress::begin(self, claim)?);
                }
                if let Some(position) = self.claimed(claim)? {
                    if let Err(refusal) = self.check_replay(&subject, position).await? {
                        return Err(self.refuse(&subject.caller, id, plan.operation, refusal.into()).await);
                    }
                    self.use_once(&subject.caller)?;
                    return self.replay(idempotency, position).await;
                }
            }
            self.check_current(&subject.caller, id, plan.operation).await?;
            let place = self.place()?;
            let mut entropy = self.entropy()?;
            let means = *means.get_or_insert(subject.live.state.active);
            let next = subject.live.state.last_version + 1;
            let fresh = match plan.chosen {
                None => self.fresh_secret(&subject.live, next, subject.now, &mut entropy),
                Some((chosen, _)) => {
                    let (kind, now) = (subject.live.state.kind, subject.now);
                    let secret = Secret::new(chosen.expose().to_owned());
                    self.fresh(id, kind, next, secret, now, &mut entropy)
                }
            };
            let decision =
                decide(subject.live.state, command(&subject, fresh.reference.clone(), means)).await;
            let events = match decision {
                Ok(events) => events,
                Err(refusal) => {
                    drop(place);
                    return Err(self.refuse(&subject.caller, id, plan.operation, refusal.into()).await);
                }
            };
            let view = if plan.with_view {
                let Some(view) = self.view_after(&subject, &events).await? else {
                    // The views are ahead of what was decided on; on a shared store also ahead of the tip.
                    drop(place);
                    self.current().await?;
                    continue;
                };
                Some(view)
            } else {
                None
            };
            let made = made(&subject, &events, &fresh.reference, fresh.secret_copy(), view);
            let bytes = zeroize::Zeroizing::new(render(&made)?);
            drop(made);
            let mut details = subject.caller.details();
            details.reason.clone_from(&plan.reason);
            let along = Along {
                claim,
                details,
                fresh: Some(&fresh),
                answer: idempotency.map(|i| (i, bytes.as_slice())),
            };
            let shred = shredded(&events);
            let stream = StreamId::credential(id);
            let events = events.into_iter().map(|e| (stream, Event::from(e))).collect();
            let events =
                self.encode(&subject.caller, workspace, events, &along, subject.now, &mut entropy)?;
            let append = Append { expected: subject.expected, claim, events, shred, decided_at: subject.now };
            let committed = self.commit(place, append, held.clone()).await;
            if let Some(answer) = self.answer(committed, idempotency, bytes).await? {
                return Ok(answer);
            }
        }
        Err(Failure::Overloaded)
    }

    /// The credential as people will see it once `events` are recorded; `None` if the views and the decision don't
    /// stand at the same point.
    async fn view_after(
        &self,
        subject: &Subject,
        events: &[CredentialEvent],
    ) -> Result<Option<CredentialView>, Failure> {
        let Some(mut view) = self.view(subject.live.state.id, None).await? else { return Ok(None) };
        if view.sequence != subject.live.sequence {
            return Ok(None);
        }
        apply_decided(&mut view, subject, events);
        Ok(Some(view))
    }
}

/// Folds decided events into a view before they are recorded.
fn apply_decided(view: &mut CredentialView, subject: &Subject, events: &[CredentialEvent]) {
    let context = subject.caller.context(view.workspace);
    for (offset, event) in (1..).zip(events) {
        let event = Event::from(event.clone());
        let fact = Fact {
            position: Position(0),
            time: subject.now,
            sequence: Sequence(subject.live.sequence.0 + offset),
            id: rota_aggregates::EventId::default(),
            stream: StreamId::credential(view.id),
            context: &context,
            claim: None,
            has_answer: false,
            event: &event,
            digest: None,
        };
        view.apply(&fact, None);
    }
}

fn made(
    subject: &Subject,
    events: &[CredentialEvent],
    reference: &SecretRef,
    secret: Secret,
    view: Option<CredentialView>,
) -> Made {
    let state = &subject.live.state;
    let old_expires_at = events.iter().find_map(|event| match event {
        CredentialEvent::SecretRotated(e) => e.replaced.as_ref().and_then(|r| r.expires_at),
        _ => None,
    });
    let deadline = events.iter().find_map(|event| match event {
        CredentialEvent::RotationPrepared(e) => Some(e.deadline),
        _ => None,
    });
    Made {
        credential: state.id,
        workspace: state.workspace,
        kind: state.kind,
        public_id: subject.live.public_id.text(),
        version: reference.version,
        secret,
        at: subject.now,
        old_expires_at,
        deadline,
        view,
    }
}
