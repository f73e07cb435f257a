//! What Hopae keeps of an app beyond its name, and the bounds of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::body::Given;
use crate::app::Failure;

const URIS_MAX: usize = 50;
const URI_CHARS_MAX: usize = 2_048;
const EVENTS_MAX: usize = 50;

/// An app's profile, as it is sealed with the credential.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Profile {
    pub(super) logo: Option<String>,
    pub(super) redirect_uris: Vec<String>,
    pub(super) webhook_config: WebhookConfig,
    pub(super) default_success_redirect_uri: Option<String>,
    pub(super) default_failure_redirect_uri: Option<String>,
}

/// Where and how Hopae's webhooks are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WebhookConfig {
    pub(super) url: Option<String>,
    pub(super) enabled: bool,
    pub(super) retry_attempts: u32,
    pub(super) timeout_seconds: u32,
    pub(super) events: Vec<String>,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self { url: None, enabled: false, retry_attempts: 3, timeout_seconds: 10, events: Vec::new() }
    }
}

/// A change of a webhook's configuration: what is left out stays.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WebhookChange {
    url: Given<String>,
    enabled: Option<bool>,
    retry_attempts: Option<u32>,
    timeout_seconds: Option<u32>,
    events: Option<Vec<String>>,
}

impl WebhookChange {
    pub(super) fn apply(self, config: &mut WebhookConfig) -> Result<(), Failure> {
        config.url = self.url.checked_over(config.url.take(), |url| uri("webhookConfig.url", url))?;
        config.enabled = self.enabled.unwrap_or(config.enabled);
        config.retry_attempts = self.retry_attempts.unwrap_or(config.retry_attempts);
        config.timeout_seconds = self.timeout_seconds.unwrap_or(config.timeout_seconds);
        if config.retry_attempts > 10 {
            return Err(Failure::invalid("webhookConfig.retryAttempts", "must be at most 10"));
        }
        if !(1..=60).contains(&config.timeout_seconds) {
            return Err(Failure::invalid("webhookConfig.timeoutSeconds", "must be between 1 and 60"));
        }
        if let Some(events) = self.events {
            if events.len() > EVENTS_MAX || events.iter().any(|e| e.is_empty() || e.len() > 100) {
                let reason = format!("must be at most {EVENTS_MAX} names of 1 to 100 characters");
                return Err(Failure::invalid("webhookConfig.events", reason));
            }
            config.events = events;
        }
        if config.enabled && config.url.is_none() {
            return Err(Failure::invalid("webhookConfig.enabled", "needs a url"));
        }
        Ok(())
    }
}

/// A change of an app: what is left out stays.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct AppChange {
    pub(super) name: Option<String>,
    logo: Given<String>,
    redirect_uris: Option<Vec<String>>,
    webhook_config: Option<WebhookChange>,
    default_success_redirect_uri: Given<String>,
    default_failure_redirect_uri: Given<String>,
}

impl AppChange {
    /// Changes a profile; gives the names of what changed.
    pub(super) fn apply(self, profile: &mut Profile) -> Result<Vec<String>, Failure> {
        let before = profile.clone();
        profile.logo = self.logo.checked_over(profile.logo.take(), |logo| uri("logo", logo))?;
        if let Some(uris) = self.redirect_uris {
            profile.redirect_uris = redirect_uris(uris)?;
        }
        if let Some(change) = self.webhook_config {
            change.apply(&mut profile.webhook_config)?;
        }
        profile.default_success_redirect_uri = self
            .default_success_redirect_uri
            .checked_over(profile.default_success_redirect_uri.take(), |target| {
                uri("defaultSuccessRedirectUri", target)
            })?;
        profile.default_failure_redirect_uri = self
            .default_failure_redirect_uri
            .checked_over(profile.default_failure_redirect_uri.take(), |target| {
                uri("defaultFailureRedirectUri", target)
            })?;
        Ok(changes(&before, profile))
    }
}

/// The names of the members in which two profiles differ.
pub(super) fn changes(before: &Profile, after: &Profile) -> Vec<String> {
    let (before, after) = (to_map(before), to_map(after));
    after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(value))
        .map(|(name, _)| name.clone())
        .collect()
}

/// The profile as the credential keeps it.
pub(super) fn to_map(profile: &Profile) -> Map<String, Value> {
    match serde_json::to_value(profile) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// The profile of a credential. One that was not made through this dialect has the defaults.
pub(super) fn from_map(map: &Map<String, Value>) -> Profile {
    serde_json::from_value(Value::Object(map.clone())).unwrap_or_default()
}

pub(super) fn redirect_uris(uris: Vec<String>) -> Result<Vec<String>, Failure> {
    if uris.len() > URIS_MAX {
        return Err(Failure::invalid("redirectUris", format!("must be at most {URIS_MAX}")));
    }
    uris.into_iter().map(|target| uri("redirectUris", target)).collect()
}

/// An absolute address on the web, within bounds.
fn uri(field: &str, text: String) -> Result<String, Failure> {
    let wrong = || Failure::invalid(field, "must be an absolute http or https address");
    let parsed: actix_web::http::Uri = text.parse().map_err(|_| wrong())?;
    let scheme = parsed.scheme_str().unwrap_or_default();
    let named = parsed.host().is_some_and(|host| !host.is_empty());
    if text.len() > URI_CHARS_MAX || !named || !["http", "https"].contains(&scheme) {
        return Err(wrong());
    }
    Ok(text)
}
