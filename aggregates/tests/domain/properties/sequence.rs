//! Sequences of commands, and what comes of putting them to a credential.

use std::pin::pin;
use std::task::{Context as Polling, Poll, Waker};

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rota_aggregates::Timestamp;
use rota_aggregates::authority::{Proof, ProofKind};
use rota_aggregates::credential::{
    CancelRotation, CommitCause, CommitRotation, Credential, CredentialCommand, CredentialEvent,
    CredentialRefusal, EndCause, EndQuietGrace, EndReplay, ExpireOldSecret, HoldGrace, IssueCredential, Kind,
    PREPARED_SECONDS_MAX, PrepareRotation, ReplayEndCause, RevokeCredential, RevokeSecret, RotateSecret,
    SecretRef,
};
use rota_aggregates::workspace::{MAX_GRACE_SECONDS_DEFAULT, Policy};

use super::any::proof_kind;
use crate::build::{
    Ask, CREDENTIAL, at, cancel, commit, describe, expire_old, hash, issue_of, parts, prepare, revoke,
    revoke_secret, rotate, secret,
};

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
    Issue(Kind),
    Rotate { means: Aim, next: Aim, grace: Option<u64>, compromised: bool },
    Prepare { means: Aim, next: Aim, grace: Option<u64>, wait: Option<u64> },
    Commit { means: Aim, cause: CommitCause },
    Cancel { means: Aim, cause: EndCause },
    ExpireOld { means: Aim, cause: EndCause },
    RevokeSecret(u32),
    Revoke,
    Describe,
    EndReplay(ReplayEndCause),
    EndQuietGrace(Aim),
    HoldGrace(Aim),
}

#[derive(Clone, Copy, Debug)]
pub struct Step {
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
    pub fn now(&self, state: &Credential, before: Timestamp) -> Timestamp {
        let end = state.retiring.map(|r| r.expires_at).or(state.prepared.map(|p| p.deadline));
        let end = end.or(state.replay_only.map(|r| r.until));
        match (self.when, end) {
            (When::AroundTheEnd(off), Some(end)) => Timestamp::from_micros(end.micros() + off).max(before),
            (When::AroundTheEnd(_), None) => before,
            (When::Later(micros), _) => Timestamp::from_micros(before.micros() + micros),
        }
    }

    pub fn command(&self, state: &Credential, now: Timestamp) -> CredentialCommand {
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
            What::Issue(kind) => IssueCredential { proof, now, ..issue_of(kind) }.ask(),
            What::Rotate { means, next, grace: grace_seconds, compromised } => RotateSecret {
                means: means.at(state.active),
                secret: secret_of(state.kind, next.at(successor).unwrap_or(0)),
                grace_seconds,
                compromised,
                replayable: true,
                proof,
                policy,
                ..rotate(1, now)
            }
            .ask(),
            What::Prepare { means, next, grace: grace_seconds, wait: deadline_seconds } => PrepareRotation {
                means: means.at(state.active),
                secret: secret_of(state.kind, next.at(successor).unwrap_or(0)),
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
            What::EndQuietGrace(aim) => {
                let version = aim.at(state.retiring.map(|r| r.version)).unwrap_or(0);
                let policy = Policy { end_grace_when_quiet_seconds: Some(60), ..policy };
                let since = now.minus_seconds(60);
                EndQuietGrace {
                    version,
                    replaced_at: since,
                    quiet_since: since,
                    policy,
                    sealed: parts(),
                    now,
                }
                .ask()
            }
            What::HoldGrace(aim) => {
                let version = aim.at(state.retiring.map(|r| r.version)).unwrap_or(0);
                let policy = Policy { hold_grace_while_used_seconds: Some(60), ..policy };
                HoldGrace { version, replaced_at: now, used_at: now, policy, now }.ask()
            }
            What::EndReplay(cause) => EndReplay { cause, sealed: parts(), now }.ask(),
        }
    }
}

/// A version of a kind, sealed if that has to be.
fn secret_of(kind: Kind, version: u32) -> SecretRef {
    SecretRef { sealed: kind.recoverable().then_some(hash(0x50)), ..secret(version) }
}

fn aim() -> impl Strategy<Value = Aim> {
    prop_oneof![9 => Just(Aim::Right), 1 => option::of(0..8_u32).prop_map(Aim::Any)]
}

fn grace() -> impl Strategy<Value = Option<u64>> {
    let max = MAX_GRACE_SECONDS_DEFAULT;
    select(vec![None, Some(0), Some(1), Some(60), Some(3_600), Some(max), Some(max + 1), Some(u64::MAX)])
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
        1 => select(Kind::ALL.to_vec()).prop_map(What::Issue),
        3 => select(vec![ReplayEndCause::Due, ReplayEndCause::FirstUse]).prop_map(What::EndReplay),
        8 => (aim(), aim(), grace(), prop::bool::weighted(0.2))
            .prop_map(|(means, next, grace, compromised)| What::Rotate { means, next, grace, compromised }),
        6 => (aim(), aim(), grace(), wait)
            .prop_map(|(means, next, grace, wait)| What::Prepare { means, next, grace, wait }),
        5 => (aim(), commit_cause).prop_map(|(means, cause)| What::Commit { means, cause }),
        2 => (aim(), end_cause()).prop_map(|(means, cause)| What::Cancel { means, cause }),
        3 => (aim(), end_cause()).prop_map(|(means, cause)| What::ExpireOld { means, cause }),
        2 => (0..8_u32).prop_map(What::RevokeSecret),
        2 => aim().prop_map(What::EndQuietGrace),
        3 => aim().prop_map(What::HoldGrace),
        1 => prop::bool::weighted(0.3).prop_map(|end| if end { What::Revoke } else { What::Describe }),
    ]
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
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
pub struct Turn {
    pub before: Credential,
    pub command: CredentialCommand,
    pub now: Timestamp,
    pub decision: Result<Vec<CredentialEvent>, CredentialRefusal>,
    pub after: Credential,
}

/// Puts the commands to a new credential, one after the other, through the aggregate as it is used.
pub fn play(steps: &[Step]) -> Vec<Turn> {
    let mut state = Credential::default();
    let mut turns = Vec::with_capacity(steps.len() + 1);
    let kind = if steps.len().is_multiple_of(2) { Kind::Signing } else { Kind::Client };
    let first =
        Step { when: When::Later(0), by: By::Operator, what: What::Issue(kind), requires_secret: false };
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

pub fn handle(
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

pub fn history(turns: &[Turn]) -> Vec<CredentialEvent> {
    turns.iter().filter_map(|turn| turn.decision.as_ref().ok()).flatten().cloned().collect()
}

pub fn fold(mut state: Credential, events: &[CredentialEvent]) -> Credential {
    for event in events {
        state.evolve(event);
    }
    state
}
