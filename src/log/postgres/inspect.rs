//! A look at a database that changes nothing: for finding out what is wrong.

use rota_aggregates::{Position, Timestamp};
use sqlx::{ConnectOptions, Connection, PgConnection, Row};

use super::{PostgresUrl, migrate, patiently};
use crate::log::LogError;
use crate::log::migrate::newest;

/// What a database says of itself.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
pub struct Inspection {
    /// The server's version.
    pub version: String,
    /// The number of its schema; 0 if there is none.
    pub schema: i64,
    /// The newest schema that this program knows.
    pub schema_known: i64,
    /// The position that the next event will have.
    pub next: Position,
    /// The server's clock.
    pub clock: Timestamp,
    /// Whether the server replays another's WAL.
    pub standby: bool,
    /// Whether a standby confirms each commit.
    pub synchronous_standbys: bool,
    /// Whether this connection is encrypted.
    pub encrypted: bool,
    /// Whether the role may do anything.
    pub superuser: bool,
    /// Whether the role owns the events.
    pub owner: bool,
    settings: Vec<(String, String)>,
}

impl Inspection {
    /// Whether a setting is off.
    pub fn off(&self, setting: &str) -> bool {
        self.settings.iter().any(|(name, value)| name == setting && value == "off")
    }
}

/// Looks at a ledger's database.
pub async fn inspect(url: &PostgresUrl) -> Result<Inspection, LogError> {
    let options = url.bounded().map_err(LogError::unavailable)?;
    let mut connection = patiently(options.connect()).await?;
    let seen = patiently(look(&mut connection)).await;
    // Nothing depends on its last word.
    let _ = connection.close().await;
    seen
}

async fn look(connection: &mut PgConnection) -> Result<Inspection, sqlx::Error> {
    const SERVER: &str = "SELECT current_setting('server_version'), pg_is_in_recovery(), \
        current_setting('synchronous_standby_names') <> '', \
        coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false), \
        current_setting('is_superuser') = 'on', \
        coalesce((SELECT pg_get_userbyid(relowner) = current_user FROM pg_class \
            WHERE oid = to_regclass('events')), false), \
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    const SETTINGS: &str = "SELECT name, setting FROM pg_settings \
        WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')";
    let schema = migrate::schema(connection).await?;
    let server = sqlx::query(SERVER).fetch_one(&mut *connection).await?;
    let settings = sqlx::query_as(SETTINGS).fetch_all(&mut *connection).await?;
    let next: i64 = match schema {
        0 => 0,
        _ => sqlx::query_scalar("SELECT next_position()").fetch_one(connection).await?,
    };
    Ok(Inspection {
        version: server.try_get(0)?,
        schema,
        schema_known: newest(migrate::LEDGER),
        next: Position(next as u64),
        clock: Timestamp::from_micros(server.try_get(6)?),
        standby: server.try_get(1)?,
        synchronous_standbys: server.try_get(2)?,
        encrypted: server.try_get(3)?,
        superuser: server.try_get(4)?,
        owner: server.try_get(5)?,
        settings,
    })
}
