//! What Fluide's tests share.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::hopae::text;
use crate::support::{As, Home, OPERATOR, Reply, Server, members, send};

pub const CLIENT: &str = "fluide-developer";
pub const TOKEN: &str = "/api/v1/authorize/token";
pub const CURRENT: &str = "/api/v1/authorize/current";
pub const ROTATE: &str = "/api/v1/authorize/rotate-secret";
pub const PRODUCTS: [&str; 5] = ["hr", "payroll", "pay", "books", "utils"];

/// A credential with its newest secret.
#[derive(Clone, Debug)]
pub struct Keys {
    pub id: String,
    pub key: String,
    pub secret: String,
}

/// A workspace with an admin's key, on a server.
pub struct Fluide {
    pub home: Home,
    pub server: Server,
    pub workspace: String,
    pub admin: String,
}

impl Fluide {
    pub async fn new() -> Self {
        Self::on(Home::new()).await
    }

    pub async fn on(home: Home) -> Self {
        let server = home.serve().await;
        let workspace = server.workspace("Acme").await;
        let admin = server.key(&workspace, &["admin"]).await;
        Self { home, server, workspace, admin }
    }

    /// Stops the server and serves the same store again.
    pub async fn restart(self) -> Self {
        self.server.stop().await;
        Self { server: self.home.serve().await, ..self }
    }

    /// Issues a credential through the native API.
    pub async fn issue(&self, roles: &[&str]) -> Keys {
        let body = json!({ "kind": "exchange", "name": "crm", "roles": roles });
        let reply = self.server.post(&As::Bearer(&self.admin), "/v1/credentials", &body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let made = reply.json();
        let secrets = &made["secrets"];
        let id = text(&made["credential"], "id");
        Keys { id, key: text(secrets, "apiKey"), secret: text(secrets, "apiSecret") }
    }

    /// A request with headers, given as name and value.
    pub fn request(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> RequestBuilder {
        let request = self.server.request(&As::Nobody, method, path);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    }

    pub async fn exchange(&self, key: &str, secret: &str) -> Reply {
        let headers =
            [("X-Fluide-Api-Key", key), ("X-Fluide-Api-Secret", secret), ("X-Fluide-Client-Id", CLIENT)];
        send(self.request(Method::POST, TOKEN, &headers)).await
    }

    /// A token for a credential.
    pub async fn token(&self, keys: &Keys) -> String {
        let reply = self.exchange(&keys.key, &keys.secret).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        text(&reply.json(), "accessToken")
    }

    /// Asks with token and client id, and with a key if one is given.
    pub fn with(&self, method: Method, path: &str, token: &str, key: Option<&str>) -> RequestBuilder {
        let request = self.server.request(&As::Bearer(token), method, path);
        let request = request.header("X-Fluide-Client-Id", CLIENT);
        key.into_iter().fold(request, |request, key| request.header("X-Fluide-Api-Key", key))
    }

    pub async fn current(&self, token: &str) -> Reply {
        send(self.with(Method::GET, CURRENT, token, None)).await
    }

    /// Rotates by session, with an Idempotency-Key if it is not empty.
    pub async fn rotate(&self, token: &str, key: &str) -> Reply {
        let request = self.with(Method::POST, ROTATE, token, None);
        send(if key.is_empty() { request } else { request.header("Idempotency-Key", key) }).await
    }

    /// Waits until a condition holds; fails after half a minute.
    pub async fn until(&self, condition: impl AsyncFn() -> bool) {
        let wait = async {
            while !condition().await {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), wait).await.expect("it comes to hold");
    }

    pub async fn operator(&self, method: Method, path: &str, body: Value) -> Reply {
        send(self.server.request(&As::Bearer(OPERATOR), method, path).json(&body)).await
    }

    /// How many events of a type there are.
    pub async fn count(&self, event_type: &str) -> usize {
        let path = format!("/v1/events?limit=1000&type={event_type}");
        let reply = self.server.get(&As::Bearer(OPERATOR), &path).await;
        reply.json()["items"].as_array().unwrap().len()
    }
}

/// What a token says, unchecked.
pub fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Checks a success and gives its data.
#[track_caller]
pub fn data(reply: &Reply, status: u16) -> Value {
    assert_eq!(reply.status, status, "{reply:?}");
    let body = reply.json();
    assert_eq!(members(&body), ["data", "message", "success"], "{reply:?}");
    assert_eq!(body["success"], true);
    assert!(!text(&body, "message").is_empty());
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "no-store");
    body["data"].clone()
}

/// Checks an error with its envelope, headers and challenge.
#[track_caller]
pub fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    let body = reply.json();
    assert_eq!(body["code"], code, "{reply:?}");
    assert_eq!((&body["success"], &body["statusCode"]), (&json!(false), &json!(status)));
    assert!(!text(&body, "message").is_empty());
    let timestamp = text(&body, "timestamp");
    assert!(
        timestamp.len() == 24 && timestamp.ends_with('Z') && timestamp.as_bytes()[19] == b'.',
        "{timestamp}"
    );
    let mut expected = vec!["code", "message", "statusCode", "success", "timestamp"];
    if body.get("errors").is_some() {
        expected.insert(1, "errors");
    }
    assert_eq!(members(&body), expected);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("x-request-id").len(), 36);
    let challenge = reply.header("www-authenticate");
    match status {
        401 => assert!(challenge.starts_with("Bearer realm=\"fluide\""), "{challenge}"),
        403 => assert_eq!(challenge, "Bearer realm=\"fluide\", error=\"insufficient_scope\""),
        _ => assert_eq!(challenge, ""),
    }
}

/// Checks an error about one field.
#[track_caller]
pub fn refused_for(reply: &Reply, field: &str) {
    refused(reply, 400, "VALIDATION_FAILED");
    let errors = &reply.json()["errors"];
    assert_eq!(members(errors), [field], "{reply:?}");
    assert!(errors[field][0].is_string());
}

/// The challenge to somebody who showed something wrong.
pub const INVALID: &str = "Bearer realm=\"fluide\", error=\"invalid_token\"";
/// The challenge to somebody who showed nothing.
pub const NOTHING: &str = "Bearer realm=\"fluide\"";
