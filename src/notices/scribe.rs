//! The scribe: reads the feed and writes down which notice goes to which webhook.
//!
//! Deliveries and cursor become durable in one transaction, so that a crash at any point loses no notice and
//! plans none twice. A webhook is told of what happens after it was made or last enabled, as it is when the
//! scribe comes to the event.

use std::time::Duration;

use rota_aggregates::credential::{CredentialEvent, Replaced};
use rota_aggregates::record::Record;
use rota_aggregates::webhook::{Status, WebhookEvent};
use rota_aggregates::{CredentialId, Event, Position, Timestamp, WebhookId, WorkspaceId};
use rota_projections::live::{Live, LiveWebhook};

use super::notice::{EXPIRING, Notice};
use super::store::NewDelivery;
use crate::app::{App, Failure};
use crate::log::committer::decode;

/// Events read at once.
const PAGE: usize = 1_024;
/// Events gather for so long: a page costs much less than its events one by one.
const GATHER: Duration = Duration::from_millis(100);
/// After a failure the next attempt waits this long.
const RETRY: Duration = Duration::from_secs(1);
/// Without a notice the cursor is written after so many events.
const CURSOR_EVERY: u64 = 4_096;
/// More deliveries than these may not wait for one webhook.
const BACKLOG_MAX: u64 = 100_000;

/// Reads the feed for ever. Ends when the committer does.
pub(super) async fn follow(app: &App) {
    let mut head = app.head();
    let mut scribe = loop {
        match Scribe::begin(app).await {
            Ok(scribe) => break scribe,
            Err(error) => complain(&error),
        }
        tokio::time::sleep(RETRY).await;
    };
    loop {
        if let Err(error) = scribe.catch_up().await {
            complain(&error);
            tokio::time::sleep(RETRY).await;
            continue;
        }
        let next = scribe.next;
        if head.wait_for(|head| *head > next).await.is_err() {
            return;
        }
        tokio::time::sleep(GATHER).await;
    }
}

fn complain(error: &Failure) {
    let error = error as &dyn std::error::Error;
    tracing::error!(error, "notices can't be written down; trying again");
}

struct Scribe<'a> {
    app: &'a App,
    /// The next event to look at.
    next: Position,
    /// The one that is stored.
    stored: Position,
}

impl<'a> Scribe<'a> {
    async fn begin(app: &'a App) -> Result<Self, Failure> {
        let head = *app.head().borrow();
        let stored = app.notices().store.cursor().await?;
        // Without a cursor, or with one of another ledger, nobody knows what was told: telling all of it again
        // would be worse than to begin here.
        let next = stored.filter(|stored| *stored <= head).unwrap_or(head);
        if stored != Some(next) {
            if head > Position(0) && app.tip().tip.read().live.has_webhooks() {
                tracing::warn!(position = %next, "it is not known what was told to webhooks; beginning here");
            }
            app.notices().store.advance(next, &[]).await?;
        }
        Ok(Self { app, next, stored: next })
    }

    async fn catch_up(&mut self) -> Result<(), Failure> {
        loop {
            let has_webhooks = self.app.tip().tip.read().live.has_webhooks();
            if !has_webhooks {
                // Nobody is to be told of anything up to here: who registers from now on is told of later events.
                let head = *self.app.head().borrow();
                if !self.app.tip().tip.read().live.has_webhooks() {
                    self.next = self.next.max(head);
                }
                return self.keep(&[]).await;
            }
            let page = self.app.log().read(self.next, PAGE).await?;
            let last = page.leaves.len() < PAGE;
            let mut new = Vec::new();
            for recorded in decode(page) {
                let recorded = recorded?;
                self.effect(&recorded.record).await?;
                self.plan(&recorded.record, recorded.position, &mut new);
                self.next = Position(recorded.position.0 + 1);
            }
            self.keep(&new).await?;
            if last {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    async fn keep(&mut self, new: &[NewDelivery]) -> Result<(), Failure> {
        if new.is_empty() && self.next.0 - self.stored.0 < CURSOR_EVERY {
            return Ok(());
        }
        let kept = self.app.notices().store.advance(self.next, new).await;
        if let Err(error) = kept {
            // What was planned is not written down: it is planned anew.
            self.next = self.stored;
            return Err(error.into());
        }
        self.stored = self.next;
        if !new.is_empty() {
            self.app.notices().wake();
            self.bound(new).await?;
        }
        Ok(())
    }

    /// Disables webhooks for which too much waits.
    async fn bound(&self, new: &[NewDelivery]) -> Result<(), Failure> {
        let webhooks: std::collections::BTreeSet<_> = new.iter().map(|delivery| delivery.webhook).collect();
        for webhook in webhooks {
            if self.app.notices().store.health(webhook).await?.waiting > BACKLOG_MAX {
                let cause = rota_aggregates::webhook::DisableCause::Backlog;
                self.app.disable_failing_webhook(webhook, cause).await?;
            }
        }
        Ok(())
    }

    /// What an event of a webhook's own means for its deliveries.
    async fn effect(&self, record: &Record) -> Result<(), Failure> {
        let Event::Webhook(event) = &record.event else { return Ok(()) };
        let id = WebhookId(record.stream.id);
        let store = &self.app.notices().store;
        match event {
            WebhookEvent::WebhookDeleted(_) => store.forget(id).await?,
            WebhookEvent::WebhookRegistered(_)
            | WebhookEvent::WebhookChanged(_)
            | WebhookEvent::WebhookEnabled(_) => {
                if matches!(event, WebhookEvent::WebhookEnabled(_)) {
                    store.forgive(id).await?;
                }
                let now = self.app.now();
                let new = {
                    let tip = self.app.tip().tip.read();
                    let webhook = tip.live.webhook(id).filter(|w| w.state.status == Status::Enabled);
                    webhook.map(|webhook| retiring_now(&tip.live, webhook, now)).unwrap_or_default()
                };
                store.replace(id, EXPIRING, &new).await?;
                self.app.notices().wake();
            }
            WebhookEvent::WebhookDisabled(_) => {}
        }
        Ok(())
    }

    fn plan(&self, record: &Record, position: Position, new: &mut Vec<NewDelivery>) {
        let now = self.app.now();
        let tip = self.app.tip().tip.read();
        let workspace = record.context.workspace;
        let listening =
            |webhook: &&LiveWebhook| webhook.state.status == Status::Enabled && position > webhook.since;
        let webhooks: Vec<_> = tip.live.webhooks_of(workspace).filter(listening).collect();
        if webhooks.is_empty() {
            return;
        }
        if let Some(notice) = Notice::of(record, position) {
            let payload = payload(&tip.live, &notice);
            let wanted = webhooks.iter().filter(|webhook| wants(webhook, &notice));
            new.extend(wanted.map(|webhook| delivery(webhook, &notice, payload.clone(), now)));
        }
        let Event::Credential(event) = &record.event else { return };
        if let Some((version, expires_at)) = retired(event) {
            let id = CredentialId(record.stream.id);
            for webhook in webhooks {
                new.extend(expiring(&tip.live, webhook, workspace, (id, version, expires_at), now));
            }
        }
    }
}

/// The version that an event sends into its grace period, and the end of that.
fn retired(event: &CredentialEvent) -> Option<(u32, Timestamp)> {
    let replaced = match event {
        CredentialEvent::SecretRotated(e) => e.replaced.as_ref(),
        CredentialEvent::PreparedSecretRotated(e) => e.replaced.as_ref(),
        _ => None,
    };
    replaced.and_then(|Replaced { version, expires_at, .. }| expires_at.map(|end| (*version, end)))
}

fn wants(webhook: &LiveWebhook, notice: &Notice) -> bool {
    let state = &webhook.state;
    state.settings.wants(notice.name) && (state.owner.is_none() || state.owner == notice.credential)
}

fn payload(live: &Live, notice: &Notice) -> String {
    let known = notice.credential.and_then(|id| live.credential(id));
    let public_id = known.as_ref().map(|known| known.public_id.text());
    notice.payload(known.as_ref().map(|k| k.state.kind).zip(public_id.as_deref()))
}

fn delivery(webhook: &LiveWebhook, notice: &Notice, payload: String, now: Timestamp) -> NewDelivery {
    NewDelivery {
        webhook: webhook.id,
        notice: notice.id,
        name: notice.name.to_owned(),
        position: notice.position,
        payload,
        created: now,
        // Told at once, but for what lies ahead.
        next: if notice.name == EXPIRING { notice.at } else { now },
    }
}

fn expiring(
    live: &Live,
    webhook: &LiveWebhook,
    workspace: WorkspaceId,
    (id, version, expires_at): (CredentialId, u32, Timestamp),
    now: Timestamp,
) -> Option<NewDelivery> {
    if expires_at <= now {
        return None;
    }
    let lead = webhook.state.settings.expiry_lead_seconds;
    let notice = Notice::expiring(workspace, id, version, expires_at, lead, now);
    wants(webhook, &notice).then(|| delivery(webhook, &notice, payload(live, &notice), now))
}

/// Notices of every version that is in its grace period now.
fn retiring_now(live: &Live, webhook: &LiveWebhook, now: Timestamp) -> Vec<NewDelivery> {
    let workspace = webhook.state.workspace;
    let retiring = live.retiring_in(workspace);
    retiring.filter_map(|retiring| expiring(live, webhook, workspace, retiring, now)).collect()
}
