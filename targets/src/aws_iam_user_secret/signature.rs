//! Signature Version 4, for the one form that IAM and STS need: a `POST` to `/` with everything in its body.

use std::fmt::Write as _;

use ring::{digest, hmac};
use rota_aggregates::Timestamp;

use crate::surroundings::AwsKey;

pub(super) const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// What is signed for: a service in a region.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// The headers `X-Amz-Date` and `Authorization` of a request.
pub(super) struct Signed {
    pub(super) date: String,
    pub(super) authorization: String,
}

/// Signs `body` as sent to `host` now.
pub(super) fn sign(key: &AwsKey, scope: Scope<'_>, host: &str, body: &[u8], now: Timestamp) -> Signed {
    let now = now.datetime();
    let date = now.format("%Y%m%dT%H%M%SZ").to_string();
    let day = now.format("%Y%m%d").to_string();
    let mut headers = format!("content-type:{CONTENT_TYPE}\nhost:{host}\nx-amz-date:{date}\n");
    let mut names = "content-type;host;x-amz-date".to_owned();
    if let Some(session) = &key.session {
        let _ = writeln!(headers, "x-amz-security-token:{}", session.expose());
        names.push_str(";x-amz-security-token");
    }
    let canonical = format!("POST\n/\n\n{headers}\n{names}\n{}", sha256(body));
    let scoped = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scoped}\n{}", sha256(canonical.as_bytes()));
    let signature = hex(mac(derived(key, scope, &day).as_ref(), to_sign.as_bytes()).as_ref());
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scoped}, SignedHeaders={names}, Signature={signature}",
        key.id
    );
    Signed { date, authorization }
}

fn derived(key: &AwsKey, scope: Scope<'_>, day: &str) -> hmac::Tag {
    let start = zeroize::Zeroizing::new(format!("AWS4{}", key.secret.expose()));
    let mut tag = mac(start.as_bytes(), day.as_bytes());
    for part in [scope.region, scope.service, "aws4_request"] {
        tag = mac(tag.as_ref(), part.as_bytes());
    }
    tag
}

fn mac(key: &[u8], data: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data)
}

fn sha256(data: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, data).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use rota_aggregates::secret::Secret;

    use super::*;

    fn key() -> AwsKey {
        AwsKey {
            id: "AKIDEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
            session: None,
        }
    }

    /// The worked example of AWS' documentation: the key for IAM in us-east-1 on 30 August 2015.
    #[test]
    fn the_signing_key_is_the_documented_one() {
        let tag = derived(&key(), Scope { region: "us-east-1", service: "iam" }, "20150830");
        assert_eq!(hex(tag.as_ref()), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }

    /// Computed apart, by botocore 1.43.11 for the same request.
    #[test]
    fn the_signature_is_that_of_awss_own_client() {
        let now = Timestamp::from_micros(1_440_938_160_000_000);
        let scope = Scope { region: "us-east-1", service: "iam" };
        let body = b"Action=ListAccessKeys&Version=2010-05-08&UserName=app_a";
        let signed = sign(&key(), scope, "iam.amazonaws.com", body, now);
        assert_eq!(signed.date, "20150830T123600Z");
        assert_eq!(signed.authorization, PLAIN);
        let session = Some(Secret::new("a/session+token==".to_owned()));
        let signed = sign(&AwsKey { session, ..key() }, scope, "iam.amazonaws.com", body, now);
        assert_eq!(signed.authorization, WITH_SESSION);
    }

    const PLAIN: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
        SignedHeaders=content-type;host;x-amz-date, \
        Signature=2d2c1bd4e0416cf48ff508d32324bd9d75966c4f9c04253ebd4fd9177ae65ea5";
    const WITH_SESSION: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
        SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
        Signature=a214980c4791e5798114a27d4ab8d922a44fbd4489fc7d92a860ca82003ccc49";
}
