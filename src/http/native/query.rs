//! Query parameters that several routes share.

use rota_aggregates::{Position, Timestamp};
use serde::Deserialize;

use super::cursor;
use crate::app::Failure;
use crate::app::read::AsOf;

/// Which page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    pub(super) limit: Option<usize>,
    after: Option<String>,
}

impl Page {
    pub(super) fn after(&self) -> Result<Option<Position>, Failure> {
        cursor(self.after.as_deref())
    }
}

/// An instant in RFC 3339.
pub(super) fn time(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
    // A plus sign that was not escaped arrives as a space.
    let parsed = text.map(|text| text.replace(' ', "+").parse()).transpose();
    parsed.map_err(|_| Failure::invalid(field, "must be a time such as 2026-11-21T03:31:18Z"))
}

/// A point in history: a position, or an instant in RFC 3339.
pub(super) fn as_of(text: Option<&str>) -> Result<Option<AsOf>, Failure> {
    let Some(text) = text else { return Ok(None) };
    if let Ok(position) = text.parse::<u64>() {
        return Ok(Some(AsOf::Position(Position(position))));
    }
    // A plus sign that was not escaped arrives as a space.
    let time = text.replace(' ', "+").parse();
    let wrong = "must be a position, or a time such as 2026-11-21T03:31:18Z";
    time.map(|t| Some(AsOf::Time(t))).map_err(|_| Failure::invalid("asOf", wrong))
}
