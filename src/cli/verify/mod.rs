//! `rota verify`.

mod at_rest;
mod receipt;
mod report;
mod served;
mod tiles;
pub mod trust;

use std::path::PathBuf;

use zeroize::Zeroizing;

use self::served::Outside;
use self::tiles::Tiles;
use self::trust::TrustArgs;
use super::client::{Remote, ServerArgs};
use super::error::Stop;
use super::output::FormatArgs;
use super::store::StoreArgs;

const EXAMPLES: &str = "\
Of a store, which must not be served meanwhile, every event is read and held against everything
that is said of it: positions without gaps, the schema of each type, time that never goes back,
streams without gaps, ids used once, tiles of the Merkle tree, the root of every checkpoint that
was kept and its signature, every digest and sealed part beside an event against the SHA-256 in
the event, nothing destroyed without an event that says so, and the view that logins are checked
against, folded from events and read from a snapshot.

With --url the same is done from outside, by the operator: entries, tiles and checkpoint are read
from the server, and every credential and policy that it answers is compared with what the events
say. With --tiles the tiles alone are checked, of a capability path or of a folder that holds them.

Whoever may write the store may make it fit itself. What they can't make fit is a checkpoint that
somebody else kept: --save keeps one, --from starts from it. Give the verifier key that you got in
another way with --vkey, else the keys that the ledger names are taken at their word.

With --policy the checkpoint must be cosigned by a quorum of witnesses, which you name: from a server
the newest one that is is taken (`rota ledger policy` prints the operator's own).

Exit code 1 and the first position that does not fit if something is wrong.

Examples:
  rota verify                                             the store in ./rota-data
  rota verify --url https://rota.internal --save monday.checkpoint
  rota verify --url https://rota.internal --from monday.checkpoint --save tuesday.checkpoint
  rota verify --tiles https://rota.internal/ledger/~TOKEN --vkey rota.internal+1a2b3c4d+AQ…
  rota verify receipt 4711.tlog-proof --vkey rota.internal+1a2b3c4d+AQ…";

/// Check every event of a ledger, or a receipt
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Verify {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(flatten)]
    server: ServerArgs,
    /// The tiles alone, below this URL or in this folder
    #[arg(long, value_name = "URL|FOLDER", conflicts_with = "url")]
    tiles: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    output: FormatArgs,
}

#[derive(clap::Subcommand)]
enum What {
    Receipt(receipt::VerifyReceipt),
}

impl Verify {
    pub async fn run(self) -> Result<(), Stop> {
        if let Some(What::Receipt(receipt)) = self.what {
            return receipt.run().await;
        }
        let (keys, kept) = (self.trust.keys()?, self.trust.kept()?);
        let pinned = !keys.is_empty();
        let format = self.output.format;
        let policy = self.trust.policy()?;
        let mut outside = if let Some(place) = &self.tiles {
            Outside { tiles: named(place)?, answers: None, keys, pinned, kept, policy: None }
        } else if let Some(remote) = self.server.clone().named()? {
            asked(remote, self.server, keys, kept, policy.is_some()).await?
        } else {
            if policy.is_some() {
                return Err(Stop::usage("--policy is about a checkpoint that a server or tiles give")
                    .advise("name them with --url or --tiles"));
            }
            let note = at_rest::check(&self.store, &keys, kept, format).await?;
            return self.trust.save(note.as_deref());
        };
        outside.policy = policy;
        let mut report = outside.check().await?;
        report.print(format);
        if report.found > 0 {
            return Err(Stop::bad());
        }
        self.trust.save(report.note.as_deref())
    }
}

/// Tiles below a URL or in a folder.
fn named(place: &str) -> Result<Tiles, Stop> {
    if place.starts_with("http://") || place.starts_with("https://") {
        // A capability is in the path; there is nothing else to show.
        let remote = Remote::new(place, Zeroizing::default())?;
        return Ok(Tiles::Served { remote, prefix: String::new() });
    }
    Ok(Tiles::Folder(PathBuf::from(place)))
}

/// A server's tiles, and its answers.
async fn asked(
    remote: Remote,
    server: ServerArgs,
    keys: Vec<rota::ledger::note::VerifierKey>,
    kept: Option<trust::Kept>,
    cosigned: bool,
) -> Result<Outside, Stop> {
    let known = remote.get("/v1/ledger/key", &[]).await?;
    let Some(prefix) = known["prefix"].as_str().map(str::to_owned) else {
        return Err(Stop::refused("this key may not read the tiles of the whole deployment").advise(
            "as an auditor use the path that the operator gave you: --tiles URL/ledger/~TOKEN; a workspace's own \
             events have receipts: rota receipt",
        ));
    };
    let pinned = !keys.is_empty();
    let answers = Some(server.remote()?);
    // The newest checkpoint that was signed is seldom cosigned yet.
    let prefix = if cosigned { format!("{prefix}/cosigned") } else { prefix };
    Ok(Outside { tiles: Tiles::Served { remote, prefix }, answers, keys, pinned, kept, policy: None })
}
