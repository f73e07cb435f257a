//! Named values of the deployment, and use marks: a stream each.
//!
//! The last event of the stream of values holds all of them, and the stream keeps no other. Marks are appended as
//! they come; the last one of a credential counts, and from time to time the stream is begun anew with one of each.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use eventstore::EventData;
use rota_aggregates::CredentialId;
use rota_projections::codec::Reader;
use rota_projections::live::UseMark;
use uuid::Uuid;

use super::connection::Fault;
use super::side::Limits;
use super::{Inner, PAGE, anywhere, exactly};
use crate::log::LogError;

/// Names that begin so are this store's own: they mean nothing in another.
pub(super) const OWN: &str = "esdb.";
/// Somebody who was overtaken tries so often again.
const ATTEMPTS: u32 = 32;
/// The stream of marks is begun anew when it has more events than this.
const MARK_EVENTS_MAX: usize = 1_000;
/// Marks in one event.
const MARKS_IN_EVENT: usize = 8_192;

/// The named values, and the revision of the event that holds them.
pub(super) struct Values {
    pub(super) values: BTreeMap<String, Vec<u8>>,
    next: u64,
}

impl Inner {
    /// All named values.
    pub(super) async fn values(&self) -> Result<Values, LogError> {
        let last = self.read_last(&self.names.values).await.map_err(Fault::unavailable)?;
        let Some(last) = last else { return Ok(Values { values: BTreeMap::new(), next: 0 }) };
        let damaged =
            || LogError::Corrupt(format!("the stream {} holds no values of rota's", self.names.values));
        let texts: BTreeMap<String, String> = serde_json::from_slice(&last.data).map_err(|_| damaged())?;
        let values = texts.into_iter().map(|(name, text)| Some((name, STANDARD.decode(text).ok()?)));
        let values = values.collect::<Option<_>>().ok_or_else(damaged)?;
        Ok(Values { values, next: last.revision + 1 })
    }

    /// Sets named values, all or none; those that others set in between stay.
    pub(super) async fn set_values(&self, new: &[(&str, &[u8])]) -> Result<(), LogError> {
        let set = |values: &mut BTreeMap<_, _>| {
            values.extend(new.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())));
            true
        };
        self.change_values(set).await.map(|_| ())
    }

    /// Sets a named value unless it is set. What it is then.
    pub(super) async fn init_value(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, LogError> {
        let set = |values: &mut BTreeMap<String, Vec<u8>>| {
            let absent = !values.contains_key(name);
            values.entry(name.to_owned()).or_insert_with(|| value.to_vec());
            absent
        };
        let mut values = self.change_values(set).await?;
        Ok(values.remove(name).unwrap_or_default())
    }

    /// Changes the values, unless `change` says that there is nothing to change. What they are then.
    async fn change_values(
        &self,
        change: impl Fn(&mut BTreeMap<String, Vec<u8>>) -> bool + Send + Sync,
    ) -> Result<BTreeMap<String, Vec<u8>>, LogError> {
        for _ in 0..ATTEMPTS {
            let Values { mut values, next } = self.values().await?;
            if !change(&mut values) {
                return Ok(values);
            }
            let texts: BTreeMap<_, _> = values.iter().map(|(name, v)| (name, STANDARD.encode(v))).collect();
            let event = EventData::json("rota.values", &texts).map_err(LogError::unavailable)?;
            if next == 0 {
                self.keep_last(&self.names.values).await?;
            }
            match self.append(&self.names.values, next, vec![event.id(self.new_id()?)]).await.result {
                Err(Fault::Elsewhere(_)) => {}
                other => return other.map(|()| values).map_err(Fault::unavailable),
            }
        }
        Err(LogError::unavailable("others set values all the time; try again"))
    }

    /// Has a stream keep its last event alone. What a value was before must not stay, such as keys under a master key
    /// of former times.
    pub(super) async fn keep_last(&self, stream: &str) -> Result<(), LogError> {
        let limits = Limits { count: Some(1), ..Limits::default() };
        match self.set_limits(stream, &limits, &exactly(0)).await {
            Ok(()) | Err(Fault::Elsewhere(_)) => Ok(()),
            Err(fault) => Err(fault.unavailable()),
        }
    }

    /// Writes marks down, with those that could not be written before. What can't be written waits for the next time.
    pub(super) async fn write_marks(&self, marks: &[UseMark]) -> Result<(), LogError> {
        let mut waiting = std::mem::take(&mut *self.marks.lock());
        waiting.extend(marks.iter().map(|mark| (mark.credential, *mark)));
        if waiting.is_empty() {
            return Ok(());
        }
        let written = self.append_marks(&waiting).await;
        if written.is_err() {
            let mut later = self.marks.lock();
            for (credential, mark) in waiting {
                later.entry(credential).or_insert(mark);
            }
        }
        written
    }

    async fn append_marks(&self, marks: &BTreeMap<CredentialId, UseMark>) -> Result<(), LogError> {
        let ids: Vec<Uuid> =
            (0..=marks.len() / MARKS_IN_EVENT).map(|_| self.new_id()).collect::<Result<_, _>>()?;
        for _ in 0..ATTEMPTS {
            let at = self.marks_next.load(Ordering::Relaxed);
            match self.append(&self.names.uses, at, mark_events(marks, &ids)).await.result {
                Ok(()) => {
                    let next = at + marks.len().div_ceil(MARKS_IN_EVENT) as u64;
                    self.marks_next.store(next, Ordering::Relaxed);
                    return Ok(());
                }
                Err(Fault::Elsewhere(next)) => self.marks_next.store(next, Ordering::Relaxed),
                Err(fault) => return Err(fault.unavailable()),
            }
        }
        Err(LogError::unavailable("others write use marks all the time; try again"))
    }

    /// Every mark; how many events they are in, and the stream's next revision.
    pub(super) async fn read_marks(&self) -> Result<(BTreeMap<CredentialId, UseMark>, usize, u64), LogError> {
        let (mut marks, mut events, mut next) = (BTreeMap::new(), 0, 0);
        loop {
            let page = match self.read_page(&self.names.uses, next, PAGE).await {
                Ok(page) => page,
                Err(fault) => return Err(fault.unavailable()),
            };
            let Some(last) = page.last() else { break };
            next = last.revision + 1;
            events += page.len();
            for event in &page {
                let read = decode_marks(&event.data);
                let read = read.ok_or_else(|| {
                    LogError::Corrupt(format!("the stream {} holds no use marks of rota's", self.names.uses))
                })?;
                marks.extend(read.into_iter().map(|mark| (mark.credential, mark)));
            }
        }
        self.marks_next.store(next, Ordering::Relaxed);
        Ok((marks, events, next))
    }

    /// Begins the stream of marks anew, with one for each credential, if it has grown long.
    pub(super) async fn compact_marks(&self) -> Result<(), LogError> {
        let (marks, events, next) = self.read_marks().await?;
        if events <= MARK_EVENTS_MAX.max(2 * marks.len() / MARKS_IN_EVENT) {
            return Ok(());
        }
        let all: Vec<_> = marks.into_iter().collect();
        let mut at = next;
        for chunk in all.chunks(MARKS_IN_EVENT) {
            let chunk = chunk.iter().copied().collect();
            match self.append(&self.names.uses, at, mark_events(&chunk, &[self.new_id()?])).await.result {
                Ok(()) => at += 1,
                // Somebody writes marks at this moment: another time.
                Err(Fault::Elsewhere(_)) => return Ok(()),
                Err(fault) => return Err(fault.unavailable()),
            }
        }
        self.marks_next.store(at, Ordering::Relaxed);
        let limits = Limits { before: Some(next), ..Limits::default() };
        self.set_limits(&self.names.uses, &limits, &anywhere()).await.map_err(Fault::unavailable)
    }
}

fn mark_events(marks: &BTreeMap<CredentialId, UseMark>, ids: &[Uuid]) -> Vec<EventData> {
    let marks: Vec<_> = marks.values().collect();
    let chunks = marks.chunks(MARKS_IN_EVENT).zip(ids).map(|(chunk, id)| {
        let mut content = Vec::with_capacity(chunk.len() * 28);
        for mark in chunk {
            content.extend_from_slice(mark.credential.0.as_bytes());
            for number in [mark.version, mark.first, mark.last] {
                content.extend_from_slice(&number.to_le_bytes());
            }
        }
        EventData::binary("rota.uses", content.into()).id(*id)
    });
    chunks.collect()
}

fn decode_marks(content: &[u8]) -> Option<Vec<UseMark>> {
    let mut input = Reader(content);
    let mut marks = Vec::with_capacity(content.len() / 28);
    while !input.0.is_empty() {
        marks.push(UseMark {
            credential: CredentialId(Uuid::from_bytes(input.array()?)),
            version: input.u32()?,
            first: input.u32()?,
            last: input.u32()?,
        });
    }
    Some(marks)
}
