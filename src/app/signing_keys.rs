//! Signing secrets, opened and kept in memory for a while: a signature is checked without asking the store.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rota_aggregates::{CredentialId, Position};
use zeroize::Zeroizing;

/// Secrets that are kept open at most.
const OPEN_MAX: usize = 20_000;

/// An opened secret; zeroized when the last who uses it lets go.
pub(super) type Opened = Arc<Zeroizing<Vec<u8>>>;

/// Opened secrets by the event that brought them. What was not used for a whole generation is let go.
#[derive(Default)]
pub(super) struct SigningKeys(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Position, (CredentialId, Opened)>,
    old: HashMap<Position, (CredentialId, Opened)>,
}

impl Generations {
    fn insert(&mut self, position: Position, kept: (CredentialId, Opened)) {
        if self.young.len() >= OPEN_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(position, kept);
    }
}

impl SigningKeys {
    /// The secret that an event brought, if it is open.
    pub(super) fn get(&self, position: Position) -> Option<Opened> {
        let mut kept = self.0.lock();
        if let Some((_, secret)) = kept.young.get(&position) {
            return Some(Arc::clone(secret));
        }
        let found = kept.old.remove(&position)?;
        let secret = Arc::clone(&found.1);
        kept.insert(position, found);
        Some(secret)
    }

    pub(super) fn insert(&self, credential: CredentialId, position: Position, secret: Opened) {
        self.0.lock().insert(position, (credential, secret));
    }

    /// Lets go of what was destroyed.
    pub(super) fn remove(&self, positions: impl Iterator<Item = Position>) {
        let mut kept = self.0.lock();
        for position in positions {
            kept.young.remove(&position);
            kept.old.remove(&position);
        }
    }

    /// Lets go of all that `is_kept` says is not kept any more.
    pub(super) fn retain(&self, is_kept: impl Fn(CredentialId, Position) -> bool) {
        let mut kept = self.0.lock();
        kept.young.retain(|position, (credential, _)| is_kept(*credential, *position));
        kept.old.retain(|position, (credential, _)| is_kept(*credential, *position));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_there_are_never_too_many() {
        let keys = SigningKeys::default();
        let credential = CredentialId::default();
        for n in 0..OPEN_MAX as u64 * 2 {
            keys.insert(credential, Position(n), Arc::new(Zeroizing::new(n.to_le_bytes().to_vec())));
            assert!(keys.get(Position(0)).is_some(), "{n}");
        }
        let kept = keys.0.lock();
        assert!(kept.young.len() + kept.old.len() <= OPEN_MAX);
        drop(kept);
        keys.remove([Position(0)].into_iter());
        assert!(keys.get(Position(0)).is_none());
        keys.retain(|_, _| false);
        assert!(keys.get(Position(OPEN_MAX as u64 * 2 - 1)).is_none());
    }
}
