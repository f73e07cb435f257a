//! What must hold from one event to the next, and of bundles of them that are looked at on all cores.

use std::collections::{HashMap, HashSet};

use rota_aggregates::record::{BadLeaf, Leaf, Record};
use rota_aggregates::{EventId, Sequence, StreamId, Timestamp};
use serde::Deserialize;

use super::findings::Finding;
use crate::ledger::check::Hashed;
use crate::ledger::note::VerifierKey;

/// The event that says which key signs.
const KEY_ADDED: &str = "rota.ledger.key-added.v1";

/// What must hold from one event to the next.
#[derive(Default)]
pub struct Trail {
    before: Timestamp,
    ids: HashSet<EventId>,
    sequences: HashMap<StreamId, Sequence>,
}

impl Trail {
    /// Looks at the next event; `find` is told what is wrong.
    pub fn take(&mut self, record: &Record, mut find: impl FnMut(Finding)) {
        if record.time < self.before {
            find(Finding::TimeGoesBack { time: record.time, before: self.before });
        }
        self.before = self.before.max(record.time);
        if !self.ids.insert(record.id) {
            find(Finding::IdTwice(record.id));
        }
        let known = self.sequences.insert(record.stream, record.sequence);
        let expected = known.unwrap_or_default().0 + 1;
        if record.sequence.0 != expected {
            let (stream, found) = (record.stream, record.sequence.0);
            find(Finding::OutOfSequence { stream, found, expected });
        }
    }

    /// The time of the last event.
    pub fn last_time(&self) -> Timestamp {
        self.before
    }
}

/// A bundle of leaves, hashed and read.
pub struct Looked {
    /// The hashes of its leaves; `None` if it is cut short.
    pub hashed: Option<Hashed>,
    /// What the leaves say, each against the schema of its type.
    pub records: Vec<Result<Record, BadLeaf>>,
}

impl Looked {
    /// Looks at a bundle, in its form with lengths.
    pub fn at_bundle(bundle: &[u8]) -> Self {
        let entries = crate::ledger::tile::entries(bundle).unwrap_or_default();
        Self { hashed: Hashed::of_bundle(bundle), records: entries.into_iter().map(Record::decode).collect() }
    }
}

/// The verifier key that an event adds to those that sign checkpoints.
pub fn added_key(leaf: &[u8]) -> Option<VerifierKey> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Added<'a> {
        verifier_key: &'a str,
    }
    let leaf = Leaf::read(leaf).ok().filter(|leaf| leaf.r#type == KEY_ADDED)?;
    let Added { verifier_key } = serde_json::from_str(leaf.data.get()).ok()?;
    verifier_key.parse().ok()
}

/// Does something with each of many things, on all cores. What came of it, in order.
pub fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(cores).max(1);
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = items
            .chunks(share)
            .map(|items| scope.spawn(move || items.iter().map(work).collect::<Vec<_>>()))
            .collect();
        // A thread that panicked has said why.
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    })
}
