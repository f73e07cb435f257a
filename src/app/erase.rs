//! Destroying what is sealed beside events, each time with an event that says so. The events' own bytes, and so
//! every proof, stay as they are.

use rota_aggregates::authority::Role;
use rota_aggregates::observation::{PartRef, SealedPart, SealedPartsShredded};
use rota_aggregates::record::{Record, SealedHashes, encode_body};
use rota_aggregates::{CredentialId, Event, Position, StreamId, Timestamp, WorkspaceId};
use rota_projections::audit::Facet;

use super::change::{ATTEMPTS_MAX, Expected};
use super::{App, Caller, Failure, new_event_id};
use crate::log::committer::Verdict;
use crate::log::{Append, LogError, NewEvent, Side, StoredEvent};
use crate::views::AuditQuery;

/// Parts named in one shredding event: it stays far below the largest leaf.
pub(super) const PARTS_MAX: usize = 500;

/// What erasing came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Erased {
    /// The events that have no details any more.
    pub events: usize,
    /// The position of the last event that says so; `None` if there was nothing to erase.
    pub position: Option<Position>,
}

impl App {
    /// Destroys the details of every event about a credential: client addresses, user agents, reasons, and with
    /// them its name and profile.
    pub async fn erase_details_of(&self, caller: &Caller, id: CredentialId) -> Result<Erased, Failure> {
        let workspace = self.workspace_of(id)?;
        self.allow(caller, id, workspace, &[Role::Admin], false, "erase-details").await?;
        self.settled().await?;
        let mut query =
            AuditQuery { facets: vec![Facet::Credential(id)], limit: PARTS_MAX, ..AuditQuery::default() };
        let mut erased = Erased::default();
        loop {
            let page = self.views.audit(&query).await?;
            query.after = page.last().map(|(_, stored)| stored.position);
            let parts: Vec<_> = page.iter().filter_map(|(_, stored)| details_of(stored)).collect();
            if !parts.is_empty() {
                erased.events += parts.len();
                erased.position = Some(self.erase(caller, workspace, parts).await?);
            }
            if page.len() < PARTS_MAX {
                return Ok(erased);
            }
        }
    }

    /// Destroys the details of one event.
    pub async fn erase_details_at(&self, caller: &Caller, position: Position) -> Result<Erased, Failure> {
        let stored = self.log.read_at(&[position]).await?;
        let stored = stored.first().ok_or(Failure::NotFound("event"))?;
        let record = Record::decode(&stored.leaf).map_err(|source| LogError::BadLeaf { position, source })?;
        caller.allow(record.context.workspace, &[Role::Admin], "event")?;
        let Some(part) = details_of(stored) else { return Ok(Erased::default()) };
        let position = self.erase(caller, record.context.workspace, vec![part]).await?;
        Ok(Erased { events: 1, position: Some(position) })
    }

    async fn erase(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        parts: Vec<PartRef>,
    ) -> Result<Position, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let (caller, expected, now) = self.ground(caller, workspace)?;
            match self.shred(&caller, workspace, parts.clone(), expected, now).await? {
                Verdict::Recorded(recording) => return Ok(recording.last),
                Verdict::Stale => {}
                Verdict::Captured => return Err(Failure::Captured),
                Verdict::AlreadyRecorded(_) | Verdict::KeyReused => return Err(Failure::OutcomeUnknown),
            }
        }
        Err(Failure::Overloaded)
    }

    /// Destroys sealed parts, with the event that says so, in one append.
    pub(super) async fn shred(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        parts: Vec<PartRef>,
        mut expected: Expected,
        now: Timestamp,
    ) -> Result<Verdict, Failure> {
        let stream = StreamId::shredding(workspace);
        // Whoever chose the parts by a look at the tip names what was there then.
        if !expected.iter().any(|(named, _)| *named == stream) {
            expected.push((stream, self.tip.tip.read().live.sequence(&stream)));
        }
        let id = new_event_id(&mut self.entropy()?, now);
        let context = caller.context(workspace);
        let event: Event = Event::Observation(SealedPartsShredded { parts: parts.clone(), at: now }.into());
        let body = encode_body(id, stream, &context, None, SealedHashes::default(), &event)?;
        let new = NewEvent { id, stream, context, event, body, side: Side::default() };
        let append = Append { expected, claim: None, events: vec![new], shred: parts, decided_at: now };
        Ok(self.committer.append(append, None).await?)
    }
}

fn details_of(stored: &StoredEvent) -> Option<PartRef> {
    let position = stored.position;
    stored.side.details.as_ref().map(|_| PartRef { position, part: SealedPart::Details })
}
