//! Commands and events with the ordinary values filled in, so that a test names only what it is about.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use rota_aggregates::authority::{Proof, ProofKind, Roles};
use rota_aggregates::credential::{
    CancelCause, CancelRotation, CommitCause, CommitRotation, Credential, CredentialCommand, CredentialEvent,
    CredentialIssued, CredentialRefusal, DescribeCredential, EndCause, EndQuietGrace, EndReplay,
    ExpireOldSecret, ExpiryCause, HoldGrace, IssueCredential, Kind, OldSecretExpired, PrepareRotation,
    PreparedSecretRotated, Replaced, RevokeCredential, RevokeSecret, RotateSecret, RotationCancelled,
    RotationPrepared, SealedParts, SecretRef, SecretRevoked, SecretRotated,
};
use rota_aggregates::ids::{CredentialId, Hash, Position, WebhookId, WorkspaceId};
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::secret::Mode;
use rota_aggregates::time::Timestamp;
use rota_aggregates::workspace::Policy;
use uuid::Uuid;

pub const CREDENTIAL: CredentialId = CredentialId(Uuid::from_u128(0x0199_7c4e_0000_7000_8000_0000_0000_0001));
pub const OTHER: CredentialId = CredentialId(Uuid::from_u128(0x0199_7c4e_0000_7000_8000_0000_0000_0002));
pub const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::from_u128(0x0199_7c4e_0000_7000_8000_0000_0000_00aa));
pub const WEBHOOK: WebhookId = WebhookId(Uuid::from_u128(0x0199_7c4e_0000_7000_8000_0000_0000_00bb));

/// The instant so many seconds after the tests' beginning, 2026-11-21T00:00:00Z.
pub fn at(seconds: u32) -> Timestamp {
    Timestamp::from_micros(1_795_219_200_000_000 + i64::from(seconds) * 1_000_000)
}

/// The last instant before.
pub fn just_before(time: Timestamp) -> Timestamp {
    Timestamp::from_micros(time.micros() - 1)
}

pub fn hash(byte: u8) -> Hash {
    Hash([byte; 32])
}

pub fn secret(version: u32) -> SecretRef {
    SecretRef { version, hint: format!("h{version:03}"), digest: hash(version as u8), sealed: None }
}

/// What is sealed for a credential: the secrets of versions 1 to 4, and two answers.
pub fn parts() -> SealedParts {
    SealedParts {
        secrets: (1..=4).map(|v| (v, position(v))).collect(),
        answers: vec![(1, Position(101)), (2, Position(102))],
    }
}

fn position(version: u32) -> Position {
    Position(u64::from(version) * 10)
}

/// The sealed secret of a version, as [`parts`] has it.
pub fn secret_part(version: u32) -> PartRef {
    PartRef { position: position(version), part: SealedPart::Secret }
}

fn answer_part(position: Position) -> PartRef {
    PartRef { position, part: SealedPart::Answer }
}

/// The sealed answers, as [`parts`] has them.
pub fn answer_parts() -> Vec<PartRef> {
    parts().answers.into_iter().map(|(_, position)| answer_part(position)).collect()
}

/// A proof by the credential's own secret.
pub fn own(kind: ProofKind, version: u32) -> Proof {
    Proof::of(kind, CREDENTIAL, version, false)
}

// What has happened.

pub fn issued() -> CredentialEvent {
    CredentialIssued {
        credential: CREDENTIAL,
        workspace: WORKSPACE,
        kind: Kind::Client,
        public_id: "app_1".into(),
        roles: Roles::NONE,
        mode: None,
        parent: None,
        secret: secret(1),
        at: at(0),
    }
    .into()
}

/// The version before `version`, replaced, with its grace period if it gets one.
pub fn replaced(version: u32, grace_seconds: u64, now: Timestamp) -> Replaced {
    let expires_at = (grace_seconds > 0).then(|| now.plus_seconds(grace_seconds));
    Replaced { version: version - 1, expires_at, replay_until: None }
}

/// `version` replaced the one before it.
pub fn rotated(version: u32, grace_seconds: u64, now: Timestamp) -> SecretRotated {
    SecretRotated {
        secret: secret(version),
        replaced: Some(replaced(version, grace_seconds, now)),
        grace_seconds,
        compromised: false,
        shredded: if grace_seconds == 0 { vec![secret_part(version - 1)] } else { vec![] },
        at: now,
    }
}

/// `version` was prepared, to be committed before `deadline`.
pub fn prepared(version: u32, deadline: Timestamp, grace_seconds: u64, now: Timestamp) -> RotationPrepared {
    RotationPrepared { secret: secret(version), deadline, grace_seconds, at: now }
}

pub fn committed(
    version: u32,
    grace_seconds: u64,
    cause: CommitCause,
    now: Timestamp,
) -> PreparedSecretRotated {
    PreparedSecretRotated {
        version,
        replaced: Some(replaced(version, grace_seconds, now)),
        grace_seconds,
        cause,
        shredded: if grace_seconds == 0 { vec![secret_part(version - 1)] } else { vec![] },
        at: now,
    }
}

pub fn cancelled(version: u32, cause: CancelCause, cancelled_at: Timestamp) -> RotationCancelled {
    RotationCancelled { version, cancelled_at, cause, shredded: vec![secret_part(version)] }
}

pub fn expired(version: u32, cause: ExpiryCause, expired_at: Timestamp) -> OldSecretExpired {
    OldSecretExpired { version, expired_at, cause, shredded: vec![secret_part(version)] }
}

pub fn secret_revoked(version: u32, now: Timestamp) -> SecretRevoked {
    let mut shredded = vec![secret_part(version)];
    let answers = parts().answers.into_iter().filter(|(of, _)| *of == version);
    shredded.extend(answers.map(|(_, position)| answer_part(position)));
    SecretRevoked { version, shredded, at: now }
}

/// Version 1 retires until second 60, version 2 is active.
pub fn in_grace() -> Vec<CredentialEvent> {
    vec![issued(), rotated(2, 50, at(10)).into()]
}

/// Version 1 is active, version 2 can be committed until second 60 and then leaves 30 seconds of grace.
pub fn pending() -> Vec<CredentialEvent> {
    vec![issued(), prepared(2, at(60), 30, at(10)).into()]
}

// What is asked.

pub fn issue() -> IssueCredential {
    IssueCredential {
        credential: CREDENTIAL,
        workspace: WORKSPACE,
        kind: Kind::Client,
        public_id: "app_1".into(),
        roles: Roles::NONE,
        mode: None,
        parent: None,
        secret: secret(1),
        proof: Proof::OPERATOR,
        now: at(0),
    }
}

/// Issue one of this kind, with what belongs to it.
pub fn issue_of(kind: Kind) -> IssueCredential {
    IssueCredential {
        kind,
        mode: (kind == Kind::WorkspaceKey).then_some(Mode::Test),
        parent: (kind == Kind::Webhook).then_some(OTHER),
        secret: SecretRef { sealed: kind.recoverable().then(|| hash(0x51)), ..secret(1) },
        ..issue()
    }
}

/// Replace `means`, the newest version, by the next one.
pub fn rotate(means: u32, now: Timestamp) -> RotateSecret {
    RotateSecret {
        secret: secret(means + 1),
        means: Some(means),
        grace_seconds: None,
        compromised: false,
        replayable: false,
        proof: Proof::OPERATOR,
        policy: Policy::default(),
        sealed: parts(),
        now,
    }
}

/// Prepare the successor of `means`, the newest version.
pub fn prepare(means: u32, now: Timestamp) -> PrepareRotation {
    PrepareRotation {
        secret: secret(means + 1),
        means: Some(means),
        grace_seconds: None,
        deadline_seconds: None,
        proof: Proof::OPERATOR,
        policy: Policy::default(),
        sealed: parts(),
        now,
    }
}

pub fn commit(now: Timestamp) -> CommitRotation {
    CommitRotation {
        means: None,
        cause: CommitCause::Call,
        proof: Proof::OPERATOR,
        policy: Policy::default(),
        sealed: parts(),
        now,
    }
}

/// `version`, which is prepared, is used for the first time.
pub fn first_use(version: u32, now: Timestamp) -> CommitRotation {
    CommitRotation {
        means: Some(version),
        cause: CommitCause::FirstUse,
        proof: own(ProofKind::Secret, version),
        ..commit(now)
    }
}

pub fn cancel(now: Timestamp) -> CancelRotation {
    CancelRotation { means: None, cause: EndCause::Call, proof: Proof::OPERATOR, sealed: parts(), now }
}

pub fn expire_old(cause: EndCause, now: Timestamp) -> ExpireOldSecret {
    ExpireOldSecret { means: None, cause, proof: Proof::OPERATOR, sealed: parts(), now }
}

pub fn revoke_secret(version: u32, now: Timestamp) -> RevokeSecret {
    RevokeSecret { version, proof: Proof::OPERATOR, sealed: parts(), now }
}

pub fn revoke(now: Timestamp) -> RevokeCredential {
    RevokeCredential { proof: Proof::OPERATOR, sealed: parts(), now }
}

pub fn describe(changed: &[&str], now: Timestamp) -> DescribeCredential {
    DescribeCredential {
        changed: changed.iter().map(ToString::to_string).collect(),
        proof: Proof::OPERATOR,
        now,
    }
}

/// A command's struct as the command that it is.
pub trait Ask {
    fn ask(self) -> CredentialCommand;
}

macro_rules! ask {
    ($($variant:ident($command:ident)),+ $(,)?) => {
        $(impl Ask for $command {
            fn ask(self) -> CredentialCommand {
                CredentialCommand::$variant(self)
            }
        })+
    };
}
ask!(
    Issue(IssueCredential),
    Rotate(RotateSecret),
    Prepare(PrepareRotation),
    Commit(CommitRotation),
    Cancel(CancelRotation),
    ExpireOld(ExpireOldSecret),
    RevokeSecret(RevokeSecret),
    Revoke(RevokeCredential),
    Describe(DescribeCredential),
    EndReplay(EndReplay),
    EndQuietGrace(EndQuietGrace),
    HoldGrace(HoldGrace),
);

pub fn given(events: Vec<CredentialEvent>) -> Given {
    Given(TestFramework::with(()).given(events))
}

pub struct Given(AggregateTestExecutor<Credential>);

impl Given {
    pub fn when(self, command: impl Ask) -> Then {
        Then(self.0.when(command.ask()).inspect_result())
    }
}

pub struct Then(Result<Vec<CredentialEvent>, CredentialRefusal>);

impl Then {
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = CredentialEvent>) {
        assert_eq!(self.0, Ok(events.into_iter().collect()));
    }

    #[track_caller]
    pub fn refused(self, refusal: CredentialRefusal) {
        assert_eq!(self.0, Err(refusal));
    }

    #[track_caller]
    pub fn allowed(self) {
        assert!(matches!(&self.0, Ok(events) if !events.is_empty()), "{:?}", self.0);
    }
}

/// The state after these events.
pub fn state(events: &[CredentialEvent]) -> Credential {
    let mut state = Credential::default();
    for event in events {
        state.evolve(event);
    }
    state
}

/// The versions that are accepted at `now`, newest first.
pub fn live(events: &[CredentialEvent], now: Timestamp) -> Vec<u32> {
    state(events).live_versions(now).collect()
}
