//! A ledger that nobody serves: opened to be looked at, with the lock held, and nothing started.

use std::sync::Arc;

use ring::rand::SystemRandom;

use super::open::{OpenError, Options, StoreUrl, key_ring};
use super::rewrap::KEYS;
use super::snapshot::Snapshots;
use crate::log::EventLog;
use crate::log::sqlite::SqliteLog;
use crate::sealing::KeyRing;

/// A ledger at rest.
pub struct AtRest {
    /// Its log.
    pub log: Arc<SqliteLog>,
    /// Its keys, if the master key is at hand: looking at events needs none.
    pub keys: Result<KeyRing, OpenError>,
    /// Its snapshots.
    pub snapshots: Snapshots,
}

impl AtRest {
    /// Takes the lock and opens what is there. Makes nothing: neither a store nor a master key.
    pub async fn open(mut options: Options) -> Result<Self, OpenError> {
        let StoreUrl::Sqlite(path) = options.store.clone() else { return Err(OpenError::NothingKept) };
        if !path.exists() {
            return Err(OpenError::NoLedger { path });
        }
        let log = Arc::new(SqliteLog::open(&path).await?);
        let keys = match log.meta(KEYS).await? {
            Some(_) => key_ring(&mut options, &*log, &SystemRandom::new()).await,
            None => Err(OpenError::NoLedger { path: path.clone() }),
        };
        Ok(Self { log, keys, snapshots: Snapshots::beside(&path) })
    }
}
