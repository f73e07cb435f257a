//! A signing secret that replaced itself may fetch the answer that was lost, for a while, and nothing else.

use rota_aggregates::authority::{Proof, ProofKind};
use rota_aggregates::credential::{
    CredentialEvent, CredentialIssued, CredentialRefusal, EndCause, EndReplay, ExpiryCause, Kind,
    OldSecretExpired, REPLAY_SECONDS_MAX, Replaced, ReplayEndCause, ReplayEnded, ReplayOnly, RotateSecret,
    SecretRevoked, SecretRotated,
};
use rota_aggregates::credential::{PrepareRotation, SecretRef};
use rota_aggregates::time::Timestamp;

use crate::build::{
    Ask, at, expire_old, expired, given, issued, live, own, parts, prepare, prepared, replaced, revoke,
    revoke_secret, secret, secret_part, state,
};
use crate::{build, build::hash};

/// A version of a kind whose secret is sealed.
fn sealed(version: u32) -> SecretRef {
    SecretRef { sealed: Some(hash(0x50)), ..secret(version) }
}

fn rotate(means: u32, now: Timestamp) -> RotateSecret {
    RotateSecret { secret: sealed(means + 1), ..build::rotate(means, now) }
}

fn rotated(version: u32, grace_seconds: u64, now: Timestamp) -> SecretRotated {
    SecretRotated { secret: sealed(version), ..build::rotated(version, grace_seconds, now) }
}

/// A signing credential.
fn signing() -> CredentialEvent {
    let CredentialEvent::CredentialIssued(issued) = issued() else { unreachable!() };
    CredentialIssued { kind: Kind::Signing, secret: sealed(1), ..issued }.into()
}

/// A rotation that the active secret signs under a name that is hard to guess.
fn signed(now: Timestamp) -> RotateSecret {
    RotateSecret { proof: own(ProofKind::Signature, 1), replayable: true, ..rotate(1, now) }
}

/// What such a rotation without grace is.
fn lost(now: Timestamp) -> SecretRotated {
    let until = now.plus_seconds(REPLAY_SECONDS_MAX);
    let replaced = Replaced { replay_until: Some(until), ..replaced(2, 0, now) };
    SecretRotated { replaced: Some(replaced), shredded: vec![], ..rotated(2, 0, now) }
}

fn end(cause: ReplayEndCause, now: Timestamp) -> EndReplay {
    EndReplay { cause, sealed: parts(), now }
}

fn ended(cause: ReplayEndCause, now: Timestamp) -> ReplayEnded {
    ReplayEnded { version: 1, cause, shredded: vec![secret_part(1)], at: now }
}

#[test]
fn it_stays_sealed_and_is_dead_for_all_else() {
    given(vec![signing()]).when(signed(at(5))).then([lost(at(5)).into()]);
    let after = [signing(), lost(at(5)).into()];
    assert_eq!(live(&after, at(5)), [2]);
    assert_eq!(state(&after).replay_only_at(at(604)), Some(ReplayOnly { version: 1, until: at(605) }));
    assert_eq!(state(&after).replay_only_at(at(605)), None);
    let again = RotateSecret { proof: own(ProofKind::Signature, 1), ..rotate(2, at(6)) };
    given(after.to_vec()).when(again).refused(CredentialRefusal::ProofStale);
}

#[test]
fn nobody_else_and_nothing_else_leaves_one_behind() {
    let plain = || CredentialEvent::from(rotated(2, 0, at(5)));
    for ask in [
        RotateSecret { replayable: false, ..signed(at(5)) },
        RotateSecret { proof: own(ProofKind::Secret, 1), ..signed(at(5)) },
        RotateSecret { proof: Proof::OPERATOR, ..signed(at(5)) },
    ] {
        given(vec![signing()]).when(ask).then([plain()]);
    }
    let client = RotateSecret { secret: secret(2), ..signed(at(5)) };
    given(vec![issued()]).when(client).then([build::rotated(2, 0, at(5)).into()]);
    let compromised = RotateSecret { compromised: true, ..signed(at(5)) };
    given(vec![signing()]).when(compromised).then([SecretRotated {
        compromised: true,
        ..rotated(2, 0, at(5))
    }
    .into()]);
}

#[test]
fn the_first_use_of_the_new_secret_and_time_end_it() {
    let after = vec![signing(), lost(at(5)).into()];
    for (cause, now) in [(ReplayEndCause::FirstUse, at(6)), (ReplayEndCause::Due, at(605))] {
        given(after.clone()).when(end(cause, now)).then([ended(cause, now).into()]);
    }
    given(after.clone()).when(end(ReplayEndCause::Due, at(604))).then([]);
    let over = [after, vec![ended(ReplayEndCause::FirstUse, at(6)).into()]].concat();
    assert_eq!(state(&over).replay_only, None);
    given(over).when(end(ReplayEndCause::FirstUse, at(7))).then([]);
}

#[test]
fn a_further_rotation_and_a_revocation_destroy_it() {
    let after = vec![signing(), lost(at(5)).into()];
    let next = SecretRotated { shredded: vec![secret_part(1), secret_part(2)], ..rotated(3, 0, at(6)) };
    given(after.clone())
        .when(RotateSecret { grace_seconds: Some(0), ..rotate(2, at(6)) })
        .then([next.into()]);
    let CredentialEvent::SecretRevoked(revoked) = crate::build::secret_revoked(2, at(6)).into() else {
        panic!()
    };
    let mut shredded = revoked.shredded.clone();
    shredded.insert(1, secret_part(1));
    given(after.clone()).when(revoke_secret(2, at(6))).then([SecretRevoked { shredded, ..revoked }.into()]);
    let events = after.clone();
    let CredentialEvent::CredentialRevoked(all) = &given_revoked(&events)[0] else { panic!() };
    assert!(all.shredded.contains(&secret_part(1)));
}

fn given_revoked(events: &[CredentialEvent]) -> Vec<CredentialEvent> {
    state(events).decide(revoke(at(6)).ask()).unwrap()
}

#[test]
fn during_a_grace_period_it_is_kept_beyond_its_end_and_not_beyond_its_time() {
    let until = at(605);
    let replaced = Replaced { replay_until: Some(until), ..replaced(2, 60, at(5)) };
    let graceful = SecretRotated { replaced: Some(replaced), ..rotated(2, 60, at(5)) };
    let ask = RotateSecret { grace_seconds: Some(60), ..signed(at(5)) };
    given(vec![signing()]).when(ask).then([graceful.clone().into()]);
    let after = vec![signing(), graceful.into()];
    // Time ends the grace period alone.
    let due = OldSecretExpired { shredded: vec![], ..expired(1, ExpiryCause::Due, at(65)) };
    given(after.clone()).when(expire_old(EndCause::Due, at(65))).then([due.clone().into()]);
    let over = [after.clone(), vec![due.into()]].concat();
    assert_eq!(state(&over).replay_only_at(at(66)).map(|r| r.version), Some(1));
    given(over).when(end(ReplayEndCause::Due, until)).then([ended(ReplayEndCause::Due, until).into()]);
    // Whoever ends it early means all of it.
    let early = expired(1, ExpiryCause::EarlyEnd, at(20));
    given(after.clone()).when(expire_old(EndCause::Call, at(20))).then([early.clone().into()]);
    assert_eq!(state(&[after.clone(), vec![early.into()]].concat()).replay_only, None);
    // The first use of the new secret leaves the grace period as it is, and what it needs.
    let used = ReplayEnded { shredded: vec![], ..ended(ReplayEndCause::FirstUse, at(20)) };
    given(after.clone()).when(end(ReplayEndCause::FirstUse, at(20))).then([used.clone().into()]);
    let used = [after.clone(), vec![used.into()]].concat();
    given(used).when(expire_old(EndCause::Due, at(65))).then([expired(1, ExpiryCause::Due, at(65)).into()]);
    // A preparation ends the grace period and so this.
    let preparing =
        state(&after).decide(PrepareRotation { secret: sealed(3), ..prepare(2, at(20)) }.ask()).unwrap();
    assert_eq!(preparing[0], expired(1, ExpiryCause::Prepared, at(20)).into());
    assert_eq!(preparing.len(), 2);
    let CredentialEvent::RotationPrepared(event) = &preparing[1] else { panic!() };
    assert_eq!(event.at, prepared(3, at(21), 0, at(20)).at);
}
