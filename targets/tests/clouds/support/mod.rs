//! What the tests share: the way out, the time, random bytes, processes.

pub mod process;
pub mod rotation;

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use rota_aggregates::Timestamp;
use rota_targets::surroundings::{AwsIdentity, Clock, Endpoints, Surroundings};
use rota_targets::{Failure, Network};

/// A way out that leads anywhere, through the system's resolver.
pub struct Everywhere;

#[async_trait]
impl Network for Everywhere {
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let found = tokio::net::lookup_host((host, port)).await;
        Ok(found.map_err(|_| Failure::unreachable("no such name"))?.collect())
    }
}

/// The time of this machine: emulators compare it with theirs.
pub struct RealTime;

impl Clock for RealTime {
    #[expect(clippy::disallowed_methods, reason = "servers that are real have the real time")]
    fn now(&self) -> Timestamp {
        chrono::Utc::now().into()
    }
}

/// Surroundings with these addresses.
pub fn around(endpoints: Endpoints, aws: Option<AwsIdentity>) -> Surroundings {
    // Whichever test comes first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Surroundings {
        network: Arc::new(Everywhere),
        clock: Arc::new(RealTime),
        endpoints: Arc::new(endpoints),
        aws: aws.map(Arc::new),
    }
}

/// Bytes that are different each time.
pub fn random() -> [u8; 32] {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 32];
    ring::rand::SystemRandom::new().fill(&mut bytes).unwrap();
    bytes
}
