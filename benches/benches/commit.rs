//! Durable rotations a second: a naive program, the floor, and rota, interleaved in one process.
//!
//! - **naive**: cqrs-es over sqlite-es as they come, but with `synchronous=FULL`: 32 tasks, a new credential a
//!   command, no query;
//! - **floor**: a bare group commit of rows of the same size into the same tables: 256 callers wait for one
//!   committer, which takes what waits and writes it with one multi-row statement a table;
//! - **rota**: `App::rotate`, 256 callers over 20 000 credentials, everything running that runs in production
//!   below HTTP; and the same with an idempotency key, so with a sealed answer.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cqrs_es::CqrsFramework;
use cqrs_es::persist::PersistedEventStore;
use rota::app::idempotency::Idempotency;
use rota::app::rotate::{Made, Rotate};
use rota::app::{App, Caller};
use rota::log::sqlite::SqliteLog;
use rota::telemetry;
use rota_aggregates::CredentialId;
use rota_aggregates::credential::Credential;
use rota_benches::load::{Run, run};
use rota_benches::measure::{Spread, table};
use rota_benches::{Outcome, ledger, naive};
use sqlite_es::{SqliteCqrs, SqliteEventRepository};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Arguments, ConnectOptions, Executor, SqliteConnection};
use tokio::sync::{Notify, mpsc, oneshot};

const CREDENTIALS: usize = 20_000;
const CALLERS: usize = 256;
const NAIVE_TASKS: usize = 32;
/// The table of sqlite-es, as it says it must be.
const NAIVE_SCHEMA: &str = "CREATE TABLE events (aggregate_type text NOT NULL, aggregate_id text NOT NULL, \
    sequence integer CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL, event_version text NOT NULL, \
    payload text NOT NULL, metadata text NOT NULL, PRIMARY KEY (aggregate_type, aggregate_id, sequence)) STRICT";

fn sqlite(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_mins(1))
        .disable_statement_logging()
}

async fn naive(folder: &Path) -> Outcome<Arc<SqliteCqrs<Credential>>> {
    let options = sqlite(&folder.join("naive.db")).foreign_keys(true);
    let pool = SqlitePoolOptions::new().max_connections(10).connect_with(options).await?;
    pool.execute(NAIVE_SCHEMA).await?;
    let store = PersistedEventStore::new_event_store(SqliteEventRepository::new(pool));
    Ok(Arc::new(CqrsFramework::new(store, Vec::new(), ())))
}

async fn run_naive(cqrs: &Arc<SqliteCqrs<Credential>>, round: usize, duration: Duration) -> Run {
    let done = Arc::new(AtomicU64::new(0));
    let (cqrs, counted) = (Arc::clone(cqrs), Arc::clone(&done));
    let call = move |number: u64| {
        let (cqrs, counted) = (Arc::clone(&cqrs), Arc::clone(&counted));
        async move {
            let (id, command) = naive::issue((round as u64) << 40 | number);
            let recorded = cqrs.execute(&id, command).await.is_ok();
            counted.fetch_add(u64::from(recorded), Ordering::Relaxed);
            recorded
        }
    };
    // Each of its commands is a transaction, and so a flush.
    run(NAIVE_TASKS, duration, call, || async {}, move || done.load(Ordering::Relaxed)).await
}

/// The parts of a row, by size: what is written is of no matter here.
#[derive(Clone)]
struct Parts {
    leaf: Vec<u8>,
    digest: Vec<u8>,
    details: Vec<u8>,
    details_key: Vec<u8>,
}

struct Floor {
    queue: mpsc::Sender<(Parts, oneshot::Sender<bool>)>,
    flushes: Arc<AtomicU64>,
    parts: Parts,
}

/// Starts the committer of the floor on tables of rota's own schema.
async fn floor(folder: &Path, parts: Parts) -> Outcome<Floor> {
    let path = folder.join("floor.db");
    drop(SqliteLog::open(&path).await?);
    let options = sqlite(&path).statement_cache_capacity(512).pragma("wal_autocheckpoint", "0");
    let mut writer = options.clone().connect().await?;
    let mut checkpointer = options.connect().await?;
    let due = Arc::new(Notify::new());
    let checkpoint = Arc::clone(&due);
    tokio::spawn(async move {
        loop {
            checkpoint.notified().await;
            let _ = checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").await;
        }
    });
    let (queue, mut waiting) = mpsc::channel::<(Parts, oneshot::Sender<bool>)>(4_096);
    let flushes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&flushes);
    tokio::spawn(async move {
        let statements: Vec<String> = (0..=CALLERS).map(floor_statement).collect();
        let (mut position, mut bytes, mut batch) = (0i64, 0, Vec::new());
        while waiting.recv_many(&mut batch, CALLERS).await > 0 {
            let size = batch.len();
            let (rows, answers): (Vec<Parts>, Vec<_>) = batch.drain(..).unzip();
            bytes += rows.iter().map(|r| r.leaf.len() + 512).sum::<usize>();
            let written = floor_write(&mut writer, &statements[size], position, rows).await;
            position += size as i64;
            counted.fetch_add(1, Ordering::Relaxed);
            if bytes >= 4 << 20 {
                bytes = 0;
                due.notify_one();
            }
            for answer in answers {
                let _ = answer.send(written.is_ok());
            }
        }
    });
    Ok(Floor { queue, flushes, parts })
}

fn floor_statement(rows: usize) -> String {
    let (events, sealed) = (vec!["(?,?)"; rows].join(","), vec!["(?,?,?,?)"; rows].join(","));
    format!(
        "BEGIN IMMEDIATE; INSERT INTO events (position, leaf) VALUES {events}; \
         INSERT INTO sealed (position, digest, details, details_key) VALUES {sealed}; COMMIT"
    )
}

async fn floor_write(
    writer: &mut SqliteConnection,
    statement: &str,
    first: i64,
    rows: Vec<Parts>,
) -> Result<(), sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    let add = || -> Result<(), sqlx::error::BoxDynError> {
        let mut sides = Vec::with_capacity(rows.len());
        for (position, row) in (first..).zip(rows) {
            arguments.add(position)?;
            arguments.add(row.leaf)?;
            sides.push((position, row.digest, row.details, row.details_key));
        }
        for (position, digest, details, key) in sides {
            arguments.add(position)?;
            arguments.add(digest)?;
            arguments.add(details)?;
            arguments.add(key)?;
        }
        Ok(())
    };
    add().map_err(sqlx::Error::Encode)?;
    sqlx::query_with(statement, arguments).execute(writer).await.map(drop)
}

async fn run_floor(floor: &Floor, duration: Duration) -> Run {
    let (queue, parts) = (floor.queue.clone(), Arc::new(floor.parts.clone()));
    let call = move |_| {
        let (queue, parts) = (queue.clone(), Arc::clone(&parts));
        async move {
            let (answer, answered) = oneshot::channel();
            queue.send((Parts::clone(&parts), answer)).await.is_ok() && answered.await.unwrap_or(false)
        }
    };
    run(CALLERS, duration, call, || async {}, || floor.flushes.load(Ordering::Relaxed)).await
}

/// Commits so far, from the committer's own counter.
fn commits() -> u64 {
    let text = telemetry::metrics().render();
    let line = text.lines().find_map(|line| line.strip_prefix("rota_commits_total "));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

async fn run_rota(
    app: &Arc<App>,
    caller: &Caller,
    credentials: &Arc<Vec<CredentialId>>,
    named: bool,
    round: usize,
    duration: Duration,
) -> Run {
    let (shared, caller, ids) = (Arc::clone(app), Arc::new(caller.clone()), Arc::clone(credentials));
    let call = move |number: u64| {
        let (app, caller, ids) = (Arc::clone(&shared), Arc::clone(&caller), Arc::clone(&ids));
        async move {
            // Neighbours in time are far apart in the ledger, and no two callers meet.
            let id = ids[number as usize * 7_919 % ids.len()];
            let key = format!("{round}-{number}");
            let idempotency = named.then(|| Idempotency::new(key.as_bytes(), &[b"rotate"]));
            let Ok(idempotency) = idempotency.transpose() else { return false };
            let render =
                |made: &Made| Ok(format!("{{\"clientSecret\":\"{}\"}}", made.secret.expose()).into_bytes());
            app.rotate(&caller, id, &Rotate::default(), idempotency.as_ref(), render).await.is_ok()
        }
    };
    let settle = || ledger::settled(app);
    run(CALLERS, duration, call, settle, commits).await
}

/// The sizes of a rotation's parts, from one that was recorded.
async fn sizes(app: &App, caller: &Caller, id: CredentialId) -> Outcome<Parts> {
    let answer = app.rotate(caller, id, &Rotate::default(), None, |_| Ok(Vec::new())).await?;
    let stored = app.log().read_at(&[answer.position]).await?;
    let event = stored.into_iter().next().ok_or("a rotation that was answered is recorded")?;
    let details = event.side.details.ok_or("the caller's address is sealed")?;
    Ok(Parts {
        leaf: event.leaf,
        digest: event.side.digest.ok_or("a rotation brings a digest")?.to_vec(),
        details: details.ciphertext,
        details_key: details.wrapped_key,
    })
}

fn report(names: &[&str], rounds: &[Vec<Run>]) {
    let column = |index: usize, figure: fn(&Run) -> f64| Spread::of(rounds.iter().map(|r| figure(&r[index])));
    let head = ["", "per second", "p50 ms", "p99 ms", "max ms", "CPU µs", "flushes", "failed"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (index, name) in names.iter().enumerate() {
        rows.push(vec![
            (*name).to_owned(),
            column(index, |r| r.rate).text(0),
            column(index, |r| r.p50).text(2),
            column(index, |r| r.p99).text(2),
            column(index, |r| r.max).text(1),
            column(index, |r| r.cpu).text(1),
            format!("1/{:.0}", 1.0 / column(index, |r| r.flushes).median),
            rounds.iter().map(|r| r[index].failed).sum::<u64>().to_string(),
        ]);
    }
    println!("{}", table(&rows));
    let ratio = |a: usize, b: usize| Spread::of(rounds.iter().map(|r| r[a].rate / r[b].rate)).text(2);
    let goals = [
        ["ratio", "median (range)", "goal"].map(str::to_owned),
        ["rota / naive".to_owned(), ratio(2, 0), "≥ 25".to_owned()],
        ["rota / floor".to_owned(), ratio(2, 1), "≥ 0.60".to_owned()],
        ["rota with key / naive".to_owned(), ratio(3, 0), String::new()],
        ["rota with key / floor".to_owned(), ratio(3, 1), String::new()],
        ["floor / naive".to_owned(), ratio(1, 0), String::new()],
    ];
    println!("{}", table(&goals.map(Vec::from)));
}

#[tokio::main]
async fn main() -> Outcome {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    let (rounds, seconds) = if has("--quick") { (3, 3) } else { (5, 5) };
    let only_rota = has("--only-rota");
    telemetry::metrics();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rota.db");
    let credentials = Arc::new(ledger::write(&path, CREDENTIALS, 0).await?);
    let opened = ledger::open(&path).await?;
    let app = &opened.app;
    let caller = ledger::operator(app)?;
    let parts = sizes(app, &caller, credentials[0]).await?;
    println!(
        "leaf {} bytes, digest {}, details {} + {}; {CREDENTIALS} credentials; {rounds} rounds of {seconds} s\n",
        parts.leaf.len(),
        parts.digest.len(),
        parts.details.len(),
        parts.details_key.len()
    );
    let naive = naive(folder.path()).await?;
    let floor = floor(folder.path(), parts).await?;
    let duration = Duration::from_secs(seconds);
    let mut all = Vec::new();
    for round in 0..rounds {
        let mut runs = Vec::new();
        if !only_rota {
            runs.push(run_naive(&naive, round, duration).await);
            runs.push(run_floor(&floor, duration).await);
        }
        for named in [false, true] {
            runs.push(run_rota(app, &caller, &credentials, named, round, duration).await);
        }
        if only_rota {
            runs = vec![runs[0], runs[0], runs[0], runs[1]];
        }
        all.push(runs);
    }
    report(&["naive", "floor", "rota", "rota with key"], &all);
    opened.close().await;
    Ok(())
}
