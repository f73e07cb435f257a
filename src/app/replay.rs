//! The state that events give, up to some point: credentials with their versions, workspaces with their policies.
//! Folded from events alone, so whoever has those gets the same.

use std::collections::BTreeMap;

use rota_aggregates::record::Record;
use rota_aggregates::workspace::Workspace;
use rota_aggregates::{CredentialId, Event, Position, StreamKind, Timestamp, WorkspaceId};
use rota_projections::Recorded;
use rota_projections::audit::credential_of;
use rota_projections::credential::CredentialView;

/// What events lead to.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Every credential. Names are not in events, and so not here.
    pub credentials: BTreeMap<CredentialId, CredentialView>,
    /// Every workspace.
    pub workspaces: BTreeMap<WorkspaceId, Workspace>,
    /// How many events there were.
    pub events: u64,
    /// The last event.
    pub last: Option<Position>,
    /// Its time.
    pub time: Timestamp,
}

/// What an event was about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// A credential.
    Credential(CredentialId),
    /// A workspace.
    Workspace(WorkspaceId),
}

impl Subject {
    /// What an event is about, as far as it is here.
    pub fn of(record: &Record) -> Option<Self> {
        match credential_of(record) {
            Some(id) => Some(Self::Credential(id)),
            None if record.stream.kind == StreamKind::Workspace => {
                Some(Self::Workspace(WorkspaceId(record.stream.id)))
            }
            None => None,
        }
    }
}

impl State {
    /// Takes the next event in.
    pub fn take(&mut self, position: Position, record: Record) {
        self.events += 1;
        self.last = Some(position);
        self.time = record.time;
        match Subject::of(&record) {
            Some(Subject::Workspace(id)) => {
                if let Event::Workspace(event) = &record.event {
                    self.workspaces.entry(id).or_default().evolve(event);
                }
            }
            Some(Subject::Credential(id)) => {
                let recorded = Recorded { position, record, digest: None, details: None };
                let mut view = self.credentials.remove(&id);
                CredentialView::step(&mut view, &recorded.fact(), None);
                if let Some(view) = view {
                    self.credentials.insert(id, view);
                }
            }
            None => {}
        }
    }
}
