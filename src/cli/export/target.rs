//! What an export is written to.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use rota::file::write_whole;
use rota_aggregates::Position;
use rota_exports::parquet::{Parts, PartsError};
use rota_exports::{Entry, Filter, Lines};

use super::ExportFormat;
use super::file::{Interrupted, Partial};
use crate::cli::error::Stop;
use crate::cli::source::{Leaf, Source};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 20;

/// What an export is written to.
pub struct Target {
    to: To,
    events: u64,
    last: Option<Position>,
}

enum To {
    Stdout(Lines, Vec<u8>),
    File(Lines, Vec<u8>, Partial),
    Folder(Box<Parts>),
}

/// What was written.
pub struct Written {
    events: u64,
    last: Option<Position>,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) => write!(f, "{} events, the last at position {last},", self.events),
            None => f.write_str("no events"),
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Stop {
    move |error| Stop::failed(format!("can't write {}", path.display()), error)
}

impl Target {
    /// Begins, or goes on where an earlier run stopped. The position at which to go on.
    pub async fn open(
        source: &Source,
        format: ExportFormat,
        out: Option<&Path>,
        filter: &Filter,
        from: Position,
        end: Option<Position>,
        resume: bool,
    ) -> Result<(Self, Position), Stop> {
        let new = |to| Self { to, events: 0, last: None };
        let Some(lines) = format.lines() else {
            return folder(out.unwrap_or(Path::new(".")), filter, from, resume)
                .map(|(parts, from)| (new(To::Folder(Box::new(parts))), from));
        };
        let header = lines.header().into_bytes();
        let Some(path) = out else { return Ok((new(To::Stdout(lines, header)), from)) };
        let how = description(format, filter, from, end);
        let (file, last) = match Partial::open(path, &how, resume)? {
            Interrupted::No(file) => (file, None),
            Interrupted::Whole(path) => {
                return Err(Stop::refused(format!(
                    "{} is complete: there is nothing to resume",
                    path.display()
                ))
                .advise("what came since goes into a file of its own: --positions FIRST.. --out OTHER"));
            }
            Interrupted::At(file, line) => (file, Some(line)),
        };
        let last = match last.and_then(|line| Some((lines.position(&line)?, line))) {
            Some((position, line)) => {
                again(source, lines, filter, position, &line).await?;
                Some(position)
            }
            None => None,
        };
        if let Some(last) = last {
            return Ok((new(To::File(lines, Vec::new(), file)), Position(last.0 + 1)));
        }
        let file = file.begin().map_err(failed(path))?;
        Ok((new(To::File(lines, header, file)), from))
    }

    /// Writes the events of a page that are wanted. `false` if no later event can be.
    pub fn write(&mut self, page: &[Leaf], filter: &Filter) -> Result<bool, Stop> {
        for (position, leaf) in page {
            let entry = Entry::read(*position, leaf).map_err(|error| {
                Stop::failed(format!("the event at position {position} can't be read"), error)
                    .advise("`rota verify` finds out what is wrong with the ledger")
            })?;
            if filter.ends_before(&entry) {
                return Ok(false);
            }
            if !filter.takes(&entry) {
                continue;
            }
            self.events += 1;
            self.last = Some(*position);
            match &mut self.to {
                To::Stdout(lines, buffer) | To::File(lines, buffer, _) => {
                    let written = lines.write(&entry, buffer);
                    written.map_err(|error| Stop::failed(format!("position {position}"), error))?;
                }
                To::Folder(parts) => parts.write(&entry)?,
            }
            if !self.flush(BUFFER)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes what was gathered, if it has so many bytes. `false` if nobody reads any more.
    fn flush(&mut self, at_least: usize) -> Result<bool, Stop> {
        match &mut self.to {
            To::Stdout(_, buffer) if buffer.len() >= at_least => {
                let mut stdout = std::io::stdout().lock();
                let written = stdout.write_all(buffer).and_then(|()| stdout.flush());
                buffer.clear();
                match written {
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
                    written => written.map_err(|error| Stop::failed("can't write to stdout", error))?,
                }
            }
            To::File(_, buffer, file) if buffer.len() >= at_least => {
                file.write(buffer).map_err(failed(file.path()))?;
                buffer.clear();
            }
            _ => {}
        }
        Ok(true)
    }

    /// Completes what was written.
    pub fn finish(mut self) -> Result<Written, Stop> {
        self.flush(0)?;
        match self.to {
            To::Stdout(..) => {}
            To::File(_, _, file) => {
                let path = file.path().to_owned();
                file.finish().map_err(failed(&path))?;
            }
            To::Folder(parts) => {
                parts.finish()?;
            }
        }
        Ok(Written { events: self.events, last: self.last })
    }
}

impl From<PartsError> for Stop {
    fn from(error: PartsError) -> Self {
        Self::failed("the export can't go on", error)
    }
}

/// What an export is of, for comparing it with that of an interrupted one.
fn description(format: ExportFormat, filter: &Filter, from: Position, end: Option<Position>) -> String {
    let document = serde_json::json!({
        "format": format!("{format:?}").to_lowercase(), "filter": filter, "first": from, "end": end,
    });
    format!("{document:#}\n")
}

/// The last event that was written must be written the same again: else it is another ledger.
async fn again(
    source: &Source,
    lines: Lines,
    filter: &Filter,
    position: Position,
    line: &[u8],
) -> Result<(), Stop> {
    let page = source.page(filter, position).await?;
    let mut now = Vec::new();
    if let Some((at, leaf)) = page.leaves.first()
        && let Ok(entry) = Entry::read(*at, leaf)
    {
        let _ = lines.write(&entry, &mut now);
    }
    if now == line {
        return Ok(());
    }
    Err(Stop::refused(format!("the event at position {position} is another one than the file has"))
        .advise("it was begun with another ledger, or with another rota: begin anew with another --out"))
}

/// A folder of Parquet files. What it is an export of is in a file beside the days.
fn folder(path: &Path, filter: &Filter, from: Position, resume: bool) -> Result<(Parts, Position), Stop> {
    let how: PathBuf = path.join("_export.json");
    let description = description(ExportFormat::Parquet, filter, from, None);
    match std::fs::read_to_string(&how) {
        Ok(_) if !resume => {
            return Err(Stop::refused(format!("there is an export in {} already", path.display()))
                .advise("--resume goes on with it; otherwise name another folder"));
        }
        Ok(before) if before != description => {
            return Err(Stop::refused(format!(
                "the export in {} is of other events: {before}",
                path.display()
            ))
            .advise("resume it with the same filters, or name another folder"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let made = std::fs::create_dir_all(path);
            let empty =
                made.and_then(|()| Ok(std::fs::read_dir(path)?.next().is_none())).map_err(failed(path))?;
            if !empty {
                return Err(Stop::refused(format!(
                    "{} is not empty, and no export of rota's",
                    path.display()
                ))
                .advise("name an empty folder"));
            }
            write_whole(&how, description.as_bytes()).map_err(failed(&how))?;
        }
        Err(error) => return Err(Stop::failed(format!("can't read {}", how.display()), error)),
    }
    let (parts, last) = Parts::open(path)?;
    Ok((parts, last.map_or(from, |last| Position(last.0 + 1).max(from))))
}
