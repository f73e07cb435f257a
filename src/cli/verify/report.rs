//! What a check says in the end.

use rota::ledger::checkpoint::Checkpoint;
use rota_aggregates::Timestamp;
use rota_aggregates::ids::Hash;
use serde_json::{Value, json};

use crate::cli::output::Format;

/// Findings that are printed; the others are counted.
const FINDINGS_MAX: usize = 100;

/// What a check from outside found.
pub struct Report {
    pub events: u64,
    pub last_time: Timestamp,
    pub origin: Option<String>,
    /// The newest checkpoint, to be kept.
    pub note: Option<String>,
    /// The root that the events give.
    pub root: Option<Hash>,
    /// The keys that count.
    pub keys: Vec<String>,
    pub pinned: bool,
    /// The size of the checkpoint that was kept.
    pub from: Option<u64>,
    /// Whether the server's own proof from there holds; `None` where there is no server to ask.
    pub consistent: Option<bool>,
    /// Credentials whose answers were compared.
    pub compared: u64,
    pub findings: Vec<(u64, String)>,
    pub found: u64,
}

impl Report {
    pub fn new(events: u64) -> Self {
        Self {
            events,
            last_time: Timestamp::default(),
            origin: None,
            note: None,
            root: None,
            keys: Vec::new(),
            pinned: false,
            from: None,
            consistent: None,
            compared: 0,
            findings: Vec::new(),
            found: 0,
        }
    }

    pub fn of(&mut self, checkpoint: &Checkpoint, note: &str, pinned: bool) {
        self.origin = Some(checkpoint.origin.clone());
        self.note = Some(note.to_owned());
        self.pinned = pinned;
    }

    pub fn find(&mut self, position: u64, problem: String) {
        self.found += 1;
        self.findings.push((position, problem));
        // The first ones by position are what counts, whenever they are found.
        if self.findings.len() > 2 * FINDINGS_MAX {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        self.findings.sort();
        self.findings.truncate(FINDINGS_MAX);
    }

    /// Prints it.
    pub fn print(&mut self, format: Format) {
        self.shorten();
        match format {
            Format::Table | Format::Csv => self.text(),
            Format::Json => say!("{:#}", self.document()),
            Format::Ndjson => say!("{}", self.document()),
        }
    }

    fn text(&self) {
        say!("events      {}, the last at {}", self.events, self.last_time);
        if let Some(origin) = &self.origin {
            say!("ledger      {origin}");
        }
        if let Some(root) = &self.root {
            say!("root        {root} (RFC 6962, SHA-256), computed from the events");
        }
        let whose =
            if self.pinned { "given" } else { "that the ledger names: compare them with the operator's" };
        for key in &self.keys {
            say!("key         {key} ({whose})");
        }
        if let Some(from) = self.from {
            say!("since       the first {from} events are held against the checkpoint that was kept");
        }
        if self.compared > 0 {
            say!("answers     {} credentials, as the events say", self.compared);
        }
        verdict(&self.findings, self.found);
    }

    fn document(&self) -> Value {
        let findings: Vec<_> =
            self.findings.iter().map(|(p, f)| json!({ "position": p, "problem": f })).collect();
        json!({
            "ok": self.found == 0,
            "events": self.events,
            "lastTime": self.last_time,
            "origin": self.origin,
            "checkpoint": self.note,
            "root": self.root.map(|root| root.to_string()),
            "keys": self.keys,
            "keysGiven": self.pinned,
            "from": self.from,
            "consistencyProofHolds": self.consistent,
            "credentialsCompared": self.compared,
            "problems": self.found,
            "firstBadPosition": self.findings.first().map(|(position, _)| position),
            "findings": findings,
        })
    }
}

/// Prints what was found, and the first position that does not fit.
pub fn verdict(findings: &[(u64, String)], found: u64) {
    if found == 0 {
        say!("verdict     the ledger is what it says");
        return;
    }
    say!("verdict     {found} not as it must be:");
    for (position, problem) in findings {
        say!("  position {position}: {problem}");
    }
    if (findings.len() as u64) < found {
        say!("  and {} more", found - findings.len() as u64);
    }
    if let Some((position, _)) = findings.first() {
        say!("first bad position: {position}");
    }
}
