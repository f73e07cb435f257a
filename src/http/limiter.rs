//! Limits the failed authentications of one address, and what a format limits for each caller. A right secret is never
//! limited, and neither is what an authenticated caller asks otherwise.

use std::collections::HashMap;
use std::hash::Hash;

use parking_lot::Mutex;
use rota_aggregates::Timestamp;

/// Keys that are remembered at once; beyond it the minute starts afresh for all.
const KEYS_MAX: usize = 100_000;

/// Counts by key and minute.
pub(super) struct Limiter<K> {
    per_minute: u32,
    counts: Mutex<(u64, HashMap<K, u32>)>,
}

impl<K: Eq + Hash> Limiter<K> {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, counts: Mutex::new((0, HashMap::new())) }
    }

    /// Counts one. `Some` with the seconds to wait if it is one too many.
    pub(super) fn count(&self, key: K, now: Timestamp) -> Option<u64> {
        let mut counts = self.counts.lock();
        let minute = now.minute();
        if counts.0 != minute || counts.1.len() >= KEYS_MAX {
            *counts = (minute, HashMap::new());
        }
        let count = counts.1.entry(key).or_default();
        *count = count.saturating_add(1);
        (*count > self.per_minute).then(|| 60 - (now.seconds() as u64 % 60))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn the_limit_is_by_key_and_ends_with_the_minute() {
        let limiter = Limiter::new(2);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let start = Timestamp::from_micros(1_800_000_000_000_000);
        assert_eq!(limiter.count(one, start), None);
        assert_eq!(limiter.count(one, start), None);
        assert_eq!(limiter.count(one, start.plus_seconds(20)), Some(40));
        assert_eq!(limiter.count(other, start), None);
        assert_eq!(limiter.count(one, start.plus_seconds(60)), None);
    }
}
