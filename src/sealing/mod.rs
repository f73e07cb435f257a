//! Sealing: what the ledger has to keep and nobody may read.
//!
//! # What is kept, and under which key
//!
//! | kept | as | key |
//! |---|---|---|
//! | a secret that is only ever verified | digest, HMAC-SHA256 of credential id and secret | the pepper |
//! | an idempotency key | claim, HMAC-SHA256 of workspace id and key | the claim key |
//! | a snapshot of a view | as it is, with an HMAC-SHA256 beside it | the snapshot key |
//! | a secret that must be read again, personal details | sealed item, AES-256-GCM | a data key of its own |
//! | the answer to a retried rotation | sealed item, AES-256-GCM | HKDF of a random key *and* the idempotency key |
//!
//! Pepper, claim key and snapshot key are random and as old as the store. They are kept wrapped by the master key
//! ([`StoredKeys`]), so a new master key leaves every digest, claim and snapshot valid. Each data key (of an
//! answer: the random half of it) is kept wrapped by the master key too, beside its ciphertext ([`Sealed`]). The
//! master key itself is never in the store: it comes from the environment or from a file ([`MasterKey`]).
//!
//! The associated data of a sealed item is its identity, event and part ([`Item`]), and so a ciphertext that was
//! moved to another event or another part of the same event does not open. The event has the SHA-256 of the
//! ciphertext ([`Sealed::sha256`]), and not of the wrapped key, so that rewrapping leaves it true.
//!
//! # Destroying a data key
//!
//! To shred an item is to delete its wrapped data key. That key existed nowhere else and the master key does not
//! derive it, so the ciphertext is then noise to everyone, the holder of the master key included, while its
//! SHA-256 in the event still proves what was recorded. What write-ahead logs, backups and freed pages of the
//! store still hold of the deleted row is the store's matter, not decided here.
//!
//! An answer is stronger than that: who has the store and the master key still needs the idempotency key, which
//! only the client has. This is worth as much as that key is hard to guess.
//!
//! # Why the nonces are zero
//!
//! AES-GCM fails when one key meets one nonce twice. Random nonces of 96 bits under one key are therefore bounded
//! to 2³² messages, which a ledger of rotations may reach. Here every key encrypts once, so that no bound applies
//! and the nonce says nothing:
//!
//! - a data key is 32 fresh random bytes, made for one plaintext;
//! - a wrapping key is derived for one item (HMAC-SHA256 of the item's identity under the master key's wrapping
//!   key) and wraps that item's data key;
//! - the keys of a store are each wrapped under a key derived from their name and the store's random salt.
//!
//! It leaves the callers two duties: fresh random bytes for each call of [`KeyRing::seal`] and
//! [`KeyRing::seal_answer`], and one sealing for each [`Item`]. A part that was sealed is stored or dropped; it is
//! not sealed again under the same event id with other random bytes.
//!
//! # A new master key
//!
//! [`KeyRing::rewrapped`] gives a ring that wraps under the new key and still unwraps under the old one, and the
//! [`StoredKeys`] to keep. [`KeyRing::rewrap`] moves one item over. When no item is left under the old key,
//! [`KeyRing::retire_previous`] forgets it. A rewrap that was cut short goes on from either side: open the store
//! with the key that its [`StoredKeys`] are under, and add the other with [`KeyRing::with_previous`] or
//! [`KeyRing::rewrapped`].
//!
//! # In memory
//!
//! Keys and opened plaintexts are zeroized on drop, and no `Debug` here prints one. What `ring` derives from them
//! for its own use (HMAC states, AES key schedules) it does not zeroize.

mod item;
mod keyring;
mod master;

pub use item::{Item, Part, Sealed};
pub use keyring::{KeyRing, SealError, SnapshotMac, StoredKeys};
pub use master::{MasterKey, MasterKeyError};

/// Whether two digests are equal, in a time that does not tell where they differ.
pub fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    use subtle::ConstantTimeEq as _;
    left.ct_eq(right).into()
}
