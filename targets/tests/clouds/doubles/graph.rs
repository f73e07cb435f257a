//! Microsoft: an application with passwords in Graph, and the token endpoint of its directory.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};

use super::{Answered, Asked, Double, answer, date, empty, unique};

pub const TENANT: &str = "7a1d9a64-0000-4000-8000-000000000000";
pub const OBJECT: &str = "03ef14b0-ca33-4840-8f4f-d6e91916010e";
pub const APP: &str = "631a96bc-a705-4eda-9f99-fdaf9f54f6a2";
pub const ADMIN: (&str, &str) = ("931a96bc-a705-4eda-9f99-fdaf9f54f6a2", "the-connections-own-secret");

struct Password {
    key_id: String,
    name: String,
    secret: String,
    start: String,
    end: Value,
    /// Lists that do not show it yet.
    hidden: u32,
}

#[derive(Default)]
pub struct State {
    passwords: Vec<Password>,
    tokens: Vec<String>,
    /// Logins that are refused although the secret is good: it is not known there yet.
    pub lag: u32,
    /// Lists that do not show what was just added.
    pub list_lag: u32,
    /// Changes that are refused since another one is under way.
    pub busy: u32,
    pub read_only: bool,
    /// Certificates of the connection's application: the fingerprint, and the RSA key as in PKCS #1.
    pub certificate: Option<(String, Vec<u8>)>,
}

#[derive(Default)]
pub struct Microsoft(pub Mutex<State>);

impl Microsoft {
    /// A password that somebody else made.
    pub fn strangers_password(&self) -> String {
        let password = make("by hand", Value::Null);
        let id = password.key_id.clone();
        self.0.lock().unwrap().passwords.push(password);
        id
    }

    pub fn passwords(&self) -> Vec<String> {
        self.0.lock().unwrap().passwords.iter().map(|one| one.key_id.clone()).collect()
    }

    pub fn ends(&self) -> Vec<Value> {
        self.0.lock().unwrap().passwords.iter().map(|one| one.end.clone()).collect()
    }
}

fn make(name: &str, end: Value) -> Password {
    let random = crate::support::random();
    let key_id = uuid::Builder::from_random_bytes(random[..16].try_into().unwrap()).into_uuid().to_string();
    Password { key_id, name: name.to_owned(), secret: unique("a1b~"), start: date(0), end, hidden: 0 }
}

fn shown(password: &Password) -> Value {
    json!({
        "customKeyIdentifier": null, "displayName": password.name, "endDateTime": password.end, "hint": "a1b",
        "keyId": password.key_id, "secretText": null, "startDateTime": password.start,
    })
}

fn error(status: u16, code: &str, message: &str) -> Answered {
    answer(status, json!({"error": {"code": code, "message": message}}))
}

impl Double for Microsoft {
    const CONTRACT: &'static str = "graph.json";

    fn outside(path: &str) -> bool {
        path.ends_with("/oauth2/v2.0/token")
    }

    fn answer(&self, asked: &Asked) -> Answered {
        let mut state = self.0.lock().unwrap();
        if Self::outside(&asked.path) {
            return state.log_in(asked);
        }
        let token = asked.authorization.strip_prefix("Bearer ").unwrap_or_default();
        if !state.tokens.iter().any(|known| known == token) {
            return error(401, "InvalidAuthenticationToken", "hunter2");
        }
        let parts = asked.parts();
        if parts.get(2) != Some(&OBJECT) {
            return error(404, "Request_ResourceNotFound", "hunter2");
        }
        if asked.method == "GET" {
            let mut listed = Vec::new();
            for password in &mut state.passwords {
                if password.hidden > 0 {
                    password.hidden -= 1;
                } else {
                    listed.push(shown(password));
                }
            }
            let body =
                json!({"id": OBJECT, "appId": APP, "displayName": "app", "passwordCredentials": listed});
            return answer(200, body);
        }
        if state.read_only {
            return error(403, "Authorization_RequestDenied", "hunter2");
        }
        if state.busy > 0 {
            state.busy -= 1;
            return error(
                400,
                "Request_BadRequest",
                "Update to application failed due to concurrent requests",
            );
        }
        let body = asked.json();
        if parts[3] == "addPassword" {
            let wanted = &body["passwordCredential"];
            let mut password =
                make(wanted["displayName"].as_str().unwrap_or_default(), wanted["endDateTime"].clone());
            password.hidden = state.list_lag;
            let mut made = shown(&password);
            made["secretText"] = json!(password.secret);
            state.passwords.push(password);
            return answer(200, made);
        }
        match state.passwords.iter().position(|one| body["keyId"] == one.key_id.as_str()) {
            Some(at) => {
                state.passwords.remove(at);
                empty(204)
            }
            None => error(400, "Request_BadRequest", "No password credential found with keyId"),
        }
    }
}

impl State {
    fn log_in(&mut self, asked: &Asked) -> Answered {
        let refused = || answer(401, json!({"error": "invalid_client", "error_codes": [7_000_215]}));
        if asked.parts()[0] != TENANT {
            return answer(400, json!({"error": "invalid_request", "error_codes": [90_002]}));
        }
        let form = asked.form();
        assert!(form["scope"].ends_with("/.default"), "{form:?}");
        let id = form["client_id"].as_str();
        match (form.get("client_secret"), form.get("client_assertion")) {
            (Some(secret), None) if (id, secret.as_str()) == ADMIN => {}
            (Some(secret), None) if id == APP => {
                if !self.passwords.iter().any(|one| one.secret == *secret) {
                    return refused();
                }
                if self.lag > 0 {
                    self.lag -= 1;
                    return refused();
                }
            }
            (None, Some(assertion)) if id == ADMIN.0 && self.is_signed(assertion) => {}
            _ => return refused(),
        }
        let token = unique("token");
        self.tokens.push(token.clone());
        answer(200, json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}))
    }

    fn is_signed(&self, assertion: &str) -> bool {
        let Some((fingerprint, key)) = &self.certificate else { return false };
        let Some((signed, signature)) = assertion.rsplit_once('.') else { return false };
        let parts: Vec<Value> = signed
            .split('.')
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        let [header, claims] = &parts[..] else { return false };
        let audience = format!("/{TENANT}/oauth2/v2.0/token");
        header["x5t#S256"] == fingerprint.as_str()
            && header["alg"] == "PS256"
            && claims["iss"] == ADMIN.0
            && claims["sub"] == ADMIN.0
            && claims["aud"].as_str().is_some_and(|aud| aud.ends_with(&audience))
            && claims["exp"].as_i64() > claims["nbf"].as_i64()
            && UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key)
                .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
                .is_ok()
    }
}
