//! The integrator's own scheme.
//!
//! `payload = timestamp "." METHOD "." pathWithQuery "." bodyHash`, with the timestamp in milliseconds since 1970, the
//! query's parameters sorted and escaped anew, and the body's hash in lower-case hexadecimal, or nothing where there
//! is no body. Some signers hash the empty body all the same; both bind "no body", so both are taken.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use rota_aggregates::Timestamp;
use rota_aggregates::ids::Hash;

use super::{Message, Refused, Signed, single};

/// The header that names the key.
pub const KEY: &str = "x-integrator-key";
pub(super) const TIMESTAMP: &str = "x-timestamp";
pub(super) const SIGNATURE: &str = "x-signature";

/// A signed request's query has at most this many parameters.
const PARAMETERS_MAX: usize = 100;
/// An identifier that is looked up has at most this many bytes.
const KEY_BYTES_MAX: usize = 64;
/// Milliseconds up to the year 9999.
const DIGITS_MAX: usize = 15;

/// What JavaScript's `encodeURIComponent` leaves as it is.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

pub(super) fn read(message: &Message<'_>) -> Result<Signed, Refused> {
    let key = single(message, KEY)?;
    let timestamp = single(message, TIMESTAMP)?;
    let signature = single(message, SIGNATURE)?.strip_prefix("sha256=").ok_or(Refused::Malformed)?;
    let signature: Hash = signature.parse().map_err(|_| Refused::Malformed)?;
    let digits = (1..=DIGITS_MAX).contains(&timestamp.len()) && timestamp.bytes().all(|b| b.is_ascii_digit());
    if !digits || key.len() > KEY_BYTES_MAX {
        return Err(Refused::Malformed);
    }
    let millis: i64 = timestamp.parse().map_err(|_| Refused::Malformed)?;
    let at = Timestamp::from_micros(millis.checked_mul(1_000).ok_or(Refused::Malformed)?);
    let head = format!("{timestamp}.{}.{}.", message.method, path_with_query(message.target)?);
    let hash = Hash(message.body.sha256()).to_string();
    let payloads = if message.body.is_empty() {
        vec![head.clone().into_bytes(), (head + &hash).into_bytes()]
    } else {
        vec![(head + &hash).into_bytes()]
    };
    Ok(Signed { key: key.to_owned(), at, expires_at: None, payloads, signature: signature.0 })
}

/// The target with the parameters of its query sorted and escaped as the signer does.
fn path_with_query(target: &str) -> Result<String, Refused> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parameters = Vec::new();
    for piece in query.split('&').filter(|piece| !piece.is_empty()) {
        if parameters.len() == PARAMETERS_MAX {
            return Err(Refused::Query("has too many parameters"));
        }
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        parameters.push((decode(name)?, decode(value)?));
    }
    // By UTF-16, as JavaScript sorts.
    parameters.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    if parameters.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(Refused::Query("names a parameter twice, which a signature would not cover"));
    }
    let mut text = path.to_owned();
    for (index, (name, value)) in parameters.iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.extend(utf8_percent_encode(name, COMPONENT));
        text.push('=');
        text.extend(utf8_percent_encode(value, COMPONENT));
    }
    Ok(text)
}

/// A name or value without its escapes; a plus is a space.
fn decode(text: &str) -> Result<String, Refused> {
    let text = text.replace('+', " ");
    let decoded = percent_decode(text.as_bytes()).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| Refused::Query("is no UTF-8"))
}

/// What a secret's holder would have signed for this request at this instant: for tests of this module.
#[cfg(test)]
pub(super) fn payload(message: &Message<'_>, timestamp: &str) -> String {
    let hash = if message.body.is_empty() { String::new() } else { Hash(message.body.sha256()).to_string() };
    format!("{timestamp}.{}.{}.{hash}", message.method, path_with_query(message.target).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_sorted_and_escaped_as_the_signer_does() {
        for (target, expected) in [
            ("/v1/a", "/v1/a"),
            ("/v1/a/?", "/v1/a/"),
            ("/v1/a?b=2&a=1", "/v1/a?a=1&b=2"),
            ("/v1/a?b&a=", "/v1/a?a=&b="),
            ("/v1/a?&b=2&&a=1&", "/v1/a?a=1&b=2"),
            ("/a%20b?q=x+y", "/a%20b?q=x%20y"),
            ("/a?q=%41%2B!~*'()", "/a?q=A%2B!~*'()"),
            ("/a?q=a=b", "/a?q=a%3Db"),
            // By UTF-16 the surrogates of an emoji come before U+FB01, by code point after it.
            ("/a?%EF%AC%81=1&%F0%9F%94%91=2", "/a?%F0%9F%94%91=2&%EF%AC%81=1"),
        ] {
            assert_eq!(path_with_query(target).unwrap(), expected, "{target}");
        }
    }

    #[test]
    fn a_query_that_does_not_say_one_thing_is_refused() {
        let many = format!("/a?{}", (0..101).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join("&"));
        for bad in ["/a?a=1&a=2", "/a?a=1&%61=1", "/a?a=%ff", &many] {
            assert!(matches!(path_with_query(bad), Err(Refused::Query(_))), "{bad}");
        }
    }
}
