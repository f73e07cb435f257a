//! A desk to set everything up.

use std::time::Duration;

use rota::egress::Egress;
use serde_json::{Value, json};

use crate::support::{As, Home, OPERATOR, Server};
pub use crate::support::{Receiver, Seen};

/// A server whose webhooks may lead to this machine, with a workspace and its keys.
pub struct Desk {
    pub home: Home,
    pub server: Server,
    pub workspace: String,
    pub key: String,
}

impl Desk {
    pub async fn new() -> Self {
        Self::with(Egress::new(true)).await
    }

    pub async fn with(egress: Egress) -> Self {
        let mut home = Home::new();
        home.egress = egress;
        let server = home.serve().await;
        let workspace = server.workspace("acme").await;
        let key = server.key(&workspace, &["admin"]).await;
        Self { home, server, workspace, key }
    }

    pub fn admin(&self) -> As<'_> {
        As::Bearer(&self.key)
    }

    /// Registers a webhook: its id and secret.
    pub async fn register(&self, body: Value) -> (String, String) {
        let reply = self.server.post(&self.admin(), "/v1/webhooks", &body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let made = reply.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&made["webhook"]["id"]), text(&made["secret"]))
    }

    /// Issues a credential: its id, public id and secret.
    pub async fn issue(&self) -> (String, String, String) {
        let body = json!({ "kind": "client", "name": "Very Private Name" });
        let made = self.server.post(&self.admin(), "/v1/credentials", &body).await.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let secrets = &made["secrets"];
        (text(&made["credential"]["id"]), text(&secrets["clientId"]), text(&secrets["clientSecret"]))
    }

    /// Rotates a credential: the new secret.
    pub async fn rotate(&self, id: &str, body: Value) -> String {
        let path = format!("/v1/credentials/{id}/rotate");
        let reply = self.server.post(&self.admin(), &path, &body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["secrets"]["clientSecret"].as_str().unwrap().to_owned()
    }

    pub async fn webhook(&self, id: &str) -> Value {
        self.server.get(&self.admin(), &format!("/v1/webhooks/{id}")).await.json()
    }

    pub async fn deliveries(&self, id: &str) -> Vec<Value> {
        let reply = self.server.get(&self.admin(), &format!("/v1/webhooks/{id}/deliveries?limit=1000")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["items"].as_array().unwrap().clone()
    }

    /// The data of the events of a type, oldest first.
    pub async fn events(&self, name: &str) -> Vec<Value> {
        let path = format!("/v1/events?type={name}&limit=1000");
        let page = self.server.get(&As::Bearer(OPERATOR), &path).await.json();
        page["items"].as_array().unwrap().iter().map(|event| event["data"].clone()).collect()
    }

    pub fn advance(&self, seconds: u64) {
        self.home.clock.advance(Duration::from_secs(seconds));
    }
}
