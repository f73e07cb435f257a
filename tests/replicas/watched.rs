//! A log in memory whose reads are counted, can be held on their way and can be made to fail, and services on it
//! that share it as replicas share a server.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rota::app::clock::ManualClock;
use rota::app::{App, Opened, OperatorKey, Options, StoreUrl};
use rota::http::{Running, ServeOptions, start};
use rota::log::lease::Leases;
use rota::log::memory::MemoryLog;
use rota::log::tree::TreeStore;
use rota::log::{Batch, EventLog, LogError, Page, StoredEvent};
use rota::sealing::MasterKey;
use rota_aggregates::Position;
use rota_aggregates::observation::PartRef;
use rota_aggregates::secret::Secret;
use rota_projections::live::UseMark;
use tokio::sync::watch;

use crate::client::Caller;

/// The operator key of every replica.
pub const OPERATOR: &str = "operator-key-for-tests-0123456789abcdef";
const MASTER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// One replica's way to the shared log.
pub struct Watched {
    inner: Arc<MemoryLog>,
    pub reads: AtomicU64,
    pub unreachable: AtomicBool,
    held: watch::Sender<bool>,
}

impl Watched {
    pub fn new(inner: &Arc<MemoryLog>) -> Arc<Self> {
        let (held, _) = watch::channel(false);
        Arc::new(Self {
            inner: Arc::clone(inner),
            reads: AtomicU64::new(0),
            unreachable: AtomicBool::new(false),
            held,
        })
    }

    /// Whether answers to reads stay on their way.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    fn see(&self) -> Result<(), LogError> {
        if self.unreachable.load(Ordering::SeqCst) {
            return Err(LogError::unavailable("the server can't be reached"));
        }
        Ok(())
    }
}

#[async_trait]
impl EventLog for Watched {
    fn tree(&self) -> &dyn TreeStore {
        self.inner.tree()
    }

    async fn append(&self, batch: &Batch) -> Result<(), LogError> {
        self.see()?;
        self.inner.append(batch).await
    }

    async fn next(&self) -> Result<Position, LogError> {
        self.see()?;
        self.inner.next().await
    }

    async fn read(&self, from: Position, limit: usize) -> Result<Page, LogError> {
        self.see()?;
        self.reads.fetch_add(1, Ordering::SeqCst);
        // The server has answered; the answer travels.
        let page = self.inner.read(from, limit).await;
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.expect("the log outlives its reads");
        page
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<StoredEvent>, LogError> {
        self.see()?;
        self.inner.read_at(positions).await
    }

    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, LogError> {
        self.inner.meta(name).await
    }

    async fn names(&self) -> Result<Vec<String>, LogError> {
        self.inner.names().await
    }

    async fn set_meta(&self, values: &[(&str, &[u8])]) -> Result<(), LogError> {
        self.see()?;
        self.inner.set_meta(values).await
    }

    async fn rewrap(&self, keys: &[(PartRef, Vec<u8>)]) -> Result<(), LogError> {
        self.inner.rewrap(keys).await
    }

    async fn use_marks(&self) -> Result<Vec<UseMark>, LogError> {
        self.inner.use_marks().await
    }

    async fn backup(&self, path: &Path) -> Result<(), LogError> {
        self.inner.backup(path).await
    }

    async fn grown(&self, known: Position) -> bool {
        // Whatever must not rest on a hint does not: this one comes late.
        self.inner.grown(known).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        true
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn leases(&self) -> Option<&dyn Leases> {
        self.inner.leases()
    }
}

/// A service on the shared log, and the operator as its caller.
pub struct Replica {
    pub log: Arc<Watched>,
    pub operator: Caller,
    pub app: Arc<App>,
    opened: Opened,
    running: Running,
}

/// What all replicas have in common.
pub struct Site {
    pub shared: Arc<MemoryLog>,
    pub clock: Arc<ManualClock>,
    pub max_staleness: Duration,
}

impl Site {
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::new("2027-01-01T00:00:00Z".parse().unwrap()));
        Self { shared: Arc::new(MemoryLog::shared()), clock, max_staleness: Duration::ZERO }
    }

    pub fn options(&self, log: Arc<dyn EventLog>) -> Options {
        let mut options = Options::new(StoreUrl::Memory, self.clock.clone());
        options.operator_key = OperatorKey::Given(Secret::new(OPERATOR.to_owned()));
        options.master_key = Some(MasterKey::from_base64(MASTER).unwrap());
        options.log = Some(log);
        options.max_staleness = self.max_staleness;
        options
    }

    pub async fn replica(&self) -> Replica {
        // The first to come installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let log = Watched::new(&self.shared);
        let opened = App::open(self.options(log.clone()), |_, _| ()).await.unwrap();
        let mut serve = ServeOptions::new("127.0.0.1:0".parse().unwrap());
        serve.workers = Some(2);
        let running = start(Arc::clone(&opened.app), serve).await.unwrap();
        let operator = Caller::bearer(&running.url, OPERATOR);
        Replica { log, operator, app: Arc::clone(&opened.app), opened, running }
    }
}

impl Replica {
    pub async fn stop(self) {
        drop(self.app);
        self.running.stop().await;
        self.opened.close().await;
    }
}
