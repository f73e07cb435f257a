//! Auth0: an application with one secret, the connection's own, the Management API and the token endpoint.

use std::sync::Mutex;

use serde_json::json;

use super::{Answered, Asked, Double, answer, unique};

pub const APP: &str = "AaiyAPdpYdesoKnqjj8HJqRn4T5titww";
pub const ADMIN: (&str, &str) = ("BbiyAPdpYdesoKnqjj8HJqRn4T5titww", "the-connections-own-secret");

pub struct State {
    pub secret: String,
    tokens: Vec<String>,
    /// Whether the connection may only read.
    pub read_only: bool,
    /// Whether the connection may read secrets.
    pub keys: bool,
    /// What the application is told when it asks for a token: nothing lets it have one.
    pub grant: Option<&'static str>,
    /// How often the secret was set.
    pub set: u32,
}

pub struct Auth0(pub Mutex<State>);

impl Default for Auth0 {
    fn default() -> Self {
        Self(Mutex::new(State {
            secret: unique("first"),
            tokens: Vec::new(),
            read_only: false,
            keys: true,
            grant: None,
            set: 0,
        }))
    }
}

fn error(status: u16, error: &str) -> Answered {
    answer(
        status,
        json!({"statusCode": status, "error": error, "message": "hunter2 is what the vendor says"}),
    )
}

impl Double for Auth0 {
    const CONTRACT: &'static str = "auth0.json";

    fn outside(path: &str) -> bool {
        path == "/oauth/token"
    }

    fn answer(&self, asked: &Asked) -> Answered {
        let mut state = self.0.lock().unwrap();
        if asked.path == "/oauth/token" {
            return state.log_in(asked);
        }
        let token = asked.authorization.strip_prefix("Bearer ").unwrap_or_default();
        if !state.tokens.iter().any(|known| known == token) {
            return error(401, "Unauthorized");
        }
        if asked.parts().get(3) != Some(&APP) {
            return error(404, "Not Found");
        }
        let mut body = json!({"client_id": APP, "tenant": "rota", "name": "app"});
        match asked.method.as_str() {
            "GET" => {
                let wants_secret =
                    asked.query.get("fields").is_some_and(|fields| fields.contains("client_secret"));
                if wants_secret && !state.keys {
                    return error(403, "Forbidden");
                }
                if wants_secret {
                    body["client_secret"] = json!(state.secret);
                }
                answer(200, body)
            }
            _ if state.read_only => error(403, "Forbidden"),
            _ => {
                let secret = asked.json()["client_secret"].as_str().map(str::to_owned);
                state.secret = secret.unwrap_or_default();
                state.set += 1;
                answer(200, body)
            }
        }
    }
}

impl State {
    fn log_in(&mut self, asked: &Asked) -> Answered {
        let form = asked.form();
        let (id, secret) = (form["client_id"].as_str(), form["client_secret"].as_str());
        let own = (id, secret) == ADMIN;
        if !own && (id, secret) != (APP, &*self.secret) && self.grant != Some("unauthorized_client") {
            return answer(401, json!({"error": "access_denied", "error_description": "Unauthorized"}));
        }
        if !own && let Some(error) = self.grant {
            return answer(403, json!({"error": error}));
        }
        let token = unique("token");
        self.tokens.push(token.clone());
        answer(200, json!({"access_token": token, "expires_in": 86400, "token_type": "Bearer"}))
    }
}
