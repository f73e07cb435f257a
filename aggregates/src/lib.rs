//! The domain of rota: commands go in, events or a refusal come out.
//!
//! Nothing here does I/O, reads a clock or draws randomness: the time, the identifiers and the secret
//! material come in with the command. So every rule can be tested as *given events, when command, then
//! events*, and a replay of the same events gives the same state on any machine.
//!
//! Where to start reading:
//! - [`credential`]: the heart: issue, rotate, two-phase rotation, expiry, revocation;
//! - [`workspace`]: the tenant and its policy;
//! - [`webhook`]: where somebody wants to be told what happens;
//! - [`places`]: the environments and folders of a workspace;
//! - [`managed_rotation`]: a credential of another system, which rota rotates; [`connection`]: how that is reached;
//! - [`name_space`]: names that are held once, across what they name;
//! - [`campaign`]: many credentials rotated by one plan; [`custody`]: whose they are, and to which key new secrets
//!   are sealed;
//! - [`token_keys`]: the keys that sign session tokens;
//! - [`ledger`]: the ledger as a whole: who signs for it, and who may read all of it;
//! - [`observation`]: what is recorded about a credential without being a change of it;
//! - [`record`]: the bytes of a recorded event, which are for ever;
//! - [`ids`], [`time`], [`secret`]: the values that all of them use.
#![warn(missing_docs)]

pub mod authority;
pub mod campaign;
pub mod connection;
pub mod credential;
pub mod custody;
pub mod event;
pub mod ids;
pub mod ledger;
pub mod managed_rotation;
pub mod name_space;
pub mod observation;
pub mod places;
pub mod record;
pub mod secret;
pub mod time;
pub mod token_keys;
pub mod upcast;
pub mod webhook;
pub mod workspace;

pub use event::Event;
pub use ids::{
    AttemptId, CampaignId, ConnectionId, CredentialId, EnvironmentId, EventId, FolderId, Position, RequestId,
    RotationId, Sequence, SpaceId, StreamId, StreamKind, TokenKeyId, WebhookId, WorkspaceId,
};
pub use time::Timestamp;
