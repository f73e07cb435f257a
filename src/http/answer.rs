//! Answers: the plain one, and the one that is kept for a retry as status, location, body.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use rota_aggregates::Position;
use rota_aggregates::secret::Secret;
use serde::{Serialize, Serializer};

use super::request::{REQUEST_ID, Request};
use crate::app::{Answer, Failure};
use crate::sealing::SealError;

/// A secret on its way out: the one place where it is written into an answer.
pub(crate) struct Shown<'a>(pub(crate) &'a Secret);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

/// Renders an answer into the bytes that are kept.
pub(crate) fn encode(
    status: StatusCode,
    location: Option<&str>,
    body: &impl Serialize,
) -> Result<Vec<u8>, Failure> {
    let location = location.unwrap_or_default();
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&status.as_u16().to_le_bytes());
    bytes.extend_from_slice(&(location.len() as u16).to_le_bytes());
    bytes.extend_from_slice(location.as_bytes());
    serde_json::to_writer(&mut bytes, body).map_err(|e| Failure::NotRecordable(e.into()))?;
    Ok(bytes)
}

/// A kept answer, taken apart.
pub(crate) struct Kept<'a> {
    pub(crate) status: StatusCode,
    pub(crate) location: &'a [u8],
    pub(crate) body: &'a [u8],
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(answer: &Answer) -> Result<Kept<'_>, Failure> {
    let broken = || Failure::Sealed(SealError::UnknownFormat);
    let (status, rest) = answer.bytes.split_first_chunk::<2>().ok_or_else(broken)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(broken)?;
    let (location, body) =
        rest.split_at_checked(usize::from(u16::from_le_bytes(*length))).ok_or_else(broken)?;
    let status = StatusCode::from_u16(u16::from_le_bytes(*status)).map_err(|_| broken())?;
    Ok(Kept { status, location, body })
}

/// Gives a 200 that is kept for nobody, and names the position of what was changed.
pub(crate) fn ok(request: &Request, position: Option<Position>, body: &impl Serialize) -> HttpResponse {
    let mut builder = HttpResponse::build(StatusCode::OK);
    builder.insert_header((REQUEST_ID, request.id.to_string()));
    builder.insert_header((CACHE_CONTROL, "no-store"));
    if let Some(position) = position {
        builder.insert_header(("Rota-Position", position.to_string()));
    }
    builder.json(body)
}

/// Gives an answer, first or again.
pub(crate) fn respond(request: &Request, answer: &Answer) -> Result<HttpResponse, Failure> {
    let Kept { status, location, body } = decode(answer)?;
    let mut response = HttpResponse::build(status);
    response.insert_header((CONTENT_TYPE, "application/json"));
    response.insert_header((CACHE_CONTROL, "no-store"));
    response.insert_header((REQUEST_ID, request.id.to_string()));
    response.insert_header(("Rota-Position", answer.position.to_string()));
    if !location.is_empty() {
        response.insert_header((LOCATION, location));
    }
    if answer.replayed {
        response.insert_header(("Idempotency-Replayed", "true"));
    }
    if answer.superseded {
        response.insert_header(("Rota-Secret-Superseded", "true"));
    }
    Ok(response.body(body.to_vec()))
}
