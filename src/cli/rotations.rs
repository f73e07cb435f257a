//! `rota rotations`: credentials that live in other systems.

use serde_json::{Value, json};

use super::client::{Remote, ServerArgs};
use super::credential::segment;
use super::error::Stop;
use super::output::{self, Format, FormatArgs, text};
use super::rotate::random_key;

const EXAMPLES: &str = "\
A managed rotation is a credential in a database, a directory or a cloud. rota makes another one, logs in
with it, publishes it, and then ends the one before. A kind that was never run on a real system of its
kind, only on what stands in for one, is marked experimental.

Status: ok; in-progress; failed (the last attempt brought nothing, and what is published is still valid);
stuck (nobody knows what the target has, or the credential before could not be ended: `reconcile` asks the
target and brings the two together); deleting.

Examples:
  rota rotations list --workspace 0199…      all of a workspace, and when each is due
  rota rotations show 0199c0de-…             one, with what failed last and what goes on
  rota rotations plan 0199c0de-…             what the next one would do, and whether it may; changes nothing
  rota rotations rotate 0199c0de-…           now, and not twice, however often the request is sent
  rota rotations rotate 0199c0de-… --reason compromised
  rota rotations reconcile 0199c0de-…        compare with the target, and set anew where nothing is valid";

/// Items of one request.
const PAGE: &str = "500";

/// Look after credentials that live in other systems
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Rotations {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// List them
    List(List),
    /// Show one
    Show(One),
    /// Rotate one now: set, log in with it, publish, end the one before
    Rotate(Rotate),
    /// Ask the target what is valid, and bring rota and the target together
    Reconcile(One),
    /// Say what the next rotation would do, and whether it may; nothing is changed
    Plan(One),
}

#[derive(clap::Args)]
struct List {
    /// The workspace; the operator must name it
    #[arg(long, env = "ROTA_WORKSPACE", value_name = "ID")]
    workspace: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

#[derive(clap::Args)]
struct One {
    /// The rotation
    id: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

#[derive(clap::Args)]
struct Rotate {
    /// The rotation
    id: String,
    /// Why; kept sealed beside the event. `compromised` does not wait for the minimum overlap
    #[arg(long)]
    reason: Option<String>,
    /// Names this rotation, so that repeating the command does not make a second one [default: a random key]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

fn path(id: &str, verb: &str) -> Result<String, Stop> {
    Ok(format!("/v1/managed-rotations/{}{verb}", segment(id)?))
}

impl Rotations {
    pub async fn run(self) -> Result<(), Stop> {
        match self.verb {
            Verb::List(list) => list.run().await,
            Verb::Show(one) => {
                let path = path(&one.id, "")?;
                print(one.output.format, &one.server.remote()?.get(&path, &[]).await?);
                Ok(())
            }
            Verb::Rotate(rotate) => rotate.run().await,
            Verb::Reconcile(one) => {
                let path = path(&one.id, "/reconcile")?;
                let answer = one.server.remote()?.post(&path, &json!({})).await?;
                let fields = [
                    ("rotation", text(&answer["rotation"]["id"])),
                    ("outcome", text(&answer["outcome"])),
                    ("status", text(&answer["rotation"]["status"])),
                    ("version", text(&answer["rotation"]["version"])),
                ];
                output::one(one.output.format, &answer, &fields);
                Ok(())
            }
            Verb::Plan(one) => {
                let path = path(&one.id, "/plan")?;
                let plan = one.server.remote()?.get(&path, &[]).await?;
                print_plan(one.output.format, &plan);
                Ok(())
            }
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Stop> {
        const COLUMNS: [&str; 7] = ["id", "name", "kind", "place", "status", "lastSuccessAt", "nextAt"];
        let items = all(&self.server.remote()?, self.workspace.as_deref()).await?;
        let row = |item: &Value| {
            let place = format!("{}:{}", text(&item["environment"]), text(&item["path"]));
            let (last, next) = (text(&item["lastSuccessAt"]), next(item));
            vec![text(&item["id"]), text(&item["name"]), kind(item), place, text(&item["status"]), last, next]
        };
        let rows: Vec<_> = items.iter().map(row).collect();
        output::many(self.output.format, &items, &COLUMNS, &rows);
        Ok(())
    }
}

/// All of a workspace, page by page.
async fn all(remote: &Remote, workspace: Option<&str>) -> Result<Vec<Value>, Stop> {
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("limit", PAGE)];
        query.extend(workspace.map(|id| ("workspaceId", id)));
        query.extend(after.as_deref().map(|after| ("after", after)));
        let mut page = remote.get("/v1/managed-rotations", &query).await?;
        let Value::Array(items) = page["items"].take() else {
            return Err(Stop::refused(format!("{} answered something that is no page", remote.url())));
        };
        all.extend(items);
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(all),
        }
    }
}

impl Rotate {
    async fn run(self) -> Result<(), Stop> {
        let remote = self.server.remote()?;
        let path = path(&self.id, "/rotate")?;
        let body = self.reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
        let key = match self.idempotency_key {
            Some(key) => key,
            None => random_key()?,
        };
        print(self.output.format, &remote.post_once(&path, &body, &key).await?);
        Ok(())
    }
}

/// The kind, and whether it is experimental.
fn kind(rotation: &Value) -> String {
    let mark = if rotation["experimental"] == true { " (experimental)" } else { "" };
    format!("{}{mark}", text(&rotation["kind"]))
}

/// When it is due, and whether it should have run.
fn next(rotation: &Value) -> String {
    let mark = if rotation["overdue"] == true { " (overdue)" } else { "" };
    format!("{}{mark}", text(&rotation["nextAt"]))
}

fn print(format: Format, rotation: &Value) {
    let mut fields = vec![
        ("id", text(&rotation["id"])),
        ("name", text(&rotation["name"])),
        ("kind", kind(rotation)),
        ("place", format!("{}:{}", text(&rotation["environment"]), text(&rotation["path"]))),
        ("connection", text(&rotation["connection"]["name"])),
        ("status", text(&rotation["status"])),
        ("version", text(&rotation["version"])),
        ("lastSuccessAt", text(&rotation["lastSuccessAt"])),
        ("nextAt", next(rotation)),
    ];
    let failed = [&rotation["attempt"], &rotation["fault"]];
    if let Some(failed) = failed.into_iter().find(|failed| !failed["reason"].is_null()) {
        fields.push(("step", text(&failed["step"])));
        fields.push(("reason", text(&failed["reason"])));
    }
    output::one(format, rotation, &fields);
}

fn print_plan(format: Format, plan: &Value) {
    let list = |name: &str| plan[name].as_array().cloned().unwrap_or_default();
    if format != Format::Table {
        let fields = [
            ("slot", text(&plan["slot"])),
            ("notBefore", text(&plan["notBefore"])),
            ("refused", text(&plan["refused"])),
            ("steps", list("steps").len().to_string()),
            ("missing", list("rights").iter().filter(|right| right["held"] == false).count().to_string()),
        ];
        return output::one(format, plan, &fields);
    }
    for (n, step) in (1..).zip(list("steps")) {
        say!("{n}. {}", text(&step));
    }
    for right in list("rights") {
        let held = match right["held"].as_bool() {
            Some(true) => "held",
            Some(false) => "MISSING",
            None => "not known without a change",
        };
        say!("right: {} ({held})", text(&right["name"]));
    }
    for (name, why) in [("notBefore", "not before"), ("refused", "refused now")] {
        if !plan[name].is_null() {
            say!("{why}: {}", text(&plan[name]));
        }
    }
}
