//! What happens when a receiver does not take what it is told.

use serde_json::{Value, json};

use crate::receiver::{Desk, Receiver};
use crate::support::until;

/// A desk with a webhook that hears rotations, and a credential.
async fn desk(receiver: &Receiver) -> (Desk, String, String) {
    let desk = Desk::new().await;
    let (webhook, _) = desk.register(json!({ "url": receiver.url, "types": ["secret.rotated"] })).await;
    let (id, ..) = desk.issue().await;
    (desk, webhook, id)
}

async fn attempts(desk: &Desk, webhook: &str, count: usize) -> Value {
    let read = async || desk.deliveries(webhook).await.first().cloned().unwrap_or(Value::Null);
    let enough = |delivery: &Value| delivery["attempts"].as_array().is_some_and(|a| a.len() >= count);
    until(&format!("{count} attempts"), async || enough(&read().await)).await;
    read().await
}

#[tokio::test]
async fn a_refused_delivery_comes_again_later_and_with_the_same_id() {
    let receiver = Receiver::start();
    receiver.answers(500);
    let (desk, webhook, id) = desk(&receiver).await;
    desk.rotate(&id, json!({})).await;
    let first = attempts(&desk, &webhook, 1).await;
    assert_eq!((&first["state"], &first["attempts"][0]["status"]), (&json!("waiting"), &json!(500)));
    assert_eq!(desk.webhook(&webhook).await["failures"], 1);
    // Between three and five quarters of five seconds.
    let next = first["nextAttemptAt"].as_str().unwrap();
    assert!(("2027-01-15T08:00:03".."2027-01-15T08:00:07").contains(&next), "{next}");
    receiver.answers(200);
    desk.advance(2);
    desk.rotate(&desk.issue().await.0, json!({})).await;
    receiver.wait(2).await;
    desk.advance(5);
    let seen = receiver.wait(3).await;
    let ids: Vec<_> = seen.iter().map(|seen| seen.header("webhook-id").to_owned()).collect();
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[1]);
    assert_eq!(seen[0].body, seen[2].body);
    assert_eq!(
        (seen[0].header("webhook-timestamp"), seen[2].header("webhook-timestamp")),
        ("1800000000", "1800000007")
    );
    until("both are delivered", async || {
        desk.deliveries(&webhook).await.iter().all(|delivery| delivery["state"] == "delivered")
    })
    .await;
    assert_eq!(desk.webhook(&webhook).await["failures"], 0);
}

#[tokio::test]
async fn a_receiver_that_fails_for_a_day_is_disabled_and_can_be_enabled_again() {
    let receiver = Receiver::start();
    receiver.answers(503);
    let (desk, webhook, id) = desk(&receiver).await;
    desk.rotate(&id, json!({})).await;
    for count in 1..=12 {
        attempts(&desk, &webhook, count).await;
        desk.advance(8 * 3_600);
    }
    until("it is disabled", async || desk.webhook(&webhook).await["status"] == "disabled").await;
    let shown = desk.webhook(&webhook).await;
    assert_eq!((&shown["disabledCause"], &shown["failures"]), (&json!("failing"), &json!(12)));
    assert_eq!(desk.deliveries(&webhook).await[0]["state"], "failed");
    let events = desk.events("rota.webhook.disabled.v1").await;
    assert_eq!((events.len(), &events[0]["cause"]), (1, &json!("failing")));
    // What happens meanwhile is not sent, nor can anything be asked for.
    desk.rotate(&id, json!({})).await;
    let path = format!("/v1/webhooks/{webhook}");
    let test = desk.server.post(&desk.admin(), &format!("{path}/test"), &json!({})).await;
    assert_eq!((test.status.as_u16(), &test.json()["code"]), (409, &json!("webhook-disabled")));
    receiver.answers(204);
    let enabled = desk.server.patch(&desk.admin(), &path, &json!({ "enabled": true })).await;
    assert_eq!((enabled.status.as_u16(), &enabled.json()["status"]), (200, &json!("enabled")));
    desk.rotate(&id, json!({})).await;
    let seen = receiver.wait(13).await;
    assert_eq!(seen[12].json()["data"]["version"], 4);
    // What was given up can be asked for.
    let given_up = seen[0].header("webhook-id");
    let again =
        desk.server.post(&desk.admin(), &format!("{path}/deliveries/{given_up}/redeliver"), &json!({})).await;
    assert_eq!((again.status.as_u16(), &again.json()["state"]), (202, &json!("waiting")));
    let seen = receiver.wait(14).await;
    assert_eq!(seen[13].header("webhook-id"), given_up);
    assert_eq!(seen[13].body, seen[0].body);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_disabled_at_once() {
    let receiver = Receiver::start();
    receiver.answers(410);
    let (desk, webhook, id) = desk(&receiver).await;
    desk.rotate(&id, json!({})).await;
    until("it is disabled", async || desk.webhook(&webhook).await["status"] == "disabled").await;
    assert_eq!(desk.webhook(&webhook).await["disabledCause"], "gone");
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let receiver = Receiver::start();
    receiver.answers(307);
    let (desk, webhook, id) = desk(&receiver).await;
    desk.rotate(&id, json!({})).await;
    let delivery = attempts(&desk, &webhook, 1).await;
    assert_eq!((&delivery["state"], &delivery["attempts"][0]["status"]), (&json!("waiting"), &json!(307)));
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_no_other() {
    let (stuck, well) = (Receiver::start(), Receiver::start());
    stuck.hangs(true);
    let (desk, _, id) = desk(&stuck).await;
    desk.register(json!({ "url": well.url, "types": ["secret.rotated"] })).await;
    for _ in 0..20 {
        desk.rotate(&id, json!({})).await;
    }
    // Long before the first delivery to the other one times out.
    let wait = tokio::time::timeout(std::time::Duration::from_secs(10), well.wait(20));
    assert_eq!(wait.await.expect("nobody waits for the one that hangs").len(), 20);
    assert!(stuck.seen().len() <= 4);
}

#[tokio::test]
async fn what_was_not_taken_before_a_restart_is_delivered_after_it() {
    let receiver = Receiver::start();
    receiver.answers(500);
    let (mut desk, webhook, id) = desk(&receiver).await;
    desk.rotate(&id, json!({})).await;
    attempts(&desk, &webhook, 1).await;
    let Desk { home, server, workspace, key } = desk;
    server.stop().await;
    receiver.answers(204);
    home.clock.advance(std::time::Duration::from_mins(1));
    let server = home.serve().await;
    desk = Desk { home, server, workspace, key };
    let seen = receiver.wait(2).await;
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
    let delivered = attempts(&desk, &webhook, 2).await;
    assert_eq!(delivered["state"], "delivered");
}
