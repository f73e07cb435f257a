//! Leases: what is written of them, and who may take them over.
//!
//! A lease's stream is named after it, up to a `/`; its last event holds every lease of that name and the stream keeps no
//! other. Each change is appended at the exact revision that it was decided on. The server has no clock that
//! could be asked, so each process goes by its own clock of elapsed time: a lease has ended when this process has
//! seen it unchanged for the whole of its term. The holder counts from before it asked, whoever watches from after
//! they saw the answer; so the holder is always the first to know.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use eventstore::EventData;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::connection::Fault;
use super::{EsdbLog, Inner};
use crate::log::LogError;
use crate::log::lease::{Leases, Token};

/// Somebody who was overtaken tries so often again.
const ATTEMPTS: u32 = 32;
/// The time between two looks at a lease of which nobody knows whether its holder lives.
const LOOK: Duration = Duration::from_millis(100);

/// A lease as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    holder: Uuid,
    /// The revision at which this holder took it.
    token: u64,
    /// The revision at which it was last taken or renewed.
    renewed: u64,
    #[serde(rename = "termMillis")]
    term: u64,
}

type Book = BTreeMap<String, Held>;

/// What this process has seen of a lease.
#[derive(Debug)]
struct Seen {
    renewed: u64,
    since: Instant,
    /// Whether this process saw it taken or renewed: then its holder lived a moment before.
    changed: bool,
}

/// What this process has seen of all leases.
#[derive(Default, Debug)]
pub(super) struct Watch(HashMap<String, Seen>);

/// What is to be said of a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Held,
    Ended,
    /// It was there before this process looked, and has not been watched for long enough.
    Unknown,
}

impl Watch {
    /// Takes note of what was read, at an instant after it was.
    fn look(&mut self, stream: &str, book: &Book, now: Instant) {
        for (name, held) in book {
            match self.0.get_mut(name) {
                Some(seen) if seen.renewed == held.renewed => {}
                seen => {
                    let changed = seen.is_some();
                    self.0.insert(name.clone(), Seen { renewed: held.renewed, since: now, changed });
                }
            }
        }
        self.0.retain(|name, _| group(name) != stream || book.contains_key(name));
    }

    fn state(&self, name: &str, held: &Held, now: Instant) -> State {
        let Some(seen) = self.0.get(name).filter(|seen| seen.renewed == held.renewed) else {
            return State::Unknown;
        };
        if now.saturating_duration_since(seen.since) >= Duration::from_millis(held.term) {
            State::Ended
        } else if seen.changed {
            State::Held
        } else {
            State::Unknown
        }
    }
}

/// The leases that are written down together.
fn group(name: &str) -> &str {
    name.split_once('/').map_or(name, |(group, _)| group)
}

impl Inner {
    fn lease_stream(&self, group: &str) -> String {
        format!("{}{group}", self.names.leases)
    }

    /// The leases of a group and the stream's next revision.
    async fn leases(&self, group: &str) -> Result<(Book, u64), LogError> {
        let stream = self.lease_stream(group);
        let last = self.read_last(&stream).await.map_err(Fault::unavailable)?;
        let (book, next) = match last {
            None => (Book::new(), 0),
            Some(last) => {
                let book = serde_json::from_slice(&last.data).map_err(|_| {
                    LogError::Corrupt(format!("the stream {stream} holds no leases of rota's"))
                })?;
                (book, last.revision + 1)
            }
        };
        self.watch.lock().look(group, &book, Instant::now());
        Ok((book, next))
    }

    /// Writes the leases of a group, unless somebody else was first.
    async fn write_leases(&self, group: &str, book: &Book, next: u64) -> Result<bool, LogError> {
        let stream = self.lease_stream(group);
        if next == 0 {
            self.keep_last(&stream).await?;
        }
        let event = EventData::json("rota.leases", book).map_err(LogError::unavailable)?;
        match self.append(&stream, next, vec![event.id(self.new_id()?)]).await.result {
            Ok(()) => Ok(true),
            Err(Fault::Elsewhere(_)) => Ok(false),
            Err(fault) => Err(fault.unavailable()),
        }
    }

    fn state(&self, name: &str, held: &Held) -> State {
        self.watch.lock().state(name, held, Instant::now())
    }

    /// Forgets what has ended, but for one lease.
    fn prune(&self, book: &mut Book, but: &str) {
        let (watch, now) = (self.watch.lock(), Instant::now());
        book.retain(|name, held| name == but || watch.state(name, held, now) != State::Ended);
    }

    /// Whether nobody else holds a lease: known for sure, and so perhaps after a while.
    async fn is_free(&self, name: &str, holder: Uuid) -> Result<Option<Token>, LogError> {
        loop {
            let (book, next) = self.leases(group(name)).await?;
            match book.get(name) {
                Some(held) if held.holder == holder => return Ok(Some(Token(held.token))),
                Some(held) => match self.state(name, held) {
                    State::Held => return Ok(None),
                    State::Ended => return Ok(Some(Token(next))),
                    State::Unknown => tokio::time::sleep(LOOK).await,
                },
                None => return Ok(Some(Token(next))),
            }
        }
    }
}

#[async_trait]
impl Leases for EsdbLog {
    async fn acquire(&self, name: &str, holder: Uuid, term: Duration) -> Result<Option<Token>, LogError> {
        // For no time at all it is a question, and nothing to be written.
        if term.is_zero() {
            return self.0.is_free(name, holder).await;
        }
        for _ in 0..ATTEMPTS {
            let (mut book, next) = self.0.leases(group(name)).await?;
            let token = match book.get(name) {
                Some(held) if held.holder == holder => held.token,
                Some(held) if self.0.state(name, held) != State::Ended => return Ok(None),
                _ => next,
            };
            self.0.prune(&mut book, name);
            let held = Held { holder, token, renewed: next, term: term.as_millis() as u64 };
            book.insert(name.to_owned(), held);
            if self.0.write_leases(group(name), &book, next).await? {
                let own = Seen { renewed: next, since: Instant::now(), changed: true };
                self.0.watch.lock().0.insert(name.to_owned(), own);
                return Ok(Some(Token(token)));
            }
        }
        Err(LogError::unavailable("others write leases all the time; try again"))
    }

    async fn release(&self, name: &str, holder: Uuid) -> Result<(), LogError> {
        for _ in 0..ATTEMPTS {
            let (mut book, next) = self.0.leases(group(name)).await?;
            if book.get(name).is_none_or(|held| held.holder != holder) {
                return Ok(());
            }
            book.remove(name);
            if self.0.write_leases(group(name), &book, next).await? {
                return Ok(());
            }
        }
        Err(LogError::unavailable("others write leases all the time; try again"))
    }

    /// Of one group: the prefix goes up to its `/` at least. Waits until it is known of each whether its holder lives.
    async fn count(&self, prefix: &str) -> Result<u64, LogError> {
        loop {
            let (mut book, next) = self.0.leases(group(prefix)).await?;
            let before = book.len();
            self.0.prune(&mut book, "");
            let counted = |name: &String| name.starts_with(prefix);
            if book.iter().any(|(name, held)| counted(name) && self.0.state(name, held) == State::Unknown) {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            // Whoever is first forgets them; who is not looks again.
            if book.len() == before || self.0.write_leases(group(prefix), &book, next).await? {
                return Ok(book.keys().filter(|name| counted(name)).count() as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use uuid::Uuid;

    use super::{Book, Held, State, Watch};

    fn book(renewed: u64) -> Book {
        let held = Held { holder: Uuid::from_u128(1), token: 4, renewed, term: 3_000 };
        [("upkeep".to_owned(), held)].into()
    }

    /// A term that is counted from anything but this process's own look could end before its holder knows.
    #[test]
    fn a_term_is_watched_to_its_end() {
        let (start, mut watch) = (Instant::now(), Watch::default());
        let state = |watch: &Watch, book: &Book, after| {
            watch.state("upkeep", &book["upkeep"], start + Duration::from_millis(after))
        };
        assert_eq!(state(&watch, &book(4), 9_999), State::Unknown);
        watch.look("upkeep", &book(4), start);
        assert_eq!(state(&watch, &book(4), 2_999), State::Unknown);
        assert_eq!(state(&watch, &book(4), 3_000), State::Ended);
        watch.look("upkeep", &book(5), start + Duration::from_millis(2_900));
        assert_eq!(state(&watch, &book(5), 5_899), State::Held);
        assert_eq!(state(&watch, &book(5), 5_900), State::Ended);
        // Seen again, and not renewed: the time runs on.
        watch.look("upkeep", &book(5), start + Duration::from_secs(5));
        assert_eq!(state(&watch, &book(5), 5_900), State::Ended);
        watch.look("replica", &Book::new(), start);
        assert_eq!(state(&watch, &book(5), 5_900), State::Ended, "of another stream");
        watch.look("upkeep", &Book::new(), start);
        assert_eq!(state(&watch, &book(5), 5_900), State::Unknown);
    }
}
