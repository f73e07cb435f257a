//! The service inside the test's own process, with a clock that the test turns.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rota::app::clock::ManualClock;
use rota::app::{App, Opened, OperatorKey, Options, StoreUrl};
use rota::http::{Running, ServeOptions, start};
use rota_aggregates::secret::Secret;

use crate::client::Caller;

/// The operator key of every such service.
pub const OPERATOR: &str = "operator-key-for-tests-0123456789abcdef";

/// A service on a scratch folder.
pub struct Service {
    pub folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub operator: Caller,
    opened: Option<Opened>,
    running: Option<Running>,
}

async fn open(path: &Path, clock: Arc<ManualClock>) -> (Opened, Running) {
    let mut options = Options::new(StoreUrl::Sqlite(path.to_owned()), clock);
    options.operator_key = OperatorKey::Given(Secret::new(OPERATOR.to_owned()));
    let opened = App::open(options, |_, _| ()).await.unwrap();
    let mut serve = ServeOptions::new("127.0.0.1:0".parse().unwrap());
    serve.workers = Some(2);
    let running = start(Arc::clone(&opened.app), serve).await.unwrap();
    (opened, running)
}

impl Service {
    /// Starts one at the beginning of 2027.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2027-01-01T00:00:00Z".parse().unwrap()));
        let (opened, running) = open(&folder.path().join("rota.db"), Arc::clone(&clock)).await;
        let operator = Caller::bearer(&running.url, OPERATOR);
        Self { folder, clock, operator, opened: Some(opened), running: Some(running) }
    }

    /// The database file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("rota.db")
    }

    /// The service below HTTP.
    pub fn app(&self) -> &Arc<App> {
        &self.opened.as_ref().unwrap().app
    }

    /// Stops it, lets `meanwhile` happen, and starts it again on the same files.
    pub async fn restart(&mut self, meanwhile: impl FnOnce(&Self)) {
        self.running.take().unwrap().stop().await;
        self.opened.take().unwrap().close().await;
        meanwhile(self);
        let (opened, running) = open(&self.path(), Arc::clone(&self.clock)).await;
        self.operator = Caller::bearer(&running.url, OPERATOR);
        (self.opened, self.running) = (Some(opened), Some(running));
    }

    /// Waits until a condition holds; fails after half a minute.
    pub async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
        let wait = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the condition comes to hold");
    }
}
