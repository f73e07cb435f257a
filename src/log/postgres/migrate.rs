//! The schema of a PostgreSQL database.

use std::cmp::Ordering;

use sqlx::PgConnection;

use crate::log::LogError;
use crate::log::migrate::{Migrations, migrate, newer, newest};

/// The ledger's migrations.
pub const LEDGER: Migrations = &[
    (1, "ledger", include_str!("../../../migrations/postgres/0001_ledger.sql")),
    (2, "leases", include_str!("../../../migrations/postgres/0002_leases.sql")),
    (3, "notices", include_str!("../../../migrations/postgres/0003_notices.sql")),
    (4, "tree", include_str!("../../../migrations/postgres/0004_tree.sql")),
    (5, "number batches", include_str!("../../../migrations/postgres/0005_number_batches.sql")),
];

/// The number of the schema that is there; 0 for an empty database.
pub async fn schema(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await
}

/// Brings the schema up to date. A role that may not do that is enough where nothing is missing.
pub async fn bring_up_to_date(connection: &mut PgConnection) -> Result<(), LogError> {
    let (there, known) = (schema(connection).await.map_err(LogError::unavailable)?, newest(LEDGER));
    if there > known {
        return Err(newer(there, LEDGER));
    }
    if there == known {
        return Ok(());
    }
    // Two that make the library's table at once would fail each other. The schema is part of the lock's name.
    let lock = sqlx::query("SELECT pg_advisory_lock(1919907937, hashtext(current_schema()))");
    lock.execute(&mut *connection).await.map_err(LogError::unavailable)?;
    let migrated = migrate(connection, LEDGER).await;
    // The connection's end gives it back too.
    let _ = sqlx::query("SELECT pg_advisory_unlock(1919907937, hashtext(current_schema()))")
        .execute(&mut *connection)
        .await;
    match migrated {
        Err(LogError::Unavailable(error)) => Err(LogError::Unavailable(
            format!(
                "it has schema {there} of {known}, and this role can't bring it up to date: {}. Run `rota migrate` \
                 as the role that owns the database",
                chain(&*error)
            )
            .into(),
        )),
        done => done,
    }
}

/// Refuses any schema but the newest one that is known.
pub fn must_be_current(there: i64) -> Result<(), LogError> {
    match there.cmp(&newest(LEDGER)) {
        Ordering::Greater => Err(newer(there, LEDGER)),
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(LogError::unavailable(format!(
            "it has schema {there} of {}: `rota migrate`, or the next `rota serve`, brings it up to date",
            newest(LEDGER)
        ))),
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", chain(source)))
}
