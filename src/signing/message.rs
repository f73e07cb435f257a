//! HTTP Message Signatures (RFC 9421), with `hmac-sha256`.
//!
//! A signature has to cover the method, the target (as `@target-uri`, `@request-target`, or `@path` and `@query`),
//! and the `Content-Digest` of a body; and to say `created` and `keyid`. Components with parameters are not
//! understood and refused. A proxy may have ended TLS, so `@target-uri`, `@scheme` and `@authority` are taken with
//! either scheme.

use rota_aggregates::Timestamp;
use sfv::{BareItem, Dictionary, InnerList, ListEntry, ListSerializer, Parser, StringRef};

use super::digest::{self, CONTENT_DIGEST};
use super::{Message, Refused, Signed, combined};

pub(super) const INPUT: &str = "signature-input";
pub(super) const SIGNATURE: &str = "signature";

/// Signatures that are looked at.
const SIGNATURES_MAX: usize = 4;
/// Components that one may cover.
const COMPONENTS_MAX: usize = 32;
/// The schemes that a client may have spoken, and their ports.
const SCHEMES: [(&str, &str); 2] = [("https", ":443"), ("http", ":80")];

pub(super) fn read(message: &Message<'_>) -> Result<Signed, Refused> {
    let inputs = dictionary(message, INPUT)?;
    let signatures = dictionary(message, SIGNATURE)?;
    if inputs.len() > SIGNATURES_MAX {
        return Err(Refused::Malformed);
    }
    // A proxy may have signed too, in its own way.
    let ours = inputs.iter().find_map(|(label, entry)| match entry {
        ListEntry::InnerList(covered) if is_ours(covered) => Some((label, covered)),
        _ => None,
    });
    let (label, covered) = ours.ok_or(Refused::Malformed)?;
    let Some(ListEntry::Item(item)) = signatures.get(label) else { return Err(Refused::Malformed) };
    let signature = item.bare_item.as_byte_sequence().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let signature = signature.ok_or(Refused::Malformed)?;
    check_coverage(message, covered)?;
    let mut payloads = Vec::with_capacity(SCHEMES.len());
    for scheme in SCHEMES {
        let base = base(message, covered, scheme)?;
        if !payloads.contains(&base) {
            payloads.push(base);
        }
    }
    let key = covered.params.get("keyid").and_then(BareItem::as_string).ok_or(Refused::Malformed)?;
    Ok(Signed {
        key: key.as_str().to_owned(),
        at: instant(covered, "created")?.ok_or(Refused::Malformed)?,
        expires_at: instant(covered, "expires")?,
        payloads,
        signature,
    })
}

/// Whether a signature is of the kind that is understood here.
fn is_ours(covered: &InnerList) -> bool {
    let text = |name: &str| covered.params.get(name).map(|value| value.as_string().map(StringRef::as_str));
    let key = text("keyid").flatten().is_some_and(|key| key.starts_with("int_"));
    key && matches!(text("alg"), None | Some(Some("hmac-sha256")))
}

fn dictionary(message: &Message<'_>, name: &str) -> Result<Dictionary, Refused> {
    let value = combined(message, name).ok_or(Refused::Malformed)?;
    Parser::new(&value).parse().map_err(|_| Refused::Malformed)
}

/// A parameter in whole seconds since 1970.
fn instant(covered: &InnerList, name: &str) -> Result<Option<Timestamp>, Refused> {
    let Some(value) = covered.params.get(name) else { return Ok(None) };
    let seconds = value.as_integer().map(i64::from).filter(|seconds| *seconds >= 0);
    let micros = seconds.and_then(|seconds| seconds.checked_mul(1_000_000)).ok_or(Refused::Malformed)?;
    Ok(Some(Timestamp::from_micros(micros)))
}

/// What must be covered is covered, nothing twice, and the body is the one that was covered.
fn check_coverage(message: &Message<'_>, covered: &InnerList) -> Result<(), Refused> {
    let mut names = Vec::with_capacity(covered.items.len());
    for item in &covered.items {
        let name = item.bare_item.as_string().filter(|_| item.params.is_empty()).ok_or(Refused::Malformed)?;
        if names.contains(&name.as_str()) || names.len() == COMPONENTS_MAX {
            return Err(Refused::Malformed);
        }
        names.push(name.as_str());
    }
    let covers = |name: &str| names.contains(&name);
    let target = covers("@target-uri")
        || covers("@request-target")
        || covers("@path") && (covers("@query") || !message.target.contains('?'));
    if !covers("@method") || !target {
        return Err(Refused::Malformed);
    }
    if covers(CONTENT_DIGEST) {
        return digest::check(message);
    }
    if message.body.is_empty() { Ok(()) } else { Err(Refused::Malformed) }
}

/// The signature base (RFC 9421, 2.5).
fn base(message: &Message<'_>, covered: &InnerList, scheme: (&str, &str)) -> Result<Vec<u8>, Refused> {
    let mut base = Vec::with_capacity(512);
    for item in &covered.items {
        let name = item.bare_item.as_string().ok_or(Refused::Malformed)?.as_str();
        base.push(b'"');
        base.extend_from_slice(name.as_bytes());
        base.extend_from_slice(b"\": ");
        base.extend_from_slice(&component(message, name, scheme)?);
        base.push(b'\n');
    }
    base.extend_from_slice(b"\"@signature-params\": ");
    let mut parameters = ListSerializer::new();
    parameters.members([&ListEntry::InnerList(covered.clone())]);
    base.extend_from_slice(parameters.finish().ok_or(Refused::Malformed)?.as_bytes());
    Ok(base)
}

fn component(message: &Message<'_>, name: &str, scheme: (&str, &str)) -> Result<Vec<u8>, Refused> {
    let (path, query) = message.target.split_once('?').unwrap_or((message.target, ""));
    let authority = || {
        let text = message.authority.to_ascii_lowercase();
        text.strip_suffix(scheme.1).map_or(text.clone(), str::to_owned)
    };
    Ok(match name {
        "@method" => message.method.as_bytes().to_vec(),
        "@target-uri" => format!("{}://{}{}", scheme.0, authority(), message.target).into_bytes(),
        "@authority" => authority().into_bytes(),
        "@scheme" => scheme.0.as_bytes().to_vec(),
        "@request-target" => message.target.as_bytes().to_vec(),
        "@path" => path.as_bytes().to_vec(),
        "@query" => format!("?{query}").into_bytes(),
        field => {
            let token =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.!#$&'*+^`|~".contains(&b);
            if field.is_empty() || !field.bytes().all(token) {
                return Err(Refused::Malformed);
            }
            combined(message, field).ok_or(Refused::Malformed)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::Body;
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    /// RFC 9421, B.2.5: a request signed with a shared secret.
    #[test]
    fn the_base_is_that_of_the_rfc() {
        let fields: [(&str, &[u8]); 2] =
            [("date", b"Tue, 20 Apr 2021 02:07:55 GMT"), ("content-type", b"application/json")];
        let message = Message {
            method: "POST",
            target: "/foo?param=Value&Pet=dog",
            authority: "example.com",
            fields: &fields,
            body: Body::Bytes(b""),
        };
        let input =
            r#"sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#;
        let inputs: Dictionary = Parser::new(input).parse().unwrap();
        let Some(ListEntry::InnerList(covered)) = inputs.get("sig-b25") else { panic!() };
        let base = base(&message, covered, SCHEMES[0]).unwrap();
        let expected = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\
            \"@authority\": example.com\n\
            \"content-type\": application/json\n\
            \"@signature-params\": (\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\"";
        assert_eq!(String::from_utf8(base).unwrap(), expected);
        let secret = STANDARD
            .decode(
                "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==",
            )
            .unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
        let tag = ring::hmac::sign(&key, expected.as_bytes());
        assert_eq!(STANDARD.encode(tag.as_ref()), "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=");
        // It covers neither method nor target, and so it would open nothing here.
        assert_eq!(check_coverage(&message, covered), Err(Refused::Malformed));
    }

    /// RFC 9421, 2.2: what the derived components are.
    #[test]
    fn derived_components_are_those_of_the_rfc() {
        let message = Message {
            method: "POST",
            target: "/path?param=value&foo=bar&baz=batman",
            authority: "WWW.example.com:443",
            fields: &[("x-list", b" one "), ("x-list", b"two")],
            body: Body::Bytes(b""),
        };
        for (name, expected) in [
            ("@method", "POST"),
            ("@target-uri", "https://www.example.com/path?param=value&foo=bar&baz=batman"),
            ("@authority", "www.example.com"),
            ("@scheme", "https"),
            ("@request-target", "/path?param=value&foo=bar&baz=batman"),
            ("@path", "/path"),
            ("@query", "?param=value&foo=bar&baz=batman"),
            ("x-list", "one, two"),
        ] {
            assert_eq!(component(&message, name, SCHEMES[0]).unwrap(), expected.as_bytes(), "{name}");
        }
        let http = component(&message, "@authority", SCHEMES[1]).unwrap();
        assert_eq!(http, b"www.example.com:443");
        for bad in ["@status", "@query-param", "X-List", "x-none", "", "a b", "a\nb"] {
            assert_eq!(component(&message, bad, SCHEMES[0]), Err(Refused::Malformed), "{bad}");
        }
    }
}
