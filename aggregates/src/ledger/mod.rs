//! The ledger as a whole: under which origin and with which keys its checkpoints are signed, what was lost of it,
//! and who may read all of it. Of the whole deployment.
//!
//! A new key signs beside those before it for a while, so that whoever checks checkpoints learns of it from one that
//! they can check already. Time decides when an older key stops, not the event that records it.

mod events;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::events::{
    LedgerAuditorDismissed, LedgerAuditorNamed, LedgerEvent, LedgerKeyAdded, LedgerKeyCause,
    LedgerKeyRetired, LedgerRestored, SignsUntil,
};
use crate::ids::{Hash, Position};
use crate::observation::{PartRef, SealedPart};
use crate::time::Timestamp;

/// So many keys sign at the same time.
pub const KEYS_MAX: usize = 8;
/// So many may read the tiles.
pub const AUDITORS_MAX: usize = 256;

/// A key that is to be.
#[derive(Clone, Debug)]
pub struct NewLedgerKey {
    /// The origin that it speaks for.
    pub origin: String,
    /// What its signatures are checked with.
    pub verifier_key: String,
    /// SHA-256 of its sealed private part.
    pub sealed: Hash,
}

/// What may be asked of the ledger.
#[derive(Clone, Debug)]
pub enum LedgerCommand {
    /// Make the first key.
    Begin {
        /// The key.
        key: NewLedgerKey,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Make a key that takes over from those that sign now.
    AddKey {
        /// The key.
        key: NewLedgerKey,
        /// So long the keys before it sign beside it.
        overlap_seconds: u64,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Destroy the private part of a key that signs no more.
    RetireKey {
        /// The key.
        verifier_key: String,
        /// Where its private part is.
        sealed: Option<Position>,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Go on under another origin, after events were lost that had been signed for.
    Restore {
        /// The first position whose event was lost.
        lost_from: Position,
        /// How many events the last checkpoint is over, of those that are known, and their root.
        signed: (u64, Hash),
        /// The origin under which it was signed.
        former_origin: String,
        /// The key that speaks for the new origin.
        key: NewLedgerKey,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Let somebody read the tiles.
    NameAuditor {
        /// Who.
        auditor: Uuid,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Let somebody read them no more.
    DismissAuditor {
        /// Who.
        auditor: Uuid,
        /// The time of the decision.
        now: Timestamp,
    },
}

/// Why the ledger refuses.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LedgerRefusal {
    /// There are as many keys as may sign at the same time.
    #[error("{KEYS_MAX} keys sign already; wait until one of them stops")]
    TooManyKeys,
    /// It signs still.
    #[error("the key signs still")]
    StillSigns,
    /// A key of another origin.
    #[error("the ledger's origin is {0}, and never changes but after a loss")]
    OtherOrigin(String),
    /// The origin was used before.
    #[error("the origin {0} was used before, for a history that is not this one: name another")]
    OriginUsed(String),
    /// There are as many as there may be.
    #[error("there may be at most {AUDITORS_MAX} auditors of the deployment; dismiss one first")]
    TooManyAuditors,
    /// Nobody by that id.
    #[error("there is no such auditor")]
    NoSuchAuditor,
}

/// A key that signs checkpoints, or did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LedgerKey {
    /// The origin that it speaks for.
    pub origin: String,
    /// What its signatures are checked with.
    pub verifier_key: String,
    /// From when it signs.
    pub from: Timestamp,
    /// The first instant at which it signs no more; `None` while nothing took over from it.
    pub until: Option<Timestamp>,
}

impl LedgerKey {
    /// Whether it signs at an instant.
    pub fn signs_at(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The ledger as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Every key there was, oldest first.
    pub keys: Vec<LedgerKey>,
    /// Who may read the tiles, and since when.
    pub auditors: Vec<(Uuid, Timestamp)>,
}

impl Ledger {
    /// The name of the log; `None` before the first key.
    pub fn origin(&self) -> Option<&str> {
        self.keys.last().map(|key| key.origin.as_str())
    }

    /// The keys of the present origin, oldest first.
    pub fn present_keys(&self) -> impl Iterator<Item = &LedgerKey> {
        self.keys.iter().filter(|key| Some(key.origin.as_str()) == self.origin())
    }

    /// The keys that sign at an instant, oldest first.
    pub fn signing_at(&self, now: Timestamp) -> impl Iterator<Item = &LedgerKey> {
        self.present_keys().filter(move |key| key.signs_at(now))
    }

    /// The decision: what happens, or why not. No events means that it is so already.
    pub fn decide(&self, command: LedgerCommand) -> Result<Vec<LedgerEvent>, LedgerRefusal> {
        match command {
            LedgerCommand::Begin { key, now } => {
                if self.keys.is_empty() {
                    return Ok(vec![added(key, vec![], LedgerKeyCause::First, now)]);
                }
                Ok(vec![])
            }
            LedgerCommand::AddKey { key, overlap_seconds, now } => {
                if let Some(origin) = self.origin().filter(|origin| *origin != key.origin) {
                    return Err(LedgerRefusal::OtherOrigin(origin.to_owned()));
                }
                if self.signing_at(now).count() >= KEYS_MAX {
                    return Err(LedgerRefusal::TooManyKeys);
                }
                let until = now.plus_seconds(overlap_seconds);
                Ok(vec![added(key, self.ending(now, until), LedgerKeyCause::Call, now)])
            }
            LedgerCommand::RetireKey { verifier_key, sealed, now } => {
                let key = self.keys.iter().find(|key| key.verifier_key == verifier_key);
                if key.is_some_and(|key| key.signs_at(now)) {
                    return Err(LedgerRefusal::StillSigns);
                }
                let shredded = sealed.map(|position| PartRef { position, part: SealedPart::Secret });
                let shredded = shredded.map(|part| vec![part]);
                Ok(shredded
                    .map(|shredded| LedgerKeyRetired { verifier_key, shredded, at: now }.into())
                    .into_iter()
                    .collect())
            }
            LedgerCommand::Restore { lost_from, signed, former_origin, key, now } => {
                let used = self.keys.iter().any(|known| known.origin == key.origin);
                if used || key.origin == former_origin {
                    return Err(LedgerRefusal::OriginUsed(key.origin));
                }
                let (signed_size, signed_root) = signed;
                let restored = LedgerRestored { lost_from, former_origin, signed_size, signed_root, at: now };
                let succeeds = self.ending(now, now);
                Ok(vec![restored.into(), added(key, succeeds, LedgerKeyCause::Restored, now)])
            }
            LedgerCommand::NameAuditor { auditor, now } => {
                if self.auditors.iter().any(|(known, _)| *known == auditor) {
                    return Ok(vec![]);
                }
                if self.auditors.len() >= AUDITORS_MAX {
                    return Err(LedgerRefusal::TooManyAuditors);
                }
                Ok(vec![LedgerAuditorNamed { auditor, at: now }.into()])
            }
            LedgerCommand::DismissAuditor { auditor, now } => {
                if self.auditors.iter().all(|(known, _)| *known != auditor) {
                    return Err(LedgerRefusal::NoSuchAuditor);
                }
                Ok(vec![LedgerAuditorDismissed { auditor, at: now }.into()])
            }
        }
    }

    /// The keys that sign now, with an end no later than this.
    fn ending(&self, now: Timestamp, until: Timestamp) -> Vec<SignsUntil> {
        let ends = |key: &LedgerKey| SignsUntil {
            verifier_key: key.verifier_key.clone(),
            until: key.until.map_or(until, |earlier| earlier.min(until)),
        };
        self.signing_at(now).map(ends).collect()
    }

    /// Takes in what has happened.
    pub fn evolve(&mut self, event: &LedgerEvent) {
        match event {
            LedgerEvent::LedgerKeyAdded(e) => {
                for ends in &e.succeeds {
                    let known = self.keys.iter_mut().find(|key| key.verifier_key == ends.verifier_key);
                    if let Some(key) = known {
                        key.until = Some(ends.until);
                    }
                }
                self.keys.push(LedgerKey {
                    origin: e.origin.clone(),
                    verifier_key: e.verifier_key.clone(),
                    from: e.at,
                    until: None,
                });
            }
            LedgerEvent::LedgerAuditorNamed(e) => self.auditors.push((e.auditor, e.at)),
            LedgerEvent::LedgerAuditorDismissed(e) => self.auditors.retain(|(known, _)| *known != e.auditor),
            LedgerEvent::LedgerKeyRetired(_) | LedgerEvent::LedgerRestored(_) => {}
        }
    }
}

fn added(key: NewLedgerKey, succeeds: Vec<SignsUntil>, cause: LedgerKeyCause, now: Timestamp) -> LedgerEvent {
    let NewLedgerKey { origin, verifier_key, sealed } = key;
    LedgerKeyAdded { origin, verifier_key, sealed, succeeds, cause, at: now }.into()
}

impl Aggregate for Ledger {
    const TYPE: &'static str = "ledger";
    type Command = LedgerCommand;
    type Event = LedgerEvent;
    type Error = LedgerRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: LedgerCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), LedgerRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: LedgerEvent) {
        self.evolve(&event);
    }
}
