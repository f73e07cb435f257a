//! The forms in which credentials, intents and parameters are sealed beside events.

use std::collections::BTreeMap;

use rota_aggregates::secret::Secret;
use rota_targets::{Credential, Intent, Slot};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::app::Failure;
use crate::sealing::SealError;

/// A credential as it is written.
struct Written<'a>(&'a Credential);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut fields = s.serialize_struct("Credential", 2)?;
        fields.serialize_field("public", &self.0.public)?;
        fields.serialize_field("secret", self.0.secret.expose())?;
        fields.end()
    }
}

/// A credential as it is read.
#[derive(Deserialize)]
struct Read {
    public: BTreeMap<String, String>,
    secret: Secret,
}

impl From<Read> for Credential {
    fn from(read: Read) -> Self {
        Self { public: read.public, secret: read.secret }
    }
}

fn unreadable<E>(_: E) -> Failure {
    // What does not fit may be quoted in the error, and is secret.
    Failure::Sealed(SealError::UnknownFormat)
}

/// Bytes that are never moved while they grow, so that no copy stays behind.
fn to_vec(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).map_err(unreadable)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(count.0));
    serde_json::to_writer(&mut *bytes, value).map_err(unreadable)?;
    Ok(bytes)
}

/// A credential's bytes.
pub(super) fn credential_bytes(credential: &Credential) -> Result<Zeroizing<Vec<u8>>, Failure> {
    to_vec(&Written(credential))
}

/// The credential of these bytes.
pub(super) fn credential_of(bytes: &[u8]) -> Result<Credential, Failure> {
    serde_json::from_slice::<Read>(bytes).map(Credential::from).map_err(unreadable)
}

/// A copy, for what has to be handed over whole.
pub(super) fn copy(credential: &Credential) -> Credential {
    Credential {
        public: credential.public.clone(),
        secret: Secret::new(credential.secret.expose().to_owned()),
    }
}

/// An intent, with the credential that the account has before its first rotation where that is needed.
#[derive(Debug)]
pub(super) struct SealedIntent {
    pub intent: Intent,
    pub current: Option<Credential>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenIntent<'a> {
    slot: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<Written<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mint: Option<WrittenMint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Written<'a>>,
}

#[derive(Serialize)]
struct WrittenMint<'a> {
    existing: &'a [String],
    label: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadIntent {
    slot: u8,
    set: Option<Read>,
    mint: Option<ReadMint>,
    current: Option<Read>,
}

#[derive(Deserialize)]
struct ReadMint {
    existing: Vec<String>,
    label: String,
}

impl SealedIntent {
    /// The credential that it will set, where rota chose that.
    pub(super) fn chosen(&self) -> Option<&Credential> {
        match &self.intent {
            Intent::Set { credential, .. } => Some(credential),
            Intent::Mint { .. } => None,
        }
    }

    pub(super) fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let current = self.current.as_ref().map(Written);
        to_vec(&match &self.intent {
            Intent::Set { slot, credential } => {
                WrittenIntent { slot: slot.0, set: Some(Written(credential)), mint: None, current }
            }
            Intent::Mint { slot, existing, label } => WrittenIntent {
                slot: slot.0,
                set: None,
                mint: Some(WrittenMint { existing, label }),
                current,
            },
        })
    }

    pub(super) fn of(bytes: &[u8]) -> Result<Self, Failure> {
        let read: ReadIntent = serde_json::from_slice(bytes).map_err(unreadable)?;
        let slot = Slot(read.slot);
        let intent = match (read.set, read.mint) {
            (Some(credential), None) => Intent::Set { slot, credential: credential.into() },
            (None, Some(mint)) => Intent::Mint { slot, existing: mint.existing, label: mint.label },
            _ => return Err(unreadable(())),
        };
        Ok(Self { intent, current: read.current.map(Credential::from) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(secret: &str) -> Credential {
        let public = BTreeMap::from([("username".to_owned(), "app_a".to_owned())]);
        Credential { public, secret: Secret::new(secret.to_owned()) }
    }

    #[test]
    fn what_is_sealed_is_what_comes_back() {
        let set = SealedIntent {
            intent: Intent::Set { slot: Slot(1), credential: credential("\"ä\\\n") },
            current: Some(credential("before")),
        };
        let again = SealedIntent::of(&set.to_bytes().unwrap()).unwrap();
        assert_eq!(again.chosen().unwrap().secret.expose(), "\"ä\\\n");
        assert_eq!(again.current.unwrap().secret.expose(), "before");
        let mint = SealedIntent {
            intent: Intent::Mint { slot: Slot(0), existing: vec!["AKIA1".to_owned()], label: "l".to_owned() },
            current: None,
        };
        let again = SealedIntent::of(&mint.to_bytes().unwrap()).unwrap();
        assert!(matches!(again.intent, Intent::Mint { slot: Slot(0), existing, label }
            if existing == ["AKIA1"] && label == "l"));
    }

    #[test]
    fn nothing_of_what_does_not_fit_is_in_the_error() {
        for bytes in [&br#"{"public":{},"secret":4711}"#[..], br#"{"public":4711,"secret":"4711"}"#] {
            let error = credential_of(bytes).unwrap_err();
            assert!(!format!("{error:?} {error}").contains("4711"));
        }
    }
}
