//! The app as Hopae shows it.

use rota_aggregates::Timestamp;
use rota_projections::credential::CredentialView;
use serde_json::{Value, json};

use super::super::native::Shown;
use super::profile::{Profile, WebhookConfig, from_map};
use crate::app::rotate::Made;

/// A secret that is not shown any more: its last four characters.
fn redacted(prefix: &str, hint: &str) -> String {
    format!("{prefix}****{hint}")
}

/// The configuration of a webhook, with its secret redacted.
pub(super) fn webhook_config(config: &WebhookConfig, hint: Option<&str>) -> Value {
    json!({
        "url": config.url,
        "enabled": config.enabled,
        "retryAttempts": config.retry_attempts,
        "timeoutSeconds": config.timeout_seconds,
        "secret": hint.map(|hint| redacted("whsec_", hint)),
        "events": config.events,
    })
}

fn body(view: &CredentialView, profile: &Profile, secret: &Value, webhook_hint: Option<&str>) -> Value {
    json!({
        "name": view.name,
        "logo": profile.logo,
        "redirectUris": profile.redirect_uris,
        "clientId": view.public_id,
        "clientSecret": secret,
        "providers": {},
        "defaultWorkflowId": null,
        "workflows": [],
        "organizationId": view.workspace,
        "webhookConfig": webhook_config(&profile.webhook_config, webhook_hint),
        "defaultSuccessRedirectUri": profile.default_success_redirect_uri,
        "defaultFailureRedirectUri": profile.default_failure_redirect_uri,
        "createdAt": millis(view.created_at),
        "updatedAt": millis(view.updated_at),
    })
}

/// An app whose secret is shown this once.
pub(super) fn created(made: &Made) -> Value {
    let secret = serde_json::to_value(Shown(&made.secret)).unwrap_or_default();
    match &made.view {
        Some(view) => body(view, &from_map(&view.profile), &secret, None),
        None => json!({ "clientId": made.public_id, "clientSecret": secret }),
    }
}

/// An app.
pub(super) fn app(view: &CredentialView, webhook_hint: Option<&str>) -> Value {
    let secret = json!(redacted("", view.hint()));
    body(view, &from_map(&view.profile), &secret, webhook_hint)
}

fn millis(time: Timestamp) -> String {
    time.to_millis_text()
}
