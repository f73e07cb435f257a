//! `rota replay`.

use std::collections::BTreeMap;
use std::str::FromStr;

use rota::app::replay::{State, Subject};
use rota::http::{credential_document, policy_document};
use rota_aggregates::record::Record;
use rota_aggregates::{Position, Timestamp};
use rota_exports::Filter;
use serde_json::{Value, json};

use super::client::ServerArgs;
use super::error::Stop;
use super::export::FilterArgs;
use super::output::{self, Format, FormatArgs, text};
use super::source::{Leaf, Source, stream};
use super::store::StoreArgs;

const EXAMPLES: &str = "\
Folds the events again, from the first one on, and stops where you say: at a time (RFC 3339), or
after the event at a position. Every version is judged by the time of that point. What is not in
events is not shown: names, and uses of secrets that are active. `rota export` gives the events
themselves, for folds of your own.

Examples:
  rota replay                                        the state after the last event
  rota replay --until 2026-11-01T00:00:00Z           what was valid then
  rota replay --diff 2026-11-01T00:00:00Z 2026-11-08T00:00:00Z
  rota replay --diff 1000 2000 --format csv          what 1000 events changed
  rota replay --workspace ID --url https://rota.internal --format json";

/// A point in the ledger's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// After the event at this position.
    Position(Position),
    /// At this instant.
    Time(Timestamp),
}

impl FromStr for Point {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(Position(position)));
        }
        let time = text.parse().map(Self::Time);
        time.map_err(|_| "a point is a position, or a time such as 2026-11-21T03:31:18Z")
    }
}

impl Point {
    /// Whether an event is after it.
    fn is_before(self, position: Position, record: &Record) -> bool {
        match self {
            Self::Position(last) => position > last,
            Self::Time(time) => record.time > time,
        }
    }

    /// The instant at which versions are judged.
    fn judged(self, state: &State) -> Timestamp {
        match self {
            Self::Position(_) => state.time,
            Self::Time(time) => time,
        }
    }
}

/// Fold the events again: the state at any point, or what changed between two
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Replay {
    /// Up to this time, or to after the event at this position [default: the last event]
    #[arg(long, value_name = "TIME|POSITION")]
    until: Option<Point>,
    /// What changed from one point to another
    #[arg(long, num_args = 2, value_names = ["TIME|POSITION", "TIME|POSITION"], conflicts_with = "until")]
    diff: Option<Vec<Point>>,
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

/// Of which things.
#[derive(clap::Args, Clone)]
struct WhichArgs {
    /// Of this workspace
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    /// Of this credential
    #[arg(long, value_name = "CREDENTIAL")]
    subject: Option<String>,
}

/// A fold that stops at points.
struct Fold {
    state: State,
    /// Where it stops next, the last one first.
    points: Vec<Point>,
    filter: Filter,
    /// The documents at the first of two points.
    before: Option<Documents>,
    judged: Timestamp,
}

/// Things as documents, by what they are.
type Documents = BTreeMap<Subject, Value>;

fn documents(state: &State, at: Timestamp) -> Documents {
    let credentials = state.credentials.iter().map(|(id, view)| {
        let mut document = credential_document(view, at);
        // Not of the events.
        if let Some(members) = document.as_object_mut() {
            members.remove("name");
        }
        (Subject::Credential(*id), document)
    });
    let workspaces = state.workspaces.iter().map(|(id, workspace)| {
        let document = json!({
            "id": id, "createdAt": workspace.opened_at, "policy": policy_document(&workspace.policy),
        });
        (Subject::Workspace(*id), document)
    });
    credentials.chain(workspaces).collect()
}

impl Fold {
    /// Takes a page in. `false` when the last point is reached.
    fn take(&mut self, page: Vec<Leaf>) -> Result<bool, Stop> {
        for (position, leaf) in page {
            let record = Record::decode(&leaf).map_err(|error| {
                Stop::failed(format!("the event at position {position} can't be read"), error)
                    .advise("`rota verify` finds out what is wrong with the ledger")
            })?;
            while self.points.last().is_some_and(|point| point.is_before(position, &record)) {
                self.reach();
                if self.points.is_empty() {
                    return Ok(false);
                }
            }
            if self.wants(&record) {
                self.state.take(position, record);
            }
        }
        Ok(true)
    }

    fn wants(&self, record: &Record) -> bool {
        self.filter.workspace.is_none_or(|id| id == record.context.workspace)
            && self.filter.subject.is_none_or(|id| Subject::of(record) == Some(Subject::Credential(id)))
    }

    /// The next point is reached.
    fn reach(&mut self) {
        let Some(point) = self.points.pop() else { return };
        self.judged = point.judged(&self.state);
        if !self.points.is_empty() {
            self.before = Some(documents(&self.state, self.judged));
        }
    }
}

impl Replay {
    pub async fn run(self) -> Result<(), Stop> {
        let filter = FilterArgs::of(self.which.workspace.as_deref(), self.which.subject.as_deref())?;
        let points = match (&self.diff, self.until) {
            (Some(points), _) => points.iter().rev().copied().collect(),
            (None, Some(until)) => vec![until],
            (None, None) => Vec::new(),
        };
        if let [Point::Position(second), Point::Position(first)] = points[..]
            && second < first
        {
            return Err(Stop::usage("the second point of --diff is before the first"));
        }
        let source = Source::open(self.server, &self.store).await?;
        let fold = Fold {
            state: State::default(),
            points,
            filter: filter.clone(),
            before: None,
            judged: Timestamp::default(),
        };
        let span = (Position(0), None);
        let mut fold = stream(&source, "Replaying", &filter, span, fold, Fold::take).await?;
        if let Some(Point::Position(beyond)) = fold
            .points
            .iter()
            .find(|p| matches!(p, Point::Position(at) if fold.state.last.is_none_or(|last| last < *at)))
            && self.which.workspace.is_none()
            && self.which.subject.is_none()
        {
            return Err(Stop::refused(format!("there is no event at position {beyond} yet")));
        }
        let judged_last = fold.points.is_empty() && self.until.is_none() && self.diff.is_none();
        while !fold.points.is_empty() {
            fold.reach();
        }
        if judged_last {
            fold.judged = fold.state.time;
        }
        match fold.before.take() {
            Some(before) => print_diff(self.output.format, &before, &documents(&fold.state, fold.judged)),
            None => print_state(self.output.format, &fold),
        }
        Ok(())
    }
}

fn print_state(format: Format, fold: &Fold) {
    let at = fold.judged;
    let documents = documents(&fold.state, at);
    let of = |credentials: bool| -> Vec<Value> {
        let wanted = documents.iter().filter(|(s, _)| matches!(s, Subject::Credential(_)) == credentials);
        wanted.map(|(_, document)| document.clone()).collect()
    };
    let (credentials, workspaces) = (of(true), of(false));
    match format {
        Format::Json => {
            let document = json!({
                "at": at, "position": fold.state.last, "events": fold.state.events,
                "workspaces": workspaces, "credentials": credentials,
            });
            say!("{document:#}");
        }
        Format::Ndjson => {
            for document in &workspaces {
                say!("{}", json!({ "workspace": document }));
            }
            for document in &credentials {
                say!("{}", json!({ "credential": document }));
            }
        }
        Format::Table | Format::Csv => {
            let rows: Vec<_> = credentials.iter().flat_map(rows).collect();
            output::many(format, &[], &COLUMNS, &rows);
            if format == Format::Table {
                let last = fold.state.last.map_or("none".to_owned(), |last| last.to_string());
                say!(
                    "\n{} workspaces, {} credentials at {at}, after {} events, the last at position {last}",
                    workspaces.len(),
                    credentials.len(),
                    fold.state.events
                );
            }
        }
    }
}

const COLUMNS: [&str; 9] = [
    "workspace",
    "credential",
    "kind",
    "public_id",
    "status",
    "version",
    "version_status",
    "created_at",
    "expires_or_ended_at",
];

/// A row for each version.
fn rows(credential: &Value) -> Vec<Vec<String>> {
    let of = ["workspaceId", "id", "kind", "publicId", "status"].map(|name| text(&credential[name]));
    let versions = credential["versions"].as_array().into_iter().flatten();
    versions
        .map(|version| {
            let end = if version["endedAt"].is_null() { &version["expiresAt"] } else { &version["endedAt"] };
            let more = [&version["version"], &version["status"], &version["createdAt"], end].map(text);
            of.iter().cloned().chain(more).collect()
        })
        .collect()
}

/// The leaves of a document by their path, such as `versions.2.status`. Versions are named by their number.
fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                flatten(&below(name), value, into);
            }
        }
        Value::Array(items) if items.iter().all(|item| item["version"].is_u64()) => {
            for item in items {
                flatten(&below(&item["version"].to_string()), item, into);
            }
        }
        Value::Null => {}
        value => {
            into.insert(path.to_owned(), value.clone());
        }
    }
}

fn print_diff(format: Format, before: &Documents, after: &Documents) {
    let flat = |documents: &Documents, subject: &Subject| {
        let mut fields = BTreeMap::new();
        documents.get(subject).inspect(|document| flatten("", document, &mut fields));
        fields
    };
    let (mut found, mut rows) = (Vec::new(), Vec::new());
    // Nothing is ever removed, so the later one has all.
    for subject in after.keys() {
        let (old, new) = (flat(before, subject), flat(after, subject));
        let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let (kind, id) = match subject {
            Subject::Credential(id) => ("credential", id.to_string()),
            Subject::Workspace(id) => ("workspace", id.to_string()),
        };
        for name in names {
            let (was, is) = (old.get(name), new.get(name));
            if was != is {
                let (was, is) = (was.unwrap_or(&Value::Null), is.unwrap_or(&Value::Null));
                rows.push(vec![kind.to_owned(), id.clone(), name.clone(), text(was), text(is)]);
                found.push(json!({ "kind": kind, "id": id, "field": name, "before": was, "after": is }));
            }
        }
    }
    output::many(format, &found, &["kind", "id", "field", "before", "after"], &rows);
}
