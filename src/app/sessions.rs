//! Sessions: a key and its secret exchanged for a token that is good for a while.
//!
//! A token says what was true when it was given; what is true now is looked up in the live view, so that a
//! revocation ends it at once. After an ordinary rotation it may still read, up to its end, and change nothing.
//! One that was given for a secret in its grace period ends with that.
//!
//! A token is for one audience, and no other door takes it: an exchange credential's acts as that credential, and so
//! does a client's that logged in; one that an integrator got for a user only reads, with the roles that both have,
//! and ends with the key of either. A login can be renewed for a day and ended before its time; its end is an event,
//! known until the last of its tokens would have expired.

use std::sync::Arc;

use rota_aggregates::authority::{Dialect, Roles};
use rota_aggregates::credential::{Kind, Status};
use rota_aggregates::observation::{SessionEnded, session_ended_id};
use rota_aggregates::record::Record;
use rota_aggregates::secret::split_workspace_key;
use rota_aggregates::{CredentialId, StreamId, Timestamp, WorkspaceId};
use rota_projections::live::{Live, LiveCredential};
use zeroize::Zeroizing;

use super::caller::{Authenticated, Caller, Principal, SessionState, Shown, User};
use super::{App, Failure};
use crate::log::LogError;
use crate::sealing::{Item, Part, SealError};
use crate::tokens::{BadToken, Claims, LoginClaims, SigningKey, USER_TOKEN_PREFIX, UserClaims, Verifier};

/// The one program that may show an exchange credential's token.
pub const FLUIDE_CLIENT: &str = "fluide-developer";
/// A token that an integrator gets for a user lives at most so long, and so long by default: 1 hour.
pub const USER_TOKEN_SECONDS_MAX: u32 = 3_600;
/// Who issues tokens unless another name is given.
pub const ISSUER_DEFAULT: &str = "rota";
/// A token lives so long by default: 1 hour.
pub const TOKEN_SECONDS_DEFAULT: u32 = 3_600;
/// A token lives at most so long: 1 day.
pub const TOKEN_SECONDS_MAX: u32 = 86_400;
/// A login can be renewed for so long: 1 day.
pub const LOGIN_SECONDS_MAX: u32 = 86_400;
/// A key signs so long by default: 90 days.
pub const KEY_DAYS_DEFAULT: u32 = 90;

/// Whom a token is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Fluide's clients: whoever exchanged a key and its secret.
    Fluide,
    /// Spritz' users: an integrator got it for one of them.
    Spritz,
    /// Infisical's clients: whoever logged in with a client's secret.
    Infisical,
}

impl Audience {
    /// Its name: `aud`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fluide => FLUIDE_CLIENT,
            Self::Spritz => "spritz-user",
            Self::Infisical => "infisical",
        }
    }

    /// What stands before its tokens.
    fn prefix(self) -> &'static str {
        match self {
            Self::Fluide | Self::Infisical => "",
            Self::Spritz => USER_TOKEN_PREFIX,
        }
    }

    /// The kind of credential that gets its tokens.
    fn kind(self) -> Kind {
        match self {
            Self::Fluide => Kind::Exchange,
            Self::Spritz => Kind::Signing,
            Self::Infisical => Kind::Client,
        }
    }

    /// Whose tokens are taken at a dialect's door.
    pub fn at(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Spritz => Self::Spritz,
            Dialect::Infisical => Self::Infisical,
            _ => Self::Fluide,
        }
    }

    /// Whether a token is one for a user by its form, and what was signed.
    pub fn is_for_user(token: &str) -> (bool, &str) {
        match token.strip_prefix(USER_TOKEN_PREFIX) {
            Some(signed) => (true, signed),
            None => (false, token),
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Fluide, Self::Spritz, Self::Infisical].into_iter().find(|audience| audience.name() == name)
    }
}

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
    bare: Verifier,
    of_users: Verifier,
    /// The key that signed last, ready for use.
    signer: parking_lot::RwLock<Option<Arc<SigningKey>>>,
}

impl Sessions {
    pub(super) fn new(options: SessionOptions) -> Self {
        let bare = [Audience::Fluide.name(), Audience::Infisical.name()];
        let bare = Verifier::any(&options.issuer, &bare);
        let of_users = Verifier::new(&options.issuer, Audience::Spritz.name());
        Self { options, bare, of_users, signer: parking_lot::RwLock::default() }
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
                && !session.login.is_some_and(|login| live.has_ended(login))
        }
    };
    alive.then_some(own)
}

impl App {
    /// The session behind a token that is for `audience`, by what is true now. Answered from memory, which on a shared
    /// store is proved current first.
    pub async fn session(&self, token: &str, audience: Audience) -> Result<Session, Failure> {
        self.may_answer()?;
        self.current().await?;
        let session = self.session_in_memory(token).and_then(|session| {
            if session.claims.aud == audience.name() {
                Ok(session)
            } else {
                Err(BadToken::WrongAudience.into())
            }
        });
        session.map_err(|reason| {
            tracing::debug!(%reason, "a session token was refused");
            Failure::Unauthenticated
        })
    }

    /// As [`App::session`], on what is known and for any audience: for a request that has been proved to be current
    /// already.
    pub(super) fn session_in_memory(&self, token: &str) -> Result<Session, NoSession> {
        let now = self.now();
        let (for_user, signed) = Audience::is_for_user(token);
        let key = |id| self.tip.tip.read().live.token_keys().find_at(id, now).map(|key| key.public);
        let verifier = if for_user { &self.sessions.of_users } else { &self.sessions.bare };
        let claims = verifier.verify(signed, now, key)?;
        let audience = Audience::named(&claims.aud).ok_or(BadToken::WrongAudience)?;
        let login = claims.login.map(|login| login.id);
        if login.is_some() != (audience == Audience::Infisical) {
            return Err(BadToken::Malformed.into());
        }
        let expires_at = Timestamp::from_micros(claims.exp.saturating_mul(1_000_000));
        let tip = self.tip.tip.read();
        let alive = |credential, kind, version, epoch, bound, user| {
            let state = SessionState { epoch, bound, expires_at, current: false, user, login };
            let mut who = Authenticated {
                credential,
                workspace: claims.workspace,
                kind,
                version,
                retiring: false,
                roles: Roles::NONE,
                shown: Shown::Session(state),
            };
            let live = still_alive(&tip.live, &who, now).ok_or(NoSession::Ended)?;
            if live.state.workspace != claims.workspace || live.state.kind != kind {
                return Err(NoSession::Ended);
            }
            who.refresh(&live, now);
            Ok(who)
        };
        let user = match (audience, claims.user) {
            (Audience::Fluide | Audience::Infisical, None) => None,
            (Audience::Spritz, Some(user)) => {
                let UserClaims { id, secret_version, epoch, retiring } = user;
                let key = alive(id, Kind::WorkspaceKey, secret_version, epoch, retiring, None)?;
                Some(User { id, roles: key.roles })
            }
            _ => return Err(BadToken::Malformed.into()),
        };
        let Claims { sub, secret_version, epoch, retiring, .. } = claims;
        let who = alive(sub, audience.kind(), secret_version, epoch, retiring, user)?;
        drop(tip);
        Ok(Session { who, claims })
    }

    /// Gives a token to whoever just showed a secret. A session is no secret: it does not prolong itself.
    pub async fn exchange(&self, who: &Authenticated) -> Result<Issued, Failure> {
        if who.kind != Kind::Exchange || who.shown != Shown::Secret {
            return Err(Failure::Unauthenticated);
        }
        self.issue_token(Audience::Fluide, who, None, None, self.sessions.options.token_seconds).await
    }

    /// Logs in whoever just showed a client's secret.
    pub async fn log_in(&self, who: &Authenticated) -> Result<Issued, Failure> {
        if who.kind != Kind::Client || who.shown != Shown::Secret {
            return Err(Failure::Unauthenticated);
        }
        self.issue_token(Audience::Infisical, who, None, None, self.sessions.options.token_seconds).await
    }

    /// Gives another token of a login that lives, as long as its secret has not been replaced and a login may last.
    pub async fn renew_login(&self, token: &str) -> Result<Issued, Failure> {
        let Session { who, claims } = self.session(token, Audience::Infisical).await?;
        who.check_current()?;
        let login = claims.login.ok_or(Failure::Unauthenticated)?;
        let left = login.at + i64::from(LOGIN_SECONDS_MAX) - self.now().seconds();
        let left = u32::try_from(left).ok().filter(|left| *left > 0).ok_or(Failure::Unauthenticated)?;
        let seconds = left.min(self.sessions.options.token_seconds);
        self.issue_token(Audience::Infisical, &who, None, Some(login), seconds).await
    }

    /// Ends the login that a token goes back to: none of its tokens is accepted any more.
    pub async fn end_login(&self, anonymous: &Caller, token: &str) -> Result<(), Failure> {
        let Session { who, claims } = self.session(token, Audience::Infisical).await?;
        let login = claims.login.ok_or(Failure::Unauthenticated)?;
        let last = Timestamp::from_micros(login.at.saturating_mul(1_000_000));
        let (credential, session, at) = (who.credential, login.id, self.now());
        let until = last.plus_seconds(u64::from(LOGIN_SECONDS_MAX));
        let event = SessionEnded { credential, session, until, at };
        let caller = Caller { principal: Principal::Credential(who), ..anonymous.clone() };
        let (id, stream) = (session_ended_id(session), StreamId::sessions(credential));
        self.observe(&caller, who.workspace, id, stream, event.into(), at).await?;
        // What could not be recorded in so many attempts is no end.
        if self.tip.tip.read().live.has_ended(session) { Ok(()) } else { Err(Failure::Overloaded) }
    }

    /// Gives a token for a user to the integrator that signed for it, once for each signature.
    pub async fn exchange_for_user(
        &self,
        caller: &Caller,
        user_key: &str,
        seconds: u32,
    ) -> Result<Option<(CredentialId, Issued)>, Failure> {
        let who = caller.credential().ok_or(Failure::Unauthenticated)?;
        if who.kind != Kind::Signing || !matches!(who.shown, Shown::Signature(Some(_))) {
            return Err(Failure::Unauthenticated);
        }
        self.use_once(caller)?;
        let public_id = split_workspace_key(user_key).map_or("", |(public_id, _)| public_id);
        let user = self.verify_in(caller, public_id, user_key).await?;
        let Some(user) = user.map(|v| v.who).filter(|user| user.kind == Kind::WorkspaceKey) else {
            return Ok(None);
        };
        let seconds = seconds.min(USER_TOKEN_SECONDS_MAX).min(self.sessions.options.token_seconds);
        let issued = self.issue_token(Audience::Spritz, &who, Some(&user), None, seconds).await?;
        Ok(Some((user.credential, issued)))
    }

    async fn issue_token(
        &self,
        audience: Audience,
        who: &Authenticated,
        user: Option<&Authenticated>,
        login: Option<LoginClaims>,
        seconds: u32,
    ) -> Result<Issued, Failure> {
        let now = self.now();
        let (key, key_ends) = self.signing_key(now).await?;
        // Looked at again, all at one instant: what a token carries must belong together.
        let standing = |who: &Authenticated| {
            let live = still_alive(&self.tip.tip.read().live, who, now).ok_or(Failure::Unauthenticated)?;
            let retiring = live.state.retiring_at(now).filter(|r| r.version == who.version);
            Ok::<_, Failure>((live, retiring.map(|r| r.expires_at)))
        };
        let (live, ends) = standing(who)?;
        let user = user.map(|user| standing(user).map(|(live, ends)| (user, live, ends))).transpose()?;
        let user_ends = user.as_ref().and_then(|(_, _, ends)| *ends);
        let longest = now.seconds() + i64::from(seconds);
        let jti = self.entropy()?.id(now);
        let login =
            login.or((audience == Audience::Infisical).then(|| LoginClaims { id: jti, at: now.seconds() }));
        let claims = Claims {
            iss: self.sessions.options.issuer.clone(),
            sub: who.credential,
            aud: audience.name().to_owned(),
            iat: now.seconds(),
            nbf: now.seconds(),
            exp: [key_ends, ends, user_ends]
                .into_iter()
                .flatten()
                .map(Timestamp::seconds)
                .fold(longest, i64::min),
            jti,
            client_id: (audience == Audience::Fluide).then(|| FLUIDE_CLIENT.to_owned()),
            workspace: who.workspace,
            api_key: live.public_id.text(),
            secret_version: who.version,
            epoch: live.epoch,
            retiring: ends.is_some(),
            user: user.map(|(user, live, ends)| UserClaims {
                id: user.credential,
                secret_version: user.version,
                epoch: live.epoch,
                retiring: ends.is_some(),
            }),
            login,
        };
        let signed = key.sign(&claims).map_err(|e| Failure::NotRecordable(e.into()))?;
        let token = Zeroizing::new([audience.prefix(), &signed].concat());
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
