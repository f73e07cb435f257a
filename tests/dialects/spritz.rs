//! What Spritz' tests share.

use reqwest::{Method, RequestBuilder};
use rota::app::clock::Clock;
use serde_json::{Value, json};

use crate::signer::Signer;
use crate::support::{As, Home, OPERATOR, Reply, Server, send};

pub const REGENERATE: &str = "/v1/integrator/regenerate-secret";
/// Long enough to be hard to guess.
pub const KEY: &str = "0123456789abcdef012345";

/// A workspace with an integrator, on a server.
pub struct Spritz {
    pub home: Home,
    pub server: Server,
    pub workspace: String,
    pub id: String,
    pub signer: Signer,
}

impl Spritz {
    pub async fn new() -> Self {
        Self::on(Home::new()).await
    }

    pub async fn on(home: Home) -> Self {
        let server = home.serve().await;
        let workspace = server.workspace("Acme").await;
        let body = json!({ "kind": "signing", "name": "shop", "workspaceId": workspace });
        let made = server.post(&As::Bearer(OPERATOR), "/v1/credentials", &body).await.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let signer = Signer::new(&text(&made["secrets"]["integratorKey"]), &text(&made["secrets"]["secret"]));
        let id = text(&made["credential"]["id"]);
        Self { home, server, workspace, id, signer }
    }

    /// Stops the server and serves the same store again.
    pub async fn restart(self) -> Self {
        self.server.stop().await;
        Self { server: self.home.serve().await, ..self }
    }

    /// The clock's time in milliseconds.
    pub fn millis(&self) -> i64 {
        self.home.clock.now().micros() / 1_000
    }

    /// A millisecond later, so that a further request is another one.
    pub fn tick(&self) {
        self.home.clock.advance(std::time::Duration::from_millis(1));
    }

    /// A request that `signer` signs now.
    pub fn request(&self, signer: &Signer, method: Method, path: &str, body: &str) -> RequestBuilder {
        let headers = signer.headers(self.millis(), method.as_str(), path, body);
        let mut request = self.server.request(&As::Nobody, method, path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if body.is_empty() {
            request
        } else {
            request.header("content-type", "application/json").body(body.to_owned())
        }
    }

    pub async fn call(&self, signer: &Signer, method: Method, path: &str, body: &str) -> Reply {
        send(self.request(signer, method, path, body)).await
    }

    /// Regenerates with what `signer` holds, a millisecond after whatever was before.
    pub async fn regenerate(&self, signer: &Signer, body: &str) -> Reply {
        self.tick();
        self.call(signer, Method::POST, REGENERATE, body).await
    }

    /// As [`Spritz::regenerate`] with an Idempotency-Key.
    pub async fn regenerate_as(&self, signer: &Signer, body: &str, key: &str) -> Reply {
        self.tick();
        send(self.request(signer, Method::POST, REGENERATE, body).header("Idempotency-Key", key)).await
    }

    /// Whether a signature by `signer` opens anything.
    pub async fn opens(&self, signer: &Signer) -> bool {
        self.tick();
        let reply = self.call(signer, Method::GET, "/v1/integrator/", "").await;
        if reply.status != 200 {
            refused(&reply, 401, "auth:unauthorized");
        }
        reply.status == 200
    }

    /// The same integrator with the secret of an answer.
    pub fn with_secret_of(&self, reply: &Reply) -> Signer {
        assert_eq!(reply.status, 200, "{reply:?}");
        Signer::new(&self.signer.key, reply.json()["secret"].as_str().unwrap())
    }

    /// How many events of a type there are.
    pub async fn count(&self, event_type: &str) -> usize {
        let path = format!("/v1/events?limit=1000&type=rota.credential.{event_type}.v1");
        self.server.get(&As::Bearer(OPERATOR), &path).await.json()["items"].as_array().unwrap().len()
    }
}

/// Checks a problem.
#[track_caller]
pub fn refused(reply: &Reply, status: u16, kind: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    let problem = reply.json();
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(problem["type"], format!("urn:problem-type:{kind}"), "{reply:?}");
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string() && problem["detail"].is_string());
    assert!(problem["instance"].as_str().unwrap().starts_with("/errors/"));
    if status == 401 {
        assert_eq!((&problem["realm"], &problem["scope"]), (&json!("API"), &json!("integrator")));
        assert_eq!(reply.header("www-authenticate"), "Spritz-HMAC realm=\"API\", scope=\"integrator\"");
    }
    if status == 404 {
        assert!(problem["resourceType"].is_string() && problem["resourceId"].is_string(), "{reply:?}");
    }
}

/// Checks a problem with one field.
#[track_caller]
pub fn refused_for(reply: &Reply, field: &str) {
    refused(reply, 400, "validation:invalid-fields");
    let error = &reply.json()["errors"][0];
    assert_eq!((&error["field"], &error["code"]), (&json!(field), &json!("INVALID_INPUT")), "{reply:?}");
    assert!(error["message"].is_string());
}
