//! A log that forgets everything with the process: for tests, and for trying rota out.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use rota_aggregates::ids::Hash;
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::{CredentialId, Position, Timestamp};
use rota_projections::live::UseMark;
use tokio::sync::watch;
use uuid::Uuid;

use super::lease::{Leases, Token};
use super::tree::{SignedRoot, TreeStore};
use super::{Batch, EventLog, LogError, Page, Side, StoredEvent};
use crate::ledger::tile::{FullTile, TileId};

/// Somebody who waits for more looks again after so long.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Stored {
    events: Vec<(Vec<u8>, Side)>,
    meta: BTreeMap<String, Vec<u8>>,
    marks: BTreeMap<CredentialId, UseMark>,
    leases: BTreeMap<String, Held>,
    tiles: BTreeMap<TileId, Vec<Hash>>,
    signed: Option<SignedRoot>,
    checkpoints: BTreeMap<u64, SignedRoot>,
}

struct Held {
    holder: Uuid,
    token: Token,
    until: Instant,
}

/// The log in memory.
#[derive(Default)]
pub struct MemoryLog {
    stored: Mutex<Stored>,
    shared: bool,
    grown: watch::Sender<Position>,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty log that several services in this process use as replicas use a server.
    pub fn shared() -> Self {
        Self { shared: true, ..Self::default() }
    }
}

impl Stored {
    fn put_tiles(&mut self, tiles: &[FullTile]) {
        for tile in tiles {
            self.tiles.entry(tile.id).or_insert_with(|| tile.hashes.clone());
        }
    }
}

impl Side {
    /// Empties a part.
    pub(crate) fn shred(&mut self, part: SealedPart) {
        match part {
            SealedPart::Digest => self.digest = None,
            SealedPart::Secret => self.secret = None,
            SealedPart::Answer => self.answer = None,
            SealedPart::Details => self.details = None,
        }
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, batch: &Batch) -> Result<(), LogError> {
        let mut stored = self.stored.lock();
        let next = Position(stored.events.len() as u64);
        if batch.at != next {
            return Err(LogError::Behind { next });
        }
        stored.events.extend(batch.rows.iter().map(|row| (row.leaf.clone(), row.side.clone())));
        for part in &batch.shred {
            if let Some((_, side)) = stored.events.get_mut(part.position.0 as usize) {
                side.shred(part.part);
            }
        }
        stored.marks.extend(batch.marks.iter().map(|mark| (mark.credential, *mark)));
        stored.put_tiles(&batch.tiles);
        self.grown.send_replace(Position(stored.events.len() as u64));
        Ok(())
    }

    async fn next(&self) -> Result<Position, LogError> {
        Ok(Position(self.stored.lock().events.len() as u64))
    }

    async fn read(&self, from: Position, limit: usize) -> Result<Page, LogError> {
        let stored = self.stored.lock();
        let page = stored.events.iter().skip(from.0 as usize).take(limit);
        let leaves = page.map(|(leaf, side)| (leaf.clone(), side.digest)).collect();
        Ok(Page { first: from, leaves })
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<StoredEvent>, LogError> {
        let stored = self.stored.lock();
        let mut sorted = positions.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let found = sorted.into_iter().filter_map(|position| {
            let (leaf, side) = stored.events.get(position.0 as usize)?.clone();
            Some(StoredEvent { position, leaf, side })
        });
        Ok(found.collect())
    }

    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, LogError> {
        Ok(self.stored.lock().meta.get(name).cloned())
    }

    async fn names(&self) -> Result<Vec<String>, LogError> {
        Ok(self.stored.lock().meta.keys().cloned().collect())
    }

    async fn set_meta(&self, values: &[(&str, &[u8])]) -> Result<(), LogError> {
        let mut stored = self.stored.lock();
        stored.meta.extend(values.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())));
        Ok(())
    }

    async fn rewrap(&self, keys: &[(PartRef, Vec<u8>)]) -> Result<(), LogError> {
        let mut stored = self.stored.lock();
        for (part, key) in keys {
            let Some((_, side)) = stored.events.get_mut(part.position.0 as usize) else { continue };
            let sealed = match part.part {
                SealedPart::Digest => None,
                SealedPart::Secret => side.secret.as_mut(),
                SealedPart::Answer => side.answer.as_mut(),
                SealedPart::Details => side.details.as_mut(),
            };
            if let Some(sealed) = sealed {
                sealed.wrapped_key.clone_from(key);
            }
        }
        Ok(())
    }

    async fn use_marks(&self) -> Result<Vec<UseMark>, LogError> {
        Ok(self.stored.lock().marks.values().copied().collect())
    }

    async fn backup(&self, _: &Path) -> Result<(), LogError> {
        Err(LogError::unavailable("a log in memory has no file to copy: use a sqlite: store"))
    }

    fn is_shared(&self) -> bool {
        self.shared
    }

    async fn grown(&self, known: Position) -> bool {
        if !self.shared {
            return false;
        }
        let mut grown = self.grown.subscribe();
        // The sender lives as long as the log does.
        let _ = tokio::time::timeout(LOOK, grown.wait_for(|next| *next > known)).await;
        true
    }

    fn tree(&self) -> &dyn TreeStore {
        self
    }

    fn leases(&self) -> Option<&dyn Leases> {
        self.shared.then_some(self)
    }
}

#[async_trait]
impl TreeStore for MemoryLog {
    async fn tiles(&self, level: u8, from: u64, count: u64) -> Result<Vec<FullTile>, LogError> {
        let stored = self.stored.lock();
        let (first, end) = (TileId { level, index: from }, TileId { level, index: from + count });
        let tiles = stored.tiles.range(first..end);
        Ok(tiles.map(|(id, hashes)| FullTile { id: *id, hashes: hashes.clone() }).collect())
    }

    async fn count_tiles(&self, level: u8) -> Result<u64, LogError> {
        Ok(self.stored.lock().tiles.keys().filter(|id| id.level == level).count() as u64)
    }

    async fn put_tiles(&self, tiles: &[FullTile]) -> Result<(), LogError> {
        self.stored.lock().put_tiles(tiles);
        Ok(())
    }

    async fn signed(&self) -> Result<Option<SignedRoot>, LogError> {
        Ok(self.stored.lock().signed.clone())
    }

    async fn sign(&self, new: &SignedRoot, before: Option<u64>, keep: bool) -> Result<bool, LogError> {
        let mut stored = self.stored.lock();
        let last = stored.signed.as_ref();
        if last.map(|last| last.size) != before || last.is_some_and(|last| last.token > new.token) {
            return Ok(false);
        }
        stored.signed = Some(new.clone());
        if keep {
            stored.checkpoints.insert(new.size, new.clone());
        }
        Ok(true)
    }

    async fn keep_checkpoint(&self, checkpoint: &SignedRoot) -> Result<(), LogError> {
        self.stored.lock().checkpoints.insert(checkpoint.size, checkpoint.clone());
        Ok(())
    }

    async fn checkpoint_at(&self, time: Timestamp) -> Result<Option<SignedRoot>, LogError> {
        let stored = self.stored.lock();
        Ok(stored.checkpoints.values().rev().find(|kept| kept.time <= time).cloned())
    }

    async fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<SignedRoot>, LogError> {
        let stored = self.stored.lock();
        Ok(stored.checkpoints.range(after + 1..).take(limit).map(|(_, kept)| kept.clone()).collect())
    }
}

#[async_trait]
impl Leases for MemoryLog {
    async fn acquire(&self, name: &str, holder: Uuid, term: Duration) -> Result<Option<Token>, LogError> {
        let now = Instant::now();
        let mut stored = self.stored.lock();
        let before = stored.leases.get(name);
        if before.is_some_and(|held| held.holder != holder && now < held.until) {
            return Ok(None);
        }
        let token = match before {
            Some(held) if held.holder == holder => held.token,
            Some(held) => Token(held.token.0 + 1),
            None => Token(1),
        };
        stored.leases.insert(name.to_owned(), Held { holder, token, until: now + term });
        Ok(Some(token))
    }

    async fn release(&self, name: &str, holder: Uuid) -> Result<(), LogError> {
        let mut stored = self.stored.lock();
        if let Some(held) = stored.leases.get_mut(name).filter(|held| held.holder == holder) {
            held.until = Instant::now();
        }
        Ok(())
    }

    async fn count(&self, prefix: &str) -> Result<u64, LogError> {
        let now = Instant::now();
        let mut stored = self.stored.lock();
        stored.leases.retain(|name, held| !name.starts_with(prefix) || now < held.until);
        Ok(stored.leases.keys().filter(|name| name.starts_with(prefix)).count() as u64)
    }
}
