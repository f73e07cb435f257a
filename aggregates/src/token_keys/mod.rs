//! The keys that sign session tokens: of the whole deployment, one signing at a time.
//!
//! A new key is published before it signs, so that whoever keeps a copy of the published keys for a while knows it
//! in time, and the key before it verifies until the last token that it signed has expired. Time decides, not the
//! event that records it. The private part is sealed beside the event and destroyed when it has no use any more.

mod events;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use self::events::{Succeeded, TokenKeyCause, TokenKeyMade, TokenKeyRetired, TokenKeysEvent};
use crate::ids::{Hash, Position, PublicKey, TokenKeyId};
use crate::observation::{PartRef, SealedPart};
use crate::time::Timestamp;

/// A new key is published this long before it signs: 10 minutes.
pub const PUBLISH_SECONDS: u64 = 600;

/// What may be asked of the token keys.
#[derive(Clone, Debug)]
pub enum TokenKeysCommand {
    /// Make a key, which takes over from the one before.
    Make(MakeTokenKey),
    /// Destroy the private part of a key that signs no more.
    Retire {
        /// The key.
        key: TokenKeyId,
        /// Where its private part is.
        sealed: Option<Position>,
        /// The time of the decision.
        now: Timestamp,
    },
}

/// Make a key.
#[derive(Clone, Debug)]
pub struct MakeTokenKey {
    /// Its id.
    pub key: TokenKeyId,
    /// Its public part.
    pub public: PublicKey,
    /// SHA-256 of its sealed private part.
    pub sealed: Hash,
    /// What led to it.
    pub cause: TokenKeyCause,
    /// How long a token lives: so long the key before it verifies after its last signature.
    pub token_seconds: u64,
    /// Where the private parts of the keys are that still have one.
    pub private: Vec<(TokenKeyId, Position)>,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Why the token keys refuse.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenKeysRefusal {
    /// The last new key does not sign yet.
    #[error(
        "a new key was made already and signs from {signs_from}; name it compromised to replace it at once"
    )]
    KeyWaits {
        /// From when it signs.
        signs_from: Timestamp,
    },
    /// It is the one that signs, or will.
    #[error("the key has a use still")]
    StillSigns,
}

/// A key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenKey {
    /// Its id.
    pub id: TokenKeyId,
    /// Its public part.
    pub public: PublicKey,
    /// From when it signs.
    pub signs_from: Timestamp,
    /// The first instant at which its signatures count no more; `None` while nothing took over from it.
    pub verifies_until: Option<Timestamp>,
}

impl TokenKey {
    /// Whether a signature of it counts at an instant.
    pub fn verifies_at(&self, now: Timestamp) -> bool {
        self.verifies_until.is_none_or(|until| now < until)
    }
}

/// The keys that are of any use, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TokenKeys {
    /// The keys.
    pub keys: Vec<TokenKey>,
}

impl TokenKeys {
    /// The key that signs at an instant: the newest whose time has come.
    pub fn signing_at(&self, now: Timestamp) -> Option<&TokenKey> {
        self.keys.iter().rev().find(|key| key.signs_from <= now && key.verifies_at(now))
    }

    /// The keys whose signatures count at an instant.
    pub fn verifying_at(&self, now: Timestamp) -> impl Iterator<Item = &TokenKey> {
        self.keys.iter().filter(move |key| key.verifies_at(now))
    }

    /// A key by its id, if its signatures count at an instant.
    pub fn find_at(&self, id: TokenKeyId, now: Timestamp) -> Option<&TokenKey> {
        self.verifying_at(now).find(|key| key.id == id)
    }

    /// From when a key signs no more, because another has taken over.
    pub fn signs_until(&self, id: TokenKeyId) -> Option<Timestamp> {
        let after = self.keys.iter().position(|key| key.id == id)? + 1;
        self.keys[after..].first().map(|next| next.signs_from)
    }

    /// The decision: what happens, or why not. No events means that it is so already.
    pub fn decide(&self, command: &TokenKeysCommand) -> Result<Vec<TokenKeysEvent>, TokenKeysRefusal> {
        match command {
            TokenKeysCommand::Make(c) => self.make(c),
            TokenKeysCommand::Retire { key, sealed, now } => {
                let known = self.keys.iter().any(|known| known.id == *key);
                if known && self.signs_until(*key).is_none_or(|until| *now < until) {
                    return Err(TokenKeysRefusal::StillSigns);
                }
                Ok(sealed.map(|at| retired(*key, at, *now)).into_iter().collect())
            }
        }
    }

    fn make(&self, c: &MakeTokenKey) -> Result<Vec<TokenKeysEvent>, TokenKeysRefusal> {
        let newest = self.keys.last();
        if c.cause == TokenKeyCause::First && newest.is_some() {
            return Ok(vec![]);
        }
        let at_once = newest.is_none() || c.cause == TokenKeyCause::Compromised;
        if let Some(waits) = newest.filter(|key| key.signs_from > c.now && !at_once) {
            return Err(TokenKeysRefusal::KeyWaits { signs_from: waits.signs_from });
        }
        let signs_from = if at_once { c.now } else { c.now.plus_seconds(PUBLISH_SECONDS) };
        let mut succeeds = Vec::new();
        let mut events = Vec::new();
        if c.cause == TokenKeyCause::Compromised {
            // Whoever has one of them could sign whatever they like: none of their signatures counts any more.
            succeeds.extend(self.verifying_at(c.now).map(|k| Succeeded { key: k.id, verifies_until: c.now }));
            events.extend(c.private.iter().map(|(key, position)| retired(*key, *position, c.now)));
        } else if let Some(before) = newest {
            let verifies_until = signs_from.plus_seconds(c.token_seconds);
            succeeds.push(Succeeded { key: before.id, verifies_until });
        }
        let made = TokenKeyMade {
            key: c.key,
            public_key: c.public,
            sealed: c.sealed,
            signs_from,
            succeeds,
            cause: c.cause,
            at: c.now,
        };
        events.insert(0, made.into());
        Ok(events)
    }

    /// Takes in what has happened.
    pub fn evolve(&mut self, event: &TokenKeysEvent) {
        let TokenKeysEvent::TokenKeyMade(e) = event else { return };
        for succeeded in &e.succeeds {
            if let Some(key) = self.keys.iter_mut().find(|key| key.id == succeeded.key) {
                key.verifies_until = Some(succeeded.verifies_until);
            }
        }
        self.keys.retain(|key| key.verifies_at(e.at));
        self.keys.push(TokenKey {
            id: e.key,
            public: e.public_key,
            signs_from: e.signs_from,
            verifies_until: None,
        });
    }
}

fn retired(key: TokenKeyId, position: Position, now: Timestamp) -> TokenKeysEvent {
    let shredded = vec![PartRef { position, part: SealedPart::Secret }];
    TokenKeyRetired { key, shredded, at: now }.into()
}

impl Aggregate for TokenKeys {
    const TYPE: &'static str = "token-keys";
    type Command = TokenKeysCommand;
    type Event = TokenKeysEvent;
    type Error = TokenKeysRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: TokenKeysCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), TokenKeysRefusal> {
        for event in self.decide(&command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: TokenKeysEvent) {
        self.evolve(&event);
    }
}
