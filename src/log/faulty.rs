//! A log that fails on demand: for tests of whatever stands above a log.
//!
//! [`FaultyLog`] wraps a log and fails chosen writes in each of the ways that a real store can: nothing stored
//! and known to be so, nothing stored and nobody knows, stored and nobody knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use rota_aggregates::observation::PartRef;
use rota_aggregates::{Position, Timestamp};
use rota_projections::live::UseMark;
use tokio::sync::watch;

use super::lease::Leases;
use super::tree::TreeStore;
use super::{Batch, EventLog, LogError, Page, StoredEvent};

/// How a write fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Not stored, and the answer says so.
    Refused,
    /// Not stored, and the answer is that nobody knows.
    Lost,
    /// Stored, and the answer is that nobody knows.
    Unheard,
}

impl Fault {
    /// Every way to fail.
    pub const ALL: [Self; 3] = [Self::Refused, Self::Lost, Self::Unheard];
}

/// What befalls the write with a number, counted from 0.
type Plan = Box<dyn Fn(u64) -> Option<Fault> + Send + Sync>;

/// A log that fails on demand, and that can be held still in the middle of a write.
pub struct FaultyLog {
    inner: Arc<dyn EventLog>,
    plan: Plan,
    /// Reads that still fail after a write whose outcome is unknown.
    blind: AtomicU64,
    /// How many reads fail after each write whose outcome is unknown.
    blind_after: u64,
    /// A position whose leaf is not read as it was written.
    altered: AtomicU64,
    held: watch::Sender<bool>,
    /// Writes that have begun.
    begun: watch::Sender<u64>,
}

impl FaultyLog {
    /// A log whose writes fail as `plan` says.
    pub fn new(
        inner: Arc<dyn EventLog>,
        plan: impl Fn(u64) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner,
            plan: Box::new(plan),
            blind: AtomicU64::new(0),
            blind_after: 0,
            altered: AtomicU64::new(u64::MAX),
            held: watch::channel(false).0,
            begun: watch::channel(0).0,
        }
    }

    /// The same, whose reads fail so many times after each write whose outcome is unknown.
    #[must_use]
    pub fn blind_after_doubt(self, reads: u64) -> Self {
        Self { blind_after: reads, ..self }
    }

    /// From now on one bit of the leaf at a position is another than the one that was written.
    pub fn alter(&self, position: Position) {
        self.altered.store(position.0, Ordering::SeqCst);
    }

    /// Holds every write from now on, before it reaches the store.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets the held write go on, and those after it.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Waits until so many writes have begun.
    pub async fn begun(&self, writes: u64) {
        let mut begun = self.begun.subscribe();
        begun.wait_for(|n| *n >= writes).await.expect("the log outlives its watchers");
    }

    fn doubt(&self) -> LogError {
        self.blind.store(self.blind_after, Ordering::SeqCst);
        LogError::Indeterminate("the connection broke".into())
    }

    fn see(&self) -> Result<(), LogError> {
        let blind = self.blind.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if blind.is_ok() { Err(LogError::unavailable("the store can't be reached")) } else { Ok(()) }
    }
}

#[async_trait]
impl EventLog for FaultyLog {
    async fn append(&self, batch: &Batch) -> Result<(), LogError> {
        let mut number = 0;
        self.begun.send_modify(|begun| {
            number = *begun;
            *begun += 1;
        });
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.expect("the log outlives its writes");
        match (self.plan)(number) {
            None => self.inner.append(batch).await,
            Some(Fault::Refused) => Err(LogError::unavailable("the disk is full")),
            Some(Fault::Lost) => Err(self.doubt()),
            Some(Fault::Unheard) => {
                self.inner.append(batch).await?;
                Err(self.doubt())
            }
        }
    }

    async fn settle(&self, batch: &Batch) -> Result<bool, LogError> {
        self.see()?;
        self.inner.settle(batch).await
    }

    async fn take_turn(&self, from: Position) -> Result<Option<Page>, LogError> {
        self.inner.take_turn(from).await
    }

    async fn end_turn(&self) {
        self.inner.end_turn().await;
    }

    async fn grown(&self, known: Position) -> bool {
        self.inner.grown(known).await
    }

    async fn next(&self) -> Result<Position, LogError> {
        self.see()?;
        self.inner.next().await
    }

    async fn read(&self, from: Position, limit: usize) -> Result<Page, LogError> {
        self.see()?;
        let mut page = self.inner.read(from, limit).await?;
        let altered = self.altered.load(Ordering::SeqCst).checked_sub(from.0);
        if let Some((leaf, _)) = altered.and_then(|at| page.leaves.get_mut(at as usize)) {
            leaf[0] ^= 1;
        }
        Ok(page)
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
        self.inner.set_meta(values).await
    }

    async fn make_meta(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, LogError> {
        self.inner.make_meta(name, value).await
    }

    async fn clock(&self) -> Result<Option<Timestamp>, LogError> {
        self.inner.clock().await
    }

    async fn rewrap(&self, keys: &[(PartRef, Vec<u8>)]) -> Result<(), LogError> {
        self.inner.rewrap(keys).await
    }

    async fn use_marks(&self) -> Result<Vec<UseMark>, LogError> {
        self.inner.use_marks().await
    }

    async fn backup(&self, path: &std::path::Path) -> Result<(), LogError> {
        self.inner.backup(path).await
    }

    fn bytes_max(&self) -> usize {
        self.inner.bytes_max()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn tree(&self) -> &dyn TreeStore {
        self.inner.tree()
    }

    fn leases(&self) -> Option<&dyn Leases> {
        self.inner.leases()
    }
}
