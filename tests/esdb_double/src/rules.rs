//! Streams as EventStoreDB keeps them: expected revisions, repeated writes, deletions, and what a stream's metadata
//! lets vanish. In memory, and with a clock of its own.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

/// An append may have so many bytes, unless a server is told otherwise.
pub const APPEND_BYTES_MAX: usize = 1 << 20;
/// The revision of the event that says that a stream is deleted for ever.
pub const DELETED: u64 = i64::MAX as u64;
/// Events of which the server remembers the ids, for appends that expect no certain revision.
const REMEMBERED: usize = 1_000;

/// An event that is to be appended.
#[derive(Clone, Debug)]
pub struct Proposed {
    /// Its id.
    pub id: Uuid,
    /// Its type and content type.
    pub system: HashMap<String, String>,
    /// Its metadata.
    pub metadata: Vec<u8>,
    /// Its data.
    pub data: Vec<u8>,
}

impl Proposed {
    fn bytes(&self) -> usize {
        2 * self.system.get("type").map_or(0, String::len) + self.metadata.len() + self.data.len()
    }
}

/// An event as it is kept.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its stream.
    pub stream: String,
    /// Its place there.
    pub revision: u64,
    /// Its place among all events.
    pub position: u64,
    /// When it was recorded: ticks of 100 ns since 1970.
    pub created: u64,
    /// What was proposed.
    pub event: Proposed,
}

/// What an append or a deletion expects of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Nothing.
    Any,
    /// That it is not there.
    NoStream,
    /// That it is there.
    StreamExists,
    /// That its last revision is this one.
    Exact(u64),
}

/// Why something was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The stream is at another revision, or not there.
    WrongExpectedVersion(Option<u64>),
    /// The stream is deleted for ever.
    StreamDeleted,
    /// The append is too large.
    TooLarge,
}

/// What was appended: the stream's last revision, and the last event's place among all.
pub type Appended = (Option<u64>, u64);

/// A read of a stream.
#[derive(Debug)]
pub enum Read {
    /// There is no such stream.
    NotFound,
    /// Its events, and its last revision.
    Events(Vec<Recorded>, u64),
}

#[derive(Default, Debug)]
struct Stream {
    /// Places among all events.
    events: Vec<usize>,
    deleted: bool,
}

/// The metadata of a stream, as far as it lets events vanish.
#[derive(Clone, Copy, Default)]
struct Limits {
    before: u64,
    count: Option<u64>,
    age_seconds: Option<u64>,
}

/// All streams.
#[derive(Default, Debug)]
pub struct Streams {
    all: Vec<Recorded>,
    by_name: BTreeMap<String, Stream>,
    passed: Duration,
}

impl Streams {
    /// Turns the clock on.
    pub fn pass(&mut self, time: Duration) {
        self.passed += time;
    }

    /// Begins in 2026, and goes on by a tick with each event.
    fn now(&self) -> u64 {
        17_900_000_000_000_000 + self.passed.as_micros() as u64 * 10 + self.all.len() as u64
    }

    fn limits(&self, stream: &str) -> Limits {
        let last = self.by_name.get(&format!("$${stream}")).and_then(|s| s.events.last());
        let Some(metadata) = last.and_then(|at| self.all.get(*at)) else { return Limits::default() };
        let json: serde_json::Value = serde_json::from_slice(&metadata.event.data).unwrap_or_default();
        Limits {
            before: json["$tb"].as_u64().unwrap_or(0),
            count: json["$maxCount"].as_u64(),
            age_seconds: json["$maxAge"].as_u64(),
        }
    }

    /// The last revision, of events that vanished too.
    fn last(&self, stream: &str) -> Option<u64> {
        let stream = self.by_name.get(stream)?;
        (stream.events.len() as u64).checked_sub(1)
    }

    fn is_softly_deleted(&self, stream: &str) -> bool {
        self.limits(stream).before == DELETED
    }

    fn is_deleted(&self, stream: &str) -> bool {
        self.by_name.get(stream).is_some_and(|stream| stream.deleted)
    }

    fn ids_from(&self, stream: &str, first: u64) -> impl Iterator<Item = Uuid> {
        let events = self.by_name.get(stream).map_or(&[][..], |s| s.events.as_slice());
        events.iter().skip(first as usize).map(|at| self.all[*at].event.id)
    }

    /// Appends events, all or none. A repetition of what stands exactly there succeeds again and changes nothing.
    pub fn append(
        &mut self,
        stream: &str,
        expected: Expected,
        events: Vec<Proposed>,
    ) -> Result<Appended, Refusal> {
        // The metadata of a stream that was deleted for ever is deleted with it.
        if self.is_deleted(stream) || stream.strip_prefix("$$").is_some_and(|of| self.is_deleted(of)) {
            return Err(Refusal::StreamDeleted);
        }
        if events.iter().map(Proposed::bytes).sum::<usize>() > APPEND_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        let last = self.last(stream);
        let next = last.map_or(0, |last| last + 1);
        let absent = last.is_none() || self.is_softly_deleted(stream);
        let (fits, repeats_from) = match expected {
            Expected::Any => (true, self.remembered(stream, &events)),
            Expected::NoStream => (absent, (!absent).then_some(0)),
            Expected::StreamExists => (!absent, self.remembered(stream, &events)),
            Expected::Exact(revision) => {
                (last == Some(revision), (revision + 1 < next).then_some(revision + 1))
            }
        };
        if let Some(first) = repeats_from {
            let same = self.ids_from(stream, first).zip(&events).take_while(|(id, e)| *id == e.id).count();
            if same == events.len() {
                let end = first + events.len() as u64;
                return Ok((end.checked_sub(1), self.all.last().map_or(0, |e| e.position)));
            }
        }
        if !fits {
            return Err(Refusal::WrongExpectedVersion(last.filter(|_| !absent)));
        }
        if self.is_softly_deleted(stream) && !events.is_empty() {
            self.limit(stream, &format!("{{\"$tb\":{next}}}"));
        }
        for (revision, event) in (next..).zip(events) {
            self.record(stream, revision, event);
        }
        Ok((self.last(stream), self.all.last().map_or(0, |e| e.position)))
    }

    /// Where the events stand, if they are among the last ones that were appended.
    fn remembered(&self, stream: &str, events: &[Proposed]) -> Option<u64> {
        let first = events.first()?;
        let recent = self.all.iter().rev().take(REMEMBERED);
        recent.filter(|e| e.stream == stream).find(|e| e.event.id == first.id).map(|e| e.revision)
    }

    fn record(&mut self, stream: &str, revision: u64, event: Proposed) {
        let place = self.all.len();
        // As a server does, by bytes of its log: neither dense nor from 0.
        let position = self.all.last().map_or(917, |e| e.position + 64 + e.event.bytes() as u64);
        let created = self.now();
        self.all.push(Recorded { stream: stream.to_owned(), revision, position, created, event });
        self.by_name.entry(stream.to_owned()).or_default().events.push(place);
    }

    fn limit(&mut self, stream: &str, metadata: &str) {
        let name = format!("$${stream}");
        let revision = self.last(&name).map_or(0, |last| last + 1);
        let system = [("type", "$metadata"), ("content-type", "application/json")];
        let system = system.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let event =
            Proposed { id: Uuid::new_v4(), system, metadata: Vec::new(), data: metadata.as_bytes().to_vec() };
        self.record(&name, revision, event);
    }

    fn expect(&self, stream: &str, expected: Expected) -> Result<(), Refusal> {
        if self.is_deleted(stream) {
            return Err(Refusal::StreamDeleted);
        }
        let last = self.last(stream).filter(|_| !self.is_softly_deleted(stream));
        let fits = match expected {
            Expected::Any => true,
            Expected::NoStream => last.is_none(),
            Expected::StreamExists => last.is_some(),
            Expected::Exact(revision) => last == Some(revision),
        };
        if fits { Ok(()) } else { Err(Refusal::WrongExpectedVersion(last)) }
    }

    /// Deletes what a stream has, so that it can begin anew.
    pub fn delete(&mut self, stream: &str, expected: Expected) -> Result<u64, Refusal> {
        self.expect(stream, expected)?;
        self.limit(stream, &format!("{{\"$tb\":{DELETED}}}"));
        Ok(self.all.last().map_or(0, |e| e.position))
    }

    /// Deletes a stream for ever, also one that was never there.
    pub fn tombstone(&mut self, stream: &str, expected: Expected) -> Result<u64, Refusal> {
        self.expect(stream, expected)?;
        let system = [("type", "$streamDeleted"), ("content-type", "application/octet-stream")];
        let system = system.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let event = Proposed { id: Uuid::new_v4(), system, metadata: Vec::new(), data: Vec::new() };
        self.record(stream, DELETED, event);
        let entry = self.by_name.entry(stream.to_owned()).or_default();
        entry.events.pop();
        entry.deleted = true;
        Ok(self.all.last().map_or(0, |e| e.position))
    }

    /// The events of a stream that can be read, in order.
    fn visible(&self, name: &str) -> Vec<&Recorded> {
        let Some(stream) = self.by_name.get(name).filter(|s| !s.deleted) else { return Vec::new() };
        let limits = self.limits(name);
        let length = stream.events.len() as u64;
        let first = limits.before.max(limits.count.map_or(0, |count| length.saturating_sub(count)));
        let oldest = limits.age_seconds.map_or(0, |age| self.now().saturating_sub(age * 10_000_000));
        let events = stream.events.iter().map(|at| &self.all[*at]);
        events.filter(|e| e.revision >= first && e.created >= oldest).collect()
    }

    /// Reads a stream; `from` is `None` for its end, or for its start when read forwards.
    pub fn read(
        &self,
        stream: &str,
        from: Option<u64>,
        forwards: bool,
        count: usize,
    ) -> Result<Read, Refusal> {
        if self.is_deleted(stream) {
            return Err(Refusal::StreamDeleted);
        }
        let Some(last) = self.last(stream).filter(|_| !self.is_softly_deleted(stream)) else {
            return Ok(Read::NotFound);
        };
        let events = self.visible(stream).into_iter();
        let events: Vec<_> = if forwards {
            events.filter(|e| from.is_none_or(|from| e.revision >= from)).take(count).cloned().collect()
        } else {
            events.rev().filter(|e| from.is_none_or(|from| e.revision <= from)).take(count).cloned().collect()
        };
        Ok(Read::Events(events, last))
    }

    /// Reads all events from a position on, that one included, or back from it. What was deleted is there until it is
    /// scavenged.
    pub fn read_all(&self, from: Option<u64>, forwards: bool, count: usize) -> Vec<Recorded> {
        let events = self.all.iter();
        if forwards {
            events.filter(|e| from.is_none_or(|from| e.position >= from)).take(count).cloned().collect()
        } else {
            events.rev().filter(|e| from.is_none_or(|from| e.position < from)).take(count).cloned().collect()
        }
    }

    /// The names of streams that hold something that can be read.
    pub fn names(&self) -> Vec<String> {
        let names =
            self.by_name.keys().filter(|name| !name.starts_with('$') && !self.visible(name).is_empty());
        names.cloned().collect()
    }

    /// The bytes that a scavenge leaves.
    pub fn scavenge(&self) -> Vec<Vec<u8>> {
        let kept = self.by_name.keys().flat_map(|name| self.visible(name));
        kept.flat_map(|e| [e.event.data.clone(), e.event.metadata.clone()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u128) -> Proposed {
        Proposed {
            id: Uuid::from_u128(id),
            system: HashMap::new(),
            metadata: Vec::new(),
            data: vec![id as u8],
        }
    }

    fn revisions(streams: &Streams, name: &str) -> Vec<u64> {
        match streams.read(name, None, true, usize::MAX).unwrap() {
            Read::NotFound => Vec::new(),
            Read::Events(events, _) => events.iter().map(|e| e.revision).collect(),
        }
    }

    /// The server's table of repeated and mistaken writes.
    #[test]
    fn a_repetition_succeeds_and_anything_else_does_not() {
        let wrong = |last| Err(Refusal::WrongExpectedVersion(last));
        let mut streams = Streams::default();
        let mut append = |expected, ids: &[u128]| {
            streams.append("s", expected, ids.iter().map(|id| event(*id)).collect()).map(|done| done.0)
        };
        assert_eq!(append(Expected::Exact(0), &[1]), wrong(None));
        assert_eq!(append(Expected::NoStream, &[1, 2]), Ok(Some(1)));
        assert_eq!(append(Expected::NoStream, &[1, 2]), Ok(Some(1)), "again");
        assert_eq!(append(Expected::NoStream, &[1]), Ok(Some(0)), "its beginning again");
        assert_eq!(append(Expected::NoStream, &[2]), wrong(Some(1)));
        assert_eq!(append(Expected::NoStream, &[1, 2, 3]), wrong(Some(1)), "more than is there");
        assert_eq!(append(Expected::Exact(1), &[3]), Ok(Some(2)));
        assert_eq!(append(Expected::Exact(1), &[3]), Ok(Some(2)), "again");
        assert_eq!(append(Expected::Exact(1), &[4]), wrong(Some(2)));
        assert_eq!(append(Expected::Exact(7), &[4]), wrong(Some(2)));
        assert_eq!(append(Expected::Any, &[3]), Ok(Some(2)), "remembered");
        assert_eq!(append(Expected::Any, &[4]), Ok(Some(3)));
        assert_eq!(revisions(&streams, "s"), [0, 1, 2, 3]);
    }

    #[test]
    fn what_is_deleted_for_ever_stays_so() {
        let mut streams = Streams::default();
        streams.append("s", Expected::NoStream, vec![event(1)]).unwrap();
        streams.tombstone("s", Expected::Any).unwrap();
        assert_eq!(streams.tombstone("s", Expected::Any), Err(Refusal::StreamDeleted));
        for expected in [Expected::Any, Expected::NoStream, Expected::Exact(0)] {
            assert_eq!(streams.append("s", expected, vec![event(2)]), Err(Refusal::StreamDeleted));
        }
        assert_eq!(streams.append("$$s", Expected::Any, vec![event(2)]), Err(Refusal::StreamDeleted));
        assert!(matches!(streams.read("s", None, true, 1), Err(Refusal::StreamDeleted)));
        let types = streams.read_all(None, true, 9).into_iter().map(|e| e.revision).collect::<Vec<_>>();
        assert_eq!(types, [0, DELETED], "both are among all events until a scavenge");
        assert!(streams.scavenge().is_empty());
    }

    #[test]
    fn what_is_deleted_softly_can_begin_anew() {
        let mut streams = Streams::default();
        streams.append("s", Expected::NoStream, vec![event(1)]).unwrap();
        streams.delete("s", Expected::Exact(0)).unwrap();
        assert!(matches!(streams.read("s", None, true, 1), Ok(Read::NotFound)));
        assert_eq!(streams.append("s", Expected::NoStream, vec![event(2)]).unwrap().0, Some(1));
        assert_eq!(revisions(&streams, "s"), [1]);
    }

    #[test]
    fn metadata_lets_events_vanish() {
        let mut streams = Streams::default();
        for id in 0..5 {
            streams.append("s", Expected::Any, vec![event(id)]).unwrap();
        }
        streams.limit("s", r#"{"$maxCount":2}"#);
        assert_eq!(revisions(&streams, "s"), [3, 4]);
        streams.limit("s", r#"{"$tb":1}"#);
        assert_eq!(revisions(&streams, "s"), [1, 2, 3, 4]);
        streams.limit("s", r#"{"$maxAge":60}"#);
        streams.pass(Duration::from_secs(59));
        assert_eq!(revisions(&streams, "s"), [0, 1, 2, 3, 4]);
        streams.pass(Duration::from_secs(2));
        assert_eq!(revisions(&streams, "s"), [0; 0]);
        assert!(matches!(streams.read("s", None, true, 1), Ok(Read::Events(events, 4)) if events.is_empty()));
    }

    #[test]
    fn an_append_that_is_too_large_is_refused_whole() {
        let mut streams = Streams::default();
        let large = Proposed { data: vec![0; APPEND_BYTES_MAX], ..event(2) };
        assert_eq!(streams.append("s", Expected::Any, vec![event(1), large]), Err(Refusal::TooLarge));
        assert!(streams.names().is_empty());
    }
}
