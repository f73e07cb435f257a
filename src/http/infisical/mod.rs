//! Infisical: machine identities log in, find their way about a project, and read what is published there.
//!
//! A machine identity is a credential of kind `client`, a project is a workspace. Clients send more than is asked of
//! them: unknown fields, bodies where none belong, a slash at the end of a path; all of it is passed over. Every
//! success is a 200.

mod connections;
mod environments;
mod error;
mod folders;
mod identity;
mod input;
mod options;
mod projects;
mod rotations;
mod secrets;

use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, Route, web};
use rota_aggregates::authority::Dialect;
use rota_aggregates::{Position, WorkspaceId};
use serde::Serialize;

use self::error::Refused;
use super::request::{REQUEST_ID, Request};
use crate::app::{Caller, Failure};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    let mut at = |path: &str, route: Route| {
        // With or without a slash at the end.
        config.route(&format!("{path}{{slash:/?}}"), route);
    };
    at("/api/v1/auth/universal-auth/login", web::post().to(identity::log_in));
    at("/api/v1/auth/token/renew", web::post().to(identity::renew));
    at("/api/v1/auth/token/revoke", web::post().to(identity::revoke));
    at("/api/v1/identities/details", web::get().to(identity::details));
    for base in ["/api/v1/workspace", "/api/v1/projects"] {
        at(base, web::get().to(projects::list));
        at(&format!("{base}/slug/{{slug}}"), web::get().to(projects::by_slug));
        at(&format!("{base}/{{project}}"), web::get().to(projects::get));
        at(&format!("{base}/{{project}}/environments"), web::post().to(environments::add));
        at(&format!("{base}/{{project}}/environments/{{environment}}"), web::get().to(environments::get));
        at(
            &format!("{base}/{{project}}/environments/{{environment}}"),
            web::patch().to(environments::change),
        );
        at(
            &format!("{base}/{{project}}/environments/{{environment}}"),
            web::delete().to(environments::remove),
        );
    }
    at("/api/v1/projects", web::post().to(projects::open));
    at("/api/v2/workspace", web::post().to(projects::open));
    at("/api/v2/workspace/{slug}", web::get().to(projects::by_slug));
    for base in ["/api/v1/folders", "/api/v2/folders"] {
        at(base, web::post().to(folders::add));
        at(base, web::get().to(folders::list));
        at(&format!("{base}/{{folder}}"), web::get().to(folders::get));
        at(&format!("{base}/{{folder}}"), web::patch().to(folders::change));
        at(&format!("{base}/{{folder}}"), web::delete().to(folders::remove));
    }
    connection_routes(&mut at);
    rotation_routes(&mut at);
    for base in ["/api/v3/secrets/raw", "/api/v4/secrets"] {
        at(base, web::get().to(secrets::list));
        at(&format!("{base}/id/{{id}}"), web::get().to(secrets::by_id));
        at(&format!("{base}/{{name}}"), web::get().to(secrets::get));
        at(&format!("{base}/{{name}}"), web::post().to(secrets::written_by_rotations_alone));
        at(&format!("{base}/{{name}}"), web::patch().to(secrets::written_by_rotations_alone));
        at(&format!("{base}/{{name}}"), web::delete().to(secrets::remove));
    }
    for elsewhere in [
        "/api/v1/auth/{tail:.*}",
        "/api/v1/identities/{tail:.*}",
        "/api/v1/workspace/{tail:.*}",
        "/api/v1/projects/{tail:.*}",
        "/api/v2/workspace/{tail:.*}",
        "/api/v1/folders/{tail:.*}",
        "/api/v2/folders/{tail:.*}",
        "/api/v1/app-connections/{tail:.*}",
        "/api/v2/secret-rotations/{tail:.*}",
        "/api/v3/secrets/{tail:.*}",
        "/api/v4/secrets/{tail:.*}",
    ] {
        config.route(elsewhere, web::route().to(nowhere));
    }
}

fn connection_routes(at: &mut impl FnMut(&str, Route)) {
    let base = "/api/v1/app-connections";
    at(base, web::get().to(connections::list_all));
    at(&format!("{base}/options"), web::get().to(options::connections));
    at(&format!("{base}/{{app}}"), web::get().to(connections::list));
    at(&format!("{base}/{{app}}"), web::post().to(connections::create));
    at(&format!("{base}/{{app}}/available"), web::get().to(connections::available));
    at(&format!("{base}/{{app}}/connection-name/{{name}}"), web::get().to(connections::by_name));
    at(&format!("{base}/{{app}}/{{connection}}"), web::get().to(connections::get));
    at(&format!("{base}/{{app}}/{{connection}}"), web::patch().to(connections::change));
    at(&format!("{base}/{{app}}/{{connection}}"), web::delete().to(connections::remove));
}

fn rotation_routes(at: &mut impl FnMut(&str, Route)) {
    let base = "/api/v2/secret-rotations";
    at(base, web::get().to(rotations::list_all));
    at(&format!("{base}/options"), web::get().to(options::rotations));
    at(&format!("{base}/{{type}}"), web::get().to(rotations::list));
    at(&format!("{base}/{{type}}"), web::post().to(rotations::create));
    at(&format!("{base}/{{type}}/rotation-name/{{name}}"), web::get().to(rotations::by_name));
    let one = format!("{base}/{{type}}/{{rotation}}");
    at(&one, web::get().to(rotations::get));
    at(&one, web::patch().to(rotations::change));
    at(&one, web::delete().to(rotations::remove));
    at(&format!("{one}/generated-credentials"), web::get().to(rotations::generated));
    at(&format!("{one}/rotate-secrets"), web::post().to(rotations::rotate));
    at(&format!("{one}/reconcile"), web::post().to(rotations::reconcile));
    at(&format!("{one}/move"), web::post().to(rotations::relocate));
    at(&format!("{one}/check-credentials"), web::post().to(rotations::check));
}

/// Anything that is nowhere.
async fn nowhere(request: Request) -> HttpResponse {
    error::respond(&request, &Refused::nowhere(&request), None)
}

/// What a handler of this dialect gives.
type Outcome = Result<HttpResponse, Refused>;

/// Lets in whoever has a token, a workspace key or the operator's, runs the handler, and puts refusals.
async fn with<F>(request: Request, handler: F) -> HttpResponse
where
    F: AsyncFnOnce(&Request, &Caller) -> Outcome,
{
    let caller = match request.bearer(Dialect::Infisical).await {
        Ok(caller) => caller,
        Err(not) => return error::respond(&request, &Refused::entry(not), None),
    };
    match handler(&request, &caller).await {
        Ok(response) => response,
        Err(refused) => error::respond(&request, &refused, Some(&caller)),
    }
}

/// Runs a handler that nobody has to log in for.
async fn open<F>(request: Request, handler: F) -> HttpResponse
where
    F: AsyncFnOnce(&Request) -> Outcome,
{
    match handler(&request).await {
        Ok(response) => response,
        Err(refused) => error::respond(&request, &refused, None),
    }
}

/// An answer, and the position of what was changed.
fn ok(request: &Request, position: Option<Position>, body: &impl Serialize) -> HttpResponse {
    let mut response = HttpResponse::build(StatusCode::OK);
    response.insert_header((REQUEST_ID, request.id.to_string()));
    response.insert_header((CACHE_CONTROL, "no-store"));
    if let Some(position) = position {
        response.insert_header(("Rota-Position", position.to_string()));
    }
    response.json(body)
}

/// A part of the path.
fn part<'a>(request: &'a Request, name: &str) -> &'a str {
    request.http.match_info().get(name).unwrap_or_default()
}

/// The project that a request is about. What is no id, and another workspace's, is not there.
fn project(caller: &Caller, id: &str) -> Result<WorkspaceId, Failure> {
    let unknown = || Failure::NotFound("project");
    let id: WorkspaceId = id.parse().map_err(|_| unknown())?;
    caller.resolve_workspace(Some(id)).map_err(|_| unknown())
}
