//! Public identifiers in 16 bytes, so that a million of them stay small.

use rota_aggregates::credential::Kind;
use rota_aggregates::secret::Mode;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A public identifier without its prefix: eight characters as they are, or the number that they write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PublicId {
    /// Which kind of credential has identifiers of this shape.
    pub kind: Kind,
    /// For workspace keys: test or production.
    pub mode: Option<Mode>,
    /// The identifier itself.
    pub bytes: [u8; 16],
}

/// The shapes with a prefix: kind, mode, prefix, number of base62 digits.
const SHAPES: [(Kind, Option<Mode>, &str, usize); 5] = [
    (Kind::Exchange, None, "fl_dev_", 22),
    (Kind::Signing, None, "int_", 22),
    (Kind::WorkspaceKey, Some(Mode::Test), "sk_workspace_test_", 12),
    (Kind::WorkspaceKey, Some(Mode::Prod), "sk_workspace_prod_", 12),
    (Kind::Webhook, None, "wh_", 22),
];

impl PublicId {
    /// Reads an identifier; `None` if it has no known shape, so that nothing can be known under it.
    pub fn parse(text: &str) -> Option<Self> {
        for (kind, mode, prefix, digits) in SHAPES {
            if let Some(rest) = text.strip_prefix(prefix) {
                return Some(Self { kind, mode, bytes: number(rest, digits)?.to_be_bytes() });
            }
        }
        if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let mut bytes = [0u8; 16];
        bytes[..8].copy_from_slice(text.as_bytes());
        Some(Self { kind: Kind::Client, mode: None, bytes })
    }

    /// The identifier as it is written.
    pub fn text(&self) -> String {
        let Some((_, _, prefix, digits)) =
            SHAPES.iter().find(|(kind, mode, ..)| *kind == self.kind && *mode == self.mode)
        else {
            return self.bytes[..8].iter().map(|b| char::from(*b)).collect();
        };
        let mut rest = u128::from_be_bytes(self.bytes);
        let mut written = vec![b'0'; *digits];
        for digit in written.iter_mut().rev() {
            *digit = DIGITS[(rest % 62) as usize];
            rest /= 62;
        }
        written.into_iter().fold((*prefix).to_owned(), |mut text, digit| {
            text.push(char::from(digit));
            text
        })
    }

    /// A hash for tables that live in this process alone.
    pub(crate) fn mix(&self) -> u64 {
        let wide = u128::from_be_bytes(self.bytes);
        mix((wide >> 64) as u64 ^ (wide as u64).rotate_left(32) ^ self.kind as u64)
    }
}

/// Spreads the bits of a value that is random enough already.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    value ^ (value >> 29)
}

fn number(text: &str, digits: usize) -> Option<u128> {
    if text.len() != digits {
        return None;
    }
    text.bytes().try_fold(0u128, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 36,
            _ => return None,
        };
        number.checked_mul(62)?.checked_add(u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_is_written_again(bytes in any::<u128>()) {
            for (kind, mode, _, digits) in SHAPES {
                let fits = if digits == 12 { bytes % 62u128.pow(12) } else { bytes };
                let id = PublicId { kind, mode, bytes: fits.to_be_bytes() };
                prop_assert_eq!(PublicId::parse(&id.text()), Some(id));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            if let Some(id) = PublicId::parse(&text) {
                prop_assert_eq!(id.text(), text);
            }
        }
    }
}
