//! What is needed to open the service, and what can be wrong with it.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rota_aggregates::secret::Secret;

use super::Failure;
use super::clock::Clock;
use super::ledger::anchor::AnchorOptions;
use super::managed::targets::Targets;
use super::sessions::SessionOptions;
use crate::egress::Egress;
#[cfg(feature = "esdb")]
use crate::log::esdb::EsdbUrl;
use crate::log::postgres::PostgresUrl;
use crate::log::{EventLog, LogError};
use crate::sealing::{MasterKey, MasterKeyError, SealError};

/// Where a replica on a shared store keeps what is its own.
pub const DATA: &str = "rota-data";
/// A replica's clock may be so far off the store's.
pub(super) const CLOCK_OFF_MAX_MILLIS: i64 = 2_000;
/// An operator key has at least this many characters.
pub const OPERATOR_KEY_CHARS_MIN: usize = 32;

/// Which store to use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreUrl {
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `postgres://…`
    Postgres(PostgresUrl),
    /// `esdb://…`: a ledger in an EventStoreDB cluster.
    #[cfg(feature = "esdb")]
    Esdb(EsdbUrl),
    /// `memory:`, for trying out: nothing is kept.
    Memory,
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => {
                Ok(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into()))
            }
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(PostgresUrl::new(s.to_owned()))),
            #[cfg(feature = "esdb")]
            Some(("esdb" | "esdb+discover", _)) => s.parse().map(Self::Esdb),
            #[cfg(not(feature = "esdb"))]
            Some(("esdb" | "esdb+discover", _)) => {
                Err("this build has no EventStoreDB store: build rota with its feature `esdb`".to_owned())
            }
            _ => Err(
                "a store is named sqlite:PATH, such as sqlite:rota-data/rota.db, or postgres://HOST/DATABASE"
                    .to_owned(),
            ),
        }
    }
}

impl StoreUrl {
    /// Whether it is a server's, on which several replicas may work.
    pub fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite(_) | Self::Memory => false,
            Self::Postgres(_) => true,
            #[cfg(feature = "esdb")]
            Self::Esdb(_) => true,
        }
    }
}

/// What it is, without anything secret.
impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
            #[cfg(feature = "esdb")]
            Self::Esdb(url) => url.fmt(f),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

/// How the operator proves who they are.
#[derive(Debug)]
pub enum OperatorKey {
    /// With this key from now on.
    Given(Secret),
    /// With the key that the store knows; on an empty store, with one that is made now.
    Kept,
}

/// What the live view is made of at the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LiveFrom {
    /// The newest good snapshot and the events after it.
    Snapshot,
    /// All events.
    Events,
}

/// Why the service can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store.
    #[error("the store can't be opened")]
    Store(#[from] LogError),
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The sealed keys in the store.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// The store has sealed items and the key to them is not there.
    #[error(
        "the store was made with a master key, and {path} is not there: put the key's file back, or set \
         ROTA_MASTER_KEY"
    )]
    MasterKeyMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A shared store has no folder in which a key could be made.
    #[error(
        "a store that replicas share needs a master key that every one of them has: set ROTA_MASTER_KEY (`openssl rand -base64 \
         32` makes one), or name its file with --master-key-file"
    )]
    MasterKeyNeeded,
    /// This machine's clock, or the store's, is wrong.
    #[error(
        "this machine's clock is {by_millis} ms off the store's, and a replica that disagrees by more than \
         {CLOCK_OFF_MAX_MILLIS} ms must not tell what is valid: run NTP on both"
    )]
    ClockOff {
        /// By how much: positive if this machine is ahead.
        by_millis: i64,
    },
    /// The operator key is too short.
    #[error("the operator key must have at least {OPERATOR_KEY_CHARS_MIN} characters")]
    OperatorKeyTooShort,
    /// There is nothing to look at.
    #[error("there is no ledger in {store} yet: `rota serve` or `rota quickstart` makes one")]
    NoLedger {
        /// Where it was looked for.
        store: String,
    },
    /// The store is in memory.
    #[error("a store in memory keeps nothing that could be looked at")]
    NothingKept,
    /// A copy into the store was not finished.
    #[error("a copy into this store was not finished: run the same `rota copy` again, or empty the store")]
    CopyUnfinished,
    /// Somebody copies from or to the store.
    #[error("`rota copy` is at work on this store: wait until it is done")]
    BeingCopied,
    /// The ledger has an origin already.
    #[error(
        "the ledger's origin is {there}, and {asked} was asked for: an origin never changes, since every checkpoint \
         names it. Set ROTA_LEDGER_ORIGIN or --ledger-origin to {there}, or leave it out"
    )]
    OtherOrigin {
        /// The ledger's.
        there: String,
        /// The one that was asked for.
        asked: String,
    },
    /// Something else.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// What is needed to open the service.
pub struct Options {
    /// Which store.
    pub store: StoreUrl,
    /// The master key, if it is given directly.
    pub master_key: Option<MasterKey>,
    /// The master key before that, while a rewrapping is unfinished.
    pub previous_master_key: Option<MasterKey>,
    /// The master key's file; `None` for the place beside the database.
    pub master_key_file: Option<PathBuf>,
    /// Where a replica on a shared store keeps what is its own: views and snapshots.
    pub data: PathBuf,
    /// How the operator proves who they are.
    pub operator_key: OperatorKey,
    /// What the live view is made of.
    pub live_from: LiveFrom,
    /// Where requests to others' addresses may go.
    pub egress: Egress,
    /// The systems whose credentials are rotated; `None` for those that there are, reached by way of `egress`.
    pub targets: Option<Arc<dyn Targets>>,
    /// How session tokens are made.
    pub sessions: SessionOptions,
    /// The name of the log, for a ledger that has none yet; `None` for one of its own making.
    pub ledger_origin: Option<String>,
    /// Where the guard file is; `None` for the place beside the master key.
    pub ledger_guard: Option<PathBuf>,
    /// Where checkpoints go, so that history can't be rewritten here alone.
    pub anchors: AnchorOptions,
    /// Whether it is recorded who reads of the ledger.
    pub record_reads: bool,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// For how long a proof that this replica is current serves others; zero for none but those who came before it.
    /// Of consequence only where several replicas share a store.
    pub max_staleness: Duration,
    /// A log that others in this process use as well; `None` for one of its own. For [`StoreUrl::Memory`].
    pub log: Option<Arc<dyn EventLog>>,
}

impl Options {
    /// The defaults for a store.
    pub fn new(store: StoreUrl, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            master_key: None,
            previous_master_key: None,
            master_key_file: None,
            data: PathBuf::from(DATA),
            operator_key: OperatorKey::Kept,
            live_from: LiveFrom::Snapshot,
            egress: Egress::new(false),
            targets: None,
            sessions: SessionOptions::default(),
            ledger_origin: None,
            ledger_guard: None,
            anchors: AnchorOptions::default(),
            record_reads: false,
            clock,
            max_staleness: Duration::ZERO,
            log: None,
        }
    }

    /// Where the master key's file is, or would be made.
    pub fn master_key_path(&self) -> PathBuf {
        self.master_key_file.clone().unwrap_or_else(|| match &self.store {
            StoreUrl::Sqlite(path) => path.with_file_name("master.key"),
            StoreUrl::Postgres(_) => self.data.join("master.key"),
            #[cfg(feature = "esdb")]
            StoreUrl::Esdb(_) => self.data.join("master.key"),
            StoreUrl::Memory => PathBuf::from("master.key"),
        })
    }
}

impl Options {
    /// Where the guard file of a ledger is whose own files are named after `database`. A ledger in memory has none.
    pub(super) fn guard_path(&self, database: &Path) -> Option<PathBuf> {
        if self.store == StoreUrl::Memory {
            return None;
        }
        Some(self.ledger_guard.clone().unwrap_or_else(|| {
            let mut name = database.file_name().unwrap_or_default().to_owned();
            name.push(".guard");
            self.master_key_path().with_file_name(name)
        }))
    }
}

/// Where the old master key waits while a rewrapping is unfinished.
pub fn previous_key_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".previous");
    name.into()
}
