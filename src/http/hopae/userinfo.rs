//! `GET /connect/v1/userinfo`: who an app is, by its own secret.

use actix_web::HttpResponse;
use rota_aggregates::authority::Dialect;
use rota_aggregates::credential::Kind;
use serde_json::json;

use super::super::request::Request;
use super::error::{self, Surface};
use super::{Outcome, ok};
use crate::app::{Caller, Failure};

async fn who(request: &Request, caller: &Caller) -> Outcome {
    let who = caller.credential().ok_or(Failure::Unauthenticated)?;
    let seen = request.app().credential(caller, who.credential, None).await?;
    let body = json!({
        "clientId": seen.view.public_id,
        "name": seen.view.name,
        "workspace": who.workspace,
        "secretVersion": who.version,
        "retiring": who.retiring,
    });
    Ok(ok(request, None, &body))
}

/// Answers an app about itself.
pub(super) async fn get(request: Request) -> HttpResponse {
    let caller = match request.basic(Dialect::Hopae, &[Kind::Client]).await {
        Ok(caller) => caller,
        Err(not) => return error::of_entry(&request, Surface::App, &not),
    };
    let outcome = who(&request, &caller).await;
    outcome.unwrap_or_else(|failure| error::of_failure(&request, Surface::App, &failure))
}
