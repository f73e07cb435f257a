//! `Prefer: ledger-proof`: a change's answer carries its receipt, in every dialect.
//!
//! The receipt is that of the change's last event, whose position the answer names: a `tlog-proof@v1` text in base64,
//! in the header `Rota-Receipt`. What is asked for here is waited for after the change is durable; an answer to
//! anybody else waits for nothing of it. If no checkpoint can be signed in time the change stands all the same, and
//! its answer goes out without a receipt, which can be had later (`/v1/ledger/proof/{position}`).

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rota_aggregates::Position;

use super::Server;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const POSITION: HeaderName = HeaderName::from_static("rota-position");
const RECEIPT: HeaderName = HeaderName::from_static("rota-receipt");
/// What is asked for.
const PREFERENCE: &str = "ledger-proof";

fn asks(headers: &HeaderMap) -> bool {
    headers.get_all(PREFER).filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |preference| {
            preference.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(PREFERENCE))
        },
    )
}

/// Adds the receipt to the answer of a change, where it is asked for.
pub(super) async fn attach<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if !asks(request.headers()) {
        return next.call(request).await;
    }
    let server = request.app_data::<web::Data<Server>>().cloned();
    let mut response = next.call(request).await?;
    let position = response.headers().get(POSITION).and_then(|value| value.to_str().ok()?.parse().ok());
    if let (Some(position), Some(server)) = (position.map(Position), server) {
        match server.app.receipt(position).await {
            Ok(receipt) => {
                if let Ok(value) = HeaderValue::from_str(&STANDARD.encode(receipt)) {
                    let headers = response.headers_mut();
                    headers.insert(RECEIPT, value);
                    headers.insert(APPLIED, HeaderValue::from_static(PREFERENCE));
                }
            }
            Err(failure) => {
                let error: &dyn std::error::Error = &failure;
                tracing::warn!(error, position = position.0, "a change goes out without its receipt");
            }
        }
    }
    Ok(response)
}
