//! Which policy applied where and when, and who set it.

use std::collections::BTreeMap;

use rota_aggregates::{Position, Timestamp, WorkspaceId};
use serde_json::{Value, json};

use super::policy_times::set_by;
use super::{Fold, Question, Row, Rows, maybe, name, text};
use crate::Fact;

pub(super) const TYPES: &[&str] = &["rota.workspace.opened.v1", "rota.workspace.policy-set.v1"];

pub(super) const COLUMNS: &[&str] = &[
    "position",
    "workspaceId",
    "from",
    "to",
    "inForce",
    "policy",
    "actorKind",
    "actorId",
    "requestId",
    "eventId",
];

/// A policy whose end is not known yet.
struct Open {
    position: Position,
    from: Timestamp,
    policy: Value,
    by: [Value; 4],
}

struct Policies {
    question: Question,
    open: BTreeMap<WorkspaceId, Open>,
}

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(Policies { question, open: BTreeMap::new() })
}

fn row(workspace: WorkspaceId, open: Open, to: Option<Timestamp>, at: Timestamp) -> Row {
    let in_force = open.from <= at && to.is_none_or(|to| at < to);
    let [kind, id, request, event] = open.by;
    vec![
        json!(open.position),
        text(workspace),
        text(open.from),
        maybe(to),
        json!(in_force),
        open.policy,
        kind,
        id,
        request,
        event,
    ]
}

impl Fold for Policies {
    fn take(&mut self, fact: &Fact<'_>, rows: &mut Rows) {
        let Some((from, policy)) = set_by(fact.event) else { return };
        let workspace = WorkspaceId(fact.stream.id);
        let context = fact.context;
        let by = [name(&context.actor.kind), text(context.actor.id), text(context.request), text(fact.id)];
        let policy = text(serde_json::to_string(policy).unwrap_or_default());
        let open = Open { position: fact.position, from, policy, by };
        if let Some(before) = self.open.insert(workspace, open) {
            rows.add(|| row(workspace, before, Some(from), self.question.at));
        }
    }

    fn finish(self: Box<Self>, rows: &mut Rows) {
        let mut left: Vec<_> = self.open.into_iter().collect();
        left.sort_by_key(|(_, open)| open.position);
        for (workspace, open) in left {
            rows.add(|| row(workspace, open, None, self.question.at));
        }
    }
}
