//! Where a PostgreSQL store is, and how rota connects to it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};
use zeroize::Zeroizing;

/// A statement of rota's takes at most so long.
pub const STATEMENT: Duration = Duration::from_secs(10);
/// A writer waits at most so long for the others.
pub const LOCK: Duration = Duration::from_secs(5);
/// A transaction that nothing is asked of is ended after so long: its process was stopped, and others wait.
pub const IDLE: Duration = Duration::from_secs(2);
/// A connection must be had within this, made or free.
pub const ACQUIRE: Duration = Duration::from_secs(5);
/// A connection that was idle for so long is tried before it is used.
const TRY_AFTER: Duration = Duration::from_secs(1);

/// The address of a PostgreSQL store. Its password is shown by nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(Zeroizing<String>);

impl PostgresUrl {
    /// Keeps an address as it was given. Whether it is one is found out by [`PostgresUrl::options`].
    pub fn new(url: String) -> Self {
        Self(Zeroizing::new(url))
    }

    /// How to connect. What is wrong is said without the address, which has a password in it.
    pub fn options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        Ok(PgConnectOptions::from_str(&self.0)?.disable_statement_logging())
    }

    /// How rota's own work connects: with a name and with bounds.
    pub(super) fn bounded(&self) -> Result<PgConnectOptions, sqlx::Error> {
        let millis = |bound: Duration| bound.as_millis().to_string();
        let options = self.options()?;
        let name = options.get_application_name().unwrap_or("rota").to_owned();
        Ok(options.application_name(&name).options([
            ("statement_timeout", millis(STATEMENT)),
            ("lock_timeout", millis(LOCK)),
            ("idle_in_transaction_session_timeout", millis(IDLE)),
        ]))
    }
}

/// Where it is, without user and password.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(options) = self.options() else { return f.write_str("postgres://…") };
        match options.get_socket() {
            Some(socket) => write!(f, "postgres://{}", socket.display())?,
            None => write!(f, "postgres://{}:{}", options.get_host(), options.get_port())?,
        }
        write!(f, "/{}", options.get_database().unwrap_or_else(|| options.get_username()))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A pool of at most so many connections.
pub(super) fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move { Ok(works(connection, meta.idle_for).await) })
        })
}

/// Whether a connection that was idle for so long still works, as far as that has to be tried.
pub(super) async fn works(connection: &mut PgConnection, idle: Duration) -> bool {
    idle < TRY_AFTER || tokio::time::timeout(ACQUIRE, connection.ping()).await.is_ok_and(|ping| ping.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for url in [
            "postgres://rota:hunter2@db.example:5433/ledger?sslmode=verify-full",
            "postgres:///ledger?host=/run/postgresql&user=rota&password=hunter2",
            "postgres://rota:hunter2@db.example:not-a-port/ledger",
            "postgres://rota:hunter2@db.example/ledger?sslmode=nonsense",
        ] {
            let parsed = PostgresUrl::new(url.to_owned());
            let shown = format!("{parsed} {parsed:?} {:?}", parsed.options().err());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let url = PostgresUrl::new("postgres://rota:hunter2@db.example:5433/ledger".to_owned());
        assert_eq!(url.to_string(), "postgres://db.example:5433/ledger");
    }
}
