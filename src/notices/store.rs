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

/// What an event means for what is kept.
#[derive(Clone, Debug)]
pub enum Change {
    /// Somebody is to be told.
    Tell(NewDelivery),
    /// These come instead of a webhook's deliveries of one type that wait for their first attempt.
    Replace {
        /// The webhook.
        webhook: WebhookId,
        /// The notices' type.
        name: &'static str,
        /// What comes instead.
        new: Vec<NewDelivery>,
    },
    /// The count of a webhook's failures starts anew.
    Forgive(WebhookId),
    /// Nothing is kept about a webhook any more.
    Forget(WebhookId),
}

impl Change {
    /// The deliveries that it brings.
    pub fn brings(&self) -> &[NewDelivery] {
        match self {
            Self::Tell(new) => std::slice::from_ref(new),
            Self::Replace { new, .. } => new,
            Self::Forgive(_) | Self::Forget(_) => &[],
        }
    }
}

/// A delivery as it is kept.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its place among all deliveries.
    pub number: u64,
    /// How often it was claimed.
    pub claim: u64,
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
    /// The highest number among it.
    pub last: u64,
}

/// A delivery's row after an attempt: attempts, state, and when the next is due.
pub(super) fn settled(
    delivery: &Delivery,
    attempt: &Attempt,
    outcome: Outcome,
) -> Result<(String, State, Option<i64>), LogError> {
    let mut attempts = delivery.attempts.clone();
    attempts.push(attempt.clone());
    let excess = attempts.len().saturating_sub(ATTEMPTS_KEPT);
    let attempts = serde_json::to_string(&attempts[excess..]).map_err(LogError::unavailable)?;
    let (state, next) = match outcome {
        Outcome::Delivered => (State::Delivered, None),
        Outcome::Again(next) => (State::Waiting, Some(next.micros())),
        Outcome::Failed => (State::Failed, None),
    };
    Ok((attempts, state, next))
}

/// Keeps deliveries. Each method is one transaction; the same notice to the same webhook is kept once.
///
/// Who reads the feed and who delivers may be deposed without having noticed. So whatever they write names what
/// they last saw: the cursor, or a delivery's claim. If that has moved, nothing is written.
#[async_trait]
pub trait NoticeStore: Send + Sync + 'static {
    /// The next event to look at; `None` if none was looked at yet.
    async fn cursor(&self) -> Result<Option<Position>, LogError>;

    /// Moves the cursor, and makes these changes in their order. `false`: it is not at `from`, and nothing is done.
    async fn advance(
        &self,
        from: Option<Position>,
        next: Position,
        changes: &[Change],
    ) -> Result<bool, LogError>;

    /// Adds a delivery that no event brings.
    async fn add(&self, new: &NewDelivery) -> Result<(), LogError>;

    /// The webhooks for which something waits.
    async fn waiting(&self) -> Result<Vec<Waiting>, LogError>;

    /// What is due for a webhook and claimed by nobody, the longest waiting first.
    async fn due(&self, webhook: WebhookId, now: Timestamp, limit: usize) -> Result<Vec<Delivery>, LogError>;

    /// Claims a delivery for one attempt: nobody else gets it before `until`. `None`: it changed since it was read.
    async fn claim(
        &self,
        delivery: &Delivery,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Delivery>, LogError>;

    /// Notes an attempt at a claimed delivery and what follows from it. How the webhook does then; `None`: it was
    /// claimed anew or waits no longer, and nothing is noted.
    async fn settle(
        &self,
        claimed: &Delivery,
        attempt: &Attempt,
        outcome: Outcome,
    ) -> Result<Option<Health>, LogError>;

    /// Drops a claimed delivery.
    async fn drop_claimed(&self, claimed: &Delivery) -> Result<(), LogError>;

    /// Drops what waits for a webhook, up to this number.
    async fn drop_waiting(&self, webhook: WebhookId, last: u64) -> Result<(), LogError>;

    /// Lets a delivery be attempted again. Whether there is such a delivery.
    async fn again(&self, webhook: WebhookId, notice: Uuid, at: Timestamp) -> Result<bool, LogError>;

    /// How a webhook does.
    async fn health(&self, webhook: WebhookId) -> Result<Health, LogError>;

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
