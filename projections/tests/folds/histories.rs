//! Histories: made by letting workspaces and credentials decide on random commands, as the service does.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rota_aggregates::authority::{Actor, Dialect, Proof, ProofKind, Role, SignedRequest};
use rota_aggregates::credential::{
    CancelRotation, CommitCause, CommitRotation, Credential, CredentialCommand, DescribeCredential, EndCause,
    EndQuietGrace, EndReplay, ExpireOldSecret, HoldGrace, IssueCredential, Kind, PrepareRotation,
    ReplayEndCause, RevokeCredential, RevokeSecret, RotateSecret, SecretRef,
};
use rota_aggregates::ids::{Hash, PublicKey};
use rota_aggregates::observation::{
    ObservationEvent, OldSecretUsed, PartRef, SealedPart, SealedPartsShredded, SessionEnded, session_ended_id,
};
use rota_aggregates::places::PlacesCommand;
use rota_aggregates::record::{Claim, Context, Record, SealedHashes};
use rota_aggregates::secret::{Mode, RANDOM_BYTES, SecretShape, generate};
use rota_aggregates::token_keys::{MakeTokenKey, TokenKeyCause, TokenKeysCommand};
use rota_aggregates::webhook::{DisableCause, Scheme, Settings, Webhook, WebhookCommand};
use rota_aggregates::workspace::{Policy, Workspace, WorkspaceCommand};
use rota_aggregates::{
    CredentialId, EnvironmentId, Event, EventId, FolderId, Position, RequestId, Sequence, StreamId,
    Timestamp, TokenKeyId, WebhookId, WorkspaceId,
};
use rota_projections::live::Live;
use rota_projections::replay_index::ReplayIndex;
use rota_projections::{Details, Recorded};
use uuid::Uuid;

/// A command before it is known what it meets.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is asked.
    pub command: u8,
    /// Of whom: one of those that there are.
    pub target: u8,
    /// Seconds since the step before.
    pub later: u32,
    /// A grace period or a deadline, of a few sizes.
    pub seconds: u8,
    /// Which idempotency key is claimed, if one is.
    pub key: Option<u8>,
}

pub fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let later = prop_oneof![4 => 0u32..3, 3 => 3u32..200, 1 => 3_000u32..200_000];
    let key = prop_oneof![2 => Just(None), 3 => (0u8..12).prop_map(Some)];
    let step = (any::<u8>(), any::<u8>(), later, any::<u8>(), key)
        .prop_map(|(command, target, later, seconds, key)| Step { command, target, later, seconds, key });
    prop::collection::vec(step, 1..count)
}

/// Makes a history: decides, and records as the committer does.
pub struct Writer {
    pub history: Vec<Recorded>,
    pub now: Timestamp,
    sequences: BTreeMap<StreamId, u32>,
    workspaces: Vec<(WorkspaceId, Workspace)>,
    pub credentials: Vec<Credential>,
    /// What is kept sealed, found by folding, as the service finds it.
    pub live: Live,
    replays: ReplayIndex,
}

pub fn number(n: u128) -> Uuid {
    Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 | n)
}

impl Writer {
    fn new() -> Self {
        Self {
            history: Vec::new(),
            now: Timestamp::from_micros(1_790_000_000_000_000),
            sequences: BTreeMap::new(),
            workspaces: Vec::new(),
            credentials: Vec::new(),
            live: Live::default(),
            replays: ReplayIndex::default(),
        }
    }

    pub fn record(
        &mut self,
        stream: StreamId,
        workspace: WorkspaceId,
        event: Event,
        claim: Option<Claim>,
        id: EventId,
    ) {
        let position = Position(self.history.len() as u64);
        let sequence = self.sequences.entry(stream).or_default();
        *sequence += 1;
        let digest = match &event {
            Event::Credential(e) => e.secret().map(|s| s.digest.0),
            _ => None,
        };
        // An answer goes along with most named requests, and not with all.
        let answer = claim.filter(|c| !c.key.0[0].is_multiple_of(4)).map(|c| c.fingerprint);
        // Every other event is what a signed request led to.
        let signed = SignedRequest { at: self.now, payload: Hash([position.0 as u8; 32]) };
        let proof = Proof::of(ProofKind::Signature, CredentialId(stream.id), 1, false);
        let proof = if position.0.is_multiple_of(2) {
            Proof { signed: Some(signed), ..proof }
        } else {
            Proof::OPERATOR
        };
        let record = Record {
            time: self.now,
            sequence: Sequence(*sequence),
            id,
            stream,
            context: Context {
                workspace,
                actor: Actor::OPERATOR,
                dialect: Dialect::Native,
                proof,
                request: RequestId(number(position.0.into())),
                causation: Uuid::nil(),
                correlation: Uuid::nil(),
            },
            claim,
            sealed: SealedHashes { answer, details: None },
            event,
        };
        let details = Details { name: Some(format!("name {position}")), ..Details::default() };
        let recorded = Recorded { position, record, digest, details: Some(details) };
        self.live.apply(&recorded.fact());
        self.replays.apply(&recorded.fact());
        self.history.push(recorded);
    }

    pub fn next_id(&self) -> EventId {
        EventId(number(self.history.len() as u128 + 1))
    }

    fn secret(&self, kind: Kind, version: u32) -> SecretRef {
        let salt = self.history.len() as u8;
        let mut digest = [salt; 32];
        digest[..4].copy_from_slice(&(self.history.len() as u32 + 1).to_le_bytes());
        SecretRef {
            version,
            hint: format!("{:04}", self.history.len() % 10_000),
            digest: Hash(digest),
            sealed: kind.recoverable().then_some(Hash([salt; 32])),
        }
    }

    fn claim(&self, step: &Step) -> Option<Claim> {
        let key = step.key?;
        let claim = Claim { key: Hash([key; 32]), fingerprint: Hash([step.command; 32]) };
        // The committer lets no key be claimed while it is spent.
        self.replays.find(&claim, self.now).is_none().then_some(claim)
    }

    fn step(&mut self, step: &Step) {
        self.now = self.now.plus_seconds(step.later.into());
        if self.workspaces.is_empty() || step.command.is_multiple_of(32) {
            return self.open_workspace();
        }
        if self.credentials.is_empty() || step.command % 32 == 1 {
            return self.issue(step);
        }
        match step.command % 16 {
            2 if step.target.is_multiple_of(4) => self.set_policy(step),
            2 if step.target % 4 == 1 => self.keep_token_keys(step),
            2 if step.target % 8 == 3 => self.keep(step),
            10 if step.target.is_multiple_of(2) => self.campaign(step),
            3 => self.use_old_secret(step),
            4 => self.shred(step),
            5 => self.webhook(step),
            6 if step.target.is_multiple_of(2) => self.place(step),
            6 if step.target % 4 == 1 => self.end_session(step),
            _ => self.change(step),
        }
    }

    fn open_workspace(&mut self) {
        let id = WorkspaceId(number(1_000_000 + self.workspaces.len() as u128));
        let mut state = Workspace::default();
        for event in state.decide(&WorkspaceCommand::OpenWorkspace { now: self.now }).unwrap() {
            state.evolve(&event);
            self.record(StreamId::workspace(id), id, event.into(), None, self.next_id());
        }
        self.workspaces.push((id, state));
    }

    fn webhook(&mut self, step: &Step) {
        let (workspace, _) = self.workspaces[usize::from(step.target) % self.workspaces.len()];
        let known: Vec<_> = self.live.webhooks_of(workspace).map(|w| (w.id, w.state.clone())).collect();
        let settings = Settings { expiry_lead_seconds: step.seconds.into(), ..Settings::default() };
        let now = self.now;
        let (id, state, command) = match known.get(usize::from(step.target / 4) % 3) {
            None => {
                let id = WebhookId(number(3_000_000 + self.history.len() as u128));
                let owner = (step.target.is_multiple_of(2)).then_some(CredentialId(number(2_000_000)));
                let scheme = if owner.is_some() { Scheme::Body } else { Scheme::Standard };
                let command =
                    WebhookCommand::Register { webhook: id, workspace, owner, scheme, settings, now };
                (id, Webhook::default(), command)
            }
            Some((id, state)) => {
                let described = vec!["url".to_owned(); usize::from(step.target) % 2];
                let command = match step.command / 16 % 6 {
                    0 | 1 => WebhookCommand::Disable { cause: DisableCause::Failing, now },
                    2 => WebhookCommand::Enable { now },
                    3 => WebhookCommand::Delete { now },
                    _ => WebhookCommand::Change { settings, described, now },
                };
                (*id, state.clone(), command)
            }
        };
        if let Some(event) = state.decide(command).unwrap() {
            self.record(StreamId::webhook(id), workspace, event.into(), None, self.next_id());
        }
    }

    fn place(&mut self, step: &Step) {
        let (workspace, _) = self.workspaces[usize::from(step.target) % self.workspaces.len()];
        let now = self.now;
        let places = self.live.places(workspace).unwrap().state;
        // All of them may have been removed.
        if places.environments.is_empty() {
            return;
        }
        let environment = &places.environments[usize::from(step.seconds) % places.environments.len()];
        let new = number(4_000_000 + self.history.len() as u128);
        let command = match (step.command / 16 % 6, places.folders.last()) {
            (0, _) => {
                let slug = format!("e{}", self.history.len());
                PlacesCommand::AddEnvironment { environment: EnvironmentId(new), slug, now }
            }
            (1, _) => {
                let slug = format!("c{}", self.history.len());
                PlacesCommand::ChangeEnvironment { environment: environment.id, slug, renamed: true, now }
            }
            (2, Some(folder)) => PlacesCommand::RemoveFolder { folder: folder.id, now },
            (3, Some(folder)) => {
                PlacesCommand::ChangeFolder { folder: folder.id, name: "f".into(), described: true, now }
            }
            (4, _) => PlacesCommand::RemoveEnvironment { environment: environment.id, now },
            (_, last) => {
                let parent = last.map_or(environment.id.root(), |folder| folder.id);
                let name = format!("f{}", self.history.len());
                PlacesCommand::AddFolder { folder: FolderId(new), parent, name, now }
            }
        };
        if let Ok(Some(event)) = places.decide(command) {
            self.record(StreamId::places(workspace), workspace, event.into(), None, self.next_id());
        }
    }

    fn end_session(&mut self, step: &Step) {
        let credential = CredentialId(number(2_000_000 + u128::from(step.target)));
        let session = number(5_000_000 + self.history.len() as u128);
        let until = self.now.plus_seconds(step.seconds.into());
        let event = SessionEnded { credential, session, until, at: self.now };
        let workspace = self.workspaces[0].0;
        let (stream, event) = (StreamId::sessions(credential), ObservationEvent::from(event).into());
        self.record(stream, workspace, event, None, session_ended_id(session));
    }

    fn keep_token_keys(&mut self, step: &Step) {
        let keys = self.live.token_keys().clone();
        let private: Vec<_> = self.live.token_private().collect();
        let command = match (step.seconds % 4, private.first()) {
            (0, Some((key, position))) => {
                TokenKeysCommand::Retire { key: *key, sealed: Some(*position), now: self.now }
            }
            (n, _) => TokenKeysCommand::Make(MakeTokenKey {
                key: TokenKeyId(number(3_000_000 + self.history.len() as u128)),
                public: PublicKey([step.seconds; 32]),
                sealed: Hash([step.seconds; 32]),
                cause: if n == 1 { TokenKeyCause::Compromised } else { TokenKeyCause::Call },
                token_seconds: 60,
                private,
                now: self.now,
            }),
        };
        for event in keys.decide(&command).unwrap_or_default() {
            self.record(StreamId::TOKEN_KEYS, WorkspaceId::default(), event.into(), None, self.next_id());
        }
    }

    fn set_policy(&mut self, step: &Step) {
        let index = usize::from(step.target) % self.workspaces.len();
        let (id, mut state) = self.workspaces[index];
        let seconds = u64::from(step.seconds);
        let policy = Policy {
            max_secret_age_days: (step.seconds.is_multiple_of(2)).then_some(90),
            default_grace_seconds: seconds,
            digest_retention_days: step.seconds.into(),
            end_grace_when_quiet_seconds: step.seconds.is_multiple_of(3).then_some(3_600),
            hold_grace_while_used_seconds: step.seconds.is_multiple_of(5).then_some(600),
            ..Policy::default()
        };
        for event in state.decide(&WorkspaceCommand::SetPolicy { policy, now: self.now }).unwrap() {
            state.evolve(&event);
            self.record(StreamId::workspace(id), id, event.into(), None, self.next_id());
        }
        self.workspaces[index].1 = state;
    }

    fn issue(&mut self, step: &Step) {
        let (workspace, _) = self.workspaces[usize::from(step.target) % self.workspaces.len()];
        let id = CredentialId(number(2_000_000 + self.credentials.len() as u128));
        let kind = Kind::ALL[usize::from(step.seconds) % Kind::ALL.len()];
        let mode = (kind == Kind::WorkspaceKey).then_some(Mode::Test);
        let shape = match kind {
            Kind::Client => SecretShape::Client,
            Kind::Exchange => SecretShape::Exchange,
            Kind::Signing => SecretShape::Signing,
            Kind::WorkspaceKey => SecretShape::WorkspaceKey(Mode::Test),
            Kind::Webhook => SecretShape::Webhook,
        };
        let mut random = [0x5a; RANDOM_BYTES];
        for (at, byte) in random.iter_mut().enumerate() {
            *byte = (self.credentials.len() * 37 + at * 11 + 1) as u8;
        }
        let command = CredentialCommand::Issue(IssueCredential {
            credential: id,
            workspace,
            kind,
            public_id: generate(shape, &random).public_id,
            roles: [Role::Rotator].into_iter().collect(),
            mode,
            parent: None,
            secret: self.secret(kind, 1),
            proof: Proof::OPERATOR,
            now: self.now,
        });
        self.credentials.push(Credential { id, workspace, ..Credential::default() });
        let index = self.credentials.len() - 1;
        let mut fresh = Credential::default();
        self.carry_out(index, &mut fresh, command, self.claim(step));
        self.credentials[index] = fresh;
    }

    fn carry_out(
        &mut self,
        index: usize,
        state: &mut Credential,
        command: CredentialCommand,
        claim: Option<Claim>,
    ) {
        let (id, workspace) = (self.credentials[index].id, self.credentials[index].workspace);
        // A refusal is as good as anything: it changes nothing.
        let Ok(events) = state.decide(command) else { return };
        for (offset, event) in events.into_iter().enumerate() {
            state.evolve(&event);
            let claim = claim.filter(|_| offset == 0);
            self.record(StreamId::credential(id), workspace, event.into(), claim, self.next_id());
        }
    }

    /// Mostly one of the last few, so that a credential sees many changes.
    pub fn pick(&self, step: &Step) -> usize {
        let count = self.credentials.len();
        let among = if step.target.is_multiple_of(8) { count } else { count.min(3) };
        count - 1 - usize::from(step.target / 8) % among
    }

    fn change(&mut self, step: &Step) {
        let index = self.pick(step);
        let mut state = self.credentials[index];
        let now = self.now;
        let mut sealed = self.live.sealed_secrets(state.id);
        sealed.answers = self.replays.answers_of(state.id);
        let (proof, policy) = (Proof::OPERATOR, self.live.policy(state.workspace));
        let secret = self.secret(state.kind, state.last_version + 1);
        let means = state.active;
        let seconds = Some([0, 1, 60, 100_000][usize::from(step.seconds) % 4]);
        let command = match step.command % 16 {
            2 => CredentialCommand::Describe(DescribeCredential { changed: vec!["name".into()], proof, now }),
            5..=7 => CredentialCommand::Rotate(RotateSecret {
                secret,
                means,
                grace_seconds: seconds,
                compromised: step.seconds % 8 == 4,
                replayable: true,
                proof: Proof::of(ProofKind::Signature, state.id, means.unwrap_or(0), false),
                policy,
                sealed,
                now,
            }),
            8 | 9 => CredentialCommand::Prepare(PrepareRotation {
                secret,
                means,
                grace_seconds: seconds,
                deadline_seconds: Some([1, 60, 3_600, 100_000][usize::from(step.seconds / 4) % 4]),
                proof,
                policy,
                sealed,
                now,
            }),
            10 => CredentialCommand::Commit(CommitRotation {
                means: None,
                cause: CommitCause::Call,
                proof,
                policy,
                sealed,
                now,
            }),
            11 => CredentialCommand::Commit(CommitRotation {
                means: state.prepared.map(|p| p.version),
                cause: CommitCause::FirstUse,
                proof: Proof::of(ProofKind::Secret, state.id, state.last_version, false),
                policy,
                sealed,
                now,
            }),
            12 => CredentialCommand::Cancel(CancelRotation {
                means: None,
                cause: EndCause::Call,
                proof,
                sealed,
                now,
            }),
            13 if step.seconds % 8 == 1 => CredentialCommand::HoldGrace(HoldGrace {
                version: state.retiring.map_or(0, |r| r.version),
                replaced_at: now,
                used_at: now,
                policy: Policy { hold_grace_while_used_seconds: Some(60), ..policy },
                now,
            }),
            13 if step.seconds % 8 == 3 => CredentialCommand::EndQuietGrace(EndQuietGrace {
                version: state.retiring.map_or(0, |r| r.version),
                replaced_at: now.minus_seconds(60),
                quiet_since: now.minus_seconds(60),
                policy: Policy { end_grace_when_quiet_seconds: Some(60), ..policy },
                sealed,
                now,
            }),
            13 => CredentialCommand::ExpireOld(ExpireOldSecret {
                means: None,
                cause: if step.seconds.is_multiple_of(2) { EndCause::Due } else { EndCause::Call },
                proof,
                sealed,
                now,
            }),
            14 => {
                let version = state.live_versions(now).nth(usize::from(step.seconds) % 2).unwrap_or(1);
                CredentialCommand::RevokeSecret(RevokeSecret { version, proof, sealed, now })
            }
            _ if state.replay_only.is_some() => {
                CredentialCommand::EndReplay(EndReplay { cause: ReplayEndCause::FirstUse, sealed, now })
            }
            _ if step.seconds.is_multiple_of(4) => {
                CredentialCommand::Revoke(RevokeCredential { proof, sealed, now })
            }
            _ => CredentialCommand::Describe(DescribeCredential {
                changed: vec!["profile".into()],
                proof,
                now,
            }),
        };
        self.carry_out(index, &mut state, command, self.claim(step));
        self.credentials[index] = state;
    }

    fn use_old_secret(&mut self, step: &Step) {
        let state = self.credentials[self.pick(step)];
        let Some(retiring) = state.retiring_at(self.now) else { return };
        let id = rota_aggregates::observation::old_secret_used_id(state.id, retiring.version, self.now);
        if self.live.was_observed(id) {
            return;
        }
        let event = OldSecretUsed {
            credential: state.id,
            version: retiring.version,
            at: self.now,
            expires_at: retiring.expires_at,
        };
        let event = Event::Observation(event.into());
        self.record(StreamId::secret_use(state.id), state.workspace, event, None, id);
    }

    fn shred(&mut self, step: &Step) {
        let due = self.replays.answers_due(self.now, 1 + usize::from(step.target) % 3);
        if due.is_empty() {
            return;
        }
        let (workspace, _) = self.workspaces[0];
        let parts = due.iter().map(|(p, _)| PartRef { position: *p, part: SealedPart::Answer }).collect();
        let event = Event::Observation(SealedPartsShredded { parts, at: self.now }.into());
        self.record(StreamId::shredding(workspace), workspace, event, None, self.next_id());
    }
}

pub fn history(steps: &[Step]) -> Vec<Recorded> {
    let mut writer = Writer::new();
    for step in steps {
        writer.step(step);
    }
    writer.history
}
