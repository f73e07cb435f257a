//! `POST /api/v1/authorize/token`: a key and its secret for a token.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};

use super::super::body;
use super::super::request::Request;
use super::wire::{Both, Enveloped, Exchanged};
use super::{Outcome, TokenAnswer, answered, entry, success};
use crate::app::Failure;

const MESSAGE: &str = "Access token issued";

async fn give(request: &Request, payload: web::Payload) -> Outcome {
    body::nothing(payload).await?;
    let caller = entry::pair(request).await?;
    let who = caller.credential().ok_or(Failure::Unauthenticated)?;
    let issued = request.app().exchange(&who).await?;
    let path = format!("/api/v1/auth-context/{}", issued.claims.jti);
    let token = Exchanged::of(&issued, &path);
    Ok(match request.server.fluide_token_answer {
        TokenAnswer::Flat => success(request, StatusCode::CREATED, &token),
        TokenAnswer::Enveloped => success(request, StatusCode::CREATED, &Enveloped::new(MESSAGE, token)),
        TokenAnswer::Both => success(request, StatusCode::CREATED, &Both::new(MESSAGE, token)),
    })
}

/// Gives a token.
pub(super) async fn exchange(request: Request, payload: web::Payload) -> HttpResponse {
    let outcome = give(&request, payload).await;
    answered(&request, outcome)
}
