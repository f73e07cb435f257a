//! Which idempotency keys were used in the last 24 hours, and for what; and which signed requests have made a
//! change.
//!
//! A claim is durable inside its event; this is only the index over them, and everything in it follows from
//! the feed. A key is spent for [`CLAIM_SECONDS`] after its event; then its answer is to be destroyed, and
//! the key may be used afresh.
//!
//! A signed request is in the proof of the events that it led to. It is remembered for as long as its own time
//! would let it in again: [`SIGNED_SECONDS`] after it was signed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rota_aggregates::authority::SignedRequest;
use rota_aggregates::observation::SealedPart;
use rota_aggregates::record::Claim;
use rota_aggregates::{CredentialId, Event, Position, Timestamp};

use crate::Fact;

/// How long a key stays spent and its answer readable: 24 hours.
pub const CLAIM_SECONDS: u64 = 86_400;

/// How far the time of a signed request may be from the ledger's, either way: 5 minutes.
pub const SIGNED_SECONDS: u64 = 300;

/// A used key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claimed {
    /// The event that claimed it, which is also where its answer is.
    pub position: Position,
    /// Half of the request's fingerprint.
    pub fingerprint: [u8; 16],
    /// The first instant at which the key may be used afresh.
    pub expires_at: Timestamp,
}

impl Claimed {
    /// Whether the key was used for the same request.
    pub fn same_request(&self, claim: &Claim) -> bool {
        self.fingerprint == half(&claim.fingerprint.0)
    }
}

/// An answer that is still readable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kept {
    ends_at: Timestamp,
    credential: Option<CredentialId>,
    /// The version whose secret is in it; 0 until the event that brings it is taken in.
    version: u32,
}

/// The index of used keys.
#[derive(Debug, Default, PartialEq)]
pub struct ReplayIndex {
    claims: HashMap<[u8; 16], Claimed>,
    /// Answers that are still readable, in the order in which they end.
    answers: BTreeMap<Position, Kept>,
    by_credential: HashMap<CredentialId, Vec<Position>>,
    /// Claims in the order in which they end.
    ending: BTreeMap<Position, [u8; 16]>,
    /// Signed requests that have made a change, in the order in which they were signed.
    signed: BTreeSet<(Timestamp, CredentialId, [u8; 16])>,
}

impl ReplayIndex {
    /// Takes an event in.
    pub fn apply(&mut self, fact: &Fact<'_>) {
        for part in fact.event.shredded().iter().filter(|p| p.part == SealedPart::Answer) {
            self.forget_answer(part.position);
        }
        self.note_version(fact);
        self.note_signed(fact);
        let Some(claim) = fact.claim else { return };
        let key = half(&claim.key.0);
        let expires_at = fact.time.plus_seconds(CLAIM_SECONDS);
        let claimed =
            Claimed { position: fact.position, fingerprint: half(&claim.fingerprint.0), expires_at };
        if let Some(earlier) = self.claims.insert(key, claimed) {
            self.ending.remove(&earlier.position);
        }
        self.ending.insert(fact.position, key);
        if fact.has_answer {
            let credential = match fact.event {
                Event::Credential(_) => Some(CredentialId(fact.stream.id)),
                _ => None,
            };
            let version = brought(fact).unwrap_or(0);
            self.answers.insert(fact.position, Kept { ends_at: expires_at, credential, version });
            if let Some(credential) = credential {
                let positions = self.by_credential.entry(credential).or_default();
                if !positions.contains(&fact.position) {
                    positions.push(fact.position);
                }
            }
        }
        self.drop_ended(fact.time);
    }

    /// The use of a key, unless it may be used afresh at `now`.
    pub fn find(&self, claim: &Claim, now: Timestamp) -> Option<Claimed> {
        self.claims.get(&half(&claim.key.0)).filter(|claimed| now < claimed.expires_at).copied()
    }

    /// Whether a signed request may not make a change at `now`: because it has made one, or because it is so old
    /// that this is forgotten.
    pub fn is_spent(&self, by: CredentialId, request: &SignedRequest, now: Timestamp) -> bool {
        request.at.plus_seconds(SIGNED_SECONDS) < now
            || self.signed.contains(&(request.at, by, half(&request.payload.0)))
    }

    fn note_signed(&mut self, fact: &Fact<'_>) {
        if let Some((by, request)) = fact.context.proof.once() {
            self.signed.insert((request.at, by, half(&request.payload.0)));
        }
        while self.signed.first().is_some_and(|(at, ..)| at.plus_seconds(SIGNED_SECONDS) < fact.time) {
            self.signed.pop_first();
        }
    }

    /// The answers that are kept for a credential, by the version whose secret is in them.
    pub fn answers_of(&self, credential: CredentialId) -> Vec<(u32, Position)> {
        let positions = self.by_credential.get(&credential).into_iter().flatten();
        positions.filter_map(|p| self.answers.get(p).map(|kept| (kept.version, *p))).collect()
    }

    /// A command's claim is with its first event, its secret may come with a later one.
    fn note_version(&mut self, fact: &Fact<'_>) {
        let Some(version) = brought(fact) else { return };
        let positions = self.by_credential.get(&CredentialId(fact.stream.id));
        for position in positions.into_iter().flatten() {
            if let Some(kept) = self.answers.get_mut(position).filter(|kept| kept.version == 0) {
                kept.version = version;
            }
        }
    }

    /// The answers whose time is over at `now`, with their credentials, oldest first, at most `limit`.
    pub fn answers_due(&self, now: Timestamp, limit: usize) -> Vec<(Position, Option<CredentialId>)> {
        let ended = self.answers.iter().take_while(|(_, kept)| kept.ends_at <= now);
        ended.map(|(position, kept)| (*position, kept.credential)).take(limit).collect()
    }

    /// When the next answer's time is over.
    pub fn next_answer_due(&self) -> Option<Timestamp> {
        self.answers.first_key_value().map(|(_, kept)| kept.ends_at)
    }

    /// How many keys are spent.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Whether no key is spent.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    fn forget_answer(&mut self, position: Position) {
        if let Some(Kept { credential: Some(credential), .. }) = self.answers.remove(&position)
            && let Some(positions) = self.by_credential.get_mut(&credential)
        {
            positions.retain(|p| *p != position);
            if positions.is_empty() {
                self.by_credential.remove(&credential);
            }
        }
    }

    /// Claims end in position order, since time never goes back from one event to the next.
    fn drop_ended(&mut self, now: Timestamp) {
        while let Some((position, key)) = self.ending.first_key_value() {
            match self.claims.get(key) {
                Some(claimed) if claimed.position == *position && now < claimed.expires_at => break,
                Some(claimed) if claimed.position == *position => {
                    self.claims.remove(key);
                }
                _ => {}
            }
            self.ending.pop_first();
        }
    }

    /// Writes the index for a snapshot, in position order.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.ending.len() as u64).to_le_bytes());
        for (position, key) in &self.ending {
            let Some(claimed) = self.claims.get(key) else { continue };
            out.extend_from_slice(&position.0.to_le_bytes());
            out.extend_from_slice(key);
            out.extend_from_slice(&claimed.fingerprint);
            out.extend_from_slice(&claimed.expires_at.micros().to_le_bytes());
        }
        out.extend_from_slice(&(self.answers.len() as u64).to_le_bytes());
        for (position, kept) in &self.answers {
            out.extend_from_slice(&position.0.to_le_bytes());
            out.extend_from_slice(&kept.ends_at.micros().to_le_bytes());
            out.push(u8::from(kept.credential.is_some()));
            out.extend_from_slice(kept.credential.unwrap_or_default().0.as_bytes());
            out.extend_from_slice(&kept.version.to_le_bytes());
        }
        out.extend_from_slice(&(self.signed.len() as u64).to_le_bytes());
        for (at, by, payload) in &self.signed {
            out.extend_from_slice(&at.micros().to_le_bytes());
            out.extend_from_slice(by.0.as_bytes());
            out.extend_from_slice(payload);
        }
    }

    /// Reads what [`ReplayIndex::encode`] wrote; `None` if the bytes end early.
    pub fn decode(input: &mut crate::codec::Reader<'_>) -> Option<Self> {
        let mut index = Self::default();
        for _ in 0..input.u64()? {
            let position = Position(input.u64()?);
            let key = input.array::<16>()?;
            let fingerprint = input.array::<16>()?;
            let expires_at = Timestamp::from_micros(input.i64()?);
            index.claims.insert(key, Claimed { position, fingerprint, expires_at });
            index.ending.insert(position, key);
        }
        for _ in 0..input.u64()? {
            let position = Position(input.u64()?);
            let expires_at = Timestamp::from_micros(input.i64()?);
            let known = input.array::<1>()? == [1];
            let id = CredentialId(uuid::Uuid::from_bytes(input.array()?));
            let version = input.u32()?;
            let kept = Kept { ends_at: expires_at, credential: known.then_some(id), version };
            index.answers.insert(position, kept);
            if known {
                index.by_credential.entry(id).or_default().push(position);
            }
        }
        for _ in 0..input.u64()? {
            let at = Timestamp::from_micros(input.i64()?);
            let by = CredentialId(uuid::Uuid::from_bytes(input.array()?));
            index.signed.insert((at, by, input.array()?));
        }
        Some(index)
    }
}

/// The version whose secret an event brings.
fn brought(fact: &Fact<'_>) -> Option<u32> {
    match fact.event {
        Event::Credential(event) => event.secret().map(|secret| secret.version),
        _ => None,
    }
}

fn half(hash: &[u8; 32]) -> [u8; 16] {
    let mut half = [0u8; 16];
    half.copy_from_slice(&hash[..16]);
    half
}
