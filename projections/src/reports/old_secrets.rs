//! Replaced secrets: until when they were valid, whether they were used in their grace period, how each ended, and
//! whether any was accepted after its end.

use std::collections::BTreeMap;

use rota_aggregates::credential::CredentialEvent;
use rota_aggregates::observation::{ObservationEvent, OldSecretUsed};
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
    "rota.credential.old-secret-used.v1",
    "rota.credential.grace-held.v1",
];

pub(super) const COLUMNS: &[&str] = &[
    "credentialId",
    "workspaceId",
    "version",
    "replacedAt",
    "replacedPosition",
    "expiresAt",
    "dead",
    "endedAt",
    "endedPosition",
    "ended",
    "held",
    "uses",
    "firstUsedAt",
    "lastUsedAt",
    "quietSeconds",
    "usedAfterEnd",
];

/// A version that was replaced.
struct Old {
    workspace: WorkspaceId,
    replaced_at: Timestamp,
    replaced: Position,
    expires_at: Timestamp,
    held: u64,
    uses: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

struct OldSecrets {
    question: Question,
    retiring: BTreeMap<(CredentialId, u32), Old>,
}

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(OldSecrets { question, retiring: BTreeMap::new() })
}

impl OldSecrets {
    fn add(
        &self,
        key: (CredentialId, u32),
        old: &Old,
        end: Option<(Timestamp, Option<Position>, End)>,
        rows: &mut Rows,
    ) {
        if self.question.version.is_some_and(|asked| asked != key.1) {
            return;
        }
        let at = self.question.at;
        // Time decides, not the event that records it.
        let ended_at = end.map_or(old.expires_at, |(ended, ..)| ended.min(old.expires_at));
        let dead = ended_at <= at;
        rows.add(|| {
            vec![
                text(key.0),
                text(old.workspace),
                json!(key.1),
                text(old.replaced_at),
                json!(old.replaced),
                text(old.expires_at),
                json!(dead),
                maybe(dead.then_some(ended_at)),
                json!(end.and_then(|(_, position, _)| position)),
                maybe(end.map(|(.., how)| how.name())),
                json!(old.held),
                json!(old.uses),
                maybe(old.first),
                maybe(old.last),
                json!(seconds_between(old.last.unwrap_or(old.replaced_at), ended_at.min(at))),
                json!(old.last.is_some_and(|last| last >= ended_at)),
            ]
        });
    }

    fn used(&mut self, fact: &Fact<'_>, used: &OldSecretUsed, rows: &mut Rows) {
        let key = (used.credential, used.version);
        if let Some(old) = self.retiring.get_mut(&key) {
            old.uses += 1;
            old.first.get_or_insert(used.at);
            old.last = Some(used.at);
            return;
        }
        // It was recorded as used when it had ended: a row of its own, which nobody can miss.
        let old = Old {
            workspace: fact.context.workspace,
            replaced_at: used.at,
            replaced: fact.position,
            expires_at: used.expires_at.min(used.at),
            held: 0,
            uses: 1,
            first: Some(used.at),
            last: Some(used.at),
        };
        self.add(key, &old, None, rows);
    }
}

impl Fold for OldSecrets {
    fn take(&mut self, fact: &Fact<'_>, rows: &mut Rows) {
        let event = match fact.event {
            Event::Credential(event) => event,
            Event::Observation(ObservationEvent::OldSecretUsed(used)) => return self.used(fact, used, rows),
            _ => return,
        };
        if matches!(event, CredentialEvent::CredentialDescribed(_)) {
            return;
        }
        let (id, workspace, position) = (CredentialId(fact.stream.id), fact.context.workspace, fact.position);
        let old = |at, expires_at| Old {
            workspace,
            replaced_at: at,
            replaced: position,
            expires_at,
            held: 0,
            uses: 0,
            first: None,
            last: None,
        };
        steps(event, |step| match step {
            Step::Retiring { version, at, until } => {
                self.retiring.insert((id, version), old(at, until));
            }
            Step::Ended { version, at, how: End::Replaced } => {
                self.add((id, version), &old(at, at), Some((at, Some(position), End::Replaced)), rows);
            }
            Step::Ended { version, at, how } => {
                if let Some(old) = self.retiring.remove(&(id, version)) {
                    self.add((id, version), &old, Some((at, Some(position), how)), rows);
                }
            }
            Step::Held { version, until } => {
                if let Some(old) = self.retiring.get_mut(&(id, version)) {
                    old.expires_at = until;
                    old.held += 1;
                }
            }
            Step::Began { .. } | Step::Activated { .. } => {}
        });
    }

    fn finish(mut self: Box<Self>, rows: &mut Rows) {
        let mut left: Vec<_> = std::mem::take(&mut self.retiring).into_iter().collect();
        left.sort_by_key(|(key, old)| (old.replaced, *key));
        for (key, old) in left {
            self.add(key, &old, None, rows);
        }
    }
}
