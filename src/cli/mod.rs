//! The command line: one file for each verb. What a verb does is in [`rota::app`], or asked of a server; here is how
//! it is asked for and what is printed.

/// Prints a line to stdout.
macro_rules! say {
    ($($line:tt)*) => { $crate::cli::output::say(format_args!($($line)*)) };
}

mod backup;
mod campaigns;
mod client;
mod copy;
mod credential;
mod doctor;
mod error;
mod export;
mod forensics;
mod history;
mod jobs;
mod ledger;
mod migrate;
mod output;
mod pack;
mod progress;
mod quickstart;
mod rebuild;
mod receipt;
mod replay;
mod report;
mod rewrap;
mod rotate;
mod rotations;
mod serve;
mod source;
mod store;
mod token_keys;
mod verify;
mod witness;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::error::Stop;

const EXAMPLES: &str = "\
Examples:
  rota quickstart                          start, issue, rotate and verify in one go
  rota serve                               serve the ledger in ./rota-data
  export ROTA_URL=http://127.0.0.1:8700 ROTA_KEY=…
  rota issue --kind client --name billing  issue a credential
  rota rotate ID --grace 1h                replace its secret; the old one works for another hour
  rota rotate-all --dry-run                plan to replace many secrets, each sealed to its owner
  rota history ID                          who did what to it, and when
  rota export --format parquet --out DIR   take the events away, for DuckDB and the like
  rota report secret-age                   what auditors ask, as of any time
  rota verify                              check every event of a ledger that is not being served
  rota doctor                              find out what is wrong with an installation

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.";

/// An event-sourced ledger for API credentials: issue, rotate, expire, verify, prove.
#[derive(Parser)]
#[command(name = "rota", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Serve(serve::Serve),
    Quickstart(quickstart::Quickstart),
    Issue(credential::Issue),
    Rotate(rotate::Rotate),
    Rotations(rotations::Rotations),
    RotateAll(Box<campaigns::RotateAll>),
    Campaigns(campaigns::Campaigns),
    Owners(campaigns::Owners),
    Expire(credential::Expire),
    Revoke(credential::Revoke),
    History(history::History),
    Export(export::Export),
    Replay(replay::Replay),
    Report(report::Report),
    Forensics(forensics::Forensics),
    Verify(Box<verify::Verify>),
    Receipt(receipt::Receipt),
    Rebuild(rebuild::Rebuild),
    Rewrap(rewrap::Rewrap),
    Backup(backup::Backup),
    Migrate(migrate::Migrate),
    TokenKeys(token_keys::TokenKeys),
    Ledger(ledger::Ledger),
    Copy(copy::Copy),
    Witness(witness::Witness),
    Doctor(doctor::Doctor),
}

impl Verb {
    /// Installs the TLS provider, before anything speaks TLS: there is one, and nobody chooses another. It is ring,
    /// unless this verb opens a store in EventStoreDB, whose client installs its own and dies of any other.
    async fn install_tls(&self) -> Result<(), Stop> {
        #[cfg(feature = "esdb")]
        if self.stores().iter().any(|store| matches!(store, rota::app::StoreUrl::Esdb(_))) {
            return rota::log::esdb::prepare_tls()
                .await
                .map_err(|error| Stop::failed("the store can't be opened", error));
        }
        rustls::crypto::ring::default_provider()
            .install_default()
            .map_err(|_| Stop::refused("another TLS provider is installed already"))
    }

    /// The stores that a verb opens.
    #[cfg(feature = "esdb")]
    fn stores(&self) -> Vec<&rota::app::StoreUrl> {
        match self {
            Self::Serve(verb) => vec![&verb.store.store],
            Self::Verify(verb) => vec![&verb.store.store],
            Self::Export(verb) => vec![&verb.store.store],
            Self::Replay(verb) => vec![&verb.store.store],
            Self::Rebuild(verb) => vec![&verb.store.store],
            Self::Rewrap(verb) => vec![&verb.store.store],
            Self::Doctor(verb) => vec![&verb.store.store],
            Self::Copy(verb) => vec![&verb.from, &verb.to],
            // They ask a server, or refuse one in a cluster.
            Self::Issue(_)
            | Self::Rotate(_)
            | Self::Rotations(_)
            | Self::RotateAll(_)
            | Self::Campaigns(_)
            | Self::Owners(_)
            | Self::Expire(_)
            | Self::Revoke(_)
            | Self::History(_)
            | Self::Report(_)
            | Self::Forensics(_)
            | Self::Receipt(_)
            | Self::TokenKeys(_)
            | Self::Ledger(_)
            | Self::Witness(_)
            | Self::Quickstart(_)
            | Self::Backup(_)
            | Self::Migrate(_) => Vec::new(),
        }
    }
}

/// Reads the command line and does what it says. The exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Stop::failed("can't start", error).report(),
    };
    let done = runtime.block_on(async {
        cli.verb.install_tls().await?;
        match cli.verb {
            Verb::Serve(verb) => verb.run().await,
            Verb::Quickstart(verb) => verb.run().await,
            Verb::Issue(verb) => verb.run().await,
            Verb::Rotate(verb) => verb.run().await,
            Verb::Rotations(verb) => verb.run().await,
            Verb::RotateAll(verb) => verb.run().await,
            Verb::Campaigns(verb) => verb.run().await,
            Verb::Owners(verb) => verb.run().await,
            Verb::Expire(verb) => verb.run().await,
            Verb::Revoke(verb) => verb.run().await,
            Verb::History(verb) => verb.run().await,
            Verb::Export(verb) => verb.run().await,
            Verb::Replay(verb) => verb.run().await,
            Verb::Report(verb) => verb.run().await,
            Verb::Forensics(verb) => verb.run().await,
            Verb::Verify(verb) => verb.run().await,
            Verb::Receipt(verb) => verb.run().await,
            Verb::Rebuild(verb) => verb.run().await,
            Verb::Rewrap(verb) => verb.run().await,
            Verb::Backup(verb) => verb.run().await,
            Verb::Migrate(verb) => verb.run().await,
            Verb::TokenKeys(verb) => verb.run().await,
            Verb::Ledger(verb) => verb.run().await,
            Verb::Witness(verb) => verb.run().await,
            Verb::Copy(verb) => verb.run().await,
            Verb::Doctor(verb) => verb.run().await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.report(),
    }
}
