//! What must always hold: one file per rule, with its name.

#[path = "../support/gate.rs"]
mod gate;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/signer.rs"]
mod signer;
#[path = "../support/signing.rs"]
mod signing;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/users.rs"]
mod users;

mod a_retiring_secret_never_mints_its_successor;
mod at_most_two_live_versions;
mod dead_is_dead;
mod erasing_a_subject_leaves_every_receipt_valid;
mod exactly_once;
mod intent_before_effect;
mod no_plaintext_at_rest;
mod nothing_is_altered_unseen;
mod refusal_changes_nothing;
mod time_is_half_open_and_the_ledgers;
mod views_are_disposable;
mod what_is_erased_leaves_its_event;
mod workspaces_are_sealed_off;
