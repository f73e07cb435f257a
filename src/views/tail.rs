//! The newest part of the views: folded, in memory, not in the file yet.

use rota_aggregates::{CredentialId, Position, WorkspaceId};
use rota_projections::audit::{DIMENSIONS, NO_KEY};

use super::run::Entry;

/// A version that has ended and whose digest is kept for a while.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ended {
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// When it ended, in seconds since 1970.
    pub at: i64,
    /// Whose it is.
    pub credential: CredentialId,
    /// Its number.
    pub version: u32,
}

/// What is folded and not in the file.
#[derive(Default)]
pub struct Tail {
    base: u64,
    /// The keys of the events from `base` on, a column for each dimension.
    keys: [Vec<i64>; DIMENSIONS],
    /// In order of folding.
    pub ended: Vec<Ended>,
}

impl Tail {
    /// An empty one that begins at a position.
    pub fn at(base: Position) -> Self {
        Self { base: base.0, ..Self::default() }
    }

    /// The first position that is not in the file.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// How many events it holds.
    pub fn len(&self) -> usize {
        self.keys[0].len()
    }

    /// Takes the next event's keys.
    pub fn push(&mut self, keys: [i64; DIMENSIONS]) {
        for (column, key) in self.keys.iter_mut().zip(keys) {
            column.push(key);
        }
    }

    /// The entries that go into the file.
    pub fn entries(&self) -> Vec<Entry> {
        let columns = self.keys.iter();
        let entries = columns.flat_map(|column| column.iter().copied().zip(self.base..));
        entries.filter(|(key, _)| *key != NO_KEY).collect()
    }

    /// Forgets the first events and ended versions: they are in the file.
    pub fn forget(&mut self, events: usize, ended: usize) {
        for column in &mut self.keys {
            column.drain(..events);
        }
        self.ended.drain(..ended);
        self.base += events as u64;
    }

    /// The positions from `from` up to `end`, exclusive, whose events have all these keys.
    pub fn positions(&self, keys: &[(usize, i64)], from: u64, end: u64) -> Vec<u64> {
        let Some(((dimension, key), others)) = keys.split_first() else { return Vec::new() };
        let first = (from.saturating_sub(self.base) as usize).min(self.len());
        let column = self.keys[*dimension][first..].iter().enumerate();
        let found = column.filter(|(_, at)| *at == key).map(|(offset, _)| first + offset);
        let found =
            found.filter(|at| others.iter().all(|(dimension, key)| self.keys[*dimension][*at] == *key));
        found.map(|at| self.base + at as u64).take_while(|position| *position < end).collect()
    }
}
