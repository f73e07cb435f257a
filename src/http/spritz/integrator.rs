//! `GET /v1/integrator/`: an integrator about itself. Never its secret.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::super::request::Request;
use super::{ok, with};

/// Answers an integrator about itself.
pub(super) async fn get(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, payload, async |request, asker| {
        let id = asker.integrator(request)?;
        let view = request.app().credential(&asker.caller, id, None).await?.view;
        let body = json!({
            "id": view.id,
            "integratorKey": view.public_id,
            "name": view.name,
            "email": null,
            "createdAt": view.created_at.to_millis_text(),
            "updatedAt": view.updated_at.to_millis_text(),
        });
        Ok(ok(request, None, &body))
    })
    .await
}
