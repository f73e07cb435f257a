//! What the naive programs do: a new credential a command.

use rota_aggregates::authority::{Proof, Roles};
use rota_aggregates::credential::{CredentialCommand, IssueCredential, Kind, SecretRef};
use rota_aggregates::ids::Hash;
use rota_aggregates::{CredentialId, Timestamp, WorkspaceId};
use uuid::Builder;

use crate::ledger::Numbers;

/// The name of an aggregate that is not there yet, and the command that makes it.
pub fn issue(seed: u64) -> (String, CredentialCommand) {
    let id = Builder::from_random_bytes(Numbers::new(seed).bytes()).into_uuid();
    let command = CredentialCommand::Issue(IssueCredential {
        credential: CredentialId(id),
        workspace: WorkspaceId(id),
        kind: Kind::Client,
        public_id: "aB3dE6gH".to_owned(),
        roles: Roles::default(),
        mode: None,
        parent: None,
        secret: SecretRef { version: 1, hint: "0a1b".to_owned(), digest: Hash([7; 32]), sealed: None },
        proof: Proof::OPERATOR,
        now: Timestamp::from_micros(1_763_700_000_000_000),
    });
    (id.to_string(), command)
}
