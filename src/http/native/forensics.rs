//! `/v1/forensics`: whose secret leaked.

use actix_web::{HttpResponse, web};
use rota_aggregates::WorkspaceId;
use rota_aggregates::credential::Status;
use rota_aggregates::ids::Hash;
use rota_aggregates::secret::Secret;
use rota_projections::credential::VersionStatus;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::body;
use super::super::request::Request;
use super::{changed, wire, with};
use crate::app::Failure;
use crate::app::forensics::{Found, Leaked, Match, leaked_text};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LeakedBody {
    leaked: Option<Secret>,
    fingerprint: Option<Hash>,
    workspace_id: Option<WorkspaceId>,
}

/// `POST /v1/forensics/leaked`
pub(super) async fn leaked(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let body: LeakedBody = body::json(&body::bytes(payload).await?)?;
        let leaked = match (body.leaked, body.fingerprint) {
            (Some(text), None) => leaked_text(text.expose())?,
            (None, Some(fingerprint)) => Leaked::Fingerprint(fingerprint),
            _ => return Err(Failure::invalid("leaked", "give either the string or its fingerprint")),
        };
        let found = request.app().find_leaked(&caller, body.workspace_id, leaked).await?;
        Ok(changed(request, None, &told(&found)))
    })
    .await
}

fn told(found: &Found) -> Value {
    json!({
        "found": !found.matches.is_empty(),
        "matches": found.matches.iter().map(|m| matched(m, found)).collect::<Vec<_>>(),
        "versionsSearched": found.searched,
        "digestsDestroyed": found.destroyed,
        "treeSize": found.end,
        "at": found.at,
    })
}

fn matched(one: &Match, found: &Found) -> Value {
    let Match { view, version, position, fingerprint } = one;
    let Some(leaked) = view.versions.iter().find(|v| v.version == *version) else { return Value::Null };
    let status = leaked.status_at(found.at);
    let accepted =
        matches!(status, VersionStatus::Active | VersionStatus::Retiring | VersionStatus::Prepared);
    let successors: Vec<_> = view.versions.iter().filter(|v| v.version > *version).collect();
    let successors: Vec<_> = successors.into_iter().map(|v| wire::version(v, found.at)).collect();
    json!({
        "credentialId": view.id,
        "workspaceId": view.workspace,
        "kind": view.kind,
        "publicId": view.public_id,
        "credentialStatus": if view.status == Status::Revoked { "revoked" } else { "active" },
        "version": version,
        "position": position,
        "fingerprint": fingerprint,
        "status": status.name(),
        "accepted": accepted,
        "liveFrom": leaked.created_at,
        "liveUntil": leaked.ended_at(found.at).or(leaked.expires_at),
        "firstUsedAt": leaked.first_used_at,
        "lastUsedAt": leaked.last_used_at,
        "successors": successors,
        "contain": if accepted { contain(view.id) } else { Value::Null },
    })
}

/// The one call that makes it worthless: a new secret without grace, or none any more.
fn contain(id: rota_aggregates::CredentialId) -> Value {
    let body = json!({ "reason": "compromised" });
    json!({
        "rotate": { "method": "POST", "path": format!("/v1/credentials/{id}/rotate"), "body": body },
        "revoke": { "method": "POST", "path": format!("/v1/credentials/{id}/revoke"), "body": body },
    })
}
