//! What may be asked of a campaign.

use super::{PlannedItem, Selector, Settings};
use crate::custody::Recipient;
use crate::ids::{CampaignId, CredentialId, Hash, Position, WorkspaceId};
use crate::time::Timestamp;

/// A command to a campaign.
#[derive(Clone, Debug)]
pub enum CampaignCommand {
    /// Write down what is about to be done. Nothing is rotated.
    Plan(PlanCampaign),
    /// Carry the plan out.
    Apply {
        /// The hash of the plan that is meant.
        plan: Hash,
        /// How many things have moved since it was made.
        moved: usize,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Note what came of an item.
    Settle {
        /// Its credential.
        credential: CredentialId,
        /// What came of it.
        outcome: Outcome,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Stop for now.
    Pause {
        /// The time of the decision.
        now: Timestamp,
    },
    /// Go on.
    Resume {
        /// Whether items that failed get another turn.
        retry_failed: bool,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Stop for good.
    End {
        /// The time of the decision.
        now: Timestamp,
    },
    /// Destroy sealed secrets that had their time.
    DestroyHandOvers {
        /// Whose, and beside which event each is.
        of: Vec<(CredentialId, Position)>,
        /// The time of the decision.
        now: Timestamp,
    },
}

/// Write down what is about to be done.
#[derive(Clone, Debug)]
pub struct PlanCampaign {
    /// Its id.
    pub campaign: CampaignId,
    /// Its workspace; `None` for the whole deployment.
    pub workspace: Option<WorkspaceId>,
    /// Which credentials were asked for.
    pub selector: Selector,
    /// How it is to be carried out.
    pub settings: Settings,
    /// What that selects.
    pub items: Vec<PlannedItem>,
    /// The hash of the plan.
    pub plan: Hash,
    /// The time of the decision.
    pub now: Timestamp,
}

/// What came of an item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was rotated, and the new secret was sealed to its owner's key.
    Done {
        /// The new version.
        version: u32,
        /// The key.
        recipient: Recipient,
        /// SHA-256 of what is kept beside the event.
        sealed: Hash,
    },
    /// It could not be rotated.
    Failed {
        /// Why, as a stable code.
        reason: String,
    },
    /// There was nothing to do any more.
    Skipped {
        /// Why, as a stable code.
        reason: String,
    },
}
