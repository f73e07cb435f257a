use rota_aggregates::observation::{leak_reported_id, old_secret_used_id, refusal_id};

use crate::build::{CREDENTIAL, OTHER, WORKSPACE, at, just_before};

#[test]
fn a_use_of_a_retiring_secret_is_recorded_once_a_minute() {
    let id = old_secret_used_id(CREDENTIAL, 1, at(60));
    assert_eq!(id, old_secret_used_id(CREDENTIAL, 1, just_before(at(120))));
    assert_ne!(id, old_secret_used_id(CREDENTIAL, 1, at(120)));
    assert_ne!(id, old_secret_used_id(CREDENTIAL, 1, just_before(at(60))));
    assert_ne!(id, old_secret_used_id(CREDENTIAL, 2, at(60)));
    assert_ne!(id, old_secret_used_id(OTHER, 1, at(60)));
}

#[test]
fn a_refusal_is_recorded_once_a_minute_per_actor_credential_and_reason() {
    let (actor, somebody) = (WORKSPACE.0, OTHER.0);
    let id = refusal_id(actor, CREDENTIAL, "retiring-secret", at(60));
    assert_eq!(id, refusal_id(actor, CREDENTIAL, "retiring-secret", just_before(at(120))));
    assert_ne!(id, refusal_id(actor, CREDENTIAL, "retiring-secret", at(120)));
    assert_ne!(id, refusal_id(actor, CREDENTIAL, "version-conflict", at(60)));
    assert_ne!(id, refusal_id(actor, OTHER, "retiring-secret", at(60)));
    assert_ne!(id, refusal_id(somebody, CREDENTIAL, "retiring-secret", at(60)));
}

#[test]
fn a_leak_is_recorded_once_a_minute_for_each_version() {
    let id = leak_reported_id(CREDENTIAL, 1, at(60));
    assert_eq!(id, leak_reported_id(CREDENTIAL, 1, just_before(at(120))));
    assert_ne!(id, leak_reported_id(CREDENTIAL, 1, at(120)));
    assert_ne!(id, leak_reported_id(CREDENTIAL, 2, at(60)));
    assert_ne!(id, leak_reported_id(OTHER, 1, at(60)));
    assert_ne!(id, old_secret_used_id(CREDENTIAL, 1, at(60)));
}

#[test]
fn the_ids_of_observations_never_change() {
    // A replica of another build must make the same ids, or it records what was recorded already.
    assert_eq!(old_secret_used_id(CREDENTIAL, 1, at(0)).to_string(), "d7ef3140-741f-5364-bc6b-1f6470125a15");
    assert_eq!(
        refusal_id(WORKSPACE.0, CREDENTIAL, "retiring-secret", at(0)).to_string(),
        "4bd523a7-445c-5695-8449-b886324446eb"
    );
}
