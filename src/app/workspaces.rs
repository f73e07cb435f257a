//! Opening workspaces, setting their policies, reading them.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use rota_aggregates::authority::Role;
use rota_aggregates::record::Record;
use rota_aggregates::workspace::{Policy, Workspace, WorkspaceCommand, WorkspaceRefusal};
use rota_aggregates::{Event, Position, StreamId, Timestamp, WorkspaceId};
use rota_projections::Details;
use rota_projections::audit::Facet;

use super::change::{ATTEMPTS_MAX, Along, Committed, Expected};
use super::{App, Caller, Failure};
use crate::log::Append;
use crate::views::AuditQuery;

/// A workspace as people see it.
#[derive(Clone, Debug)]
pub struct WorkspaceView {
    /// Its id.
    pub id: WorkspaceId,
    /// Its name; `None` once erased.
    pub name: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// Its policy.
    pub policy: Policy,
}

/// Lets a workspace decide.
async fn decide(
    mut state: Workspace,
    command: WorkspaceCommand,
) -> Result<Vec<rota_aggregates::workspace::WorkspaceEvent>, WorkspaceRefusal> {
    let sink = EventSink::default();
    state.handle(command, &(), &sink).await?;
    Ok(sink.collect().await)
}

impl App {
    /// Opens a workspace.
    pub async fn open_workspace(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<(WorkspaceView, Position), Failure> {
        caller.operator_only()?;
        super::issue::check_name("name", name)?;
        let now = self.now();
        let id = WorkspaceId(self.entropy()?.id(now));
        let details = Details { name: Some(name.to_owned()), ..caller.details() };
        let command = WorkspaceCommand::OpenWorkspace { now };
        let events = decide(Workspace::default(), command).await?;
        let position = self
            .append_workspace(caller, id, vec![(StreamId::workspace(id), None)], events, details, now)
            .await?
            .ok_or(Failure::Overloaded)?;
        let view =
            WorkspaceView { id, name: Some(name.to_owned()), created_at: now, policy: Policy::default() };
        Ok((view, position))
    }

    /// Changes a workspace's policy: `change` makes the whole new one from the present one.
    pub async fn set_policy(
        &self,
        caller: &Caller,
        id: WorkspaceId,
        change: impl Fn(Policy) -> Policy,
    ) -> Result<(Policy, Option<Position>), Failure> {
        caller.allow(id, &[Role::Admin], "workspace")?;
        for _ in 0..ATTEMPTS_MAX {
            let (caller, expected, now) = self.ground(caller, id)?;
            let state = self.tip.tip.read().live.workspace(id).map(|(state, _)| state);
            let state = state.ok_or(Failure::NotFound("workspace"))?;
            let policy = change(state.policy);
            let events = decide(state, WorkspaceCommand::SetPolicy { policy, now }).await?;
            if events.is_empty() {
                return Ok((policy, None));
            }
            let details = caller.details();
            if let Some(position) = self.append_workspace(&caller, id, expected, events, details, now).await?
            {
                return Ok((policy, Some(position)));
            }
        }
        Err(Failure::Overloaded)
    }

    async fn append_workspace(
        &self,
        caller: &Caller,
        id: WorkspaceId,
        expected: Expected,
        events: Vec<rota_aggregates::workspace::WorkspaceEvent>,
        details: Details,
        now: Timestamp,
    ) -> Result<Option<Position>, Failure> {
        let place = self.place()?;
        // Held until the command is recorded: see `rewrap`.
        let _ring = self.keys();
        let stream = StreamId::workspace(id);
        let events = events.into_iter().map(|e| (stream, Event::from(e))).collect();
        let along = Along { details, ..Along::default() };
        let mut entropy = self.entropy()?;
        let events = self.encode(caller, id, events, &along, now, &mut entropy)?;
        let append = Append { expected, claim: None, events, shred: Vec::new(), decided_at: now };
        match self.commit(place, append, None).await {
            Ok(recording) => Ok(recording.map(|r| r.last)),
            Err(Committed::Failed(failure)) => Err(failure),
            Err(Committed::Before(position)) => Ok(Some(position)),
        }
    }

    /// A workspace.
    pub async fn workspace(&self, caller: &Caller, id: WorkspaceId) -> Result<WorkspaceView, Failure> {
        caller.allow(id, &[Role::Auditor, Role::Analyst, Role::Rotator, Role::Verifier], "workspace")?;
        let state = self.tip.tip.read().live.workspace(id).map(|(state, _)| state);
        let state = state.ok_or(Failure::NotFound("workspace"))?;
        self.workspace_view(id, state).await
    }

    /// Every workspace, for the operator.
    pub async fn workspaces(&self, caller: &Caller) -> Result<Vec<WorkspaceView>, Failure> {
        caller.operator_only()?;
        let all: Vec<_> = self.tip.tip.read().live.workspaces().collect();
        let mut views = Vec::with_capacity(all.len());
        for (id, state) in all {
            views.push(self.workspace_view(id, state).await?);
        }
        Ok(views)
    }

    async fn workspace_view(&self, id: WorkspaceId, state: Workspace) -> Result<WorkspaceView, Failure> {
        let name = self.workspace_name(id).await?;
        let created_at = state.opened_at.unwrap_or_default();
        Ok(WorkspaceView { id, name, created_at, policy: state.policy })
    }

    /// What a workspace is called, for whoever belongs to it; `None` once erased.
    pub async fn workspace_name(&self, id: WorkspaceId) -> Result<Option<String>, Failure> {
        self.settled().await?;
        let opened = Facet::Type("rota.workspace.opened.v1".to_owned());
        let query =
            AuditQuery { facets: vec![Facet::Workspace(id), opened], limit: 1, ..AuditQuery::default() };
        let found = self.views.audit(&query).await?;
        Ok(found.first().and_then(|(record, stored): &(Record, _)| {
            self.details(record, stored).and_then(|details| details.name)
        }))
    }
}
