//! Whatever is shown as a signed request: no panic, and nothing is by a secret that did not sign it.
//!
//! The input is a request in lines: method, target, `name:value` for each header, an empty line, the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rota::signing::{Body, Message, read};

/// Nobody signed anything with it.
const SECRET: &[u8] = b"sk_live_nobody-has-this-secret-0123456789";

fuzz_target!(|input: &[u8]| {
    let (head, body) = match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.split('\n');
    let (method, target) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let fields: Vec<(&str, &[u8])> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.as_bytes())).collect();
    for body in [Body::Bytes(body), Body::Sha256([7; 32])] {
        let message = Message { method, target, authority: "api.example", fields: &fields, body };
        if let Ok(Some(signed)) = read(&message) {
            assert!(signed.is_by(SECRET).is_none());
        }
    }
});
