//! What is wrong with something that a caller gave, field by field.

use serde_json::Value;

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// It is missing, or of another type.
    InvalidType,
    /// Too short, or too small a number.
    TooSmall,
    /// Too long, or too great a number.
    TooBig,
    /// A string of another form.
    InvalidString,
    /// None of the values that there are.
    InvalidEnumValue,
    /// Any other demand on one field or on several.
    Custom,
    /// The input is well formed, and a rule forbids it.
    Rule,
}

impl Code {
    /// As validators of the zod family name it; a rule has no name of its own there.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidType => "invalid_type",
            Self::TooSmall => "too_small",
            Self::TooBig => "too_big",
            Self::InvalidString => "invalid_string",
            Self::InvalidEnumValue => "invalid_enum_value",
            Self::Custom | Self::Rule => "custom",
        }
    }
}

/// One thing that is wrong. It never repeats the value: that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// From what was checked down to the field.
    pub path: Vec<String>,
    /// What kind of thing.
    pub code: Code,
    /// What to do about it.
    pub message: String,
}

impl Issue {
    /// One thing, at a field.
    pub fn new(path: &[&str], code: Code, message: impl Into<String>) -> Self {
        Self { path: path.iter().map(|&part| part.to_owned()).collect(), code, message: message.into() }
    }

    /// The same, seen from one level further up.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        self.path.insert(0, parent.to_owned());
        self
    }
}

/// What a value is called in an issue.
const fn type_name(value: Option<&Value>) -> &'static str {
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

/// Reads the fields of one object, and gathers what is wrong with them.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    object: &'a serde_json::Map<String, Value>,
    pub(crate) issues: Vec<Issue>,
}

impl<'a> Reader<'a> {
    /// The only issue where it is no object.
    pub(crate) fn new(value: &'a Value) -> Result<Self, Vec<Issue>> {
        match value.as_object() {
            Some(object) => Ok(Self { object, issues: Vec::new() }),
            None => Err(vec![wrong_type(&[], "object", Some(value))]),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name)
    }

    pub(crate) fn issue(&mut self, name: &str, code: Code, message: impl Into<String>) {
        self.issues.push(Issue::new(&[name], code, message));
    }

    /// A required string, without the blanks around it if `trim`.
    pub(crate) fn text(&mut self, name: &str, trim: bool, min: usize, max: usize) -> Option<&'a str> {
        match self.get(name) {
            Some(Value::String(_)) => self.optional_text(name, trim, min, max),
            other => {
                self.issues.push(wrong_type(&[name], "string", other));
                None
            }
        }
    }

    /// The same for a string that may be absent.
    pub(crate) fn optional_text(
        &mut self,
        name: &str,
        trim: bool,
        min: usize,
        max: usize,
    ) -> Option<&'a str> {
        match self.get(name) {
            None => None,
            Some(Value::String(text)) => {
                let text = if trim { text.trim() } else { text };
                if text.chars().count() < min {
                    let message = format!("must have at least {min} character{}", plural(min));
                    self.issue(name, Code::TooSmall, message);
                    return None;
                }
                if text.len() > max {
                    self.issue(name, Code::TooBig, format!("must have at most {max} characters"));
                    return None;
                }
                if text.contains('\0') {
                    self.issue(name, Code::InvalidString, "must not have a NUL in it");
                    return None;
                }
                Some(text)
            }
            other => {
                self.issues.push(wrong_type(&[name], "string", other));
                None
            }
        }
    }
}

/// The same issues, seen from one level further up.
pub(crate) fn under(parent: &str, issues: Vec<Issue>) -> Vec<Issue> {
    issues.into_iter().map(|issue| issue.under(parent)).collect()
}

pub(crate) fn wrong_type(path: &[&str], expected: &str, received: Option<&Value>) -> Issue {
    let message = match received {
        None => "Required".to_owned(),
        received => format!("Expected {expected}, received {}", type_name(received)),
    };
    Issue::new(path, Code::InvalidType, message)
}

const fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
