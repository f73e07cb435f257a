//! Erasing what is personal about events leaves the events, and every proof about them, as they were.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection};

use crate::support::{Caller, Service, text};

/// Each event's leaf, and whether anything of its details is there.
async fn stored(database: &Path) -> Vec<(Vec<u8>, bool)> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database).read_only(true);
    let mut connection = options.connect().await.unwrap();
    let rows = sqlx::query_as(
        "SELECT leaf, details IS NOT NULL OR details_key IS NOT NULL FROM events JOIN sealed USING (position) \
         ORDER BY position",
    );
    let rows = rows.fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows
}

/// The positions of the events about a credential.
async fn positions(caller: &Caller, id: &str) -> Vec<usize> {
    let page = caller.get(&format!("/v1/credentials/{id}/history?limit=1000")).await.expect(200).json();
    page["items"].as_array().unwrap().iter().map(|e| e["position"].as_u64().unwrap() as usize).collect()
}

async fn erase(caller: &Caller, path: &str) -> (u64, Option<usize>) {
    let reply = caller.post(&format!("{path}/erase-details"), json!({})).await.expect(200);
    let position = reply.headers.get("rota-position").map(|p| p.to_str().unwrap().parse().unwrap());
    (reply.json()["erasedEvents"].as_u64().unwrap(), position)
}

/// If this fails, a person's data can't be erased, or erasing it breaks the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_leaves_its_event() {
    let mut service = Service::start().await;
    let operator = service.operator.clone();
    let workspace = operator.open_workspace("w").await;
    let (.., admin) = operator.workspace_key(&workspace, &["admin"]).await;
    let (.., rotator) = operator.workspace_key(&workspace, &["rotator"]).await;
    let foreign = operator.open_workspace("foreign").await;
    let (.., stranger) = operator.workspace_key(&foreign, &["admin"]).await;

    let (id, public, _) = admin.issue(&workspace, "client").await;
    let path = format!("/v1/credentials/{id}");
    let secret = admin.rotate(&id, json!({ "reason": "Anna has left" })).await;
    let (other, ..) = admin.issue(&workspace, "client").await;

    // Whoever may not, and what makes no sense, changes nothing.
    let body = json!({ "reason": "she asked for it" });
    let reply = admin.post(&format!("{path}/erase-details"), body).await.expect(400);
    assert_eq!(reply.json()["field"], "reason");
    let refused = rotator.post(&format!("{path}/erase-details"), json!({})).await.expect(403);
    assert_eq!(refused.code(), "forbidden");

    let about = positions(&operator, &id).await;
    let before = stored(&service.path()).await;
    let had: Vec<_> = about.iter().filter(|at| before[**at].1).collect();
    assert_eq!(had.len(), 2, "issue and rotation have details");

    let (erased, position) = erase(&admin, &path).await;
    assert_eq!(erased, 2);
    let after = stored(&service.path()).await;
    for (at, (leaf, details)) in before.iter().enumerate() {
        assert_eq!(&after[at].0, leaf, "the leaf at {at} is as it was");
        assert_eq!(after[at].1, *details && !about.contains(&at), "details at {at}");
    }
    // The ledger says what was destroyed, and by whom.
    let says: Value = serde_json::from_slice(&after[position.unwrap()].0).unwrap();
    assert_eq!(says["type"], "rota.workspace.sealed-parts-shredded.v1");
    assert_eq!(says["actor"]["kind"], "workspace-key");
    let parts: Vec<_> = had.iter().map(|at| json!({ "position": at, "part": "details" })).collect();
    assert_eq!(says["data"]["parts"], json!(parts));

    // The credential is what it was, but for its name; others keep theirs.
    let seen = admin.get(&path).await.expect(200).json();
    assert_eq!((&seen["name"], &seen["status"]), (&Value::Null, &json!("active")));
    assert!(operator.verifies(&public, &secret).await);
    let seen = admin.get(&format!("/v1/credentials/{other}")).await.expect(200).json();
    assert_eq!(text(&seen["name"]), "app");
    assert_eq!(erase(&admin, &path).await, (0, None), "nothing is left to erase");

    // One event, also one that is about no credential; never another workspace's.
    let issued = positions(&operator, &other).await[0];
    let one = format!("/v1/events/{issued}");
    let there = stranger.post(&format!("{one}/erase-details"), json!({})).await.expect(404);
    let nowhere = stranger.post("/v1/events/123456789/erase-details", json!({})).await.expect(404);
    assert_eq!(there.json()["detail"], nowhere.json()["detail"]);
    assert_eq!(erase(&admin, &one).await.0, 1);
    assert_eq!(erase(&admin, &one).await, (0, None));
    assert_eq!(erase(&operator, "/v1/events/2").await.0, 1);

    // The ledger verifies, and what is gone is gone after a restart.
    service
        .restart(|service| {
            let store = format!("sqlite:{}", service.path().display());
            let verify = Command::new(env!("CARGO_BIN_EXE_rota"))
                .args(["verify", "--store", &store])
                .env_remove("ROTA_URL")
                .output()
                .unwrap();
            assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
        })
        .await;
    let seen = service.operator.get(&path).await.expect(200).json();
    assert_eq!(seen["name"], Value::Null);
}
