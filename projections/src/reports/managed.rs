//! What happened to credentials of other systems: attempts, failures, and where rota and the system disagreed.

use rota_aggregates::Event;
use rota_aggregates::managed_rotation::ManagedRotationEvent;
use serde_json::{Value, json};

use super::{Fold, Question, Rows, name, text};
use crate::Fact;

pub(super) const TYPES: &[&str] = ManagedRotationEvent::TYPES;

pub(super) const COLUMNS: &[&str] = &[
    "position",
    "time",
    "workspaceId",
    "rotationId",
    "what",
    "attemptId",
    "cause",
    "step",
    "outcome",
    "reason",
    "version",
    "dueAt",
    "againAt",
    "actorKind",
    "actorId",
    "requestId",
    "eventId",
];

struct Attempts(Question);

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(Attempts(question))
}

/// The first of these members of an event's data that is there.
fn member(data: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| &data[*name]).find(|value| !value.is_null()).cloned().unwrap_or_default()
}

impl Fold for Attempts {
    fn take(&mut self, fact: &Fact<'_>, rows: &mut Rows) {
        let Event::ManagedRotation(event) = fact.event else { return };
        if self.0.rotation.is_some_and(|asked| asked.0 != fact.stream.id) {
            return;
        }
        if !self.0.covers(fact.time) || self.0.actor.is_some_and(|actor| actor != fact.context.actor) {
            return;
        }
        rows.add(|| {
            let what = event.type_name().split('.').nth(2).unwrap_or_default();
            let mut bytes = Vec::new();
            // Writing to memory fails for no recorded event.
            let written = event.write_data(&mut bytes);
            let data: Value = written.and_then(|()| serde_json::from_slice(&bytes)).unwrap_or_default();
            vec![
                json!(fact.position),
                text(fact.time),
                text(fact.context.workspace),
                text(fact.stream.id),
                json!(what),
                member(&data, &["attempt"]),
                member(&data, &["cause"]),
                member(&data, &["step"]),
                member(&data, &["outcome", "aftermath"]),
                member(&data, &["reason"]),
                member(&data, &["version"]),
                member(&data, &["dueAt"]),
                member(&data, &["retryAt", "nextAt"]),
                name(&fact.context.actor.kind),
                text(fact.context.actor.id),
                text(fact.context.request),
                text(fact.id),
            ]
        });
    }
}
