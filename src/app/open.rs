//! From a store to a running service, and back.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use ring::rand::SystemRandom;
use rota_aggregates::Position;
use rota_aggregates::secret::{RANDOM_BYTES, Secret, SecretShape, generate};
use tokio::task::JoinHandle;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::clock::Clock;
use super::copy;
use super::duty::Duty;
use super::entropy::Entropy;
use super::rewrap::KEYS;
use super::sessions::{SessionOptions, Sessions};
use super::signing_keys::SigningKeys;
use super::snapshot::Snapshots;
use super::{App, Failure};
use crate::egress::Egress;
use crate::log::committer::{Committer, SharedTip, Tip, catch_up};
use crate::log::memory::MemoryLog;
use crate::log::postgres::{PostgresLog, PostgresUrl};
use crate::log::read_index::ReadIndex;
use crate::log::sqlite::{self, SqliteLog, beside};
use crate::log::{EventLog, LogError};
use crate::notices::Notices;
use crate::notices::sqlite::SqliteNotices;
use crate::sealing::{KeyRing, MasterKey, MasterKeyError, SealError, StoredKeys};
use crate::views::Views;

/// The name under which the store keeps the operator key's digest.
const OPERATOR: &str = "operator-key";
/// The name under which a shared store keeps what its replicas' files are named by.
pub(super) const LEDGER: &str = "ledger-id";
/// Where a replica on a shared store keeps what is its own.
pub const DATA: &str = "rota-data";
/// A replica's clock may be so far off the store's.
const CLOCK_OFF_MAX_MILLIS: i64 = 2_000;
/// The clocks are compared this often.
const CLOCK_LOOK: Duration = Duration::from_secs(5);
/// The lease of whoever does the upkeep.
pub(super) const UPKEEP: &str = "upkeep";
/// Each replica holds a lease of its own, so that they can be counted; its name begins so.
pub(super) const PRESENCE: &str = "replica/";
/// Closing waits at most so long for whoever still holds the service.
const CLOSING: Duration = Duration::from_secs(5);
/// An operator key has at least this many characters.
pub const OPERATOR_KEY_CHARS_MIN: usize = 32;

/// Which store to use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreUrl {
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `postgres://…`
    Postgres(PostgresUrl),
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
            Some(("esdb", _)) => {
                Err("this build has the stores sqlite:PATH, postgres://… and memory:".to_owned())
            }
            _ => Err(
                "a store is named sqlite:PATH, such as sqlite:rota-data/rota.db, or postgres://HOST/DATABASE"
                    .to_owned(),
            ),
        }
    }
}

/// What it is, without anything secret.
impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
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
        "a PostgreSQL store needs a master key that every replica has: set ROTA_MASTER_KEY (`openssl rand -base64 \
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
    /// How session tokens are made.
    pub sessions: SessionOptions,
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
            sessions: SessionOptions::default(),
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
            StoreUrl::Memory => PathBuf::from("master.key"),
        })
    }
}

/// Where the old master key waits while a rewrapping is unfinished.
pub fn previous_key_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".previous");
    name.into()
}

pub(super) fn random_bytes<const N: usize>(random: &SystemRandom) -> Result<Zeroizing<[u8; N]>, OpenError> {
    Ok(Zeroizing::new(Entropy::draw(random)?.take::<N>()))
}

/// The master key: as given, else from its file. On an empty embedded store the file is made.
fn master_key(options: &mut Options, empty: bool, random: &SystemRandom) -> Result<MasterKey, OpenError> {
    if let Some(key) = options.master_key.take() {
        return Ok(key);
    }
    let path = options.master_key_path();
    if path.exists() {
        return Ok(MasterKey::from_file(&path)?);
    }
    if !empty {
        return Err(OpenError::MasterKeyMissing { path });
    }
    if matches!(options.store, StoreUrl::Postgres(_)) {
        return Err(OpenError::MasterKeyNeeded);
    }
    let bytes = random_bytes::<32>(random)?;
    if options.store == StoreUrl::Memory {
        use base64::Engine;
        let text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(*bytes));
        return Ok(MasterKey::from_base64(&text)?);
    }
    Ok(MasterKey::create_file(&path, &bytes)?)
}

pub(super) async fn key_ring(
    options: &mut Options,
    log: &dyn EventLog,
    random: &SystemRandom,
) -> Result<KeyRing, OpenError> {
    let stored = log.meta(KEYS).await?;
    let master = master_key(options, stored.is_none(), random)?;
    let stored = if let Some(stored) = stored {
        stored
    } else {
        let (ring, made) = KeyRing::create(master.clone(), random)?;
        let made = made.to_bytes();
        let there = log.make_meta(KEYS, &made).await?;
        if there == made {
            return Ok(ring);
        }
        // Another replica made its own at the same time, and was first.
        there
    };
    let stored = StoredKeys::from_bytes(&stored)?;
    let previous_path = previous_key_path(&options.master_key_path());
    let previous = match options.previous_master_key.take() {
        Some(key) => Some(key),
        None if previous_path.exists() => Some(MasterKey::from_file(&previous_path)?),
        None => None,
    };
    match (KeyRing::open(master, &stored), previous) {
        (Ok(ring), None) => Ok(ring),
        (Ok(ring), Some(previous)) => {
            tracing::warn!("a rewrapping was not finished: run `rota rewrap --resume`");
            match ring.with_previous(previous) {
                // Stopped before the new key's file was written: both files hold the same key.
                Err(SealError::SameMasterKey) => Ok(ring),
                with_previous => Ok(with_previous?),
            }
        }
        // Stopped after the new key's file was written and before the store knew of it: the old one still rules.
        (Err(SealError::WrongMasterKey), Some(previous)) => {
            tracing::warn!("a rewrapping was not begun: the previous master key is in use");
            Ok(KeyRing::open(previous, &stored)?)
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// Files that are of no use to anybody afterwards.
pub(super) struct Scratch([PathBuf; 2]);

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

/// Stops renewing the leases if the store can't be opened after all.
struct Opening(Vec<tokio::task::AbortHandle>);

impl Drop for Opening {
    fn drop(&mut self) {
        for keeping in &self.0 {
            keeping.abort();
        }
    }
}

impl App {
    /// Opens the store and starts everything but the ways in. `progress` is told how many events of how many are
    /// folded.
    pub async fn open(mut options: Options, mut progress: impl FnMut(u64, u64)) -> Result<Opened, OpenError> {
        let random = SystemRandom::new();
        let given = options.master_key.is_some() || options.store == StoreUrl::Memory;
        let master_key_file = (!given).then(|| options.master_key_path());
        let mut held = None;
        let (log, database, snapshots, sqlite): (Arc<dyn EventLog>, _, _, _) = match &options.store {
            StoreUrl::Memory => {
                let name = format!("rota-{}.db", Uuid::from_bytes(*random_bytes::<16>(&random)?));
                let log = options.log.take().unwrap_or_else(|| Arc::new(MemoryLog::new()));
                (log, std::env::temp_dir().join(name), None, None)
            }
            StoreUrl::Sqlite(path) => {
                let log = Arc::new(SqliteLog::open(path).await?);
                (log.clone(), path.clone(), Some(Snapshots::beside(path)), Some(log))
            }
            StoreUrl::Postgres(url) => {
                let log: Arc<dyn EventLog> =
                    Arc::new(PostgresLog::open(url, *random_bytes::<8>(&random)?).await?);
                let files = replica_files(&options.data, &*log, &random).await?;
                held = Some(sqlite::hold(&files).await?);
                let snapshots = Some(Snapshots::beside(&files));
                (log, files, snapshots, None)
            }
        };
        let (views_path, notices_path) = (beside(&database, "views"), beside(&database, "notices"));
        if let Some(by_millis) = clock_off(&*log, &*options.clock).await? {
            return Err(OpenError::ClockOff { by_millis });
        }
        if log.meta(copy::UNFINISHED).await?.is_some_and(|mark| !mark.is_empty()) {
            return Err(OpenError::CopyUnfinished);
        }
        let replica = Uuid::from_bytes(*random_bytes::<16>(&random)?);
        let upkeep_duty = Duty::new(Arc::clone(&log), UPKEEP, replica);
        let notices_duty = Duty::new(Arc::clone(&log), "notices", replica);
        let presence = Duty::new(Arc::clone(&log), format!("{PRESENCE}{replica}"), replica);
        let mut tasks = Vec::new();
        let mut opening = Opening(Vec::new());
        if let Some(leases) = log.leases() {
            // In this order: `rota copy` asks for them in the other.
            upkeep_duty.ask().await?;
            if leases.acquire(copy::LEASE, replica, Duration::ZERO).await?.is_none() {
                upkeep_duty.leave().await;
                return Err(OpenError::BeingCopied);
            }
            presence.ask().await?;
            for duty in [&upkeep_duty, &notices_duty, &presence] {
                let keeping = tokio::spawn(Arc::clone(duty).keep());
                opening.0.push(keeping.abort_handle());
                tasks.push(keeping);
            }
        }
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
        let tip = Arc::new(SharedTip::new(tip));
        let (committer, committing) = Committer::start(Arc::clone(&log), Arc::clone(&tip));
        if let Some(sqlite) = sqlite {
            sqlite.start_checkpoints().await?;
        }
        // Readers are opened as they are needed, and so the file must keep its name.
        let scratch =
            (options.store == StoreUrl::Memory).then(|| Scratch([views_path.clone(), notices_path.clone()]));
        let views = Arc::new(Views::open(&views_path, Arc::clone(&log)).await?);
        let follow = tokio::spawn(Arc::clone(&views).follow(committer.head()));
        let store = Arc::new(SqliteNotices::open(&notices_path).await?);
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
            sessions: Sessions::new(options.sessions),
            store: options.store.to_string(),
            clock_off: AtomicI64::new(0),
            _held: held,
            read_index,
            upkeep_duty,
            notices_duty: Arc::clone(&notices_duty),
            presence,
            _scratch: scratch,
            replica,
        });
        app.first_token_key().await?;
        tasks.push(tokio::spawn(Arc::clone(&app).upkeep()));
        tasks.push(tokio::spawn(crate::notices::run(Arc::clone(&app), notices_duty.leads())));
        tasks.push(tokio::spawn(Arc::clone(&app).watch_clock()));
        opening.0.clear();
        Ok(Opened { app, operator_key, replayed, tasks, committer: committing })
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

async fn operator_key(
    given: &OperatorKey,
    keys: &KeyRing,
    log: &dyn EventLog,
    random: &SystemRandom,
) -> Result<([u8; 32], Option<Secret>), OpenError> {
    let kept: Option<[u8; 32]> = log.meta(OPERATOR).await?.and_then(|bytes| bytes.try_into().ok());
    match (given, kept) {
        (OperatorKey::Given(key), kept) => {
            if key.expose().chars().count() < OPERATOR_KEY_CHARS_MIN {
                return Err(OpenError::OperatorKeyTooShort);
            }
            let digest = keys.digest(Uuid::nil(), key.expose());
            if kept != Some(digest) {
                if kept.is_some() {
                    tracing::warn!("the operator key was replaced by the one that was given at this start");
                }
                log.set_meta(&[(OPERATOR, &digest)]).await?;
            }
            Ok((digest, None))
        }
        (OperatorKey::Kept, Some(digest)) => Ok((digest, None)),
        (OperatorKey::Kept, None) => {
            let bytes = random_bytes::<RANDOM_BYTES>(random)?;
            let key = generate(SecretShape::Operator, &bytes).secret;
            let digest = keys.digest(Uuid::nil(), key.expose());
            let there = log.make_meta(OPERATOR, &digest).await?;
            let there: [u8; 32] = there.try_into().unwrap_or(digest);
            Ok((there, (there == digest).then_some(key)))
        }
    }
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
        self.app.upkeep_duty.leave().await;
        self.app.notices_duty.leave().await;
        self.app.presence.leave().await;
        loop {
            self.app.committer.flush().await;
            if !self.app.tip.has_marks() || !self.app.is_healthy() {
                break;
            }
        }
        self.app.snapshot().await;
        // With the last handle gone the committer works its queue off and ends.
        drop(self.app);
        let committer = self.committer.abort_handle();
        if tokio::time::timeout(CLOSING, self.committer).await.is_err() {
            tracing::warn!("somebody still holds the service; its committer is stopped");
            committer.abort();
        }
    }
}
