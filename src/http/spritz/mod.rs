//! Spritz: integrators, which sign their requests.
//!
//! An integrator is a credential of kind `signing`. It acts on itself by signing; an administrator's key may act on it
//! by naming it in `X-Integrator-Key`. Errors are RFC 9457 problems, whose `realm` and `scope` say the same as
//! `WWW-Authenticate`.

mod api_keys;
mod body;
mod error;
mod integrator;
mod regenerate;
mod tokens;
mod webhook_secret;
mod webhooks;

use actix_web::http::Method;
use actix_web::{HttpResponse, web};
use rota_aggregates::authority::Dialect;
use rota_aggregates::{CredentialId, WorkspaceId};

use super::answer::ok;
use super::auth::NotLetIn;
use super::request::Request;
use crate::app::{Caller, Failure};

pub(super) use self::tokens::EXCHANGES_PER_MINUTE;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    let integrator = web::scope("/v1/integrator")
        .route("", web::get().to(integrator::get))
        .route("/", web::get().to(integrator::get))
        .route("/regenerate-secret", web::post().to(regenerate::post))
        .route("/tokens", web::post().to(tokens::post))
        .route("/webhook-secret", web::post().to(webhook_secret::post))
        .route("/webhooks", web::get().to(webhooks::list))
        .route("/webhooks", web::post().to(webhooks::create))
        .route("/webhooks/deliveries", web::get().to(webhooks::deliveries))
        .route("/webhooks/{id}", web::patch().to(webhooks::patch))
        .route("/webhooks/{id}", web::delete().to(webhooks::delete))
        .default_service(web::to(not_found));
    let api_keys = web::scope("/v1/api-keys")
        .route("", web::get().to(api_keys::list))
        .route("/", web::get().to(api_keys::list))
        .route("", web::post().to(api_keys::create))
        .route("/", web::post().to(api_keys::create))
        .route("/{id}", web::delete().to(api_keys::delete))
        .default_service(web::to(not_found));
    config.service(integrator).service(api_keys);
}

/// Anything that is nowhere.
async fn not_found(request: Request) -> HttpResponse {
    error::of_failure(&request, &Failure::NotFound("route"))
}

/// Why somebody who signs is not let in, as they are told.
pub(super) fn refuse(request: &Request, not: &NotLetIn) -> HttpResponse {
    error::of_entry(request, not)
}

/// What a handler of this dialect gives.
type Outcome = Result<HttpResponse, Failure>;

/// Who asks, and with what body.
struct Asker {
    caller: Caller,
    workspace: WorkspaceId,
    body: web::Bytes,
}

impl Asker {
    /// The integrator that is asked about: whoever signs, or the one that a key's holder names.
    fn integrator(&self, request: &Request) -> Result<CredentialId, Failure> {
        match self.caller.credential() {
            Some(who) if who.kind == rota_aggregates::credential::Kind::Signing => Ok(who.credential),
            _ => {
                let named = request.header(crate::signing::INTEGRATOR_KEY);
                let named =
                    named.ok_or_else(|| Failure::invalid("X-Integrator-Key", "must name the integrator"))?;
                request.app().find_integrator(&self.caller, named)
            }
        }
    }
}

/// Lets in by a signature or by a key, runs the handler, and puts failures as problems.
async fn with<F>(request: Request, payload: web::Payload, handler: F) -> HttpResponse
where
    F: AsyncFnOnce(&Request, Asker) -> Outcome,
{
    let body = match super::body::bytes(payload).await {
        Ok(body) => body,
        Err(bad) => return error::of_failure(&request, &bad.into()),
    };
    let entered = if request.is_signed() {
        request.signed(Dialect::Spritz, &body).await
    } else {
        request.bearer(Dialect::Spritz).await
    };
    let caller = match entered {
        Ok(caller) => caller,
        Err(not) => return error::of_entry(&request, &not),
    };
    let reads = request.http.method() == Method::GET;
    let may = if reads { Ok(()) } else { caller.may_change() };
    let outcome = match may.and_then(|()| workspace_of(&request, &caller)) {
        Ok(workspace) => handler(&request, Asker { caller, workspace, body }).await,
        Err(failure) => Err(failure),
    };
    outcome.unwrap_or_else(|failure| error::of_failure(&request, &failure))
}

/// The workspace that a request is about: the caller's own; for the operator, that of the integrator they name.
fn workspace_of(request: &Request, caller: &Caller) -> Result<WorkspaceId, Failure> {
    if let Some(own) = caller.workspace() {
        return Ok(own);
    }
    let named = request.header(crate::signing::INTEGRATOR_KEY).unwrap_or_default();
    request.app().find_integrator(caller, named).and_then(|id| request.app().workspace_of(id))
}
