//! The webhook: where a workspace, or one of its credentials, wants to be told what happens.
//!
//! Its address and description are people's words and may hold a token: they travel in the event's sealed
//! details. Its secret is a credential of the kind `webhook` with the same id, which is rotated like any other.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{CredentialId, WebhookId, WorkspaceId};
use crate::time::Timestamp;

/// A webhook names at most so many types of notices.
pub const TYPES_MAX: usize = 50;
/// The name of a type has at most so many bytes.
pub const TYPE_BYTES_MAX: usize = 100;
/// The name that stands for every type.
pub const EVERY_TYPE: &str = "*";
/// How long before the end of a grace period a notice of it is sent, unless the webhook says otherwise: 1 hour.
pub const EXPIRY_LEAD_SECONDS_DEFAULT: u64 = 3_600;
/// The longest such time: 30 days.
pub const EXPIRY_LEAD_SECONDS_MAX: u64 = 30 * 86_400;

/// How deliveries are signed.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// As Standard Webhooks say, with the webhook's own secret.
    #[default]
    Standard,
    /// An HMAC of the body alone, with the webhook secret of the owner (Spritz).
    Body,
}

/// What is told, and when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The types of notices that are sent; [`EVERY_TYPE`] for all of them.
    pub types: Vec<String>,
    /// How long before the end of a grace period a notice of it is sent.
    pub expiry_lead_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { types: vec![EVERY_TYPE.to_owned()], expiry_lead_seconds: EXPIRY_LEAD_SECONDS_DEFAULT }
    }
}

impl Settings {
    /// Whether notices of this type are sent.
    pub fn wants(&self, name: &str) -> bool {
        self.types.iter().any(|wanted| wanted == name || wanted == EVERY_TYPE)
    }

    fn check(&self) -> Result<(), WebhookRefusal> {
        let invalid = |field, reason| Err(WebhookRefusal::Invalid { field, reason });
        let name = |name: &String| {
            (1..=TYPE_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic())
        };
        if self.types.is_empty() || self.types.len() > TYPES_MAX || !self.types.iter().all(name) {
            return invalid("types", "must be 1 to 50 names of 1 to 100 visible ASCII characters");
        }
        if self.expiry_lead_seconds > EXPIRY_LEAD_SECONDS_MAX {
            return invalid("expiryLeadSeconds", "must be at most 30 days");
        }
        Ok(())
    }
}

/// What led to a webhook being disabled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DisableCause {
    /// Somebody asked for it.
    Call,
    /// Deliveries failed for so long that one was given up, and none succeeded meanwhile.
    Failing,
    /// The receiver answered 410: it is gone for good.
    Gone,
    /// More notices waited than are kept.
    Backlog,
    /// Its secret was revoked, so that nothing can be signed.
    SecretRevoked,
}

impl DisableCause {
    /// The cause's name on every wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Failing => "failing",
            Self::Gone => "gone",
            Self::Backlog => "backlog",
            Self::SecretRevoked => "secret-revoked",
        }
    }
}

/// What may be asked of a webhook.
#[derive(Clone, Debug)]
pub enum WebhookCommand {
    /// Make it. Its address travels in the event's sealed details.
    Register {
        /// Its id.
        webhook: WebhookId,
        /// Its workspace.
        workspace: WorkspaceId,
        /// The credential that it is for; without one it is the workspace's.
        owner: Option<CredentialId>,
        /// How deliveries are signed.
        scheme: Scheme,
        /// What is told, and when.
        settings: Settings,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Change it.
    Change {
        /// The settings from now on, whole.
        settings: Settings,
        /// The names of what changes beside them: their values travel in the event's sealed details.
        described: Vec<String>,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Send nothing any more.
    Disable {
        /// What led to it.
        cause: DisableCause,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Send again, from now on.
    Enable {
        /// The time of the decision.
        now: Timestamp,
    },
    /// End it.
    Delete {
        /// The time of the decision.
        now: Timestamp,
    },
}

crate::event::events! {
    /// What has happened to a webhook.
    WebhookEvent {
        /// It was made. Serves invariant 11: notices of other workspaces never go there.
        WebhookRegistered = "rota.webhook.registered.v1",
        /// Its address, description or settings were changed.
        WebhookChanged = "rota.webhook.changed.v1",
        /// Nothing is sent there any more.
        WebhookDisabled = "rota.webhook.disabled.v1",
        /// What happens from here on is sent there again.
        WebhookEnabled = "rota.webhook.enabled.v1",
        /// It was ended.
        WebhookDeleted = "rota.webhook.deleted.v1",
    }
}

/// The webhook was made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookRegistered {
    /// Its id.
    pub webhook: WebhookId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// The credential that it is for; absent where it is the workspace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<CredentialId>,
    /// How deliveries are signed.
    pub scheme: Scheme,
    /// What is told, and when.
    pub settings: Settings,
    /// When it was decided.
    pub at: Timestamp,
}

/// Address, description or settings were changed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookChanged {
    /// The settings from now on.
    pub settings: Settings,
    /// The names of what changed beside them.
    pub described: Vec<String>,
    /// When it was decided.
    pub at: Timestamp,
}

/// Nothing is sent there any more.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookDisabled {
    /// What led to it.
    pub cause: DisableCause,
    /// When it was decided.
    pub at: Timestamp,
}

/// What happens from here on is sent there again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookEnabled {
    /// When it was decided.
    pub at: Timestamp,
}

/// The webhook was ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookDeleted {
    /// When it was decided.
    pub at: Timestamp,
}

/// Why a webhook refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WebhookRefusal {
    /// There is one with this id already.
    #[error("the webhook is there already")]
    AlreadyRegistered,
    /// There is no such webhook, or none any more.
    #[error("there is no such webhook")]
    Unknown,
    /// It is disabled.
    #[error("the webhook is disabled; enable it first")]
    Disabled,
    /// A setting is out of bounds.
    #[error("{field} {reason}")]
    Invalid {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Whether anything is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Status {
    /// It was never made.
    #[default]
    Absent,
    /// Notices are sent.
    Enabled,
    /// Nothing is sent, since then.
    Disabled(DisableCause, Timestamp),
    /// It is no more.
    Deleted,
}

/// A webhook's state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Webhook {
    /// Whether anything is sent.
    pub status: Status,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// The credential that it is for.
    pub owner: Option<CredentialId>,
    /// How deliveries are signed.
    pub scheme: Scheme,
    /// What is told, and when.
    pub settings: Settings,
    /// When it was made.
    pub created_at: Timestamp,
    /// When anything about it last changed.
    pub updated_at: Timestamp,
}

impl Webhook {
    /// Whether there is such a webhook.
    pub fn exists(&self) -> bool {
        matches!(self.status, Status::Enabled | Status::Disabled(..))
    }

    /// The decision: what happens, or why not. No event means that it is so already.
    pub fn decide(&self, command: WebhookCommand) -> Result<Option<WebhookEvent>, WebhookRefusal> {
        if let WebhookCommand::Register { webhook, workspace, owner, scheme, settings, now } = command {
            if self.status != Status::Absent {
                return Err(WebhookRefusal::AlreadyRegistered);
            }
            settings.check()?;
            let registered = WebhookRegistered { webhook, workspace, owner, scheme, settings, at: now };
            return Ok(Some(registered.into()));
        }
        if !self.exists() {
            return Err(WebhookRefusal::Unknown);
        }
        let disabled = matches!(self.status, Status::Disabled(..));
        Ok(match command {
            WebhookCommand::Change { settings, described, now } => {
                settings.check()?;
                let same = settings == self.settings && described.is_empty();
                (!same).then(|| WebhookChanged { settings, described, at: now }.into())
            }
            WebhookCommand::Disable { cause, now } => {
                (!disabled).then(|| WebhookDisabled { cause, at: now }.into())
            }
            WebhookCommand::Enable { now } => disabled.then(|| WebhookEnabled { at: now }.into()),
            WebhookCommand::Delete { now } => Some(WebhookDeleted { at: now }.into()),
            WebhookCommand::Register { .. } => None,
        })
    }

    /// Takes in what has happened.
    pub fn evolve(&mut self, event: &WebhookEvent) {
        match event {
            WebhookEvent::WebhookRegistered(e) => {
                *self = Self {
                    status: Status::Enabled,
                    workspace: e.workspace,
                    owner: e.owner,
                    scheme: e.scheme,
                    settings: e.settings.clone(),
                    created_at: e.at,
                    updated_at: e.at,
                };
            }
            WebhookEvent::WebhookChanged(e) => {
                self.settings = e.settings.clone();
                self.updated_at = e.at;
            }
            WebhookEvent::WebhookDisabled(e) => {
                self.status = Status::Disabled(e.cause, e.at);
                self.updated_at = e.at;
            }
            WebhookEvent::WebhookEnabled(e) => {
                self.status = Status::Enabled;
                self.updated_at = e.at;
            }
            WebhookEvent::WebhookDeleted(e) => {
                self.status = Status::Deleted;
                self.updated_at = e.at;
            }
        }
    }
}

impl Aggregate for Webhook {
    const TYPE: &'static str = "webhook";
    type Command = WebhookCommand;
    type Event = WebhookEvent;
    type Error = WebhookRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: WebhookCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), WebhookRefusal> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: WebhookEvent) {
        self.evolve(&event);
    }
}
