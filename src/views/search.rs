//! Which events have all of some facets: looked up in the runs of the file and in the tail.

use rota_aggregates::Position;
use rota_projections::audit::Facet;
use sqlx::{Sqlite, Transaction};

use super::Views;
use super::run;
use super::runs::page_id;
use crate::log::LogError;

/// Pages read at first; each further time four times as many, up to the most.
const PAGES_FIRST: usize = 32;
const PAGES_MAX: usize = 256;
/// So few positions are not narrowed down further: their events are read instead.
const FEW: usize = 64;

/// A stretch of a run's pages.
#[derive(Clone, Copy)]
struct Stretch {
    first: i64,
    last: i64,
}

/// A search for events that have all of some facets, in order of position.
pub(super) struct Search {
    file: Option<Transaction<'static, Sqlite>>,
    /// The keys: first the one with the fewest pages.
    keys: Vec<(usize, i64)>,
    /// Pages of the first key that were not read yet, last first.
    pages: Vec<Stretch>,
    at_once: usize,
    from: u64,
    /// The end of what the file is asked for: what comes after is in `tail`.
    end: u64,
    tail: Vec<u64>,
}

impl Search {
    /// For events from `from` up to `end`, exclusive.
    pub async fn new(
        views: &Views,
        facets: &[Facet],
        from: Position,
        end: Position,
    ) -> Result<Self, LogError> {
        let mut keys: Vec<_> = facets.iter().map(|facet| (facet.dimension(), facet.key())).collect();
        // First the tail: what goes from there into the file meanwhile is found twice, and passed over.
        let (tail, base) = {
            let tail = views.tail.read();
            (tail.positions(&keys, from.0, end.0), tail.base())
        };
        let (from, end) = (from.0, end.0.min(base));
        let (mut file, mut pages) = (None, Vec::new());
        if from < end {
            let mut transaction = views.readers.begin().await.map_err(LogError::unavailable)?;
            let mut fewest = usize::MAX;
            for index in 0..keys.len() {
                let found = stretches(&mut transaction, keys[index].1, from, end);
                let found = found.await.map_err(LogError::unavailable)?;
                let count = found.iter().map(|s| (s.last - s.first) as usize + 1).sum();
                if count < fewest {
                    (fewest, pages) = (count, found);
                    keys.swap(0, index);
                }
            }
            pages.reverse();
            file = Some(transaction);
        }
        Ok(Self { file, keys, pages, at_once: PAGES_FIRST, from, end, tail })
    }

    /// Further positions, in order; none when there are no more. An event there may lack a facet.
    pub async fn more(&mut self) -> Result<Vec<Position>, LogError> {
        let found = self.more_of_file().await.map_err(LogError::unavailable)?;
        let found = if found.is_empty() { std::mem::take(&mut self.tail) } else { found };
        Ok(found.into_iter().map(Position).collect())
    }

    async fn more_of_file(&mut self) -> Result<Vec<u64>, sqlx::Error> {
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        while let Some(portion) = portion(&mut self.pages, self.at_once) {
            self.at_once = (self.at_once * 4).min(PAGES_MAX);
            let Some(((_, key), others)) = self.keys.split_first() else { return Ok(Vec::new()) };
            let mut found = read(file, &portion, *key, self.from, self.end).await?;
            for (_, key) in others {
                let (Some(first), Some(last)) = (found.first(), found.last()) else { break };
                if found.len() <= FEW {
                    break;
                }
                let (from, end) = (*first, last + 1);
                let mut also = stretches(file, *key, from, end).await?;
                also.reverse();
                let mut both = Vec::new();
                let mut left = found.into_iter().peekable();
                while let Some(portion) = self::portion(&mut also, PAGES_MAX) {
                    for position in read(file, &portion, *key, from, end).await? {
                        while left.next_if(|p| *p < position).is_some() {}
                        both.extend(left.next_if_eq(&position));
                    }
                }
                found = both;
            }
            if !found.is_empty() {
                if self.pages.is_empty() {
                    self.file = None;
                }
                return Ok(found);
            }
        }
        self.file = None;
        Ok(Vec::new())
    }
}

/// Takes up to `count` pages from the end of a list of stretches: the next ones, in order.
fn portion(left: &mut Vec<Stretch>, count: usize) -> Option<Vec<Stretch>> {
    let (mut taken, mut pages) = (Vec::new(), 0);
    while pages < count
        && let Some(next) = left.pop()
    {
        let last = next.last.min(next.first + (count - pages) as i64 - 1);
        if last < next.last {
            left.push(Stretch { first: last + 1, last: next.last });
        }
        pages += (last - next.first) as usize + 1;
        taken.push(Stretch { first: next.first, last });
    }
    (!taken.is_empty()).then_some(taken)
}

/// The pages that can have entries of a key at these positions, by run, in order of position.
async fn stretches(
    file: &mut Transaction<'static, Sqlite>,
    key: i64,
    from: u64,
    end: u64,
) -> Result<Vec<Stretch>, sqlx::Error> {
    // A row value would not be searched for with the index.
    const STRETCHES: &str = "SELECT run, \
        coalesce( \
            (SELECT id FROM pages WHERE run = runs.run AND key = ?1 AND position <= ?2 ORDER BY position DESC LIMIT 1), \
            (SELECT id FROM pages WHERE run = runs.run AND key < ?1 ORDER BY key DESC, position DESC LIMIT 1)), \
        coalesce( \
            (SELECT id FROM pages WHERE run = runs.run AND key = ?1 AND position < ?3 ORDER BY position DESC LIMIT 1), \
            (SELECT id FROM pages WHERE run = runs.run AND key < ?1 ORDER BY key DESC, position DESC LIMIT 1)) \
        FROM runs WHERE next > ?2 AND first < ?3 ORDER BY first";
    let rows: Vec<(i64, Option<i64>, Option<i64>)> =
        sqlx::query_as(STRETCHES).bind(key).bind(from as i64).bind(end as i64).fetch_all(&mut **file).await?;
    let stretch = |(run, first, last): (i64, Option<i64>, Option<i64>)| {
        Some(Stretch { first: first.unwrap_or(page_id(run, 0)), last: last? })
    };
    Ok(rows.into_iter().filter_map(stretch).collect())
}

/// The positions of a key in these pages.
async fn read(
    file: &mut Transaction<'static, Sqlite>,
    pages: &[Stretch],
    key: i64,
    from: u64,
    end: u64,
) -> Result<Vec<u64>, sqlx::Error> {
    let list = pages.iter().map(|s| serde_json::json!([s.first, s.last])).collect::<serde_json::Value>();
    let pages: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT pages.data FROM json_each(?) AS stretch CROSS JOIN pages \
         ON pages.id BETWEEN stretch.value->>0 AND stretch.value->>1 ORDER BY stretch.id, pages.id",
    )
    .bind(list.to_string())
    .fetch_all(&mut **file)
    .await?;
    Ok(pages.iter().flat_map(|data| run::positions(data, key, from, end)).collect())
}
