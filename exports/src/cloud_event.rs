//! CloudEvents 1.0 in their JSON format.

use std::borrow::Cow;

use rota_aggregates::authority::{ActorKind, Dialect, ProofKind};
use rota_aggregates::ids::Hash;
use rota_aggregates::{CredentialId, EventId, Position, RequestId, StreamId, Timestamp, WorkspaceId};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::Entry;

/// An event in CloudEvents 1.0's JSON format. `position` and the other names without a meaning in that standard
/// are extension attributes.
#[derive(Serialize)]
pub struct CloudEvent<'a> {
    specversion: &'static str,
    id: EventId,
    source: &'static str,
    r#type: Cow<'a, str>,
    subject: Subject,
    time: Timestamp,
    datacontenttype: &'static str,
    /// The extension "sequence" of that standard: it sorts as text.
    sequence: Padded,
    position: Position,
    leafhash: Hex,
    #[serde(serialize_with = "display")]
    stream: StreamId,
    streamsequence: u32,
    workspaceid: WorkspaceId,
    actorkind: ActorKind,
    actorid: Uuid,
    dialect: Dialect,
    proof: ProofKind,
    requestid: RequestId,
    causationid: Uuid,
    correlationid: Uuid,
    data: &'a RawValue,
}

impl<'a> CloudEvent<'a> {
    /// An event of the ledger.
    pub fn of(entry: &Entry<'a>) -> Self {
        let leaf = &entry.leaf;
        Self {
            specversion: "1.0",
            id: leaf.id,
            source: "/rota",
            r#type: leaf.r#type.clone(),
            subject: entry.about().credential.map_or(Subject::Stream(leaf.stream), Subject::Credential),
            time: leaf.time,
            datacontenttype: "application/json",
            sequence: Padded(entry.position),
            position: entry.position,
            leafhash: Hex(entry.leaf_hash()),
            stream: leaf.stream,
            streamsequence: leaf.sequence.0,
            workspaceid: leaf.workspace,
            actorkind: leaf.actor.kind,
            actorid: leaf.actor.id,
            dialect: leaf.dialect,
            proof: leaf.proof.kind,
            requestid: leaf.request,
            causationid: leaf.causation,
            correlationid: leaf.correlation,
            data: leaf.data,
        }
    }
}

fn display<S: Serializer>(value: &impl std::fmt::Display, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(value)
}

enum Subject {
    Credential(CredentialId),
    Stream(StreamId),
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Credential(id) => s.collect_str(&format_args!("credential/{id}")),
            Self::Stream(stream) => s.collect_str(stream),
        }
    }
}

/// A position with so many digits that text sorts as numbers do.
struct Padded(Position);

impl Serialize for Padded {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{:020}", self.0.0))
    }
}

/// A hash in hexadecimal.
pub(crate) struct Hex(pub(crate) Hash);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        s.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}
