//! A process that dies loses no notice.

use std::collections::BTreeSet;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::support::{OPERATOR, Process, rota, until};

async fn call(client: &Client, url: &str, method: Method, path: &str, body: Value) -> Option<Value> {
    let request = client.request(method, format!("{url}{path}")).bearer_auth(OPERATOR).json(&body);
    request.send().await.ok()?.json().await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rotation_that_was_recorded_is_told_though_the_process_is_killed() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new();
    let receiver = Receiver::start();
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = rota(folder.path());
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.env("ROTA_OPERATOR_KEY", OPERATOR).env("ROTA_ALLOW_PRIVATE_NETWORKS", "true");
        Process::start(command)
    };
    let mut process = start();
    let post = async |url: &str, path: &str, body| call(&client, url, Method::POST, path, body).await;
    let workspace = post(&process.url, "/v1/workspaces", json!({ "name": "w" })).await.unwrap()["id"].clone();
    let body = json!({ "url": receiver.url, "types": ["secret.rotated"], "workspaceId": workspace });
    let made = post(&process.url, "/v1/webhooks", body).await.unwrap();
    assert_eq!(made["webhook"]["status"], "enabled", "{made}");
    let body = json!({ "kind": "client", "name": "c", "workspaceId": workspace });
    let issued = post(&process.url, "/v1/credentials", body).await.unwrap();
    let path = format!("/v1/credentials/{}/rotate", issued["credential"]["id"].as_str().unwrap());
    for round in 0..4u64 {
        let url = process.url.clone();
        let rotations = async { while post(&url, &path, json!({})).await.is_some() {} };
        // The instant does not matter: somewhere between a rotation, its writing down and its delivery.
        let soon = tokio::time::sleep(std::time::Duration::from_millis(150 + 70 * round));
        tokio::select! { () = rotations => {}, () = soon => {} }
        process.kill();
        process = start();
    }
    let mut recorded = BTreeSet::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/events?type=rota.credential.secret-rotated.v1&limit=1000{after}");
        let page = call(&client, &process.url, Method::GET, &path, json!({})).await.unwrap();
        let ids = page["items"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned());
        recorded.extend(ids);
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert!(recorded.len() > 8, "{}", recorded.len());
    let told = || receiver.seen().iter().map(|s| s.header("webhook-id").to_owned()).collect::<BTreeSet<_>>();
    until("every rotation is told", async || told() == recorded).await;
}
