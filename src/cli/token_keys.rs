//! `rota token-keys`.

use serde_json::json;

use super::client::ServerArgs;
use super::error::Stop;
use super::output::{self, FormatArgs, text};

const EXAMPLES: &str = "\
A new key is published for ten minutes before it signs, and the one before verifies until its
last token has expired: nobody notices. With --compromised it signs at once, and every token
that was signed before is refused from then on.

Examples:
  rota token-keys                        list the keys
  rota token-keys --replace              make the next one
  rota token-keys --replace --compromised";

/// List the keys that sign session tokens, or replace the one that does
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TokenKeys {
    /// Make a new key, which takes over
    #[arg(long)]
    replace: bool,
    /// Others may have the present key: end it with all its tokens
    #[arg(long, requires = "replace")]
    compromised: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

impl TokenKeys {
    pub async fn run(self) -> Result<(), Stop> {
        let remote = self.server.remote()?;
        let path = "/v1/admin/token-keys";
        let keys = if self.replace {
            remote.post(path, &json!({ "compromised": self.compromised })).await?
        } else {
            remote.get(path, &[]).await?
        };
        let columns = ["kid", "status", "signsFrom", "verifiesUntil", "publicKey"];
        let items = keys["items"].as_array().cloned().unwrap_or_default();
        let rows: Vec<Vec<_>> =
            items.iter().map(|key| columns.iter().map(|name| text(&key[*name])).collect()).collect();
        output::many(self.output.format, &items, &columns, &rows);
        Ok(())
    }
}
