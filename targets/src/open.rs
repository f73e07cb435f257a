//! From a connection and parameters to a target.

use std::sync::Arc;

use crate::connection::Connection;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::parameters::Parameters;
use crate::target::{Network, Target};

/// Whether rotations of this kind can be opened.
pub const fn is_available(kind: Kind) -> bool {
    let _ = kind;
    false
}

/// The target of a rotation. Nothing is connected to yet.
pub fn open(
    kind: Kind,
    connection: &Connection,
    parameters: &Parameters,
    network: &Arc<dyn Network>,
) -> Result<Box<dyn Target>, Failure> {
    let app = kind.description().app;
    if connection.app() != app || parameters.kind() != kind {
        return Err(Failure::refused(format!("{kind} takes connections of the app {app}")));
    }
    let _ = network;
    Err(Failure::refused(format!("rotations of the kind {kind} are not available in this build")))
}

/// Reaches the system of a connection and logs in, changing nothing there. What comes back is the connection that is to
/// be kept: the same, with what was learned at first contact, such as the host key of a machine whose user named none.
pub async fn check(connection: Connection, network: &Arc<dyn Network>) -> Result<Connection, Failure> {
    let _ = network;
    Err(Failure::refused(format!(
        "connections of the app {} are not available in this build",
        connection.app()
    )))
}
