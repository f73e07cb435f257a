//! Making credentials.

use rota_aggregates::authority::{Role, Roles};
use rota_aggregates::credential::{CredentialCommand, CredentialRefusal, IssueCredential, Kind, Status};
use rota_aggregates::secret::{Mode, RANDOM_BYTES, Secret, generate};
use rota_aggregates::{CredentialId, Event, Sequence, StreamId, Timestamp, WorkspaceId};
use rota_projections::credential::CredentialView;
use rota_projections::public_id::PublicId;
use rota_projections::{Details, Fact};
use serde_json::{Map, Value};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::change::{ATTEMPTS_MAX, Along, Answer, decide, shape};
use super::idempotency::{Idempotency, InProgress};
use super::rotate::Made;
use super::webhook_secret::is_owner;
use super::{App, Caller, Failure};
use crate::log::Append;

/// A name has at most this many characters.
pub const NAME_CHARS_MAX: usize = 200;

/// Make a credential.
#[derive(Clone, Debug)]
pub struct Issue {
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// How its secret is presented.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What it may do in its workspace beyond itself.
    pub roles: Roles,
    /// For workspace keys: test or production.
    pub mode: Option<Mode>,
    /// For webhook secrets: whose it is.
    pub parent: Option<CredentialId>,
    /// The dialect's own description of it.
    pub profile: Map<String, Value>,
}

/// What begins with a credential, in a stream of its own.
pub(super) struct Beside {
    pub stream: StreamId,
    pub event: Event,
    /// Sealed with the event.
    pub profile: Map<String, Value>,
}

/// A name within bounds.
pub fn check_name(field: &str, name: &str) -> Result<(), Failure> {
    let length = name.chars().count();
    if length == 0 || length > NAME_CHARS_MAX {
        return Err(Failure::invalid(field, format!("must have 1 to {NAME_CHARS_MAX} characters")));
    }
    if name.chars().any(char::is_control) {
        return Err(Failure::invalid(field, "must not have control characters"));
    }
    Ok(())
}

/// The id of the webhook secret that belongs to a credential. It follows from the credential's, so that there is
/// at most one and it is found without a look-up.
pub fn webhook_of(parent: CredentialId) -> CredentialId {
    CredentialId(Uuid::new_v5(&parent.0, b"webhook"))
}

impl App {
    /// Issues a credential. `render` makes the answer's bytes; they are sealed with the event if the request is
    /// named.
    pub async fn issue(
        &self,
        caller: &Caller,
        issue: &Issue,
        idempotency: Option<&Idempotency>,
        render: impl Fn(&Made) -> Result<Vec<u8>, Failure>,
    ) -> Result<Answer, Failure> {
        self.issue_beside(caller, issue, None, idempotency, render, |_, _| Ok(None)).await
    }

    /// Issues a credential, and in the same append begins what it belongs to. A secret that the caller chose is its
    /// parent's to set, too.
    pub(super) async fn issue_beside(
        &self,
        caller: &Caller,
        issue: &Issue,
        chosen: Option<&Secret>,
        idempotency: Option<&Idempotency>,
        render: impl Fn(&Made) -> Result<Vec<u8>, Failure>,
        beside: impl Fn(CredentialId, Timestamp) -> Result<Option<Beside>, Failure>,
    ) -> Result<Answer, Failure> {
        check_name("name", &issue.name)?;
        let owner = issue.parent.filter(|_| chosen.is_some());
        if !is_owner(caller, owner)? {
            caller.allow(issue.workspace, &[Role::Admin], "workspace")?;
        }
        if let Some(who) = caller.credential().filter(|who| !who.roles.covers(issue.roles)) {
            tracing::debug!(credential = %who.credential, "roles beyond the caller's own");
            return Err(Failure::Forbidden { needs: Role::Admin });
        }
        let claim = idempotency.map(|i| i.claim(self, issue.workspace));
        let mut held = None;
        if let (Some(claim), Some(idempotency)) = (&claim, idempotency) {
            held = Some(InProgress::begin(self, claim)?);
            if let Some(position) = self.claimed(claim)? {
                // The answer is for whoever may issue now.
                self.ground(caller, issue.workspace)?;
                self.use_once(caller)?;
                return self.replay(idempotency, position).await;
            }
        }
        for _ in 0..ATTEMPTS_MAX {
            // Held until the command is recorded: see `rewrap`.
            let _ring = self.keys();
            let (caller, mut expected, now) = self.ground(caller, issue.workspace)?;
            let place = self.place()?;
            let mut entropy = self.entropy()?;
            let id = match issue.parent {
                Some(parent) => {
                    expected.push(self.parent(issue.workspace, parent)?);
                    webhook_of(parent)
                }
                None => CredentialId(entropy.id(now)),
            };
            let random = Zeroizing::new(entropy.take::<RANDOM_BYTES>());
            let generated = generate(shape(issue.kind, issue.mode), &random);
            let taken = PublicId::parse(&generated.public_id)
                .is_none_or(|public| self.tip.tip.read().live.is_taken(&public));
            if taken {
                continue;
            }
            let secret = chosen.map_or(generated.secret, |chosen| Secret::new(chosen.expose().to_owned()));
            let fresh = self.fresh(id, issue.kind, 1, secret, now, &mut entropy);
            let command = CredentialCommand::Issue(IssueCredential {
                credential: id,
                workspace: issue.workspace,
                kind: issue.kind,
                public_id: generated.public_id.clone(),
                roles: issue.roles,
                mode: issue.mode,
                parent: issue.parent,
                secret: fresh.reference.clone(),
                proof: caller.proof(),
                now,
            });
            let events = decide(rota_aggregates::credential::Credential::default(), command).await?;
            let stream = StreamId::credential(id);
            expected.push((stream, None));
            let mut details = caller.details();
            details.name = Some(issue.name.clone());
            details.profile = (!issue.profile.is_empty()).then(|| issue.profile.clone());
            let events: Vec<_> = events.into_iter().map(|e| (stream, Event::from(e))).collect();
            let made = Made {
                credential: id,
                workspace: issue.workspace,
                kind: issue.kind,
                public_id: generated.public_id,
                version: 1,
                secret: fresh.secret_copy(),
                at: now,
                old_expires_at: None,
                deadline: None,
                view: new_view(&caller, &events, &details, now),
            };
            let bytes = Zeroizing::new(render(&made)?);
            drop(made);
            let along = Along {
                claim,
                details,
                fresh: Some(&fresh),
                answer: idempotency.map(|i| (i, bytes.as_slice())),
            };
            let mut events = self.encode(&caller, issue.workspace, events, &along, now, &mut entropy)?;
            if let Some(Beside { stream, event, profile }) = beside(id, now)? {
                expected.push((stream, None));
                let details = Details { profile: Some(profile), ..caller.details() };
                let (along, begun) = (Along { details, ..Along::default() }, vec![(stream, event)]);
                events.extend(self.encode(&caller, issue.workspace, begun, &along, now, &mut entropy)?);
            }
            let append = Append { expected, claim, events, shred: Vec::new(), decided_at: now };
            let committed = self.commit(place, append, held.clone()).await;
            if let Some(answer) = self.answer(committed, idempotency, bytes).await? {
                return Ok(answer);
            }
        }
        Err(Failure::Overloaded)
    }
}

impl App {
    /// The stream of a credential that is to get a child, with where it stands: it must be alive then still.
    fn parent(
        &self,
        workspace: WorkspaceId,
        parent: CredentialId,
    ) -> Result<(StreamId, Option<Sequence>), Failure> {
        let tip = self.tip.tip.read();
        if tip.live.credential(webhook_of(parent)).is_some() {
            return Err(CredentialRefusal::AlreadyIssued.into());
        }
        let live = tip.live.credential(parent);
        let live = live.filter(|c| c.state.workspace == workspace && c.state.status == Status::Active);
        let live = live.ok_or(Failure::NotFound("credential"))?;
        Ok((StreamId::credential(parent), Some(live.sequence)))
    }
}

/// The view that a credential starts with, before it is recorded.
fn new_view(
    caller: &Caller,
    events: &[(StreamId, Event)],
    details: &Details,
    now: Timestamp,
) -> Option<CredentialView> {
    let (stream, event) = events.first()?;
    let context = caller.context(WorkspaceId::default());
    let mut view = None;
    let fact = Fact {
        position: rota_aggregates::Position(0),
        time: now,
        sequence: rota_aggregates::Sequence(1),
        id: rota_aggregates::EventId::default(),
        stream: *stream,
        context: &context,
        claim: None,
        has_answer: false,
        event,
        digest: None,
    };
    CredentialView::step(&mut view, &fact, Some(details));
    view
}
