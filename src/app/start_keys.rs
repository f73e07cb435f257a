//! The keys at the start: the master key, what it wraps, and the operator's.

use ring::rand::SystemRandom;
use rota_aggregates::secret::{RANDOM_BYTES, Secret, SecretShape, generate};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::entropy::Entropy;
use super::options::{OPERATOR_KEY_CHARS_MIN, OpenError, OperatorKey, Options, StoreUrl, previous_key_path};
use super::rewrap::KEYS;
use crate::log::EventLog;
use crate::sealing::{KeyRing, MasterKey, SealError, StoredKeys};

/// The name under which the store keeps the operator key's digest.
const OPERATOR: &str = "operator-key";

pub(super) fn random_bytes<const N: usize>(random: &SystemRandom) -> Result<Zeroizing<[u8; N]>, OpenError> {
    Ok(Zeroizing::new(Entropy::draw(random)?.take::<N>()))
}

/// The master key: as given, else from its file. On an empty embedded store the file is made.
fn master_key(options: &mut Options, empty: bool, random: &SystemRandom) -> Result<MasterKey, OpenError> {
    if let Some(key) = options.master_key.take() {
        return Ok(key);
    }
    let path = options.master_key_path();
    if path.exists() {
        return Ok(MasterKey::from_file(&path)?);
    }
    if !empty {
        return Err(OpenError::MasterKeyMissing { path });
    }
    if options.store.is_shared() {
        return Err(OpenError::MasterKeyNeeded);
    }
    let bytes = random_bytes::<32>(random)?;
    if options.store == StoreUrl::Memory {
        use base64::Engine;
        let text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(*bytes));
        return Ok(MasterKey::from_base64(&text)?);
    }
    Ok(MasterKey::create_file(&path, &bytes)?)
}

pub(super) async fn key_ring(
    options: &mut Options,
    log: &dyn EventLog,
    random: &SystemRandom,
) -> Result<KeyRing, OpenError> {
    let stored = log.meta(KEYS).await?;
    let master = master_key(options, stored.is_none(), random)?;
    let stored = if let Some(stored) = stored {
        stored
    } else {
        let (ring, made) = KeyRing::create(master.clone(), random)?;
        let made = made.to_bytes();
        let there = log.make_meta(KEYS, &made).await?;
        if there == made {
            return Ok(ring);
        }
        // Another replica made its own at the same time, and was first.
        there
    };
    let stored = StoredKeys::from_bytes(&stored)?;
    let previous_path = previous_key_path(&options.master_key_path());
    let previous = match options.previous_master_key.take() {
        Some(key) => Some(key),
        None if previous_path.exists() => Some(MasterKey::from_file(&previous_path)?),
        None => None,
    };
    match (KeyRing::open(master, &stored), previous) {
        (Ok(ring), None) => Ok(ring),
        (Ok(ring), Some(previous)) => {
            tracing::warn!("a rewrapping was not finished: run `rota rewrap --resume`");
            match ring.with_previous(previous) {
                // Stopped before the new key's file was written: both files hold the same key.
                Err(SealError::SameMasterKey) => Ok(ring),
                with_previous => Ok(with_previous?),
            }
        }
        // Stopped after the new key's file was written and before the store knew of it: the old one still rules.
        (Err(SealError::WrongMasterKey), Some(previous)) => {
            tracing::warn!("a rewrapping was not begun: the previous master key is in use");
            Ok(KeyRing::open(previous, &stored)?)
        }
        (Err(error), _) => Err(error.into()),
    }
}

pub(super) async fn operator_key(
    given: &OperatorKey,
    keys: &KeyRing,
    log: &dyn EventLog,
    random: &SystemRandom,
) -> Result<([u8; 32], Option<Secret>), OpenError> {
    let kept: Option<[u8; 32]> = log.meta(OPERATOR).await?.and_then(|bytes| bytes.try_into().ok());
    match (given, kept) {
        (OperatorKey::Given(key), kept) => {
            if key.expose().chars().count() < OPERATOR_KEY_CHARS_MIN {
                return Err(OpenError::OperatorKeyTooShort);
            }
            let digest = keys.digest(Uuid::nil(), key.expose());
            if kept != Some(digest) {
                if kept.is_some() {
                    tracing::warn!("the operator key was replaced by the one that was given at this start");
                }
                log.set_meta(&[(OPERATOR, &digest)]).await?;
            }
            Ok((digest, None))
        }
        (OperatorKey::Kept, Some(digest)) => Ok((digest, None)),
        (OperatorKey::Kept, None) => {
            let bytes = random_bytes::<RANDOM_BYTES>(random)?;
            let key = generate(SecretShape::Operator, &bytes).secret;
            let digest = keys.digest(Uuid::nil(), key.expose());
            let there = log.make_meta(OPERATOR, &digest).await?;
            let there: [u8; 32] = there.try_into().unwrap_or(digest);
            Ok((there, (there == digest).then_some(key)))
        }
    }
}
