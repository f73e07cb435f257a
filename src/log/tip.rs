//! The tip: the live view, the used idempotency keys and the tree's edge at the end of the log, as this process knows it.

use std::collections::{HashSet, VecDeque};

use parking_lot::{Mutex, RwLock};
use rota_aggregates::ids::Hash;
use rota_aggregates::record::{Context, Record};
use rota_aggregates::{Event, EventId, Position, Sequence, StreamId, Timestamp};
use rota_projections::live::{Live, UseMark};
use rota_projections::replay_index::ReplayIndex;
use rota_projections::{Fact, Recorded};
use tokio::sync::Notify;

use crate::ledger::tile::Edge;

/// So many events are worth the projector's while before its time.
const GATHERED: usize = 4_096;
/// Events that wait for the projector. Beyond it the projector reads them from the log.
const RECENT_MAX: usize = 16_384;
/// Use marks that go along with one commit.
const MARKS_MAX: usize = 512;

/// What this process knows about the tip of the log: exact, because only the committer moves it.
#[derive(Debug, Default)]
pub struct Tip {
    /// The live view.
    pub live: Live,
    /// The used idempotency keys.
    pub replays: ReplayIndex,
    /// The edge of the tree over the events. It is not folded: [`tree::resume`](super::tree::resume) takes it up.
    pub tree: Edge,
}

impl Tip {
    /// Takes an event in, but not its leaf.
    pub fn apply(&mut self, fact: &Fact<'_>) {
        self.live.apply(fact);
        self.replays.apply(fact);
    }

    /// Takes an event and the hash of its leaf in if it is the next one: whoever else moves the tip may have been
    /// faster. Whether it was.
    pub(super) fn apply_next(&mut self, fact: &Fact<'_>, leaf: Hash) -> bool {
        let next = fact.position == self.live.next_position();
        if next {
            self.apply(fact);
            self.grow(fact.position, leaf);
        }
        next
    }

    /// Takes a leaf into the tree if it is the next one. The tiles that it fills are written by whoever appended it.
    fn grow(&mut self, position: Position, leaf: Hash) {
        if position.0 == self.tree.size() {
            self.tree.push(leaf, &mut Vec::new());
        }
    }
}

/// An event that was just recorded, for those who follow: they need not read it back.
#[derive(Debug)]
pub struct Kept {
    pub(super) position: Position,
    pub(super) time: Timestamp,
    pub(super) sequence: Sequence,
    pub(super) id: EventId,
    pub(super) stream: StreamId,
    pub(super) context: Context,
    pub(super) event: Event,
}

impl From<Recorded> for Kept {
    fn from(recorded: Recorded) -> Self {
        let Recorded { position, record, .. } = recorded;
        let Record { time, sequence, id, stream, context, event, .. } = record;
        Self { position, time, sequence, id, stream, context, event }
    }
}

impl Kept {
    /// What a fold of everything but digests and claims sees of it.
    pub fn fact(&self) -> Fact<'_> {
        Fact {
            position: self.position,
            time: self.time,
            sequence: self.sequence,
            id: self.id,
            stream: self.stream,
            context: &self.context,
            claim: None,
            has_answer: false,
            event: &self.event,
            digest: None,
        }
    }
}

/// The tip, shared by everybody who reads it.
#[derive(Default)]
pub struct SharedTip {
    /// Never held across an await.
    pub tip: RwLock<Tip>,
    /// The last events without a gap, until the projector has taken them.
    recent: Mutex<VecDeque<Kept>>,
    /// So many events wait for the projector that it should not let more gather.
    gathered: Notify,
    /// Slots whose use is to be written down with some next commit.
    marks: Mutex<HashSet<u32>>,
}

impl SharedTip {
    /// Starts from a tip that was read before.
    pub fn new(tip: Tip) -> Self {
        Self { tip: RwLock::new(tip), ..Self::default() }
    }

    /// Takes what was recorded from a position on, as far as it is kept. Nothing is kept of what was taken.
    pub fn take_recent(&self, from: Position, limit: usize) -> Vec<Kept> {
        let mut recent = self.recent.lock();
        let passed = recent.partition_point(|kept| kept.position < from);
        recent.drain(..passed);
        if recent.front().is_none_or(|kept| kept.position != from) {
            return Vec::new();
        }
        let count = recent.len().min(limit);
        recent.drain(..count).collect()
    }

    /// Keeps events for the projector. One that lags far behind reads the log.
    pub(super) fn keep(&self, events: Vec<Kept>) {
        let mut recent = self.recent.lock();
        let gap = recent.back().zip(events.first()).is_some_and(|(a, b)| a.position.0 + 1 != b.position.0);
        if gap || recent.len() + events.len() > RECENT_MAX {
            recent.clear();
        }
        recent.extend(events);
        if recent.len() >= GATHERED {
            self.gathered.notify_one();
        }
    }

    /// Waits until many events wait for the projector. Woken for each of them it would cost more than they do.
    pub async fn gathered(&self) {
        self.gathered.notified().await;
    }

    /// Notes that a use mark changed.
    pub fn mark(&self, slot: u32) {
        self.marks.lock().insert(slot);
    }

    /// Whether use marks wait to be written down.
    pub fn has_marks(&self) -> bool {
        !self.marks.lock().is_empty()
    }

    /// Takes slots whose use is to be written down, and their marks.
    pub(super) fn take_marks(&self) -> (Vec<u32>, Vec<UseMark>) {
        let slots: Vec<u32> = {
            let mut marks = self.marks.lock();
            let taken: Vec<u32> = marks.iter().copied().take(MARKS_MAX).collect();
            for slot in &taken {
                marks.remove(slot);
            }
            taken
        };
        if slots.is_empty() {
            return (slots, Vec::new());
        }
        let tip = self.tip.read();
        let marks = slots.iter().filter_map(|slot| tip.live.use_mark_at(*slot)).collect();
        (slots, marks)
    }

    /// Puts back what could not be written down.
    pub(super) fn return_marks(&self, slots: Vec<u32>) {
        self.marks.lock().extend(slots);
    }
}
