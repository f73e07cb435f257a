//! What the kinds have in common whose target chooses the secret, shows it once and lets several be valid.
//!
//! The intent lists what existed. What an interrupted attempt may have left is what is there and not on the list.

mod patience;
mod vendor;

use std::collections::BTreeMap;

use chrono::DateTime;
use rota_aggregates::secret::Secret;

use crate::failure::Failure;
use crate::target::{Credential, Intent};

pub(crate) use vendor::{Listed, Vendor};

/// Seconds since 1970 of a date as vendors write it.
pub(crate) fn seconds(date: &str) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(date).ok()?.timestamp())
}

/// A credential and the field that tells it from others at the target.
pub(crate) fn id_of<'a>(credential: &'a Credential, field: &str) -> Result<&'a str, Failure> {
    let id = credential.public.get(field).map(String::as_str).filter(|id| !id.is_empty());
    id.ok_or_else(|| {
        Failure::refused(format!("the credential has no {field}: it is not known which one it is"))
    })
}

/// What an interrupted attempt may have left: what is there and was not, but for what is known to be in use.
pub(crate) fn left<'a, T>(
    listed: &'a [T],
    id: impl Fn(&T) -> &str,
    existing: &[String],
    keep: &[&Credential],
    field: &str,
) -> Vec<&'a T> {
    let kept = |one: &str| keep.iter().any(|kept| kept.public.get(field).is_some_and(|id| id == one));
    let known = |one: &str| existing.iter().any(|id| id == one) || kept(one);
    listed.iter().filter(|one| !known(id(one))).collect()
}

/// Where the target has no place for a label, an attempt leaves at most one: more were made by others as well, and
/// which is whose can't be told.
pub(crate) fn at_most_one<'a, T>(
    left: &[&'a T],
    id: impl Fn(&T) -> &str,
    noun: &str,
) -> Result<Option<&'a T>, Failure> {
    match left {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        many => {
            let ids: Vec<_> = many.iter().map(|one| id(one)).collect();
            Err(Failure::refused(format!(
                "somebody else made a {noun} while an attempt was interrupted, and which one is the attempt's can't be \
                 told: delete by hand what nobody uses of {}",
                ids.join(", ")
            )))
        }
    }
}

/// A new intent.
pub(crate) fn mint(slot: crate::target::Slot, existing: Vec<String>, random: &[u8; 32]) -> Intent {
    use std::fmt::Write as _;
    let mut label = "rota-".to_owned();
    for byte in &random[..12] {
        let _ = write!(label, "{byte:02x}");
    }
    Intent::Mint { slot, existing, label }
}

/// What a mint is about.
pub(crate) fn minting(intent: &Intent) -> Result<(&[String], &str), Failure> {
    match intent {
        Intent::Mint { existing, label, .. } => Ok((existing, label)),
        Intent::Set { .. } => {
            Err(Failure::refused("at this kind of target nobody but the target chooses secrets"))
        }
    }
}

/// A credential of a kind with an identifier, a secret and possibly a third field.
pub(crate) fn credential(public: &[(&str, &str)], secret: Secret) -> Credential {
    let public: BTreeMap<_, _> =
        public.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    Credential { public, secret }
}

/// That what is about to be ended is not what is in use.
pub(crate) fn not_the_active(old: &str, active: &str, noun: &str) -> Result<(), Failure> {
    if old == active {
        return Err(Failure::refused(format!("{noun} {old} is the active one: it is not ended")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Slot;

    fn known(id: &str) -> Credential {
        credential(&[("keyId", id)], Secret::new("s".to_owned()))
    }

    #[test]
    fn only_what_nobody_knows_is_left() {
        let listed = ["old".to_owned(), "active".to_owned(), "orphan".to_owned()];
        let active = known("active");
        let found = left(&listed, |id| id, &["old".to_owned()], &[&active], "keyId");
        assert_eq!(found, [&"orphan".to_owned()]);
        assert!(left(&listed[..2], |id| id, &["old".to_owned()], &[&active], "keyId").is_empty());
    }

    #[test]
    fn of_two_that_nobody_knows_neither_is_touched() {
        let (a, b) = ("a".to_owned(), "b".to_owned());
        assert_eq!(at_most_one::<String>(&[], |one| one, "key"), Ok(None));
        assert_eq!(at_most_one(&[&a], |one| one, "key"), Ok(Some(&a)));
        let refused = at_most_one(&[&a, &b], |one| one, "key").unwrap_err();
        assert!(refused.text().contains("a, b") && !refused.may_pass, "{refused}");
    }

    #[test]
    fn labels_differ_with_the_random_bytes() {
        let label = |random| match mint(Slot(0), Vec::new(), &random) {
            Intent::Mint { label, .. } => label,
            Intent::Set { .. } => String::new(),
        };
        assert_eq!(label([0xab; 32]), format!("rota-{}", "ab".repeat(12)));
        assert_ne!(label([1; 32]), label([2; 32]));
    }

    #[test]
    fn the_active_one_is_not_ended() {
        assert!(not_the_active("a", "b", "key").is_ok());
        assert!(not_the_active("a", "a", "key").is_err());
    }
}
