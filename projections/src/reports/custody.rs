//! Who answered for which credential, to which key its new secrets went, and who said so.

use rota_aggregates::Event;
use rota_aggregates::custody::CustodyEvent;
use serde_json::{Value, json};

use super::{Fold, Question, Rows, maybe, name, text};
use crate::Fact;

/// Issues tell the kind of a credential.
pub(super) const TYPES: &[&str] =
    &["rota.credential.issued.v1", "rota.custody.owner-set.v1", "rota.custody.recipient-set.v1"];

pub(super) const COLUMNS: &[&str] = &[
    "position",
    "time",
    "workspaceId",
    "credentialId",
    "what",
    "ownerId",
    "recipient",
    "actorKind",
    "actorId",
    "proof",
    "requestId",
    "eventId",
];

struct Custodies(Question);

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(Custodies(question))
}

impl Fold for Custodies {
    fn take(&mut self, fact: &Fact<'_>, rows: &mut Rows) {
        let Event::Custody(event) = fact.event else { return };
        if !self.0.covers(fact.time) || self.0.actor.is_some_and(|actor| actor != fact.context.actor) {
            return;
        }
        let (credential, what, owner, recipient) = match event {
            CustodyEvent::OwnerSet(e) => {
                (e.credential, "owner", text(e.owner.unwrap_or(e.credential)), Value::Null)
            }
            CustodyEvent::RecipientSet(e) => {
                (e.credential, "recipient", Value::Null, maybe(e.recipient.as_ref()))
            }
        };
        rows.add(|| {
            vec![
                json!(fact.position),
                text(fact.time),
                text(fact.context.workspace),
                text(credential),
                json!(what),
                owner,
                recipient,
                name(&fact.context.actor.kind),
                text(fact.context.actor.id),
                name(&fact.context.proof.kind),
                text(fact.context.request),
                text(fact.id),
            ]
        });
    }
}
