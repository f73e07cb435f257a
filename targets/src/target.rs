//! The trait of a target, and the values that cross it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use rota_aggregates::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Who chooses the secret at a target, and how many are valid at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// rota chooses; two users take turns, so that the one before stays valid until its next turn.
    TwoUsers,
    /// rota chooses; one user has two passwords at once until the older one is retired.
    TwoPasswords,
    /// rota chooses; the credential before is dead as soon as the new one is set.
    Single,
    /// The target chooses, and shows the secret once; several keys are valid until they are retired.
    Keys,
}

/// One of the two places of a managed rotation; a rotation fills the one that is not active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub u8);

impl Slot {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        Self(1 - self.0 % 2)
    }
}

/// A credential at a target: what is published, and what rota needs to end it.
#[derive(Debug)]
pub struct Credential {
    /// Not secret, in the wire's names: `username`, or `clientId` with `keyId`.
    pub public: BTreeMap<String, String>,
    /// The value of the kind's second field.
    pub secret: Secret,
}

/// What a rotation is about to do at the target; sealed and durable before anything is done there.
#[derive(Debug)]
pub enum Intent {
    /// rota chose: doing it again does the same.
    Set {
        /// The place that it is for.
        slot: Slot,
        /// What is to be valid.
        credential: Credential,
    },
    /// The target will choose: what is there and not on this list, and bears the label where there are labels, was
    /// made by this intent.
    Mint {
        /// The place that it is for.
        slot: Slot,
        /// The ids of all that exists before.
        existing: Vec<String>,
        /// Unique for each attempt.
        label: String,
    },
}

/// What a login attempt came to. No answer is a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// The credential is good.
    Accepted,
    /// The target knows that it is not: wrong, expired, locked or gone.
    Refused,
}

/// Something that the connection needs to be allowed to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Right {
    /// Such as `ALTER ROLE app_a`.
    pub name: String,
    /// Whether it is; nothing where the target can't tell without a change.
    pub held: Option<bool>,
}

/// What a rotation would do. Finding it out changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// In order, for people, with no secret.
    pub steps: Vec<String>,
    /// What it takes.
    pub rights: Vec<Right>,
}

/// The way out: names are resolved here and nowhere else, so that what may not be reached is not.
#[async_trait]
pub trait Network: Send + Sync {
    /// Addresses that may be reached, at least one.
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure>;
}

/// A system with one managed credential. Every method ends within the time-outs that it was made with.
///
/// All of them may be asked for again after a crash, and then do no harm: setting sets the same, ending what has
/// ended succeeds.
#[async_trait]
pub trait Target: Send + Sync {
    /// Reaches the target with the connection's credentials and changes nothing.
    async fn check(&self) -> Result<(), Failure>;

    /// What the next rotation would do, and whether the connection may.
    async fn plan(&self, slot: Slot) -> Result<Plan, Failure>;

    /// That there is room for one more, once `vacated` has been ended: what rota made in the place that is to be filled.
    async fn has_room(&self, _vacated: Option<&Credential>) -> Result<(), Failure> {
        Ok(())
    }

    /// What a rotation into this place will do. `current` is what the place that is active holds, `random` is fresh.
    async fn intend(
        &self,
        slot: Slot,
        current: Option<&Credential>,
        random: [u8; 32],
    ) -> Result<Intent, Failure>;

    /// Does what is intended. With the target's own choice, an attempt that was interrupted is first undone
    /// ([`Target::undo`]). `current` serves where the account changes its own password.
    async fn set(&self, intent: &Intent, current: Option<&Credential>) -> Result<Credential, Failure>;

    /// Does what is intended by the authority of the connection alone, for accounts whose password nobody knows.
    async fn reset(&self, intent: &Intent) -> Result<Credential, Failure> {
        self.set(intent, None).await
    }

    /// Logs in anew, past every cache and pool.
    async fn log_in(&self, credential: &Credential) -> Result<Login, Failure>;

    /// Removes what an interrupted attempt may have made and nobody can use, and nothing else. How many there were:
    /// none where a rotation changes what is there and makes nothing beside it.
    async fn undo(&self, _intent: &Intent, _keep: &[&Credential]) -> Result<usize, Failure> {
        Ok(0)
    }

    /// Ends a credential that was replaced and that rota made, as far as the kind has something to end; also
    /// sessions opened with it, where asked and possible. `active` must stay valid.
    async fn retire(&self, old: &Credential, active: &Credential, end_sessions: bool) -> Result<(), Failure>;

    /// Ends a credential for good, for the end of the rotation itself: nobody knows a valid one afterwards.
    async fn revoke(&self, credential: &Credential, random: [u8; 32]) -> Result<(), Failure>;

    /// When the credential was last used, in seconds since 1970, where the target knows.
    async fn last_used(&self, _credential: &Credential) -> Result<Option<i64>, Failure> {
        Ok(None)
    }
}
