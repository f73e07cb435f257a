//! Where the systems themselves come in.

use std::sync::Arc;

use async_trait::async_trait;
use rota_aggregates::Timestamp;
use rota_targets::surroundings::{Clock as TellsTime, Endpoints};
use rota_targets::{Connection, Failure, Kind, Network, Parameters, Surroundings, Target};

use crate::app::clock::Clock;

/// Opens targets.
#[async_trait]
pub trait Targets: Send + Sync + 'static {
    /// The target of a rotation. Nothing is connected to yet.
    fn open(
        &self,
        kind: Kind,
        connection: &Connection,
        parameters: &Parameters,
    ) -> Result<Box<dyn Target>, Failure>;

    /// Reaches the system of a connection and changes nothing there. The connection that is to be kept.
    async fn check(&self, connection: Connection) -> Result<Connection, Failure>;
}

/// The systems that there are.
pub struct RealTargets(Surroundings);

/// The service's clock, as targets read it.
struct TargetClock(Arc<dyn Clock>);

impl TellsTime for TargetClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl RealTargets {
    /// Those that can be reached through a network.
    pub fn new(network: Arc<dyn Network>, clock: Arc<dyn Clock>) -> Self {
        let (clock, endpoints) = (Arc::new(TargetClock(clock)), Arc::new(Endpoints::default()));
        Self(Surroundings { network, clock, endpoints, aws: None })
    }
}

#[async_trait]
impl Targets for RealTargets {
    fn open(
        &self,
        kind: Kind,
        connection: &Connection,
        parameters: &Parameters,
    ) -> Result<Box<dyn Target>, Failure> {
        rota_targets::open(kind, connection, parameters, &self.0)
    }

    async fn check(&self, connection: Connection) -> Result<Connection, Failure> {
        rota_targets::check(connection, &self.0).await
    }
}
