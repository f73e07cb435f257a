//! The store that is named, opened, and where this process keeps files of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::SystemRandom;
use uuid::Uuid;

use super::options::{OpenError, Options, StoreUrl};
use super::snapshot::Snapshots;
use super::start_keys::random_bytes;
#[cfg(feature = "esdb")]
use crate::log::esdb::EsdbLog;
use crate::log::memory::MemoryLog;
use crate::log::postgres::PostgresLog;
use crate::log::sqlite::{self, SqliteLog};
use crate::log::{EventLog, LogError};
use crate::notices::postgres::PostgresNotices;

/// The name under which a shared store keeps what its replicas' files are named by.
pub(super) const LEDGER: &str = "ledger-id";

/// Files that are of no use to anybody afterwards.
pub(super) struct Scratch(pub(super) [PathBuf; 2]);

impl Drop for Scratch {
    fn drop(&mut self) {
        for (path, ending) in self.0.iter().flat_map(|path| ["", "-wal", "-shm"].map(|ending| (path, ending)))
        {
            let mut name = path.clone().into_os_string();
            name.push(ending);
            // It may never have been made.
            let _ = std::fs::remove_file(name);
        }
    }
}

/// An opened store, and where this process's own files are.
pub(super) struct Store {
    pub(super) log: Arc<dyn EventLog>,
    /// The files are named after it.
    pub(super) database: PathBuf,
    pub(super) snapshots: Option<Snapshots>,
    pub(super) sqlite: Option<Arc<SqliteLog>>,
    /// The deliveries of all replicas; `None`: they are in a file of this process.
    pub(super) notices: Option<PostgresNotices>,
    /// What keeps another process from these files.
    pub(super) held: Option<File>,
}

impl Store {
    pub(super) async fn open(options: &mut Options, random: &SystemRandom) -> Result<Self, OpenError> {
        Ok(match &options.store {
            StoreUrl::Memory => {
                let name = format!("rota-{}.db", Uuid::from_bytes(*random_bytes::<16>(random)?));
                let log = options.log.take().unwrap_or_else(|| Arc::new(MemoryLog::new()));
                let database = std::env::temp_dir().join(name);
                Self { log, database, snapshots: None, sqlite: None, notices: None, held: None }
            }
            StoreUrl::Sqlite(path) => {
                let log = Arc::new(SqliteLog::open(path).await?);
                let snapshots = Some(Snapshots::beside(path));
                Self {
                    log: log.clone(),
                    database: path.clone(),
                    snapshots,
                    sqlite: Some(log),
                    notices: None,
                    held: None,
                }
            }
            StoreUrl::Postgres(url) => {
                let log = PostgresLog::open(url, *random_bytes::<8>(random)?).await?;
                let notices = Some(PostgresNotices::new(log.pool().clone()));
                Self { notices, ..Self::shared(Arc::new(log), &options.data, random).await? }
            }
            #[cfg(feature = "esdb")]
            StoreUrl::Esdb(url) => {
                let log = EsdbLog::open(url).await?;
                log.start_sweeping();
                Self::shared(Arc::new(log), &options.data, random).await?
            }
        })
    }

    /// A store that others use as well, with files of this replica's own.
    async fn shared(log: Arc<dyn EventLog>, data: &Path, random: &SystemRandom) -> Result<Self, OpenError> {
        let database = replica_files(data, &*log, random).await?;
        let held = Some(sqlite::hold(&database).await?);
        let snapshots = Some(Snapshots::beside(&database));
        Ok(Self { log, database, snapshots, sqlite: None, notices: None, held })
    }
}

/// The name that this replica's own files begin with. The ledger's id is in it: files of another ledger would pass for
/// this one's.
async fn replica_files(data: &Path, log: &dyn EventLog, random: &SystemRandom) -> Result<PathBuf, OpenError> {
    sqlite::make_private_folder(data)?;
    let id = log.make_meta(LEDGER, &*random_bytes::<16>(random)?).await?;
    Ok(replica_file(data, &id)?)
}

pub(super) fn replica_file(data: &Path, ledger: &[u8]) -> Result<PathBuf, LogError> {
    let id = Uuid::from_slice(ledger);
    let id = id.map_err(|_| LogError::Corrupt("it has no id of rota's: was it ever served?".to_owned()))?;
    Ok(data.join(format!("replica-{}.db", id.simple())))
}
