//! What grows with the ledger and what must not: commits, verification, memory, start-up.
//!
//! Small and large ledgers are measured interleaved in one process, but memory, which is taken in a process of its
//! own that only folds generated events.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::Path;
use std::time::{Duration, Instant};

use rota::app::rotate::Rotate;
use rota::app::{Caller, Opened};
use rota::log::sqlite::SqliteLog;
use rota::log::{Batch, EventLog};
use rota_aggregates::{CredentialId, Position};
use rota_benches::ledger::{self, History, Numbers};
use rota_benches::measure::{Spread, cpu_seconds, resident_bytes, table};
use rota_benches::{Outcome, load};
use rota_projections::live::Live;

const SMALL: usize = 1_000;
const LARGE: usize = 1_000_000;
const BATCH: usize = 64;
/// Writes a ledger and measures nothing.
const WRITE: &str = "--write";
/// Set in the process that measures memory: how many credentials it folds.
const FOLD: &str = "ROTA_BENCH_FOLD";

/// A log and the history that it holds.
struct Grown {
    log: SqliteLog,
    history: History,
    credentials: usize,
}

impl Grown {
    /// A log of so many events, a tenth of them issues and the others rotations at random.
    async fn new(path: &Path, events: usize) -> Outcome<Self> {
        let log = SqliteLog::open(path).await?;
        log.start_checkpoints().await?;
        let (mut history, credentials) = (History::new(1), events / 10);
        history.append(&log, events, credentials).await?;
        Ok(Self { log, history, credentials })
    }

    fn batch(&mut self, at: Position) -> Outcome<Batch> {
        let mut batch = Batch { at, ..Batch::default() };
        for _ in 0..BATCH {
            batch.rows.push(self.history.event(self.credentials)?.row()?);
        }
        Ok(batch)
    }

    /// Microseconds of wall clock and of CPU that an event takes in batches of [`BATCH`]. What is measured is undone
    /// by nothing: a run adds 12 800 events.
    async fn cost(&mut self) -> Outcome<(f64, f64)> {
        let mut at = self.log.next().await?;
        let mut batches = Vec::with_capacity(200);
        for _ in 0..200 {
            batches.push(self.batch(at)?);
            at = Position(at.0 + BATCH as u64);
        }
        let (start, cpu) = (Instant::now(), cpu_seconds());
        for batch in &batches {
            self.log.append(batch).await?;
        }
        let events = (batches.len() * BATCH) as f64;
        Ok((start.elapsed().as_secs_f64() * 1e6 / events, (cpu_seconds() - cpu) * 1e6 / events))
    }
}

async fn commits(folder: &Path, rounds: usize) -> Outcome<Vec<String>> {
    let mut large = Grown::new(&folder.join("commits-large.db"), LARGE).await?;
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // The small one is made anew each time: it would not stay small.
        let mut small = Grown::new(&folder.join(format!("commits-small-{round}.db")), SMALL).await?;
        let (before, before_cpu) = small.cost().await?;
        let (after, after_cpu) = large.cost().await?;
        wall.push(after / before);
        cpu.push(after_cpu / before_cpu);
    }
    println!("a batch's CPU at 10^6 events to 10^3: {}", Spread::of(cpu).text(2));
    Ok(row("a batch at 10^6 events to 10^3", Spread::of(wall).text(2), "≤ 1.05"))
}

fn row(what: &str, figure: String, goal: &str) -> Vec<String> {
    vec![what.to_owned(), figure, goal.to_owned()]
}

/// Credentials whose secrets are known.
struct Known {
    opened: Opened,
    caller: Caller,
    secrets: Vec<(String, String)>,
}

impl Known {
    /// Rotates some credentials of a ledger, spread over all of it, to learn their secrets.
    async fn new(opened: Opened, credentials: &[CredentialId], count: usize) -> Outcome<Self> {
        let app = &opened.app;
        let caller = ledger::operator(app)?;
        let mut numbers = Numbers::new(9);
        let mut secrets = Vec::with_capacity(count);
        let mut chosen: Vec<_> =
            (0..count).map(|_| credentials[numbers.draw() as usize % credentials.len()]).collect();
        chosen.sort_unstable();
        chosen.dedup();
        for portion in chosen.chunks(256) {
            let rotate = Rotate::default();
            let learn = portion.iter().map(|id| {
                app.rotate(&caller, *id, &rotate, None, |made| {
                    Ok(format!("{} {}", made.public_id, made.secret.expose()).into_bytes())
                })
            });
            for answer in futures_util::future::join_all(learn).await {
                let text = String::from_utf8(answer?.bytes.to_vec())?;
                let (id, secret) = text.split_once(' ').ok_or("identifier and secret")?;
                secrets.push((id.to_owned(), secret.to_owned()));
            }
        }
        // In no order that memory has.
        for i in (1..secrets.len()).rev() {
            secrets.swap(i, numbers.draw() as usize % (i + 1));
        }
        Ok(Self { opened, caller, secrets })
    }

    /// Nanoseconds that verifying a secret takes.
    async fn cost(&self, calls: usize) -> Outcome<f64> {
        let start = Instant::now();
        for (id, secret) in self.secrets.iter().cycle().take(calls) {
            let verified = self.opened.app.verify(&self.caller, id, secret).await?;
            verified.ok_or("a right secret is valid")?;
        }
        Ok(start.elapsed().as_secs_f64() * 1e9 / calls as f64)
    }

    async fn rotations(&self, credentials: &[CredentialId]) -> load::Run {
        let (app, caller) = (std::sync::Arc::clone(&self.opened.app), self.caller.clone());
        let ids = std::sync::Arc::new(credentials.to_vec());
        let call = move |number: u64| {
            let (app, caller, ids) =
                (std::sync::Arc::clone(&app), caller.clone(), std::sync::Arc::clone(&ids));
            async move {
                let id = ids[number as usize * 7_919 % ids.len()];
                app.rotate(&caller, id, &Rotate::default(), None, |_| Ok(Vec::new())).await.is_ok()
            }
        };
        let app = &self.opened.app;
        load::run(256, Duration::from_secs(3), call, || ledger::settled(app), || 0).await
    }
}

async fn apps(folder: &Path, rounds: usize) -> Outcome<Vec<Vec<String>>> {
    let (small_path, path) = (folder.join("small.db"), folder.join("large.db"));
    let small_ids = ledger::write(&small_path, SMALL, 0).await?;
    let ids = ledger::write(&path, LARGE, 0).await?;
    let start = Instant::now();
    let opened = ledger::open(&path).await?;
    println!("folded and indexed {} events in {:.1} s", opened.replayed, start.elapsed().as_secs_f64());
    // Whatever the upkeep has written meanwhile, this one is new.
    let caller = ledger::operator(&opened.app)?;
    opened.app.rotate(&caller, ids[0], &Rotate::default(), None, |_| Ok(Vec::new())).await?;
    let start = Instant::now();
    opened.app.snapshot().await;
    let written = start.elapsed();
    opened.close().await;
    let start = Instant::now();
    let opened = ledger::open(&path).await?;
    let ready = start.elapsed();
    println!("events folded after the snapshot: {}", opened.replayed);

    let small = Known::new(ledger::open(&small_path).await?, &small_ids, SMALL).await?;
    let large = Known::new(opened, &ids, 20_000).await?;
    for known in [&small, &large] {
        // The first use in a minute is noted; the others are not.
        known.cost(known.secrets.len()).await?;
        ledger::settled(&known.opened.app).await;
    }
    let (mut verify, mut rate, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (few, many) = (small.cost(200_000).await?, large.cost(200_000).await?);
        println!("verify: {few:.0} ns among 10^3, {many:.0} ns among 10^6");
        verify.push(many / few);
    }
    for _ in 0..rounds {
        let (few, many) = (small.rotations(&small_ids).await, large.rotations(&ids).await);
        rate.push(many.rate / few.rate);
        cpu.push(many.cpu / few.cpu);
    }
    small.opened.close().await;
    large.opened.close().await;
    Ok(vec![
        row("verify among 10^6 credentials to 10^3", Spread::of(verify).text(2), "≤ 1.15 over HTTP"),
        row("rotations a second among 10^6 to 10^3", Spread::of(rate).text(2), ""),
        row("CPU a rotation among 10^6 to 10^3", Spread::of(cpu).text(2), ""),
        row("snapshot of 10^6 written, s", format!("{:.2}", written.as_secs_f64()), ""),
        row("ready from the snapshot, s", format!("{:.2}", ready.as_secs_f64()), "≤ 1"),
    ])
}

/// Folds so many credentials into the live view and prints by how many bytes the process grew.
fn fold(credentials: usize) -> Outcome {
    let (mut history, mut live) = (History::new(3), Live::default());
    let mut before = 0;
    for number in 0..=credentials {
        if number == SMALL {
            before = resident_bytes();
        }
        // Only the live view may keep anything.
        live.apply(&history.event(credentials)?.fact());
        history.forget();
    }
    println!("{}", resident_bytes().saturating_sub(before) as f64 / (live.credentials() - SMALL) as f64);
    Ok(())
}

fn memory() -> Outcome<Vec<String>> {
    let program = std::env::current_exe()?;
    let output = std::process::Command::new(program).env(FOLD, LARGE.to_string()).output()?;
    let bytes: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(row("memory a live credential at 10^6, bytes", format!("{bytes:.0}"), "≤ 128"))
}

/// Writes a ledger for `bench/load.py`, and prints the ids of so many of its credentials, from all over it.
fn write(path: &Path, credentials: usize, sample: usize) -> Outcome {
    let ids = tokio::runtime::Runtime::new()?.block_on(ledger::write(path, credentials, 0))?;
    // The factor is prime: no id comes twice before all have come.
    for number in 0..sample.min(ids.len()) {
        println!("{}", ids[number * 15_485_863 % ids.len()]);
    }
    Ok(())
}

fn main() -> Outcome {
    if let Ok(credentials) = std::env::var(FOLD) {
        return fold(credentials.parse()?);
    }
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == WRITE) {
        let [path, credentials, sample, ..] = &arguments[at + 1..] else {
            return Err(format!("{WRITE} PATH CREDENTIALS SAMPLE").into());
        };
        return write(Path::new(path), credentials.parse()?, sample.parse()?);
    }
    let rounds = if arguments.iter().any(|argument| argument == "--quick") { 3 } else { 7 };
    let runtime = tokio::runtime::Runtime::new()?;
    let folder = tempfile::tempdir()?;
    let mut rows = vec![row("", "median (range)".to_owned(), "goal"), memory()?];
    rows.push(runtime.block_on(commits(folder.path(), rounds))?);
    rows.extend(runtime.block_on(apps(folder.path(), rounds))?);
    println!("\n{}", table(&rows));
    Ok(())
}
