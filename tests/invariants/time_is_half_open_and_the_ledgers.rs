//! A retiring secret is valid while now < expiresAt and refused from that instant on; the expiry is written
//! within a second after it, also after downtime.

use std::time::Duration;

use rota_aggregates::Timestamp;
use serde_json::json;

use crate::signer::Signer;
use crate::signing::{opens, regenerate};
use crate::support::{Service, text};

const EXPIRED: &str = "rota.credential.old-secret-expired.v1";

/// If this fails, a grace period is longer or shorter than was promised.
#[tokio::test(flavor = "multi_thread")]
async fn time_is_half_open_and_the_ledgers() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("time").await;
    for kind in ["client", "exchange", "signing"] {
        let (id, public, old) = operator.issue(&workspace, kind).await;
        let body = json!({ "gracePeriodSeconds": 3_600 });
        let reply = operator.post(&format!("/v1/credentials/{id}/rotate"), body).await.expect(200).json();
        let expires_at: Timestamp = text(&reply["oldSecretExpiresAt"]).parse().unwrap();

        for before in [1_000, 1] {
            service.clock.set(Timestamp::from_micros(expires_at.micros() - before));
            assert!(operator.verifies(&public, &old).await, "{before} µs before the end");
        }
        service.clock.set(expires_at);
        assert!(!operator.verifies(&public, &old).await, "at the end");
        let seen = operator.get(&format!("/v1/credentials/{id}")).await.expect(200).json();
        assert_eq!(seen["versions"][0]["status"], "expired");

        // The event follows by itself, says the instant, and is the only one.
        Service::until(|| async { operator.history(&id).await.iter().any(|t| t == EXPIRED) }).await;
        let page = operator.get(&format!("/v1/events?type={EXPIRED}&subject={id}")).await.expect(200).json();
        assert_eq!(page["items"].as_array().unwrap().len(), 1);
        assert_eq!(text(&page["items"][0]["data"]["expiredAt"]).parse::<Timestamp>().unwrap(), expires_at);
        let recorded: Timestamp = text(&page["items"][0]["time"]).parse().unwrap();
        assert!(recorded >= expires_at && recorded <= expires_at.plus_seconds(1));
    }
}

/// If this fails, downtime prolongs a grace period, or the end of one is never recorded.
#[tokio::test(flavor = "multi_thread")]
async fn what_fell_due_during_downtime_is_caught_up() {
    let mut service = Service::start().await;
    let workspace = service.operator.open_workspace("downtime").await;
    let (id, public, old) = service.operator.issue(&workspace, "client").await;
    service.operator.rotate(&id, json!({ "gracePeriodSeconds": 60 })).await;
    service.restart(|service| service.clock.advance(Duration::from_hours(2))).await;
    assert!(!service.operator.verifies(&public, &old).await);
    Service::until(|| async { service.operator.history(&id).await.iter().any(|t| t == EXPIRED) }).await;
}

/// If this fails, a clock that is set back brings dead secrets to life and events out of order.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_back_changes_nothing() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("back").await;
    let (id, public, old) = operator.issue(&workspace, "client").await;
    operator.rotate(&id, json!({ "gracePeriodSeconds": 60 })).await;
    service.clock.advance(Duration::from_mins(1));
    Service::until(|| async { operator.history(&id).await.iter().any(|t| t == EXPIRED) }).await;
    service.clock.set("2027-01-01T00:00:00Z".parse().unwrap());
    assert!(!operator.verifies(&public, &old).await);
    operator.rotate(&id, json!({})).await;
    let page = operator.get("/v1/events?limit=1000").await.expect(200).json();
    let times: Vec<_> = page["items"].as_array().unwrap().iter().map(|e| text(&e["time"])).collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// If this fails, a prepared secret that nobody used stays valid for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_rotation_ends_at_its_deadline() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("deadline").await;
    let (id, public, old) = operator.issue(&workspace, "client").await;
    let path = format!("/v1/credentials/{id}/rotations");
    let prepared = operator.post(&path, json!({ "deadlineSeconds": 600 })).await.expect(200).json();
    let deadline: Timestamp = text(&prepared["deadline"]).parse().unwrap();
    service.clock.set(deadline);
    assert!(!operator.verifies(&public, &crate::support::pair(&prepared["secrets"]).1).await);
    assert!(operator.verifies(&public, &old).await);
    let cancelled = "rota.credential.rotation-cancelled.v1";
    Service::until(|| async { operator.history(&id).await.iter().any(|t| t == cancelled) }).await;
}

/// If this fails, the past can't be asked for as it was.
#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_as_it_was() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("past").await;
    let (id, ..) = operator.issue(&workspace, "client").await;
    service.clock.advance(Duration::from_secs(10));
    operator.rotate(&id, json!({ "gracePeriodSeconds": 60 })).await;
    service.clock.advance(Duration::from_hours(1));
    operator.post(&format!("/v1/credentials/{id}/revoke"), json!({})).await.expect(200);
    let status = async |as_of: &str| {
        let path = format!("/v1/credentials/{id}?asOf={as_of}");
        let seen = operator.get(&path).await;
        if seen.status != 200 {
            return format!("{}", seen.status.as_u16());
        }
        let seen = seen.json();
        let versions = seen["versions"].as_array().unwrap().iter().map(|v| text(&v["status"]));
        format!("{}: {}", text(&seen["status"]), versions.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(status("2027-01-01T00:00:00Z").await, "active: active");
    assert_eq!(status("2027-01-01T00:00:10Z").await, "active: retiring active");
    assert_eq!(status("2027-01-01T00:01:09.999999Z").await, "active: retiring active");
    assert_eq!(status("2027-01-01T00:01:10Z").await, "active: expired active");
    assert_eq!(status("3").await, "active: active");
    assert_eq!(status("4").await, "active: retiring active");
    assert_eq!(status("2026-01-01T00:00:00Z").await, "404");
    assert_eq!(status("2099-01-01T00:00:00Z").await, "400");
    assert_eq!(status("yesterday").await, "400");
}

/// If this fails, a signature counts a millisecond longer or shorter than was promised.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_by_a_live_secret_to_the_millisecond() {
    let mut service = Service::start().await;
    let workspace = service.operator.open_workspace("signing").await;
    let (id, public, secret) = service.operator.issue(&workspace, "signing").await;
    let old = Signer::new(&public, &secret);
    let new = regenerate(&service, &old, r#"{"oldSecretValidForSeconds":3600}"#).await.unwrap();
    let begun = rota::app::clock::Clock::now(&*service.clock);
    // Both edges: from the rotation's own millisecond on, and up to the last one before its end.
    assert!(opens(&service, &old).await && opens(&service, &new).await);
    let end = begun.plus_seconds(3_600);
    service.clock.set(Timestamp::from_micros(end.micros() - 1_000));
    assert!(opens(&service, &old).await, "a millisecond before the end");
    service.clock.set(end);
    assert!(!opens(&service, &old).await, "at the end");
    assert!(opens(&service, &new).await);
    Service::until(|| async { service.operator.history(&id).await.iter().any(|t| t == EXPIRED) }).await;
    service.restart(|_| ()).await;
    assert!(!opens(&service, &old).await && opens(&service, &new).await);
}

/// If this fails, a token outlives the grace period of the secret that it was given for.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_retiring_secret_ends_with_it_to_the_millisecond() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("sessions").await;
    // Ends on a full second, and between two.
    for fraction in [Duration::ZERO, Duration::from_millis(500)] {
        service.clock.advance(fraction);
        let (id, public, old) = operator.issue(&workspace, "exchange").await;
        let body = json!({ "gracePeriodSeconds": 600 });
        let reply = operator.post(&format!("/v1/credentials/{id}/rotate"), body).await.expect(200).json();
        let end: Timestamp = text(&reply["oldSecretExpiresAt"]).parse().unwrap();
        let (given, session) = operator.session(&public, &old).await;
        assert_eq!(given["exp"], end.seconds());
        let last = if fraction.is_zero() { end } else { Timestamp::from_micros(end.seconds() * 1_000_000) };
        service.clock.set(Timestamp::from_micros(last.micros() - 1_000));
        session.current().await.expect(200);
        // Its secret lives to the end, whatever fits into a token.
        service.clock.set(Timestamp::from_micros(end.micros() - 1_000));
        let (given, _) = operator.session(&public, &old).await;
        assert!(given["exp"].as_i64().unwrap() <= end.seconds());
        service.clock.set(end);
        session.current().await.expect(401);
        operator.exchange(&public, &old).await.expect(401);
        let new = crate::support::pair(&reply["secrets"]).1;
        operator.exchange(&public, &new).await.expect(201);
    }
}
