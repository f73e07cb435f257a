//! Whether an old secret is used still, and what a policy makes of it: ending its grace period early when nobody has
//! used it for long enough, prolonging it while somebody does.
//!
//! What is known are the uses that are recorded: the first in each minute. So the end of that minute is the last
//! instant at which it may have been used.

use rota_aggregates::authority::Role;
use rota_aggregates::credential::{CredentialRefusal, Status};
use rota_aggregates::{CredentialId, StreamId, Timestamp};
use rota_projections::credential::{CredentialView, VersionStatus, VersionView};
use rota_projections::live::InGrace;

use super::lifecycle::Change;
use super::{App, Caller, Failure};

/// How long a secret must not have been used to count as quiet, unless the policy or the caller says otherwise.
pub const QUIET_SECONDS_DEFAULT: u64 = 3_600;
/// A grace period is prolonged when it has so much time left, or less.
const LEAD_SECONDS: u64 = 120;
/// Who may see it.
const READERS: &[Role] = &[Role::Rotator, Role::Auditor, Role::Verifier, Role::Analyst];

/// What ending a grace period now would do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is no grace period.
    NothingToEnd,
    /// Whoever used it lately would be locked out.
    InUse,
    /// Nobody has used it lately, and nobody the new one ever: whoever comes seldom would be locked out.
    NewSecretUnused,
    /// Nobody has used it lately, and the new one is in use.
    Safe,
}

impl Verdict {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::NothingToEnd => "nothing-to-end",
            Self::InUse => "in-use",
            Self::NewSecretUnused => "new-secret-unused",
            Self::Safe => "safe",
        }
    }
}

/// Where a rotation stands.
#[derive(Debug)]
pub struct RotationStatus {
    /// The credential.
    pub view: CredentialView,
    /// The version to use.
    pub active: Option<VersionView>,
    /// The version in its grace period.
    pub old: Option<VersionView>,
    /// The version that waits to be committed.
    pub prepared: Option<VersionView>,
    /// Since when nobody is known to have used the old secret.
    pub quiet_since: Option<Timestamp>,
    /// For how long it must be so to count as quiet.
    pub quiet_seconds: u64,
    /// What ending its grace period now would do.
    pub verdict: Verdict,
    /// When.
    pub at: Timestamp,
}

impl RotationStatus {
    /// Whether nobody has used the old secret for long enough; `None` without one.
    pub fn quiet(&self) -> Option<bool> {
        self.quiet_since.map(|since| self.at >= since.plus_seconds(self.quiet_seconds))
    }
}

/// The last instant at which a use that was recorded may have been repeated.
fn end_of_minute(used: Timestamp) -> Timestamp {
    Timestamp::from_micros((used.minute() as i64 + 1) * 60_000_000 - 1)
}

/// Since when nobody is known to have used a version in its grace period.
fn quiet_since(old: &VersionView, replaced_at: Timestamp, now: Timestamp) -> Timestamp {
    // A use before it was replaced is one of the active secret: whoever made it may come again at once.
    let used = old.last_used_at.map(|used| end_of_minute(used).min(now));
    used.map_or(replaced_at, |used| used.max(replaced_at))
}

impl App {
    /// Where a credential's rotation stands, and whether its old secret is used still.
    pub async fn rotation_status(
        &self,
        caller: &Caller,
        id: CredentialId,
        quiet_seconds: Option<u64>,
    ) -> Result<RotationStatus, Failure> {
        let workspace = self.workspace_of(id)?;
        caller.allow_self(id, workspace, READERS)?;
        let view = self.view(id, None).await?.ok_or(Failure::NotFound("credential"))?;
        let at = self.now();
        let policy = self.tip.tip.read().live.policy(workspace);
        let of = |status| view.versions.iter().rev().find(|v| v.status_at(at) == status).cloned();
        let active = of(VersionStatus::Active);
        let alive = view.status == Status::Active;
        let old = of(VersionStatus::Retiring).filter(|_| alive);
        let prepared = of(VersionStatus::Prepared).filter(|_| alive);
        let quiet_seconds =
            quiet_seconds.or(policy.end_grace_when_quiet_seconds).unwrap_or(QUIET_SECONDS_DEFAULT);
        let quiet_since = old.as_ref().map(|old| quiet_since(old, view.rotated_at, at));
        let new_is_used = active.as_ref().is_some_and(|active| active.first_used_at.is_some());
        let verdict = match quiet_since {
            None => Verdict::NothingToEnd,
            Some(since) if at < since.plus_seconds(quiet_seconds) => Verdict::InUse,
            Some(_) if !new_is_used => Verdict::NewSecretUnused,
            Some(_) => Verdict::Safe,
        };
        Ok(RotationStatus { view, active, old, prepared, quiet_since, quiet_seconds, verdict, at })
    }

    /// Whether any policy makes something of a quiet secret, or of one that is not.
    pub(super) fn watches_graces(&self) -> bool {
        let tip = self.tip.tip.read();
        tip.live.workspaces().any(|(_, workspace)| {
            let policy = workspace.policy;
            policy.end_grace_when_quiet_seconds.is_some() || policy.hold_grace_while_used_seconds.is_some()
        })
    }

    /// Ends the grace periods of secrets that nobody uses, and prolongs those of secrets that somebody does.
    pub(super) async fn watch_graces(&self) {
        let now = self.now();
        let candidates: Vec<_> = {
            let tip = self.tip.tip.read();
            let wanted = |grace: &InGrace| {
                let policy = tip.live.policy(grace.workspace);
                let may_end = policy
                    .end_grace_when_quiet_seconds
                    .is_some_and(|seconds| now >= grace.replaced_at.plus_seconds(seconds));
                let may_hold = policy.hold_grace_while_used_seconds.is_some()
                    && now >= grace.expires_at.minus_seconds(LEAD_SECONDS);
                now < grace.expires_at && (may_end || may_hold)
            };
            tip.live.in_grace().filter(wanted).collect()
        };
        for grace in candidates {
            if !self.does_upkeep() {
                return;
            }
            if let Err(error) = self.watch_grace(&grace).await {
                let (error, credential) = (&error as &dyn std::error::Error, grace.credential);
                tracing::warn!(error, %credential, "a grace period could not be ended early or prolonged");
            }
        }
    }

    async fn watch_grace(&self, grace: &InGrace) -> Result<(), Failure> {
        let InGrace { credential: id, version, replaced_at, .. } = *grace;
        // Looked at first: a use that comes in after this is found out at the append.
        let uses = StreamId::secret_use(id);
        let known = self.tip.tip.read().live.sequence(&uses);
        let Some(view) = self.view(id, None).await? else { return Ok(()) };
        let old = view.versions.iter().find(|v| v.version == version);
        let Some(old) = old.filter(|_| view.rotated_at == replaced_at) else { return Ok(()) };
        let new_is_used =
            view.versions.iter().any(|v| v.status == VersionStatus::Active && v.first_used_at.is_some());
        let now = self.now();
        let policy = self.tip.tip.read().live.policy(grace.workspace);
        let since = quiet_since(old, replaced_at, now);
        let quiet = policy
            .end_grace_when_quiet_seconds
            .is_some_and(|seconds| now >= since.plus_seconds(seconds) && new_is_used);
        let change = match old.last_used_at.filter(|used| *used >= replaced_at) {
            _ if quiet => Change::EndQuiet { version, replaced_at, quiet_since: since },
            Some(used_at) if now >= grace.expires_at.minus_seconds(LEAD_SECONDS) => {
                Change::Hold { version, replaced_at, used_at }
            }
            _ => return Ok(()),
        };
        let caller = Caller::scheduler(self.new_request_id()?);
        let mut subject = self.subject(&caller, id)?;
        subject.expected.push((uses, known));
        match self.attempt(subject, id, &change, Some(version), None).await {
            // Whatever moved is looked at in the next round.
            Ok(_)
            | Err(Failure::Credential(
                CredentialRefusal::NothingRetiring
                | CredentialRefusal::VersionConflict
                | CredentialRefusal::Revoked,
            )) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}
