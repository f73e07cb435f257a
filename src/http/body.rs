//! Reading bodies and queries, within bounds, naming the field that is wrong.

use actix_web::web;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::Zeroize;

use super::BODY_BYTES_MAX;
use crate::app::Failure;

/// A body that can't be taken.
#[derive(Debug)]
pub(crate) enum BadBody {
    /// It is larger than [`BODY_BYTES_MAX`].
    TooLarge,
    /// It did not arrive whole.
    Broken,
    /// It is not what is asked for.
    Wrong {
        /// The field, if one is to blame.
        field: Option<String>,
        /// What is wrong.
        reason: String,
    },
}

impl From<BadBody> for Failure {
    fn from(bad: BadBody) -> Self {
        match bad {
            BadBody::TooLarge => Self::NotRecordable(rota_aggregates::record::NotRecordable::TooLarge),
            BadBody::Broken => Self::invalid("body", "did not arrive whole"),
            BadBody::Wrong { field, reason } => {
                Self::Invalid { field: field.unwrap_or_else(|| "body".to_owned()), reason }
            }
        }
    }
}

/// A member that may be left out, null, or given.
#[derive(Clone, Copy, Default)]
pub(crate) enum Given<T> {
    /// Left out: it stays as it is.
    #[default]
    Absent,
    /// Null: there is none any more.
    Null,
    /// Given.
    Value(T),
}

impl<T> Given<T> {
    /// What there is after a change of what there was.
    pub(crate) fn over(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Absent => before,
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(d)?.map_or(Self::Null, Self::Value))
    }
}

/// The whole body.
pub(crate) async fn bytes(payload: web::Payload) -> Result<web::Bytes, BadBody> {
    match payload.to_bytes_limited(BODY_BYTES_MAX).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(BadBody::Broken),
        Err(_) => Err(BadBody::TooLarge),
    }
}

/// A body that says nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Takes a body that is left out, empty or an empty object. All three are the same request.
pub(crate) async fn nothing(payload: web::Payload) -> Result<(), Failure> {
    let bytes = bytes(payload).await?;
    if !bytes.is_empty() {
        json::<Nothing>(&bytes)?;
    }
    Ok(())
}

/// Reads a JSON object. An empty body counts as `{}`. An array is refused by hand: serde would take its entries for
/// the fields in their order.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, BadBody> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    if !is_object(body) {
        return Err(BadBody::Wrong { field: None, reason: "must be a JSON object".to_owned() });
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value: T = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let reason = reason(&inner);
        let field = named_field(&reason).or((inner.is_data() && path != ".").then_some(path));
        BadBody::Wrong { field, reason }
    })?;
    reader.end().map_err(|error| BadBody::Wrong { field: None, reason: reason(&error) })?;
    Ok(value)
}

/// Whether a body can only be a JSON object.
pub(crate) fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

/// What is wrong, without the values that were sent: they may be secrets.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    if let Some((_, expected)) = text.split_once(", expected ")
        && !text.starts_with("unknown")
    {
        return match expected {
            "u64" | "u32" | "usize" => "must be a whole number, 0 or more".to_owned(),
            other => format!("must be {other}"),
        };
    }
    match error.classify() {
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof => "is no JSON".to_owned(),
        _ => text.to_owned(),
    }
}

/// The field that an error of serde's names.
fn named_field(reason: &str) -> Option<String> {
    let rest = ["unknown", "missing", "duplicate"]
        .into_iter()
        .find_map(|what| reason.strip_prefix(what)?.strip_prefix(" field `"))?;
    rest.split_once('`').map(|(field, _)| field.to_owned())
}

/// Reads a query string. Unknown parameters are refused: a misspelt filter must not widen an answer.
pub(crate) fn query<T: DeserializeOwned>(query: &str) -> Result<T, Failure> {
    web::Query::<T>::from_query(query).map(web::Query::into_inner).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.split_once(": ").map_or(reason.as_str(), |(_, rest)| rest);
        let field = named_field(reason).unwrap_or_else(|| "query".to_owned());
        Failure::Invalid { field, reason: reason.to_owned() }
    })
}

/// Leaves nothing readable of a value that had secrets in it.
pub(crate) fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
