//! Checking a store that nobody serves.

use rota::app::at_rest::AtRest;
use rota::app::audit_check::{Report, Signed, SnapshotCheck};
use rota::ledger::note::VerifierKey;
use rota::telemetry::{self, LogFormat};
use serde_json::{Value, json};

use super::report::verdict;
use super::trust::{Kept, signed_by};
use crate::cli::error::{Stop, chain};
use crate::cli::output::Format;
use crate::cli::progress::Progress;
use crate::cli::store::StoreArgs;

/// Who signs, in findings.
const KEPT: &str = "the checkpoint that was kept";

/// What was found, in the order of positions.
struct Found {
    findings: Vec<(u64, String)>,
    found: u64,
}

/// Checks a store, from a checkpoint that was kept if there is one. The newest checkpoint in it, if all is well.
pub async fn check(
    store: &StoreArgs,
    keys: &[VerifierKey],
    kept: Option<Kept>,
    format: Format,
) -> Result<Option<String>, Stop> {
    telemetry::init_quiet(LogFormat::Text, "error");
    store.kept()?;
    let ledger = AtRest::open(store.options()?).await?;
    let signed: Vec<_> = kept
        .iter()
        .map(|kept| Signed { size: kept.checkpoint.size, root: kept.checkpoint.root, by: KEPT })
        .collect();
    let progress = Progress::new("Checking");
    let report = ledger.check(&signed, |done, total| progress.at(done, total)).await?;
    drop(progress);
    let mut found = Found {
        findings: report.findings.iter().map(|(position, f)| (position.0, chain(f))).collect(),
        found: report.found,
    };
    if let Some(kept) = &kept {
        let (counting, whose) = if keys.is_empty() {
            (&report.named[..], "that the ledger names")
        } else {
            (keys, "that was given")
        };
        if !signed_by(&kept.note, counting) {
            let position = kept.checkpoint.size.saturating_sub(1);
            found.findings.push((position, format!("{KEPT} is not signed by a key {whose}")));
            found.found += 1;
        }
    }
    found.findings.sort_by_key(|(position, _)| *position);
    let from = kept.map(|kept| kept.checkpoint.size);
    match format {
        Format::Table | Format::Csv => print(&report, from, &found),
        Format::Json => say!("{:#}", document(&report, from, &found)),
        Format::Ndjson => say!("{}", document(&report, from, &found)),
    }
    if found.found == 0 { Ok(report.note) } else { Err(Stop::bad()) }
}

fn print(report: &Report, from: Option<u64>, found: &Found) {
    say!("events      {}, the last at {}", report.events, report.last_time);
    say!("parts       {} as recorded, {} destroyed as events say", report.parts, report.destroyed);
    say!("snapshot    {}", snapshot(report.snapshot));
    say!("checkpoints {} in the store, each signed and of these events", report.checkpoints);
    if let Some(root) = &report.root {
        say!("root        {root} (RFC 6962, SHA-256), computed from the events");
    }
    if let Some(from) = from {
        say!("since       the first {from} events are held against the checkpoint that was kept");
    }
    verdict(&found.findings, found.found);
}

fn snapshot(check: SnapshotCheck) -> String {
    match check {
        SnapshotCheck::Compared(position) => format!("the one up to {position} was compared with the events"),
        SnapshotCheck::None => "there is none to compare with".to_owned(),
        SnapshotCheck::NoMasterKey => "not compared: the master key is not at hand".to_owned(),
        SnapshotCheck::NotComparable => "not compared: the events are not whole".to_owned(),
    }
}

fn document(report: &Report, from: Option<u64>, found: &Found) -> Value {
    let findings: Vec<_> =
        found.findings.iter().map(|(at, problem)| json!({ "position": at, "problem": problem })).collect();
    let compared = match report.snapshot {
        SnapshotCheck::Compared(position) => Some(position),
        _ => None,
    };
    json!({
        "ok": found.found == 0,
        "events": report.events,
        "lastTime": report.last_time,
        "root": report.root.map(|root| root.to_string()),
        "checkpoints": report.checkpoints,
        "from": from,
        "parts": report.parts,
        "destroyedParts": report.destroyed,
        "snapshotComparedAt": compared,
        "snapshot": snapshot(report.snapshot),
        "problems": found.found,
        "firstBadPosition": found.findings.first().map(|(position, _)| position),
        "findings": findings,
    })
}
