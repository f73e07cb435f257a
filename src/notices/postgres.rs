//! The shared form of [`NoticeStore`]: tables beside the ledger's, for all replicas.
//!
//! Every transaction that changes a webhook's deliveries locks its row in `notice_health` first, and of several
//! webhooks in the order of their ids: nobody waits for another in a circle. A claim changes one row and needs no
//! more than that one's lock.

use std::collections::BTreeSet;

use async_trait::async_trait;
use rota_aggregates::{Position, Timestamp, WebhookId};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::row::{COLUMNS, bytes, delivery, health, waiting};
use super::store::{
    Attempt, Change, Delivery, Health, KEPT_MAX, NewDelivery, NoticeStore, Outcome, State, Waiting, settled,
};
use crate::log::LogError;
use crate::log::postgres::patiently;

/// Deliveries in a PostgreSQL database.
pub struct PostgresNotices {
    pool: PgPool,
}

impl PostgresNotices {
    /// Over the connections of a store whose schema is up to date.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

/// Runs statements in one transaction. One that fails or is dropped is rolled back.
macro_rules! transaction {
    ($self:ident, |$connection:ident| $work:expr) => {
        patiently(async {
            let mut transaction = $self.pool.begin().await?;
            let $connection = &mut *transaction;
            let made = $work;
            transaction.commit().await?;
            Ok(made)
        })
        .await
    };
}

/// Locks the rows of these webhooks; makes those that are not there.
async fn lock(
    connection: &mut PgConnection,
    webhooks: impl IntoIterator<Item = WebhookId>,
) -> Result<(), sqlx::Error> {
    let webhooks: BTreeSet<_> = webhooks.into_iter().map(bytes).collect();
    if webhooks.is_empty() {
        return Ok(());
    }
    let webhooks: Vec<_> = webhooks.into_iter().collect();
    // Setting what is there already is how a row is locked that may not be there yet.
    let lock = "INSERT INTO notice_health AS known (webhook, waiting, failures) \
         SELECT webhook, 0, 0 FROM unnest($1::bytea[]) WITH ORDINALITY AS new (webhook, ord) ORDER BY ord \
         ON CONFLICT (webhook) DO UPDATE SET waiting = known.waiting";
    sqlx::query(lock).bind(webhooks).execute(connection).await?;
    Ok(())
}

/// Locks the row of a webhook if it is there.
async fn lock_known(connection: &mut PgConnection, webhook: WebhookId) -> Result<(), sqlx::Error> {
    let lock = sqlx::query("SELECT FROM notice_health WHERE webhook = $1 FOR UPDATE").bind(bytes(webhook));
    lock.fetch_optional(connection).await?;
    Ok(())
}

/// Adds deliveries; the webhooks' rows are locked.
async fn insert(connection: &mut PgConnection, new: &[NewDelivery]) -> Result<(), sqlx::Error> {
    let mut seen = BTreeSet::new();
    let new: Vec<_> = new.iter().filter(|one| seen.insert((one.webhook, one.notice))).collect();
    if new.is_empty() {
        return Ok(());
    }
    let insert = "WITH added AS ( \
             INSERT INTO notice_deliveries AS known \
                 (webhook, notice, type, position, payload, state, tries, attempts, created, next) \
             SELECT w, n, t, p, b, 'waiting', 0, '[]', c, d \
             FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[]) \
                 WITH ORDINALITY AS new (w, n, t, p, b, c, d, ord) ORDER BY ord \
             ON CONFLICT (webhook, notice) DO UPDATE SET state = 'waiting', next = excluded.next \
             WHERE known.state = 'dropped' \
             RETURNING webhook) \
         UPDATE notice_health AS known SET waiting = known.waiting + more.count \
         FROM (SELECT webhook, count(*) FROM added GROUP BY webhook) AS more WHERE known.webhook = more.webhook";
    sqlx::query(insert)
        .bind(new.iter().map(|one| bytes(one.webhook)).collect::<Vec<_>>())
        .bind(new.iter().map(|one| one.notice.as_bytes().to_vec()).collect::<Vec<_>>())
        .bind(new.iter().map(|one| one.name.as_str()).collect::<Vec<_>>())
        .bind(new.iter().map(|one| one.position.map(|p| p.0 as i64)).collect::<Vec<_>>())
        .bind(new.iter().map(|one| one.payload.as_str()).collect::<Vec<_>>())
        .bind(new.iter().map(|one| one.created.micros()).collect::<Vec<_>>())
        .bind(new.iter().map(|one| one.next.micros()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// Counts what waits for a webhook up or down.
async fn waits(connection: &mut PgConnection, webhook: WebhookId, by: i64) -> Result<(), sqlx::Error> {
    let count = sqlx::query("UPDATE notice_health SET waiting = waiting + $2 WHERE webhook = $1");
    count.bind(bytes(webhook)).bind(by).execute(connection).await?;
    Ok(())
}

/// Counts those that have ended down, and lets go of ended deliveries beyond those that are kept.
async fn end(connection: &mut PgConnection, webhook: WebhookId, ended: u64) -> Result<(), sqlx::Error> {
    if ended == 0 {
        return Ok(());
    }
    waits(connection, webhook, -(ended as i64)).await?;
    sqlx::query(
        "DELETE FROM notice_deliveries WHERE webhook = $1 AND next IS NULL AND number <= (SELECT number \
         FROM notice_deliveries WHERE webhook = $1 AND next IS NULL ORDER BY number DESC LIMIT 1 OFFSET $2)",
    )
    .bind(bytes(webhook))
    .bind(i64::from(KEPT_MAX))
    .execute(connection)
    .await?;
    Ok(())
}

async fn move_cursor(
    connection: &mut PgConnection,
    from: Option<Position>,
    next: Position,
) -> Result<bool, sqlx::Error> {
    let next = next.0 as i64;
    let moved = match from {
        Some(from) => {
            sqlx::query("UPDATE notice_cursor SET position = $1 WHERE name = 'feed' AND position = $2")
                .bind(next)
                .bind(from.0 as i64)
        }
        None => sqlx::query("INSERT INTO notice_cursor VALUES ('feed', $1) ON CONFLICT (name) DO NOTHING")
            .bind(next),
    };
    Ok(moved.execute(connection).await?.rows_affected() > 0)
}

async fn forget(connection: &mut PgConnection, webhook: WebhookId) -> Result<(), sqlx::Error> {
    for sql in
        ["DELETE FROM notice_deliveries WHERE webhook = $1", "DELETE FROM notice_health WHERE webhook = $1"]
    {
        sqlx::query(sql).bind(bytes(webhook)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The webhooks that a change is about.
fn concerned(change: &Change) -> Vec<WebhookId> {
    match change {
        Change::Tell(new) => vec![new.webhook],
        Change::Replace { webhook, .. } | Change::Forgive(webhook) | Change::Forget(webhook) => {
            vec![*webhook]
        }
    }
}

/// Makes changes in their order, those that tell together.
async fn make(connection: &mut PgConnection, changes: &[Change]) -> Result<(), sqlx::Error> {
    lock(connection, changes.iter().flat_map(concerned)).await?;
    for run in changes.chunk_by(|a, b| matches!((a, b), (Change::Tell(_), Change::Tell(_)))) {
        match run {
            [Change::Replace { webhook, name, new }] => {
                let gone = sqlx::query(
                    "DELETE FROM notice_deliveries \
                     WHERE webhook = $1 AND type = $2 AND next IS NOT NULL AND attempts = '[]'",
                );
                let gone = gone.bind(bytes(*webhook)).bind(*name).execute(&mut *connection).await?;
                waits(connection, *webhook, -(gone.rows_affected() as i64)).await?;
                insert(connection, new).await?;
            }
            [Change::Forgive(webhook)] => {
                let forgiven = sqlx::query("UPDATE notice_health SET failures = 0 WHERE webhook = $1");
                forgiven.bind(bytes(*webhook)).execute(&mut *connection).await?;
            }
            [Change::Forget(webhook)] => {
                forget(connection, *webhook).await?;
            }
            tells => {
                let new: Vec<_> = tells.iter().flat_map(Change::brings).cloned().collect();
                // One that was forgotten a moment ago has no row.
                lock(connection, new.iter().map(|one| one.webhook)).await?;
                insert(connection, &new).await?;
            }
        }
    }
    Ok(())
}

#[async_trait]
impl NoticeStore for PostgresNotices {
    async fn cursor(&self) -> Result<Option<Position>, LogError> {
        let position = sqlx::query_scalar("SELECT position FROM notice_cursor WHERE name = 'feed'");
        let position: Option<i64> = patiently(position.fetch_optional(&self.pool)).await?;
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
            if moved {
                make(connection, changes).await?;
            }
            moved
        })
    }

    async fn add(&self, new: &NewDelivery) -> Result<(), LogError> {
        transaction!(self, |connection| {
            lock(connection, [new.webhook]).await?;
            insert(connection, std::slice::from_ref(new)).await?;
        })
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, LogError> {
        let rows = sqlx::query(
            "SELECT h.webhook, h.waiting, h.failures, h.last_success, h.last_failure, d.next, d.last \
             FROM notice_health h CROSS JOIN LATERAL \
             (SELECT min(greatest(next, claimed)) AS next, max(number) AS last FROM notice_deliveries \
              WHERE webhook = h.webhook AND next IS NOT NULL) AS d \
             WHERE h.waiting > 0",
        );
        patiently(async {
            let rows = rows.fetch_all(&self.pool).await?;
            rows.iter().filter_map(|row| waiting(row).transpose()).collect()
        })
        .await
    }

    async fn due(&self, webhook: WebhookId, now: Timestamp, limit: usize) -> Result<Vec<Delivery>, LogError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM notice_deliveries WHERE webhook = $1 AND next <= $2 \
             AND (claimed IS NULL OR claimed <= $2) ORDER BY next, number LIMIT $3"
        );
        let rows = sqlx::query(&sql).bind(bytes(webhook)).bind(now.micros()).bind(limit as i64);
        patiently(async { rows.fetch_all(&self.pool).await?.iter().map(delivery).collect() }).await
    }

    async fn claim(
        &self,
        read: &Delivery,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Delivery>, LogError> {
        let sql = format!(
            "UPDATE notice_deliveries SET claim = claim + 1, claimed = $1 WHERE number = $2 AND claim = $3 \
             AND next IS NOT NULL AND (claimed IS NULL OR claimed <= $4) RETURNING {COLUMNS}"
        );
        let claimed = sqlx::query(&sql)
            .bind(until.micros())
            .bind(read.number as i64)
            .bind(read.claim as i64)
            .bind(now.micros());
        patiently(async { claimed.fetch_optional(&self.pool).await?.as_ref().map(delivery).transpose() })
            .await
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
            lock_known(connection, webhook).await?;
            let settled = sqlx::query(
                "UPDATE notice_deliveries SET state = $1, next = $2, tries = tries + 1, attempts = $3, \
                 claimed = NULL WHERE number = $4 AND claim = $5 AND next IS NOT NULL",
            )
            .bind(state.name())
            .bind(next)
            .bind(attempts)
            .bind(claimed.number as i64)
            .bind(claimed.claim as i64)
            .execute(&mut *connection)
            .await?;
            if settled.rows_affected() > 0 {
                end(connection, webhook, u64::from(next.is_none())).await?;
                let sql = if outcome == Outcome::Delivered {
                    "UPDATE notice_health SET failures = 0, last_success = $1 WHERE webhook = $2 \
                     RETURNING waiting, failures, last_success, last_failure"
                } else {
                    "UPDATE notice_health SET failures = failures + 1, last_failure = $1 WHERE webhook = $2 \
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
            lock_known(connection, claimed.webhook).await?;
            let dropped = sqlx::query(
                "UPDATE notice_deliveries SET state = 'dropped', next = NULL, claimed = NULL \
                 WHERE number = $1 AND claim = $2 AND next IS NOT NULL",
            )
            .bind(claimed.number as i64)
            .bind(claimed.claim as i64)
            .execute(&mut *connection)
            .await?;
            end(connection, claimed.webhook, dropped.rows_affected()).await?;
        })
    }

    async fn drop_waiting(&self, webhook: WebhookId, last: u64) -> Result<(), LogError> {
        transaction!(self, |connection| {
            lock_known(connection, webhook).await?;
            let dropped = sqlx::query(
                "UPDATE notice_deliveries SET state = 'dropped', next = NULL, claimed = NULL \
                 WHERE webhook = $1 AND next IS NOT NULL AND number <= $2",
            )
            .bind(bytes(webhook))
            .bind(last as i64)
            .execute(&mut *connection)
            .await?;
            end(connection, webhook, dropped.rows_affected()).await?;
        })
    }

    async fn again(&self, webhook: WebhookId, notice: Uuid, at: Timestamp) -> Result<bool, LogError> {
        transaction!(self, |connection| {
            lock_known(connection, webhook).await?;
            let waits_already: Option<bool> = sqlx::query_scalar(
                "SELECT next IS NOT NULL FROM notice_deliveries WHERE webhook = $1 AND notice = $2 FOR UPDATE",
            )
            .bind(bytes(webhook))
            .bind(notice.as_bytes().as_slice())
            .fetch_optional(&mut *connection)
            .await?;
            if waits_already == Some(false) {
                waits(connection, webhook, 1).await?;
            }
            sqlx::query(
                "UPDATE notice_deliveries SET state = 'waiting', next = $1, tries = 0 \
                 WHERE webhook = $2 AND notice = $3",
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
        let row = sqlx::query(
            "SELECT waiting, failures, last_success, last_failure FROM notice_health WHERE webhook = $1",
        );
        let row = row.bind(bytes(webhook));
        let read =
            patiently(async { row.fetch_optional(&self.pool).await?.map(|row| health(&row, 0)).transpose() });
        Ok(read.await?.unwrap_or_default())
    }

    async fn delivery(&self, webhook: WebhookId, notice: Uuid) -> Result<Option<Delivery>, LogError> {
        let sql = format!("SELECT {COLUMNS} FROM notice_deliveries WHERE webhook = $1 AND notice = $2");
        let row = sqlx::query(&sql).bind(bytes(webhook)).bind(notice.as_bytes().as_slice());
        patiently(async { row.fetch_optional(&self.pool).await?.as_ref().map(delivery).transpose() }).await
    }

    async fn list(
        &self,
        webhooks: &[WebhookId],
        state: Option<State>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Delivery>, LogError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM notice_deliveries WHERE webhook = ANY ($1) AND number < $2 \
             AND ($3::text IS NULL OR state = $3) ORDER BY number DESC LIMIT $4"
        );
        let before = before.map_or(i64::MAX, |number| i64::try_from(number).unwrap_or(i64::MAX));
        let rows = sqlx::query(&sql)
            .bind(webhooks.iter().copied().map(bytes).collect::<Vec<_>>())
            .bind(before)
            .bind(state.map(State::name))
            .bind(limit as i64);
        patiently(async { rows.fetch_all(&self.pool).await?.iter().map(delivery).collect() }).await
    }

    async fn forget(&self, webhook: WebhookId) -> Result<(), LogError> {
        transaction!(self, |connection| {
            lock_known(connection, webhook).await?;
            forget(connection, webhook).await?;
        })
    }
}
