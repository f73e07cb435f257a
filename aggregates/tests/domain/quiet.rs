//! Grace periods that end with the use of the old secret, or go on with it.

use rota_aggregates::credential::{
    CredentialRefusal, EndCause, EndQuietGrace, ExpiryCause, GraceHeld, HoldGrace,
};
use rota_aggregates::time::Timestamp;
use rota_aggregates::workspace::Policy;

use crate::build::{expire_old, expired, given, in_grace, issued, just_before, live, parts};

use crate::build::at;

/// Version 1 was replaced at second 10.
fn end(quiet_since: Timestamp, policy: Policy, now: Timestamp) -> EndQuietGrace {
    EndQuietGrace { version: 1, replaced_at: at(10), quiet_since, policy, sealed: parts(), now }
}

fn hold(used_at: Timestamp, policy: Policy, now: Timestamp) -> HoldGrace {
    HoldGrace { version: 1, replaced_at: at(10), used_at, policy, now }
}

fn quiet(seconds: u64) -> Policy {
    Policy { end_grace_when_quiet_seconds: Some(seconds), ..Policy::default() }
}

fn held(seconds: u64) -> Policy {
    Policy { hold_grace_while_used_seconds: Some(seconds), ..Policy::default() }
}

fn prolonged(until: u32, used: u32, now: u32) -> GraceHeld {
    GraceHeld { version: 1, held_from: at(60), expires_at: at(until), last_used_at: at(used), at: at(now) }
}

#[test]
fn a_quiet_grace_ends_when_it_was_quiet_for_long_enough_and_not_before() {
    given(in_grace()).when(end(at(20), quiet(15), just_before(at(35)))).then([]);
    given(in_grace())
        .when(end(at(20), quiet(15), at(35)))
        .then([expired(1, ExpiryCause::Quiet, at(35)).into()]);
    // What was before the replacement is no quiet of the old secret.
    given(in_grace()).when(end(at(0), quiet(15), at(24))).then([]);
}

#[test]
fn a_quiet_grace_never_ends_before_the_overlap_that_the_policy_asks_for() {
    let policy = Policy { min_overlap_seconds: 30, ..quiet(5) };
    given(in_grace()).when(end(at(10), policy, just_before(at(40)))).then([]);
    given(in_grace()).when(end(at(10), policy, at(40))).then([expired(1, ExpiryCause::Quiet, at(40)).into()]);
}

#[test]
fn a_grace_goes_on_by_as_much_as_the_policy_says_while_its_secret_is_used() {
    given(in_grace()).when(hold(at(40), held(30), at(50))).then([prolonged(90, 40, 50).into()]);
    given(in_grace()).when(hold(at(20), held(30), at(50))).then([]);
    let events = [in_grace(), vec![prolonged(90, 40, 50).into()]].concat();
    assert_eq!(live(&events, just_before(at(90))), [2, 1]);
    assert_eq!(live(&events, at(90)), [2]);
    given(events.clone())
        .when(expire_old(EndCause::Due, at(60)))
        .refused(CredentialRefusal::NotDue { expires_at: at(90) });
    given(events).when(expire_old(EndCause::Due, at(95))).then([expired(1, ExpiryCause::Due, at(90)).into()]);
}

#[test]
fn a_grace_goes_on_no_longer_than_the_longest_that_there_may_be() {
    let policy = Policy { max_grace_seconds: 60, ..held(30) };
    given(in_grace()).when(hold(at(45), policy, at(50))).then([prolonged(70, 45, 50).into()]);
    let policy = Policy { max_grace_seconds: 50, ..held(30) };
    given(in_grace()).when(hold(at(45), policy, at(50))).then([]);
}

#[test]
fn without_a_policy_a_grace_ends_when_it_was_to_end() {
    given(in_grace()).when(end(at(10), Policy::default(), at(59))).then([]);
    given(in_grace()).when(hold(at(58), Policy::default(), at(59))).then([]);
}

#[test]
fn what_is_over_is_neither_ended_nor_prolonged() {
    given(in_grace()).when(end(at(10), quiet(5), at(60))).refused(CredentialRefusal::NothingRetiring);
    given(in_grace()).when(hold(at(59), held(30), at(60))).refused(CredentialRefusal::NothingRetiring);
    given(vec![issued()]).when(hold(at(59), held(30), at(60))).refused(CredentialRefusal::NothingRetiring);
    let other = HoldGrace { version: 2, ..hold(at(40), held(30), at(50)) };
    given(in_grace()).when(other).refused(CredentialRefusal::VersionConflict);
}
