//! Moving a ledger to another store: every event at its position with its very bytes, what is sealed beside it,
//! use marks and named values; and the proof that both hold the same.
//!
//! Nobody may serve either store meanwhile: an embedded store's lock says so, a shared store's leases do. The
//! target must be empty, or hold what an earlier run of the same copy left there. Until a copy is finished and
//! proved the target says that it is not, and rota does not serve it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};
use ring::rand::SystemRandom;
use rota_aggregates::Position;
use rota_aggregates::ids::Hash;
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::record::Record;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::Failure;
use super::duty::{Duty, RENEW, TERM};
use super::entropy::Entropy;
use super::open::UPKEEP;
use super::rewrap::KEYS;
use crate::ledger::rfc6962::{Frontier, leaf_hash};
use crate::log::lease::Token;
use crate::log::tree::{self, SignedRoot};
use crate::log::{Batch, EventLog, LogError, Row, Side, StoredEvent};
use crate::sealing::Sealed;

/// The name under which a target says that a copy into it is not finished, and of which ledger; empty once it is.
pub(super) const UNFINISHED: &str = "copy-unfinished";
/// The lease of whoever copies from or to a shared store.
pub(super) const LEASE: &str = "copy";
/// Events copied in one go.
const PAGE: u64 = 1_000;

/// What a copy is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Compares what an earlier run left with what is there now.
    Resuming,
    /// Copies.
    Copying,
    /// Reads both stores back and compares.
    Proving,
}

/// A copy that is done and proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copied {
    /// How many events there are.
    pub events: u64,
    /// How many of them were there from an earlier run.
    pub resumed: u64,
    /// The root of RFC 6962 over the leaves, the same on both sides.
    pub root: Hash,
}

/// Why a ledger can't be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A store.
    #[error(transparent)]
    Store(#[from] LogError),
    /// Something else.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// There is nothing to copy.
    #[error("there is no ledger in the store to copy from")]
    NoLedger,
    /// The source is half a copy itself.
    #[error("the store to copy from is itself a copy that was not finished: finish that one first")]
    SourceUnfinished,
    /// The target has something else.
    #[error("the store to copy to is not empty: it holds {0}. Name an empty one")]
    NotEmpty(String),
    /// The target has another ledger's copy, or the source's keys were wrapped anew in between.
    #[error(
        "the store to copy to holds an unfinished copy of something else, or of this ledger before its keys were \
         wrapped anew: empty it and begin again"
    )]
    OtherCopy,
    /// Somebody serves one of the two.
    #[error("a rota process serves the store {0}: stop all of them and try again")]
    Served(&'static str),
    /// The lease could not be renewed.
    #[error("the store {0} did not renew the lease in time: somebody else may have begun to serve it")]
    LeaseLost(&'static str),
    /// The two don't hold the same.
    #[error("the stores differ at position {0}; the copy is not finished")]
    Different(Position),
    /// Named values differ.
    #[error("the stores differ in the named value {0}; the copy is not finished")]
    DifferentValue(String),
    /// The trees over the two differ.
    #[error("the roots over the two stores differ; the copy is not finished")]
    DifferentRoot,
}

/// Holds off everybody who would serve a store.
struct Hold {
    which: &'static str,
    duties: Vec<(Arc<Duty>, JoinHandle<()>)>,
}

impl Hold {
    async fn take(log: &Arc<dyn EventLog>, which: &'static str) -> Result<Self, CopyError> {
        let mut hold = Self { which, duties: Vec::new() };
        if log.leases().is_none() {
            return Ok(hold);
        }
        let holder = Uuid::from_bytes(Entropy::draw(&SystemRandom::new())?.take());
        // In this order: whoever opens the store asks for them in the other.
        for name in [LEASE, UPKEEP] {
            let duty = Duty::new(Arc::clone(log), name, holder);
            // One that was killed a moment ago has its lease still.
            let deadline = Instant::now() + TERM + RENEW;
            loop {
                duty.ask().await?;
                if duty.held().is_some() {
                    break;
                }
                if Instant::now() > deadline {
                    hold.leave().await;
                    return Err(CopyError::Served(which));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let keeping = tokio::spawn(Arc::clone(&duty).keep());
            hold.duties.push((duty, keeping));
        }
        Ok(hold)
    }

    fn check(&self) -> Result<(), CopyError> {
        let held = self.duties.iter().all(|(duty, _)| duty.held().is_some());
        if held { Ok(()) } else { Err(CopyError::LeaseLost(self.which)) }
    }

    async fn leave(self) {
        for (duty, keeping) in self.duties {
            keeping.abort();
            duty.leave().await;
        }
    }
}

/// Copies a ledger and proves that both stores hold the same. `progress` is told what is done of how much.
pub async fn copy(
    from: &Arc<dyn EventLog>,
    to: &Arc<dyn EventLog>,
    mut progress: impl FnMut(Phase, u64, u64),
) -> Result<Copied, CopyError> {
    let source = Hold::take(from, "to copy from").await?;
    let target = match Hold::take(to, "to copy to").await {
        Ok(target) => target,
        Err(error) => {
            source.leave().await;
            return Err(error);
        }
    };
    let copied = held(&**from, &**to, &[&source, &target], &mut progress).await;
    source.leave().await;
    target.leave().await;
    copied
}

async fn held(
    from: &dyn EventLog,
    to: &dyn EventLog,
    holds: &[&Hold],
    progress: &mut impl FnMut(Phase, u64, u64),
) -> Result<Copied, CopyError> {
    let end = from.next().await?;
    let identity = identity(from).await?;
    let resumed = begin(to, &identity, end).await?;
    let check = || holds.iter().try_for_each(|hold| hold.check());

    resume(from, to, resumed, |done| progress(Phase::Resuming, done, resumed.0)).await?;
    let mut next = resumed;
    while next < end {
        check()?;
        let page = from.read_at(&positions(next, end)).await?;
        if page.first().is_none_or(|event| event.position != next) {
            return Err(CopyError::Different(next));
        }
        next = append(to, next, page).await?;
        progress(Phase::Copying, next.0, end.0);
    }
    let marks = from.use_marks().await?;
    if !marks.is_empty() {
        to.append(&Batch { at: end, marks, ..Batch::default() }).await?;
    }

    let root = prove(from, to, end, |done| progress(Phase::Proving, done, end.0)).await?;
    copy_tree(from, to, end).await?;
    check()?;
    let mut values = Vec::new();
    for name in from.names().await?.into_iter().filter(|name| name != UNFINISHED) {
        if let Some(value) = from.meta(&name).await? {
            values.push((name, value));
        }
    }
    let mut last: Vec<(&str, &[u8])> = values.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
    last.push((UNFINISHED, b""));
    to.set_meta(&last).await?;
    for (name, value) in &values {
        if to.meta(name).await?.as_ref() != Some(value) {
            return Err(CopyError::DifferentValue(name.clone()));
        }
    }
    Ok(Copied { events: end.0, resumed: resumed.0, root })
}

/// Writes the tree over what was copied, and takes over what was signed of it: the target goes on where the source
/// stopped, and signs nothing that the source has not.
async fn copy_tree(from: &dyn EventLog, to: &dyn EventLog, end: Position) -> Result<(), CopyError> {
    tree::fill(to, end.0, |_, _| ()).await?;
    let mut after = 0;
    loop {
        let kept = from.tree().checkpoints(after, PAGE as usize).await?;
        let Some(last) = kept.last() else { break };
        after = last.size;
        for checkpoint in &kept {
            to.tree().keep_checkpoint(&SignedRoot { token: Token(0), ..checkpoint.clone() }).await?;
        }
    }
    if let Some(signed) = from.tree().signed().await? {
        let before = to.tree().signed().await?.map(|there| there.size);
        // The tokens of the target's leases are its own, and begin anew.
        to.tree().sign(&SignedRoot { token: Token(0), ..signed }, before, false).await?;
    }
    Ok(())
}

/// What a ledger is recognised by: its wrapped keys and its first event.
async fn identity(from: &dyn EventLog) -> Result<Vec<u8>, CopyError> {
    if from.meta(UNFINISHED).await?.is_some_and(|value| !value.is_empty()) {
        return Err(CopyError::SourceUnfinished);
    }
    let keys = from.meta(KEYS).await?.ok_or(CopyError::NoLedger)?;
    let mut hash = Context::new(&SHA256);
    hash.update(&keys);
    if let Some((leaf, _)) = from.read(Position(0), 1).await?.leaves.first() {
        hash.update(leaf);
    }
    Ok(hash.finish().as_ref().to_vec())
}

/// Marks the target, or finds the mark of an earlier run. How many events are there.
async fn begin(to: &dyn EventLog, identity: &[u8], end: Position) -> Result<Position, CopyError> {
    let next = to.next().await?;
    match to.meta(UNFINISHED).await? {
        Some(mark) if mark == identity && next <= end => Ok(next),
        Some(mark) if !mark.is_empty() => Err(CopyError::OtherCopy),
        _ if next > Position(0) => Err(CopyError::NotEmpty(format!("{next} events"))),
        _ => {
            let others = to.names().await?;
            if let Some(other) = others.iter().find(|name| *name != UNFINISHED) {
                return Err(CopyError::NotEmpty(format!("the named value {other}")));
            }
            to.set_meta(&[(UNFINISHED, identity)]).await?;
            Ok(next)
        }
    }
}

fn positions(from: Position, end: Position) -> Vec<Position> {
    (from.0..end.0.min(from.0 + PAGE)).map(Position).collect()
}

/// Destroys in the target what was destroyed in the source since an earlier run.
async fn resume(
    from: &dyn EventLog,
    to: &dyn EventLog,
    end: Position,
    mut progress: impl FnMut(u64),
) -> Result<(), CopyError> {
    let mut next = Position(0);
    while next < end {
        let page = positions(next, end);
        let (theirs, ours) = (from.read_at(&page).await?, to.read_at(&page).await?);
        let mut shred = Vec::new();
        for (position, (theirs, ours)) in page.iter().zip(theirs.iter().zip(&ours)) {
            if theirs.position != *position || ours.position != *position || theirs.leaf != ours.leaf {
                return Err(CopyError::Different(*position));
            }
            let (theirs, ours) = (parts(&theirs.side), parts(&ours.side));
            for ((part, theirs), (_, ours)) in theirs.into_iter().zip(ours) {
                if theirs.is_none() && ours.is_some() {
                    shred.push(PartRef { position: *position, part });
                }
            }
        }
        if !shred.is_empty() {
            to.append(&Batch { at: end, shred, ..Batch::default() }).await?;
        }
        next = Position(next.0 + page.len() as u64);
        progress(next.0);
    }
    Ok(())
}

/// The bytes of a part: ciphertext and wrapped key, or the digest alone. `None` once it is destroyed.
type Kept<'a> = Option<(&'a [u8], &'a [u8])>;

/// What is kept beside an event.
fn parts(side: &Side) -> [(SealedPart, Kept<'_>); 4] {
    fn open(sealed: Option<&Sealed>) -> Kept<'_> {
        sealed.map(|sealed| (sealed.ciphertext.as_slice(), sealed.wrapped_key.as_slice()))
    }
    [
        (SealedPart::Digest, side.digest.as_ref().map(|digest| (digest.as_slice(), [].as_slice()))),
        (SealedPart::Secret, open(side.secret.as_ref())),
        (SealedPart::Answer, open(side.answer.as_ref())),
        (SealedPart::Details, open(side.details.as_ref())),
    ]
}

/// Appends a page, in commits of bounded size. The next position.
async fn append(to: &dyn EventLog, at: Position, page: Vec<StoredEvent>) -> Result<Position, CopyError> {
    let (mut next, mut bytes) = (at, 0);
    let mut batch = Batch { at, ..Batch::default() };
    for stored in page {
        if bytes > 0 && bytes + stored.leaf.len() > to.bytes_max() {
            to.append(&batch).await?;
            (batch, bytes) = (Batch { at: next, ..Batch::default() }, 0);
        }
        if stored.position != next {
            return Err(CopyError::Different(next));
        }
        let record = Record::decode(&stored.leaf)
            .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
        bytes += stored.leaf.len();
        batch.rows.push(Row { id: record.id, leaf: stored.leaf, side: stored.side });
        next = Position(next.0 + 1);
    }
    to.append(&batch).await?;
    Ok(next)
}

/// Reads both stores from the start: the same bytes at each position, the same parts beside them, the same root.
async fn prove(
    from: &dyn EventLog,
    to: &dyn EventLog,
    end: Position,
    mut progress: impl FnMut(u64),
) -> Result<Hash, CopyError> {
    if from.next().await? != end || to.next().await? != end {
        return Err(CopyError::Different(end));
    }
    let (mut source, mut target) = (Frontier::default(), Frontier::default());
    let mut next = Position(0);
    while next < end {
        let page = positions(next, end);
        let (theirs, ours) = (from.read_at(&page).await?, to.read_at(&page).await?);
        for (index, position) in page.iter().enumerate() {
            let (Some(theirs), Some(ours)) = (theirs.get(index), ours.get(index)) else {
                return Err(CopyError::Different(*position));
            };
            let placed = theirs.position == *position && ours.position == *position;
            if !placed || theirs.leaf != ours.leaf || parts(&theirs.side) != parts(&ours.side) {
                return Err(CopyError::Different(*position));
            }
            source.push(leaf_hash(&theirs.leaf), |_, _| ());
            target.push(leaf_hash(&ours.leaf), |_, _| ());
        }
        next = Position(next.0 + page.len() as u64);
        progress(next.0);
    }
    let root = source.root();
    if root == target.root() { Ok(root) } else { Err(CopyError::DifferentRoot) }
}
