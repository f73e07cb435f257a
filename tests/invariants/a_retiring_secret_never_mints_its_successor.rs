//! A secret in its grace period can be used, and can't make the next one.

use serde_json::json;

use crate::support::Service;

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
