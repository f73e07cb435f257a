//! The audit trail: by which dimensions history can be asked, in any combination.
//!
//! The trail itself is the ledger. What a store keeps beside it is an index of `(key, position)` entries, and
//! this is the pure function that says which keys an event has. A key is a 64-bit hash: that two facets share one
//! is possible, and so an entry only points, and what the event says decides.

use rota_aggregates::authority::{Actor, ActorKind};
use rota_aggregates::observation::ObservationEvent;
use rota_aggregates::record::Record;
use rota_aggregates::{CredentialId, Event, RequestId, StreamId, StreamKind, WorkspaceId};

use crate::Fact;

/// What an entry of the index is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Facet {
    /// Every event of a workspace.
    Workspace(WorkspaceId),
    /// Every event about a credential, observations included.
    Credential(CredentialId),
    /// Every event by an actor.
    Actor(Actor),
    /// Every event of a type.
    Type(String),
    /// Every event of a request.
    Request(RequestId),
}

impl Facet {
    /// The place of its key among [`keys`].
    pub fn dimension(&self) -> usize {
        match self {
            Self::Workspace(_) => 0,
            Self::Credential(_) => 1,
            Self::Actor(_) => 2,
            Self::Type(_) => 3,
            Self::Request(_) => 4,
        }
    }

    /// Its key in the index.
    pub fn key(&self) -> i64 {
        match self {
            Self::Workspace(id) => workspace_key(*id),
            Self::Credential(id) => credential_key(*id),
            Self::Actor(actor) => actor_key(actor),
            Self::Type(name) => type_key(name),
            Self::Request(id) => request_key(*id),
        }
    }

    /// Whether an event has this facet.
    pub fn matches(&self, record: &Record) -> bool {
        match self {
            Self::Workspace(id) => record.context.workspace == *id,
            Self::Credential(id) => credential_of(record) == Some(*id),
            Self::Actor(actor) => record.context.actor == *actor,
            Self::Type(name) => record.event.type_name() == name,
            Self::Request(id) => record.context.request == *id,
        }
    }
}

/// The credential that an event is about.
pub fn credential_of(record: &Record) -> Option<CredentialId> {
    credential_of_event(&record.event, &record.stream)
}

/// The credential that an event of a stream is about.
pub fn credential_of_event(event: &Event, stream: &StreamId) -> Option<CredentialId> {
    match (event, stream.kind) {
        (Event::Observation(ObservationEvent::RotationRefused(e)), _) => Some(e.credential),
        (_, StreamKind::Credential | StreamKind::Use | StreamKind::Sessions | StreamKind::Custody) => {
            Some(CredentialId(stream.id))
        }
        _ => None,
    }
}

/// Dimensions of the index.
pub const DIMENSIONS: usize = 5;
/// What stands in place of the key of a facet that an event does not have.
pub const NO_KEY: i64 = 0;

/// The keys of an event, by dimension.
pub fn keys(fact: &Fact<'_>) -> [i64; DIMENSIONS] {
    [
        workspace_key(fact.context.workspace),
        credential_of_event(fact.event, &fact.stream).map_or(NO_KEY, credential_key),
        actor_key(&fact.context.actor),
        type_key(fact.event.type_name()),
        request_key(fact.context.request),
    ]
}

fn workspace_key(id: WorkspaceId) -> i64 {
    hash(1, id.0.as_bytes())
}

fn credential_key(id: CredentialId) -> i64 {
    hash(2, id.0.as_bytes())
}

fn actor_key(actor: &Actor) -> i64 {
    let kind = match actor.kind {
        ActorKind::Operator => 1,
        ActorKind::WorkspaceKey => 2,
        ActorKind::Credential => 3,
        ActorKind::Scheduler => 4,
    };
    hash(3 + (kind << 8), actor.id.as_bytes())
}

fn type_key(name: &str) -> i64 {
    hash(4, name.as_bytes())
}

fn request_key(id: RequestId) -> i64 {
    hash(5, id.0.as_bytes())
}

/// Spreads bytes evenly (splitmix64). It is written into files, and so stays as it is.
fn hash(seed: u64, bytes: &[u8]) -> i64 {
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut sum = mix(seed);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = mix(sum.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ u64::from_le_bytes(word));
    }
    let sum = sum as i64;
    if sum == NO_KEY { 1 } else { sum }
}
