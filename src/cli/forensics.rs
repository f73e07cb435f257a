//! `rota forensics`.

use std::io::Read;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::ServerArgs;
use super::error::Stop;
use super::output::{self, Format, FormatArgs, text};

/// What is read from stdin at most.
const BYTES_MAX: u64 = 4_096;

const EXAMPLES: &str = "\
The string is read from stdin, so that neither other users of this machine nor the shell's history see it. It is
never printed.

Examples:
  rota forensics < found-in-a-log.txt
  pbpaste | rota forensics --format json
  rota forensics --fingerprint 5f1c…            of an earlier answer, or of an event's data.secret.digest

Exit codes: 0 it is nobody's or worth nothing any more, 1 it is accepted still (or the question failed).";

/// Find out whose secret leaked
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Forensics {
    /// The fingerprint of a secret, instead of the secret itself
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
    /// Only among the credentials of this workspace
    #[arg(long, env = "ROTA_WORKSPACE", value_name = "ID")]
    workspace: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

impl Forensics {
    pub async fn run(self) -> Result<(), Stop> {
        let remote = self.server.remote()?;
        let mut body = json!({});
        if let Some(workspace) = &self.workspace {
            body["workspaceId"] = json!(workspace);
        }
        match &self.fingerprint {
            Some(fingerprint) => body["fingerprint"] = json!(fingerprint),
            None => body["leaked"] = json!(shown()?.as_str()),
        }
        let found = remote.post("/v1/forensics/leaked", &body).await?;
        let matches = found["matches"].as_array().cloned().unwrap_or_default();
        match self.output.format {
            Format::Json => output::one(Format::Json, &found, &[]),
            format => output::many(format, &matches, &COLUMNS, &rows(&matches)),
        }
        if self.output.format == Format::Table {
            let (searched, gone) = (text(&found["versionsSearched"]), text(&found["digestsDestroyed"]));
            say!("\nheld against {searched} versions; the digests of {gone} of them were destroyed");
        }
        if matches.iter().any(|one| one["accepted"] == true) {
            return Err(Stop::refused("the leaked secret is accepted still").advise(
                "`rota rotate ID --reason compromised` replaces it at once, `rota revoke ID --reason compromised` \
                 ends the credential",
            ));
        }
        Ok(())
    }
}

fn shown() -> Result<Zeroizing<String>, Stop> {
    let mut text = Zeroizing::new(String::with_capacity(BYTES_MAX as usize + 1));
    std::io::stdin()
        .lock()
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| Stop::failed("can't read the string from stdin", error))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Stop::usage(format!("more than {BYTES_MAX} bytes came on stdin")));
    }
    if text.trim().is_empty() {
        return Err(Stop::usage("nothing came on stdin").advise("give the string there, or --fingerprint"));
    }
    Ok(text)
}

const COLUMNS: [&str; 9] = [
    "credentialId",
    "kind",
    "publicId",
    "version",
    "status",
    "liveFrom",
    "liveUntil",
    "lastUsedAt",
    "fingerprint",
];

fn rows(matches: &[Value]) -> Vec<Vec<String>> {
    matches.iter().map(|one| COLUMNS.iter().map(|column| text(&one[*column])).collect()).collect()
}
