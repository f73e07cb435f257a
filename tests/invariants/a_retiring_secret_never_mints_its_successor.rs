//! A secret in its grace period can be used, and can't make the next one.

use std::time::Duration;

use reqwest::Method;
use rota::app::clock::Clock;
use serde_json::json;

use crate::signer::Signer;
use crate::signing::{REGENERATE, opens, regenerate, signed};
use crate::support::{As, Service};

/// If this fails, whoever steals an old secret can lock its owner out.
#[tokio::test(flavor = "multi_thread")]
async fn a_retiring_secret_never_mints_its_successor() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("retiring").await;
    let (id, public, old) = operator.issue(&workspace, "client").await;
    let path = format!("/v1/credentials/{id}");
    let itself = operator.with_basic(&public, &old);
    // While it is current it may rotate itself.
    let rotated =
        itself.post(&format!("{path}/rotate"), json!({ "gracePeriodSeconds": 600 })).await.expect(200);
    let new = crate::support::pair(&rotated.json()["secrets"]).1;

    itself.get(&path).await.expect(200);
    for route in ["rotate", "rotations"] {
        let refused = itself.post(&format!("{path}/{route}"), json!({})).await.expect(403);
        assert_eq!(refused.code(), "retiring-secret");
    }
    // It is recorded once a minute, however often it is tried.
    let history = operator.history(&id).await;
    assert_eq!(history.iter().filter(|t| t.contains("rotation-refused")).count(), 1);
    assert_eq!(history.iter().filter(|t| t.contains("rotated")).count(), 1);
    operator.with_basic(&public, &new).post(&format!("{path}/rotate"), json!({})).await.expect(200);
}

/// If this fails, a workspace key on its way out leaves a way in behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_retiring_key_leaves_no_key_behind() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("keys").await;
    let (id, _, old) = operator.workspace_key(&workspace, &["admin"]).await;
    let (other, ..) = operator.workspace_key(&workspace, &["rotator"]).await;
    operator
        .post(&format!("/v1/credentials/{id}/rotate"), json!({ "gracePeriodSeconds": 600 }))
        .await
        .expect(200);
    old.get("/v1/credentials").await.expect(200);
    let key = json!({ "name": "n", "roles": ["admin"], "mode": "prod" });
    let made = old.post(&format!("/v1/workspaces/{workspace}/keys"), key).await;
    assert_eq!(made.expect(403).code(), "retiring-secret");
    let admin = json!({ "kind": "client", "name": "n", "roles": ["admin"] });
    assert_eq!(old.post("/v1/credentials", admin).await.expect(403).code(), "retiring-secret");
    for target in [&id, &other] {
        let rotated = old.post(&format!("/v1/credentials/{target}/rotate"), json!({})).await;
        assert_eq!(rotated.expect(403).code(), "retiring-secret");
    }
}

/// If this fails, a signing secret on its way out, or one request that somebody saw, makes the next secret.
#[tokio::test(flavor = "multi_thread")]
async fn neither_a_retiring_signature_nor_a_captured_one_mints_a_successor() {
    let mut service = Service::start().await;
    let workspace = service.operator.open_workspace("signing").await;
    let (id, public, secret) = service.operator.issue(&workspace, "signing").await;
    let old = Signer::new(&public, &secret);
    let graceful = r#"{"oldSecretValidForSeconds":300}"#;
    let captured = old.headers(service.clock.now().micros() / 1_000, "POST", REGENERATE, graceful);
    let captured: Vec<(&str, &str)> = captured.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let capture = async |service: &Service| {
        let body = Some(graceful.as_bytes().to_vec());
        service.operator.with(&As::Nobody).send(Method::POST, REGENERATE, &captured, body).await.unwrap()
    };
    let first = capture(&service).await.expect(200);
    let new = Signer::new(&public, first.json()["secret"].as_str().unwrap());

    capture(&service).await.expect(401);
    assert!(opens(&service, &old).await && opens(&service, &new).await);
    for _ in 0..2 {
        assert_eq!(regenerate(&service, &old, graceful).await.unwrap_err().status, 403);
    }
    service.restart(|_| ()).await;
    capture(&service).await.expect(401);
    // Up to the last millisecond of its grace period, and after it in another way.
    service.clock.advance(Duration::from_millis(299_996));
    assert_eq!(regenerate(&service, &old, graceful).await.unwrap_err().status, 403);
    assert_eq!(regenerate(&service, &old, graceful).await.unwrap_err().status, 401);
    capture(&service).await.expect(401);
    let history = service.operator.history(&id).await;
    assert_eq!(history.iter().filter(|t| t.contains("rotated")).count(), 1);
    assert!(signed(&service, &new, Method::POST, REGENERATE, "{}", &[]).await.status == 200);
}

/// If this fails, a stolen token of an old secret locks its owner out.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_retiring_secret_mints_nothing() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("sessions").await;
    let (id, public, old) = operator.issue(&workspace, "exchange").await;
    let (_, before) = operator.session(&public, &old).await;
    let rotated = operator
        .post(&format!("/v1/credentials/{id}/rotate"), json!({ "gracePeriodSeconds": 60 }))
        .await
        .expect(200)
        .json();
    let end: rota_aggregates::Timestamp =
        crate::support::text(&rotated["oldSecretExpiresAt"]).parse().unwrap();
    let (_, retiring) = operator.session(&public, &old).await;
    let rotate = "/api/v1/authorize/rotate-secret";
    let headers = [crate::support::FLUIDE_CLIENT];
    let millisecond = 1_000;
    for (at, status) in [(end.micros() - millisecond, [403, 403]), (end.micros(), [401, 403])] {
        service.clock.set(rota_aggregates::Timestamp::from_micros(at));
        for (session, status) in [&retiring, &before].into_iter().zip(status) {
            let reply = session.send(reqwest::Method::POST, rotate, &headers, None).await.unwrap();
            reply.expect(status);
            let own = format!("/v1/credentials/{id}/rotate");
            session.post(&own, json!({})).await.expect(status);
        }
    }
    let history = operator.history(&id).await;
    assert_eq!(history.iter().filter(|t| t.contains("rotated")).count(), 1);
    let new = crate::support::pair(&rotated["secrets"]).1;
    let (_, current) = operator.session(&public, &new).await;
    current.send(reqwest::Method::POST, rotate, &headers, None).await.unwrap().expect(201);
}
