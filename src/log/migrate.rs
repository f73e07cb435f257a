//! Brings a database to the schema that this program knows, and refuses a newer one.

use std::borrow::Cow;

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};

use super::LogError;

/// Migrations: number, name, SQL; in order.
pub type Migrations = &'static [(i64, &'static str, &'static str)];

/// Runs what is missing.
pub async fn migrate<C: Migrate>(connection: &mut C, known: Migrations) -> Result<(), LogError> {
    let migrations = known.iter().map(|(version, name, sql)| {
        Migration::new(*version, Cow::Borrowed(name), MigrationType::Simple, Cow::Borrowed(sql), false)
    });
    let migrator = Migrator { migrations: Cow::Owned(migrations.collect()), ..Migrator::DEFAULT };
    connection.ensure_migrations_table().await.map_err(LogError::unavailable)?;
    migrator.run_direct(connection).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => newer(version, known),
        other => LogError::unavailable(other),
    })
}

/// The store was written by a newer program.
pub fn newer(version: i64, known: Migrations) -> LogError {
    LogError::Corrupt(format!(
        "it has schema {version}, and this rota knows schemas up to {}: it was written by a newer rota; start \
         that one, or restore a backup from before the upgrade",
        newest(known)
    ))
}

/// The newest schema among these.
pub fn newest(known: Migrations) -> i64 {
    known.last().map_or(0, |(version, ..)| *version)
}
