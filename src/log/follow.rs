//! Taking in what others recorded: on a store that several processes share, the tip of each follows the feed.

use std::sync::Arc;
use std::time::Duration;

use rota_aggregates::Position;
use tokio::sync::watch;

use super::reading::{PAGE, decode};
use super::tip::SharedTip;
use super::{EventLog, LogError, Page};
use crate::ledger::rfc6962::leaf_hash;

/// Reads of a growing log are at least so far apart.
const PACE: Duration = Duration::from_millis(10);
/// After a failure the next attempt waits this long.
const RETRY: Duration = Duration::from_secs(1);

/// Moves the tip along with the log.
pub struct Follower {
    log: Arc<dyn EventLog>,
    tip: Arc<SharedTip>,
    head: watch::Sender<Position>,
}

impl Follower {
    /// A follower that tells `head` how far the tip is.
    pub fn new(log: Arc<dyn EventLog>, tip: Arc<SharedTip>, head: watch::Sender<Position>) -> Self {
        Self { log, tip, head }
    }

    /// Reads on from the tip until a page is not full. Everything that was committed when this was called is in the
    /// tip afterwards: usually by one read, which is also the proof that there is no more.
    pub async fn catch_up(&self) -> Result<Position, LogError> {
        loop {
            let from = self.next();
            let page = self.log.read(from, PAGE).await?;
            let full = page.leaves.len() >= PAGE;
            self.take_in(page)?;
            if !full {
                return Ok(self.next());
            }
        }
    }

    /// Keeps other writers out, as far as the store can, and takes in what they have written. Whether there was any.
    pub(super) async fn take_turn(&self) -> Result<bool, LogError> {
        let from = self.next();
        let full = match self.log.take_turn(from).await? {
            None => true,
            Some(page) => {
                let full = page.leaves.len() >= PAGE;
                self.take_in(page)?;
                full
            }
        };
        if full {
            self.catch_up().await?;
        }
        Ok(self.next() > from)
    }

    fn take_in(&self, page: Page) -> Result<(), LogError> {
        // The committer may have been faster with its own.
        let page = page.from(self.next());
        if page.leaves.is_empty() {
            return Ok(());
        }
        let leaves: Vec<_> = page.leaves.iter().map(|(leaf, _)| leaf_hash(leaf)).collect();
        let recorded = decode(page).collect::<Result<Vec<_>, _>>()?;
        let mut kept = Vec::with_capacity(recorded.len());
        let mut tip = self.tip.tip.write();
        for (event, leaf) in recorded.into_iter().zip(leaves) {
            if tip.apply_next(&event.fact(), leaf) {
                kept.push(event.into());
            }
        }
        let next = tip.live.next_position();
        drop(tip);
        self.tip.keep(kept);
        self.announce(next);
        Ok(())
    }

    fn next(&self) -> Position {
        self.tip.tip.read().live.next_position()
    }

    /// Says how far the tip is, to whoever watches. It never goes back.
    pub(super) fn announce(&self, next: Position) {
        self.head.send_if_modified(|head| {
            let moved = next > *head;
            *head = next.max(*head);
            moved
        });
    }

    /// Follows for ever, on a store that others write to; returns at once on one that has a single writer.
    pub async fn run(self: Arc<Self>) {
        let mut failing = false;
        loop {
            let known = self.next();
            if !self.log.grown(known).await {
                return;
            }
            match self.catch_up().await {
                Ok(next) => {
                    if next > known {
                        // What comes thick and fast comes together.
                        tokio::time::sleep(PACE).await;
                    }
                    if std::mem::take(&mut failing) {
                        tracing::info!("the log can be followed again");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "the log can't be followed; trying again");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}
