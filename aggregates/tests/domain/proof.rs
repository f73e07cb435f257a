//! What a credential may do to itself, and with which of its secrets.

use std::collections::BTreeSet;

use rota_aggregates::authority::{Proof, ProofKind};
use rota_aggregates::credential::{
    CancelRotation, CommitRotation, CredentialCommand, CredentialEvent, CredentialRefusal,
    DescribeCredential, EndCause, ExpireOldSecret, PrepareRotation, RevokeCredential, RevokeSecret,
    RotateSecret,
};
use rota_aggregates::workspace::Policy;

use crate::build::{
    Ask, OTHER, at, cancel, commit, describe, expire_old, first_use, given, in_grace, just_before, own,
    pending, prepare, revoke, revoke_secret, rotate, secret, state,
};

const OWN_PROOFS: [ProofKind; 4] =
    [ProofKind::Secret, ProofKind::Session, ProofKind::Signature, ProofKind::WorkspaceKey];

fn decide(
    events: &[CredentialEvent],
    command: CredentialCommand,
) -> Result<Vec<CredentialEvent>, CredentialRefusal> {
    state(events).decide(command)
}

#[test]
fn the_active_secret_makes_its_successor() {
    for kind in OWN_PROOFS {
        let proof = own(kind, 2);
        given(in_grace()).when(RotateSecret { proof, ..rotate(2, at(20)) }).allowed();
        given(in_grace()).when(PrepareRotation { proof, ..prepare(2, at(20)) }).allowed();
    }
}

#[test]
fn a_retiring_secret_makes_no_successor_to_its_own_successor() {
    for kind in OWN_PROOFS {
        let proof = own(kind, 1);
        given(in_grace())
            .when(RotateSecret { proof, ..rotate(2, at(20)) })
            .refused(CredentialRefusal::RetiringSecret);
        given(in_grace())
            .when(RotateSecret { proof, compromised: true, ..rotate(2, at(20)) })
            .refused(CredentialRefusal::RetiringSecret);
        given(in_grace())
            .when(PrepareRotation { proof, ..prepare(2, just_before(at(60))) })
            .refused(CredentialRefusal::RetiringSecret);
    }
}

#[test]
fn what_the_proof_says_about_itself_is_not_believed() {
    let claims_to_be_current = Proof { retiring: false, ..own(ProofKind::Secret, 1) };
    given(in_grace())
        .when(RotateSecret { proof: claims_to_be_current, ..rotate(2, at(20)) })
        .refused(CredentialRefusal::RetiringSecret);
}

#[test]
fn another_credentials_version_number_is_not_mistaken_for_its_own() {
    let proof = Proof::of(ProofKind::WorkspaceKey, OTHER, 1, false);
    given(in_grace()).when(RotateSecret { proof, ..rotate(2, at(20)) }).allowed();
}

#[test]
fn a_prepared_secret_proves_its_own_commit_before_the_deadline() {
    let proof = own(ProofKind::Secret, 2);
    given(pending()).when(CommitRotation { proof, ..commit(just_before(at(60))) }).allowed();
    given(pending()).when(CommitRotation { proof, ..commit(at(60)) }).refused(CredentialRefusal::ProofStale);
}

#[test]
fn a_commit_by_first_use_needs_no_authority_beyond_the_use() {
    let policy = Policy { rotate_requires_secret: true, ..Policy::default() };
    for kind in [ProofKind::Secret, ProofKind::Signature, ProofKind::WorkspaceKey] {
        given(pending())
            .when(CommitRotation { proof: own(kind, 2), policy, ..first_use(2, at(20)) })
            .allowed();
    }
}

#[test]
fn only_the_prepared_secret_itself_is_a_first_use() {
    let of_another = Proof::of(ProofKind::Secret, OTHER, 2, false);
    let of_none = Proof { credential: None, ..of_another };
    let old = own(ProofKind::Secret, 1);
    let session = own(ProofKind::Session, 2);
    for proof in [of_another, of_none, old, session, Proof::OPERATOR, Proof::SCHEDULE] {
        given(pending())
            .when(CommitRotation { proof, ..first_use(2, at(20)) })
            .refused(CredentialRefusal::ProofStale);
    }
}

#[test]
fn a_first_use_names_the_version_that_was_used() {
    for means in [None, Some(1), Some(3)] {
        given(pending())
            .when(CommitRotation { means, ..first_use(2, at(20)) })
            .refused(CredentialRefusal::VersionConflict);
    }
}

#[test]
fn a_session_makes_no_new_secret_where_the_policy_asks_for_the_secret() {
    let policy = Policy { rotate_requires_secret: true, ..Policy::default() };
    let of_another = Proof::of(ProofKind::Session, OTHER, 1, false);
    for proof in [own(ProofKind::Session, 1), of_another] {
        let events = vec![crate::build::issued()];
        given(events.clone())
            .when(RotateSecret { proof, policy, ..rotate(1, at(20)) })
            .refused(CredentialRefusal::SecretRequired);
        given(events)
            .when(PrepareRotation { proof, policy, ..prepare(1, at(20)) })
            .refused(CredentialRefusal::SecretRequired);
        given(pending())
            .when(CommitRotation { proof, policy, ..commit(at(20)) })
            .refused(CredentialRefusal::SecretRequired);
    }
    for kind in [ProofKind::Secret, ProofKind::Signature, ProofKind::WorkspaceKey] {
        given(vec![crate::build::issued()])
            .when(RotateSecret { proof: own(kind, 1), policy, ..rotate(1, at(20)) })
            .allowed();
    }
}

/// Every command that changes an existing credential, with `proof`.
fn every_change(proof: Proof, means: u32, now: rota_aggregates::Timestamp) -> Vec<CredentialCommand> {
    vec![
        RotateSecret { proof, secret: secret(means + 1), ..rotate(means, now) }.ask(),
        PrepareRotation { proof, secret: secret(means + 1), ..prepare(means, now) }.ask(),
        CommitRotation { proof, ..commit(now) }.ask(),
        CancelRotation { proof, ..cancel(now) }.ask(),
        ExpireOldSecret { proof, ..expire_old(EndCause::Call, now) }.ask(),
        RevokeSecret { proof, ..revoke_secret(means, now) }.ask(),
        RevokeCredential { proof, ..revoke(now) }.ask(),
        DescribeCredential { proof, ..describe(&["name"], now) }.ask(),
    ]
}

#[test]
fn a_secret_that_is_dead_changes_nothing() {
    // Version 1 is dead from second 60 on; versions 0 and 9 never were.
    for kind in OWN_PROOFS {
        for version in [0, 1, 9] {
            for command in every_change(own(kind, version), 2, at(60)) {
                let said = format!("{command:?}");
                // A session outlives its secret, and changes nothing either.
                let refusal = match (kind, version) {
                    (ProofKind::Session, 1) => CredentialRefusal::SessionSuperseded,
                    _ => CredentialRefusal::ProofStale,
                };
                assert_eq!(decide(&in_grace(), command), Err(refusal), "{said}");
            }
        }
    }
}

#[test]
fn a_session_of_a_retiring_secret_changes_nothing() {
    for command in every_change(own(ProofKind::Session, 1), 2, at(20)) {
        if matches!(command, CredentialCommand::Commit(_)) {
            continue;
        }
        let said = format!("{command:?}");
        assert_eq!(decide(&in_grace(), command), Err(CredentialRefusal::RetiringSecret), "{said}");
    }
}

#[test]
fn a_retiring_secret_may_still_end_things() {
    let proof = own(ProofKind::Secret, 1);
    given(in_grace()).when(ExpireOldSecret { proof, ..expire_old(EndCause::Call, at(20)) }).allowed();
    given(in_grace()).when(RevokeCredential { proof, ..revoke(at(20)) }).allowed();
}

#[test]
fn a_retried_revocation_by_a_secret_that_it_killed_is_not_a_refusal() {
    let proof = own(ProofKind::Secret, 2);
    let ask = RevokeCredential { proof, ..revoke(at(20)) };
    let end = decide(&in_grace(), ask.clone().ask()).unwrap();
    given([in_grace(), end].concat()).when(ask).then([]);
}

#[test]
fn every_refusal_has_a_code_of_its_own() {
    let all = [
        CredentialRefusal::AlreadyIssued,
        CredentialRefusal::Unknown,
        CredentialRefusal::Revoked,
        CredentialRefusal::RetiringSecret,
        CredentialRefusal::SecretRequired,
        CredentialRefusal::SessionSuperseded,
        CredentialRefusal::ProofStale,
        CredentialRefusal::VersionConflict,
        CredentialRefusal::GraceTooLong { max_seconds: 1 },
        CredentialRefusal::GraceTooShort { min_seconds: 1 },
        CredentialRefusal::DeadlineOutOfRange { max_seconds: 1 },
        CredentialRefusal::RotationPending,
        CredentialRefusal::NothingPrepared,
        CredentialRefusal::NothingRetiring,
        CredentialRefusal::NotDue { expires_at: at(0) },
        CredentialRefusal::UnknownVersion { version: 1 },
        CredentialRefusal::NoActiveSecret,
        CredentialRefusal::Contradictory { why: "it does" },
    ];
    let codes: BTreeSet<_> = all.iter().map(CredentialRefusal::code).collect();
    assert_eq!(codes.len(), all.len());
    let texts: BTreeSet<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), all.len());
}
