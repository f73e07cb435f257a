//! The ledger's tree as a store keeps it: the full tiles, written in the commit of the events that fill them, and
//! the roots that were signed.
//!
//! Tiles follow from the leaves. One that is missing, because an older program wrote the events or because the
//! store keeps tiles apart from them, is computed again; what a store gives back is never trusted for a signature,
//! which rests on the leaves alone.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use rota_aggregates::ids::Hash;
use rota_aggregates::{Position, Timestamp};

use super::lease::Token;
use super::{EventLog, LogError};
use crate::ledger::rfc6962::leaf_hash;
use crate::ledger::tile::{Edge, FullTile, TileId, WIDTH, tile_root};

/// Leaves that are read in one go.
const PAGE: u64 = 2_048;
/// Missing tiles that are written in one go.
const PORTION: usize = 64;
/// Tiles that are read in one go while gaps are looked for.
const STEP: u64 = 512;

/// A root that was signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedRoot {
    /// Of how many events.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// When it was signed.
    pub time: Timestamp,
    /// The signed note.
    pub note: String,
    /// Under which token: one of a deposed signer is refused.
    pub token: Token,
}

/// Where a store keeps the tree.
#[async_trait]
pub trait TreeStore: Send + Sync {
    /// Full tiles of a level, from an index on and at most so many of them in a row: those that are kept, ascending.
    async fn tiles(&self, level: u8, from: u64, count: u64) -> Result<Vec<FullTile>, LogError>;

    /// How many full tiles of a level are kept.
    async fn count_tiles(&self, level: u8) -> Result<u64, LogError>;

    /// Keeps full tiles of one level, ascending. One that is kept already stays as it is.
    async fn put_tiles(&self, tiles: &[FullTile]) -> Result<(), LogError>;

    /// The root that was signed last.
    async fn signed(&self) -> Result<Option<SignedRoot>, LogError>;

    /// Takes a root for the one that was signed last, if that has still the size `before` and no higher token, and
    /// keeps its note among the checkpoints if so asked. `false`: somebody else has signed in between.
    async fn sign(&self, new: &SignedRoot, before: Option<u64>, keep: bool) -> Result<bool, LogError>;

    /// Keeps a note among the checkpoints; one of the same size is replaced by it.
    async fn keep_checkpoint(&self, checkpoint: &SignedRoot) -> Result<(), LogError>;

    /// The newest kept checkpoint that was signed at or before an instant.
    async fn checkpoint_at(&self, time: Timestamp) -> Result<Option<SignedRoot>, LogError>;

    /// Kept checkpoints of more than `after` events, ascending by size.
    async fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<SignedRoot>, LogError>;
}

/// The first hashes of a tile, which the tree must have.
pub async fn hashes(log: &dyn EventLog, id: TileId, width: u64) -> Result<Vec<Hash>, LogError> {
    if width == WIDTH {
        let tiles = full_tiles(log, id.level, id.index, 1).await?;
        return tiles.into_iter().next().map(|tile| tile.hashes).ok_or_else(|| missing(id));
    }
    below(log, id.level, id.index * WIDTH, width).await
}

/// Full tiles in a row, which the tree must have; those that the store has not are computed.
pub async fn full_tiles(
    log: &dyn EventLog,
    level: u8,
    from: u64,
    count: u64,
) -> Result<Vec<FullTile>, LogError> {
    let mut kept = log.tree().tiles(level, from, count).await?.into_iter().peekable();
    let mut tiles = Vec::with_capacity(count as usize);
    for index in from..from + count {
        let id = TileId { level, index };
        let found = kept.next_if(|tile| tile.id == id && tile.hashes.len() as u64 == WIDTH);
        let tile = match found {
            Some(tile) => tile,
            None => FullTile { id, hashes: below(log, level, index * WIDTH, WIDTH).await? },
        };
        tiles.push(tile);
    }
    Ok(tiles)
}

type Computed<'a> = Pin<Box<dyn Future<Output = Result<Vec<Hash>, LogError>> + Send + 'a>>;

/// Hashes of a level from what lies below it: the leaves, or the full tiles of the level below.
fn below(log: &dyn EventLog, level: u8, first: u64, count: u64) -> Computed<'_> {
    Box::pin(async move {
        let mut hashes = Vec::with_capacity(count as usize);
        if let Some(lower) = level.checked_sub(1) {
            for tile in full_tiles(log, lower, first, count).await? {
                hashes.push(tile_root(&tile.hashes).ok_or_else(|| missing(tile.id))?);
            }
            return Ok(hashes);
        }
        while (hashes.len() as u64) < count {
            let next = first + hashes.len() as u64;
            let page = log.read(Position(next), (count - hashes.len() as u64).min(PAGE) as usize).await?;
            if page.leaves.is_empty() {
                return Err(LogError::Corrupt(format!("the event at position {next} is missing")));
            }
            hashes.extend(page.leaves.iter().map(|(leaf, _)| leaf_hash(leaf)));
        }
        Ok(hashes)
    })
}

fn missing(id: TileId) -> LogError {
    LogError::Corrupt(format!("the tree has no tile {} of level {}", id.index, id.level))
}

/// Takes the tree of the first `size` events up again: from the full tiles and the leaves after them, without
/// hashing what is under the tiles. Tiles that the store has not are written first: all of them for a ledger that
/// was written before there was a tree. `progress` is told how many of the events to be hashed are.
pub async fn resume(log: &dyn EventLog, size: u64, progress: impl FnMut(u64, u64)) -> Result<Edge, LogError> {
    fill(log, size, progress).await?;
    let mut open = Vec::new();
    for (id, width) in Edge::needs(size) {
        open.push(hashes(log, id, width as u64).await?);
    }
    Edge::resume(size, open).ok_or_else(|| LogError::Corrupt("the tree can't be taken up again".to_owned()))
}

/// Writes the full tiles of the first `size` events that the store has not.
pub async fn fill(log: &dyn EventLog, size: u64, mut progress: impl FnMut(u64, u64)) -> Result<(), LogError> {
    let (mut level, mut expected) = (0, size / WIDTH);
    while expected > 0 {
        let kept = log.tree().count_tiles(level).await?;
        if kept < expected {
            let total = (expected - kept) * WIDTH;
            let mut done = 0;
            for first in (0..expected).step_by(STEP as usize) {
                let count = STEP.min(expected - first);
                let there = log.tree().tiles(level, first, count).await?;
                let there: BTreeSet<u64> = there.iter().map(|tile| tile.id.index).collect();
                let absent: Vec<u64> = (first..first + count).filter(|i| !there.contains(i)).collect();
                for portion in absent.chunks(PORTION) {
                    let mut tiles = Vec::with_capacity(portion.len());
                    for &index in portion {
                        let id = TileId { level, index };
                        tiles.push(FullTile { id, hashes: below(log, level, index * WIDTH, WIDTH).await? });
                    }
                    log.tree().put_tiles(&tiles).await?;
                    done += tiles.len() as u64 * WIDTH;
                    if level == 0 {
                        progress(done, total);
                    }
                }
            }
        }
        level += 1;
        expected /= WIDTH;
    }
    Ok(())
}
