//! The log in an EventStoreDB cluster: one stream is the ledger.
//!
//! | stream | holds |
//! |---|---|
//! | `NAME-ledger` | the events; revision = position. Each append names the exact revision that it expects |
//! | `NAME_part-ID` | one sealed part: digest, secret, answer or details; the id is random, and only the event knows it |
//! | `NAME-values` | named values of the deployment, all in its last event |
//! | `NAME-uses` | use marks |
//! | `NAME_lease-JOB` | who does a job for all replicas, in its last event |
//! | `NAME-tiles-LEVEL` | the full tiles of a level of the tree; revision = index |
//! | `NAME-signed` | the root that was signed last, in its last event |
//! | `NAME-checkpoints` | signed roots that are kept |
//!
//! - An event's data is its leaf, byte for byte. Its metadata ([`note`]) says where its sealed parts lie, with the
//!   SHA-256 of each, and what its commit destroys.
//! - The server's check of the expected revision is what makes the committer's knowledge of the tip exact, also
//!   with several processes: whoever comes second is answered [`LogError::Behind`].
//! - Everything is read from the leader, in pages; nothing subscribes.
//! - What is deleted can't be read any more and stays on the server's disks until it scavenges.
//!
//! How appends go and how doubts are settled is in [`append`], what sweeps do in [`sweep`].

mod append;
mod connection;
mod lease;
mod note;
mod side;
mod sweep;
mod tree;
mod url;
mod values;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use eventstore::{
    AppendToStreamOptions, EventData, ExpectedRevision, ReadEvent, ReadStream, ReadStreamOptions,
    RecordedEvent, StreamPosition,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::{CredentialId, Position};
use rota_projections::live::UseMark;
use uuid::Uuid;

use self::append::Draft;
pub use self::connection::prepare_tls;
use self::connection::{Connection, Fault, Outcome, READ, WRITE};
use self::lease::Watch;
use self::note::{Note, Pointer};
use self::side::{Content, PARALLEL};
pub use self::url::EsdbUrl;
use super::lease::Leases;
use super::tree::TreeStore;
use super::{Batch, EventLog, LogError, Page, StoredEvent};

/// Events that are read in one call.
const PAGE: usize = 1_000;
/// EventStoreDB takes a mebibyte in one append unless it is told otherwise; some of it is its own.
const APPEND_BYTES_MAX: usize = (1 << 20) - (32 << 10);
/// Leaf bytes that a commit may have, so that it fits into one append with all that is named beside them.
const LEAVES_BYTES_MAX: usize = 512 << 10;
/// Digests of the newest appends, which the views are about to ask for.
const DIGESTS_MAX: usize = 8_192;
/// Positions this close are read together.
const GAP: u64 = 8;

/// The time between two looks at whether others have appended.
const POLL: Duration = Duration::from_millis(200);
/// So many looks, and then a read anyway.
const POLLS: u32 = 25;

/// The names of the ledger's streams.
struct Names {
    ledger: String,
    parts: String,
    values: String,
    uses: String,
    leases: String,
    tiles: String,
    signed: String,
    checkpoints: String,
}

/// The digests of the newest parts that this process wrote.
#[derive(Default)]
struct Digests {
    known: HashMap<Uuid, [u8; 32]>,
    order: VecDeque<Uuid>,
}

impl Digests {
    fn forget(&mut self, ids: &[Uuid]) {
        for id in ids {
            self.known.remove(id);
        }
    }

    fn put(&mut self, digests: Vec<(Uuid, [u8; 32])>) {
        for (id, digest) in digests {
            self.known.insert(id, digest);
            self.order.push_back(id);
        }
        while self.order.len() > DIGESTS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

/// An event of the ledger.
struct Event {
    position: u64,
    leaf: Vec<u8>,
    note: Note,
}

struct Inner {
    connection: Connection,
    names: Names,
    random: SystemRandom,
    /// The position that the next event will have, as far as this process has seen.
    known: AtomicU64,
    /// Batches whose outcome is unknown.
    doubts: tokio::sync::Mutex<Vec<Draft>>,
    /// Parts that are destroyed by what is recorded and whose streams may still be there.
    destroyed: Mutex<HashSet<Uuid>>,
    digests: Mutex<Digests>,
    /// Marks that could not be written yet.
    marks: Mutex<BTreeMap<CredentialId, UseMark>>,
    /// The revision that the next event of the stream of marks will have, as far as this process has seen.
    marks_next: AtomicU64,
    /// What was seen of leases.
    watch: Mutex<Watch>,
}

/// The log in an EventStoreDB cluster.
pub struct EsdbLog(Arc<Inner>);

impl EsdbLog {
    /// Connects. An empty ledger needs no preparation: its streams come with their first events.
    pub async fn open(url: &EsdbUrl) -> Result<Self, LogError> {
        let name = url.ledger();
        let inner = Inner {
            connection: Connection::new(url.settings().clone()).await?,
            names: Names {
                ledger: format!("{name}-ledger"),
                parts: format!("{name}_part-"),
                values: format!("{name}-values"),
                uses: format!("{name}-uses"),
                leases: format!("{name}_lease-"),
                tiles: format!("{name}-tiles-"),
                signed: format!("{name}-signed"),
                checkpoints: format!("{name}-checkpoints"),
            },
            random: SystemRandom::new(),
            known: AtomicU64::new(0),
            doubts: tokio::sync::Mutex::default(),
            destroyed: Mutex::default(),
            digests: Mutex::default(),
            marks: Mutex::default(),
            marks_next: AtomicU64::new(0),
            watch: Mutex::default(),
        };
        inner.tip().await.map_err(|error| match error {
            LogError::Unavailable(cause) => LogError::Unavailable(
                format!(
                    "EventStoreDB at {} can't be used: {cause}. Is it running, is it reachable from here, and does \
                     its URL say tls=false if it speaks no TLS?",
                    url.nodes()
                )
                .into(),
            ),
            other => other,
        })?;
        inner.recover().await?;
        Ok(Self(Arc::new(inner)))
    }

    /// Starts to sweep what crashes leave behind: now and every hour, for as long as the log is there.
    pub fn start_sweeping(&self) {
        tokio::spawn(Inner::sweep_for_ever(Arc::downgrade(&self.0)));
    }

    /// Sweeps once.
    pub async fn sweep(&self) -> Result<(), LogError> {
        self.0.sweep().await
    }

    /// Parts that are destroyed by what is recorded, and that the server may not have deleted yet.
    pub fn hidden(&self) -> usize {
        self.0.destroyed.lock().len()
    }
}

/// Options that expect a stream's next revision to be this one.
fn exactly(next: u64) -> AppendToStreamOptions {
    let expected = next.checked_sub(1).map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
    AppendToStreamOptions::default().expected_revision(expected).requires_leader(true).deadline(WRITE)
}

/// Options for what comes to the same wherever it is written.
fn anywhere() -> AppendToStreamOptions {
    let any = AppendToStreamOptions::default().expected_revision(ExpectedRevision::Any);
    any.requires_leader(true).deadline(WRITE)
}

/// Reads a page to its end: the events, and the last revision of the stream if the server tells it.
async fn collect(mut page: ReadStream) -> eventstore::Result<(Vec<RecordedEvent>, Option<u64>)> {
    let (mut events, mut last) = (Vec::new(), None);
    while let Some(read) = page.next_read_event().await? {
        match read {
            ReadEvent::Event(event) => events.extend(event.event),
            ReadEvent::LastStreamPosition(revision) => last = Some(revision),
            ReadEvent::FirstStreamPosition(_) | ReadEvent::LastAllStreamPosition(_) => {}
        }
    }
    Ok((events, last))
}

impl Inner {
    fn new_id(&self) -> Result<Uuid, LogError> {
        let mut bytes = [0; 16];
        self.random
            .fill(&mut bytes)
            .map_err(|_| LogError::unavailable("the system gives no random bytes"))?;
        Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Appends events to a stream whose next revision must be this one.
    async fn append(&self, stream: &str, next: u64, events: Vec<EventData>) -> Outcome<()> {
        let options = exactly(next);
        let append = |client: eventstore::Client| {
            let (stream, options, events) = (stream.to_owned(), options.clone(), events.clone());
            async move { client.append_to_stream(stream, &options, events).await.map(|_| ()) }
        };
        self.connection.call(WRITE, append).await
    }

    /// The last event of a stream.
    async fn read_last(&self, stream: &str) -> Result<Option<RecordedEvent>, Fault> {
        let options = ReadStreamOptions::default()
            .position(StreamPosition::End)
            .max_count(1)
            .requires_leader(true)
            .deadline(READ);
        let read = |client: eventstore::Client| {
            let (stream, options) = (stream.to_owned(), options.clone());
            async move { collect(client.read_stream(stream, &options).await?).await }
        };
        match self.connection.call(READ, read).await.result {
            Ok((events, _)) => Ok(events.into_iter().next()),
            Err(Fault::Missing) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// A page of a stream: as many events as asked for, unless the stream ends before.
    async fn read_page(&self, stream: &str, from: u64, count: usize) -> Result<Vec<RecordedEvent>, Fault> {
        let mut events: Vec<RecordedEvent> = Vec::new();
        loop {
            let next = events.last().map_or(from, |event| event.revision + 1);
            let options = ReadStreamOptions::default()
                .position(StreamPosition::Position(next))
                .forwards()
                .max_count(count - events.len())
                .requires_leader(true)
                .deadline(READ);
            let read = |client: eventstore::Client| {
                let (stream, options) = (stream.to_owned(), options.clone());
                async move { collect(client.read_stream(stream, &options).await?).await }
            };
            let (page, last) = match self.connection.call(READ, read).await.result {
                Err(Fault::Missing) => (Vec::new(), None),
                other => other?,
            };
            let ended = page.is_empty();
            events.extend(page);
            let next = events.last().map_or(from, |event| event.revision + 1);
            // A page that was cut short looks like the end of the stream.
            if ended || events.len() >= count || last.is_some_and(|last| next > last) {
                return Ok(events);
            }
        }
    }

    /// Events of the ledger from a position on.
    async fn events(&self, from: u64, count: usize) -> Result<Vec<Event>, LogError> {
        let mut events = Vec::new();
        while events.len() < count {
            let next = from + events.len() as u64;
            let wanted = (count - events.len()).min(PAGE);
            let page = match self.read_page(&self.names.ledger, next, wanted).await {
                Err(Fault::Deleted) => {
                    return Err(LogError::Corrupt(format!("the stream {} was deleted", self.names.ledger)));
                }
                other => other.map_err(Fault::unavailable)?,
            };
            let short = page.len() < wanted;
            for (position, event) in (next..).zip(page) {
                if event.revision != position {
                    return Err(LogError::Corrupt(format!(
                        "the event at position {position} is missing from {}: $maxCount, $maxAge, $tb and deletions \
                         must never touch it",
                        self.names.ledger
                    )));
                }
                let note = Note::decode(&event.custom_metadata, position)?;
                events.push(Event { position, leaf: event.data.to_vec(), note });
            }
            if short {
                break;
            }
        }
        Ok(events)
    }

    /// The events at the given ascending positions.
    async fn events_at(&self, positions: &[u64]) -> Result<Vec<Event>, LogError> {
        let mut runs: Vec<Vec<u64>> = Vec::new();
        for position in positions {
            match runs.last_mut() {
                Some(run) if run.last().is_some_and(|last| position - last <= GAP) => run.push(*position),
                _ => runs.push(vec![*position]),
            }
        }
        let mut reads = Vec::with_capacity(runs.len());
        for run in runs {
            reads.push(async move {
                let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(Vec::new()) };
                let mut events = self.events(*first, (last - first + 1) as usize).await?;
                events.retain(|event| run.binary_search(&event.position).is_ok());
                Ok::<_, LogError>(events)
            });
        }
        let pages: Vec<_> = stream::iter(reads).buffered(PARALLEL).try_collect().await?;
        Ok(pages.into_iter().flatten().collect())
    }

    /// The position that the next event will have.
    async fn tip(&self) -> Result<u64, LogError> {
        let last = self.read_last(&self.names.ledger).await.map_err(Fault::unavailable)?;
        let next = last.map_or(0, |event| event.revision + 1);
        self.known.fetch_max(next, Ordering::Relaxed);
        Ok(next)
    }

    /// A digest, from memory where this process has just written it.
    async fn digest(&self, pointer: Pointer) -> Result<Option<[u8; 32]>, LogError> {
        let known = self.digests.lock().known.get(&pointer.0).copied();
        if let Some(digest) = known.filter(|_| !self.destroyed.lock().contains(&pointer.0)) {
            return Ok(Some(digest));
        }
        match self.read_part(SealedPart::Digest, pointer).await? {
            Some(Content::Digest(digest)) => Ok(Some(digest)),
            _ => Ok(None),
        }
    }
}

#[async_trait]
impl EventLog for EsdbLog {
    async fn append(&self, batch: &Batch) -> Result<(), LogError> {
        self.0.settle().await?;
        self.0.write(batch).await
    }

    async fn grown(&self, known: Position) -> bool {
        for _ in 0..POLLS {
            tokio::time::sleep(POLL).await;
            if self.0.tip().await.is_ok_and(|next| next > known.0) {
                break;
            }
        }
        true
    }

    async fn next(&self) -> Result<Position, LogError> {
        self.0.settle().await?;
        self.0.tip().await.map(Position)
    }

    async fn read(&self, from: Position, limit: usize) -> Result<Page, LogError> {
        let inner = &self.0;
        let events = inner.events(from.0, limit).await?;
        let digests =
            events.iter().map(|event| event.note.part(SealedPart::Digest)).map(|pointer| async move {
                match pointer {
                    Some(pointer) => inner.digest(pointer).await,
                    None => Ok(None),
                }
            });
        let digests: Vec<_> =
            stream::iter(digests.collect::<Vec<_>>()).buffered(PARALLEL).try_collect().await?;
        let leaves = events.into_iter().map(|event| event.leaf).zip(digests).collect();
        Ok(Page { first: from, leaves })
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<StoredEvent>, LogError> {
        let mut sorted: Vec<_> = positions.iter().map(|position| position.0).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let events = self.0.events_at(&sorted).await?;
        let pointers = events.iter().map(|event| event.note.parts().collect()).collect();
        let sides = self.0.read_sides(pointers).await?;
        let stored = events.into_iter().zip(sides);
        let stored = stored.map(|(event, side)| StoredEvent {
            position: Position(event.position),
            leaf: event.leaf,
            side,
        });
        Ok(stored.collect())
    }

    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, LogError> {
        Ok(self.0.values().await?.values.remove(name))
    }

    async fn names(&self) -> Result<Vec<String>, LogError> {
        let names = self.0.values().await?.values.into_keys();
        Ok(names.filter(|name| !name.starts_with(values::OWN)).collect())
    }

    async fn set_meta(&self, values: &[(&str, &[u8])]) -> Result<(), LogError> {
        if values.is_empty() { Ok(()) } else { self.0.set_values(values).await }
    }

    async fn make_meta(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, LogError> {
        self.0.init_value(name, value).await
    }

    async fn rewrap(&self, keys: &[(PartRef, Vec<u8>)]) -> Result<(), LogError> {
        let inner = &self.0;
        let parts: Vec<_> = keys.iter().map(|(part, _)| *part).collect();
        let found = inner.find(&parts).await?;
        let mut rewrapped = Vec::with_capacity(keys.len());
        for (part, key) in keys {
            let pointer = found.get(&(part.position, part.part)).copied();
            if let Some(pointer) = pointer.filter(|_| part.part != SealedPart::Digest) {
                rewrapped.push(inner.rewrap_part(part.part, pointer, key));
            }
        }
        stream::iter(rewrapped).buffer_unordered(PARALLEL).try_collect().await
    }

    async fn use_marks(&self) -> Result<Vec<UseMark>, LogError> {
        let (marks, ..) = self.0.read_marks().await?;
        Ok(marks.into_values().collect())
    }

    async fn backup(&self, _: &Path) -> Result<(), LogError> {
        Err(LogError::unavailable(
            "a ledger in EventStoreDB is backed up with the cluster: back up its nodes as EventStoreDB's own \
             documentation says, or copy the ledger to a file with `rota copy`",
        ))
    }

    fn bytes_max(&self) -> usize {
        LEAVES_BYTES_MAX
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn tree(&self) -> &dyn TreeStore {
        self
    }

    fn leases(&self) -> Option<&dyn Leases> {
        Some(self)
    }
}
