//! The log that many processes share: a PostgreSQL database, in the tables of `postgres-es`.
//!
//! - A batch is one statement and so one transaction and one round trip: a function of the schema takes the one
//!   lock, looks whether the log stands where the batch begins, and writes all of it or nothing.
//! - A single item that somebody else was faster than is written by the library, whose own transaction passes the
//!   same trigger, which takes the same lock and numbers the row.
//! - **What an error means.** An error that the server reports about a statement means that nothing happened. A
//!   connection that breaks, or a server that ends it, means that nobody knows. Then the attempt is *settled*,
//!   under the lock: if it is not there, it is put on a list of those that can't come in late.
//! - A writer whom others keep overtaking holds the lock from looking to writing: it takes a turn. A process that is
//!   stopped in the middle of one is thrown out by the server after [`url::IDLE`].
//! - Others' commits are heard of by NOTIFY, and found by looking every [`TICK`]: nothing depends on the first.

mod append;
pub mod inspect;
mod kept;
mod lease;
pub mod migrate;
mod read;
mod tree;
mod turn;
pub mod url;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cqrs_es::persist::PersistenceError;
use postgres_es::PostgresEventRepository;
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::{Position, Timestamp};
use rota_projections::live::UseMark;
use sqlx::postgres::{PgDatabaseError, PgListener, PgSeverity};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

use self::append::Attempt;
use self::kept::Kept;
use self::turn::Turn;
pub use self::url::PostgresUrl;
use super::lease::Leases;
use super::tree::TreeStore;
use super::{Batch, EventLog, LogError, Page, StoredEvent, reading};

/// Connections for reading, and for whatever is not an append.
const READERS: u32 = 8;
/// Connections for appending: one is kept, the library takes the other.
const WRITERS: u32 = 2;
/// Connections for reading that are kept.
const READERS_KEPT: usize = 2;
/// After so long somebody who follows the log looks, whether it was heard of or not.
const TICK: Duration = Duration::from_millis(250);
/// A listener that lost its connection tries again after so long.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// An answer of the server is waited for at most so long. It gives up earlier by itself; this is for a server, or a way
/// to it, that is gone without a word.
const PATIENCE: Duration = Duration::from_secs(15);

/// The log in PostgreSQL.
pub struct PostgresLog {
    url: PostgresUrl,
    readers: PgPool,
    reading: Kept,
    writing: Kept,
    repository: PostgresEventRepository,
    /// Appends go one by one.
    turn: Mutex<Option<Turn>>,
    /// The first half of the names of this process' attempts.
    origin: [u8; 8],
    attempts: AtomicU64,
    /// Whether the last append found that somebody else was faster.
    overtaken: AtomicBool,
    heard: Arc<Heard>,
    listening: JoinHandle<()>,
}

/// What was heard of the log's growth.
#[derive(Default)]
struct Heard {
    next: AtomicU64,
    /// The end of what this process appends, or has appended: word of that is no news.
    own: AtomicU64,
    wake: Notify,
}

impl Drop for PostgresLog {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl PostgresLog {
    /// Connects, and brings the schema up to date. `origin` tells this process' attempts from all others'.
    pub async fn open(url: &PostgresUrl, origin: [u8; 8]) -> Result<Self, LogError> {
        Self::migrate(url).await?;
        Self::connect(url, origin).await
    }

    /// Connects to a ledger that is there, and makes nothing.
    pub async fn open_existing(url: &PostgresUrl, origin: [u8; 8]) -> Result<Self, LogError> {
        let log = Self::connect(url, origin).await?;
        let mut connection = log.readers.acquire().await.map_err(LogError::unavailable)?;
        let there = migrate::schema(&mut connection).await.map_err(LogError::unavailable)?;
        migrate::must_be_current(there)?;
        drop(connection);
        Ok(log)
    }

    async fn connect(url: &PostgresUrl, origin: [u8; 8]) -> Result<Self, LogError> {
        let options = url.bounded().map_err(LogError::unavailable)?;
        let connect = async |connections| {
            let pool = url::pool(connections).connect_with(options.clone()).await;
            pool.map_err(LogError::unavailable)
        };
        let (readers, writers) = (connect(READERS).await?, connect(WRITERS).await?);
        let heard = Arc::new(Heard::default());
        let listening = tokio::spawn(listen(readers.clone(), Arc::clone(&heard)));
        Ok(Self {
            url: url.clone(),
            repository: PostgresEventRepository::new(writers.clone()),
            reading: Kept::new(readers.clone(), READERS_KEPT),
            readers,
            writing: Kept::new(writers, 1),
            turn: Mutex::default(),
            origin,
            attempts: AtomicU64::new(0),
            overtaken: AtomicBool::new(false),
            heard,
            listening,
        })
    }

    /// Brings the schema up to date, as whoever the address names. Nothing bounds a migration's time.
    pub async fn migrate(url: &PostgresUrl) -> Result<(), LogError> {
        let options = url.options().map_err(LogError::unavailable)?.application_name("rota");
        let connect = tokio::time::timeout(url::ACQUIRE, options.connect()).await;
        let mut connection = connect
            .map_err(|_| LogError::unavailable(format!("{url} did not answer within {:?}", url::ACQUIRE)))?
            .map_err(LogError::unavailable)?;
        let migrated = migrate::bring_up_to_date(&mut connection).await;
        // It is not needed any more, whatever becomes of it.
        let _ = connection.close().await;
        migrated
    }

    /// Where it is, without user and password.
    pub fn url(&self) -> &PostgresUrl {
        &self.url
    }

    /// The connections for reading.
    pub fn pool(&self) -> &PgPool {
        &self.readers
    }

    /// Has the library write the next batch, if it is a single item: what a lost race does.
    pub fn prefer_single_items(&self) {
        self.overtaken.store(true, Ordering::Relaxed);
    }

    fn attempt(&self, number: u64) -> Attempt {
        let mut attempt = [0; 16];
        attempt[..8].copy_from_slice(&self.origin);
        attempt[8..].copy_from_slice(&number.to_be_bytes());
        attempt
    }

    async fn write(&self, batch: &Batch) -> Result<(), LogError> {
        let mut turn = self.turn.lock().await;
        let attempt = self.attempt(self.attempts.fetch_add(1, Ordering::Relaxed) + 1);
        let overtaken = self.overtaken.swap(false, Ordering::Relaxed);
        if turn.is_none()
            && overtaken
            && append::is_single(batch)
            && let [row] = batch.rows.as_slice()
        {
            return self.write_single(batch, row, &attempt).await;
        }
        let query = append::batch(batch, &attempt)?;
        self.heard.own.store(batch.at.0 + batch.rows.len() as u64, Ordering::Relaxed);
        let written = if let Some(turn) = turn.take() {
            tokio::time::timeout(PATIENCE, turn.append(&self.writing, query)).await
        } else {
            let mut connection = self.writing.take().await.map_err(LogError::unavailable)?;
            let written = tokio::time::timeout(PATIENCE, query.fetch_one(&mut *connection)).await;
            match &written {
                Ok(Ok(_)) => self.writing.give_back(connection),
                Ok(Err(_)) => {}
                // Whatever it still says is not for the next one to hear.
                Err(_) => drop(connection.detach()),
            }
            written
        };
        let tip = written.map_err(|_| silent()).and_then(|tip| tip.map_err(outcome));
        if tip.as_ref().is_ok_and(|tip| *tip == batch.at.0 as i64) {
            return Ok(());
        }
        self.heard.own.store(0, Ordering::Relaxed);
        let tip = tip?;
        self.overtaken.store(true, Ordering::Relaxed);
        Err(LogError::Behind { next: Position(tip as u64) })
    }

    /// The way after a conflict: the library's own transaction.
    async fn write_single(&self, batch: &Batch, row: &super::Row, attempt: &Attempt) -> Result<(), LogError> {
        let persisted =
            tokio::time::timeout(PATIENCE, append::persist(&self.repository, batch, row, attempt));
        match persisted.await.map_err(|_| silent())?? {
            Ok(()) => Ok(()),
            // Whichever key it was: the log's, the stream's or a claim's.
            Err(PersistenceError::OptimisticLockError) => {
                let next = self.next().await?;
                if next != batch.at {
                    self.overtaken.store(true, Ordering::Relaxed);
                    return Err(LogError::Behind { next });
                }
                let there =
                    append::in_its_place(&self.repository, row).await.map_err(LogError::unavailable)?;
                let there = there.map_or_else(|| "a claim".to_owned(), |e| format!("a {}", e.event_type));
                Err(LogError::Corrupt(format!("{there} is where an event at {next} was to go")))
            }
            Err(PersistenceError::UnknownError(error) | PersistenceError::ConnectionError(error)) => {
                Err(match error.downcast::<sqlx::Error>() {
                    Ok(error) => outcome(*error),
                    Err(error) => LogError::Indeterminate(error),
                })
            }
            Err(error) => Err(LogError::Indeterminate(error.into())),
        }
    }
}

/// What an error says about a statement that was to write: nothing happened, or nobody knows.
fn outcome(error: sqlx::Error) -> LogError {
    let harmless = match &error {
        // A server that ends the connection may have committed before.
        sqlx::Error::Database(reported) => {
            let reported = reported.downcast_ref::<PgDatabaseError>();
            if reported.severity() == PgSeverity::Error && reported.code() == "23505" {
                return LogError::Corrupt(format!("what the batch brings is there already: {reported}"));
            }
            reported.severity() == PgSeverity::Error
        }
        sqlx::Error::Configuration(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed => true,
        _ => false,
    };
    if harmless { LogError::unavailable(error) } else { LogError::Indeterminate(error.into()) }
}

/// There was no word about a write.
fn silent() -> LogError {
    LogError::Indeterminate("the server did not answer".into())
}

/// Listens for ever. What it hears is a hint; what it misses is found by looking.
async fn listen(pool: PgPool, heard: Arc<Heard>) {
    loop {
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            let channel: String =
                sqlx::query_scalar("SELECT 'rota_events_' || ledger_number()").fetch_one(&pool).await?;
            listener.listen(&channel).await?;
            loop {
                let notification = listener.recv().await?;
                if let Ok(next) = notification.payload().parse() {
                    heard.next.fetch_max(next, Ordering::Relaxed);
                    heard.wake.notify_one();
                }
            }
        };
        let ended: Result<(), sqlx::Error> = listening.await;
        if let Err(error) = ended {
            tracing::debug!(%error, "not listening; looking every {TICK:?} all the same");
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

/// Bounds work whose loss is harmless: a server that is gone without a word must not hold anybody for ever.
pub(crate) async fn patiently<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, LogError> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(LogError::unavailable),
        Err(_) => Err(LogError::unavailable("the server did not answer")),
    }
}

async fn lock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT lock_ledger()").execute(connection).await?;
    Ok(())
}

#[async_trait]
impl EventLog for PostgresLog {
    async fn append(&self, batch: &Batch) -> Result<(), LogError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.write(batch).await
    }

    async fn settle(&self, batch: &Batch) -> Result<bool, LogError> {
        let attempt = self.attempt(self.attempts.load(Ordering::Relaxed));
        let Some(row) = batch.rows.first() else { return Ok(false) };
        let settled = sqlx::query_scalar("SELECT settle_attempt($1, $2, $3)")
            .bind(batch.at.0 as i64)
            .bind(attempt.as_slice())
            .bind(row.leaf.as_slice());
        patiently(settled.fetch_one(&self.readers)).await
    }

    async fn take_turn(&self, from: Position) -> Result<Option<Page>, LogError> {
        let mut turn = self.turn.lock().await;
        // One that is left over has lost its lock, or holds it: either way it is no use.
        drop(turn.take());
        let taken = tokio::time::timeout(PATIENCE, Turn::take(&self.writing, from, reading::PAGE)).await;
        let (taken, page) = taken.map_err(|_| LogError::unavailable("the server did not answer"))??;
        *turn = Some(taken);
        Ok(Some(page))
    }

    async fn end_turn(&self) {
        if let Some(turn) = self.turn.lock().await.take() {
            // One whose connection broke has ended.
            let _ = turn.give_up(&self.writing).await;
        }
    }

    async fn grown(&self, known: Position) -> bool {
        let heard = async {
            // Taken, not looked at: what was heard wrongly is not heard again.
            while self.heard.next.swap(0, Ordering::Relaxed)
                <= self.heard.own.load(Ordering::Relaxed).max(known.0)
            {
                self.heard.wake.notified().await;
            }
        };
        let _ = tokio::time::timeout(TICK, heard).await;
        true
    }

    async fn next(&self) -> Result<Position, LogError> {
        let next = sqlx::query_scalar("SELECT coalesce(max(position), -1) + 1 FROM events");
        let next: i64 = patiently(next.fetch_one(&self.readers)).await?;
        Ok(Position(next as u64))
    }

    async fn read(&self, from: Position, limit: usize) -> Result<Page, LogError> {
        read::page(&self.reading, from, limit).await
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<StoredEvent>, LogError> {
        read::at(&self.reading, positions).await
    }

    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, LogError> {
        let value = sqlx::query_scalar("SELECT value FROM meta WHERE name = $1").bind(name);
        patiently(value.fetch_optional(&self.readers)).await
    }

    async fn set_meta(&self, values: &[(&str, &[u8])]) -> Result<(), LogError> {
        let (names, values): (Vec<_>, Vec<_>) = values.iter().copied().unzip();
        let set = sqlx::query(
            "INSERT INTO meta SELECT * FROM unnest($1::text[], $2::bytea[]) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        );
        let set = set.bind(names).bind(values).execute(&self.readers);
        tokio::time::timeout(PATIENCE, set).await.map_err(|_| silent())?.map(|_| ()).map_err(outcome)
    }

    async fn make_meta(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, LogError> {
        let make = sqlx::query("INSERT INTO meta VALUES ($1, $2) ON CONFLICT (name) DO NOTHING");
        patiently(make.bind(name).bind(value).execute(&self.readers)).await?;
        let there = self.meta(name).await?;
        there.ok_or_else(|| LogError::Corrupt(format!("the value {name} was written and is not there")))
    }

    async fn rewrap(&self, keys: &[(PartRef, Vec<u8>)]) -> Result<(), LogError> {
        let parts = [
            (
                SealedPart::Secret,
                "UPDATE sealed SET secret_key = new.key FROM unnest($1::bigint[], $2::bytea[]) AS new (at, key) \
                 WHERE position = new.at AND secret_key IS NOT NULL",
            ),
            (
                SealedPart::Answer,
                "UPDATE sealed SET answer_key = new.key FROM unnest($1::bigint[], $2::bytea[]) AS new (at, key) \
                 WHERE position = new.at AND answer_key IS NOT NULL",
            ),
            (
                SealedPart::Details,
                "UPDATE sealed SET details_key = new.key FROM unnest($1::bigint[], $2::bytea[]) AS new (at, key) \
                 WHERE position = new.at AND details_key IS NOT NULL",
            ),
        ];
        let rewrapped = async {
            let mut transaction = self.readers.begin().await?;
            // Rows are taken in the order of the lock, as an append that shreds takes them.
            lock(&mut transaction).await?;
            for (part, sql) in parts {
                let named = || keys.iter().filter(|(named, _)| named.part == part);
                sqlx::query(sql)
                    .bind(named().map(|(part, _)| part.position.0 as i64).collect::<Vec<_>>())
                    .bind(named().map(|(_, key)| key.as_slice()).collect::<Vec<_>>())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        };
        tokio::time::timeout(PATIENCE, rewrapped).await.map_err(|_| silent())?.map_err(outcome)
    }

    async fn use_marks(&self) -> Result<Vec<UseMark>, LogError> {
        read::use_marks(&self.readers).await
    }

    async fn backup(&self, _: &Path) -> Result<(), LogError> {
        Err(LogError::unavailable(
            "a PostgreSQL store is backed up by PostgreSQL: pg_dump, or base backups and WAL for a restore to any \
             point in time",
        ))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn tree(&self) -> &dyn TreeStore {
        self
    }

    fn leases(&self) -> Option<&dyn Leases> {
        Some(self)
    }

    async fn names(&self) -> Result<Vec<String>, LogError> {
        let names = sqlx::query_scalar("SELECT name FROM meta ORDER BY name COLLATE \"C\"");
        patiently(names.fetch_all(&self.readers)).await
    }

    async fn clock(&self) -> Result<Option<Timestamp>, LogError> {
        let now = sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
        let now: i64 = patiently(now.fetch_one(&self.readers)).await?;
        Ok(Some(Timestamp::from_micros(now)))
    }
}
