//! `rota receipt`.

use std::path::PathBuf;

use rota::file::write_whole;
use rota::ledger::receipt::with_entry;
use rota_aggregates::record::Leaf;
use rota_aggregates::{EventId, Position, Timestamp};
use rota_exports::Filter;

use super::client::ServerArgs;
use super::error::Stop;
use super::source::Source;

/// An event lies at most so long after its id was made.
const LATE_SECONDS: u64 = 300;

const EXAMPLES: &str = "\
One file with the event's bytes, the proof that they are a leaf of the ledger's tree, and the signed
checkpoint over that tree: c2sp.org/tlog-proof@v1, with the event in its `extra` line. Whoever has it and
the ledger's verifier key needs nothing else: `rota verify receipt`, or any tool that reads the format.
A workspace's auditor gets receipts of the workspace's events.

Examples:
  rota receipt 4711                                    4711.tlog-proof
  rota receipt 01a1fdba-6ab1-7004-aba2-a2f955cd668a    by the event's id
  rota receipt 4711 --entry 4711.json --size 5000      the bytes beside it; under an older checkpoint";

/// Get a receipt that proves an event to anybody, offline
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Receipt {
    /// The event's position or id
    event: String,
    /// Into this file [default: POSITION.tlog-proof]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The event's bytes into this file too, for tools that want them apart
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    /// Under the checkpoint of so many events [default: the newest]
    #[arg(long, value_name = "EVENTS")]
    size: Option<u64>,
    /// Under the newest checkpoint that the quorum of witnesses cosigned
    #[arg(long, conflicts_with = "size")]
    cosigned: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl Receipt {
    pub async fn run(self) -> Result<(), Stop> {
        let source = Source::Server(self.server.clone().remote()?);
        let remote = self.server.remote()?;
        let position = match self.event.parse::<u64>() {
            Ok(position) => Position(position),
            Err(_) => find(&source, &self.event).await?,
        };
        let size = self.size.map(|size| size.to_string());
        let mut query: Vec<_> = size.as_deref().map(|size| ("size", size)).into_iter().collect();
        query.extend(self.cosigned.then_some(("cosigned", "true")));
        let proof = remote.get_raw(&format!("/v1/ledger/proof/{position}"), &query).await?.body;
        let entry = remote.get_raw(&format!("/v1/ledger/entries/{position}"), &[]).await?.body;
        let proof = std::str::from_utf8(&proof).ok().and_then(|proof| with_entry(proof, &entry));
        let proof = proof.ok_or_else(|| {
            Stop::refused(format!("{} answered something that is no receipt", remote.url()))
        })?;
        let path = self.out.unwrap_or_else(|| PathBuf::from(format!("{position}.tlog-proof")));
        let failed = |path: &PathBuf| {
            let path = path.display().to_string();
            move |error| Stop::failed(format!("can't write {path}"), error)
        };
        write_whole(&path, proof.as_bytes()).map_err(failed(&path))?;
        if let Some(path) = &self.entry {
            write_whole(path, &entry).map_err(failed(path))?;
        }
        say!("the receipt of the event at position {position} is in {}", path.display());
        Ok(())
    }
}

/// The position of an event. Its id tells when it was made, and so where to look.
async fn find(source: &Source, id: &str) -> Result<Position, Stop> {
    let wrong = || {
        Stop::usage(format!("{id} is neither a position nor the id of an event"))
            .advise("`rota export --format csv` has the position of every event")
    };
    let id: EventId = id.parse().map_err(|_| wrong())?;
    let made = id.0.get_timestamp().ok_or_else(wrong)?.to_unix();
    let made = Timestamp::from_micros(made.0 as i64 * 1_000_000 + i64::from(made.1 / 1_000));
    let filter = Filter {
        from: Some(made.minus_seconds(LATE_SECONDS)),
        to: Some(made.plus_seconds(LATE_SECONDS)),
        ..Filter::default()
    };
    let mut next = Some(Position(0));
    while let Some(at) = next {
        let page = source.page(&filter, at).await?;
        let found = page.leaves.iter().find(|(_, leaf)| Leaf::read(leaf).is_ok_and(|leaf| leaf.id == id));
        if let Some((position, _)) = found {
            return Ok(*position);
        }
        next = page.next;
    }
    Err(Stop::refused(format!("there is no event {id} that this key may see"))
        .advise("observations have ids without a time in them: give the position"))
}
