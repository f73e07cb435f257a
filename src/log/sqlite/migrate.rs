//! Brings a SQLite file to the schema that this program knows, and refuses a newer one.

use std::borrow::Cow;

use sqlx::SqliteConnection;
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};

use crate::log::LogError;

/// The ledger's migrations, by number.
pub const LEDGER: &[(i64, &str, &str)] =
    &[(1, "ledger", include_str!("../../../migrations/sqlite/0001_ledger.sql"))];

/// The views' migrations, by number.
pub const VIEWS: &[(i64, &str, &str)] =
    &[(1, "views", include_str!("../../../migrations/sqlite/views/0001_views.sql"))];

/// The migrations of the notices, by number.
pub const NOTICES: &[(i64, &str, &str)] =
    &[(1, "notices", include_str!("../../../migrations/sqlite/notices/0001_notices.sql"))];

/// Runs what is missing.
pub async fn migrate(
    connection: &mut SqliteConnection,
    known: &[(i64, &'static str, &'static str)],
) -> Result<(), LogError> {
    let migrations = known.iter().map(|(version, name, sql)| {
        Migration::new(*version, Cow::Borrowed(name), MigrationType::Simple, Cow::Borrowed(sql), false)
    });
    let migrator = Migrator { migrations: Cow::Owned(migrations.collect()), ..Migrator::DEFAULT };
    connection.ensure_migrations_table().await.map_err(LogError::unavailable)?;
    migrator.run_direct(connection).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => LogError::Corrupt(format!(
            "it has schema {version}, and this rota knows schemas up to {}: it was written by a newer rota; \
             start that one, or restore a backup from before the upgrade",
            known.last().map_or(0, |(last, ..)| *last)
        )),
        other => LogError::unavailable(other),
    })
}
