//! Connections that are kept from one use to the next.
//!
//! A pool tries each connection that comes back with a round trip of its own. Beside a statement as short as those of
//! the hot path that is as much again.

use std::time::Instant;

use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};

use super::url;

/// A pool, and a few of its connections at hand.
pub struct Kept {
    pool: PgPool,
    /// Those that nobody uses, and since when.
    free: Mutex<Vec<(PoolConnection<Postgres>, Instant)>>,
    most: usize,
}

impl Kept {
    /// Keeps at most so many of a pool's connections.
    pub fn new(pool: PgPool, most: usize) -> Self {
        Self { pool, free: Mutex::default(), most }
    }

    /// One that is kept, or else one of the pool. One that is not given back goes to the pool, which tries it.
    pub async fn take(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let kept = self.free.lock().pop();
        if let Some((mut connection, since)) = kept {
            if url::works(&mut connection, since.elapsed()).await {
                return Ok(connection);
            }
            drop(connection.detach());
        }
        self.pool.acquire().await
    }

    /// Takes one back that did what it was asked.
    pub fn give_back(&self, connection: PoolConnection<Postgres>) {
        let mut free = self.free.lock();
        if free.len() < self.most {
            free.push((connection, Instant::now()));
        }
    }
}
