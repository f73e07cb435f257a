//! Snapshots of the tip, so that starting does not mean folding the whole ledger.
//!
//! A snapshot is written whole: into a temporary file, flushed, renamed, the folder flushed. It carries a MAC
//! under a key of this store and the hash of the last leaf that it holds, so that one that is damaged, was
//! altered, or belongs to another or a restored ledger is passed over for an older one or for replay. It is
//! written while events come in: the records go out in portions under short locks, and what came meanwhile is
//! taken in again at the next start, which changes nothing where it is there already.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rota_aggregates::Position;
use rota_projections::codec::Reader;
use rota_projections::live::Live;
use rota_projections::replay_index::ReplayIndex;

use super::App;
use super::change::sha256;
use crate::log::tip::{SharedTip, Tip};
use crate::log::{EventLog, LogError};
use crate::sealing::KeyRing;

const MAGIC: &[u8; 16] = b"rota snapshot 6\n";
/// A snapshot is due after so many events.
const EVERY: u64 = 250_000;
/// Snapshots that are kept.
const KEPT: usize = 2;
/// Records written under one lock.
const PORTION: usize = 4_096;

/// Where snapshots go.
pub struct Snapshots {
    folder: PathBuf,
    /// The first part of their names.
    stem: String,
    last: AtomicU64,
    writing: AtomicBool,
}

impl Snapshots {
    /// Snapshots beside a database file.
    pub fn beside(database: &Path) -> Self {
        let folder = database.parent().filter(|p| !p.as_os_str().is_empty());
        let stem = database.file_name().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        Self {
            folder: folder.unwrap_or(Path::new(".")).to_owned(),
            stem: format!("{stem}.snapshot-"),
            last: AtomicU64::new(0),
            writing: AtomicBool::new(false),
        }
    }

    /// The snapshots that are there, newest first.
    pub fn list(&self) -> Vec<(Position, PathBuf)> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let position = name.to_str()?.strip_prefix(&self.stem)?.parse().ok()?;
                Some((Position(position), entry.path()))
            })
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    /// The newest snapshot that is whole and belongs to this ledger.
    pub async fn load(&self, keys: &KeyRing, log: &dyn EventLog) -> Result<Option<Tip>, LogError> {
        for (position, path) in self.list() {
            let read = read(&path, keys);
            let problem = match read {
                Ok(Held { tip, end, leaf }) => {
                    let stored = match end.0.checked_sub(1) {
                        Some(last) => log.read_at(&[Position(last)]).await?,
                        None => continue,
                    };
                    if stored.first().is_some_and(|event| sha256(&event.leaf).0 == leaf) {
                        self.last.store(position.0, Ordering::Relaxed);
                        return Ok(Some(tip));
                    }
                    "it belongs to another ledger, or to a later state of this one".to_owned()
                }
                Err(problem) => problem,
            };
            tracing::warn!(snapshot = %path.display(), problem, "a snapshot is of no use and is removed");
            // Left there, one of a later state would count as the newest for ever.
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(snapshot = %path.display(), %error, "it can't be removed");
            }
        }
        Ok(None)
    }

    /// The newest snapshot that is whole, and the position at which it began.
    pub fn newest(&self, keys: &KeyRing) -> Option<(Position, Held)> {
        self.list().into_iter().find_map(|(position, path)| Some((position, read(&path, keys).ok()?)))
    }

    fn write(
        &self,
        tip: &SharedTip,
        keys: &KeyRing,
        at: Position,
        leaf_before: impl Fn(Position) -> std::io::Result<[u8; 32]>,
    ) -> std::io::Result<()> {
        let path = self.folder.join(format!("{}{}", self.stem, at.0));
        let temporary = self.folder.join(format!("{}part", self.stem));
        let mut mac = keys.snapshot_mac();
        let mut file = std::io::BufWriter::with_capacity(1 << 20, create(&temporary)?);
        let mut put = |bytes: &[u8]| {
            mac.update(bytes);
            file.write_all(bytes)
        };
        put(MAGIC)?;
        put(&at.0.to_le_bytes())?;
        let mut written = 0;
        let mut buffer = Vec::with_capacity(PORTION * 128);
        loop {
            buffer.clear();
            let count = tip.tip.read().live.encode_slots(written, PORTION, &mut buffer);
            if count == 0 {
                break;
            }
            put(&(count as u64).to_le_bytes())?;
            put(&buffer)?;
            written += count;
        }
        put(&0u64.to_le_bytes())?;
        buffer.clear();
        let end = {
            let tip = tip.tip.read();
            tip.live.encode_rest(&mut buffer);
            tip.replays.encode(&mut buffer);
            tip.live.next_position()
        };
        put(&buffer)?;
        // Not the one at which it began: a ledger that was restored to a point in between knows that one too.
        put(&leaf_before(end)?)?;
        file.write_all(&mac.finish())?;
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        File::open(&self.folder)?.sync_all()?;
        for (_, old) in self.list().into_iter().skip(KEPT) {
            std::fs::remove_file(old)?;
        }
        Ok(())
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().create(true).truncate(true).write(true).mode(0o600).open(path)
}

/// What a snapshot holds.
/// A snapshot that is whole.
pub struct Held {
    /// What it holds.
    pub tip: Tip,
    /// The first position that it knows nothing of.
    pub end: Position,
    /// The hash of the leaf before that.
    pub leaf: [u8; 32],
}

fn read(path: &Path, keys: &KeyRing) -> Result<Held, String> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut f| f.read_to_end(&mut bytes)).map_err(|e| e.to_string())?;
    let (content, mac) = bytes.split_last_chunk::<32>().ok_or("it is too short")?;
    let mut expected = keys.snapshot_mac();
    expected.update(content);
    if !expected.verify(mac) {
        return Err("it is damaged, or was made under other keys".to_owned());
    }
    decode(content).ok_or_else(|| "it ends early".to_owned())
}

fn decode(content: &[u8]) -> Option<Held> {
    let mut input = Reader(content);
    if input.array::<16>()? != *MAGIC {
        return None;
    }
    let at = Position(input.u64()?);
    let mut live = Live::decode(&mut input)?;
    let end = live.next_position();
    live.resume_at(at);
    let replays = ReplayIndex::decode(&mut input)?;
    let leaf = input.array::<32>()?;
    Some(Held { tip: Tip { live, replays, ..Tip::default() }, end, leaf })
}

impl App {
    /// Whether enough has happened since the last snapshot for another one.
    pub(super) fn snapshot_is_due(&self) -> bool {
        let next = self.tip.tip.read().live.next_position().0;
        self.snapshots.as_ref().is_some_and(|snapshots| {
            !snapshots.writing.load(Ordering::Relaxed)
                && next >= snapshots.last.load(Ordering::Relaxed) + EVERY
        })
    }

    /// Writes a snapshot now.
    pub async fn snapshot(&self) {
        let Some(snapshots) = &self.snapshots else { return };
        if snapshots.writing.swap(true, Ordering::SeqCst) {
            return;
        }
        let at = self.tip.tip.read().live.next_position();
        if at.0 != snapshots.last.load(Ordering::Relaxed) && at.0 > 0 {
            match self.write_snapshot(snapshots, at).await {
                Ok(()) => snapshots.last.store(at.0, Ordering::Relaxed),
                Err(problem) => tracing::warn!(problem, "a snapshot could not be written"),
            }
        }
        snapshots.writing.store(false, Ordering::SeqCst);
    }

    async fn write_snapshot(&self, snapshots: &Snapshots, at: Position) -> Result<(), String> {
        let (log, tip, keys) = (Arc::clone(&self.log), Arc::clone(&self.tip), self.keys());
        let target = Snapshots::named(snapshots);
        let runtime = tokio::runtime::Handle::current();
        let leaf_before = move |end: Position| {
            let last = Position(end.0.saturating_sub(1));
            let stored = runtime.block_on(log.read_at(&[last])).map_err(std::io::Error::other)?;
            let event = stored.first().ok_or_else(|| std::io::Error::other("the last event is missing"))?;
            Ok(sha256(&event.leaf).0)
        };
        let write = move || target.write(&tip, &keys, at, leaf_before);
        let written = tokio::task::spawn_blocking(write).await.map_err(|e| e.to_string())?;
        written.map_err(|e| e.to_string())
    }
}

impl Snapshots {
    /// The same place, for a thread of its own.
    fn named(other: &Self) -> Self {
        Self {
            folder: other.folder.clone(),
            stem: other.stem.clone(),
            last: AtomicU64::new(0),
            writing: AtomicBool::new(true),
        }
    }
}
