//! Which keys signed session tokens, from when until when.

use std::collections::BTreeMap;

use rota_aggregates::token_keys::TokenKeysEvent;
use rota_aggregates::{Event, Position, Timestamp, TokenKeyId};
use serde_json::{Value, json};

use super::{Fold, Question, Rows, maybe, name, text};
use crate::Fact;

pub(super) const TYPES: &[&str] = &["rota.token-keys.key-made.v1", "rota.token-keys.key-retired.v1"];

pub(super) const COLUMNS: &[&str] = &[
    "position",
    "keyId",
    "publicKey",
    "signsFrom",
    "signsUntil",
    "verifiesUntil",
    "privatePartDestroyedAt",
    "cause",
    "signsAt",
    "actorKind",
    "actorId",
];

struct Key {
    id: TokenKeyId,
    public: Value,
    from: Timestamp,
    until: Option<Timestamp>,
    verifies_until: Option<Timestamp>,
    destroyed: Option<Timestamp>,
    cause: Value,
    by: [Value; 2],
}

struct Keys {
    question: Question,
    keys: BTreeMap<Position, Key>,
}

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(Keys { question, keys: BTreeMap::new() })
}

impl Fold for Keys {
    fn take(&mut self, fact: &Fact<'_>, _: &mut Rows) {
        match fact.event {
            Event::TokenKeys(TokenKeysEvent::TokenKeyMade(e)) => {
                for before in &e.succeeds {
                    if let Some(key) = self.keys.values_mut().find(|key| key.id == before.key) {
                        key.until = Some(key.until.map_or(e.signs_from, |until| until.min(e.signs_from)));
                        key.verifies_until = Some(before.verifies_until);
                    }
                }
                let key = Key {
                    id: e.key,
                    public: text(e.public_key),
                    from: e.signs_from,
                    until: None,
                    verifies_until: None,
                    destroyed: None,
                    cause: name(&e.cause),
                    by: [name(&fact.context.actor.kind), text(fact.context.actor.id)],
                };
                self.keys.insert(fact.position, key);
            }
            Event::TokenKeys(TokenKeysEvent::TokenKeyRetired(e)) => {
                if let Some(key) = self.keys.values_mut().find(|key| key.id == e.key) {
                    key.destroyed = Some(e.at);
                }
            }
            _ => {}
        }
    }

    fn finish(self: Box<Self>, rows: &mut Rows) {
        let at = self.question.at;
        for (position, key) in self.keys {
            let signs = key.from <= at && key.until.is_none_or(|until| at < until);
            rows.add(|| {
                let [kind, id] = key.by;
                vec![
                    json!(position),
                    text(key.id),
                    key.public,
                    text(key.from),
                    maybe(key.until),
                    maybe(key.verifies_until),
                    maybe(key.destroyed),
                    key.cause,
                    json!(signs),
                    kind,
                    id,
                ]
            });
        }
    }
}
