//! Which keys signed the ledger, from when until when, and which did at an instant.

use std::collections::BTreeMap;

use rota_aggregates::ledger::{LedgerEvent, LedgerKeyAdded};
use rota_aggregates::{Event, Position, Timestamp};
use serde_json::{Value, json};

use super::{Fold, Question, Rows, maybe, name, text};
use crate::Fact;

pub(super) const TYPES: &[&str] =
    &["rota.ledger.key-added.v1", "rota.ledger.key-retired.v1", "rota.ledger.restored.v1"];

pub(super) const COLUMNS: &[&str] = &[
    "position",
    "origin",
    "verifierKey",
    "signsFrom",
    "signsUntil",
    "privatePartDestroyedAt",
    "cause",
    "lostFrom",
    "signsAt",
    "actorKind",
    "actorId",
];

struct Key {
    added: LedgerKeyAdded,
    until: Option<Timestamp>,
    destroyed: Option<Timestamp>,
    /// For the first key after a loss: from where events were lost.
    lost_from: Option<Position>,
    by: [Value; 2],
}

struct Keys {
    question: Question,
    known: BTreeMap<Position, Key>,
    lost_from: Option<Position>,
}

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(Keys { question, known: BTreeMap::new(), lost_from: None })
}

impl Keys {
    fn named(&mut self, verifier_key: &str) -> impl Iterator<Item = &mut Key> {
        self.known.values_mut().filter(move |key| key.added.verifier_key == verifier_key)
    }
}

impl Fold for Keys {
    fn take(&mut self, fact: &Fact<'_>, _: &mut Rows) {
        let Event::Ledger(event) = fact.event else { return };
        match event {
            LedgerEvent::LedgerKeyAdded(e) => {
                for before in &e.succeeds {
                    for key in self.named(&before.verifier_key) {
                        key.until = Some(before.until);
                    }
                }
                let by = [name(&fact.context.actor.kind), text(fact.context.actor.id)];
                let lost_from = self.lost_from.take();
                let key = Key { added: e.clone(), until: None, destroyed: None, lost_from, by };
                self.known.insert(fact.position, key);
            }
            LedgerEvent::LedgerKeyRetired(e) => {
                for key in self.named(&e.verifier_key) {
                    key.destroyed = Some(e.at);
                }
            }
            LedgerEvent::LedgerRestored(e) => self.lost_from = Some(e.lost_from),
            LedgerEvent::LedgerAuditorNamed(_) | LedgerEvent::LedgerAuditorDismissed(_) => {}
        }
    }

    fn finish(self: Box<Self>, rows: &mut Rows) {
        let at = self.question.at;
        for (position, key) in self.known {
            let signs = key.added.at <= at && key.until.is_none_or(|until| at < until);
            rows.add(|| {
                let [kind, id] = key.by;
                vec![
                    json!(position),
                    text(key.added.origin),
                    text(key.added.verifier_key),
                    text(key.added.at),
                    maybe(key.until),
                    maybe(key.destroyed),
                    name(&key.added.cause),
                    json!(key.lost_from),
                    json!(signs),
                    kind,
                    id,
                ]
            });
        }
    }
}
