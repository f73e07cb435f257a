//! The committer: the one place where events become recorded.
//!
//! Commands wait in a bounded queue. The committer takes all that wait (never sleeping to gather more),
//! judges each against the tip and against the commands before it in the same batch, commits once for all
//! of them, takes the new events into the live view, and only then answers each.
//!
//! | bound | why |
//! |---|---|
//! | [`QUEUE_MAX`] commands wait | beyond it a caller is told to come back, before any secret is made |
//! | [`BATCH_EVENTS_MAX`] events a commit | one statement takes so many |
//! | [`BATCH_BYTES_MAX`] bytes a commit, less where the store takes less | a commit stays short |
//!
//! **Order in a batch**: as the commands arrived. A command whose expectations no longer hold is *stale* and
//! sinks none of its neighbours; its caller decides again.
//!
//! **Others.** On a store that several processes share somebody else may have written in between. Then the
//! committer takes a turn, in which the store keeps them out, takes in what they wrote and judges the batch again:
//! only commands that no longer fit are stale. While others go on writing it takes turns from the start.
//!
//! **Doubt.** If the store can't say whether a commit happened, the committer asks it to settle that, until it
//! knows. Nobody is answered on a guess. Dropping a request does not drop its command.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rota_aggregates::authority::SignedRequest;
use rota_aggregates::ids::Hash;
use rota_aggregates::record::{Claim, stamp};
use rota_aggregates::{CredentialId, Position, Sequence, StreamId, Timestamp};
use rota_projections::Fact;
use rota_projections::live::UseMark;
use tokio::sync::{mpsc, oneshot, watch};

use super::follow::Follower;
use super::tip::{Kept, SharedTip};
use super::{Append, Batch, EventLog, LogError, NewEvent, Row, Side};
use crate::ledger::rfc6962::leaf_hash;
use crate::ledger::tile::Edge;
use crate::telemetry;

/// Commands that may wait.
pub const QUEUE_MAX: usize = 4_096;
/// Events in one commit, unless one command alone has more.
pub const BATCH_EVENTS_MAX: usize = 256;
/// Bytes in one commit, unless one command alone has more.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// After others were faster so many batches take turns, and after each in whose turn others were found to have written.
const TURNS: u32 = 16;
/// A batch that is overtaken even so is given up after so many attempts: its commands are stale.
const ATTEMPTS_MAX: u32 = 16;

/// What was recorded for a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The position of its first event.
    pub first: Position,
    /// The position of its last event.
    pub last: Position,
    /// The ledger's time of all its events.
    pub time: Timestamp,
}

/// The committer's word on a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is recorded.
    Recorded(Recording),
    /// Its idempotency key was used for the same request before, by the event at this position.
    AlreadyRecorded(Position),
    /// Its idempotency key was used for another request.
    KeyReused,
    /// The signed request that proves it has made a change before.
    Captured,
    /// What it was decided on has changed in between: decide again.
    Stale,
}

/// Why a command got no verdict.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Too many commands wait. Nothing was done.
    #[error("too many changes are waiting to be written")]
    Overloaded,
    /// The store can't be written to. Nothing was done.
    #[error("the store can't be written to right now")]
    Unavailable,
    /// rota is stopping, or the store failed so that nobody knows.
    #[error("it is not known whether the change was recorded")]
    Unknown,
}

struct Job {
    append: Append,
    reply: oneshot::Sender<Result<Verdict, CommitError>>,
    /// Dropped when the command has its verdict, also when nobody waits for that any more.
    held: Option<Box<dyn Send + Sync>>,
}

impl Job {
    /// Gives the verdict. What was held is free before anybody can act on it.
    fn answer(self, verdict: Result<Verdict, CommitError>) {
        drop(self.held);
        let _ = self.reply.send(verdict);
    }
}

enum Message {
    Job(Job),
    Flush(oneshot::Sender<()>),
}

/// Hands commands to the committer. Cheap to clone.
#[derive(Clone)]
pub struct Committer {
    queue: mpsc::Sender<Message>,
    head: watch::Receiver<Position>,
    healthy: Arc<AtomicBool>,
    follower: Arc<Follower>,
}

impl Committer {
    /// Starts the committer on the current runtime. It ends when every handle is gone and the queue is empty.
    pub fn start(log: Arc<dyn EventLog>, tip: Arc<SharedTip>) -> (Self, tokio::task::JoinHandle<()>) {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let (head, watched) = watch::channel(tip.tip.read().live.next_position());
        let healthy = Arc::new(AtomicBool::new(true));
        let follower = Arc::new(Follower::new(Arc::clone(&log), Arc::clone(&tip), head));
        let worker = Worker {
            log,
            tip,
            follower: Arc::clone(&follower),
            healthy: Arc::clone(&healthy),
            backlog: VecDeque::new(),
            turns: 0,
        };
        let task = tokio::spawn(worker.run(jobs));
        (Self { queue, head: watched, healthy, follower }, task)
    }

    /// What moves the tip along with the log.
    pub fn follower(&self) -> &Arc<Follower> {
        &self.follower
    }

    /// The position that the next event will have: a hint that there is more, never the data.
    pub fn head(&self) -> watch::Receiver<Position> {
        self.head.clone()
    }

    /// Whether the last commit succeeded.
    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// The store was found to work again.
    pub fn recovered(&self) {
        self.healthy.store(true, Ordering::Relaxed);
    }

    /// A place in the queue, to be had before a secret is made.
    pub fn reserve(&self) -> Result<Place<'_>, CommitError> {
        self.queue.try_reserve().map(Place).map_err(|_| CommitError::Overloaded)
    }

    /// Records a command; `held` is dropped when it has its verdict.
    pub async fn append(
        &self,
        append: Append,
        held: Option<Box<dyn Send + Sync>>,
    ) -> Result<Verdict, CommitError> {
        self.reserve()?.append(append, held).await
    }

    /// Waits until every command that waits now has its verdict, and writes use marks down with them.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }
}

/// A place in the queue.
pub struct Place<'a>(mpsc::Permit<'a, Message>);

impl Place<'_> {
    /// Records a command; `held` is dropped when it has its verdict.
    pub async fn append(
        self,
        append: Append,
        held: Option<Box<dyn Send + Sync>>,
    ) -> Result<Verdict, CommitError> {
        let (reply, verdict) = oneshot::channel();
        self.0.send(Message::Job(Job { append, reply, held }));
        verdict.await.map_err(|_| CommitError::Unknown)?
    }
}

struct Worker {
    log: Arc<dyn EventLog>,
    tip: Arc<SharedTip>,
    follower: Arc<Follower>,
    healthy: Arc<AtomicBool>,
    backlog: VecDeque<Job>,
    /// So many batches still take turns.
    turns: u32,
}

/// A command that goes into the batch: which one it was, where its events begin there, and its time.
struct Accepted {
    job: Job,
    order: usize,
    first: usize,
    sequences: Vec<Sequence>,
    time: Timestamp,
}

/// A batch before its commit.
struct Judged {
    accepted: Vec<Accepted>,
    /// Commands that are not in the batch because of one that is, which ones they were, and what they hear once that
    /// is recorded.
    waiting: Vec<(Job, usize, Verdict)>,
    batch: Batch,
    /// The hashes of the batch's leaves, and the tree with them.
    leaves: Vec<Hash>,
    tree: Edge,
}

impl Judged {
    /// The commands as they came, to be judged again, and the marks.
    fn undo(self) -> (Vec<Job>, Vec<UseMark>) {
        let mut sides = self.batch.rows.into_iter().map(|row| row.side);
        let mut jobs = Vec::with_capacity(self.accepted.len() + self.waiting.len());
        for Accepted { mut job, order, .. } in self.accepted {
            for event in &mut job.append.events {
                event.side = sides.next().unwrap_or_default();
            }
            jobs.push((order, job));
        }
        jobs.extend(self.waiting.into_iter().map(|(job, order, _)| (order, job)));
        jobs.sort_unstable_by_key(|(order, _)| *order);
        (jobs.into_iter().map(|(_, job)| job).collect(), self.batch.marks)
    }

    fn jobs(self) -> impl Iterator<Item = Job> {
        let waiting = self.waiting.into_iter().map(|(job, ..)| job);
        self.accepted.into_iter().map(|accepted| accepted.job).chain(waiting)
    }
}

impl Worker {
    async fn run(mut self, mut jobs: mpsc::Receiver<Message>) {
        let mut messages = Vec::new();
        let mut flushes = Vec::new();
        loop {
            if self.backlog.is_empty() && jobs.recv_many(&mut messages, BATCH_EVENTS_MAX).await == 0 {
                return;
            }
            self.sort(messages.drain(..), &mut flushes);
            let turn = self.take_turn().await;
            if self.turns > 0 {
                // A turn is waited for, and others have come meanwhile.
                self.sort(std::iter::from_fn(|| jobs.try_recv().ok()), &mut flushes);
            }
            let batch = self.take_batch();
            self.commit(batch, turn).await;
            // Whoever waits for a flush waits for everything that was queued before it.
            if self.backlog.is_empty() {
                flushes.clear();
            }
        }
    }

    fn sort(&mut self, messages: impl Iterator<Item = Message>, flushes: &mut Vec<oneshot::Sender<()>>) {
        for message in messages {
            match message {
                Message::Job(job) => self.backlog.push_back(job),
                Message::Flush(done) => flushes.push(done),
            }
        }
    }

    /// What fits into one commit, in order of arrival.
    fn take_batch(&mut self) -> Vec<Job> {
        let (mut events, mut bytes) = (0, 0);
        let mut batch = Vec::new();
        while let Some(job) = self.backlog.pop_front() {
            events += job.append.events.len();
            bytes += job.append.events.iter().map(|e| e.body.len()).sum::<usize>();
            if !batch.is_empty() && (events > BATCH_EVENTS_MAX || bytes > self.log.bytes_max()) {
                self.backlog.push_front(job);
                break;
            }
            batch.push(job);
        }
        batch
    }

    async fn commit(&mut self, jobs: Vec<Job>, turn: Result<(), LogError>) {
        let (slots, marks) = self.tip.take_marks();
        let (judged, written) = self.commit_at_tip(jobs, marks, turn).await;
        match written {
            Ok(()) => {
                if !judged.batch.is_empty() {
                    self.healthy.store(true, Ordering::Relaxed);
                }
                if judged.accepted.is_empty() {
                    return;
                }
                let Judged { mut accepted, waiting, batch, leaves, tree } = judged;
                telemetry::committed(accepted.len(), batch.rows.len());
                self.take_in(&mut accepted, &batch, &leaves, tree);
                for item in accepted {
                    let first = Position(batch.at.0 + item.first as u64);
                    let last = Position(first.0 + item.sequences.len() as u64 - 1);
                    let recording = Recording { first, last, time: item.time };
                    item.job.answer(Ok(Verdict::Recorded(recording)));
                }
                for (job, _, verdict) in waiting {
                    job.answer(Ok(verdict));
                }
            }
            Err(error) => {
                self.tip.return_marks(slots);
                let verdict = match error {
                    LogError::Behind { .. } => Ok(Verdict::Stale),
                    LogError::Unavailable(_) => Err(CommitError::Unavailable),
                    _ => Err(CommitError::Unknown),
                };
                if verdict.is_err() {
                    self.healthy.store(false, Ordering::Relaxed);
                    tracing::error!(error = &error as &dyn std::error::Error, "a commit failed");
                }
                for job in judged.jobs() {
                    job.answer(verdict.clone());
                }
            }
        }
    }

    /// Judges and writes; and judges again what others have overtaken, with what they wrote taken in.
    async fn commit_at_tip(
        &mut self,
        mut jobs: Vec<Job>,
        mut marks: Vec<UseMark>,
        mut turn: Result<(), LogError>,
    ) -> (Judged, Result<(), LogError>) {
        let mut overtaken = 0;
        loop {
            let judged = self.judge(jobs, marks);
            let written = match turn {
                Err(error) => Err(error),
                Ok(()) if judged.batch.is_empty() => Ok(()),
                Ok(()) => self.write(&judged.batch).await,
            };
            if matches!(written, Err(LogError::Behind { .. })) {
                overtaken += 1;
                telemetry::overtaken();
                self.turns = TURNS;
                if overtaken < ATTEMPTS_MAX {
                    turn = self.take_turn().await;
                    (jobs, marks) = judged.undo();
                    continue;
                }
            }
            // Nothing may have come of it.
            self.log.end_turn().await;
            return (judged, written);
        }
    }

    /// Takes a turn, if others were faster lately.
    async fn take_turn(&mut self) -> Result<(), LogError> {
        if self.turns == 0 {
            return Ok(());
        }
        let others = self.follower.take_turn().await;
        self.turns = if others.as_ref().is_ok_and(|wrote| !wrote) { self.turns - 1 } else { TURNS };
        match others {
            Ok(_) => Ok(()),
            // Nothing was written.
            Err(error @ LogError::Unavailable(_)) => Err(error),
            Err(error) => Err(LogError::Unavailable(error.into())),
        }
    }

    /// Gives every job its place in the batch, or its verdict: at once where that follows from what is recorded,
    /// after the commit where it follows from a job before it in the batch.
    fn judge(&self, jobs: Vec<Job>, marks: Vec<UseMark>) -> Judged {
        let shared = self.tip.tip.read();
        let mut batch = Batch { at: shared.live.next_position(), marks, ..Batch::default() };
        let mut tree = shared.tree.clone();
        let mut time = shared.live.last_time();
        let mut sequences: HashMap<StreamId, Sequence> = HashMap::new();
        let mut claims: HashMap<[u8; 32], (Claim, Position)> = HashMap::new();
        let mut signed: HashSet<(CredentialId, SignedRequest)> = HashSet::new();
        let mut accepted = Vec::with_capacity(jobs.len());
        let mut waiting = Vec::new();
        for (order, mut job) in jobs.into_iter().enumerate() {
            let now = time.max(job.append.decided_at);
            let once = job.append.events.iter().find_map(|event| event.context.proof.once());
            if let Some(once) = once {
                if shared.replays.is_spent(once.0, &once.1, now) {
                    job.answer(Ok(Verdict::Captured));
                    continue;
                }
                if signed.contains(&once) {
                    waiting.push((job, order, Verdict::Captured));
                    continue;
                }
            }
            if let Some(claim) = job.append.claim {
                let verdict = |same, position| {
                    if same { Verdict::AlreadyRecorded(position) } else { Verdict::KeyReused }
                };
                if let Some((used, position)) = claims.get(&claim.key.0) {
                    let verdict = verdict(used.fingerprint == claim.fingerprint, *position);
                    waiting.push((job, order, verdict));
                    continue;
                }
                if let Some(earlier) = shared.replays.find(&claim, now) {
                    let verdict = verdict(earlier.same_request(&claim), earlier.position);
                    job.answer(Ok(verdict));
                    continue;
                }
            }
            // An observation's id follows from what it says: the same one twice is recorded once.
            if let Some(event) = job.append.events.first().filter(|e| shared.live.was_observed(e.id)) {
                tracing::trace!(id = %event.id, "already observed");
                job.answer(Ok(Verdict::AlreadyRecorded(shared.live.next_position())));
                continue;
            }
            let at =
                |stream: &StreamId| sequences.get(stream).copied().or_else(|| shared.live.sequence(stream));
            if job.append.expected.iter().any(|(stream, expected)| at(stream) != *expected) {
                if job.append.expected.iter().any(|(stream, _)| sequences.contains_key(stream)) {
                    waiting.push((job, order, Verdict::Stale));
                } else {
                    job.answer(Ok(Verdict::Stale));
                }
                continue;
            }
            time = now;
            signed.extend(once);
            let first = batch.rows.len();
            if let Some(claim) = job.append.claim {
                claims.insert(claim.key.0, (claim, Position(batch.at.0 + first as u64)));
            }
            let mut numbers = Vec::with_capacity(job.append.events.len());
            for event in &mut job.append.events {
                let before = sequences.get(&event.stream).copied();
                let before = before.or_else(|| shared.live.sequence(&event.stream)).unwrap_or_default();
                let sequence = Sequence(before.0 + 1);
                sequences.insert(event.stream, sequence);
                numbers.push(sequence);
                let leaf = stamp(&event.body, time, sequence);
                batch.rows.push(Row { id: event.id, leaf, side: std::mem::take(&mut event.side) });
            }
            batch.shred.extend_from_slice(&job.append.shred);
            accepted.push(Accepted { job, order, first, sequences: numbers, time });
        }
        drop(shared);
        let leaves: Vec<Hash> = batch.rows.iter().map(|row| leaf_hash(&row.leaf)).collect();
        if tree.size() == batch.at.0 {
            for leaf in &leaves {
                tree.push(*leaf, &mut batch.tiles);
            }
        }
        Judged { accepted, waiting, batch, leaves, tree }
    }

    /// Writes the batch, and settles a doubtful outcome by looking.
    async fn write(&self, batch: &Batch) -> Result<(), LogError> {
        let doubt = match self.log.append(batch).await {
            Err(LogError::Indeterminate(error)) => error,
            known => return known,
        };
        tracing::warn!(error = &*doubt as &dyn std::error::Error, "a commit's outcome is unknown; looking");
        let mut wait = Duration::from_millis(10);
        loop {
            match self.log.settle(batch).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(LogError::Unavailable(doubt)),
                Err(error) => {
                    self.healthy.store(false, Ordering::Relaxed);
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the store can't be read either; no change is answered until it can"
                    );
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
            }
        }
    }

    fn take_in(&self, accepted: &mut [Accepted], batch: &Batch, leaves: &[Hash], tree: Edge) {
        let mut kept = Vec::with_capacity(batch.rows.len());
        let mut tip = self.tip.tip.write();
        if tip.tree.size() == batch.at.0 {
            tip.tree = tree;
        }
        for item in accepted {
            let rows = &batch.rows[item.first..];
            let events = std::mem::take(&mut item.job.append.events);
            for (offset, ((event, row), sequence)) in
                events.into_iter().zip(rows).zip(&item.sequences).enumerate()
            {
                let position = Position(batch.at.0 + (item.first + offset) as u64);
                let claim = item.job.append.claim.filter(|_| offset == 0);
                let leaf = leaves[item.first + offset];
                tip.apply_next(&fact(&event, &row.side, position, *sequence, item.time, claim), leaf);
                let NewEvent { id, stream, context, event, .. } = event;
                kept.push(Kept {
                    position,
                    time: item.time,
                    sequence: *sequence,
                    id,
                    stream,
                    context,
                    event,
                });
            }
        }
        let next = tip.live.next_position();
        drop(tip);
        self.tip.keep(kept);
        self.follower.announce(next);
    }
}

fn fact<'a>(
    event: &'a NewEvent,
    side: &Side,
    position: Position,
    sequence: Sequence,
    time: Timestamp,
    claim: Option<Claim>,
) -> Fact<'a> {
    Fact {
        position,
        time,
        sequence,
        id: event.id,
        stream: event.stream,
        context: &event.context,
        claim,
        has_answer: side.answer.is_some(),
        event: &event.event,
        digest: side.digest,
    }
}
