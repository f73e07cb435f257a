//! A new master key: every wrapped data key is wrapped anew. No event is touched, no digest changes.

use rota_aggregates::Position;
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::record::Record;
use std::sync::Arc;
use std::time::Duration;

use super::{App, Failure};
use crate::log::LogError;
use crate::sealing::{Item, MasterKey, Part, Sealed};

/// Events looked at in one go.
const PAGE: u64 = 1_000;

/// The name under which the store keeps the wrapped long-lived keys.
pub(super) const KEYS: &str = "keys";

impl App {
    /// Another replica would go on to seal under the old master key.
    async fn alone(&self) -> Result<(), Failure> {
        let replicas = self.replicas().await?;
        if replicas <= 1 {
            return Ok(());
        }
        let what = format!("{replicas} replicas use the store: stop all but this one to wrap its keys anew");
        Err(LogError::unavailable(what).into())
    }

    /// Begins: from here on everything is sealed under the new master key, and what is sealed under the old one
    /// still opens.
    pub async fn begin_rewrap(&self, new: MasterKey) -> Result<(), Failure> {
        self.alone().await?;
        let (ring, stored) = self.keys().rewrapped(new)?;
        self.log.set_meta(&[(KEYS, &stored.to_bytes())]).await?;
        let old = std::mem::replace(&mut *self.keys.write(), Arc::new(ring));
        // A command holds the ring that it seals with until it is recorded. Once nobody else holds the old one,
        // nothing more comes that is sealed under it.
        while Arc::strong_count(&old) > 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Wraps every data key anew and forgets the old master key. It can be stopped and begun again at any point.
    /// `progress` is told how many events of how many are done. How many keys were wrapped anew.
    pub async fn finish_rewrap(&self, mut progress: impl FnMut(u64, u64)) -> Result<u64, Failure> {
        self.alone().await?;
        let end = self.log.next().await?.0;
        let mut wrapped = 0;
        for first in (0..end).step_by(PAGE as usize) {
            let last = end.min(first + PAGE);
            let positions: Vec<_> = (first..last).map(Position).collect();
            let mut anew = Vec::new();
            for stored in self.log.read_at(&positions).await? {
                let side = &stored.side;
                let parts = [
                    (Part::Secret, SealedPart::Secret, &side.secret),
                    (Part::Answer, SealedPart::Answer, &side.answer),
                    (Part::Details, SealedPart::Details, &side.details),
                ];
                if parts.iter().all(|(_, _, sealed)| sealed.is_none()) {
                    continue;
                }
                let record = Record::decode(&stored.leaf)
                    .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
                for (part, name, sealed) in parts {
                    let Some(Sealed { wrapped_key, .. }) = sealed else { continue };
                    let item = Item { event: record.id.0, part };
                    if let Some(key) = self.keys().rewrap(&item, wrapped_key)? {
                        anew.push((PartRef { position: stored.position, part: name }, key));
                    }
                }
            }
            wrapped += anew.len() as u64;
            if !anew.is_empty() {
                self.log.rewrap(&anew).await?;
            }
            progress(last, end);
        }
        let ring = self.keys().retire_previous();
        *self.keys.write() = Arc::new(ring);
        Ok(wrapped)
    }
}
