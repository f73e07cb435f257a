//! Hopae Connect: apps and their secrets as Hopae's clients know them.
//!
//! An app is a credential of kind `client`; its webhook secret is a credential of kind `webhook` that belongs to
//! it; a workspace key is one of kind `workspace-key` with the role `admin`. What Hopae keeps of an app beyond
//! its name is the credential's profile. Two surfaces, two shapes of errors: the workspace's ([`error`]) and the
//! app's ([`userinfo`]).

mod api_keys;
mod apps;
mod batch;
mod error;
mod profile;
mod secrets;
mod userinfo;
mod wire;
mod workspace;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use rota_aggregates::authority::Dialect;
use rota_aggregates::credential::Kind;
use rota_aggregates::{CredentialId, WorkspaceId};
use serde::Serialize;

use super::request::{REQUEST_ID, Request};
use crate::app::{Caller, Failure};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::scope("/connect")
            .route("/v1/apps", web::post().to(apps::create))
            .route("/v1/apps", web::get().to(apps::list))
            .route("/v1/apps/batch", web::post().to(batch::create))
            .route("/v1/apps/{id}", web::get().to(apps::get))
            .route("/v1/apps/{id}", web::patch().to(apps::update))
            .route("/v1/apps/{id}", web::delete().to(apps::delete))
            .route("/v1/apps/{id}/rotate-client-secret", web::post().to(secrets::rotate_client_secret))
            .route("/v1/apps/{id}/redirect-uris", web::get().to(apps::redirect_uris))
            .route("/v1/apps/{id}/redirect-uris", web::put().to(apps::set_redirect_uris))
            .route("/v1/apps/{id}/webhook-config", web::get().to(apps::webhook_config))
            .route("/v1/apps/{id}/webhook-config", web::patch().to(apps::set_webhook_config))
            .route(
                "/v1/apps/{id}/webhook-config/rotate-secret",
                web::post().to(secrets::rotate_webhook_secret),
            )
            .route("/v1/workspace", web::get().to(workspace::get))
            .route("/v1/console/api-keys", web::post().to(api_keys::create))
            .route("/v1/console/api-keys", web::get().to(api_keys::list))
            .route("/v1/console/api-keys/{id}/revoke", web::post().to(api_keys::revoke))
            .route("/v1/console/api-keys/{id}", web::delete().to(api_keys::revoke))
            .route("/v1/userinfo", web::get().to(userinfo::get))
            .default_service(web::to(not_found)),
    );
}

async fn not_found(request: Request) -> HttpResponse {
    error::of_failure(&request, &Failure::NotFound("route"))
}

/// What a handler gives.
type Outcome = Result<HttpResponse, Failure>;

/// Lets in a workspace key, runs the handler, and puts failures in Hopae's shape.
async fn with<F>(request: Request, handler: F) -> HttpResponse
where
    F: AsyncFnOnce(&Request, Caller, WorkspaceId) -> Outcome,
{
    let caller = match request.bearer(Dialect::Hopae).await {
        Ok(caller) => caller,
        Err(not) => return error::of_entry(&request, &not),
    };
    let outcome = match workspace_of(&request, &caller) {
        Ok(workspace) => handler(&request, caller, workspace).await,
        Err(failure) => Err(failure),
    };
    outcome.unwrap_or_else(|failure| error::of_failure(&request, &failure))
}

/// The caller's workspace. Hopae's paths name none, so the operator names it in a header.
fn workspace_of(request: &Request, caller: &Caller) -> Result<WorkspaceId, Failure> {
    const HEADER: &str = "X-Rota-Workspace";
    let named = request.header("x-rota-workspace").map(str::parse).transpose();
    let named = named.map_err(|_| Failure::invalid(HEADER, "must be a workspace's id"))?;
    match (caller.workspace(), named) {
        (None, None) => Err(Failure::invalid(HEADER, "the operator must name the workspace")),
        _ => caller.resolve_workspace(named),
    }
}

/// The app that the path names. What is of another workspace, or deleted, is not there.
fn app(request: &Request, workspace: WorkspaceId) -> Result<CredentialId, Failure> {
    let client_id = request.http.match_info().get("id").unwrap_or_default();
    request.app().find_living(workspace, Kind::Client, client_id)
}

fn json(request: &Request, status: StatusCode, body: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((REQUEST_ID, request.id.to_string()))
        .insert_header(("Cache-Control", "no-store"))
        .json(body)
}
