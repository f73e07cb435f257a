//! The use cases: load, decide, append, answer. Nothing here knows HTTP or SQL; HTTP, the command line and
//! the scheduler all call this, and so a rule is in one place.
//!
//! - [`open`](App::open): from [`options`](Options), a store and its keys to a running service, and back;
//! - [`change`]: what every change has in common: deciding until the log agrees;
//! - [`issue`], [`rotate`], [`webhook_secret`], [`lifecycle`], [`workspaces`], [`webhooks`]: the changes;
//! - [`places`]: environments and folders;
//! - [`managed`]: credentials that live in other systems, and their rotation;
//! - [`campaigns`]: many credentials rotated by one plan; [`custody`]: whose they are;
//! - [`verify`], [`signature`], [`edge`], [`read`]: what changes nothing;
//! - [`reports`]: the auditors' questions, as of any point in history; [`forensics`]: whose secret leaked;
//! - [`sessions`], [`token_keys`]: tokens for a secret, and the keys that sign them;
//! - [`idempotency`]: answering a retry with the first answer;
//! - [`quiet`]: whether an old secret is used still, and what a policy makes of it;
//! - [`upkeep`]: what is due: expiry, shredding, snapshots; [`duty`]: which replica does it;
//! - [`rewrap`], [`master_key_file`]: a new master key;
//! - [`ledger`]: what is signed, what proves what, and what happens when the store is not what was signed for;
//! - [`copy`]: moving a ledger to another store;
//! - [`replay`]: the state that events give, up to any point;
//! - [`at_rest`], [`audit_check`]: a ledger that nobody serves, and whether it is what it says.

pub mod at_rest;
pub mod audit_check;
pub mod caller;
pub mod campaigns;
mod change;
pub mod clock;
pub mod copy;
pub mod custody;
pub mod duty;
pub mod edge;
mod entropy;
pub mod erase;
mod failure;
pub mod forensics;
pub mod idempotency;
pub mod issue;
pub mod jobs;
pub mod ledger;
pub mod lifecycle;
pub mod managed;
pub mod master_key_file;
mod open;
mod options;
pub mod places;
pub mod quiet;
pub mod read;
mod reads;
mod refusals;
pub mod replay;
pub mod reports;
pub mod rewrap;
pub mod rotate;
pub mod sessions;
pub mod signature;
mod signing_keys;
pub mod snapshot;
mod start_keys;
mod store;
mod sweep;
pub mod token_keys;
pub mod upkeep;
pub mod verify;
pub mod webhook_secret;
pub mod webhooks;
pub mod workspaces;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use ring::rand::SystemRandom;
use rota_aggregates::{CredentialId, EventId, Position, RequestId, Timestamp};
use tokio::sync::watch;
use uuid::Uuid;

pub use self::caller::{Authenticated, Caller, Principal, SessionState, Shown};
pub use self::change::Answer;
use self::clock::Clock;
use self::duty::Duty;
use self::entropy::Entropy;
pub use self::failure::Failure;
pub use self::open::Opened;
pub use self::options::{DATA, LiveFrom, OpenError, OperatorKey, Options, StoreUrl, previous_key_path};
use crate::log::EventLog;
use crate::log::committer::Committer;
use crate::log::read_index::ReadIndex;
use crate::log::tip::SharedTip;
use crate::notices::Notices;
use crate::sealing::KeyRing;
use crate::views::Views;

/// The running service, below every way in.
pub struct App {
    log: Arc<dyn EventLog>,
    tip: Arc<SharedTip>,
    committer: Committer,
    views: Arc<Views>,
    keys: RwLock<Arc<KeyRing>>,
    operator: RwLock<[u8; 32]>,
    clock: Arc<dyn Clock>,
    random: SystemRandom,
    in_progress: Arc<Mutex<HashSet<[u8; 32]>>>,
    signing_keys: signing_keys::SigningKeys,
    /// Signed requests that were given something without a change.
    used_once: Mutex<BTreeSet<(Timestamp, CredentialId, [u8; 32])>>,
    snapshots: Option<snapshot::Snapshots>,
    /// Where the master key's file is, unless the key was given directly.
    master_key_file: Option<std::path::PathBuf>,
    jobs: Mutex<HashMap<&'static str, jobs::JobStatus>>,
    notices: Notices,
    managed: managed::Engine,
    /// Where the store is, for people.
    store: String,
    /// By how many milliseconds this machine's clock is ahead of the store's; 0 while they agree.
    clock_off: std::sync::atomic::AtomicI64,
    /// What keeps another process from this one's files.
    _held: Option<std::fs::File>,
    sessions: sessions::Sessions,
    /// Proves that the tip is current; `None` where only this process moves it.
    read_index: Option<Arc<ReadIndex>>,
    upkeep_duty: Arc<Duty>,
    notices_duty: Arc<Duty>,
    presence: Arc<Duty>,
    ledger: ledger::LedgerState,
    replica: Uuid,
    /// Whether it is recorded who reads of the ledger.
    records_reads: bool,
    /// Places for whoever reads the whole ledger.
    sweeping: tokio::sync::Semaphore,
    _scratch: Option<store::Scratch>,
}

impl App {
    /// Now: never before the last event, whatever the clock does.
    pub fn now(&self) -> Timestamp {
        self.clock.now().max(self.tip.tip.read().live.last_time())
    }

    /// Where the store is, without anything secret.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Whether this machine's clock agrees with the store's.
    pub fn clock_agrees(&self) -> bool {
        self.trusts_its_clock().is_ok()
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The log, to read from.
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// What is known of the log's tip.
    pub fn tip(&self) -> &Arc<SharedTip> {
        &self.tip
    }

    /// The views on disk.
    pub fn views(&self) -> &Arc<Views> {
        &self.views
    }

    /// What telling others needs.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// A random number, to spread what would come all at once.
    pub(crate) fn jitter(&self) -> Result<u16, Failure> {
        Ok(u16::from_le_bytes(self.entropy()?.take::<2>()))
    }

    /// The position that the next event will have, to be watched.
    pub fn head(&self) -> watch::Receiver<Position> {
        self.committer.head()
    }

    /// Whether the last commit succeeded.
    pub fn is_healthy(&self) -> bool {
        self.committer.healthy()
    }

    /// Returns once the tip holds every event that was committed when this was called. Whoever lets somebody in, or
    /// answers from memory whether a secret is valid, asks first. Free where only this process moves the tip; on a
    /// shared store one read of its end, shared by all who ask at the same time; an error if that can't be had.
    pub async fn current(&self) -> Result<(), Failure> {
        match &self.read_index {
            None => Ok(()),
            Some(index) => Ok(index.prove().await?),
        }
    }

    /// Whether other replicas may use the same store.
    pub fn is_shared(&self) -> bool {
        self.read_index.is_some()
    }

    /// How many replicas use the store, this one among them.
    pub async fn replicas(&self) -> Result<u64, Failure> {
        match self.log.leases() {
            None => Ok(1),
            Some(leases) => Ok(leases.count(open::PRESENCE).await?),
        }
    }

    /// A job that one replica does for all.
    pub fn duty(&self, name: &'static str) -> Arc<Duty> {
        Duty::new(Arc::clone(&self.log), name, self.replica)
    }

    /// Whether this replica does the upkeep for all.
    pub fn does_upkeep(&self) -> bool {
        self.upkeep_duty.held().is_some()
    }

    /// Lets another replica do the upkeep, if there is one: this one asks again after a while.
    pub async fn give_up_upkeep(&self) {
        self.upkeep_duty.leave().await;
    }

    fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.keys.read())
    }

    fn entropy(&self) -> Result<Entropy, Failure> {
        Entropy::draw(&self.random)
    }

    /// A fresh id for a request or a job run.
    pub fn new_request_id(&self) -> Result<RequestId, Failure> {
        Ok(RequestId(self.entropy()?.id(self.clock.now())))
    }

    /// Waits until the views hold everything that is recorded now.
    pub async fn settled(&self) -> Result<(), Failure> {
        let next = self.tip.tip.read().live.next_position();
        Ok(self.views.wait_for(next).await?)
    }
}

fn new_event_id(entropy: &mut Entropy, now: Timestamp) -> EventId {
    EventId(entropy.id(now))
}
