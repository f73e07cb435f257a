//! What Infisical's tests share.

use reqwest::Method;
use serde_json::{Value, json};

use crate::hopae::text;
use crate::support::{As, Home, OPERATOR, Reply, Server, members, send};

pub const LOGIN: &str = "/api/v1/auth/universal-auth/login";
pub const RENEW: &str = "/api/v1/auth/token/renew";
pub const REVOKE: &str = "/api/v1/auth/token/revoke";
pub const DETAILS: &str = "/api/v1/identities/details";
/// An id that nothing has.
pub const NOBODY: &str = "01a1fc7a-a32d-7135-bec6-8ab4251616c7";

/// A machine identity.
#[derive(Clone, Debug)]
pub struct Identity {
    pub id: String,
    pub client_id: String,
    pub secret: String,
}

/// A project with an admin's key, on a server.
pub struct Infisical {
    pub home: Home,
    pub server: Server,
    pub project: String,
    pub admin: String,
}

impl Infisical {
    pub async fn new() -> Self {
        Self::on(Home::new()).await
    }

    pub async fn on(home: Home) -> Self {
        let server = home.serve().await;
        let project = server.workspace("Acme & Co").await;
        let admin = server.key(&project, &["admin"]).await;
        Self { home, server, project, admin }
    }

    /// Stops the server and serves the same store again.
    pub async fn restart(self) -> Self {
        self.server.stop().await;
        Self { server: self.home.serve().await, ..self }
    }

    /// Makes a machine identity of the project.
    pub async fn identity(&self, roles: &[&str]) -> Identity {
        self.identity_of(&self.admin, roles).await
    }

    pub async fn identity_of(&self, key: &str, roles: &[&str]) -> Identity {
        let body = json!({ "kind": "client", "name": "machine", "roles": roles });
        let reply = self.server.post(&As::Bearer(key), "/v1/credentials", &body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let made = reply.json();
        let secrets = &made["secrets"];
        Identity {
            id: text(&made["credential"], "id"),
            client_id: text(secrets, "clientId"),
            secret: text(secrets, "clientSecret"),
        }
    }

    pub async fn log_in(&self, client_id: &str, secret: &str) -> Reply {
        let body = json!({ "clientId": client_id, "clientSecret": secret });
        self.server.post(&As::Nobody, LOGIN, &body).await
    }

    /// A token of a machine identity.
    pub async fn token(&self, identity: &Identity) -> String {
        let reply = self.log_in(&identity.client_id, &identity.secret).await;
        text(&ok(&reply), "accessToken")
    }

    /// A token of a new machine identity with these roles.
    pub async fn token_with(&self, roles: &[&str]) -> String {
        self.token(&self.identity(roles).await).await
    }

    /// A token of an admin of another project, and that project.
    pub async fn stranger(&self) -> (String, String) {
        let project = self.server.workspace("Other").await;
        let key = self.server.key(&project, &["admin"]).await;
        let token = self.token(&self.identity_of(&key, &["admin"]).await).await;
        (token, project)
    }

    pub async fn get(&self, token: &str, path: &str) -> Reply {
        self.server.get(&As::Bearer(token), path).await
    }

    pub async fn post(&self, token: &str, path: &str, body: Value) -> Reply {
        self.server.post(&As::Bearer(token), path, &body).await
    }

    pub async fn patch(&self, token: &str, path: &str, body: Value) -> Reply {
        self.server.patch(&As::Bearer(token), path, &body).await
    }

    /// Deletes, with a body if one is given.
    pub async fn delete(&self, token: &str, path: &str, body: Option<Value>) -> Reply {
        let request = self.server.request(&As::Bearer(token), Method::DELETE, path);
        send(body.into_iter().fold(request, |request, body| request.json(&body))).await
    }

    /// How many events of a type there are.
    pub async fn count(&self, event_type: &str) -> usize {
        let path = format!("/v1/events?limit=1000&type={event_type}");
        let reply = self.server.get(&As::Bearer(OPERATOR), &path).await;
        reply.json()["items"].as_array().unwrap().len()
    }
}

/// Checks a success and gives its body.
#[track_caller]
pub fn ok(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("x-request-id").len(), 36);
    reply.json()
}

/// Checks an error: its status, its name, its envelope and nothing beside it.
#[track_caller]
pub fn refused(reply: &Reply, status: u16, error: &str) -> Value {
    assert_eq!(reply.status, status, "{reply:?}");
    let body = reply.json();
    let mut expected = vec!["error", "message", "reqId", "statusCode"];
    if matches!(error, "PermissionDenied" | "ForbiddenError") {
        expected.insert(0, "details");
    }
    assert_eq!(members(&body), expected, "{reply:?}");
    assert_eq!((&body["statusCode"], &body["error"]), (&json!(status), &json!(error)), "{reply:?}");
    assert_eq!(text(&body, "reqId"), format!("req-{}", reply.header("x-request-id")));
    assert_eq!(reply.header("content-type"), "application/json");
    if status == 422 {
        let issues = body["message"].as_array().unwrap();
        assert!(!issues.is_empty());
        for issue in issues {
            assert!(issue["code"].is_string() && issue["message"].is_string() && issue["path"].is_array());
        }
    } else {
        assert!(!text(&body, "message").is_empty());
    }
    body
}

/// Checks that the input is refused for these fields, in any order.
#[track_caller]
pub fn refused_for(reply: &Reply, fields: &[&str]) {
    let body = refused(reply, 422, "ValidationFailure");
    let path = |issue: &Value| {
        let parts = issue["path"].as_array().unwrap().iter().map(|part| part.as_str().unwrap());
        parts.collect::<Vec<_>>().join(".")
    };
    let mut found: Vec<_> = body["message"].as_array().unwrap().iter().map(path).collect();
    found.sort_unstable();
    let mut fields = fields.to_vec();
    fields.sort_unstable();
    assert_eq!(found, fields, "{reply:?}");
}

/// Checks that two answers say the same.
#[track_caller]
pub fn same_refusal(one: &Reply, other: &Reply) {
    let essence = |reply: &Reply| {
        let mut body = reply.json();
        body.as_object_mut().unwrap().remove("reqId");
        (reply.status.as_u16(), body)
    };
    assert_eq!(essence(one), essence(other));
}
