//! Whether a ledger is what it says: every event in its place, everything beside it as it was recorded, and
//! the view that verification reads the same whether it is folded from events or read from a snapshot.
//!
//! It reads everything once, in position order, and goes on after a finding, so that one run tells all.

mod findings;
mod trail;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use rota_aggregates::Position;
use rota_aggregates::ids::Hash;
use rota_aggregates::observation::SealedPart;
use rota_aggregates::record::{BadLeaf, Record};
use rota_projections::Recorded;
use rota_projections::live::{Live, UseMark};

pub use self::findings::{Finding, Report, SnapshotCheck};
pub use self::trail::{Looked, Trail, added_key, on_all_cores};
use super::at_rest::AtRest;
use super::change::sha256;
use crate::app::snapshot::Held;
use crate::ledger::check::{Hashed, TreeCheck};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::note::{SignedNote, VerifierKey};
use crate::ledger::rfc6962::leaf_hash;
use crate::ledger::tile::{FullTile, TileId, WIDTH};
use crate::log::tip::Tip;
use crate::log::tree::SignedRoot;
use crate::log::{EventLog, LogError, StoredEvent};

/// Events read at once: whole bundles.
const PAGE: u64 = 4 * WIDTH;
/// Checkpoints read at once.
const CHECKPOINTS: usize = 1_000;
/// Findings that are kept; the others are counted.
const FINDINGS_MAX: usize = 100;

fn name(part: SealedPart) -> &'static str {
    match part {
        SealedPart::Digest => "digest",
        SealedPart::Secret => "sealed secret",
        SealedPart::Answer => "sealed answer",
        SealedPart::Details => "sealed details",
    }
}

/// A SHA-256, where there is one.
type Sha = Option<[u8; 32]>;

/// The parts beside an event: the hash that the event has, and the hash of what is there.
fn parts(record: &Record, stored: &StoredEvent) -> [(SealedPart, Sha, Sha); 4] {
    let kept = record.event.kept();
    let side = &stored.side;
    let there = |sealed: &Option<crate::sealing::Sealed>| sealed.as_ref().map(crate::sealing::Sealed::sha256);
    [
        (SealedPart::Digest, kept.digest.map(|h| h.0), side.digest.map(|digest| sha256(&digest).0)),
        (SealedPart::Secret, kept.secret.map(|h| h.0), there(&side.secret)),
        (SealedPart::Answer, record.sealed.answer.map(|h| h.0), there(&side.answer)),
        (SealedPart::Details, record.sealed.details.map(|h| h.0), there(&side.details)),
    ]
}

/// The bytes of a live view without its use marks, which are observations and follow from no event.
fn bytes_of(live: &Live) -> Vec<u8> {
    for slot in 0..live.credentials() as u32 {
        let state = live.at(slot).state;
        let version = state.active.unwrap_or(0);
        live.restore_use(&UseMark { credential: state.id, version, first: 0, last: 0 });
    }
    let mut bytes = Vec::new();
    live.encode_slots(0, live.credentials(), &mut bytes);
    live.encode_rest(&mut bytes);
    bytes
}

#[derive(Default)]
struct Check {
    tip: Tip,
    trail: Trail,
    tree: TreeCheck,
    /// The hashes of the bundle that is not full yet.
    open: Vec<Hash>,
    /// Tiles as the store keeps them, by their index in the lowest level.
    tiles: BTreeMap<u64, Vec<Hash>>,
    /// Tiles of higher levels that were computed and are to be compared.
    full: Vec<FullTile>,
    named: Vec<VerifierKey>,
    /// Parts of which an event has the hash and that are not there.
    missing: BTreeSet<(Position, SealedPart)>,
    shredded: BTreeSet<(Position, SealedPart)>,
    parts: u64,
    /// Whether an event was passed over, so that the fold is not the whole ledger's.
    broken: bool,
    findings: BTreeMap<Position, Vec<Finding>>,
    found: u64,
}

impl Check {
    fn find(&mut self, position: Position, finding: Finding) {
        self.found += 1;
        if (self.found as usize) <= FINDINGS_MAX {
            self.findings.entry(position).or_default().push(finding);
        }
    }

    /// Looks at an event, and folds it if it can be read.
    fn take(&mut self, stored: &StoredEvent, looked: LookedAt) -> Option<Recorded> {
        let position = stored.position;
        self.open.push(looked.hash);
        if self.open.len() as u64 == WIDTH {
            self.close();
        }
        self.named.extend(looked.key);
        let record = match looked.record {
            Ok(record) => record,
            Err(error) => {
                self.broken = true;
                self.find(position, error.into());
                return None;
            }
        };
        let mut found = Vec::new();
        self.trail.take(&record, |finding| found.push(finding));
        for finding in found {
            self.find(position, finding);
        }
        for (part, said, there) in parts(&record, stored) {
            match (said, there) {
                (None, None) => {}
                (None, Some(_)) => self.find(position, Finding::PartUnknown(name(part))),
                (Some(_), None) => {
                    self.missing.insert((position, part));
                }
                (Some(said), Some(there)) => {
                    self.parts += 1;
                    if said != there {
                        self.find(position, Finding::PartDiffers(name(part)));
                    }
                }
            }
        }
        self.shredded.extend(record.event.shredded().iter().map(|p| (p.position, p.part)));
        let recorded = Recorded { position, record, digest: stored.side.digest, details: None };
        self.tip.apply(&recorded.fact());
        Some(recorded)
    }

    /// Takes the bundle into the tree.
    fn close(&mut self) {
        let index = self.tree.size() / WIDTH;
        let mut tile = self.tiles.remove(&index);
        if let Some(tile) = tile.as_mut().filter(|tile| tile.len() > self.open.len()) {
            tile.truncate(self.open.len());
            let end = Position(index * WIDTH + self.open.len() as u64);
            self.find(end, Finding::TileBeyond { index });
        }
        if let Some(hashed) = Hashed::from_hashes(std::mem::take(&mut self.open)) {
            self.tree.take(&hashed, tile.as_deref(), &mut self.full);
        }
    }

    /// Reads the tiles over the events of a page, as far as the store keeps them.
    async fn read_tiles(&mut self, log: &dyn EventLog, first: u64) -> Result<(), LogError> {
        self.tiles.clear();
        match log.tree().tiles(0, first / WIDTH, PAGE / WIDTH).await {
            Ok(kept) => {
                self.tiles.extend(kept.into_iter().map(|tile| (tile.id.index, tile.hashes)));
                return Ok(());
            }
            // One of them: looked for below.
            Err(LogError::Corrupt(_)) => {}
            Err(error) => return Err(error),
        }
        for index in first / WIDTH..(first + PAGE) / WIDTH {
            let id = TileId { level: 0, index };
            if let Some(hashes) = self.kept_tile(log, id, index * WIDTH).await? {
                self.tiles.insert(index, hashes);
            }
        }
        Ok(())
    }

    /// The hashes that the store keeps of a tile. What is no tile is found at the first event below it.
    async fn kept_tile(
        &mut self,
        log: &dyn EventLog,
        id: TileId,
        first: u64,
    ) -> Result<Option<Vec<Hash>>, LogError> {
        match log.tree().tiles(id.level, id.index, 1).await {
            Ok(kept) => Ok(kept.into_iter().find(|kept| kept.id == id).map(|kept| kept.hashes)),
            Err(LogError::Corrupt(_)) => {
                self.find(Position(first), Finding::NoTile { level: id.level, index: id.index });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Compares tiles of higher levels with those that the store keeps.
    async fn compare_tiles(&mut self, log: &dyn EventLog) -> Result<(), LogError> {
        for tile in std::mem::take(&mut self.full) {
            let first = tile.id.index * WIDTH.pow(u32::from(tile.id.level) + 1);
            if let Some(hashes) = self.kept_tile(log, tile.id, first).await? {
                self.tree.against(&tile, &hashes);
            }
        }
        Ok(())
    }

    /// Looks at the notes of checkpoints: what they say, and who signed them.
    fn notes(&mut self, kept: &[SignedRoot]) {
        for root in kept {
            let position = Position(root.size.saturating_sub(1));
            let said = said(root);
            if said.is_none_or(|said| said.size != root.size || said.root != root.root) {
                self.find(position, Finding::OtherNote { size: root.size });
            } else if !self.named.iter().any(|key| Checkpoint::open(&root.note, key).is_ok()) {
                self.find(position, Finding::NotSigned { size: root.size });
            }
        }
    }

    /// Compares what is gone with what events say is gone. How many parts were destroyed rightly.
    async fn destroyed(&mut self, log: &dyn EventLog) -> Result<u64, LogError> {
        let gone: Vec<_> = self.missing.difference(&self.shredded).copied().collect();
        for (position, part) in gone {
            self.find(position, Finding::PartMissing(name(part)));
        }
        let kept: Vec<_> = self.shredded.difference(&self.missing).copied().collect();
        for some in kept.chunks(PAGE as usize) {
            let positions: Vec<_> = some.iter().map(|(position, _)| *position).collect();
            for stored in log.read_at(&positions).await? {
                let Ok(record) = Record::decode(&stored.leaf) else { continue };
                for (part, _, there) in parts(&record, &stored) {
                    if there.is_some() && some.contains(&(stored.position, part)) {
                        self.find(stored.position, Finding::PartNotDestroyed(name(part)));
                    }
                }
            }
        }
        Ok(self.missing.intersection(&self.shredded).count() as u64)
    }
}

/// What is known of an event without those before it.
struct LookedAt {
    hash: Hash,
    record: Result<Record, BadLeaf>,
    key: Option<VerifierKey>,
}

/// Looks at a page of events, on all cores.
async fn look(page: Arc<Vec<StoredEvent>>) -> Vec<LookedAt> {
    let looked = tokio::task::spawn_blocking(move || {
        on_all_cores(&page, |stored| LookedAt {
            hash: leaf_hash(&stored.leaf),
            record: Record::decode(&stored.leaf),
            key: added_key(&stored.leaf),
        })
    });
    looked.await.unwrap_or_default()
}

/// A root that somebody signed for, and who that is.
#[derive(Clone, Copy, Debug)]
pub struct Signed {
    /// Of how many events.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Who says so.
    pub by: &'static str,
}

/// What the note of a kept root says.
fn said(root: &SignedRoot) -> Option<Checkpoint> {
    let note = SignedNote::parse(&root.note).ok()?;
    Checkpoint::parse(note.text()).ok()
}

impl AtRest {
    /// The roots that were signed and kept, the last one included.
    async fn kept(&self) -> Result<Vec<SignedRoot>, LogError> {
        let mut kept: Vec<SignedRoot> = Vec::new();
        loop {
            let after = kept.last().map_or(0, |last| last.size);
            let page = self.log.tree().checkpoints(after, CHECKPOINTS).await?;
            let short = page.len() < CHECKPOINTS;
            kept.extend(page);
            if short {
                break;
            }
        }
        kept.extend(self.log.tree().signed().await?);
        Ok(kept)
    }

    async fn page(&self, first: u64, end: u64) -> Result<Arc<Vec<StoredEvent>>, LogError> {
        let positions: Vec<_> = (first..end.min(first + PAGE)).map(Position).collect();
        Ok(Arc::new(self.log.read_at(&positions).await?))
    }

    /// Checks the whole ledger, which must have these roots. `progress` is told how many events of how many are
    /// done.
    pub async fn check(
        &self,
        signed: &[Signed],
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Report, LogError> {
        let log: &dyn EventLog = &*self.log;
        let end = log.next().await?;
        let mut check = Check::default();
        for root in signed {
            check.tree.claim(root.size, root.root, root.by);
        }
        let kept = self.kept().await?;
        let origin = kept.last().and_then(said).map(|last| last.origin);
        for root in &kept {
            // What was signed under a former origin and is lost was recorded as lost.
            if said(root).map(|said| said.origin) == origin {
                check.tree.claim(root.size, root.root, "a checkpoint in the store");
            }
        }
        // The newest snapshot with a MAC of this ledger's: what came after it is folded into it, to be compared.
        let mut snapshot = match &self.keys {
            Ok(keys) => self.snapshots.newest(keys),
            Err(_) => None,
        };
        let mut outcome = match (&self.keys, &snapshot) {
            (Err(_), _) if self.snapshots.list().is_empty() => SnapshotCheck::None,
            (Err(_), _) => SnapshotCheck::NoMasterKey,
            (Ok(_), None) => SnapshotCheck::None,
            (Ok(_), Some(_)) => SnapshotCheck::NotComparable,
        };
        if let Some((_, held)) = &snapshot
            && held.end > end
        {
            check.find(end, Finding::EndIsMissing { snapshot: held.end });
        }
        let mut whole = true;
        let mut waiting = self.page(0, end.0).await?;
        for first in (0..end.0).step_by(PAGE as usize) {
            let last = end.0.min(first + PAGE);
            let present = Arc::clone(&waiting);
            let (looked, ahead) = tokio::join!(look(Arc::clone(&present)), self.page(last, end.0));
            waiting = ahead?;
            check.read_tiles(log, first).await?;
            let mut stored = present.iter().zip(looked).peekable();
            for position in (first..last).map(Position) {
                let Some((stored, looked)) = stored.next_if(|(stored, _)| stored.position == position) else {
                    check.broken = true;
                    whole = false;
                    check.find(position, Finding::Gap);
                    continue;
                };
                let recorded = check.take(stored, looked);
                let Some((at, Held { tip, end, leaf })) = &mut snapshot else { continue };
                if end.0 == position.0 + 1 && sha256(&stored.leaf).0 != *leaf {
                    check.find(*end, Finding::OtherHistory);
                }
                // It may have been written while events came in, and be ahead of its position.
                if let Some(recorded) = recorded.filter(|_| position >= *at) {
                    tip.apply(&recorded.fact());
                }
            }
            check.compare_tiles(log).await?;
            progress(last, end.0);
        }
        if let Some((at, held)) = snapshot
            && held.end <= end
            && !check.broken
        {
            outcome = SnapshotCheck::Compared(at);
            let same = bytes_of(&check.tip.live) == bytes_of(&held.tip.live)
                && check.tip.replays == held.tip.replays;
            if !same {
                check.find(at, Finding::SnapshotDiffers);
            }
        }
        let destroyed = check.destroyed(log).await?;
        check.close();
        check.notes(&kept);
        let tree = std::mem::take(&mut check.tree);
        // After a gap every hash is in another place.
        let root = (whole && tree.size() > 0).then(|| tree.root());
        if whole {
            let known = |range: Range<u64>| {
                let range = Position(range.start)..Position(range.end);
                check.findings.range(range).next().map(|(position, _)| position.0)
            };
            for (position, misfit) in tree.finish(known) {
                check.find(Position(position), misfit.into());
            }
        }
        let findings = check.findings.into_iter();
        Ok(Report {
            events: end.0,
            last_time: check.trail.last_time(),
            root,
            named: check.named,
            checkpoints: kept.len() as u64,
            note: kept.into_iter().last().map(|last| last.note),
            parts: check.parts,
            destroyed,
            findings: findings.flat_map(|(at, found)| found.into_iter().map(move |f| (at, f))).collect(),
            found: check.found,
            snapshot: outcome,
        })
    }
}
