//! What the tree costs: an event in it beside bare SHA-256 over its bytes, and a change with its receipt beside one
//! without.
//!
//! `cargo bench -p rota-benches --bench tree`
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rota::app::clock::SystemClock;
use rota::app::{App, Caller, OperatorKey, Options, Principal, StoreUrl};
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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(receipts())
}
