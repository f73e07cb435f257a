//! `rota quickstart`: everything once, on this machine, to see it work.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rota::app::{App, OperatorKey, StoreUrl};
use rota::http::{Running, ServeOptions};
use rota::telemetry::{self, LogFormat};
use rota_aggregates::secret::Secret;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::Remote;
use super::error::Stop;
use super::history::{self, Detail};
use super::output::{self, text};
use super::serve::{Signals, announce, not_listening};
use super::store::{self, StoreArgs};

/// Where it listens unless told otherwise.
const LISTEN: &str = "127.0.0.1:8700";
/// How long both secrets work.
const GRACE_SECONDS: u64 = 3;
/// How often to look whether the old one still does.
const LOOK: Duration = Duration::from_millis(250);
/// It is over by then, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Starts the service on an embedded store, issues a credential, rotates it with a short overlap,
shows that both secrets work and that the old one stops working, prints the history, and keeps
serving. It can be run again on the same folder.

Examples:
  rota quickstart
  rota quickstart --data /tmp/rota-demo --listen 127.0.0.1:9000
  rota quickstart --once     stop when all is shown";

/// Start, issue, rotate and verify in one go
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Quickstart {
    /// The folder of the ledger and its keys
    #[arg(long, value_name = "DIR", default_value = "./rota-data")]
    data: PathBuf,
    /// Where to listen [default: 127.0.0.1:8700, or a free port if that is taken]
    #[arg(long, env = "ROTA_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Stop when all is shown
    #[arg(long)]
    once: bool,
}

impl Quickstart {
    pub async fn run(self) -> Result<(), Stop> {
        telemetry::init_quiet(LogFormat::Text, "warn");
        telemetry::metrics();
        let mut signals = Signals::new()?;
        let store = StoreUrl::Sqlite(self.data.join("rota.db"));
        let store = StoreArgs { store, master_key_file: None, data_dir: self.data.clone() };
        let key_path = self.data.join("operator.key");
        let known = store::read_operator_key(&key_path)?;
        let mut options = store.options()?;
        options.operator_key = match store::operator_key()? {
            OperatorKey::Kept => {
                known.as_ref().map_or(OperatorKey::Kept, |key| OperatorKey::Given(copy(key)))
            }
            given @ OperatorKey::Given(_) => given,
        };
        let given = match &options.operator_key {
            OperatorKey::Given(key) => Some(copy(key)),
            OperatorKey::Kept => None,
        };
        let mut opened = store::open(options).await?;
        let Some(operator) = opened.operator_key.take().or(given) else {
            opened.close().await;
            let what = format!("the operator key of this ledger is not in {}", key_path.display());
            return Err(Stop::refused(what)
                .advise("put it into ROTA_OPERATOR_KEY, or name another folder with --data"));
        };
        if known.is_none_or(|known| known.expose() != operator.expose()) {
            store::write_operator_key(&key_path, &operator).map_err(|error| {
                Stop::failed(format!("can't write the operator key to {}", key_path.display()), error)
            })?;
        }
        let running = match self.listen(&opened.app).await {
            Ok(running) => running,
            Err(stop) => {
                opened.close().await;
                return Err(stop);
            }
        };
        let url = running.url.clone();
        let shown = tokio::select! {
            shown = show(&url, &operator) => shown.map(Some),
            () = signals.wait() => Ok(None),
        };
        if let Ok(Some(made)) = &shown
            && !self.once
        {
            go_on(&url, &key_path, made);
            announce(&format!("rota is serving on {url}"))?;
            signals.wait().await;
        }
        running.stop().await;
        opened.close().await;
        shown.map(|_| ())
    }

    async fn listen(&self, app: &Arc<App>) -> Result<Running, Stop> {
        let first = match self.listen {
            Some(listen) => listen,
            None => LISTEN.parse().map_err(|error| Stop::failed(LISTEN, error))?,
        };
        match rota::http::start(Arc::clone(app), ServeOptions::new(first)).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && self.listen.is_none() => {
                say!("Port {} is taken, so this takes a free one.", first.port());
                let free = SocketAddr::new(first.ip(), 0);
                let started = rota::http::start(Arc::clone(app), ServeOptions::new(free)).await;
                started.map_err(|error| not_listening(free, error))
            }
            started => started.map_err(|error| not_listening(first, error)),
        }
    }
}

fn copy(key: &Secret) -> Secret {
    Secret::new(key.expose().to_owned())
}

/// What was made on the way and is of use afterwards.
struct Made {
    workspace_key: String,
    credential: String,
    client_id: String,
    secret: String,
}

/// Issues, rotates, verifies, waits, verifies again, over HTTP like everybody else.
async fn show(url: &str, operator: &Secret) -> Result<Made, Stop> {
    let remote = Remote::new(url, Zeroizing::new(operator.expose().to_owned()))?;
    let workspace = remote.post("/v1/workspaces", &json!({ "name": "quickstart" })).await?;
    let workspace_id = text(&workspace["id"]);
    say!("1. Opened the workspace quickstart, {workspace_id}.");
    let key = json!({ "name": "quickstart", "roles": ["admin"], "mode": "test" });
    let key = remote.post(&format!("/v1/workspaces/{workspace_id}/keys"), &key).await?;
    let workspace_key = text(&key["key"]);
    let remote = Remote::new(url, Zeroizing::new(workspace_key.clone()))?;

    let issue = json!({ "kind": "client", "name": "my first credential" });
    let issued = remote.post("/v1/credentials", &issue).await?;
    let credential = text(&issued["credential"]["id"]);
    let client_id = text(&issued["secrets"]["clientId"]);
    let old = text(&issued["secrets"]["clientSecret"]);
    say!("2. Issued a credential, {credential}: client id {client_id}, secret …{}.", hint(&old));

    let rotate = json!({ "gracePeriodSeconds": GRACE_SECONDS, "reason": "quickstart" });
    let path = format!("/v1/credentials/{credential}/rotate");
    let rotated = remote.post_once(&path, &rotate, &super::rotate::random_key()?).await?;
    let new = text(&rotated["secrets"]["clientSecret"]);
    let until = text(&rotated["oldSecretExpiresAt"]);
    say!("3. Rotated it: the new secret is …{}, the old one is valid until {until}.", hint(&new));

    let both = [verify(&remote, &client_id, &old).await?, verify(&remote, &client_id, &new).await?];
    say!("4. During the overlap: old secret {}, new secret {}.", word(both[0]), word(both[1]));
    if both != [true, true] {
        return Err(Stop::refused("both secrets should be valid during the overlap"));
    }
    let ended = tokio::time::timeout(PATIENCE, async {
        while verify(&remote, &client_id, &old).await? {
            tokio::time::sleep(LOOK).await;
        }
        Ok::<_, Stop>(())
    });
    ended.await.map_err(|error| Stop::failed("the old secret is still valid", error))??;
    let new_is_valid = verify(&remote, &client_id, &new).await?;
    say!("5. After it: old secret {}, new secret {}.", word(false), word(new_is_valid));
    if !new_is_valid {
        return Err(Stop::refused("the new secret should be valid after the overlap"));
    }
    // The expiry is recorded within a second of its instant.
    let expired = |events: &[Value]| events.iter().any(|e| text(&e["type"]).contains("old-secret-expired"));
    let events = tokio::time::timeout(PATIENCE, async {
        loop {
            let events = history::read(&remote, &credential, None).await?;
            if expired(&events) {
                return Ok::<_, Stop>(events);
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    let events = events.await.map_err(|error| Stop::failed("the expiry is not recorded", error))??;
    say!("6. Its history, which nobody can change:\n");
    say!("{}\n", output::table(&history::COLUMNS, &history::rows(&events, Detail::Short)));
    Ok(Made { workspace_key, credential, client_id, secret: new })
}

async fn verify(remote: &Remote, public_id: &str, secret: &str) -> Result<bool, Stop> {
    let answer = remote.post("/v1/verify", &json!({ "publicId": public_id, "secret": secret })).await?;
    Ok(answer["active"] == true)
}

fn word(valid: bool) -> &'static str {
    if valid { "valid" } else { "refused" }
}

fn hint(secret: &str) -> &str {
    secret.get(secret.len().saturating_sub(4)..).unwrap_or_default()
}

/// What to do next, ready to be pasted.
fn go_on(url: &str, operator_key: &std::path::Path, made: &Made) {
    let Made { workspace_key, credential, client_id, secret } = made;
    say!("Go on with it:\n");
    say!("  export ROTA_URL={url}");
    say!("  export ROTA_KEY={workspace_key}");
    say!("  rota history {credential}");
    say!("  rota rotate {credential} --grace 1h\n");
    say!("  curl -s {url}/v1/verify -H \"Authorization: Bearer $ROTA_KEY\" \\");
    say!("    --json '{{\"publicId\": \"{client_id}\", \"secret\": \"{secret}\"}}'");
    say!("  curl -s {url}/v1/credentials/{credential}/rotate -H \"Authorization: Bearer $ROTA_KEY\" \\");
    say!("    -H \"Idempotency-Key: my-first-retry-safe-key\" --json '{{\"gracePeriodSeconds\": 3600}}'\n");
    say!("The operator key is in {}.\n", operator_key.display());
}
