//! Custody: who answers for a credential, and to which key its owner wants new secrets sealed.
//!
//! A credential's owner is a credential of the same workspace: as a rule the workspace key of the team that answers for
//! it. Whoever has no owner is its own. An owner's *recipient* is the public half of an age key, whose private half
//! rota never sees: what a [campaign](crate::campaign) makes is handed over under it and can be read by nobody else.
//!
//! It is a stream of its own beside the credential's: setting it makes no honest rotation stale.

use std::fmt;
use std::str::FromStr;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{CredentialId, from_text};
use crate::time::Timestamp;

/// Characters of a recipient: `age1`, 52 of the key and 6 of a checksum.
const RECIPIENT_CHARS: usize = 62;
/// The characters of Bech32.
const BECH32: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// The public half of an age key (X25519), as `age-keygen` prints it: `age1…`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Recipient(String);

impl Recipient {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Recipient {
    type Err = &'static str;

    /// Checks the form. Whether the checksum fits is for whoever seals with it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("age1").map(str::as_bytes);
        let fits =
            rest.is_some_and(|rest| text.len() == RECIPIENT_CHARS && rest.iter().all(|b| BECH32.contains(b)));
        if fits { Ok(Self(text.to_owned())) } else { Err("must be an age public key, such as age1…") }
    }
}

impl Serialize for Recipient {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        from_text(d)
    }
}

impl JsonSchema for Recipient {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AgeRecipient".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^age1[02-9ac-hj-np-z]{58}$" })
    }
}

crate::event::events! {
    /// What has happened to the custody of a credential.
    CustodyEvent {
        /// Somebody else answers for it from now on.
        OwnerSet = "rota.custody.owner-set.v1",
        /// New secrets for it as an owner are sealed to another key from now on.
        RecipientSet = "rota.custody.recipient-set.v1",
    }
}

/// Somebody else answers for the credential from now on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnerSet {
    /// The credential.
    pub credential: CredentialId,
    /// Its owner, a credential of the same workspace; absent where it is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<CredentialId>,
    /// When it was decided.
    pub at: Timestamp,
}

/// The key was set that new secrets for this owner are sealed to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecipientSet {
    /// The owner.
    pub credential: CredentialId,
    /// The public age key; absent where it was withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
    /// When it was decided.
    pub at: Timestamp,
}

/// What may be asked of the custody of a credential.
#[derive(Clone, Debug)]
pub enum CustodyCommand {
    /// Say who answers for it; `None`: it is its own owner.
    SetOwner {
        /// The credential.
        credential: CredentialId,
        /// Its owner.
        owner: Option<CredentialId>,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Say to which key new secrets for it as an owner are sealed; `None`: to none.
    SetRecipient {
        /// The owner.
        credential: CredentialId,
        /// The key.
        recipient: Option<Recipient>,
        /// The time of the decision.
        now: Timestamp,
    },
}

/// No command to the custody of a credential is refused: who may give it, and whether the owner is there, is known
/// outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CustodyRefusal {}

/// The custody of a credential.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Custody {
    /// Who answers for it; `None`: it is its own owner.
    pub owner: Option<CredentialId>,
    /// The key to which new secrets for it as an owner are sealed.
    pub recipient: Option<Recipient>,
    /// Since when that is the key.
    pub recipient_since: Option<Timestamp>,
}

impl Custody {
    /// The decision; no event means that it is so already.
    pub fn decide(&self, command: CustodyCommand) -> Option<CustodyEvent> {
        match command {
            CustodyCommand::SetOwner { credential, owner, now } => {
                let owner = owner.filter(|owner| *owner != credential);
                (owner != self.owner).then(|| OwnerSet { credential, owner, at: now }.into())
            }
            CustodyCommand::SetRecipient { credential, recipient, now } => {
                (recipient != self.recipient).then(|| RecipientSet { credential, recipient, at: now }.into())
            }
        }
    }

    /// Takes in what has happened.
    pub fn evolve(&mut self, event: &CustodyEvent) {
        match event {
            CustodyEvent::OwnerSet(e) => self.owner = e.owner,
            CustodyEvent::RecipientSet(e) => {
                self.recipient.clone_from(&e.recipient);
                self.recipient_since = e.recipient.is_some().then_some(e.at);
            }
        }
    }
}

impl Aggregate for Custody {
    const TYPE: &'static str = "custody";
    type Command = CustodyCommand;
    type Event = CustodyEvent;
    type Error = CustodyRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: CustodyCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), CustodyRefusal> {
        if let Some(event) = self.decide(command) {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: CustodyEvent) {
        self.evolve(&event);
    }
}
