//! `POST /v1/introspect`: what a token is worth now (RFC 7662).

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use rota_aggregates::authority::Role;
use rota_aggregates::credential::Kind;
use rota_aggregates::secret::Secret;
use rota_aggregates::{CredentialId, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::body;
use super::super::request::Request;
use super::{builder, with};
use crate::app::Failure;
use crate::app::edge::Passed;
use crate::tokens::Claims;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    token: Secret,
    /// Each token says itself what it is.
    #[serde(rename = "token_type_hint")]
    _hint: Option<String>,
}

/// Members in the RFC's case, and rota's own as everywhere else.
#[derive(Serialize)]
struct Worth {
    active: bool,
    /// The roles.
    scope: String,
    client_id: String,
    sub: CredentialId,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(flatten)]
    token: Option<Token>,
    #[serde(rename = "credentialId")]
    credential_id: CredentialId,
    #[serde(rename = "workspaceId")]
    workspace_id: WorkspaceId,
    kind: Kind,
    version: u32,
}

/// What a session token says of itself.
#[derive(Serialize)]
struct Token {
    iat: i64,
    nbf: i64,
    iss: String,
    aud: String,
    jti: Uuid,
    /// Whom an integrator got it for.
    #[serde(rename = "userId", skip_serializing_if = "Option::is_none")]
    user: Option<CredentialId>,
}

impl Worth {
    fn of(passed: Passed, claims: Option<Claims>) -> Self {
        let who = passed.verified.who;
        let scope: Vec<_> = who.roles.iter().map(Role::name).collect();
        Self {
            active: true,
            scope: scope.join(" "),
            client_id: passed.public_id,
            sub: who.credential,
            token_type: "Bearer",
            exp: passed.verified.expires_at.map(Timestamp::seconds),
            token: claims.map(|Claims { iat, nbf, iss, aud, jti, user, .. }| Token {
                iat,
                nbf,
                iss,
                aud,
                jti,
                user: user.map(|user| user.id),
            }),
            credential_id: who.credential,
            workspace_id: who.workspace,
            kind: who.kind,
            version: who.version,
        }
    }
}

/// Says what a token is worth. One of another workspace is worth as little as one that nobody knows.
pub(super) async fn introspect(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        if let Some(who) = caller.credential()
            && !who.roles.allows(Role::Verifier)
        {
            return Err(Failure::Forbidden { needs: Role::Verifier });
        }
        let form = read(request, payload).await?;
        let passed = request.app().introspect(&caller, form.token.expose()).await?;
        let mut builder = builder(request, StatusCode::OK);
        builder.insert_header((CACHE_CONTROL, "no-store"));
        Ok(match passed {
            Some((passed, claims)) => builder.json(Worth::of(passed, claims)),
            None => builder.content_type("application/json").body(r#"{"active":false}"#),
        })
    })
    .await
}

async fn read(request: &Request, payload: web::Payload) -> Result<Form, Failure> {
    let content_type = request.header(CONTENT_TYPE).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Failure::invalid("Content-Type", "must be application/x-www-form-urlencoded"));
    }
    let bytes = body::bytes(payload).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::invalid("body", "is no UTF-8"))?;
    let form: Form = body::query(text)?;
    if form.token.expose().is_empty() {
        return Err(Failure::invalid("token", "must not be empty"));
    }
    Ok(form)
}
