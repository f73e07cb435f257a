//! `rota backup`.

use std::path::PathBuf;

use rota::app::StoreUrl;
use rota::app::at_rest::AtRest;
use rota::telemetry::{self, LogFormat};
use serde_json::json;

use super::client::ServerArgs;
use super::error::Stop;
use super::output::text;
use super::store::StoreArgs;

const EXAMPLES: &str = "\
The copy is one consistent SQLite file of mode 0600. It opens only with the master key, which is
not in it: keep that apart. With --url the server that has the ledger open writes the copy, on
its own disk; otherwise this command does.

To restore: put the copy as rota.db into an empty folder, the master key beside it, and serve
that. Check it first:
  rota verify --store sqlite:/backups/rota.db

Examples:
  rota backup /backups/rota.db
  rota backup /backups/rota.db --url http://127.0.0.1:8700";

/// Copy a ledger, also while it is served
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Backup {
    /// Where the copy goes; nothing may be there yet
    path: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl Backup {
    pub async fn run(self) -> Result<(), Stop> {
        let path = std::path::absolute(&self.path)
            .map_err(|error| Stop::failed(format!("can't tell where {} is", self.path.display()), error))?;
        if let Some(remote) = self.server.named()? {
            let done = remote.post("/v1/admin/backup", &json!({ "path": path })).await?;
            say!("{} bytes are in {}, on the server's disk", text(&done["bytes"]), text(&done["path"]));
            return Ok(());
        }
        telemetry::init_quiet(LogFormat::Text, "warn");
        self.store.kept()?;
        if matches!(self.store.store, StoreUrl::Postgres(_)) {
            return Err(Stop::usage("a PostgreSQL store is backed up by PostgreSQL").advise(
                "pg_dump for a copy; base backups and WAL archiving for a restore to any point in time. \
                 docs/operations.md says what a restore means for a ledger",
            ));
        }
        #[cfg(feature = "esdb")]
        if matches!(self.store.store, StoreUrl::Esdb(_)) {
            return Err(Stop::usage("a ledger in EventStoreDB is backed up with its cluster").advise(
                "back up the nodes as EventStoreDB's own documentation says, or copy the ledger to a file with \
                 `rota copy`",
            ));
        }
        let ledger = AtRest::open(self.store.options()?).await?;
        ledger.log.backup(&path).await?;
        let bytes = std::fs::metadata(&path).map_or(0, |m| m.len());
        say!("{bytes} bytes are in {}", path.display());
        Ok(())
    }
}
