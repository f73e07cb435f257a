//! Changes to the ledger as a whole: its origin and keys, who may read all of it, and going on after a loss.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use ring::rand::SecureRandom;
use rota_aggregates::ids::Hash;
use rota_aggregates::ledger::{Ledger, LedgerCommand, LedgerEvent, LedgerRefusal, NewLedgerKey};
use rota_aggregates::record::{SealedHashes, encode_body};
use rota_aggregates::{Event, EventId, Position, Sequence, StreamId, Timestamp, WorkspaceId};
use rota_projections::Details;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::bar::Unlike;
use super::signer::Signer;
use crate::app::change::{ATTEMPTS_MAX, Committed};
use crate::app::entropy::Entropy;
use crate::app::{App, Caller, Failure, OpenError, new_event_id};
use crate::ledger::note::SigningKey;
use crate::log::{Append, NewEvent, Side};
use crate::sealing::{Item, Part, SealError, Sealed};

/// An origin has at most so many characters.
const ORIGIN_CHARS_MAX: usize = 200;
/// The keys before a new one sign beside it for so long: 7 days.
pub const OVERLAP_SECONDS_DEFAULT: u64 = 7 * 86_400;
/// An auditor's name has at most so many characters.
const NAME_CHARS_MAX: usize = 200;

/// Whether a text can be a log's name: a URL without scheme and trailing slash.
pub fn check_origin(text: &str) -> Result<(), String> {
    let fits = (1..=ORIGIN_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'+')
        && !text.contains("://")
        && !text.ends_with('/');
    if fits {
        return Ok(());
    }
    Err(format!(
        "an origin is a URL without scheme and trailing slash, such as ledger.example.com/prod: 1 to \
         {ORIGIN_CHARS_MAX} visible ASCII characters, and no plus sign"
    ))
}

/// What is asked of the ledger as a whole.
enum Ask<'a> {
    Begin { origin: &'a str },
    AddKey { overlap_seconds: u64 },
    Retire { verifier_key: &'a str },
    Restore { lost_from: Position, origin: &'a str, former: &'a crate::ledger::checkpoint::Checkpoint },
    Name { auditor: Uuid, name: &'a str },
    Dismiss { auditor: Uuid },
}

/// A private key that goes along with the event that adds it.
struct Made {
    event: EventId,
    sealed: Sealed,
}

/// Lets the ledger decide.
async fn decide(mut state: Ledger, command: LedgerCommand) -> Result<Vec<LedgerEvent>, LedgerRefusal> {
    let sink = EventSink::default();
    state.handle(command, &(), &sink).await?;
    Ok(sink.collect().await)
}

impl App {
    /// Makes the first key, under this origin or one of its own making. A ledger that has another origin is refused.
    pub(in crate::app) async fn begin_ledger(&self, origin: Option<&str>) -> Result<(), OpenError> {
        match (self.origin(), origin) {
            (Some(there), Some(asked)) if there != asked => {
                return Err(OpenError::OtherOrigin { there, asked: asked.to_owned() });
            }
            (Some(_), _) => return Ok(()),
            (None, _) => {}
        }
        let origin = if let Some(origin) = origin {
            origin.to_owned()
        } else {
            let mut bytes = [0; 8];
            self.random.fill(&mut bytes).map_err(|_| Failure::Sealed(SealError::NoRandomness))?;
            format!("rota.local/{:016x}", u64::from_be_bytes(bytes))
        };
        let caller = Caller::scheduler(self.new_request_id()?);
        self.change_ledger(&caller, &Ask::Begin { origin: &origin }).await?;
        // Another replica may have been first, with another origin.
        if let Some(there) = self.origin().filter(|there| *there != origin) {
            tracing::info!(origin = %there, "the ledger's origin was fixed by another replica");
        }
        Ok(())
    }

    /// Makes a key that signs checkpoints; those before it sign beside it for a while.
    pub async fn add_ledger_key(
        &self,
        caller: &Caller,
        overlap_seconds: u64,
    ) -> Result<Option<Position>, Failure> {
        caller.operator_only()?;
        if overlap_seconds > 3_660 * 86_400 {
            return Err(Failure::invalid("overlapSeconds", "must be ten years at most"));
        }
        self.change_ledger(caller, &Ask::AddKey { overlap_seconds }).await
    }

    /// Lets somebody read the tiles. Who, and the path under which they do.
    pub async fn name_auditor(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<(Uuid, String, Option<Position>), Failure> {
        caller.operator_only()?;
        if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            return Err(Failure::invalid("name", "must have 1 to 200 characters"));
        }
        let auditor = self.entropy()?.id(self.clock.now());
        let position = self.change_ledger(caller, &Ask::Name { auditor, name }).await?;
        Ok((auditor, self.prefix(auditor), position))
    }

    /// Lets somebody read the tiles no more.
    pub async fn dismiss_auditor(&self, caller: &Caller, auditor: Uuid) -> Result<Option<Position>, Failure> {
        caller.operator_only()?;
        self.change_ledger(caller, &Ask::Dismiss { auditor }).await
    }

    /// Records that events were lost that had been signed for, and goes on under another origin. Refused where
    /// nothing is known to be lost.
    pub async fn record_loss(
        &self,
        caller: &Caller,
        lost_from: Option<Position>,
        origin: Option<&str>,
    ) -> Result<Option<Position>, Failure> {
        caller.operator_only()?;
        let Some(bar) = self.bar() else { return Err(Failure::NothingLost) };
        let size = self.tip.tip.read().live.next_position();
        let lost_from = lost_from.unwrap_or(size);
        let wrong = match bar.unlike {
            Unlike::Behind { .. } => lost_from > size,
            // Where it differs only a comparison with somebody's copy tells.
            Unlike::Differs => lost_from.0 >= bar.signed.size.max(1),
        };
        if wrong {
            let reason = format!("must be the first position that was lost: {size} at most");
            return Err(Failure::invalid("lostFrom", reason));
        }
        let used: Vec<String> = {
            let tip = self.tip.tip.read();
            tip.live.ledger().keys.iter().map(|key| key.origin.clone()).collect()
        };
        let next = match origin {
            Some(origin) => {
                check_origin(origin).map_err(|reason| Failure::invalid("origin", reason))?;
                origin.to_owned()
            }
            None => successor(&bar.signed.origin, &used),
        };
        let ask = Ask::Restore { lost_from, origin: &next, former: &bar.signed };
        let position = self.change_ledger(caller, &ask).await?;
        *self.ledger.signer.lock().await = Signer::default();
        self.ledger.published.send_replace(None);
        self.lift_bar();
        tracing::warn!(lost_from = lost_from.0, origin = %next, "a loss is recorded; the ledger goes on");
        Ok(position)
    }

    /// Destroys the private parts of keys that sign no more. When the next one will.
    pub(in crate::app) async fn keep_ledger_keys(&self) -> Result<(), Failure> {
        let now = self.now();
        let due = {
            let tip = self.tip.tip.read();
            tip.live.ledger_key_due().filter(|(at, _)| *at <= now).map(|(_, key)| key.to_owned())
        };
        if let Some(verifier_key) = due {
            let caller = Caller::scheduler(self.new_request_id()?);
            self.change_ledger(&caller, &Ask::Retire { verifier_key: &verifier_key }).await?;
            self.ledger.opened.lock().remove(&verifier_key);
        }
        Ok(())
    }

    async fn change_ledger(&self, caller: &Caller, ask: &Ask<'_>) -> Result<Option<Position>, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            // Held until the command is recorded: see `rewrap`.
            let ring = self.keys();
            let (now, mut entropy) = (self.now(), self.entropy()?);
            let (state, sequence, sealed_at) = {
                let tip = self.tip.tip.read();
                let sealed_at = match ask {
                    Ask::Retire { verifier_key } => {
                        tip.live.ledger_private().find(|(key, _)| key == verifier_key).map(|(_, at)| at)
                    }
                    _ => None,
                };
                (tip.live.ledger().clone(), tip.live.sequence(&StreamId::LEDGER), sealed_at)
            };
            let present = state.origin().unwrap_or_default().to_owned();
            let mut made = None;
            let mut key = |origin: &str, entropy: &mut Entropy| -> Result<NewLedgerKey, Failure> {
                let event = new_event_id(entropy, now);
                let seed = Zeroizing::new(entropy.take::<32>());
                let signer = SigningKey::of_log(origin, &seed)
                    .map_err(|_| Failure::invalid("origin", "can't be a log's name"))?;
                let item = Item { event: event.0, part: Part::Secret };
                let sealed = ring.seal(&item, &*seed, &Zeroizing::new(entropy.take::<32>()));
                let hash = Hash(sealed.sha256());
                made = Some(Made { event, sealed });
                let (origin, verifier_key) = (origin.to_owned(), signer.verifier().to_string());
                Ok(NewLedgerKey { origin, verifier_key, sealed: hash })
            };
            let mut details = Details::default();
            let command = match ask {
                Ask::Begin { origin } => LedgerCommand::Begin { key: key(origin, &mut entropy)?, now },
                Ask::AddKey { overlap_seconds } => LedgerCommand::AddKey {
                    key: key(&present, &mut entropy)?,
                    overlap_seconds: *overlap_seconds,
                    now,
                },
                Ask::Retire { verifier_key } => LedgerCommand::RetireKey {
                    verifier_key: (*verifier_key).to_owned(),
                    sealed: sealed_at,
                    now,
                },
                Ask::Restore { lost_from, origin, former } => LedgerCommand::Restore {
                    lost_from: *lost_from,
                    signed: (former.size, former.root),
                    former_origin: former.origin.clone(),
                    key: key(origin, &mut entropy)?,
                    now,
                },
                Ask::Name { auditor, name } => {
                    details.name = Some((*name).to_owned());
                    LedgerCommand::NameAuditor { auditor: *auditor, now }
                }
                Ask::Dismiss { auditor } => LedgerCommand::DismissAuditor { auditor: *auditor, now },
            };
            let events = decide(state, command).await?;
            if events.is_empty() {
                return Ok(None);
            }
            let recovers = matches!(ask, Ask::Restore { .. });
            let change = Change { sequence, events, made, details, recovers, now };
            if let Some(position) = self.append_ledger(caller, change).await? {
                return Ok(Some(position));
            }
        }
        Err(Failure::Overloaded)
    }

    /// Records decided events. `None`: stale, decide again.
    async fn append_ledger(&self, caller: &Caller, change: Change) -> Result<Option<Position>, Failure> {
        let Change { sequence, events, mut made, details, recovers, now } = change;
        let place = if recovers { self.committer.reserve()? } else { self.place()? };
        let (ring, mut entropy) = (self.keys(), self.entropy()?);
        let stream = StreamId::LEDGER;
        let shred = events.iter().flat_map(LedgerEvent::shredded).copied().collect();
        let mut encoded = Vec::with_capacity(events.len());
        for event in events {
            let made = if event.sealed().is_some() { made.take() } else { None };
            let (id, secret) = match made {
                Some(Made { event, sealed }) => (event, Some(sealed)),
                None => (new_event_id(&mut entropy, now), None),
            };
            let mut side = Side { secret, ..Side::default() };
            if !details.is_empty() {
                let plain = serde_json::to_vec(&details).map_err(|e| Failure::NotRecordable(e.into()))?;
                let item = Item { event: id.0, part: Part::Details };
                side.details = Some(ring.seal(&item, &plain, &Zeroizing::new(entropy.take::<32>())));
            }
            let sealed = SealedHashes {
                details: side.details.as_ref().map(|s| Hash(s.sha256())),
                ..SealedHashes::default()
            };
            let context = caller.context(WorkspaceId::default());
            let event = Event::from(event);
            let body = encode_body(id, stream, &context, None, sealed, &event)?;
            encoded.push(NewEvent { id, stream, context, event, body, side });
        }
        let expected = vec![(stream, sequence)];
        let append = Append { expected, claim: None, events: encoded, shred, decided_at: now };
        match self.commit(place, append, None).await {
            Ok(recording) => Ok(recording.map(|r| r.last)),
            Err(Committed::Failed(failure)) => Err(failure),
            Err(Committed::Before(position)) => Ok(Some(position)),
        }
    }
}

/// Decided events and what goes along with them.
struct Change {
    sequence: Option<Sequence>,
    events: Vec<LedgerEvent>,
    made: Option<Made>,
    details: Details,
    /// Whether it goes on after a loss, and so is appended although nothing else is.
    recovers: bool,
    now: Timestamp,
}

/// The next origin after one that can't be used any more: `NAME.2`, `NAME.3` …
fn successor(former: &str, used: &[String]) -> String {
    let (stem, number) = match former.rsplit_once('.') {
        Some((stem, digits)) if stem.contains('/') => {
            digits.parse::<u32>().map_or((former, 1), |number| (stem, number))
        }
        _ => (former, 1),
    };
    let next = |number: u32| format!("{stem}.{number}");
    (number + 1..=u32::MAX).map(next).find(|origin| !used.contains(origin)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_urls_without_a_scheme() {
        for good in ["ledger.example.com/prod", "rota.local/0123456789abcdef", "a"] {
            assert_eq!(check_origin(good), Ok(()), "{good}");
        }
        for bad in ["", "https://ledger.example.com", "ledger.example.com/", "a b", "a+b", "é"] {
            assert!(check_origin(bad).is_err(), "{bad}");
        }
        assert!(check_origin(&"a".repeat(ORIGIN_CHARS_MAX + 1)).is_err());
    }

    #[test]
    fn a_successor_was_never_used() {
        assert_eq!(successor("rota.local/ab", &[]), "rota.local/ab.2");
        assert_eq!(successor("rota.local/ab.2", &["rota.local/ab.3".to_owned()]), "rota.local/ab.4");
        assert_eq!(successor("ledger.example.com", &[]), "ledger.example.com.2");
    }
}
