//! The proof that what this process has in memory is current: a read-index.
//!
//! On a store that others write to, memory alone can't say that a secret is still valid: it may have been
//! rotated elsewhere a moment ago. So whoever answers from memory first proves that the tip holds every event
//! that was committed when the request arrived. The proof is one read of the log's end, *sent after* that arrival.
//! Requests share it: while one read is on its way those that come gather for the next, so that a thousand
//! requests at once cost one or two round trips. A request never joins a read that was sent before it came.
//!
//! There is no answer without proof: a store that can't be reached, or not in time, is an error. A process that
//! was stopped and goes on finds its clock moved on and its reads too old to prove anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::LogError;
use super::follow::Follower;

/// A request waits at most so long for the proof.
pub const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Rounds {
    /// Whether a read is on its way.
    running: bool,
    /// Who waits for the next one.
    waiting: Vec<oneshot::Sender<bool>>,
    /// When the last read that succeeded was sent.
    proved: Option<Instant>,
}

/// Proves that the tip is current.
pub struct ReadIndex {
    follower: Arc<Follower>,
    rounds: Mutex<Rounds>,
    /// Reads run here, whatever becomes of the thread that a request came in on.
    runtime: Handle,
    max_staleness: Duration,
}

/// Rounds one after the other, as long as somebody waits.
struct Run {
    index: Arc<ReadIndex>,
    over: bool,
}

/// Also a run that is cut off tells whoever waits, and the next request begins another.
impl Drop for Run {
    fn drop(&mut self) {
        if !self.over {
            let mut rounds = self.index.rounds.lock();
            rounds.running = false;
            rounds.waiting.clear();
        }
    }
}

impl ReadIndex {
    /// A proof by this follower's reads, on the current runtime. With a `max_staleness` above zero a proof serves
    /// everybody who comes within that time after it.
    pub fn new(follower: Arc<Follower>, max_staleness: Duration) -> Arc<Self> {
        let runtime = Handle::current();
        Arc::new(Self { follower, rounds: Mutex::default(), runtime, max_staleness })
    }

    /// Returns once the tip holds everything that was committed when this was called.
    pub async fn prove(self: &Arc<Self>) -> Result<(), LogError> {
        let asked = Instant::now();
        let proof = {
            let mut rounds = self.rounds.lock();
            let recent = |at: Instant| asked.saturating_duration_since(at) < self.max_staleness;
            if rounds.proved.is_some_and(recent) {
                return Ok(());
            }
            let (tell, proof) = oneshot::channel();
            rounds.waiting.push(tell);
            if !std::mem::replace(&mut rounds.running, true) {
                self.runtime.spawn(Run { index: Arc::clone(self), over: false }.rounds());
            }
            proof
        };
        let proved = matches!(tokio::time::timeout(PATIENCE, proof).await, Ok(Ok(true)));
        // One that took too long proves too little: this process may have been stopped meanwhile.
        if proved && asked.elapsed() < PATIENCE {
            return Ok(());
        }
        Err(LogError::unavailable("this replica could not find out in time whether it is current"))
    }
}

impl Run {
    async fn rounds(mut self) {
        loop {
            let waiting = {
                let mut rounds = self.index.rounds.lock();
                if rounds.waiting.is_empty() {
                    rounds.running = false;
                    self.over = true;
                    return;
                }
                std::mem::take(&mut rounds.waiting)
            };
            metrics::counter!("rota_head_reads_total").increment(1);
            metrics::counter!("rota_proofs_total").increment(waiting.len() as u64);
            let sent = Instant::now();
            let proved = self.read().await && sent.elapsed() < PATIENCE;
            if proved {
                self.index.rounds.lock().proved = Some(sent);
            }
            for tell in waiting {
                // Whoever gave up has gone.
                let _ = tell.send(proved);
            }
        }
    }

    async fn read(&self) -> bool {
        match tokio::time::timeout(PATIENCE, self.index.follower.catch_up()).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the log's end can't be read");
                false
            }
            Err(_) => {
                tracing::error!("the log's end could not be read within {PATIENCE:?}");
                false
            }
        }
    }
}
