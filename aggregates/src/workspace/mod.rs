//! The workspace: the tenant, and the policy that its credentials follow.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Grace periods may be at most this long by default: 7 days.
pub const MAX_GRACE_SECONDS_DEFAULT: u64 = 7 * 86_400;
/// No policy may allow a longer grace than this: 1 year.
pub const MAX_GRACE_SECONDS_LIMIT: u64 = 366 * 86_400;
/// No policy may name more days than this.
pub const DAYS_LIMIT: u32 = 36_500;
/// How long a secret must not have been used to count as quiet. Uses are recorded once a minute, and so less than that
/// says nothing.
pub const QUIET_SECONDS: std::ops::RangeInclusive<u64> = 60..=MAX_GRACE_SECONDS_LIMIT;
/// Digests of ended versions are kept so long by default, for leak forensics.
pub const DIGEST_RETENTION_DAYS_DEFAULT: u32 = 365;

/// What a workspace demands of its credentials.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// How old an active secret may become before it counts as overdue; `None` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_secret_age_days: Option<u32>,
    /// The grace period of a rotation that names none.
    pub default_grace_seconds: u64,
    /// The longest grace period that a rotation may ask for.
    pub max_grace_seconds: u64,
    /// The shortest overlap that a rotation must leave, unless the old secret is compromised.
    pub min_overlap_seconds: u64,
    /// Whether a session alone may not rotate: the caller must show the secret itself.
    pub rotate_requires_secret: bool,
    /// How long the digest of an ended secret is kept.
    pub digest_retention_days: u32,
    /// After how many seconds without a use of the old secret its grace period ends early; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_grace_when_quiet_seconds: Option<u64>,
    /// While the old secret was used within so many seconds, its grace period is prolonged by as many, up to the longest
    /// that there may be; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_grace_while_used_seconds: Option<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_secret_age_days: None,
            default_grace_seconds: 0,
            max_grace_seconds: MAX_GRACE_SECONDS_DEFAULT,
            min_overlap_seconds: 0,
            rotate_requires_secret: false,
            digest_retention_days: DIGEST_RETENTION_DAYS_DEFAULT,
            end_grace_when_quiet_seconds: None,
            hold_grace_while_used_seconds: None,
        }
    }
}

impl Policy {
    /// The field that contradicts another or its limit, and why.
    fn fault(&self) -> Option<(&'static str, &'static str)> {
        if self.max_grace_seconds > MAX_GRACE_SECONDS_LIMIT {
            Some(("maxGraceSeconds", "must be at most 366 days"))
        } else if self.default_grace_seconds > self.max_grace_seconds {
            Some(("defaultGraceSeconds", "must not exceed maxGraceSeconds"))
        } else if self.min_overlap_seconds > self.max_grace_seconds {
            Some(("minOverlapSeconds", "must not exceed maxGraceSeconds"))
        } else if self.max_secret_age_days.is_some_and(|d| d == 0 || d > DAYS_LIMIT) {
            Some(("maxSecretAgeDays", "must be between 1 and 36500"))
        } else if self.digest_retention_days > DAYS_LIMIT {
            Some(("digestRetentionDays", "must be at most 36500"))
        } else if self.end_grace_when_quiet_seconds.is_some_and(|s| !QUIET_SECONDS.contains(&s)) {
            Some(("endGraceWhenQuietSeconds", "must be between 1 minute and 366 days"))
        } else if self.hold_grace_while_used_seconds.is_some_and(|s| !QUIET_SECONDS.contains(&s)) {
            Some(("holdGraceWhileUsedSeconds", "must be between 1 minute and 366 days"))
        } else {
            None
        }
    }
}

/// What may be asked of a workspace.
#[derive(Clone, Debug)]
pub enum WorkspaceCommand {
    /// Open it. Its name travels in the event's sealed details.
    OpenWorkspace {
        /// The time of the decision.
        now: Timestamp,
    },
    /// Replace its policy.
    SetPolicy {
        /// The whole new policy.
        policy: Policy,
        /// The time of the decision.
        now: Timestamp,
    },
}

crate::event::events! {
    /// What has happened to a workspace.
    WorkspaceEvent {
        /// It was opened. Serves invariant 11: from here on its id means something.
        WorkspaceOpened = "rota.workspace.opened.v1",
        /// Its policy was replaced.
        PolicySet = "rota.workspace.policy-set.v1",
    }
}

/// The workspace was opened, with the default policy of that day written out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceOpened {
    /// When it was decided.
    pub at: Timestamp,
    /// The policy that it starts with.
    pub policy: Policy,
}

/// The policy was replaced as a whole.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicySet {
    /// When it was decided.
    pub at: Timestamp,
    /// The policy from now on.
    pub policy: Policy,
}

/// Why a workspace refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WorkspaceRefusal {
    /// It is open already.
    #[error("the workspace is open already")]
    AlreadyOpen,
    /// There is no such workspace.
    #[error("there is no such workspace")]
    NotOpen,
    /// A field of the policy contradicts another or its limit.
    #[error("{field} {reason}")]
    PolicyInvalid {
        /// The field, as on the wire.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A workspace's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Workspace {
    /// When it was opened; `None` before.
    pub opened_at: Option<Timestamp>,
    /// Its policy.
    pub policy: Policy,
}

impl Workspace {
    /// The decision: what happens, or why not.
    pub fn decide(&self, command: &WorkspaceCommand) -> Result<Vec<WorkspaceEvent>, WorkspaceRefusal> {
        match *command {
            WorkspaceCommand::OpenWorkspace { now } => match self.opened_at {
                Some(_) => Err(WorkspaceRefusal::AlreadyOpen),
                None => Ok(vec![WorkspaceOpened { at: now, policy: Policy::default() }.into()]),
            },
            WorkspaceCommand::SetPolicy { policy, now } => {
                if self.opened_at.is_none() {
                    return Err(WorkspaceRefusal::NotOpen);
                }
                if let Some((field, reason)) = policy.fault() {
                    return Err(WorkspaceRefusal::PolicyInvalid { field, reason });
                }
                Ok(if policy == self.policy { vec![] } else { vec![PolicySet { at: now, policy }.into()] })
            }
        }
    }

    /// Takes in what has happened.
    pub fn evolve(&mut self, event: &WorkspaceEvent) {
        match event {
            WorkspaceEvent::WorkspaceOpened(e) => {
                self.opened_at = Some(e.at);
                self.policy = e.policy;
            }
            WorkspaceEvent::PolicySet(e) => self.policy = e.policy,
        }
    }
}

impl Aggregate for Workspace {
    const TYPE: &'static str = "workspace";
    type Command = WorkspaceCommand;
    type Event = WorkspaceEvent;
    type Error = WorkspaceRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: WorkspaceCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), WorkspaceRefusal> {
        for event in self.decide(&command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: WorkspaceEvent) {
        self.evolve(&event);
    }
}
