//! What is read: pages of the feed, single events, use marks.

use rota_aggregates::{CredentialId, Position};
use rota_projections::live::UseMark;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgPool, Postgres, Row};
use uuid::Uuid;

use super::kept::Kept;
use super::patiently;
use crate::log::{LogError, Page, Side, StoredEvent};
use crate::sealing::Sealed;

async fn rows(readers: &Kept, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, LogError> {
    patiently(async {
        let mut connection = readers.take().await?;
        let rows = query.fetch_all(&mut *connection).await?;
        readers.give_back(connection);
        Ok(rows)
    })
    .await
}

/// Both bounds on both sides: a planner that has to find `sealed`'s for itself begins at its first row.
pub(super) const PAGE: &str = "SELECT e.position, e.leaf, s.digest FROM events e \
    LEFT JOIN sealed s ON s.position = e.position AND s.position >= $1 AND s.position < $2 \
    WHERE e.position >= $1 AND e.position < $2 ORDER BY e.position";

/// The end of a page, exclusive.
pub(super) fn end(from: Position, limit: usize) -> u64 {
    from.0.saturating_add(limit as u64).min(i64::MAX as u64)
}

pub async fn page(readers: &Kept, from: Position, limit: usize) -> Result<Page, LogError> {
    let page = sqlx::query(PAGE).bind(from.0 as i64).bind(end(from, limit) as i64);
    in_order(from, &rows(readers, page).await?)
}

/// The rows of a page, which must have no gap.
pub(super) fn in_order(from: Position, rows: &[PgRow]) -> Result<Page, LogError> {
    let mut leaves = Vec::with_capacity(rows.len());
    for (expected, row) in (from.0 as i64..).zip(rows) {
        let read = || Ok::<_, sqlx::Error>((row.try_get::<i64, _>(0)?, row.try_get(1)?, digest(row, 2)?));
        let (position, leaf, digest) = read().map_err(LogError::unavailable)?;
        if position != expected {
            return Err(LogError::Corrupt(format!("the event at position {expected} is missing")));
        }
        leaves.push((leaf, digest));
    }
    Ok(Page { first: from, leaves })
}

pub async fn at(readers: &Kept, positions: &[Position]) -> Result<Vec<StoredEvent>, LogError> {
    const AT: &str = "SELECT e.position, e.leaf, s.digest, s.secret, s.secret_key, s.answer, s.answer_key, \
        s.details, s.details_key FROM events e LEFT JOIN sealed s USING (position) \
        WHERE e.position = ANY ($1) ORDER BY e.position";
    if positions.is_empty() {
        return Ok(Vec::new());
    }
    let positions: Vec<_> = positions.iter().map(|p| p.0 as i64).collect();
    let rows = rows(readers, sqlx::query(AT).bind(positions)).await?;
    rows.iter().map(|row| stored(row).map_err(LogError::unavailable)).collect()
}

pub async fn use_marks(pool: &PgPool) -> Result<Vec<UseMark>, LogError> {
    const MARKS: &str = "SELECT credential, version, first_used, last_used FROM secret_use";
    let rows = patiently(sqlx::query(MARKS).fetch_all(pool)).await?;
    let number = |row: &PgRow, column: usize| u32::try_from(row.try_get::<i64, _>(column).ok()?).ok();
    let marks = rows.iter().filter_map(|row| {
        let id: &[u8] = row.try_get(0).ok()?;
        Some(UseMark {
            credential: CredentialId(Uuid::from_slice(id).ok()?),
            version: number(row, 1)?,
            first: number(row, 2)?,
            last: number(row, 3)?,
        })
    });
    Ok(marks.collect())
}

fn digest(row: &PgRow, column: usize) -> Result<Option<[u8; 32]>, sqlx::Error> {
    // A borrowed one can't be had of a statement without parameters.
    let digest: Option<Vec<u8>> = row.try_get(column)?;
    let whole = digest.as_deref().map(<[u8; 32]>::try_from).transpose();
    whole.map_err(|_| sqlx::Error::Decode("a digest has 32 bytes".into()))
}

fn stored(row: &PgRow) -> Result<StoredEvent, sqlx::Error> {
    let sealed = |column: usize| -> Result<Option<Sealed>, sqlx::Error> {
        let (text, key): (Option<Vec<u8>>, Option<Vec<u8>>) =
            (row.try_get(column)?, row.try_get(column + 1)?);
        Ok(text.zip(key).map(|(ciphertext, wrapped_key)| Sealed { wrapped_key, ciphertext }))
    };
    let position: i64 = row.try_get(0)?;
    let side = Side { digest: digest(row, 2)?, secret: sealed(3)?, answer: sealed(5)?, details: sealed(7)? };
    Ok(StoredEvent { position: Position(position as u64), leaf: row.try_get(1)?, side })
}
