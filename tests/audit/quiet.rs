//! Whether an old secret can go, and grace periods that end or go on with its use.

use rota_aggregates::Timestamp;
use serde_json::{Value, json};

use crate::support::{Caller, Service, text};

const HELD: &str = "rota.credential.grace-held.v1";
const EXPIRED: &str = "rota.credential.old-secret-expired.v1";

async fn set_policy(operator: &Caller, workspace: &str, policy: Value) {
    let path = format!("/v1/workspaces/{workspace}/policy");
    let body = policy.to_string().into_bytes();
    operator.send(reqwest::Method::PUT, &path, &[], Some(body)).await.unwrap().expect(200);
}

async fn status(caller: &Caller, id: &str) -> Value {
    caller.get(&format!("/v1/credentials/{id}/rotation-status?quietSeconds=600")).await.expect(200).json()
}

/// The data of the last event of a type about a credential.
async fn last(operator: &Caller, name: &str, id: &str) -> Value {
    let page = operator.get(&format!("/v1/events?type={name}&subject={id}")).await.expect(200).json();
    page["items"].as_array().unwrap().last().map(|event| event["data"].clone()).unwrap_or_default()
}

/// If this fails, a secret that somebody uses is said to be safe to end.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_whether_the_old_secret_is_quiet_and_what_ending_it_would_break() {
    let service = Service::start().await;
    let (operator, clock) = (&service.operator, &service.clock);
    let workspace = operator.open_workspace("quiet").await;
    let (id, public, old) = operator.issue(&workspace, "client").await;
    let verdict = async || {
        let status = status(operator, &id).await;
        (
            text(&status["endingNow"]["verdict"]),
            status["quiet"].clone(),
            status["old"]["minutesInUse"].clone(),
        )
    };
    assert_eq!(verdict().await, ("nothing-to-end".to_owned(), Value::Null, Value::Null));
    let start: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let new = operator.rotate(&id, json!({ "gracePeriodSeconds": 86_400 })).await;
    assert_eq!(verdict().await, ("in-use".to_owned(), json!(false), json!(0)));
    // Used in three minutes, more than once in each.
    for second in [0, 30, 60, 61, 125] {
        clock.set(start.plus_seconds(second));
        assert!(operator.verifies(&public, &old).await);
    }
    let seen = status(operator, &id).await;
    assert_eq!(seen["old"]["firstUsedAt"], start.to_string());
    assert_eq!(seen["old"]["lastUsedAt"], start.plus_seconds(125).to_string());
    assert_eq!(seen["old"]["minutesInUse"], 3);
    // Later in that minute another use would not have been recorded.
    clock.set(start.plus_seconds(180 + 599));
    assert_eq!(verdict().await.0, "in-use");
    assert_eq!(status(operator, &id).await["quietSince"], "2027-01-01T00:02:59.999999Z");
    clock.set(start.plus_seconds(180 + 600));
    assert_eq!(verdict().await, ("new-secret-unused".to_owned(), json!(true), json!(3)));
    assert!(operator.verifies(&public, &new).await);
    assert_eq!(verdict().await.0, "safe");
    operator.post(&format!("/v1/credentials/{id}/expire-old"), json!({})).await.expect(200);
    assert_eq!(verdict().await.0, "nothing-to-end");

    let (_, _, auditor) = operator.workspace_key(&workspace, &["auditor"]).await;
    status(&auditor, &id).await;
    let elsewhere = operator.open_workspace("elsewhere").await;
    let (_, _, stranger) = operator.workspace_key(&elsewhere, &["admin"]).await;
    stranger.get(&format!("/v1/credentials/{id}/rotation-status")).await.expect(404);
    for bad in ["quietSeconds=59", "quietSeconds=x", "colour=red"] {
        operator.get(&format!("/v1/credentials/{id}/rotation-status?{bad}")).await.expect(400);
    }
    let path = format!("/v1/workspaces/{workspace}/policy");
    for field in ["endGraceWhenQuietSeconds", "holdGraceWhileUsedSeconds"] {
        let body = json!({ field: 59 }).to_string().into_bytes();
        let refused = operator.send(reqwest::Method::PUT, &path, &[], Some(body)).await.unwrap().expect(400);
        assert_eq!(refused.json()["field"], field);
    }
}

/// If this fails, an old secret lives on that nobody uses, or one dies that somebody does.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_grace_period_ends_early_where_the_policy_says_so() {
    let mut service = Service::start().await;
    let clock = service.clock.clone();
    let operator = service.operator.clone();
    let workspace = operator.open_workspace("early").await;
    set_policy(&operator, &workspace, json!({ "endGraceWhenQuietSeconds": 600 })).await;
    let start: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let (id, public, old) = operator.issue(&workspace, "client").await;
    let (unused, unused_public, unused_old) = operator.issue(&workspace, "client").await;
    let new = operator.rotate(&id, json!({ "gracePeriodSeconds": 86_400 })).await;
    operator.rotate(&unused, json!({ "gracePeriodSeconds": 86_400 })).await;
    clock.set(start.plus_seconds(300));
    assert!(operator.verifies(&public, &old).await && operator.verifies(&public, &new).await);
    // The policy, and what is known of uses, outlive a restart.
    service.restart(|_| ()).await;
    let operator = service.operator.clone();
    clock.set(start.plus_seconds(360 + 599));
    service.app().settled().await.unwrap();
    assert!(operator.verifies(&public, &new).await);
    assert!(!operator.history(&id).await.iter().any(|name| name == EXPIRED), "it was used too lately");
    clock.set(start.plus_seconds(360 + 640));
    Service::until(|| async { operator.history(&id).await.iter().any(|name| name == EXPIRED) }).await;
    assert_eq!(last(&operator, EXPIRED, &id).await["cause"], "quiet");
    assert!(!operator.verifies(&public, &old).await && operator.verifies(&public, &new).await);
    // Nobody has shown that the new secret arrived: the old one stays.
    assert!(operator.verifies(&unused_public, &unused_old).await);
}

/// If this fails, a secret that is in use dies although the policy holds it, or lives for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_grace_period_goes_on_while_the_old_secret_is_used_up_to_the_longest() {
    let service = Service::start().await;
    let (operator, clock) = (&service.operator, &service.clock);
    let workspace = operator.open_workspace("held").await;
    let policy = json!({ "holdGraceWhileUsedSeconds": 600, "maxGraceSeconds": 1_500 });
    set_policy(operator, &workspace, policy).await;
    let start: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let (used, public, old) = operator.issue(&workspace, "client").await;
    let (idle, idle_public, idle_old) = operator.issue(&workspace, "client").await;
    for id in [&used, &idle] {
        operator.rotate(id, json!({ "gracePeriodSeconds": 600 })).await;
    }
    let held = async |until: u64| {
        let until = start.plus_seconds(until).to_string();
        Service::until(|| async { last(operator, HELD, &used).await["expiresAt"] == json!(until) }).await;
    };
    clock.set(start.plus_seconds(420));
    assert!(operator.verifies(&public, &old).await);
    clock.set(start.plus_seconds(490));
    held(1_200).await;
    clock.set(start.plus_seconds(600));
    assert!(operator.verifies(&public, &old).await, "its grace period goes on");
    assert!(!operator.verifies(&idle_public, &idle_old).await, "nobody used this one");
    clock.set(start.plus_seconds(1_100));
    held(1_500).await;
    clock.set(Timestamp::from_micros(start.plus_seconds(1_500).micros() - 1));
    assert!(operator.verifies(&public, &old).await);
    // No longer than the longest grace period that there may be.
    clock.set(start.plus_seconds(1_500));
    assert!(!operator.verifies(&public, &old).await);
    Service::until(|| async { operator.history(&used).await.iter().any(|name| name == EXPIRED) }).await;
    assert_eq!(operator.history(&used).await.iter().filter(|name| *name == HELD).count(), 2);
    let query = format!("/v1/reports/old-secrets?workspaceId={workspace}&credentialId={used}");
    let report = operator.get(&query).await.expect(200).json();
    let row = &report["rows"][0];
    assert_eq!((&row["held"], &row["uses"], &row["ended"]), (&json!(2), &json!(3), &json!("grace-over")));
}
