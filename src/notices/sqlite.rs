//! The embedded form of [`NoticeStore`]: a SQLite file beside the ledger's.
//!
//! WAL with `synchronous=NORMAL`: a crash of the process loses nothing. A power cut may take the last moments
//! back, the cursor with the deliveries, and so costs repeats and no notice.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use rota_aggregates::{Position, Timestamp, WebhookId};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Executor, QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::store::{
    ATTEMPTS_KEPT, Attempt, Delivery, Health, KEPT_MAX, NewDelivery, NoticeStore, Outcome, State, Waiting,
};
use crate::log::LogError;
use crate::log::migrate::migrate;
use crate::log::sqlite::{NOTICES, begin, private_file};

/// Readers at most.
const READERS: u32 = 2;
/// The columns of a delivery, in the order in which they are read.
const COLUMNS: &str =
    "number, webhook, notice, type, position, payload, state, tries, attempts, created, next";

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

fn bytes(id: WebhookId) -> Vec<u8> {
    id.0.as_bytes().to_vec()
}

fn id(bytes: &[u8]) -> Result<Uuid, sqlx::Error> {
    Uuid::from_slice(bytes).map_err(|e| sqlx::Error::Decode(e.into()))
}

fn time(row: &SqliteRow, column: usize) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_micros))
}

fn delivery(row: &SqliteRow) -> Result<Delivery, sqlx::Error> {
    let state: &str = row.try_get(6)?;
    let state = State::ALL.into_iter().find(|known| known.name() == state);
    let attempts: &str = row.try_get(8)?;
    Ok(Delivery {
        number: row.try_get::<i64, _>(0)? as u64,
        webhook: WebhookId(id(row.try_get(1)?)?),
        notice: id(row.try_get(2)?)?,
        name: row.try_get(3)?,
        position: row.try_get::<Option<i64>, _>(4)?.map(|p| Position(p as u64)),
        payload: row.try_get(5)?,
        state: state.ok_or_else(|| sqlx::Error::Decode("an unknown state".into()))?,
        tries: row.try_get(7)?,
        attempts: serde_json::from_str(attempts).map_err(|e| sqlx::Error::Decode(e.into()))?,
        created: time(row, 9)?.unwrap_or_default(),
        next: time(row, 10)?,
    })
}

/// Health from four columns, the first of them given.
fn health(row: &SqliteRow, first: usize) -> Result<Health, sqlx::Error> {
    Ok(Health {
        waiting: row.try_get::<i64, _>(first)?.max(0) as u64,
        failures: row.try_get::<i64, _>(first + 1)? as u64,
        last_success: time(row, first + 2)?,
        last_failure: time(row, first + 3)?,
    })
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

async fn move_cursor(connection: &mut SqliteConnection, next: Position) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO cursor VALUES ('feed', ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position",
    )
    .bind(next.0 as i64)
    .execute(connection)
    .await?;
    Ok(())
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

    async fn advance(&self, next: Position, new: &[NewDelivery]) -> Result<(), LogError> {
        transaction!(self, |connection| {
            insert(connection, new).await?;
            move_cursor(connection, next).await?;
        })
    }

    async fn add(&self, new: &[NewDelivery]) -> Result<(), LogError> {
        transaction!(self, |connection| insert(connection, new).await?)
    }

    async fn replace(&self, webhook: WebhookId, name: &str, new: &[NewDelivery]) -> Result<(), LogError> {
        transaction!(self, |connection| {
            let gone = sqlx::query(
                "DELETE FROM deliveries WHERE webhook = ? AND type = ? AND next IS NOT NULL AND attempts = '[]'",
            )
            .bind(bytes(webhook))
            .bind(name)
            .execute(&mut *connection)
            .await?;
            waits(connection, webhook, -(gone.rows_affected() as i64)).await?;
            insert(connection, new).await?;
        })
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, LogError> {
        let rows = sqlx::query(
            "SELECT h.webhook, h.waiting, h.failures, h.last_success, h.last_failure, \
             (SELECT min(next) FROM deliveries d WHERE d.webhook = h.webhook AND d.next IS NOT NULL) \
             FROM health h WHERE h.waiting > 0",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(LogError::unavailable)?;
        let waiting = rows.iter().filter_map(|row| {
            let read = || {
                let webhook = WebhookId(id(row.try_get(0)?)?);
                Ok(time(row, 5)?.map(|next| (webhook, next)).zip(Some(health(row, 1)?)))
            };
            read().transpose()
        });
        let waiting = waiting.map(|read: Result<_, sqlx::Error>| {
            read.map(|((webhook, next), health)| Waiting { webhook, health, next })
        });
        waiting.collect::<Result<_, _>>().map_err(LogError::unavailable)
    }

    async fn due(&self, webhook: WebhookId, now: Timestamp, limit: usize) -> Result<Vec<Delivery>, LogError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM deliveries WHERE webhook = ? AND next <= ? ORDER BY next, number LIMIT ?"
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

    async fn settle(
        &self,
        delivery: &Delivery,
        attempt: &Attempt,
        outcome: Outcome,
    ) -> Result<Health, LogError> {
        let mut attempts = delivery.attempts.clone();
        attempts.push(attempt.clone());
        let excess = attempts.len().saturating_sub(ATTEMPTS_KEPT);
        let attempts = serde_json::to_string(&attempts[excess..]).map_err(LogError::unavailable)?;
        let (state, next) = match outcome {
            Outcome::Delivered => (State::Delivered, None),
            Outcome::Again(next) => (State::Waiting, Some(next.micros())),
            Outcome::Failed => (State::Failed, None),
        };
        let webhook = delivery.webhook;
        transaction!(self, |connection| {
            let settled = sqlx::query(
                "UPDATE deliveries SET state = ?, next = ?, tries = tries + 1, attempts = ? \
                 WHERE number = ? AND next IS NOT NULL",
            )
            .bind(state.name())
            .bind(next)
            .bind(attempts)
            .bind(delivery.number as i64)
            .execute(&mut *connection)
            .await?;
            if settled.rows_affected() > 0 {
                if next.is_none() {
                    waits(connection, webhook, -1).await?;
                    trim(connection, webhook).await?;
                }
                let sql = if outcome == Outcome::Delivered {
                    "UPDATE health SET failures = 0, last_success = ? WHERE webhook = ?"
                } else {
                    "UPDATE health SET failures = failures + 1, last_failure = ? WHERE webhook = ?"
                };
                let noted = sqlx::query(sql).bind(attempt.at.micros()).bind(bytes(webhook));
                noted.execute(&mut *connection).await?;
            }
            let row = sqlx::query(
                "SELECT waiting, failures, last_success, last_failure FROM health WHERE webhook = ?",
            )
            .bind(bytes(webhook))
            .fetch_optional(&mut *connection)
            .await?;
            row.map(|row| health(&row, 0)).transpose()?.unwrap_or_default()
        })
    }

    async fn drop_waiting(&self, webhook: WebhookId, only: Option<u64>) -> Result<(), LogError> {
        transaction!(self, |connection| {
            let dropped = sqlx::query(
                "UPDATE deliveries SET state = 'dropped', next = NULL \
                 WHERE webhook = ? AND next IS NOT NULL AND number = coalesce(?, number)",
            )
            .bind(bytes(webhook))
            .bind(only.map(|number| number as i64))
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

    async fn forgive(&self, webhook: WebhookId) -> Result<(), LogError> {
        transaction!(self, |connection| {
            let forgiven =
                sqlx::query("UPDATE health SET failures = 0 WHERE webhook = ?").bind(bytes(webhook));
            forgiven.execute(&mut *connection).await?;
        })
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
        transaction!(self, |connection| {
            for sql in ["DELETE FROM deliveries WHERE webhook = ?", "DELETE FROM health WHERE webhook = ?"] {
                sqlx::query(sql).bind(bytes(webhook)).execute(&mut *connection).await?;
            }
        })
    }
}
