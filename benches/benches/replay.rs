//! Folding the whole ledger, beside reading and decoding the same bytes from a flat file, and beside the replay of
//! cqrs-es over as many rows.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cqrs_es::{EventEnvelope, Query};
use rota::log::EventLog;
use rota::log::reading::catch_up;
use rota::log::sqlite::SqliteLog;
use rota::log::tip::Tip;
use rota_aggregates::credential::Credential;
use rota_aggregates::record::Record;
use rota_aggregates::{Event, Position};
use rota_benches::floor::{read_flat, read_floor, write_flat};
use rota_benches::measure::{Spread, cpu_seconds, table};
use rota_benches::{Outcome, ledger};
use sqlite_es::SqliteEventRepository;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};

const CREDENTIALS: usize = 20_000;

/// The same events as sqlite-es keeps them. Its rows can't hold the workspace's.
async fn write_naive(flat: &Path, path: &Path) -> Outcome<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::query(
        "CREATE TABLE events (aggregate_type text NOT NULL, aggregate_id text NOT NULL, \
         sequence integer CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL, event_version text NOT NULL, \
         payload text NOT NULL, metadata text NOT NULL, PRIMARY KEY (aggregate_type, aggregate_id, sequence)) STRICT",
    )
    .execute(&pool)
    .await?;
    let mut rows = Vec::new();
    read_flat(flat, |leaf| {
        let record = Record::decode(leaf)?;
        let metadata = HashMap::from([("request".to_owned(), record.context.request.to_string())]);
        if let Event::Credential(event) = record.event {
            let id = record.stream.id.to_string();
            rows.push((
                id,
                record.sequence.0,
                serde_json::to_string(&event)?,
                serde_json::to_string(&metadata)?,
            ));
        }
        Ok(())
    })?;
    for chunk in rows.chunks(1_000) {
        let values = vec!["('credential', ?, ?, 'event', '1.0.0', ?, ?)"; chunk.len()].join(",");
        let sql = format!("INSERT INTO events VALUES {values}");
        let mut query = sqlx::query(&sql);
        for (id, sequence, payload, metadata) in chunk {
            query = query.bind(id).bind(sequence).bind(payload).bind(metadata);
        }
        query.execute(&pool).await?;
    }
    sqlx::query(&format!("UPDATE events SET aggregate_type = '{}'", aggregate_type())).execute(&pool).await?;
    Ok(pool)
}

fn aggregate_type() -> &'static str {
    <Credential as cqrs_es::Aggregate>::TYPE
}

/// Counts what cqrs-es hands it: folding would only make it slower.
struct Count(Arc<AtomicU64>);

#[async_trait::async_trait]
impl Query<Credential> for Count {
    async fn dispatch(&self, _: &str, events: &[EventEnvelope<Credential>]) {
        std::hint::black_box(events);
        self.0.fetch_add(events.len() as u64, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_types, reason = "it is what is compared with")]
async fn replay_naive(pool: &SqlitePool) -> Outcome<u64> {
    let seen = Arc::new(AtomicU64::new(0));
    let repository = SqliteEventRepository::new(pool.clone());
    let replay = cqrs_es::persist::QueryReplay::new(repository, Count(Arc::clone(&seen)));
    replay.replay_all().await?;
    Ok(seen.load(Ordering::Relaxed))
}

async fn replay_rota(log: &dyn EventLog) -> Outcome<u64> {
    let mut tip = Tip::default();
    let count = catch_up(log, Position(0), |recorded| tip.apply(&recorded.fact())).await?;
    std::hint::black_box(&tip);
    Ok(count)
}

struct Figure {
    rate: f64,
    cpu: f64,
}

fn figure(count: u64, start: Instant, cpu: f64) -> Figure {
    let elapsed: Duration = start.elapsed();
    Figure { rate: count as f64 / elapsed.as_secs_f64(), cpu: (cpu_seconds() - cpu) * 1e6 / count as f64 }
}

#[tokio::main]
async fn main() -> Outcome {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (events, rounds) = if quick { (300_000, 3) } else { (1_000_000, 5) };
    let folder = tempfile::tempdir()?;
    let (path, flat) = (folder.path().join("rota.db"), folder.path().join("flat"));
    ledger::write(&path, CREDENTIALS, events - CREDENTIALS - 1).await?;
    let log = SqliteLog::open(&path).await?;
    write_flat(&log, &flat).await?;
    let pool = write_naive(&flat, &folder.path().join("naive.db")).await?;
    let mut runs = Vec::new();
    for _ in 0..rounds {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let naive = figure(replay_naive(&pool).await?, start, cpu);
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let floor = figure(read_floor(&flat)?, start, cpu);
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let rota = figure(replay_rota(&log).await?, start, cpu);
        runs.push([naive, floor, rota]);
    }
    let mut rows = vec![["", "events/s", "CPU µs"].map(str::to_owned).to_vec()];
    for (index, name) in ["QueryReplay", "read and decode", "rota"].into_iter().enumerate() {
        let rate = Spread::of(runs.iter().map(|r| r[index].rate)).text(0);
        let cpu = Spread::of(runs.iter().map(|r| r[index].cpu)).text(2);
        rows.push(vec![name.to_owned(), rate, cpu]);
    }
    println!("{events} events, {rounds} rounds\n\n{}", table(&rows));
    let ratio = |other: usize| Spread::of(runs.iter().map(|r| r[2].rate / r[other].rate)).text(2);
    let rows = [
        ["ratio", "median (range)", "goal"].map(str::to_owned).to_vec(),
        vec!["rota / read and decode".to_owned(), ratio(1), "≥ 0.60".to_owned()],
        vec!["rota / QueryReplay".to_owned(), ratio(0), "≥ 8".to_owned()],
    ];
    println!("{}", table(&rows));
    Ok(())
}
