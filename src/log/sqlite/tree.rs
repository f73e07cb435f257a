//! The tree in a SQLite file: tiles, the root that was signed last, and checkpoints.

use async_trait::async_trait;
use rota_aggregates::Timestamp;
use rota_aggregates::ids::Hash;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Row as _, SqliteConnection};

use super::statements::{TILES, TILES_MAX};
use super::{SqliteLog, begin, end};
use crate::ledger::tile::{FullTile, TileId, from_bytes, to_bytes};
use crate::log::LogError;
use crate::log::lease::Token;
use crate::log::tree::{SignedRoot, TreeStore};

/// A level has the keys from its number on times this.
const LEVEL: i64 = 1 << 56;

fn key(level: u8, index: u64) -> i64 {
    i64::from(level) * LEVEL + index as i64
}

/// Binds up to [`TILES_MAX`] tiles, and nothing for the rest.
pub(super) fn bind(arguments: &mut SqliteArguments<'_>, tiles: &[FullTile]) -> Result<(), sqlx::Error> {
    let bind = sqlx::Error::Encode;
    for tile in tiles {
        arguments.add(key(tile.id.level, tile.id.index)).map_err(bind)?;
        arguments.add(to_bytes(&tile.hashes)).map_err(bind)?;
    }
    for _ in 0..2 * TILES_MAX.saturating_sub(tiles.len()) {
        arguments.add(None::<i64>).map_err(bind)?;
    }
    Ok(())
}

/// Keeps tiles, within a transaction.
pub(super) async fn put(connection: &mut SqliteConnection, tiles: &[FullTile]) -> Result<(), sqlx::Error> {
    for some in tiles.chunks(TILES_MAX) {
        let mut arguments = SqliteArguments::default();
        bind(&mut arguments, some)?;
        sqlx::query_with(TILES, arguments).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The columns of a signed root, in the order in which [`read`] takes them.
const COLUMNS: &str = "size, root, time, token, note";

fn read(row: &SqliteRow) -> Result<SignedRoot, LogError> {
    let columns = || -> Result<_, sqlx::Error> {
        let root: Vec<u8> = row.try_get(1)?;
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

async fn keep(connection: &mut SqliteConnection, kept: &SignedRoot) -> Result<(), sqlx::Error> {
    let sql = format!(
        "INSERT INTO checkpoints ({COLUMNS}) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (size) DO UPDATE SET note = excluded.note WHERE root = excluded.root"
    );
    sqlx::query(&sql)
        .bind(kept.size as i64)
        .bind(kept.root.0.as_slice())
        .bind(kept.time.micros())
        .bind(kept.token.0 as i64)
        .bind(&kept.note)
        .execute(connection)
        .await
        .map(|_| ())
}

async fn sign(
    connection: &mut SqliteConnection,
    new: &SignedRoot,
    before: Option<u64>,
) -> Result<bool, sqlx::Error> {
    let sql = match before {
        None => "INSERT INTO signed VALUES (0, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        Some(_) => {
            "UPDATE signed SET size = ?1, root = ?2, time = ?3, token = ?4, note = ?5 \
             WHERE size = ?6 AND token <= ?4"
        }
    };
    let mut query = sqlx::query(sql)
        .bind(new.size as i64)
        .bind(new.root.0.as_slice())
        .bind(new.time.micros())
        .bind(new.token.0 as i64)
        .bind(&new.note);
    if let Some(before) = before {
        query = query.bind(before as i64);
    }
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

#[async_trait]
impl TreeStore for SqliteLog {
    async fn tiles(&self, level: u8, from: u64, count: u64) -> Result<Vec<FullTile>, LogError> {
        let rows = sqlx::query("SELECT id, hashes FROM tiles WHERE id >= ? AND id < ? ORDER BY id")
            .bind(key(level, from))
            .bind(key(level, from + count))
            .fetch_all(&self.readers)
            .await
            .map_err(LogError::unavailable)?;
        let tile = |row: &SqliteRow| {
            let columns =
                || -> Result<(i64, Vec<u8>), sqlx::Error> { Ok((row.try_get(0)?, row.try_get(1)?)) };
            let (id, bytes) = columns().map_err(LogError::unavailable)?;
            let id = TileId { level, index: (id % LEVEL) as u64 };
            let hashes =
                from_bytes(&bytes).ok_or_else(|| LogError::Corrupt("a tile is cut short".to_owned()))?;
            Ok(FullTile { id, hashes })
        };
        rows.iter().map(tile).collect()
    }

    async fn count_tiles(&self, level: u8) -> Result<u64, LogError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM tiles WHERE id >= ? AND id < ?")
            .bind(key(level, 0))
            .bind(key(level + 1, 0))
            .fetch_one(&self.readers)
            .await
            .map_err(LogError::unavailable)?;
        Ok(count as u64)
    }

    async fn put_tiles(&self, tiles: &[FullTile]) -> Result<(), LogError> {
        let mut writer = self.writer.lock().await;
        let kept = async {
            begin(&mut writer).await?;
            put(&mut writer, tiles).await
        };
        let kept = kept.await;
        end(&mut writer, kept).await
    }

    async fn signed(&self) -> Result<Option<SignedRoot>, LogError> {
        let row = sqlx::query(&format!("SELECT {COLUMNS} FROM signed")).fetch_optional(&self.readers).await;
        row.map_err(LogError::unavailable)?.as_ref().map(read).transpose()
    }

    async fn sign(&self, new: &SignedRoot, before: Option<u64>, keeps: bool) -> Result<bool, LogError> {
        let mut writer = self.writer.lock().await;
        let mut signed = false;
        let written = async {
            begin(&mut writer).await?;
            signed = sign(&mut writer, new, before).await?;
            if signed && keeps {
                keep(&mut writer, new).await?;
            }
            Ok(())
        };
        let written = written.await;
        end(&mut writer, written).await?;
        Ok(signed)
    }

    async fn keep_checkpoint(&self, checkpoint: &SignedRoot) -> Result<(), LogError> {
        let mut writer = self.writer.lock().await;
        let kept = async {
            begin(&mut writer).await?;
            keep(&mut writer, checkpoint).await
        };
        let kept = kept.await;
        end(&mut writer, kept).await
    }

    async fn checkpoint_at(&self, time: Timestamp) -> Result<Option<SignedRoot>, LogError> {
        // Times only grow with sizes, and so the newest come first whichever index is used.
        let sql = format!("SELECT {COLUMNS} FROM checkpoints WHERE time <= ? ORDER BY size DESC LIMIT 1");
        let row = sqlx::query(&sql).bind(time.micros()).fetch_optional(&self.readers).await;
        row.map_err(LogError::unavailable)?.as_ref().map(read).transpose()
    }

    async fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<SignedRoot>, LogError> {
        let sql = format!("SELECT {COLUMNS} FROM checkpoints WHERE size > ? ORDER BY size LIMIT ?");
        let rows = sqlx::query(&sql).bind(after as i64).bind(limit as i64).fetch_all(&self.readers).await;
        rows.map_err(LogError::unavailable)?.iter().map(read).collect()
    }
}
