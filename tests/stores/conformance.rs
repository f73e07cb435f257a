//! The suite of `rota::log::conformance` on each store.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use rota::log::EventLog;
use rota::log::conformance::{self, Workshop};
use rota::log::memory::MemoryLog;
use rota::log::sqlite::SqliteLog;
use tempfile::TempDir;

use crate::postgres::{self, OneByOne};
use crate::postgres_server::Cluster;

struct InMemory;

#[async_trait]
impl Workshop for InMemory {
    async fn fresh(&self) -> Arc<dyn EventLog> {
        Arc::new(MemoryLog::new())
    }

    async fn reopen(&self, _: Arc<dyn EventLog>) -> Option<Arc<dyn EventLog>> {
        None
    }
}

struct OnDisk {
    folder: TempDir,
    made: AtomicU32,
}

impl OnDisk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), made: AtomicU32::new(0) }
    }

    async fn open(path: &Path) -> Arc<dyn EventLog> {
        Arc::new(SqliteLog::open(path).await.unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join(format!("{}.db", self.made.load(Ordering::SeqCst)))
    }
}

#[async_trait]
impl Workshop for OnDisk {
    async fn fresh(&self) -> Arc<dyn EventLog> {
        self.made.fetch_add(1, Ordering::SeqCst);
        Self::open(&self.path()).await
    }

    async fn reopen(&self, log: Arc<dyn EventLog>) -> Option<Arc<dyn EventLog>> {
        drop(log);
        Some(Self::open(&self.path()).await)
    }
}

macro_rules! suite {
    ($store:ident, $workshop:expr, [$($test:ident),+ $(,)?]) => {
        mod $store {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    conformance::$test(&$workshop).await;
                }
            )+
        }
    };
    ($($store:ident: $workshop:expr;)+) => {
        $(
            suite!($store, $workshop, [
                starts_empty,
                positions_are_dense,
                only_at_the_tip,
                one_of_many_writers_wins,
                a_tailing_reader_misses_nothing,
                single_events_come_in_order,
                shredding_empties_one_part,
                marks_replace_each_other,
                named_values_are_kept,
                a_value_is_begun_once,
                rewrapping_revives_nothing,
                tiles_come_with_their_events,
                a_tree_is_made_afterwards,
                roots_are_signed_one_after_the_other,
                reopening_changes_nothing,
            ]);
        )+
    };
}

suite! {
    memory: InMemory;
    sqlite: OnDisk::new();
    postgresql: Shared::new(false);
    postgresql_one_by_one: Shared::new(true);
}

struct Shared {
    /// Whether single items are written by the library.
    single: bool,
    /// The schema of the newest log.
    schema: tokio::sync::Mutex<String>,
}

impl Shared {
    fn new(single: bool) -> Self {
        Self { single, schema: tokio::sync::Mutex::default() }
    }

    async fn open(&self) -> Arc<dyn EventLog> {
        let log = postgres::open(&self.schema.lock().await).await;
        if self.single {
            return Arc::new(OneByOne(log));
        }
        Arc::new(log)
    }
}

#[async_trait]
impl Workshop for Shared {
    async fn fresh(&self) -> Arc<dyn EventLog> {
        *self.schema.lock().await = Cluster::shared().schema().await;
        self.open().await
    }

    async fn reopen(&self, log: Arc<dyn EventLog>) -> Option<Arc<dyn EventLog>> {
        drop(log);
        Some(self.open().await)
    }
}

#[cfg(feature = "esdb")]
suite! {
    esdb_double: crate::esdb::OnDouble::default();
}
