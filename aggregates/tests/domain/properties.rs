//! No sequence of commands, whenever they come, breaks a rule.

use std::collections::BTreeSet;
use std::pin::pin;
use std::task::{Context as Polling, Poll, Waker};

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rota_aggregates::authority::{Actor, ActorKind, Dialect, Proof, ProofKind, Roles};
use rota_aggregates::credential::{
    CancelCause, CancelRotation, CommitCause, CommitRotation, Credential, CredentialCommand,
    CredentialDescribed, CredentialEvent, CredentialIssued, CredentialRefusal, CredentialRevoked, EndCause,
    ExpireOldSecret, ExpiryCause, IssueCredential, Kind, OldSecretExpired, PREPARED_SECONDS_MAX,
    PrepareRotation, PreparedSecretRotated, Replaced, RevokeCredential, RevokeSecret, RotateSecret,
    RotationCancelled, RotationPrepared, SecretRef, SecretRevoked, SecretRotated, Status,
};
use rota_aggregates::ids::{
    CredentialId, EventId, Hash, Position, RequestId, Sequence, StreamId, WorkspaceId,
};
use rota_aggregates::observation::{
    ObservationEvent, OldSecretUsed, PartRef, RotationRefused, SealedPart, SealedPartsShredded,
};
use rota_aggregates::record::{Claim, Context, Record, SealedHashes};
use rota_aggregates::secret::Mode;
use rota_aggregates::workspace::{
    MAX_GRACE_SECONDS_DEFAULT, Policy, PolicySet, WorkspaceEvent, WorkspaceOpened,
};
use rota_aggregates::{Event, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use crate::build::{
    Ask, CREDENTIAL, at, cancel, commit, describe, expire_old, issue, issue_of, issued, prepare, revoke,
    revoke_secret, rotate, secret,
};
use crate::fixtures::{encode, plain};

// What is asked, in relation to the state that it meets: so that most commands are accepted, and some are not.

/// A version number: the right one, or any.
#[derive(Clone, Copy, Debug)]
enum Aim {
    Right,
    Any(Option<u32>),
}

/// When a command comes, in relation to the one before.
#[derive(Clone, Copy, Debug)]
enum When {
    /// So many microseconds later.
    Later(i64),
    /// So many microseconds from the end of the grace or the deadline that is near.
    AroundTheEnd(i64),
}

/// What proves the caller's authority.
#[derive(Clone, Copy, Debug)]
enum By {
    Operator,
    Own(ProofKind, u32),
    Newest(ProofKind),
}

#[derive(Clone, Copy, Debug)]
enum What {
    Issue,
    Rotate { means: Aim, next: Aim, grace: Option<u64>, compromised: bool },
    Prepare { means: Aim, next: Aim, grace: Option<u64>, wait: Option<u64> },
    Commit { means: Aim, cause: CommitCause },
    Cancel { means: Aim, cause: EndCause },
    ExpireOld { means: Aim, cause: EndCause },
    RevokeSecret(u32),
    Revoke,
    Describe,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    when: When,
    by: By,
    what: What,
    requires_secret: bool,
}

impl Aim {
    fn at(self, right: Option<u32>) -> Option<u32> {
        match self {
            Self::Right => right,
            Self::Any(version) => version,
        }
    }
}

impl Step {
    fn now(&self, state: &Credential, before: Timestamp) -> Timestamp {
        let end = state.retiring.map(|r| r.expires_at).or(state.prepared.map(|p| p.deadline));
        match (self.when, end) {
            (When::AroundTheEnd(off), Some(end)) => Timestamp::from_micros(end.micros() + off).max(before),
            (When::AroundTheEnd(_), None) => before,
            (When::Later(micros), _) => Timestamp::from_micros(before.micros() + micros),
        }
    }

    fn command(&self, state: &Credential, now: Timestamp) -> CredentialCommand {
        let proof = match self.by {
            By::Operator => Proof::OPERATOR,
            By::Own(kind, version) => Proof::of(kind, CREDENTIAL, version, false),
            By::Newest(kind) => {
                let used = matches!(self.what, What::Commit { cause: CommitCause::FirstUse, .. });
                let newest = state.prepared.map(|p| p.version).filter(|_| used).or(state.active);
                Proof::of(kind, CREDENTIAL, newest.unwrap_or(0), false)
            }
        };
        let policy = Policy { rotate_requires_secret: self.requires_secret, ..Policy::default() };
        let prepared = state.prepared.map(|p| p.version);
        let successor = Some(state.last_version + 1);
        match self.what {
            What::Issue => IssueCredential { proof, now, ..issue() }.ask(),
            What::Rotate { means, next, grace: grace_seconds, compromised } => RotateSecret {
                means: means.at(state.active),
                secret: secret(next.at(successor).unwrap_or(0)),
                grace_seconds,
                compromised,
                proof,
                policy,
                ..rotate(1, now)
            }
            .ask(),
            What::Prepare { means, next, grace: grace_seconds, wait: deadline_seconds } => PrepareRotation {
                means: means.at(state.active),
                secret: secret(next.at(successor).unwrap_or(0)),
                grace_seconds,
                deadline_seconds,
                proof,
                policy,
                ..prepare(1, now)
            }
            .ask(),
            What::Commit { means, cause } => {
                CommitRotation { means: means.at(prepared), cause, proof, policy, ..commit(now) }.ask()
            }
            What::Cancel { means, cause } => {
                CancelRotation { means: means.at(prepared), cause, proof, ..cancel(now) }.ask()
            }
            What::ExpireOld { means, cause } => {
                let means = means.at(state.retiring.map(|r| r.version));
                ExpireOldSecret { means, proof, ..expire_old(cause, now) }.ask()
            }
            What::RevokeSecret(version) => RevokeSecret { proof, ..revoke_secret(version, now) }.ask(),
            What::Revoke => RevokeCredential { proof, ..revoke(now) }.ask(),
            What::Describe => describe(&["name"], now).ask(),
        }
    }
}

fn aim() -> impl Strategy<Value = Aim> {
    prop_oneof![9 => Just(Aim::Right), 1 => option::of(0..8_u32).prop_map(Aim::Any)]
}

fn grace() -> impl Strategy<Value = Option<u64>> {
    let max = MAX_GRACE_SECONDS_DEFAULT;
    select(vec![None, Some(0), Some(1), Some(60), Some(3_600), Some(max), Some(max + 1), Some(u64::MAX)])
}

fn proof_kind() -> impl Strategy<Value = ProofKind> {
    select(vec![ProofKind::Secret, ProofKind::Session, ProofKind::Signature, ProofKind::WorkspaceKey])
}

fn what() -> impl Strategy<Value = What> {
    let wait = select(vec![
        None,
        Some(0),
        Some(1),
        Some(60),
        Some(PREPARED_SECONDS_MAX),
        Some(PREPARED_SECONDS_MAX + 1),
    ]);
    let commit_cause = select(vec![CommitCause::Call, CommitCause::FirstUse]);
    let end_cause = || select(vec![EndCause::Call, EndCause::Due]);
    prop_oneof![
        1 => Just(What::Issue),
        8 => (aim(), aim(), grace(), prop::bool::weighted(0.2))
            .prop_map(|(means, next, grace, compromised)| What::Rotate { means, next, grace, compromised }),
        6 => (aim(), aim(), grace(), wait)
            .prop_map(|(means, next, grace, wait)| What::Prepare { means, next, grace, wait }),
        5 => (aim(), commit_cause).prop_map(|(means, cause)| What::Commit { means, cause }),
        2 => (aim(), end_cause()).prop_map(|(means, cause)| What::Cancel { means, cause }),
        3 => (aim(), end_cause()).prop_map(|(means, cause)| What::ExpireOld { means, cause }),
        2 => (0..8_u32).prop_map(What::RevokeSecret),
        1 => prop::bool::weighted(0.3).prop_map(|end| if end { What::Revoke } else { What::Describe }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let when = prop_oneof![
        select(vec![0, 1, 999_999, 1_000_000, 60_000_000, 3_600_000_000]).prop_map(When::Later),
        (-1..=1_i64).prop_map(When::AroundTheEnd),
    ];
    let by = prop_oneof![
        4 => Just(By::Operator),
        2 => proof_kind().prop_map(By::Newest),
        2 => (proof_kind(), 0..8_u32).prop_map(|(kind, version)| By::Own(kind, version)),
    ];
    let step = (when, by, what(), prop::bool::weighted(0.2))
        .prop_map(|(when, by, what, requires_secret)| Step { when, by, what, requires_secret });
    vec(step, 1..40)
}

/// One command that was put to a credential.
struct Turn {
    before: Credential,
    command: CredentialCommand,
    now: Timestamp,
    decision: Result<Vec<CredentialEvent>, CredentialRefusal>,
    after: Credential,
}

/// Puts the commands to a new credential, one after the other, through the aggregate as it is used.
fn play(steps: &[Step]) -> Vec<Turn> {
    let mut state = Credential::default();
    let mut turns = Vec::with_capacity(steps.len() + 1);
    let first = Step { when: When::Later(0), by: By::Operator, what: What::Issue, requires_secret: false };
    let mut now = at(0);
    for step in std::iter::once(&first).chain(steps) {
        now = step.now(&state, now);
        let before = state;
        let command = step.command(&state, now);
        let decision = handle(&mut state, command.clone());
        turns.push(Turn { before, command, now, decision, after: state });
    }
    turns
}

fn handle(
    state: &mut Credential,
    command: CredentialCommand,
) -> Result<Vec<CredentialEvent>, CredentialRefusal> {
    let sink = EventSink::default();
    at_once(state.handle(command, &(), &sink))?;
    Ok(at_once(sink.collect()))
}

/// The result of a future that has nothing to wait for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Polling::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("a decision waits for something"),
    }
}

fn history(turns: &[Turn]) -> Vec<CredentialEvent> {
    turns.iter().filter_map(|turn| turn.decision.as_ref().ok()).flatten().cloned().collect()
}

fn fold(mut state: Credential, events: &[CredentialEvent]) -> Credential {
    for event in events {
        state.evolve(event);
    }
    state
}

/// Whether the same command, put again, has to be refused: it aims at what it has just changed.
fn is_spent_once_done(command: &CredentialCommand) -> bool {
    match command {
        CredentialCommand::Revoke(_) | CredentialCommand::Describe(_) => false,
        CredentialCommand::Issue(_)
        | CredentialCommand::Rotate(_)
        | CredentialCommand::Prepare(_)
        | CredentialCommand::Commit(_)
        | CredentialCommand::Cancel(_)
        | CredentialCommand::ExpireOld(_)
        | CredentialCommand::RevokeSecret(_) => true,
    }
}

fn proof_of(command: &CredentialCommand) -> Proof {
    match command {
        CredentialCommand::Issue(c) => c.proof,
        CredentialCommand::Rotate(c) => c.proof,
        CredentialCommand::Prepare(c) => c.proof,
        CredentialCommand::Commit(c) => c.proof,
        CredentialCommand::Cancel(c) => c.proof,
        CredentialCommand::ExpireOld(c) => c.proof,
        CredentialCommand::RevokeSecret(c) => c.proof,
        CredentialCommand::Revoke(c) => c.proof,
        CredentialCommand::Describe(c) => c.proof,
    }
}

proptest! {
    #[test]
    fn at_most_two_live_versions(steps in steps(), anywhen in vec(any::<i64>(), 4)) {
        for turn in play(&steps) {
            // Also at instants before and after, so that a clock that was set changes nothing.
            let around = [turn.now, Timestamp::from_micros(turn.now.micros() - 1), at(0)];
            for now in around.into_iter().chain(anywhen.iter().copied().map(Timestamp::from_micros)) {
                let live: Vec<_> = turn.after.live_versions(now).collect();
                prop_assert!(live.len() <= 2, "{live:?} at {now}: {:?}", turn.after);
                prop_assert!(live.windows(2).all(|pair| pair[0] > pair[1]), "{live:?}");
                prop_assert!(live.iter().all(|v| (1..=turn.after.last_version).contains(v)), "{live:?}");
            }
            prop_assert!(turn.after.retiring.is_none() || turn.after.prepared.is_none());
        }
    }

    #[test]
    fn versions_are_numbered_from_one_without_gaps_and_never_used_again(steps in steps()) {
        let turns = play(&steps);
        let events = history(&turns);
        let made: Vec<_> = events.iter().filter_map(CredentialEvent::secret).map(|s| s.version).collect();
        let expected: Vec<_> = (1..=made.len() as u32).collect();
        prop_assert_eq!(made, expected);
    }

    #[test]
    fn the_last_version_only_grows(steps in steps()) {
        for turn in play(&steps) {
            let news = turn.decision.iter().flatten().filter_map(CredentialEvent::secret).count() as u32;
            prop_assert!(news <= 1, "one command made {news} secrets");
            prop_assert_eq!(turn.after.last_version, turn.before.last_version + news);
        }
    }

    #[test]
    fn a_dead_version_never_lives_again(steps in steps()) {
        let mut seen = BTreeSet::new();
        let mut live = BTreeSet::new();
        for turn in play(&steps) {
            let now: BTreeSet<_> = turn.after.live_versions(turn.now).collect();
            for version in now.difference(&live) {
                prop_assert!(!seen.contains(version), "version {version} is back");
            }
            seen.extend(now.iter().copied());
            live = now;
        }
    }

    #[test]
    fn a_refused_command_changes_nothing(steps in steps()) {
        for turn in play(&steps) {
            if turn.decision.is_err() {
                prop_assert_eq!(turn.after, turn.before);
            }
        }
    }

    #[test]
    fn what_was_decided_is_what_has_happened(steps in steps()) {
        for turn in play(&steps) {
            let decided = turn.before.decide(turn.command.clone());
            prop_assert_eq!(&decided, &turn.decision);
            if let Ok(events) = decided {
                prop_assert_eq!(fold(turn.before, &events), turn.after);
            }
        }
    }

    #[test]
    fn a_command_that_was_done_is_not_done_again(steps in steps()) {
        for turn in play(&steps) {
            if turn.decision.is_ok() && is_spent_once_done(&turn.command) {
                let again = turn.after.decide(turn.command.clone());
                prop_assert!(again.is_err(), "{:?} again: {again:?}", turn.command);
            }
        }
    }

    #[test]
    fn every_version_ends_once(steps in steps()) {
        let mut ended = BTreeSet::new();
        for event in history(&play(&steps)) {
            let ends = match &event {
                CredentialEvent::SecretRotated(SecretRotated { replaced: Some(r), .. })
                | CredentialEvent::PreparedSecretRotated(PreparedSecretRotated { replaced: Some(r), .. })
                    if r.expires_at.is_none() => vec![r.version],
                CredentialEvent::RotationCancelled(e) => vec![e.version],
                CredentialEvent::OldSecretExpired(e) => vec![e.version],
                CredentialEvent::SecretRevoked(e) => vec![e.version],
                CredentialEvent::CredentialRevoked(e) => e.versions.clone(),
                _ => vec![],
            };
            for version in ends {
                prop_assert!(ended.insert(version), "version {version} ends again by {event:?}");
            }
        }
    }

    #[test]
    fn every_version_that_is_not_live_has_an_end_on_record_or_is_due(steps in steps()) {
        let turns = play(&steps);
        let last = turns.last().unwrap();
        let waiting: BTreeSet<_> = [last.after.active]
            .into_iter()
            .chain([last.after.retiring.map(|r| r.version), last.after.prepared.map(|p| p.version)])
            .flatten()
            .collect();
        let events = history(&turns);
        for version in (1..=last.after.last_version).filter(|v| !waiting.contains(v)) {
            let says_so = |event: &CredentialEvent| match event {
                CredentialEvent::SecretRotated(SecretRotated { replaced: Some(r), .. })
                | CredentialEvent::PreparedSecretRotated(PreparedSecretRotated { replaced: Some(r), .. }) => {
                    r.version == version && r.expires_at.is_none()
                }
                CredentialEvent::RotationCancelled(e) => e.version == version,
                CredentialEvent::OldSecretExpired(e) => e.version == version,
                CredentialEvent::SecretRevoked(e) => e.version == version,
                CredentialEvent::CredentialRevoked(e) => e.versions.contains(&version),
                _ => false,
            };
            prop_assert!(events.iter().any(says_so), "nothing says how version {version} ended");
        }
    }

    #[test]
    fn a_revoked_credential_never_lives_again(steps in steps(), more in steps()) {
        let mut state = fold(Credential::default(), &history(&play(&steps)));
        if state.status != Status::Revoked {
            handle(&mut state, revoke(at(u32::MAX)).ask()).unwrap();
        }
        let dead = state;
        let mut now = at(0);
        for step in &more {
            now = step.now(&state, now);
            let decision = handle(&mut state, step.command(&dead, now));
            prop_assert!(decision.is_err() || decision == Ok(vec![]), "{decision:?}");
            prop_assert_eq!(state, dead);
            prop_assert_eq!(state.live_versions(now).count(), 0);
        }
    }

    #[test]
    fn a_retiring_secret_never_mints_its_successor(steps in steps()) {
        for turn in play(&steps) {
            let Some(version) = proof_of(&turn.command).own_version(CREDENTIAL) else { continue };
            let newest = turn.before.active == Some(version)
                || turn.before.prepared_at(turn.now).is_some_and(|p| p.version == version);
            if turn.before.status == Status::Active && !newest {
                let mints = turn.decision.iter().flatten().any(|event| event.secret().is_some());
                prop_assert!(!mints, "{:?} led to {:?}", turn.command, turn.decision);
            }
        }
    }

    #[test]
    fn a_dead_secret_changes_nothing(steps in steps()) {
        for turn in play(&steps) {
            let Some(version) = proof_of(&turn.command).own_version(CREDENTIAL) else { continue };
            let live = turn.before.live_versions(turn.now).any(|v| v == version);
            if turn.before.status == Status::Active && !live {
                prop_assert!(turn.decision.is_err(), "{:?} led to {:?}", turn.command, turn.decision);
            }
        }
    }

    #[test]
    fn a_retiring_secret_leaves_no_other_key_behind(
        kind in select(Kind::ALL.to_vec()), roles in roles(), proof in proof_kind(), retiring: bool,
    ) {
        let proof = Proof::of(proof, crate::build::OTHER, 1, retiring);
        let decision = Credential::default().decide(IssueCredential { roles, proof, ..issue_of(kind) }.ask());
        let is_key = kind == Kind::WorkspaceKey || !roles.is_empty();
        prop_assert_eq!(decision.is_err(), retiring && is_key);
    }

    #[test]
    fn a_prefix_and_the_rest_replay_to_the_whole(steps in steps(), cut: prop::sample::Index) {
        let events = history(&play(&steps));
        let whole = fold(Credential::default(), &events);
        let (prefix, rest) = events.split_at(cut.index(events.len() + 1));
        // The state is put away and taken out again in between, and the rest comes from stored bytes.
        let kept = serde_json::to_vec(&fold(Credential::default(), prefix)).unwrap();
        let taken: Credential = serde_json::from_slice(&kept).unwrap();
        let rest: Vec<_> = rest.iter().cloned().map(|event| {
            let leaf = encode(&plain(1, StreamId::credential(CREDENTIAL), event));
            match Record::decode(&leaf).unwrap().event {
                Event::Credential(event) => event,
                other => panic!("a credential's event came back as {other:?}"),
            }
        }).collect();
        prop_assert_eq!(fold(taken, &rest), whole);
    }

    #[test]
    fn any_record_is_read_as_it_was_written(record in record()) {
        let leaf = encode(&record);
        let read = Record::decode(&leaf).unwrap();
        prop_assert_eq!(&read, &record);
        prop_assert_eq!(encode(&read), leaf);
    }

    #[test]
    fn no_number_in_a_leaf_is_a_fraction_or_too_large_for_a_double(record in record()) {
        let leaf: Value = serde_json::from_slice(&encode(&record)).unwrap();
        prop_assert!(numbers_are_exact(&leaf), "{leaf}");
    }

    #[test]
    fn reading_any_bytes_never_panics(bytes in vec(any::<u8>(), 0..512)) {
        let _ = Record::decode(&bytes);
    }
}

#[test]
fn the_sequences_reach_every_event_and_every_refusal_that_they_can() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut events, mut refusals) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..400 {
        for turn in play(&steps().new_tree(&mut runner).unwrap().current()) {
            match turn.decision {
                Ok(decided) => events.extend(decided.iter().map(CredentialEvent::type_name)),
                Err(refusal) => {
                    refusals.insert(refusal.code());
                }
            }
        }
    }
    for name in CredentialEvent::TYPES {
        assert!(events.contains(name), "no sequence leads to {name}");
    }
    for code in [
        "already-issued",
        "credential-revoked",
        "retiring-secret",
        "secret-required",
        "proof-stale",
        "version-conflict",
        "grace-too-long",
        "deadline-out-of-range",
        "rotation-pending",
        "nothing-prepared",
        "nothing-retiring",
        "not-due",
        "unknown-version",
        "no-active-secret",
    ] {
        assert!(refusals.contains(code), "no sequence leads to {code}");
    }
    assert!(fold(Credential::default(), &[issued()]).status == Status::Active);
}

// Records of any content. The strategies are boxed: a value tree of them all is more than a test's stack holds.

const EXACT_MAX: u64 = (1 << 53) - 1;

fn numbers_are_exact(value: &Value) -> bool {
    match value {
        Value::Number(n) => n.as_u64().is_some_and(|n| n <= EXACT_MAX),
        Value::Array(items) => items.iter().all(numbers_are_exact),
        Value::Object(fields) => fields.values().all(numbers_are_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
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

fn roles() -> impl Strategy<Value = Roles> {
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
        (any::<u32>(), option::of(time())).prop_map(|(version, expires_at)| Replaced { version, expires_at }),
    )
}

fn policy() -> BoxedStrategy<Policy> {
    (option::of(any::<u32>()), exact(), exact(), exact(), any::<bool>(), any::<u32>())
        .prop_map(
            |(max_secret_age_days, default_grace, max_grace, min_overlap, rotate_requires_secret, kept)| {
                Policy {
                    max_secret_age_days,
                    default_grace_seconds: default_grace,
                    max_grace_seconds: max_grace,
                    min_overlap_seconds: min_overlap,
                    rotate_requires_secret,
                    digest_retention_days: kept,
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
    let proof = (proof_kind, option::of(credential_id()), option::of(any::<u32>()), any::<bool>())
        .prop_map(|(kind, credential, version, retiring)| Proof { kind, credential, version, retiring });
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
        ])
    })
}

fn record() -> BoxedStrategy<Record> {
    let event = prop_oneof![workspace_event(), credential_event(), credential_event(), observation_event()];
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
