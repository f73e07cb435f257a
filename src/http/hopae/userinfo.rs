//! The app surface: HTTP Basic with an app's own id and secret, and problems in the style of RFC 7807.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use rota_aggregates::authority::Dialect;
use rota_aggregates::credential::Kind;
use serde_json::json;

use super::super::auth::NotLetIn;
use super::super::problem;
use super::super::request::{REQUEST_ID, Request};
use super::error::code;
use super::json;
use crate::app::Failure;

/// `GET /connect/v1/userinfo`: who the app is.
pub(super) async fn get(request: Request) -> HttpResponse {
    let caller = match request.basic(Dialect::Hopae, &[Kind::Client]).await {
        Ok(caller) => caller,
        Err(NotLetIn::Unknown { .. }) => return refuse(&request, &Failure::Unauthenticated, None),
        Err(NotLetIn::TooMany { retry_after }) => {
            return refuse(&request, &Failure::Unauthenticated, Some(retry_after));
        }
        Err(NotLetIn::Failed(failure)) => return refuse(&request, &failure, None),
    };
    let Some(who) = caller.credential() else {
        return refuse(&request, &Failure::Unauthenticated, None);
    };
    match request.app().credential(&caller, who.credential, None).await {
        Ok(seen) => {
            let body = json!({
                "sub": seen.view.public_id,
                "clientId": seen.view.public_id,
                "name": seen.view.name,
                "organizationId": who.workspace,
                "secretVersion": who.version,
                "secretRetiring": who.retiring,
            });
            json(&request, StatusCode::OK, &body)
        }
        Err(failure) => refuse(&request, &failure, None),
    }
}

fn refuse(request: &Request, failure: &Failure, limited: Option<u64>) -> HttpResponse {
    problem::log(request, failure);
    let (title, mut status) = code(failure);
    if limited.is_some() {
        status = StatusCode::TOO_MANY_REQUESTS;
    }
    let body = json!({
        "title": title,
        "status": status.as_u16(),
        "detail": failure.to_string(),
        "instance": request.http.path(),
        "timestamp": request.app().clock().now().to_millis_text(),
    });
    let mut response = HttpResponse::build(status);
    response.insert_header((REQUEST_ID, request.id.to_string())).insert_header((CACHE_CONTROL, "no-store"));
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((WWW_AUTHENTICATE, "Basic realm=\"hopae\", charset=\"UTF-8\""));
    }
    if let Some(seconds) = limited.or(problem::retry_after(failure)) {
        response.insert_header((RETRY_AFTER, seconds.to_string()));
    }
    response.insert_header((CONTENT_TYPE, "application/problem+json")).body(body.to_string())
}
