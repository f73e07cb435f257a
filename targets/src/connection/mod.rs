//! A connection: where a system is, and the authority that rota has there.
//!
//! What a caller gives is read field by field into what is kept, sealed, and into what may be shown. Unknown fields
//! are passed over; secrets never come back out but into the sealed form.

mod app;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use rota_aggregates::secret::Secret;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

pub use self::app::{App, Method, UnknownApp};
use self::app::{Field, Shape};
pub(crate) use self::app::{is_principal, is_user_principal_name};
use crate::issue::{Code, Issue, Reader, under, wrong_type};

/// Where a system is and how to authenticate there. It came through [`Connection::check`].
pub struct Connection {
    app: App,
    method: &'static Method,
    fields: BTreeMap<&'static str, Part>,
}

/// The value of a field.
enum Part {
    Text(String),
    Secret(Secret),
    Port(u16),
    Flag(bool),
}

/// The bytes are no sealed form of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is kept of a connection can't be read")]
pub struct Unreadable;

impl Connection {
    /// Reads the credentials of a connection. The paths of issues are those of the request that makes one:
    /// `method`, `credentials.host`.
    pub fn check(app: App, method: &str, credentials: &Value) -> Result<Self, Vec<Issue>> {
        let Some(method) = app.methods().iter().find(|known| known.id == method) else {
            let known: Vec<_> = app.methods().iter().map(|method| method.id).collect();
            let message = format!("must be {}", known.join(" or "));
            return Err(vec![Issue::new(&["method"], Code::InvalidEnumValue, message)]);
        };
        let mut reader = Reader::new(credentials).map_err(|issues| under("credentials", issues))?;
        let mut fields = BTreeMap::new();
        for field in method.fields {
            if let Some(part) = read(&mut reader, field) {
                fields.insert(field.name, part);
            }
        }
        if reader.issues.is_empty() {
            Ok(Self { app, method, fields })
        } else {
            Err(under("credentials", reader.issues))
        }
    }

    /// The kind of system.
    pub const fn app(&self) -> App {
        self.app
    }

    /// The name of the way to authenticate.
    pub const fn method(&self) -> &'static str {
        self.method.id
    }

    /// The credentials as they may be shown to whoever may read the connection.
    pub fn public(&self) -> Value {
        let mut shown = Map::new();
        for field in self.method.fields.iter().filter(|field| field.shown) {
            match self.fields.get(field.name) {
                Some(Part::Text(text)) => shown.insert(field.name.to_owned(), text.clone().into()),
                Some(Part::Port(port)) => shown.insert(field.name.to_owned(), (*port).into()),
                Some(Part::Flag(flag)) => shown.insert(field.name.to_owned(), (*flag).into()),
                Some(Part::Secret(_)) | None => None,
            };
        }
        Value::Object(shown)
    }

    /// All of it, secrets too, in bytes that are to be sealed. The same connection gives the same bytes.
    pub fn to_sealed(&self) -> Zeroizing<Vec<u8>> {
        // Of its final size from the start: growing would leave a copy behind. No character takes more than six.
        let size: usize = self.fields.iter().map(|(name, part)| name.len() + 16 + 6 * part.len()).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(size + 128));
        serde_json::to_writer(&mut *bytes, &Exposed(self)).expect("texts and numbers can be written");
        bytes
    }

    /// Reads [`Connection::to_sealed`].
    pub fn from_sealed(bytes: &[u8]) -> Result<Self, Unreadable> {
        let Kept { app, method, mut credentials } = serde_json::from_slice(bytes).map_err(|_| Unreadable)?;
        let app: App = app.parse().map_err(|_| Unreadable)?;
        let method = app.methods().iter().find(|known| known.id == method).ok_or(Unreadable)?;
        let mut fields = BTreeMap::new();
        for field in method.fields {
            let part = match (credentials.0.remove(field.name), field.shape) {
                (None, _) if !field.required => continue,
                (Some(Part::Secret(text)), Shape::Secret { .. }) => Part::Secret(text),
                (Some(Part::Secret(text)), Shape::Text { .. } | Shape::OneOf(_)) => {
                    Part::Text(text.expose().to_owned())
                }
                (Some(Part::Port(port)), Shape::Port { .. }) => Part::Port(port),
                (Some(Part::Flag(flag)), Shape::Flag) => Part::Flag(flag),
                _ => return Err(Unreadable),
            };
            fields.insert(field.name, part);
        }
        Ok(Self { app, method, fields })
    }

    /// A field that is no secret.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.fields.get(name) {
            Some(Part::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A field that is one.
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        match self.fields.get(name) {
            Some(Part::Secret(secret)) => Some(secret),
            _ => None,
        }
    }

    /// A field that is no secret and that its method requires.
    pub(crate) fn required(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    /// A copy of a field that is a secret and that its method requires.
    pub(crate) fn required_secret(&self, name: &str) -> Secret {
        Secret::new(self.secret(name).map(Secret::expose).unwrap_or_default().to_owned())
    }

    /// The port; 0 where there is none.
    pub fn port(&self) -> u16 {
        match self.fields.get("port") {
            Some(Part::Port(port)) => *port,
            _ => 0,
        }
    }

    /// A field that is true or false.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.fields.get(name) {
            Some(Part::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// The same with another value in a field that is no secret.
    #[must_use]
    pub fn with_text(mut self, name: &'static str, value: String) -> Self {
        self.fields.insert(name, Part::Text(value));
        self
    }

    /// The same with another value in a field that is a secret.
    #[must_use]
    pub fn with_password(mut self, password: Secret) -> Self {
        self.fields.insert("password", Part::Secret(password));
        self
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Connection");
        shown.field("app", &self.app).field("method", &self.method.id);
        shown.field("credentials", &self.public()).finish_non_exhaustive()
    }
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Secret(secret) => secret.expose().len(),
            Self::Port(_) | Self::Flag(_) => 1,
        }
    }
}

fn read(reader: &mut Reader<'_>, field: &Field) -> Option<Part> {
    let name = field.name;
    match field.shape {
        Shape::Text { max, lower, form } => {
            let given = text(reader, field, true, max)?;
            let given = if lower { given.to_lowercase() } else { given.to_owned() };
            fits(reader, name, &given, form).then_some(Part::Text(given))
        }
        Shape::Secret { max, form } => {
            let given = text(reader, field, false, max)?;
            fits(reader, name, given, form).then(|| Part::Secret(Secret::new(given.to_owned())))
        }
        Shape::OneOf(values) => {
            let given = text(reader, field, false, 256)?;
            if values.contains(&given) {
                return Some(Part::Text(given.to_owned()));
            }
            reader.issue(name, Code::InvalidEnumValue, format!("must be {}", values.join(" or ")));
            None
        }
        Shape::Flag => match reader.get(name) {
            Some(Value::Bool(flag)) => Some(Part::Flag(*flag)),
            None if !field.required => None,
            other => {
                reader.issues.push(wrong_type(&[name], "boolean", other));
                None
            }
        },
        Shape::Port { min } => port(reader, name, min).map(Part::Port),
    }
}

/// An optional text that is empty is absent.
fn text<'a>(reader: &mut Reader<'a>, field: &Field, trim: bool, max: usize) -> Option<&'a str> {
    if field.required {
        return reader.text(field.name, trim, 1, max);
    }
    reader.optional_text(field.name, trim, 0, max).filter(|text| !text.is_empty())
}

fn fits(reader: &mut Reader<'_>, name: &str, given: &str, (fits, message): app::Form) -> bool {
    let fits = fits(given);
    if !fits {
        reader.issue(name, Code::InvalidString, message);
    }
    fits
}

/// A number, or what coerces to one.
fn port(reader: &mut Reader<'_>, name: &str, min: u16) -> Option<u16> {
    let number = match reader.get(name) {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) if text.trim().is_empty() => Some(0.0),
        Some(Value::String(text)) => text.trim().parse().ok(),
        // Where there is a way without a port, none is as good as 0.
        None | Some(Value::Null) if min == 0 => Some(0.0),
        _ => None,
    };
    let (code, message) = match number {
        None => (Code::InvalidType, "Expected number, received something else".to_owned()),
        Some(number) if number.fract() != 0.0 => (Code::InvalidType, "must be a whole number".to_owned()),
        Some(number) if number < f64::from(min) => (Code::TooSmall, format!("must be at least {min}")),
        Some(number) if number > 65_535.0 => (Code::TooBig, "must be at most 65535".to_owned()),
        Some(number) => return Some(number as u16),
    };
    let missing = reader.get(name).is_none();
    reader.issue(name, code, if missing { "Required".to_owned() } else { message });
    None
}

/// The only place where secrets are written.
struct Exposed<'a>(&'a Connection);

impl Serialize for Exposed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("app", self.0.app.id())?;
        map.serialize_entry("method", self.0.method.id)?;
        map.serialize_entry("credentials", &ExposedFields(&self.0.fields))?;
        map.end()
    }
}

struct ExposedFields<'a>(&'a BTreeMap<&'static str, Part>);

impl Serialize for ExposedFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, part) in self.0 {
            match part {
                Part::Text(text) => map.serialize_entry(name, text)?,
                Part::Secret(secret) => map.serialize_entry(name, secret.expose())?,
                Part::Port(port) => map.serialize_entry(name, port)?,
                Part::Flag(flag) => map.serialize_entry(name, flag)?,
            }
        }
        map.end()
    }
}

#[derive(Deserialize)]
struct Kept {
    app: String,
    method: String,
    credentials: KeptFields,
}

/// Every text is read as a secret, so that none lies about unzeroized.
struct KeptFields(BTreeMap<String, Part>);

impl<'de> Deserialize<'de> for KeptFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = KeptFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeptFields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, part)) = map.next_entry::<String, Part>()? {
                    fields.insert(name, part);
                }
                Ok(KeptFields(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Part;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a port or a flag")
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Part, E> {
                Ok(Part::Flag(flag))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Part, E> {
                u16::try_from(number).map(Part::Port).map_err(|_| E::custom("no port"))
            }

            fn visit_str<E>(self, text: &str) -> Result<Part, E> {
                Ok(Part::Secret(Secret::new(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Part, E> {
                Ok(Part::Secret(Secret::new(text)))
            }
        }
        deserializer.deserialize_any(One)
    }
}
