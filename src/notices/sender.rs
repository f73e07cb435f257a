//! The sender: delivers what is due, until the receiver has it or the attempts are used up.
//!
//! | bound | |
//! |---|---|
//! | [`ATTEMPTS_MAX`] attempts | over a good day: 5 s, 15 s, 45 s … at most 6 hours apart, give or take a quarter |
//! | [`AT_ONCE_MAX`] deliveries at once | in all |
//! | [`AT_ONCE_EACH`] to one webhook | one, while it fails: a receiver that hangs holds up no other |
//! | 15 seconds | for a whole delivery; the answer's body is not read |
//!
//! A webhook is disabled when a delivery is given up and none succeeded since that was made, or at once when the
//! receiver answers 410.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use rota_aggregates::secret::Secret;
use rota_aggregates::webhook::{DisableCause, Scheme, Status};
use rota_aggregates::{CredentialId, Timestamp, WebhookId};
use rota_projections::live::LiveWebhook;
use tokio::task::{Id, JoinSet};

use super::notice::{EXPIRING, lies_ahead, retiring_of, rotation_of, still_ahead};
use super::sign;
use super::store::{Attempt, Delivery, Outcome, Waiting};
use crate::app::issue::webhook_of;
use crate::app::{App, Failure};
use crate::egress::{NotResolved, find};

/// A delivery is given up after so many attempts.
pub const ATTEMPTS_MAX: u32 = 12;
/// The second attempt comes this long after the first; each further one three times as long after the one before,
const FIRST_SECONDS: u64 = 5;
/// but no longer than this.
const LONGEST_SECONDS: u64 = 6 * 3_600;
/// Deliveries at once, in all.
const AT_ONCE_MAX: usize = 128;
/// Deliveries at once to one webhook that does well.
const AT_ONCE_EACH: usize = 4;
/// Somebody else may have written something down: another replica, or a clock that was set.
const LOOK: Duration = Duration::from_secs(5);
/// The same, where there are other replicas: a test or a redelivery may have been asked of one of them.
const LOOK_SHARED: Duration = Duration::from_secs(1);
/// A delivery is claimed for so long: longer than an attempt takes, by the difference that clocks may have.
const CLAIM_SECONDS: u64 = 25;
/// After a failure of the store the next look waits this long.
const RETRY: Duration = Duration::from_secs(1);

/// What is on its way.
#[derive(Default)]
struct OnTheirWay {
    tasks: JoinSet<()>,
    by_task: HashMap<Id, (WebhookId, u64)>,
    numbers: HashSet<u64>,
    each: HashMap<WebhookId, usize>,
}

impl OnTheirWay {
    fn done(&mut self, id: Id) {
        let Some((webhook, number)) = self.by_task.remove(&id) else { return };
        self.numbers.remove(&number);
        if let Some(count) = self.each.get_mut(&webhook) {
            *count -= 1;
            if *count == 0 {
                self.each.remove(&webhook);
            }
        }
    }

    fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.ended(ended);
        }
    }

    fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        match ended {
            Ok((id, ())) => self.done(id),
            Err(error) => {
                tracing::error!(%error, "a delivery ended badly");
                self.done(error.id());
            }
        }
    }
}

/// Delivers for ever.
pub(super) async fn send(app: &std::sync::Arc<App>) {
    let mut on_their_way = OnTheirWay::default();
    let mut last = None;
    let look = if app.is_shared() { LOOK_SHARED } else { LOOK };
    loop {
        on_their_way.reap();
        let next = match start(app, &mut on_their_way, &mut last).await {
            Ok(next) => next,
            Err(error) => {
                complain(&error, "what is to be delivered can't be read; trying again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let due = async {
            match next {
                Some(next) => app.clock().sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = on_their_way.tasks.join_next_with_id() => on_their_way.ended(ended),
            () = due => {}
            () = app.notices().wake.notified() => {}
            () = tokio::time::sleep(look) => {}
        }
    }
}

fn complain(error: &Failure, what: &str) {
    tracing::error!(error = error as &dyn std::error::Error, "{what}");
}

/// Starts what is due, as far as there is room. When the next falls due.
async fn start(
    app: &std::sync::Arc<App>,
    on_their_way: &mut OnTheirWay,
    last: &mut Option<WebhookId>,
) -> Result<Option<Timestamp>, Failure> {
    let store = &app.notices().store;
    let mut waiting = store.waiting().await?;
    if waiting.is_empty() {
        return Ok(None);
    }
    // It may have been written down by a replica that knows of more webhooks than this one.
    app.current().await?;
    // Whoever comes after the last one to be served comes first.
    waiting.sort_by_key(|w| (last.is_some_and(|last| w.webhook <= last), w.webhook));
    let now = app.now();
    let mut next: Option<Timestamp> = None;
    for Waiting { webhook, health, next: first, last: number } in waiting {
        let status = app.tip().tip.read().live.webhook(webhook).map(|live| live.state.status);
        match status {
            Some(Status::Enabled) => {}
            Some(_) => {
                store.drop_waiting(webhook, number).await?;
                continue;
            }
            None => {
                store.forget(webhook).await?;
                continue;
            }
        }
        if first > now {
            next = Some(next.map_or(first, |next| next.min(first)));
            continue;
        }
        let busy = on_their_way.each.get(&webhook).copied().unwrap_or(0);
        let most = if health.failures > 0 { 1 } else { AT_ONCE_EACH };
        let room = most.saturating_sub(busy).min(AT_ONCE_MAX.saturating_sub(on_their_way.tasks.len()));
        // One that ends makes the sender look again.
        if room == 0 {
            continue;
        }
        let due = store.due(webhook, now, room + busy).await?;
        let due = due.into_iter().filter(|delivery| !on_their_way.numbers.contains(&delivery.number));
        let due: Vec<_> = due.take(room).collect();
        for delivery in due {
            on_their_way.numbers.insert(delivery.number);
            *on_their_way.each.entry(webhook).or_default() += 1;
            let number = delivery.number;
            let app = std::sync::Arc::clone(app);
            let task = on_their_way.tasks.spawn(async move {
                if let Err(error) = deliver(&app, &delivery).await {
                    complain(&error, "a delivery could not be settled; it will be attempted again");
                    // It is due still: not at once again.
                    tokio::time::sleep(RETRY).await;
                }
            });
            on_their_way.by_task.insert(task.id(), (webhook, number));
            *last = Some(webhook);
        }
    }
    Ok(next)
}

/// Attempts a delivery once.
async fn deliver(app: &App, delivery: &Delivery) -> Result<(), Failure> {
    let notices = app.notices();
    let webhook = app.tip().tip.read().live.webhook(delivery.webhook).cloned();
    let Some(webhook) = webhook.filter(|w| w.state.status == Status::Enabled) else { return Ok(()) };
    let now = app.now();
    let claimed = notices.store.claim(delivery, now, now.plus_seconds(CLAIM_SECONDS)).await?;
    let Some(delivery) = &claimed else { return Ok(()) };
    if lies_ahead(&delivery.name) {
        app.current().await?;
        if !still_holds(app, delivery) {
            return Ok(notices.store.drop_claimed(delivery).await?);
        }
    }
    let Some(secrets) = secrets(app, &webhook).await? else {
        return app.disable_failing_webhook(webhook.id, DisableCause::SecretRevoked).await;
    };
    let at = app.now();
    let begun = Instant::now();
    let answer = attempt(app, &webhook, delivery, &secrets, at).await?;
    let attempt = Attempt {
        at,
        status: answer.as_ref().ok().map(|answer| answer.status.as_u16()),
        error: answer.as_ref().err().map(|trouble| (*trouble).to_owned()),
        duration_millis: begun.elapsed().as_millis() as u64,
    };
    let tries = delivery.tries + 1;
    let gone = answer.as_ref().is_ok_and(|answer| answer.status == StatusCode::GONE);
    let outcome = match &answer {
        Ok(answer) if answer.status.is_success() => Outcome::Delivered,
        _ if gone || tries >= ATTEMPTS_MAX => Outcome::Failed,
        answer => {
            let asked = answer.as_ref().ok().and_then(|answer| answer.retry_after).unwrap_or(0);
            let seconds = pause(tries, app.jitter()?).max(asked.min(LONGEST_SECONDS));
            Outcome::Again(app.now().plus_seconds(seconds))
        }
    };
    let settled = notices.store.settle(delivery, &attempt, outcome).await?;
    let label = match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Again(_) => "again",
        Outcome::Failed => "failed",
    };
    metrics::counter!("rota_notice_attempts_total", "outcome" => label).increment(1);
    if let (Outcome::Failed, Some(health)) = (outcome, settled) {
        let recovered = health.last_success.is_some_and(|success| success >= delivery.created);
        if gone {
            app.disable_failing_webhook(webhook.id, DisableCause::Gone).await?;
        } else if !recovered {
            app.disable_failing_webhook(webhook.id, DisableCause::Failing).await?;
        }
    }
    Ok(())
}

/// Whether what a notice foretold is so: the version is in its grace period, the rotation is due then.
fn still_holds(app: &App, delivery: &Delivery) -> bool {
    let now = app.now();
    if delivery.name != EXPIRING {
        let tip = app.tip().tip.read();
        let live = rotation_of(&delivery.payload).and_then(|id| tip.live.managed_rotation(id));
        return live.is_some_and(|live| still_ahead(&delivery.name, &delivery.payload, &live.state, now));
    }
    let Some((credential, version, expires_at)) = retiring_of(&delivery.payload) else { return false };
    let live = app.tip().tip.read().live.credential(credential);
    let retiring = live.and_then(|live| live.state.retiring_at(now));
    retiring.is_some_and(|retiring| retiring.version == version && retiring.expires_at == expires_at)
}

/// What a delivery is signed with. `None`: nothing, and it must be signed.
async fn secrets(app: &App, webhook: &LiveWebhook) -> Result<Option<Vec<Secret>>, Failure> {
    match (webhook.state.scheme, webhook.state.owner) {
        (Scheme::Standard, _) => {
            let secrets = app.live_secrets(CredentialId(webhook.id.0)).await?;
            Ok((!secrets.is_empty()).then_some(secrets))
        }
        // Who has set no secret is told without a signature.
        (Scheme::Body, Some(owner)) => Ok(Some(app.live_secrets(webhook_of(owner)).await?)),
        (Scheme::Body, None) => Ok(Some(Vec::new())),
    }
}

struct Answered {
    status: StatusCode,
    retry_after: Option<u64>,
}

/// Sends it. Inside, what came of it: an answer, or the code of what stood in the way.
async fn attempt(
    app: &App,
    webhook: &LiveWebhook,
    delivery: &Delivery,
    secrets: &[Secret],
    at: Timestamp,
) -> Result<Result<Answered, &'static str>, Failure> {
    let notices = app.notices();
    let address = app.webhook_address(webhook).await?;
    let Some(url) = address.url.as_deref() else { return Ok(Err("no-address")) };
    // Checked again: what was allowed when it was given may not be any more.
    let Ok(url) = notices.egress.check(url) else { return Ok(Err("address-refused")) };
    let mut request = notices.client.post(url).header(CONTENT_TYPE, "application/json");
    request = match webhook.state.scheme {
        Scheme::Standard => request
            .header("webhook-id", delivery.notice.to_string())
            .header("webhook-timestamp", at.seconds().to_string())
            .header("webhook-signature", sign::standard(secrets, delivery.notice, at, &delivery.payload)),
        Scheme::Body => match secrets.first() {
            Some(secret) => request.header("Signature", sign::body(secret, &delivery.payload)),
            None => request,
        },
    };
    let sent = request.body(delivery.payload.clone()).send().await;
    Ok(match sent {
        Ok(answer) => {
            let header = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            Ok(Answered { status: answer.status(), retry_after: header.and_then(|text| text.parse().ok()) })
        }
        Err(error) => Err(trouble(&error)),
    })
}

/// The code of what stood in the way.
fn trouble(error: &reqwest::Error) -> &'static str {
    match find::<NotResolved>(error) {
        Some(NotResolved::Refused(_)) => return "address-refused",
        Some(NotResolved::Unknown(_)) => return "name-unknown",
        None => {}
    }
    if error.is_timeout() {
        "timed-out"
    } else if find::<rustls::Error>(error).is_some() {
        "tls-failed"
    } else if error.is_connect() {
        "not-connected"
    } else {
        "broken-off"
    }
}

/// Seconds until the next attempt, after so many; `jitter` spreads them from three to five quarters.
fn pause(tries: u32, jitter: u16) -> u64 {
    let seconds = FIRST_SECONDS.saturating_mul(3u64.saturating_pow(tries.saturating_sub(1)));
    let seconds = seconds.min(LONGEST_SECONDS);
    seconds - seconds / 4 + (seconds / 2) * u64::from(jitter) / u64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_threefold_up_to_six_hours_and_are_spread_by_a_quarter() {
        let middle: Vec<_> = (1..=11).map(|tries| pause(tries, u16::MAX / 2)).collect();
        for (tries, expected) in
            (1..).zip([5, 15, 45, 135, 405, 1_215, 3_645, 10_935, 21_600, 21_600, 21_600])
        {
            let (least, most) = (pause(tries, 0), pause(tries, u16::MAX));
            assert_eq!(least, expected - expected / 4, "{tries}");
            assert_eq!(most, expected - expected / 4 + expected / 2, "{tries}");
            assert!((least..=most).contains(&middle[tries as usize - 1]));
        }
        assert_eq!(pause(u32::MAX, 0), pause(9, 0));
    }
}
