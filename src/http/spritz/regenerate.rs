//! `POST /v1/integrator/regenerate-secret`: the next secret, with a grace period for the old one if that is asked for.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::Timestamp;
use rota_aggregates::authority::Dialect;
use serde::Serialize;

use super::super::answer::{self, Shown};
use super::super::request::Request;
use super::super::{body as bodies, idempotency};
use super::{Asker, Outcome, body, error, with};
use crate::app::rotate::{Made, Rotate};
use crate::app::signature::Entry;
use crate::app::{Authenticated, Caller, Principal};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Regenerated<'a> {
    secret: Shown<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_secret_expires_at: Option<Timestamp>,
}

fn render(made: &Made) -> Result<Vec<u8>, crate::app::Failure> {
    let body = Regenerated { secret: Shown(&made.secret), old_secret_expires_at: made.old_expires_at };
    answer::encode(StatusCode::OK, None, &body)
}

/// Rotates the integrator's secret.
pub(super) async fn post(request: Request, payload: web::Payload) -> HttpResponse {
    if !request.is_signed() {
        return with(request, payload, async |request, asker| rotate(request, &asker).await).await;
    }
    let bytes = match bodies::bytes(payload).await {
        Ok(bytes) => bytes,
        Err(bad) => return error::of_failure(&request, &bad.into()),
    };
    let outcome = match request.enter_signed(Dialect::Spritz, &bytes).await {
        Err(not) => return error::of_entry(&request, &not),
        Ok((anonymous, Entry::ReplayOnly(who))) => fetch(&request, &anonymous, &who, &bytes).await,
        Ok((anonymous, Entry::Whole(verified))) => {
            let caller = Caller { principal: Principal::Credential(verified.who), ..anonymous };
            rotate(&request, &Asker { caller, workspace: verified.who.workspace, body: bytes }).await
        }
    };
    outcome.unwrap_or_else(|failure| error::of_failure(&request, &failure))
}

async fn rotate(request: &Request, asker: &Asker) -> Outcome {
    let grace_seconds = body::grace_seconds(request, &asker.body).await?;
    let id = asker.integrator(request)?;
    let rotate = Rotate { grace_seconds: Some(grace_seconds), ..Rotate::default() };
    let idempotency = idempotency(request, &asker.body)?;
    let answer = request.app().rotate(&asker.caller, id, &rotate, idempotency.as_ref(), render).await?;
    answer::respond(request, &answer)
}

/// The answer that was lost, for the secret that it replaced.
async fn fetch(request: &Request, anonymous: &Caller, who: &Authenticated, bytes: &web::Bytes) -> Outcome {
    let key = idempotency(request, bytes)?.ok_or(crate::app::Failure::Unauthenticated)?;
    let answer = request.app().fetch_lost_answer(anonymous, who, &key).await?;
    answer::respond(request, &answer)
}
