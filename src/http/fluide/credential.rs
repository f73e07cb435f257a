//! A credential about itself, and its next secret.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;

use super::super::request::Request;
use super::super::{answer, body, idempotency};
use super::wire::{Current, Enveloped, NewSecret};
use super::{Outcome, answered, entry, success};
use crate::app::rotate::{Made, Rotate};

async fn show(request: &Request) -> Outcome {
    let (caller, id, _) = entry::keeper(request, false).await?;
    let seen = request.app().credential(&caller, id, None).await?;
    let body = Enveloped::new("Credential found", Current::of(&seen.view));
    Ok(success(request, StatusCode::OK, &body))
}

/// `GET /api/v1/authorize/current`
pub(super) async fn current(request: Request) -> HttpResponse {
    let outcome = show(&request).await;
    answered(&request, outcome)
}

/// What rota takes beyond Fluide: no body is no grace.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RotateBody {
    grace_period_seconds: Option<u64>,
}

async fn replace(request: &Request, payload: web::Payload) -> Outcome {
    let bytes = body::bytes(payload).await.map_err(crate::app::Failure::from)?;
    let (caller, id, key) = entry::keeper(request, true).await?;
    let asked: RotateBody = body::json(&bytes).map_err(crate::app::Failure::from)?;
    let grace = asked.grace_period_seconds.unwrap_or(0);
    let rotate = Rotate { grace_seconds: Some(grace), reason: None, with_view: false };
    // The path names no credential; what a repeat must have in common does.
    let idempotency = idempotency(request, format!("{key}\n{grace}").as_bytes())?;
    let render = |made: &Made| {
        let body = Enveloped::new("API secret rotated", NewSecret::of(made));
        answer::encode(StatusCode::CREATED, None, &body)
    };
    let answer = request.app().rotate(&caller, id, &rotate, idempotency.as_ref(), render).await?;
    Ok(answer::respond(request, &answer)?)
}

/// `POST /api/v1/authorize/rotate-secret`
pub(super) async fn rotate(request: Request, payload: web::Payload) -> HttpResponse {
    let outcome = replace(&request, payload).await;
    answered(&request, outcome)
}
