//! A turn: the lock, held from looking to writing.

use rota_aggregates::Position;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::{Executor, PgConnection, Postgres};

use super::kept::Kept;
use super::read;
use crate::log::{LogError, Page};

/// An open transaction that holds the lock. Dropped, its connection ends, and with it the transaction.
pub struct Turn(Option<PoolConnection<Postgres>>);

impl Turn {
    /// Waits for the lock and reads what is there from a position on, by one round trip.
    pub async fn take(writers: &Kept, from: Position, limit: usize) -> Result<(Self, Page), LogError> {
        // What a statement sees begins with it, and so after the lock is had.
        let (page, end) = (read::PAGE, read::end(from, limit));
        let page = page.replace("$1", &from.0.to_string()).replace("$2", &end.to_string());
        let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT lock_ledger(); {page}");
        let taken = async {
            let mut turn = Self(Some(writers.take().await?));
            let rows = turn.connection()?.fetch_all(sqlx::raw_sql(&begin)).await?;
            Ok((turn, rows))
        };
        let (turn, rows) = taken.await.map_err(|error: sqlx::Error| LogError::unavailable(error))?;
        // The first is the lock's.
        let page = read::in_order(from, rows.get(1..).unwrap_or_default())?;
        Ok((turn, page))
    }

    /// Carries an append out, and ends with it.
    pub async fn append(
        mut self,
        writers: &Kept,
        query: QueryScalar<'_, Postgres, i64, PgArguments>,
    ) -> Result<i64, sqlx::Error> {
        let tip = query.fetch_one(self.connection()?).await?;
        self.end(writers, "COMMIT").await?;
        Ok(tip)
    }

    /// Ends without having written anything.
    pub async fn give_up(self, writers: &Kept) -> Result<(), sqlx::Error> {
        self.end(writers, "ROLLBACK").await
    }

    async fn end(mut self, writers: &Kept, how: &'static str) -> Result<(), sqlx::Error> {
        self.connection()?.execute(sqlx::raw_sql(how)).await?;
        if let Some(connection) = self.0.take() {
            writers.give_back(connection);
        }
        Ok(())
    }

    fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.0.as_deref_mut().ok_or_else(|| sqlx::Error::Protocol("the turn is over".into()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}
