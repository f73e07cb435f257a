//! Formats of one event a line. A line is whole or it is not there, so a file that was cut short is taken up again
//! after its last line feed.

use std::fmt::{self, Write as _};

use rota_aggregates::Position;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cloud_event::CloudEvent;
use crate::entry::name;
use crate::{Entry, ocsf};

/// How an event is written on a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lines {
    /// `{"position":…,"leafHash":"…","leaf":{…}}`: after `"leaf":` come the very bytes that the ledger hashes, up to
    /// the last brace.
    Ndjson,
    /// CloudEvents 1.0.
    CloudEvents,
    /// OCSF.
    Ocsf,
    /// Comma-separated values with a header.
    Csv,
}

/// The columns of [`Lines::Csv`].
pub const COLUMNS: [&str; 19] = [
    "position",
    "time",
    "type",
    "subject",
    "credential",
    "version",
    "workspace",
    "actor_kind",
    "actor_id",
    "dialect",
    "proof",
    "id",
    "stream",
    "sequence",
    "request",
    "causation",
    "correlation",
    "leaf_hash",
    "data",
];

/// An event that has no line in a format.
#[derive(Debug, thiserror::Error)]
#[error("an event can't be written as a line")]
pub struct NoLine(#[from] serde_json::Error);

impl From<fmt::Error> for NoLine {
    fn from(_: fmt::Error) -> Self {
        Self(serde::ser::Error::custom("it can't be written as text"))
    }
}

impl Lines {
    /// What stands before the first event: empty but for CSV.
    pub fn header(self) -> String {
        if self == Self::Csv { COLUMNS.join(",") + "\n" } else { String::new() }
    }

    /// Appends an event's line.
    pub fn write(self, entry: &Entry<'_>, out: &mut Vec<u8>) -> Result<(), NoLine> {
        match self {
            Self::Ndjson => {
                out.extend_from_slice(b"{\"position\":");
                out.extend_from_slice(entry.position.to_string().as_bytes());
                out.extend_from_slice(b",\"leafHash\":\"");
                out.extend_from_slice(entry.leaf_hash().to_string().as_bytes());
                out.extend_from_slice(b"\",\"leaf\":");
                out.extend_from_slice(entry.bytes);
                out.push(b'}');
            }
            Self::CloudEvents => serde_json::to_writer(&mut *out, &CloudEvent::of(entry))?,
            Self::Ocsf => serde_json::to_writer(&mut *out, &ocsf::event(entry))?,
            Self::Csv => out.extend_from_slice(csv(entry)?.as_bytes()),
        }
        out.push(b'\n');
        Ok(())
    }

    /// The position of the event on a line that [`Lines::write`] wrote; `None` for a header and for anything else.
    pub fn position(self, line: &[u8]) -> Option<Position> {
        #[derive(Deserialize)]
        struct Placed<'a> {
            position: Option<u64>,
            #[serde(borrow)]
            unmapped: Option<&'a RawValue>,
        }
        let line = std::str::from_utf8(line).ok()?;
        if self == Self::Csv {
            return line.split(',').next()?.parse().ok().map(Position);
        }
        let placed: Placed<'_> = serde_json::from_str(line).ok()?;
        match (placed.position, placed.unmapped) {
            (Some(position), _) => Some(Position(position)),
            (None, Some(inner)) => {
                serde_json::from_str::<Placed<'_>>(inner.get()).ok()?.position.map(Position)
            }
            (None, None) => None,
        }
    }
}

/// Cells as in RFC 4180. Only the last one can have something in it that must be quoted.
fn csv(entry: &Entry<'_>) -> Result<String, NoLine> {
    let leaf = &entry.leaf;
    let about = entry.about();
    let mut line = String::with_capacity(1_024);
    write!(line, "{},{},{},{},", entry.position, leaf.time, leaf.r#type, entry.subject())?;
    if let Some(id) = about.credential {
        write!(line, "{id}")?;
    }
    line.push(',');
    if let Some(version) = about.version {
        write!(line, "{version}")?;
    }
    let (kind, dialect, proof) = (name(&leaf.actor.kind), name(&leaf.dialect), name(&leaf.proof.kind));
    write!(line, ",{},{kind},{},{dialect},{proof},{},", leaf.workspace, leaf.actor.id, leaf.id)?;
    write!(line, "{},{},{},", leaf.stream, leaf.sequence, leaf.request)?;
    write!(line, "{},{},{},\"", leaf.causation, leaf.correlation, entry.leaf_hash())?;
    line.push_str(&leaf.data.get().replace('"', "\"\""));
    line.push('"');
    Ok(line)
}
