//! The embedded log: one SQLite file, one writer, nothing to install.
//!
//! - WAL with `synchronous=FULL`: an answered append is on the disk.
//! - A lock file beside the database is held for the life of the process: a second rota on the same file is
//!   refused, since what the committer knows about the tip is only true while it alone writes.
//! - Checkpoints run on a connection of their own, so that no commit has to pay for one; only a WAL that has
//!   grown large makes the commits wait for the last bit of it.
//! - What was destroyed is overwritten in the file (`secure_delete`); until the next checkpoint the WAL can
//!   still hold the old page, and so can older backups.

pub mod inspect;
mod migrate;
mod statements;
mod tree;

use std::fs::{File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::{CredentialId, Position};
use rota_projections::live::UseMark;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Arguments, ConnectOptions, Executor, Row as _, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, Notify};
use uuid::Uuid;

pub use self::migrate::{NOTICES, VIEWS};
pub use self::statements::ROWS_MAX;
use super::migrate::migrate;
use super::tree::TreeStore;
use super::{Batch, EventLog, LogError, Page, Side, StoredEvent};
use crate::sealing::Sealed;

/// A checkpoint is due when the WAL has grown by this many bytes.
const CHECKPOINT_BYTES: u64 = 4 << 20;
/// A WAL of so many pages (32 MiB) is made to start again.
const WAL_PAGES_MAX: i64 = 8_192;
/// A lock that somebody holds is tried so often again,
const LOCK_ATTEMPTS: u32 = 10;
/// after so long each.
const LOCK_WAIT: Duration = Duration::from_millis(100);
/// Readers at most.
const READERS: u32 = 4;

/// The embedded log.
pub struct SqliteLog {
    path: PathBuf,
    writer: Arc<Mutex<SqliteConnection>>,
    readers: SqlitePool,
    /// The position that the next event will have, as last seen by the writer.
    next: AtomicU64,
    /// Bytes appended since the last checkpoint.
    appended: Arc<AtomicU64>,
    checkpoint: Arc<Notify>,
    /// Whether something was destroyed since the last checkpoint.
    shredded: Arc<AtomicBool>,
    checkpointing: AtomicBool,
    /// Held for the life of the log.
    _lock: File,
}

/// Holds the lock beside a database file, for the life of what is returned.
pub async fn hold(path: &Path) -> Result<File, LogError> {
    let file = private_file(&beside(path, "lock"))?;
    // A rota that is on its way out still holds it for a moment.
    for _ in 0..LOCK_ATTEMPTS {
        if !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            break;
        }
        tokio::time::sleep(LOCK_WAIT).await;
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Unavailable(
            format!(
                "{} is in use by another rota process; stop that one, or talk to it with --url",
                path.display()
            )
            .into(),
        )),
        Err(TryLockError::Error(e)) => Err(LogError::unavailable(e)),
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .foreign_keys(true)
        .disable_statement_logging()
}

impl SqliteLog {
    /// Opens the file, makes it if it is not there, and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self, LogError> {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            make_private_folder(folder)?;
        }
        let lock = hold(path).await?;
        private_file(path)?;
        let options = options(path);
        let mut writer = options
            .clone()
            .statement_cache_capacity(64)
            .pragma("secure_delete", "ON")
            .pragma("wal_autocheckpoint", "0")
            .connect()
            .await
            .map_err(LogError::unavailable)?;
        migrate(&mut writer, self::migrate::LEDGER).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.clone().read_only(true))
            .await
            .map_err(LogError::unavailable)?;
        let next = next_position(&mut writer).await?;
        let log = Self {
            path: path.to_owned(),
            writer: Arc::new(Mutex::new(writer)),
            readers,
            next: AtomicU64::new(next.0),
            appended: Arc::default(),
            checkpoint: Arc::new(Notify::new()),
            shredded: Arc::default(),
            checkpointing: AtomicBool::new(false),
            _lock: lock,
        };
        Ok(log)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts the checkpointer on the current runtime. It ends with the runtime.
    pub async fn start_checkpoints(&self) -> Result<(), LogError> {
        if self.checkpointing.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let mut connection = options(&self.path)
            .pragma("wal_autocheckpoint", "0")
            .connect()
            .await
            .map_err(LogError::unavailable)?;
        let (notify, appended) = (Arc::clone(&self.checkpoint), Arc::clone(&self.appended));
        let (shredded, writer) = (Arc::clone(&self.shredded), Arc::downgrade(&self.writer));
        tokio::spawn(async move {
            loop {
                notify.notified().await;
                appended.store(0, Ordering::Relaxed);
                // The log may be gone; the task must not be what keeps its writer open.
                let Some(writer) = writer.upgrade() else { return };
                let shredded = shredded.swap(false, Ordering::Relaxed);
                if let Err(error) = checkpoint(&mut connection, &writer, shredded).await {
                    tracing::warn!(%error, "a checkpoint failed; the next one takes its work over");
                }
            }
        });
        Ok(())
    }

    async fn write(&self, writer: &mut SqliteConnection, batch: &Batch) -> Result<(), sqlx::Error> {
        let extras = !batch.shred.is_empty() || !batch.marks.is_empty();
        if batch.rows.is_empty() && !extras {
            return Ok(());
        }
        // A batch above the largest statement is still one commit: the statements share a transaction.
        if batch.rows.len() > ROWS_MAX || batch.tiles.len() > statements::TILES_MAX {
            return self.write_large(writer, batch).await;
        }
        let tiles = !batch.tiles.is_empty();
        let size = statements::size_for(batch.rows.len());
        let mut arguments = SqliteArguments::default();
        bind_rows(&mut arguments, batch.at, &batch.rows, size)?;
        if extras {
            bind_extras(&mut arguments, batch)?;
        }
        if tiles {
            tree::bind(&mut arguments, &batch.tiles)?;
        }
        sqlx::query_with(statements::append(size, extras, tiles), arguments).execute(writer).await?;
        Ok(())
    }

    async fn write_large(&self, writer: &mut SqliteConnection, batch: &Batch) -> Result<(), sqlx::Error> {
        begin(writer).await?;
        for (at, row) in (batch.at.0..).zip(&batch.rows) {
            sqlx::query("INSERT INTO events (position, leaf) VALUES (?, ?)")
                .bind(at as i64)
                .bind(row.leaf.as_slice())
                .execute(&mut *writer)
                .await?;
            let side = &row.side;
            let mut query = sqlx::query("INSERT INTO sealed VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
                .bind(at as i64)
                .bind(side.digest.map(|d| d.to_vec()));
            for sealed in [&side.secret, &side.answer, &side.details] {
                query = query.bind(sealed.as_ref().map(|s| s.ciphertext.clone()));
                query = query.bind(sealed.as_ref().map(|s| s.wrapped_key.clone()));
            }
            query.execute(&mut *writer).await?;
        }
        let mut arguments = SqliteArguments::default();
        bind_extras(&mut arguments, batch)?;
        sqlx::query_with(statements::EXTRAS, arguments).execute(&mut *writer).await?;
        tree::put(writer, &batch.tiles).await?;
        writer.execute("COMMIT").await?;
        Ok(())
    }
}

/// Copies the WAL into the file. While somebody writes it never gets to the WAL's end, and the WAL grows; one that
/// has grown large is therefore copied to its end while the writer waits. The next commit begins it anew.
async fn checkpoint(
    connection: &mut SqliteConnection,
    writer: &Mutex<SqliteConnection>,
    shredded: bool,
) -> Result<(), sqlx::Error> {
    const PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
    const TRUNCATE: &str = "PRAGMA busy_timeout = 20; PRAGMA wal_checkpoint(TRUNCATE)";
    // After a destruction the old pages in the WAL go too, unless a reader still needs it: the busy time is short,
    // since writers wait meanwhile, and the next occasion comes.
    if shredded {
        connection.execute(TRUNCATE).await?;
        return Ok(());
    }
    let row = sqlx::query(PASSIVE).fetch_one(&mut *connection).await?;
    if row.try_get::<i64, _>(1)? >= WAL_PAGES_MAX {
        let _writer = writer.lock().await;
        connection.execute(PASSIVE).await?;
    }
    Ok(())
}

/// A file that belongs to a database and is named after it, whole, so that no other database of the folder has it.
pub fn beside(database: &Path, what: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}

/// Opens a file, which is for its owner alone if it is made now. SQLite gives the modes of a database to the files
/// that it makes beside it.
pub fn private_file(path: &Path) -> Result<File, LogError> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| LogError::Unavailable(format!("can't open {}: {e}", path.display()).into()))
}

/// The folder of the store is for its owner alone.
pub fn make_private_folder(folder: &Path) -> Result<(), LogError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| LogError::Unavailable(format!("can't make {}: {e}", folder.display()).into()))
}

/// Begins a transaction, also where one was left open by a caller who went away.
///
/// These are not sqlx's transactions: SQLite ends one by itself when the disk is full or broken, and sqlx, whose
/// `ROLLBACK` then fails, would count the connection as inside a transaction for ever.
pub async fn begin(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let _ = connection.execute("ROLLBACK").await;
    connection.execute("BEGIN IMMEDIATE").await?;
    Ok(())
}

/// Commits, or rolls back if something failed.
async fn end(connection: &mut SqliteConnection, done: Result<(), sqlx::Error>) -> Result<(), LogError> {
    let ended = match done {
        Ok(()) => {
            let committed = connection.execute("COMMIT").await;
            committed.map(|_| ()).map_err(|e| LogError::Indeterminate(e.into()))
        }
        Err(error) => Err(LogError::unavailable(error)),
    };
    if ended.is_err() {
        let _ = connection.execute("ROLLBACK").await;
    }
    ended
}

async fn leaf_at(connection: &mut SqliteConnection, at: Position) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let leaf = sqlx::query_scalar("SELECT leaf FROM events WHERE position = ?").bind(at.0 as i64);
    leaf.fetch_optional(connection).await
}

async fn next_position(connection: &mut SqliteConnection) -> Result<Position, LogError> {
    let next: i64 = sqlx::query_scalar("SELECT coalesce(max(position), -1) + 1 FROM events")
        .fetch_one(connection)
        .await
        .map_err(LogError::unavailable)?;
    Ok(Position(next as u64))
}

fn bind_rows(
    arguments: &mut SqliteArguments<'_>,
    at: Position,
    rows: &[super::Row],
    size: usize,
) -> Result<(), sqlx::Error> {
    let bind = sqlx::Error::Encode;
    arguments.reserve(size * 10, 0);
    for (position, row) in (at.0..).zip(rows) {
        arguments.add(position as i64).map_err(bind)?;
        arguments.add(row.leaf.clone()).map_err(bind)?;
    }
    for _ in 0..2 * (size - rows.len()) {
        arguments.add(None::<i64>).map_err(bind)?;
    }
    for (position, row) in (at.0..).zip(rows) {
        arguments.add(position as i64).map_err(bind)?;
        arguments.add(row.side.digest.map(|d| d.to_vec())).map_err(bind)?;
        for sealed in [&row.side.secret, &row.side.answer, &row.side.details] {
            arguments.add(sealed.as_ref().map(|s| s.ciphertext.clone())).map_err(bind)?;
            arguments.add(sealed.as_ref().map(|s| s.wrapped_key.clone())).map_err(bind)?;
        }
    }
    for _ in 0..8 * (size - rows.len()) {
        arguments.add(None::<i64>).map_err(bind)?;
    }
    Ok(())
}

fn bind_extras(arguments: &mut SqliteArguments<'_>, batch: &Batch) -> Result<(), sqlx::Error> {
    for part in [SealedPart::Digest, SealedPart::Secret, SealedPart::Answer, SealedPart::Details] {
        let positions = batch.shred.iter().filter(|p| p.part == part).map(|p| p.position.0);
        let list = positions.collect::<serde_json::Value>().to_string();
        arguments.add(list).map_err(sqlx::Error::Encode)?;
    }
    let marks = batch.marks.iter().map(|mark| {
        serde_json::json!([mark.credential.0.simple().to_string(), mark.version, mark.first, mark.last])
    });
    let list = marks.collect::<serde_json::Value>().to_string();
    arguments.add(list).map_err(sqlx::Error::Encode)
}

fn sealed(row: &SqliteRow, column: usize) -> Result<Option<Sealed>, sqlx::Error> {
    let (ciphertext, wrapped_key): (Option<Vec<u8>>, Option<Vec<u8>>) =
        (row.try_get(column)?, row.try_get(column + 1)?);
    Ok(ciphertext.zip(wrapped_key).map(|(ciphertext, wrapped_key)| Sealed { wrapped_key, ciphertext }))
}

fn digest(bytes: Option<Vec<u8>>) -> Option<[u8; 32]> {
    bytes.and_then(|bytes| bytes.try_into().ok())
}

fn stored(row: &SqliteRow) -> Result<StoredEvent, sqlx::Error> {
    Ok(StoredEvent {
        position: Position(row.try_get::<i64, _>(0)? as u64),
        leaf: row.try_get(1)?,
        side: Side {
            digest: digest(row.try_get(2)?),
            secret: sealed(row, 3)?,
            answer: sealed(row, 5)?,
            details: sealed(row, 7)?,
        },
    })
}

#[async_trait]
impl EventLog for SqliteLog {
    async fn append(&self, batch: &Batch) -> Result<(), LogError> {
        let mut writer = self.writer.lock().await;
        let next = Position(self.next.load(Ordering::Acquire));
        if batch.at != next {
            return Err(LogError::Behind { next });
        }
        let end = Position(next.0 + batch.rows.len() as u64);
        if let Err(error) = self.write(&mut writer, batch).await {
            // Which of the statements failed is unknown, and so whether the last one, COMMIT, was reached.
            // The file knows: the rows are all there or none is.
            let _ = writer.execute("ROLLBACK").await;
            let Ok(now) = next_position(&mut writer).await else {
                return Err(LogError::Indeterminate(error.into()));
            };
            if now == next {
                return Err(LogError::unavailable(error));
            }
            let Ok(stored) = leaf_at(&mut writer, next).await else {
                return Err(LogError::Indeterminate(error.into()));
            };
            let ours = batch.rows.first().map(|row| &row.leaf);
            return match stored {
                Some(stored) if now == end && Some(&stored) == ours => {
                    self.next.store(end.0, Ordering::Release);
                    Ok(())
                }
                // Something that does not take the lock has written here.
                Some(stored) if Some(&stored) != ours => {
                    self.next.store(now.0, Ordering::Release);
                    Err(LogError::Behind { next: now })
                }
                _ => Err(LogError::Corrupt(format!("{now} events where {next} or {end} were expected"))),
            };
        }
        self.next.store(end.0, Ordering::Release);
        let bytes: usize = batch.rows.iter().map(|row| row.leaf.len() + 512).sum();
        let before = self.appended.fetch_add(bytes as u64, Ordering::Relaxed);
        if !batch.shred.is_empty() {
            self.shredded.store(true, Ordering::Relaxed);
        }
        if !batch.shred.is_empty() || before + bytes as u64 >= CHECKPOINT_BYTES {
            self.checkpoint.notify_one();
        }
        Ok(())
    }

    async fn next(&self) -> Result<Position, LogError> {
        let mut writer = self.writer.lock().await;
        let next = next_position(&mut writer).await?;
        self.next.store(next.0, Ordering::Release);
        Ok(next)
    }

    async fn read(&self, from: Position, limit: usize) -> Result<Page, LogError> {
        // One row for the whole page: handing rows over one by one costs more than reading them. A leaf has
        // no line feed, since JSON escapes it inside strings.
        const PAGE: &str = "SELECT count(*), min(position), max(position), group_concat(leaf, char(10)), \
            group_concat(coalesce(hex(digest), ''), ',') FROM ( \
            SELECT e.position, CAST(e.leaf AS TEXT) AS leaf, s.digest FROM events e \
            LEFT JOIN sealed s ON s.position = e.position WHERE e.position >= ? ORDER BY e.position LIMIT ?)";
        let row = sqlx::query(PAGE)
            .bind(from.0 as i64)
            .bind(limit as i64)
            .fetch_one(&self.readers)
            .await
            .map_err(LogError::unavailable)?;
        let page = || -> Result<_, sqlx::Error> {
            let count: i64 = row.try_get(0)?;
            let first: Option<i64> = row.try_get(1)?;
            let last: Option<i64> = row.try_get(2)?;
            let leaves: Option<&str> = row.try_get(3)?;
            let digests: Option<&str> = row.try_get(4)?;
            let ends = first.zip(last);
            Ok((count as usize, ends, leaves.unwrap_or_default(), digests.unwrap_or_default()))
        };
        let (count, ends, leaves, digests) = page().map_err(LogError::unavailable)?;
        if count == 0 {
            return Ok(Page { first: from, leaves: Vec::new() });
        }
        let pairs: Vec<_> = leaves
            .split('\n')
            .zip(digests.split(','))
            .map(|(leaf, digest)| (leaf.as_bytes().to_vec(), unhex(digest)))
            .collect();
        let dense = (from.0 as i64, from.0 as i64 + count as i64 - 1);
        if ends != Some(dense) || pairs.len() != count {
            return Err(LogError::Corrupt(format!("the events from position {from} on are not dense")));
        }
        Ok(Page { first: from, leaves: pairs })
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<StoredEvent>, LogError> {
        const AT: &str = "SELECT e.position, e.leaf, s.digest, s.secret, s.secret_key, s.answer, s.answer_key, \
            s.details, s.details_key FROM events e LEFT JOIN sealed s ON s.position = e.position \
            WHERE e.position IN (SELECT value FROM json_each(?)) ORDER BY e.position";
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let list = positions.iter().map(|p| p.0).collect::<serde_json::Value>().to_string();
        let rows =
            sqlx::query(AT).bind(list).fetch_all(&self.readers).await.map_err(LogError::unavailable)?;
        rows.iter().map(|row| stored(row).map_err(LogError::unavailable)).collect()
    }

    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, LogError> {
        sqlx::query_scalar("SELECT value FROM meta WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.readers)
            .await
            .map_err(LogError::unavailable)
    }

    async fn names(&self) -> Result<Vec<String>, LogError> {
        sqlx::query_scalar("SELECT name FROM meta ORDER BY name")
            .fetch_all(&self.readers)
            .await
            .map_err(LogError::unavailable)
    }

    async fn set_meta(&self, values: &[(&str, &[u8])]) -> Result<(), LogError> {
        let mut writer = self.writer.lock().await;
        let set = async {
            begin(&mut writer).await?;
            for (name, value) in values {
                sqlx::query(
                    "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                )
                .bind(name)
                .bind(*value)
                .execute(&mut *writer)
                .await?;
            }
            Ok(())
        };
        let set = set.await;
        end(&mut writer, set).await
    }

    async fn rewrap(&self, keys: &[(PartRef, Vec<u8>)]) -> Result<(), LogError> {
        let mut writer = self.writer.lock().await;
        let wrapped = async {
            begin(&mut writer).await?;
            for (part, key) in keys {
                let sql = match part.part {
                    SealedPart::Digest => continue,
                    SealedPart::Secret => {
                        "UPDATE sealed SET secret_key = ? WHERE position = ? AND secret_key NOT NULL"
                    }
                    SealedPart::Answer => {
                        "UPDATE sealed SET answer_key = ? WHERE position = ? AND answer_key NOT NULL"
                    }
                    SealedPart::Details => {
                        "UPDATE sealed SET details_key = ? WHERE position = ? AND details_key NOT NULL"
                    }
                };
                sqlx::query(sql)
                    .bind(key.as_slice())
                    .bind(part.position.0 as i64)
                    .execute(&mut *writer)
                    .await?;
            }
            Ok(())
        };
        let wrapped = wrapped.await;
        end(&mut writer, wrapped).await
    }

    async fn use_marks(&self) -> Result<Vec<UseMark>, LogError> {
        let rows = sqlx::query("SELECT credential, version, first_used, last_used FROM secret_use")
            .fetch_all(&self.readers)
            .await
            .map_err(LogError::unavailable)?;
        let marks = rows.iter().filter_map(|row| {
            let id: Vec<u8> = row.try_get(0).ok()?;
            Some(UseMark {
                credential: CredentialId(Uuid::from_slice(&id).ok()?),
                version: row.try_get(1).ok()?,
                first: row.try_get(2).ok()?,
                last: row.try_get(3).ok()?,
            })
        });
        Ok(marks.collect())
    }

    fn tree(&self) -> &dyn TreeStore {
        self
    }

    async fn backup(&self, path: &Path) -> Result<(), LogError> {
        if path.exists() {
            return Err(LogError::Unavailable(format!("{} exists already", path.display()).into()));
        }
        let target = path.to_str().ok_or_else(|| LogError::unavailable("the path is not UTF-8"))?;
        let mut reader = self.readers.acquire().await.map_err(LogError::unavailable)?;
        sqlx::query("VACUUM INTO ?")
            .bind(target)
            .execute(&mut *reader)
            .await
            .map_err(LogError::unavailable)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(LogError::unavailable)?;
        File::open(path).and_then(|f| f.sync_all()).map_err(LogError::unavailable)
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    let mut digest = [0u8; 32];
    for (byte, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'A'..=b'F' => Some(b - b'A' + 10),
            _ => None,
        };
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(digest)
}
