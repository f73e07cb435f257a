//! Pure folds of the ordered feed into read models.
//!
//! A projection takes recorded events in position order and nothing else: no I/O, no clock. So dropping one
//! and replaying gives the same bytes, and the same fold stopped at a position or a time is its *as-of*
//! form. What is kept where is the program's business: [`live`] is held in memory and written whole as a
//! snapshot; [`audit`] yields rows for an index on disk; [`credential`] is folded when somebody asks.
//!
//! - [`live`]: what verification and decisions read;
//! - [`replay_index`]: which idempotency keys were used, and for what;
//! - [`credential`]: one credential with all its versions, as people see it;
//! - [`audit`]: the dimensions by which history can be asked;
//! - [`reports`]: the auditors' questions.
#![warn(missing_docs)]

pub mod audit;
pub mod codec;
pub mod credential;
pub mod live;
pub mod public_id;
pub mod replay_index;
pub mod reports;
mod slab;

use rota_aggregates::record::{Claim, Context, Record};
use rota_aggregates::{Event, EventId, Position, Sequence, StreamId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is sealed beside an event because it may be personal: it can be erased, and every proof stays valid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The name that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The dialect's own description of the thing, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Map<String, Value>>,
    /// Why, in the caller's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The caller's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_address: Option<String>,
    /// The caller's program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

impl Details {
    /// Whether there is nothing to seal.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An event of the feed, with what of its side a projection may see.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its place in the one total order.
    pub position: Position,
    /// The event.
    pub record: Record,
    /// The keyed digest of the secret that the event brought, while it is kept.
    pub digest: Option<[u8; 32]>,
    /// The opened details, where they were asked for and are kept.
    pub details: Option<Details>,
}

impl Recorded {
    /// What a fold needs of it.
    pub fn fact(&self) -> Fact<'_> {
        Fact {
            position: self.position,
            time: self.record.time,
            sequence: self.record.sequence,
            id: self.record.id,
            stream: self.record.stream,
            context: &self.record.context,
            claim: self.record.claim,
            has_answer: self.record.sealed.answer.is_some(),
            event: &self.record.event,
            digest: self.digest,
        }
    }
}

/// A recorded event as a fold sees it, without owning it.
#[derive(Clone, Copy, Debug)]
pub struct Fact<'a> {
    /// Its place in the one total order.
    pub position: Position,
    /// When, by the ledger's clock.
    pub time: Timestamp,
    /// Its place in its stream.
    pub sequence: Sequence,
    /// Its id.
    pub id: EventId,
    /// Its stream.
    pub stream: StreamId,
    /// The circumstances.
    pub context: &'a Context,
    /// The idempotency key that it claimed.
    pub claim: Option<Claim>,
    /// Whether an answer was sealed beside it.
    pub has_answer: bool,
    /// What happened.
    pub event: &'a Event,
    /// The keyed digest of the secret that it brought.
    pub digest: Option<[u8; 32]>,
}
