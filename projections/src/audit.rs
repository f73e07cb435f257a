//! The audit trail: by which dimensions history can be asked, in any combination.
//!
//! The trail itself is the ledger. What a store keeps beside it is an index of `(dimension, key, position)`
//! rows, and this is the pure function that says which rows an event has.

use rota_aggregates::authority::{Actor, ActorKind};
use rota_aggregates::observation::ObservationEvent;
use rota_aggregates::record::Record;
use rota_aggregates::{CredentialId, Event, RequestId, StreamKind, WorkspaceId};

/// What a row of the index is about.
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
    /// The dimension's number in the index.
    pub fn dimension(&self) -> i64 {
        match self {
            Self::Workspace(_) => 1,
            Self::Credential(_) => 2,
            Self::Actor(_) => 3,
            Self::Type(_) => 4,
            Self::Request(_) => 5,
        }
    }

    /// The key within the dimension.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Workspace(id) => id.0.as_bytes().to_vec(),
            Self::Credential(id) => id.0.as_bytes().to_vec(),
            Self::Actor(actor) => {
                let kind = match actor.kind {
                    ActorKind::Operator => 1,
                    ActorKind::WorkspaceKey => 2,
                    ActorKind::Credential => 3,
                    ActorKind::Scheduler => 4,
                };
                [&[kind], actor.id.as_bytes().as_slice()].concat()
            }
            Self::Type(name) => name.trim_start_matches("rota.").as_bytes().to_vec(),
            Self::Request(id) => id.0.as_bytes().to_vec(),
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
    match (&record.event, record.stream.kind) {
        (Event::Observation(ObservationEvent::RotationRefused(e)), _) => Some(e.credential),
        (_, StreamKind::Credential | StreamKind::Use) => Some(CredentialId(record.stream.id)),
        _ => None,
    }
}

/// The facets of an event: its rows in the index.
pub fn facets(record: &Record) -> Vec<Facet> {
    let mut facets = vec![
        Facet::Workspace(record.context.workspace),
        Facet::Actor(record.context.actor),
        Facet::Type(record.event.type_name().to_owned()),
        Facet::Request(record.context.request),
    ];
    facets.extend(credential_of(record).map(Facet::Credential));
    facets
}
