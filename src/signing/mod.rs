//! Signed requests: reading what somebody claims to have signed, and checking it against a secret. No I/O, no clock,
//! no state: whose the key is, whether its time is right and whether it came before is decided elsewhere.
//!
//! Two schemes are understood, both HMAC-SHA256 under the secret's own bytes:
//!
//! - [`legacy`]: `X-Integrator-Key`, `X-Timestamp`, `X-Signature`, over timestamp, method, path with query, and the
//!   body's hash;
//! - [`message`]: HTTP Message Signatures (RFC 9421) with `Content-Digest` (RFC 9530).
//!
//! Everything is over the bytes that were received, before anything parses the body.

mod digest;
mod legacy;
mod message;
#[cfg(test)]
mod tests;

pub use self::legacy::KEY as INTEGRATOR_KEY;
use ring::hmac;
use rota_aggregates::Timestamp;

/// A request as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The method, as it was sent.
    pub method: &'a str,
    /// Path and query, as they were sent.
    pub target: &'a str,
    /// Host and port, as the caller named them.
    pub authority: &'a str,
    /// The header fields in their order, names in lower case.
    pub fields: &'a [(&'a str, &'a [u8])],
    /// The body.
    pub body: Body<'a>,
}

/// A request's body.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// All of it; empty if there is none.
    Bytes(&'a [u8]),
    /// The SHA-256 of one that is not empty and that somebody else compares with it.
    Sha256([u8; 32]),
}

impl Body<'_> {
    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Bytes(bytes) if bytes.is_empty())
    }

    fn sha256(&self) -> [u8; 32] {
        match self {
            Self::Bytes(bytes) => sha256(bytes),
            Self::Sha256(hash) => *hash,
        }
    }
}

/// What somebody claims to have signed. Nothing of it is true until [`Signed::is_by`] says so.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The key's public identifier.
    pub key: String,
    /// When it was signed.
    pub at: Timestamp,
    /// The first instant at which the signer wants it refused, if they said one.
    pub expires_at: Option<Timestamp>,
    /// What may have been signed: more than one where the wire leaves it open.
    payloads: Vec<Vec<u8>>,
    signature: [u8; 32],
}

/// The readings that one request can have at most.
const READINGS: usize = 2;

impl Signed {
    /// The payload that was signed with this secret, if one was. It takes the same time whichever it was, and if
    /// none was.
    pub fn is_by(&self, secret: &[u8]) -> Option<&[u8]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut found = None;
        for reading in 0..READINGS {
            let payload = self.payloads.get(reading).or(self.payloads.first());
            let payload = payload.map_or(&[][..], Vec::as_slice);
            let tag = hmac::sign(&key, payload);
            let mut expected = [0u8; 32];
            expected.copy_from_slice(tag.as_ref());
            if crate::sealing::same(&expected, &self.signature) && reading < self.payloads.len() {
                found = found.or(Some(payload));
            }
        }
        found
    }
}

/// Why a request can't be taken as signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It claims a signature that can't be right, whatever the secret.
    #[error("the signature is not well formed")]
    Malformed,
    /// The query does not say one thing, and so a signature over it would not either.
    #[error("the query {0}")]
    Query(&'static str),
}

/// Whether a request claims to be signed.
pub fn is_shown(fields: &[(&str, &[u8])]) -> bool {
    fields.iter().any(|(name, _)| [legacy::SIGNATURE, message::SIGNATURE, message::INPUT].contains(name))
}

/// The SHA-256 that a request's `Content-Digest` names for its body. Nobody has compared it with one.
pub fn claimed_digest(message: &Message<'_>) -> Option<[u8; 32]> {
    digest::claimed(message)
}

/// What a request claims to have signed; `None` if it claims nothing.
pub fn read(message: &Message<'_>) -> Result<Option<Signed>, Refused> {
    let has = |name: &str| message.fields.iter().any(|(n, _)| *n == name);
    if has(legacy::SIGNATURE) {
        return legacy::read(message).map(Some);
    }
    if has(message::SIGNATURE) || has(message::INPUT) {
        return message::read(message).map(Some);
    }
    Ok(None)
}

/// The only value of a field, as text.
fn single<'a>(message: &Message<'a>, name: &str) -> Result<&'a str, Refused> {
    let mut values = message.fields.iter().filter(|(n, _)| *n == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => std::str::from_utf8(value).map_err(|_| Refused::Malformed),
        _ => Err(Refused::Malformed),
    }
}

/// All values of a field as one, as RFC 9110 combines them; `None` if there is none.
fn combined(message: &Message<'_>, name: &str) -> Option<Vec<u8>> {
    let mut values = message.fields.iter().filter(|(n, _)| *n == name).map(|(_, value)| value.trim_ascii());
    let mut all = values.next()?.to_vec();
    for value in values {
        all.extend_from_slice(b", ");
        all.extend_from_slice(value);
    }
    Some(all)
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0u8; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    hash
}
