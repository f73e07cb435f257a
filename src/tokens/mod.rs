//! Session tokens: JSON Web Tokens (RFC 7519, RFC 9068), signed with Ed25519.
//!
//! What a token says about itself decides nothing but which key to check it with: the algorithm, the type, the
//! issuer and the audience are fixed, and whatever else a header has is of no consequence. Whether the session
//! behind a good token still lives is not known here: see [`crate::app::sessions`].

mod provider;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use ring::signature::{Ed25519KeyPair, KeyPair};
use rota_aggregates::ids::PublicKey;
use rota_aggregates::{CredentialId, Timestamp, TokenKeyId, WorkspaceId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

/// The type in a token's header, by which it is not taken for a token of another purpose.
const TYPE: &str = "at+jwt";
/// A token has at most this many bytes.
pub const TOKEN_BYTES_MAX: usize = 4_096;

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// The credential that it was given for.
    pub sub: CredentialId,
    /// Whom it is for.
    pub aud: String,
    /// When it was issued, in seconds.
    pub iat: i64,
    /// From when it counts, in seconds.
    pub nbf: i64,
    /// The first second at which it counts no more.
    pub exp: i64,
    /// Its own id.
    pub jti: Uuid,
    /// The program that it was given to, if that is part of the format.
    #[serde(rename = "fluide_client_id", default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The credential's workspace.
    #[serde(rename = "tenant_id")]
    pub workspace: WorkspaceId,
    /// The credential's public identifier.
    pub api_key: String,
    /// The version of the secret that it was given for.
    pub secret_version: u32,
    /// The credential's epoch then: a revocation changes it.
    pub epoch: u32,
    /// Whether that secret was in its grace period. Then the token ends with it, whenever that is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retiring: bool,
    /// The user whom it was given for, if it stands for one: it ends with that one's key as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserClaims>,
    /// The login that it goes back to, where it can be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginClaims>,
}

/// What a token says of the login that it goes back to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LoginClaims {
    /// The session: the id of its first token.
    pub id: Uuid,
    /// When that was given, in seconds.
    pub at: i64,
}

/// What a token says of the user whom it was given for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UserClaims {
    /// The credential that is the user's key.
    pub id: CredentialId,
    /// The version of the key that was shown.
    pub secret_version: u32,
    /// That credential's epoch then.
    pub epoch: u32,
    /// Whether that version was in its grace period.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retiring: bool,
}

/// Why a token is not good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadToken {
    /// It has more than [`TOKEN_BYTES_MAX`] bytes.
    #[error("the token is too long")]
    TooLong,
    /// It is no token of ours by its form.
    #[error("the token is malformed")]
    Malformed,
    /// Its algorithm or type is not the one that is used here.
    #[error("the token is of another algorithm or type")]
    OtherKind,
    /// It names no key, or one that is not valid now.
    #[error("the token names no key that is valid now")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("the token's signature is wrong")]
    WrongSignature,
    /// Somebody else issued it.
    #[error("the token is of another issuer")]
    WrongIssuer,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    WrongAudience,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
}

/// A key that signs tokens.
pub struct SigningKey {
    id: TokenKeyId,
    pair: Ed25519KeyPair,
    /// The encoded header of everything that it signs.
    header: String,
}

impl SigningKey {
    /// The key of a seed of 32 random bytes.
    pub fn new(id: TokenKeyId, seed: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let header =
            Header { typ: Some(TYPE.to_owned()), kid: Some(id.to_string()), ..Header::new(Algorithm::EdDSA) };
        Some(Self { id, pair, header: URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).ok()?) })
    }

    /// Its id.
    pub fn id(&self) -> TokenKeyId {
        self.id
    }

    /// Its public part.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Makes a token.
    pub fn sign(&self, claims: &Claims) -> serde_json::Result<Zeroizing<String>> {
        // Of its final size at once: growing would leave a copy behind.
        let mut token = Zeroizing::new(String::with_capacity(TOKEN_BYTES_MAX));
        token.push_str(&self.header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut token);
        let signature = self.pair.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What stands before a token that an integrator got for a user.
pub const USER_TOKEN_PREFIX: &str = "spr_";

/// Whether a bearer's credentials have the form of a token rather than of a key.
pub fn looks_like_a_token(text: &str) -> bool {
    let token = text.strip_prefix(USER_TOKEN_PREFIX).unwrap_or(text);
    // What every JSON object begins with in base64.
    token.starts_with("eyJ") && token.bytes().filter(|b| *b == b'.').count() == 2
}

/// Checks tokens of one issuer for one audience.
pub struct Verifier {
    rules: Validation,
}

impl Verifier {
    /// Accepts what `issuer` issued for `audience`.
    pub fn new(issuer: &str, audience: &str) -> Self {
        Self::any(issuer, &[audience])
    }

    /// Accepts what `issuer` issued for any of these.
    pub fn any(issuer: &str, audiences: &[&str]) -> Self {
        provider::install();
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_issuer(&[issuer]);
        rules.set_audience(audiences);
        rules.set_required_spec_claims(&["iss", "aud", "sub", "exp", "nbf"]);
        // The clock is ours: see below.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        Self { rules }
    }

    /// What a token says, if it is good at `now`. `key` is asked for the public part of a key that is valid then.
    pub fn verify(
        &self,
        token: &str,
        now: Timestamp,
        key: impl Fn(TokenKeyId) -> Option<PublicKey>,
    ) -> Result<Claims, BadToken> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(BadToken::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| BadToken::Malformed)?;
        if header.alg != Algorithm::EdDSA || header.typ.as_deref() != Some(TYPE) {
            return Err(BadToken::OtherKind);
        }
        let id = header.kid.and_then(|kid| kid.parse().ok()).ok_or(BadToken::UnknownKey)?;
        let public = key(id).ok_or(BadToken::UnknownKey)?;
        let decoded =
            jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_ed_der(&public.0), &self.rules);
        let claims = decoded.map_err(|error| bad(error.kind()))?.claims;
        // Half-open, by the ledger's time.
        if now.seconds() < claims.nbf {
            return Err(BadToken::NotYet);
        }
        if now.seconds() >= claims.exp {
            return Err(BadToken::Expired);
        }
        Ok(claims)
    }
}

fn bad(kind: &ErrorKind) -> BadToken {
    match kind {
        ErrorKind::InvalidSignature => BadToken::WrongSignature,
        ErrorKind::InvalidIssuer => BadToken::WrongIssuer,
        ErrorKind::InvalidAudience => BadToken::WrongAudience,
        ErrorKind::InvalidAlgorithm => BadToken::OtherKind,
        _ => BadToken::Malformed,
    }
}

#[cfg(test)]
mod tests;
