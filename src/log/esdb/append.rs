//! Appending: first what is sealed, then the events, then the deletions.
//!
//! A batch is one write at one revision of the ledger's stream: the server records all of it or nothing. The sealed
//! parts are in streams of their own before that, where nobody finds them; the deletions come after it, and until
//! they are done this process knows what is to be taken for gone.
//!
//! **Doubt.** Sending the same ids at the same revision again is safe: if they are recorded, the server says so
//! once more. So a batch whose outcome is unknown is sent again until the answer is plain, and the tip is not told
//! before that. A write that the network still carries around can't land after somebody was told that it failed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use eventstore::EventData;
use ring::digest::{Context, SHA256};
use rota_aggregates::Position;
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_projections::live::UseMark;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::connection::Fault;
use super::note::{Destroyed, Note, Pointer};
use super::side::{NewPart, parts_of};
use super::{APPEND_BYTES_MAX, Inner};
use crate::ledger::tile::FullTile;
use crate::log::{Batch, LogError, Row};

/// Leaf and metadata of one event come with so many bytes of their own.
const EVENT_BYTES: usize = 128;
/// A batch of this age is not sent again: its parts may have been taken for orphans. No network carries a write
/// around for so long.
const DOUBT_AGE_MAX: Duration = Duration::from_hours(12);

/// A batch on its way.
pub(super) struct Draft {
    at: u64,
    events: Vec<EventData>,
    first: Uuid,
    parts: Vec<Uuid>,
    digests: Vec<(Uuid, [u8; 32])>,
    destroys: Vec<Uuid>,
    marks: Vec<UseMark>,
    tiles: Vec<FullTile>,
    since: Instant,
    doubted: bool,
}

/// What is known of a draft.
enum Standing {
    Recorded,
    /// Somebody else's event is in its place: it is not recorded and never will be.
    Overtaken,
    /// Nothing is in its place yet.
    Open,
}

/// The type of an event, as its leaf says it.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow)]
    r#type: std::borrow::Cow<'a, str>,
}

fn type_of(leaf: &[u8]) -> Result<String, LogError> {
    let typed: Typed<'_> = serde_json::from_slice(leaf).map_err(LogError::unavailable)?;
    Ok(typed.r#type.into_owned())
}

/// An id that follows from all of the event: the server takes an event with a known id for the known event, and so
/// the id may be the same only where every byte is.
fn id_of(leaf: &[u8], note: &[u8]) -> Uuid {
    let mut context = Context::new(&SHA256);
    context.update(&(leaf.len() as u64).to_le_bytes());
    context.update(leaf);
    context.update(note);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&context.finish().as_ref()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn event(leaf: &[u8], note: &Note) -> Result<(Uuid, EventData, usize), LogError> {
    let note = note.encode()?;
    let id = id_of(leaf, &note);
    let bytes = leaf.len() + note.len() + EVENT_BYTES;
    // Raw, so that the bytes stay as they are.
    let raw: &RawValue = serde_json::from_slice(leaf).map_err(LogError::unavailable)?;
    let event = EventData::json(type_of(leaf)?, &raw).map_err(LogError::unavailable)?;
    Ok((id, event.id(id).metadata(note.into()), bytes))
}

impl Inner {
    /// Writes a batch.
    pub(super) async fn write(self: &Arc<Self>, batch: &Batch) -> Result<(), LogError> {
        if batch.rows.is_empty() {
            return self.write_beside(batch).await;
        }
        // What is known to be gone by needs no attempt.
        if batch.at.0 != self.known.load(Ordering::Relaxed) {
            let next = self.tip().await?;
            if next != batch.at.0 {
                return Err(LogError::Behind { next: Position(next) });
            }
        }
        let (parts, notes) = self.plan(&batch.rows)?;
        let (draft, written) = tokio::join!(self.draft(batch, &parts, notes), self.write_parts(&parts));
        let mut draft = match written.and(draft) {
            Ok(draft) => draft,
            Err(error) => {
                self.drop_parts(parts.iter().map(|part| part.pointer.0).collect());
                return Err(error);
            }
        };
        match self.send(&mut draft).await {
            Ok(Standing::Recorded) => {
                self.finish(draft).await;
                Ok(())
            }
            Ok(Standing::Overtaken | Standing::Open) => {
                self.drop_parts(draft.parts);
                Err(LogError::Behind { next: Position(self.tip().await?) })
            }
            Err(LogError::Indeterminate(error)) => {
                self.doubts.lock().await.push(draft);
                Err(LogError::Indeterminate(error))
            }
            Err(error) => {
                self.drop_parts(draft.parts);
                Err(error)
            }
        }
    }

    /// A batch without events: deletions, if any, and marks.
    async fn write_beside(&self, batch: &Batch) -> Result<(), LogError> {
        let next = self.tip().await?;
        if next != batch.at.0 {
            return Err(LogError::Behind { next: Position(next) });
        }
        let found = self.find(&batch.shred).await?;
        self.delete_parts(found.into_values().map(|pointer| pointer.0).collect()).await?;
        self.write_marks(&batch.marks).await
    }

    /// The sealed parts that rows bring, and the metadata that names them.
    fn plan(&self, rows: &[Row]) -> Result<(Vec<NewPart>, Vec<Note>), LogError> {
        let mut all = Vec::new();
        let mut notes = Vec::with_capacity(rows.len());
        for row in rows {
            let mut note = Note::default();
            for part in parts_of(&row.side, || self.new_id())? {
                note.put(part.part, part.pointer);
                all.push(part);
            }
            notes.push(note);
        }
        Ok((all, notes))
    }

    async fn draft(&self, batch: &Batch, parts: &[NewPart], mut notes: Vec<Note>) -> Result<Draft, LogError> {
        let earlier: Vec<_> = batch.shred.iter().copied().filter(|p| p.position < batch.at).collect();
        let mut found = self.find(&earlier).await?;
        for part in batch.shred.iter().filter(|p| p.position >= batch.at) {
            let note = notes.get((part.position.0 - batch.at.0) as usize);
            if let Some(pointer) = note.and_then(|note| note.part(part.part)) {
                found.insert((part.position, part.part), pointer);
            }
        }
        if let Some(first) = notes.first_mut() {
            first.destroys = found.iter().map(|((at, part), p)| Destroyed(*at, *part, p.0)).collect();
        }
        let mut events = Vec::with_capacity(batch.rows.len());
        let (mut first, mut bytes) = (Uuid::nil(), 0);
        for (row, note) in batch.rows.iter().zip(&notes) {
            let (id, event, size) = event(&row.leaf, note)?;
            if events.is_empty() {
                first = id;
            }
            bytes += size;
            events.push(event);
        }
        if bytes > APPEND_BYTES_MAX {
            return Err(LogError::unavailable(format!(
                "the batch has {bytes} bytes, and EventStoreDB takes {APPEND_BYTES_MAX} in one append"
            )));
        }
        let digests = parts.iter().filter(|p| p.part == SealedPart::Digest);
        let digests = digests.filter_map(|p| Some((p.pointer.0, p.content.as_slice().try_into().ok()?)));
        Ok(Draft {
            at: batch.at.0,
            events,
            first,
            digests: digests.collect(),
            parts: parts.iter().map(|p| p.pointer.0).collect(),
            destroys: found.into_values().map(|pointer| pointer.0).collect(),
            marks: batch.marks.clone(),
            tiles: batch.tiles.clone(),
            since: Instant::now(),
            doubted: false,
        })
    }

    /// Where the given parts of recorded events lie.
    pub(super) async fn find(
        &self,
        parts: &[PartRef],
    ) -> Result<BTreeMap<(Position, SealedPart), Pointer>, LogError> {
        let mut positions: Vec<_> = parts.iter().map(|part| part.position.0).collect();
        positions.sort_unstable();
        positions.dedup();
        let events = self.events_at(&positions).await?;
        let notes: HashMap<_, _> = events.into_iter().map(|event| (event.position, event.note)).collect();
        let found = parts.iter().filter_map(|part| {
            let pointer = notes.get(&part.position.0)?.part(part.part)?;
            Some(((part.position, part.part), pointer))
        });
        Ok(found.collect())
    }

    /// Sends a draft, and finds out what became of it.
    async fn send(&self, draft: &mut Draft) -> Result<Standing, LogError> {
        let sent = self.append(&self.names.ledger, draft.at, draft.events.clone()).await;
        draft.doubted |= sent.doubted;
        match sent.result {
            Ok(()) => Ok(Standing::Recorded),
            Err(Fault::Elsewhere(_)) if draft.doubted => self.look(draft).await,
            Err(Fault::Elsewhere(_)) => Ok(Standing::Overtaken),
            Err(Fault::Doubt(cause)) => {
                draft.doubted = true;
                Err(LogError::Indeterminate(cause))
            }
            Err(Fault::Refused { cause, .. }) if draft.doubted => Err(LogError::Indeterminate(cause)),
            Err(Fault::Deleted) => Err(LogError::Corrupt(format!(
                "the stream {} was deleted for ever, and the ledger with it: restore the cluster's backup",
                self.names.ledger
            ))),
            Err(fault) => Err(fault.unavailable()),
        }
    }

    /// What stands in a draft's place.
    async fn look(&self, draft: &Draft) -> Result<Standing, LogError> {
        let page = self.read_page(&self.names.ledger, draft.at, 1).await;
        let page = page.map_err(|fault| LogError::Indeterminate(Box::new(fault.unavailable())))?;
        Ok(match page.first() {
            None => Standing::Open,
            Some(event) if event.id == draft.first => Standing::Recorded,
            Some(_) => Standing::Overtaken,
        })
    }

    /// Finds out what became of the batches whose outcome is unknown. Without doubts there is nothing to do.
    pub(super) async fn settle(self: &Arc<Self>) -> Result<(), LogError> {
        let mut doubts = self.doubts.lock().await;
        while let Some(mut draft) = doubts.pop() {
            let standing = match self.look(&draft).await {
                // It could still come in: it is sent again until its place is taken, by it or by another.
                Ok(Standing::Open) if draft.since.elapsed() < DOUBT_AGE_MAX => self.send(&mut draft).await,
                looked => looked,
            };
            match standing {
                Ok(Standing::Recorded) => self.finish(draft).await,
                Ok(Standing::Overtaken | Standing::Open) => self.drop_parts(draft.parts),
                Err(error) => {
                    doubts.push(draft);
                    return Err(LogError::Unavailable(Box::new(error)));
                }
            }
        }
        Ok(())
    }

    /// What belongs to a batch that is recorded.
    async fn finish(&self, draft: Draft) {
        self.known.fetch_max(draft.at + draft.events.len() as u64, Ordering::Relaxed);
        self.digests.lock().put(draft.digests);
        self.destroyed.lock().extend(&draft.destroys);
        let warn = |what, error: LogError| {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "{what}");
        };
        if let Err(error) = self.delete_parts(draft.destroys).await {
            warn("destroyed parts are hidden and not deleted yet; the next sweep does it", error);
        }
        // One that is missing here is computed by whoever needs it, and written at the next start.
        if let Err(error) = self.write_tiles(&draft.tiles).await {
            warn("full tiles of the tree could not be written", error);
        }
        if let Err(error) = self.write_marks(&draft.marks).await {
            warn("use marks could not be written; they go with the next ones", error);
        }
    }

    /// Deletes the parts of a batch that is not recorded, some time soon. What fails here is an orphan, and swept.
    fn drop_parts(self: &Arc<Self>, parts: Vec<Uuid>) {
        if parts.is_empty() {
            return;
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = inner.delete_parts(parts).await {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "parts of a batch that was not recorded stay until they are swept");
            }
        });
    }
}
