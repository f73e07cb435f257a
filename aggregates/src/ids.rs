//! Identifiers: one type per thing, so that a workspace's id can't be passed where a credential's is meant.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Reads a value from its text, without a copy of that.
pub(crate) fn from_text<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    struct Text<T>(PhantomData<T>);

    impl<T: FromStr> Visitor<'_> for Text<T>
    where
        T::Err: fmt::Display,
    {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: de::Error>(self, s: &str) -> Result<T, E> {
            s.parse().map_err(E::custom)
        }
    }

    d.deserialize_str(Text(PhantomData))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }
    };
}

id! {
    /// A credential: a public identifier and its secret versions.
    CredentialId
}
id! {
    /// A workspace: the tenant. Nothing crosses it.
    WorkspaceId
}
id! {
    /// A webhook. The credential with the same id is its secret.
    WebhookId
}
id! {
    /// One recorded event (UUID v7, made with the command that led to it).
    EventId
}
id! {
    /// A key that signs session tokens: the `kid` of what it signs.
    TokenKeyId
}
id! {
    /// An environment of a workspace.
    EnvironmentId
}
id! {
    /// A folder of an environment.
    FolderId
}
id! {
    /// How rota reaches another system.
    ConnectionId
}
id! {
    /// A credential that lives in another system and that rota rotates.
    RotationId
}
id! {
    /// One attempt to rotate a managed credential.
    AttemptId
}
id! {
    /// Many credentials that are rotated by one plan.
    CampaignId
}
id! {
    /// Where names are unique: a folder, or the connections of a workspace.
    SpaceId
}
id! {
    /// One request or job run, as it appears in logs, answers and events.
    RequestId
}

impl SpaceId {
    /// A folder, in which the names of rotations and of secrets are unique.
    pub fn folder(folder: FolderId) -> Self {
        Self(folder.0)
    }

    /// The connections of a workspace, whose names are unique.
    pub fn connections(workspace: WorkspaceId) -> Self {
        Self(Uuid::new_v5(&workspace.0, b"connections"))
    }
}

/// An event's place in the one total order: from 0, without gaps. Also its leaf index in the log.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An event's place in its own stream: from 1, without gaps.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Sequence(pub u32);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a stream is about. Observations live in streams of their own, so that noticing something never
/// makes an honest command stale.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum StreamKind {
    /// The changes of one credential.
    Credential = 1,
    /// The changes of one workspace.
    Workspace = 2,
    /// Uses of a credential's retiring secret.
    Use = 3,
    /// Refusals, by the actor who was refused.
    Refusals = 4,
    /// Destruction of sealed parts, by workspace.
    Shredding = 5,
    /// The changes of one webhook.
    Webhook = 6,
    /// The keys that sign session tokens, of the whole deployment.
    TokenKeys = 7,
    /// The changes of one connection.
    Connection = 8,
    /// The changes and attempts of one managed rotation.
    ManagedRotation = 9,
    /// Which names are held in one space.
    NameSpace = 10,
    /// The ledger as a whole.
    Ledger = 11,
    /// The environments and folders of one workspace.
    Places = 12,
    /// The ends of a credential's sessions.
    Sessions = 13,
    /// Who answers for a credential, and to which key new secrets are sealed.
    Custody = 14,
    /// The plan of one campaign, and what came of it.
    Campaign = 15,
    /// Who read of the ledger, by the actor.
    Reads = 16,
}

impl StreamKind {
    const ALL: [Self; 16] = [
        Self::Credential,
        Self::Workspace,
        Self::Use,
        Self::Refusals,
        Self::Shredding,
        Self::Webhook,
        Self::TokenKeys,
        Self::Connection,
        Self::ManagedRotation,
        Self::NameSpace,
        Self::Places,
        Self::Sessions,
        Self::Ledger,
        Self::Custody,
        Self::Campaign,
        Self::Reads,
    ];

    fn prefix(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Workspace => "workspace",
            Self::Use => "use",
            Self::Refusals => "refusals",
            Self::Shredding => "shredding",
            Self::Webhook => "webhook",
            Self::TokenKeys => "token-keys",
            Self::Places => "places",
            Self::Sessions => "sessions",
            Self::Connection => "connection",
            Self::ManagedRotation => "managed-rotation",
            Self::NameSpace => "name-space",
            Self::Ledger => "ledger",
            Self::Custody => "custody",
            Self::Campaign => "campaign",
            Self::Reads => "reads",
        }
    }
}

/// The name of a stream, written `credential/0199…`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// What the stream is about.
    pub kind: StreamKind,
    /// Whose stream it is.
    pub id: Uuid,
}

impl StreamId {
    /// The stream of a credential's changes.
    pub fn credential(id: CredentialId) -> Self {
        Self { kind: StreamKind::Credential, id: id.0 }
    }

    /// The stream of a workspace's changes.
    pub fn workspace(id: WorkspaceId) -> Self {
        Self { kind: StreamKind::Workspace, id: id.0 }
    }

    /// The stream of the keys that sign session tokens.
    pub const TOKEN_KEYS: Self = Self { kind: StreamKind::TokenKeys, id: Uuid::nil() };

    /// The stream of the ledger as a whole.
    pub const LEDGER: Self = Self { kind: StreamKind::Ledger, id: Uuid::nil() };

    /// The stream of uses of a credential's retiring secrets.
    pub fn secret_use(id: CredentialId) -> Self {
        Self { kind: StreamKind::Use, id: id.0 }
    }

    /// The stream of refusals that an actor met.
    pub fn refusals(actor: Uuid) -> Self {
        Self { kind: StreamKind::Refusals, id: actor }
    }

    /// The stream of a webhook's changes.
    pub fn webhook(id: WebhookId) -> Self {
        Self { kind: StreamKind::Webhook, id: id.0 }
    }

    /// The stream of a workspace's environments and folders.
    pub fn places(id: WorkspaceId) -> Self {
        Self { kind: StreamKind::Places, id: id.0 }
    }

    /// The stream of the ends of a credential's sessions.
    pub fn sessions(id: CredentialId) -> Self {
        Self { kind: StreamKind::Sessions, id: id.0 }
    }

    /// The stream of a connection's changes.
    pub fn connection(id: ConnectionId) -> Self {
        Self { kind: StreamKind::Connection, id: id.0 }
    }

    /// The stream of a managed rotation.
    pub fn managed_rotation(id: RotationId) -> Self {
        Self { kind: StreamKind::ManagedRotation, id: id.0 }
    }

    /// The stream of a credential's custody.
    pub fn custody(id: CredentialId) -> Self {
        Self { kind: StreamKind::Custody, id: id.0 }
    }

    /// The stream of a campaign.
    pub fn campaign(id: CampaignId) -> Self {
        Self { kind: StreamKind::Campaign, id: id.0 }
    }

    /// The stream of the names in a space.
    pub fn name_space(id: SpaceId) -> Self {
        Self { kind: StreamKind::NameSpace, id: id.0 }
    }

    /// The stream of what one actor read of the ledger.
    pub fn reads(actor: Uuid) -> Self {
        Self { kind: StreamKind::Reads, id: actor }
    }

    /// The stream of destroyed sealed parts of a workspace.
    pub fn shredding(id: WorkspaceId) -> Self {
        Self { kind: StreamKind::Shredding, id: id.0 }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.prefix(), self.id)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A stream's name that is not of the form `kind/uuid`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a stream is named kind/uuid, such as credential/01997c4e-…")]
pub struct NotAStream;

impl FromStr for StreamId {
    type Err = NotAStream;

    fn from_str(s: &str) -> Result<Self, NotAStream> {
        let (prefix, id) = s.split_once('/').ok_or(NotAStream)?;
        let kind = StreamKind::ALL.into_iter().find(|k| k.prefix() == prefix).ok_or(NotAStream)?;
        Ok(Self { kind, id: id.parse().map_err(|_| NotAStream)? })
    }
}

impl Serialize for StreamId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StreamId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        from_text(d)
    }
}

impl JsonSchema for StreamId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StreamId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let kinds = StreamKind::ALL.map(StreamKind::prefix).join("|");
        let pattern = format!("^({kinds})/[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$");
        schemars::json_schema!({ "type": "string", "pattern": pattern })
    }
}

/// A SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 64];
        for (i, byte) in self.0.iter().enumerate() {
            text[2 * i] = DIGITS[usize::from(byte >> 4)];
            text[2 * i + 1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bytes = s.as_bytes();
        if bytes.len() != 64 {
            return Err("a SHA-256 has 64 hexadecimal digits");
        }
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let mut hash = [0u8; 32];
        for (byte, pair) in hash.iter_mut().zip(bytes.chunks_exact(2)) {
            match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return Err("a SHA-256 has lower-case hexadecimal digits only"),
            }
        }
        Ok(Self(hash))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        from_text(d)
    }
}

impl JsonSchema for Hash {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sha256".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

/// The public part of an Ed25519 key, written as unpadded base64url, as JSON Web Keys have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bytes = URL_SAFE_NO_PAD.decode(s).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("a public key is 32 bytes in unpadded base64url")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        from_text(d)
    }
}

impl JsonSchema for PublicKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ed25519PublicKey".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{43}$" })
    }
}
