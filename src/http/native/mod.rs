//! rota's own API. JSON in camelCase, times in RFC 3339, errors as RFC 9457 problems with stable codes.

mod admin;
mod campaigns;
mod credentials;
mod erase;
mod events;
mod forensics;
mod introspect;
mod ledger;
mod managed_rotations;
mod query;
mod reports;
mod rotation_status;
mod rotations;
mod verify;
mod webhooks;
mod wire;
mod workspaces;

pub use self::wire::{credential as credential_document, policy as policy_document};
use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use rota_aggregates::authority::Dialect;
use rota_aggregates::{CredentialId, Position};
use serde::Serialize;

use super::answer;
use super::problem;
use super::request::{REQUEST_ID, Request};
use crate::app::idempotency::Idempotency;
use crate::app::{Answer, Caller, Failure};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    // A path is held against one after the other: first what is asked most.
    config
        .route("/v1/verify", web::post().to(verify::verify))
        .route("/v1/introspect", web::post().to(introspect::introspect))
        .route("/v1/credentials/{id}/rotate", web::post().to(rotations::rotate))
        .route("/v1/workspaces", web::post().to(workspaces::open))
        .route("/v1/workspaces", web::get().to(workspaces::list))
        .route("/v1/workspaces/{id}", web::get().to(workspaces::get))
        .route("/v1/workspaces/{id}/keys", web::post().to(workspaces::issue_key))
        .route("/v1/workspaces/{id}/keys", web::get().to(workspaces::list_keys))
        .route("/v1/workspaces/{id}/policy", web::put().to(workspaces::set_policy))
        .route("/v1/workspaces/{id}/policy", web::get().to(workspaces::policy))
        .route("/v1/credentials", web::post().to(credentials::issue))
        .route("/v1/credentials", web::get().to(credentials::list))
        .route("/v1/credentials/{id}", web::get().to(credentials::get))
        .route("/v1/credentials/{id}/history", web::get().to(credentials::history))
        .route("/v1/credentials/{id}/rotation-status", web::get().to(rotation_status::get))
        .route("/v1/credentials/{id}/rotations", web::post().to(rotations::prepare))
        .route("/v1/credentials/{id}/rotations/commit", web::post().to(rotations::commit))
        .route("/v1/credentials/{id}/rotations/cancel", web::post().to(rotations::cancel))
        .route("/v1/credentials/{id}/expire-old", web::post().to(rotations::expire_old))
        .route("/v1/credentials/{id}/revoke", web::post().to(rotations::revoke))
        .route("/v1/credentials/{id}/versions/{version}/revoke", web::post().to(rotations::revoke_version))
        .route("/v1/credentials/{id}/erase-details", web::post().to(erase::of_credential))
        .route("/v1/events/{position}/erase-details", web::post().to(erase::of_event))
        .route("/v1/credentials/{id}/owner", web::put().to(campaigns::set_owner))
        .route("/v1/credentials/{id}/recipient", web::put().to(campaigns::set_recipient))
        .route("/v1/campaigns", web::post().to(campaigns::plan))
        .route("/v1/campaigns", web::get().to(campaigns::list))
        .route("/v1/campaigns/{campaign}", web::get().to(campaigns::get))
        .route("/v1/campaigns/{campaign}/apply", web::post().to(campaigns::apply))
        .route("/v1/campaigns/{campaign}/pause", web::post().to(campaigns::pause))
        .route("/v1/campaigns/{campaign}/resume", web::post().to(campaigns::resume))
        .route("/v1/campaigns/{campaign}/end", web::post().to(campaigns::end))
        .route("/v1/campaigns/{campaign}/items/{id}/secret", web::get().to(campaigns::secret))
        .route("/v1/webhooks", web::post().to(webhooks::register))
        .route("/v1/webhooks", web::get().to(webhooks::list))
        .route("/v1/webhooks/{id}", web::get().to(webhooks::get))
        .route("/v1/webhooks/{id}", web::patch().to(webhooks::edit))
        .route("/v1/webhooks/{id}", web::delete().to(webhooks::delete))
        .route("/v1/webhooks/{id}/rotate-secret", web::post().to(webhooks::rotate_secret))
        .route("/v1/webhooks/{id}/test", web::post().to(webhooks::test))
        .route("/v1/webhooks/{id}/deliveries", web::get().to(webhooks::deliveries))
        .route("/v1/webhooks/{id}/deliveries/{delivery}/redeliver", web::post().to(webhooks::redeliver))
        .route("/v1/managed-rotations", web::get().to(managed_rotations::list))
        .route("/v1/managed-rotations", web::post().to(managed_rotations::create))
        .route("/v1/managed-rotations/{id}", web::get().to(managed_rotations::get))
        .route("/v1/managed-rotations/{id}", web::patch().to(managed_rotations::edit))
        .route("/v1/managed-rotations/{id}", web::delete().to(managed_rotations::delete))
        .route("/v1/managed-rotations/{id}/rotate", web::post().to(managed_rotations::rotate))
        .route("/v1/managed-rotations/{id}/reconcile", web::post().to(managed_rotations::reconcile))
        .route("/v1/managed-rotations/{id}/plan", web::get().to(managed_rotations::plan))
        .route("/v1/events", web::get().to(events::list))
        .route("/v1/events/leaves", web::get().to(events::leaves))
        .route("/v1/events/stream", web::get().to(events::stream))
        .route("/v1/reports", web::get().to(reports::list))
        .route("/v1/reports/{name}", web::get().to(reports::get))
        .route("/v1/forensics/leaked", web::post().to(forensics::leaked))
        .route("/v1/admin/backup", web::post().to(admin::backup))
        .route("/v1/admin/rebuild", web::post().to(admin::rebuild))
        .route("/v1/admin/rewrap", web::post().to(admin::rewrap))
        .route("/v1/admin/token-keys", web::get().to(admin::list_token_keys))
        .route("/v1/admin/token-keys", web::post().to(admin::replace_token_key))
        .route("/v1/admin/jobs/{name}", web::get().to(admin::job))
        .configure(ledger::routes);
}

/// Anything that is nowhere.
pub(super) async fn not_found(request: Request) -> HttpResponse {
    problem::of_failure(&request, &Failure::NotFound("resource"))
}

/// What a handler of this API gives.
type Outcome = Result<HttpResponse, Failure>;

/// Authenticates, runs the handler, and puts failures as problems.
async fn with<F>(request: Request, handler: F) -> HttpResponse
where
    F: AsyncFnOnce(&Request, Caller) -> Outcome,
{
    let caller = match request.bearer_or_basic(Dialect::Native).await {
        Ok(caller) => caller,
        Err(not) => return problem::of_entry(&request, &not),
    };
    match handler(&request, caller).await {
        Ok(response) => response,
        Err(failure) => problem::of_failure(&request, &failure),
    }
}

fn builder(request: &Request, status: StatusCode) -> HttpResponseBuilder {
    let mut builder = HttpResponse::build(status);
    builder.insert_header((REQUEST_ID, request.id.to_string()));
    builder
}

fn ok(request: &Request, body: &impl Serialize) -> HttpResponse {
    builder(request, StatusCode::OK).json(body)
}

/// The answer to a change that brings no secret.
fn changed(request: &Request, position: Option<Position>, body: &impl Serialize) -> HttpResponse {
    let mut builder = builder(request, StatusCode::OK);
    if let Some(position) = position {
        builder.insert_header(("Rota-Position", position.to_string()));
    }
    builder.insert_header((CACHE_CONTROL, "no-store")).json(body)
}

fn answered(request: &Request, answer: &Answer) -> Outcome {
    answer::respond(request, answer)
}

/// A part of the path as a credential's id. What is no id names nothing.
fn credential_id(request: &Request) -> Result<CredentialId, Failure> {
    let text = request.http.match_info().get("id").unwrap_or_default();
    text.parse().map_err(|_| Failure::NotFound("credential"))
}

/// The Idempotency-Key of a request, with what a repeat must have in common.
fn idempotency(request: &Request, body: &[u8]) -> Result<Option<Idempotency>, Failure> {
    super::idempotency(request, body)
}

/// A limit within 1 to 1000, 50 if none is given.
fn limit(asked: Option<usize>) -> Result<usize, Failure> {
    match asked.unwrap_or(50) {
        limit @ 1..=1_000 => Ok(limit),
        _ => Err(Failure::invalid("limit", "must be between 1 and 1000")),
    }
}

/// A cursor that an earlier page gave.
fn cursor(text: Option<&str>) -> Result<Option<Position>, Failure> {
    let parsed = text.map(|text| text.parse::<u64>().ok().filter(|p| *p < 1 << 62).map(Position));
    match parsed {
        None => Ok(None),
        Some(Some(position)) => Ok(Some(position)),
        Some(None) => Err(Failure::invalid("after", "must be a position, as `next` of an earlier page")),
    }
}
