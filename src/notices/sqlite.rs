//! The embedded form of [`NoticeStore`]: a SQLite file beside the ledger's.
//!
//! WAL with `synchronous=NORMAL`: a crash of the process loses nothing. A power cut may take the last moments
//! back, the cursor with the deliveries, and so costs repeats and no notice.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use rota_aggregates::{Position, Timestamp, WebhookId};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Executor, QueryBuilder, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::row::{COLUMNS, bytes, delivery, health, waiting};
use super::store::{
    Attempt, Change, Delivery, Health, KEPT_MAX, NewDelivery, NoticeStore, Outcome, State, Waiting, settled,
};
use crate::log::LogError;
use crate::log::migrate::migrate;
use crate::log::sqlite::{NOTICES, begin, private_file};

/// Readers at most.
const READERS: u32 = 2;
/// Deliveries in a SQLite file.
pub struct SqliteNotices {
    writer: Mutex<SqliteConnection>,
    readers: SqlitePool,
}

impl SqliteNotices {
    /// Opens the file, makes it if it is not there.
    pub async fn open(path: &Path) -> Result<Self, LogError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(10))
            .disable_statement_logging();
        private_file(path)?;
        let writer = options.clone().connect().await;
        let mut writer = writer.map_err(LogError::unavailable)?;
        migrate(&mut writer, NOTICES).await?;
        // Whoever claimed them was a process before this one: there is one at a time.
        let release = "UPDATE deliveries SET claimed = NULL WHERE next IS NOT NULL AND claimed IS NOT NULL";
        writer.execute(release).await.map_err(LogError::unavailable)?;
        let readers = SqlitePoolOptions::new().max_connections(READERS);
        let readers = readers.connect_with(options.read_only(true)).await.map_err(LogError::unavailable)?;
        Ok(Self { writer: Mutex::new(writer), readers })
    }
}

/// Runs statements in one transaction. One that fails is rolled back by the next to begin.
macro_rules! transaction {
    ($self:ident, |$connection:ident| $work:expr) => {{
        let mut writer = $self.writer.lock().await;
        let $connection = &mut *writer;
        let worked = async {
            begin(&mut *$connection).await?;
            let made = $work;
            $connection.execute("COMMIT").await?;
            Ok::<_, sqlx::Error>(made)
        };
        worked.await.map_err(LogError::unavailable)
    }};
}

async fn insert(connection: &mut SqliteConnection, new: &[NewDelivery]) -> Result<(), sqlx::Error> {
    for one in new {
        let inserted = sqlx::query(
            "INSERT INTO deliveries (webhook, notice, type, position, payload, state, tries, attempts, created, next) \
             VALUES (?, ?, ?, ?, ?, 'waiting', 0, '[]', ?, ?) ON CONFLICT (webhook, notice) DO UPDATE \
             SET state = 'waiting', next = excluded.next WHERE state = 'dropped'",
        )
        .bind(bytes(one.webhook))
        .bind(one.notice.as_bytes().as_slice())
        .bind(&one.name)
        .bind(one.position.map(|p| p.0 as i64))
        .bind(&one.payload)
        .bind(one.created.micros())
        .bind(one.next.micros())
        .execute(&mut *connection)
        .await?;
        if inserted.rows_affected() > 0 {
            waits(connection, one.webhook, 1).await?;
        }
    }
    Ok(())
}

/// Counts what waits for a webhook up or down.
async fn waits(connection: &mut SqliteConnection, webhook: WebhookId, by: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO health (webhook, waiting, failures) VALUES (?1, ?2, 0) \
         ON CONFLICT (webhook) DO UPDATE SET waiting = waiting + ?2",
    )
    .bind(bytes(webhook))
    .bind(by)
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets go of ended deliveries beyond those that are kept.
async fn trim(connection: &mut SqliteConnection, webhook: WebhookId) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM deliveries WHERE webhook = ?1 AND next IS NULL AND number <= (SELECT number \
         FROM deliveries WHERE webhook = ?1 AND next IS NULL ORDER BY number DESC LIMIT 1 OFFSET ?2)",
    )
    .bind(bytes(webhook))
    .bind(KEPT_MAX)
    .execute(connection)
    .await?;
    Ok(())
}

async fn move_cursor(
    connection: &mut SqliteConnection,
    from: Option<Position>,
    next: Position,
) -> Result<bool, sqlx::Error> {
    let moved = match from {
        Some(from) => sqlx::query("UPDATE cursor SET position = ? WHERE name = 'feed' AND position = ?")
            .bind(next.0 as i64)
            .bind(from.0 as i64),
        None => sqlx::query("INSERT INTO cursor VALUES ('feed', ?) ON CONFLICT (name) DO NOTHING")
            .bind(next.0 as i64),
    };
    Ok(moved.execute(connection).await?.rows_affected() > 0)
}

async fn replace(
    connection: &mut SqliteConnection,
    webhook: WebhookId,
    name: &str,
    new: &[NewDelivery],
) -> Result<(), sqlx::Error> {
    let gone = sqlx::query(
        "DELETE FROM deliveries WHERE webhook = ? AND type = ? AND next IS NOT NULL AND attempts = '[]'",
    )
    .bind(bytes(webhook))
    .bind(name)
    .execute(&mut *connection)
    .await?;
    waits(connection, webhook, -(gone.rows_affected() as i64)).await?;
    insert(connection, new).await
}

async fn forget(connection: &mut SqliteConnection, webhook: WebhookId) -> Result<(), sqlx::Error> {
    for sql in ["DELETE FROM deliveries WHERE webhook = ?", "DELETE FROM health WHERE webhook = ?"] {
        sqlx::query(sql).bind(bytes(webhook)).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn change(connection: &mut SqliteConnection, change: &Change) -> Result<(), sqlx::Error> {
    match change {
        Change::Tell(new) => insert(connection, std::slice::from_ref(new)).await,
        Change::Replace { webhook, name, new } => replace(connection, *webhook, name, new).await,
        Change::Forgive(webhook) => {
            let forgiven = sqlx::query("UPDATE health SET failures = 0 WHERE webhook = ?");
            forgiven.bind(bytes(*webhook)).execute(connection).await.map(|_| ())
        }
        Change::Forget(webhook) => forget(connection, *webhook).await,
    }
}

#[async_trait]
impl NoticeStore for SqliteNotices {
    async fn cursor(&self) -> Result<Option<Position>, LogError> {
        let position: Option<i64> = sqlx::query_scalar("SELECT position FROM cursor WHERE name = 'feed'")
            .fetch_optional(&self.readers)
            .await
            .map_err(LogError::unavailable)?;
        Ok(position.map(|p| Position(p as u64)))
    }

    async fn advance(
        &self,
        from: Option<Position>,
        next: Position,
        changes: &[Change],
    ) -> Result<bool, LogError> {
        transaction!(self, |connection| {
            let moved = move_cursor(connection, from, next).await?;
            for one in changes.iter().filter(|_| moved) {
                change(connection, one).await?;
            }
            moved
        })
    }

    async fn add(&self, new: &NewDelivery) -> Result<(), LogError> {
        transaction!(self, |connection| insert(connection, std::slice::from_ref(new)).await?)
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, LogError> {
        let rows = sqlx::query(
            "SELECT h.webhook, h.waiting, h.failures, h.last_success, h.last_failure, \
             (SELECT min(max(next, coalesce(claimed, next))) FROM deliveries d \
              WHERE d.webhook = h.webhook AND d.next IS NOT NULL), \
             (SELECT max(number) FROM deliveries d WHERE d.webhook = h.webhook AND d.next IS NOT NULL) \
             FROM health h WHERE h.waiting > 0",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(LogError::unavailable)?;
        let read = rows.iter().filter_map(|row| waiting(row).transpose());
        read.collect::<Result<_, _>>().map_err(LogError::unavailable)
    }

    async fn due(&self, webhook: WebhookId, now: Timestamp, limit: usize) -> Result<Vec<Delivery>, LogError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM deliveries WHERE webhook = ?1 AND next <= ?2 \
             AND (claimed IS NULL OR claimed <= ?2) ORDER BY next, number LIMIT ?3"
        );
        let rows = sqlx::query(&sql)
            .bind(bytes(webhook))
            .bind(now.micros())
            .bind(limit as i64)
            .fetch_all(&self.readers)
            .await
            .map_err(LogError::unavailable)?;
        rows.iter().map(delivery).collect::<Result<_, _>>().map_err(LogError::unavailable)
    }

    async fn claim(
        &self,
        read: &Delivery,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Delivery>, LogError> {
        let sql = format!(
            "UPDATE deliveries SET claim = claim + 1, claimed = ?1 WHERE number = ?2 AND claim = ?3 \
             AND next IS NOT NULL AND (claimed IS NULL OR claimed <= ?4) RETURNING {COLUMNS}"
        );
        transaction!(self, |connection| {
            let claimed = sqlx::query(&sql)
                .bind(until.micros())
                .bind(read.number as i64)
                .bind(read.claim as i64)
                .bind(now.micros());
            let claimed = claimed.fetch_optional(&mut *connection).await?;
            claimed.as_ref().map(delivery).transpose()?
        })
    }

    async fn settle(
        &self,
        claimed: &Delivery,
        attempt: &Attempt,
        outcome: Outcome,
    ) -> Result<Option<Health>, LogError> {
        let (attempts, state, next) = settled(claimed, attempt, outcome)?;
        let webhook = claimed.webhook;
        transaction!(self, |connection| {
            let settled = sqlx::query(
                "UPDATE deliveries SET state = ?, next = ?, tries = tries + 1, attempts = ?, claimed = NULL \
                 WHERE number = ? AND claim = ? AND next IS NOT NULL",
            )
            .bind(state.name())
            .bind(next)
            .bind(attempts)
            .bind(claimed.number as i64)
            .bind(claimed.claim as i64)
            .execute(&mut *connection)
            .await?;
            if settled.rows_affected() > 0 {
                if next.is_none() {
                    waits(connection, webhook, -1).await?;
                    trim(connection, webhook).await?;
                }
                let sql = if outcome == Outcome::Delivered {
                    "UPDATE health SET failures = 0, last_success = ? WHERE webhook = ? \
                     RETURNING waiting, failures, last_success, last_failure"
                } else {
                    "UPDATE health SET failures = failures + 1, last_failure = ? WHERE webhook = ? \
                     RETURNING waiting, failures, last_success, last_failure"
                };
                let noted = sqlx::query(sql).bind(attempt.at.micros()).bind(bytes(webhook));
                let row = noted.fetch_optional(&mut *connection).await?;
                Some(row.map(|row| health(&row, 0)).transpose()?.unwrap_or_default())
            } else {
                None
            }
        })
    }

    async fn drop_claimed(&self, claimed: &Delivery) -> Result<(), LogError> {
        transaction!(self, |connection| {
            let dropped = sqlx::query(
                "UPDATE deliveries SET state = 'dropped', next = NULL, claimed = NULL \
                 WHERE number = ? AND claim = ? AND next IS NOT NULL",
            )
            .bind(claimed.number as i64)
            .bind(claimed.claim as i64)
            .execute(&mut *connection)
            .await?;
            waits(connection, claimed.webhook, -(dropped.rows_affected() as i64)).await?;
            trim(connection, claimed.webhook).await?;
        })
    }

    async fn drop_waiting(&self, webhook: WebhookId, last: u64) -> Result<(), LogError> {
        transaction!(self, |connection| {
            let dropped = sqlx::query(
                "UPDATE deliveries SET state = 'dropped', next = NULL, claimed = NULL \
                 WHERE webhook = ? AND next IS NOT NULL AND number <= ?",
            )
            .bind(bytes(webhook))
            .bind(last as i64)
            .execute(&mut *connection)
            .await?;
            waits(connection, webhook, -(dropped.rows_affected() as i64)).await?;
            trim(connection, webhook).await?;
        })
    }

    async fn again(&self, webhook: WebhookId, notice: Uuid, at: Timestamp) -> Result<bool, LogError> {
        transaction!(self, |connection| {
            let waits_already: Option<bool> = sqlx::query_scalar(
                "SELECT next IS NOT NULL FROM deliveries WHERE webhook = ? AND notice = ?",
            )
            .bind(bytes(webhook))
            .bind(notice.as_bytes().as_slice())
            .fetch_optional(&mut *connection)
            .await?;
            if waits_already == Some(false) {
                waits(connection, webhook, 1).await?;
            }
            sqlx::query(
                "UPDATE deliveries SET state = 'waiting', next = ?, tries = 0 WHERE webhook = ? AND notice = ?",
            )
            .bind(at.micros())
            .bind(bytes(webhook))
            .bind(notice.as_bytes().as_slice())
            .execute(&mut *connection)
            .await?;
            waits_already.is_some()
        })
    }

    async fn health(&self, webhook: WebhookId) -> Result<Health, LogError> {
        let row =
            sqlx::query("SELECT waiting, failures, last_success, last_failure FROM health WHERE webhook = ?")
                .bind(bytes(webhook))
                .fetch_optional(&self.readers)
                .await
                .map_err(LogError::unavailable)?;
        let read = row.map(|row| health(&row, 0)).transpose().map_err(LogError::unavailable)?;
        Ok(read.unwrap_or_default())
    }

    async fn delivery(&self, webhook: WebhookId, notice: Uuid) -> Result<Option<Delivery>, LogError> {
        let sql = format!("SELECT {COLUMNS} FROM deliveries WHERE webhook = ? AND notice = ?");
        let row = sqlx::query(&sql)
            .bind(bytes(webhook))
            .bind(notice.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(LogError::unavailable)?;
        row.as_ref().map(delivery).transpose().map_err(LogError::unavailable)
    }

    async fn list(
        &self,
        webhooks: &[WebhookId],
        state: Option<State>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Delivery>, LogError> {
        if webhooks.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT ");
        sql.push(COLUMNS).push(" FROM deliveries WHERE webhook IN (");
        let mut list = sql.separated(", ");
        for webhook in webhooks {
            list.push_bind(bytes(*webhook));
        }
        sql.push(") AND number < ").push_bind(before.map_or(i64::MAX, |number| number as i64));
        if let Some(state) = state {
            sql.push(" AND state = ").push_bind(state.name());
        }
        sql.push(" ORDER BY number DESC LIMIT ").push_bind(limit as i64);
        let rows = sql.build().fetch_all(&self.readers).await.map_err(LogError::unavailable)?;
        rows.iter().map(delivery).collect::<Result<_, _>>().map_err(LogError::unavailable)
    }

    async fn forget(&self, webhook: WebhookId) -> Result<(), LogError> {
        transaction!(self, |connection| forget(connection, webhook).await?)
    }
}
