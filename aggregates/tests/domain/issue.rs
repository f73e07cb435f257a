use rota_aggregates::authority::{Proof, ProofKind, Role, Roles};
use rota_aggregates::credential::{CredentialIssued, CredentialRefusal, IssueCredential, Kind, SecretRef};
use rota_aggregates::secret::Mode;

use crate::build::{
    CREDENTIAL, OTHER, WORKSPACE, at, given, hash, issue, issue_of, issued, live, revoke, secret, state,
};

#[test]
fn an_issued_credential_is_recorded_as_it_was_asked_for() {
    let roles: Roles = [Role::Rotator, Role::Auditor].into_iter().collect();
    given(vec![])
        .when(IssueCredential { kind: Kind::WorkspaceKey, roles, mode: Some(Mode::Prod), ..issue() })
        .then([CredentialIssued {
            credential: CREDENTIAL,
            workspace: WORKSPACE,
            kind: Kind::WorkspaceKey,
            public_id: "app_1".into(),
            roles,
            mode: Some(Mode::Prod),
            parent: None,
            secret: secret(1),
            at: at(0),
        }
        .into()]);
}

#[test]
fn the_first_version_is_live_from_the_instant_of_issue() {
    let state = state(&[issued()]);
    assert_eq!((state.id, state.workspace, state.last_version), (CREDENTIAL, WORKSPACE, 1));
    assert_eq!(live(&[issued()], at(0)), [1]);
}

#[test]
fn a_taken_id_is_not_issued_again() {
    given(vec![issued()]).when(issue()).refused(CredentialRefusal::AlreadyIssued);
}

#[test]
fn a_revoked_credentials_id_is_not_issued_again() {
    let events = state(&[issued()]).decide(crate::build::Ask::ask(revoke(at(1)))).unwrap();
    given([vec![issued()], events].concat()).when(issue()).refused(CredentialRefusal::AlreadyIssued);
}

fn retiring_key() -> Proof {
    Proof::of(ProofKind::WorkspaceKey, OTHER, 1, true)
}

#[test]
fn a_retiring_key_leaves_no_workspace_key_behind() {
    given(vec![])
        .when(IssueCredential { proof: retiring_key(), ..issue_of(Kind::WorkspaceKey) })
        .refused(CredentialRefusal::RetiringSecret);
}

#[test]
fn a_retiring_key_leaves_no_credential_with_roles_behind() {
    given(vec![])
        .when(IssueCredential { roles: Roles::ADMIN, proof: retiring_key(), ..issue() })
        .refused(CredentialRefusal::RetiringSecret);
}

#[test]
fn a_retiring_key_still_does_its_ordinary_work() {
    given(vec![]).when(IssueCredential { proof: retiring_key(), ..issue() }).then([issued()]);
}

#[test]
fn a_current_key_may_issue_another_key() {
    let proof = Proof::of(ProofKind::WorkspaceKey, OTHER, 2, false);
    given(vec![]).when(IssueCredential { proof, ..issue_of(Kind::WorkspaceKey) }).allowed();
}

#[track_caller]
fn contradictory(command: IssueCredential) {
    let decision = state(&[]).decide(crate::build::Ask::ask(command));
    assert!(matches!(decision, Err(CredentialRefusal::Contradictory { .. })), "{decision:?}");
}

#[test]
fn every_kind_is_issued_with_what_belongs_to_it() {
    for kind in Kind::ALL {
        given(vec![]).when(issue_of(kind)).allowed();
    }
}

#[test]
fn the_first_version_is_number_one() {
    for version in [0, 2, u32::MAX] {
        contradictory(IssueCredential { secret: secret(version), ..issue() });
    }
}

#[test]
fn a_secret_is_sealed_if_it_must_be_recoverable_and_only_then() {
    for kind in Kind::ALL {
        let sealed = if kind.recoverable() { None } else { Some(hash(0x51)) };
        contradictory(IssueCredential { secret: SecretRef { sealed, ..secret(1) }, ..issue_of(kind) });
    }
}

#[test]
fn a_workspace_key_has_a_mode_and_nothing_else_has_one() {
    for kind in Kind::ALL {
        let mode = if kind == Kind::WorkspaceKey { None } else { Some(Mode::Test) };
        contradictory(IssueCredential { mode, ..issue_of(kind) });
    }
}

#[test]
fn only_a_webhook_secret_belongs_to_another_credential_and_it_need_not() {
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Webhook) {
        contradictory(IssueCredential { parent: Some(OTHER), ..issue_of(kind) });
    }
    given(vec![]).when(IssueCredential { parent: None, ..issue_of(Kind::Webhook) }).allowed();
    contradictory(IssueCredential { parent: Some(CREDENTIAL), ..issue_of(Kind::Webhook) });
}
