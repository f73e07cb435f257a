//! Whatever is shown as a session token: no panic, and nothing believed that the key did not sign.
//!
//! The input is tried as it is, as an edit of a good token, and as header and claims around a good signature.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rota::tokens::{Claims, SigningKey, Verifier};
use rota_aggregates::{CredentialId, Timestamp, TokenKeyId, WorkspaceId};

struct Bench {
    verifier: Verifier,
    key: SigningKey,
    good: String,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let key = SigningKey::new(TokenKeyId::default(), &[7; 32]).expect("32 bytes are a key");
    let claims = Claims {
        iss: "rota".to_owned(),
        sub: CredentialId::default(),
        aud: "us".to_owned(),
        iat: 0,
        nbf: 0,
        exp: i64::MAX,
        jti: CredentialId::default().0,
        client_id: Some("us".to_owned()),
        workspace: WorkspaceId::default(),
        api_key: "fl_dev_x".to_owned(),
        secret_version: 1,
        epoch: 0,
        retiring: false,
        user: None,
    };
    let good = key.sign(&claims).expect("claims have a JSON form").to_string();
    Bench { verifier: Verifier::new("rota", "us"), key, good }
});

fn is_believed(token: &str) -> bool {
    let bench = &*BENCH;
    let find = |id| (id == bench.key.id()).then(|| bench.key.public());
    bench.verifier.verify(token, Timestamp::from_micros(1_800_000_000_000_000), find).is_ok()
}

fuzz_target!(|input: &[u8]| {
    let good = &BENCH.good;
    if let Ok(text) = std::str::from_utf8(input) {
        assert!(text == good || !is_believed(text));
    }
    // The first two bytes say where, the rest what is put there.
    let Some((at, edit)) = input.split_first_chunk::<2>() else { return };
    let at = usize::from(u16::from_le_bytes(*at)) % good.len();
    let mut bytes = good.clone().into_bytes();
    let end = bytes.len().min(at + edit.len());
    bytes.splice(at..end, edit.iter().copied());
    if let Ok(text) = String::from_utf8(bytes) {
        assert!(text == *good || !is_believed(&text));
    }
    if let Ok(message) = std::str::from_utf8(edit) {
        let signature = good.rsplit('.').next().unwrap_or_default();
        let text = format!("{message}.{signature}");
        assert!(text == *good || !is_believed(&text));
    }
});
