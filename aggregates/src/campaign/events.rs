//! What happens to a campaign. None of these types has `rotated` in it: each rotation is an event of its credential.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PlannedItem, Selector, Settings, Tally};
use crate::custody::Recipient;
use crate::event::Kept;
use crate::ids::{CampaignId, CredentialId, Hash, WorkspaceId};
use crate::observation::PartRef;
use crate::time::Timestamp;

crate::event::events! {
    /// What has happened to a campaign.
    CampaignEvent {
        /// Somebody wrote down what is about to be done.
        CampaignPlanned = "rota.campaign.planned.v1",
        /// Items of the plan, in the order in which they are to be rotated; as many of these events as it takes.
        ItemsPlanned = "rota.campaign.items-planned.v1",
        /// The plan is being carried out from here on.
        CampaignApplied = "rota.campaign.applied.v1",
        /// A credential was rotated, and its new secret sealed to its owner's key.
        SecretHandedOver = "rota.campaign.secret-handed-over.v1",
        /// A credential could not be rotated.
        ItemFailed = "rota.campaign.item-failed.v1",
        /// There was nothing to be done for a credential any more.
        ItemSkipped = "rota.campaign.item-skipped.v1",
        /// As many items had their turn as a wave has.
        WaveFinished = "rota.campaign.wave-finished.v1",
        /// It stopped for now.
        CampaignPaused = "rota.campaign.paused.v1",
        /// It went on.
        CampaignResumed = "rota.campaign.resumed.v1",
        /// It is over.
        CampaignEnded = "rota.campaign.ended.v1",
        /// Sealed secrets had their time and were destroyed.
        HandOversDestroyed = "rota.campaign.hand-overs-destroyed.v1",
    }
}

/// Somebody wrote down what is about to be done. The items follow in the same append.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CampaignPlanned {
    /// The campaign.
    pub campaign: CampaignId,
    /// Its workspace; absent for the whole deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceId>,
    /// Which credentials were asked for.
    pub selector: Selector,
    /// How it is to be carried out.
    pub settings: Settings,
    /// How many items the plan has.
    pub items: u32,
    /// SHA-256 over workspace, selector, settings and items as JSON.
    pub plan: Hash,
    /// When it was decided.
    pub at: Timestamp,
}

/// Items of a plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemsPlanned {
    /// The items.
    pub items: Vec<PlannedItem>,
    /// When it was decided.
    pub at: Timestamp,
}

/// The plan is being carried out from here on. Nothing of it had moved.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CampaignApplied {
    /// The hash of the plan that was meant.
    pub plan: Hash,
    /// When it was decided.
    pub at: Timestamp,
}

/// A credential was rotated in the same append. The sealed secret beside this event opens with its owner's private
/// age key alone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretHandedOver {
    /// The credential.
    pub credential: CredentialId,
    /// The new version.
    pub version: u32,
    /// The key that it is sealed to.
    pub recipient: Recipient,
    /// SHA-256 of what is kept beside this event.
    pub sealed: Hash,
    /// When it was decided.
    pub at: Timestamp,
}

/// A credential could not be rotated. It is as it was.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailed {
    /// The credential.
    pub credential: CredentialId,
    /// Why, as a stable code.
    pub reason: String,
    /// When it was decided.
    pub at: Timestamp,
}

/// There was nothing to be done for a credential any more: somebody rotated or revoked it first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemSkipped {
    /// The credential.
    pub credential: CredentialId,
    /// Why, as a stable code.
    pub reason: String,
    /// When it was decided.
    pub at: Timestamp,
}

/// As many items had their turn as a wave has.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaveFinished {
    /// The wave, from 1.
    pub wave: u32,
    /// How many items of the campaign stand where.
    pub tally: Tally,
    /// When the next wave begins at the earliest.
    pub next_at: Timestamp,
    /// When it was decided.
    pub at: Timestamp,
}

/// What stopped a campaign for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PauseCause {
    /// Somebody asked for it.
    Call,
    /// A wave had more failures than it may have.
    Failures,
}

/// It stopped for now.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CampaignPaused {
    /// What stopped it.
    pub cause: PauseCause,
    /// When it was decided.
    pub at: Timestamp,
}

/// It went on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CampaignResumed {
    /// Whether items that had failed got another turn.
    pub retry_failed: bool,
    /// When it was decided.
    pub at: Timestamp,
}

/// What ended a campaign.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EndOfCampaign {
    /// Every item had its turn.
    Finished,
    /// Somebody asked for it.
    Call,
}

/// It is over.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CampaignEnded {
    /// What ended it.
    pub cause: EndOfCampaign,
    /// How many items stand where.
    pub tally: Tally,
    /// When it was decided.
    pub at: Timestamp,
}

/// Sealed secrets had their time, or were of use no more, and were destroyed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandOversDestroyed {
    /// Whose.
    pub credentials: Vec<CredentialId>,
    /// The sealed parts, which were destroyed in the same append.
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

impl PauseCause {
    /// The cause's name on every wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Failures => "failures",
        }
    }
}

impl EndOfCampaign {
    /// The cause's name on every wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Call => "call",
        }
    }
}

impl CampaignEvent {
    /// The sealed parts that this event destroys.
    pub fn shredded(&self) -> &[PartRef] {
        match self {
            Self::HandOversDestroyed(e) => &e.shredded,
            _ => &[],
        }
    }

    /// The hashes of what was put beside this event.
    pub fn kept(&self) -> Kept {
        match self {
            Self::SecretHandedOver(e) => Kept { digest: None, secret: Some(e.sealed) },
            _ => Kept::default(),
        }
    }
}
