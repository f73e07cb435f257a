//! `rota ledger`.

use serde_json::{Value, json};

use super::client::ServerArgs;
use super::error::Stop;
use super::output::{self, FormatArgs, text};

const EXAMPLES: &str = "\
Examples:
  rota ledger                              what is signed, and whether the store is that
  rota ledger keys                         the keys that checkpoints are checked with
  rota ledger add-key --overlap-days 7     a new key, which signs beside the present one for a while
  rota ledger checkpoint > today.checkpoint
  rota ledger checkpoint --cosigned        the newest one that enough witnesses cosigned
  rota ledger anchor                       witnesses and copies get what is recorded now
  rota ledger policy > ledger.policy       the keys and the quorum, for whoever checks cosigned checkpoints
  rota ledger auditors --name 'Example Audit Ltd.'
  rota ledger restored --lost-from 90210   after a backup was put back that lacks what was signed for";

/// The signed ledger: its keys, its auditors, and going on after a loss
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Ledger {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

#[derive(clap::Subcommand)]
enum What {
    /// List the keys that checkpoints are checked with
    Keys,
    /// Make a key, which signs beside those before it for a while and then alone
    AddKey {
        /// So many days both sign
        #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(0..=3650))]
        overlap_days: u32,
    },
    /// Print the newest checkpoint
    Checkpoint {
        /// The newest one that the quorum of witnesses cosigned
        #[arg(long)]
        cosigned: bool,
    },
    /// Bring witnesses and copies the newest checkpoint now
    Anchor,
    /// Print the policy by which cosigned checkpoints are checked
    Policy,
    /// List who may read the tiles of the whole deployment, name one, or dismiss one
    Auditors {
        /// Name one; the path that is printed is theirs to read by
        #[arg(long, value_name = "NAME", conflicts_with = "dismiss")]
        name: Option<String>,
        /// Dismiss one
        #[arg(long, value_name = "ID")]
        dismiss: Option<String>,
    },
    /// Record that events were lost which had been signed for, and go on under another origin
    Restored {
        /// The first position that was lost [default: the end of the store]
        #[arg(long, value_name = "POSITION")]
        lost_from: Option<u64>,
        /// The origin from now on [default: the former one with a number]
        #[arg(long, value_name = "NAME")]
        origin: Option<String>,
    },
}

impl Ledger {
    pub async fn run(self) -> Result<(), Stop> {
        let remote = self.server.remote()?;
        let rows = |items: &[Value], columns: &[&str]| {
            let row = |item: &Value| columns.iter().map(|name| text(&item[*name])).collect();
            let rows: Vec<Vec<_>> = items.iter().map(row).collect();
            output::many(self.output.format, items, columns, &rows);
        };
        match &self.what {
            None => {
                let state = remote.get("/v1/ledger/state", &[]).await?;
                if let Some(reason) = state["lost"]["reason"].as_str() {
                    return Err(Stop::refused(reason.to_owned()));
                }
                print_state(self.output.format, &state);
            }
            Some(What::Anchor) => {
                let state = remote.post("/v1/ledger/anchor", &json!({})).await?;
                print_state(self.output.format, &state);
                let troubled = |key: &str| {
                    state[key].as_array().is_some_and(|all| all.iter().any(|to| to["behind"] != json!(0)))
                };
                if troubled("witnesses") || troubled("copies") {
                    return Err(Stop::refused("not everybody has the newest checkpoint yet"));
                }
            }
            Some(What::Policy) => {
                let policy = remote.get_raw("/v1/ledger/policy", &[]).await?.body;
                say!("{}", String::from_utf8_lossy(&policy).trim_end());
            }
            Some(What::Checkpoint { cosigned: true }) => {
                let note = remote.get_raw("/ledger/cosigned/checkpoint", &[]).await?.body;
                say!("{}", String::from_utf8_lossy(&note).trim_end());
            }
            Some(What::Keys) => {
                let keys = remote.get("/v1/ledger/key", &[]).await?;
                rows(keys["keys"].as_array().map_or(&[], Vec::as_slice), &["vkey", "from", "to"]);
            }
            Some(What::AddKey { overlap_days }) => {
                let body = json!({ "overlapSeconds": u64::from(*overlap_days) * 86_400 });
                let keys = remote.post("/v1/ledger/keys", &body).await?;
                rows(keys["keys"].as_array().map_or(&[], Vec::as_slice), &["vkey", "from", "to"]);
            }
            Some(What::Checkpoint { cosigned: false }) => {
                let found = remote.get("/v1/ledger/checkpoints", &[("at", "9999-12-31T23:59:59Z")]).await?;
                let note = found["items"][0]["note"].as_str().unwrap_or_default();
                say!("{}", note.trim_end());
            }
            Some(What::Auditors { name, dismiss }) => {
                let path = "/v1/ledger/auditors";
                if let Some(id) = dismiss {
                    remote.delete(&format!("{path}/{id}")).await?;
                }
                let listed = match name {
                    Some(name) => json!({ "items": [remote.post(path, &json!({ "name": name })).await?] }),
                    None => remote.get(path, &[]).await?,
                };
                rows(
                    listed["items"].as_array().map_or(&[], Vec::as_slice),
                    &["id", "name", "since", "prefix"],
                );
            }
            Some(What::Restored { lost_from, origin }) => {
                let mut body = json!({});
                if let Some(lost_from) = lost_from {
                    body["lostFrom"] = json!(lost_from);
                }
                if let Some(origin) = origin {
                    body["origin"] = json!(origin);
                }
                let keys = remote.post("/v1/ledger/restored", &body).await?;
                rows(keys["keys"].as_array().map_or(&[], Vec::as_slice), &["vkey", "from", "to"]);
            }
        }
        Ok(())
    }
}

/// What is signed, and how far witnesses and copies are.
fn print_state(format: output::Format, state: &Value) {
    let mut fields = vec![
        ("origin", text(&state["origin"])),
        ("events", text(&state["events"])),
        ("signed for", text(&state["signed"]["size"])),
        ("signed at", text(&state["signed"]["time"])),
    ];
    if !state["cosigned"].is_null() {
        fields.push(("cosigned", text(&state["cosigned"]["size"])));
    }
    for (kind, key) in [("witness", "witnesses"), ("copy", "copies")] {
        for to in state[key].as_array().into_iter().flatten() {
            let trouble = to["trouble"].as_str().map(|trouble| format!("; {trouble}")).unwrap_or_default();
            let (name, behind) = (text(&to["name"]), text(&to["behind"]));
            let has = to["size"].as_u64().map_or("nothing yet".to_owned(), |size| format!("{size} events"));
            fields.push((kind, format!("{name}: {has}, {behind} behind{trouble}")));
        }
    }
    output::one(format, state, &fields);
}
