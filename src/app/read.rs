//! Reading: credentials as they are or were, and history.

use rota_aggregates::authority::Role;
use rota_aggregates::credential::Kind;
use rota_aggregates::record::Record;
use rota_aggregates::{CredentialId, Position, Timestamp, WorkspaceId};
use rota_exports::Entry;
use rota_projections::audit::Facet;
use rota_projections::credential::CredentialView;
use rota_projections::{Details, Recorded};

use super::{App, Caller, Failure};
use crate::log::{LogError, StoredEvent};
use crate::sealing::{Item, Part};
use crate::views::{AuditQuery, ListQuery};

/// Who may read credentials.
const READERS: &[Role] = &[Role::Auditor, Role::Rotator, Role::Verifier, Role::Analyst];
/// Who may read events.
const EVENT_READERS: &[Role] = &[Role::Auditor, Role::Analyst];
/// Events of one credential that are folded at once.
const PAGE: usize = 1_000;

/// A point in the ledger's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsOf {
    /// After the event at this position.
    Position(Position),
    /// At this instant.
    Time(Timestamp),
}

/// A page of a list.
#[derive(Clone, Copy, Debug)]
pub struct Paging {
    /// After the entry with this position.
    pub after: Option<Position>,
    /// At most so many.
    pub limit: usize,
    /// Skip so many.
    pub offset: usize,
}

/// A page, and where the next one begins.
#[derive(Clone, Debug)]
pub struct Paged<T> {
    /// The entries.
    pub items: Vec<T>,
    /// The position after which to go on; `None` at the end.
    pub next: Option<Position>,
}

/// An event as the ledger keeps it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its place.
    pub position: Position,
    /// Its bytes.
    pub leaf: Vec<u8>,
}

impl Kept {
    /// The event, read in place.
    pub fn entry(&self) -> Result<Entry<'_>, Failure> {
        let position = self.position;
        let read = Entry::read(position, &self.leaf);
        read.map_err(|source| LogError::BadLeaf { position, source }.into())
    }
}

/// A credential as of some point, with the instant at which its versions are to be judged.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The credential.
    pub view: CredentialView,
    /// The instant.
    pub at: Timestamp,
}

/// A question to the events.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Of this workspace; the operator may leave it open.
    pub workspace: Option<WorkspaceId>,
    /// About this credential.
    pub credential: Option<CredentialId>,
    /// By this actor.
    pub actor: Option<rota_aggregates::authority::Actor>,
    /// Of this type.
    pub event_type: Option<String>,
    /// Of this request.
    pub request: Option<rota_aggregates::RequestId>,
    /// From this instant on.
    pub from: Option<Timestamp>,
    /// Up to this instant, exclusive.
    pub to: Option<Timestamp>,
}

impl App {
    /// The details sealed beside an event, unless they were erased.
    pub(super) fn details(&self, record: &Record, stored: &StoredEvent) -> Option<Details> {
        let sealed = stored.side.details.as_ref()?;
        let item = Item { event: record.id.0, part: Part::Details };
        let opened = self.keys().open_sealed(&item, sealed);
        if let Ok(Ok(details)) = opened.map(|plain| serde_json::from_slice(&plain)) {
            return Some(details);
        }
        tracing::error!(position = %stored.position, "the details beside an event can't be opened");
        None
    }

    /// The credential's view, after all that is recorded now or as of some point.
    pub(super) async fn view(
        &self,
        id: CredentialId,
        before: Option<Position>,
    ) -> Result<Option<CredentialView>, Failure> {
        self.settled().await?;
        let mut query =
            AuditQuery { facets: vec![Facet::Credential(id)], before, limit: PAGE, ..AuditQuery::default() };
        let mut view = None;
        loop {
            let page = self.views.audit(&query).await?;
            let short = page.len() < PAGE;
            query.after = page.last().map(|(_, stored)| stored.position);
            for (record, stored) in page {
                let details = self.details(&record, &stored);
                let recorded = Recorded { position: stored.position, record, digest: None, details: None };
                CredentialView::step(&mut view, &recorded.fact(), details.as_ref());
            }
            if short {
                break;
            }
        }
        if before.is_none()
            && let Some(view) = &mut view
            && let Some(mark) = self.tip.tip.read().live.use_mark(id)
        {
            view.note(&mark);
        }
        Ok(view)
    }

    /// The first position that a point excludes, and the instant at which to judge.
    pub(super) async fn cut(
        &self,
        caller: &Caller,
        as_of: Option<AsOf>,
    ) -> Result<(Option<Position>, Timestamp), Failure> {
        Ok(match as_of {
            None => (None, self.now()),
            Some(AsOf::Position(position)) => {
                let stored = self.log.read_at(&[position]).await?;
                let beyond = || Failure::invalid("asOf", "there is no event at that position yet");
                let stored = stored.first().ok_or_else(beyond)?;
                let record = decode(stored)?;
                // Another workspace's event answers like one beyond the end.
                if caller.workspace().is_some_and(|own| own != record.context.workspace) {
                    return Err(beyond());
                }
                (Some(Position(position.0 + 1)), record.time)
            }
            Some(AsOf::Time(time)) => {
                if time > self.now() {
                    return Err(Failure::invalid("asOf", "must not lie in the future"));
                }
                let after = Timestamp::from_micros(time.micros() + 1);
                (Some(self.views.first_at(after).await?), time)
            }
        })
    }

    /// A credential.
    pub async fn credential(
        &self,
        caller: &Caller,
        id: CredentialId,
        as_of: Option<AsOf>,
    ) -> Result<Seen, Failure> {
        let workspace = self.workspace_of(id)?;
        caller.allow_self(id, workspace, READERS)?;
        let (before, at) = self.cut(caller, as_of).await?;
        let view = self.view(id, before).await?.ok_or(Failure::NotFound("credential"))?;
        Ok(Seen { view, at })
    }

    /// A credential after a change, for whoever was allowed to make it.
    pub async fn outcome(&self, id: CredentialId) -> Result<Seen, Failure> {
        let view = self.view(id, None).await?.ok_or(Failure::NotFound("credential"))?;
        Ok(Seen { view, at: self.now() })
    }

    /// The workspace of a credential.
    pub fn workspace_of(&self, id: CredentialId) -> Result<WorkspaceId, Failure> {
        let live = self.tip.tip.read().live.credential(id);
        live.map(|c| c.state.workspace).ok_or(Failure::NotFound("credential"))
    }

    /// Credentials of a workspace, by order of issue.
    pub async fn credentials(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        kinds: &[Kind],
        living: bool,
        paging: Paging,
        as_of: Option<AsOf>,
    ) -> Result<Paged<Seen>, Failure> {
        caller.allow(workspace, READERS, "workspace")?;
        if self.tip.tip.read().live.workspace(workspace).is_none() {
            return Err(Failure::NotFound("workspace"));
        }
        self.settled().await?;
        let (before, at) = self.cut(caller, as_of).await?;
        let list = ListQuery {
            workspace,
            kinds,
            after: paging.after,
            before,
            living,
            limit: paging.limit + 1,
            offset: paging.offset,
        };
        let mut listed = self.views.list(&list).await?;
        let more = listed.len() > paging.limit;
        listed.truncate(paging.limit);
        let next = listed.last().filter(|_| more).map(|l| l.position);
        let mut items = Vec::with_capacity(listed.len());
        for entry in listed {
            if let Some(view) = self.view(entry.id, before).await? {
                items.push(Seen { view, at });
            }
        }
        Ok(Paged { items, next })
    }

    /// The events about a credential, oldest first.
    pub async fn history(
        &self,
        caller: &Caller,
        id: CredentialId,
        paging: Paging,
        as_of: Option<AsOf>,
    ) -> Result<Paged<Kept>, Failure> {
        let workspace = self.workspace_of(id)?;
        caller.allow_self(id, workspace, EVENT_READERS)?;
        self.settled().await?;
        let (before, _) = self.cut(caller, as_of).await?;
        let page = self.page(vec![Facet::Credential(id)], before, None, None, paging).await?;
        self.note_read(caller, Some(workspace), "history").await;
        Ok(page)
    }

    /// The events that answer a question, oldest first.
    pub async fn events(
        &self,
        caller: &Caller,
        query: &EventQuery,
        paging: Paging,
    ) -> Result<Paged<Kept>, Failure> {
        let workspace = self.may_read_events(caller, query.workspace)?;
        self.settled().await?;
        let mut facets = Vec::new();
        facets.extend(workspace.map(Facet::Workspace));
        facets.extend(query.credential.map(Facet::Credential));
        facets.extend(query.actor.map(Facet::Actor));
        facets.extend(query.event_type.clone().map(Facet::Type));
        facets.extend(query.request.map(Facet::Request));
        let page = self.page(facets, None, query.from, query.to, paging).await?;
        // Whoever follows the feed and finds nothing has read nothing: else its own reading would be the next to read.
        if !page.items.is_empty() {
            self.note_read(caller, workspace, "events").await;
        }
        Ok(page)
    }

    /// Whose events the caller may read: those of one workspace, or `None` for all.
    pub fn may_read_events(
        &self,
        caller: &Caller,
        named: Option<WorkspaceId>,
    ) -> Result<Option<WorkspaceId>, Failure> {
        let workspace = match caller.workspace() {
            None => named,
            Some(_) => Some(caller.resolve_workspace(named)?),
        };
        if let Some(workspace) = workspace {
            caller.allow(workspace, EVENT_READERS, "workspace")?;
            if self.tip.tip.read().live.workspace(workspace).is_none() {
                return Err(Failure::NotFound("workspace"));
            }
        }
        Ok(workspace)
    }

    async fn page(
        &self,
        facets: Vec<Facet>,
        before: Option<Position>,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        paging: Paging,
    ) -> Result<Paged<Kept>, Failure> {
        let query = AuditQuery { facets, after: paging.after, before, from, to, limit: paging.limit + 1 };
        let mut found = self.views.leaves(&query).await?;
        let more = found.len() > paging.limit;
        found.truncate(paging.limit);
        let items: Vec<_> = found.into_iter().map(|(position, leaf)| Kept { position, leaf }).collect();
        let next = items.last().filter(|_| more).map(|kept| kept.position);
        Ok(Paged { items, next })
    }
}

pub(super) fn decode(stored: &StoredEvent) -> Result<Record, Failure> {
    let decoded = Record::decode(&stored.leaf);
    decoded.map_err(|source| LogError::BadLeaf { position: stored.position, source }.into())
}
