//! Who acts, with which right, and what proved it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::ids::{CredentialId, Hash};
use crate::time::Timestamp;

/// What a key or credential may do in its workspace. `admin` may do everything in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Role {
    /// Everything in the workspace.
    Admin = 1,
    /// Rotate secrets, and read what is to be rotated.
    Rotator = 2,
    /// Ask whether a secret is valid.
    Verifier = 4,
    /// Read credentials, their history and every event.
    Auditor = 8,
    /// Read events.
    Analyst = 16,
}

impl Role {
    /// Every role, strongest first.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Rotator, Self::Verifier, Self::Auditor, Self::Analyst];

    /// The role's name on every wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Rotator => "rotator",
            Self::Verifier => "verifier",
            Self::Auditor => "auditor",
            Self::Analyst => "analyst",
        }
    }
}

/// A set of roles, written as a list of names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Roles(u8);

impl Roles {
    /// No role: the holder may see and rotate itself, nothing else.
    pub const NONE: Self = Self(0);
    /// The role of an administrator alone.
    pub const ADMIN: Self = Self(Role::Admin as u8);

    /// Whether the set allows what `role` allows: by holding it, or by holding `admin`.
    pub fn allows(self, role: Role) -> bool {
        self.0 & (role as u8 | Role::Admin as u8) != 0
    }

    /// Whether every right of `other` is among these.
    pub fn covers(self, other: Self) -> bool {
        self.allows(Role::Admin) || self.0 & other.0 == other.0
    }

    /// The roles whose rights both sets have.
    #[must_use]
    pub fn shared_with(self, other: Self) -> Self {
        Role::ALL.into_iter().filter(|role| self.allows(*role) && other.allows(*role)).collect()
    }

    /// The set as one byte, for compact records.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set that [`Roles::bits`] gave; bits that name no role are dropped.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & 31)
    }

    /// The roles held, strongest first.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.0 & *role as u8 != 0)
    }

    /// Whether no role is held.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | role as u8))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for Roles {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Vec::<Role>::deserialize(d).map(Self::from_iter)
    }
}

impl JsonSchema for Roles {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Roles".into()
    }

    fn json_schema(g: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Vec::<Role>::json_schema(g)
    }
}

/// The kind of whoever acts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActorKind {
    /// Who runs the deployment.
    Operator,
    /// A workspace key.
    WorkspaceKey,
    /// A credential, acting for itself or with the roles that it was given.
    Credential,
    /// rota's own scheduler, acting on time.
    Scheduler,
}

/// Who acts: a pseudonym. What an id stands for is kept outside the events, where it can be erased.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// The kind of actor.
    pub kind: ActorKind,
    /// The credential that acted; the nil UUID for the operator and the scheduler.
    pub id: Uuid,
}

impl Actor {
    /// Who runs the deployment.
    pub const OPERATOR: Self = Self { kind: ActorKind::Operator, id: Uuid::nil() };
    /// rota's own scheduler.
    pub const SCHEDULER: Self = Self { kind: ActorKind::Scheduler, id: Uuid::nil() };
}

/// What proved the actor's authority.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProofKind {
    /// The operator key.
    OperatorKey,
    /// A workspace key.
    WorkspaceKey,
    /// The credential's own secret.
    Secret,
    /// A session token that was given for the credential's secret.
    Session,
    /// A signature made with the credential's secret.
    Signature,
    /// Nobody asked: the time had come.
    Schedule,
}

/// The signed request that proved a change: it opens nothing a second time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SignedRequest {
    /// When it was signed, by its signer's clock.
    pub at: Timestamp,
    /// HMAC of the signed payload under a key of the deployment's.
    pub payload: Hash,
}

/// The proof of authority under which a command is given, with the secret version that made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// What proved it.
    pub kind: ProofKind,
    /// The credential whose secret proved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    /// The version of that secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Whether that version was in its grace period.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retiring: bool,
    /// For a signature: which request it signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedRequest>,
}

impl Proof {
    /// The operator key.
    pub const OPERATOR: Self =
        Self { kind: ProofKind::OperatorKey, credential: None, version: None, retiring: false, signed: None };
    /// The scheduler's own.
    pub const SCHEDULE: Self =
        Self { kind: ProofKind::Schedule, credential: None, version: None, retiring: false, signed: None };

    /// A proof made with a version of a credential's secret.
    pub fn of(kind: ProofKind, credential: CredentialId, version: u32, retiring: bool) -> Self {
        Self { kind, credential: Some(credential), version: Some(version), retiring, signed: None }
    }

    /// The signed request that must not open anything again, with whose it is.
    pub fn once(&self) -> Option<(CredentialId, SignedRequest)> {
        self.credential.zip(self.signed)
    }

    /// The version that proved it, where `credential` itself is the one who proved it.
    pub fn own_version(&self, credential: CredentialId) -> Option<u32> {
        self.version.filter(|_| self.credential == Some(credential))
    }
}

/// The wire format through which a command came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// rota's own API.
    Native,
    /// Hopae Connect.
    Hopae,
    /// Fluide Connect.
    Fluide,
    /// Spritz integrator.
    Spritz,
    /// Infisical.
    Infisical,
    /// None: rota's own jobs.
    Internal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_covers_everybody_and_nobody_else_covers_an_admin() {
        let all: Roles = Role::ALL.into_iter().collect();
        assert!(Roles::ADMIN.covers(all));
        let others: Roles = Role::ALL.into_iter().filter(|r| *r != Role::Admin).collect();
        assert!(!others.covers(Roles::ADMIN));
        assert!(others.covers(Roles::NONE));
        let reading: Roles = [Role::Auditor, Role::Analyst].into_iter().collect();
        assert_eq!(Roles::ADMIN.shared_with(reading), reading);
        let other: Roles = [Role::Auditor, Role::Rotator].into_iter().collect();
        assert_eq!(reading.shared_with(other), [Role::Auditor].into_iter().collect());
        assert!(Roles::ADMIN.shared_with(Roles::ADMIN).allows(Role::Admin));
        assert!(Roles::ADMIN.shared_with(Roles::NONE).is_empty());
        assert!(!Roles::NONE.allows(Role::Analyst));
    }
}
