//! `rota verify receipt`.

use std::path::PathBuf;

use rota::ledger::receipt::{Receipt, entry_of};
use rota_aggregates::record::Record;
use serde_json::{Value, json};

use super::trust::{self, TrustArgs};
use crate::cli::client::ServerArgs;
use crate::cli::error::Stop;
use crate::cli::output::{self, FormatArgs, text};

const EXAMPLES: &str = "\
Needs nothing but the file and the ledger's verifier key: no network, no server. With --url instead
of --vkey the server is asked for its keys.

Examples:
  rota verify receipt 4711.tlog-proof --vkey rota.internal+1a2b3c4d+AQ…
  rota verify receipt 4711.tlog-proof --entry 4711.json --vkey ledger.vkey";

/// Check that an event is in the ledger, by its receipt alone
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyReceipt {
    /// The receipt
    file: PathBuf,
    /// The event's bytes, where the receipt does not have them
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

impl VerifyReceipt {
    pub async fn run(self) -> Result<(), Stop> {
        let proof = trust::read(&self.file)?;
        let mut keys = self.trust.keys()?;
        if keys.is_empty() {
            let Some(remote) = self.server.named()? else {
                return Err(Stop::usage("whose signature counts?")
                    .advise("give the ledger's verifier key with --vkey, or its server with --url"));
            };
            let known = remote.get("/v1/ledger/key", &[]).await?;
            let named = known["keys"].as_array().into_iter().flatten();
            keys.extend(named.filter_map(|key| key["vkey"].as_str()?.parse().ok()));
        }
        let bytes = match &self.entry {
            Some(path) => std::fs::read(path)
                .map_err(|error| Stop::failed(format!("can't read {}", path.display()), error))?,
            None => entry_of(&proof).ok_or_else(|| {
                Stop::refused("the receipt does not have the event's bytes")
                    .advise("give them with --entry FILE")
            })?,
        };
        let receipt = Receipt::parse(&proof).map_err(|error| Stop::failed("the receipt", error))?;
        let mut last = None;
        let checkpoint = keys.iter().find_map(|key| match receipt.check(&bytes, key) {
            Ok(checkpoint) => Some(checkpoint),
            Err(error) => {
                last = Some(error);
                None
            }
        });
        if let Some(policy) = self.trust.policy()?
            && !trust::cosigned_by(&receipt.checkpoint, &policy)
        {
            let quorum = policy.quorum_name();
            return Err(Stop::refused(format!(
                "the receipt's checkpoint is not cosigned by the quorum {quorum}"
            ))
            .advise("get one that is: rota receipt --cosigned"));
        }
        let Some(checkpoint) = checkpoint else {
            return Err(match last {
                Some(error) => Stop::failed("the receipt does not hold", error),
                None => Stop::refused("the server names no keys"),
            });
        };
        let record = Record::decode(&bytes).map_err(|error| {
            Stop::failed("the receipt holds, and what it is of can't be read as an event", error)
        })?;
        let event: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let document = json!({
            "ok": true, "position": receipt.index, "origin": checkpoint.origin, "size": checkpoint.size,
            "event": event,
        });
        let fields = [
            ("event", record.event.type_name().to_owned()),
            ("position", receipt.index.to_string()),
            ("time", record.time.to_string()),
            ("stream", record.stream.to_string()),
            ("id", text(&event["id"])),
            ("ledger", checkpoint.origin.clone()),
            ("checkpoint", format!("over {} events, signed", checkpoint.size)),
            ("verdict", "the event is in the ledger".to_owned()),
        ];
        output::one(self.output.format, &document, &fields);
        Ok(())
    }
}
