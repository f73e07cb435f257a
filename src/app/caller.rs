//! Who asks, and what they may.

use rota_aggregates::authority::{Actor, ActorKind, Dialect, Proof, ProofKind, Role, Roles, SignedRequest};
use rota_aggregates::credential::{CredentialRefusal, Kind};
use rota_aggregates::record::Context;
use rota_aggregates::{CredentialId, RequestId, Timestamp, WorkspaceId};
use rota_projections::Details;
use rota_projections::live::LiveCredential;
use uuid::Uuid;

use super::Failure;

/// A credential that has proved itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authenticated {
    /// The credential.
    pub credential: CredentialId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Its kind.
    pub kind: Kind,
    /// The version whose secret was shown.
    pub version: u32,
    /// Whether that version is in its grace period.
    pub retiring: bool,
    /// What it may do in its workspace beyond itself.
    pub roles: Roles,
    /// What it showed of that version.
    pub shown: Shown,
}

/// What a credential showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// The secret itself.
    Secret,
    /// A signature over this request, which proves one change at most; `None` for what its being shown leads to.
    Signature(Option<SignedRequest>),
    /// A session that was given for the secret.
    Session(SessionState),
}

/// A session, as far as decisions need it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionState {
    /// The credential's epoch when it was given.
    pub epoch: u32,
    /// Whether it ends with its version, because that was in its grace period when it was given.
    pub bound: bool,
    /// The first instant at which it is refused.
    pub expires_at: Timestamp,
    /// Whether its version is the active one: then it may change what its credential may change.
    pub current: bool,
    /// The user whom it was given for, if it stands for one: then it reads alone.
    pub user: Option<User>,
    /// The login that it goes back to, if it can be ended before its time.
    pub login: Option<Uuid>,
}

/// The user whom a session was given for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct User {
    /// The credential that is the user's key.
    pub id: CredentialId,
    /// What that may do: the session has no other roles.
    pub roles: Roles,
}

impl Authenticated {
    /// Takes in what is true of the credential now.
    pub(super) fn refresh(&mut self, live: &LiveCredential, now: Timestamp) {
        self.roles = live.roles;
        self.retiring = live.state.retiring_at(now).is_some_and(|r| r.version == self.version);
        if let Shown::Session(session) = &mut self.shown {
            session.current = live.state.active == Some(self.version);
            self.roles = session.user.map_or(live.roles, |user| live.roles.shared_with(user.roles));
        }
    }

    /// Whether it may change anything at all: a session of a secret that was replaced may read alone.
    pub(super) fn check_current(&self) -> Result<(), CredentialRefusal> {
        match self.shown {
            Shown::Session(SessionState { user: Some(_), .. }) => Err(CredentialRefusal::SecretRequired),
            Shown::Session(session) if !session.current => Err(if self.retiring {
                CredentialRefusal::RetiringSecret
            } else {
                CredentialRefusal::SessionSuperseded
            }),
            Shown::Secret | Shown::Signature(_) | Shown::Session(_) => Ok(()),
        }
    }
}

/// Whoever asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Principal {
    /// Who runs the deployment.
    Operator,
    /// A workspace key or another credential.
    Credential(Authenticated),
    /// rota's own jobs.
    Scheduler,
    /// Nobody known yet: whoever is about to show something.
    Anonymous,
}

/// A request as the use cases see it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who asks.
    pub principal: Principal,
    /// Through which wire format.
    pub dialect: Dialect,
    /// The request's id.
    pub request: RequestId,
    /// What it belongs to across requests: the caller's own id, or the request's.
    pub correlation: Uuid,
    /// The caller's address.
    pub client_address: Option<String>,
    /// The caller's program.
    pub user_agent: Option<String>,
}

impl Caller {
    /// rota's own scheduler, in a run of its own.
    pub fn scheduler(request: RequestId) -> Self {
        Self {
            principal: Principal::Scheduler,
            dialect: Dialect::Internal,
            request,
            correlation: request.0,
            client_address: None,
            user_agent: None,
        }
    }

    /// Who acts, as events name them.
    pub fn actor(&self) -> Actor {
        match self.principal {
            Principal::Operator => Actor::OPERATOR,
            Principal::Scheduler => Actor::SCHEDULER,
            Principal::Anonymous => Actor { kind: ActorKind::Credential, id: Uuid::nil() },
            Principal::Credential(who) => {
                let kind = if who.kind == Kind::WorkspaceKey {
                    ActorKind::WorkspaceKey
                } else {
                    ActorKind::Credential
                };
                Actor { kind, id: who.credential.0 }
            }
        }
    }

    /// What proved the caller's authority.
    pub fn proof(&self) -> Proof {
        match self.principal {
            Principal::Operator => Proof::OPERATOR,
            Principal::Scheduler => Proof::SCHEDULE,
            Principal::Anonymous => {
                let kind = ProofKind::Secret;
                Proof { kind, credential: None, version: None, retiring: false, signed: None }
            }
            Principal::Credential(who) => {
                let (kind, signed) = match who.shown {
                    Shown::Session(_) => (ProofKind::Session, None),
                    Shown::Signature(signed) => (ProofKind::Signature, signed),
                    Shown::Secret if who.kind == Kind::WorkspaceKey => (ProofKind::WorkspaceKey, None),
                    Shown::Secret => (ProofKind::Secret, None),
                };
                Proof { signed, ..Proof::of(kind, who.credential, who.version, who.retiring) }
            }
        }
    }

    /// The circumstances of an event of this request.
    pub fn context(&self, workspace: WorkspaceId) -> Context {
        Context {
            workspace,
            actor: self.actor(),
            dialect: self.dialect,
            proof: self.proof(),
            request: self.request,
            causation: self.request.0,
            correlation: self.correlation,
        }
    }

    /// What is personal about this request.
    pub fn details(&self) -> Details {
        Details {
            client_address: self.client_address.clone(),
            user_agent: self.user_agent.clone(),
            ..Details::default()
        }
    }

    /// The credential that asks, if one does.
    pub fn credential(&self) -> Option<Authenticated> {
        match self.principal {
            Principal::Credential(who) => Some(who),
            Principal::Operator | Principal::Scheduler | Principal::Anonymous => None,
        }
    }

    /// The workspace that the caller is confined to; `None` for the operator.
    pub fn workspace(&self) -> Option<WorkspaceId> {
        self.credential().map(|who| who.workspace)
    }

    /// The workspace that a request is about: the caller's own, or the one that the operator names.
    pub fn resolve_workspace(&self, named: Option<WorkspaceId>) -> Result<WorkspaceId, Failure> {
        match (self.workspace(), named) {
            (Some(own), Some(named)) if own != named => Err(Failure::NotFound("workspace")),
            (Some(own), _) => Ok(own),
            (None, Some(named)) => Ok(named),
            (None, None) => Err(Failure::invalid("workspaceId", "the operator must name the workspace")),
        }
    }

    /// Whether the caller may do in `workspace` what any of `roles` allows. Another workspace's things answer
    /// as if they did not exist.
    pub fn allow(&self, workspace: WorkspaceId, roles: &[Role], what: &'static str) -> Result<(), Failure> {
        let who = match self.principal {
            Principal::Operator | Principal::Scheduler => return Ok(()),
            Principal::Anonymous => return Err(Failure::Unauthenticated),
            Principal::Credential(who) => who,
        };
        if who.workspace != workspace {
            return Err(Failure::NotFound(what));
        }
        if roles.iter().any(|role| who.roles.allows(*role)) {
            return Ok(());
        }
        Err(Failure::Forbidden { needs: roles.first().copied().unwrap_or(Role::Admin) })
    }

    /// As [`Caller::allow`], and a credential may always do it to itself.
    pub fn allow_self(
        &self,
        credential: CredentialId,
        workspace: WorkspaceId,
        roles: &[Role],
    ) -> Result<(), Failure> {
        if self.credential().is_some_and(|who| who.credential == credential) {
            return Ok(());
        }
        self.allow(workspace, roles, "credential")
    }

    /// Whether what the caller showed may change anything anywhere.
    pub fn may_change(&self) -> Result<(), Failure> {
        match self.credential().map(|who| who.shown) {
            Some(Shown::Session(SessionState { user: Some(_), .. })) => Err(Failure::ReadsAlone),
            _ => Ok(()),
        }
    }

    /// Whether the caller is the operator.
    pub fn operator_only(&self) -> Result<(), Failure> {
        match self.principal {
            Principal::Operator | Principal::Scheduler => Ok(()),
            Principal::Credential(_) => Err(Failure::OperatorOnly),
            Principal::Anonymous => Err(Failure::Unauthenticated),
        }
    }
}
