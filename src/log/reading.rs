//! Reading the log from some position to its end.

use rota_aggregates::Position;
use rota_aggregates::record::Record;
use rota_projections::Recorded;

use super::{EventLog, LogError, Page};

/// Events read at once when catching up.
pub(super) const PAGE: usize = 2_048;

/// Reads every event from `from` on and hands each to `take`, in order. How many there were.
pub async fn catch_up(
    log: &dyn EventLog,
    from: Position,
    mut take: impl FnMut(&Recorded),
) -> Result<u64, LogError> {
    let mut next = from;
    loop {
        let page = log.read(next, PAGE).await?;
        let short = page.leaves.len() < PAGE;
        for recorded in decode(page) {
            let recorded = recorded?;
            next = Position(recorded.position.0 + 1);
            take(&recorded);
        }
        if short {
            return Ok(next.0 - from.0);
        }
    }
}

/// Reads the leaves of a page.
pub fn decode(page: Page) -> impl Iterator<Item = Result<Recorded, LogError>> {
    let first = page.first.0;
    page.leaves.into_iter().enumerate().map(move |(offset, (leaf, digest))| {
        let position = Position(first + offset as u64);
        let record = Record::decode(&leaf).map_err(|source| LogError::BadLeaf { position, source })?;
        Ok(Recorded { position, record, digest, details: None })
    })
}
