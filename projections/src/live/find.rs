//! What is found in the live view: credentials by their identifiers, the digests and seals that may open them, what
//! falls due, workspaces and use marks.

use std::sync::atomic::Ordering;

use rota_aggregates::authority::Roles;
use rota_aggregates::credential::{Credential, Kind, SealedParts, Status};
use rota_aggregates::secret::Mode;
use rota_aggregates::workspace::{Policy, Workspace};
use rota_aggregates::{CredentialId, Position, Sequence, Timestamp, WorkspaceId};

use super::Live;
use crate::public_id::PublicId;

/// What falls due for a credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Due {
    /// The retiring version's grace period is over.
    Expiry,
    /// The prepared version was not committed in time.
    Deadline,
    /// The time in which a replaced version may fetch an answer is over.
    Replay,
}

/// A credential as authentication and decisions see it.
#[derive(Clone, Copy, Debug)]
pub struct LiveCredential {
    /// Its state, for deciding.
    pub state: Credential,
    /// Its stream's last sequence.
    pub sequence: Sequence,
    /// Its public identifier.
    pub public_id: PublicId,
    /// What it may do in its workspace beyond itself.
    pub roles: Roles,
    /// For workspace keys: test or production.
    pub mode: Option<Mode>,
    /// What a session of it must carry: it changes with every event that ends its sessions.
    pub epoch: u32,
}

/// Which digest a secret matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is the active version.
    Active,
    /// It is in its grace period until then.
    Retiring {
        /// The first instant at which it is refused.
        expires_at: Timestamp,
    },
    /// It waits to be committed: this use commits it.
    Prepared,
    /// It was replaced, and may fetch the answer to that and nothing else.
    ReplayOnly,
}

/// The digests under which a secret may be accepted at an instant. Compare all of them in constant time.
#[derive(Clone, Copy, Debug)]
pub struct Candidates {
    /// The credential.
    pub credential: CredentialId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Its place in the slab, for noting the use.
    pub slot: u32,
    /// Digest, version and standing of each live version; unused places hold `None`.
    pub digests: [Option<([u8; 32], u32, Standing)>; 3],
}

/// Where the sealed secrets are under which a signature may be accepted at an instant, newest first. Compare all of
/// them in constant time.
#[derive(Clone, Copy, Debug)]
pub struct Signers {
    /// The credential.
    pub credential: CredentialId,
    /// Its place in the slab, for noting the use.
    pub slot: u32,
    /// The event that brought it, version and standing of each; unused places hold `None`.
    pub versions: [Option<(Position, u32, Standing)>; 4],
}

/// Times of the first and last use of an active secret, in seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UseMark {
    /// The credential.
    pub credential: CredentialId,
    /// The version.
    pub version: u32,
    /// Its first use.
    pub first: u32,
    /// Its last use, to the minute.
    pub last: u32,
}

/// A version in its grace period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InGrace {
    /// Its credential.
    pub credential: CredentialId,
    /// The credential's workspace.
    pub workspace: WorkspaceId,
    /// The version.
    pub version: u32,
    /// When it was replaced.
    pub replaced_at: Timestamp,
    /// The first instant at which it is refused.
    pub expires_at: Timestamp,
}

impl Live {
    fn live_credential(&self, index: u32) -> LiveCredential {
        let slot = self.slab.get(index);
        LiveCredential {
            state: self.state(index),
            sequence: Sequence(slot.sequence),
            public_id: slot.public_id(),
            roles: slot.role_set(),
            mode: slot.mode(),
            epoch: self.epochs.get(&index).copied().unwrap_or(0),
        }
    }

    /// A credential by its id.
    pub fn credential(&self, id: CredentialId) -> Option<LiveCredential> {
        self.slab.find(id).map(|index| self.live_credential(index))
    }

    /// Up to `count` credentials from the one that was issued as number `first` on, in order of issue, with the instant
    /// at which each got its active secret.
    pub fn credentials_from(
        &self,
        first: usize,
        count: usize,
    ) -> impl Iterator<Item = (LiveCredential, Timestamp)> {
        let end = self.slab.len().min(first.saturating_add(count));
        (first.min(end)..end).map(|index| {
            let rotated_at = self.slab.get(index as u32).rotated_at;
            (self.live_credential(index as u32), Timestamp::from_micros(rotated_at))
        })
    }

    /// When a credential got its active secret.
    pub fn rotated_at(&self, id: CredentialId) -> Option<Timestamp> {
        self.slab.find(id).map(|index| Timestamp::from_micros(self.slab.get(index).rotated_at))
    }

    /// A credential by its public identifier.
    pub fn by_public_id(&self, id: &PublicId) -> Option<LiveCredential> {
        self.slab.find_public(id).map(|index| self.live_credential(index))
    }

    /// Whether a public identifier is taken.
    pub fn is_taken(&self, id: &PublicId) -> bool {
        self.slab.find_public(id).is_some()
    }

    /// The digests under which a secret shown for this identifier may be accepted at `now`.
    pub fn candidates(&self, id: &PublicId, now: Timestamp) -> Option<Candidates> {
        let index = self.slab.find_public(id)?;
        let slot = self.slab.get(index);
        let active = slot.active_version().map(|version| (slot.digest, version, Standing::Active));
        let retiring = self
            .retiring_of(slot, index)
            .filter(|r| now < r.until)
            .map(|r| (r.digest, r.version, Standing::Retiring { expires_at: r.until }));
        let prepared = self
            .prepared_of(slot, index)
            .filter(|p| now < p.until)
            .map(|p| (p.digest, p.version, Standing::Prepared));
        let alive = slot.status == Status::Active;
        Some(Candidates {
            credential: CredentialId(slot.id),
            workspace: self.workspaces[slot.workspace as usize].0,
            slot: index,
            digests: if alive { [active, retiring, prepared] } else { [None; 3] },
        })
    }

    /// The sealed secrets under which a signature by this identifier may be accepted at `now`.
    pub fn signers(&self, id: &PublicId, now: Timestamp) -> Option<Signers> {
        let index = self.slab.find_public(id)?;
        let state = self.state(index);
        let sealed = self.sealed.get(&index);
        let at = |version: u32, standing: Standing| {
            let (_, position) = sealed?.iter().find(|(v, _)| *v == version)?;
            Some((*position, version, standing))
        };
        let retiring = state.retiring_at(now);
        // While it retires it may do what a retiring secret may, and that includes this.
        let replay =
            state.replay_only_at(now).filter(|r| retiring.is_none_or(|old| old.version != r.version));
        let versions = [
            state.prepared_at(now).and_then(|p| at(p.version, Standing::Prepared)),
            state.active.and_then(|version| at(version, Standing::Active)),
            retiring.and_then(|r| at(r.version, Standing::Retiring { expires_at: r.expires_at })),
            replay.and_then(|r| at(r.version, Standing::ReplayOnly)),
        ];
        let alive = state.status == Status::Active;
        Some(Signers {
            credential: state.id,
            slot: index,
            versions: if alive { versions } else { [None; 4] },
        })
    }

    /// Whether the sealed secret that the event at `position` brought is kept.
    pub fn is_sealed(&self, id: CredentialId, position: Position) -> bool {
        let sealed = self.slab.find(id).and_then(|index| self.sealed.get(&index));
        sealed.is_some_and(|sealed| sealed.iter().any(|(_, at)| *at == position))
    }

    /// The credential in a place that [`Live::candidates`] gave.
    pub fn at(&self, slot: u32) -> LiveCredential {
        self.live_credential(slot)
    }

    /// What is sealed for a credential's live versions.
    pub fn sealed_secrets(&self, id: CredentialId) -> SealedParts {
        let secrets = self.slab.find(id).and_then(|index| self.sealed.get(&index)).cloned();
        SealedParts { secrets: secrets.unwrap_or_default(), answers: Vec::new() }
    }

    /// A workspace's state and its stream's last sequence.
    pub fn workspace(&self, id: WorkspaceId) -> Option<(Workspace, Sequence)> {
        let index = self.workspace_index.get(&id)?;
        let (_, workspace, sequence) = self.workspaces[*index as usize];
        Some((workspace, sequence))
    }

    /// A workspace's policy; the default one for an unknown workspace.
    pub fn policy(&self, id: WorkspaceId) -> Policy {
        self.workspace(id).map(|(workspace, _)| workspace.policy).unwrap_or_default()
    }

    /// Every workspace, by order of opening.
    pub fn workspaces(&self) -> impl Iterator<Item = (WorkspaceId, Workspace)> {
        self.workspaces.iter().map(|(id, workspace, _)| (*id, *workspace))
    }

    /// How many credentials of a kind live in a workspace.
    pub fn count(&self, workspace: WorkspaceId, kind: Kind) -> u64 {
        self.workspace_index
            .get(&workspace)
            .and_then(|index| self.counts.get(&(*index, kind)))
            .copied()
            .unwrap_or(0)
    }

    /// Every version in its grace period, in no order.
    pub fn in_grace(&self) -> impl Iterator<Item = InGrace> {
        self.retiring.iter().map(|(index, beside)| {
            let slot = self.slab.get(*index);
            InGrace {
                credential: CredentialId(slot.id),
                workspace: self.workspaces[slot.workspace as usize].0,
                version: beside.version,
                replaced_at: Timestamp::from_micros(slot.rotated_at),
                expires_at: beside.until,
            }
        })
    }

    /// What is due at `now`, oldest first, at most `limit`.
    pub fn due(&self, now: Timestamp, limit: usize) -> Vec<(CredentialId, Due)> {
        let due = self.due.iter().take_while(|(at, ..)| *at <= now);
        due.take(limit).map(|(_, index, due)| (CredentialId(self.slab.get(*index).id), *due)).collect()
    }

    /// When the next thing falls due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// Notes that the secret in `slot` was used, if `version` is the active one still. Whether that is worth writing
    /// down.
    pub fn note_use(&self, slot: u32, version: u32, now: Timestamp) -> bool {
        let slot = self.slab.get(slot);
        slot.active == version && slot.note_use(now)
    }

    /// The uses of a credential's active secret.
    pub fn use_mark(&self, id: CredentialId) -> Option<UseMark> {
        self.slab.find(id).and_then(|index| self.use_mark_at(index))
    }

    /// The uses of the active secret in `slot`, if there were any.
    pub fn use_mark_at(&self, slot: u32) -> Option<UseMark> {
        let slot = self.slab.get(slot);
        let first = slot.first_used.load(Ordering::Relaxed);
        (first != 0).then(|| UseMark {
            credential: CredentialId(slot.id),
            version: slot.active,
            first,
            last: slot.last_used.load(Ordering::Relaxed),
        })
    }

    /// Restores a mark that was written down, if it is about the active version still.
    pub fn restore_use(&self, mark: &UseMark) {
        let Some(index) = self.slab.find(mark.credential) else { return };
        let slot = self.slab.get(index);
        if slot.active == mark.version {
            slot.first_used.store(mark.first, Ordering::Relaxed);
            slot.last_used.store(mark.last, Ordering::Relaxed);
        }
    }
}
