//! How long it took from a reported compromise to a new secret, and to the old one's death.

use std::collections::BTreeMap;

use rota_aggregates::credential::CredentialEvent;
use rota_aggregates::observation::ObservationEvent;
use rota_aggregates::{CredentialId, Event, Position, Timestamp, WorkspaceId};
use serde_json::json;

use super::steps::{End, Step, steps};
use super::{Fold, Question, Rows, maybe, seconds_between, text};
use crate::Fact;

pub(super) const TYPES: &[&str] = &[
    "rota.credential.issued.v1",
    "rota.credential.secret-rotated.v1",
    "rota.credential.rotation-prepared.v1",
    "rota.credential.prepared-secret-rotated.v1",
    "rota.credential.rotation-cancelled.v1",
    "rota.credential.old-secret-expired.v1",
    "rota.credential.secret-revoked.v1",
    "rota.credential.revoked.v1",
    "rota.credential.leak-reported.v1",
    "rota.credential.grace-held.v1",
];

pub(super) const COLUMNS: &[&str] = &[
    "credentialId",
    "workspaceId",
    "version",
    "reportedAt",
    "reportedPosition",
    "reportedAs",
    "replacedAt",
    "replacedPosition",
    "deadAt",
    "deadPosition",
    "ended",
    "secondsToReplacement",
    "secondsToDeath",
    "targetSeconds",
    "met",
];

/// A version that was said to be known to others.
struct Case {
    workspace: WorkspaceId,
    reported: (Timestamp, Position),
    reported_as: &'static str,
    replaced: Option<(Timestamp, Position)>,
    /// The end of its grace period, if it is in one.
    until: Option<Timestamp>,
}

struct Compromises {
    question: Question,
    open: BTreeMap<(CredentialId, u32), Case>,
    /// Versions in their grace period: when they were replaced, and until when they are accepted.
    retiring: BTreeMap<(CredentialId, u32), ((Timestamp, Position), Timestamp)>,
}

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(Compromises { question, open: BTreeMap::new(), retiring: BTreeMap::new() })
}

impl Compromises {
    fn row(
        &self,
        key: (CredentialId, u32),
        case: &Case,
        dead: Option<(Timestamp, Option<Position>, &'static str)>,
        rows: &mut Rows,
    ) {
        if !self.question.covers(case.reported.0) {
            return;
        }
        let reported = case.reported.0;
        let since = |then: Timestamp| seconds_between(reported, then);
        let target = self.question.target_seconds;
        let taken = since(dead.map_or(self.question.at, |(at, ..)| at));
        // While it lives, the target can only be missed.
        let met = match (target, dead) {
            (None, _) => None,
            (Some(target), Some(_)) => Some(taken <= target),
            (Some(target), None) => (taken > target).then_some(false),
        };
        rows.add(|| {
            vec![
                text(key.0),
                text(case.workspace),
                json!(key.1),
                text(reported),
                json!(case.reported.1),
                json!(case.reported_as),
                maybe(case.replaced.map(|(at, _)| at)),
                json!(case.replaced.map(|(_, position)| position)),
                maybe(dead.map(|(at, ..)| at)),
                json!(dead.and_then(|(_, position, _)| position)),
                json!(dead.map(|(.., how)| how)),
                json!(case.replaced.map(|(at, _)| since(at))),
                json!(dead.map(|(at, ..)| since(at))),
                json!(target),
                json!(met),
            ]
        });
    }
}

impl Fold for Compromises {
    fn take(&mut self, fact: &Fact<'_>, rows: &mut Rows) {
        if let Event::Observation(ObservationEvent::LeakReported(e)) = fact.event
            && e.live
        {
            let until = self.retiring.get(&(e.credential, e.version)).copied();
            self.open.entry((e.credential, e.version)).or_insert(Case {
                workspace: fact.context.workspace,
                reported: (e.at, fact.position),
                reported_as: "leak",
                replaced: until.map(|(replaced, _)| replaced),
                until: until.map(|(_, until)| until),
            });
        }
        let Event::Credential(event) = fact.event else { return };
        let (id, position) = (CredentialId(fact.stream.id), fact.position);
        if let CredentialEvent::SecretRotated(e) = event
            && e.compromised
            && let Some(replaced) = &e.replaced
        {
            self.open.entry((id, replaced.version)).or_insert(Case {
                workspace: fact.context.workspace,
                reported: (e.at, position),
                reported_as: "rotation",
                replaced: None,
                until: None,
            });
        }
        let mut ended = Vec::new();
        steps(event, |step| match step {
            Step::Retiring { version, at, until } => {
                self.retiring.insert((id, version), ((at, position), until));
                if let Some(case) = self.open.get_mut(&(id, version)) {
                    case.replaced = Some((at, position));
                    case.until = Some(until);
                }
            }
            Step::Ended { version, at, how } => {
                self.retiring.remove(&(id, version));
                if let Some(mut case) = self.open.remove(&(id, version)) {
                    if how == End::Replaced {
                        case.replaced = Some((at, position));
                    }
                    let at = case.until.map_or(at, |until| until.min(at));
                    ended.push(((id, version), case, (at, Some(position), how.name())));
                }
            }
            Step::Held { version, until } => {
                if let Some((_, known)) = self.retiring.get_mut(&(id, version)) {
                    *known = until;
                }
                if let Some(case) = self.open.get_mut(&(id, version)) {
                    case.until = Some(until);
                }
            }
            Step::Began { .. } | Step::Activated { .. } => {}
        });
        for (key, case, dead) in ended {
            self.row(key, &case, Some(dead), rows);
        }
    }

    fn finish(mut self: Box<Self>, rows: &mut Rows) {
        let mut left: Vec<_> = std::mem::take(&mut self.open).into_iter().collect();
        left.sort_by_key(|(key, case)| (case.reported.1, *key));
        for (key, case) in left {
            // Time decides, not the event that records it.
            let over = case.until.filter(|until| *until <= self.question.at);
            let dead = over.map(|until| (until, None, "grace-over"));
            self.row(key, &case, dead, rows);
        }
    }
}
