//! `rota report`.

use serde_json::{Value, json};

use super::client::{Remote, ServerArgs};
use super::error::Stop;
use super::output::{self, Format, FormatArgs, text};

/// Rows asked for at once.
const ROWS: &str = "10000";

const EXAMPLES: &str = "\
Without a name it lists the reports with their questions; --format json adds parameters and limits.

Examples:
  rota report
  rota report rotations --credential 0199c0de-…
  rota report secret-age --as-of 2026-06-30T23:59:59Z --older-than-days 90 --format csv > old.csv
  rota report versions --credential 0199c0de-… --at 2026-06-01T12:00:00Z
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
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

impl Report {
    pub async fn run(self) -> Result<(), Stop> {
        let remote = self.server.clone().remote()?;
        let Some(name) = &self.name else { return catalogue(&remote, self.output.format).await };
        let document = self.read(&remote, super::credential::segment(name)?).await?;
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

    /// The whole report: every page, of one point in history.
    async fn read(&self, remote: &Remote, name: &str) -> Result<Value, Stop> {
        let asked = [
            ("asOf", &self.as_of),
            ("workspaceId", &self.workspace),
            ("credentialId", &self.credential),
            ("kind", &self.kind),
            ("actor", &self.actor),
            ("at", &self.at),
            ("from", &self.from),
            ("to", &self.to),
            ("since", &self.since),
            ("version", &self.secret_version),
            ("olderThanDays", &self.older_than_days),
            ("targetSeconds", &self.target_seconds),
        ];
        let asked: Vec<_> =
            asked.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
        let path = format!("/v1/reports/{name}");
        let mut document: Option<Value> = None;
        let mut after: Option<String> = None;
        loop {
            let mut query = asked.clone();
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
