//! `POST /v1/integrator/webhook-secret`: the secret that an integrator chooses for what it is sent.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::secret::Secret;
use serde::Deserialize;
use serde_json::json;

use super::super::request::Request;
use super::super::{answer, body, idempotency};
use super::with;
use crate::app::rotate::Made;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretBody {
    secret: Secret,
}

/// Sets the secret: the first, or another one.
pub(super) async fn post(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, payload, async |request, asker| {
        let body: SecretBody = body::json(&asker.body)?;
        let id = asker.integrator(request)?;
        let idempotency = idempotency(request, &asker.body)?;
        let render = |_: &Made| answer::encode(StatusCode::OK, None, &json!({ "secretConfigured": true }));
        let (app, caller) = (request.app(), &asker.caller);
        let answer = app.set_webhook_secret(caller, id, &body.secret, idempotency.as_ref(), render).await?;
        answer::respond(request, &answer)
    })
    .await
}
