//! The connection: how rota reaches another system.
//!
//! Its credentials are sealed beside the event that brings them, its description in that one's details. The event
//! has its name, which addresses it, its app and its method.

mod events;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use self::events::{
    ConnectionChecked, ConnectionCreated, ConnectionDeleted, ConnectionEvent, ConnectionUpdated,
    CredentialsRef,
};
use crate::ids::{ConnectionId, Position, WorkspaceId};
use crate::observation::{PartRef, SealedPart};
use crate::time::Timestamp;

/// The longest reason that an event has, in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;

/// What may be asked of a connection.
#[derive(Clone, Debug)]
pub enum ConnectionCommand {
    /// Make it. Its credentials are sealed beside the event.
    Create {
        /// Its id.
        connection: ConnectionId,
        /// Its workspace.
        workspace: WorkspaceId,
        /// The kind of system, such as `postgres`.
        app: String,
        /// How rota proves itself there.
        method: String,
        /// Its name.
        name: String,
        /// What is sealed of its credentials.
        credentials: CredentialsRef,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Change it. What is `None` stays.
    Update {
        /// Its name.
        name: Option<String>,
        /// Whether its description changes, which travels in the event's sealed details.
        described: bool,
        /// Other credentials.
        credentials: Option<CredentialsRef>,
        /// Where its present credentials are.
        sealed: Option<Position>,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Note what became of reaching the system.
    Check {
        /// Why it could not be reached; `None` if it could.
        failure: Option<String>,
        /// The time of the decision.
        now: Timestamp,
    },
    /// End it.
    Delete {
        /// Where its credentials are.
        sealed: Option<Position>,
        /// How many rotations use it.
        used_by: usize,
        /// The time of the decision.
        now: Timestamp,
    },
}

/// Why a connection refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectionRefusal {
    /// There is one with this id already.
    #[error("the connection is there already")]
    AlreadyCreated,
    /// There is no such connection, or none any more.
    #[error("there is no such connection")]
    Unknown,
    /// Rotations use it.
    #[error("the connection is used by {0} rotations; delete those first")]
    InUse(usize),
}

/// Whether there is such a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Stage {
    /// It was never made.
    #[default]
    Absent,
    /// It can be used.
    Active,
    /// It is no more.
    Deleted,
}

/// A connection's state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Connection {
    /// Whether there is such a connection.
    pub stage: Stage,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// The kind of system.
    pub app: String,
    /// How rota proves itself there.
    pub method: String,
    /// Its name.
    pub name: String,
    /// How often it was changed, and one.
    pub version: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was last checked.
    pub checked_at: Option<Timestamp>,
    /// Why the last check failed.
    pub failure: Option<String>,
}

impl Connection {
    /// Whether there is such a connection.
    pub fn exists(&self) -> bool {
        self.stage == Stage::Active
    }

    /// The decision: what happens, or why not. No event means that it is so already.
    pub fn decide(&self, command: ConnectionCommand) -> Result<Option<ConnectionEvent>, ConnectionRefusal> {
        let part = |position: Option<Position>| -> Vec<PartRef> {
            position.map(|position| PartRef { position, part: SealedPart::Secret }).into_iter().collect()
        };
        match command {
            ConnectionCommand::Create { connection, workspace, app, method, name, credentials, now } => {
                if self.stage != Stage::Absent {
                    return Err(ConnectionRefusal::AlreadyCreated);
                }
                let created =
                    ConnectionCreated { connection, workspace, app, method, name, credentials, at: now };
                Ok(Some(created.into()))
            }
            _ if !self.exists() => Err(ConnectionRefusal::Unknown),
            ConnectionCommand::Update { name, described, credentials, sealed, now } => {
                let name = name.filter(|name| *name != self.name);
                if name.is_none() && !described && credentials.is_none() {
                    return Ok(None);
                }
                let shredded = part(sealed.filter(|_| credentials.is_some()));
                Ok(Some(ConnectionUpdated { name, described, credentials, shredded, at: now }.into()))
            }
            ConnectionCommand::Check { failure, now } => {
                Ok(Some(ConnectionChecked { failure: failure.map(cut), at: now }.into()))
            }
            ConnectionCommand::Delete { used_by, .. } if used_by > 0 => {
                Err(ConnectionRefusal::InUse(used_by))
            }
            ConnectionCommand::Delete { sealed, now, .. } => {
                Ok(Some(ConnectionDeleted { shredded: part(sealed), at: now }.into()))
            }
        }
    }

    /// Takes in what has happened.
    pub fn evolve(&mut self, event: &ConnectionEvent) {
        match event {
            ConnectionEvent::ConnectionCreated(e) => {
                *self = Self {
                    stage: Stage::Active,
                    workspace: e.workspace,
                    app: e.app.clone(),
                    method: e.method.clone(),
                    name: e.name.clone(),
                    version: 1,
                    created_at: e.at,
                    updated_at: e.at,
                    checked_at: None,
                    failure: None,
                };
            }
            ConnectionEvent::ConnectionUpdated(e) => {
                if let Some(name) = &e.name {
                    self.name.clone_from(name);
                }
                self.version += 1;
                self.updated_at = e.at;
            }
            ConnectionEvent::ConnectionChecked(e) => {
                self.checked_at = Some(e.at);
                self.failure.clone_from(&e.failure);
            }
            ConnectionEvent::ConnectionDeleted(e) => {
                self.stage = Stage::Deleted;
                self.updated_at = e.at;
            }
        }
    }
}

/// A reason within bounds.
pub(crate) fn cut(mut reason: String) -> String {
    if reason.len() > REASON_BYTES_MAX {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    }
    reason
}

impl Aggregate for Connection {
    const TYPE: &'static str = "connection";
    type Command = ConnectionCommand;
    type Event = ConnectionEvent;
    type Error = ConnectionRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: ConnectionCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), ConnectionRefusal> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ConnectionEvent) {
        self.evolve(&event);
    }
}
