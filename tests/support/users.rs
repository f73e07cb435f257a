//! A PostgreSQL whose users rota rotates: two that take turns, and the one that may change their passwords.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use sqlx::Executor;

use crate::postgres::{Cluster, programs};

/// The database that asks everybody for a password.
const DATABASE: &str = "with_password";
const ADMIN_PASSWORD: &str = "what the own user has";

/// Two users that take turns, and the one that may change their passwords.
pub struct Users {
    pub cluster: &'static Cluster,
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

    /// Whether the server's own client is let in, with this user and password.
    pub fn lets_in(&self, user: &str, password: &str) -> bool {
        let mut client = Command::new(programs().join("psql"));
        let port = self.cluster.port.to_string();
        let asks =
            ["-h", "127.0.0.1", "-p", &port, "-U", user, "-d", DATABASE, "-Xtqwc", "SELECT current_user"];
        let ran = client.args(asks).env("PGPASSWORD", password).output().expect("psql is installed");
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(!ran.status.success() || said.trim() == user, "{said}");
        ran.status.success()
    }

    pub fn credentials(&self) -> Value {
        json!({
            "host": "127.0.0.1", "port": self.cluster.port, "database": DATABASE,
            "username": self.admin, "password": ADMIN_PASSWORD,
            "sslEnabled": false, "sslRejectUnauthorized": false, "sslCertificate": "",
        })
    }
}
