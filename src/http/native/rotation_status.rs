//! `/v1/credentials/{id}/rotation-status`: whether the old secret can go.

use actix_web::HttpResponse;
use rota_aggregates::workspace::QUIET_SECONDS;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::body;
use super::super::request::Request;
use super::{credential_id, ok, wire, with};
use crate::app::Failure;
use crate::app::quiet::{RotationStatus, Verdict};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StatusQuery {
    quiet_seconds: Option<u64>,
}

/// `GET /v1/credentials/{id}/rotation-status`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: StatusQuery = body::query(request.http.query_string())?;
        if query.quiet_seconds.is_some_and(|seconds| !QUIET_SECONDS.contains(&seconds)) {
            return Err(Failure::invalid("quietSeconds", "must be between 1 minute and 366 days"));
        }
        let id = credential_id(request)?;
        let status = request.app().rotation_status(&caller, id, query.quiet_seconds).await?;
        Ok(ok(request, &told(&status)))
    })
    .await
}

fn told(status: &RotationStatus) -> Value {
    let RotationStatus { view, active, old, prepared, quiet_since, quiet_seconds, verdict, at } = status;
    let version = |version: &rota_projections::credential::VersionView| wire::version(version, *at);
    let old_version = old.as_ref().map(|old| {
        let mut told = version(old);
        told["replacedAt"] = json!(view.rotated_at);
        told["minutesInUse"] = json!(old.old_uses);
        told
    });
    let breaks = match verdict {
        Verdict::NothingToEnd => "there is no grace period to end",
        Verdict::InUse => {
            "whoever used the old secret at lastUsedAt, or just before it was replaced, is locked out"
        }
        Verdict::NewSecretUnused => {
            "nobody is known to use the old secret, nor the new one yet: whoever comes seldom is locked out"
        }
        Verdict::Safe => "nobody who is known: the old secret is quiet and the new one is in use",
    };
    json!({
        "credentialId": view.id,
        "workspaceId": view.workspace,
        "at": at,
        "active": active.as_ref().map(version),
        "old": old_version,
        "prepared": prepared.as_ref().map(version),
        "quiet": status.quiet(),
        "quietSince": quiet_since,
        "quietSeconds": quiet_seconds,
        "endingNow": { "verdict": verdict.name(), "breaks": breaks },
    })
}
