//! The webhook secret that the owner of a webhook chooses: what it is sent is signed with it.

use rota_aggregates::CredentialId;
use rota_aggregates::authority::Roles;
use rota_aggregates::credential::{CredentialRefusal, Kind};
use rota_aggregates::secret::Secret;
use serde_json::Map;

use super::idempotency::Idempotency;
use super::issue::{Issue, webhook_of};
use super::rotate::{Made, Rotate};
use super::{Answer, App, Caller, Failure};

/// A chosen secret has at least this many characters.
pub const CHOSEN_CHARS_MIN: usize = 16;
/// A chosen secret has at most this many characters.
pub const CHOSEN_CHARS_MAX: usize = 256;

fn check(secret: &Secret) -> Result<(), Failure> {
    let text = secret.expose();
    let fits = (CHOSEN_CHARS_MIN..=CHOSEN_CHARS_MAX).contains(&text.len());
    if fits && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    let reason = format!("must have {CHOSEN_CHARS_MIN} to {CHOSEN_CHARS_MAX} visible ASCII characters");
    Err(Failure::invalid("secret", reason))
}

impl App {
    /// Sets the webhook secret of `owner` to one that the caller chose: the first one, or in place of the one before,
    /// which is dead at once. The owner may, with its current secret, and an administrator.
    pub async fn set_webhook_secret(
        &self,
        caller: &Caller,
        owner: CredentialId,
        secret: &Secret,
        idempotency: Option<&Idempotency>,
        render: impl Fn(&Made) -> Result<Vec<u8>, Failure>,
    ) -> Result<Answer, Failure> {
        check(secret)?;
        let issue = Issue {
            workspace: self.workspace_of(owner)?,
            kind: Kind::Webhook,
            name: "webhook".to_owned(),
            roles: Roles::NONE,
            mode: None,
            parent: Some(owner),
            profile: Map::new(),
        };
        let first = match self.workspace_of(webhook_of(owner)) {
            Ok(_) => Err(Failure::Credential(CredentialRefusal::AlreadyIssued)),
            Err(_) => {
                self.issue_beside(caller, &issue, Some(secret), idempotency, &render, |_, _| Ok(None)).await
            }
        };
        match first {
            Err(Failure::Credential(CredentialRefusal::AlreadyIssued)) => {
                let at_once = Rotate { grace_seconds: Some(0), ..Rotate::default() };
                self.rotate_chosen(caller, owner, &at_once, secret, idempotency, render).await
            }
            first => first,
        }
    }
}

/// Whether the caller is the owner of what is to be made or changed. One on its way out changes nothing of it.
pub(super) fn is_owner(caller: &Caller, owner: Option<CredentialId>) -> Result<bool, Failure> {
    match caller.credential().filter(|who| Some(who.credential) == owner) {
        None => Ok(false),
        Some(who) if who.retiring => Err(CredentialRefusal::RetiringSecret.into()),
        Some(_) => Ok(true),
    }
}
