//! What the targets whose secret rota chooses have in common.

use std::collections::BTreeMap;

use rota_aggregates::secret::Secret;

use crate::failure::Failure;
use crate::parameters::Parameters;
use crate::password::Requirements;
use crate::target::{Credential, Intent, Slot};

/// A second copy, for somebody else to keep.
pub(crate) fn copy(credential: &Credential) -> Credential {
    Credential { public: credential.public.clone(), secret: copy_secret(&credential.secret) }
}

/// A second copy.
pub(crate) fn copy_secret(secret: &Secret) -> Secret {
    Secret::new(secret.expose().to_owned())
}

/// A credential whose one public field is this.
pub(crate) fn credential(field: &str, account: &str, secret: Secret) -> Credential {
    Credential { public: BTreeMap::from([(field.to_owned(), account.to_owned())]), secret }
}

/// What is to be set.
pub(crate) fn intended(intent: &Intent) -> Result<&Credential, Failure> {
    match intent {
        Intent::Set { credential, .. } => Ok(credential),
        Intent::Mint { .. } => Err(Failure::refused("rota chooses the secret here, the target does not")),
    }
}

/// Whose credential it is.
pub(crate) fn account<'a>(credential: &'a Credential, field: &str) -> Result<&'a str, Failure> {
    let account = credential.public.get(field).map(String::as_str);
    account.ok_or_else(|| Failure::refused(format!("the credential has no {field}")))
}

/// Two users who take turns: the place says whose turn it is.
#[derive(Debug)]
pub(crate) struct Turns {
    pub(crate) users: [String; 2],
    requirements: Requirements,
}

impl Turns {
    pub(crate) fn new(parameters: &Parameters) -> Self {
        Self { users: parameters.users().map(ToOwned::to_owned), requirements: parameters.requirements() }
    }

    pub(crate) fn user(&self, slot: Slot) -> &str {
        &self.users[usize::from(slot.0 % 2)]
    }

    pub(crate) fn intend(&self, slot: Slot, random: &[u8; 32]) -> Intent {
        let secret = self.requirements.generate(random);
        Intent::Set { slot, credential: credential("username", self.user(slot), secret) }
    }

    /// A password that nobody gets to know.
    pub(crate) fn unknown(&self, random: &[u8; 32]) -> Secret {
        self.requirements.generate(random)
    }
}
