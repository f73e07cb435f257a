//! Hopae Connect: apps with a client secret each, workspace keys, and what an app asks about itself.
//!
//! An app is a credential of kind `client`; everything about it beyond its name is in the credential's profile.
//! Workspace routes take a workspace key as a bearer token, the app's own routes take HTTP Basic, and each of the
//! two surfaces has a shape of error of its own.

mod api_keys;
mod apps;
mod batch;
mod error;
mod profile;
mod rotate;
mod settings;
mod userinfo;
mod wire;
mod workspace;

use actix_web::{HttpResponse, web};
use rota_aggregates::authority::Dialect;
use rota_aggregates::credential::Kind;
use rota_aggregates::{CredentialId, WorkspaceId};

use self::error::Surface;
use super::answer::ok;
use super::auth::NotLetIn;
use super::request::Request;
use crate::app::{Caller, Failure};

/// The header by which the operator, whom no key ties to a workspace, names one: the paths name none.
const WORKSPACE: &str = "X-Rota-Workspace";

pub(super) fn routes(config: &mut web::ServiceConfig) {
    let connect = web::scope("/connect")
        .route("/v1/apps/{id}/rotate-client-secret", web::post().to(rotate::client_secret))
        .route("/v1/userinfo", web::get().to(userinfo::get))
        .route("/v1/apps", web::post().to(apps::create))
        .route("/v1/apps", web::get().to(apps::list))
        .route("/v1/apps/batch", web::post().to(batch::create))
        .route("/v1/apps/{id}", web::get().to(apps::get))
        .route("/v1/apps/{id}", web::patch().to(apps::patch))
        .route("/v1/apps/{id}", web::delete().to(apps::delete))
        .route("/v1/apps/{id}/redirect-uris", web::get().to(settings::redirect_uris))
        .route("/v1/apps/{id}/redirect-uris", web::put().to(settings::put_redirect_uris))
        .route("/v1/apps/{id}/webhook-config", web::get().to(settings::webhook_config))
        .route("/v1/apps/{id}/webhook-config", web::patch().to(settings::patch_webhook_config))
        .route("/v1/apps/{id}/webhook-config/rotate-secret", web::post().to(rotate::webhook_secret))
        .route("/v1/workspace", web::get().to(workspace::get))
        .route("/v1/console/api-keys", web::post().to(api_keys::create))
        .route("/v1/console/api-keys", web::get().to(api_keys::list))
        .route("/v1/console/api-keys/{id}", web::delete().to(api_keys::revoke))
        .route("/v1/console/api-keys/{id}/revoke", web::post().to(api_keys::revoke))
        .default_service(web::to(not_found));
    config.service(connect);
}

/// Anything that is nowhere.
async fn not_found(request: Request) -> HttpResponse {
    error::of_failure(&request, Surface::Workspace, &Failure::NotFound("resource"))
}

/// Why an app is not let in, as it is told.
pub(super) fn refuse_app(request: &Request, not: &NotLetIn) -> HttpResponse {
    error::of_entry(request, Surface::App, not)
}

/// What a handler of this dialect gives.
type Outcome = Result<HttpResponse, Failure>;

/// Who asks, and in which workspace.
struct Asker {
    caller: Caller,
    workspace: WorkspaceId,
}

/// Authenticates by a workspace key, runs the handler, and puts failures in the workspace API's shape.
async fn with_key<F>(request: Request, handler: F) -> HttpResponse
where
    F: AsyncFnOnce(&Request, Asker) -> Outcome,
{
    let caller = match request.bearer(Dialect::Hopae).await {
        Ok(caller) => caller,
        Err(not) => return error::of_entry(&request, Surface::Workspace, &not),
    };
    let outcome = match workspace_of(&request, &caller) {
        Ok(workspace) => handler(&request, Asker { caller, workspace }).await,
        Err(failure) => Err(failure),
    };
    outcome.unwrap_or_else(|failure| error::of_failure(&request, Surface::Workspace, &failure))
}

/// The workspace that a request is about.
fn workspace_of(request: &Request, caller: &Caller) -> Result<WorkspaceId, Failure> {
    let named = match request.http.headers().get(WORKSPACE) {
        None if caller.workspace().is_none() => {
            return Err(Failure::invalid(
                WORKSPACE,
                format!("{}: the operator must name it", error::MISSING),
            ));
        }
        None => None,
        Some(value) => {
            let id = value.to_str().ok().and_then(|text| text.parse().ok());
            Some(id.ok_or_else(|| Failure::invalid(WORKSPACE, "must be a workspace's id"))?)
        }
    };
    caller.resolve_workspace(named)
}

/// The app that the path names, if it is of this workspace and not deleted.
fn app_id(request: &Request, workspace: WorkspaceId) -> Result<CredentialId, Failure> {
    let client_id = request.http.match_info().get("id").unwrap_or_default();
    request.app().find_living(workspace, Kind::Client, client_id)
}
