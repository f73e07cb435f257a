//! The tree in PostgreSQL: tiles, the root that was signed last, and checkpoints.

use async_trait::async_trait;
use rota_aggregates::Timestamp;
use rota_aggregates::ids::Hash;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::{PostgresLog, patiently};
use crate::ledger::tile::{FullTile, TileId, from_bytes, to_bytes};
use crate::log::LogError;
use crate::log::lease::Token;
use crate::log::tree::{SignedRoot, TreeStore};

/// Levels, indexes and hashes, as arrays.
pub(super) fn columns(tiles: &[FullTile]) -> (Vec<i16>, Vec<i64>, Vec<Vec<u8>>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for tile in tiles {
        columns.0.push(i16::from(tile.id.level));
        columns.1.push(tile.id.index as i64);
        columns.2.push(to_bytes(&tile.hashes));
    }
    columns
}

fn tile(level: u8, row: &PgRow) -> Result<FullTile, LogError> {
    let columns = || -> Result<(i64, &[u8]), sqlx::Error> { Ok((row.try_get(0)?, row.try_get(1)?)) };
    let (index, bytes) = columns().map_err(LogError::unavailable)?;
    let hashes = from_bytes(bytes).ok_or_else(|| LogError::Corrupt("a tile is cut short".to_owned()))?;
    Ok(FullTile { id: TileId { level, index: index as u64 }, hashes })
}

fn signed(row: &PgRow) -> Result<SignedRoot, LogError> {
    let columns = || -> Result<_, sqlx::Error> {
        let root: &[u8] = row.try_get(1)?;
        Ok((row.try_get::<i64, _>(0)?, root, row.try_get(2)?, row.try_get::<i64, _>(3)?, row.try_get(4)?))
    };
    let (size, root, time, token, note) = columns().map_err(LogError::unavailable)?;
    let root = root.try_into().map_err(|_| LogError::Corrupt("a signed root has 32 bytes".to_owned()))?;
    Ok(SignedRoot {
        size: size as u64,
        root: Hash(root),
        time: Timestamp::from_micros(time),
        note,
        token: Token(token as u64),
    })
}

#[async_trait]
impl TreeStore for PostgresLog {
    async fn tiles(&self, level: u8, from: u64, count: u64) -> Result<Vec<FullTile>, LogError> {
        let tiles = sqlx::query(
            "SELECT index, hashes FROM tiles WHERE level = $1 AND index >= $2 AND index < $3 ORDER BY index",
        );
        let tiles = tiles.bind(i16::from(level)).bind(from as i64).bind((from + count) as i64);
        let rows = patiently(tiles.fetch_all(&self.readers)).await?;
        rows.iter().map(|row| tile(level, row)).collect()
    }

    async fn count_tiles(&self, level: u8) -> Result<u64, LogError> {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM tiles WHERE level = $1");
        Ok(patiently(count.bind(i16::from(level)).fetch_one(&self.readers)).await? as u64)
    }

    async fn put_tiles(&self, tiles: &[FullTile]) -> Result<(), LogError> {
        let (levels, indexes, hashes) = columns(tiles);
        let put = sqlx::query("SELECT put_tiles($1, $2, $3)").bind(levels).bind(indexes).bind(hashes);
        patiently(put.execute(&self.readers)).await.map(|_| ())
    }

    async fn signed(&self) -> Result<Option<SignedRoot>, LogError> {
        let row = sqlx::query("SELECT size, root, time, token, note FROM signed");
        patiently(row.fetch_optional(&self.readers)).await?.as_ref().map(signed).transpose()
    }

    async fn sign(&self, new: &SignedRoot, before: Option<u64>, keep: bool) -> Result<bool, LogError> {
        let sign = sqlx::query_scalar("SELECT sign_root($1, $2, $3, $4, $5, $6, $7)")
            .bind(new.size as i64)
            .bind(new.root.0.as_slice())
            .bind(new.time.micros())
            .bind(new.token.0 as i64)
            .bind(&new.note)
            .bind(before.map(|before| before as i64))
            .bind(keep);
        patiently(sign.fetch_one(&self.readers)).await
    }

    async fn keep_checkpoint(&self, checkpoint: &SignedRoot) -> Result<(), LogError> {
        let keep = sqlx::query("SELECT keep_checkpoint($1, $2, $3, $4, $5)")
            .bind(checkpoint.size as i64)
            .bind(checkpoint.root.0.as_slice())
            .bind(checkpoint.time.micros())
            .bind(checkpoint.token.0 as i64)
            .bind(&checkpoint.note);
        patiently(keep.execute(&self.readers)).await.map(|_| ())
    }

    async fn checkpoint_at(&self, time: Timestamp) -> Result<Option<SignedRoot>, LogError> {
        let newest = sqlx::query(
            "SELECT size, root, time, token, note FROM checkpoints WHERE time <= $1 \
             ORDER BY time DESC, size DESC LIMIT 1",
        );
        let row = patiently(newest.bind(time.micros()).fetch_optional(&self.readers)).await?;
        row.as_ref().map(signed).transpose()
    }

    async fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<SignedRoot>, LogError> {
        let kept = sqlx::query(
            "SELECT size, root, time, token, note FROM checkpoints WHERE size > $1 ORDER BY size LIMIT $2",
        );
        let rows = patiently(kept.bind(after as i64).bind(limit as i64).fetch_all(&self.readers)).await?;
        rows.iter().map(signed).collect()
    }
}
