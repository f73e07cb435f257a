//! Reading bodies and query strings as tolerantly as this format's clients need it: what is unknown is passed over,
//! and everything that is wrong is told at once. No issue repeats a value: it may be a secret.

use actix_web::web;
use rota_aggregates::secret::Secret;
use serde_json::{Map, Value};

use super::super::body::{self, BadBody, Given};
use super::super::request::Request;
use super::error::Refused;

/// What kind of thing is wrong, by the names that validators of the zod family have for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Code {
    /// It is missing, or of another type.
    InvalidType,
    /// Too short, or too small a number.
    TooSmall,
    /// Too long, or too great a number.
    TooBig,
    /// Anything else.
    Custom,
}

impl Code {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InvalidType => "invalid_type",
            Self::TooSmall => "too_small",
            Self::TooBig => "too_big",
            Self::Custom => "custom",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Issue {
    /// From the whole down to the field.
    pub(super) path: Vec<String>,
    /// What kind of thing.
    pub(super) code: Code,
    /// What to do about it.
    pub(super) message: String,
}

impl Issue {
    pub(super) fn new(path: &[&str], code: Code, message: impl Into<String>) -> Self {
        Self { path: path.iter().map(|&part| part.to_owned()).collect(), code, message: message.into() }
    }
}

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

    /// Takes a secret, without the blanks around it.
    pub(super) fn secret(&mut self, field: &str) -> Secret {
        Secret::new(self.text(field))
    }

    /// Fails with everything that is wrong.
    pub(super) fn check(&self) -> Result<(), Refused> {
        if self.issues.is_empty() { Ok(()) } else { Err(Refused::issues(&self.issues)) }
    }
}
