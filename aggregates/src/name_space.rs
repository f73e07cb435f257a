//! Names that are held once: in a folder those of rotations and of mapped secrets; in a workspace those of its
//! connections.
//!
//! Whoever is named keeps its own stream. That two of them do not take one name at the same time is decided here, in
//! a stream that both have to write to.

use std::collections::{BTreeMap, BTreeSet};

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::WorkspaceId;
use crate::time::Timestamp;

/// A space has at most so many names.
pub const NAMES_MAX: usize = 10_000;
/// A name has at most so many bytes.
pub const NAME_BYTES_MAX: usize = 300;

/// Hold these names and no others.
#[derive(Clone, Debug)]
pub struct HoldNames {
    /// The workspace that the space is in.
    pub workspace: WorkspaceId,
    /// Whose names they are.
    pub owner: Uuid,
    /// All that it is to hold; nothing frees what it held.
    pub names: BTreeSet<String>,
    /// The time of the decision.
    pub now: Timestamp,
}

crate::event::events! {
    /// What has happened to the names of a space.
    NameSpaceEvent {
        /// Somebody holds other names than before. Serves invariant 11: what is addressed by a name is one thing.
        NamesHeld = "rota.name-space.names-held.v1",
    }
}

/// Somebody holds these names and no others.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamesHeld {
    /// The workspace that the space is in.
    pub workspace: WorkspaceId,
    /// Whose names they are.
    pub owner: Uuid,
    /// All that it holds.
    pub names: BTreeSet<String>,
    /// When it was decided.
    pub at: Timestamp,
}

/// Why names are not to be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameRefusal {
    /// Somebody else holds it.
    #[error("the name is taken")]
    Taken {
        /// The name.
        name: String,
    },
    /// There are too many names in the space.
    #[error("there may be at most {NAMES_MAX} names in one place")]
    TooMany,
    /// It is empty or too long.
    #[error("a name must have 1 to {NAME_BYTES_MAX} bytes")]
    Length,
}

/// The names of a space.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NameSpace {
    /// The workspace that it is in.
    pub workspace: WorkspaceId,
    /// Who holds each name.
    pub names: BTreeMap<String, Uuid>,
}

impl NameSpace {
    /// The decision: what happens, or why not. No event means that it is so already.
    pub fn decide(&self, command: HoldNames) -> Result<Option<NameSpaceEvent>, NameRefusal> {
        let HoldNames { workspace, owner, names, now } = command;
        if names.iter().any(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
            return Err(NameRefusal::Length);
        }
        if let Some(name) = names.iter().find(|name| self.names.get(*name).is_some_and(|by| *by != owner)) {
            return Err(NameRefusal::Taken { name: name.clone() });
        }
        let held: BTreeSet<_> = self.held_by(owner).collect();
        if self.names.len() - held.len() + names.len() > NAMES_MAX {
            return Err(NameRefusal::TooMany);
        }
        let same = held.iter().copied().eq(names.iter().map(String::as_str));
        Ok((!same).then(|| NamesHeld { workspace, owner, names, at: now }.into()))
    }

    /// What somebody holds.
    pub fn held_by(&self, owner: Uuid) -> impl Iterator<Item = &str> {
        self.names.iter().filter(move |(_, by)| **by == owner).map(|(name, _)| name.as_str())
    }

    /// Takes in what has happened.
    pub fn evolve(&mut self, event: &NameSpaceEvent) {
        let NameSpaceEvent::NamesHeld(e) = event;
        self.workspace = e.workspace;
        self.names.retain(|_, by| *by != e.owner);
        self.names.extend(e.names.iter().map(|name| (name.clone(), e.owner)));
    }
}

impl Aggregate for NameSpace {
    const TYPE: &'static str = "name-space";
    type Command = HoldNames;
    type Event = NameSpaceEvent;
    type Error = NameRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: HoldNames,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), NameRefusal> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: NameSpaceEvent) {
        self.evolve(&event);
    }
}
