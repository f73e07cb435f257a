//! What Hopae's tests share.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{As, Home, Reply, Server, send};

/// A workspace with an admin's key, on a server.
pub struct Hopae {
    pub home: Home,
    pub server: Server,
    pub workspace: String,
    pub key: String,
}

impl Hopae {
    pub async fn new() -> Self {
        Self::on(Home::new()).await
    }

    pub async fn on(home: Home) -> Self {
        let server = home.serve().await;
        let workspace = server.workspace("Acme").await;
        let key = server.key(&workspace, &["admin"]).await;
        Self { home, server, workspace, key }
    }

    /// Stops the server and serves the same store again.
    pub async fn restart(self) -> Self {
        self.server.stop().await;
        Self { server: self.home.serve().await, ..self }
    }

    pub fn admin(&self) -> As<'_> {
        As::Bearer(&self.key)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.server.request(&self.admin(), method, &format!("/connect/v1{path}"))
    }

    pub async fn call(&self, method: Method, path: &str, body: &Value) -> Reply {
        send(self.request(method, path).json(body)).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        send(self.request(Method::GET, path)).await
    }

    /// Makes an app.
    pub async fn app(&self, name: &str) -> Value {
        let reply = self.call(Method::POST, "/apps", &json!({ "name": name })).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()
    }

    /// Rotates an app's secret, with a key if it is not empty.
    pub async fn rotate(&self, client_id: &str, key: &str) -> Reply {
        let request = self.request(Method::POST, &format!("/apps/{client_id}/rotate-client-secret"));
        send(if key.is_empty() { request } else { request.header("Idempotency-Key", key) }).await
    }

    /// Asks who an app is.
    pub async fn userinfo(&self, client_id: &str, secret: &str) -> Reply {
        self.server.get(&As::Basic(client_id, secret), "/connect/v1/userinfo").await
    }
}

/// A text member.
pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

/// Checks an error of the workspace API.
pub fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    let body = reply.json();
    assert_eq!(body["error"]["code"], code, "{reply:?}");
    assert!(body["error"]["message"].is_string());
    assert_eq!(body["request_id"], reply.header("x-request-id"));
    assert_eq!(body["request_id"].as_str().unwrap().len(), 36);
    assert_eq!(reply.header("content-type"), "application/json");
}

/// Checks an error about one parameter.
pub fn refused_for(reply: &Reply, code: &str, parameter: &str) {
    refused(reply, 400, code);
    assert_eq!(reply.json()["error"]["details"]["parameter"], parameter, "{reply:?}");
}
