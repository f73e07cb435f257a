//! Rows of either database, read.

use rota_aggregates::{Position, Timestamp, WebhookId};
use sqlx::{ColumnIndex, Decode, Row, Type};
use uuid::Uuid;

use super::store::{Delivery, Health, State, Waiting};

/// The columns of a delivery, in the order in which they are read.
pub(super) const COLUMNS: &str =
    "number, claim, webhook, notice, type, position, payload, state, tries, attempts, created, next";

pub(super) fn bytes(id: WebhookId) -> Vec<u8> {
    id.0.as_bytes().to_vec()
}

fn id(bytes: &[u8]) -> Result<Uuid, sqlx::Error> {
    Uuid::from_slice(bytes).map_err(|e| sqlx::Error::Decode(e.into()))
}

fn time<'r, R: Row>(row: &'r R, column: usize) -> Result<Option<Timestamp>, sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_micros))
}

/// A delivery from its [`COLUMNS`].
pub(super) fn delivery<'r, R: Row>(row: &'r R) -> Result<Delivery, sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
{
    let text = |column: usize| row.try_get::<&str, _>(column);
    let state = text(7)?;
    let state = State::ALL.into_iter().find(|known| known.name() == state);
    Ok(Delivery {
        number: row.try_get::<i64, _>(0)? as u64,
        claim: row.try_get::<i64, _>(1)? as u64,
        webhook: WebhookId(id(row.try_get(2)?)?),
        notice: id(row.try_get(3)?)?,
        name: text(4)?.to_owned(),
        position: row.try_get::<Option<i64>, _>(5)?.map(|p| Position(p as u64)),
        payload: text(6)?.to_owned(),
        state: state.ok_or_else(|| sqlx::Error::Decode("an unknown state".into()))?,
        tries: row.try_get::<i64, _>(8)? as u32,
        attempts: serde_json::from_str(text(9)?).map_err(|e| sqlx::Error::Decode(e.into()))?,
        created: time(row, 10)?.unwrap_or_default(),
        next: time(row, 11)?,
    })
}

/// Health from four columns, the first of them given.
pub(super) fn health<'r, R: Row>(row: &'r R, first: usize) -> Result<Health, sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(Health {
        waiting: row.try_get::<i64, _>(first)?.max(0) as u64,
        failures: row.try_get::<i64, _>(first + 1)? as u64,
        last_success: time(row, first + 2)?,
        last_failure: time(row, first + 3)?,
    })
}

/// What waits for a webhook: its id, its health, when the first is due and the highest number. `None`: nothing.
pub(super) fn waiting<'r, R: Row>(row: &'r R) -> Result<Option<Waiting>, sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
{
    let webhook = WebhookId(id(row.try_get(0)?)?);
    let (health, next) = (health(row, 1)?, time(row, 5)?);
    let last = row.try_get::<Option<i64>, _>(6)?.unwrap_or(0) as u64;
    Ok(next.map(|next| Waiting { webhook, health, next, last }))
}
