//! Answering a retry with the first answer.
//!
//! A caller names a request with an Idempotency-Key. Key, event and sealed answer become durable in one
//! append; a retry within 24 hours gets the same answer, and never a second change. One key space per
//! workspace, across dialects and operations; only an HMAC of the key is stored. The answer opens with the
//! key alone: neither the store nor the master key gives it away.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use ring::digest::{Context, SHA256};
use rota_aggregates::authority::ProofKind;
use rota_aggregates::credential::{CredentialRefusal, REPLAY_SECONDS_MAX};
use rota_aggregates::ids::Hash;
use rota_aggregates::record::{Claim, Record};
use rota_aggregates::{Event, Position, StreamId, WorkspaceId};
use zeroize::Zeroizing;

use super::caller::Shown;
use super::change::{Answer, Subject};
use super::{App, Failure};
use crate::log::LogError;
use crate::sealing::{Item, Part};

/// A key has at most this many characters.
pub const KEY_CHARS_MAX: usize = 255;

/// A key that has at least this many characters has room for 128 random bits.
const HARD_KEY_CHARS_MIN: usize = 22;

/// A named request.
#[derive(Clone)]
pub struct Idempotency {
    key: Zeroizing<String>,
    fingerprint: Hash,
}

impl std::fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idempotency").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Idempotency {
    /// Reads a header's value: 1 to 255 visible ASCII characters, bare or as a quoted structured-field string.
    /// `request` is what a repeat must have in common: method, path with ids, body.
    pub fn new(header: &[u8], request: &[&[u8]]) -> Result<Self, Failure> {
        let wrong = || Failure::invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters");
        let text = std::str::from_utf8(header).map_err(|_| wrong())?;
        let key = unquote(text).ok_or_else(wrong)?;
        if key.is_empty() || key.len() > KEY_CHARS_MAX || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong());
        }
        let mut hash = Context::new(&SHA256);
        for part in request {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let mut fingerprint = [0u8; 32];
        fingerprint.copy_from_slice(hash.finish().as_ref());
        Ok(Self { key: Zeroizing::new(key), fingerprint: Hash(fingerprint) })
    }

    /// Whether the key is long enough that nobody guesses it, if it was made at random.
    pub(super) fn is_hard_to_guess(&self) -> bool {
        self.key.len() >= HARD_KEY_CHARS_MIN
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The claim as the event has it: both under a key, since a request can have free text in it that a plain hash
    /// would let others guess. A key has no line feed, so the two can't be taken for each other.
    pub(super) fn claim(&self, app: &App, workspace: WorkspaceId) -> Claim {
        let keys = app.keys();
        let fingerprint = keys.claim(workspace.0, &format!("fingerprint\n{}", self.fingerprint));
        Claim { key: Hash(keys.claim(workspace.0, &self.key)), fingerprint: Hash(fingerprint) }
    }
}

/// A quoted string of RFC 9651 without its quotes; anything else as it is.
fn unquote(text: &str) -> Option<String> {
    let Some(inner) = text.strip_prefix('"') else { return Some(text.to_owned()) };
    let inner = inner.strip_suffix('"')?;
    let mut key = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => key.push(characters.next().filter(|c| matches!(c, '"' | '\\'))?),
            '"' => return None,
            other => key.push(other),
        }
    }
    Some(key)
}

/// Marks a key as being used right now, until it is dropped.
pub(super) struct InProgress {
    keys: Arc<Mutex<HashSet<[u8; 32]>>>,
    key: [u8; 32],
}

impl InProgress {
    pub(super) fn begin(app: &App, claim: &Claim) -> Result<Arc<Self>, Failure> {
        let keys = Arc::clone(&app.in_progress);
        if !keys.lock().insert(claim.key.0) {
            return Err(Failure::InProgress);
        }
        Ok(Arc::new(Self { keys, key: claim.key.0 }))
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.key);
    }
}

/// The version that an event brought.
fn brought(record: &Record) -> Option<u32> {
    match &record.event {
        Event::Credential(event) => event.secret().map(|secret| secret.version),
        _ => None,
    }
}

impl App {
    /// Whether the answer at `position` is for this caller: for whoever may rotate now, and a retiring secret may
    /// not. A session that the rotation itself superseded may have its own answer again, for a while and until the
    /// new secret is used: without it, an answer that got lost would lock its owner out.
    pub(super) async fn check_replay(
        &self,
        subject: &Subject,
        position: Position,
    ) -> Result<Result<(), CredentialRefusal>, Failure> {
        let Some(who) = subject.caller.credential() else { return Ok(Ok(())) };
        let session = match who.shown {
            // But for the version that this rotation replaced, while its answer may have been lost.
            Shown::Secret | Shown::Signature(_)
                if who.retiring && who.credential == subject.live.state.id =>
            {
                let lost = self.may_fetch(who.credential, who.version, position).await?;
                return Ok(if lost { Ok(()) } else { Err(CredentialRefusal::RetiringSecret) });
            }
            Shown::Secret | Shown::Signature(_) => return Ok(Ok(())),
            Shown::Session(_) if subject.policy.rotate_requires_secret => {
                return Ok(Err(CredentialRefusal::SecretRequired));
            }
            Shown::Session(session) => session,
        };
        let Err(refusal) = who.check_current() else { return Ok(Ok(())) };
        let id = who.credential;
        let unused = self.tip.tip.read().live.use_mark(id).is_none();
        let stored = self.log.read_at(&[position, Position(position.0 + 1)]).await?;
        let mut records = Vec::with_capacity(stored.len());
        for e in stored {
            let decoded = Record::decode(&e.leaf);
            records.push(decoded.map_err(|source| LogError::BadLeaf { position: e.position, source })?);
        }
        let Some(first) = records.first() else { return Ok(Err(refusal)) };
        let made = records.iter().filter(|r| r.context.request == first.context.request).find_map(brought);
        let its_own = first.stream == StreamId::credential(id)
            && first.context.proof.kind == ProofKind::Session
            && first.context.proof.own_version(id) == Some(who.version)
            && made.is_some()
            && made == subject.live.state.active;
        let in_time = subject.now < first.time.plus_seconds(REPLAY_SECONDS_MAX);
        Ok(if its_own && in_time && unused && !session.bound { Ok(()) } else { Err(refusal) })
    }

    /// The first answer to a request whose key was claimed by the event at `position`.
    pub(super) async fn replay(
        &self,
        idempotency: &Idempotency,
        position: Position,
    ) -> Result<Answer, Failure> {
        // The event that brought the secret is the claiming one or, if that ended a grace period, the next.
        let events = self.log.read_at(&[position, Position(position.0 + 1)]).await?;
        let stored = events.first().filter(|e| e.position == position).ok_or(Failure::AnswerGone)?;
        let sealed = stored.side.answer.as_ref().ok_or(Failure::AnswerGone)?;
        let decoded = events
            .iter()
            .map(|e| {
                Record::decode(&e.leaf).map_err(|source| LogError::BadLeaf { position: e.position, source })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let first = decoded.first().ok_or(Failure::AnswerGone)?;
        let item = Item { event: first.id.0, part: Part::Answer };
        let bytes = self.keys().open_answer(&item, idempotency.key(), sealed)?;
        let version = decoded
            .iter()
            .filter(|record| record.context.request == first.context.request && record.stream == first.stream)
            .find_map(brought);
        let live = self.tip.tip.read().live.credential(rota_aggregates::CredentialId(first.stream.id));
        let superseded = match (version, live) {
            (Some(version), Some(live)) => {
                live.state.active != Some(version) && live.state.prepared.is_none_or(|p| p.version != version)
            }
            _ => false,
        };
        Ok(Answer { bytes, position, replayed: true, superseded })
    }

    /// The event that claimed this key, if one did. A key that was used for something else is refused.
    pub(super) fn claimed(&self, claim: &Claim) -> Result<Option<Position>, Failure> {
        let now = self.now();
        let tip = self.tip.tip.read();
        match tip.replays.find(claim, now) {
            None => Ok(None),
            Some(claimed) if claimed.same_request(claim) => Ok(Some(claimed.position)),
            Some(_) => Err(Failure::KeyReused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_and_quoted_keys_are_the_same_key() {
        let bare = Idempotency::new(b"k-1", &[]).unwrap();
        let quoted = Idempotency::new(b"\"k-1\"", &[]).unwrap();
        assert_eq!(bare.key(), quoted.key());
    }

    #[test]
    fn keys_out_of_bounds_are_refused() {
        let longest = "k".repeat(KEY_CHARS_MAX);
        assert!(Idempotency::new(longest.as_bytes(), &[]).is_ok());
        let too_long = "k".repeat(KEY_CHARS_MAX + 1);
        for bad in
            [too_long.as_bytes(), b"", b"\"\"", b"\"open", b"a b", b"\xff", "schl\u{fc}ssel".as_bytes()]
        {
            assert!(Idempotency::new(bad, &[]).is_err(), "{bad:?}");
        }
    }
}
