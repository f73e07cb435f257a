//! `POST /v1/verify`

use std::borrow::Cow;

use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, web};
use rota_aggregates::authority::Role;
use rota_aggregates::credential::Kind;
use rota_aggregates::{CredentialId, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};

use super::super::body;
use super::super::request::Request;
use super::{builder, with};
use crate::app::Failure;

/// Borrowed from the body: the secret is not copied, and has no `Debug`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct VerifyBody<'a> {
    #[serde(borrow)]
    public_id: Cow<'a, str>,
    #[serde(borrow)]
    secret: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Valid {
    active: bool,
    credential_id: CredentialId,
    version: u32,
    kind: Kind,
    workspace_id: WorkspaceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// Checks a pair of identifier and secret. Another workspace's pair is as wrong as a wrong one.
pub(super) async fn verify(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        if let Some(who) = caller.credential()
            && !who.roles.allows(Role::Verifier)
        {
            return Err(Failure::Forbidden { needs: Role::Verifier });
        }
        let bytes = body::bytes(payload).await?;
        let pair = serde_json::from_slice::<VerifyBody<'_>>(&bytes).ok().filter(|_| body::is_object(&bytes));
        let Some(pair) = pair else { return Err(explain(&bytes)) };
        let verified = request.app().verify_in(&caller, &pair.public_id, &pair.secret).await?;
        let mut builder = builder(request, StatusCode::OK);
        builder.insert_header((CACHE_CONTROL, "no-store"));
        Ok(match verified {
            Some(verified) => builder.json(Valid {
                active: true,
                credential_id: verified.who.credential,
                version: verified.who.version,
                kind: verified.who.kind,
                workspace_id: verified.who.workspace,
                expires_at: verified.expires_at,
            }),
            None => builder.content_type("application/json").body(r#"{"active":false}"#),
        })
    })
    .await
}

/// Says which field is wrong: the quick reading above does not.
fn explain(bytes: &[u8]) -> Failure {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Shape {
        #[serde(rename = "publicId")]
        _public_id: String,
        #[serde(rename = "secret")]
        _secret: rota_aggregates::secret::Secret,
    }
    match body::json::<Shape>(bytes) {
        Ok(_) => Failure::invalid("body", "is not as it should be"),
        Err(bad) => bad.into(),
    }
}
