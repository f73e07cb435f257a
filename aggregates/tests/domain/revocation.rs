use rota_aggregates::credential::{
    CancelCause, CredentialEvent, CredentialRefusal, CredentialRevoked, ExpiryCause, RevokeCredential,
    SealedParts, Status,
};
use rota_aggregates::observation::PartRef;

use crate::build::{
    Ask, answer_parts, at, cancelled, expired, given, in_grace, issued, just_before, live, parts, pending,
    revoke, revoke_secret, secret_part, secret_revoked, state,
};

fn secrets(versions: &[u32]) -> Vec<PartRef> {
    versions.iter().copied().map(secret_part).chain(answer_parts()).collect()
}

fn revoked(versions: &[u32], shredded: Vec<PartRef>, now: u32) -> CredentialEvent {
    CredentialRevoked { versions: versions.to_vec(), shredded, at: at(now) }.into()
}

#[test]
fn a_revoked_secret_is_dead_at_once_and_the_other_one_is_not() {
    for (events, version, left) in
        [(in_grace(), 1, 2), (in_grace(), 2, 1), (pending(), 1, 2), (pending(), 2, 1)]
    {
        let event = secret_revoked(version, at(20));
        given(events.clone()).when(revoke_secret(version, at(20))).then([event.clone().into()]);
        assert_eq!(live(&[events, vec![event.into()]].concat(), at(20)), [left]);
    }
}

#[test]
fn a_revoked_secret_takes_its_own_answer_with_it_and_no_other() {
    given(in_grace()).when(revoke_secret(1, at(20))).then([secret_revoked(1, at(20)).into()]);
    let shredded = secret_revoked(1, at(20)).shredded;
    assert_eq!(shredded, [secret_part(1), answer_parts()[0]]);
}

#[test]
fn only_a_live_version_is_revoked() {
    for version in [0, 3] {
        given(in_grace())
            .when(revoke_secret(version, at(20)))
            .refused(CredentialRefusal::UnknownVersion { version });
    }
    let twice = [in_grace(), vec![secret_revoked(1, at(20)).into()]].concat();
    given(twice).when(revoke_secret(1, at(21))).refused(CredentialRefusal::UnknownVersion { version: 1 });
}

#[test]
fn a_version_that_time_has_ended_is_not_revoked() {
    for (events, version) in [(in_grace(), 1), (pending(), 2)] {
        given(events.clone()).when(revoke_secret(version, just_before(at(60)))).allowed();
        given(events)
            .when(revoke_secret(version, at(60)))
            .refused(CredentialRefusal::UnknownVersion { version });
    }
}

#[test]
fn a_revoked_credential_has_no_live_version_and_nothing_sealed() {
    for (events, versions) in [(vec![issued()], vec![1]), (in_grace(), vec![2, 1]), (pending(), vec![2, 1])] {
        let end = revoked(&versions, secrets(&[1, 2, 3, 4]), 20);
        given(events.clone()).when(revoke(at(20))).then([end.clone()]);
        let after = [events, vec![end]].concat();
        assert_eq!(state(&after).status, Status::Revoked);
        assert_eq!(live(&after, at(20)), [0; 0]);
        assert_eq!(live(&after, at(0)), [0; 0]);
    }
}

#[test]
fn a_credential_without_a_live_version_can_be_revoked() {
    given(vec![issued(), secret_revoked(1, at(1)).into()])
        .when(RevokeCredential { sealed: SealedParts::default(), ..revoke(at(20)) })
        .then([revoked(&[], vec![], 20)]);
}

#[test]
fn a_grace_that_was_over_before_a_revocation_keeps_its_own_end() {
    given(in_grace())
        .when(revoke(at(60)))
        .then([expired(1, ExpiryCause::Due, at(60)).into(), revoked(&[2], secrets(&[2, 3, 4]), 60)]);
}

#[test]
fn a_prepared_rotation_that_was_over_before_a_revocation_keeps_its_own_end() {
    given(pending())
        .when(revoke(at(60)))
        .then([cancelled(2, CancelCause::Deadline, at(60)).into(), revoked(&[1], secrets(&[1, 3, 4]), 60)]);
}

#[test]
fn every_sealed_part_is_destroyed_once_by_a_revocation() {
    for events in [in_grace(), pending()] {
        let end = state(&events).decide(revoke(at(60)).ask()).unwrap();
        let mut shredded: Vec<_> = end.iter().flat_map(CredentialEvent::shredded).copied().collect();
        shredded.sort_by_key(|part| part.position);
        assert_eq!(shredded, secrets(&[1, 2, 3, 4]));
        assert_eq!(shredded.len(), parts().secrets.len() + parts().answers.len());
    }
}

#[test]
fn revoking_again_says_that_it_is_so_already() {
    let after = vec![issued(), revoked(&[1], vec![], 20)];
    given(after).when(revoke(at(30))).then([]);
}

#[test]
fn what_does_not_exist_is_not_revoked() {
    given(vec![]).when(revoke(at(5))).refused(CredentialRefusal::Unknown);
    given(vec![]).when(revoke_secret(1, at(5))).refused(CredentialRefusal::Unknown);
}

#[test]
fn a_secret_of_a_revoked_credential_is_not_revoked_again() {
    given(vec![issued(), revoked(&[1], vec![], 20)])
        .when(revoke_secret(1, at(30)))
        .refused(CredentialRefusal::Revoked);
}
