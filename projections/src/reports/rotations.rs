//! Who replaced which secret, when, how, under which request, with what result.

use rota_aggregates::Event;
use rota_aggregates::credential::{CredentialEvent, Replaced};
use rota_aggregates::observation::ObservationEvent;
use serde_json::{Value, json};

use super::{Fold, Question, Row, Rows, maybe, name, text};
use crate::Fact;

pub(super) const TYPES: &[&str] = &[
    "rota.credential.issued.v1",
    "rota.credential.secret-rotated.v1",
    "rota.credential.rotation-prepared.v1",
    "rota.credential.prepared-secret-rotated.v1",
    "rota.credential.rotation-cancelled.v1",
    "rota.credential.rotation-refused.v1",
];

pub(super) const COLUMNS: &[&str] = &[
    "position",
    "time",
    "workspaceId",
    "credentialId",
    "result",
    "version",
    "replacedVersion",
    "oldSecretExpiresAt",
    "compromised",
    "reason",
    "actorKind",
    "actorId",
    "proof",
    "proofVersion",
    "dialect",
    "requestId",
    "correlationId",
    "idempotent",
    "eventId",
];

struct Rotations(Question);

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(Rotations(question))
}

/// What an event says of a rotation.
struct Attempt<'a> {
    result: &'static str,
    version: Option<u32>,
    replaced: Option<&'a Replaced>,
    compromised: bool,
    reason: Value,
}

impl Attempt<'_> {
    fn of(event: &Event) -> Option<Attempt<'_>> {
        let attempt = |result, version, replaced, compromised, reason| {
            Some(Attempt { result, version, replaced, compromised, reason })
        };
        match event {
            Event::Credential(CredentialEvent::SecretRotated(e)) => {
                attempt("done", Some(e.secret.version), e.replaced.as_ref(), e.compromised, Value::Null)
            }
            Event::Credential(CredentialEvent::RotationPrepared(e)) => {
                attempt("prepared", Some(e.secret.version), None, false, Value::Null)
            }
            Event::Credential(CredentialEvent::PreparedSecretRotated(e)) => {
                attempt("committed", Some(e.version), e.replaced.as_ref(), false, name(&e.cause))
            }
            Event::Credential(CredentialEvent::RotationCancelled(e)) => {
                attempt("cancelled", Some(e.version), None, false, name(&e.cause))
            }
            Event::Observation(ObservationEvent::RotationRefused(e)) => {
                attempt("refused", None, None, false, text(format_args!("{}: {}", e.operation, e.reason)))
            }
            _ => None,
        }
    }
}

fn row(fact: &Fact<'_>, attempt: &Attempt<'_>) -> Row {
    let context = fact.context;
    let about = crate::audit::credential_of_event(fact.event, &fact.stream);
    vec![
        json!(fact.position),
        text(fact.time),
        text(context.workspace),
        maybe(about),
        json!(attempt.result),
        json!(attempt.version),
        json!(attempt.replaced.map(|replaced| replaced.version)),
        maybe(attempt.replaced.and_then(|replaced| replaced.expires_at)),
        json!(attempt.compromised),
        attempt.reason.clone(),
        name(&context.actor.kind),
        text(context.actor.id),
        name(&context.proof.kind),
        json!(context.proof.version),
        name(&context.dialect),
        text(context.request),
        text(context.correlation),
        json!(fact.claim.is_some()),
        text(fact.id),
    ]
}

impl Fold for Rotations {
    fn take(&mut self, fact: &Fact<'_>, rows: &mut Rows) {
        if !self.0.covers(fact.time) || self.0.actor.is_some_and(|actor| actor != fact.context.actor) {
            return;
        }
        if let Some(attempt) = Attempt::of(fact.event) {
            rows.add(|| row(fact, &attempt));
        }
    }
}
