//! Two processes on one store: every request reaches both, and is recorded once.

use std::collections::HashMap;
use std::sync::Arc;

use rota::log::committer::{CommitError, Committer, Verdict};
use rota::log::memory::MemoryLog;
use rota::log::reading::decode;
use rota::log::tip::{SharedTip, Tip};
use rota::log::{EventLog, LogError};
use rota_aggregates::record::Record;
use rota_aggregates::{EventId, Position};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::committer::{claim, command_of, stream};

const CALLERS: u64 = 24;
const STREAMS: u64 = 40;

/// A process: its own committer and tip on its own connection to the store.
#[derive(Clone)]
pub struct Writer {
    number: u64,
    log: Arc<dyn EventLog>,
    tip: Arc<SharedTip>,
    committer: Committer,
}

impl Writer {
    pub fn new(number: u64, log: Arc<dyn EventLog>) -> Self {
        let tip = Arc::new(SharedTip::new(Tip::default()));
        let (committer, _) = Committer::start(Arc::clone(&log), Arc::clone(&tip));
        tokio::spawn(Arc::clone(committer.follower()).run());
        Self { number, log, tip, committer }
    }

    /// Sends a request until it has a verdict that is not a matter of chance: where it is recorded.
    async fn request(&self, number: u64, attempts: &mut u64) -> Position {
        let streams = [stream(number % STREAMS), stream((number * 7 + 3) % STREAMS)];
        let streams = if number.is_multiple_of(3) { &streams[..] } else { &streams[..1] };
        loop {
            *attempts += 1;
            let sequence = |stream| self.tip.tip.read().live.sequence(stream);
            let expected: Vec<_> = streams.iter().map(|s| (*s, sequence(s))).collect();
            // Each process draws its own ids: only the claim says that it is one request.
            let id = |part: u64| {
                let salt = u128::from(self.number << 60 | number << 20 | *attempts << 4 | part);
                EventId(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 | salt))
            };
            let append = command_of(number, &expected, Some(claim(number, 1)), id);
            match self.committer.append(append, None).await {
                Ok(Verdict::Recorded(recording)) => return recording.first,
                Ok(Verdict::AlreadyRecorded(position)) => return position,
                // A tip that has not moved yet would only be stale again.
                Ok(Verdict::Stale) => drop(self.committer.follower().catch_up().await),
                Err(CommitError::Unavailable) => tokio::task::yield_now().await,
                other => panic!("request {number} was answered with {other:?}"),
            }
        }
    }
}

/// Follows a log from the start while it grows, as a reader of its own: every record once, without a gap.
pub async fn tail(log: Arc<dyn EventLog>, until: u64) -> Vec<Record> {
    let mut records = Vec::new();
    while (records.len() as u64) < until {
        let from = Position(records.len() as u64);
        match log.read(from, 50).await {
            Ok(page) => {
                assert_eq!(page.first, from);
                records.extend(decode(page).map(|recorded| recorded.unwrap().record));
            }
            Err(error) => tracing::debug!(%error, "reading again"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    records
}

/// Sends `requests` of every caller to every writer at once, and holds the log against what they were told.
pub async fn every_request_to_all(writers: &[Writer], reader: Arc<dyn EventLog>, requests: u64) {
    let total: u64 = (0..CALLERS * requests).map(|n| if n % 3 == 0 { 2 } else { 1 }).sum();
    let tail = tokio::spawn(tail(Arc::clone(&reader), total));
    let mut callers = JoinSet::new();
    for writer in writers {
        for caller in 0..CALLERS {
            let writer = writer.clone();
            callers.spawn(async move {
                let mut told = Vec::new();
                let mut attempts = 0;
                for request in 0..requests {
                    let number = request * CALLERS + caller;
                    told.push((number, writer.request(number, &mut attempts).await));
                }
                told
            });
        }
    }
    let mut positions: HashMap<u64, Position> = HashMap::new();
    while let Some(told) = callers.join_next().await {
        for (number, position) in told.unwrap() {
            let other = *positions.entry(number).or_insert(position);
            assert_eq!(other, position, "request {number} has one place, whoever tells it");
        }
    }
    let records = tail.await.unwrap();
    assert_eq!(next_of(&*reader).await, Position(total), "nothing but the requests is recorded");
    let mut sequences = HashMap::new();
    let mut claims = HashMap::new();
    for (position, record) in (0..).map(Position).zip(&records) {
        let sequence: &mut u32 = sequences.entry(record.stream).or_default();
        *sequence += 1;
        assert_eq!(record.sequence.0, *sequence, "{} is contiguous", record.stream);
        if let Some(claim) = record.claim {
            assert_eq!(claims.insert(claim.key, position), None, "a key is claimed once");
        }
    }
    for (number, position) in positions {
        assert_eq!(claims.get(&claim(number, 1).key), Some(&position), "where request {number} is");
    }
    for writer in writers {
        while writer.committer.follower().catch_up().await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(writer.tip.tip.read().live.next_position(), Position(total));
        assert_eq!(next_of(&*writer.log).await, Position(total));
    }
}

/// The log's end, asked for again when a connection was cut that nobody had used since.
async fn next_of(log: &dyn EventLog) -> Position {
    loop {
        match log.next().await {
            Ok(next) => return next,
            Err(LogError::Unavailable(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_record_every_request_once_in_memory() {
    let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
    let writers = [1, 2].map(|number| Writer::new(number, Arc::clone(&log)));
    every_request_to_all(&writers, log, 40).await;
}
