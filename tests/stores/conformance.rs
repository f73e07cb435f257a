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
                rewrapping_revives_nothing,
                reopening_changes_nothing,
            ]);
        )+
    };
}

suite! {
    memory: InMemory;
    sqlite: OnDisk::new();
}
