//! Compact records of credentials: fixed size, never moved, found by two tables of four-byte slots.

use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::HashTable;
use rota_aggregates::authority::Roles;
use rota_aggregates::credential::{Kind, Status};
use rota_aggregates::secret::Mode;
use rota_aggregates::{CredentialId, Timestamp};
use uuid::Uuid;

use crate::codec::Reader;
use crate::public_id::{PublicId, mix};

/// Records are kept in chunks of this many, so that growing never moves the ones that are there.
const CHUNK: usize = 4_096;
/// Tables are split so that growing one of them is short.
const SHARDS: usize = 64;

/// One credential in memory: 100 bytes.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: Uuid,
    pub(crate) public: [u8; 16],
    /// Digest of the active version; all zero where there is none.
    pub(crate) digest: [u8; 32],
    /// When the active version became active, in microseconds.
    pub(crate) rotated_at: i64,
    pub(crate) workspace: u32,
    /// 0 where there is none.
    pub(crate) active: u32,
    pub(crate) last_version: u32,
    pub(crate) sequence: u32,
    /// Seconds since 1970 of the active version's first and last use; 0 for none. They are observations:
    /// written behind, and not part of what the feed determines.
    pub(crate) first_used: AtomicU32,
    pub(crate) last_used: AtomicU32,
    pub(crate) kind: Kind,
    pub(crate) status: Status,
    pub(crate) roles: u8,
    pub(crate) flags: u8,
}

pub(crate) const TEST_MODE: u8 = 1;
pub(crate) const PROD_MODE: u8 = 2;
pub(crate) const HAS_RETIRING: u8 = 4;
pub(crate) const HAS_PREPARED: u8 = 8;
pub(crate) const HAS_REPLAY: u8 = 16;

impl Slot {
    pub(crate) fn public_id(&self) -> PublicId {
        PublicId { kind: self.kind, mode: self.mode(), bytes: self.public }
    }

    pub(crate) fn mode(&self) -> Option<Mode> {
        match self.flags & (TEST_MODE | PROD_MODE) {
            TEST_MODE => Some(Mode::Test),
            PROD_MODE => Some(Mode::Prod),
            _ => None,
        }
    }

    pub(crate) fn active_version(&self) -> Option<u32> {
        (self.active != 0).then_some(self.active)
    }

    pub(crate) fn role_set(&self) -> Roles {
        Roles::from_bits(self.roles)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(&self.public);
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(&self.rotated_at.to_le_bytes());
        for number in [self.workspace, self.active, self.last_version, self.sequence] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let status = match self.status {
            Status::Absent => 0,
            Status::Active => 1,
            Status::Revoked => 2,
        };
        out.extend_from_slice(&[self.kind as u8, status, self.roles, self.flags]);
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Option<Self> {
        let (id, public, digest) = (Uuid::from_bytes(input.array()?), input.array()?, input.array()?);
        let rotated_at = input.i64()?;
        let [workspace, active, last_version, sequence] =
            [input.u32()?, input.u32()?, input.u32()?, input.u32()?];
        let [kind, status, roles, flags] = input.array()?;
        Some(Self {
            id,
            public,
            digest,
            rotated_at,
            workspace,
            active,
            last_version,
            sequence,
            first_used: AtomicU32::new(0),
            last_used: AtomicU32::new(0),
            kind: *Kind::ALL.get(usize::from(kind))?,
            status: match status {
                1 => Status::Active,
                2 => Status::Revoked,
                _ => return None,
            },
            roles,
            flags,
        })
    }

    /// Notes a use of the active version. Whether the note changed, and so is worth writing down.
    pub(crate) fn note_use(&self, now: Timestamp) -> bool {
        let seconds = now.seconds() as u32;
        let before = self.last_used.load(Ordering::Relaxed);
        if seconds / 60 <= before / 60 {
            return false;
        }
        self.last_used.store(seconds, Ordering::Relaxed);
        if self.first_used.load(Ordering::Relaxed) == 0 {
            self.first_used.store(seconds, Ordering::Relaxed);
        }
        true
    }
}

/// All credentials, by order of issue.
#[derive(Debug)]
pub(crate) struct Slab {
    chunks: Vec<Vec<Slot>>,
    by_id: Vec<HashTable<u32>>,
    by_public: Vec<HashTable<u32>>,
}

impl Default for Slab {
    fn default() -> Self {
        let tables = || (0..SHARDS).map(|_| HashTable::new()).collect();
        Self { chunks: Vec::new(), by_id: tables(), by_public: tables() }
    }
}

fn hash_id(id: Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    mix(high ^ low.rotate_left(32))
}

/// The shard comes from bits that the table inside does not use to tell entries apart.
fn shard(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

impl Slab {
    pub(crate) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(crate) fn get(&self, index: u32) -> &Slot {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    pub(crate) fn find(&self, id: CredentialId) -> Option<u32> {
        let hash = hash_id(id.0);
        self.by_id[shard(hash)].find(hash, |i| self.get(*i).id == id.0).copied()
    }

    pub(crate) fn find_public(&self, id: &PublicId) -> Option<u32> {
        let hash = id.mix();
        let same = |slot: &Slot| slot.public == id.bytes && slot.kind == id.kind && slot.mode() == id.mode;
        self.by_public[shard(hash)].find(hash, |i| same(self.get(*i))).copied()
    }

    pub(crate) fn push(&mut self, slot: Slot) -> u32 {
        let index = self.len() as u32;
        let (by_id, by_public) = (hash_id(slot.id), slot.public_id().mix());
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(last) = self.chunks.last_mut() {
            last.push(slot);
        }
        let chunks = &self.chunks;
        let at = |i: u32| &chunks[i as usize / CHUNK][i as usize % CHUNK];
        self.by_id[shard(by_id)].insert_unique(by_id, index, |i| hash_id(at(*i).id));
        self.by_public[shard(by_public)].insert_unique(by_public, index, |i| at(*i).public_id().mix());
        index
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.chunks.iter().flatten()
    }
}
