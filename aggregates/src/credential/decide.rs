//! The rules: a command to a credential becomes events or a refusal.

use crate::authority::{Proof, ProofKind};
use crate::credential::{
    CancelCause, CancelRotation, CommitCause, CommitRotation, Credential, CredentialCommand,
    CredentialDescribed, CredentialEvent, CredentialIssued, CredentialRefusal, CredentialRevoked,
    DescribeCredential, EndCause, EndQuietGrace, EndReplay, ExpireOldSecret, ExpiryCause, GraceHeld,
    HoldGrace, IssueCredential, Kind, OldSecretExpired, PREPARED_SECONDS_DEFAULT, PREPARED_SECONDS_MAX,
    PrepareRotation, PreparedSecretRotated, REPLAY_SECONDS_MAX, Replaced, ReplayEndCause, ReplayEnded,
    Retiring, RevokeCredential, RevokeSecret, RotateSecret, RotationCancelled, RotationPrepared, SealedParts,
    SecretRef, SecretRevoked, SecretRotated, Status,
};
use crate::observation::{PartRef, SealedPart};
use crate::time::Timestamp;
use crate::workspace::Policy;

type Decision = Result<Vec<CredentialEvent>, CredentialRefusal>;

impl Credential {
    /// The decision: what happens, or why not. No events means that it is so already.
    pub fn decide(&self, command: CredentialCommand) -> Decision {
        match command {
            CredentialCommand::Issue(c) => self.issue(c),
            CredentialCommand::Rotate(c) => self.rotate(c),
            CredentialCommand::Prepare(c) => self.prepare(c),
            CredentialCommand::Commit(c) => self.commit(&c),
            CredentialCommand::Cancel(c) => self.cancel(&c),
            CredentialCommand::ExpireOld(c) => self.expire_old(&c),
            CredentialCommand::RevokeSecret(c) => self.revoke_secret(&c),
            CredentialCommand::Revoke(c) => self.revoke(&c),
            CredentialCommand::Describe(c) => self.describe(c),
            CredentialCommand::EndReplay(c) => Ok(self.end_replay(&c)),
            CredentialCommand::EndQuietGrace(c) => self.end_quiet_grace(&c),
            CredentialCommand::HoldGrace(c) => self.hold_grace(&c),
        }
    }

    fn issue(&self, c: IssueCredential) -> Decision {
        if self.status != Status::Absent {
            return Err(CredentialRefusal::AlreadyIssued);
        }
        if let Some(why) = contradiction(&c) {
            return Err(CredentialRefusal::Contradictory { why });
        }
        // A key on its way out must not leave another one behind, under whatever name.
        if c.proof.retiring && (c.kind == Kind::WorkspaceKey || !c.roles.is_empty()) {
            return Err(CredentialRefusal::RetiringSecret);
        }
        Ok(vec![
            CredentialIssued {
                credential: c.credential,
                workspace: c.workspace,
                kind: c.kind,
                public_id: c.public_id,
                roles: c.roles,
                mode: c.mode,
                parent: c.parent,
                secret: c.secret,
                at: c.now,
            }
            .into(),
        ])
    }

    fn rotate(&self, c: RotateSecret) -> Decision {
        self.check_alive()?;
        self.check_proof(&c.proof, c.policy, c.now)?;
        self.check_minting(&c.proof)?;
        self.check_version(c.means, c.secret.version)?;
        check_sealed(self.kind, &c.secret)?;
        let grace = grace(c.grace_seconds, c.policy, c.compromised)?;
        let mut events = Vec::with_capacity(2);
        if self.prepared_at(c.now).is_some() && !c.compromised {
            return Err(CredentialRefusal::RotationPending);
        }
        events.extend(self.cancelled(CancelCause::Compromised, &c.sealed, c.now));
        events.extend(self.expired(ExpiryCause::RotatedAgain, &c.sealed, c.now));
        let replay_until = self.replay_until(&c);
        let replaced =
            self.active.map(|version| Replaced { replay_until, ..replaced(version, grace, c.now) });
        let mut shredded = self.replay_parts(&c.sealed, &events);
        shredded.extend(ended(replaced.as_ref(), &c.sealed));
        events.push(
            SecretRotated {
                secret: c.secret,
                replaced,
                grace_seconds: grace,
                compromised: c.compromised,
                shredded,
                at: c.now,
            }
            .into(),
        );
        Ok(events)
    }

    fn prepare(&self, c: PrepareRotation) -> Decision {
        self.check_alive()?;
        self.check_proof(&c.proof, c.policy, c.now)?;
        self.check_minting(&c.proof)?;
        self.check_version(c.means, c.secret.version)?;
        check_sealed(self.kind, &c.secret)?;
        if self.active.is_none() {
            return Err(CredentialRefusal::NoActiveSecret);
        }
        let wait = c.deadline_seconds.unwrap_or(PREPARED_SECONDS_DEFAULT);
        if !(1..=PREPARED_SECONDS_MAX).contains(&wait) {
            return Err(CredentialRefusal::DeadlineOutOfRange { max_seconds: PREPARED_SECONDS_MAX });
        }
        let grace_seconds = grace(c.grace_seconds, c.policy, false)?;
        let mut events = Vec::with_capacity(2);
        if self.prepared_at(c.now).is_some() {
            return Err(CredentialRefusal::RotationPending);
        }
        events.extend(self.cancelled(CancelCause::Deadline, &c.sealed, c.now));
        events.extend(self.expired(ExpiryCause::Prepared, &c.sealed, c.now));
        let deadline = c.now.plus_seconds(wait);
        events.push(RotationPrepared { secret: c.secret, deadline, grace_seconds, at: c.now }.into());
        Ok(events)
    }

    fn commit(&self, c: &CommitRotation) -> Decision {
        self.check_alive()?;
        if c.cause == CommitCause::Call {
            self.check_proof(&c.proof, c.policy, c.now)?;
        }
        let prepared = self.prepared_at(c.now).ok_or(CredentialRefusal::NothingPrepared)?;
        if c.means.is_some_and(|version| version != prepared.version) {
            return Err(CredentialRefusal::VersionConflict);
        }
        if c.cause == CommitCause::FirstUse {
            self.check_first_use(c, prepared.version)?;
        }
        // The policy may have been changed since the rotation was prepared. The new secret is in somebody's hands,
        // so that the grace gives way, not the commit.
        let grace_seconds =
            prepared.grace_seconds.max(c.policy.min_overlap_seconds).min(c.policy.max_grace_seconds);
        let replaced = self.active.map(|version| replaced(version, grace_seconds, c.now));
        let mut shredded = self.replay_parts(&c.sealed, &[]);
        shredded.extend(ended(replaced.as_ref(), &c.sealed));
        Ok(vec![
            PreparedSecretRotated {
                version: prepared.version,
                replaced,
                grace_seconds,
                cause: c.cause,
                shredded,
                at: c.now,
            }
            .into(),
        ])
    }

    fn cancel(&self, c: &CancelRotation) -> Decision {
        self.check_alive()?;
        self.check_holder(&c.proof, c.now)?;
        let prepared = self.prepared.ok_or(CredentialRefusal::NothingPrepared)?;
        if c.means.is_some_and(|version| version != prepared.version) {
            return Err(CredentialRefusal::VersionConflict);
        }
        let cause = match c.cause {
            EndCause::Call => CancelCause::Call,
            EndCause::Due if c.now < prepared.deadline => {
                return Err(CredentialRefusal::NotDue { expires_at: prepared.deadline });
            }
            EndCause::Due => CancelCause::Deadline,
        };
        Ok(self.cancelled(cause, &c.sealed, c.now).into_iter().collect())
    }

    fn expire_old(&self, c: &ExpireOldSecret) -> Decision {
        self.check_alive()?;
        self.check_holder(&c.proof, c.now)?;
        let retiring = self.retiring.ok_or(CredentialRefusal::NothingRetiring)?;
        if c.means.is_some_and(|version| version != retiring.version) {
            return Err(CredentialRefusal::VersionConflict);
        }
        let cause = match c.cause {
            EndCause::Call => ExpiryCause::EarlyEnd,
            EndCause::Due if c.now < retiring.expires_at => {
                return Err(CredentialRefusal::NotDue { expires_at: retiring.expires_at });
            }
            EndCause::Due => ExpiryCause::Due,
        };
        Ok(self.expired(cause, &c.sealed, c.now).into_iter().collect())
    }

    /// The retiring version, if it is this one and its time is not over.
    fn in_grace(&self, version: u32, now: Timestamp) -> Result<Retiring, CredentialRefusal> {
        self.check_alive()?;
        let retiring = self.retiring_at(now).ok_or(CredentialRefusal::NothingRetiring)?;
        if retiring.version == version { Ok(retiring) } else { Err(CredentialRefusal::VersionConflict) }
    }

    fn end_quiet_grace(&self, c: &EndQuietGrace) -> Decision {
        self.in_grace(c.version, c.now)?;
        let Some(seconds) = c.policy.end_grace_when_quiet_seconds else { return Ok(vec![]) };
        let quiet = c.quiet_since.max(c.replaced_at).plus_seconds(seconds);
        let overlap = c.replaced_at.plus_seconds(c.policy.min_overlap_seconds);
        if c.now < quiet.max(overlap) {
            return Ok(vec![]);
        }
        Ok(self.expired(ExpiryCause::Quiet, &c.sealed, c.now).into_iter().collect())
    }

    fn hold_grace(&self, c: &HoldGrace) -> Decision {
        let retiring = self.in_grace(c.version, c.now)?;
        let Some(seconds) = c.policy.hold_grace_while_used_seconds else { return Ok(vec![]) };
        let longest = c.replaced_at.plus_seconds(c.policy.max_grace_seconds);
        let expires_at = retiring.expires_at.plus_seconds(seconds).min(longest);
        if c.now >= c.used_at.plus_seconds(seconds) || expires_at <= retiring.expires_at {
            return Ok(vec![]);
        }
        Ok(vec![
            GraceHeld {
                version: c.version,
                held_from: retiring.expires_at,
                expires_at,
                last_used_at: c.used_at,
                at: c.now,
            }
            .into(),
        ])
    }

    fn revoke_secret(&self, c: &RevokeSecret) -> Decision {
        self.check_alive()?;
        self.check_holder(&c.proof, c.now)?;
        if !self.live_versions(c.now).any(|version| version == c.version) {
            return Err(CredentialRefusal::UnknownVersion { version: c.version });
        }
        let mut shredded = secret_parts(&c.sealed, c.version);
        // A revocation ends what an earlier secret may still fetch, whichever version it is of.
        if self.replay_only.is_some_and(|r| r.version != c.version && self.retiring.is_none()) {
            shredded.extend(self.replay_parts(&c.sealed, &[]));
        }
        shredded.extend(answer_parts(&c.sealed, |version| version == c.version));
        Ok(vec![SecretRevoked { version: c.version, shredded, at: c.now }.into()])
    }

    fn revoke(&self, c: &RevokeCredential) -> Decision {
        match self.status {
            Status::Absent => Err(CredentialRefusal::Unknown),
            Status::Revoked => Ok(vec![]),
            Status::Active => {
                self.check_holder(&c.proof, c.now)?;
                let versions: Vec<u32> = self.live_versions(c.now).collect();
                // What time had ended before was not ended by this, and nothing says so afterwards.
                let mut events = Vec::with_capacity(2);
                if self.prepared_at(c.now).is_none() {
                    events.extend(self.cancelled(CancelCause::Deadline, &c.sealed, c.now));
                }
                if self.retiring_at(c.now).is_none() {
                    events.extend(self.expired(ExpiryCause::Due, &c.sealed, c.now));
                }
                let secrets = c.sealed.secrets.iter().map(|(_, position)| secret_part(*position));
                let shredded = secrets
                    .chain(answer_parts(&c.sealed, |_| true))
                    .filter(|part| !events.iter().any(|e: &CredentialEvent| e.shredded().contains(part)))
                    .collect();
                events.push(CredentialRevoked { versions, shredded, at: c.now }.into());
                Ok(events)
            }
        }
    }

    fn describe(&self, c: DescribeCredential) -> Decision {
        self.check_alive()?;
        self.check_holder(&c.proof, c.now)?;
        if c.changed.is_empty() {
            return Ok(vec![]);
        }
        Ok(vec![CredentialDescribed { changed: c.changed, at: c.now }.into()])
    }

    fn check_alive(&self) -> Result<(), CredentialRefusal> {
        match self.status {
            Status::Absent => Err(CredentialRefusal::Unknown),
            Status::Revoked => Err(CredentialRefusal::Revoked),
            Status::Active => Ok(()),
        }
    }

    /// A credential that acts on itself must do so with its newest word: invariant 5.
    fn check_proof(&self, proof: &Proof, policy: Policy, now: Timestamp) -> Result<(), CredentialRefusal> {
        if proof.kind == ProofKind::Session && policy.rotate_requires_secret {
            return Err(CredentialRefusal::SecretRequired);
        }
        let Some(version) = proof.own_version(self.id) else { return Ok(()) };
        if self.active == Some(version) || self.prepared_at(now).is_some_and(|p| p.version == version) {
            Ok(())
        } else if self.retiring_at(now).is_some_and(|r| r.version == version) {
            Err(CredentialRefusal::RetiringSecret)
        } else {
            Err(self.stale(proof))
        }
    }

    /// A session outlives the version that it was given for, with the right to read alone.
    fn stale(&self, proof: &Proof) -> CredentialRefusal {
        let was = proof.version.is_some_and(|version| (1..=self.last_version).contains(&version));
        if proof.kind == ProofKind::Session && was {
            CredentialRefusal::SessionSuperseded
        } else {
            CredentialRefusal::ProofStale
        }
    }

    /// Whoever acts on a credential with its own secret must hold a live version; with a session, the newest.
    fn check_holder(&self, proof: &Proof, now: Timestamp) -> Result<(), CredentialRefusal> {
        let Some(version) = proof.own_version(self.id) else { return Ok(()) };
        if !self.live_versions(now).any(|live| live == version) {
            Err(self.stale(proof))
        } else if proof.kind == ProofKind::Session
            && self.retiring_at(now).is_some_and(|r| r.version == version)
        {
            Err(CredentialRefusal::RetiringSecret)
        } else {
            Ok(())
        }
    }

    /// A first use shows the prepared secret itself, and means it.
    fn check_first_use(&self, c: &CommitRotation, prepared: u32) -> Result<(), CredentialRefusal> {
        let shown =
            matches!(c.proof.kind, ProofKind::Secret | ProofKind::Signature | ProofKind::WorkspaceKey);
        if c.means != Some(prepared) {
            Err(CredentialRefusal::VersionConflict)
        } else if !shown || c.proof.own_version(self.id) != Some(prepared) {
            Err(CredentialRefusal::ProofStale)
        } else {
            Ok(())
        }
    }

    /// A workspace key on its way out must not come by the secret of another one.
    fn check_minting(&self, proof: &Proof) -> Result<(), CredentialRefusal> {
        if self.kind == Kind::WorkspaceKey && proof.retiring {
            return Err(CredentialRefusal::RetiringSecret);
        }
        Ok(())
    }

    fn check_version(&self, means: Option<u32>, next: u32) -> Result<(), CredentialRefusal> {
        if means == self.active && self.last_version.checked_add(1) == Some(next) {
            Ok(())
        } else {
            Err(CredentialRefusal::VersionConflict)
        }
    }

    /// Until when the version that is about to be replaced may fetch the answer: if it is a signing secret, signed the
    /// request itself, the answer can be had by a name that is hard to guess, and nobody else knows the secret.
    fn replay_until(&self, c: &RotateSecret) -> Option<Timestamp> {
        let signed = c.proof.kind == ProofKind::Signature && c.proof.own_version(self.id) == self.active;
        let may = self.kind == Kind::Signing && signed && c.replayable && !c.compromised;
        may.then(|| c.now.plus_seconds(REPLAY_SECONDS_MAX))
    }

    /// The sealed secret that was kept for fetching an answer, unless `events` destroy it already.
    fn replay_parts(&self, sealed: &SealedParts, events: &[CredentialEvent]) -> Vec<PartRef> {
        let Some(kept) = self.replay_only else { return vec![] };
        let mut parts = secret_parts(sealed, kept.version);
        parts.retain(|part| !events.iter().any(|event| event.shredded().contains(part)));
        parts
    }

    fn end_replay(&self, c: &EndReplay) -> Vec<CredentialEvent> {
        let Some(kept) = self.replay_only.filter(|r| c.cause == ReplayEndCause::FirstUse || c.now >= r.until)
        else {
            return vec![];
        };
        // While it retires, its secret is needed still.
        let retiring = self.retiring.is_some_and(|r| r.version == kept.version);
        let shredded = if retiring { vec![] } else { self.replay_parts(&c.sealed, &[]) };
        vec![ReplayEnded { version: kept.version, cause: c.cause, shredded, at: c.now }.into()]
    }

    /// The end of the retiring version. If its time was over already, that is the cause, and the instant.
    fn expired(&self, cause: ExpiryCause, sealed: &SealedParts, now: Timestamp) -> Option<CredentialEvent> {
        let retiring = self.retiring?;
        let due = now >= retiring.expires_at;
        let kept = due && self.replay_only.is_some_and(|r| r.version == retiring.version);
        Some(
            OldSecretExpired {
                version: retiring.version,
                expired_at: now.min(retiring.expires_at),
                cause: if due { ExpiryCause::Due } else { cause },
                shredded: if kept { vec![] } else { secret_parts(sealed, retiring.version) },
            }
            .into(),
        )
    }

    /// The end of the prepared version. If its deadline was over already, that is the cause, and the instant.
    fn cancelled(&self, cause: CancelCause, sealed: &SealedParts, now: Timestamp) -> Option<CredentialEvent> {
        let prepared = self.prepared?;
        let due = now >= prepared.deadline;
        Some(
            RotationCancelled {
                version: prepared.version,
                cause: if due { CancelCause::Deadline } else { cause },
                cancelled_at: now.min(prepared.deadline),
                shredded: secret_parts(sealed, prepared.version),
            }
            .into(),
        )
    }
}

/// What an issue says that does not fit together.
fn contradiction(c: &IssueCredential) -> Option<&'static str> {
    if c.secret.version != 1 {
        Some("the first version is number 1")
    } else if c.mode.is_some() != (c.kind == Kind::WorkspaceKey) {
        Some("a workspace key has a mode, and nothing else has one")
    } else if c.parent.is_some() && (c.kind != Kind::Webhook || c.parent == Some(c.credential)) {
        // Without a parent it is the secret of the webhook with its id.
        Some("only a webhook secret belongs to another credential")
    } else {
        unfit(c.kind, &c.secret)
    }
}

fn unfit(kind: Kind, secret: &SecretRef) -> Option<&'static str> {
    let fits = secret.sealed.is_some() == kind.recoverable();
    (!fits).then_some("a secret is sealed if its kind must be recoverable, and only then")
}

fn check_sealed(kind: Kind, secret: &SecretRef) -> Result<(), CredentialRefusal> {
    unfit(kind, secret).map_or(Ok(()), |why| Err(CredentialRefusal::Contradictory { why }))
}

fn grace(asked: Option<u64>, policy: Policy, compromised: bool) -> Result<u64, CredentialRefusal> {
    let default = if compromised { 0 } else { policy.default_grace_seconds.max(policy.min_overlap_seconds) };
    let grace = asked.unwrap_or(default);
    // What others know must not stay valid for a moment longer.
    let max_seconds = if compromised { 0 } else { policy.max_grace_seconds };
    if grace > max_seconds {
        Err(CredentialRefusal::GraceTooLong { max_seconds })
    } else if grace < policy.min_overlap_seconds && !compromised {
        Err(CredentialRefusal::GraceTooShort { min_seconds: policy.min_overlap_seconds })
    } else {
        Ok(grace)
    }
}

fn replaced(version: u32, grace: u64, now: Timestamp) -> Replaced {
    Replaced { version, expires_at: (grace > 0).then(|| now.plus_seconds(grace)), replay_until: None }
}

/// The sealed secret of a version that was replaced without grace has no use any more.
fn ended(replaced: Option<&Replaced>, sealed: &SealedParts) -> Vec<PartRef> {
    match replaced {
        Some(Replaced { version, expires_at: None, replay_until: None }) => secret_parts(sealed, *version),
        _ => vec![],
    }
}

fn secret_part(position: crate::Position) -> PartRef {
    PartRef { position, part: SealedPart::Secret }
}

fn secret_parts(sealed: &SealedParts, version: u32) -> Vec<PartRef> {
    sealed.secrets.iter().filter(|(v, _)| *v == version).map(|(_, position)| secret_part(*position)).collect()
}

fn answer_parts(sealed: &SealedParts, of: impl Fn(u32) -> bool) -> impl Iterator<Item = PartRef> {
    sealed
        .answers
        .iter()
        .filter(move |(version, _)| of(*version))
        .map(|(_, position)| PartRef { position: *position, part: SealedPart::Answer })
}
