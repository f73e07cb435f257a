//! The verifiable ledger as a service: what is signed and by whom, what proves what, and what happens when the store
//! is not the history that was signed for.
//!
//! - [`signer`]: the task that signs what was committed, read back and compared;
//! - [`guard`]: what was signed last, outside the store; [`bar`]: what happens when the store does not hold that;
//! - [`anchor`]: witnesses that cosign, and copies in places of the operator's choice;
//! - [`keys`]: origin and signing keys, auditors of the deployment, and going on after a loss;
//! - [`read`]: tiles, entries, checkpoints and proofs; [`proofs`]: proofs from stored tiles.

pub mod anchor;
pub mod bar;
pub mod guard;
pub mod keys;
mod proofs;
pub mod read;
pub mod signer;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rota_aggregates::Timestamp;
use tokio::sync::watch;

use self::anchor::Anchors;
use self::bar::Bar;
use self::guard::Guard;
use self::signer::Signer;
use super::duty::Duty;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::note::SigningKey;
use crate::ledger::tile::Edge;

/// A checkpoint that was published.
pub struct Published {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
    /// When it was signed.
    pub time: Timestamp,
    /// The edge of the tree then, or a little later.
    pub edge: Edge,
}

/// What the service knows of the verifiable ledger.
pub(super) struct LedgerState {
    /// Which replica signs.
    pub(super) duty: Arc<Duty>,
    /// The newest checkpoint.
    published: watch::Sender<Option<Arc<Published>>>,
    /// How many events somebody waits to be signed for.
    wanted: watch::Sender<u64>,
    /// The private keys that were opened, by verifier key.
    opened: Mutex<HashMap<String, Arc<SigningKey>>>,
    guard: Option<Guard>,
    bar: RwLock<Option<Bar>>,
    signer: tokio::sync::Mutex<Signer>,
    anchors: Anchors,
}

impl LedgerState {
    pub(super) fn new(duty: Arc<Duty>, guard: Option<Guard>, bar: Option<Bar>, anchors: Anchors) -> Self {
        Self {
            duty,
            published: watch::channel(None).0,
            wanted: watch::channel(0).0,
            opened: Mutex::default(),
            guard,
            bar: RwLock::new(bar),
            signer: tokio::sync::Mutex::default(),
            anchors,
        }
    }

    /// The newest checkpoint, if it is of this origin.
    fn published(&self) -> Option<Arc<Published>> {
        self.published.borrow().clone()
    }
}
