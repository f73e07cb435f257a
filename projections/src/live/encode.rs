//! The live view's bytes in a snapshot.

use std::collections::BTreeMap;

use rota_aggregates::credential::{ReplayOnly, Status};
use rota_aggregates::ids::PublicKey;
use rota_aggregates::token_keys::TokenKey;
use rota_aggregates::workspace::{Policy, Workspace};
use rota_aggregates::{
    EventId, Position, Sequence, StreamId, StreamKind, Timestamp, TokenKeyId, WorkspaceId,
};
use uuid::Uuid;

use super::{AllPlaces, Beside, Campaigns, Due, EndedSessions, Live, Managed, Webhooks};
use crate::codec::Reader;
use crate::slab::{HAS_PREPARED, HAS_REPLAY, HAS_RETIRING, Slot};

impl Live {
    /// Writes the records from `first` on, at most `count`, for a snapshot. How many it wrote. The versions beside
    /// the active one go with their record: a digest that came before the snapshot began is in no later event.
    pub fn encode_slots(&self, first: usize, count: usize, out: &mut Vec<u8>) -> usize {
        let end = self.slab.len().min(first + count);
        for index in first..end {
            let index = index as u32;
            let slot = self.slab.get(index);
            slot.encode(out);
            for beside in [self.retiring_of(slot, index), self.prepared_of(slot, index)].into_iter().flatten()
            {
                out.extend_from_slice(&beside.version.to_le_bytes());
                out.extend_from_slice(&beside.until.micros().to_le_bytes());
                out.extend_from_slice(&beside.digest);
                out.extend_from_slice(&beside.grace_seconds.to_le_bytes());
            }
            if let Some(replay_only) = self.replay_only_of(slot, index) {
                out.extend_from_slice(&replay_only.version.to_le_bytes());
                out.extend_from_slice(&replay_only.until.micros().to_le_bytes());
            }
        }
        end.saturating_sub(first)
    }

    /// Writes everything but the records for a snapshot.
    pub fn encode_rest(&self, out: &mut Vec<u8>) {
        let number = |n: usize, out: &mut Vec<u8>| out.extend_from_slice(&(n as u64).to_le_bytes());
        number(self.next as usize, out);
        out.extend_from_slice(&self.last_time.micros().to_le_bytes());
        number(self.workspaces.len(), out);
        for (id, workspace, sequence) in &self.workspaces {
            out.extend_from_slice(id.0.as_bytes());
            out.extend_from_slice(&sequence.0.to_le_bytes());
            let policy = &workspace.policy;
            let opened = workspace.opened_at.unwrap_or_default().micros();
            out.extend_from_slice(&opened.to_le_bytes());
            out.extend_from_slice(&policy.max_secret_age_days.unwrap_or(0).to_le_bytes());
            out.extend_from_slice(&policy.digest_retention_days.to_le_bytes());
            for seconds in
                [policy.default_grace_seconds, policy.max_grace_seconds, policy.min_overlap_seconds]
            {
                out.extend_from_slice(&seconds.to_le_bytes());
            }
            out.push(u8::from(policy.rotate_requires_secret));
            // None is 0, which is too short to be asked for.
            for seconds in [policy.end_grace_when_quiet_seconds, policy.hold_grace_while_used_seconds] {
                out.extend_from_slice(&seconds.unwrap_or(0).to_le_bytes());
            }
        }
        number(self.epochs.len(), out);
        for (index, epoch) in &self.epochs {
            out.extend_from_slice(&index.to_le_bytes());
            out.extend_from_slice(&epoch.to_le_bytes());
        }
        out.extend_from_slice(&self.token_sequence.to_le_bytes());
        number(self.token_keys.keys.len(), out);
        for key in &self.token_keys.keys {
            out.extend_from_slice(key.id.0.as_bytes());
            out.extend_from_slice(&key.public.0);
            out.extend_from_slice(&key.signs_from.micros().to_le_bytes());
            out.push(u8::from(key.verifies_until.is_some()));
            out.extend_from_slice(&key.verifies_until.unwrap_or_default().micros().to_le_bytes());
        }
        number(self.token_private.len(), out);
        for (key, position) in &self.token_private {
            out.extend_from_slice(key.0.as_bytes());
            out.extend_from_slice(&position.0.to_le_bytes());
        }
        out.extend_from_slice(&self.ledger_sequence.to_le_bytes());
        // Writing to memory fails for no value of these types.
        let ledger = serde_json::to_vec(&(&self.ledger, &self.ledger_private)).unwrap_or_default();
        number(ledger.len(), out);
        out.extend_from_slice(&ledger);
        let sealed: BTreeMap<_, _> = self.sealed.iter().collect();
        number(sealed.len(), out);
        for (index, versions) in sealed {
            out.extend_from_slice(&index.to_le_bytes());
            number(versions.len(), out);
            for (version, position) in versions {
                out.extend_from_slice(&version.to_le_bytes());
                out.extend_from_slice(&position.0.to_le_bytes());
            }
        }
        number(self.observations.len(), out);
        for (stream, sequence) in &self.observations {
            out.push(stream.kind as u8);
            out.extend_from_slice(stream.id.as_bytes());
            out.extend_from_slice(&sequence.0.to_le_bytes());
        }
        number(self.recent_minute as usize, out);
        for ids in &self.recent {
            number(ids.len(), out);
            for id in ids {
                out.extend_from_slice(id.0.as_bytes());
            }
        }
        self.webhooks.encode(out);
        self.places.encode(out);
        self.ended_sessions.encode(out);
        self.managed.encode(out);
        self.campaigns.encode(out);
    }

    /// Goes back to where a snapshot began to be written: what came while it was written is taken in again, and
    /// changes nothing where it is in the snapshot already.
    pub fn resume_at(&mut self, position: Position) {
        self.next = position.0;
    }

    /// Reads portions of records, each behind its count, up to an empty one, and then the rest; `None` if the
    /// bytes end early.
    pub fn decode(input: &mut Reader<'_>) -> Option<Self> {
        let mut live = Self::default();
        loop {
            let count = input.u64()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                let slot = Slot::decode(input)?;
                let index = live.slab.len() as u32;
                for (flag, due) in [(HAS_RETIRING, Due::Expiry), (HAS_PREPARED, Due::Deadline)] {
                    if slot.flags & flag == 0 {
                        continue;
                    }
                    let beside = Beside {
                        version: input.u32()?,
                        until: Timestamp::from_micros(input.i64()?),
                        digest: input.array()?,
                        grace_seconds: input.u64()?,
                    };
                    let besides = if due == Due::Expiry { &mut live.retiring } else { &mut live.prepared };
                    besides.insert(index, beside);
                    live.due.insert((beside.until, index, due));
                }
                if slot.flags & HAS_REPLAY != 0 {
                    let (version, until) = (input.u32()?, Timestamp::from_micros(input.i64()?));
                    live.replay_only.insert(index, ReplayOnly { version, until });
                    live.due.insert((until, index, Due::Replay));
                }
                if slot.status == Status::Active {
                    *live.counts.entry((slot.workspace, slot.kind)).or_default() += 1;
                }
                live.slab.push(slot);
            }
        }
        live.next = input.u64()?;
        live.last_time = Timestamp::from_micros(input.i64()?);
        for index in 0..input.u64()? {
            let id = WorkspaceId(Uuid::from_bytes(input.array()?));
            let sequence = Sequence(input.u32()?);
            let opened_at = Some(Timestamp::from_micros(input.i64()?));
            let policy = policy(input)?;
            live.workspaces.push((id, Workspace { opened_at, policy }, sequence));
            live.workspace_index.insert(id, index as u32);
        }
        for _ in 0..input.u64()? {
            live.epochs.insert(input.u32()?, input.u32()?);
        }
        live.token_sequence = input.u32()?;
        for _ in 0..input.u64()? {
            let id = TokenKeyId(Uuid::from_bytes(input.array()?));
            let public = PublicKey(input.array()?);
            let signs_from = Timestamp::from_micros(input.i64()?);
            let ends = input.u8()? == 1;
            let until = Timestamp::from_micros(input.i64()?);
            let verifies_until = ends.then_some(until);
            live.token_keys.keys.push(TokenKey { id, public, signs_from, verifies_until });
        }
        for _ in 0..input.u64()? {
            let key = TokenKeyId(Uuid::from_bytes(input.array()?));
            live.token_private.insert(key, Position(input.u64()?));
        }
        live.ledger_sequence = input.u32()?;
        let length = input.u64()?;
        let ledger = serde_json::from_slice(input.take(length as usize)?);
        (live.ledger, live.ledger_private) = ledger.ok()?;
        for _ in 0..input.u64()? {
            let index = input.u32()?;
            let mut versions = Vec::new();
            for _ in 0..input.u64()? {
                versions.push((input.u32()?, Position(input.u64()?)));
            }
            live.sealed.insert(index, versions);
        }
        for _ in 0..input.u64()? {
            let kind = match input.u8()? {
                3 => StreamKind::Use,
                4 => StreamKind::Refusals,
                5 => StreamKind::Shredding,
                13 => StreamKind::Sessions,
                16 => StreamKind::Reads,
                _ => return None,
            };
            let id = Uuid::from_bytes(input.array()?);
            live.observations.insert(StreamId { kind, id }, Sequence(input.u32()?));
        }
        live.recent_minute = input.u64()?;
        for ids in &mut live.recent {
            for _ in 0..input.u64()? {
                ids.insert(EventId(Uuid::from_bytes(input.array()?)));
            }
        }
        live.webhooks = Webhooks::decode(input)?;
        live.places = AllPlaces::decode(input)?;
        live.ended_sessions = EndedSessions::decode(input)?;
        live.managed = Managed::decode(input)?;
        live.campaigns = Campaigns::decode(input)?;
        let fits = live.slab.iter().all(|slot| (slot.workspace as usize) < live.workspaces.len());
        fits.then_some(live)
    }
}

/// Reads a policy.
fn policy(input: &mut Reader<'_>) -> Option<Policy> {
    let age = input.u32()?;
    Some(Policy {
        max_secret_age_days: (age != 0).then_some(age),
        digest_retention_days: input.u32()?,
        default_grace_seconds: input.u64()?,
        max_grace_seconds: input.u64()?,
        min_overlap_seconds: input.u64()?,
        rotate_requires_secret: input.u8()? == 1,
        end_grace_when_quiet_seconds: Some(input.u64()?).filter(|seconds| *seconds != 0),
        hold_grace_while_used_seconds: Some(input.u64()?).filter(|seconds| *seconds != 0),
    })
}
