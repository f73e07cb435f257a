//! One `authenticate` for every dialect.

use actix_web::http::header::HOST;
use actix_web::http::uri::Authority;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rota_aggregates::authority::Dialect;
use rota_aggregates::credential::Kind;
use zeroize::Zeroizing;

use super::request::Request;
use crate::app::sessions::Audience;
use crate::app::signature::Entry;
use crate::app::{Authenticated, Caller, Failure, Principal};
use crate::signing::{self, Body, Message};
use crate::tokens::{Claims, looks_like_a_token};

/// Why a caller is not let in.
#[derive(Debug)]
pub(crate) enum NotLetIn {
    /// Nothing valid was shown.
    Unknown {
        /// Whether anything was shown at all.
        shown: bool,
    },
    /// Too many failed attempts came from this address.
    TooMany {
        /// Seconds to wait.
        retry_after: u64,
    },
    /// It could not be found out.
    Failed(Failure),
}

impl Request {
    /// Lets in the operator, a workspace key or a session, shown as a bearer token.
    pub(crate) async fn bearer(&self, dialect: Dialect) -> Result<Caller, NotLetIn> {
        let anonymous = self.caller(Principal::Anonymous, dialect);
        match self.authorization() {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                match self.app().authenticate_bearer(&anonymous, token).await {
                    Ok(principal) => Ok(Caller { principal, ..anonymous }),
                    Err(failure) => Err(self.keep_out(failure)),
                }
            }
            shown => Err(self.nothing(shown.is_some())),
        }
    }

    /// Lets in a credential by HTTP Basic (RFC 7617): split at the first colon, UTF-8.
    pub(crate) async fn basic(&self, dialect: Dialect, kinds: &[Kind]) -> Result<Caller, NotLetIn> {
        let pair = self.authorization().filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let Some((_, encoded)) = pair else { return Err(self.nothing(self.authorization().is_some())) };
        match decode_basic(encoded) {
            Some((id, secret)) => self.pair(dialect, &id, &secret, kinds).await,
            None => Err(self.keep_out(Failure::Unauthenticated)),
        }
    }

    /// Whether the request claims to be signed.
    pub(crate) fn is_signed(&self) -> bool {
        signing::is_shown(&self.fields())
    }

    /// Lets in a credential by its signature over this request.
    pub(crate) async fn signed(&self, dialect: Dialect, body: &[u8]) -> Result<Caller, NotLetIn> {
        match self.enter_signed(dialect, body).await? {
            (anonymous, Entry::Whole(verified)) => {
                Ok(Caller { principal: Principal::Credential(verified.who), ..anonymous })
            }
            (_, Entry::ReplayOnly(_)) => Err(self.keep_out(Failure::Unauthenticated)),
        }
    }

    /// What the signature over this request opens.
    pub(crate) async fn enter_signed(
        &self,
        dialect: Dialect,
        body: &[u8],
    ) -> Result<(Caller, Entry), NotLetIn> {
        let anonymous = self.caller(Principal::Anonymous, dialect);
        let uri = self.http.uri();
        let fields = self.fields();
        let message = Message {
            method: self.http.method().as_str(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()),
            authority: self.header(HOST).or(uri.authority().map(Authority::as_str)).unwrap_or_default(),
            fields: &fields,
            body: Body::Bytes(body),
        };
        match self.app().enter_by_signature(&anonymous, &message).await {
            Ok(entry) => Ok((anonymous, entry)),
            Err(failure) => Err(self.keep_out(failure)),
        }
    }

    pub(super) fn fields(&self) -> Vec<(&str, &[u8])> {
        let headers = self.http.headers().iter();
        headers.map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
    }

    /// Lets in by whichever of the two is shown.
    pub(crate) async fn bearer_or_basic(&self, dialect: Dialect) -> Result<Caller, NotLetIn> {
        match self.authorization() {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("basic") => {
                self.basic(dialect, &[Kind::Client, Kind::Exchange]).await
            }
            _ => self.bearer(dialect).await,
        }
    }

    /// Whether a token is shown, rather than a key.
    pub(crate) fn shows_session(&self) -> bool {
        self.token().is_some_and(looks_like_a_token)
    }

    /// Whether that is one that an integrator got for a user.
    pub(crate) fn shows_user_token(&self) -> bool {
        self.shows_session() && self.token().is_some_and(|token| Audience::is_for_user(token).0)
    }

    fn token(&self) -> Option<&str> {
        self.authorization()
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token)
    }

    /// Lets in a session, shown as a bearer token, with what that says.
    pub(crate) async fn session(&self, dialect: Dialect) -> Result<(Caller, Claims), NotLetIn> {
        let Some(token) = self.token() else { return Err(self.nothing(self.authorization().is_some())) };
        match self.app().session(token, Audience::at(dialect)).await {
            Ok(session) => Ok((self.caller(Principal::Credential(session.who), dialect), session.claims)),
            Err(failure) => Err(self.keep_out(failure)),
        }
    }

    /// Who shows a token that an integrator got for a user. A failure is the caller's to count.
    pub(crate) async fn user_of_token(&self) -> Result<Authenticated, Failure> {
        let token = self.token().ok_or(Failure::Unauthenticated)?;
        Ok(self.app().session(token, Audience::Spritz).await?.who)
    }

    /// Lets in a credential by its identifier and secret.
    pub(crate) async fn pair(
        &self,
        dialect: Dialect,
        id: &str,
        secret: &str,
        kinds: &[Kind],
    ) -> Result<Caller, NotLetIn> {
        let anonymous = self.caller(Principal::Anonymous, dialect);
        match self.app().authenticate_pair(&anonymous, id, secret, kinds).await {
            Ok(who) => Ok(Caller { principal: Principal::Credential(who), ..anonymous }),
            Err(failure) => Err(self.keep_out(failure)),
        }
    }

    fn nothing(&self, shown: bool) -> NotLetIn {
        if shown { self.keep_out(Failure::Unauthenticated) } else { NotLetIn::Unknown { shown: false } }
    }

    /// Counts a failed authentication, and says what to answer.
    pub(super) fn keep_out(&self, failure: Failure) -> NotLetIn {
        if !matches!(failure, Failure::Unauthenticated) {
            return NotLetIn::Failed(failure);
        }
        let limited = self.address().and_then(|a| self.server.limiter.count(a, self.app().clock().now()));
        match limited {
            Some(retry_after) => NotLetIn::TooMany { retry_after },
            None => NotLetIn::Unknown { shown: true },
        }
    }
}

/// The identifier and the secret of HTTP Basic.
pub(super) fn decode_basic(encoded: &str) -> Option<(String, Zeroizing<String>)> {
    let bytes = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let text = std::str::from_utf8(&bytes).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), Zeroizing::new(secret.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_may_have_colons() {
        let (id, secret) = decode_basic(&STANDARD.encode("abc:d:e")).unwrap();
        assert_eq!((id.as_str(), secret.as_str()), ("abc", "d:e"));
        for bad in ["", "!!!", &STANDARD.encode("no colon"), &STANDARD.encode(b"\xff:x")] {
            assert!(decode_basic(bad).is_none(), "{bad}");
        }
    }
}
