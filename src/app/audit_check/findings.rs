//! What a check can find.

use rota_aggregates::ids::Hash;
use rota_aggregates::record::BadLeaf;
use rota_aggregates::{EventId, Position, StreamId, Timestamp};

use crate::ledger::check::Misfit;
use crate::ledger::note::VerifierKey;

/// Something that is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// The Merkle tree over the events.
    #[error(transparent)]
    Tree(#[from] Misfit),
    /// A tile that is none.
    #[error("tile {level}/{index} in the store is cut short")]
    NoTile {
        /// Its level.
        level: u8,
        /// Its index there.
        index: u64,
    },
    /// A tile over events that are not there.
    #[error("the ledger ends here, and tile 0/{index} in the store is over more events: they are gone")]
    TileBeyond {
        /// Its index.
        index: u64,
    },
    /// A checkpoint whose note is not of it.
    #[error("the checkpoint of {size} events that the store keeps has a note that says something else")]
    OtherNote {
        /// Of how many events.
        size: u64,
    },
    /// A checkpoint that nobody signed whom events name.
    #[error("the checkpoint of {size} events that the store keeps is signed by no key that the events name")]
    NotSigned {
        /// Of how many events.
        size: u64,
    },
    /// A position without an event.
    #[error("there is no event here, and there are later ones")]
    Gap,
    /// Bytes that are no event.
    #[error("the bytes can't be read")]
    Unreadable(#[from] BadLeaf),
    /// An event that is older than the one before it.
    #[error("its time {time} is before its predecessor's {before}")]
    TimeGoesBack {
        /// Its time.
        time: Timestamp,
        /// Its predecessor's.
        before: Timestamp,
    },
    /// An event that is not the next of its stream.
    #[error("it is number {found} of {stream}, where number {expected} was expected")]
    OutOfSequence {
        /// The stream.
        stream: StreamId,
        /// The event's number.
        found: u32,
        /// The number that would be right.
        expected: u32,
    },
    /// Two events with one id.
    #[error("its id {0} is that of an earlier event too")]
    IdTwice(EventId),
    /// A part that is not what the event says.
    #[error("the {0} beside it is not the one that was recorded: its SHA-256 is another")]
    PartDiffers(&'static str),
    /// A part that the event does not know.
    #[error("there is a {0} beside it of which the event says nothing")]
    PartUnknown(&'static str),
    /// A part that is gone without an event that says so.
    #[error("the {0} beside it is gone, and no event says that it was destroyed")]
    PartMissing(&'static str),
    /// A part that should be gone.
    #[error("the {0} beside it is still there, and an event says that it was destroyed")]
    PartNotDestroyed(&'static str),
    /// A snapshot that knows more than the log.
    #[error(
        "the ledger ends here, and a snapshot of it reaches up to {snapshot}: the events between are gone. If it was \
         restored from an older backup on purpose, delete the snapshots beside it"
    )]
    EndIsMissing {
        /// Where the snapshot ends.
        snapshot: Position,
    },
    /// A snapshot whose last event is another.
    #[error("the event before it is not the one that a snapshot was made after")]
    OtherHistory,
    /// A view that is not the fold of its events.
    #[error("the view that a snapshot has up to here is not what the events before it give")]
    SnapshotDiffers,
}

/// What was compared with a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotCheck {
    /// The snapshot up to there was compared.
    Compared(Position),
    /// There is none.
    None,
    /// It can't be read without the master key.
    NoMasterKey,
    /// There are events that can't be read, so there is nothing to compare it with.
    NotComparable,
}

/// The outcome of a check.
#[derive(Debug)]
pub struct Report {
    /// How many positions were looked at.
    pub events: u64,
    /// The time of the last event.
    pub last_time: Timestamp,
    /// The root of the Merkle tree over the events, where they are whole.
    pub root: Option<Hash>,
    /// The keys that the events name for checkpoints.
    pub named: Vec<VerifierKey>,
    /// Checkpoints that the store keeps and that were looked at.
    pub checkpoints: u64,
    /// The newest of them, as it was signed.
    pub note: Option<String>,
    /// Sealed parts that were compared with their events.
    pub parts: u64,
    /// Sealed parts that are gone, as events say.
    pub destroyed: u64,
    /// What is wrong, by position; at most so many as are worth reading.
    pub findings: Vec<(Position, Finding)>,
    /// How much is wrong.
    pub found: u64,
    /// What was compared with a snapshot.
    pub snapshot: SnapshotCheck,
}

impl Report {
    /// The first position at which something is wrong.
    pub fn first_bad(&self) -> Option<Position> {
        self.findings.first().map(|(position, _)| *position)
    }
}
