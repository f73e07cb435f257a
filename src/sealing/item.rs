//! What is sealed, and the two values that sealing makes of it.

use std::fmt;

use ring::digest::{self, SHA256};
use uuid::Uuid;

/// The identity of something sealed: a part of one event. An item is sealed once (see the module's page).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    /// The id of the event that the item belongs to.
    pub event: Uuid,
    /// Which of the event's sealed parts it is.
    pub part: Part,
}

/// The parts of an event that are sealed. The numbers are in every stored item's identity: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Part {
    /// A secret that must be read again, such as a signing secret.
    Secret = 1,
    /// The answer to a request that may be retried.
    Answer = 2,
    /// Client address, user agent and free text.
    Details = 3,
}

impl Item {
    /// The associated data: 16 bytes of event id, 1 byte of part.
    pub(super) fn identity(&self) -> [u8; 17] {
        let mut identity = [0; 17];
        identity[..16].copy_from_slice(self.event.as_bytes());
        identity[16] = self.part as u8;
        identity
    }
}

/// A sealed item as it is stored. `Debug` prints only the lengths.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The data key under the master key, 53 bytes: format (1), master key id (4), ciphertext (32), tag (16).
    /// Deleting it destroys the item.
    pub wrapped_key: Vec<u8>,
    /// The plaintext under the data key: as long as the plaintext, and a tag of 16 bytes.
    pub ciphertext: Vec<u8>,
}

impl Sealed {
    /// SHA-256 of the ciphertext alone, so that it stays true when the data key is rewrapped or destroyed.
    pub fn sha256(&self) -> [u8; 32] {
        let mut sum = [0; 32];
        sum.copy_from_slice(digest::digest(&SHA256, &self.ciphertext).as_ref());
        sum
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("wrapped_key_bytes", &self.wrapped_key.len())
            .field("ciphertext_bytes", &self.ciphertext.len())
            .finish()
    }
}
