//! One credential, version by version: from when to when each would have been accepted, as the ledger knew it, and
//! whether it would have been at the instant that is asked about.

use std::collections::BTreeMap;

use rota_aggregates::observation::ObservationEvent;
use rota_aggregates::{Event, Position, Timestamp, WorkspaceId};
use serde_json::{Value, json};

use super::steps::{End, Step, steps};
use super::{Fold, Question, Rows, maybe, text};
use crate::Fact;

pub(super) const COLUMNS: &[&str] = &[
    "credentialId",
    "workspaceId",
    "version",
    "position",
    "hint",
    "fingerprint",
    "createdAt",
    "activeFrom",
    "retiringFrom",
    "validUntil",
    "ended",
    "endedPosition",
    "firstOldUseAt",
    "lastOldUseAt",
    "statusAt",
    "wouldVerify",
];

struct Version {
    workspace: WorkspaceId,
    position: Position,
    hint: String,
    fingerprint: Value,
    created: Timestamp,
    active: Option<Timestamp>,
    retiring: Option<Timestamp>,
    until: Option<Timestamp>,
    end: Option<(End, Position)>,
    uses: Option<(Timestamp, Timestamp)>,
}

impl Version {
    fn status(&self, at: Timestamp) -> &'static str {
        let from = |time: Option<Timestamp>| time.is_some_and(|time| time <= at);
        if at < self.created {
            "not-yet-made"
        } else if from(self.until) {
            match self.end {
                Some((End::Revoked | End::CredentialRevoked, _)) => "revoked",
                _ => "expired",
            }
        } else if from(self.retiring) {
            "retiring"
        } else if from(self.active) {
            "active"
        } else {
            "prepared"
        }
    }
}

struct Versions {
    question: Question,
    all: BTreeMap<u32, Version>,
}

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(Versions { question, all: BTreeMap::new() })
}

impl Fold for Versions {
    fn take(&mut self, fact: &Fact<'_>, _: &mut Rows) {
        let event = match fact.event {
            Event::Credential(event) => event,
            Event::Observation(ObservationEvent::OldSecretUsed(e)) => {
                if let Some(version) = self.all.get_mut(&e.version) {
                    version.uses = Some((version.uses.map_or(e.at, |(first, _)| first), e.at));
                }
                return;
            }
            _ => return,
        };
        steps(event, |step| match step {
            Step::Began { version, at, deadline } => {
                let secret = event.secret();
                let made = Version {
                    workspace: fact.context.workspace,
                    position: fact.position,
                    hint: secret.map(|s| s.hint.clone()).unwrap_or_default(),
                    fingerprint: maybe(secret.map(|s| s.digest)),
                    created: at,
                    active: None,
                    retiring: None,
                    until: deadline,
                    end: None,
                    uses: None,
                };
                self.all.insert(version, made);
            }
            Step::Activated { version, at, .. } => {
                if let Some(version) = self.all.get_mut(&version) {
                    version.active = Some(at);
                    version.until = None;
                }
            }
            Step::Retiring { version, at, until } => {
                if let Some(version) = self.all.get_mut(&version) {
                    version.retiring = Some(at);
                    version.until = Some(until);
                }
            }
            Step::Held { version, until } => {
                if let Some(version) = self.all.get_mut(&version) {
                    version.until = Some(until);
                }
            }
            Step::Ended { version, at, how } => {
                if let Some(version) = self.all.get_mut(&version) {
                    version.until = Some(version.until.map_or(at, |until| until.min(at)));
                    version.end = Some((how, fact.position));
                }
            }
        });
    }

    fn finish(self: Box<Self>, rows: &mut Rows) {
        let at = self.question.at;
        let credential = self.question.credential.unwrap_or_default();
        for (number, version) in self.all {
            if self.question.version.is_some_and(|asked| asked != number) {
                continue;
            }
            let status = version.status(at);
            rows.add(|| {
                vec![
                    text(credential),
                    text(version.workspace),
                    json!(number),
                    json!(version.position),
                    json!(version.hint),
                    version.fingerprint.clone(),
                    text(version.created),
                    maybe(version.active),
                    maybe(version.retiring),
                    maybe(version.until),
                    maybe(version.end.map(|(how, _)| how.name())),
                    json!(version.end.map(|(_, position)| position)),
                    maybe(version.uses.map(|(first, _)| first)),
                    maybe(version.uses.map(|(_, last)| last)),
                    json!(status),
                    json!(matches!(status, "active" | "retiring" | "prepared")),
                ]
            });
        }
    }
}
