//! The tree in streams of their own: full tiles by level, the root that was signed last, and checkpoints.
//!
//! Tiles come after the append of the events that fill them. Where a crash comes in between, a stream lacks its next
//! tile: nothing goes in behind that, and the next start writes what is missing.

use async_trait::async_trait;
use eventstore::{EventData, RecordedEvent};
use rota_aggregates::Timestamp;
use rota_aggregates::ids::Hash;
use serde::{Deserialize, Serialize};

use super::connection::Fault;
use super::{EsdbLog, Inner, PAGE};
use crate::ledger::tile::{FullTile, TileId, from_bytes, to_bytes};
use crate::log::LogError;
use crate::log::lease::Token;
use crate::log::tree::{SignedRoot, TreeStore};

/// Somebody who was overtaken tries so often again.
const ATTEMPTS: u32 = 32;
/// Tiles in one append, and in one read: each has 8 KiB.
const TILES: usize = 64;

/// A signed root as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    size: u64,
    root: Hash,
    time: Timestamp,
    token: u64,
    note: String,
}

impl From<&SignedRoot> for Written {
    fn from(signed: &SignedRoot) -> Self {
        let SignedRoot { size, root, time, note, token } = signed.clone();
        Self { size, root, time, token: token.0, note }
    }
}

fn read(event: &RecordedEvent) -> Result<SignedRoot, LogError> {
    let Written { size, root, time, token, note } = serde_json::from_slice(&event.data)
        .map_err(|_| LogError::Corrupt(format!("the stream {} holds no roots of rota's", event.stream_id)))?;
    Ok(SignedRoot { size, root, time, note, token: Token(token) })
}

impl Inner {
    fn tile_stream(&self, level: u8) -> String {
        format!("{}{level}", self.names.tiles)
    }

    /// The revision that the next event of a stream will have.
    async fn next_revision(&self, stream: &str) -> Result<u64, LogError> {
        let last = self.read_last(stream).await.map_err(Fault::unavailable)?;
        Ok(last.map_or(0, |event| event.revision + 1))
    }

    /// Appends the tiles that are next in their streams. Those that are there already, or come too early, are not.
    pub(super) async fn write_tiles(&self, tiles: &[FullTile]) -> Result<(), LogError> {
        for some in tiles.chunk_by(|a, b| a.id.level == b.id.level && a.id.index + 1 == b.id.index) {
            for some in some.chunks(TILES) {
                let stream = self.tile_stream(some[0].id.level);
                let mut events = Vec::with_capacity(some.len());
                for tile in some {
                    let event = EventData::binary("rota.tile", to_bytes(&tile.hashes).into());
                    events.push(event.id(self.new_id()?));
                }
                match self.append(&stream, some[0].id.index, events).await.result {
                    Ok(()) | Err(Fault::Elsewhere(_)) => {}
                    Err(fault) => return Err(fault.unavailable()),
                }
            }
        }
        Ok(())
    }

    async fn write_root(&self, stream: &str, next: u64, root: &SignedRoot) -> Result<bool, LogError> {
        let event = EventData::json("rota.signed", &Written::from(root)).map_err(LogError::unavailable)?;
        match self.append(stream, next, vec![event.id(self.new_id()?)]).await.result {
            Ok(()) => Ok(true),
            Err(Fault::Elsewhere(_)) => Ok(false),
            Err(fault) => Err(fault.unavailable()),
        }
    }

    async fn checkpoint(&self, revision: u64) -> Result<SignedRoot, LogError> {
        let page = self.read_page(&self.names.checkpoints, revision, 1).await.map_err(Fault::unavailable)?;
        let event = page.first();
        let event =
            event.ok_or_else(|| LogError::Corrupt(format!("the checkpoint {revision} is missing")))?;
        read(event)
    }

    /// How many kept checkpoints there are from the first on for which `before` holds: they are sorted by size and
    /// time.
    async fn count_checkpoints(&self, before: impl Fn(&SignedRoot) -> bool) -> Result<u64, LogError> {
        let (mut low, mut high) = (0, self.next_revision(&self.names.checkpoints).await?);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(&self.checkpoint(middle).await?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

#[async_trait]
impl TreeStore for EsdbLog {
    async fn tiles(&self, level: u8, from: u64, count: u64) -> Result<Vec<FullTile>, LogError> {
        let (stream, mut tiles) = (self.0.tile_stream(level), Vec::new());
        while (tiles.len() as u64) < count {
            let next = from + tiles.len() as u64;
            let wanted = TILES.min((count - tiles.len() as u64) as usize);
            let page = self.0.read_page(&stream, next, wanted).await.map_err(Fault::unavailable)?;
            let short = page.len() < wanted;
            for event in page {
                let hashes = from_bytes(&event.data)
                    .ok_or_else(|| LogError::Corrupt(format!("a tile of {stream} is cut short")))?;
                tiles.push(FullTile { id: TileId { level, index: event.revision }, hashes });
            }
            if short {
                break;
            }
        }
        Ok(tiles)
    }

    async fn count_tiles(&self, level: u8) -> Result<u64, LogError> {
        self.0.next_revision(&self.0.tile_stream(level)).await
    }

    async fn put_tiles(&self, tiles: &[FullTile]) -> Result<(), LogError> {
        self.0.write_tiles(tiles).await
    }

    async fn signed(&self) -> Result<Option<SignedRoot>, LogError> {
        let last = self.0.read_last(&self.0.names.signed).await.map_err(Fault::unavailable)?;
        last.as_ref().map(read).transpose()
    }

    async fn sign(&self, new: &SignedRoot, before: Option<u64>, keep: bool) -> Result<bool, LogError> {
        let inner = &self.0;
        let last = inner.read_last(&inner.names.signed).await.map_err(Fault::unavailable)?;
        let next = last.as_ref().map_or(0, |event| event.revision + 1);
        let last = last.as_ref().map(read).transpose()?;
        if last.as_ref().map(|last| last.size) != before || last.is_some_and(|last| last.token > new.token) {
            return Ok(false);
        }
        if next == 0 {
            inner.keep_last(&inner.names.signed).await?;
        }
        let signed = inner.write_root(&inner.names.signed, next, new).await?;
        if signed && keep {
            self.keep_checkpoint(new).await?;
        }
        Ok(signed)
    }

    async fn keep_checkpoint(&self, checkpoint: &SignedRoot) -> Result<(), LogError> {
        let inner = &self.0;
        for _ in 0..ATTEMPTS {
            let last = inner.read_last(&inner.names.checkpoints).await.map_err(Fault::unavailable)?;
            let next = last.as_ref().map_or(0, |event| event.revision + 1);
            // Sorted, so that they can be searched: what comes late is not kept.
            let last = last.as_ref().map(read).transpose()?;
            if last.is_some_and(|last| last.size > checkpoint.size || last.note == checkpoint.note) {
                return Ok(());
            }
            if inner.write_root(&inner.names.checkpoints, next, checkpoint).await? {
                return Ok(());
            }
        }
        Err(LogError::unavailable("others keep checkpoints all the time; try again"))
    }

    async fn checkpoint_at(&self, time: Timestamp) -> Result<Option<SignedRoot>, LogError> {
        let count = self.0.count_checkpoints(|kept| kept.time <= time).await?;
        match count.checked_sub(1) {
            Some(newest) => self.0.checkpoint(newest).await.map(Some),
            None => Ok(None),
        }
    }

    async fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<SignedRoot>, LogError> {
        let mut from = self.0.count_checkpoints(|kept| kept.size <= after).await?;
        let mut kept: Vec<SignedRoot> = Vec::new();
        while kept.len() < limit {
            let page = self.0.read_page(&self.0.names.checkpoints, from, PAGE).await;
            let page = page.map_err(Fault::unavailable)?;
            from += page.len() as u64;
            let ended = page.len() < PAGE;
            for event in &page {
                let checkpoint = read(event)?;
                // The last one of a size counts.
                kept.pop_if(|before| before.size == checkpoint.size);
                kept.push(checkpoint);
            }
            if ended {
                break;
            }
        }
        kept.truncate(limit);
        Ok(kept)
    }
}
