//! Dead is dead across replicas on the protocol double of EventStoreDB: the built program, as processes.

use std::time::Duration;

use esdb_double::Double;
use serde_json::json;

use crate::process::Process;

/// If this fails, a secret whose end was answered at one replica lets others in at another.
#[tokio::test(flavor = "multi_thread")]
async fn dead_is_dead_across_replicas_on_esdb() {
    let double = Double::start().await;
    let url = double.url();
    let replicas = [Process::start(&url, 0).await, Process::start(&url, 0).await];
    let [one, other] = [&replicas[0].operator, &replicas[1].operator];
    let workspace = one.open_workspace("dead").await;
    let (id, public, mut secret) = other.issue(&workspace, "client").await;
    for round in 0..40 {
        let (here, there) = if round % 2 == 0 { (one, other) } else { (other, one) };
        let new = here.rotate(&id, json!({})).await;
        assert!(!there.verifies(&public, &secret).await, "round {round}: the old secret at another replica");
        assert!(there.verifies(&public, &new).await, "round {round}");
        secret = new;
    }
    let new = one.rotate(&id, json!({ "gracePeriodSeconds": 600 })).await;
    assert!(other.verifies(&public, &secret).await, "a retiring secret is valid everywhere");
    one.post(&format!("/v1/credentials/{id}/expire-old"), json!({})).await.expect(200);
    assert!(!other.verifies(&public, &secret).await, "an early end of grace");
    other.post(&format!("/v1/credentials/{id}/revoke"), json!({})).await.expect(200);
    assert!(!one.verifies(&public, &new).await, "a revoked credential");
    let (key_id, key, _) = one.workspace_key(&workspace, &["admin"]).await;
    let there = other.with_bearer(&key);
    there.get("/v1/credentials").await.expect(200);
    one.post(&format!("/v1/credentials/{key_id}/revoke"), json!({})).await.expect(200);
    there.get("/v1/credentials").await.expect(401);
    // Without the cluster nobody can know what is dead.
    double.go_away();
    let body = json!({ "publicId": public, "secret": new });
    one.post("/v1/verify", body.clone()).await.expect(503);
    double.come_back();
    let back = async {
        while one.post("/v1/verify", body.clone()).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.expect("it serves again");
    assert!(!one.verifies(&public, &new).await, "still revoked");
}
