//! `rota rebuild`.

use rota::app::LiveFrom;
use rota::telemetry::{self, LogFormat};
use serde_json::json;

use super::client::ServerArgs;
use super::error::Stop;
use super::jobs;
use super::progress::Progress;
use super::store::{self, StoreArgs};

const EXAMPLES: &str = "\
Views are what can be folded again from events at any time; the ledger itself is not touched.
With --url the server that has the ledger open does it, otherwise this command does.

Examples:
  rota rebuild
  rota rebuild --url http://127.0.0.1:8700";

/// Drop the views and fold every event again
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Rebuild {
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl Rebuild {
    pub async fn run(self) -> Result<(), Stop> {
        if let Some(remote) = self.server.named()? {
            jobs::run(&remote, "rebuild", "Folding", &json!({})).await?;
            say!("the views are folded anew");
            return Ok(());
        }
        telemetry::init_quiet(LogFormat::Text, "warn");
        self.store.existing()?;
        let mut options = self.store.options()?;
        options.live_from = LiveFrom::Events;
        let opened = store::open(options).await?;
        let progress = Progress::new("Folding");
        let rebuilt = opened.app.rebuild(|done, total| progress.at(done, total)).await;
        drop(progress);
        let events = opened.replayed;
        opened.close().await;
        rebuilt?;
        say!("the views are folded anew from {events} events");
        Ok(())
    }
}
