//! What must survive a restart and is no history: how far the feed was read, what waits to be delivered, and
//! what became of it. See `docs/decisions/0014`.

use async_trait::async_trait;
use rota_aggregates::{Position, Timestamp, WebhookId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log::LogError;

/// Deliveries of a webhook that are kept after their end.
pub const KEPT_MAX: u32 = 1_000;
/// Attempts of one delivery that are kept.
pub const ATTEMPTS_KEPT: usize = 20;

/// A notice to a webhook, to be delivered.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// To whom.
    pub webhook: WebhookId,
    /// The notice's id.
    pub notice: Uuid,
    /// The notice's type.
    pub name: String,
    /// The event that it tells of.
    pub position: Option<Position>,
    /// The body.
    pub payload: String,
    /// When it was made.
    pub created: Timestamp,
    /// Not before.
    pub next: Timestamp,
}

/// Where a delivery stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It waits for its time, first or again.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// It was given up.
    Failed,
    /// There was no use in it any more.
    Dropped,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Delivered, Self::Failed, Self::Dropped];

    /// The state's name on every wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// One attempt at a delivery.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// What the receiver answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took.
    pub duration_millis: u64,
}

/// A delivery as it is kept.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its place among all deliveries.
    pub number: u64,
    /// To whom.
    pub webhook: WebhookId,
    /// The notice's id.
    pub notice: Uuid,
    /// The notice's type.
    pub name: String,
    /// The event that it tells of.
    pub position: Option<Position>,
    /// The body.
    pub payload: String,
    /// Where it stands.
    pub state: State,
    /// Attempts since it was made, or last asked for.
    pub tries: u32,
    /// The last attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it was made.
    pub created: Timestamp,
    /// When the next attempt is due.
    pub next: Option<Timestamp>,
}

/// What follows from an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// Another attempt, then.
    Again(Timestamp),
    /// It is given up.
    Failed,
}

/// How a webhook does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// Its deliveries that wait.
    pub waiting: u64,
    /// Failed attempts since the last that succeeded.
    pub failures: u64,
    /// When an attempt last succeeded.
    pub last_success: Option<Timestamp>,
    /// When one last failed.
    pub last_failure: Option<Timestamp>,
}

/// A webhook for which something waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// The webhook.
    pub webhook: WebhookId,
    /// How it does.
    pub health: Health,
    /// When the first of it is due.
    pub next: Timestamp,
}

/// Keeps deliveries. Each method is one transaction; the same notice to the same webhook is kept once.
#[async_trait]
pub trait NoticeStore: Send + Sync + 'static {
    /// The next event to look at; `None` if none was looked at yet.
    async fn cursor(&self) -> Result<Option<Position>, LogError>;

    /// Adds deliveries, and the next event to look at with them.
    async fn advance(&self, next: Position, new: &[NewDelivery]) -> Result<(), LogError>;

    /// Adds deliveries.
    async fn add(&self, new: &[NewDelivery]) -> Result<(), LogError>;

    /// Replaces a webhook's deliveries of one type that wait for their first attempt.
    async fn replace(&self, webhook: WebhookId, name: &str, new: &[NewDelivery]) -> Result<(), LogError>;

    /// The webhooks for which something waits.
    async fn waiting(&self) -> Result<Vec<Waiting>, LogError>;

    /// What is due for a webhook, the longest waiting first.
    async fn due(&self, webhook: WebhookId, now: Timestamp, limit: usize) -> Result<Vec<Delivery>, LogError>;

    /// Notes an attempt and what follows from it. How the webhook does then.
    async fn settle(
        &self,
        delivery: &Delivery,
        attempt: &Attempt,
        outcome: Outcome,
    ) -> Result<Health, LogError>;

    /// Drops a delivery that waits, or all of a webhook's.
    async fn drop_waiting(&self, webhook: WebhookId, only: Option<u64>) -> Result<(), LogError>;

    /// Lets a delivery be attempted again. Whether there is such a delivery.
    async fn again(&self, webhook: WebhookId, notice: Uuid, at: Timestamp) -> Result<bool, LogError>;

    /// How a webhook does.
    async fn health(&self, webhook: WebhookId) -> Result<Health, LogError>;

    /// Starts the count of failures anew.
    async fn forgive(&self, webhook: WebhookId) -> Result<(), LogError>;

    /// One delivery.
    async fn delivery(&self, webhook: WebhookId, notice: Uuid) -> Result<Option<Delivery>, LogError>;

    /// The deliveries of some webhooks, newest first, from below a number on.
    async fn list(
        &self,
        webhooks: &[WebhookId],
        state: Option<State>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Delivery>, LogError>;

    /// Forgets everything about a webhook.
    async fn forget(&self, webhook: WebhookId) -> Result<(), LogError>;
}
