//! An event as it is exported: its position, its bytes, and what they say, read in place.

use ring::digest::{Context, SHA256};
use rota_aggregates::ids::Hash;
use rota_aggregates::record::{BadLeaf, Leaf};
use rota_aggregates::{CredentialId, Position, StreamKind};
use serde::{Deserialize, Serialize};

/// An event of the ledger.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its place in the one total order: the index of its leaf.
    pub position: Position,
    /// The leaf: what is hashed.
    pub bytes: &'a [u8],
    /// What it says.
    pub leaf: Leaf<'a>,
}

/// What the data of most events names, whatever else it has.
#[derive(Default, Deserialize)]
struct Named {
    credential: Option<CredentialId>,
    version: Option<u32>,
    secret: Option<Secret>,
}

#[derive(Deserialize)]
struct Secret {
    version: u32,
}

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct About {
    /// The credential.
    pub credential: Option<CredentialId>,
    /// The version of its secret that the event made, changed or met.
    pub version: Option<u32>,
}

impl<'a> Entry<'a> {
    /// Reads an event.
    pub fn read(position: Position, bytes: &'a [u8]) -> Result<Self, BadLeaf> {
        Ok(Self { position, bytes, leaf: Leaf::read(bytes)? })
    }

    /// The hash of its leaf (RFC 6962).
    pub fn leaf_hash(&self) -> Hash {
        let mut context = Context::new(&SHA256);
        context.update(&[0]);
        context.update(self.bytes);
        let mut hash = Hash([0; 32]);
        hash.0.copy_from_slice(context.finish().as_ref());
        hash
    }

    /// What it is about.
    pub fn about(&self) -> About {
        let kind = self.leaf.stream.kind;
        let credential = match kind {
            StreamKind::Credential | StreamKind::Use | StreamKind::Custody => {
                Some(CredentialId(self.leaf.stream.id))
            }
            StreamKind::Refusals => None,
            _ => return About::default(),
        };
        let named: Named = serde_json::from_str(self.leaf.data.get()).unwrap_or_default();
        About {
            credential: credential.or(named.credential),
            version: named.version.or(named.secret.map(|secret| secret.version)),
        }
    }

    /// Its subject: the credential that it is about, else its stream.
    pub fn subject(&self) -> String {
        match self.about().credential {
            Some(id) => format!("credential/{id}"),
            None => self.leaf.stream.to_string(),
        }
    }
}

/// The name of a value that serialises as a plain string, such as an actor's kind.
pub(crate) fn name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}
