//! A client that signs its requests, written from the description of the signature alone.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use ring::{digest, hmac};

/// Somebody who holds an integrator's key and secret.
#[derive(Clone, Debug)]
pub struct Signer {
    pub key: String,
    pub secret: String,
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    digits.map(char::from).collect()
}

/// What JavaScript's `encodeURIComponent` makes of a text.
fn encode(text: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&b);
    text.bytes().map(|b| if bare(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// `path?k=v&…` with the parameters in the order of their names.
pub fn path_with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut sorted = query.to_vec();
    sorted.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
    let pairs: Vec<_> = sorted.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

impl Signer {
    pub fn new(key: &str, secret: &str) -> Self {
        Self { key: key.to_owned(), secret: secret.to_owned() }
    }

    /// The value of `X-Signature`.
    pub fn sign(&self, millis: i64, method: &str, path_with_query: &str, body: &str) -> String {
        let hash = digest::digest(&digest::SHA256, body.as_bytes());
        let hash = if body.is_empty() { String::new() } else { hex(hash.as_ref()) };
        let payload = format!("{millis}.{method}.{path_with_query}.{hash}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        format!("sha256={}", hex(hmac::sign(&key, payload.as_bytes()).as_ref()))
    }

    /// The headers of a signed request.
    pub fn headers(&self, millis: i64, method: &str, path: &str, body: &str) -> Vec<(String, String)> {
        vec![
            ("X-Integrator-Key".to_owned(), self.key.clone()),
            ("X-Timestamp".to_owned(), millis.to_string()),
            ("X-Signature".to_owned(), self.sign(millis, method, path, body)),
        ]
    }

    /// The headers of a request with an HTTP message signature.
    pub fn message_headers(
        &self,
        created: i64,
        nonce: &str,
        method: &str,
        uri: &str,
        body: &str,
    ) -> Vec<(String, String)> {
        use base64::Engine;
        let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let digest =
            format!("sha-256=:{}:", base64(digest::digest(&digest::SHA256, body.as_bytes()).as_ref()));
        let covered = if body.is_empty() { "" } else { " \"content-digest\"" };
        let params = format!(
            "(\"@method\" \"@target-uri\"{covered});created={created};nonce=\"{nonce}\";keyid=\"{}\";alg=\"hmac-sha256\"",
            self.key
        );
        let line = if body.is_empty() { String::new() } else { format!("\"content-digest\": {digest}\n") };
        let base =
            format!("\"@method\": {method}\n\"@target-uri\": {uri}\n{line}\"@signature-params\": {params}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let signature = base64(hmac::sign(&key, base.as_bytes()).as_ref());
        let mut headers = vec![
            ("Signature-Input".to_owned(), format!("sig1={params}")),
            ("Signature".to_owned(), format!("sig1=:{signature}:")),
        ];
        if !body.is_empty() {
            headers.push(("Content-Digest".to_owned(), digest));
        }
        headers
    }
}
