//! From a store to a running service, and back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use ring::rand::SystemRandom;
use rota_aggregates::Position;
use rota_aggregates::secret::Secret;
use tokio::task::{AbortHandle, JoinHandle};
use uuid::Uuid;

use super::clock::Clock;
use super::copy;
use super::duty::Duty;
use super::ledger::anchor::Anchors;
use super::ledger::{LedgerState, bar};
use super::managed::Engine;
use super::managed::targets::{RealTargets, Targets};
use super::options::{CLOCK_OFF_MAX_MILLIS, LiveFrom, OpenError, Options, StoreUrl};
use super::sessions::Sessions;
use super::signing_keys::SigningKeys;
use super::start_keys::{key_ring, operator_key, random_bytes};
use super::store::{Scratch, Store};
use super::{App, Failure};
use crate::log::committer::Committer;
use crate::log::read_index::ReadIndex;
use crate::log::reading::catch_up;
use crate::log::sqlite::beside;
use crate::log::tip::{SharedTip, Tip};
use crate::log::{EventLog, LogError, tree};
use crate::notices::Notices;
use crate::notices::sqlite::SqliteNotices;
use crate::notices::store::NoticeStore;
use crate::views::Views;

/// The clocks are compared this often.
const CLOCK_LOOK: Duration = Duration::from_secs(5);
/// The lease of whoever does the upkeep.
pub(super) const UPKEEP: &str = "upkeep";
/// Each replica holds a lease of its own, so that they can be counted; its name begins so.
pub(super) const PRESENCE: &str = "replica/";
/// Closing waits at most so long for whoever still holds the service.
const CLOSING: Duration = Duration::from_secs(5);

/// What is open.
pub struct Opened {
    /// The service.
    pub app: Arc<App>,
    /// The operator key, if one was made now. It is in no other place.
    pub operator_key: Option<Secret>,
    /// How many events were folded to get here.
    pub replayed: u64,
    tasks: Vec<JoinHandle<()>>,
    committer: JoinHandle<()>,
}

/// Stops renewing the leases if the store can't be opened after all.
#[derive(Default)]
struct Opening {
    tasks: Vec<JoinHandle<()>>,
    renewing: Vec<AbortHandle>,
}

impl Drop for Opening {
    fn drop(&mut self) {
        for renewing in &self.renewing {
            renewing.abort();
        }
    }
}

/// What this replica does for all, while it has the lease for it.
struct Duties {
    upkeep: Arc<Duty>,
    notices: Arc<Duty>,
    ledger: Arc<Duty>,
    presence: Arc<Duty>,
}

impl Duties {
    /// Asks for the leases and renews them. Refused while the ledger is being copied.
    async fn take(log: &Arc<dyn EventLog>, replica: Uuid) -> Result<(Self, Opening), OpenError> {
        let duties = Self {
            upkeep: Duty::new(Arc::clone(log), UPKEEP, replica),
            notices: Duty::new(Arc::clone(log), "notices", replica),
            ledger: Duty::new(Arc::clone(log), "ledger", replica),
            presence: Duty::new(Arc::clone(log), format!("{PRESENCE}{replica}"), replica),
        };
        let mut opening = Opening::default();
        let Some(leases) = log.leases() else { return Ok((duties, opening)) };
        // In this order: `rota copy` asks for them in the other.
        duties.upkeep.ask().await?;
        if leases.acquire(copy::LEASE, replica, Duration::ZERO).await?.is_none() {
            duties.upkeep.leave().await;
            return Err(OpenError::BeingCopied);
        }
        duties.presence.ask().await?;
        for duty in [&duties.upkeep, &duties.notices, &duties.ledger, &duties.presence] {
            let renewing = tokio::spawn(Arc::clone(duty).keep());
            opening.renewing.push(renewing.abort_handle());
            opening.tasks.push(renewing);
        }
        Ok((duties, opening))
    }
}

/// Refuses a store whose clock is not this machine's, and one that is half a copy.
async fn may_be_served(log: &dyn EventLog, clock: &dyn Clock) -> Result<(), OpenError> {
    if let Some(by_millis) = clock_off(log, clock).await? {
        return Err(OpenError::ClockOff { by_millis });
    }
    if log.meta(copy::UNFINISHED).await?.is_some_and(|mark| !mark.is_empty()) {
        return Err(OpenError::CopyUnfinished);
    }
    Ok(())
}

impl App {
    /// Opens the store and starts everything but the ways in. `progress` is told how many events of how many are
    /// folded.
    pub async fn open(mut options: Options, mut progress: impl FnMut(u64, u64)) -> Result<Opened, OpenError> {
        let random = SystemRandom::new();
        let given = options.master_key.is_some() || options.store == StoreUrl::Memory;
        let master_key_file = (!given).then(|| options.master_key_path());
        let Store { log, database, snapshots, sqlite, notices, held } =
            Store::open(&mut options, &random).await?;
        let (views_path, notices_path) = (beside(&database, "views"), beside(&database, "notices"));
        may_be_served(&*log, &*options.clock).await?;
        let replica = Uuid::from_bytes(*random_bytes::<16>(&random)?);
        let (duties, mut opening) = Duties::take(&log, replica).await?;
        let mut tasks = std::mem::take(&mut opening.tasks);
        let keys = key_ring(&mut options, &*log, &random).await?;
        let (operator, operator_key) = operator_key(&options.operator_key, &keys, &*log, &random).await?;

        let loaded = match &snapshots {
            Some(snapshots) if options.live_from == LiveFrom::Snapshot => {
                snapshots.load(&keys, &*log).await?
            }
            _ => None,
        };
        let mut tip = loaded.unwrap_or_default();
        let (from, end) = (tip.live.next_position(), log.next().await?);
        let replayed = catch_up(&*log, from, |recorded| {
            tip.apply(&recorded.fact());
            progress(recorded.position.0 + 1 - from.0, end.0.saturating_sub(from.0));
        })
        .await?;
        for mark in log.use_marks().await? {
            tip.live.restore_use(&mark);
        }
        tip.tree = tree::resume(&*log, tip.live.next_position().0, &mut progress).await?;
        let guard = options.guard_path(&database);
        let origin = tip.live.ledger().origin().map(str::to_owned);
        let anchors = Anchors::new(std::mem::take(&mut options.anchors))?;
        let (guard, bar) = bar::look(&*log, &tip.tree, guard.as_deref(), origin.as_deref()).await?;
        if let Some(bar) = &bar {
            tracing::error!(bar = %bar, "nothing is verified and nothing appended");
        }
        let tip = Arc::new(SharedTip::new(tip));
        let (committer, committing) = Committer::start(Arc::clone(&log), Arc::clone(&tip));
        if let Some(sqlite) = sqlite {
            sqlite.start_checkpoints().await?;
        }
        // Readers are opened as they are needed, and so the file must keep its name.
        let scratch =
            (options.store == StoreUrl::Memory).then(|| Scratch([views_path.clone(), notices_path.clone()]));
        let views = Arc::new(Views::open(&views_path, Arc::clone(&log), Arc::clone(&tip)).await?);
        let follow = tokio::spawn(Arc::clone(&views).follow(committer.head()));
        let store: Arc<dyn NoticeStore> = match notices {
            Some(shared) => Arc::new(shared),
            None => Arc::new(SqliteNotices::open(&notices_path).await?),
        };
        let targets = options.targets.take().unwrap_or_else(|| {
            let network = Arc::new(options.egress.clone());
            Arc::new(RealTargets::new(network, Arc::clone(&options.clock))) as Arc<dyn Targets>
        });
        let process = Uuid::from_bytes(*random_bytes::<16>(&random)?);
        let notices = Notices::new(store, options.egress).map_err(LogError::unavailable)?;
        tasks.push(follow);
        let read_index = log.is_shared().then(|| {
            let follower = committer.follower();
            tasks.push(tokio::spawn(Arc::clone(follower).run()));
            ReadIndex::new(Arc::clone(follower), options.max_staleness)
        });
        let app = Arc::new(Self {
            log,
            tip,
            committer,
            views,
            keys: RwLock::new(Arc::new(keys)),
            operator: RwLock::new(operator),
            clock: options.clock,
            random,
            in_progress: Arc::new(Mutex::new(HashSet::new())),
            signing_keys: SigningKeys::default(),
            used_once: Mutex::default(),
            snapshots,
            master_key_file,
            jobs: Mutex::default(),
            notices,
            managed: Engine::new(targets, process),
            sessions: Sessions::new(options.sessions),
            store: options.store.to_string(),
            records_reads: options.record_reads,
            clock_off: AtomicI64::new(0),
            _held: held,
            read_index,
            upkeep_duty: duties.upkeep,
            notices_duty: Arc::clone(&duties.notices),
            presence: duties.presence,
            ledger: LedgerState::new(duties.ledger, guard, bar, anchors),
            _scratch: scratch,
            replica,
            sweeping: tokio::sync::Semaphore::new(super::sweep::AT_ONCE),
        });
        app.begin(options.ledger_origin.as_deref()).await?;
        tasks.extend(app.work(&duties.notices));
        tasks.extend(app.anchor_for_ever());
        opening.renewing.clear();
        Ok(Opened { app, operator_key, replayed, tasks, committer: committing })
    }

    /// Makes what every ledger has, unless it is not what was signed for: as others outside the store know, too.
    async fn begin(&self, origin: Option<&str>) -> Result<(), OpenError> {
        if self.is_whole().is_ok() {
            self.ask_elsewhere().await;
        }
        if self.is_whole().is_ok() {
            self.first_token_key().await?;
            self.begin_ledger(origin).await?;
        }
        Ok(())
    }

    /// Starts what goes on by itself.
    fn work(self: &Arc<Self>, notices: &Duty) -> [JoinHandle<()>; 6] {
        [
            tokio::spawn(Arc::clone(self).upkeep()),
            tokio::spawn(Arc::clone(self).keep_rotations()),
            tokio::spawn(Arc::clone(self).keep_campaigns()),
            tokio::spawn(crate::notices::run(Arc::clone(self), notices.leads())),
            tokio::spawn(Arc::clone(self).watch_clock()),
            tokio::spawn(Arc::clone(self).sign_for_ever()),
        ]
    }

    /// Compares the clocks for ever. While they disagree this replica answers nothing that depends on the time.
    async fn watch_clock(self: Arc<Self>) {
        loop {
            tokio::time::sleep(CLOCK_LOOK).await;
            // A store that can't be read tells nothing; whoever needs it finds out.
            let Ok(off) = clock_off(&*self.log, &*self.clock).await else { continue };
            let (before, now) = (self.clock_off.swap(off.unwrap_or(0), Ordering::Relaxed), off.unwrap_or(0));
            if now != 0 && before == 0 {
                tracing::error!(millis = now, "this machine's clock is off the store's; not serving");
            } else if now == 0 && before != 0 {
                tracing::info!("the clocks agree again; serving");
            }
        }
    }

    /// Refuses while this machine's clock is off the store's.
    pub(super) fn trusts_its_clock(&self) -> Result<(), Failure> {
        match self.clock_off.load(Ordering::Relaxed) {
            0 => Ok(()),
            millis => Err(Failure::Unavailable(Some(LogError::unavailable(format!(
                "this replica's clock is {millis} ms off the store's"
            ))))),
        }
    }

    /// Opens a fold of the ledger up to a position, from the events alone: for comparing.
    pub async fn fold_until(&self, end: Position) -> Result<Tip, LogError> {
        let mut tip = Tip::default();
        catch_up(&*self.log, Position(0), |recorded| {
            if recorded.position < end {
                tip.apply(&recorded.fact());
            }
        })
        .await?;
        Ok(tip)
    }
}

/// By how many milliseconds this machine is ahead of the store, if that is too much. A clock that only a test turns is
/// not compared.
async fn clock_off(log: &dyn EventLog, clock: &dyn Clock) -> Result<Option<i64>, LogError> {
    if !clock.is_real() {
        return Ok(None);
    }
    let before = clock.now();
    let Some(theirs) = log.clock().await? else { return Ok(None) };
    let after = clock.now();
    // The store looked at its clock at some instant between the two.
    let ahead = (before.micros() - theirs.micros()).max(0) + (after.micros() - theirs.micros()).min(0);
    Ok(Some(ahead / 1_000).filter(|millis| millis.abs() > CLOCK_OFF_MAX_MILLIS))
}

impl Opened {
    /// Stops: finishes what was accepted, writes use marks and a snapshot.
    pub async fn close(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            // Aborted on purpose.
            let _ = task.await;
        }
        self.app.managed.stop();
        self.app.upkeep_duty.leave().await;
        self.app.notices_duty.leave().await;
        self.app.presence.leave().await;
        loop {
            self.app.committer.flush().await;
            if !self.app.tip.has_marks() || !self.app.is_healthy() {
                break;
            }
        }
        // What is recorded is signed for, so that the next start finds nothing to do.
        if self.app.is_whole().is_ok()
            && let Err(error) = self.app.sign().await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the last events are not signed for yet"
            );
        }
        self.app.keep_last_note(true).await;
        self.app.ledger.duty.leave().await;
        self.app.snapshot().await;
        if let Err(error) = self.app.views.flush().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the next start folds the last events again"
            );
        }
        // With the last handle gone the committer works its queue off and ends.
        drop(self.app);
        let committer = self.committer.abort_handle();
        if tokio::time::timeout(CLOSING, self.committer).await.is_err() {
            tracing::warn!("somebody still holds the service; its committer is stopped");
            committer.abort();
        }
    }
}
