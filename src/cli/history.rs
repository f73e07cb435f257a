//! `rota history`.

use rota_aggregates::Timestamp;
use serde_json::Value;

use super::client::{Remote, ServerArgs};
use super::credential::segment;
use super::error::Stop;
use super::output::{self, Format, FormatArgs, text};

/// Events asked for at once.
const PAGE: &str = "100";

const EXAMPLES: &str = "\
Examples:
  rota history 0199c0de-…
  rota history 0199c0de-… --as-of 2026-11-01T00:00:00Z   as it was known then
  rota history 0199c0de-… --format csv > history.csv";

/// Show what happened to a credential
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct History {
    /// The credential
    id: String,
    /// As it was known at this time (RFC 3339), or after the event at this position
    #[arg(long, value_name = "TIME|POSITION")]
    as_of: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

impl History {
    pub async fn run(self) -> Result<(), Stop> {
        let remote = self.server.remote()?;
        let events = read(&remote, segment(&self.id)?, self.as_of.as_deref()).await?;
        let detail = if self.output.format == Format::Table { Detail::Short } else { Detail::Full };
        output::many(self.output.format, &events, &COLUMNS, &rows(&events, detail));
        Ok(())
    }
}

/// All events of a credential, oldest first.
pub async fn read(remote: &Remote, id: &str, as_of: Option<&str>) -> Result<Vec<Value>, Stop> {
    let path = format!("/v1/credentials/{id}/history");
    let mut events = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("limit", PAGE)];
        query.extend(as_of.map(|as_of| ("asOf", as_of)));
        query.extend(after.as_deref().map(|after| ("after", after)));
        let mut page = remote.get(&path, &query).await?;
        match page["items"].take() {
            Value::Array(items) => events.extend(items),
            _ => return Err(Stop::refused(format!("{} answered something that is no page", remote.url()))),
        }
        let next = page["next"].as_str().map(str::to_owned);
        if next.is_none() || next == after {
            return Ok(events);
        }
        after = next;
    }
}

/// The columns of [`rows`].
pub const COLUMNS: [&str; 6] = ["position", "time", "event", "version", "actor", "more"];

/// How much of ids and times is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// As much as fits a screen.
    Short,
    /// All.
    Full,
}

/// Events as rows for people and spreadsheets.
pub fn rows(events: &[Value], detail: Detail) -> Vec<Vec<String>> {
    events.iter().map(|event| row(event, detail)).collect()
}

/// A time to the millisecond.
fn short_time(time: &str) -> String {
    time.parse().map_or_else(|_| time.to_owned(), |time: Timestamp| time.to_millis_text())
}

fn row(event: &Value, detail: Detail) -> Vec<String> {
    let data = &event["data"];
    let version = [&data["secret"]["version"], &data["version"]];
    let version = version.into_iter().find(|v| !v.is_null()).map(text).unwrap_or_default();
    let name = text(&event["type"]);
    let short = name.strip_prefix("rota.").unwrap_or(&name);
    let kind = text(&event["actorkind"]);
    let actor = match text(&event["actorid"]) {
        id if kind == "operator" || kind == "scheduler" || id.is_empty() => kind,
        id if detail == Detail::Short => {
            format!("{kind} …{}", id.get(id.len().saturating_sub(6)..).unwrap_or_default())
        }
        id => format!("{kind} {id}"),
    };
    let time = match detail {
        Detail::Short => short_time(&text(&event["time"])),
        Detail::Full => text(&event["time"]),
    };
    vec![text(&event["position"]), time, short.to_owned(), version, actor, more(data, detail)]
}

/// What else is worth a word.
fn more(data: &Value, detail: Detail) -> String {
    let replaced = &data["replaced"];
    let mut words = Vec::new();
    if !replaced["version"].is_null() {
        let until = match &replaced["expiresAt"] {
            Value::Null => "ends at once".to_owned(),
            at if detail == Detail::Short => format!("valid until {}", short_time(&text(at))),
            at => format!("valid until {}", text(at)),
        };
        words.push(format!("version {} {until}", text(&replaced["version"])));
    }
    if data["compromised"] == true {
        words.push("compromised".to_owned());
    }
    words.extend(
        ["cause", "operation", "reason"].iter().map(|name| text(&data[*name])).filter(|w| !w.is_empty()),
    );
    words.join(", ")
}
