//! Databricks: a service principal with at most five secrets, and tokens for it and for the connection's own.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::{Answered, Asked, Double, answer, date, unique};

pub const PRINCIPAL: &str = "4711";
pub const CLIENT: &str = "6c1d9a64-0000-4000-8000-000000000001";
pub const ADMIN: (&str, &str) = ("6c1d9a64-0000-4000-8000-000000000002", "dose-admin");

struct Secret {
    id: String,
    value: String,
    created: String,
    lifetime: String,
}

#[derive(Default)]
pub struct State {
    secrets: Vec<Secret>,
    tokens: Vec<String>,
    /// Logins that are refused although the secret is good: it is not known there yet.
    pub lag: u32,
    /// Whether the connection may only read.
    pub read_only: bool,
    /// How many tokens were issued to the connection.
    pub issued: u32,
}

#[derive(Default)]
pub struct Databricks(pub Mutex<State>);

impl Databricks {
    /// A secret that somebody else made.
    pub fn strangers_secret(&self) -> String {
        let secret = make("600s");
        let id = secret.id.clone();
        self.0.lock().unwrap().secrets.push(secret);
        id
    }

    pub fn secrets(&self) -> Vec<String> {
        self.0.lock().unwrap().secrets.iter().map(|one| one.id.clone()).collect()
    }

    pub fn lifetimes(&self) -> Vec<String> {
        self.0.lock().unwrap().secrets.iter().map(|one| one.lifetime.clone()).collect()
    }

    /// No token that was issued is good any more.
    pub fn forget_tokens(&self) {
        self.0.lock().unwrap().tokens.clear();
    }
}

fn make(lifetime: &str) -> Secret {
    Secret { id: unique("id-"), value: unique("dose"), created: date(0), lifetime: lifetime.to_owned() }
}

fn shown(secret: &Secret) -> Value {
    json!({
        "id": secret.id, "status": "ACTIVE", "secret_hash": "8f7d", "create_time": secret.created,
        "update_time": secret.created,
    })
}

fn error(status: u16, code: &str) -> Answered {
    answer(status, json!({"error_code": code, "message": "hunter2 is what the vendor says"}))
}

impl Double for Databricks {
    const CONTRACT: &'static str = "databricks.json";

    fn outside(path: &str) -> bool {
        path == "/oidc/v1/token"
    }

    fn answer(&self, asked: &Asked) -> Answered {
        let mut state = self.0.lock().unwrap();
        if asked.path == "/oidc/v1/token" {
            return state.log_in(asked);
        }
        let token = asked.authorization.strip_prefix("Bearer ").unwrap_or_default();
        if !state.tokens.iter().any(|known| known == token) {
            return error(401, "UNAUTHENTICATED");
        }
        if state.read_only && asked.method != "GET" {
            return error(403, "PERMISSION_DENIED");
        }
        let parts = asked.parts();
        if parts.get(4) != Some(&PRINCIPAL) {
            return error(404, "RESOURCE_DOES_NOT_EXIST");
        }
        match (asked.method.as_str(), &parts[7..]) {
            ("GET", []) => {
                // Pages of two, so that reading all of them matters.
                let from: usize = asked.query.get("page_token").and_then(|at| at.parse().ok()).unwrap_or(0);
                let page: Vec<_> = state.secrets.iter().skip(from).take(2).map(shown).collect();
                let mut body = json!({"secrets": page});
                if from + 2 < state.secrets.len() {
                    body["next_page_token"] = json!((from + 2).to_string());
                }
                answer(200, body)
            }
            ("POST", []) if state.secrets.len() >= 5 => error(400, "RESOURCE_LIMIT_EXCEEDED"),
            ("POST", []) => {
                let secret = make(asked.json()["lifetime"].as_str().unwrap_or_default());
                let mut body = shown(&secret);
                body["secret"] = json!(secret.value);
                state.secrets.push(secret);
                answer(200, body)
            }
            ("DELETE", [id]) => match state.secrets.iter().position(|one| one.id == *id) {
                Some(at) => {
                    state.secrets.remove(at);
                    answer(200, json!({}))
                }
                None => error(404, "RESOURCE_DOES_NOT_EXIST"),
            },
            _ => error(404, "ENDPOINT_NOT_FOUND"),
        }
    }
}

impl State {
    fn log_in(&mut self, asked: &Asked) -> Answered {
        let (client, secret) = asked.basic();
        let refused = || answer(401, json!({"error": "invalid_client"}));
        if client == CLIENT {
            if !self.secrets.iter().any(|one| one.value == secret) {
                return refused();
            }
            if self.lag > 0 {
                self.lag -= 1;
                return refused();
            }
        } else if (client.as_str(), secret.as_str()) == ADMIN {
            self.issued += 1;
        } else {
            return refused();
        }
        let token = unique("token");
        self.tokens.push(token.clone());
        answer(200, json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}))
    }
}
