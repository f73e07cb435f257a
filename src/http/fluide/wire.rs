//! The shapes of Fluide's answers.

use rota_aggregates::credential::Status;
use rota_projections::credential::{CredentialView, VersionStatus};
use serde::Serialize;

use super::super::answer::Shown;
use crate::app::rotate::Made;
use crate::app::sessions::{FLUIDE_CLIENT, Issued};
use crate::tokens::Claims;

/// The envelope of every success.
#[derive(Serialize)]
pub(super) struct Enveloped<'a, T> {
    success: bool,
    message: &'a str,
    data: T,
}

impl<'a, T> Enveloped<'a, T> {
    pub(super) fn new(message: &'a str, data: T) -> Self {
        Self { success: true, message, data }
    }
}

/// A new token.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Exchanged<'a> {
    access_token: &'a str,
    exp: i64,
    tenant_id: rota_aggregates::WorkspaceId,
    fluide_client_id: Option<&'a str>,
    auth_context_path: &'a str,
}

impl<'a> Exchanged<'a> {
    pub(super) fn of(issued: &'a Issued, path: &'a str) -> Self {
        Self {
            access_token: &issued.token,
            exp: issued.claims.exp,
            tenant_id: issued.claims.workspace,
            fluide_client_id: issued.claims.client_id.as_deref(),
            auth_context_path: path,
        }
    }
}

/// A new token in the envelope, with its members beside it.
#[derive(Serialize)]
pub(super) struct Both<'a> {
    #[serde(flatten)]
    envelope: Enveloped<'a, Exchanged<'a>>,
    #[serde(flatten)]
    token: Exchanged<'a>,
}

impl<'a> Both<'a> {
    pub(super) fn new(message: &'a str, token: Exchanged<'a>) -> Self {
        Self { envelope: Enveloped::new(message, token), token }
    }
}

/// A credential about itself.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Current<'a> {
    api_key: &'a str,
    client_id: &'static str,
    tenant_id: rota_aggregates::WorkspaceId,
    status: &'static str,
    secret_last_four: &'a str,
    created_at: String,
    rotated_at: String,
    last_used_at: Option<String>,
}

impl<'a> Current<'a> {
    pub(super) fn of(view: &'a CredentialView) -> Self {
        let active = view.versions.iter().rev().find(|v| v.status == VersionStatus::Active);
        let used = view.versions.iter().filter_map(|v| v.last_used_at).max();
        Self {
            api_key: &view.public_id,
            client_id: FLUIDE_CLIENT,
            tenant_id: view.workspace,
            status: if view.status == Status::Revoked { "revoked" } else { "active" },
            secret_last_four: active.map_or_else(|| view.hint(), |v| v.hint.as_str()),
            created_at: view.created_at.to_millis_text(),
            rotated_at: view.rotated_at.to_millis_text(),
            last_used_at: used.map(rota_aggregates::Timestamp::to_millis_text),
        }
    }
}

/// A new secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewSecret<'a> {
    api_key: &'a str,
    api_secret: Shown<'a>,
    rotated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_secret_expires_at: Option<String>,
}

impl<'a> NewSecret<'a> {
    pub(super) fn of(made: &'a Made) -> Self {
        Self {
            api_key: &made.public_id,
            api_secret: Shown(&made.secret),
            rotated_at: made.at.to_millis_text(),
            old_secret_expires_at: made.old_expires_at.map(rota_aggregates::Timestamp::to_millis_text),
        }
    }
}

/// A session about itself.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Context<'a> {
    tenant_id: rota_aggregates::WorkspaceId,
    fluide_client_id: Option<&'a str>,
    api_key: &'a str,
    scopes: Vec<&'static str>,
    issued_at: String,
    exp: i64,
}

impl<'a> Context<'a> {
    pub(super) fn of(claims: &'a Claims, roles: rota_aggregates::authority::Roles) -> Self {
        let issued = rota_aggregates::Timestamp::from_micros(claims.iat.saturating_mul(1_000_000));
        Self {
            tenant_id: claims.workspace,
            fluide_client_id: claims.client_id.as_deref(),
            api_key: &claims.api_key,
            scopes: roles.iter().map(rota_aggregates::authority::Role::name).collect(),
            issued_at: issued.to_millis_text(),
            exp: claims.exp,
        }
    }
}
