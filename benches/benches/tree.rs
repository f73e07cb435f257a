//! What the tree costs: an event in it beside bare SHA-256 over its bytes, a receipt made of tiles that are in memory,
//! and a change with its receipt beside one without.
//!
//! `cargo bench -p rota-benches --bench tree`
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rota::app::clock::SystemClock;
use rota::app::{App, Caller, OperatorKey, Options, Principal, StoreUrl};
use rota::ledger::checkpoint::Checkpoint;
use rota::ledger::note::SigningKey;
use rota::ledger::proof::Plan;
use rota::ledger::receipt::Receipt;
use rota::ledger::rfc6962::leaf_hash;
use rota::ledger::tile::Edge;
use rota_aggregates::RequestId;
use rota_aggregates::secret::Secret;
use rota_benches::measure::{Spread, table};
use rota_benches::{Outcome, load};
use uuid::Uuid;

/// Leaves of this many bytes: what a rotation has.
const LEAF: usize = 900;
const LEAVES: usize = 200_000;
const ROUNDS: usize = 5;
const CALLERS: usize = 8;
const DURATION: Duration = Duration::from_secs(5);

/// Nanoseconds a leaf.
fn timed(mut each: impl FnMut()) -> f64 {
    let start = Instant::now();
    each();
    start.elapsed().as_secs_f64() * 1e9 / LEAVES as f64
}

fn tree() {
    let leaf = vec![b'x'; LEAF];
    let (mut bare, mut pushed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(timed(|| {
            for _ in 0..LEAVES {
                black_box(leaf_hash(black_box(&leaf)));
            }
        }));
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        pushed.push(timed(|| {
            for _ in 0..LEAVES {
                edge.push(leaf_hash(black_box(&leaf)), &mut full);
                full.clear();
            }
        }));
        black_box(edge.root());
    }
    let row =
        |what: &str, figures: &[f64]| vec![what.to_owned(), Spread::of(figures.iter().copied()).text(0)];
    println!("nanoseconds a leaf of {LEAF} bytes");
    let pushed_row = row("leaf and tree", &pushed);
    println!("{}", table(&[row("SHA-256 alone", &bare), pushed_row]));
}

/// How many receipts a second one core makes of the tiles of ten million events.
fn proofs() -> Outcome<()> {
    const SIZE: u64 = 10_000_000;
    const RECEIPTS: u64 = 50_000;
    let (mut edge, mut full) = (Edge::default(), Vec::new());
    for index in 0..SIZE {
        edge.push(leaf_hash(&index.to_le_bytes()), &mut full);
    }
    let mut tiles: HashMap<_, _> = full.into_iter().map(|tile| (tile.id, tile.hashes)).collect();
    for (id, _) in Edge::needs(SIZE) {
        tiles.extend(edge.open_tile(id).map(|hashes| (id, hashes.to_vec())));
    }
    let key = SigningKey::of_log("ledger.rota.example/prod", &[1; 32])?;
    let checkpoint = Checkpoint { origin: "ledger.rota.example/prod".into(), size: SIZE, root: edge.root() };
    let note = checkpoint.sign(&[&key]);
    let make = |index| -> Option<Receipt> {
        let hashes = Plan::inclusion(index, SIZE)?.assemble(|id| tiles.get(&id).map(Vec::as_slice))?;
        Some(Receipt { index, hashes, checkpoint: note.clone() })
    };
    let last = make(SIZE - 1).ok_or("a receipt")?;
    last.check(&(SIZE - 1).to_le_bytes(), key.verifier())?;
    let (mut rates, mut largest) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for number in 0..RECEIPTS {
            let receipt = make(number * 7_919_999 % SIZE).ok_or("a receipt")?;
            largest = largest.max(black_box(receipt.text()).len());
        }
        rates.push(RECEIPTS as f64 / start.elapsed().as_secs_f64());
    }
    println!("{} receipts a second, of at most {largest} bytes\n", Spread::of(rates.into_iter()).text(0));
    Ok(())
}

fn operator(number: u64) -> Caller {
    let request = RequestId(Uuid::from_u128(u128::from(number)));
    Caller { principal: Principal::Operator, ..Caller::scheduler(request) }
}

async fn change(app: &App, number: u64, proof: bool) -> bool {
    let opened = app.open_workspace(&operator(number), &format!("w{number}")).await;
    let Ok((_, position)) = opened else { return false };
    !proof || app.receipt(position).await.is_ok()
}

async fn receipts() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let store = StoreUrl::Sqlite(folder.path().join("rota.db"));
    let mut options = Options::new(store, Arc::new(SystemClock));
    options.operator_key =
        OperatorKey::Given(Secret::new("an-operator-key-for-benches-0123456789".to_owned()));
    let opened = App::open(options, |_, _| ()).await?;
    let mut rows = vec![vec![String::new(), "answers/s".into(), "p50 ms".into(), "p99 ms".into()]];
    for round in 0..ROUNDS {
        for proof in [false, true] {
            let app = Arc::clone(&opened.app);
            let call = move |number| {
                let app = Arc::clone(&app);
                async move { change(&app, number, proof).await }
            };
            let run = load::run(CALLERS, DURATION, call, async || (), || 0).await;
            let what = if proof { "with its receipt" } else { "without" };
            let figure = |value: f64| format!("{value:.2}");
            rows.push(vec![
                format!("{round} {what}"),
                format!("{:.0}", run.rate),
                figure(run.p50),
                figure(run.p99),
            ]);
        }
    }
    println!("{CALLERS} callers, SQLite on this disk\n{}", table(&rows));
    opened.close().await;
    Ok(())
}

fn main() -> Outcome<()> {
    tree();
    proofs()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(receipts())
}
