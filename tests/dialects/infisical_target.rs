//! A PostgreSQL whose users rota rotates, for the tests of Infisical's format.

use rota::egress::Egress;
use serde_json::{Value, json};

use crate::hopae::text;
use crate::infisical::{Infisical, ok};
use crate::support::Home;
pub use crate::users::Users;

pub const CONNECTIONS: &str = "/api/v1/app-connections/postgres";
pub const ROTATIONS: &str = "/api/v2/secret-rotations/postgres-credentials";

impl Users {
    /// The body that makes a connection, as Terraform sends it.
    pub fn connection(&self, name: &str) -> Value {
        json!({
            "App": "postgres", "name": name, "description": "", "method": "username-and-password",
            "credentials": self.credentials(),
        })
    }

    /// The body that makes a rotation, as Terraform sends it.
    pub fn rotation(&self, project: &str, connection: &str, name: &str) -> Value {
        json!({
            "Provider": "postgres-credentials", "name": name, "projectId": project, "description": "",
            "connectionId": connection, "environment": "dev", "secretPath": "/", "isAutoRotationEnabled": true,
            "rotationInterval": 30, "rotateAtUtc": { "hours": 3, "minutes": 15 },
            "parameters": { "username1": self.first, "username2": self.second },
            "secretsMapping": { "username": format!("{name}-USER"), "password": format!("{name}-PASSWORD") },
            "temporaryParameters": null,
        })
    }
}

/// A server that may reach this machine, an admin's token, and a rotation on it.
pub struct Rotating {
    pub infisical: Infisical,
    pub users: Users,
    pub token: String,
    pub connection: String,
    pub rotation: Value,
}

/// A server that may reach this machine.
pub async fn reaching() -> Infisical {
    let mut home = Home::new();
    home.egress = Egress::new(true);
    Infisical::on(home).await
}

impl Rotating {
    pub async fn new() -> Self {
        let infisical = reaching().await;
        let users = Users::new().await;
        let token = infisical.token_with(&["admin"]).await;
        let made = ok(&infisical.post(&token, CONNECTIONS, users.connection("pg")).await);
        let connection = text(&made["appConnection"], "id");
        let body = users.rotation(&infisical.project, &connection, "db");
        let made = ok(&infisical.post(&token, ROTATIONS, body).await);
        let rotation = made["secretRotation"].clone();
        Self { infisical, users, token, connection, rotation }
    }

    /// The path of the rotation.
    pub fn path(&self) -> String {
        format!("{ROTATIONS}/{}", text(&self.rotation, "id"))
    }

    /// The path of a secret in the fourth version, with a query string behind it.
    pub fn secret(&self, name: &str, query: &str) -> String {
        format!("/api/v4/secrets/{name}?projectId={}&environment=dev{query}", self.infisical.project)
    }

    /// User and password as they are published.
    pub async fn published(&self) -> (String, String) {
        let read = async |name: &str| {
            let reply = self.infisical.get(&self.token, &self.secret(name, "")).await;
            text(&ok(&reply)["secret"], "secretValue")
        };
        (read("db-USER").await, read("db-PASSWORD").await)
    }

    /// Gets another token in place of one whose time is over.
    pub async fn log_in_again(&mut self) {
        self.token = self.infisical.token_with(&["admin"]).await;
    }

    pub async fn rotate(&self) -> Value {
        let path = format!("{}/rotate-secrets", self.path());
        ok(&self.infisical.post(&self.token, &path, json!({})).await)["secretRotation"].clone()
    }
}
