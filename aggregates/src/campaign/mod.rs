//! The campaign: many credentials rotated by one plan, in an emergency or on a day that was chosen.
//!
//! A campaign is planned first: which credentials, at which version, for which owner, sealed to which key. The plan is
//! recorded and has a hash; it is applied only by that hash and only while nothing of it has moved. Then the
//! credentials are rotated one after the other, in waves; each rotation and its item here are recorded together, so
//! that a crash repeats none. Every new secret is sealed to its owner's key and shown to nobody.

mod commands;
mod decide;
mod events;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::commands::{CampaignCommand, Outcome, PlanCampaign};
pub use self::events::{
    CampaignApplied, CampaignEnded, CampaignEvent, CampaignPaused, CampaignPlanned, CampaignResumed,
    EndOfCampaign, HandOversDestroyed, ItemFailed, ItemSkipped, ItemsPlanned, PauseCause, SecretHandedOver,
    WaveFinished,
};
use crate::credential::Kind;
use crate::custody::Recipient;
use crate::ids::{CampaignId, CredentialId, Hash, WorkspaceId};
use crate::time::Timestamp;

/// A campaign has at most so many items.
pub const ITEMS_MAX: usize = 10_000;
/// Items that one event of a plan holds at most: an event stays well below 64 KiB.
pub const ITEMS_PER_EVENT: usize = 200;
/// A selector names at most so many credentials.
pub const NAMED_MAX: usize = 1_000;
/// The sizes that a wave can have.
pub const WAVE_SIZE: std::ops::RangeInclusive<u32> = 1..=10_000;
/// The longest pause between two waves: 1 day.
pub const WAVE_PAUSE_SECONDS_MAX: u64 = 86_400;
/// For how many days a sealed secret can be kept for its owner.
pub const KEEP_DAYS: std::ops::RangeInclusive<u32> = 1..=365;
/// The obstacle of an item whose owner has registered no key.
pub const NO_RECIPIENT: &str = "no-recipient";

/// Which credentials. Whatever is given has to hold.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Of this kind; without it of every kind but webhook secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Of this owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<CredentialId>,
    /// Whose active secret was made before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_before: Option<Timestamp>,
    /// These.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialId>,
}

/// What becomes of items whose owner has registered no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WithoutRecipient {
    /// The plan can't be applied while there are any.
    #[default]
    Refuse,
    /// They are passed over.
    Skip,
}

/// How it is carried out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The grace period of the replaced secrets; absent for each policy's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u64>,
    /// Whether the old secrets are known to others.
    pub compromised: bool,
    /// Items of a wave.
    pub wave_size: u32,
    /// The pause between two waves.
    pub wave_pause_seconds: u64,
    /// Failures that a wave may have before the campaign pauses.
    pub failures_max: u32,
    /// What becomes of items whose owner has registered no key.
    pub without_recipient: WithoutRecipient,
    /// For how many days a sealed secret is kept for its owner.
    pub keep_days: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            grace_seconds: None,
            compromised: false,
            wave_size: 25,
            wave_pause_seconds: 0,
            failures_max: 0,
            without_recipient: WithoutRecipient::Refuse,
            keep_days: 30,
        }
    }
}

/// A credential in a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedItem {
    /// The credential.
    pub credential: CredentialId,
    /// Its active version when it was planned; absent where that was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Who answers for it.
    pub owner: CredentialId,
    /// The owner's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
    /// What keeps it from being rotated, as a stable code; absent where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
}

/// Where a campaign stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Stage {
    /// It was never planned.
    #[default]
    Absent,
    /// It waits to be applied.
    Planned,
    /// It goes on.
    Running,
    /// It was stopped and can go on.
    Paused(PauseCause),
    /// It is over.
    Ended(EndOfCampaign),
}

/// Where an item stands.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Standing {
    /// Its turn has not come.
    #[default]
    Waiting,
    /// It was rotated.
    Done {
        /// The new version.
        version: u32,
        /// When.
        at: Timestamp,
    },
    /// It could not be rotated.
    Failed {
        /// Why, as a stable code.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// It was passed over.
    Skipped {
        /// Why, as a stable code.
        reason: String,
    },
}

/// A credential in a campaign.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    /// As it was planned.
    pub planned: PlannedItem,
    /// Where it stands.
    pub standing: Standing,
}

/// How many items stand where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Their turn has not come.
    pub waiting: u32,
    /// They were rotated.
    pub done: u32,
    /// They could not be rotated.
    pub failed: u32,
    /// They were passed over.
    pub skipped: u32,
}

/// The wave that goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Wave {
    /// Its number, from 1.
    pub number: u32,
    /// Items of it that had their turn.
    pub tried: u32,
    /// Of those, how many failed.
    pub failed: u32,
}

/// A campaign's state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Campaign {
    /// Where it stands.
    pub stage: Stage,
    /// Its id.
    pub id: CampaignId,
    /// Its workspace; `None` for one of the whole deployment.
    pub workspace: Option<WorkspaceId>,
    /// Which credentials were asked for.
    pub selector: Selector,
    /// How it is carried out.
    pub settings: Settings,
    /// The hash of the plan.
    pub plan: Option<Hash>,
    /// Its items, in the order in which they are rotated.
    pub items: Vec<Item>,
    /// How many of them stand where.
    pub tally: Tally,
    /// No item before this one waits.
    pub reached: usize,
    /// The wave that goes on.
    pub wave: Wave,
    /// No item is rotated before.
    pub not_before: Timestamp,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it was applied.
    pub applied_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Why a campaign refuses.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CampaignRefusal {
    /// The id is taken.
    #[error("the campaign was planned already")]
    AlreadyPlanned,
    /// There is no such campaign.
    #[error("there is no such campaign")]
    Unknown,
    /// A field is out of its bounds.
    #[error("{field} {reason}")]
    Invalid {
        /// The field, as on the wire.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No credential is selected.
    #[error("no credential is selected that is alive")]
    NothingSelected,
    /// Nothing in the plan can be rotated.
    #[error("nothing in this plan can be rotated: see its obstacles")]
    NothingToRotate,
    /// The hash is that of another plan.
    #[error("this is not the hash of the campaign's plan: look at the plan, then give its planHash")]
    OtherPlan,
    /// What was planned is not so any more.
    #[error("{count} things have moved since this was planned: plan anew")]
    Moved {
        /// How many.
        count: usize,
    },
    /// Owners have registered no key.
    #[error(
        "the owners of {count} credentials have registered no key: register them and plan anew, or plan with \
         withoutRecipient skip"
    )]
    WithoutRecipient {
        /// How many credentials.
        count: usize,
    },
    /// It does not stand where this can be done.
    #[error("the campaign is {stage}, and can't be {asked}")]
    NotNow {
        /// Where it stands.
        stage: &'static str,
        /// What was asked, as a participle.
        asked: &'static str,
    },
}

impl Stage {
    /// The stage's name on every wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Paused(_) => "paused",
            Self::Ended(_) => "ended",
        }
    }
}

impl Standing {
    /// The standing's name on every wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
            Self::Skipped { .. } => "skipped",
        }
    }
}

impl Campaign {
    /// Whether it was planned.
    pub fn exists(&self) -> bool {
        self.stage != Stage::Absent
    }

    /// Whether it may still rotate something.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Planned | Stage::Running | Stage::Paused(_))
    }

    /// The same without its items.
    #[must_use]
    pub fn without_items(&self) -> Self {
        Self {
            stage: self.stage,
            id: self.id,
            workspace: self.workspace,
            selector: self.selector.clone(),
            settings: self.settings.clone(),
            plan: self.plan,
            items: Vec::new(),
            tally: self.tally,
            reached: 0,
            wave: self.wave,
            not_before: self.not_before,
            created_at: self.created_at,
            applied_at: self.applied_at,
            ended_at: self.ended_at,
        }
    }

    /// The item whose turn is next.
    pub fn next(&self) -> Option<&Item> {
        self.items[self.reached.min(self.items.len())..].iter().find(|i| i.standing == Standing::Waiting)
    }

    /// The place of a credential.
    fn place(&self, credential: CredentialId) -> Option<usize> {
        let at = |index: &usize| self.items[*index].planned.credential == credential;
        // As a rule it is the next one.
        let ahead = (self.reached..self.items.len()).find(at);
        ahead.or_else(|| (0..self.reached.min(self.items.len())).find(at))
    }

    /// An item.
    pub fn item(&self, credential: CredentialId) -> Option<&Item> {
        self.place(credential).map(|index| &self.items[index])
    }

    fn settle(&mut self, credential: CredentialId, standing: Standing) {
        let Some(index) = self.place(credential) else { return };
        *self.tally.of(&standing) += 1;
        self.wave.tried += 1;
        self.wave.failed += u32::from(matches!(standing, Standing::Failed { .. }));
        let before = std::mem::replace(&mut self.items[index].standing, standing);
        let left = self.tally.of(&before);
        *left = left.saturating_sub(1);
        while self.items.get(self.reached).is_some_and(|item| item.standing != Standing::Waiting) {
            self.reached += 1;
        }
    }

    /// Takes in what has happened.
    pub fn evolve(&mut self, event: &CampaignEvent) {
        match event {
            CampaignEvent::CampaignPlanned(e) => {
                *self = Self {
                    stage: Stage::Planned,
                    id: e.campaign,
                    workspace: e.workspace,
                    selector: e.selector.clone(),
                    settings: e.settings.clone(),
                    plan: Some(e.plan),
                    created_at: e.at,
                    ..Self::default()
                };
            }
            CampaignEvent::ItemsPlanned(e) => {
                self.tally.waiting += e.items.len() as u32;
                let items = e.items.iter().cloned();
                self.items.extend(items.map(|planned| Item { planned, standing: Standing::Waiting }));
            }
            CampaignEvent::CampaignApplied(e) => {
                self.stage = Stage::Running;
                self.applied_at = Some(e.at);
                self.not_before = e.at;
                for item in &mut self.items {
                    if let Some(reason) = item.planned.obstacle.clone() {
                        item.standing = Standing::Skipped { reason };
                        self.tally.skipped += 1;
                        self.tally.waiting = self.tally.waiting.saturating_sub(1);
                    }
                }
                self.wave = Wave { number: 1, ..Wave::default() };
            }
            CampaignEvent::SecretHandedOver(e) => {
                self.settle(e.credential, Standing::Done { version: e.version, at: e.at });
            }
            CampaignEvent::ItemFailed(e) => {
                self.settle(e.credential, Standing::Failed { reason: e.reason.clone(), at: e.at });
            }
            CampaignEvent::ItemSkipped(e) => {
                self.settle(e.credential, Standing::Skipped { reason: e.reason.clone() });
            }
            CampaignEvent::WaveFinished(e) => {
                let over = e.tally.waiting == 0;
                self.wave = Wave { number: e.wave + u32::from(!over), ..Wave::default() };
                self.not_before = e.next_at;
            }
            CampaignEvent::CampaignPaused(e) => self.stage = Stage::Paused(e.cause),
            CampaignEvent::CampaignResumed(e) => {
                self.stage = Stage::Running;
                self.not_before = e.at;
                self.wave = Wave { number: self.wave.number, ..Wave::default() };
                if e.retry_failed {
                    for item in &mut self.items {
                        if matches!(item.standing, Standing::Failed { .. }) {
                            item.standing = Standing::Waiting;
                        }
                    }
                    self.tally.waiting += self.tally.failed;
                    self.tally.failed = 0;
                    self.reached = 0;
                }
            }
            CampaignEvent::CampaignEnded(e) => {
                self.stage = Stage::Ended(e.cause);
                self.ended_at = Some(e.at);
            }
            CampaignEvent::HandOversDestroyed(_) => {}
        }
    }
}

impl Tally {
    /// All of them.
    pub fn items(&self) -> u32 {
        self.waiting + self.done + self.failed + self.skipped
    }

    fn of(&mut self, standing: &Standing) -> &mut u32 {
        match standing {
            Standing::Waiting => &mut self.waiting,
            Standing::Done { .. } => &mut self.done,
            Standing::Failed { .. } => &mut self.failed,
            Standing::Skipped { .. } => &mut self.skipped,
        }
    }
}

impl Aggregate for Campaign {
    const TYPE: &'static str = "campaign";
    type Command = CampaignCommand;
    type Event = CampaignEvent;
    type Error = CampaignRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: CampaignCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), CampaignRefusal> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: CampaignEvent) {
        self.evolve(&event);
    }
}
