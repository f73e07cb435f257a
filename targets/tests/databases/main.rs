//! Databases that can't be had: what is sent, what answers mean and what is refused, on doubles. No login to a real one is
//! proved here; `docs/targets.md` says so.

mod mssql;
mod oracle;
mod tds;

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use rota_aggregates::Timestamp;
use rota_targets::surroundings::{Clock, Endpoints};
use rota_targets::{Failure, Network, Surroundings};

/// Knows addresses, and `localhost`.
struct Here;

#[async_trait]
impl Network for Here {
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        host.parse().map(|ip| vec![SocketAddr::new(ip, port)]).map_err(|_| Failure::refused("no such name"))
    }
}

impl Clock for Here {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }
}

fn around() -> Surroundings {
    // Whichever test comes first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Surroundings {
        network: Arc::new(Here),
        clock: Arc::new(Here),
        endpoints: Arc::new(Endpoints::default()),
        aws: None,
    }
}
