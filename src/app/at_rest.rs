//! A ledger that is opened to be looked at: nothing is started, and nothing is made.

use std::sync::Arc;

use ring::rand::SystemRandom;

use super::options::{OpenError, Options, StoreUrl};
use super::rewrap::KEYS;
use super::snapshot::Snapshots;
use super::start_keys::{key_ring, random_bytes};
use super::store::{LEDGER, replica_file};
use crate::log::EventLog;
#[cfg(feature = "esdb")]
use crate::log::esdb::EsdbLog;
use crate::log::postgres::PostgresLog;
use crate::log::sqlite::SqliteLog;
use crate::sealing::KeyRing;

/// A ledger at rest.
pub struct AtRest {
    /// Its log.
    pub log: Arc<dyn EventLog>,
    /// Its keys, if the master key is at hand: looking at events needs none.
    pub keys: Result<KeyRing, OpenError>,
    /// Its snapshots.
    pub snapshots: Snapshots,
}

/// Opens a store as it is, with its lock where it has one, and starts nothing. A store on disk that is not there is
/// made only if it is to be written.
pub async fn open_log(store: &StoreUrl, make: bool) -> Result<Arc<dyn EventLog>, OpenError> {
    match store {
        StoreUrl::Memory => Err(OpenError::NothingKept),
        StoreUrl::Sqlite(path) if !make && !path.exists() => {
            Err(OpenError::NoLedger { store: store.to_string() })
        }
        StoreUrl::Sqlite(path) => Ok(Arc::new(SqliteLog::open(path).await?)),
        StoreUrl::Postgres(url) => {
            let origin = random_bytes::<8>(&SystemRandom::new())?;
            Ok(Arc::new(if make {
                PostgresLog::open(url, *origin).await?
            } else {
                PostgresLog::open_existing(url, *origin).await?
            }))
        }
        #[cfg(feature = "esdb")]
        StoreUrl::Esdb(url) => Ok(Arc::new(EsdbLog::open(url).await?)),
    }
}

impl AtRest {
    /// Opens what is there: a file with its lock taken, or a database, which others may be serving. Makes nothing:
    /// neither a store nor a master key.
    pub async fn open(mut options: Options) -> Result<Self, OpenError> {
        let random = SystemRandom::new();
        let (log, snapshots): (Arc<dyn EventLog>, _) = match &options.store {
            StoreUrl::Memory => return Err(OpenError::NothingKept),
            StoreUrl::Sqlite(path) if !path.exists() => {
                return Err(OpenError::NoLedger { store: options.store.to_string() });
            }
            StoreUrl::Sqlite(path) => (Arc::new(SqliteLog::open(path).await?), Snapshots::beside(path)),
            StoreUrl::Postgres(url) => {
                let log = PostgresLog::open_existing(url, *random_bytes::<8>(&random)?).await?;
                let id = log.meta(LEDGER).await?.unwrap_or_default();
                (Arc::new(log), Snapshots::beside(&replica_file(&options.data, &id)?))
            }
            #[cfg(feature = "esdb")]
            StoreUrl::Esdb(url) => {
                let log = EsdbLog::open(url).await?;
                let Some(id) = log.meta(LEDGER).await? else {
                    return Err(OpenError::NoLedger { store: options.store.to_string() });
                };
                (Arc::new(log), Snapshots::beside(&replica_file(&options.data, &id)?))
            }
        };
        let keys = match log.meta(KEYS).await? {
            Some(_) => key_ring(&mut options, &*log, &random).await,
            None => Err(OpenError::NoLedger { store: options.store.to_string() }),
        };
        Ok(Self { log, keys, snapshots })
    }
}
