//! Which credentials there were, who issued them, and where they stood.

use std::collections::HashMap;

use rota_aggregates::credential::{CredentialEvent, Kind};
use rota_aggregates::{CredentialId, Event, Position, Timestamp, WorkspaceId};
use serde_json::{Value, json};

use super::steps::{Step, steps};
use super::{Fold, Question, Rows, maybe, name, text};
use crate::Fact;

pub(super) const COLUMNS: &[&str] = &[
    "position",
    "credentialId",
    "workspaceId",
    "kind",
    "publicId",
    "roles",
    "issuedAt",
    "issuedByKind",
    "issuedById",
    "status",
    "version",
    "activeSince",
    "rotations",
    "revokedAt",
];

struct One {
    position: Position,
    id: CredentialId,
    workspace: WorkspaceId,
    kind: Kind,
    public_id: String,
    roles: Value,
    issued_at: Timestamp,
    by: (Value, Value),
    active: Option<(u32, Timestamp)>,
    rotations: u64,
    revoked_at: Option<Timestamp>,
}

#[derive(Default)]
struct Credentials {
    all: Vec<One>,
    index: HashMap<CredentialId, usize>,
}

pub(super) fn fold(_: Question) -> Box<dyn Fold> {
    Box::new(Credentials::default())
}

impl Fold for Credentials {
    fn take(&mut self, fact: &Fact<'_>, _: &mut Rows) {
        let Event::Credential(event) = fact.event else { return };
        if let CredentialEvent::CredentialIssued(e) = event {
            self.index.insert(e.credential, self.all.len());
            let roles: Vec<_> = e.roles.iter().map(rota_aggregates::authority::Role::name).collect();
            self.all.push(One {
                position: fact.position,
                id: e.credential,
                workspace: e.workspace,
                kind: e.kind,
                public_id: e.public_id.clone(),
                roles: text(roles.join(" ")),
                issued_at: e.at,
                by: (name(&fact.context.actor.kind), text(fact.context.actor.id)),
                active: None,
                rotations: 0,
                revoked_at: None,
            });
        }
        let one = self.index.get(&CredentialId(fact.stream.id)).and_then(|index| self.all.get_mut(*index));
        let Some(one) = one else { return };
        steps(event, |step| match step {
            Step::Activated { version, at, .. } => one.active = Some((version, at)),
            Step::Ended { version, .. } if one.active.is_some_and(|(active, _)| active == version) => {
                one.active = None;
            }
            _ => {}
        });
        match event {
            CredentialEvent::SecretRotated(_) | CredentialEvent::PreparedSecretRotated(_) => {
                one.rotations += 1;
            }
            CredentialEvent::CredentialRevoked(e) => one.revoked_at = Some(e.at),
            _ => {}
        }
    }

    fn finish(self: Box<Self>, rows: &mut Rows) {
        for one in self.all {
            rows.add(|| {
                vec![
                    json!(one.position),
                    text(one.id),
                    text(one.workspace),
                    name(&one.kind),
                    json!(one.public_id),
                    one.roles,
                    text(one.issued_at),
                    one.by.0,
                    one.by.1,
                    json!(if one.revoked_at.is_some() { "revoked" } else { "active" }),
                    json!(one.active.map(|(version, _)| version)),
                    maybe(one.active.map(|(_, since)| since)),
                    json!(one.rotations),
                    maybe(one.revoked_at),
                ]
            });
        }
    }
}
