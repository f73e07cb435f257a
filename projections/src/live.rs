//! The live view: what verification and decisions read. In memory, compact, every look-up O(1).
//!
//! It holds for each credential what a decision needs and no more, and the keyed digests of the versions
//! that may still be accepted. What people see of a credential is folded elsewhere
//! ([`crate::credential`]). Applying an event twice changes nothing: an event whose sequence is not above
//! the stream's is passed over, which is what lets a snapshot be written while events come in.

mod campaigns;
mod encode;
mod managed;
mod places;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};

use rota_aggregates::authority::Roles;
use rota_aggregates::credential::{
    Credential, CredentialEvent, Kind, Prepared, ReplayOnly, Retiring, SealedParts, Status,
};
use rota_aggregates::ledger::{Ledger, LedgerEvent};
use rota_aggregates::observation::{ObservationEvent, SealedPart};
use rota_aggregates::secret::Mode;
use rota_aggregates::token_keys::{TokenKeys, TokenKeysEvent};
use rota_aggregates::workspace::{Policy, Workspace, WorkspaceEvent};
use rota_aggregates::{
    CredentialId, Event, EventId, Position, Sequence, StreamId, StreamKind, Timestamp, TokenKeyId,
    WorkspaceId,
};

use self::campaigns::Campaigns;
pub use self::campaigns::{LiveCampaign, LiveCustody};
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

/// What falls due for a credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Due {
    /// The retiring version's grace period is over.
    Expiry,
    /// The prepared version was not committed in time.
    Deadline,
    /// The time in which a replaced version may fetch an answer is over.
    Replay,
}

/// A credential as authentication and decisions see it.
#[derive(Clone, Copy, Debug)]
pub struct LiveCredential {
    /// Its state, for deciding.
    pub state: Credential,
    /// Its stream's last sequence.
    pub sequence: Sequence,
    /// Its public identifier.
    pub public_id: PublicId,
    /// What it may do in its workspace beyond itself.
    pub roles: Roles,
    /// For workspace keys: test or production.
    pub mode: Option<Mode>,
    /// What a session of it must carry: it changes with every event that ends its sessions.
    pub epoch: u32,
}

/// Which digest a secret matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is the active version.
    Active,
    /// It is in its grace period until then.
    Retiring {
        /// The first instant at which it is refused.
        expires_at: Timestamp,
    },
    /// It waits to be committed: this use commits it.
    Prepared,
    /// It was replaced, and may fetch the answer to that and nothing else.
    ReplayOnly,
}

/// The digests under which a secret may be accepted at an instant. Compare all of them in constant time.
#[derive(Clone, Copy, Debug)]
pub struct Candidates {
    /// The credential.
    pub credential: CredentialId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Its place in the slab, for noting the use.
    pub slot: u32,
    /// Digest, version and standing of each live version; unused places hold `None`.
    pub digests: [Option<([u8; 32], u32, Standing)>; 3],
}

/// Where the sealed secrets are under which a signature may be accepted at an instant, newest first. Compare all of
/// them in constant time.
#[derive(Clone, Copy, Debug)]
pub struct Signers {
    /// The credential.
    pub credential: CredentialId,
    /// Its place in the slab, for noting the use.
    pub slot: u32,
    /// The event that brought it, version and standing of each; unused places hold `None`.
    pub versions: [Option<(Position, u32, Standing)>; 4],
}

/// Times of the first and last use of an active secret, in seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UseMark {
    /// The credential.
    pub credential: CredentialId,
    /// The version.
    pub version: u32,
    /// Its first use.
    pub first: u32,
    /// Its last use, to the minute.
    pub last: u32,
}

/// A version in its grace period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InGrace {
    /// Its credential.
    pub credential: CredentialId,
    /// The credential's workspace.
    pub workspace: WorkspaceId,
    /// The version.
    pub version: u32,
    /// When it was replaced.
    pub replaced_at: Timestamp,
    /// The first instant at which it is refused.
    pub expires_at: Timestamp,
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
            StreamKind::Use | StreamKind::Refusals | StreamKind::Shredding | StreamKind::Sessions => {
                self.observations.get(stream).copied()
            }
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

    fn live_credential(&self, index: u32) -> LiveCredential {
        let slot = self.slab.get(index);
        LiveCredential {
            state: self.state(index),
            sequence: Sequence(slot.sequence),
            public_id: slot.public_id(),
            roles: slot.role_set(),
            mode: slot.mode(),
            epoch: self.epochs.get(&index).copied().unwrap_or(0),
        }
    }

    /// A credential by its id.
    pub fn credential(&self, id: CredentialId) -> Option<LiveCredential> {
        self.slab.find(id).map(|index| self.live_credential(index))
    }

    /// Up to `count` credentials from the one that was issued as number `first` on, in order of issue, with the instant
    /// at which each got its active secret.
    pub fn credentials_from(
        &self,
        first: usize,
        count: usize,
    ) -> impl Iterator<Item = (LiveCredential, Timestamp)> {
        let end = self.slab.len().min(first.saturating_add(count));
        (first.min(end)..end).map(|index| {
            let rotated_at = self.slab.get(index as u32).rotated_at;
            (self.live_credential(index as u32), Timestamp::from_micros(rotated_at))
        })
    }

    /// When a credential got its active secret.
    pub fn rotated_at(&self, id: CredentialId) -> Option<Timestamp> {
        self.slab.find(id).map(|index| Timestamp::from_micros(self.slab.get(index).rotated_at))
    }

    /// A credential by its public identifier.
    pub fn by_public_id(&self, id: &PublicId) -> Option<LiveCredential> {
        self.slab.find_public(id).map(|index| self.live_credential(index))
    }

    /// Whether a public identifier is taken.
    pub fn is_taken(&self, id: &PublicId) -> bool {
        self.slab.find_public(id).is_some()
    }

    /// The digests under which a secret shown for this identifier may be accepted at `now`.
    pub fn candidates(&self, id: &PublicId, now: Timestamp) -> Option<Candidates> {
        let index = self.slab.find_public(id)?;
        let slot = self.slab.get(index);
        let active = slot.active_version().map(|version| (slot.digest, version, Standing::Active));
        let retiring = self
            .retiring_of(slot, index)
            .filter(|r| now < r.until)
            .map(|r| (r.digest, r.version, Standing::Retiring { expires_at: r.until }));
        let prepared = self
            .prepared_of(slot, index)
            .filter(|p| now < p.until)
            .map(|p| (p.digest, p.version, Standing::Prepared));
        let alive = slot.status == Status::Active;
        Some(Candidates {
            credential: CredentialId(slot.id),
            workspace: self.workspaces[slot.workspace as usize].0,
            slot: index,
            digests: if alive { [active, retiring, prepared] } else { [None; 3] },
        })
    }

    /// The sealed secrets under which a signature by this identifier may be accepted at `now`.
    pub fn signers(&self, id: &PublicId, now: Timestamp) -> Option<Signers> {
        let index = self.slab.find_public(id)?;
        let state = self.state(index);
        let sealed = self.sealed.get(&index);
        let at = |version: u32, standing: Standing| {
            let (_, position) = sealed?.iter().find(|(v, _)| *v == version)?;
            Some((*position, version, standing))
        };
        let retiring = state.retiring_at(now);
        // While it retires it may do what a retiring secret may, and that includes this.
        let replay =
            state.replay_only_at(now).filter(|r| retiring.is_none_or(|old| old.version != r.version));
        let versions = [
            state.prepared_at(now).and_then(|p| at(p.version, Standing::Prepared)),
            state.active.and_then(|version| at(version, Standing::Active)),
            retiring.and_then(|r| at(r.version, Standing::Retiring { expires_at: r.expires_at })),
            replay.and_then(|r| at(r.version, Standing::ReplayOnly)),
        ];
        let alive = state.status == Status::Active;
        Some(Signers {
            credential: state.id,
            slot: index,
            versions: if alive { versions } else { [None; 4] },
        })
    }

    /// Whether the sealed secret that the event at `position` brought is kept.
    pub fn is_sealed(&self, id: CredentialId, position: Position) -> bool {
        let sealed = self.slab.find(id).and_then(|index| self.sealed.get(&index));
        sealed.is_some_and(|sealed| sealed.iter().any(|(_, at)| *at == position))
    }

    /// The credential in a place that [`Live::candidates`] gave.
    pub fn at(&self, slot: u32) -> LiveCredential {
        self.live_credential(slot)
    }

    /// What is sealed for a credential's live versions.
    pub fn sealed_secrets(&self, id: CredentialId) -> SealedParts {
        let secrets = self.slab.find(id).and_then(|index| self.sealed.get(&index)).cloned();
        SealedParts { secrets: secrets.unwrap_or_default(), answers: Vec::new() }
    }

    /// A workspace's state and its stream's last sequence.
    pub fn workspace(&self, id: WorkspaceId) -> Option<(Workspace, Sequence)> {
        let index = self.workspace_index.get(&id)?;
        let (_, workspace, sequence) = self.workspaces[*index as usize];
        Some((workspace, sequence))
    }

    /// A workspace's policy; the default one for an unknown workspace.
    pub fn policy(&self, id: WorkspaceId) -> Policy {
        self.workspace(id).map(|(workspace, _)| workspace.policy).unwrap_or_default()
    }

    /// Every workspace, by order of opening.
    pub fn workspaces(&self) -> impl Iterator<Item = (WorkspaceId, Workspace)> {
        self.workspaces.iter().map(|(id, workspace, _)| (*id, *workspace))
    }

    /// How many credentials of a kind live in a workspace.
    pub fn count(&self, workspace: WorkspaceId, kind: Kind) -> u64 {
        self.workspace_index
            .get(&workspace)
            .and_then(|index| self.counts.get(&(*index, kind)))
            .copied()
            .unwrap_or(0)
    }

    /// Every version in its grace period, in no order.
    pub fn in_grace(&self) -> impl Iterator<Item = InGrace> {
        self.retiring.iter().map(|(index, beside)| {
            let slot = self.slab.get(*index);
            InGrace {
                credential: CredentialId(slot.id),
                workspace: self.workspaces[slot.workspace as usize].0,
                version: beside.version,
                replaced_at: Timestamp::from_micros(slot.rotated_at),
                expires_at: beside.until,
            }
        })
    }

    /// What is due at `now`, oldest first, at most `limit`.
    pub fn due(&self, now: Timestamp, limit: usize) -> Vec<(CredentialId, Due)> {
        let due = self.due.iter().take_while(|(at, ..)| *at <= now);
        due.take(limit).map(|(_, index, due)| (CredentialId(self.slab.get(*index).id), *due)).collect()
    }

    /// When the next thing falls due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// Notes that the secret in `slot` was used, if `version` is the active one still. Whether that is worth writing
    /// down.
    pub fn note_use(&self, slot: u32, version: u32, now: Timestamp) -> bool {
        let slot = self.slab.get(slot);
        slot.active == version && slot.note_use(now)
    }

    /// The uses of a credential's active secret.
    pub fn use_mark(&self, id: CredentialId) -> Option<UseMark> {
        self.slab.find(id).and_then(|index| self.use_mark_at(index))
    }

    /// The uses of the active secret in `slot`, if there were any.
    pub fn use_mark_at(&self, slot: u32) -> Option<UseMark> {
        let slot = self.slab.get(slot);
        let first = slot.first_used.load(Ordering::Relaxed);
        (first != 0).then(|| UseMark {
            credential: CredentialId(slot.id),
            version: slot.active,
            first,
            last: slot.last_used.load(Ordering::Relaxed),
        })
    }

    /// Restores a mark that was written down, if it is about the active version still.
    pub fn restore_use(&self, mark: &UseMark) {
        let Some(index) = self.slab.find(mark.credential) else { return };
        let slot = self.slab.get(index);
        if slot.active == mark.version {
            slot.first_used.store(mark.first, Ordering::Relaxed);
            slot.last_used.store(mark.last, Ordering::Relaxed);
        }
    }
}
