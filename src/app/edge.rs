//! Who may pass where a service lets rota guard its door, and what a bearer token is worth there.
//!
//! Whoever is kept out because the door is another workspace's, or for another kind of credential, is as wrong as
//! somebody unknown: after the same work, and without a trace of having been there.

use rota_aggregates::WorkspaceId;
use rota_aggregates::authority::Role;
use rota_aggregates::credential::Kind;
use rota_aggregates::secret::split_workspace_key;
use rota_projections::public_id::PublicId;

use super::caller::{Authenticated, Caller, Shown};
use super::signature::Entry;
use super::verify::Verified;
use super::{App, Failure};
use crate::signing::Message;
use crate::tokens::{Claims, looks_like_a_token};

/// A door. What it does not name it does not ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Door {
    /// The workspace whose credentials may pass.
    pub workspace: Option<WorkspaceId>,
    /// The one kind of credential that may pass.
    pub kind: Option<Kind>,
    /// What they must be allowed to do in their workspace.
    pub role: Option<Role>,
}

/// What somebody shows at a door.
#[derive(Clone, Copy)]
pub enum Presented<'a> {
    /// The identifier and the secret of a client.
    Pair(&'a str, &'a str),
    /// A workspace key. The operator's key opens no service's door.
    Key(&'a str),
    /// A signature over the request that the door is asked to let through.
    Signature(&'a Message<'a>),
    /// A session that lives.
    Session(Authenticated),
}

impl Presented<'_> {
    /// The kind of credential that shows such a thing.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Pair(..) => Kind::Client,
            Self::Key(_) => Kind::WorkspaceKey,
            Self::Signature(_) => Kind::Signing,
            Self::Session(who) => who.kind,
        }
    }
}

/// Somebody who passed.
#[derive(Clone, Debug)]
pub struct Passed {
    /// Who it is.
    pub verified: Verified,
    /// The public identifier.
    pub public_id: String,
}

impl App {
    /// Whether the credential of a public identifier may pass a door of this workspace as one of this kind. Where
    /// there is no such credential there is nothing to keep out: it is unknown by itself.
    fn is_at_home(&self, public_id: &str, within: Option<WorkspaceId>, kind: Option<Kind>) -> bool {
        let live = PublicId::parse(public_id).and_then(|id| self.tip.tip.read().live.by_public_id(&id));
        live.is_none_or(|live| {
            within.is_none_or(|own| own == live.state.workspace)
                && kind.is_none_or(|kind| kind == live.state.kind)
        })
    }

    /// Lets somebody pass a door.
    pub async fn pass(
        &self,
        door: &Door,
        anonymous: &Caller,
        shown: Presented<'_>,
    ) -> Result<Passed, Failure> {
        let kind = shown.kind();
        let expected = door.kind.is_none_or(|expected| expected == kind);
        let at_home = |public_id: &str| expected && self.is_at_home(public_id, door.workspace, Some(kind));
        let verified = match shown {
            Presented::Pair(public_id, secret) => {
                self.verify_if(anonymous, public_id, secret, at_home).await?
            }
            Presented::Key(key) => {
                let public_id = split_workspace_key(key).map_or("", |(public_id, _)| public_id);
                self.verify_if(anonymous, public_id, key, at_home).await?
            }
            Presented::Signature(message) => {
                match self.enter_by_signature_of(anonymous, message, at_home).await? {
                    Entry::Whole(verified) => Some(verified),
                    Entry::ReplayOnly(_) => None,
                }
            }
            Presented::Session(who) => expected.then(|| of_session(who)),
        };
        let here =
            |who: &Authenticated| who.kind == kind && door.workspace.is_none_or(|own| own == who.workspace);
        let verified = verified.filter(|v| here(&v.who)).ok_or(Failure::Unauthenticated)?;
        if let Some(needs) = door.role.filter(|role| !verified.who.roles.allows(*role)) {
            return Err(Failure::Forbidden { needs });
        }
        let public_id = self.public_id_of(&verified.who).ok_or(Failure::Unauthenticated)?;
        Ok(Passed { verified, public_id })
    }

    /// What a bearer token is worth to `caller`, who asks on behalf of whoever was shown it, and what it says itself:
    /// nothing, if it is another workspace's.
    pub async fn introspect(
        &self,
        caller: &Caller,
        token: &str,
    ) -> Result<Option<(Passed, Option<Claims>)>, Failure> {
        self.is_whole()?;
        let (verified, claims) = if looks_like_a_token(token) {
            // The caller was authenticated in this very request, and that it is current was proved then.
            let session = self.session_in_memory(token).ok();
            let session = session.filter(|s| caller.workspace().is_none_or(|own| own == s.who.workspace));
            let Some(session) = session else { return Ok(None) };
            (of_session(session.who), Some(session.claims))
        } else {
            let public_id = split_workspace_key(token).map_or("", |(public_id, _)| public_id);
            let verified = self.verify_in(caller, public_id, token).await?;
            let verified = verified.filter(|v| v.who.kind == Kind::WorkspaceKey);
            let Some(verified) = verified else { return Ok(None) };
            (verified, None)
        };
        let public_id = self.public_id_of(&verified.who);
        Ok(public_id.map(|public_id| (Passed { verified, public_id }, claims)))
    }

    fn public_id_of(&self, who: &Authenticated) -> Option<String> {
        self.tip.tip.read().live.credential(who.credential).map(|live| live.public_id.text())
    }
}

/// A session ends by itself.
fn of_session(who: Authenticated) -> Verified {
    let expires_at = match who.shown {
        Shown::Session(session) => Some(session.expires_at),
        Shown::Secret | Shown::Signature(_) => None,
    };
    Verified { who, expires_at }
}
