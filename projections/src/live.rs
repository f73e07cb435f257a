//! The live view: what verification and decisions read. In memory, compact, every look-up O(1).
//!
//! It holds for each credential what a decision needs and no more, and the keyed digests of the versions
//! that may still be accepted. What people see of a credential is folded elsewhere
//! ([`crate::credential`]). Applying an event twice changes nothing: an event whose sequence is not above
//! the stream's is passed over, which is what lets a snapshot be written while events come in.

mod campaigns;
mod encode;
mod find;
mod managed;
mod places;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};

use rota_aggregates::credential::{
    Credential, CredentialEvent, Kind, Prepared, ReplayOnly, Retiring, Status,
};
use rota_aggregates::ledger::{Ledger, LedgerEvent};
use rota_aggregates::observation::{ObservationEvent, SealedPart};
use rota_aggregates::secret::Mode;
use rota_aggregates::token_keys::{TokenKeys, TokenKeysEvent};
use rota_aggregates::workspace::{Workspace, WorkspaceEvent};
use rota_aggregates::{
    CredentialId, Event, EventId, Position, Sequence, StreamId, StreamKind, Timestamp, TokenKeyId,
    WorkspaceId,
};

use self::campaigns::Campaigns;
pub use self::campaigns::{LiveCampaign, LiveCustody};
pub use self::find::{Candidates, Due, InGrace, LiveCredential, Signers, Standing, UseMark};
use self::managed::Managed;
pub use self::managed::{LiveConnection, LiveNames, LiveRotation};
pub use self::places::LivePlaces;
use self::places::{AllPlaces, EndedSessions};
pub use self::webhooks::LiveWebhook;
use self::webhooks::Webhooks;
use crate::Fact;
use crate::public_id::PublicId;
use crate::slab::{HAS_PREPARED, HAS_REPLAY, HAS_RETIRING, PROD_MODE, Slab, Slot, TEST_MODE};

/// A version beside the active one: its digest, and the first instant at which it is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Beside {
    version: u32,
    until: Timestamp,
    digest: [u8; 32],
    grace_seconds: u64,
}

/// The live view.
#[derive(Debug, Default)]
pub struct Live {
    slab: Slab,
    retiring: HashMap<u32, Beside>,
    prepared: HashMap<u32, Beside>,
    /// Where the sealed secret of each live version of a recoverable kind is.
    sealed: HashMap<u32, Vec<(u32, Position)>>,
    /// Replaced versions that may fetch an answer.
    replay_only: HashMap<u32, ReplayOnly>,
    due: BTreeSet<(Timestamp, u32, Due)>,
    /// The sequence of the last event that ended a credential's sessions, where there was one. A sequence, not a
    /// count: taking the same event in again changes nothing.
    epochs: BTreeMap<u32, u32>,
    workspaces: Vec<(WorkspaceId, Workspace, Sequence)>,
    workspace_index: HashMap<WorkspaceId, u32>,
    webhooks: Webhooks,
    places: AllPlaces,
    ended_sessions: EndedSessions,
    managed: Managed,
    campaigns: Campaigns,
    /// Live credentials by workspace and kind.
    counts: HashMap<(u32, Kind), u64>,
    /// The last sequence of the streams that change nothing.
    observations: BTreeMap<StreamId, Sequence>,
    /// The observations of the last minute or two, so that the same one is not recorded twice.
    recent: [BTreeSet<EventId>; 2],
    recent_minute: u64,
    token_keys: TokenKeys,
    /// Where the private parts of token keys are that still have one.
    token_private: BTreeMap<TokenKeyId, Position>,
    token_sequence: u32,
    ledger: Ledger,
    /// Where the private parts of the ledger's keys are that still have one.
    ledger_private: BTreeMap<String, Position>,
    ledger_sequence: u32,
    next: u64,
    last_time: Timestamp,
}

impl Live {
    /// The position that the next event will have.
    pub fn next_position(&self) -> Position {
        Position(self.next)
    }

    /// The time of the last event.
    pub fn last_time(&self) -> Timestamp {
        self.last_time
    }

    /// How many credentials were ever issued.
    pub fn credentials(&self) -> usize {
        self.slab.len()
    }

    /// The last sequence of a stream; `None` if it has no event.
    pub fn sequence(&self, stream: &StreamId) -> Option<Sequence> {
        match stream.kind {
            StreamKind::Credential => {
                self.slab.find(CredentialId(stream.id)).map(|i| Sequence(self.slab.get(i).sequence))
            }
            StreamKind::Workspace => {
                self.workspace_index.get(&WorkspaceId(stream.id)).map(|i| self.workspaces[*i as usize].2)
            }
            StreamKind::Webhook => self.webhooks.sequence(stream),
            StreamKind::Connection | StreamKind::ManagedRotation | StreamKind::NameSpace => {
                self.managed.sequence(stream)
            }
            StreamKind::Custody | StreamKind::Campaign => self.campaigns.sequence(stream),
            StreamKind::TokenKeys => (self.token_sequence != 0).then_some(Sequence(self.token_sequence)),
            StreamKind::Places => self.places.sequence(stream),
            StreamKind::Ledger => (self.ledger_sequence != 0).then_some(Sequence(self.ledger_sequence)),
            StreamKind::Use
            | StreamKind::Refusals
            | StreamKind::Shredding
            | StreamKind::Sessions
            | StreamKind::Reads => self.observations.get(stream).copied(),
        }
    }

    /// Takes an event in. An event that was taken in before changes nothing.
    pub fn apply(&mut self, fact: &Fact<'_>) {
        self.next = self.next.max(fact.position.0 + 1);
        self.last_time = self.last_time.max(fact.time);
        if self.sequence(&fact.stream).is_some_and(|known| fact.sequence <= known) {
            return;
        }
        match fact.event {
            Event::Credential(event) => self.apply_credential(fact, event),
            Event::Workspace(event) => self.apply_workspace(fact, event),
            Event::Webhook(event) => self.webhooks.apply(fact, event),
            Event::Observation(event) => {
                self.observations.insert(fact.stream, fact.sequence);
                if let ObservationEvent::SessionEnded(event) = event {
                    self.ended_sessions.apply(event, fact.time);
                }
                self.remember(fact.id, fact.time.minute());
            }
            Event::TokenKeys(event) => self.apply_token_keys(fact, event),
            Event::Places(event) => self.places.apply(fact, event),
            Event::Connection(event) => self.managed.apply_connection(fact, event),
            Event::ManagedRotation(event) => self.managed.apply_rotation(fact, event),
            Event::NameSpace(event) => self.managed.apply_names(fact, event),
            Event::Ledger(event) => self.apply_ledger(fact, event),
            Event::Custody(event) => self.campaigns.apply_custody(fact, event),
            Event::Campaign(event) => self.campaigns.apply(fact, event),
        }
    }

    fn apply_token_keys(&mut self, fact: &Fact<'_>, event: &TokenKeysEvent) {
        self.token_keys.evolve(event);
        self.token_sequence = fact.sequence.0;
        match event {
            TokenKeysEvent::TokenKeyMade(e) => {
                self.token_private.insert(e.key, fact.position);
            }
            TokenKeysEvent::TokenKeyRetired(e) => {
                self.token_private.remove(&e.key);
            }
        }
    }

    fn apply_ledger(&mut self, fact: &Fact<'_>, event: &LedgerEvent) {
        self.ledger.evolve(event);
        self.ledger_sequence = fact.sequence.0;
        match event {
            LedgerEvent::LedgerKeyAdded(e) => {
                self.ledger_private.insert(e.verifier_key.clone(), fact.position);
            }
            LedgerEvent::LedgerKeyRetired(e) => {
                self.ledger_private.remove(&e.verifier_key);
            }
            LedgerEvent::LedgerRestored(_)
            | LedgerEvent::LedgerAuditorNamed(_)
            | LedgerEvent::LedgerAuditorDismissed(_) => {}
        }
    }

    /// The ledger as a whole.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Where the private parts of the ledger's keys are that still have one.
    pub fn ledger_private(&self) -> impl Iterator<Item = (&str, Position)> {
        self.ledger_private.iter().map(|(key, position)| (key.as_str(), *position))
    }

    /// When a key of the ledger has signed for the last time and its private part is to be destroyed.
    pub fn ledger_key_due(&self) -> Option<(Timestamp, &str)> {
        let ended = |key: &str| self.ledger.keys.iter().find(|known| known.verifier_key == key)?.until;
        self.ledger_private().filter_map(|(key, _)| Some((ended(key)?, key))).min()
    }

    /// The keys of session tokens.
    pub fn token_keys(&self) -> &TokenKeys {
        &self.token_keys
    }

    /// Where the private parts of token keys are that still have one.
    pub fn token_private(&self) -> impl Iterator<Item = (TokenKeyId, Position)> {
        self.token_private.iter().map(|(key, position)| (*key, *position))
    }

    /// When a token key has signed for the last time and its private part is to be destroyed.
    pub fn token_key_due(&self) -> Option<(Timestamp, TokenKeyId)> {
        let ends = |key: &TokenKeyId| self.token_keys.signs_until(*key).map(|until| (until, *key));
        // One that no newer key remembers has long been of no use.
        let forgotten = |key: &TokenKeyId| self.token_keys.keys.iter().all(|known| known.id != *key);
        let end = |key| ends(key).or_else(|| forgotten(key).then(|| (Timestamp::default(), *key)));
        self.token_private.keys().filter_map(end).min()
    }

    fn remember(&mut self, id: EventId, minute: u64) {
        if minute > self.recent_minute {
            let before = std::mem::take(&mut self.recent[0]);
            self.recent[1] = if minute == self.recent_minute + 1 { before } else { BTreeSet::new() };
            self.recent_minute = minute;
        }
        self.recent[0].insert(id);
    }

    /// Whether an observation with this id was recorded in the last minute or two.
    pub fn was_observed(&self, id: EventId) -> bool {
        self.recent.iter().any(|ids| ids.contains(&id))
    }

    fn apply_workspace(&mut self, fact: &Fact<'_>, event: &WorkspaceEvent) {
        let id = WorkspaceId(fact.stream.id);
        let index = *self.workspace_index.entry(id).or_insert_with(|| {
            self.workspaces.push((id, Workspace::default(), Sequence(0)));
            (self.workspaces.len() - 1) as u32
        });
        let (_, workspace, sequence) = &mut self.workspaces[index as usize];
        workspace.evolve(event);
        *sequence = fact.sequence;
    }

    fn apply_credential(&mut self, fact: &Fact<'_>, event: &CredentialEvent) {
        let digest = fact.digest.unwrap_or_default();
        let id = CredentialId(fact.stream.id);
        if let CredentialEvent::CredentialIssued(e) = event {
            let Some(public) = PublicId::parse(&e.public_id) else { return };
            let Some(workspace) = self.workspace_index.get(&e.workspace).copied() else { return };
            let flags = match e.mode {
                Some(Mode::Test) => TEST_MODE,
                Some(Mode::Prod) => PROD_MODE,
                None => 0,
            };
            let index = self.slab.push(Slot {
                id: e.credential.0,
                public: public.bytes,
                digest,
                rotated_at: e.at.micros(),
                workspace,
                active: e.secret.version,
                last_version: e.secret.version,
                sequence: fact.sequence.0,
                first_used: AtomicU32::new(0),
                last_used: AtomicU32::new(0),
                kind: e.kind,
                status: Status::Active,
                roles: e.roles.bits(),
                flags,
            });
            *self.counts.entry((workspace, e.kind)).or_default() += 1;
            self.keep_sealed(index, event, fact.position);
            return;
        }
        let Some(index) = self.slab.find(id) else { return };
        let mut state = self.state(index);
        let active_digest = self.slab.get(index).digest;
        let active_before = state.active;
        state.evolve(event);
        self.set_replay_only(index, state.replay_only);
        match event {
            CredentialEvent::SecretRotated(e) => {
                self.replace_active(index, e.secret.version, digest, e.at);
                self.set_retiring(index, state.retiring, active_digest);
            }
            CredentialEvent::RotationPrepared(_) => self.set_prepared(index, state.prepared, digest),
            CredentialEvent::PreparedSecretRotated(e) => {
                let new = self.prepared.get(&index).map_or([0; 32], |p| p.digest);
                self.set_prepared(index, None, [0; 32]);
                self.replace_active(index, e.version, new, e.at);
                self.set_retiring(index, state.retiring, active_digest);
            }
            _ => {
                let kept = self.retiring.get(&index).map_or([0; 32], |r| r.digest);
                self.set_retiring(index, state.retiring, kept);
                let kept = self.prepared.get(&index).map_or([0; 32], |p| p.digest);
                self.set_prepared(index, state.prepared, kept);
                if state.active.is_none() && active_before.is_some() {
                    self.replace_active(index, 0, [0; 32], Timestamp::from_micros(0));
                }
            }
        }
        let slot = self.slab.get_mut(index);
        slot.last_version = state.last_version;
        slot.sequence = fact.sequence.0;
        if slot.status != state.status {
            slot.status = state.status;
            if let Some(count) = self.counts.get_mut(&(slot.workspace, slot.kind)) {
                *count = count.saturating_sub(1);
            }
        }
        if event.ends_sessions() {
            self.epochs.insert(index, fact.sequence.0);
        }
        self.keep_sealed(index, event, fact.position);
        for part in event.shredded().iter().filter(|p| p.part == SealedPart::Secret) {
            if let Some(sealed) = self.sealed.get_mut(&index) {
                sealed.retain(|(_, position)| *position != part.position);
                if sealed.is_empty() {
                    self.sealed.remove(&index);
                }
            }
        }
    }

    /// Notes where the sealed secret of a new version is; a snapshot may know it before its record does.
    fn keep_sealed(&mut self, index: u32, event: &CredentialEvent, position: Position) {
        let Some(secret) = event.secret().filter(|s| s.sealed.is_some()) else { return };
        let sealed = self.sealed.entry(index).or_default();
        if !sealed.contains(&(secret.version, position)) {
            sealed.push((secret.version, position));
        }
    }

    fn replace_active(&mut self, index: u32, version: u32, digest: [u8; 32], at: Timestamp) {
        let slot = self.slab.get_mut(index);
        slot.active = version;
        slot.digest = digest;
        if version != 0 {
            slot.rotated_at = at.micros();
        }
        slot.first_used.store(0, Ordering::Relaxed);
        slot.last_used.store(0, Ordering::Relaxed);
    }

    fn set_retiring(&mut self, index: u32, retiring: Option<Retiring>, digest: [u8; 32]) {
        if let Some(before) = self.retiring.remove(&index) {
            self.due.remove(&(before.until, index, Due::Expiry));
        }
        self.slab.get_mut(index).flags &= !HAS_RETIRING;
        if let Some(Retiring { version, expires_at }) = retiring {
            self.slab.get_mut(index).flags |= HAS_RETIRING;
            self.retiring.insert(index, Beside { version, until: expires_at, digest, grace_seconds: 0 });
            self.due.insert((expires_at, index, Due::Expiry));
        }
    }

    fn set_prepared(&mut self, index: u32, prepared: Option<Prepared>, digest: [u8; 32]) {
        if let Some(before) = self.prepared.remove(&index) {
            self.due.remove(&(before.until, index, Due::Deadline));
        }
        self.slab.get_mut(index).flags &= !HAS_PREPARED;
        if let Some(Prepared { version, deadline, grace_seconds }) = prepared {
            self.slab.get_mut(index).flags |= HAS_PREPARED;
            self.prepared.insert(index, Beside { version, until: deadline, digest, grace_seconds });
            self.due.insert((deadline, index, Due::Deadline));
        }
    }

    fn set_replay_only(&mut self, index: u32, replay_only: Option<ReplayOnly>) {
        if let Some(before) = self.replay_only.remove(&index) {
            self.due.remove(&(before.until, index, Due::Replay));
        }
        self.slab.get_mut(index).flags &= !HAS_REPLAY;
        if let Some(replay_only) = replay_only {
            self.slab.get_mut(index).flags |= HAS_REPLAY;
            self.replay_only.insert(index, replay_only);
            self.due.insert((replay_only.until, index, Due::Replay));
        }
    }

    fn state(&self, index: u32) -> Credential {
        let slot = self.slab.get(index);
        Credential {
            status: slot.status,
            id: CredentialId(slot.id),
            workspace: self.workspaces[slot.workspace as usize].0,
            kind: slot.kind,
            last_version: slot.last_version,
            active: slot.active_version(),
            retiring: self
                .retiring_of(slot, index)
                .map(|r| Retiring { version: r.version, expires_at: r.until }),
            prepared: self.prepared_of(slot, index).map(|p| Prepared {
                version: p.version,
                deadline: p.until,
                grace_seconds: p.grace_seconds,
            }),
            replay_only: self.replay_only_of(slot, index).copied(),
        }
    }

    fn replay_only_of(&self, slot: &Slot, index: u32) -> Option<&ReplayOnly> {
        if slot.flags & HAS_REPLAY == 0 { None } else { self.replay_only.get(&index) }
    }

    fn retiring_of(&self, slot: &Slot, index: u32) -> Option<&Beside> {
        if slot.flags & HAS_RETIRING == 0 { None } else { self.retiring.get(&index) }
    }

    fn prepared_of(&self, slot: &Slot, index: u32) -> Option<&Beside> {
        if slot.flags & HAS_PREPARED == 0 { None } else { self.prepared.get(&index) }
    }
}
