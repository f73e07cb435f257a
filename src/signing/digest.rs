//! `Content-Digest` (RFC 9530).

use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::{Body, Message, Refused, combined, sha256};

pub(super) const CONTENT_DIGEST: &str = "content-digest";

/// Whether the body is the one that `Content-Digest` names. At least one digest must be of a kind that is understood,
/// and every such one must be right.
pub(super) fn check(message: &Message<'_>) -> Result<(), Refused> {
    let value = combined(message, CONTENT_DIGEST).ok_or(Refused::Malformed)?;
    let digests: Dictionary = Parser::new(&value).parse().map_err(|_| Refused::Malformed)?;
    let mut checked = 0;
    for (name, entry) in &digests {
        let ListEntry::Item(item) = entry else { return Err(Refused::Malformed) };
        let BareItem::ByteSequence(given) = &item.bare_item else { return Err(Refused::Malformed) };
        let right = match (name.as_str(), message.body) {
            ("sha-256", Body::Bytes(bytes)) => sha256(bytes)[..] == given[..],
            ("sha-256", Body::Sha256(hash)) => hash[..] == given[..],
            ("sha-512", Body::Bytes(bytes)) => {
                ring::digest::digest(&ring::digest::SHA512, bytes).as_ref() == &given[..]
            }
            _ => continue,
        };
        if !right {
            return Err(Refused::Malformed);
        }
        checked += 1;
    }
    if checked == 0 { Err(Refused::Malformed) } else { Ok(()) }
}

/// The SHA-256 that a request names for its body; `None` if it names none, or more than one.
pub(super) fn claimed(message: &Message<'_>) -> Option<[u8; 32]> {
    let value = combined(message, CONTENT_DIGEST)?;
    let digests: Dictionary = Parser::new(&value).parse().ok()?;
    let Some(ListEntry::Item(item)) = digests.get("sha-256") else { return None };
    item.bare_item.as_byte_sequence()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"hello": "world"}"#;
    const SHA256: &str = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
    const SHA512: &str =
        "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";

    fn checked(values: &[&str], body: Body<'_>) -> bool {
        let fields: Vec<_> = values.iter().map(|v| (CONTENT_DIGEST, v.as_bytes())).collect();
        check(&Message { method: "POST", target: "/", authority: "", fields: &fields, body }).is_ok()
    }

    #[test]
    fn the_digests_of_the_rfc_are_right() {
        let both = format!("{SHA256}, {SHA512}");
        let with_unknown = format!("{SHA256}, md5=:AAAA:");
        for good in [&[SHA256][..], &[SHA512], &[&both], &[SHA256, SHA512], &[&with_unknown]] {
            assert!(checked(good, Body::Bytes(BODY)), "{good:?}");
        }
        assert!(checked(&[SHA256], Body::Sha256(sha256(BODY))));
    }

    #[test]
    fn the_sha256_that_is_named_is_read() {
        let read = |values: &[&str]| {
            let fields: Vec<_> = values.iter().map(|v| (CONTENT_DIGEST, v.as_bytes())).collect();
            let body = Body::Bytes(b"");
            claimed(&Message { method: "POST", target: "/", authority: "", fields: &fields, body })
        };
        let both = format!("{SHA512}, {SHA256}");
        for good in [&[SHA256][..], &[&both], &[SHA512, SHA256]] {
            assert_eq!(read(good), Some(sha256(BODY)), "{good:?}");
        }
        for bad in [&[][..], &[""], &[SHA512], &["sha-256"], &["sha-256=:AAAA:"], &["sha-256=1"], &["=:"]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let wrong = "sha-256=:4REjxQ4yrqUVicfSKYNO/cF9zNj5ANbzgDZt3/h3Qxo=:";
        let half_wrong = format!("{SHA512}, {wrong}");
        for bad in
            [&[][..], &[""], &[wrong], &[&half_wrong], &["md5=:AAAA:"], &["sha-256"], &["sha-256=x"], &["=:"]]
        {
            assert!(!checked(bad, Body::Bytes(BODY)), "{bad:?}");
        }
        // Of a body that is not here only its SHA-256 is known.
        assert!(!checked(&[SHA512], Body::Sha256(sha256(BODY))));
        assert!(!checked(&[SHA256], Body::Bytes(b"")));
    }
}
