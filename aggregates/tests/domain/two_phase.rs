use rota_aggregates::credential::{
    CancelCause, CancelRotation, CommitCause, CommitRotation, CredentialRefusal, EndCause, ExpiryCause,
    PREPARED_SECONDS_DEFAULT, PREPARED_SECONDS_MAX, PrepareRotation, PreparedSecretRotated,
};
use rota_aggregates::workspace::{MAX_GRACE_SECONDS_DEFAULT, Policy};

use crate::build::{
    Ask, at, cancel, cancelled, commit, committed, expired, first_use, given, in_grace, issued, just_before,
    live, pending, prepare, prepared, revoke, secret, secret_part, secret_revoked, state,
};

#[test]
fn a_prepared_rotation_waits_a_day_by_default() {
    let deadline = at(5).plus_seconds(PREPARED_SECONDS_DEFAULT);
    given(vec![issued()]).when(prepare(1, at(5))).then([prepared(2, deadline, 0, at(5)).into()]);
}

#[test]
fn both_secrets_are_live_while_a_rotation_is_prepared_and_only_the_old_one_from_the_deadline_on() {
    assert_eq!(live(&pending(), at(10)), [2, 1]);
    assert_eq!(live(&pending(), just_before(at(60))), [2, 1]);
    assert_eq!(live(&pending(), at(60)), [1]);
}

#[test]
fn a_prepared_rotation_waits_between_one_second_and_the_longest_wait() {
    let ask = |wait| PrepareRotation { deadline_seconds: Some(wait), ..prepare(1, at(5)) };
    for wait in [1, PREPARED_SECONDS_MAX] {
        let deadline = at(5).plus_seconds(wait);
        given(vec![issued()]).when(ask(wait)).then([prepared(2, deadline, 0, at(5)).into()]);
    }
    for wait in [0, PREPARED_SECONDS_MAX + 1, u64::MAX] {
        given(vec![issued()])
            .when(ask(wait))
            .refused(CredentialRefusal::DeadlineOutOfRange { max_seconds: PREPARED_SECONDS_MAX });
    }
}

#[test]
fn the_grace_of_a_prepared_rotation_is_bounded_when_it_is_prepared() {
    let policy = Policy { min_overlap_seconds: 30, ..Policy::default() };
    let ask = |grace| PrepareRotation { grace_seconds: grace, policy, ..prepare(1, at(5)) };
    let deadline = at(5).plus_seconds(PREPARED_SECONDS_DEFAULT);
    given(vec![issued()]).when(ask(Some(29))).refused(CredentialRefusal::GraceTooShort { min_seconds: 30 });
    for (grace, gets) in
        [(None, 30), (Some(30), 30), (Some(MAX_GRACE_SECONDS_DEFAULT), MAX_GRACE_SECONDS_DEFAULT)]
    {
        given(vec![issued()]).when(ask(grace)).then([prepared(2, deadline, gets, at(5)).into()]);
    }
    given(vec![issued()])
        .when(ask(Some(MAX_GRACE_SECONDS_DEFAULT + 1)))
        .refused(CredentialRefusal::GraceTooLong { max_seconds: MAX_GRACE_SECONDS_DEFAULT });
}

#[test]
fn preparing_during_a_grace_ends_the_retiring_secret_in_the_same_append() {
    let deadline = at(20).plus_seconds(PREPARED_SECONDS_DEFAULT);
    let then = [expired(1, ExpiryCause::Prepared, at(20)).into(), prepared(3, deadline, 0, at(20)).into()];
    given(in_grace()).when(prepare(2, at(20))).then(then.clone());
    assert_eq!(live(&[in_grace(), then.into()].concat(), at(20)), [3, 2]);
}

#[test]
fn a_grace_that_was_over_before_a_rotation_was_prepared_ended_when_it_was_due() {
    let deadline = at(60).plus_seconds(PREPARED_SECONDS_DEFAULT);
    given(in_grace())
        .when(prepare(2, at(60)))
        .then([expired(1, ExpiryCause::Due, at(60)).into(), prepared(3, deadline, 0, at(60)).into()]);
}

#[test]
fn only_one_rotation_is_prepared_at_a_time() {
    let ask = |now| PrepareRotation { secret: secret(3), ..prepare(1, now) };
    given(pending()).when(ask(just_before(at(60)))).refused(CredentialRefusal::RotationPending);
    let deadline = at(60).plus_seconds(PREPARED_SECONDS_DEFAULT);
    given(pending())
        .when(ask(at(60)))
        .then([cancelled(2, CancelCause::Deadline, at(60)).into(), prepared(3, deadline, 0, at(60)).into()]);
}

#[test]
fn nothing_is_prepared_beside_an_active_secret_that_was_revoked() {
    given(vec![issued(), secret_revoked(1, at(1)).into()])
        .when(PrepareRotation { means: None, ..prepare(1, at(5)) })
        .refused(CredentialRefusal::NoActiveSecret);
}

#[test]
fn a_preparation_aimed_at_another_version_than_the_active_one_is_refused() {
    for means in [None, Some(1), Some(3)] {
        given(in_grace())
            .when(PrepareRotation { means, ..prepare(2, at(20)) })
            .refused(CredentialRefusal::VersionConflict);
    }
    for version in [0, 1, 2, 4] {
        given(in_grace())
            .when(PrepareRotation { secret: secret(version), ..prepare(2, at(20)) })
            .refused(CredentialRefusal::VersionConflict);
    }
}

#[test]
fn a_commit_makes_the_prepared_secret_active_and_gives_the_old_one_its_grace() {
    for ask in [commit(at(20)), first_use(2, at(20))] {
        let event = committed(2, 30, ask.cause, at(20));
        given(pending()).when(ask).then([event.clone().into()]);
        let events = [pending(), vec![event.into()]].concat();
        assert_eq!(live(&events, just_before(at(50))), [2, 1]);
        assert_eq!(live(&events, at(50)), [2]);
    }
}

#[test]
fn a_commit_keeps_to_a_policy_that_was_changed_since_it_was_prepared() {
    let tighter = Policy { max_grace_seconds: 5, ..Policy::default() };
    let without = Policy { max_grace_seconds: 0, ..Policy::default() };
    let longer = Policy { min_overlap_seconds: 90, ..Policy::default() };
    for (policy, gets) in [(Policy::default(), 30), (tighter, 5), (without, 0), (longer, 90)] {
        for ask in [commit(at(20)), first_use(2, at(20))] {
            let event = committed(2, gets, ask.cause, at(20));
            given(pending()).when(CommitRotation { policy, ..ask }).then([event.into()]);
        }
    }
}

#[test]
fn a_commit_without_grace_destroys_the_old_sealed_secret() {
    let event = committed(2, 0, CommitCause::Call, at(20));
    assert_eq!(event.shredded, [secret_part(1)]);
    given(vec![issued(), prepared(2, at(60), 0, at(10)).into()]).when(commit(at(20))).then([event.into()]);
}

#[test]
fn a_commit_comes_before_the_deadline_or_not_at_all() {
    for ask in [commit, |now| first_use(2, now)] {
        given(pending()).when(ask(just_before(at(60)))).allowed();
        given(pending()).when(ask(at(60))).refused(CredentialRefusal::NothingPrepared);
    }
}

#[test]
fn a_commit_happens_once() {
    for ask in [commit(at(21)), first_use(2, at(21))] {
        let events = [pending(), vec![committed(2, 30, CommitCause::FirstUse, at(20)).into()]].concat();
        given(events).when(ask).refused(CredentialRefusal::NothingPrepared);
    }
}

#[test]
fn a_commit_aimed_at_another_version_than_the_prepared_one_is_refused() {
    for means in [0, 1, 3] {
        given(pending())
            .when(CommitRotation { means: Some(means), ..commit(at(20)) })
            .refused(CredentialRefusal::VersionConflict);
    }
    given(pending()).when(CommitRotation { means: Some(2), ..commit(at(20)) }).allowed();
}

#[test]
fn a_commit_after_the_active_secret_was_revoked_replaces_nothing() {
    let events = [pending(), vec![secret_revoked(1, at(15)).into()]].concat();
    assert_eq!(live(&events, at(15)), [2]);
    given(events).when(commit(at(20))).then([PreparedSecretRotated {
        replaced: None,
        shredded: vec![],
        ..committed(2, 30, CommitCause::Call, at(20))
    }
    .into()]);
}

#[test]
fn a_revoked_prepared_secret_is_not_committed() {
    let events = [pending(), vec![secret_revoked(2, at(15)).into()]].concat();
    assert_eq!(live(&events, at(15)), [1]);
    given(events).when(commit(at(20))).refused(CredentialRefusal::NothingPrepared);
}

#[test]
fn a_cancelled_secret_is_dead_at_once_and_its_sealed_part_destroyed() {
    let event = cancelled(2, CancelCause::Call, at(20));
    assert_eq!(event.shredded, [secret_part(2)]);
    given(pending()).when(cancel(at(20))).then([event.clone().into()]);
    assert_eq!(live(&[pending(), vec![event.into()]].concat(), at(20)), [1]);
}

#[test]
fn the_deadline_cancels_when_it_has_come_and_not_before() {
    let ask = |now| CancelRotation { cause: EndCause::Due, ..cancel(now) };
    given(pending()).when(ask(just_before(at(60)))).refused(CredentialRefusal::NotDue { expires_at: at(60) });
    for now in [at(60), at(500)] {
        given(pending()).when(ask(now)).then([cancelled(2, CancelCause::Deadline, at(60)).into()]);
    }
}

#[test]
fn a_call_does_not_cancel_what_the_deadline_had_ended() {
    given(pending()).when(cancel(just_before(at(60)))).then([cancelled(
        2,
        CancelCause::Call,
        just_before(at(60)),
    )
    .into()]);
    given(pending()).when(cancel(at(60))).then([cancelled(2, CancelCause::Deadline, at(60)).into()]);
}

#[test]
fn a_cancellation_aimed_at_another_version_than_the_prepared_one_is_refused() {
    for means in [1, 3] {
        given(pending())
            .when(CancelRotation { means: Some(means), ..cancel(at(20)) })
            .refused(CredentialRefusal::VersionConflict);
    }
    given(pending()).when(CancelRotation { means: Some(2), ..cancel(at(20)) }).allowed();
}

#[test]
fn nothing_is_cancelled_where_nothing_is_prepared() {
    for events in [
        vec![issued()],
        in_grace(),
        [pending(), vec![cancelled(2, CancelCause::Call, at(20)).into()]].concat(),
        [pending(), vec![committed(2, 30, CommitCause::Call, at(20)).into()]].concat(),
    ] {
        given(events.clone()).when(cancel(at(25))).refused(CredentialRefusal::NothingPrepared);
        given(events).when(commit(at(25))).refused(CredentialRefusal::NothingPrepared);
    }
}

#[test]
fn what_does_not_exist_or_is_revoked_is_not_prepared_committed_or_cancelled() {
    given(vec![]).when(prepare(1, at(5))).refused(CredentialRefusal::Unknown);
    given(vec![]).when(commit(at(5))).refused(CredentialRefusal::Unknown);
    given(vec![]).when(cancel(at(5))).refused(CredentialRefusal::Unknown);
    let end = state(&pending()).decide(revoke(at(15)).ask()).unwrap();
    let revoked = [pending(), end].concat();
    given(revoked.clone()).when(prepare(1, at(20))).refused(CredentialRefusal::Revoked);
    given(revoked.clone()).when(commit(at(20))).refused(CredentialRefusal::Revoked);
    given(revoked).when(cancel(at(20))).refused(CredentialRefusal::Revoked);
}
