//! Reading bodies and query strings as tolerantly as this format's clients need it: what is unknown is passed over,
//! and everything that is wrong is told at once. No issue repeats a value: it may be a secret.

use actix_web::web;
use rota_aggregates::secret::Secret;
pub(super) use rota_targets::{Code, Issue};
use serde_json::{Map, Value};

use super::super::body::{self, BadBody, Given};
use super::super::request::Request;
use super::error::Refused;

/// A slug has at most so many characters.
const SLUG_BYTES_MAX: usize = 64;

/// The fields of an object, and what is wrong with them.
pub(super) struct Input {
    fields: Map<String, Value>,
    issues: Vec<Issue>,
}

/// What a value is called in an issue.
fn kind(value: Option<&Value>) -> &'static str {
    match value {
        None => "undefined",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "boolean",
        Some(Value::Number(_)) => "number",
        Some(Value::String(_)) => "string",
        Some(Value::Array(_)) => "array",
        Some(Value::Object(_)) => "object",
    }
}

impl Input {
    /// The fields of a body. One that is left out has none.
    pub(super) async fn body(payload: web::Payload) -> Result<Self, Refused> {
        let bytes = body::bytes(payload).await?;
        Self::of_bytes(&bytes)
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::of(Map::new()));
        }
        let no_json = |_| BadBody::Wrong { field: None, reason: "is no JSON".to_owned() };
        match serde_json::from_slice(bytes).map_err(no_json)? {
            Value::Object(fields) => Ok(Self::of(fields)),
            other => {
                let message = format!("Expected object, received {}", kind(Some(&other)));
                Err(Refused::issues(&[Issue::new(&[], Code::InvalidType, message)]))
            }
        }
    }

    /// The parameters of a query string; of one that is given several times the last counts.
    pub(super) fn query(request: &Request) -> Self {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.http.query_string());
        let pairs = pairs.map(web::Query::into_inner).unwrap_or_default();
        Self::of(pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect())
    }

    pub(super) fn of(fields: Map<String, Value>) -> Self {
        Self { fields, issues: Vec::new() }
    }

    /// Something is wrong with a field.
    pub(super) fn issue(&mut self, field: &str, code: Code, message: impl Into<String>) {
        self.issues.push(Issue::new(&[field], code, message));
    }

    /// Something is wrong further down.
    pub(super) fn issue_at(&mut self, path: &[&str], code: Code, message: impl Into<String>) {
        self.issues.push(Issue::new(path, code, message));
    }

    /// What came of a check, with what is wrong kept for later.
    pub(super) fn accept<T>(&mut self, checked: Result<T, Vec<Issue>>) -> Option<T> {
        checked.map_err(|issues| self.issues.extend(issues)).ok()
    }

    fn wrong_type(&mut self, field: &str, expected: &str, given: Option<&Value>) {
        let message = match given {
            None => "Required".to_owned(),
            given => format!("Expected {expected}, received {}", kind(given)),
        };
        self.issue(field, Code::InvalidType, message);
    }

    /// Whether a field is there.
    pub(super) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// Takes a field as it is.
    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        self.fields.remove(field)
    }

    /// Takes a text, without the blanks around it.
    pub(super) fn text(&mut self, field: &str) -> String {
        match self.take(field) {
            Some(Value::String(text)) => text.trim().to_owned(),
            other => {
                self.wrong_type(field, "string", other.as_ref());
                String::new()
            }
        }
    }

    /// Takes a text of at least one character.
    pub(super) fn filled(&mut self, field: &str) -> String {
        let before = self.issues.len();
        let text = self.text(field);
        if text.is_empty() && self.issues.len() == before {
            self.issue(field, Code::TooSmall, "String must contain at least 1 character(s)");
        }
        text
    }

    /// Takes a text that may be left out.
    pub(super) fn optional_text(&mut self, field: &str) -> Option<String> {
        match self.take(field) {
            None => None,
            Some(Value::String(text)) => Some(text.trim().to_owned()),
            other => {
                self.wrong_type(field, "string", other.as_ref());
                None
            }
        }
    }

    /// Takes a text that may be left out or null, of at most so many characters.
    pub(super) fn nullable_text(&mut self, field: &str, max: usize) -> Given<String> {
        match self.take(field) {
            None => Given::Absent,
            Some(Value::Null) => Given::Null,
            Some(Value::String(text)) if text.chars().count() <= max => Given::Value(text.trim().to_owned()),
            Some(Value::String(_)) => {
                let message = format!("String must contain at most {max} character(s)");
                self.issue(field, Code::TooBig, message);
                Given::Absent
            }
            other => {
                self.wrong_type(field, "string", other.as_ref());
                Given::Absent
            }
        }
    }

    /// Takes a name of lower-case letters, digits and hyphens.
    pub(super) fn slug(&mut self, field: &str) -> String {
        let text = self.filled(field);
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.len() > SLUG_BYTES_MAX {
            let message = format!("String must contain at most {SLUG_BYTES_MAX} character(s)");
            self.issue(field, Code::TooBig, message);
        } else if !text.bytes().all(fits) {
            let message = "must be a slug: lower-case letters, digits and hyphens";
            self.issue(field, Code::InvalidString, message);
        }
        text
    }

    /// Reads an id.
    pub(super) fn id<T: std::str::FromStr>(&mut self, field: &str, text: &str) -> Option<T> {
        let id = text.parse().ok();
        if id.is_none() {
            self.issue(field, Code::InvalidString, "Invalid uuid");
        }
        id
    }

    /// Takes a secret, without the blanks around it.
    pub(super) fn secret(&mut self, field: &str) -> Secret {
        Secret::new(self.text(field))
    }

    /// Takes `true` or `false` that may be left out, in a body.
    pub(super) fn optional_flag(&mut self, field: &str) -> Option<bool> {
        match self.take(field) {
            None => None,
            Some(Value::Bool(flag)) => Some(flag),
            other => {
                self.wrong_type(field, "boolean", other.as_ref());
                None
            }
        }
    }

    /// Takes `true` or `false` of a query string, and nothing else.
    pub(super) fn strict_word(&mut self, field: &str, default: bool) -> bool {
        match self.take(field).as_ref().and_then(Value::as_str) {
            None => default,
            Some("true") => true,
            Some("false") => false,
            Some(_) => {
                self.issue(field, Code::InvalidEnumValue, "Invalid enum value. Expected 'true' | 'false'");
                default
            }
        }
    }

    /// Fails with everything that is wrong: with a broken rule only where the input is well formed.
    pub(super) fn check(&self) -> Result<(), Refused> {
        let rule = |issue: &&Issue| issue.code == Code::Rule;
        let formal: Vec<_> = self.issues.iter().filter(|issue| !rule(issue)).cloned().collect();
        match self.issues.iter().find(rule) {
            None if self.issues.is_empty() => Ok(()),
            Some(issue) if formal.is_empty() => Err(Refused::bad_request(issue.message.clone())),
            _ => Err(Refused::issues(&formal)),
        }
    }
}
