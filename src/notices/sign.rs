//! The signatures of deliveries.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use rota_aggregates::Timestamp;
use rota_aggregates::secret::Secret;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The `webhook-signature` of Standard Webhooks: one for each secret, separated by spaces, newest first.
pub fn standard(secrets: &[Secret], id: Uuid, at: Timestamp, payload: &str) -> String {
    let signed = format!("{id}.{}.{payload}", at.seconds());
    let signatures = secrets.iter().map(|secret| {
        // What was not made by rota may be no base64: then its bytes are the key, as they are.
        let text = secret.expose();
        let decoded = text.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
        let key = Zeroizing::new(decoded.unwrap_or_else(|| text.as_bytes().to_vec()));
        format!("v1,{}", STANDARD.encode(mac(&key, &signed)))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

/// HMAC-SHA256 of the body in hexadecimal, as Spritz has it.
pub fn body(secret: &Secret, payload: &str) -> String {
    let tag = mac(secret.expose().as_bytes(), payload);
    let mut bytes = [0u8; 32];
    bytes.copy_from_slice(tag.as_ref());
    rota_aggregates::ids::Hash(bytes).to_string()
}

fn mac(key: &[u8], message: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes())
}
