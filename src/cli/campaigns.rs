//! `rota rotate-all`, `rota campaigns`, `rota owners`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Remote, ServerArgs};
use super::credential::segment;
use super::error::Stop;
use super::output::{self, Format, FormatArgs, text};
use super::progress::Progress;
use super::rotate::seconds;
use rota::file::write_whole;

/// A campaign that goes on is looked at this often.
const LOOK: Duration = Duration::from_millis(250);
/// The obstacle that can be taken away by registering a key.
const NO_RECIPIENT: &str = "no-recipient";
/// Items that are asked for at once.
const ITEMS: &str = "1000";

const ROTATE_ALL_EXAMPLES: &str = "\
Two steps. The first writes a plan down and rotates nothing: which credentials, at which version, for
which owner, sealed to which key. It prints the plan's hash. The second carries out that plan and no
other: if anything has moved since, it says what, and rotates nothing.

Each new secret is sealed to its owner's public age key and shown to nobody, not to you either. Owners
register their keys first (`rota owners key`); credentials are given owners with `rota owners assign`.
A credential without an owner is its own.

It goes on in the server when this command is interrupted, and after a crash of the server.

Examples:
  rota rotate-all --dry-run --workspace 0199… --reason compromised
  rota rotate-all --dry-run --rotated-before 2026-01-01T00:00:00Z --kind client --wave-size 10 --wave-pause 5m
  rota rotate-all --plan 5f0c…                          carry it out, and show how far it is
  rota campaigns secret 0199… CREDENTIAL --out app.age  what its owner opens with `age -d -i key.txt app.age`";

/// Rotate many credentials by one plan, each new secret sealed to its owner
#[derive(clap::Args)]
#[command(after_help = ROTATE_ALL_EXAMPLES)]
pub struct RotateAll {
    /// Write a plan down and rotate nothing
    #[arg(long, conflicts_with = "plan", required_unless_present = "plan")]
    dry_run: bool,
    /// Carry out the plan with this hash
    #[arg(long, value_name = "HASH")]
    plan: Option<String>,
    /// Don't wait for its end
    #[arg(long, requires = "plan")]
    detach: bool,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

/// Which credentials, and how.
#[derive(clap::Args)]
struct What {
    /// Of this workspace; the operator must name it, or say --all-workspaces
    #[arg(long, env = "ROTA_WORKSPACE", value_name = "ID")]
    workspace: Option<String>,
    /// Of every workspace; for the operator
    #[arg(long, conflicts_with = "workspace")]
    all_workspaces: bool,
    /// Of this kind: client, exchange, signing, workspace-key, webhook [default: all but webhook]
    #[arg(long)]
    kind: Option<String>,
    /// Of this owner
    #[arg(long, value_name = "ID")]
    owner: Option<String>,
    /// Whose secret was made before
    #[arg(long, value_name = "TIME")]
    rotated_before: Option<String>,
    /// This one; repeatable
    #[arg(long = "credential", value_name = "ID")]
    credentials: Vec<String>,
    /// How long the old secrets stay valid: seconds, or such as 90s, 15m, 1h, 7d [default: each policy's]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    grace: Option<u64>,
    /// Why; `compromised` ends old secrets, sessions and prepared rotations at once
    #[arg(long)]
    reason: Option<String>,
    /// Credentials of a wave [default: 25]
    #[arg(long, value_name = "N")]
    wave_size: Option<u32>,
    /// The pause between two waves [default: none]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    wave_pause: Option<u64>,
    /// Failures that a wave may have before the campaign pauses [default: 0]
    #[arg(long, value_name = "N")]
    max_failures: Option<u32>,
    /// Pass over credentials whose owner has no key, instead of refusing the plan
    #[arg(long)]
    skip_without_key: bool,
    /// For how many days sealed secrets are kept for their owners [default: 30]
    #[arg(long, value_name = "N")]
    keep_days: Option<u32>,
}

impl What {
    fn body(&self) -> Value {
        let mut body = json!({
            "workspaceId": self.workspace,
            "kind": self.kind,
            "ownerId": self.owner,
            "rotatedBefore": self.rotated_before,
            "gracePeriodSeconds": self.grace,
            "reason": self.reason,
            "waveSize": self.wave_size,
            "wavePauseSeconds": self.wave_pause,
            "maxFailures": self.max_failures,
            "keepDays": self.keep_days,
            "withoutRecipient": self.skip_without_key.then_some("skip"),
        });
        if self.all_workspaces {
            body["workspaceId"] = Value::Null;
            body["allWorkspaces"] = true.into();
        }
        if !self.credentials.is_empty() {
            body["credentialIds"] = self.credentials.clone().into();
        }
        if let Value::Object(fields) = &mut body {
            fields.retain(|_, value| !value.is_null());
        }
        body
    }
}

impl RotateAll {
    pub async fn run(self) -> Result<(), Stop> {
        let remote = self.server.remote()?;
        let format = self.output.format;
        let Some(plan) = &self.plan else {
            let planned = remote.post("/v1/campaigns", &self.what.body()).await?;
            let whole = whole(&remote, &text(&planned["id"]), None).await?;
            print_items(format, &whole);
            if format == Format::Table {
                advise(&whole);
            }
            return Ok(());
        };
        let id = find(&remote, plan).await?;
        let path = format!("/v1/campaigns/{id}/apply");
        remote.post(&path, &json!({ "planHash": plan })).await?;
        if self.detach {
            let campaign = remote.get(&format!("/v1/campaigns/{id}"), &[]).await?;
            print_campaign(format, &campaign);
            return Ok(());
        }
        follow(&remote, &id, format).await
    }
}

/// What can be done with a plan.
fn advise(plan: &Value) {
    let obstacles = plan["obstacles"].as_object();
    let count = |name: &str| obstacles.and_then(|all| all.get(name)?.as_u64()).unwrap_or(0);
    let without = count(NO_RECIPIENT);
    let kept: u64 = obstacles.iter().flat_map(|all| all.values()).filter_map(Value::as_u64).sum();
    let items = plan["counts"]["items"].as_u64().unwrap_or(0);
    say!("\n{items} credentials, of which {kept} can't be rotated; nothing was rotated.");
    if without > 0 && plan["settings"]["withoutRecipient"] == "refuse" {
        say!(
            "The owners of {without} have registered no key (`rota owners key`): have them do so, and plan anew,"
        );
        say!("or plan with --skip-without-key.");
    } else if kept == items {
        say!("There is nothing to carry out: see the obstacles.");
    } else {
        say!("Carry it out with:\n  rota rotate-all --plan {}", text(&plan["planHash"]));
    }
}

/// The newest campaign with this plan.
async fn find(remote: &Remote, plan: &str) -> Result<String, Stop> {
    let found = remote.get("/v1/campaigns", &[("planHash", plan), ("limit", "1000")]).await?;
    let all = found["items"].as_array().map_or(&[][..], Vec::as_slice);
    let open = all.iter().rev().find(|campaign| campaign["status"] != "ended").or(all.last());
    let found = open.map(|campaign| text(&campaign["id"]));
    found.ok_or_else(|| {
        Stop::refused("there is no plan with this hash").advise("make one with `rota rotate-all --dry-run …`")
    })
}

/// Waits until a campaign rotates nothing any more.
async fn follow(remote: &Remote, id: &str, format: Format) -> Result<(), Stop> {
    let path = format!("/v1/campaigns/{id}");
    let progress = Progress::of("rotating", "credentials");
    let campaign = loop {
        let campaign = remote.get(&path, &[("limit", "1")]).await?;
        let count = |name: &str| campaign["counts"][name].as_u64().unwrap_or(0);
        progress.at(count("items") - count("waiting"), count("items"));
        if campaign["status"] != "running" {
            break campaign;
        }
        tokio::time::sleep(LOOK).await;
    };
    drop(progress);
    print_campaign(format, &campaign);
    let failed = campaign["counts"]["failed"].as_u64().unwrap_or(0);
    if campaign["status"] == "ended" && failed == 0 {
        return Ok(());
    }
    Err(Stop::refused(format!("{failed} credentials could not be rotated, and the campaign is {}", text(&campaign["status"])))
        .advise(format!("see why with `rota campaigns show {id} --outcome failed`, then `rota campaigns resume {id} --retry-failed`")))
}

/// A campaign with all its items.
async fn whole(remote: &Remote, id: &str, outcome: Option<&str>) -> Result<Value, Stop> {
    let path = format!("/v1/campaigns/{}", segment(id)?);
    let mut whole: Option<Value> = None;
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("limit", ITEMS), ("names", "true")];
        query.extend(outcome.map(|outcome| ("outcome", outcome)));
        query.extend(after.as_deref().map(|after| ("after", after)));
        let mut page = remote.get(&path, &query).await?;
        let next = page["next"].take().as_str().map(str::to_owned);
        match &mut whole {
            None => whole = Some(page),
            Some(whole) => {
                if let (Value::Array(items), Value::Array(more)) = (&mut whole["items"], page["items"].take())
                {
                    items.extend(more);
                }
            }
        }
        if next.is_none() || next == after {
            return whole.ok_or_else(|| Stop::refused("the server gave no answer"));
        }
        after = next;
    }
}

fn print_items(format: Format, campaign: &Value) {
    let columns = [
        "name",
        "kind",
        "credentialId",
        "version",
        "ownerId",
        "recipient",
        "obstacle",
        "outcome",
        "outcomeReason",
        "newVersion",
        "at",
    ];
    if format == Format::Json {
        output::one(format, campaign, &[]);
        return;
    }
    let items = campaign["items"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<_>> =
        items.iter().map(|item| columns.iter().map(|name| text(&item[*name])).collect()).collect();
    output::many(format, items, &columns, &rows);
}

fn print_campaign(format: Format, campaign: &Value) {
    let counts = &campaign["counts"];
    let mut fields: Vec<_> =
        ["id", "workspaceId", "status", "cause", "reason", "planHash", "wave", "nextItemAt"]
            .into_iter()
            .chain(["createdAt", "appliedAt", "endedAt"])
            .map(|name| (name, text(&campaign[name])))
            .collect();
    let counted = ["items", "waiting", "done", "failed", "skipped", "secretsKept"];
    fields.extend(counted.map(|name| (name, text(&counts[name]))));
    if format == Format::Table {
        fields.retain(|(_, value)| !value.is_empty());
    }
    output::one(format, campaign, &fields);
}

const CAMPAIGNS_EXAMPLES: &str = "\
Examples:
  rota campaigns list
  rota campaigns show 0199… --outcome failed
  rota campaigns pause 0199…
  rota campaigns resume 0199… --retry-failed
  rota campaigns secret 0199… CREDENTIAL --out app.age";

/// See, stop and continue campaigns, and fetch sealed secrets
#[derive(clap::Args)]
#[command(after_help = CAMPAIGNS_EXAMPLES, arg_required_else_help = true)]
pub struct Campaigns {
    #[command(subcommand)]
    what: Doing,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

#[derive(clap::Subcommand)]
enum Doing {
    /// List them
    List {
        /// Only of this workspace
        #[arg(long, env = "ROTA_WORKSPACE", value_name = "ID")]
        workspace: Option<String>,
    },
    /// Show one with its items
    Show {
        /// The campaign
        id: String,
        /// Only items that stand so: waiting, done, failed, skipped
        #[arg(long)]
        outcome: Option<String>,
    },
    /// Stop one for now
    Pause {
        /// The campaign
        id: String,
    },
    /// Let one go on, and show how far it is
    Resume {
        /// The campaign
        id: String,
        /// Give items that failed another turn
        #[arg(long)]
        retry_failed: bool,
        /// Don't wait for its end
        #[arg(long)]
        detach: bool,
    },
    /// End one for good: what waits is not rotated
    End {
        /// The campaign
        id: String,
    },
    /// Fetch a sealed new secret; its owner opens it with `age -d -i key.txt FILE`
    Secret {
        /// The campaign
        id: String,
        /// The credential
        credential: String,
        /// Into this file [default: CREDENTIAL.age]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

impl Campaigns {
    pub async fn run(self) -> Result<(), Stop> {
        let remote = self.server.remote()?;
        let format = self.output.format;
        let path = |id: &str, what: &str| Ok::<_, Stop>(format!("/v1/campaigns/{}/{what}", segment(id)?));
        match self.what {
            Doing::List { workspace } => list(&remote, workspace.as_deref(), format).await,
            Doing::Show { id, outcome } => {
                let campaign = whole(&remote, &id, outcome.as_deref()).await?;
                if format == Format::Table {
                    print_campaign(format, &campaign);
                    say!("");
                }
                print_items(format, &campaign);
                Ok(())
            }
            Doing::Pause { id } => {
                print_campaign(format, &remote.post(&path(&id, "pause")?, &json!({})).await?);
                Ok(())
            }
            Doing::Resume { id, retry_failed, detach } => {
                let body = json!({ "retryFailed": retry_failed });
                let campaign = remote.post(&path(&id, "resume")?, &body).await?;
                if detach {
                    print_campaign(format, &campaign);
                    return Ok(());
                }
                follow(&remote, &id, format).await
            }
            Doing::End { id } => {
                print_campaign(format, &remote.post(&path(&id, "end")?, &json!({})).await?);
                Ok(())
            }
            Doing::Secret { id, credential, out } => {
                let path = path(&id, &format!("items/{}/secret", segment(&credential)?))?;
                let file = remote.get_raw(&path, &[]).await?.body;
                let out = out.unwrap_or_else(|| PathBuf::from(format!("{credential}.age")));
                write_whole(&out, &file)
                    .map_err(|error| Stop::failed(format!("can't write {}", out.display()), error))?;
                say!("the sealed secret is in {}", out.display());
                Ok(())
            }
        }
    }
}

async fn list(remote: &Remote, workspace: Option<&str>, format: Format) -> Result<(), Stop> {
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("limit", ITEMS)];
        query.extend(workspace.map(|id| ("workspaceId", id)));
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page = remote.get("/v1/campaigns", &query).await?;
        all.extend(page["items"].as_array().cloned().unwrap_or_default());
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    let columns = [
        "id",
        "workspaceId",
        "status",
        "cause",
        "items",
        "waiting",
        "done",
        "failed",
        "skipped",
        "createdAt",
    ];
    let cell = |campaign: &Value, name: &str| match &campaign["counts"][name] {
        Value::Null => text(&campaign[name]),
        count => text(count),
    };
    let rows: Vec<Vec<_>> =
        all.iter().map(|campaign| columns.iter().map(|name| cell(campaign, name)).collect()).collect();
    output::many(format, &all, &columns, &rows);
    Ok(())
}

const OWNERS_EXAMPLES: &str = "\
An owner is a credential, as a rule the workspace key of the team that answers for others. The private
half of its age key (`age-keygen -o key.txt`) stays with the team.

Examples:
  rota owners key TEAM_KEY_ID age1…          new secrets are sealed to this key
  rota owners assign TEAM_KEY_ID ID ID …     the team answers for these
  rota owners key TEAM_KEY_ID --withdraw     the key is lost: nothing is sealed to it any more";

/// Say who answers for credentials, and to which key their new secrets are sealed
#[derive(clap::Args)]
#[command(after_help = OWNERS_EXAMPLES, arg_required_else_help = true)]
pub struct Owners {
    #[command(subcommand)]
    what: Owning,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

#[derive(clap::Subcommand)]
enum Owning {
    /// Register an owner's public age key
    Key {
        /// The owner: a credential
        owner: String,
        /// The public key: age1…
        #[arg(required_unless_present = "withdraw")]
        recipient: Option<String>,
        /// Take the key away
        #[arg(long, conflicts_with = "recipient")]
        withdraw: bool,
    },
    /// Give credentials an owner
    Assign {
        /// The owner: a credential of the same workspace
        owner: String,
        /// The credentials
        #[arg(required = true)]
        credentials: Vec<String>,
    },
    /// Make credentials their own owners again
    Release {
        /// The credentials
        #[arg(required = true)]
        credentials: Vec<String>,
    },
}

impl Owners {
    pub async fn run(self) -> Result<(), Stop> {
        let remote = self.server.remote()?;
        let format = self.output.format;
        match self.what {
            Owning::Key { owner, recipient, .. } => {
                let path = format!("/v1/credentials/{}/recipient", segment(&owner)?);
                let set = remote.put(&path, &json!({ "recipient": recipient })).await?;
                let fields = ["credentialId", "recipient"].map(|name| (name, text(&set[name])));
                output::one(format, &set, &fields);
                Ok(())
            }
            Owning::Assign { owner, credentials } => own(&remote, Some(&owner), &credentials, format).await,
            Owning::Release { credentials } => own(&remote, None, &credentials, format).await,
        }
    }
}

async fn own(
    remote: &Remote,
    owner: Option<&str>,
    credentials: &[String],
    format: Format,
) -> Result<(), Stop> {
    let mut all = Vec::with_capacity(credentials.len());
    for credential in credentials {
        let path = format!("/v1/credentials/{}/owner", segment(credential)?);
        all.push(remote.put(&path, &json!({ "ownerId": owner })).await?);
    }
    let columns = ["credentialId", "ownerId"];
    let rows: Vec<Vec<_>> =
        all.iter().map(|set| columns.iter().map(|name| text(&set[*name])).collect()).collect();
    output::many(format, &all, &columns, &rows);
    Ok(())
}
