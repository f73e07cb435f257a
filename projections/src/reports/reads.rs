//! Who read of the ledger, and when.

use rota_aggregates::Event;
use rota_aggregates::observation::ObservationEvent;
use serde_json::json;

use super::{Fold, Question, Rows, name, text};
use crate::Fact;

pub(super) const TYPES: &[&str] = &["rota.workspace.ledger-read.v1"];

pub(super) const COLUMNS: &[&str] =
    &["position", "time", "workspaceId", "what", "actorKind", "actorId", "proof", "requestId", "eventId"];

struct Reads(Question);

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(Reads(question))
}

impl Fold for Reads {
    fn take(&mut self, fact: &Fact<'_>, rows: &mut Rows) {
        let Event::Observation(ObservationEvent::LedgerRead(read)) = fact.event else { return };
        let by = |actor| actor == fact.context.actor;
        if !self.0.covers(fact.time) || !self.0.actor.is_none_or(by) {
            return;
        }
        rows.add(|| {
            vec![
                json!(fact.position),
                text(fact.time),
                text(fact.context.workspace),
                json!(read.what),
                name(&fact.context.actor.kind),
                text(fact.context.actor.id),
                name(&fact.context.proof.kind),
                text(fact.context.request),
                text(fact.id),
            ]
        });
    }
}
