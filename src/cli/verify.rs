//! `rota verify`.

use rota::app::at_rest::AtRest;
use rota::app::audit_check::{Report, SnapshotCheck};
use rota::telemetry::{self, LogFormat};
use serde_json::{Value, json};

use super::error::Stop;
use super::output::{Format, FormatArgs};
use super::progress::Progress;
use super::store::StoreArgs;

const EXAMPLES: &str = "\
Reads every event and checks: positions without gaps, readable bytes, time that never goes back,
streams without gaps, ids used once, every digest and sealed part beside an event against the
SHA-256 in the event, nothing destroyed without an event that says so, and the view that logins
are checked against, folded from events and read from a snapshot.

The ledger must not be served meanwhile. Of one that is, check a copy:
  rota backup /tmp/copy.db --url … && rota verify --store sqlite:/tmp/copy.db
Of a ledger in EventStoreDB nobody can hold a lock: stop its replicas, or a part that is destroyed
at that moment may be reported as missing.

Examples:
  rota verify
  rota verify --store sqlite:/var/lib/rota/rota.db --format json";

/// Check every event of a ledger
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Verify {
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// A server: refused, since this check reads the store itself
    #[arg(long, value_name = "URL", hide = true)]
    url: Option<String>,
    #[command(flatten)]
    output: FormatArgs,
}

impl Verify {
    pub async fn run(self) -> Result<(), Stop> {
        if self.url.is_some() {
            return Err(Stop::refused("a ledger can't be checked through its server in this build").advise(
                "`rota backup PATH --url …` copies it while it is served; then `rota verify --store sqlite:PATH`",
            ));
        }
        telemetry::init_quiet(LogFormat::Text, "error");
        self.store.kept()?;
        let ledger = AtRest::open(self.store.options()?).await?;
        let progress = Progress::new("Checking");
        let report = ledger.check(|done, total| progress.at(done, total)).await?;
        drop(progress);
        match self.output.format {
            Format::Table | Format::Csv => print(&report),
            Format::Json => say!("{:#}", document(&report)),
            Format::Ndjson => say!("{}", document(&report)),
        }
        if report.found == 0 { Ok(()) } else { Err(Stop::bad()) }
    }
}

fn print(report: &Report) {
    say!("events      {}, the last at {}", report.events, report.last_time);
    say!("parts       {} as recorded, {} destroyed as events say", report.parts, report.destroyed);
    say!("snapshot    {}", snapshot(report.snapshot));
    if report.found == 0 {
        say!("verdict     the ledger is what it says");
        return;
    }
    say!("verdict     {} not as it must be:", report.found);
    for (position, finding) in &report.findings {
        say!("  position {position}: {}", chain(finding));
    }
    if (report.findings.len() as u64) < report.found {
        say!("  and {} more", report.found - report.findings.len() as u64);
    }
    if let Some(position) = report.first_bad() {
        say!("first bad position: {position}");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", chain(source)))
}

fn snapshot(check: SnapshotCheck) -> String {
    match check {
        SnapshotCheck::Compared(position) => format!("the one up to {position} was compared with the events"),
        SnapshotCheck::None => "there is none to compare with".to_owned(),
        SnapshotCheck::NoMasterKey => "not compared: the master key is not at hand".to_owned(),
        SnapshotCheck::NotComparable => "not compared: the events are not whole".to_owned(),
    }
}

fn document(report: &Report) -> Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|(position, finding)| json!({ "position": position, "problem": chain(finding) }))
        .collect();
    let compared = match report.snapshot {
        SnapshotCheck::Compared(position) => Some(position),
        _ => None,
    };
    json!({
        "ok": report.found == 0,
        "events": report.events,
        "lastTime": report.last_time,
        "parts": report.parts,
        "destroyedParts": report.destroyed,
        "snapshotComparedAt": compared,
        "snapshot": snapshot(report.snapshot),
        "problems": report.found,
        "firstBadPosition": report.first_bad(),
        "findings": findings,
    })
}
