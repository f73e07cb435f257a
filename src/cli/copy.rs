//! `rota copy`.

use std::fmt::Write;

use rota::app::StoreUrl;
use rota::app::at_rest::open_log;
use rota::app::copy::{CopyError, Phase, copy};
use rota::telemetry::{self, LogFormat};
use serde_json::json;

use super::error::Stop;
use super::output::{Format, FormatArgs};
use super::progress::Progress;
use super::store::Address;

const EXAMPLES: &str = "\
Every event keeps its position, id and bytes, and what is sealed beside it is copied as it is:
the same master key opens the copy. Stop every rota that serves either store first. A copy that
was interrupted goes on when the same command is run again; until it is finished and proved the
target can't be served. At the end both are read back and compared: leaf by leaf, part by part,
and by the root of the Merkle tree (RFC 6962) over the leaves, which is printed.

Views and snapshots are not copied: they are folded at the next start. Give an address with a
password in ROTA_COPY_FROM or ROTA_COPY_TO: command lines can be read by others.

Examples:
  rota copy --from sqlite:rota-data/rota.db --to sqlite:/srv/rota/rota.db
  rota copy --from sqlite:rota-data/rota.db --to postgres://rota@db.internal/rota";

/// Move a ledger to another store, and prove that both hold the same
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Copy {
    /// The store that has the ledger
    #[arg(long, env = "ROTA_COPY_FROM", hide_env_values = true, value_name = "URL", value_parser = Address)]
    pub(super) from: StoreUrl,
    /// An empty store, or what an interrupted run left there
    #[arg(long, env = "ROTA_COPY_TO", hide_env_values = true, value_name = "URL", value_parser = Address)]
    pub(super) to: StoreUrl,
    #[command(flatten)]
    output: FormatArgs,
}

impl Copy {
    pub async fn run(self) -> Result<(), Stop> {
        telemetry::init_quiet(LogFormat::Text, "error");
        if self.from == self.to {
            return Err(Stop::usage("--from and --to name the same store"));
        }
        let from = open_log(&self.from, false).await?;
        let to = open_log(&self.to, true).await?;
        let mut shown: Option<(Phase, Progress)> = None;
        let copied = copy(&from, &to, |phase, done, total| {
            if shown.as_ref().is_none_or(|(before, _)| *before != phase) {
                let what = match phase {
                    Phase::Resuming => "Comparing what is there",
                    Phase::Copying => "Copying",
                    Phase::Proving => "Proving",
                };
                shown = Some((phase, Progress::new(what)));
            }
            if let Some((_, progress)) = &shown {
                progress.at(done, total);
            }
        })
        .await?;
        drop(shown);
        let mut root = String::with_capacity(64);
        for byte in copied.root.0 {
            // A String takes everything.
            let _ = write!(root, "{byte:02x}");
        }
        let document = json!({ "events": copied.events, "resumed": copied.resumed, "root": root });
        match self.output.format {
            Format::Table | Format::Csv => {
                say!("events   {}, {} of them from an earlier run", copied.events, copied.resumed);
                say!("root     {root} (RFC 6962, SHA-256), the same on both sides");
                say!("verdict  both stores hold the same ledger; the same master key opens it");
            }
            Format::Json => say!("{document:#}"),
            Format::Ndjson => say!("{document}"),
        }
        Ok(())
    }
}

impl From<CopyError> for Stop {
    fn from(error: CopyError) -> Self {
        let advice = match &error {
            CopyError::Different(_) | CopyError::DifferentValue(_) | CopyError::DifferentRoot => {
                Some("make sure that nobody else writes to either store, and run it again")
            }
            _ => None,
        };
        let stop = Self::failed("the ledger was not copied", error);
        match advice {
            Some(advice) => stop.advise(advice),
            None => stop,
        }
    }
}
