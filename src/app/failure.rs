//! What a use case answers when it does not do what was asked. Each way in maps these to its own errors.

use rota_aggregates::authority::Role;
use rota_aggregates::campaign::CampaignRefusal;
use rota_aggregates::connection::ConnectionRefusal;
use rota_aggregates::credential::CredentialRefusal;
use rota_aggregates::ledger::LedgerRefusal;
use rota_aggregates::managed_rotation::RotationRefusal;
use rota_aggregates::name_space::NameRefusal;
use rota_aggregates::places::PlacesRefusal;
use rota_aggregates::record::NotRecordable;
use rota_aggregates::token_keys::TokenKeysRefusal;
use rota_aggregates::webhook::WebhookRefusal;
use rota_aggregates::workspace::WorkspaceRefusal;

use super::ledger::bar::Bar;
use crate::log::LogError;
use crate::log::committer::CommitError;
use crate::sealing::SealError;

/// A use case did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A rule of the credential.
    #[error(transparent)]
    Credential(#[from] CredentialRefusal),
    /// A rule of the workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceRefusal),
    /// A rule of the webhook.
    #[error(transparent)]
    Webhook(#[from] WebhookRefusal),
    /// A rule of environments and folders.
    #[error(transparent)]
    Places(#[from] PlacesRefusal),
    /// A rule of the connection.
    #[error(transparent)]
    Connection(#[from] ConnectionRefusal),
    /// A rule of the managed rotation.
    #[error(transparent)]
    Rotation(#[from] RotationRefusal),
    /// A rule of the campaign.
    #[error(transparent)]
    Campaign(#[from] CampaignRefusal),
    /// What a campaign was planned on is not so any more. Nothing was rotated.
    #[error("{} things have moved since this was planned; nothing was rotated: plan anew", .0.len())]
    PlanMoved(Vec<super::campaigns::Moved>),
    /// A name that is not to be had.
    #[error(transparent)]
    Name(#[from] NameRefusal),
    /// The target did not do what was asked. Nothing was published.
    #[error("{0}")]
    Target(#[from] rota_targets::Failure),
    /// It takes longer than a caller waits, and goes on.
    #[error("this takes longer than is waited for, and goes on; look at the rotation later")]
    GoesOn,
    /// There are as many as there may be.
    #[error("there may be at most {most} {what}; end or delete one first")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        most: usize,
    },
    /// A rule of the keys that sign session tokens.
    #[error(transparent)]
    TokenKeys(#[from] TokenKeysRefusal),
    /// A rule of the ledger as a whole.
    #[error(transparent)]
    Ledger(#[from] LedgerRefusal),
    /// The store is not the history that was signed for.
    #[error(
        "this store is not the history that was signed for, and so nothing is verified and nothing changed: whoever runs \
         it finds out why with `rota ledger`"
    )]
    NotWhole(Box<Bar>),
    /// The operator would record a loss where there is none.
    #[error("nothing is lost: the store holds everything that was signed for")]
    NothingLost,
    /// Nobody known asks.
    #[error("the key or secret is not valid")]
    Unauthenticated,
    /// A signed request came again.
    #[error("the signed request was used before")]
    Captured,
    /// The caller lacks a role.
    #[error("this needs the role {}", .needs.name())]
    Forbidden {
        /// The role that would do.
        needs: Role,
    },
    /// The caller showed a token that may read and no more.
    #[error("this token may read, and change nothing: sign the request")]
    ReadsAlone,
    /// Only the operator may do it.
    #[error("only the operator may do this")]
    OperatorOnly,
    /// There is no such thing here; what is elsewhere answers the same.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A field is wrong.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field, as on the wire.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The idempotency key was used for another request.
    #[error("the Idempotency-Key was used for another request")]
    KeyReused,
    /// The same request is being carried out right now.
    #[error("a request with this Idempotency-Key is being carried out; try again shortly")]
    InProgress,
    /// The answer that was kept for a retry has been destroyed.
    #[error("this request was carried out, and its answer has been destroyed since")]
    AnswerGone,
    /// Too many changes wait.
    #[error("too many changes are waiting to be written; try again shortly")]
    Overloaded,
    /// The store can't be used.
    #[error("the store can't be used right now; nothing was changed")]
    Unavailable(#[source] Option<LogError>),
    /// Nobody knows whether the change was recorded.
    #[error("it is not known whether the change was recorded; retry with the same Idempotency-Key")]
    OutcomeUnknown,
    /// Something that must open does not.
    #[error("a sealed part does not open")]
    Sealed(#[from] SealError),
    /// What was asked for is too large to record.
    #[error(transparent)]
    NotRecordable(#[from] NotRecordable),
}

impl Failure {
    /// A wrong field.
    pub fn invalid(field: &str, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.to_owned(), reason: reason.into() }
    }

    /// A name that somebody else has.
    pub fn taken(name: &str) -> Self {
        Self::Name(NameRefusal::Taken { name: name.to_owned() })
    }

    /// The stable code of the failure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Credential(refusal) => refusal.code(),
            Self::Workspace(WorkspaceRefusal::PolicyInvalid { .. })
            | Self::Webhook(WebhookRefusal::Invalid { .. })
            | Self::Rotation(RotationRefusal::Invalid { .. })
            | Self::Campaign(CampaignRefusal::Invalid { .. })
            | Self::Name(NameRefusal::Length)
            | Self::Places(PlacesRefusal::Invalid { .. } | PlacesRefusal::RootFolder)
            | Self::Invalid { .. } => "invalid-input",
            Self::Campaign(refusal) => campaign_code(refusal),
            Self::PlanMoved(_) => "plan-moved",
            Self::Workspace(WorkspaceRefusal::NotOpen)
            | Self::Webhook(WebhookRefusal::Unknown)
            | Self::Connection(ConnectionRefusal::Unknown)
            | Self::Rotation(RotationRefusal::Unknown)
            | Self::Places(PlacesRefusal::UnknownEnvironment | PlacesRefusal::UnknownFolder)
            | Self::Ledger(LedgerRefusal::NoSuchAuditor)
            | Self::NotFound(_) => "not-found",
            Self::Workspace(WorkspaceRefusal::AlreadyOpen) => "already-open",
            Self::Webhook(WebhookRefusal::AlreadyRegistered) => "already-registered",
            Self::Webhook(WebhookRefusal::Disabled) => "webhook-disabled",
            Self::Places(PlacesRefusal::SlugTaken | PlacesRefusal::NameTaken)
            | Self::Name(NameRefusal::Taken { .. }) => "name-taken",
            Self::Places(PlacesRefusal::NotEmpty) => "not-empty",
            Self::TooMany { .. }
            | Self::Places(PlacesRefusal::TooMany)
            | Self::Name(NameRefusal::TooMany)
            | Self::Ledger(LedgerRefusal::TooManyKeys | LedgerRefusal::TooManyAuditors) => "too-many",
            Self::Connection(ConnectionRefusal::AlreadyCreated)
            | Self::Rotation(RotationRefusal::AlreadyCreated) => "already-created",
            Self::Connection(ConnectionRefusal::InUse(_)) => "in-use",
            Self::Rotation(RotationRefusal::InProgress | RotationRefusal::Overtaken) => {
                "rotation-in-progress"
            }
            Self::Rotation(RotationRefusal::Deleting) => "rotation-being-deleted",
            Self::Rotation(RotationRefusal::Unsettled | RotationRefusal::TooEarly { .. }) => {
                "rotation-unsettled"
            }
            Self::Rotation(RotationRefusal::NotDue) => "rotation-not-due",
            Self::Rotation(RotationRefusal::Overlap { .. }) => "overlap-too-short",
            Self::Target(_) => "target-failed",
            Self::GoesOn => "rotation-goes-on",
            Self::Ledger(LedgerRefusal::OtherOrigin(_) | LedgerRefusal::OriginUsed(_)) => "origin-used",
            Self::NotWhole(_) => "history-lost",
            Self::NothingLost => "nothing-lost",
            Self::TokenKeys(TokenKeysRefusal::KeyWaits { .. }) => "key-waits",
            Self::TokenKeys(TokenKeysRefusal::StillSigns) | Self::Ledger(LedgerRefusal::StillSigns) => {
                "key-still-signs"
            }
            Self::Unauthenticated => "unauthenticated",
            Self::Captured => "captured-request",
            Self::Forbidden { .. } | Self::OperatorOnly => "forbidden",
            Self::ReadsAlone => "signature-required",
            Self::KeyReused => "idempotency-key-reused",
            Self::InProgress => "idempotency-in-progress",
            Self::AnswerGone => "answer-destroyed",
            Self::Overloaded => "overloaded",
            Self::Unavailable(_) => "store-unavailable",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::NotRecordable(NotRecordable::TooLarge) => "too-large",
            Self::Sealed(_) | Self::NotRecordable(_) => "internal-error",
        }
    }

    /// The field that the failure is about, as on the wire.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } => Some(field),
            Self::Ledger(LedgerRefusal::OriginUsed(_)) => Some("origin"),
            Self::Workspace(WorkspaceRefusal::PolicyInvalid { field, .. })
            | Self::Webhook(WebhookRefusal::Invalid { field, .. })
            | Self::Places(PlacesRefusal::Invalid { field, .. })
            | Self::Campaign(CampaignRefusal::Invalid { field, .. })
            | Self::Rotation(RotationRefusal::Invalid { field, .. }) => Some(field),
            Self::Name(_) => Some("name"),
            Self::Credential(
                CredentialRefusal::GraceTooLong { .. } | CredentialRefusal::GraceTooShort { .. },
            ) => Some("gracePeriodSeconds"),
            Self::Credential(CredentialRefusal::DeadlineOutOfRange { .. }) => Some("deadlineSeconds"),
            Self::Credential(CredentialRefusal::UnknownVersion { .. }) => Some("version"),
            _ => None,
        }
    }
}

/// The stable code of a campaign's refusal.
fn campaign_code(refusal: &CampaignRefusal) -> &'static str {
    match refusal {
        CampaignRefusal::AlreadyPlanned => "already-planned",
        CampaignRefusal::Unknown => "not-found",
        CampaignRefusal::Invalid { .. } => "invalid-input",
        CampaignRefusal::NothingSelected => "nothing-selected",
        CampaignRefusal::NothingToRotate => "nothing-to-rotate",
        CampaignRefusal::OtherPlan => "plan-differs",
        CampaignRefusal::Moved { .. } => "plan-moved",
        CampaignRefusal::WithoutRecipient { .. } => "owners-without-key",
        CampaignRefusal::NotNow { .. } => "campaign-not-there",
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::Unavailable(Some(error))
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Overloaded => Self::Overloaded,
            CommitError::Unavailable => Self::Unavailable(None),
            CommitError::Unknown => Self::OutcomeUnknown,
        }
    }
}
