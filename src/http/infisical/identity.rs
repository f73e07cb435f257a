//! Machine identities: logging in, and what becomes of the token.

use actix_web::{HttpResponse, web};
use rota_aggregates::authority::Dialect;
use rota_aggregates::credential::Kind;
use serde::Serialize;
use serde_json::json;

use super::super::request::Request;
use super::error::Refused;
use super::input::Input;
use super::{Outcome, ok, open, projects, with};
use crate::app::sessions::{Issued, LOGIN_SECONDS_MAX};
use crate::app::{Failure, Principal};

/// A token, as login and renewal give it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LoggedIn<'a> {
    access_token: &'a str,
    expires_in: i64,
    #[serde(rename = "accessTokenMaxTTL")]
    access_token_max_ttl: u32,
    token_type: &'static str,
}

fn token(request: &Request, issued: &Issued) -> HttpResponse {
    let body = LoggedIn {
        access_token: &issued.token,
        expires_in: issued.claims.exp - issued.claims.iat,
        access_token_max_ttl: LOGIN_SECONDS_MAX,
        token_type: "Bearer",
    };
    ok(request, None, &body)
}

/// `POST /api/v1/auth/universal-auth/login`
pub(super) async fn log_in(request: Request, payload: web::Payload) -> HttpResponse {
    open(request, async |request| {
        let mut input = Input::body(payload).await?;
        let id = input.text("clientId");
        let secret = input.secret("clientSecret");
        input.check()?;
        let entered = request.pair(Dialect::Infisical, &id, secret.expose(), &[Kind::Client]).await;
        let caller = entered.map_err(Refused::of_login)?;
        let who = caller.credential().ok_or(Failure::Unauthenticated)?;
        Ok(token(request, &request.app().log_in(&who).await?))
    })
    .await
}

/// A failed authentication counts, also where the token is in the body.
fn keep_out(request: &Request, failure: Failure) -> Refused {
    Refused::entry(request.keep_out(failure))
}

/// `POST /api/v1/auth/token/renew`
pub(super) async fn renew(request: Request, payload: web::Payload) -> HttpResponse {
    open(request, async |request| {
        let mut input = Input::body(payload).await?;
        let shown = input.secret("accessToken");
        input.check()?;
        let renewed = request.app().renew_login(shown.expose()).await;
        Ok(token(request, &renewed.map_err(|failure| keep_out(request, failure))?))
    })
    .await
}

/// `POST /api/v1/auth/token/revoke`
pub(super) async fn revoke(request: Request, payload: web::Payload) -> HttpResponse {
    open(request, async |request| {
        let mut input = Input::body(payload).await?;
        let shown = input.secret("accessToken");
        input.check()?;
        let anonymous = request.caller(Principal::Anonymous, Dialect::Infisical);
        let ended = request.app().end_login(&anonymous, shown.expose()).await;
        ended.map_err(|failure| keep_out(request, failure))?;
        Ok(ok(request, None, &json!({ "message": "Successfully revoked access token" })))
    })
    .await
}

/// `GET /api/v1/identities/details`: a workspace is its own organisation.
pub(super) async fn details(request: Request) -> HttpResponse {
    with(request, async |request, caller| -> Outcome {
        let none = || Refused::bad_request("the operator belongs to no organisation");
        let own = caller.workspace().ok_or_else(none)?;
        let (name, slug) = projects::name_and_slug(request.app().workspace_name(own).await?.as_deref(), own);
        let organization = json!({ "id": own, "name": name, "slug": slug });
        Ok(ok(request, None, &json!({ "identityDetails": { "organization": organization } })))
    })
    .await
}
