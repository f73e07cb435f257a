//! Every event that rota records, and how one is told from another.
//!
//! An event's type is `rota.<aggregate>.<past-tense>.v<n>`; the number is its schema's version. A stored
//! event is never renamed or given another meaning: a new version is added and [`crate::upcast`] leads the
//! old one to it.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use serde_json::value::RawValue;

use crate::campaign::CampaignEvent;
use crate::connection::ConnectionEvent;
use crate::credential::CredentialEvent;
use crate::custody::CustodyEvent;
use crate::ids::Hash;
use crate::ledger::LedgerEvent;
use crate::managed_rotation::ManagedRotationEvent;
use crate::name_space::NameSpaceEvent;
use crate::observation::{ObservationEvent, PartRef};
use crate::places::PlacesEvent;
use crate::token_keys::TokenKeysEvent;
use crate::webhook::WebhookEvent;
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
                match self { $( Self::$variant(event) => $crate::event::write_json(out, event), )+ }
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

/// The largest integer that every reader of JSON holds exactly: 2⁵³ − 1.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// Writes JSON, but no number that some readers would change.
pub(crate) fn write_json(out: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Exact))
}

/// Whether writing failed for such a number. Nothing else can be wrong with a writer that is memory.
pub(crate) fn is_inexact(error: &serde_json::Error) -> bool {
    error.is_io()
}

/// Compact JSON of exact numbers.
struct Exact;

fn inexact() -> io::Error {
    io::Error::other("a number is no integer of at most 2^53 - 1")
}

impl Formatter for Exact {
    fn write_u64<W: ?Sized + io::Write>(&mut self, out: &mut W, value: u64) -> io::Result<()> {
        if value > EXACT_MAX {
            return Err(inexact());
        }
        CompactFormatter.write_u64(out, value)
    }

    fn write_i64<W: ?Sized + io::Write>(&mut self, out: &mut W, value: i64) -> io::Result<()> {
        if value.unsigned_abs() > EXACT_MAX {
            return Err(inexact());
        }
        CompactFormatter.write_i64(out, value)
    }

    fn write_u128<W: ?Sized + io::Write>(&mut self, out: &mut W, value: u128) -> io::Result<()> {
        u64::try_from(value).map_err(|_| inexact()).and_then(|value| self.write_u64(out, value))
    }

    fn write_i128<W: ?Sized + io::Write>(&mut self, out: &mut W, value: i128) -> io::Result<()> {
        i64::try_from(value).map_err(|_| inexact()).and_then(|value| self.write_i64(out, value))
    }

    fn write_f32<W: ?Sized + io::Write>(&mut self, _: &mut W, _: f32) -> io::Result<()> {
        Err(inexact())
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, _: &mut W, _: f64) -> io::Result<()> {
        Err(inexact())
    }
}

/// Any recorded event.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// Of a workspace.
    Workspace(WorkspaceEvent),
    /// Of a credential.
    Credential(CredentialEvent),
    /// Of a webhook.
    Webhook(WebhookEvent),
    /// About any of them, without changing it.
    Observation(ObservationEvent),
    /// Of the keys that sign session tokens.
    TokenKeys(TokenKeysEvent),
    /// Of the environments and folders of a workspace.
    Places(PlacesEvent),
    /// Of a connection.
    Connection(ConnectionEvent),
    /// Of a managed rotation.
    ManagedRotation(ManagedRotationEvent),
    /// Of the names in a space.
    NameSpace(NameSpaceEvent),
    /// Of the ledger as a whole.
    Ledger(LedgerEvent),
    /// Of the custody of a credential.
    Custody(CustodyEvent),
    /// Of a campaign.
    Campaign(CampaignEvent),
}

/// The hashes that an event has of what is kept beside it to verify or recover something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// Of the keyed digest.
    pub digest: Option<Hash>,
    /// Of the sealed secret.
    pub secret: Option<Hash>,
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

impl From<WebhookEvent> for Event {
    fn from(event: WebhookEvent) -> Self {
        Self::Webhook(event)
    }
}

impl From<ObservationEvent> for Event {
    fn from(event: ObservationEvent) -> Self {
        Self::Observation(event)
    }
}

impl From<LedgerEvent> for Event {
    fn from(event: LedgerEvent) -> Self {
        Self::Ledger(event)
    }
}

impl From<TokenKeysEvent> for Event {
    fn from(event: TokenKeysEvent) -> Self {
        Self::TokenKeys(event)
    }
}

impl From<PlacesEvent> for Event {
    fn from(event: PlacesEvent) -> Self {
        Self::Places(event)
    }
}

impl From<ConnectionEvent> for Event {
    fn from(event: ConnectionEvent) -> Self {
        Self::Connection(event)
    }
}

impl From<ManagedRotationEvent> for Event {
    fn from(event: ManagedRotationEvent) -> Self {
        Self::ManagedRotation(event)
    }
}

impl From<CustodyEvent> for Event {
    fn from(event: CustodyEvent) -> Self {
        Self::Custody(event)
    }
}

impl From<CampaignEvent> for Event {
    fn from(event: CampaignEvent) -> Self {
        Self::Campaign(event)
    }
}

impl From<NameSpaceEvent> for Event {
    fn from(event: NameSpaceEvent) -> Self {
        Self::NameSpace(event)
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
        [
            WorkspaceEvent::TYPES,
            CredentialEvent::TYPES,
            WebhookEvent::TYPES,
            ObservationEvent::TYPES,
            TokenKeysEvent::TYPES,
            PlacesEvent::TYPES,
            ConnectionEvent::TYPES,
            ManagedRotationEvent::TYPES,
            NameSpaceEvent::TYPES,
            LedgerEvent::TYPES,
            CustodyEvent::TYPES,
            CampaignEvent::TYPES,
        ]
        .into_iter()
        .flatten()
        .copied()
    }

    /// Each type with the JSON schema of its data.
    pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
        let mut all = WorkspaceEvent::schemas();
        all.extend(CredentialEvent::schemas());
        all.extend(WebhookEvent::schemas());
        all.extend(ObservationEvent::schemas());
        all.extend(TokenKeysEvent::schemas());
        all.extend(PlacesEvent::schemas());
        all.extend(ConnectionEvent::schemas());
        all.extend(ManagedRotationEvent::schemas());
        all.extend(NameSpaceEvent::schemas());
        all.extend(LedgerEvent::schemas());
        all.extend(CustodyEvent::schemas());
        all.extend(CampaignEvent::schemas());
        all
    }

    /// The event's type, such as `rota.credential.issued.v1`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Workspace(e) => e.type_name(),
            Self::Credential(e) => e.type_name(),
            Self::Webhook(e) => e.type_name(),
            Self::Observation(e) => e.type_name(),
            Self::TokenKeys(e) => e.type_name(),
            Self::Places(e) => e.type_name(),
            Self::Connection(e) => e.type_name(),
            Self::ManagedRotation(e) => e.type_name(),
            Self::NameSpace(e) => e.type_name(),
            Self::Ledger(e) => e.type_name(),
            Self::Custody(e) => e.type_name(),
            Self::Campaign(e) => e.type_name(),
        }
    }

    /// The sealed parts that this event destroys.
    pub fn shredded(&self) -> &[PartRef] {
        match self {
            Self::Credential(e) => e.shredded(),
            Self::Observation(ObservationEvent::SealedPartsShredded(e)) => &e.parts,
            Self::TokenKeys(e) => e.shredded(),
            Self::Ledger(e) => e.shredded(),
            Self::Connection(e) => e.shredded(),
            Self::ManagedRotation(e) => e.shredded(),
            Self::Campaign(e) => e.shredded(),
            Self::Workspace(_)
            | Self::Webhook(_)
            | Self::Observation(_)
            | Self::Places(_)
            | Self::NameSpace(_)
            | Self::Custody(_) => &[],
        }
    }

    /// The hashes of what was put beside this event to verify or recover something.
    pub fn kept(&self) -> Kept {
        match self {
            Self::Credential(e) => e.secret().map_or_else(Kept::default, |secret| Kept {
                digest: Some(secret.digest),
                secret: secret.sealed,
            }),
            Self::TokenKeys(e) => Kept { digest: None, secret: e.sealed() },
            Self::Ledger(e) => Kept { digest: None, secret: e.sealed() },
            Self::Connection(e) => e.kept(),
            Self::Campaign(e) => e.kept(),
            Self::ManagedRotation(e) => Kept { digest: None, secret: e.sealed() },
            Self::Workspace(_)
            | Self::Webhook(_)
            | Self::Observation(_)
            | Self::Places(_)
            | Self::NameSpace(_)
            | Self::Custody(_) => Kept::default(),
        }
    }

    /// Writes the event's data as JSON.
    pub fn write_data(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::Workspace(e) => e.write_data(out),
            Self::Credential(e) => e.write_data(out),
            Self::Webhook(e) => e.write_data(out),
            Self::Observation(e) => e.write_data(out),
            Self::TokenKeys(e) => e.write_data(out),
            Self::Places(e) => e.write_data(out),
            Self::Connection(e) => e.write_data(out),
            Self::ManagedRotation(e) => e.write_data(out),
            Self::NameSpace(e) => e.write_data(out),
            Self::Ledger(e) => e.write_data(out),
            Self::Custody(e) => e.write_data(out),
            Self::Campaign(e) => e.write_data(out),
        }
    }

    /// Reads an event of the given type from its data, which is in the newest schema version.
    pub fn read(name: &str, data: &RawValue) -> Result<Self, Unreadable> {
        let data = data.get();
        let read = None
            .or_else(|| CredentialEvent::read(name, data).map(|r| r.map(Self::Credential)))
            .or_else(|| WorkspaceEvent::read(name, data).map(|r| r.map(Self::Workspace)))
            .or_else(|| WebhookEvent::read(name, data).map(|r| r.map(Self::Webhook)))
            .or_else(|| ObservationEvent::read(name, data).map(|r| r.map(Self::Observation)))
            .or_else(|| TokenKeysEvent::read(name, data).map(|r| r.map(Self::TokenKeys)))
            .or_else(|| PlacesEvent::read(name, data).map(|r| r.map(Self::Places)))
            .or_else(|| ManagedRotationEvent::read(name, data).map(|r| r.map(Self::ManagedRotation)))
            .or_else(|| ConnectionEvent::read(name, data).map(|r| r.map(Self::Connection)))
            .or_else(|| NameSpaceEvent::read(name, data).map(|r| r.map(Self::NameSpace)))
            .or_else(|| LedgerEvent::read(name, data).map(|r| r.map(Self::Ledger)))
            .or_else(|| CustodyEvent::read(name, data).map(|r| r.map(Self::Custody)))
            .or_else(|| CampaignEvent::read(name, data).map(|r| r.map(Self::Campaign)));
        match read {
            Some(Ok(event)) => Ok(event),
            Some(Err(source)) => Err(Unreadable::Misfit { name: name.to_owned(), source }),
            None => Err(Unreadable::UnknownType(name.to_owned())),
        }
    }
}
