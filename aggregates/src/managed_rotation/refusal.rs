//! Why a managed rotation refused.

use crate::time::Timestamp;

/// Why a managed rotation refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RotationRefusal {
    /// There is one with this id already.
    #[error("the rotation is there already")]
    AlreadyCreated,
    /// There is no such rotation, or none any more.
    #[error("there is no such rotation")]
    Unknown,
    /// An attempt is being carried out.
    #[error("a rotation is already in progress")]
    InProgress,
    /// It is being deleted.
    #[error("the rotation is being deleted")]
    Deleting,
    /// Nobody knows what an earlier attempt came to.
    #[error("an earlier attempt is not settled: the target has to be asked first")]
    Unsettled,
    /// The attempt is another one by now, or somebody else's.
    #[error("the attempt is over, or another process carries it out")]
    Overtaken,
    /// It is not due.
    #[error("the rotation is not due")]
    NotDue,
    /// What would be replaced has to stay valid for longer.
    #[error(
        "the credential before has to stay valid until {until}: the workspace's policy asks for an overlap"
    )]
    Overlap {
        /// The first instant at which it may be replaced.
        until: Timestamp,
    },
    /// Settling has to wait until nothing that was sent can arrive any more.
    #[error("what was sent to the target may still arrive; ask again at {until}")]
    TooEarly {
        /// The first instant at which the target's answer counts.
        until: Timestamp,
    },
    /// A setting is out of bounds.
    #[error("{field} {reason}")]
    Invalid {
        /// The setting, as on the wire.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}
