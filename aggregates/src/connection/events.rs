//! What has happened to a connection. These shapes are stored for ever.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Kept;
use crate::ids::{ConnectionId, Hash, WorkspaceId};
use crate::observation::PartRef;
use crate::time::Timestamp;

crate::event::events! {
    /// What has happened to a connection.
    ConnectionEvent {
        /// It was made. Serves invariant 11: another workspace's rotations never use it.
        ConnectionCreated = "rota.connection.created.v1",
        /// Its name, description or credentials were changed.
        ConnectionUpdated = "rota.connection.updated.v1",
        /// The system was asked whether it lets rota in.
        ConnectionChecked = "rota.connection.checked.v1",
        /// It was ended, and its credentials destroyed.
        ConnectionDeleted = "rota.connection.deleted.v1",
    }
}

/// The credentials that are sealed beside an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsRef {
    /// SHA-256 of their ciphertext.
    pub sealed: Hash,
    /// SHA-256 of their keyed digest, by which a change of them is seen.
    pub digest: Hash,
}

/// The connection was made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionCreated {
    /// Its id.
    pub connection: ConnectionId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// The kind of system, such as `postgres`.
    pub app: String,
    /// How rota proves itself there.
    pub method: String,
    /// Its name.
    pub name: String,
    /// What is sealed of its credentials.
    pub credentials: CredentialsRef,
    /// When it was decided.
    pub at: Timestamp,
}

/// Name, description or credentials were changed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionUpdated {
    /// Its other name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether its description changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub described: bool,
    /// Its other credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsRef>,
    /// The credentials before, which were destroyed in the same append.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

/// The system was asked.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionChecked {
    /// Why it did not let rota in; absent if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// The connection was ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionDeleted {
    /// Its credentials, which were destroyed in the same append.
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

impl ConnectionEvent {
    fn credentials(&self) -> Option<CredentialsRef> {
        match self {
            Self::ConnectionCreated(e) => Some(e.credentials),
            Self::ConnectionUpdated(e) => e.credentials,
            Self::ConnectionChecked(_) | Self::ConnectionDeleted(_) => None,
        }
    }

    /// The sealed parts that this event destroys.
    pub fn shredded(&self) -> &[PartRef] {
        match self {
            Self::ConnectionUpdated(e) => &e.shredded,
            Self::ConnectionDeleted(e) => &e.shredded,
            Self::ConnectionCreated(_) | Self::ConnectionChecked(_) => &[],
        }
    }

    /// The hashes of what was put beside this event.
    pub fn kept(&self) -> Kept {
        self.credentials().map_or_else(Kept::default, |credentials| Kept {
            digest: Some(credentials.digest),
            secret: Some(credentials.sealed),
        })
    }
}
