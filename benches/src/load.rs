//! Callers in a closed loop: each asks, waits for the answer, and asks again.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::measure::{cpu_seconds, quantile};

/// What one run showed.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Answers a second.
    pub rate: f64,
    /// Milliseconds below which half of the answers came.
    pub p50: f64,
    /// Milliseconds below which 99 of 100 answers came.
    pub p99: f64,
    /// Milliseconds of the slowest answer.
    pub max: f64,
    /// Microseconds of CPU an answer, callers and all that runs behind them included.
    pub cpu: f64,
    /// Flushes an answer.
    pub flushes: f64,
    /// Calls that failed.
    pub failed: u64,
}

/// Runs `callers` loops for `duration`. `call` gets a number that nobody else gets and says whether it went
/// well. `settle` waits for what goes on behind the answers, so that its CPU is counted; `flushes` is a counter.
pub async fn run<C, S>(
    callers: usize,
    duration: Duration,
    call: impl Fn(u64) -> C + Clone + Send + Sync + 'static,
    settle: impl FnOnce() -> S,
    flushes: impl Fn() -> u64,
) -> Run
where
    C: Future<Output = bool> + Send + 'static,
    S: Future<Output = ()>,
{
    let number = Arc::new(AtomicU64::new(0));
    let (cpu, flushed) = (cpu_seconds(), flushes());
    let start = Instant::now();
    let loops: Vec<_> = (0..callers)
        .map(|_| {
            let (number, call) = (Arc::clone(&number), call.clone());
            tokio::spawn(async move {
                let (mut times, mut failed) = (Vec::with_capacity(4_096), 0);
                while start.elapsed() < duration {
                    let before = Instant::now();
                    if call(number.fetch_add(1, Ordering::Relaxed)).await {
                        times.push(before.elapsed().as_secs_f64() * 1e3);
                    } else {
                        failed += 1;
                    }
                }
                (times, failed)
            })
        })
        .collect();
    let (mut times, mut failed) = (Vec::new(), 0);
    for done in loops {
        // A caller that panicked shows as missing answers and a failure.
        let (own, refused) = done.await.unwrap_or((Vec::new(), 1));
        times.extend(own);
        failed += refused;
    }
    let elapsed = start.elapsed().as_secs_f64();
    settle().await;
    let answers = times.len() as f64;
    times.sort_by(f64::total_cmp);
    Run {
        rate: answers / elapsed,
        p50: quantile(&times, 0.5),
        p99: quantile(&times, 0.99),
        max: quantile(&times, 1.0),
        cpu: (cpu_seconds() - cpu) * 1e6 / answers,
        flushes: (flushes() - flushed) as f64 / answers,
        failed,
    }
}
