//! The views on disk: what can be asked of history without reading all of it.
//!
//! They live in a SQLite file of their own beside the ledger's, written behind it by one projector. What is newest of
//! the audit index is in memory ([`tail`]) until there is enough of it for a run ([`run`]): index and position are
//! written in one transaction, and never to a random page. Runs are merged in the background ([`runs`]). The file
//! can be deleted at any time: it is folded again.
//! Whoever reads waits until the projector has reached the position that was the log's head when the
//! request came, so that everybody reads their own writes.

mod project;
mod query;
mod run;
mod runs;
mod search;
mod tail;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use rota_aggregates::Position;
use rota_aggregates::record::Record;
use rota_projections::audit::Facet;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Executor, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, Notify, watch};

use self::project::{FOLDED, ROWS, position, take_back};
pub use self::query::{AuditQuery, ListQuery, Listed};
use self::tail::Tail;
use crate::log::migrate::migrate;
use crate::log::sqlite::{VIEWS, begin, private_file};
use crate::log::tip::SharedTip;
use crate::log::{EventLog, LogError};

/// A reader waits at most so long for the projector.
const PATIENCE: Duration = Duration::from_secs(10);
/// The projector lets events gather for so long, unless somebody waits for them.
const GATHER: Duration = Duration::from_millis(200);
/// What is in memory is written at least this often, if there is enough of it: a start after a crash must not fold for
/// long.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// So many events are.
const WORTH_WRITING: usize = 64;
/// Pages of the file that the writer keeps in memory.
const CACHE_PAGES: &str = "1024";
/// Pages of WAL after which they go into the file.
const CHECKPOINT_PAGES: &str = "1024";
/// After a failure the next attempt waits so long.
const RETRY: Duration = Duration::from_secs(1);
/// Connections that read.
const READERS: u32 = 4;

/// The views on disk.
pub struct Views {
    log: Arc<dyn EventLog>,
    tip: Arc<SharedTip>,
    /// Held by whoever folds or clears, from reading to writing: two at once would fold events twice or leave a gap.
    folding: Mutex<()>,
    writer: Mutex<SqliteConnection>,
    readers: SqlitePool,
    /// What is folded and not in the file yet.
    tail: RwLock<Tail>,
    /// The number of the next run.
    next_run: AtomicI64,
    projected: watch::Sender<Position>,
    /// Somebody waits for the projector.
    wanted: Notify,
    /// A run was written.
    written: Notify,
}

impl Views {
    /// Opens the file, makes it if it is not there. It need not be durable: what a crash takes is folded again.
    pub async fn open(path: &Path, log: Arc<dyn EventLog>, tip: Arc<SharedTip>) -> Result<Self, LogError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(10))
            .disable_statement_logging();
        private_file(path)?;
        let mut writer = options
            .clone()
            .pragma("cache_size", CACHE_PAGES)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .connect()
            .await
            .map_err(LogError::unavailable)?;
        migrate(&mut writer, VIEWS).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await
            .map_err(LogError::unavailable)?;
        let next_run = runs::tidy(&mut writer).await.map_err(LogError::unavailable)?;
        let folded = position(&mut writer, FOLDED).await?;
        if position(&mut writer, ROWS).await? > folded {
            take_back(&mut writer, folded).await.map_err(LogError::unavailable)?;
        }
        let (projected, _) = watch::channel(folded);
        let views = Self {
            log,
            tip,
            folding: Mutex::default(),
            writer: Mutex::new(writer),
            readers,
            tail: RwLock::new(Tail::at(folded)),
            next_run: AtomicI64::new(next_run),
            projected,
            wanted: Notify::new(),
            written: Notify::new(),
        };
        if !views.are_of_the_ledger().await? {
            tracing::warn!(
                "the views are of another ledger, or of a later state of this one; they are folded anew"
            );
            views.clear().await?;
        }
        Ok(views)
    }

    /// Whether the last event that was folded is the one that the ledger has there. A ledger that was restored from
    /// a backup, or put in another's place, may be shorter than the views that stand beside it, or have another
    /// history.
    async fn are_of_the_ledger(&self) -> Result<bool, LogError> {
        let Some(last) = self.projected().0.checked_sub(1).map(Position) else { return Ok(true) };
        let stored = self.log.read_at(&[last]).await?;
        let Some(stored) = stored.first() else { return Ok(false) };
        let record = Record::decode(&stored.leaf)
            .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
        let here = AuditQuery {
            // No two requests have one id.
            facets: vec![Facet::Request(record.context.request)],
            after: last.0.checked_sub(1).map(Position),
            before: Some(Position(last.0 + 1)),
            limit: 1,
            ..AuditQuery::default()
        };
        Ok(!self.audit(&here).await?.is_empty())
    }

    /// The next position to fold.
    pub fn projected(&self) -> Position {
        *self.projected.borrow()
    }

    /// Drops everything, to be folded again from the start.
    pub async fn clear(&self) -> Result<(), LogError> {
        let _folding = self.folding.lock().await;
        let mut writer = self.writer.lock().await;
        begin(&mut writer).await.map_err(LogError::unavailable)?;
        writer
            .execute(
                "DELETE FROM runs; DELETE FROM pages; DELETE FROM credentials; DELETE FROM ended_versions; \
                 DELETE FROM checkpoint; COMMIT",
            )
            .await
            .map_err(LogError::unavailable)?;
        *self.tail.write() = Tail::default();
        self.projected.send_replace(Position(0));
        Ok(())
    }

    /// Folds for ever: whatever is recorded, as it is recorded. Ends when the committer does.
    pub async fn follow(self: Arc<Self>, head: watch::Receiver<Position>) {
        tokio::select! {
            () = self.fold_for_ever(head) => {}
            () = self.merge_for_ever() => {}
        }
    }

    async fn fold_for_ever(&self, mut head: watch::Receiver<Position>) {
        let mut written = None;
        loop {
            let mut folded = self.catch_up(|_| ()).await;
            let due = written.is_none_or(|at: Instant| at.elapsed() >= WRITE_EVERY);
            if folded.is_ok() && due && self.tail.read().len() >= WORTH_WRITING {
                folded = self.flush().await;
                written = Some(Instant::now());
            }
            if let Err(error) = folded {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the views can't be written; trying again"
                );
                tokio::time::sleep(RETRY).await;
                continue;
            }
            let projected = self.projected();
            if head.wait_for(|next| *next > projected).await.is_err() {
                return;
            }
            // A batch costs much less than its events one by one.
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = self.wanted.notified() => {}
                () = self.tip.gathered() => {}
            }
        }
    }

    async fn merge_for_ever(&self) {
        loop {
            match self.merge().await {
                Ok(true) => {}
                Ok(false) => self.written.notified().await,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the views' runs can't be merged; trying again"
                    );
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Waits until everything below `position` is folded.
    pub async fn wait_for(&self, position: Position) -> Result<(), LogError> {
        let mut projected = self.projected.subscribe();
        if *projected.borrow_and_update() < position {
            self.wanted.notify_one();
        }
        match tokio::time::timeout(PATIENCE, projected.wait_for(|p| *p >= position)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(LogError::unavailable(format!(
                "the views have reached {} of {position}; try again shortly",
                self.projected()
            ))),
        }
    }
}
