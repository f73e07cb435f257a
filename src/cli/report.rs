//! `rota report`.

use std::path::{Path, PathBuf};

use rota_aggregates::Timestamp;
use serde_json::{Value, json};

use super::client::{Remote, ServerArgs};
use super::error::Stop;
use super::output::{self, Format, FormatArgs, text};
use super::pack::Pack;

/// Rows asked for at once.
const ROWS: &str = "10000";

const EXAMPLES: &str = "\
Without a name it lists the reports with their questions; --format json adds parameters and limits.

An evidence pack (--pack) holds the answers as JSON and CSV, the signed checkpoint that they were computed
at, each event that they name with its proof, the proof that an earlier checkpoint is of the same history,
a manifest with SHA-256 sums, and VERIFY.md: how to check all of it without rota and without a network.

Examples:
  rota report
  rota report rotations --credential 0199c0de-…
  rota report secret-age --as-of 2026-06-30T23:59:59Z --older-than-days 90 --format csv > old.csv
  rota report versions --credential 0199c0de-… --at 2026-06-01T12:00:00Z
  rota report rotations --credential 0199c0de-… --pack evidence.zip    with everything that proves it
  rota report --all --as-of 90210 --pack evidence --kept last-year.checkpoint
  rota report out-of-policy --from 2026-01-01T00:00:00Z --to 2026-07-01T00:00:00Z";

/// Answer one of an auditor's questions, as of any time or position
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Report {
    /// The report
    name: Option<String>,
    /// What the ledger knew at this time (RFC 3339), or after the event at this position
    #[arg(long, value_name = "TIME|POSITION")]
    as_of: Option<String>,
    /// Only this workspace
    #[arg(long, env = "ROTA_WORKSPACE", value_name = "ID")]
    workspace: Option<String>,
    /// Only this credential
    #[arg(long, value_name = "ID")]
    credential: Option<String>,
    /// Only credentials of this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only by this actor: operator, scheduler, or a credential's id
    #[arg(long)]
    actor: Option<String>,
    /// The instant that is asked about
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// From this instant on
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Up to this instant, exclusive
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Events from this position on
    #[arg(long, value_name = "POSITION")]
    since: Option<String>,
    /// Only this version
    #[arg(long, value_name = "N")]
    secret_version: Option<String>,
    /// Only secrets older than this
    #[arg(long, value_name = "DAYS")]
    older_than_days: Option<String>,
    /// Within how many seconds of the report the old secret must be dead
    #[arg(long, value_name = "SECONDS")]
    target_seconds: Option<String>,
    /// Only credentials of this owner
    #[arg(long, value_name = "ID")]
    owner: Option<String>,
    /// Only this managed rotation
    #[arg(long, value_name = "ID")]
    rotation: Option<String>,
    /// Every report that the other flags leave a question for; with --pack
    #[arg(long, conflicts_with = "name", requires = "pack")]
    all: bool,
    /// Write an evidence pack: a folder, or one file where the name ends in .zip
    #[arg(long, value_name = "FOLDER|FILE.zip")]
    pack: Option<PathBuf>,
    /// A checkpoint that was kept before, to be connected with that of the pack [default: the oldest of the server's]
    #[arg(long, value_name = "FILE", requires = "pack")]
    kept: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

impl Report {
    pub async fn run(self) -> Result<(), Stop> {
        let remote = self.server.clone().remote()?;
        if let Some(path) = &self.pack {
            return self.pack(&remote, path).await;
        }
        let Some(name) = &self.name else { return catalogue(&remote, self.output.format).await };
        let document = self.read(&remote, super::credential::segment(name)?, &self.asked(), None).await?;
        let columns: Vec<_> = array(&document["columns"]).iter().map(text).collect();
        let columns: Vec<_> = columns.iter().map(String::as_str).collect();
        let rows = array(&document["rows"]);
        if self.output.format == Format::Json {
            output::one(Format::Json, &document, &[]);
            return Ok(());
        }
        let cells: Vec<Vec<String>> =
            rows.iter().map(|row| columns.iter().map(|column| text(&row[*column])).collect()).collect();
        output::many(self.output.format, rows, &columns, &cells);
        if self.output.format == Format::Table {
            let (count, position) = (text(&document["rowCount"]), text(&document["position"]));
            say!("\n{count} rows, as of position {position}, at {}", text(&document["at"]));
        }
        Ok(())
    }

    /// Answers with everything that proves what they rest on.
    async fn pack(&self, remote: &Remote, path: &Path) -> Result<(), Stop> {
        let kept = self.kept.as_deref().map(super::verify::trust::read).transpose()?;
        let known = remote.get("/v1/reports", &[]).await?;
        let mut pack: Option<Pack> = None;
        // All of them are as of the point in history of the first: as if each were a further page of it.
        let mut point: Option<String> = None;
        let mut packed = 0;
        for report in array(&known["items"]) {
            let name = text(&report["name"]);
            if self.name.as_ref().is_some_and(|asked| *asked != name) || (self.name.is_none() && !self.all) {
                continue;
            }
            let takes =
                |parameter: &str| array(&report["parameters"]).iter().any(|known| known["name"] == parameter);
            let needs = |parameter: &str| {
                array(&report["parameters"])
                    .iter()
                    .any(|known| known["name"] == parameter && text(&known["meaning"]).contains("required"))
            };
            let mut asked = self.asked();
            if self.all {
                if needs("credentialId") && self.credential.is_none() {
                    continue;
                }
                asked.retain(|(parameter, _)| takes(parameter));
            }
            if point.is_some() {
                asked.retain(|(parameter, _)| *parameter != "asOf");
            }
            let answer = self.read(remote, &name, &asked, point.clone()).await?;
            let mut begun = match pack.take() {
                Some(pack) => pack,
                None => Pack::begin(remote, &answer).await?,
            };
            begun.add(&answer)?;
            pack = Some(begun);
            let at: Option<Timestamp> = answer["at"].as_str().and_then(|at| at.parse().ok());
            let at = at.ok_or_else(|| Stop::refused("the server's answer names no instant"))?;
            point = Some(format!("{}.{}.0", text(&answer["treeSize"]), at.micros()));
            packed += 1;
        }
        let what = if self.name.is_some() {
            Stop::refused("there is no such report").advise("`rota report` lists them")
        } else {
            Stop::usage("which report?").advise("name one, or give --all")
        };
        let mut pack = pack.ok_or(what)?;
        pack.prove(remote).await?;
        pack.connect(remote, kept).await?;
        pack.witness(remote).await?;
        let position = pack.position();
        let files = pack.write(path)?;
        say!(
            "{packed} answers as of position {position}, {files} files in {}; see VERIFY.md there",
            path.display()
        );
        Ok(())
    }

    /// What is asked, by parameter.
    fn asked(&self) -> Vec<(&'static str, &str)> {
        let asked = [
            ("asOf", &self.as_of),
            ("workspaceId", &self.workspace),
            ("credentialId", &self.credential),
            ("kind", &self.kind),
            ("ownerId", &self.owner),
            ("rotationId", &self.rotation),
            ("actor", &self.actor),
            ("at", &self.at),
            ("from", &self.from),
            ("to", &self.to),
            ("since", &self.since),
            ("version", &self.secret_version),
            ("olderThanDays", &self.older_than_days),
            ("targetSeconds", &self.target_seconds),
        ];
        asked.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }

    /// The whole report: every page, of one point in history.
    async fn read(
        &self,
        remote: &Remote,
        name: &str,
        asked: &[(&str, &str)],
        mut after: Option<String>,
    ) -> Result<Value, Stop> {
        let path = format!("/v1/reports/{name}");
        let mut document: Option<Value> = None;
        loop {
            let mut query = asked.to_vec();
            query.push(("limit", ROWS));
            query.extend(after.as_deref().map(|after| ("after", after)));
            let mut page = remote.get(&path, &query).await?;
            let next = page["next"].take().as_str().map(str::to_owned);
            match &mut document {
                None => document = Some(page),
                Some(whole) => {
                    if let (Value::Array(rows), Value::Array(more)) =
                        (&mut whole["rows"], page["rows"].take())
                    {
                        rows.extend(more);
                    }
                }
            }
            if next.is_none() || next == after {
                return document.ok_or_else(|| Stop::refused("the server gave no answer"));
            }
            after = next;
        }
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

async fn catalogue(remote: &Remote, format: Format) -> Result<(), Stop> {
    let document = remote.get("/v1/reports", &[]).await?;
    if format == Format::Json {
        output::one(Format::Json, &document, &[]);
        return Ok(());
    }
    let items: Vec<_> = array(&document["items"]).to_vec();
    let rows: Vec<_> = items.iter().map(|item| vec![text(&item["name"]), text(&item["question"])]).collect();
    let documents: Vec<_> =
        items.iter().map(|item| json!({ "name": item["name"], "question": item["question"] })).collect();
    output::many(format, &documents, &["name", "question"], &rows);
    Ok(())
}
