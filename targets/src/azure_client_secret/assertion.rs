//! A signed assertion in place of a client's secret (RFC 7523), as Entra ID takes it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{RSA_PSS_SHA256, RsaKeyPair};
use rota_aggregates::Timestamp;
use rota_aggregates::secret::Secret;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use crate::failure::Failure;

/// An assertion lives for so long.
const SECONDS: i64 = 300;

/// A certificate's fingerprint and its key.
pub(super) struct Certificate {
    thumbprint: String,
    key: RsaKeyPair,
}

impl Certificate {
    /// Reads both out of their PEM.
    pub(super) fn read(certificate: &str, key: &Secret) -> Result<Self, Failure> {
        let bad = |what: &str| Failure::refused(format!("{what} can't be read: it must be PEM"));
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|_| bad("the connection's certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
            .map_err(|_| bad("the connection's private key"))?;
        let read = match &key {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(Failure::refused("the connection's private key must be an RSA key")),
        };
        let key = read.map_err(|_| {
            Failure::refused("the connection's private key must be an RSA key of 2048 bits or more")
        })?;
        Ok(Self { thumbprint: URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate)), key })
    }

    /// An assertion of this client, for this token endpoint.
    pub(super) fn assertion(&self, audience: &str, client: &str, now: Timestamp) -> Result<Secret, Failure> {
        let failed = |_| Failure::refused("the connection's private key does not sign");
        let random = SystemRandom::new();
        let mut id = [0; 16];
        random.fill(&mut id).map_err(failed)?;
        let now = now.seconds();
        let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint});
        let claims = json!({
            "aud": audience, "iss": client, "sub": client, "jti": URL_SAFE_NO_PAD.encode(id),
            "nbf": now, "iat": now, "exp": now + SECONDS,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key.sign(&RSA_PSS_SHA256, &random, signed.as_bytes(), &mut signature).map_err(failed)?;
        Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}
