//! Leases, by the server's clock.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{PostgresLog, patiently};
use crate::log::LogError;
use crate::log::lease::{Leases, Token};

/// A lease that is free or the holder's own; of one that is neither nothing is given.
const ACQUIRE: &str = "\
INSERT INTO leases AS held (name, holder, token, until)
VALUES ($1, $2, 1, clock_timestamp() + $3 * interval '1 millisecond')
ON CONFLICT (name) DO UPDATE SET
    holder = excluded.holder,
    token = held.token + CASE WHEN held.holder = excluded.holder THEN 0 ELSE 1 END,
    until = excluded.until
WHERE held.holder = excluded.holder OR held.until <= clock_timestamp()
RETURNING token";

#[async_trait]
impl Leases for PostgresLog {
    async fn acquire(&self, name: &str, holder: Uuid, term: Duration) -> Result<Option<Token>, LogError> {
        let acquire = sqlx::query_scalar::<_, i64>(ACQUIRE);
        let acquire = acquire.bind(name).bind(holder.as_bytes().as_slice()).bind(term.as_millis() as i64);
        let token = patiently(acquire.fetch_optional(&self.readers)).await?;
        Ok(token.map(|token| Token(token as u64)))
    }

    async fn release(&self, name: &str, holder: Uuid) -> Result<(), LogError> {
        let release = "UPDATE leases SET until = clock_timestamp() WHERE name = $1 AND holder = $2";
        let release = sqlx::query(release).bind(name).bind(holder.as_bytes().as_slice());
        patiently(release.execute(&self.readers)).await.map(|_| ())
    }

    async fn count(&self, prefix: &str) -> Result<u64, LogError> {
        let forget = "DELETE FROM leases WHERE starts_with(name, $1) AND until <= clock_timestamp()";
        patiently(sqlx::query(forget).bind(prefix).execute(&self.readers)).await?;
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM leases WHERE starts_with(name, $1)");
        Ok(patiently(count.bind(prefix).fetch_one(&self.readers)).await? as u64)
    }
}
