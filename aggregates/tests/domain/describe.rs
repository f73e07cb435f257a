use rota_aggregates::credential::{CredentialDescribed, CredentialRefusal, CredentialRevoked};

use crate::build::{at, describe, given, issued, state};

#[test]
fn a_description_names_what_changed() {
    let event = CredentialDescribed { changed: vec!["name".into(), "description".into()], at: at(5) };
    given(vec![issued()]).when(describe(&["name", "description"], at(5))).then([event.clone().into()]);
    assert_eq!(state(&[issued(), event.into()]), state(&[issued()]));
}

#[test]
fn a_description_that_changes_nothing_is_not_recorded() {
    given(vec![issued()]).when(describe(&[], at(5))).then([]);
}

#[test]
fn what_does_not_exist_or_is_revoked_is_not_described() {
    given(vec![]).when(describe(&["name"], at(5))).refused(CredentialRefusal::Unknown);
    let end = CredentialRevoked { versions: vec![1], shredded: vec![], at: at(1) };
    for changed in [&["name"][..], &[]] {
        given(vec![issued(), end.clone().into()])
            .when(describe(changed, at(5)))
            .refused(CredentialRefusal::Revoked);
    }
}
