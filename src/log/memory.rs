//! A log that forgets everything with the process: for tests, and for trying rota out.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use parking_lot::Mutex;
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::{CredentialId, Position};
use rota_projections::live::UseMark;

use super::{Batch, EventLog, LogError, Page, Side, StoredEvent};

#[derive(Default)]
struct Stored {
    events: Vec<(Vec<u8>, Side)>,
    meta: BTreeMap<String, Vec<u8>>,
    marks: BTreeMap<CredentialId, UseMark>,
}

/// The log in memory.
#[derive(Default)]
pub struct MemoryLog(Mutex<Stored>);

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Side {
    /// Empties a part.
    pub(crate) fn shred(&mut self, part: SealedPart) {
        match part {
            SealedPart::Digest => self.digest = None,
            SealedPart::Secret => self.secret = None,
            SealedPart::Answer => self.answer = None,
            SealedPart::Details => self.details = None,
        }
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, batch: &Batch) -> Result<(), LogError> {
        let mut stored = self.0.lock();
        let next = Position(stored.events.len() as u64);
        if batch.at != next {
            return Err(LogError::Behind { next });
        }
        stored.events.extend(batch.rows.iter().map(|row| (row.leaf.clone(), row.side.clone())));
        for part in &batch.shred {
            if let Some((_, side)) = stored.events.get_mut(part.position.0 as usize) {
                side.shred(part.part);
            }
        }
        stored.marks.extend(batch.marks.iter().map(|mark| (mark.credential, *mark)));
        Ok(())
    }

    async fn next(&self) -> Result<Position, LogError> {
        Ok(Position(self.0.lock().events.len() as u64))
    }

    async fn read(&self, from: Position, limit: usize) -> Result<Page, LogError> {
        let stored = self.0.lock();
        let page = stored.events.iter().skip(from.0 as usize).take(limit);
        let leaves = page.map(|(leaf, side)| (leaf.clone(), side.digest)).collect();
        Ok(Page { first: from, leaves })
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<StoredEvent>, LogError> {
        let stored = self.0.lock();
        let mut sorted = positions.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let found = sorted.into_iter().filter_map(|position| {
            let (leaf, side) = stored.events.get(position.0 as usize)?.clone();
            Some(StoredEvent { position, leaf, side })
        });
        Ok(found.collect())
    }

    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, LogError> {
        Ok(self.0.lock().meta.get(name).cloned())
    }

    async fn set_meta(&self, values: &[(&str, &[u8])]) -> Result<(), LogError> {
        let mut stored = self.0.lock();
        stored.meta.extend(values.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())));
        Ok(())
    }

    async fn rewrap(&self, keys: &[(PartRef, Vec<u8>)]) -> Result<(), LogError> {
        let mut stored = self.0.lock();
        for (part, key) in keys {
            let Some((_, side)) = stored.events.get_mut(part.position.0 as usize) else { continue };
            let sealed = match part.part {
                SealedPart::Digest => None,
                SealedPart::Secret => side.secret.as_mut(),
                SealedPart::Answer => side.answer.as_mut(),
                SealedPart::Details => side.details.as_mut(),
            };
            if let Some(sealed) = sealed {
                sealed.wrapped_key.clone_from(key);
            }
        }
        Ok(())
    }

    async fn use_marks(&self) -> Result<Vec<UseMark>, LogError> {
        Ok(self.0.lock().marks.values().copied().collect())
    }

    async fn backup(&self, _: &Path) -> Result<(), LogError> {
        Err(LogError::unavailable("a log in memory has no file to copy: use a sqlite: store"))
    }
}
