//! Randomness for one command, drawn from the system in one go.

use ring::rand::{SecureRandom, SystemRandom};
use rota_aggregates::Timestamp;
use uuid::{Builder, Uuid};
use zeroize::Zeroizing;

use super::Failure;
use crate::sealing::SealError;

/// Enough for the ids, secrets and data keys of almost any command. Each byte more costs the system's generator.
const BYTES: usize = 128;

/// A supply of random bytes. Each is handed out once.
pub struct Entropy {
    bytes: Zeroizing<[u8; BYTES]>,
    used: usize,
}

impl Entropy {
    /// Draws a supply.
    pub fn draw(random: &SystemRandom) -> Result<Self, Failure> {
        let mut bytes = Zeroizing::new([0u8; BYTES]);
        random.fill(bytes.as_mut_slice()).map_err(|_| Failure::Sealed(SealError::NoRandomness))?;
        Ok(Self { bytes, used: 0 })
    }

    /// The next bytes. When the supply runs out it is drawn anew, never repeated.
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > BYTES {
            // A failure here would have been one at the first draw: the system's source does not run dry.
            if SystemRandom::new().fill(self.bytes.as_mut_slice()).is_err() {
                std::process::abort();
            }
            self.used = 0;
        }
        let mut taken = [0u8; N];
        taken.copy_from_slice(&self.bytes[self.used..self.used + N]);
        self.bytes[self.used..self.used + N].fill(0);
        self.used += N;
        taken
    }

    /// A UUID v7 of the given time.
    pub fn id(&mut self, now: Timestamp) -> Uuid {
        let millis = (now.micros() / 1_000) as u64;
        Builder::from_unix_timestamp_millis(millis, &self.take::<10>()).into_uuid()
    }
}
