//! Bodies as JSON, as a form, or as a form in parts: whichever the content type says.

use std::convert::Infallible;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Bytes;
use serde::Deserialize;
use serde_json::{Number, Value};

use super::super::body;
use super::super::request::Request;
use crate::app::Failure;

/// The one member of a regeneration's body.
pub(super) const GRACE: &str = "oldSecretValidForSeconds";
/// The longest grace period that may be asked for.
const GRACE_SECONDS_MAX: f64 = 3_600.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Json {
    old_secret_valid_for_seconds: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Form {
    old_secret_valid_for_seconds: Option<String>,
}

fn wrong() -> Failure {
    Failure::invalid(GRACE, "must be a number from 0 to 3600")
}

/// The grace period that is asked for, in whole seconds; none is 0. A part of a second counts as a whole one, so that
/// no grace period is shorter than was asked for.
pub(super) async fn grace_seconds(request: &Request, bytes: &Bytes) -> Result<u64, Failure> {
    let content_type = request.header(CONTENT_TYPE).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let number = match essence.as_str() {
        _ if bytes.is_empty() => None,
        "application/x-www-form-urlencoded" => {
            let text = std::str::from_utf8(bytes).map_err(|_| Failure::invalid("body", "is no UTF-8"))?;
            body::query::<Form>(text)?.old_secret_valid_for_seconds.map(|text| digits(&text)).transpose()?
        }
        "multipart/form-data" => parts(content_type, bytes).await?,
        "" | "application/json" => {
            let json: Json = body::json(bytes)?;
            match json.old_secret_valid_for_seconds {
                None => None,
                Some(Value::Number(number)) => Some(seconds(&number)?),
                Some(_) => return Err(wrong()),
            }
        }
        _ => return Err(Failure::invalid("Content-Type", "must be JSON or a form")),
    };
    let seconds = number.unwrap_or(0.0);
    if !(0.0..=GRACE_SECONDS_MAX).contains(&seconds) {
        return Err(wrong());
    }
    Ok(seconds.ceil() as u64)
}

fn seconds(number: &Number) -> Result<f64, Failure> {
    number.as_f64().ok_or_else(wrong)
}

/// A form's text as a number: digits, and a fraction at most.
fn digits(text: &str) -> Result<f64, Failure> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain { text.parse().map_err(|_| wrong()) } else { Err(wrong()) }
}

/// The number in a form in parts.
async fn parts(content_type: &str, bytes: &Bytes) -> Result<Option<f64>, Failure> {
    let broken = |_| Failure::invalid("body", "is no multipart form");
    let boundary = multer::parse_boundary(content_type).map_err(broken)?;
    let bytes = bytes.clone();
    let stream = futures_util::stream::once(async move { Ok::<_, Infallible>(bytes) });
    let mut form = multer::Multipart::new(stream, boundary);
    let mut number = None;
    while let Some(part) = form.next_field().await.map_err(broken)? {
        if part.name() != Some(GRACE) {
            let name = part.name().unwrap_or("body").to_owned();
            return Err(Failure::Invalid { field: name, reason: "is not known".to_owned() });
        }
        if number.is_some() {
            return Err(Failure::invalid(GRACE, "must be given once"));
        }
        number = Some(digits(&part.text().await.map_err(broken)?)?);
    }
    Ok(number)
}
