//! The bytes of a recorded event: the leaf of the ledger's tree. This schema is for ever.
//!
//! A leaf is one JSON object, encoded once and kept, hashed and served as it was stored; nobody ever
//! re-encodes it. It holds everything but the position, which is its index in the tree:
//!
//! ```json
//! {"v":1,"time":"2026-11-21T03:31:18.123456Z","sequence":5,"id":"…","stream":"credential/…",
//!  "type":"rota.credential.secret-rotated.v1","workspace":"…","actor":{"kind":"workspace-key","id":"…"},
//!  "dialect":"native","proof":{"kind":"workspace-key","credential":"…","version":1},
//!  "request":"…","causation":"…","correlation":"…","claim":{"key":"…","fingerprint":"…"},
//!  "sealed":{"answer":"…","details":"…"},"data":{…}}
//! ```
//!
//! `time` and `sequence` come first because only the committer knows them: the rest, the *body*, is encoded
//! by whoever decided. No number in a leaf is a fraction or above 2⁵³ − 1:
//! an event that has one is not recorded.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::authority::{Actor, Dialect, Proof};
use crate::event::{Event, Unreadable, is_inexact, write_json};
use crate::ids::{EventId, Hash, RequestId, Sequence, StreamId, WorkspaceId};
use crate::time::Timestamp;
use crate::upcast;

/// A leaf has at most this many bytes; a command that would need more is refused.
pub const LEAF_BYTES_MAX: usize = 65_535;

/// The version of the leaf's schema that is written.
const LEAF_SCHEMA: u32 = 1;

/// What a command claims: that a key was used, and for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// HMAC of workspace and Idempotency-Key under a key of the deployment's.
    pub key: Hash,
    /// HMAC of the request, method, path and body, under the same key.
    pub fingerprint: Hash,
}

/// The parts that are sealed beside the event, by the SHA-256 of their ciphertext.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SealedHashes {
    /// The answer kept for a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Hash>,
    /// Client address, user agent, names and free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Hash>,
}

impl SealedHashes {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Under which circumstances an event was decided.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Context {
    /// The workspace that it belongs to.
    pub workspace: WorkspaceId,
    /// Who acted.
    pub actor: Actor,
    /// Through which wire format.
    pub dialect: Dialect,
    /// With which proof of authority.
    pub proof: Proof,
    /// In which request or job run.
    pub request: RequestId,
    /// The request or event that caused it.
    pub causation: Uuid,
    /// What it belongs to, across requests: the caller's own id where one was given.
    pub correlation: Uuid,
}

/// A recorded event as it was when it was recorded.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// When, by the ledger's clock: never before its predecessor's.
    pub time: Timestamp,
    /// Its place in its stream.
    pub sequence: Sequence,
    /// Its id.
    pub id: EventId,
    /// Its stream.
    pub stream: StreamId,
    /// The circumstances.
    pub context: Context,
    /// The idempotency key that it claimed.
    pub claim: Option<Claim>,
    /// What is sealed beside it.
    pub sealed: SealedHashes,
    /// What happened.
    pub event: Event,
}

#[derive(Serialize)]
struct BodyHead<'a> {
    id: EventId,
    stream: StreamId,
    r#type: &'a str,
    workspace: WorkspaceId,
    actor: Actor,
    dialect: Dialect,
    proof: Proof,
    request: RequestId,
    causation: Uuid,
    correlation: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<Claim>,
    #[serde(skip_serializing_if = "SealedHashes::is_empty")]
    sealed: SealedHashes,
}

/// A recorded event, as the ledger keeps, hashes and serves it.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Leaf")]
pub struct Leaf<'a> {
    /// The version of this schema.
    #[schemars(range(min = 1, max = 1))]
    pub v: u32,
    /// When, by the ledger's clock: never before its predecessor's.
    pub time: Timestamp,
    /// Its place in its stream, from 1.
    pub sequence: Sequence,
    /// Its id.
    pub id: EventId,
    /// Its stream.
    pub stream: StreamId,
    /// What happened, as `rota.<aggregate>.<past-tense>.v<n>`.
    #[serde(borrow)]
    pub r#type: Cow<'a, str>,
    /// The workspace that it belongs to.
    pub workspace: WorkspaceId,
    /// Who acted.
    pub actor: Actor,
    /// Through which wire format.
    pub dialect: Dialect,
    /// With which proof of authority.
    pub proof: Proof,
    /// In which request or job run.
    pub request: RequestId,
    /// The request or event that caused it.
    pub causation: Uuid,
    /// What it belongs to, across requests: the caller's own id where one was given.
    pub correlation: Uuid,
    /// The idempotency key that it claimed.
    #[serde(default)]
    pub claim: Option<Claim>,
    /// What is sealed beside it.
    #[serde(default)]
    pub sealed: SealedHashes,
    /// The particulars, by the type's own schema.
    #[serde(borrow)]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub data: &'a RawValue,
}

impl<'a> Leaf<'a> {
    /// Reads a leaf in place: what its data says is left as it was recorded.
    pub fn read(bytes: &'a [u8]) -> Result<Self, BadLeaf> {
        if bytes.len() > LEAF_BYTES_MAX {
            return Err(BadLeaf::TooLarge(bytes.len()));
        }
        let leaf: Self = serde_json::from_slice(bytes).map_err(|error| newer_or_malformed(bytes, error))?;
        if leaf.v == LEAF_SCHEMA { Ok(leaf) } else { Err(BadLeaf::UnknownSchema(leaf.v)) }
    }
}

/// The JSON schema of a leaf. What its `data` looks like is in [`Event::schemas`], by its type.
pub fn leaf_schema() -> schemars::Schema {
    schemars::schema_for!(Leaf<'_>)
}

/// Encodes everything of a leaf but its time and sequence.
pub fn encode_body(
    id: EventId,
    stream: StreamId,
    context: &Context,
    claim: Option<Claim>,
    sealed: SealedHashes,
    event: &Event,
) -> Result<Vec<u8>, NotRecordable> {
    let head = BodyHead {
        id,
        stream,
        r#type: event.type_name(),
        workspace: context.workspace,
        actor: context.actor,
        dialect: context.dialect,
        proof: context.proof,
        request: context.request,
        causation: context.causation,
        correlation: context.correlation,
        claim,
        sealed,
    };
    let mut body = Vec::with_capacity(1_024);
    write_json(&mut body, &head)?;
    body.pop();
    body.extend_from_slice(b",\"data\":");
    event.write_data(&mut body)?;
    body.push(b'}');
    if body.len() + STAMP_BYTES_MAX > LEAF_BYTES_MAX {
        return Err(NotRecordable::TooLarge);
    }
    Ok(body)
}

/// The longest that `{"v":1,"time":"…","sequence":4294967295,` can be.
const STAMP_BYTES_MAX: usize = 80;

/// Joins a body with what the committer knows into the leaf's bytes.
pub fn stamp(body: &[u8], time: Timestamp, sequence: Sequence) -> Vec<u8> {
    let mut leaf = Vec::with_capacity(body.len() + STAMP_BYTES_MAX);
    let mut text = [0u8; Timestamp::TEXT_LEN];
    time.write(&mut text);
    leaf.extend_from_slice(b"{\"v\":1,\"time\":\"");
    leaf.extend_from_slice(&text);
    leaf.extend_from_slice(b"\",\"sequence\":");
    leaf.extend_from_slice(sequence.0.to_string().as_bytes());
    leaf.push(b',');
    leaf.extend_from_slice(body.get(1..).unwrap_or_default());
    leaf
}

/// An event that can't be recorded.
#[derive(Debug, thiserror::Error)]
pub enum NotRecordable {
    /// It would have more than [`LEAF_BYTES_MAX`] bytes.
    #[error("the event would have more than {LEAF_BYTES_MAX} bytes")]
    TooLarge,
    /// It has a number that is a fraction or too large for some readers of JSON.
    #[error("the event has a number that is no integer of at most 2^53 - 1")]
    Inexact,
    /// It has no JSON form.
    #[error("the event has no JSON form")]
    NoJson(#[source] serde_json::Error),
}

impl From<serde_json::Error> for NotRecordable {
    fn from(error: serde_json::Error) -> Self {
        if is_inexact(&error) { Self::Inexact } else { Self::NoJson(error) }
    }
}

/// Stored bytes that are no leaf.
#[derive(Debug, thiserror::Error)]
pub enum BadLeaf {
    /// There are more than [`LEAF_BYTES_MAX`] bytes.
    #[error("the bytes are no event: there are {0} of them, and at most {LEAF_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// The bytes are not of the leaf's schema.
    #[error("the bytes are no event")]
    Malformed(#[from] serde_json::Error),
    /// The leaf's schema is a newer one.
    #[error("the event has schema {0}: it was written by a newer rota than this one")]
    UnknownSchema(u32),
    /// The event inside can't be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// A newer schema may lack what this one needs: then its number is the reason, not what is missing.
fn newer_or_malformed(leaf: &[u8], error: serde_json::Error) -> BadLeaf {
    #[derive(Deserialize)]
    struct Schema {
        v: u32,
    }
    match serde_json::from_slice(leaf) {
        Ok(Schema { v }) if v != LEAF_SCHEMA => BadLeaf::UnknownSchema(v),
        _ => BadLeaf::Malformed(error),
    }
}

/// The type of a leaf's event, without reading the leaf. `None` if it is not where this program writes it.
pub fn peek_type(leaf: &[u8]) -> Option<&str> {
    /// Time, sequence, id and stream come before it, and no other text.
    const BEFORE_MAX: usize = 320;
    const MARK: &[u8] = b"\"type\":\"";
    let head = leaf.get(..leaf.len().min(BEFORE_MAX))?;
    let begin = head.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let length = head.get(begin..)?.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(head.get(begin..begin + length)?).ok()
}

impl Record {
    /// Reads a leaf. Old schema versions are led to the newest one.
    pub fn decode(leaf: &[u8]) -> Result<Self, BadLeaf> {
        Self::of(&Leaf::read(leaf)?)
    }

    /// The event in a leaf. Old schema versions are led to the newest one.
    pub fn of(leaf: &Leaf<'_>) -> Result<Self, BadLeaf> {
        let event = match upcast::upcast(upcast::UPCASTERS, &leaf.r#type, leaf.data.get())? {
            None => Event::read(&leaf.r#type, leaf.data)?,
            Some((name, data)) => Event::read(&name, &serde_json::value::to_raw_value(&data)?)?,
        };
        Ok(Self {
            time: leaf.time,
            sequence: leaf.sequence,
            id: leaf.id,
            stream: leaf.stream,
            context: Context {
                workspace: leaf.workspace,
                actor: leaf.actor,
                dialect: leaf.dialect,
                proof: leaf.proof,
                request: leaf.request,
                causation: leaf.causation,
                correlation: leaf.correlation,
            },
            claim: leaf.claim,
            sealed: leaf.sealed,
            event,
        })
    }
}
