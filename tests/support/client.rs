//! Callers: JSON in, status and JSON out.

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Reply {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// A header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The stable code of a problem.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// This reply, which must have the given status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
}

/// Who asks.
#[derive(Clone)]
pub enum As<'a> {
    Nobody,
    Bearer(&'a str),
    Basic(&'a str, &'a str),
}

/// Somebody who asks.
#[derive(Clone)]
pub struct Caller {
    http: Client,
    pub url: String,
    authorization: Option<String>,
}

impl Caller {
    /// Somebody who shows nothing.
    pub fn nobody(url: &str) -> Self {
        Self { http: client(), url: url.to_owned(), authorization: None }
    }

    /// Somebody with a bearer token.
    pub fn bearer(url: &str, token: &str) -> Self {
        Self::nobody(url).with_bearer(token)
    }

    /// The same connections with another token.
    pub fn with_bearer(&self, token: &str) -> Self {
        self.with(&As::Bearer(token))
    }

    /// The same connections with HTTP Basic.
    pub fn with_basic(&self, id: &str, secret: &str) -> Self {
        self.with(&As::Basic(id, secret))
    }

    /// The same connections with another authority.
    pub fn with(&self, who: &As<'_>) -> Self {
        use base64::Engine;
        let authorization = match who {
            As::Nobody => None,
            As::Bearer(token) => Some(format!("Bearer {token}")),
            As::Basic(id, secret) => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
                Some(format!("Basic {pair}"))
            }
        };
        Self { authorization, ..self.clone() }
    }

    /// A request to be added to.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    /// Sends a request; the error says that no answer came.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Reply, reqwest::Error> {
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        try_send(request).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], None).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, &[], Some(body.to_string().into_bytes())).await.unwrap()
    }

    /// Opens a workspace, as the operator.
    pub async fn open_workspace(&self, name: &str) -> String {
        text(&self.post("/v1/workspaces", json!({ "name": name })).await.expect(201).json()["id"])
    }

    /// Makes a workspace key, and somebody who has it. The key's own id comes first.
    pub async fn workspace_key(&self, workspace: &str, roles: &[&str]) -> (String, String, Self) {
        let body = json!({ "name": "key", "roles": roles, "mode": "test" });
        let made = self.post(&format!("/v1/workspaces/{workspace}/keys"), body).await.expect(201).json();
        let key = text(&made["key"]);
        (text(&made["id"]), key.clone(), self.with_bearer(&key))
    }

    /// Issues a credential: its id, public id and secret.
    pub async fn issue(&self, workspace: &str, kind: &str) -> (String, String, String) {
        let body = json!({ "kind": kind, "name": "app", "workspaceId": workspace });
        let made = self.post("/v1/credentials", body).await.expect(201).json();
        let (public, secret) = pair(&made["secrets"]);
        (text(&made["credential"]["id"]), public, secret)
    }

    /// Rotates without a name for the request: the new secret.
    pub async fn rotate(&self, id: &str, body: Value) -> String {
        let made = self.post(&format!("/v1/credentials/{id}/rotate"), body).await.expect(200).json();
        pair(&made["secrets"]).1
    }

    /// Exchanges a key and its secret for a session.
    pub async fn exchange(&self, public: &str, secret: &str) -> Reply {
        let headers = [("x-fluide-api-key", public), ("x-fluide-api-secret", secret), FLUIDE_CLIENT];
        self.send(Method::POST, "/api/v1/authorize/token", &headers, None).await.unwrap()
    }

    /// Somebody who has a session for a key and its secret, with what the exchange answered.
    pub async fn session(&self, public: &str, secret: &str) -> (Value, Self) {
        let given = self.exchange(public, secret).await.expect(201).json();
        let session = self.with_bearer(&text(&given["accessToken"]));
        (given, session)
    }

    /// What a credential that has a session says of itself.
    pub async fn current(&self) -> Reply {
        self.send(Method::GET, "/api/v1/authorize/current", &[FLUIDE_CLIENT], None).await.unwrap()
    }

    /// Whether a pair is valid.
    pub async fn verifies(&self, public: &str, secret: &str) -> bool {
        let body = json!({ "publicId": public, "secret": secret });
        self.post("/v1/verify", body).await.expect(200).json()["active"].as_bool().unwrap()
    }

    /// The types of the events about a credential, oldest first.
    pub async fn history(&self, id: &str) -> Vec<String> {
        let mut after = String::new();
        let mut types = Vec::new();
        loop {
            let path = format!("/v1/credentials/{id}/history?limit=1000{after}");
            let page = self.get(&path).await.expect(200).json();
            types.extend(page["items"].as_array().unwrap().iter().map(|e| text(&e["type"])));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return types,
            }
        }
    }

    /// How many events there are.
    pub async fn events(&self) -> u64 {
        let mut after = String::new();
        let mut count = 0;
        loop {
            let page = self.get(&format!("/v1/events?limit=1000{after}")).await.expect(200).json();
            count += page["items"].as_array().unwrap().len() as u64;
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return count,
            }
        }
    }
}

/// Sends a request and reads the whole answer.
pub async fn send(request: RequestBuilder) -> Reply {
    try_send(request).await.unwrap()
}

async fn try_send(request: RequestBuilder) -> Result<Reply, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Reply { status, headers, text: response.text().await? })
}

/// The names of an object's members, in order.
pub fn members(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A JSON string.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Identifier and secret, whatever their kind calls them.
pub fn pair(secrets: &Value) -> (String, String) {
    for (id, secret) in [("clientId", "clientSecret"), ("apiKey", "apiSecret"), ("integratorKey", "secret")] {
        if secrets[id].is_string() {
            return (text(&secrets[id]), text(&secrets[secret]));
        }
    }
    panic!("no secrets in {secrets}");
}

fn client() -> Client {
    // The first to come installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

/// What is asked of a token exchange, and of everything after it.
pub const FLUIDE_CLIENT: (&str, &str) = ("x-fluide-client-id", "fluide-developer");
