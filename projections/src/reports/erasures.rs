//! Which sealed parts were destroyed, when, and by whom.

use rota_aggregates::observation::ObservationEvent;
use rota_aggregates::{Event, Timestamp};
use serde_json::json;

use super::{Fold, Question, Rows, name, text};
use crate::Fact;

pub(super) const COLUMNS: &[&str] = &[
    "position",
    "time",
    "workspaceId",
    "ofPosition",
    "part",
    "because",
    "actorKind",
    "actorId",
    "requestId",
    "eventId",
];

struct Erasures(Question);

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(Erasures(question))
}

impl Fold for Erasures {
    fn take(&mut self, fact: &Fact<'_>, rows: &mut Rows) {
        if !self.0.covers(fact.time) {
            return;
        }
        let because = match fact.event {
            Event::Observation(ObservationEvent::SealedPartsShredded(_)) => "time-or-erasure",
            event => event.type_name(),
        };
        let time: Timestamp = fact.time;
        for part in fact.event.shredded() {
            rows.add(|| {
                vec![
                    json!(fact.position),
                    text(time),
                    text(fact.context.workspace),
                    json!(part.position),
                    name(&part.part),
                    json!(because),
                    name(&fact.context.actor.kind),
                    text(fact.context.actor.id),
                    text(fact.context.request),
                    text(fact.id),
                ]
            });
        }
    }
}
