//! `rota export`.

mod file;
mod target;

use std::path::PathBuf;
use std::str::FromStr;

use rota_aggregates::{CredentialId, Position, RequestId, Timestamp, WorkspaceId};
use rota_exports::{Filter, Lines};

use self::target::Target;
use super::client::ServerArgs;
use super::error::Stop;
use super::source::{Leaf, Source, stream};
use super::store::StoreArgs;

const EXAMPLES: &str = "\
From a server (--url) whatever its key may read: a workspace's analyst gets the workspace's events,
the operator all. Without --url from the store itself, which must not be served meanwhile.

A file is called FILE.partial until it is complete. An export that was cut short goes on with
--resume: exactly after the last whole row. Into a folder of Parquet --resume also brings what
was recorded since.

Examples:
  rota export --out events.ndjson
  rota export --format csv --type rota.credential.secret-rotated.v1 --from 2026-11-01T00:00:00Z
  rota export --format parquet --out events/            day=2026-11-21/part-….parquet
  rota export --format parquet --out events/ --resume   what came since
  rota export --format cloudevents --url https://rota.internal | jq .type";

/// What events are written as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum ExportFormat {
    /// A line of JSON for each event, with the bytes that the ledger hashes
    Ndjson,
    /// CloudEvents 1.0, one a line
    Cloudevents,
    /// OCSF, one event a line
    Ocsf,
    /// Typed columns, a folder for each day
    Parquet,
    /// Comma-separated values with a header
    Csv,
}

impl ExportFormat {
    fn lines(self) -> Option<Lines> {
        Some(match self {
            Self::Ndjson => Lines::Ndjson,
            Self::Cloudevents => Lines::CloudEvents,
            Self::Ocsf => Lines::Ocsf,
            Self::Csv => Lines::Csv,
            Self::Parquet => return None,
        })
    }
}

/// Positions from the first up to the second, exclusive: `100..200`, `100..` or `..200`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Positions {
    from: Position,
    end: Option<Position>,
}

impl FromStr for Positions {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "positions are given as FIRST..END, such as 100..200 or 100..";
        let (from, end) = text.split_once("..").ok_or(FORM)?;
        let number = |text: &str| match text {
            "" => Ok(None),
            digits => digits.parse().map(|at| Some(Position(at))).map_err(|_| FORM),
        };
        Ok(Self { from: number(from)?.unwrap_or_default(), end: number(end)? })
    }
}

/// Which events.
#[derive(clap::Args, Clone)]
pub struct FilterArgs {
    /// Of this type, such as rota.credential.secret-rotated.v1
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// About this credential
    #[arg(long, value_name = "CREDENTIAL")]
    subject: Option<String>,
    /// Of this workspace
    #[arg(long, value_name = "ID")]
    workspace: Option<WorkspaceId>,
    /// By this actor: operator, scheduler, or the id of a key or credential
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Of this request
    #[arg(long, value_name = "ID")]
    request: Option<RequestId>,
    /// From this time on (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Up to this time, exclusive (RFC 3339)
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
}

impl FilterArgs {
    /// The filter for a workspace and a credential.
    pub fn of(workspace: Option<&str>, subject: Option<&str>) -> Result<Filter, Stop> {
        let workspace = workspace.map(|id| {
            id.parse()
                .map_err(|_| Stop::usage(format!("--workspace must be a workspace's id, and {id} is none")))
        });
        let subject = subject.map(str::to_owned);
        let named = Self {
            subject,
            workspace: workspace.transpose()?,
            r#type: None,
            actor: None,
            request: None,
            from: None,
            to: None,
        };
        named.filter()
    }

    /// The filter that they describe.
    pub fn filter(&self) -> Result<Filter, Stop> {
        let subject = self.subject.as_deref().map(|subject| {
            let id = subject.strip_prefix("credential/").unwrap_or(subject);
            id.parse::<CredentialId>().map_err(|_| {
                Stop::usage(format!("--subject must be a credential's id, and {subject} is none"))
            })
        });
        let actor = self.actor.as_deref();
        if let Some(actor) = actor.filter(|actor| !matches!(*actor, "operator" | "scheduler"))
            && actor.parse::<CredentialId>().is_err()
        {
            return Err(Stop::usage(format!(
                "--actor must be operator, scheduler, or the id of a key or credential, and {actor} is none"
            )));
        }
        Ok(Filter {
            r#type: self.r#type.clone(),
            subject: subject.transpose()?,
            workspace: self.workspace,
            actor: self.actor.clone(),
            request: self.request,
            from: self.from,
            to: self.to,
        })
    }
}

/// Write events out for others to read
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Export {
    /// What they are written as
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "ndjson")]
    format: ExportFormat,
    /// Into this file, or folder for Parquet [default: to stdout]
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Go on where an earlier run into the same place stopped
    #[arg(long, requires = "out")]
    resume: bool,
    /// From one position to another, exclusive: 100..200, 100.. or ..200
    #[arg(long, value_name = "FIRST..END")]
    positions: Option<Positions>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl Export {
    pub async fn run(self) -> Result<(), Stop> {
        let filter = self.filter.filter()?;
        let Positions { from, end } = self.positions.unwrap_or(Positions { from: Position(0), end: None });
        if self.format == ExportFormat::Parquet && self.out.is_none() {
            return Err(Stop::usage("Parquet is written into a folder").advise("name it with --out FOLDER"));
        }
        let source = Source::open(self.server, &self.store).await?;
        let out = self.out.as_deref();
        let (target, from) = Target::open(&source, self.format, out, &filter, from, end, self.resume).await?;
        let taken = filter.clone();
        let write = move |target: &mut Target, page: Vec<Leaf>| target.write(&page, &taken);
        let written = stream(&source, "Exporting", &filter, (from, end), target, write).await?.finish()?;
        if let Some(out) = out {
            say!("{written} are in {}", out.display());
        }
        Ok(())
    }
}
