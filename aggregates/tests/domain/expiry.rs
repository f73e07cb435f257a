use rota_aggregates::credential::{CredentialRefusal, EndCause, ExpireOldSecret, ExpiryCause};

use crate::build::{
    Ask, at, expire_old, expired, given, in_grace, issued, just_before, live, pending, revoke, secret_part,
    secret_revoked, state,
};

#[test]
fn a_grace_is_not_over_before_its_end() {
    given(in_grace())
        .when(expire_old(EndCause::Due, just_before(at(60))))
        .refused(CredentialRefusal::NotDue { expires_at: at(60) });
}

#[test]
fn a_grace_ends_at_its_end_however_late_that_is_noticed() {
    for now in [at(60), at(86_400)] {
        given(in_grace())
            .when(expire_old(EndCause::Due, now))
            .then([expired(1, ExpiryCause::Due, at(60)).into()]);
    }
}

#[test]
fn an_early_end_kills_the_retiring_secret_at_once_and_destroys_its_sealed_part() {
    let event = expired(1, ExpiryCause::EarlyEnd, at(20));
    assert_eq!(event.shredded, [secret_part(1)]);
    given(in_grace()).when(expire_old(EndCause::Call, at(20))).then([event.clone().into()]);
    assert_eq!(live(&[in_grace(), vec![event.into()]].concat(), at(20)), [2]);
}

#[test]
fn an_early_end_that_comes_late_is_not_called_early() {
    given(in_grace()).when(expire_old(EndCause::Call, just_before(at(60)))).then([expired(
        1,
        ExpiryCause::EarlyEnd,
        just_before(at(60)),
    )
    .into()]);
    given(in_grace())
        .when(expire_old(EndCause::Call, at(60)))
        .then([expired(1, ExpiryCause::Due, at(60)).into()]);
}

#[test]
fn an_end_aimed_at_another_version_than_the_retiring_one_is_refused() {
    for means in [0, 2] {
        given(in_grace())
            .when(ExpireOldSecret { means: Some(means), ..expire_old(EndCause::Call, at(20)) })
            .refused(CredentialRefusal::VersionConflict);
    }
    given(in_grace())
        .when(ExpireOldSecret { means: Some(1), ..expire_old(EndCause::Call, at(20)) })
        .allowed();
}

#[test]
fn a_grace_ends_once() {
    for events in [
        vec![issued()],
        pending(),
        [in_grace(), vec![expired(1, ExpiryCause::EarlyEnd, at(20)).into()]].concat(),
        [in_grace(), vec![secret_revoked(1, at(20)).into()]].concat(),
    ] {
        for cause in [EndCause::Due, EndCause::Call] {
            given(events.clone()).when(expire_old(cause, at(70))).refused(CredentialRefusal::NothingRetiring);
        }
    }
}

#[test]
fn what_does_not_exist_or_is_revoked_has_no_grace_to_end() {
    given(vec![]).when(expire_old(EndCause::Due, at(5))).refused(CredentialRefusal::Unknown);
    let end = state(&in_grace()).decide(revoke(at(20)).ask()).unwrap();
    given([in_grace(), end].concat())
        .when(expire_old(EndCause::Due, at(70)))
        .refused(CredentialRefusal::Revoked);
}
