//! Replacing secrets: an app's own, and its webhook's. The old one is dead at once.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::credential::CredentialRefusal;

use super::super::answer::Shown;
use super::super::request::Request;
use super::super::{answer, body, idempotency};
use super::{app_id, apps, wire, with_key};
use crate::app::Failure;
use crate::app::issue::webhook_of;
use crate::app::rotate::{Made, Rotate};

const AT_ONCE: Rotate = Rotate { grace_seconds: Some(0), reason: None, with_view: false };

/// `POST /connect/v1/apps/{id}/rotate-client-secret`
pub(super) async fn client_secret(request: Request, payload: web::Payload) -> HttpResponse {
    with_key(request, async |request, asker| {
        body::nothing(payload).await?;
        let idempotency = idempotency(request, b"")?;
        let id = app_id(request, asker.workspace)?;
        let render = |made: &Made| {
            let body = wire::ClientSecret { client_secret: Shown(&made.secret) };
            answer::encode(StatusCode::CREATED, None, &body)
        };
        let answer = request.app().rotate(&asker.caller, id, &AT_ONCE, idempotency.as_ref(), render).await?;
        answer::respond(request, &answer)
    })
    .await
}

/// `POST /connect/v1/apps/{id}/webhook-config/rotate-secret`: makes the first one where there is none.
pub(super) async fn webhook_secret(request: Request, payload: web::Payload) -> HttpResponse {
    with_key(request, async |request, asker| {
        body::nothing(payload).await?;
        let idempotency = idempotency(request, b"")?;
        let (app, caller) = (request.app(), &asker.caller);
        let id = app_id(request, asker.workspace)?;
        let render = |made: &Made| {
            answer::encode(StatusCode::OK, None, &wire::WebhookSecret { secret: Shown(&made.secret) })
        };
        let issue = apps::webhook_issue(&asker, id);
        let first = match app.workspace_of(webhook_of(id)) {
            Ok(_) => Err(Failure::Credential(CredentialRefusal::AlreadyIssued)),
            Err(_) => app.issue(caller, &issue, idempotency.as_ref(), render).await,
        };
        let answer = match first {
            Err(Failure::Credential(CredentialRefusal::AlreadyIssued)) => {
                app.rotate(caller, webhook_of(id), &AT_ONCE, idempotency.as_ref(), render).await?
            }
            first => first?,
        };
        answer::respond(request, &answer)
    })
    .await
}
