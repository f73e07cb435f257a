//! Connections, managed rotations and the names that are held: what the engine decides on and what clients read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rota_aggregates::connection::{Connection, ConnectionEvent};
use rota_aggregates::managed_rotation::{ManagedRotation, ManagedRotationEvent, SealedAt, Stage};
use rota_aggregates::name_space::{NameSpace, NameSpaceEvent};
use rota_aggregates::{
    ConnectionId, Position, RotationId, Sequence, SpaceId, StreamId, StreamKind, Timestamp, WorkspaceId,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Live;
use crate::Fact;
use crate::codec::Reader;

/// A connection, with where to find what is sealed about it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LiveConnection {
    /// Its id.
    pub id: ConnectionId,
    /// Its state.
    pub state: Connection,
    /// Its stream's last sequence.
    pub sequence: Sequence,
    /// The event beside which its credentials are sealed.
    pub sealed: Option<Position>,
    /// The event whose details have its description.
    pub described: Position,
    /// The keyed digest of its credentials, by which a change of them is seen.
    pub digest: [u8; 32],
}

/// A managed rotation, with where to find what is sealed about it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LiveRotation {
    /// Its id.
    pub id: RotationId,
    /// Its state.
    pub state: ManagedRotation,
    /// Its stream's last sequence.
    pub sequence: Sequence,
    /// Where its sealed parts are.
    pub sealed: SealedAt,
    /// The event whose details have its description.
    pub described: Position,
    /// The event of its last version, by which a change of what is published is seen.
    pub published: Option<Position>,
}

impl LiveRotation {
    /// Whether there are secrets of it to be read, the rotation itself or not.
    pub fn has_secrets(&self) -> bool {
        self.state.version > 0 && !self.state.settings.mapping.is_empty()
    }
}

/// The names of a space.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveNames {
    /// Who holds which.
    pub state: NameSpace,
    /// Its stream's last sequence.
    pub sequence: Sequence,
}

/// All of them. What was deleted stays as a mark, so that its events change nothing when they come again.
#[derive(Debug, Default)]
pub(super) struct Managed {
    connections: BTreeMap<ConnectionId, LiveConnection>,
    rotations: BTreeMap<RotationId, LiveRotation>,
    names: BTreeMap<SpaceId, LiveNames>,
    /// Those that exist, and those that left secrets behind, in order of their making.
    of_workspace: HashMap<WorkspaceId, (Vec<ConnectionId>, Vec<RotationId>)>,
    agenda: Agenda,
}

/// Rotations by the instant at which each is to be looked at.
type Times = BTreeSet<(Timestamp, RotationId)>;

/// When which rotation is to be looked at.
#[derive(Debug, Default)]
struct Agenda {
    /// When each is due by its schedule.
    due: Times,
    /// When something is to be done about an attempt that is not over.
    unfinished: Times,
    /// When it will have been due for too long.
    overdue: Times,
}

impl Agenda {
    fn entries(&mut self, state: &ManagedRotation) -> [(&mut Times, Option<Timestamp>); 3] {
        [
            (&mut self.due, state.next_at),
            (&mut self.unfinished, state.unfinished_at()),
            (&mut self.overdue, state.overdue_at()),
        ]
    }

    fn add(&mut self, id: RotationId, state: &ManagedRotation) {
        for (times, at) in self.entries(state) {
            times.extend(at.map(|at| (at, id)));
        }
    }

    fn remove(&mut self, id: RotationId, state: &ManagedRotation) {
        for (times, at) in self.entries(state) {
            if let Some(at) = at {
                times.remove(&(at, id));
            }
        }
    }
}

impl Managed {
    pub(super) fn sequence(&self, stream: &StreamId) -> Option<Sequence> {
        match stream.kind {
            StreamKind::Connection => {
                self.connections.get(&ConnectionId(stream.id)).map(|live| live.sequence)
            }
            StreamKind::ManagedRotation => {
                self.rotations.get(&RotationId(stream.id)).map(|live| live.sequence)
            }
            StreamKind::NameSpace => self.names.get(&SpaceId(stream.id)).map(|live| live.sequence),
            _ => None,
        }
    }

    pub(super) fn apply_connection(&mut self, fact: &Fact<'_>, event: &ConnectionEvent) {
        let id = ConnectionId(fact.stream.id);
        let live = self.connections.entry(id).or_insert_with(|| LiveConnection {
            id,
            state: Connection::default(),
            sequence: Sequence(0),
            sealed: None,
            described: fact.position,
            digest: [0; 32],
        });
        live.state.evolve(event);
        live.sequence = fact.sequence;
        match event {
            ConnectionEvent::ConnectionCreated(e) => {
                live.sealed = Some(fact.position);
                live.digest = fact.digest.unwrap_or_default();
                self.of_workspace.entry(e.workspace).or_default().0.push(id);
            }
            ConnectionEvent::ConnectionUpdated(e) => {
                if e.credentials.is_some() {
                    live.sealed = Some(fact.position);
                    live.digest = fact.digest.unwrap_or_default();
                }
                if e.described {
                    live.described = fact.position;
                }
            }
            ConnectionEvent::ConnectionDeleted(_) => {
                (live.sealed, live.digest) = (None, [0; 32]);
                if let Some((ids, _)) = self.of_workspace.get_mut(&live.state.workspace) {
                    ids.retain(|other| *other != id);
                }
            }
            ConnectionEvent::ConnectionChecked(_) => {}
        }
    }

    pub(super) fn apply_rotation(&mut self, fact: &Fact<'_>, event: &ManagedRotationEvent) {
        let id = RotationId(fact.stream.id);
        let live = self.rotations.entry(id).or_insert_with(|| LiveRotation {
            id,
            state: ManagedRotation::default(),
            sequence: Sequence(0),
            sealed: SealedAt::default(),
            described: fact.position,
            published: None,
        });
        self.agenda.remove(id, &live.state);
        live.sealed.follow(&live.state, event, fact.position);
        live.state.evolve(event);
        live.sequence = fact.sequence;
        self.agenda.add(id, &live.state);
        match event {
            ManagedRotationEvent::RotationCreated(e) => {
                self.of_workspace.entry(e.workspace).or_default().1.push(id);
            }
            ManagedRotationEvent::RotationUpdated(e) if e.described => live.described = fact.position,
            ManagedRotationEvent::CredentialPromoted(_) => live.published = Some(fact.position),
            _ => {}
        }
        if live.state.stage == Stage::Deleted && !live.has_secrets() {
            let workspace = live.state.workspace;
            live.state = ManagedRotation { stage: Stage::Deleted, workspace, ..ManagedRotation::default() };
            if let Some((_, ids)) = self.of_workspace.get_mut(&workspace) {
                ids.retain(|other| *other != id);
            }
        }
    }

    pub(super) fn apply_names(&mut self, fact: &Fact<'_>, event: &NameSpaceEvent) {
        let live = self.names.entry(SpaceId(fact.stream.id)).or_default();
        live.state.evolve(event);
        live.sequence = fact.sequence;
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        encode(self.connections.values(), out);
        encode(self.rotations.values(), out);
        encode(self.names.iter(), out);
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Option<Self> {
        let connections: Vec<LiveConnection> = decode(input)?;
        let rotations: Vec<LiveRotation> = decode(input)?;
        let names: Vec<(SpaceId, LiveNames)> = decode(input)?;
        let mut managed = Self { names: names.into_iter().collect(), ..Self::default() };
        let mut made: Vec<_> = connections.iter().filter(|live| live.state.exists()).collect();
        made.sort_by_key(|live| (live.state.created_at, live.id));
        for live in made {
            managed.of_workspace.entry(live.state.workspace).or_default().0.push(live.id);
        }
        let there = |live: &&LiveRotation| live.state.stage != Stage::Deleted || live.has_secrets();
        let mut made: Vec<_> = rotations.iter().filter(there).collect();
        made.sort_by_key(|live| (live.state.created_at, live.id));
        for live in made {
            managed.of_workspace.entry(live.state.workspace).or_default().1.push(live.id);
        }
        for live in &rotations {
            managed.agenda.add(live.id, &live.state);
        }
        managed.connections = connections.into_iter().map(|live| (live.id, live)).collect();
        managed.rotations = rotations.into_iter().map(|live| (live.id, live)).collect();
        Some(managed)
    }
}

pub(super) fn encode<T: Serialize>(items: impl ExactSizeIterator<Item = T>, out: &mut Vec<u8>) {
    out.extend_from_slice(&(items.len() as u64).to_le_bytes());
    for item in items {
        // Plain data: it has a JSON form.
        let json = serde_json::to_vec(&item).unwrap_or_default();
        out.extend_from_slice(&(json.len() as u64).to_le_bytes());
        out.extend_from_slice(&json);
    }
}

pub(super) fn decode<T: DeserializeOwned>(input: &mut Reader<'_>) -> Option<Vec<T>> {
    let count = input.u64()?;
    let mut items = Vec::new();
    for _ in 0..count {
        let length = input.u64()?;
        items.push(serde_json::from_slice(input.take(length as usize)?).ok()?);
    }
    Some(items)
}

impl Live {
    /// A connection that exists.
    pub fn connection(&self, id: ConnectionId) -> Option<&LiveConnection> {
        self.managed.connections.get(&id).filter(|live| live.state.exists())
    }

    /// The connections of a workspace, in order of their making.
    pub fn connections_of(&self, workspace: WorkspaceId) -> impl Iterator<Item = &LiveConnection> {
        let ids = self.managed.of_workspace.get(&workspace).map_or(&[][..], |(ids, _)| ids);
        ids.iter().filter_map(|id| self.managed.connections.get(id))
    }

    /// A rotation, also one that is still being made or that has left secrets behind.
    pub fn managed_rotation(&self, id: RotationId) -> Option<&LiveRotation> {
        self.managed.rotations.get(&id)
    }

    /// The rotations of a workspace, in order of their making, also those that are still being made or have left
    /// secrets behind.
    pub fn managed_rotations_of(&self, workspace: WorkspaceId) -> impl Iterator<Item = &LiveRotation> {
        let ids = self.managed.of_workspace.get(&workspace).map_or(&[][..], |(_, ids)| ids);
        ids.iter().filter_map(|id| self.managed.rotations.get(id))
    }

    /// How many rotations use a connection.
    pub fn uses_of(&self, connection: ConnectionId) -> usize {
        let uses =
            |live: &&LiveRotation| live.state.connection == connection && live.state.stage != Stage::Deleted;
        self.managed.rotations.values().filter(uses).count()
    }

    /// The names of a space; `None` if none was ever held there.
    pub fn names(&self, space: SpaceId) -> Option<&LiveNames> {
        self.managed.names.get(&space)
    }

    /// The rotations that were due at `now` by their schedules, the longest due first.
    pub fn due_rotations(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, &LiveRotation)> {
        let due = self.managed.agenda.due.iter().take_while(move |(at, _)| *at <= now);
        due.filter_map(|(at, id)| Some((*at, self.managed.rotations.get(id)?)))
    }

    /// How many rotations are overdue at `now`.
    pub fn overdue_rotations(&self, now: Timestamp) -> usize {
        self.managed.agenda.overdue.iter().take_while(|(at, _)| *at <= now).count()
    }

    /// The rotations with something to be done at `now` about an attempt that is not over.
    pub fn unfinished_rotations(&self, now: Timestamp) -> impl Iterator<Item = &LiveRotation> {
        let due = self.managed.agenda.unfinished.iter().take_while(move |(at, _)| *at <= now);
        due.filter_map(|(_, id)| self.managed.rotations.get(id))
    }

    /// When, after `now`, the next rotation falls due or the next attempt is to be gone on with.
    pub fn next_rotation_after(&self, now: Timestamp) -> Option<Timestamp> {
        let after = |index: &Times| {
            let from =
                (std::ops::Bound::Excluded((now, RotationId(uuid::Uuid::max()))), std::ops::Bound::Unbounded);
            index.range(from).next().map(|(at, _)| *at)
        };
        [after(&self.managed.agenda.due), after(&self.managed.agenda.unfinished)].into_iter().flatten().min()
    }
}
