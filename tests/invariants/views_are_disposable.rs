//! Dropping every projection and replaying gives the same bytes.

use rota_aggregates::Position;
use serde_json::json;

use crate::support::Service;

fn bytes(tip: &rota::log::tip::Tip) -> Vec<u8> {
    let mut bytes = Vec::new();
    tip.live.encode_slots(0, usize::MAX >> 1, &mut bytes);
    tip.live.encode_rest(&mut bytes);
    tip.replays.encode(&mut bytes);
    bytes
}

/// If this fails, what people are shown is not what the ledger says.
#[tokio::test(flavor = "multi_thread")]
async fn views_are_disposable() {
    let mut service = Service::start().await;
    let operator = service.operator.clone();
    for name in ["one", "two"] {
        let workspace = operator.open_workspace(name).await;
        operator.workspace_key(&workspace, &["auditor"]).await;
        for kind in ["client", "exchange", "signing"] {
            let (id, public, secret) = operator.issue(&workspace, kind).await;
            let named = [("idempotency-key", id.as_str())];
            let path = format!("/v1/credentials/{id}/rotate");
            let body = Some(br#"{"gracePeriodSeconds":60}"#.to_vec());
            operator.send(reqwest::Method::POST, &path, &named, body).await.unwrap().expect(200);
            operator.verifies(&public, &secret).await;
            operator.post(&format!("/v1/credentials/{id}/rotations"), json!({})).await.expect(200);
        }
        let (id, ..) = operator.issue(&workspace, "client").await;
        operator.post(&format!("/v1/credentials/{id}/revoke"), json!({})).await.expect(200);
    }
    let app = service.app();
    app.settled().await.unwrap();
    let (views, next) = (app.views().dump().await.unwrap(), app.log().next().await.unwrap());
    let live = bytes(&app.tip().tip.read());
    assert!(views.len() > 100 && live.len() > 1_000);

    let folded = app.fold_until(Position(next.0)).await.unwrap();
    assert_eq!(bytes(&folded), live, "the live view, folded from nothing");
    app.rebuild(|_, _| ()).await.unwrap();
    assert_eq!(app.views().dump().await.unwrap(), views, "the views on disk, rebuilt");

    // And with the files gone: views, snapshots.
    service
        .restart(|service| {
            for file in std::fs::read_dir(service.home.folder.path()).unwrap().flatten() {
                let name = file.file_name().into_string().unwrap();
                if name.contains("views") || name.contains("snapshot") {
                    std::fs::remove_file(file.path()).unwrap();
                }
            }
        })
        .await;
    let app = service.app();
    app.settled().await.unwrap();
    assert_eq!(app.views().dump().await.unwrap(), views);
    assert_eq!(bytes(&app.tip().tip.read()), live);
}
