//! What a crash can leave behind: parts whose destruction is recorded and that are still there, and parts that no
//! event names. Every process sweeps; doing it twice changes nothing.

use std::collections::HashMap;
use std::sync::Weak;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use eventstore::{Position, ReadAllOptions, RecordedEvent, StreamPosition};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::connection::{Fault, READ};
use super::note::Note;
use super::{Inner, PAGE};
use crate::log::LogError;

/// The time between two sweeps.
const EVERY: Duration = Duration::from_hours(1);
/// A part that no event has named for so long is an orphan.
const ORPHAN_HOURS: i64 = 24;
/// The name of the value that says below which position all that was to be destroyed is.
const DESTROYED: &str = "esdb.destroyed-below";
/// The name of the value that says from where on orphans are looked for.
const ORPHANS: &str = "esdb.orphans-from";

/// A place in the server's order of all events.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Place {
    commit: u64,
    prepare: u64,
}

impl Inner {
    /// Hides what is to be destroyed and may not be yet.
    pub(super) async fn recover(&self) -> Result<(), LogError> {
        let (ids, _) = self.destroyed_since_sweep().await?;
        self.destroyed.lock().extend(ids);
        Ok(())
    }

    /// The parts that events have destroyed since the last sweep that got through, and the position after them.
    async fn destroyed_since_sweep(&self) -> Result<(Vec<Uuid>, u64), LogError> {
        let values = self.values().await?.values;
        let mut next = values.get(DESTROYED).and_then(|v| serde_json::from_slice(v).ok()).unwrap_or(0);
        let mut ids = Vec::new();
        loop {
            let page = self.events(next, PAGE).await?;
            let Some(last) = page.last() else { return Ok((ids, next)) };
            next = last.position + 1;
            ids.extend(page.iter().flat_map(|event| event.note.destroys.iter().map(|destroyed| destroyed.2)));
        }
    }

    /// Does all that there is to sweep.
    pub(super) async fn sweep(&self) -> Result<(), LogError> {
        let (ids, next) = self.destroyed_since_sweep().await?;
        let mut every = self.destroyed.lock().clone();
        every.extend(ids);
        self.delete_parts(every.into_iter().collect()).await?;
        self.set_values(&[(DESTROYED, next.to_string().as_bytes())]).await?;
        self.sweep_orphans().await?;
        self.compact_marks().await
    }

    /// Deletes the parts that no event names. A look at all events of the server from where the last one stopped:
    /// a part is written shortly before its event, so what stays without one is an orphan after a day.
    async fn sweep_orphans(&self) -> Result<(), LogError> {
        let values = self.values().await?.values;
        let from: Option<Place> = values.get(ORPHANS).and_then(|v| serde_json::from_slice(v).ok());
        // Nothing of this ledger is long before its first event.
        let mut place = match from {
            Some(from) => Some(from),
            None => match self.read_page(&self.names.ledger, 0, 1).await.map_err(Fault::unavailable)?.first()
            {
                None => return Ok(()),
                // Some servers do not say where an event of a stream stands among all.
                Some(first) if first.position.commit == u64::MAX => None,
                Some(first) => Some(Place { commit: first.position.commit, prepare: first.position.prepare }),
            },
        };
        let mut unnamed: HashMap<Uuid, (Place, DateTime<Utc>)> = HashMap::new();
        let mut newest = DateTime::<Utc>::MIN_UTC;
        loop {
            let page = self.read_everything(place).await.map_err(Fault::unavailable)?;
            for event in &page {
                newest = newest.max(event.created);
                let at = Place { commit: event.position.commit, prepare: event.position.prepare };
                if event.stream_id == self.names.ledger {
                    let note = Note::decode(&event.custom_metadata, event.revision)?;
                    for (_, pointer) in note.parts() {
                        unnamed.remove(&pointer.0);
                    }
                } else if let Some(id) = event.stream_id.strip_prefix(&self.names.parts)
                    && let Ok(id) = id.parse::<Uuid>()
                {
                    if event.event_type == "$streamDeleted" {
                        unnamed.remove(&id);
                    } else if event.revision == 0 {
                        unnamed.insert(id, (at, event.created));
                    }
                }
            }
            // The page begins with the event at which the one before it ended.
            let last = page.last().map(|e| Place { commit: e.position.commit, prepare: e.position.prepare });
            let stands = |a: Place, b: Place| a.commit == b.commit && a.prepare == b.prepare;
            match (place, last) {
                (_, None) => break,
                (Some(before), Some(last)) if stands(before, last) => break,
                (_, Some(last)) => place = Some(last),
            }
        }
        let day = TimeDelta::hours(ORPHAN_HOURS);
        let (orphans, young): (Vec<_>, Vec<_>) =
            unnamed.into_iter().partition(|(_, (_, created))| newest.signed_duration_since(created) >= day);
        let count = orphans.len();
        self.delete_parts(orphans.into_iter().map(|(id, _)| id).collect()).await?;
        if count > 0 {
            tracing::info!(count, "deleted sealed parts that no event names");
        }
        let oldest = young.into_iter().map(|(_, (at, _))| at).min_by_key(|at| (at.commit, at.prepare));
        let Some(resume) = oldest.or(place) else { return Ok(()) };
        let resume = serde_json::to_vec(&resume).map_err(LogError::unavailable)?;
        self.set_values(&[(ORPHANS, &resume)]).await
    }

    /// A page of all events of the server, from a place on, that one included.
    async fn read_everything(&self, from: Option<Place>) -> Result<Vec<RecordedEvent>, Fault> {
        let from = from.map_or(StreamPosition::Start, |Place { commit, prepare }| {
            StreamPosition::Position(Position { commit, prepare })
        });
        let options = ReadAllOptions::default()
            .position(from)
            .forwards()
            .max_count(PAGE)
            .requires_leader(true)
            .deadline(READ);
        let read = |client: eventstore::Client| {
            let options = options.clone();
            async move { super::collect(client.read_all(&options).await?).await.map(|(events, _)| events) }
        };
        match self.connection.call(READ, read).await.result {
            Err(Fault::Missing) => Ok(Vec::new()),
            other => other,
        }
    }

    /// Sweeps now and every hour, for as long as the log is there.
    pub(super) async fn sweep_for_ever(this: Weak<Self>) {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            let Some(inner) = this.upgrade() else { return };
            if let Err(error) = inner.sweep().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what a crash may have left in EventStoreDB could not be swept; does the user in the URL have \
                     the right to read $all?"
                );
            }
        }
    }
}
