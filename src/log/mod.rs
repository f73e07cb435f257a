//! The event log: the seam between rota and its store.
//!
//! # What every [`EventLog`] guarantees
//!
//! - **One total order.** Positions are dense, from 0, in commit order. A reader that remembers a position
//!   and reads on from it misses nothing and sees nothing twice.
//! - **All or nothing.** [`EventLog::append`] writes its whole batch, events and all that belongs to them,
//!   in one durable commit, or none of it.
//! - **Only at the tip.** A batch says at which position it begins. If the log has grown in between, nothing
//!   is written and the answer is [`LogError::Behind`]. So whatever the caller knows about the tip (stream
//!   versions, used keys) is exact at the instant of the write, and no second check is needed in the store.
//! - **Append-only.** No event is ever changed or removed. Sealed parts beside it can be emptied.
//! - **Durable when answered.** `Ok` means that a power cut does not lose it.
//! - **Fresh reads.** [`EventLog::next`] and [`EventLog::read`] see everything whose append was answered before
//!   they were called, whoever appended it. A [`read_index`] rests on that.
//! - **Honest about doubt.** If nobody knows whether a commit happened, the answer is
//!   [`LogError::Indeterminate`]; the caller has the store [settle](EventLog::settle) it, it never guesses.
//!
//! The [`committer`] sits above and is the only caller of `append`: it takes all waiting commands, judges
//! each against the [`tip`] and the commands before it in the batch, and commits once for all of them. On a store that
//! several processes share, [`follow`] moves the tip along with what the others append, [`read_index`] proves that
//! it is current, and [`lease`] says which of them does a job. [`tree`] is what a store keeps of the Merkle tree over
//! its events.

pub mod committer;
pub mod conformance;
#[cfg(feature = "esdb")]
pub mod esdb;
pub mod faulty;
pub mod follow;
pub mod lease;
pub mod memory;
pub mod migrate;
pub mod postgres;
pub mod read_index;
pub mod reading;
pub mod sqlite;
pub mod tip;
pub mod tree;

use async_trait::async_trait;
use rota_aggregates::observation::PartRef;
use rota_aggregates::record::{BadLeaf, Claim, Context};
use rota_aggregates::{Event, EventId, Position, Sequence, StreamId, Timestamp};
use rota_projections::live::UseMark;

use self::lease::Leases;
use self::tree::TreeStore;
use crate::ledger::tile::FullTile;
use crate::sealing::Sealed;

/// What becomes durable beside an event and can be destroyed without it.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Keyed digest of the secret that the event brings.
    pub digest: Option<[u8; 32]>,
    /// The secret itself, where it must be recoverable.
    pub secret: Option<Sealed>,
    /// The answer kept for a retry.
    pub answer: Option<Sealed>,
    /// Client address, user agent, names and free text.
    pub details: Option<Sealed>,
}

/// An event that was decided and is not recorded yet.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its id.
    pub id: EventId,
    /// Its stream.
    pub stream: StreamId,
    /// The circumstances.
    pub context: Context,
    /// What happened.
    pub event: Event,
    /// Everything of the leaf but time and sequence.
    pub body: Vec<u8>,
    /// What is kept beside it.
    pub side: Side,
}

/// What one command wants recorded: all of it or nothing.
#[derive(Clone, Debug)]
pub struct Append {
    /// The last sequence, at the decision, of every stream that the decision rests on; `None` for a stream
    /// without events. Every stream that is written to is among them.
    pub expected: Vec<(StreamId, Option<Sequence>)>,
    /// The idempotency key that the command claims; it is inside its first event.
    pub claim: Option<Claim>,
    /// The events, in order.
    pub events: Vec<NewEvent>,
    /// Sealed parts of earlier events to be destroyed in the same commit. The events say so.
    pub shred: Vec<PartRef>,
    /// When it was decided.
    pub decided_at: Timestamp,
}

/// A row of a batch: an event with its final bytes.
#[derive(Clone, Debug)]
pub struct Row {
    /// The event's id, for finding out whether it was recorded.
    pub id: EventId,
    /// The leaf's bytes.
    pub leaf: Vec<u8>,
    /// What is kept beside it.
    pub side: Side,
}

/// What is written in one commit.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The position of the first row: the log's next one.
    pub at: Position,
    /// The events, in order.
    pub rows: Vec<Row>,
    /// Sealed parts of earlier events to be destroyed.
    pub shred: Vec<PartRef>,
    /// Uses of secrets to be noted.
    pub marks: Vec<UseMark>,
    /// The tiles of the tree that the events fill.
    pub tiles: Vec<FullTile>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.shred.is_empty() && self.marks.is_empty()
    }
}

/// An event as it is stored.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its place in the one total order.
    pub position: Position,
    /// The leaf's bytes.
    pub leaf: Vec<u8>,
    /// What is kept beside it, as far as it was not destroyed.
    pub side: Side,
}

/// A page of the feed: leaves in position order, with the digests that the live view needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The position of the first leaf.
    pub first: Position,
    /// Leaf and digest of each event.
    pub leaves: Vec<(Vec<u8>, Option<[u8; 32]>)>,
}

impl Page {
    /// What of it is at a position or after it.
    fn from(mut self, position: Position) -> Self {
        let passed = position.0.saturating_sub(self.first.0).min(self.leaves.len() as u64);
        self.leaves.drain(..passed as usize);
        Self { first: Position(self.first.0 + passed), ..self }
    }
}

/// Why the log could not do it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It did not happen; it may be tried again.
    #[error("the store can't be used right now")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It may have happened.
    #[error("the store did not say whether the commit happened")]
    Indeterminate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Somebody else wrote in between; nothing of the batch is recorded.
    #[error("the log has grown to {next} in between")]
    Behind {
        /// The position that the next event will have.
        next: Position,
    },
    /// What is stored can't be right.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// An event can't be read.
    #[error("the event at position {position} can't be read")]
    BadLeaf {
        /// Where.
        position: Position,
        /// Why.
        #[source]
        source: BadLeaf,
    },
}

impl LogError {
    /// A fault of the store that left nothing behind.
    pub fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(error.into())
    }
}

/// A store of events. What it guarantees is at the top of this module.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Writes a batch in one durable commit.
    async fn append(&self, batch: &Batch) -> Result<(), LogError>;

    /// After [`LogError::Indeterminate`]: whether the batch is recorded. If not, it never will be: a store on
    /// which it could still come in late keeps it out first.
    async fn settle(&self, batch: &Batch) -> Result<bool, LogError> {
        let Some(row) = batch.rows.first() else { return Ok(false) };
        if self.next().await? <= batch.at {
            return Ok(false);
        }
        let page = self.read(batch.at, 1).await?;
        Ok(page.leaves.first().is_some_and(|(leaf, _)| *leaf == row.leaf))
    }

    /// Keeps other writers out until the next [`append`](Self::append) or [`end_turn`](Self::end_turn), or until
    /// it has lasted too long: for a writer whom others overtake. What is there from `from` on, as far as one page
    /// goes; `None` from a store that does not keep anybody out.
    async fn take_turn(&self, from: Position) -> Result<Option<Page>, LogError> {
        let _ = from;
        Ok(None)
    }

    /// Lets the others in again.
    async fn end_turn(&self) {}

    /// Waits until there may be more than `known`, or for a while: a hint, never the data. `false` at once where
    /// nobody else writes.
    async fn grown(&self, known: Position) -> bool {
        let _ = known;
        false
    }

    /// The position that the next event will have.
    async fn next(&self) -> Result<Position, LogError>;

    /// Up to `limit` leaves from `from` on.
    async fn read(&self, from: Position, limit: usize) -> Result<Page, LogError>;

    /// The events at the given positions, in ascending order, with all that is kept beside them.
    async fn read_at(&self, positions: &[Position]) -> Result<Vec<StoredEvent>, LogError>;

    /// A named value of the deployment.
    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, LogError>;

    /// The names of all named values of the deployment, sorted.
    async fn names(&self) -> Result<Vec<String>, LogError>;

    /// Sets named values of the deployment, all or none.
    async fn set_meta(&self, values: &[(&str, &[u8])]) -> Result<(), LogError>;

    /// Sets a named value if there is none. The one that is there afterwards: of several who make one at the same
    /// time, all get the same.
    async fn make_meta(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, LogError> {
        if let Some(there) = self.meta(name).await? {
            return Ok(there);
        }
        self.set_meta(&[(name, value)]).await?;
        Ok(value.to_vec())
    }

    /// The store's own clock, where it is not this machine's.
    async fn clock(&self) -> Result<Option<Timestamp>, LogError> {
        Ok(None)
    }

    /// Replaces wrapped data keys: position, part and the new wrapped key. Parts that were destroyed in the
    /// meantime stay destroyed.
    async fn rewrap(&self, keys: &[(PartRef, Vec<u8>)]) -> Result<(), LogError>;

    /// Every use mark.
    async fn use_marks(&self) -> Result<Vec<UseMark>, LogError>;

    /// Writes a consistent copy to `path`. What was destroyed is not in it, not even as remains in free pages.
    async fn backup(&self, path: &std::path::Path) -> Result<(), LogError>;

    /// Leaf bytes that one commit may have, unless one command alone has more.
    fn bytes_max(&self) -> usize {
        committer::BATCH_BYTES_MAX
    }

    /// Whether other processes may append to it at the same time.
    fn is_shared(&self) -> bool {
        false
    }

    /// Where it keeps the tree over its events.
    fn tree(&self) -> &dyn TreeStore;

    /// Who grants leases; `None` where there is nobody else who could want one.
    fn leases(&self) -> Option<&dyn Leases> {
        None
    }
}
