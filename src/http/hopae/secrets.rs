//! Rotating an app's secrets. Hopae knows no grace: the old secret is dead when the new one is answered.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::super::native::Shown;
use super::super::request::Request;
use super::super::{answer, body, idempotency};
use super::{app, with};
use crate::app::Failure;
use crate::app::rotate::{Made, Rotate};

/// Nothing is asked for, so nothing may be sent but an empty object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn at_once() -> Rotate {
    Rotate { grace_seconds: Some(0), reason: None, with_view: false }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientSecret<'a> {
    client_secret: Shown<'a>,
}

/// `POST /connect/v1/apps/{id}/rotate-client-secret`
pub(super) async fn rotate_client_secret(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let bytes = body::bytes(payload).await?;
        let Nothing {} = body::json(&bytes)?;
        let idempotency = idempotency(request, &bytes)?;
        let id = app(request, workspace)?;
        let render = |made: &Made| {
            let body = ClientSecret { client_secret: Shown(&made.secret) };
            answer::encode(StatusCode::CREATED, None, &body)
        };
        let answer = request.app().rotate(&caller, id, &at_once(), idempotency.as_ref(), render).await?;
        answer::respond(request, &answer)
    })
    .await
}

#[derive(Serialize)]
struct WebhookSecret<'a> {
    secret: Shown<'a>,
}

/// `POST /connect/v1/apps/{id}/webhook-config/rotate-secret`
pub(super) async fn rotate_webhook_secret(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let bytes = body::bytes(payload).await?;
        let Nothing {} = body::json(&bytes)?;
        let idempotency = idempotency(request, &bytes)?;
        let id = app(request, workspace)?;
        let render = |made: &Made| -> Result<Vec<u8>, Failure> {
            answer::encode(StatusCode::OK, None, &WebhookSecret { secret: Shown(&made.secret) })
        };
        let answer = request
            .app()
            .rotate_webhook_secret(&caller, workspace, id, &at_once(), idempotency.as_ref(), render)
            .await?;
        answer::respond(request, &answer)
    })
    .await
}
