//! Fluide Connect: a key and a secret are exchanged for a token, and everything else takes token and key.
//!
//! A credential here is one of kind `exchange`. What Fluide's own products would answer is not rota's: the product
//! edge lets in or keeps out, and says so. Where Fluide's pages contradict each other, docs/api-design.md has which
//! side was taken.

mod context;
mod credential;
mod entry;
mod error;
mod health;
mod products;
mod token;
mod wire;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_LANGUAGE, HeaderValue};
use actix_web::{HttpResponse, web};
use serde::Serialize;

use self::error::Refused;
use super::auth::NotLetIn;
use super::request::{REQUEST_ID, Request};
use crate::app::{Authenticated, Failure};

/// The products at whose edge rota lets in.
const PRODUCTS: [&str; 5] = ["hr", "payroll", "pay", "books", "utils"];

/// How the answer to a token exchange is put: Fluide's own pages show it bare and say that all is in an envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum TokenAnswer {
    /// The members alone.
    #[default]
    Flat,
    /// In the success envelope.
    Enveloped,
    /// In the envelope, with the members beside it.
    Both,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    let authorize = web::scope("/api/v1/authorize")
        .route("/token", web::post().to(token::exchange))
        .route("/current", web::get().to(credential::current))
        .route("/rotate-secret", web::post().to(credential::rotate))
        .default_service(web::to(not_found));
    let context = web::scope("/api/v1/auth-context")
        .route("/{id}", web::get().to(context::get))
        .default_service(web::to(not_found));
    config
        .route("/api/v1", web::get().to(health::root))
        .route("/api/v1/health", web::get().to(health::health))
        .service(authorize)
        .service(context);
    for product in PRODUCTS {
        config.service(
            web::scope(&format!("/api/v1/{product}"))
                .route("/health", web::get().to(products::health))
                .default_service(web::to(products::elsewhere)),
        );
    }
}

/// Anything that is nowhere.
async fn not_found(request: Request) -> HttpResponse {
    error::respond(&request, &Refused::nowhere())
}

/// Whether a request has what belongs to a session here.
pub(super) fn is_spoken(request: &Request) -> bool {
    [entry::KEY, entry::CLIENT].iter().any(|name| request.http.headers().contains_key(*name))
}

/// Lets in a session with its key, as the products do.
pub(super) async fn enter(request: &Request) -> Result<Authenticated, Refused> {
    let who = entry::session(request, true).await?.caller.credential();
    who.ok_or_else(|| Failure::Unauthenticated.into())
}

/// Tells somebody that [`enter`] did not let in.
pub(super) fn turn_away(request: &Request, refused: Refused) -> HttpResponse {
    answered(request, Err(refused))
}

/// Why a session is not let in, as it is told.
pub(super) fn refuse(request: &Request, not: NotLetIn) -> HttpResponse {
    turn_away(request, Refused::entry(not, false))
}

/// What a handler of this dialect gives.
type Outcome = Result<HttpResponse, Refused>;

fn answered(request: &Request, outcome: Outcome) -> HttpResponse {
    let mut response = outcome.unwrap_or_else(|refused| error::respond(request, &refused));
    // Messages are in English whatever the caller would rather read.
    response.headers_mut().insert(CONTENT_LANGUAGE, HeaderValue::from_static("en"));
    response
}

fn success(request: &Request, status: StatusCode, body: &impl Serialize) -> HttpResponse {
    let mut builder = HttpResponse::build(status);
    builder.insert_header((REQUEST_ID, request.id.to_string()));
    builder.insert_header((CACHE_CONTROL, "no-store"));
    builder.json(body)
}
