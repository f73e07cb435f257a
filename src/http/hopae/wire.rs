//! The shapes of Hopae's answers.

use rota_aggregates::secret::Secret;
use rota_projections::credential::{CredentialView, VersionStatus};
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::answer::Shown;
use super::profile::{Profile, WebhookConfig};

/// A secret in an answer: whole where it was made just now, its last characters everywhere else.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Hidden<'a> {
    Shown(Shown<'a>),
    Redacted(String),
}

/// An app.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppAnswer<'a> {
    name: Option<&'a str>,
    logo: Option<String>,
    redirect_uris: Vec<String>,
    client_id: &'a str,
    client_secret: Hidden<'a>,
    providers: Map<String, Value>,
    default_workflow_id: Option<&'a str>,
    workflows: [Value; 0],
    organization_id: String,
    webhook_config: WebhookAnswer,
    default_success_redirect_uri: Option<String>,
    default_failure_redirect_uri: Option<String>,
    created_at: String,
    updated_at: String,
}

/// A webhook's configuration.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WebhookAnswer {
    url: Option<String>,
    enabled: bool,
    retry_attempts: u32,
    timeout_seconds: u32,
    secret: Option<String>,
    events: Vec<String>,
}

/// The last characters of the secret to use.
fn hint(view: &CredentialView) -> &str {
    let active = view.versions.iter().rev().find(|v| v.status == VersionStatus::Active);
    active.map_or_else(|| view.hint(), |version| version.hint.as_str())
}

impl WebhookAnswer {
    pub(super) fn of(config: WebhookConfig, secret: Option<&CredentialView>) -> Self {
        Self {
            url: config.url,
            enabled: config.enabled,
            retry_attempts: config.retry_attempts,
            timeout_seconds: config.timeout_seconds,
            secret: secret.map(|view| format!("whsec_****{}", hint(view))),
            events: config.events,
        }
    }
}

impl<'a> AppAnswer<'a> {
    /// With its secret, if that was made just now; `webhook` is the app's webhook secret.
    pub(super) fn of(
        view: &'a CredentialView,
        secret: Option<&'a Secret>,
        webhook: Option<&CredentialView>,
    ) -> Self {
        let profile = Profile::of(&view.profile);
        Self {
            name: view.name.as_deref(),
            logo: profile.logo,
            redirect_uris: profile.redirect_uris,
            client_id: &view.public_id,
            client_secret: match secret {
                Some(secret) => Hidden::Shown(Shown(secret)),
                None => Hidden::Redacted(format!("****{}", hint(view))),
            },
            providers: Map::new(),
            default_workflow_id: None,
            workflows: [],
            organization_id: view.workspace.to_string(),
            webhook_config: WebhookAnswer::of(profile.webhook_config, webhook),
            default_success_redirect_uri: profile.default_success_redirect_uri,
            default_failure_redirect_uri: profile.default_failure_redirect_uri,
            created_at: view.created_at.to_millis_text(),
            updated_at: view.updated_at.to_millis_text(),
        }
    }
}

/// The answer that brings a client secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientSecret<'a> {
    pub(super) client_secret: Shown<'a>,
}

/// The answer that brings a webhook secret.
#[derive(Serialize)]
pub(super) struct WebhookSecret<'a> {
    pub(super) secret: Shown<'a>,
}

/// A workspace key; its secret only where it was made just now.
#[derive(Serialize)]
pub(super) struct ApiKey<'a> {
    pub(super) id: String,
    pub(super) name: Option<&'a str>,
    pub(super) secret: Shown<'a>,
    pub(super) created_at: i64,
}

/// A workspace key in a list.
#[derive(Serialize)]
pub(super) struct ListedKey<'a> {
    id: String,
    name: Option<&'a str>,
    created_at: i64,
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl<'a> ListedKey<'a> {
    pub(super) fn of(view: &'a CredentialView) -> Self {
        let last = view.versions.iter().filter_map(|v| v.last_used_at).max();
        Self {
            id: view.id.to_string(),
            name: view.name.as_deref(),
            created_at: view.created_at.seconds(),
            last_used_at: last.map(rota_aggregates::Timestamp::seconds),
            revoked_at: view.revoked_at.map(rota_aggregates::Timestamp::seconds),
        }
    }
}
