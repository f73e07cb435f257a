//! `…/erase-details`: destroying what is personal about events, which leaves the events.

use actix_web::{HttpResponse, web};
use rota_aggregates::Position;
use serde::Deserialize;
use serde_json::json;

use super::super::body;
use super::super::request::Request;
use super::{changed, credential_id, with};
use crate::app::Failure;
use crate::app::erase::Erased;

/// There is nothing to say; a field is a mistake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

fn answer(request: &Request, erased: Erased) -> HttpResponse {
    changed(request, erased.position, &json!({ "erasedEvents": erased.events }))
}

/// `POST /v1/credentials/{id}/erase-details`
pub(super) async fn of_credential(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let NoBody {} = body::json(&body::bytes(payload).await?)?;
        let erased = request.app().erase_details_of(&caller, credential_id(request)?).await?;
        Ok(answer(request, erased))
    })
    .await
}

/// `POST /v1/events/{position}/erase-details`
pub(super) async fn of_event(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let NoBody {} = body::json(&body::bytes(payload).await?)?;
        let text = request.http.match_info().get("position").unwrap_or_default();
        let position = text.parse().ok().filter(|position| *position < 1 << 62).map(Position);
        let position = position.ok_or(Failure::NotFound("event"))?;
        let erased = request.app().erase_details_at(&caller, position).await?;
        Ok(answer(request, erased))
    })
    .await
}
