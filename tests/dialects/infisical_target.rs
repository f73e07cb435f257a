//! A PostgreSQL whose users rota rotates, for the tests of Infisical's format.

use std::sync::atomic::{AtomicU32, Ordering};

use rota::egress::Egress;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor};

use crate::hopae::text;
use crate::infisical::{Infisical, ok};
use crate::postgres::Cluster;
use crate::support::Home;

pub const CONNECTIONS: &str = "/api/v1/app-connections/postgres";
pub const ROTATIONS: &str = "/api/v2/secret-rotations/postgres-credentials";
/// The database that asks everybody for a password.
const DATABASE: &str = "with_password";
const ADMIN_PASSWORD: &str = "what the own user has";

/// Two users that take turns, and the one that may change their passwords.
pub struct Users {
    cluster: &'static Cluster,
    pub first: String,
    pub second: String,
    pub admin: String,
}

impl Users {
    /// Users that no other test has.
    pub async fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let n = MADE.fetch_add(1, Ordering::SeqCst);
        let cluster = Cluster::shared();
        let mut superuser = cluster.connect("public").await;
        // Another test may be quicker.
        let _ = superuser.execute(format!("CREATE DATABASE {DATABASE}").as_str()).await;
        let users = Self {
            cluster,
            first: format!("app_a_{n}"),
            second: format!("app_b_{n}"),
            admin: format!("rota_{n}"),
        };
        let Self { first, second, admin, .. } = &users;
        for statement in [
            format!("CREATE ROLE {admin} LOGIN CREATEROLE PASSWORD '{ADMIN_PASSWORD}'"),
            format!("CREATE ROLE {first} LOGIN PASSWORD 'before'"),
            format!("CREATE ROLE {second} LOGIN PASSWORD 'before'"),
            format!("GRANT {first}, {second} TO {admin} WITH ADMIN OPTION"),
        ] {
            superuser.execute(statement.as_str()).await.unwrap();
        }
        users
    }

    /// Runs a statement as the superuser.
    pub async fn execute(&self, statement: &str) {
        self.cluster.connect("public").await.execute(statement).await.unwrap();
    }

    /// Whether somebody is let in.
    pub async fn lets_in(&self, user: &str, password: &str) -> bool {
        let options = PgConnectOptions::new()
            .host("127.0.0.1")
            .port(self.cluster.port)
            .database(DATABASE)
            .username(user)
            .password(password)
            .disable_statement_logging();
        match options.connect().await {
            Ok(connection) => {
                connection.close().await.unwrap();
                true
            }
            Err(_) => false,
        }
    }

    pub fn credentials(&self) -> Value {
        json!({
            "host": "127.0.0.1", "port": self.cluster.port, "database": DATABASE,
            "username": self.admin, "password": ADMIN_PASSWORD,
            "sslEnabled": false, "sslRejectUnauthorized": false, "sslCertificate": "",
        })
    }

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
