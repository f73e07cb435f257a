//! One leaf of every event type, in the bytes in which it is stored for ever.

use rota_aggregates::Event;
use rota_aggregates::authority::{Actor, ActorKind, Dialect, Proof, ProofKind, Role, SignedRequest};
use rota_aggregates::credential::{
    CancelCause, CommitCause, CredentialDescribed, CredentialEvent, CredentialIssued, CredentialRevoked,
    ExpiryCause, GraceHeld, Kind, Replaced, ReplayEndCause, ReplayEnded, SecretRef, SecretRotated,
};
use rota_aggregates::ids::{
    EnvironmentId, EventId, FolderId, Position, PublicKey, RequestId, Sequence, StreamId, WorkspaceId,
};
use rota_aggregates::ledger::{
    LedgerAuditorDismissed, LedgerAuditorNamed, LedgerEvent, LedgerKeyAdded, LedgerKeyCause,
    LedgerKeyRetired, LedgerRestored, SignsUntil,
};
use rota_aggregates::observation::{
    LeakReported, LedgerRead, ObservationEvent, OldSecretUsed, PartRef, RotationRefused, SealedPart,
    SealedPartsShredded, SessionEnded, leak_reported_id, ledger_read_id, old_secret_used_id,
    session_ended_id,
};
use rota_aggregates::places::{
    EnvironmentAdded, EnvironmentChanged, EnvironmentRemoved, FolderAdded, FolderChanged, FolderRemoved,
    PlacesEvent,
};
use rota_aggregates::record::{Claim, Context, Record, SealedHashes, encode_body, stamp};
use rota_aggregates::secret::Mode;
use rota_aggregates::token_keys::{Succeeded, TokenKeyCause, TokenKeyMade, TokenKeyRetired, TokenKeysEvent};
use rota_aggregates::webhook::{
    DisableCause, Scheme, Settings, WebhookChanged, WebhookDeleted, WebhookDisabled, WebhookEnabled,
    WebhookEvent, WebhookRegistered,
};
use rota_aggregates::workspace::{Policy, PolicySet, WorkspaceEvent, WorkspaceOpened};
use uuid::Uuid;

use crate::build::{
    CREDENTIAL, OTHER, WEBHOOK, WORKSPACE, at, cancelled, committed, expired, hash, prepared, rotated,
    secret, secret_part, secret_revoked,
};
use crate::campaign::of_campaigns;
use crate::managed_fixtures::{of_connections, of_managed_rotations, of_names};
use crate::token_keys::key;

const LEAVES: &str = include_str!("../fixtures/leaves-v1.ndjson");

/// The bytes of a record as they are written today.
pub fn encode(record: &Record) -> Vec<u8> {
    let body =
        encode_body(record.id, record.stream, &record.context, record.claim, record.sealed, &record.event);
    stamp(&body.unwrap(), record.time, record.sequence)
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x0199_7c4e_1111_7000_8000_0000_0000_0000 + n)
}

/// A record as plain as can be: the operator acts, nothing is claimed or sealed.
pub fn plain(sequence: u32, stream: StreamId, event: impl Into<Event>) -> Record {
    let request = id(0x100 + u128::from(sequence));
    Record {
        time: at(sequence),
        sequence: Sequence(sequence),
        id: EventId(id(u128::from(sequence))),
        stream,
        context: Context {
            workspace: WORKSPACE,
            actor: Actor::OPERATOR,
            dialect: Dialect::Native,
            proof: Proof::OPERATOR,
            request: RequestId(request),
            causation: request,
            correlation: request,
        },
        claim: None,
        sealed: SealedHashes::default(),
        event: event.into(),
    }
}

fn workspace(sequence: u32, event: impl Into<WorkspaceEvent>) -> Record {
    plain(sequence, StreamId::workspace(WORKSPACE), event.into())
}

fn credential(sequence: u32, event: impl Into<CredentialEvent>) -> Record {
    plain(sequence, StreamId::credential(CREDENTIAL), event.into())
}

fn observation(stream: StreamId, event: impl Into<ObservationEvent>) -> Record {
    plain(1, stream, event.into())
}

fn by(record: Record, kind: ActorKind, dialect: Dialect, proof: Proof) -> Record {
    let id = proof.credential.map_or(Uuid::nil(), |credential| credential.0);
    let context = Context { actor: Actor { kind, id }, dialect, proof, ..record.context };
    Record { context, ..record }
}

fn of_kind(kind: Kind) -> CredentialIssued {
    CredentialIssued {
        credential: CREDENTIAL,
        workspace: WORKSPACE,
        kind,
        public_id: "public".into(),
        roles: [Role::Verifier].into_iter().collect(),
        mode: Some(Mode::Test),
        parent: None,
        secret: secret(1),
        at: at(1),
    }
}

/// What the lines of `leaves-v1.ndjson` say, in their order. Together they use every field and every name.
fn records() -> Vec<Record> {
    [
        of_the_workspace(),
        of_issues(),
        of_rotations(),
        of_ends(),
        of_observations(),
        of_lost_answers(),
        of_webhooks(),
        of_token_keys(),
        of_places(),
        of_ended_sessions(),
        of_quiet_secrets(),
        of_connections(),
        of_names(),
        of_managed_rotations(),
        of_the_ledger(),
        of_campaigns(),
        of_readings(),
    ]
    .concat()
}

fn of_the_workspace() -> Vec<Record> {
    let policy = Policy {
        max_secret_age_days: Some(90),
        default_grace_seconds: 3_600,
        max_grace_seconds: 86_400,
        min_overlap_seconds: 60,
        rotate_requires_secret: true,
        digest_retention_days: 730,
        ..Policy::default()
    };
    let key = Proof::of(ProofKind::WorkspaceKey, OTHER, 3, false);
    vec![
        workspace(1, WorkspaceOpened { at: at(1), policy: Policy::default() }),
        by(
            workspace(2, PolicySet { at: at(2), policy }),
            ActorKind::WorkspaceKey,
            Dialect::Native,
            Proof { retiring: true, ..key },
        ),
    ]
}

fn of_issues() -> Vec<Record> {
    vec![
        Record {
            sealed: SealedHashes { answer: None, details: Some(hash(0xd1)) },
            ..credential(
                1,
                CredentialIssued {
                    credential: CREDENTIAL,
                    workspace: WORKSPACE,
                    kind: Kind::WorkspaceKey,
                    public_id: "sk_workspace_prod_7Qm".into(),
                    roles: Role::ALL.into_iter().collect(),
                    mode: Some(Mode::Prod),
                    parent: None,
                    secret: secret(1),
                    at: at(1),
                },
            )
        },
        credential(
            1,
            CredentialIssued {
                credential: CREDENTIAL,
                workspace: WORKSPACE,
                kind: Kind::Webhook,
                public_id: "whsec_\"Ä\\\u{1F511}".into(),
                roles: [].into_iter().collect(),
                mode: None,
                parent: Some(OTHER),
                secret: SecretRef { sealed: Some(hash(0x51)), ..secret(1) },
                at: at(1),
            },
        ),
        credential(1, of_kind(Kind::Client)),
        credential(1, of_kind(Kind::Exchange)),
        credential(1, of_kind(Kind::Signing)),
    ]
}

fn of_rotations() -> Vec<Record> {
    let own = |kind, version, retiring| Proof::of(kind, CREDENTIAL, version, retiring);
    vec![
        Record {
            claim: Some(Claim { key: hash(0xc1), fingerprint: hash(0xc2) }),
            sealed: SealedHashes { answer: Some(hash(0xa1)), details: Some(hash(0xd2)) },
            ..by(
                credential(2, rotated(2, 50, at(2))),
                ActorKind::Credential,
                Dialect::Spritz,
                own(ProofKind::Signature, 1, false),
            )
        },
        by(
            credential(
                3,
                SecretRotated { replaced: None, compromised: true, shredded: vec![], ..rotated(3, 0, at(3)) },
            ),
            ActorKind::Credential,
            Dialect::Hopae,
            own(ProofKind::Secret, 2, false),
        ),
        by(
            credential(4, prepared(4, at(64), 30, at(4))),
            ActorKind::Credential,
            Dialect::Fluide,
            own(ProofKind::Session, 3, false),
        ),
        by(
            credential(5, committed(4, 0, CommitCause::FirstUse, at(5))),
            ActorKind::Credential,
            Dialect::Infisical,
            own(ProofKind::Secret, 4, false),
        ),
        credential(5, committed(4, 30, CommitCause::Call, at(5))),
    ]
}

fn of_lost_answers() -> Vec<Record> {
    let signed = SignedRequest { at: at(1), payload: hash(0x71) };
    let proof = Proof { signed: Some(signed), ..Proof::of(ProofKind::Signature, CREDENTIAL, 1, false) };
    let ended = |cause, shredded| credential(3, ReplayEnded { version: 1, cause, shredded, at: at(3) });
    let replaced = Replaced { version: 1, expires_at: None, replay_until: Some(at(602)) };
    let rotated = SecretRotated { replaced: Some(replaced), shredded: vec![], ..rotated(2, 0, at(2)) };
    vec![
        by(credential(2, rotated), ActorKind::Credential, Dialect::Spritz, proof),
        ended(ReplayEndCause::Due, vec![secret_part(1)]),
        ended(ReplayEndCause::FirstUse, vec![]),
    ]
}

fn of_ends() -> Vec<Record> {
    vec![
        credential(6, cancelled(4, CancelCause::Call, at(6))),
        by(
            credential(6, cancelled(4, CancelCause::Deadline, at(6))),
            ActorKind::Scheduler,
            Dialect::Internal,
            Proof::SCHEDULE,
        ),
        credential(6, cancelled(4, CancelCause::Compromised, at(6))),
        by(
            credential(7, expired(1, ExpiryCause::Due, at(7))),
            ActorKind::Scheduler,
            Dialect::Internal,
            Proof::SCHEDULE,
        ),
        credential(7, expired(1, ExpiryCause::EarlyEnd, at(7))),
        credential(7, expired(1, ExpiryCause::RotatedAgain, at(7))),
        credential(7, expired(1, ExpiryCause::Prepared, at(7))),
        credential(8, secret_revoked(2, at(8))),
        credential(9, CredentialRevoked { versions: vec![4, 3], shredded: vec![secret_part(3)], at: at(9) }),
        Record {
            sealed: SealedHashes { answer: None, details: Some(hash(0xd3)) },
            ..credential(10, CredentialDescribed { changed: vec!["name".into()], at: at(10) })
        },
    ]
}

fn of_observations() -> Vec<Record> {
    let part = |position, part| PartRef { position: Position(position), part };
    vec![
        Record {
            id: old_secret_used_id(CREDENTIAL, 1, at(5)),
            ..observation(
                StreamId::secret_use(CREDENTIAL),
                OldSecretUsed { credential: CREDENTIAL, version: 1, at: at(5), expires_at: at(60) },
            )
        },
        observation(
            StreamId::refusals(OTHER.0),
            RotationRefused {
                credential: CREDENTIAL,
                operation: "rotate".into(),
                reason: "retiring-secret".into(),
                at: at(5),
            },
        ),
        observation(
            StreamId::shredding(WORKSPACE),
            SealedPartsShredded {
                parts: vec![
                    part(4, SealedPart::Digest),
                    part(5, SealedPart::Secret),
                    part(6, SealedPart::Answer),
                    part(9_007_199_254_740_991, SealedPart::Details),
                ],
                at: at(7),
            },
        ),
    ]
}

fn of_webhooks() -> Vec<Record> {
    let webhook = |sequence, event: WebhookEvent| plain(sequence, StreamId::webhook(WEBHOOK), event);
    let settings = |types: &[&str], expiry_lead_seconds| Settings {
        types: types.iter().map(|name| (*name).to_owned()).collect(),
        expiry_lead_seconds,
    };
    let registered = WebhookRegistered {
        webhook: WEBHOOK,
        workspace: WORKSPACE,
        owner: None,
        scheme: Scheme::Standard,
        settings: Settings::default(),
        at: at(1),
    };
    let owned = WebhookRegistered { owner: Some(OTHER), scheme: Scheme::Body, ..registered.clone() };
    let settings = settings(&["secret.rotated", "secret.expiring"], 600);
    let changed = WebhookChanged { settings, described: vec!["url".into()], at: at(2) };
    let causes = [
        DisableCause::Call,
        DisableCause::Failing,
        DisableCause::Gone,
        DisableCause::Backlog,
        DisableCause::SecretRevoked,
    ];
    let mut records = vec![
        Record {
            sealed: SealedHashes { answer: None, details: Some(hash(0xd4)) },
            ..webhook(1, registered.into())
        },
        webhook(1, owned.into()),
        webhook(2, changed.into()),
    ];
    records.extend(causes.map(|cause| webhook(3, WebhookDisabled { cause, at: at(3) }.into())));
    records.push(webhook(4, WebhookEnabled { at: at(4) }.into()));
    records.push(webhook(5, WebhookDeleted { at: at(5) }.into()));
    records
}

fn of_the_ledger() -> Vec<Record> {
    const KEY: &str = "ledger.example/a+e2f268e5+AdkmKQw617WnLlXGtM34msYovLEL9C92nDubYmqutCUu";
    let added = |cause, succeeds| LedgerKeyAdded {
        origin: "ledger.example/a".to_owned(),
        verifier_key: KEY.to_owned(),
        sealed: hash(0x5e),
        succeeds,
        cause,
        at: at(1),
    };
    let event = |sequence, event: LedgerEvent| {
        let record = plain(sequence, StreamId::LEDGER, event);
        let context = Context { workspace: WorkspaceId::default(), ..record.context };
        Record { context, ..record }
    };
    let succeeds = vec![SignsUntil { verifier_key: KEY.to_owned(), until: at(60) }];
    let retired =
        LedgerKeyRetired { verifier_key: KEY.to_owned(), shredded: vec![secret_part(1)], at: at(60) };
    let restored = LedgerRestored {
        lost_from: Position(90),
        former_origin: "ledger.example/a".to_owned(),
        signed_size: 100,
        signed_root: hash(0x11),
        at: at(61),
    };
    let first = event(1, added(LedgerKeyCause::First, vec![]).into());
    vec![
        by(first, ActorKind::Scheduler, Dialect::Internal, Proof::SCHEDULE),
        event(2, added(LedgerKeyCause::Call, succeeds.clone()).into()),
        event(3, retired.into()),
        event(4, restored.into()),
        event(5, added(LedgerKeyCause::Restored, succeeds).into()),
        event(6, LedgerAuditorNamed { auditor: id(7), at: at(62) }.into()),
        event(7, LedgerAuditorDismissed { auditor: id(7), at: at(63) }.into()),
    ]
}

fn of_token_keys() -> Vec<Record> {
    let made = |cause, succeeds| TokenKeyMade {
        key: key(2),
        public_key: PublicKey([0xfb; 32]),
        sealed: hash(0x5e),
        signs_from: at(60),
        succeeds,
        cause,
        at: at(1),
    };
    let event = |sequence, event: TokenKeysEvent| {
        let record = plain(sequence, StreamId::TOKEN_KEYS, event);
        let context = Context { workspace: WorkspaceId::default(), ..record.context };
        Record { context, ..record }
    };
    let succeeded = vec![Succeeded { key: key(1), verifies_until: at(120) }];
    let retired = TokenKeyRetired { key: key(1), shredded: vec![secret_part(1)], at: at(60) };
    let first = made(TokenKeyCause::First, vec![]);
    vec![
        by(event(1, first.into()), ActorKind::Scheduler, Dialect::Internal, Proof::SCHEDULE),
        event(2, made(TokenKeyCause::Call, succeeded.clone()).into()),
        event(3, made(TokenKeyCause::Schedule, succeeded.clone()).into()),
        event(4, made(TokenKeyCause::Compromised, succeeded).into()),
        event(5, retired.into()),
    ]
}

fn of_places() -> Vec<Record> {
    let places = |sequence, event: PlacesEvent| plain(sequence, StreamId::places(WORKSPACE), event);
    let environment = EnvironmentId(id(0x201));
    let (folder, parent) = (FolderId(id(0x202)), environment.root());
    let added = EnvironmentAdded { environment, slug: "qa-2".into(), at: at(1) };
    let inside = FolderAdded { folder, environment, parent, name: "App_1-b".into(), at: at(3) };
    vec![
        Record {
            sealed: SealedHashes { answer: None, details: Some(hash(0xd5)) },
            ..places(1, added.into())
        },
        places(2, EnvironmentChanged { environment, slug: "qa".into(), renamed: true, at: at(2) }.into()),
        places(3, inside.into()),
        places(4, FolderChanged { folder, name: "app".into(), described: false, at: at(4) }.into()),
        places(5, FolderRemoved { folder, at: at(5) }.into()),
        places(6, EnvironmentRemoved { environment, at: at(6) }.into()),
    ]
}

fn of_ended_sessions() -> Vec<Record> {
    let session = id(0x203);
    let ended = SessionEnded { credential: CREDENTIAL, session, until: at(90), at: at(5) };
    let own = Proof::of(ProofKind::Session, CREDENTIAL, 1, false);
    let record =
        Record { id: session_ended_id(session), ..observation(StreamId::sessions(CREDENTIAL), ended) };
    vec![by(record, ActorKind::Credential, Dialect::Infisical, own)]
}

fn of_quiet_secrets() -> Vec<Record> {
    let policy = Policy {
        end_grace_when_quiet_seconds: Some(3_600),
        hold_grace_while_used_seconds: Some(600),
        ..Policy::default()
    };
    let held =
        GraceHeld { version: 1, held_from: at(60), expires_at: at(660), last_used_at: at(5), at: at(50) };
    let scheduled = |record| by(record, ActorKind::Scheduler, Dialect::Internal, Proof::SCHEDULE);
    vec![
        workspace(3, PolicySet { at: at(3), policy }),
        scheduled(credential(11, held)),
        scheduled(credential(12, expired(1, ExpiryCause::Quiet, at(660)))),
        Record {
            id: leak_reported_id(CREDENTIAL, 2, at(8)),
            ..observation(
                StreamId::secret_use(CREDENTIAL),
                LeakReported { credential: CREDENTIAL, version: 2, live: true, at: at(8) },
            )
        },
    ]
}

fn of_readings() -> Vec<Record> {
    let (what, key) = ("report/secret-age".to_owned(), Proof::of(ProofKind::WorkspaceKey, OTHER, 1, false));
    let read = Record {
        id: ledger_read_id(OTHER.0, WORKSPACE, &what, at(9)),
        ..observation(StreamId::reads(OTHER.0), LedgerRead { what, at: at(9) })
    };
    vec![by(read, ActorKind::WorkspaceKey, Dialect::Native, key)]
}

#[test]
fn bytes_that_were_written_before_still_mean_what_they_meant() {
    let lines: Vec<_> = LEAVES.lines().collect();
    let records = records();
    for (n, (line, record)) in lines.iter().zip(&records).enumerate() {
        let decoded = Record::decode(line.as_bytes());
        assert_eq!(decoded.unwrap(), *record, "line {}", n + 1);
    }
    assert!(lines.len() <= records.len(), "a line that no record stands for");
    let missing: Vec<_> = records[lines.len()..].iter().map(encode).collect();
    let missing: Vec<_> = missing.iter().map(|leaf| String::from_utf8_lossy(leaf)).collect();
    assert!(missing.is_empty(), "add to the end of leaves-v1.ndjson:\n{}", missing.join("\n"));
}

#[test]
fn what_is_written_today_has_the_bytes_that_were_written_before() {
    for (n, line) in LEAVES.lines().enumerate() {
        let record = Record::decode(line.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(encode(&record)).unwrap(), line, "line {}", n + 1);
    }
}

#[test]
fn no_event_type_is_without_a_leaf_to_remember_it_by() {
    let decoded: Vec<_> =
        LEAVES.lines().map(|line| Record::decode(line.as_bytes()).unwrap().event.type_name()).collect();
    for name in Event::types() {
        assert!(decoded.contains(&name), "{name} has no line in leaves-v1.ndjson");
    }
}
