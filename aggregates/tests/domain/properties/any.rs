//! Values of any content. The strategies are boxed: a value tree of them all is more than a test's stack holds.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rota_aggregates::authority::{Actor, ActorKind, Dialect, Proof, ProofKind, Roles};
use rota_aggregates::credential::{
    CancelCause, CommitCause, CredentialDescribed, CredentialEvent, CredentialIssued, CredentialRevoked,
    ExpiryCause, GraceHeld, Kind, OldSecretExpired, PreparedSecretRotated, Replaced, RotationCancelled,
    RotationPrepared, SecretRef, SecretRevoked, SecretRotated,
};
use rota_aggregates::ids::{
    CredentialId, EventId, Hash, Position, PublicKey, RequestId, Sequence, StreamId, TokenKeyId, WorkspaceId,
};
use rota_aggregates::ledger::{
    LedgerAuditorDismissed, LedgerAuditorNamed, LedgerEvent, LedgerKeyAdded, LedgerKeyCause,
    LedgerKeyRetired, LedgerRestored, SignsUntil,
};
use rota_aggregates::observation::{
    LeakReported, LedgerRead, ObservationEvent, OldSecretUsed, PartRef, RotationRefused, SealedPart,
    SealedPartsShredded,
};
use rota_aggregates::record::{Claim, Context, Record, SealedHashes};
use rota_aggregates::secret::Mode;
use rota_aggregates::token_keys::{Succeeded, TokenKeyCause, TokenKeyMade, TokenKeyRetired, TokenKeysEvent};
use rota_aggregates::workspace::{Policy, PolicySet, WorkspaceEvent, WorkspaceOpened};
use rota_aggregates::{Event, Timestamp};
use uuid::Uuid;

/// The largest integer that every reader of JSON holds exactly.
pub const EXACT_MAX: u64 = (1 << 53) - 1;

pub fn proof_kind() -> impl Strategy<Value = ProofKind> {
    select(vec![ProofKind::Secret, ProofKind::Session, ProofKind::Signature, ProofKind::WorkspaceKey])
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn credential_id() -> impl Strategy<Value = CredentialId> {
    uuid().prop_map(CredentialId)
}

fn workspace_id() -> impl Strategy<Value = WorkspaceId> {
    uuid().prop_map(WorkspaceId)
}

fn sha() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        8 => (0..253_402_300_800_000_000_i64).prop_map(Timestamp::from_micros),
        1 => select(vec![i64::MIN, i64::MAX]).prop_map(Timestamp::from_micros),
    ]
}

fn exact() -> impl Strategy<Value = u64> {
    prop_oneof![0..=EXACT_MAX, select(vec![0, EXACT_MAX])]
}

pub fn roles() -> impl Strategy<Value = Roles> {
    any::<u8>().prop_map(Roles::from_bits)
}

fn part() -> impl Strategy<Value = PartRef> {
    let part = select(vec![SealedPart::Digest, SealedPart::Secret, SealedPart::Answer, SealedPart::Details]);
    (exact(), part).prop_map(|(position, part)| PartRef { position: Position(position), part })
}

fn some_parts() -> impl Strategy<Value = Vec<PartRef>> {
    vec(part(), 0..4)
}

fn secret_ref() -> BoxedStrategy<SecretRef> {
    (any::<u32>(), any::<String>(), sha(), option::of(sha()))
        .prop_map(|(version, hint, digest, sealed)| SecretRef { version, hint, digest, sealed })
        .boxed()
}

fn some_replaced() -> impl Strategy<Value = Option<Replaced>> {
    option::of(
        (any::<u32>(), option::of(time()), option::of(time()))
            .prop_map(|(version, expires_at, replay_until)| Replaced { version, expires_at, replay_until }),
    )
}

fn policy() -> BoxedStrategy<Policy> {
    let watched = (option::of(exact()), option::of(exact()));
    (option::of(any::<u32>()), exact(), exact(), exact(), any::<bool>(), any::<u32>(), watched)
        .prop_map(
            |(
                max_secret_age_days,
                default_grace,
                max_grace,
                min_overlap,
                rotate_requires_secret,
                kept,
                watched,
            )| {
                Policy {
                    max_secret_age_days,
                    default_grace_seconds: default_grace,
                    max_grace_seconds: max_grace,
                    min_overlap_seconds: min_overlap,
                    rotate_requires_secret,
                    digest_retention_days: kept,
                    end_grace_when_quiet_seconds: watched.0,
                    hold_grace_while_used_seconds: watched.1,
                }
            },
        )
        .boxed()
}

fn workspace_event() -> BoxedStrategy<Event> {
    prop_oneof![
        (time(), policy()).prop_map(|(at, policy)| WorkspaceEvent::from(WorkspaceOpened { at, policy })),
        (time(), policy()).prop_map(|(at, policy)| PolicySet { at, policy }.into()),
    ]
    .prop_map(Event::from)
    .boxed()
}

fn issued_event() -> BoxedStrategy<CredentialEvent> {
    let mode = option::of(select(vec![Mode::Test, Mode::Prod]));
    let names = (credential_id(), workspace_id(), any::<String>(), option::of(credential_id()));
    (names, select(Kind::ALL.to_vec()), roles(), mode, secret_ref(), time())
        .prop_map(|((credential, workspace, public_id, parent), kind, roles, mode, secret, at)| {
            CredentialIssued { credential, workspace, kind, public_id, roles, mode, parent, secret, at }
                .into()
        })
        .boxed()
}

fn ending_event() -> BoxedStrategy<CredentialEvent> {
    let cancel_cause = select(vec![CancelCause::Call, CancelCause::Deadline, CancelCause::Compromised]);
    let expiry_cause = select(vec![
        ExpiryCause::Due,
        ExpiryCause::EarlyEnd,
        ExpiryCause::RotatedAgain,
        ExpiryCause::Prepared,
        ExpiryCause::Quiet,
    ]);
    prop_oneof![
        (any::<u32>(), time(), cancel_cause, some_parts()).prop_map(
            |(version, cancelled_at, cause, shredded)| {
                CredentialEvent::from(RotationCancelled { version, cancelled_at, cause, shredded })
            }
        ),
        (any::<u32>(), time(), expiry_cause, some_parts()).prop_map(
            |(version, expired_at, cause, shredded)| {
                OldSecretExpired { version, expired_at, cause, shredded }.into()
            }
        ),
        (any::<u32>(), some_parts(), time()).prop_map(|(version, shredded, at)| SecretRevoked {
            version,
            shredded,
            at
        }
        .into()),
        (vec(any::<u32>(), 0..3), some_parts(), time())
            .prop_map(|(versions, shredded, at)| CredentialRevoked { versions, shredded, at }.into()),
    ]
    .boxed()
}

fn credential_event() -> BoxedStrategy<Event> {
    let cause = select(vec![CommitCause::Call, CommitCause::FirstUse]);
    prop_oneof![
        issued_event(),
        (secret_ref(), some_replaced(), exact(), any::<bool>(), some_parts(), time()).prop_map(
            |(secret, replaced, grace_seconds, compromised, shredded, at)| {
                SecretRotated { secret, replaced, grace_seconds, compromised, shredded, at }.into()
            }
        ),
        (secret_ref(), time(), exact(), time()).prop_map(|(secret, deadline, grace_seconds, at)| {
            RotationPrepared { secret, deadline, grace_seconds, at }.into()
        }),
        (any::<u32>(), some_replaced(), exact(), cause, some_parts(), time()).prop_map(
            |(version, replaced, grace_seconds, cause, shredded, at)| {
                PreparedSecretRotated { version, replaced, grace_seconds, cause, shredded, at }.into()
            }
        ),
        ending_event(),
        ending_event(),
        (vec(any::<String>(), 0..4), time())
            .prop_map(|(changed, at)| CredentialDescribed { changed, at }.into()),
        (any::<u32>(), time(), time(), time(), time()).prop_map(
            |(version, held_from, expires_at, last_used_at, at)| {
                GraceHeld { version, held_from, expires_at, last_used_at, at }.into()
            }
        ),
    ]
    .prop_map(Event::from)
    .boxed()
}

fn observation_event() -> BoxedStrategy<Event> {
    prop_oneof![
        (credential_id(), any::<u32>(), time(), time()).prop_map(|(credential, version, at, expires_at)| {
            ObservationEvent::from(OldSecretUsed { credential, version, at, expires_at })
        }),
        (credential_id(), any::<String>(), any::<String>(), time()).prop_map(
            |(credential, operation, reason, at)| {
                RotationRefused { credential, operation, reason, at }.into()
            }
        ),
        (some_parts(), time()).prop_map(|(parts, at)| SealedPartsShredded { parts, at }.into()),
        (credential_id(), any::<u32>(), any::<bool>(), time()).prop_map(|(credential, version, live, at)| {
            LeakReported { credential, version, live, at }.into()
        }),
        (any::<String>(), time()).prop_map(|(what, at)| LedgerRead { what, at }.into()),
    ]
    .prop_map(Event::from)
    .boxed()
}

fn token_keys_event() -> BoxedStrategy<Event> {
    let cause = select(vec![
        TokenKeyCause::First,
        TokenKeyCause::Call,
        TokenKeyCause::Schedule,
        TokenKeyCause::Compromised,
    ]);
    let key = || uuid().prop_map(TokenKeyId);
    let succeeds =
        vec((key(), time()).prop_map(|(key, verifies_until)| Succeeded { key, verifies_until }), 0..3);
    prop_oneof![
        (key(), any::<[u8; 32]>(), sha(), time(), succeeds, cause, time()).prop_map(
            |(key, public, sealed, signs_from, succeeds, cause, at)| {
                let public_key = PublicKey(public);
                TokenKeysEvent::from(TokenKeyMade {
                    key,
                    public_key,
                    sealed,
                    signs_from,
                    succeeds,
                    cause,
                    at,
                })
            }
        ),
        (key(), some_parts(), time())
            .prop_map(|(key, shredded, at)| { TokenKeyRetired { key, shredded, at }.into() }),
    ]
    .prop_map(Event::from)
    .boxed()
}

fn ledger_event() -> BoxedStrategy<Event> {
    let cause = select(vec![LedgerKeyCause::First, LedgerKeyCause::Call, LedgerKeyCause::Restored]);
    let key = || any::<String>();
    let succeeds =
        vec((key(), time()).prop_map(|(verifier_key, until)| SignsUntil { verifier_key, until }), 0..3);
    prop_oneof![
        (key(), key(), sha(), succeeds, cause, time()).prop_map(
            |(origin, verifier_key, sealed, succeeds, cause, at)| LedgerEvent::from(LedgerKeyAdded {
                origin,
                verifier_key,
                sealed,
                succeeds,
                cause,
                at,
            })
        ),
        (key(), some_parts(), time()).prop_map(|(verifier_key, shredded, at)| {
            LedgerKeyRetired { verifier_key, shredded, at }.into()
        }),
        (0..EXACT_MAX, key(), 0..EXACT_MAX, sha(), time()).prop_map(
            |(lost_from, former_origin, signed_size, signed_root, at)| {
                let lost_from = Position(lost_from);
                LedgerRestored { lost_from, former_origin, signed_size, signed_root, at }.into()
            }
        ),
        (uuid(), time()).prop_map(|(auditor, at)| LedgerAuditorNamed { auditor, at }.into()),
        (uuid(), time()).prop_map(|(auditor, at)| LedgerAuditorDismissed { auditor, at }.into()),
    ]
    .prop_map(Event::from)
    .boxed()
}

fn context() -> BoxedStrategy<Context> {
    let actor_kind = select(vec![
        ActorKind::Operator,
        ActorKind::WorkspaceKey,
        ActorKind::Credential,
        ActorKind::Scheduler,
    ]);
    let actor = (actor_kind, uuid()).prop_map(|(kind, id)| Actor { kind, id });
    let dialect = select(vec![
        Dialect::Native,
        Dialect::Hopae,
        Dialect::Fluide,
        Dialect::Spritz,
        Dialect::Infisical,
        Dialect::Internal,
    ]);
    let proof_kind = prop_oneof![proof_kind(), select(vec![ProofKind::OperatorKey, ProofKind::Schedule])];
    let proof = (proof_kind, option::of(credential_id()), option::of(any::<u32>()), any::<bool>()).prop_map(
        |(kind, credential, version, retiring)| Proof { kind, credential, version, retiring, signed: None },
    );
    (workspace_id(), actor, dialect, proof, uuid(), uuid(), uuid())
        .prop_map(|(workspace, actor, dialect, proof, request, causation, correlation)| Context {
            workspace,
            actor,
            dialect,
            proof,
            request: RequestId(request),
            causation,
            correlation,
        })
        .boxed()
}

fn stream() -> impl Strategy<Value = StreamId> {
    uuid().prop_flat_map(|id| {
        select(vec![
            StreamId::credential(CredentialId(id)),
            StreamId::workspace(WorkspaceId(id)),
            StreamId::secret_use(CredentialId(id)),
            StreamId::refusals(id),
            StreamId::shredding(WorkspaceId(id)),
            StreamId::TOKEN_KEYS,
            StreamId::LEDGER,
        ])
    })
}

pub fn record() -> BoxedStrategy<Record> {
    let event = prop_oneof![
        workspace_event(),
        credential_event(),
        credential_event(),
        observation_event(),
        token_keys_event(),
        ledger_event(),
    ];
    let claim = option::of((sha(), sha()).prop_map(|(key, fingerprint)| Claim { key, fingerprint }));
    let sealed =
        (option::of(sha()), option::of(sha())).prop_map(|(answer, details)| SealedHashes { answer, details });
    (time(), any::<u32>(), uuid(), stream(), context(), claim, sealed, event)
        .prop_map(|(time, sequence, id, stream, context, claim, sealed, event)| Record {
            time,
            sequence: Sequence(sequence),
            id: EventId(id),
            stream,
            context,
            claim,
            sealed,
            event,
        })
        .boxed()
}
