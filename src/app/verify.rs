//! Is this secret valid, and whose is it? Answered from memory, in the same time for every wrong answer.

use std::time::Duration;

use rota_aggregates::credential::{CommitCause, CredentialRefusal, Kind, ReplayEndCause, Status};
use rota_aggregates::observation::{OldSecretUsed, old_secret_used_id};
use rota_aggregates::secret::split_workspace_key;
use rota_aggregates::{CredentialId, StreamId, Timestamp, WorkspaceId};
use rota_projections::live::{Candidates, LiveCredential, Standing};
use rota_projections::public_id::PublicId;
use uuid::Uuid;

use super::caller::{Authenticated, Caller, Principal, Shown};
use super::lifecycle::Change;
use super::sessions::{Audience, still_alive};
use super::{App, Failure};
use crate::sealing::same;
use crate::tokens::looks_like_a_token;

/// A login waits at most so long for the record of its use.
const NOTING: Duration = Duration::from_secs(1);

/// A secret that is valid.
#[derive(Clone, Copy, Debug)]
pub struct Verified {
    /// Whose it is.
    pub who: Authenticated,
    /// Until when it is accepted, if it is retiring.
    pub expires_at: Option<Timestamp>,
}

/// A version that was proved.
pub(super) struct Matched {
    pub(super) live: LiveCredential,
    pub(super) slot: u32,
    pub(super) version: u32,
    pub(super) standing: Standing,
    pub(super) shown: Shown,
}

impl Matched {
    /// Who proved it.
    pub(super) fn who(&self) -> Authenticated {
        Authenticated {
            credential: self.live.state.id,
            workspace: self.live.state.workspace,
            kind: self.live.state.kind,
            version: self.version,
            retiring: matches!(self.standing, Standing::Retiring { .. }),
            roles: self.live.roles,
            shown: self.shown,
        }
    }
}

impl App {
    /// Checks a secret. `caller` is who shows it, for what is recorded of its use. The answer rests on every event
    /// that was committed when this was called.
    pub async fn verify(
        &self,
        caller: &Caller,
        public_id: &str,
        secret: &str,
    ) -> Result<Option<Verified>, Failure> {
        self.verify_if(caller, public_id, secret, |_| true).await
    }

    /// As [`App::verify`], for those identifiers alone that `admits`: another is as wrong as an unknown one.
    pub(super) async fn verify_if(
        &self,
        caller: &Caller,
        public_id: &str,
        secret: &str,
        admits: impl Fn(&str) -> bool,
    ) -> Result<Option<Verified>, Failure> {
        self.may_answer()?;
        self.current().await?;
        self.verify_of(None, caller, if admits(public_id) { public_id } else { "" }, secret).await
    }

    /// As [`App::verify`], on what is known, for a request that has been proved to be current already: of a workspace,
    /// if one is given.
    async fn verify_of(
        &self,
        workspace: Option<WorkspaceId>,
        caller: &Caller,
        public_id: &str,
        secret: &str,
    ) -> Result<Option<Verified>, Failure> {
        // The operator is let in even then, and asks on behalf of others.
        self.is_whole()?;
        // A second look is needed only if somebody else committed the prepared version at the same time.
        for _ in 0..2 {
            let now = self.now();
            let Some(matched) = self.matching(workspace, public_id, secret, now) else {
                return Ok(None);
            };
            if let Some(verified) = self.admit(caller, &matched, now).await? {
                return Ok(Some(verified));
            }
        }
        Ok(None)
    }

    /// Lets a proved version in, with what follows from its use. `None` if that made it another's turn: look again.
    pub(super) async fn admit(
        &self,
        caller: &Caller,
        matched: &Matched,
        now: Timestamp,
    ) -> Result<Option<Verified>, Failure> {
        let who = matched.who();
        let itself = || Caller { principal: Principal::Credential(who), ..caller.clone() };
        match matched.standing {
            Standing::Active => {
                if self.tip.tip.read().live.note_use(matched.slot, matched.version, now) {
                    self.tip.mark(matched.slot);
                }
                // The new secret has arrived, so nobody needs to ask for it again; let in only once that is durable.
                if matched.live.state.replay_only.is_some() {
                    let end = Change::EndReplay { cause: ReplayEndCause::FirstUse };
                    self.change(&itself(), who.credential, &end, None).await?;
                }
                Ok(Some(Verified { who, expires_at: None }))
            }
            Standing::Retiring { expires_at } => {
                // A login is its owner's own deed; somebody else's question is that caller's.
                if caller.principal == Principal::Anonymous {
                    self.note_old_use(&itself(), &who, expires_at, now).await;
                } else {
                    self.note_old_use(caller, &who, expires_at, now).await;
                }
                Ok(Some(Verified { who, expires_at: Some(expires_at) }))
            }
            Standing::Prepared => {
                let commit = Change::Commit { cause: CommitCause::FirstUse, version: Some(matched.version) };
                match self.change(&itself(), who.credential, &commit, None).await {
                    Ok(_) => Ok(Some(Verified { who, expires_at: None })),
                    Err(
                        Failure::Unauthenticated
                        | Failure::Credential(
                            CredentialRefusal::NothingPrepared
                            | CredentialRefusal::VersionConflict
                            | CredentialRefusal::Revoked,
                        ),
                    ) => Ok(None),
                    Err(failure) => Err(failure),
                }
            }
            Standing::ReplayOnly => Ok(None),
        }
    }

    /// As [`App::verify`] for somebody else's pair: what is in another workspace than the caller's is as wrong as
    /// a wrong secret, and leaves no trace of having been asked for. The caller was authenticated in this very
    /// request, and that it is current was proved then.
    pub async fn verify_in(
        &self,
        caller: &Caller,
        public_id: &str,
        secret: &str,
    ) -> Result<Option<Verified>, Failure> {
        self.verify_of(caller.workspace(), caller, public_id, secret).await
    }

    /// The version that a secret matches. Every wrong answer costs one HMAC and three comparisons.
    fn matching(
        &self,
        workspace: Option<WorkspaceId>,
        public_id: &str,
        secret: &str,
        now: Timestamp,
    ) -> Option<Matched> {
        let found = PublicId::parse(public_id).and_then(|id| self.tip.tip.read().live.candidates(&id, now));
        let found = found.filter(|found| workspace.is_none_or(|own| own == found.workspace));
        let unknown = Candidates {
            credential: CredentialId(Uuid::nil()),
            workspace: WorkspaceId(Uuid::nil()),
            slot: 0,
            digests: [None; 3],
        };
        let known = found.is_some();
        let candidates = found.unwrap_or(unknown);
        let digest = self.keys().digest(candidates.credential.0, secret);
        let mut matched = None;
        for candidate in candidates.digests {
            let (expected, version, standing) = candidate.unwrap_or(([0; 32], 0, Standing::Active));
            if same(&digest, &expected) && candidate.is_some() {
                matched = Some((version, standing));
            }
        }
        let (version, standing) = matched.filter(|_| known)?;
        let live = self.tip.tip.read().live.at(candidates.slot);
        Some(Matched { live, slot: candidates.slot, version, standing, shown: Shown::Secret })
    }

    /// Records that a retiring secret was used: the first time, and then at most once a minute. That it could not
    /// be recorded, or not soon, does not make the secret wrong.
    async fn note_old_use(
        &self,
        caller: &Caller,
        who: &Authenticated,
        expires_at: Timestamp,
        now: Timestamp,
    ) {
        let id = old_secret_used_id(who.credential, who.version, now);
        let event = OldSecretUsed { credential: who.credential, version: who.version, at: now, expires_at };
        let stream = StreamId::secret_use(who.credential);
        let noting = self.observe(caller, who.workspace, id, stream, event.into(), now);
        match tokio::time::timeout(NOTING, noting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a use could not be recorded");
            }
            Err(_) => tracing::warn!("recording a use takes long; the login goes on"),
        }
    }

    /// Who a bearer token is: the operator, a workspace key, or a session.
    pub async fn authenticate_bearer(&self, anonymous: &Caller, token: &str) -> Result<Principal, Failure> {
        self.trusts_its_clock()?;
        if let Err(failure) = self.is_whole() {
            // The operator alone is let in, to decide.
            return if self.is_operator(token) { Ok(Principal::Operator) } else { Err(failure) };
        }
        if looks_like_a_token(token) {
            match self.session(token, Audience::at(anonymous.dialect)).await {
                Ok(session) => return Ok(Principal::Credential(session.who)),
                // An operator's own key may look like one.
                Err(Failure::Unauthenticated) => {}
                Err(failure) => return Err(failure),
            }
        }
        let Some((public_id, key)) = split_workspace_key(token) else {
            if !self.is_operator(token) {
                return Err(Failure::Unauthenticated);
            }
            // What the operator goes on to ask is answered from memory, too.
            self.current().await?;
            return Ok(Principal::Operator);
        };
        let verified = self.verify(anonymous, public_id, key).await?;
        let verified = verified.filter(|v| v.who.kind == Kind::WorkspaceKey);
        verified.map(|v| Principal::Credential(v.who)).ok_or(Failure::Unauthenticated)
    }

    fn is_operator(&self, token: &str) -> bool {
        let digest = self.keys().digest(Uuid::nil(), token);
        same(&digest, &self.operator.read())
    }

    /// Who a pair of identifier and secret is: a credential whose secret may be shown as it is.
    pub async fn authenticate_pair(
        &self,
        anonymous: &Caller,
        public_id: &str,
        secret: &str,
        kinds: &[Kind],
    ) -> Result<Authenticated, Failure> {
        let verified = self.verify(anonymous, public_id, secret).await?;
        let verified = verified.filter(|v| kinds.contains(&v.who.kind));
        verified.map(|v| v.who).ok_or(Failure::Unauthenticated)
    }

    /// A credential by its public identifier, within a workspace.
    pub fn find(&self, workspace: WorkspaceId, kind: Kind, public_id: &str) -> Result<CredentialId, Failure> {
        let id = PublicId::parse(public_id).filter(|id| id.kind == kind);
        let live = id.and_then(|id| self.tip.tip.read().live.by_public_id(&id));
        let live = live.filter(|c| c.state.workspace == workspace);
        live.map(|c| c.state.id).ok_or(Failure::NotFound("credential"))
    }

    /// As [`App::find`], for one that was not revoked.
    pub fn find_living(
        &self,
        workspace: WorkspaceId,
        kind: Kind,
        public_id: &str,
    ) -> Result<CredentialId, Failure> {
        let id = PublicId::parse(public_id).filter(|id| id.kind == kind);
        let live = id.and_then(|id| self.tip.tip.read().live.by_public_id(&id));
        let live = live.filter(|c| c.state.workspace == workspace && c.state.status == Status::Active);
        live.map(|c| c.state.id).ok_or(Failure::NotFound("credential"))
    }

    /// A credential by its id, if it is of this kind and workspace.
    pub fn find_by_id(
        &self,
        workspace: WorkspaceId,
        kind: Kind,
        id: CredentialId,
    ) -> Result<LiveCredential, Failure> {
        let live = self.tip.tip.read().live.credential(id);
        let live = live.filter(|c| c.state.workspace == workspace && c.state.kind == kind);
        live.ok_or(Failure::NotFound("credential"))
    }

    /// Whether a caller that was authenticated earlier would be now. For answers that go on for long.
    pub async fn is_still_valid(&self, caller: &Caller) -> Result<bool, Failure> {
        let Some(who) = caller.credential() else { return Ok(true) };
        self.current().await?;
        let now = self.now();
        Ok(still_alive(&self.tip.tip.read().live, &who, now).is_some())
    }
}
