//! `GET /connect/v1/workspace`

use actix_web::HttpResponse;
use rota_aggregates::credential::Kind;
use serde_json::json;

use super::super::request::Request;
use super::{ok, with_key};

/// What the workspace is, and how many apps it has.
pub(super) async fn get(request: Request) -> HttpResponse {
    with_key(request, async |request, asker| {
        let workspace = request.app().workspace(&asker.caller, asker.workspace).await?;
        let count = request.app().tip().tip.read().live.count(asker.workspace, Kind::Client);
        let body = json!({
            "id": workspace.id,
            "name": workspace.name,
            "apps_count": count,
            "createdAt": workspace.created_at.to_millis_text(),
            "created_at": workspace.created_at.seconds(),
        });
        Ok(ok(request, None, &body))
    })
    .await
}
