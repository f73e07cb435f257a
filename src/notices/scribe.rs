//! The scribe: reads the feed and writes down which notice goes to which webhook.
//!
//! Deliveries and cursor become durable in one transaction, so that a crash at any point loses no notice and
//! plans none twice. A webhook is told of what happens after it was made or last enabled, as it is when the
//! scribe comes to the event.

use std::ops::ControlFlow;
use std::time::Duration;

use rota_aggregates::credential::{CredentialEvent, Replaced};
use rota_aggregates::record::Record;
use rota_aggregates::webhook::{Status, WebhookEvent};
use rota_aggregates::{CredentialId, Event, Position, RotationId, Timestamp, WebhookId, WorkspaceId};
use rota_projections::live::{Live, LiveRotation, LiveWebhook};
use serde_json::{Map, json};
use tokio::sync::watch;

use super::notice::{EXPIRING, Notice, OVERDUE, UPCOMING, lies_ahead};
use super::store::{Change, NewDelivery};
use crate::app::{App, Failure};
use crate::log::reading::decode;

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
    loop {
        match Scribe::begin(app).await {
            Ok(Some(scribe)) => {
                if scribe.follow(&mut head).await.is_break() {
                    return;
                }
                tracing::warn!("somebody else writes notices down; beginning where they are");
            }
            Ok(None) => {}
            Err(error) => complain(&error),
        }
        tokio::time::sleep(RETRY).await;
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
    /// `None`: somebody else moved the cursor in between.
    async fn begin(app: &'a App) -> Result<Option<Self>, Failure> {
        let stored = app.notices().store.cursor().await?;
        // Whoever had the job before may have read further than this replica knows.
        app.current().await?;
        let head = *app.head().borrow();
        // Without a cursor, or with one of another ledger, nobody knows what was told: telling all of it again
        // would be worse than to begin here.
        let next = stored.filter(|stored| *stored <= head).unwrap_or(head);
        if stored != Some(next) {
            if head > Position(0) && app.tip().tip.read().live.has_webhooks() {
                tracing::warn!(position = %next, "it is not known what was told to webhooks; beginning here");
            }
            if !app.notices().store.advance(stored, next, &[]).await? {
                return Ok(None);
            }
        }
        Ok(Some(Self { app, next, stored: next }))
    }

    /// Follows the feed: until somebody else moves the cursor, or the committer ends (a break).
    async fn follow(mut self, head: &mut watch::Receiver<Position>) -> ControlFlow<()> {
        loop {
            match self.catch_up().await {
                Ok(true) => {}
                Ok(false) => return ControlFlow::Continue(()),
                Err(error) => {
                    complain(&error);
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            let next = self.next;
            if head.wait_for(|head| *head > next).await.is_err() {
                return ControlFlow::Break(());
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Reads up to the head. `false`: somebody else moved the cursor.
    async fn catch_up(&mut self) -> Result<bool, Failure> {
        loop {
            // Not beyond what this replica has folded: who is to be told is asked of its live view.
            let head = *self.app.head().borrow();
            if !self.app.tip().tip.read().live.has_webhooks() {
                // Nobody is to be told of anything up to here: who registers from now on is told of later events.
                self.next = self.next.max(head);
                return self.keep(&[]).await;
            }
            let ahead = usize::try_from(head.0.saturating_sub(self.next.0)).unwrap_or(PAGE);
            if ahead == 0 {
                return Ok(true);
            }
            let page = self.app.log().read(self.next, ahead.min(PAGE)).await?;
            let mut changes = Vec::new();
            for recorded in decode(page) {
                let recorded = recorded?;
                self.effect(&recorded.record, &mut changes);
                self.plan(&recorded.record, recorded.position, &mut changes);
                self.next = Position(recorded.position.0 + 1);
            }
            if !self.keep(&changes).await? {
                return Ok(false);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Writes changes down, and the cursor with them. `false`: somebody else moved it, and nothing is written.
    async fn keep(&mut self, changes: &[Change]) -> Result<bool, Failure> {
        if changes.is_empty() && self.next.0 - self.stored.0 < CURSOR_EVERY {
            return Ok(true);
        }
        let kept = self.app.notices().store.advance(Some(self.stored), self.next, changes).await;
        match kept {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => {
                // What was planned is not written down: it is planned anew.
                self.next = self.stored;
                return Err(error.into());
            }
        }
        self.stored = self.next;
        if !changes.is_empty() {
            self.app.notices().wake();
            self.bound(changes).await?;
        }
        Ok(true)
    }

    /// Disables webhooks for which too much waits.
    async fn bound(&self, changes: &[Change]) -> Result<(), Failure> {
        let new = changes.iter().flat_map(Change::brings);
        let webhooks: std::collections::BTreeSet<_> = new.map(|delivery| delivery.webhook).collect();
        for webhook in webhooks {
            if self.app.notices().store.health(webhook).await?.waiting > BACKLOG_MAX {
                let cause = rota_aggregates::webhook::DisableCause::Backlog;
                self.app.disable_failing_webhook(webhook, cause).await?;
            }
        }
        Ok(())
    }

    /// What an event of a webhook's own means for its deliveries.
    fn effect(&self, record: &Record, changes: &mut Vec<Change>) {
        let Event::Webhook(event) = &record.event else { return };
        let id = WebhookId(record.stream.id);
        match event {
            WebhookEvent::WebhookDeleted(_) => changes.push(Change::Forget(id)),
            WebhookEvent::WebhookRegistered(_)
            | WebhookEvent::WebhookChanged(_)
            | WebhookEvent::WebhookEnabled(_) => {
                if matches!(event, WebhookEvent::WebhookEnabled(_)) {
                    changes.push(Change::Forgive(id));
                }
                let now = self.app.now();
                let tip = self.app.tip().tip.read();
                // One that is deleted by now is forgotten a few events on.
                let webhook = tip.live.webhook(id).filter(|w| w.state.status == Status::Enabled);
                let new = webhook.map(|webhook| ahead_now(&tip.live, webhook, now)).unwrap_or_default();
                for name in [EXPIRING, UPCOMING, OVERDUE] {
                    let new = new.iter().filter(|new| new.name == name).cloned().collect();
                    changes.push(Change::Replace { webhook: id, name, new });
                }
            }
            WebhookEvent::WebhookDisabled(_) => {}
        }
    }

    fn plan(&self, record: &Record, position: Position, changes: &mut Vec<Change>) {
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
            let told = wanted.map(|webhook| delivery(webhook, &notice, payload.clone(), now));
            changes.extend(told.map(Change::Tell));
        }
        if matches!(record.event, Event::ManagedRotation(_))
            && let Some(live) = tip.live.managed_rotation(RotationId(record.stream.id))
        {
            for webhook in &webhooks {
                changes.extend(ahead(&tip.live, webhook, live, now).map(Change::Tell));
            }
        }
        let Event::Credential(event) = &record.event else { return };
        if let Some((version, expires_at)) = retired(event) {
            let id = CredentialId(record.stream.id);
            for webhook in webhooks {
                let told = expiring(&tip.live, webhook, workspace, (id, version, expires_at), now);
                changes.extend(told.map(Change::Tell));
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
    let mut known = Map::new();
    if let Some(credential) = notice.credential.and_then(|id| live.credential(id)) {
        known.insert("kind".to_owned(), json!(credential.state.kind));
        known.insert("publicId".to_owned(), json!(credential.public_id.text()));
    }
    if let Some(rotation) = notice.rotation.and_then(|id| live.managed_rotation(id)) {
        known.insert("kind".to_owned(), json!(rotation.state.kind));
    }
    notice.payload(known)
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
        next: if lies_ahead(notice.name) { notice.at.max(now) } else { now },
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

/// What lies ahead of a managed rotation.
fn ahead<'a>(
    live: &'a Live,
    webhook: &'a LiveWebhook,
    rotation: &'a LiveRotation,
    now: Timestamp,
) -> impl Iterator<Item = NewDelivery> + 'a {
    let lead = webhook.state.settings.expiry_lead_seconds;
    let notices = Notice::ahead(rotation.id, &rotation.state, lead, now);
    let wanted = notices.filter(|notice| wants(webhook, notice));
    wanted.map(move |notice| delivery(webhook, &notice, payload(live, &notice), now))
}

/// What lies ahead of every version that is in its grace period now, and of every managed rotation.
fn ahead_now(live: &Live, webhook: &LiveWebhook, now: Timestamp) -> Vec<NewDelivery> {
    let workspace = webhook.state.workspace;
    let retiring = live.retiring_in(workspace);
    let retiring = retiring.filter_map(|retiring| expiring(live, webhook, workspace, retiring, now));
    let rotations = live.managed_rotations_of(workspace);
    retiring.chain(rotations.flat_map(|rotation| ahead(live, webhook, rotation, now))).collect()
}
