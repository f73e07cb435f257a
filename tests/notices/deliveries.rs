//! What is told, in which words, and under which signature.

use serde_json::{Value, json};

use crate::receiver::{Desk, Receiver};
use crate::support::{As, until};

#[tokio::test]
async fn a_rotation_is_told_with_a_signature_that_the_specification_gives() {
    let (desk, receiver) = (Desk::new().await, Receiver::start());
    let (webhook, secret) = desk.register(json!({ "url": receiver.url })).await;
    let (id, public, first) = desk.issue().await;
    let second = desk.rotate(&id, json!({})).await;
    let seen = receiver.wait_for("secret.rotated").await;
    assert!(seen.is_signed_with(&secret));
    assert_eq!(seen.signatures(), 1);
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("webhook-timestamp"), "1800000000");
    let body = seen.json();
    assert_eq!(body["schema"], 1);
    assert_eq!(body["workspaceId"], desk.workspace);
    assert_eq!(body["data"]["credentialId"], id);
    assert_eq!(body["data"]["publicId"], public);
    assert_eq!(body["data"]["kind"], "client");
    assert_eq!(body["data"]["version"], 2);
    assert_eq!(body["data"]["replaced"], json!({ "version": 1, "expiresAt": null }));
    for secret in [&first, &second, &secret, &desk.key, &"Very Private Name".to_owned()] {
        assert!(!seen.body.contains(secret.as_str()));
    }
    // The notice's id is the event's, so that who was told can ask the ledger.
    let events =
        desk.server.get(&desk.admin(), "/v1/events?type=rota.credential.secret-rotated.v1").await.json();
    assert_eq!(events["items"][0]["id"], seen.header("webhook-id"));
    assert_eq!(events["items"][0]["position"], body["position"]);

    until("the log has it", async || desk.deliveries(&webhook).await[0]["state"] == "delivered").await;
    let log = desk.deliveries(&webhook).await;
    assert_eq!(log.len(), 1);
    assert_eq!(log[0]["attempts"][0]["status"], 204);
    assert_eq!(log[0]["payload"], body);
    let shown = desk.webhook(&webhook).await;
    assert_eq!((&shown["failures"], &shown["waiting"]), (&json!(0), &json!(0)));
    assert_eq!(shown["lastSuccessAt"], "2027-01-15T08:00:00.000000Z");
}

#[tokio::test]
async fn everything_that_is_promised_is_told_and_nothing_of_it_holds_a_secret() {
    let (desk, receiver) = (Desk::new().await, Receiver::start());
    desk.register(json!({ "url": receiver.url, "expiryLeadSeconds": 600 })).await;
    let (id, public, first) = desk.issue().await;
    let second = desk.rotate(&id, json!({ "gracePeriodSeconds": 3_600 })).await;
    receiver.wait_for("secret.rotated").await;
    // Somebody uses the old secret.
    let used =
        desk.server.post(&desk.admin(), "/v1/verify", &json!({ "publicId": public, "secret": first })).await;
    assert_eq!(used.json()["active"], true);
    let used = receiver.wait_for("secret.still_in_use").await.json();
    assert_eq!((&used["data"]["version"], &used["data"]["credentialId"]), (&json!(1), &json!(id)));
    // A key without the role is refused.
    let verifier = desk.server.key(&desk.workspace, &["verifier"]).await;
    let path = format!("/v1/credentials/{id}/rotate");
    assert_eq!(desk.server.post(&As::Bearer(&verifier), &path, &json!({})).await.status, 403);
    let refused = receiver.wait_for("rotation.refused").await.json();
    assert_eq!(
        (&refused["data"]["operation"], &refused["data"]["reason"]),
        (&json!("rotate"), &json!("forbidden"))
    );
    // Ten minutes before its end the grace period is told of, and not before.
    desk.advance(2_999);
    let told = |name: &str| receiver.seen().iter().filter(|seen| seen.name() == name).count();
    assert_eq!(told("secret.expiring"), 0);
    desk.advance(1);
    let expiring = receiver.wait_for("secret.expiring").await.json();
    assert_eq!(expiring["data"]["version"], 1);
    assert_eq!(expiring["data"]["expiresAt"], "2027-01-15T09:00:00.000000Z");
    assert_eq!(expiring["timestamp"], "2027-01-15T08:50:00.000000Z");
    desk.advance(600);
    let expired = receiver.wait_for("secret.expired").await.json();
    assert_eq!((&expired["data"]["version"], &expired["data"]["cause"]), (&json!(1), &json!("due")));
    // One version, then all of it.
    let third = desk.rotate(&id, json!({ "gracePeriodSeconds": 3_600 })).await;
    let path = format!("/v1/credentials/{id}/versions/2/revoke");
    assert_eq!(desk.server.post(&desk.admin(), &path, &json!({})).await.status, 200);
    assert_eq!(receiver.wait_for("secret.revoked").await.json()["data"]["version"], 2);
    let path = format!("/v1/credentials/{id}/revoke");
    assert_eq!(desk.server.post(&desk.admin(), &path, &json!({ "reason": "free text" })).await.status, 200);
    assert_eq!(receiver.wait_for("credential.revoked").await.json()["data"]["versions"], json!([3]));
    for seen in receiver.seen() {
        for hidden in [&first, &second, &third, &desk.key, &verifier] {
            assert!(!seen.body.contains(hidden.as_str()), "{}", seen.body);
        }
        assert!(!seen.body.contains("Very Private Name") && !seen.body.contains("free text"));
    }
    // The second grace period ended before it was about to: nobody is warned of it.
    desk.advance(3_600);
    desk.rotate(&desk.issue().await.0, json!({})).await;
    until("the last rotation is told", async || told("secret.rotated") == 3).await;
    assert_eq!(told("secret.expiring"), 1);
}

#[tokio::test]
async fn a_grace_period_that_runs_already_is_told_of_to_who_comes_later() {
    let (desk, receiver) = (Desk::new().await, Receiver::start());
    let (id, ..) = desk.issue().await;
    desk.rotate(&id, json!({ "gracePeriodSeconds": 600 })).await;
    let types = json!(["secret.expiring"]);
    let (webhook, _) =
        desk.register(json!({ "url": receiver.url, "types": types, "expiryLeadSeconds": 60 })).await;
    until("it is planned", async || desk.deliveries(&webhook).await.len() == 1).await;
    assert_eq!(desk.deliveries(&webhook).await[0]["nextAttemptAt"], "2027-01-15T08:09:00.000000Z");
    // A longer lead moves it.
    let path = format!("/v1/webhooks/{webhook}");
    let patched = desk.server.patch(&desk.admin(), &path, &json!({ "expiryLeadSeconds": 300 })).await;
    assert_eq!(patched.status, 200);
    let next = async || desk.deliveries(&webhook).await.first().map(|d| d["nextAttemptAt"].clone());
    until("it is moved", async || next().await == Some(json!("2027-01-15T08:05:00.000000Z"))).await;
    desk.advance(300);
    assert_eq!(receiver.wait(1).await[0].name(), "secret.expiring");
}

#[tokio::test]
async fn a_webhook_hears_the_types_that_it_asked_for_of_its_own_workspace() {
    let (desk, receiver, other) = (Desk::new().await, Receiver::start(), Receiver::start());
    desk.register(json!({ "url": receiver.url, "types": ["credential.revoked"] })).await;
    let foreign = Desk::new().await;
    foreign.register(json!({ "url": other.url })).await;
    let (id, ..) = desk.issue().await;
    desk.rotate(&id, json!({})).await;
    let path = format!("/v1/credentials/{id}/revoke");
    desk.server.post(&desk.admin(), &path, &json!({})).await;
    receiver.wait(1).await;
    assert_eq!(
        receiver.seen().iter().map(crate::receiver::Seen::name).collect::<Vec<_>>(),
        ["credential.revoked"]
    );
    // Another workspace of the same server.
    let workspace = desk.server.workspace("other").await;
    let key = desk.server.key(&workspace, &["admin"]).await;
    let body = json!({ "url": other.url });
    assert_eq!(desk.server.post(&As::Bearer(&key), "/v1/webhooks", &body).await.status, 201);
    let (id, ..) = desk.issue().await;
    desk.server.post(&desk.admin(), &format!("/v1/credentials/{id}/revoke"), &json!({})).await;
    receiver.wait(2).await;
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn while_a_webhooks_secret_retires_deliveries_carry_both_signatures() {
    let (desk, receiver) = (Desk::new().await, Receiver::start());
    let (webhook, old) = desk.register(json!({ "url": receiver.url, "types": ["credential.revoked"] })).await;
    let path = format!("/v1/webhooks/{webhook}/rotate-secret");
    let body = json!({ "gracePeriodSeconds": 3_600 });
    let rotated = desk.server.post(&desk.admin(), &path, &body).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let new = rotated.json()["secret"].as_str().unwrap().to_owned();
    assert!(new.starts_with("whsec_") && new != old);
    assert_eq!(rotated.json()["oldSecretExpiresAt"], "2027-01-15T09:00:00.000000Z");
    assert_eq!(rotated.header("cache-control"), "no-store");

    let (id, ..) = desk.issue().await;
    desk.server.post(&desk.admin(), &format!("/v1/credentials/{id}/revoke"), &json!({})).await;
    let both = receiver.wait(1).await[0].clone();
    assert_eq!(both.signatures(), 2);
    assert!(both.is_signed_with(&old) && both.is_signed_with(&new));

    desk.advance(3_600);
    let (id, ..) = desk.issue().await;
    desk.server.post(&desk.admin(), &format!("/v1/credentials/{id}/revoke"), &json!({})).await;
    let one = receiver.wait(2).await[1].clone();
    assert_eq!(one.signatures(), 1);
    assert!(one.is_signed_with(&new) && !one.is_signed_with(&old));
}

#[tokio::test]
async fn a_webhook_whose_secret_is_revoked_is_sent_nothing_unsigned() {
    let (desk, receiver) = (Desk::new().await, Receiver::start());
    let (webhook, _) = desk.register(json!({ "url": receiver.url })).await;
    let path = format!("/v1/credentials/{webhook}/revoke");
    assert_eq!(desk.server.post(&desk.admin(), &path, &json!({})).await.status, 200);
    until("it is disabled", async || desk.webhook(&webhook).await["status"] == "disabled").await;
    assert_eq!(desk.webhook(&webhook).await["disabledCause"], "secret-revoked");
    assert_eq!(receiver.seen().len(), 0);
    let path = format!("/v1/webhooks/{webhook}");
    let enabled = desk.server.patch(&desk.admin(), &path, &json!({ "enabled": true })).await;
    assert_eq!((enabled.status.as_u16(), &enabled.json()["field"]), (400, &Value::from("enabled")));
}
