//! Leases: which one of several processes on a store does a job.
//!
//! A lease has a name, at most one holder, and an end that the store's own clock decides; where the store tells no
//! time, each process watches for itself whether it is renewed. A holder renews it before the end; one that died or
//! is cut off does not, and somebody else takes it. Each new holder gets a higher *token* (fencing): whoever acts on
//! something outside the ledger passes it on, so that a late act of a deposed holder can be told from the present
//! holder's.
//!
//! **In the ledger a deposed holder is harmless without a token.** Its append names the position at which it
//! begins and the sequence of every stream that it was decided on; the new holder's event has moved both, so that
//! the store refuses the batch and the decision, made again, finds nothing left to do. A lease keeps the work from
//! being done twice for nothing; that it *counts* once follows from the order alone.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::LogError;

/// Grows with each change of a lease's holder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Token(pub u64);

/// Grants leases.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes a lease that nobody holds, or renews the holder's own, until `term` from now. `None`: somebody else
    /// holds it.
    async fn acquire(&self, name: &str, holder: Uuid, term: Duration) -> Result<Option<Token>, LogError>;

    /// Gives a lease back before its end. Somebody else's is left alone.
    async fn release(&self, name: &str, holder: Uuid) -> Result<(), LogError>;

    /// How many leases whose names begin so are held. Those that have ended are forgotten, their tokens too: for
    /// leases that are only there to be counted.
    async fn count(&self, prefix: &str) -> Result<u64, LogError>;
}
