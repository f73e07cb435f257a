//! How old active secrets were at an instant, and when any was older than its workspace's policy allowed.

use std::collections::{BTreeMap, HashMap};

use rota_aggregates::credential::{CredentialEvent, Kind};
use rota_aggregates::{CredentialId, Event, Position, Timestamp, WorkspaceId};
use serde_json::json;

use super::policy_times::PolicyTimes;
use super::steps::{Step, steps};
use super::{Fold, Question, Row, Rows, days, maybe, name, seconds_between, text};
use crate::Fact;

pub(super) const TYPES: &[&str] = &[
    "rota.workspace.opened.v1",
    "rota.workspace.policy-set.v1",
    "rota.credential.issued.v1",
    "rota.credential.secret-rotated.v1",
    "rota.credential.rotation-prepared.v1",
    "rota.credential.prepared-secret-rotated.v1",
    "rota.credential.rotation-cancelled.v1",
    "rota.credential.old-secret-expired.v1",
    "rota.credential.secret-revoked.v1",
    "rota.credential.revoked.v1",
];

pub(super) const AGE_COLUMNS: &[&str] = &[
    "position",
    "credentialId",
    "workspaceId",
    "kind",
    "version",
    "activeSince",
    "ageSeconds",
    "maxSecretAgeDays",
    "policyPosition",
    "overdue",
    "overdueSince",
];

pub(super) const OUT_OF_POLICY_COLUMNS: &[&str] = &[
    "credentialId",
    "workspaceId",
    "kind",
    "version",
    "activeSince",
    "from",
    "to",
    "seconds",
    "maxSecretAgeDays",
    "policyPosition",
];

/// A version while it was the active one.
#[derive(Clone, Copy)]
struct Active {
    credential: CredentialId,
    workspace: WorkspaceId,
    kind: Kind,
    version: u32,
    position: Position,
    since: Timestamp,
}

/// Follows who is active.
#[derive(Default)]
struct Actives {
    kinds: HashMap<CredentialId, (Kind, WorkspaceId, Position)>,
    /// By order of issue.
    active: BTreeMap<(Position, CredentialId), Active>,
}

impl Actives {
    /// Takes an event in; what ceased to be active by it, and when.
    fn take(&mut self, fact: &Fact<'_>, mut ceased: impl FnMut(Active, Timestamp)) {
        let Event::Credential(event) = fact.event else { return };
        let id = CredentialId(fact.stream.id);
        if let CredentialEvent::CredentialIssued(e) = event {
            self.kinds.insert(id, (e.kind, e.workspace, fact.position));
        }
        let Some((kind, workspace, issued)) = self.kinds.get(&id).copied() else { return };
        let key = (issued, id);
        steps(event, |step| match step {
            Step::Activated { version, at, .. } => {
                let active =
                    Active { credential: id, workspace, kind, version, position: fact.position, since: at };
                if let Some(before) = self.active.insert(key, active) {
                    ceased(before, at);
                }
            }
            Step::Retiring { version, at, .. } | Step::Ended { version, at, .. } => {
                if self.active.get(&key).is_some_and(|active| active.version == version) {
                    ceased(self.active[&key], at);
                    self.active.remove(&key);
                }
            }
            Step::Began { .. } | Step::Held { .. } => {}
        });
    }
}

/// The ages at one instant.
struct Age {
    question: Question,
    policies: PolicyTimes,
    actives: Actives,
    /// Active at the instant that is asked about, and ceased since.
    then: BTreeMap<Position, Active>,
}

pub(super) fn age(question: Question) -> Box<dyn Fold> {
    Box::new(Age {
        question,
        policies: PolicyTimes::default(),
        actives: Actives::default(),
        then: BTreeMap::new(),
    })
}

impl Age {
    fn row(&self, active: &Active) -> Option<Row> {
        let at = self.question.at;
        let age = seconds_between(active.since, at);
        if self.question.older_than_days.is_some_and(|least| age <= days(least)) {
            return None;
        }
        let policy = self.policies.at(active.workspace, at);
        let most = policy.and_then(|since| since.policy.max_secret_age_days);
        let overdue = most.is_some_and(|most| age > days(most));
        Some(vec![
            json!(active.position),
            text(active.credential),
            text(active.workspace),
            name(&active.kind),
            json!(active.version),
            text(active.since),
            json!(age),
            json!(most),
            json!(policy.map(|since| since.position)),
            json!(overdue),
            maybe(most.filter(|_| overdue).map(|most| active.since.plus_seconds(days(most)))),
        ])
    }
}

impl Fold for Age {
    fn take(&mut self, fact: &Fact<'_>, _: &mut Rows) {
        self.policies.take(fact);
        let (at, then) = (self.question.at, &mut self.then);
        self.actives.take(fact, |active, ceased| {
            if active.since <= at && ceased > at {
                then.insert(active.position, active);
            }
        });
    }

    fn finish(self: Box<Self>, rows: &mut Rows) {
        let at = self.question.at;
        let mut all = self.then.clone();
        all.extend(self.actives.active.values().filter(|a| a.since <= at).map(|a| (a.position, *a)));
        for active in all.values() {
            if let Some(row) = self.row(active) {
                rows.add(|| row);
            }
        }
    }
}

/// The stretches of time out of policy.
struct OutOfPolicy {
    question: Question,
    policies: PolicyTimes,
    actives: Actives,
}

pub(super) fn out_of_policy(question: Question) -> Box<dyn Fold> {
    Box::new(OutOfPolicy { question, policies: PolicyTimes::default(), actives: Actives::default() })
}

/// When an active secret was too old, up to `end`, and whether it still was then.
fn stretches(
    question: &Question,
    policies: &PolicyTimes,
    active: &Active,
    end: Timestamp,
    ended: bool,
    rows: &mut Rows,
) {
    for (begin, until, since) in policies.during(active.workspace, active.since, end) {
        let Some(most) = since.policy.max_secret_age_days else { continue };
        let begin = begin.max(active.since.plus_seconds(days(most)));
        let from = question.from.map_or(begin, |from| begin.max(from));
        let to = question.to.map_or(until, |to| until.min(to));
        if from >= to {
            continue;
        }
        let open = !ended && to == end;
        rows.add(|| {
            vec![
                text(active.credential),
                text(active.workspace),
                name(&active.kind),
                json!(active.version),
                text(active.since),
                text(from),
                maybe((!open).then_some(to)),
                json!(seconds_between(from, to)),
                json!(most),
                json!(since.position),
            ]
        });
    }
}

impl Fold for OutOfPolicy {
    fn take(&mut self, fact: &Fact<'_>, rows: &mut Rows) {
        self.policies.take(fact);
        let Self { question, policies, actives } = self;
        actives.take(fact, |active, ceased| {
            stretches(question, policies, &active, ceased.min(question.at), ceased <= question.at, rows);
        });
    }

    fn finish(self: Box<Self>, rows: &mut Rows) {
        for active in self.actives.active.values() {
            stretches(&self.question, &self.policies, active, self.question.at, false, rows);
        }
    }
}
