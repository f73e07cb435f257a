//! Sessions: a key and its secret exchanged for a token that is good for a while.
//!
//! A token says what was true when it was given; what is true now is looked up in the live view, so that a
//! revocation ends it at once. After an ordinary rotation it may still read, up to its end, and change nothing.
//! One that was given for a secret in its grace period ends with that.

use std::sync::Arc;

use rota_aggregates::authority::Roles;
use rota_aggregates::credential::{Kind, Status};
use rota_aggregates::record::Record;
use rota_aggregates::{Timestamp, WorkspaceId};
use rota_projections::live::{Live, LiveCredential};
use zeroize::Zeroizing;

use super::caller::{Authenticated, SessionState, Shown};
use super::{App, Failure};
use crate::log::LogError;
use crate::sealing::{Item, Part, SealError};
use crate::tokens::{BadToken, Claims, SigningKey, Verifier};

/// Whom tokens are for: the one program that may show them.
pub const AUDIENCE: &str = "fluide-developer";
/// Who issues tokens unless another name is given.
pub const ISSUER_DEFAULT: &str = "rota";
/// A token lives so long by default: 1 hour.
pub const TOKEN_SECONDS_DEFAULT: u32 = 3_600;
/// A token lives at most so long: 1 day.
pub const TOKEN_SECONDS_MAX: u32 = 86_400;
/// A key signs so long by default: 90 days.
pub const KEY_DAYS_DEFAULT: u32 = 90;

/// How tokens are made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionOptions {
    /// Who issues them: `iss`.
    pub issuer: String,
    /// How long one lives.
    pub token_seconds: u32,
    /// After so many days the key that signs them is replaced.
    pub key_days: u32,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            issuer: ISSUER_DEFAULT.to_owned(),
            token_seconds: TOKEN_SECONDS_DEFAULT,
            key_days: KEY_DAYS_DEFAULT,
        }
    }
}

/// What the service keeps for its tokens.
pub(super) struct Sessions {
    pub options: SessionOptions,
    verifier: Verifier,
    /// The key that signed last, ready for use.
    signer: parking_lot::RwLock<Option<Arc<SigningKey>>>,
}

impl Sessions {
    pub(super) fn new(options: SessionOptions) -> Self {
        let verifier = Verifier::new(&options.issuer, AUDIENCE);
        Self { options, verifier, signer: parking_lot::RwLock::default() }
    }
}

/// A session that lives.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whose it is.
    pub who: Authenticated,
    /// What its token says.
    pub claims: Claims,
}

/// Why a token gives no session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum NoSession {
    /// The token is not good.
    #[error(transparent)]
    Token(#[from] BadToken),
    /// It was good, and the session has been ended since.
    #[error("the session has been ended")]
    Ended,
}

/// A new token. It is in no other place.
pub struct Issued {
    /// The token.
    pub token: Zeroizing<String>,
    /// What it says.
    pub claims: Claims,
}

/// Whoever was authenticated at some time, if they would be now.
pub(super) fn still_alive(live: &Live, who: &Authenticated, now: Timestamp) -> Option<LiveCredential> {
    let own = live.credential(who.credential)?;
    let alive = match who.shown {
        Shown::Secret | Shown::Signature(_) => {
            own.state.live_versions(now).any(|version| version == who.version)
        }
        Shown::Session(session) => {
            own.state.status == Status::Active
                && own.epoch == session.epoch
                && now < session.expires_at
                && (!session.bound || own.state.live_versions(now).any(|version| version == who.version))
        }
    };
    alive.then_some(own)
}

impl App {
    /// The session behind a token, by what is true now. Answered from memory, which on a shared store is proved
    /// current first.
    pub async fn session(&self, token: &str) -> Result<Session, Failure> {
        self.trusts_its_clock()?;
        self.current().await?;
        self.session_in_memory(token).map_err(|reason| {
            tracing::debug!(%reason, "a session token was refused");
            Failure::Unauthenticated
        })
    }

    /// As [`App::session`], on what is known: for a request that has been proved to be current already.
    pub(super) fn session_in_memory(&self, token: &str) -> Result<Session, NoSession> {
        let now = self.now();
        let key = |id| self.tip.tip.read().live.token_keys().find_at(id, now).map(|key| key.public);
        let claims = self.sessions.verifier.verify(token, now, key)?;
        let expires_at = Timestamp::from_micros(claims.exp.saturating_mul(1_000_000));
        let state = SessionState { epoch: claims.epoch, bound: claims.retiring, expires_at, current: false };
        let mut who = Authenticated {
            credential: claims.sub,
            workspace: claims.workspace,
            kind: Kind::Exchange,
            version: claims.secret_version,
            retiring: false,
            roles: Roles::NONE,
            shown: Shown::Session(state),
        };
        let live = still_alive(&self.tip.tip.read().live, &who, now).ok_or(NoSession::Ended)?;
        if live.state.workspace != claims.workspace || live.state.kind != Kind::Exchange {
            return Err(NoSession::Ended);
        }
        who.refresh(&live, now);
        Ok(Session { who, claims })
    }

    /// Gives a token to whoever just showed a secret. A session is no secret: it does not prolong itself.
    pub async fn exchange(&self, who: &Authenticated) -> Result<Issued, Failure> {
        if who.kind != Kind::Exchange || who.shown != Shown::Secret {
            return Err(Failure::Unauthenticated);
        }
        let now = self.now();
        // Looked at again: what a token carries must belong together.
        let live = still_alive(&self.tip.tip.read().live, who, now).ok_or(Failure::Unauthenticated)?;
        let (key, key_ends) = self.signing_key(now).await?;
        let retiring = live.state.retiring_at(now).filter(|r| r.version == who.version);
        let ends = [key_ends, retiring.map(|r| r.expires_at)];
        let longest = now.seconds() + i64::from(self.sessions.options.token_seconds);
        let claims = Claims {
            iss: self.sessions.options.issuer.clone(),
            sub: who.credential,
            aud: AUDIENCE.to_owned(),
            iat: now.seconds(),
            nbf: now.seconds(),
            exp: ends.into_iter().flatten().map(Timestamp::seconds).fold(longest, i64::min),
            jti: self.entropy()?.id(now),
            client_id: AUDIENCE.to_owned(),
            workspace: who.workspace,
            api_key: live.public_id.text(),
            secret_version: who.version,
            epoch: live.epoch,
            retiring: retiring.is_some(),
        };
        let token = key.sign(&claims).map_err(|e| Failure::NotRecordable(e.into()))?;
        Ok(Issued { token, claims })
    }

    /// The key that signs now, and when its signatures stop to count if that is known.
    async fn signing_key(&self, now: Timestamp) -> Result<(Arc<SigningKey>, Option<Timestamp>), Failure> {
        let (key, position) = {
            let tip = self.tip.tip.read();
            let key = tip.live.token_keys().signing_at(now).copied();
            let key = key.ok_or(Failure::Unavailable(None))?;
            (key, tip.live.token_private().find(|(id, _)| *id == key.id).map(|(_, position)| position))
        };
        let ready = self.sessions.signer.read().clone();
        if let Some(ready) = ready.filter(|ready| ready.id() == key.id) {
            return Ok((ready, key.verifies_until));
        }
        let damaged = || Failure::Sealed(SealError::DoesNotOpen);
        let position = position.ok_or_else(damaged)?;
        let stored = self.log.read_at(&[position]).await?;
        let stored = stored.first().ok_or_else(damaged)?;
        let record = Record::decode(&stored.leaf).map_err(|source| LogError::BadLeaf { position, source })?;
        let item = Item { event: record.id.0, part: Part::Secret };
        let sealed = stored.side.secret.as_ref().ok_or_else(damaged)?;
        let seed = self.keys().open_sealed(&item, sealed)?;
        let signer = SigningKey::new(key.id, &seed).filter(|signer| signer.public() == key.public);
        let signer = Arc::new(signer.ok_or_else(damaged)?);
        *self.sessions.signer.write() = Some(Arc::clone(&signer));
        Ok((signer, key.verifies_until))
    }

    /// The workspace and the credential of a public identifier, if it is an exchange credential's that lives.
    pub fn exchange_credential(
        &self,
        workspace: Option<WorkspaceId>,
        public_id: &str,
    ) -> Result<LiveCredential, Failure> {
        let id = rota_projections::public_id::PublicId::parse(public_id);
        let id = id.filter(|id| id.kind == Kind::Exchange);
        let live = id.and_then(|id| self.tip.tip.read().live.by_public_id(&id));
        let live = live.filter(|c| workspace.is_none_or(|own| own == c.state.workspace));
        live.filter(|c| c.state.status == Status::Active).ok_or(Failure::NotFound("credential"))
    }
}
