use rota_aggregates::credential::{
    CancelCause, Credential, CredentialRefusal, ExpiryCause, Kind, PrepareRotation, RotateSecret, SecretRef,
    SecretRotated,
};
use rota_aggregates::workspace::{MAX_GRACE_SECONDS_DEFAULT, Policy};

use crate::build::{
    Ask, at, cancelled, expired, given, hash, in_grace, issue_of, issued, just_before, live, pending,
    prepare, prepared, replaced, revoke, rotate, rotated, secret, secret_part, secret_revoked, state,
};

#[test]
fn without_grace_the_old_secret_dies_at_once_and_its_sealed_part_with_it() {
    let event = rotated(2, 0, at(5));
    assert_eq!(event.shredded, [secret_part(1)]);
    given(vec![issued()]).when(rotate(1, at(5))).then([event.clone().into()]);
    assert_eq!(live(&[issued(), event.into()], at(5)), [2]);
}

#[test]
fn a_grace_of_zero_asked_for_is_no_grace() {
    given(vec![issued()]).when(RotateSecret { grace_seconds: Some(0), ..rotate(1, at(5)) }).then([rotated(
        2,
        0,
        at(5),
    )
    .into()]);
}

#[test]
fn with_grace_the_old_secret_stays_and_nothing_of_it_is_destroyed() {
    given(vec![issued()])
        .when(RotateSecret { grace_seconds: Some(50), ..rotate(1, at(10)) })
        .then([SecretRotated { shredded: vec![], ..rotated(2, 50, at(10)) }.into()]);
}

#[test]
fn the_shortest_grace_is_one_second() {
    given(vec![issued()]).when(RotateSecret { grace_seconds: Some(1), ..rotate(1, at(10)) }).then([rotated(
        2,
        1,
        at(10),
    )
    .into()]);
}

#[test]
fn a_retiring_secret_is_live_until_its_end_and_not_at_it() {
    let events = in_grace();
    assert_eq!(live(&events, at(10)), [2, 1]);
    assert_eq!(live(&events, just_before(at(60))), [2, 1]);
    assert_eq!(live(&events, at(60)), [2]);
}

#[test]
fn the_longest_grace_is_allowed() {
    given(vec![issued()])
        .when(RotateSecret { grace_seconds: Some(MAX_GRACE_SECONDS_DEFAULT), ..rotate(1, at(5)) })
        .then([rotated(2, MAX_GRACE_SECONDS_DEFAULT, at(5)).into()]);
}

#[test]
fn a_grace_over_the_longest_is_refused() {
    for grace_seconds in [MAX_GRACE_SECONDS_DEFAULT + 1, u64::MAX] {
        given(vec![issued()])
            .when(RotateSecret { grace_seconds: Some(grace_seconds), ..rotate(1, at(5)) })
            .refused(CredentialRefusal::GraceTooLong { max_seconds: MAX_GRACE_SECONDS_DEFAULT });
    }
}

const OVERLAP: Policy = Policy {
    max_secret_age_days: None,
    default_grace_seconds: 20,
    max_grace_seconds: 100,
    min_overlap_seconds: 30,
    rotate_requires_secret: false,
    digest_retention_days: 365,
    end_grace_when_quiet_seconds: None,
    hold_grace_while_used_seconds: None,
};

#[test]
fn a_grace_under_the_demanded_overlap_is_refused_and_the_overlap_itself_allowed() {
    let ask = |grace| RotateSecret { grace_seconds: Some(grace), policy: OVERLAP, ..rotate(1, at(5)) };
    given(vec![issued()]).when(ask(29)).refused(CredentialRefusal::GraceTooShort { min_seconds: 30 });
    given(vec![issued()]).when(ask(0)).refused(CredentialRefusal::GraceTooShort { min_seconds: 30 });
    given(vec![issued()]).when(ask(30)).then([rotated(2, 30, at(5)).into()]);
}

#[test]
fn a_rotation_that_names_no_grace_follows_the_policy() {
    let ask = |policy| RotateSecret { policy, ..rotate(1, at(5)) };
    given(vec![issued()]).when(ask(OVERLAP)).then([rotated(2, 30, at(5)).into()]);
    given(vec![issued()]).when(ask(Policy { min_overlap_seconds: 0, ..OVERLAP })).then([rotated(
        2,
        20,
        at(5),
    )
    .into()]);
}

#[test]
fn a_compromised_secret_gets_no_grace_by_default_whatever_overlap_is_demanded() {
    given(vec![issued()])
        .when(RotateSecret { compromised: true, policy: OVERLAP, ..rotate(1, at(5)) })
        .then([SecretRotated { compromised: true, ..rotated(2, 0, at(5)) }.into()]);
}

#[test]
fn a_compromised_secret_gets_no_grace_even_if_it_is_asked_for() {
    for grace_seconds in [1, 50, 101] {
        given(vec![issued()])
            .when(RotateSecret {
                compromised: true,
                grace_seconds: Some(grace_seconds),
                policy: OVERLAP,
                ..rotate(1, at(5))
            })
            .refused(CredentialRefusal::GraceTooLong { max_seconds: 0 });
    }
}

#[test]
fn rotating_during_a_grace_ends_the_older_secret_in_the_same_append() {
    let then = [expired(1, ExpiryCause::RotatedAgain, at(20)).into(), rotated(3, 50, at(20)).into()];
    given(in_grace()).when(RotateSecret { grace_seconds: Some(50), ..rotate(2, at(20)) }).then(then.clone());
    assert_eq!(live(&[in_grace(), then.into()].concat(), at(20)), [3, 2]);
}

#[test]
fn a_grace_that_was_over_before_the_next_rotation_ended_when_it_was_due() {
    given(in_grace()).when(rotate(2, just_before(at(60)))).then([
        expired(1, ExpiryCause::RotatedAgain, just_before(at(60))).into(),
        rotated(3, 0, just_before(at(60))).into(),
    ]);
    for now in [at(60), at(500)] {
        given(in_grace())
            .when(rotate(2, now))
            .then([expired(1, ExpiryCause::Due, at(60)).into(), rotated(3, 0, now).into()]);
    }
}

#[test]
fn a_prepared_rotation_is_not_overtaken_before_its_deadline() {
    // The next number is taken by the prepared version: even the right one changes nothing.
    let ask = |now| RotateSecret { secret: secret(3), ..rotate(1, now) };
    given(pending()).when(ask(just_before(at(60)))).refused(CredentialRefusal::RotationPending);
}

#[test]
fn a_prepared_rotation_that_missed_its_deadline_is_cancelled_in_the_append_of_the_next() {
    for compromised in [false, true] {
        given(pending()).when(RotateSecret { secret: secret(3), compromised, ..rotate(1, at(60)) }).then([
            cancelled(2, CancelCause::Deadline, at(60)).into(),
            SecretRotated {
                secret: secret(3),
                replaced: Some(replaced(2, 0, at(60))),
                compromised,
                shredded: vec![secret_part(1)],
                ..rotated(3, 0, at(60))
            }
            .into(),
        ]);
    }
}

#[test]
fn a_compromise_takes_the_prepared_secret_with_it() {
    let then = [
        cancelled(2, CancelCause::Compromised, at(20)).into(),
        SecretRotated {
            secret: secret(3),
            replaced: Some(replaced(2, 0, at(20))),
            compromised: true,
            shredded: vec![secret_part(1)],
            ..rotated(3, 0, at(20))
        }
        .into(),
    ];
    given(pending())
        .when(RotateSecret { secret: secret(3), compromised: true, ..rotate(1, at(20)) })
        .then(then.clone());
    assert_eq!(live(&[pending(), then.into()].concat(), at(20)), [3]);
}

#[test]
fn a_rotation_brings_a_secret_back_after_the_active_one_was_revoked() {
    let gone = vec![issued(), secret_revoked(1, at(1)).into()];
    let event = SecretRotated { replaced: None, shredded: vec![], ..rotated(2, 50, at(5)) };
    given(gone.clone())
        .when(RotateSecret { means: None, grace_seconds: Some(50), ..rotate(1, at(5)) })
        .then([event.clone().into()]);
    assert_eq!(live(&[gone, vec![event.into()]].concat(), at(5)), [2]);
}

#[test]
fn a_rotation_aimed_at_another_version_than_the_active_one_is_refused() {
    for means in [None, Some(0), Some(1), Some(3)] {
        given(in_grace())
            .when(RotateSecret { means, ..rotate(2, at(20)) })
            .refused(CredentialRefusal::VersionConflict);
    }
    // The one that was meant has been revoked since.
    given(vec![issued(), secret_revoked(1, at(1)).into()])
        .when(rotate(1, at(5)))
        .refused(CredentialRefusal::VersionConflict);
}

#[test]
fn no_number_is_used_twice_or_left_out() {
    for version in [0, 1, 2, 4] {
        given(in_grace())
            .when(RotateSecret { secret: secret(version), ..rotate(2, at(20)) })
            .refused(CredentialRefusal::VersionConflict);
    }
}

#[test]
fn a_cancelled_versions_number_is_not_used_again() {
    let given_events = [pending(), vec![cancelled(2, CancelCause::Call, at(20)).into()]].concat();
    given(given_events.clone()).when(rotate(1, at(30))).refused(CredentialRefusal::VersionConflict);
    given(given_events).when(RotateSecret { secret: secret(3), ..rotate(1, at(30)) }).allowed();
}

#[test]
fn after_the_last_number_there_is_no_first_one_again() {
    let last = Credential { last_version: u32::MAX, active: Some(u32::MAX), ..state(&[issued()]) };
    let ask = RotateSecret { secret: secret(0), means: Some(u32::MAX), ..rotate(1, at(5)) };
    assert_eq!(last.decide(ask.ask()), Err(CredentialRefusal::VersionConflict));
}

#[test]
fn a_successor_is_kept_as_its_kind_is() {
    let signing = state(&[]).decide(issue_of(Kind::Signing).ask()).unwrap();
    let sealed = SecretRef { sealed: Some(hash(0x52)), ..secret(2) };
    for (events, right, wrong) in [(vec![issued()], secret(2), sealed.clone()), (signing, sealed, secret(2))]
    {
        let rotated = |secret| RotateSecret { secret, ..rotate(1, at(5)) };
        let prepared = |secret| PrepareRotation { secret, ..prepare(1, at(5)) };
        given(events.clone()).when(rotated(right.clone())).allowed();
        given(events.clone()).when(prepared(right)).allowed();
        let why = "a secret is sealed if its kind must be recoverable, and only then";
        for command in [rotated(wrong.clone()).ask(), prepared(wrong).ask()] {
            assert_eq!(state(&events).decide(command), Err(CredentialRefusal::Contradictory { why }));
        }
    }
}

#[test]
fn what_does_not_exist_or_is_revoked_is_not_rotated() {
    given(vec![]).when(rotate(1, at(5))).refused(CredentialRefusal::Unknown);
    let events = state(&[issued()]).decide(revoke(at(1)).ask()).unwrap();
    given([vec![issued()], events].concat()).when(rotate(1, at(5))).refused(CredentialRefusal::Revoked);
}

#[test]
fn a_grace_that_reaches_beyond_the_last_year_ends_with_it() {
    let now = "9999-12-31T23:59:59Z".parse().unwrap();
    given(vec![issued()])
        .when(RotateSecret { grace_seconds: Some(3_600), ..rotate(1, now) })
        .then([rotated(2, 3_600, now).into()]);
    assert_eq!(now.plus_seconds(3_600).to_string(), "9999-12-31T23:59:59.999999Z");
}

#[test]
fn a_prepared_version_never_stands_beside_a_retiring_one() {
    let events = [pending(), vec![prepared(3, at(90), 0, at(70)).into()]].concat();
    assert_eq!(live(&events, at(70)), [3, 1]);
    assert_eq!(live(&events, at(90)), [1]);
}
