//! Both schemes from outside, by table and by chance.

use proptest::prelude::*;
use ring::hmac;
use rota_aggregates::ids::Hash;

use super::*;

const SECRET: &[u8] = b"test-secret-key-12345";
const KEY: &str = "int_0000000000000000000042";
const TIMESTAMP: &str = "1700000000000";

fn message<'a>(
    method: &'a str,
    target: &'a str,
    fields: &'a [(&'a str, &'a [u8])],
    body: &'a str,
) -> Message<'a> {
    Message { method, target, authority: "api.example", fields, body: Body::Bytes(body.as_bytes()) }
}

fn mac(payload: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), payload);
    tag.as_ref().try_into().unwrap()
}

/// Reads a request with the three headers.
fn legacy_read(method: &str, target: &str, body: &str, signature: &str) -> Result<Option<Signed>, Refused> {
    let signature = format!("sha256={signature}");
    let fields: [(&str, &[u8]); 3] = [
        (legacy::KEY, KEY.as_bytes()),
        (legacy::TIMESTAMP, TIMESTAMP.as_bytes()),
        (legacy::SIGNATURE, signature.as_bytes()),
    ];
    read(&message(method, target, &fields, body))
}

/// Signatures that the platform's own server and client make, and what they are of.
const VECTORS: [(&str, &str, &str, &str); 9] = [
    (
        "POST",
        "/v1/transactions",
        r#"{"amount":100}"#,
        "12dcf2a7647146ce08a465349ab03f992d8a18542cd576d40a9eb8e2958d4b9f",
    ),
    ("GET", "/v1/users/me", "", "147ecf7209d3d91ca62d3cc190473954120d305b85c007b50976d4fe88551c52"),
    (
        "GET",
        "/v1/on-ramps?limit=20&network=ethereum&token=USDC",
        "",
        "77cc4cdebcc5256d682fb3974346c15e84b289f6a4bb454adaa7f9495d3bbc55",
    ),
    (
        "GET",
        "/v1/on-ramps?token=USDC&limit=20&network=ethereum",
        "",
        "77cc4cdebcc5256d682fb3974346c15e84b289f6a4bb454adaa7f9495d3bbc55",
    ),
    (
        "GET",
        "/v1/on-ramps?network=%65thereum&token=USDC&limit=20",
        "",
        "77cc4cdebcc5256d682fb3974346c15e84b289f6a4bb454adaa7f9495d3bbc55",
    ),
    (
        "POST",
        "/v1/integrator/regenerate-secret",
        r#"{"oldSecretValidForSeconds":300}"#,
        "aade769b9416a93af272a3fa00b5809ead8ee0fed494d4fe997ac355bfd68895",
    ),
    (
        "POST",
        "/v1/integrator/regenerate-secret",
        "{}",
        "fd451cf53f2d3f9099889e44eabcc642cae508134ba232171c2c4c86ca3ee3ec",
    ),
    (
        "POST",
        "/v1/integrator/regenerate-secret",
        "",
        "71dc24aabc38982ea4c30a9f1e54aa1948d6d172502139efbba07264e83b1ff2",
    ),
    ("GET", "/v1/integrator/", "", "3322d1b32f9b56bde800555cd68b946664cef9753396b028215232d193e136fb"),
];

#[test]
fn every_vector_is_by_its_secret_and_by_no_other() {
    for (method, target, body, signature) in VECTORS {
        let signed = legacy_read(method, target, body, signature).unwrap().unwrap();
        assert_eq!(signed.key, KEY);
        assert_eq!(signed.at, Timestamp::from_micros(1_700_000_000_000_000));
        assert!(signed.is_by(SECRET).is_some(), "{method} {target} {body}");
        assert!(signed.is_by(b"test-secret-key-12346").is_none());
        assert!(signed.is_by(b"").is_none());
    }
}

#[test]
fn a_vector_is_of_nothing_else() {
    for (method, target, body, signature) in VECTORS {
        let other = format!("{target}x");
        let method_of_another = if method == "GET" { "HEAD" } else { "PUT" };
        for (method, target, body) in [
            (method_of_another, target, body),
            (method, other.as_str(), body),
            (method, target, "{ }"),
            (method.to_lowercase().as_str(), target, body),
        ] {
            let signed = legacy_read(method, target, body, signature).unwrap().unwrap();
            assert!(signed.is_by(SECRET).is_none(), "{method} {target} {body}");
        }
    }
}

#[test]
fn the_hash_of_an_empty_body_is_taken_too() {
    let payload = format!("{TIMESTAMP}.GET./v1/integrator/.{}", Hash(sha256(b"")));
    let signature = Hash(mac(payload.as_bytes())).to_string();
    let signed = legacy_read("GET", "/v1/integrator/", "", &signature).unwrap().unwrap();
    assert_eq!(signed.is_by(SECRET), Some(payload.as_bytes()));
    // With a body, only that body's hash is.
    let payload = format!("{TIMESTAMP}.POST./x.");
    let signature = Hash(mac(payload.as_bytes())).to_string();
    assert!(legacy_read("POST", "/x", "{}", &signature).unwrap().unwrap().is_by(SECRET).is_none());
}

#[test]
fn a_body_that_is_elsewhere_is_bound_by_its_hash() {
    let (method, target, body, signature) = VECTORS[0];
    let signature = format!("sha256={signature}");
    let fields: [(&str, &[u8]); 3] = [
        (legacy::KEY, KEY.as_bytes()),
        (legacy::TIMESTAMP, TIMESTAMP.as_bytes()),
        (legacy::SIGNATURE, signature.as_bytes()),
    ];
    let of = |hash| Message { body: Body::Sha256(hash), ..message(method, target, &fields, "") };
    assert!(read(&of(sha256(body.as_bytes()))).unwrap().unwrap().is_by(SECRET).is_some());
    assert!(read(&of(sha256(b"another"))).unwrap().unwrap().is_by(SECRET).is_none());
}

#[test]
fn malformed_headers_are_refused() {
    let good = "147ecf7209d3d91ca62d3cc190473954120d305b85c007b50976d4fe88551c52";
    let signature = format!("sha256={good}");
    let upper = format!("sha256={}", good.to_uppercase());
    let bare = good.to_owned();
    for (key, timestamp, signature) in [
        (KEY, "", signature.as_str()),
        (KEY, "+1700000000000", &signature),
        (KEY, " 1700000000000", &signature),
        (KEY, "1.7e12", &signature),
        (KEY, "-1", &signature),
        (KEY, "9999999999999999", &signature),
        (KEY, TIMESTAMP, &upper),
        (KEY, TIMESTAMP, &bare),
        (KEY, TIMESTAMP, "sha256="),
        (&"k".repeat(65), TIMESTAMP, &signature),
    ] {
        let fields: [(&str, &[u8]); 3] = [
            (legacy::KEY, key.as_bytes()),
            (legacy::TIMESTAMP, timestamp.as_bytes()),
            (legacy::SIGNATURE, signature.as_bytes()),
        ];
        let read = read(&message("GET", "/v1/users/me", &fields, ""));
        assert_eq!(read.unwrap_err(), Refused::Malformed, "{key} {timestamp} {signature}");
    }
    // Each header once, and all of them.
    let all: [(&str, &[u8]); 3] = [
        (legacy::KEY, KEY.as_bytes()),
        (legacy::TIMESTAMP, TIMESTAMP.as_bytes()),
        (legacy::SIGNATURE, signature.as_bytes()),
    ];
    for twice in 0..3 {
        let fields: Vec<_> = all.iter().chain([&all[twice]]).copied().collect();
        assert_eq!(read(&message("GET", "/v1/users/me", &fields, "")).unwrap_err(), Refused::Malformed);
        let fields: Vec<_> = all.iter().enumerate().filter(|(i, _)| *i != twice).map(|(_, f)| *f).collect();
        assert!(!matches!(read(&message("GET", "/v1/users/me", &fields, "")), Ok(Some(_))));
    }
    assert!(read(&message("GET", "/v1/users/me", &[], "")).unwrap().is_none());
}

/// A request with an RFC 9421 signature over the given base.
fn signed_message(
    input: &str,
    base: &str,
    target: &str,
    body: &str,
    digest: &str,
) -> Result<Option<Signed>, Refused> {
    use base64::Engine as _;
    let signature = base64::engine::general_purpose::STANDARD.encode(mac(base.as_bytes()));
    let (input, signature) = (format!("sig1={input}"), format!("sig1=:{signature}:"));
    let mut fields: Vec<(&str, &[u8])> =
        vec![("signature-input", input.as_bytes()), ("signature", signature.as_bytes())];
    if !digest.is_empty() {
        fields.push(("content-digest", digest.as_bytes()));
    }
    read(&message("POST", target, &fields, body))
}

const DIGEST: &str = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
const HELLO: &str = r#"{"hello": "world"}"#;

#[test]
fn a_message_signature_binds_method_target_and_body() {
    let params = format!(
        r#"("@method" "@target-uri" "content-digest");created=1700000000;nonce="n";keyid="{KEY}";alg="hmac-sha256""#
    );
    for scheme in ["https", "http"] {
        let base = format!(
            "\"@method\": POST\n\"@target-uri\": {scheme}://api.example/v1/x?b=1&a=2\n\"content-digest\": {DIGEST}\n\
             \"@signature-params\": {params}"
        );
        let read = |target, body, digest| signed_message(&params, &base, target, body, digest);
        let signed = read("/v1/x?b=1&a=2", HELLO, DIGEST).unwrap().unwrap();
        assert_eq!((signed.key.as_str(), signed.at.seconds()), (KEY, 1_700_000_000));
        assert_eq!(signed.is_by(SECRET), Some(base.as_bytes()));
        assert!(signed.is_by(b"other").is_none());
        let other = read("/v1/x?a=2&b=1", HELLO, DIGEST).unwrap().unwrap();
        assert!(other.is_by(SECRET).is_none(), "the query is bound as it was sent");
        assert_eq!(read("/v1/x?b=1&a=2", "{}", DIGEST).unwrap_err(), Refused::Malformed);
        assert_eq!(read("/v1/x?b=1&a=2", HELLO, "").unwrap_err(), Refused::Malformed);
    }
}

#[test]
fn a_message_signature_must_cover_enough() {
    let ok = |covered: &str, rest: &str, body: &str| {
        let input = format!("({covered}){rest}");
        let digest = if body.is_empty() { "" } else { DIGEST };
        signed_message(&input, "anything", "/v1/x", body, digest).is_ok()
    };
    let rest = format!(r#";created=1;keyid="{KEY}""#);
    for covered in [
        r#""@method" "@target-uri""#,
        r#""@method" "@path""#,
        r#""@method" "@request-target" "signature-input""#,
    ] {
        assert!(ok(covered, &rest, ""), "{covered}");
        assert!(!ok(covered, &rest, HELLO), "{covered} leaves the body open");
    }
    assert!(ok(r#""@method" "@path" "content-digest""#, &rest, HELLO));
    let method = r#""@method" "@path""#;
    for (covered, rest) in [
        ("", rest.as_str()),
        (r#""@method""#, &rest),
        (r#""@path""#, &rest),
        (r#""@method" "@path" "@path""#, &rest),
        (r#""@method";req "@path""#, &rest),
        (r#""@method" "@path" "content-digest""#, &rest),
        (r#"@method "@path""#, &rest),
        (method, ""),
        (method, ";created=1"),
        (method, &format!(r#";keyid="{KEY}""#)),
        (method, &format!(r#";created="1";keyid="{KEY}""#)),
        (method, &format!(r#";created=-1;keyid="{KEY}""#)),
        (method, &format!(r#";created=1;expires=x;keyid="{KEY}""#)),
        (method, &format!(r#";created=1;keyid="{KEY}";alg="rsa-pss-sha512""#)),
        (method, &format!(r#";created=1;keyid="{KEY}";alg=hmac-sha256"#)),
        (method, r#";created=1;keyid="other""#),
    ] {
        assert!(!ok(covered, rest, ""), "({covered}){rest}");
    }
}

proptest! {
    /// Whatever is sent, nothing panics and nothing is by a secret that did not sign it.
    #[test]
    fn nothing_at_random_is_accepted(
        names in prop::collection::vec(0usize..8, 0..6),
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 6),
        target in "\\PC{0,60}",
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        const NAMES: [&str; 8] = [
            legacy::KEY, legacy::TIMESTAMP, legacy::SIGNATURE, "signature", "signature-input", "content-digest",
            "host", "x-other",
        ];
        let fields: Vec<_> = names.iter().zip(&values).map(|(n, v)| (NAMES[*n], v.as_slice())).collect();
        let message =
            Message { method: "POST", target: &target, authority: "h", fields: &fields, body: Body::Bytes(&body) };
        if let Ok(Some(signed)) = read(&message) {
            prop_assert!(signed.is_by(SECRET).is_none());
        }
    }

    /// A right signature is of exactly one request: any other byte of method, target, time or body is refused.
    #[test]
    fn one_changed_byte_is_refused(
        at in any::<prop::sample::Index>(),
        flip in 1u8..128,
        body in "[ -~]{1,40}",
        query in "[a-z]{1,8}=[a-zA-Z0-9]{1,8}",
    ) {
        let target = format!("/v1/x?{query}");
        let unsigned = message("POST", &target, &[], &body);
        let payload = legacy::payload(&unsigned, TIMESTAMP);
        let signature = Hash(mac(payload.as_bytes())).to_string();
        prop_assert!(legacy_read("POST", &target, &body, &signature).unwrap().unwrap().is_by(SECRET).is_some());

        let mut forged = body.clone().into_bytes();
        let index = at.index(forged.len());
        forged[index] ^= flip;
        let forged = String::from_utf8_lossy(&forged).into_owned();
        prop_assert!(legacy_read("POST", &target, &forged, &signature).unwrap().unwrap().is_by(SECRET).is_none());

        let mut forged = signature.clone().into_bytes();
        let index = at.index(forged.len());
        forged[index] ^= flip;
        let forged = String::from_utf8_lossy(&forged).into_owned();
        if let Ok(Some(signed)) = legacy_read("POST", &target, &body, &forged) {
            prop_assert!(signed.is_by(SECRET).is_none());
        }
    }

    /// Structured fields of any shape are read or refused.
    #[test]
    fn any_structured_field_is_read_or_refused(
        input in "(sig1=)?[()\"@a-z:;=0-9 ,*?-]{0,120}",
        signature in "(sig1=:)?[A-Za-z0-9+/=:]{0,60}",
        digest in "(sha-256=:)?[A-Za-z0-9+/=:, ]{0,60}",
    ) {
        let fields: [(&str, &[u8]); 3] = [
            ("signature-input", input.as_bytes()),
            ("signature", signature.as_bytes()),
            ("content-digest", digest.as_bytes()),
        ];
        if let Ok(Some(signed)) = read(&message("POST", "/v1/x", &fields, "{}")) {
            prop_assert!(signed.is_by(SECRET).is_none());
        }
    }
}
