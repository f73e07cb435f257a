//! Another workspace's things answer exactly as things that do not exist.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Service;

/// What an answer says, without what is different in every answer.
fn essence(reply: &crate::support::Reply) -> (u16, Value) {
    let mut body = reply.json();
    if let Some(members) = body.as_object_mut() {
        members.remove("requestId");
        members.remove("instance");
    }
    (reply.status.as_u16(), body)
}

/// If this fails, one customer can see, change or find out about what another one has.
#[tokio::test(flavor = "multi_thread")]
async fn workspaces_are_sealed_off() {
    let service = Service::start().await;
    let operator = &service.operator;
    let (ours, theirs) = (operator.open_workspace("ours").await, operator.open_workspace("theirs").await);
    let (.., us) = operator.workspace_key(&ours, &["admin", "verifier", "auditor"]).await;
    let (mine, ..) = us.issue(&ours, "client").await;
    let (foreign, public, secret) = operator.issue(&theirs, "client").await;
    let unknown = "01a1fc7a-a32d-7135-bec6-8ab4251616c7";

    let before = operator.events().await;
    for (method, path) in [
        (Method::GET, ""),
        (Method::GET, "/history"),
        (Method::POST, "/rotate"),
        (Method::POST, "/rotations"),
        (Method::POST, "/rotations/commit"),
        (Method::POST, "/rotations/cancel"),
        (Method::POST, "/expire-old"),
        (Method::POST, "/revoke"),
        (Method::POST, "/versions/1/revoke"),
        (Method::POST, "/erase-details"),
    ] {
        let ask = async |id: &str| {
            us.send(method.clone(), &format!("/v1/credentials/{id}{path}"), &[], None).await.unwrap()
        };
        let (there, nowhere) = (ask(&foreign).await, ask(unknown).await);
        assert_eq!(there.status, 404, "{method} {path}");
        assert_eq!(essence(&there), essence(&nowhere), "{method} {path}");
    }
    for path in ["/v1/credentials?workspaceId=", "/v1/events?workspaceId=", "/v1/workspaces/"] {
        let there = us.get(&format!("{path}{theirs}")).await;
        let nowhere = us.get(&format!("{path}{unknown}")).await;
        assert_eq!(there.status, 404, "{path}");
        assert_eq!(essence(&there), essence(&nowhere), "{path}");
    }
    // A right pair of another workspace's is as wrong as a wrong one, and leaves no trace of the question.
    let pair = json!({ "publicId": public, "secret": secret });
    let asked = us.post("/v1/verify", pair).await.expect(200);
    assert_eq!(asked.json(), json!({ "active": false }));
    assert_eq!(operator.events().await, before);

    let listed = us.get("/v1/credentials").await.expect(200).json();
    let ids: Vec<_> = listed["items"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [mine.as_str()]);
    let events = us.get("/v1/events?limit=1000").await.expect(200).json();
    assert!(events["items"].as_array().unwrap().iter().all(|e| e["workspaceid"] == ours.as_str()));
    let about = us.get(&format!("/v1/events?subject={foreign}")).await.expect(200).json();
    assert_eq!(about["items"], json!([]));
}
