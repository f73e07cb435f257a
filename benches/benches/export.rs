//! Taking all events away, and checking all of them again, beside reading and decoding the same bytes from a flat file.
//! `--events N` (1 000 000), `--quick` for a small one; `--checks` for the checks alone; `--folder PATH` keeps the files.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use rota::app::audit_check::{Looked, Trail, on_all_cores};
use rota::ledger::check::{Hashed, TreeCheck};
use rota::ledger::tile::{WIDTH, put_entry};
use rota::log::EventLog;
use rota::log::sqlite::SqliteLog;
use rota_aggregates::Position;
use rota_benches::floor::{read_flat, read_floor, write_flat};
use rota_benches::measure::{Spread, cpu_seconds, forget_peak, peak_bytes, resident_bytes, table};
use rota_benches::{Outcome, ledger};
use rota_exports::parquet::Parts;
use rota_exports::{Entry, Lines};

const CREDENTIALS: usize = 20_000;
const PAGE: usize = 2_048;
/// Bundles that are looked at together.
const WINDOW: usize = 64;

/// Every event of a log, a page at a time, each read in place.
async fn each(log: &dyn EventLog, mut take: impl FnMut(&Entry<'_>) -> Outcome) -> Outcome<u64> {
    let mut next = 0;
    loop {
        let page = log.read(Position(next), PAGE).await?;
        for (leaf, _) in &page.leaves {
            take(&Entry::read(Position(next), leaf)?)?;
            next += 1;
        }
        if page.leaves.len() < PAGE {
            return Ok(next);
        }
    }
}

async fn lines(log: &dyn EventLog, format: Lines, path: &Path) -> Outcome<u64> {
    let mut file = std::fs::File::create(path)?;
    let mut buffer = Vec::with_capacity(2 << 20);
    let count = each(log, |entry| {
        format.write(entry, &mut buffer)?;
        if buffer.len() >= 1 << 20 {
            file.write_all(&buffer)?;
            buffer.clear();
        }
        Ok(())
    })
    .await?;
    file.write_all(&buffer)?;
    Ok(count)
}

async fn parquet(log: &dyn EventLog, folder: &Path) -> Outcome<u64> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    let (mut parts, _) = Parts::open(folder)?;
    let count = each(log, |entry| Ok(parts.write(entry)?)).await?;
    parts.finish()?;
    Ok(count)
}

/// The entry bundles of a flat file, in memory as a verifier has them.
fn bundles(flat: &Path) -> Outcome<Vec<Vec<u8>>> {
    let (mut bundles, mut count) = (Vec::new(), 0u64);
    read_flat(flat, |leaf| {
        if count.is_multiple_of(WIDTH) {
            bundles.push(Vec::new());
        }
        count += 1;
        let bundle = bundles.last_mut().ok_or("there is a bundle")?;
        put_entry(bundle, leaf).ok_or_else(|| "an entry is too long".into())
    })?;
    Ok(bundles)
}

/// The root over all bundles, on all cores.
fn check_tree(bundles: &[Vec<u8>]) -> Outcome<u64> {
    let mut tree = TreeCheck::default();
    for window in bundles.chunks(WINDOW) {
        for hashed in on_all_cores(window, |bundle| Hashed::of_bundle(bundle)) {
            tree.take(&hashed.ok_or("a bundle is cut short")?, None, &mut Vec::new());
        }
    }
    std::hint::black_box(tree.root());
    Ok(tree.size())
}

/// The same, with every event held against its schema and the one before it.
fn check_events(bundles: &[Vec<u8>]) -> Outcome<u64> {
    let (mut tree, mut trail) = (TreeCheck::default(), Trail::default());
    for window in bundles.chunks(WINDOW) {
        for looked in on_all_cores(window, |bundle| Looked::at_bundle(bundle)) {
            tree.take(&looked.hashed.ok_or("a bundle is cut short")?, None, &mut Vec::new());
            for record in looked.records {
                let mut wrong = None;
                trail.take(&record?, |finding| wrong = Some(finding));
                wrong.map_or(Ok(()), Err)?;
            }
        }
    }
    std::hint::black_box(tree.root());
    Ok(tree.size())
}

/// Events a second, CPU microseconds an event, and by how many MiB memory grew at most.
struct Figure([f64; 3]);

struct Run {
    start: Instant,
    cpu: f64,
    memory: u64,
}

impl Run {
    fn begin() -> Self {
        // Where it is not allowed the peak is that of the whole process, and the figure too high.
        let _ = forget_peak();
        Self { memory: resident_bytes(), start: Instant::now(), cpu: cpu_seconds() }
    }

    fn end(self, count: u64) -> Figure {
        let seconds = self.start.elapsed().as_secs_f64();
        let grown = peak_bytes().saturating_sub(self.memory) as f64 / f64::from(1 << 20);
        Figure([count as f64 / seconds, (cpu_seconds() - self.cpu) * 1e6 / count as f64, grown])
    }
}

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args().collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let named = arguments.iter().position(|argument| argument == "--events");
    let events = match named.and_then(|at| arguments.get(at + 1)) {
        Some(events) => events.parse()?,
        None if quick => 100_000,
        None => 1_000_000usize,
    };
    let rounds = if quick { 2 } else { 3 };
    let checks = arguments.iter().any(|argument| argument == "--checks");
    let temporary = tempfile::tempdir()?;
    let kept = arguments.iter().position(|argument| argument == "--folder");
    let folder = kept.and_then(|at| arguments.get(at + 1)).map_or(temporary.path(), Path::new);
    std::fs::create_dir_all(folder)?;
    let (path, flat) = (folder.join("rota.db"), folder.join("flat"));
    ledger::write(&path, CREDENTIALS, events - CREDENTIALS - 1).await?;
    let log = SqliteLog::open(&path).await?;
    write_flat(&log, &flat).await?;
    let out = folder.join("out");
    let mut runs: Vec<Vec<(&str, Figure)>> = Vec::new();
    for _ in 0..rounds {
        let mut figures = Vec::new();
        let run = Run::begin();
        figures.push(("read and decode", run.end(read_floor(&flat)?)));
        if !checks {
            let formats =
                [("NDJSON", Lines::Ndjson), ("CloudEvents", Lines::CloudEvents), ("CSV", Lines::Csv)];
            for (name, format) in formats {
                let run = Run::begin();
                figures.push((name, run.end(lines(&log, format, &out).await?)));
            }
            let run = Run::begin();
            figures.push(("Parquet", run.end(parquet(&log, &folder.join("parquet")).await?)));
        }
        let bundles = bundles(&flat)?;
        let run = Run::begin();
        figures.push(("tree from bundles", run.end(check_tree(&bundles)?)));
        let run = Run::begin();
        figures.push(("tree and events", run.end(check_events(&bundles)?)));
        runs.push(figures);
    }
    let head = ["", "events/s", "CPU µs", "MiB more", "of read and decode"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (index, (name, _)) in runs[0].iter().enumerate() {
        let of = |what: usize| Spread::of(runs.iter().map(|figures| figures[index].1.0[what]));
        let ratio = Spread::of(runs.iter().map(|figures| figures[index].1.0[0] / figures[0].1.0[0]));
        rows.push(vec![(*name).to_owned(), of(0).text(0), of(1).text(2), of(2).text(0), ratio.text(2)]);
    }
    println!("{events} events, {rounds} rounds\n\n{}", table(&rows));
    Ok(())
}
