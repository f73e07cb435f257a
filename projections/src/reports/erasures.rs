//! Which sealed parts were destroyed, when, and by whom.

use rota_aggregates::campaign::CampaignEvent;
use rota_aggregates::observation::ObservationEvent;
use rota_aggregates::{CredentialId, Event, Position, Timestamp};
use serde_json::json;

use super::{Asked, Fold, Question, Rows, name, text};
use crate::Fact;
use crate::audit::credential_of_event;

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

struct Erasures {
    question: Question,
    asked: Asked,
    /// The events about the credentials that are asked about, in order; kept where some are.
    about: Vec<Position>,
}

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(Erasures { asked: Asked::of(&question), question, about: Vec::new() })
}

/// Whose parts may be beside an event.
fn whose(fact: &Fact<'_>) -> Option<CredentialId> {
    match fact.event {
        Event::Campaign(CampaignEvent::SecretHandedOver(e)) => Some(e.credential),
        event => credential_of_event(event, &fact.stream),
    }
}

impl Fold for Erasures {
    fn take(&mut self, fact: &Fact<'_>, rows: &mut Rows) {
        let asked = self.question.is_of_credentials();
        if asked {
            self.asked.take(fact.event);
            if whose(fact).is_some_and(|id| self.asked.has(id)) {
                self.about.push(fact.position);
            }
        }
        let by = |actor| actor == fact.context.actor;
        if !self.question.covers(fact.time) || !self.question.actor.is_none_or(by) {
            return;
        }
        let because = match fact.event {
            Event::Observation(ObservationEvent::SealedPartsShredded(_)) => "time-or-erasure",
            event => event.type_name(),
        };
        let time: Timestamp = fact.time;
        for part in fact.event.shredded() {
            if asked && self.about.binary_search(&part.position).is_err() {
                continue;
            }
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
