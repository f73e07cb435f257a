//! The key ring: the keys of one store, open for use.

use std::fmt;
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hkdf, hmac};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Item, MasterKey, Sealed};

/// The layout of a wrapped data key and of [`StoredKeys`]: the first byte of each.
const FORMAT: u8 = 1;
const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
/// A key and its tag.
const WRAPPED_LEN: usize = KEY_LEN + TAG_LEN;
const SALT_LEN: usize = 16;
/// Format and master key id.
const HEADER_LEN: usize = 5;

/// Why something stays sealed. No message quotes a key or a plaintext.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The keys of the store do not unwrap.
    #[error(
        "the master key does not open this store: give the one that the store was made with, or that it was last \
         rewrapped under, in ROTA_MASTER_KEY or --master-key-file; if it is that one, the store's keys are \
         damaged and have to come from a backup"
    )]
    WrongMasterKey,
    /// An item's data key is wrapped by a master key that the ring does not hold.
    #[error(
        "the item is sealed under the master key {:08x}, which is not at hand: if a rewrap was cut short, run \
         `rota rewrap` again with both keys",
        u32::from_be_bytes(*id)
    )]
    OtherMasterKey {
        /// The id of the key that is missing.
        id: [u8; 4],
    },
    /// Altered, or sealed as another item, or with another idempotency key: these cannot be told apart.
    #[error("the item does not open: it was altered, or belongs to another event, part or idempotency key")]
    DoesNotOpen,
    /// Too short or too long to be what it should be, or of a later version of rota.
    #[error("the stored key is not of a form that this version of rota knows")]
    UnknownFormat,
    /// The new master key is the present one, or has the same id, by which the two could not be told apart.
    #[error("the new master key is the present one, or has the same id: make another")]
    SameMasterKey,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

/// What the store keeps of its three keys: each wrapped by the master key. Safe to store and to back up.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKeys {
    master: [u8; 4],
    salt: [u8; SALT_LEN],
    pepper: [u8; WRAPPED_LEN],
    claim: [u8; WRAPPED_LEN],
    snapshot: [u8; WRAPPED_LEN],
}

impl StoredKeys {
    /// 165 bytes: format (1), master key id (4), salt (16), then pepper, claim key and snapshot key (48 each).
    pub fn to_bytes(&self) -> Vec<u8> {
        [&[FORMAT][..], &self.master, &self.salt, &self.pepper, &self.claim, &self.snapshot].concat()
    }

    /// Reads what [`StoredKeys::to_bytes`] wrote, or fails with [`SealError::UnknownFormat`]. Whether the keys
    /// are intact shows in [`KeyRing::open`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        fn parse(bytes: &[u8]) -> Option<StoredKeys> {
            let (&[FORMAT], bytes) = bytes.split_first_chunk()? else { return None };
            let (master, bytes) = bytes.split_first_chunk()?;
            let (salt, bytes) = bytes.split_first_chunk()?;
            let (pepper, bytes) = bytes.split_first_chunk()?;
            let (claim, bytes) = bytes.split_first_chunk()?;
            let snapshot = bytes.try_into().ok()?;
            Some(StoredKeys { master: *master, salt: *salt, pepper: *pepper, claim: *claim, snapshot })
        }
        parse(bytes).ok_or(SealError::UnknownFormat)
    }

    /// The id of the master key that these are wrapped by, to compare with [`MasterKey::id`].
    pub fn master_key_id(&self) -> [u8; 4] {
        self.master
    }
}

impl fmt::Debug for StoredKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKeys").field("master", &Id(self.master)).finish_non_exhaustive()
    }
}

/// The keys of one store, open for use: the master key, while rewrapping also the previous one, and the pepper,
/// the claim key and the snapshot key. Share it behind an `Arc`; nothing in it changes.
pub struct KeyRing {
    current: Master,
    previous: Option<Master>,
    kept: Arc<Kept>,
}

/// What the ring needs of a master key; the key itself is not held.
#[derive(Clone)]
struct Master {
    id: [u8; 4],
    wrapping: hmac::Key,
}

/// The long-lived keys, which outlive every master key.
struct Kept {
    /// In every derivation of their wrapping keys, so that two stores under one master key share none.
    salt: [u8; SALT_LEN],
    pepper: LongLived,
    claim: LongLived,
    snapshot: LongLived,
}

struct LongLived {
    /// For the next rewrap.
    bytes: Zeroizing<[u8; KEY_LEN]>,
    hmac: hmac::Key,
}

impl KeyRing {
    /// Makes the keys of a new store. [`SealError::NoRandomness`] is the only error.
    pub fn create(master: MasterKey, random: &SystemRandom) -> Result<(Self, StoredKeys), SealError> {
        let fresh = || {
            let mut bytes = Zeroizing::new([0; KEY_LEN]);
            random.fill(&mut *bytes).map_err(|_| SealError::NoRandomness)?;
            Ok(LongLived::new(bytes))
        };
        let mut salt = [0; SALT_LEN];
        random.fill(&mut salt).map_err(|_| SealError::NoRandomness)?;
        let kept = Kept { salt, pepper: fresh()?, claim: fresh()?, snapshot: fresh()? };
        let current = Master::of(master);
        let stored = kept.wrapped(&current);
        Ok((Self { current, previous: None, kept: Arc::new(kept) }, stored))
    }

    /// Opens the keys of a store, or fails with [`SealError::WrongMasterKey`].
    pub fn open(master: MasterKey, stored: &StoredKeys) -> Result<Self, SealError> {
        let current = Master::of(master);
        let kept = Kept::unwrap(&current, stored).ok_or(SealError::WrongMasterKey)?;
        Ok(Self { current, previous: None, kept: Arc::new(kept) })
    }

    /// A ring that wraps under `new` and still unwraps under the present master key, and the keys to store from
    /// then on. An older master key that this ring still held is forgotten. Fails with
    /// [`SealError::SameMasterKey`].
    pub fn rewrapped(&self, new: MasterKey) -> Result<(Self, StoredKeys), SealError> {
        let new = Master::of(new);
        if new.id == self.current.id {
            return Err(SealError::SameMasterKey);
        }
        let stored = self.kept.wrapped(&new);
        Ok((
            Self { current: new, previous: Some(self.current.clone()), kept: Arc::clone(&self.kept) },
            stored,
        ))
    }

    /// A ring that also unwraps items under `previous`: to go on with a rewrap that was cut short after the
    /// stored keys had been replaced. Fails with [`SealError::SameMasterKey`].
    pub fn with_previous(&self, previous: MasterKey) -> Result<Self, SealError> {
        let previous = Master::of(previous);
        if previous.id == self.current.id {
            return Err(SealError::SameMasterKey);
        }
        Ok(Self { current: self.current.clone(), previous: Some(previous), kept: Arc::clone(&self.kept) })
    }

    /// A ring without the previous master key. Items that were not rewrapped no longer open.
    #[must_use]
    pub fn retire_previous(&self) -> Self {
        Self { current: self.current.clone(), previous: None, kept: Arc::clone(&self.kept) }
    }

    /// The digest by which a secret of `credential` is recognised. Compare two with [`super::same`].
    pub fn digest(&self, credential: Uuid, secret: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.kept.pepper.hmac);
        context.update(credential.as_bytes());
        context.update(secret.as_bytes());
        bytes_of(&context.sign())
    }

    /// What is stored of an idempotency key; the same key in another workspace gives another claim.
    pub fn claim(&self, workspace: Uuid, idempotency_key: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.kept.claim.hmac);
        context.update(workspace.as_bytes());
        context.update(idempotency_key.as_bytes());
        bytes_of(&context.sign())
    }

    /// What is stored of a request that `credential` signed. A key of a claim has no line feed, so the two are never the same.
    pub fn signed(&self, credential: Uuid, payload: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.kept.claim.hmac);
        context.update(credential.as_bytes());
        context.update(b"signed\n");
        context.update(payload);
        bytes_of(&context.sign())
    }

    /// The MAC of a snapshot that is at hand in parts: that of their concatenation. Where one part ends and the
    /// next begins is not covered, so the snapshot's own form has to say it.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.snapshot_mac();
        for part in parts {
            mac.update(part);
        }
        mac.finish()
    }

    /// The MAC of a snapshot that comes piece by piece.
    pub fn snapshot_mac(&self) -> SnapshotMac {
        SnapshotMac(hmac::Context::with_key(&self.kept.snapshot.hmac))
    }

    /// Seals `plaintext` as `item`. `random` must be fresh for every call and of a cryptographic source: it
    /// becomes the data key.
    pub fn seal(&self, item: &Item, plaintext: &[u8], random: &[u8; 32]) -> Sealed {
        self.seal_under(item, &aes(random), plaintext, random)
    }

    /// Opens what [`KeyRing::seal`] made of the same `item`.
    pub fn open_sealed(&self, item: &Item, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let data_key = self.unwrap(item, &sealed.wrapped_key)?;
        decrypt(&aes(&data_key), &item.identity(), &sealed.ciphertext).ok_or(SealError::DoesNotOpen)
    }

    /// Seals an answer so that it opens only with the `idempotency_key` of its request. `random` must be fresh
    /// for every call and of a cryptographic source.
    pub fn seal_answer(
        &self,
        item: &Item,
        idempotency_key: &str,
        plaintext: &[u8],
        random: &[u8; 32],
    ) -> Sealed {
        self.seal_under(item, &answer_key(item, idempotency_key, random), plaintext, random)
    }

    /// Opens what [`KeyRing::seal_answer`] made of the same `item` with the same `idempotency_key`.
    pub fn open_answer(
        &self,
        item: &Item,
        idempotency_key: &str,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let random = self.unwrap(item, &sealed.wrapped_key)?;
        let data_key = answer_key(item, idempotency_key, &random);
        decrypt(&data_key, &item.identity(), &sealed.ciphertext).ok_or(SealError::DoesNotOpen)
    }

    /// Wraps an item's data key under the current master key. `None` if it says that it is already; only its
    /// length and format are checked then.
    pub fn rewrap(&self, item: &Item, wrapped: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
        if split_wrapped(wrapped)?.0 == self.current.id {
            return Ok(None);
        }
        let key = self.unwrap(item, wrapped)?;
        Ok(Some(self.wrap(item, &key)))
    }

    fn seal_under(&self, item: &Item, data_key: &LessSafeKey, plaintext: &[u8], random: &[u8; 32]) -> Sealed {
        Sealed {
            wrapped_key: self.wrap(item, random),
            ciphertext: encrypt(data_key, &item.identity(), plaintext),
        }
    }

    fn wrap(&self, item: &Item, key: &[u8; KEY_LEN]) -> Vec<u8> {
        let mut wrapped = Vec::with_capacity(HEADER_LEN + WRAPPED_LEN);
        wrapped.push(FORMAT);
        wrapped.extend(self.current.id);
        wrapped.extend(self.current.wrap(&item.identity(), key));
        wrapped
    }

    fn unwrap(&self, item: &Item, wrapped: &[u8]) -> Result<Zeroizing<[u8; KEY_LEN]>, SealError> {
        let (id, wrapped) = split_wrapped(wrapped)?;
        let master = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|master| master.id == id)
            .ok_or(SealError::OtherMasterKey { id })?;
        master.unwrap(&item.identity(), wrapped).ok_or(SealError::DoesNotOpen)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("master", &Id(self.current.id))
            .field("previous", &self.previous.as_ref().map(|previous| Id(previous.id)))
            .finish_non_exhaustive()
    }
}

/// The MAC of a snapshot in the making, HMAC-SHA256 under the snapshot key.
#[derive(Clone)]
pub struct SnapshotMac(hmac::Context);

impl SnapshotMac {
    /// Takes the next bytes; how they are cut into calls makes no difference.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The MAC of all bytes.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        bytes_of(&self.0.sign())
    }

    /// Whether `mac` is that of all bytes, compared in constant time.
    #[must_use]
    pub fn verify(self, mac: &[u8; 32]) -> bool {
        super::same(&self.finish(), mac)
    }
}

impl fmt::Debug for SnapshotMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotMac").finish_non_exhaustive()
    }
}

impl Master {
    fn of(master: MasterKey) -> Self {
        Self { id: master.id(), wrapping: master.into_wrapping() }
    }

    /// The key that wraps whatever has this identity, and nothing else: hence the zero nonce.
    fn wrapping_key(&self, identity: &[u8]) -> LessSafeKey {
        let bytes = Zeroizing::new(bytes_of(&hmac::sign(&self.wrapping, identity)));
        aes(&bytes)
    }

    fn wrap(&self, identity: &[u8], key: &[u8; KEY_LEN]) -> [u8; WRAPPED_LEN] {
        let mut wrapped = [0; WRAPPED_LEN];
        let (body, tag) = wrapped.split_at_mut(KEY_LEN);
        body.copy_from_slice(key);
        let made = self
            .wrapping_key(identity)
            .seal_in_place_separate_tag(zero_nonce(), Aad::from(identity), body)
            .expect("32 bytes are not too long for AES-GCM");
        tag.copy_from_slice(made.as_ref());
        wrapped
    }

    fn unwrap(&self, identity: &[u8], wrapped: &[u8; WRAPPED_LEN]) -> Option<Zeroizing<[u8; KEY_LEN]>> {
        let opened = decrypt(&self.wrapping_key(identity), identity, wrapped)?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        key.copy_from_slice(&opened);
        Some(key)
    }
}

impl LongLived {
    fn new(bytes: Zeroizing<[u8; KEY_LEN]>) -> Self {
        let hmac = hmac::Key::new(hmac::HMAC_SHA256, &*bytes);
        Self { bytes, hmac }
    }
}

impl Kept {
    fn wrapped(&self, master: &Master) -> StoredKeys {
        let wrap = |name, key: &LongLived| master.wrap(&stored_identity(name, &self.salt), &key.bytes);
        StoredKeys {
            master: master.id,
            salt: self.salt,
            pepper: wrap("pepper", &self.pepper),
            claim: wrap("claim key", &self.claim),
            snapshot: wrap("snapshot key", &self.snapshot),
        }
    }

    fn unwrap(master: &Master, stored: &StoredKeys) -> Option<Self> {
        if master.id != stored.master {
            return None;
        }
        let unwrap =
            |name, wrapped| master.unwrap(&stored_identity(name, &stored.salt), wrapped).map(LongLived::new);
        Some(Self {
            salt: stored.salt,
            pepper: unwrap("pepper", &stored.pepper)?,
            claim: unwrap("claim key", &stored.claim)?,
            snapshot: unwrap("snapshot key", &stored.snapshot)?,
        })
    }
}

/// The identity of a long-lived key. Longer than an item's 17 bytes, so that none is ever taken for the other.
fn stored_identity(name: &str, salt: &[u8; SALT_LEN]) -> Vec<u8> {
    [b"rota ", name.as_bytes(), salt].concat()
}

/// The data key of an answer: takes both the stored random bytes and the idempotency key to make.
fn answer_key(item: &Item, idempotency_key: &str, random: &[u8; 32]) -> LessSafeKey {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, random).extract(idempotency_key.as_bytes());
    let identity = item.identity();
    let info = [&identity[..]];
    let okm = prk.expand(&info, &AES_256_GCM).expect("32 bytes are not too long for HKDF-SHA256");
    LessSafeKey::new(UnboundKey::from(okm))
}

/// The master key id and the rest of a wrapped data key.
fn split_wrapped(wrapped: &[u8]) -> Result<([u8; 4], &[u8; WRAPPED_LEN]), SealError> {
    match wrapped.split_last_chunk() {
        Some(([FORMAT, a, b, c, d], body)) => Ok(([*a, *b, *c, *d], body)),
        _ => Err(SealError::UnknownFormat),
    }
}

fn aes(key: &[u8; KEY_LEN]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes"))
}

/// For keys that encrypt once, as all here do.
fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn encrypt(key: &LessSafeKey, identity: &[u8], plaintext: &[u8]) -> Vec<u8> {
    // Of the final size at once: growing would leave a copy of the plaintext behind.
    let mut bytes = Vec::with_capacity(plaintext.len() + TAG_LEN);
    bytes.extend_from_slice(plaintext);
    key.seal_in_place_append_tag(zero_nonce(), Aad::from(identity), &mut bytes)
        .expect("an entry is far below the 64 GiB of AES-GCM");
    bytes
}

fn decrypt(key: &LessSafeKey, identity: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(ciphertext.to_vec());
    let plaintext = key.open_in_place(zero_nonce(), Aad::from(identity), &mut bytes).ok()?;
    let len = plaintext.len();
    bytes.truncate(len);
    Some(bytes)
}

fn bytes_of(tag: &hmac::Tag) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// A master key id as it is printed.
struct Id([u8; 4]);

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests;
