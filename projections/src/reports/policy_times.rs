//! Which policy was in force in a workspace, and when.

use std::collections::HashMap;

use rota_aggregates::workspace::{Policy, WorkspaceEvent};
use rota_aggregates::{Event, Position, Timestamp, WorkspaceId};

use crate::Fact;

/// A policy, from when on, and the event that set it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    pub(super) from: Timestamp,
    pub(super) position: Position,
    pub(super) policy: Policy,
}

/// Every policy that a workspace had, oldest first.
#[derive(Debug, Default)]
pub(super) struct PolicyTimes(HashMap<WorkspaceId, Vec<Since>>);

/// The policy that an event sets, and when.
pub(super) fn set_by(event: &Event) -> Option<(Timestamp, &Policy)> {
    match event {
        Event::Workspace(WorkspaceEvent::WorkspaceOpened(e)) => Some((e.at, &e.policy)),
        Event::Workspace(WorkspaceEvent::PolicySet(e)) => Some((e.at, &e.policy)),
        _ => None,
    }
}

impl PolicyTimes {
    /// Takes an event in, if it sets a policy.
    pub(super) fn take(&mut self, fact: &Fact<'_>) {
        if let Some((from, policy)) = set_by(fact.event) {
            let since = Since { from, position: fact.position, policy: *policy };
            self.0.entry(WorkspaceId(fact.stream.id)).or_default().push(since);
        }
    }

    /// The policy that was in force at an instant.
    pub(super) fn at(&self, workspace: WorkspaceId, at: Timestamp) -> Option<&Since> {
        self.0.get(&workspace)?.iter().rev().find(|since| since.from <= at)
    }

    /// The policies that were in force in a stretch of time, each with the part of it that it covers.
    pub(super) fn during(
        &self,
        workspace: WorkspaceId,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = (Timestamp, Timestamp, &Since)> {
        let all = self.0.get(&workspace).map_or(&[][..], Vec::as_slice);
        all.iter().enumerate().filter_map(move |(index, since)| {
            let end = all.get(index + 1).map_or(to, |next| next.from.min(to));
            let begin = since.from.max(from);
            (begin < end).then_some((begin, end, since))
        })
    }
}
