//! Signed requests at a service whose clock the test turns.

use std::time::Duration;

use reqwest::Method;
use rota::app::clock::Clock;

use crate::signer::Signer;
use crate::support::{As, Reply, Service};

pub const REGENERATE: &str = "/v1/integrator/regenerate-secret";

/// Sends a request that `signer` signs at the service's time, with more headers.
pub async fn signed(
    service: &Service,
    signer: &Signer,
    method: Method,
    path: &str,
    body: &str,
    more: &[(&str, &str)],
) -> Reply {
    let headers = signer.headers(service.clock.now().micros() / 1_000, method.as_str(), path, body);
    let mut headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    headers.extend(more);
    let body = (!body.is_empty()).then(|| body.as_bytes().to_vec());
    service.operator.with(&As::Nobody).send(method, path, &headers, body).await.unwrap()
}

/// Whether a signature by `signer` opens anything now.
pub async fn opens(service: &Service, signer: &Signer) -> bool {
    signed(service, signer, Method::GET, "/v1/integrator/", "", &[]).await.status == 200
}

/// Regenerates a millisecond after whatever was before: with the new secret.
pub async fn regenerate(service: &Service, signer: &Signer, body: &str) -> Result<Signer, Reply> {
    service.clock.advance(Duration::from_millis(1));
    let reply = signed(service, signer, Method::POST, REGENERATE, body, &[]).await;
    match reply.json()["secret"].as_str() {
        Some(secret) => Ok(Signer::new(&signer.key, secret)),
        None => Err(reply),
    }
}
