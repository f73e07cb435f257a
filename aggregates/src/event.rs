//! Every event that rota records, and how one is told from another.
//!
//! An event's type is `rota.<aggregate>.<past-tense>.v<n>`; the number is its schema's version. A stored
//! event is never renamed or given another meaning: a new version is added and [`crate::upcast`] leads the
//! old one to it.

use serde_json::value::RawValue;

use crate::credential::CredentialEvent;
use crate::observation::ObservationEvent;
use crate::workspace::WorkspaceEvent;

/// Declares an event enum from its variants' structs: the type names, encoding, decoding and schemas.
macro_rules! events {
    (
        $(#[$meta:meta])*
        $enum:ident { $( $(#[$vmeta:meta])* $variant:ident = $name:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "type", content = "data")]
        pub enum $enum {
            $( $(#[$vmeta])* #[serde(rename = $name)] $variant($variant), )+
        }

        $( impl From<$variant> for $enum {
            fn from(event: $variant) -> Self { Self::$variant(event) }
        } )+

        impl $enum {
            /// The types of these events.
            pub const TYPES: &'static [&'static str] = &[$($name),+];

            /// The event's type, such as `rota.credential.issued.v1`.
            pub fn type_name(&self) -> &'static str {
                match self { $( Self::$variant(_) => $name, )+ }
            }

            /// Writes the event's data as JSON.
            pub fn write_data(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
                match self { $( Self::$variant(event) => serde_json::to_writer(out, event), )+ }
            }

            /// Reads an event of the given type; `None` if the type is not one of these.
            pub fn read(name: &str, data: &str) -> Option<serde_json::Result<Self>> {
                match name {
                    $( $name => Some(serde_json::from_str(data).map(Self::$variant)), )+
                    _ => None,
                }
            }

            /// Each type with the JSON schema of its data.
            pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
                vec![ $( ($name, schemars::schema_for!($variant)), )+ ]
            }
        }

        impl cqrs_es::DomainEvent for $enum {
            fn event_type(&self) -> String {
                self.type_name().to_owned()
            }

            fn event_version(&self) -> String {
                let name = self.type_name();
                name.rsplit_once(".v").map_or_else(String::new, |(_, n)| format!("{n}.0.0"))
            }
        }
    };
}
pub(crate) use events;

/// Any recorded event.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// Of a workspace.
    Workspace(WorkspaceEvent),
    /// Of a credential.
    Credential(CredentialEvent),
    /// About either, without changing it.
    Observation(ObservationEvent),
}

impl From<WorkspaceEvent> for Event {
    fn from(event: WorkspaceEvent) -> Self {
        Self::Workspace(event)
    }
}

impl From<CredentialEvent> for Event {
    fn from(event: CredentialEvent) -> Self {
        Self::Credential(event)
    }
}

impl From<ObservationEvent> for Event {
    fn from(event: ObservationEvent) -> Self {
        Self::Observation(event)
    }
}

/// Bytes that are no event of any known type.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The type is unknown: the ledger was written by a newer program.
    #[error("unknown event type {0}: it was written by a newer rota than this one")]
    UnknownType(String),
    /// The data does not fit its type.
    #[error("the data of a {name} event does not fit its schema")]
    Misfit {
        /// The event's type.
        name: String,
        /// What did not fit.
        #[source]
        source: serde_json::Error,
    },
}

impl Event {
    /// The types of all events.
    pub fn types() -> impl Iterator<Item = &'static str> {
        [WorkspaceEvent::TYPES, CredentialEvent::TYPES, ObservationEvent::TYPES]
            .into_iter()
            .flatten()
            .copied()
    }

    /// Each type with the JSON schema of its data.
    pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
        let mut all = WorkspaceEvent::schemas();
        all.extend(CredentialEvent::schemas());
        all.extend(ObservationEvent::schemas());
        all
    }

    /// The event's type, such as `rota.credential.issued.v1`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Workspace(e) => e.type_name(),
            Self::Credential(e) => e.type_name(),
            Self::Observation(e) => e.type_name(),
        }
    }

    /// Writes the event's data as JSON.
    pub fn write_data(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::Workspace(e) => e.write_data(out),
            Self::Credential(e) => e.write_data(out),
            Self::Observation(e) => e.write_data(out),
        }
    }

    /// Reads an event of the given type from its data, which is in the newest schema version.
    pub fn read(name: &str, data: &RawValue) -> Result<Self, Unreadable> {
        let data = data.get();
        let read = None
            .or_else(|| CredentialEvent::read(name, data).map(|r| r.map(Self::Credential)))
            .or_else(|| WorkspaceEvent::read(name, data).map(|r| r.map(Self::Workspace)))
            .or_else(|| ObservationEvent::read(name, data).map(|r| r.map(Self::Observation)));
        match read {
            Some(Ok(event)) => Ok(event),
            Some(Err(source)) => Err(Unreadable::Misfit { name: name.to_owned(), source }),
            None => Err(Unreadable::UnknownType(name.to_owned())),
        }
    }
}
