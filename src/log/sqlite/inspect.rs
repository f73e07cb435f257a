//! A look at a database file that changes nothing and needs no lock: for finding out what is wrong.

use std::fs::{File, TryLockError};
use std::path::Path;

use rota_aggregates::{Position, Timestamp};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::migrate;
use crate::log::LogError;
use crate::log::migrate::newest;

/// What a database file says of itself.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The number of its schema.
    pub schema: i64,
    /// The newest schema that this program knows.
    pub schema_known: i64,
    /// The position that the next event will have.
    pub next: Position,
    /// The time of its last event.
    pub last_time: Option<Timestamp>,
    /// The names of what it keeps for the deployment.
    pub names: Vec<String>,
}

/// Whether a process holds the lock beside a database file.
pub fn is_locked(path: &Path) -> std::io::Result<bool> {
    match File::open(super::beside(path, "lock")) {
        Ok(file) => match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Looks at a ledger's file.
pub async fn inspect(path: &Path) -> Result<Inspection, LogError> {
    let mut connection = connect(path).await?;
    let seen = look(&mut connection).await.map_err(LogError::unavailable);
    connection.close().await.map_err(LogError::unavailable)?;
    seen
}

async fn look(connection: &mut SqliteConnection) -> Result<Inspection, sqlx::Error> {
    let schema = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success")
        .fetch_one(&mut *connection)
        .await?;
    let next: i64 = sqlx::query_scalar("SELECT coalesce(max(position), -1) + 1 FROM events")
        .fetch_one(&mut *connection)
        .await?;
    let time: Option<String> =
        sqlx::query_scalar("SELECT CAST(leaf AS TEXT) ->> 'time' FROM events ORDER BY position DESC LIMIT 1")
            .fetch_optional(&mut *connection)
            .await?
            .flatten();
    let names = sqlx::query_scalar("SELECT name FROM meta ORDER BY name").fetch_all(connection).await?;
    Ok(Inspection {
        schema,
        schema_known: newest(migrate::LEDGER),
        next: Position(next as u64),
        last_time: time.and_then(|time| time.parse().ok()),
        names,
    })
}

/// The next position that the views' file is to fold; `None` if there is no such file.
pub async fn views_position(path: &Path) -> Result<Option<Position>, LogError> {
    if !path.exists() {
        return Ok(None);
    }
    let mut connection = connect(path).await?;
    let position: Option<i64> = sqlx::query_scalar("SELECT position FROM checkpoint WHERE name = 'views'")
        .fetch_optional(&mut connection)
        .await
        .map_err(LogError::unavailable)?;
    connection.close().await.map_err(LogError::unavailable)?;
    Ok(Some(Position(position.unwrap_or(0) as u64)))
}

async fn connect(path: &Path) -> Result<SqliteConnection, LogError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
    options.connect().await.map_err(LogError::unavailable)
}
