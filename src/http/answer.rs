//! An answer as it is kept for a retry: status, location, body.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use serde::Serialize;

use super::request::{REQUEST_ID, Request};
use crate::app::{Answer, Failure};
use crate::sealing::SealError;

/// Renders an answer into the bytes that are kept.
pub(crate) fn encode(
    status: StatusCode,
    location: Option<&str>,
    body: &impl Serialize,
) -> Result<Vec<u8>, Failure> {
    let location = location.unwrap_or_default();
    // Large enough not to grow: a buffer that grows leaves copies of the secret behind.
    let mut bytes = Vec::with_capacity(4_096);
    bytes.extend_from_slice(&status.as_u16().to_le_bytes());
    bytes.extend_from_slice(&(location.len() as u16).to_le_bytes());
    bytes.extend_from_slice(location.as_bytes());
    serde_json::to_writer(&mut bytes, body).map_err(|e| Failure::NotRecordable(e.into()))?;
    Ok(bytes)
}

/// The body of an answer, to be a member of a larger one.
pub(crate) fn body(answer: &Answer) -> Result<serde_json::Value, Failure> {
    let (_, _, body) = decode(answer)?;
    serde_json::from_slice(body).map_err(|e| Failure::NotRecordable(e.into()))
}

fn decode(answer: &Answer) -> Result<(StatusCode, &[u8], &[u8]), Failure> {
    let broken = || Failure::Sealed(SealError::UnknownFormat);
    let (status, rest) = answer.bytes.split_first_chunk::<2>().ok_or_else(broken)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(broken)?;
    let (location, body) =
        rest.split_at_checked(usize::from(u16::from_le_bytes(*length))).ok_or_else(broken)?;
    let status = StatusCode::from_u16(u16::from_le_bytes(*status)).map_err(|_| broken())?;
    Ok((status, location, body))
}

/// Gives an answer, first or again.
pub(crate) fn respond(request: &Request, answer: &Answer) -> Result<HttpResponse, Failure> {
    let (status, location, body) = decode(answer)?;
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
