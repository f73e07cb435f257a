//! Environments and folders of workspaces, and sessions that were ended before their time.

use std::collections::BTreeMap;

use rota_aggregates::observation::SessionEnded;
use rota_aggregates::places::{Places, PlacesEvent};
use rota_aggregates::{Position, Sequence, StreamId, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Live;
use crate::Fact;
use crate::codec::Reader;

/// The places of a workspace, with where to find what is sealed about them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LivePlaces {
    /// Their state.
    pub state: Places,
    /// The stream's last sequence; `None` if there is no event.
    pub sequence: Option<Sequence>,
    /// By id of environment or folder: the event whose details have its name or description.
    pub described: BTreeMap<Uuid, Position>,
}

/// The places of every workspace that has more than it had from the start.
#[derive(Debug, Default)]
pub(super) struct AllPlaces(BTreeMap<WorkspaceId, LivePlaces>);

impl AllPlaces {
    pub(super) fn sequence(&self, stream: &StreamId) -> Option<Sequence> {
        self.0.get(&WorkspaceId(stream.id)).and_then(|places| places.sequence)
    }

    pub(super) fn apply(&mut self, fact: &Fact<'_>, event: &PlacesEvent) {
        let workspace = WorkspaceId(fact.stream.id);
        let places = self.0.entry(workspace).or_insert_with(|| LivePlaces::of(workspace));
        places.state.evolve(event);
        places.sequence = Some(fact.sequence);
        let (id, described) = match event {
            PlacesEvent::EnvironmentAdded(e) => (e.environment.0, true),
            PlacesEvent::EnvironmentChanged(e) => (e.environment.0, e.renamed),
            PlacesEvent::FolderAdded(e) => (e.folder.0, true),
            PlacesEvent::FolderChanged(e) => (e.folder.0, e.described),
            PlacesEvent::EnvironmentRemoved(e) => {
                places.described.remove(&e.environment.0);
                return;
            }
            PlacesEvent::FolderRemoved(e) => {
                places.described.remove(&e.folder.0);
                return;
            }
        };
        if described {
            places.described.insert(id, fact.position);
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        // Plain data: it has a JSON form.
        let json = serde_json::to_vec(&self.0).unwrap_or_default();
        out.extend_from_slice(&(json.len() as u64).to_le_bytes());
        out.extend_from_slice(&json);
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Option<Self> {
        let length = input.u64()?;
        serde_json::from_slice(input.take(length as usize)?).ok().map(Self)
    }
}

impl LivePlaces {
    fn of(workspace: WorkspaceId) -> Self {
        Self { state: Places::of(workspace), sequence: None, described: BTreeMap::new() }
    }
}

/// Sessions that were ended, until their tokens would have expired anyway.
#[derive(Debug, Default)]
pub(super) struct EndedSessions(BTreeMap<Uuid, Timestamp>);

impl EndedSessions {
    pub(super) fn apply(&mut self, event: &SessionEnded, now: Timestamp) {
        self.0.retain(|_, until| *until > now);
        self.0.insert(event.session, event.until);
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.0.len() as u64).to_le_bytes());
        for (session, until) in &self.0 {
            out.extend_from_slice(session.as_bytes());
            out.extend_from_slice(&until.micros().to_le_bytes());
        }
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Option<Self> {
        let mut ended = Self::default();
        for _ in 0..input.u64()? {
            let session = Uuid::from_bytes(input.array()?);
            ended.0.insert(session, Timestamp::from_micros(input.i64()?));
        }
        Some(ended)
    }
}

impl Live {
    /// The environments and folders of a workspace that is open.
    pub fn places(&self, workspace: WorkspaceId) -> Option<LivePlaces> {
        self.workspace(workspace)?;
        Some(self.places.0.get(&workspace).cloned().unwrap_or_else(|| LivePlaces::of(workspace)))
    }

    /// Whether a session was ended before its time.
    pub fn has_ended(&self, session: Uuid) -> bool {
        self.ended_sessions.0.contains_key(&session)
    }
}
