use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_micros(NOW * 1_000_000)
}

fn signer(seed: u8) -> SigningKey {
    SigningKey::new(TokenKeyId(Uuid::from_u128(seed.into())), &[seed; 32]).unwrap()
}

fn claims() -> Claims {
    Claims {
        iss: "rota".to_owned(),
        sub: CredentialId(Uuid::from_u128(7)),
        aud: "us".to_owned(),
        iat: NOW,
        nbf: NOW,
        exp: NOW + 60,
        jti: Uuid::from_u128(9),
        client_id: Some("us".to_owned()),
        workspace: WorkspaceId(Uuid::from_u128(8)),
        api_key: "fl_dev_x".to_owned(),
        secret_version: 1,
        epoch: 0,
        retiring: false,
        user: None,
        login: None,
    }
}

/// Checks as the service does, with the keys 1 and 2 published.
fn verify_at(token: &str, at: Timestamp) -> Result<Claims, BadToken> {
    let known = [signer(1), signer(2)];
    let find = |id| known.iter().find(|k| k.id() == id).map(SigningKey::public);
    Verifier::new("rota", "us").verify(token, at, find)
}

fn verify(token: &str) -> Result<Claims, BadToken> {
    verify_at(token, now())
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token of any header and claims, signed rightly by key 1.
fn signed(header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let signature = signer(1).pair.sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

fn header() -> Value {
    json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": signer(1).id().to_string() })
}

fn with(mut value: Value, member: &str, to: Value) -> Value {
    value[member] = to;
    value
}

fn body() -> Value {
    serde_json::to_value(claims()).unwrap()
}

#[test]
fn what_a_published_key_signed_is_read_back() {
    for seed in [1, 2] {
        assert_eq!(verify(&signer(seed).sign(&claims()).unwrap()), Ok(claims()));
    }
    assert_eq!(verify(&signed(&header(), &body())), Ok(claims()));
}

#[test]
fn a_key_that_is_not_published_counts_for_nothing() {
    assert_eq!(verify(&signer(3).sign(&claims()).unwrap()), Err(BadToken::UnknownKey));
    for kid in [json!("no uuid"), json!(""), Value::Null, json!(signer(9).id().to_string())] {
        let token = signed(&with(header(), "kid", kid), &body());
        assert_eq!(verify(&token), Err(BadToken::UnknownKey));
    }
    // The name of a key is no proof of it.
    let posing = SigningKey::new(signer(1).id(), &[3; 32]).unwrap();
    assert_eq!(verify(&posing.sign(&claims()).unwrap()), Err(BadToken::WrongSignature));
}

#[test]
fn no_other_algorithm_is_believed() {
    for algorithm in ["HS256", "HS512", "RS256", "ES256", "PS512"] {
        let token = signed(&with(header(), "alg", json!(algorithm)), &body());
        assert_eq!(verify(&token), Err(BadToken::OtherKind), "{algorithm}");
    }
    for algorithm in ["none", "None", "NONE", "nOnE", "", "eddsa", "Ed25519"] {
        let header = encoded(&with(header(), "alg", json!(algorithm)));
        for signature in ["", "AA", &"A".repeat(86)] {
            let token = format!("{header}.{}.{signature}", encoded(&body()));
            assert!(verify(&token).is_err(), "{algorithm}");
        }
    }
}

#[test]
fn the_public_key_is_no_shared_secret() {
    let public = signer(1).public();
    for secret in [public.0.to_vec(), public.to_string().into_bytes()] {
        let message = format!("{}.{}", encoded(&with(header(), "alg", json!("HS256"))), encoded(&body()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
        let tag = ring::hmac::sign(&key, message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        assert_eq!(verify(&token), Err(BadToken::OtherKind));
        // The same under a header that lies about it.
        let message = format!("{}.{}", encoded(&header()), encoded(&body()));
        let tag = ring::hmac::sign(&key, message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        assert_eq!(verify(&token), Err(BadToken::WrongSignature));
    }
}

#[test]
fn a_key_in_the_header_is_not_looked_at() {
    let own = signer(3);
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": own.public().to_string() });
    for (member, value) in
        [("jwk", jwk), ("jku", json!("https://evil.example/keys")), ("x5u", json!("https://e"))]
    {
        let message = format!("{}.{}", encoded(&with(header(), member, value)), encoded(&body()));
        let signature = own.pair.sign(message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()));
        assert!(verify(&token).is_err(), "{member}");
    }
}

#[test]
fn a_token_of_another_purpose_is_refused() {
    for kind in [json!("JWT"), json!("id+jwt"), Value::Null] {
        assert_eq!(verify(&signed(&with(header(), "typ", kind), &body())), Err(BadToken::OtherKind));
    }
}

#[test]
fn issuer_and_audience_must_be_ours() {
    let other = |member: &str, value: Value| verify(&signed(&header(), &with(body(), member, value)));
    assert_eq!(other("iss", json!("somebody")), Err(BadToken::WrongIssuer));
    assert_eq!(other("aud", json!("somebody")), Err(BadToken::WrongAudience));
    for member in ["iss", "aud", "sub", "exp", "nbf", "jti", "epoch", "secret_version"] {
        for value in [Value::Null, json!(["rota", "us"]), json!({}), json!("1e9"), json!(1.5), json!(-1e30)] {
            if member == "exp" && value == json!(1.5) {
                continue;
            }
            assert!(other(member, value.clone()).is_err(), "{member} {value}");
        }
        let mut without = body();
        without.as_object_mut().unwrap().remove(member);
        assert_eq!(verify(&signed(&header(), &without)), Err(BadToken::Malformed), "{member}");
    }
}

#[test]
fn time_is_half_open() {
    let token = signer(1).sign(&claims()).unwrap();
    let at = |micros: i64| verify_at(&token, Timestamp::from_micros(NOW * 1_000_000 + micros));
    assert_eq!(at(-1), Err(BadToken::NotYet));
    assert!(at(0).is_ok() && at(59_999_999).is_ok());
    assert_eq!(at(60_000_000), Err(BadToken::Expired));
}

#[test]
fn a_long_token_is_refused_unread() {
    let long = Claims { api_key: "k".repeat(TOKEN_BYTES_MAX), ..claims() };
    assert_eq!(verify(&signer(1).sign(&long).unwrap()), Err(BadToken::TooLong));
}

#[test]
fn what_is_no_token_is_malformed() {
    let good = signer(1).sign(&claims()).unwrap();
    let parts: Vec<_> = good.split('.').collect();
    let shapes = [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        parts[0].to_owned(),
        parts[..2].join("."),
        format!("{}.", &*good),
        format!(".{}", &*good),
        format!("{}=", &*good),
        format!(" {}", &*good),
        format!("{}\0", &*good),
    ];
    for shape in shapes {
        assert!(verify(&shape).is_err(), "{shape:?}");
    }
}

fn sample() -> (String, Vec<String>) {
    let good = signer(1).sign(&claims()).unwrap().to_string();
    let parts = good.split('.').map(str::to_owned).collect();
    (good, parts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_makes_it_panic_and_nothing_unsigned_is_believed(text in ".{0,300}") {
        prop_assert!(verify(&text).is_err());
    }

    #[test]
    fn three_parts_of_anything_are_not_believed(parts in prop::collection::vec("[A-Za-z0-9_-]{0,120}", 3)) {
        prop_assert!(verify(&parts.join(".")).is_err());
    }

    #[test]
    fn a_changed_byte_is_noticed(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (good, _) = sample();
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes) && text != good {
            prop_assert!(verify(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_that_was_cut_or_grew_is_noticed(at in any::<prop::sample::Index>(), more in "[A-Za-z0-9_.=-]{1,40}") {
        let (good, _) = sample();
        let at = at.index(good.len());
        prop_assert!(verify(&good[..at]).is_err());
        let grown = format!("{}{more}{}", &good[..at], &good[at..]);
        if grown != good {
            prop_assert!(verify(&grown).is_err());
        }
    }

    #[test]
    fn parts_of_different_tokens_do_not_make_one(pick in prop::array::uniform3(0usize..3)) {
        let other = Claims { secret_version: 2, jti: Uuid::from_u128(10), ..claims() };
        let tokens = [
            signer(1).sign(&claims()).unwrap(),
            signer(1).sign(&other).unwrap(),
            signer(2).sign(&claims()).unwrap(),
        ];
        let parts: Vec<_> = (0..3).map(|i| tokens[pick[i]].split('.').nth(i).unwrap()).collect();
        let mixed = parts.join(".");
        let is_one = tokens.iter().any(|t| **t == mixed);
        prop_assert_eq!(verify(&mixed).is_ok(), is_one);
    }

    #[test]
    fn any_header_over_a_right_signature_leads_nowhere_else(
        alg in "(none|HS256|RS256|EdDSA|ES256|[a-zA-Z0-9]{0,6})",
        typ in "(JWT|at\\+jwt|[a-z]{0,5})",
        extra in "[a-z]{1,8}",
    ) {
        let (_, parts) = sample();
        let changed = json!({ "alg": alg, "typ": typ, "kid": signer(1).id().to_string(), extra: 1 });
        let token = format!("{}.{}.{}", encoded(&changed), parts[1], parts[2]);
        prop_assert!(verify(&token).is_err());
    }
}
