//! `rota issue`, `rota expire`, `rota revoke`.

use serde_json::{Value, json};

use super::client::ServerArgs;
use super::error::Stop;
use super::output::{self, Format, FormatArgs, text};

const ISSUE_EXAMPLES: &str = "\
The secret is printed to stdout, this once: nobody can read it again.

Examples:
  rota issue --kind client --name billing --workspace 0199…   with the operator's key
  rota issue --kind exchange --name crm --role verifier       with a workspace's key
  rota issue --kind client --name ci --format json | jq -r .secrets.clientSecret";

/// The kinds of credential.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// Shown with each request, as HTTP Basic
    Client,
    /// Exchanged for a short-lived token
    Exchange,
    /// Signs each request and is never sent
    Signing,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Exchange => "exchange",
            Self::Signing => "signing",
        }
    }
}

/// Issue a credential
#[derive(clap::Args)]
#[command(after_help = ISSUE_EXAMPLES)]
pub struct Issue {
    /// How its secret is presented
    #[arg(long, value_enum)]
    kind: Kind,
    /// Its name, for people
    #[arg(long)]
    name: String,
    /// Its workspace; the operator must name it
    #[arg(long, env = "ROTA_WORKSPACE", value_name = "ID")]
    workspace: Option<String>,
    /// What it may do in its workspace beyond itself: admin, rotator, verifier, auditor, analyst; repeatable
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

impl Issue {
    pub async fn run(self) -> Result<(), Stop> {
        let remote = self.server.remote()?;
        let mut body = json!({ "kind": self.kind.name(), "name": self.name });
        if let Some(workspace) = self.workspace {
            body["workspaceId"] = workspace.into();
        }
        if !self.roles.is_empty() {
            body["roles"] = self.roles.into();
        }
        let made = remote.post("/v1/credentials", &body).await?;
        print_made(self.output.format, &made);
        Ok(())
    }
}

/// Prints a credential with its new secret.
pub fn print_made(format: Format, made: &Value) {
    let credential = &made["credential"];
    let mut fields = vec![("credential", text(&credential["id"])), ("kind", text(&credential["kind"]))];
    fields.extend(
        made["secrets"].as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), text(value))),
    );
    if !made["oldSecretExpiresAt"].is_null() {
        fields.push(("oldSecretExpiresAt", text(&made["oldSecretExpiresAt"])));
    }
    output::one(format, made, &fields);
}

fn print_credential(format: Format, credential: &Value) {
    let names = ["id", "kind", "name", "publicId", "status", "createdAt", "rotatedAt", "revokedAt"];
    let fields: Vec<_> = names.iter().map(|name| (*name, text(&credential[*name]))).collect();
    output::one(format, credential, &fields);
}

/// End the grace period of a credential's old secret now
#[derive(clap::Args)]
#[command(after_help = "Example:\n  rota expire 0199c0de-…   when every client has the new secret")]
pub struct Expire {
    /// The credential
    id: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

impl Expire {
    pub async fn run(self) -> Result<(), Stop> {
        let remote = self.server.remote()?;
        let path = format!("/v1/credentials/{}/expire-old", segment(&self.id)?);
        print_credential(self.output.format, &remote.post(&path, &json!({})).await?);
        Ok(())
    }
}

/// End a credential, with all its secrets, for good
#[derive(clap::Args)]
#[command(after_help = "Example:\n  rota revoke 0199c0de-… --reason \"found in a public repository\"")]
pub struct Revoke {
    /// The credential
    id: String,
    /// Why; kept sealed beside the event
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

impl Revoke {
    pub async fn run(self) -> Result<(), Stop> {
        let remote = self.server.remote()?;
        let path = format!("/v1/credentials/{}/revoke", segment(&self.id)?);
        print_credential(self.output.format, &remote.post(&path, &json!({ "reason": self.reason })).await?);
        Ok(())
    }
}

/// An id as part of a path. Whatever would lead to another path is no id.
pub fn segment(id: &str) -> Result<&str, Stop> {
    if !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Ok(id);
    }
    Err(Stop::usage(format!("{id:?} is no id")).advise("a credential's id is in the answer to `rota issue`"))
}
