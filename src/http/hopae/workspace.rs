//! `GET /connect/v1/workspace`

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use rota_aggregates::credential::Kind;
use serde_json::json;

use super::super::request::Request;
use super::{json, with};

/// The workspace of the key that asks.
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let view = request.app().workspace(&caller, workspace).await?;
        let body = json!({
            "id": view.id,
            "organizationId": view.id,
            "name": view.name,
            "appCount": request.app().count(workspace, Kind::Client),
            "createdAt": view.created_at.to_millis_text(),
        });
        Ok(json(request, StatusCode::OK, &body))
    })
    .await
}
