//! `rota migrate`.

use rota::app::StoreUrl;
use rota::log::postgres::PostgresLog;
use rota::telemetry::{self, LogFormat};

use super::error::Stop;
use super::store::StoreArgs;

const EXAMPLES: &str = "\
`rota serve` does this by itself where its role may. Where it may only read and append, as
migrations/postgres/roles.sql has it, the role that owns the schema does it before an upgrade.

Examples:
  ROTA_STORE=postgres://rota_owner@db/ledger rota migrate";

/// Bring a PostgreSQL store's schema up to date
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Migrate {
    #[command(flatten)]
    store: StoreArgs,
}

impl Migrate {
    pub async fn run(self) -> Result<(), Stop> {
        telemetry::init_quiet(LogFormat::Text, "warn");
        let StoreUrl::Postgres(url) = &self.store.store else {
            return Err(Stop::usage("only a PostgreSQL store is brought up to date by a command of its own")
                .advise("a SQLite store is, whenever it is opened"));
        };
        PostgresLog::migrate(url).await?;
        say!("the schema in {url} is up to date");
        Ok(())
    }
}
