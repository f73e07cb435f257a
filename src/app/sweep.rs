//! Reading the ledger from its first event, a page at a time, without keeping the server from its work: pages are
//! taken apart on a thread of their own, and at most two are in memory.

use std::collections::HashSet;
use std::sync::Arc;

use rota_aggregates::record::{Record, peek_type};
use rota_aggregates::{Event, Position};

use super::{App, Failure};
use crate::log::{LogError, Page};

/// So many sweeps run at the same time; others wait.
pub(super) const AT_ONCE: usize = 2;
/// Events read at once.
const PAGE: usize = 1_000;

/// What is fed by a sweep.
pub(super) trait Sweeper: Send + 'static {
    /// Takes an event in, with the keyed digest beside it.
    fn take(&mut self, position: Position, record: Record, digest: Option<[u8; 32]>);
}

impl App {
    /// Feeds the events before `end` of some types, or of all of them, in position order.
    pub(super) async fn sweep<S: Sweeper>(
        &self,
        mut sweeper: S,
        types: Option<&[&str]>,
        end: Position,
    ) -> Result<S, Failure> {
        let _place = self.sweeping.acquire().await.map_err(|_| Failure::Overloaded)?;
        // What this program knows and nobody asked for is not decoded.
        let passed_over: HashSet<&'static str> = types
            .map(|types| Event::types().filter(|name| !types.contains(name)).collect())
            .unwrap_or_default();
        let passed_over = Arc::new(passed_over);
        let mut page = self.log.read(Position(0), PAGE).await?;
        while page.first < end && !page.leaves.is_empty() {
            let next = Position(page.first.0 + page.leaves.len() as u64);
            let passed_over = Arc::clone(&passed_over);
            let taken = tokio::task::spawn_blocking(move || take(sweeper, &page, end, &passed_over));
            // The next page is read meanwhile.
            let (taken, read) = tokio::join!(taken, self.log.read(next, PAGE));
            sweeper = taken.map_err(|error| LogError::unavailable(error.to_string()))??;
            page = read?;
        }
        Ok(sweeper)
    }
}

fn take<S: Sweeper>(
    mut sweeper: S,
    page: &Page,
    end: Position,
    passed_over: &HashSet<&'static str>,
) -> Result<S, LogError> {
    for (position, (leaf, digest)) in (page.first.0..end.0).zip(&page.leaves) {
        if peek_type(leaf).is_some_and(|name| passed_over.contains(name)) {
            continue;
        }
        let position = Position(position);
        let record = Record::decode(leaf).map_err(|source| LogError::BadLeaf { position, source })?;
        sweeper.take(position, record, *digest);
    }
    Ok(sweeper)
}
