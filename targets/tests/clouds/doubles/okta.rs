//! Okta: an application with at most two client secrets, an API token, a token endpoint.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::{Answered, Asked, Double, answer, date, empty, unique};

pub const APP: &str = "0oafxqCAJWWGELFTYASJ";
pub const TOKEN: &str = "00aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789abcd";

struct Secret {
    id: String,
    value: String,
    active: bool,
    created: String,
}

#[derive(Default)]
pub struct State {
    secrets: Vec<Secret>,
    /// Logins that are refused although the secret is good: it is not known there yet.
    pub lag: u32,
    /// Whether the token may only read.
    pub read_only: bool,
    /// Whether the application may ask for tokens by itself.
    pub no_grant: bool,
}

#[derive(Default)]
pub struct Okta(pub Mutex<State>);

impl Okta {
    /// A secret that somebody else made.
    pub fn strangers_secret(&self) -> String {
        let secret = make();
        let id = secret.id.clone();
        self.0.lock().unwrap().secrets.push(secret);
        id
    }

    /// The ids of all, and whether they are active.
    pub fn secrets(&self) -> Vec<(String, bool)> {
        self.0.lock().unwrap().secrets.iter().map(|one| (one.id.clone(), one.active)).collect()
    }
}

fn make() -> Secret {
    Secret { id: unique("ocs"), value: unique("value"), active: true, created: date(0) }
}

fn shown(secret: &Secret) -> Value {
    json!({
        "id": secret.id, "client_secret": secret.value, "status": if secret.active { "ACTIVE" } else { "INACTIVE" },
        "created": secret.created, "lastUpdated": secret.created, "secret_hash": "yk4SVx4sUWVJVbHt6M-UPA",
    })
}

fn error(status: u16, code: &str, summary: &str) -> Answered {
    let body = json!({"errorCode": code, "errorSummary": summary, "errorLink": code, "errorId": "oae1", "errorCauses": []});
    answer(status, body)
}

impl Double for Okta {
    const CONTRACT: &'static str = "okta.json";

    fn outside(path: &str) -> bool {
        path == "/oauth2/v1/token" || path == "/api/v1/users/me"
    }

    fn answer(&self, asked: &Asked) -> Answered {
        let mut state = self.0.lock().unwrap();
        if asked.path == "/oauth2/v1/token" {
            return state.log_in(asked);
        }
        if asked.authorization != format!("SSWS {TOKEN}") {
            return error(401, "E0000011", "Invalid token provided");
        }
        if asked.path == "/api/v1/users/me" {
            return answer(200, json!({"id": "00u1"}));
        }
        if state.read_only && asked.method != "GET" {
            return error(403, "E0000006", "You do not have permission to perform the requested action");
        }
        let parts = asked.parts();
        if parts.get(3) != Some(&APP) {
            return error(404, "E0000007", "Not found: Resource not found");
        }
        match (asked.method.as_str(), &parts[6..]) {
            ("GET", []) => answer(200, state.secrets.iter().map(shown).collect()),
            ("POST", []) if state.secrets.len() >= 2 => error(
                400,
                "E0000001",
                "Api validation failed: You've reached the maximum number of client secrets",
            ),
            ("POST", []) => {
                state.secrets.push(make());
                answer(201, shown(&state.secrets[state.secrets.len() - 1]))
            }
            (method, [id, more @ ..]) => {
                let Some(at) = state.secrets.iter().position(|one| one.id == *id) else {
                    return error(404, "E0000007", "Not found: Resource not found");
                };
                let active = state.secrets.iter().filter(|one| one.active).count();
                match (method, more) {
                    ("DELETE", []) if state.secrets[at].active => {
                        error(400, "E0000001", "You can't delete an active client secret")
                    }
                    ("DELETE", []) => {
                        state.secrets.remove(at);
                        empty(204)
                    }
                    ("POST", ["lifecycle", "deactivate"]) if active == 1 => {
                        error(400, "E0000001", "You can't deactivate the only client secret")
                    }
                    ("POST", ["lifecycle", "deactivate"]) => {
                        state.secrets[at].active = false;
                        answer(200, shown(&state.secrets[at]))
                    }
                    _ => answer(200, shown(&state.secrets[at])),
                }
            }
            _ => error(404, "E0000022", "The endpoint does not support the provided HTTP method"),
        }
    }
}

impl State {
    fn log_in(&mut self, asked: &Asked) -> Answered {
        let (client, secret) = asked.basic();
        let good = self.secrets.iter().any(|one| one.active && one.value == secret);
        if client != APP || !good {
            return answer(
                401,
                json!({"error": "invalid_client", "error_description": "The client secret supplied is invalid."}),
            );
        }
        if self.lag > 0 {
            self.lag -= 1;
            return answer(401, json!({"error": "invalid_client"}));
        }
        if self.no_grant {
            return answer(400, json!({"error": "unauthorized_client"}));
        }
        answer(200, json!({"access_token": unique("token"), "expires_in": 3600, "token_type": "Bearer"}))
    }
}
