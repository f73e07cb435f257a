//! What an app is beyond its name: read from and written to the credential's profile, and checked on the way in.

use actix_web::http::Uri;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::app::Failure;
use crate::app::issue::check_name;
use crate::app::lifecycle::Change;

const REDIRECT_URIS_MAX: usize = 50;
const URI_BYTES_MAX: usize = 2_048;
const LOGO_BYTES_MAX: usize = 48 * 1_024;
const EVENTS_MAX: usize = 50;
const EVENT_BYTES_MAX: usize = 100;
const RETRY_ATTEMPTS_MAX: u32 = 10;
const TIMEOUT_SECONDS_MAX: u32 = 60;

/// The members of a profile that are Hopae's. Others are kept as they are.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Profile {
    pub(super) logo: Option<String>,
    pub(super) redirect_uris: Vec<String>,
    pub(super) webhook_config: WebhookConfig,
    pub(super) default_success_redirect_uri: Option<String>,
    pub(super) default_failure_redirect_uri: Option<String>,
}

/// Where and how an app is told of events.
#[derive(Clone, Serialize, Deserialize)]
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
        Self { url: None, enabled: true, retry_attempts: 3, timeout_seconds: 10, events: Vec::new() }
    }
}

impl Profile {
    /// Reads a credential's profile; what is not there has its default.
    pub(super) fn of(map: &Map<String, Value>) -> Self {
        serde_json::from_value(Value::Object(map.clone())).unwrap_or_default()
    }

    /// Writes it into a credential's profile.
    pub(super) fn write(&self, map: &mut Map<String, Value>) -> Result<(), Failure> {
        let value = serde_json::to_value(self).map_err(|e| Failure::NotRecordable(e.into()))?;
        if let Value::Object(members) = value {
            map.extend(members);
        }
        Ok(())
    }
}

/// A member that may be left out but, if it is there, has a value.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// A text that may be left out; null means the same as an empty one.
fn removable<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(d).map(|text| Some(text.unwrap_or_default()))
}

/// What a caller gives of an app. An empty text, or null, removes what may be absent.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct AppBody {
    #[serde(deserialize_with = "present")]
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "removable")]
    pub(super) logo: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) redirect_uris: Option<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(super) webhook_config: Option<WebhookBody>,
    #[serde(deserialize_with = "removable")]
    pub(super) default_success_redirect_uri: Option<String>,
    #[serde(deserialize_with = "removable")]
    pub(super) default_failure_redirect_uri: Option<String>,
}

/// What a caller gives of a webhook's configuration.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct WebhookBody {
    #[serde(deserialize_with = "removable")]
    url: Option<String>,
    #[serde(deserialize_with = "present")]
    enabled: Option<bool>,
    #[serde(deserialize_with = "present")]
    retry_attempts: Option<u32>,
    #[serde(deserialize_with = "present")]
    timeout_seconds: Option<u32>,
    #[serde(deserialize_with = "present")]
    events: Option<Vec<String>>,
}

impl AppBody {
    /// Checks everything that was given.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if let Some(name) = &self.name {
            check_name("name", name)?;
        }
        if let Some(logo) = given(self.logo.as_deref()) {
            if logo.len() > LOGO_BYTES_MAX {
                return Err(Failure::invalid(
                    "logo",
                    format!("must have at most {LOGO_BYTES_MAX} characters"),
                ));
            }
            if !logo.starts_with("data:image/") || !logo.bytes().all(|b| b.is_ascii_graphic()) {
                check_uri("logo", logo)?;
            }
        }
        if let Some(uris) = &self.redirect_uris {
            if uris.len() > REDIRECT_URIS_MAX {
                let reason = format!("must have at most {REDIRECT_URIS_MAX} entries");
                return Err(Failure::invalid("redirectUris", reason));
            }
            for (index, uri) in uris.iter().enumerate() {
                check_uri(&format!("redirectUris[{index}]"), uri)?;
            }
        }
        if let Some(uri) = given(self.default_success_redirect_uri.as_deref()) {
            check_uri("defaultSuccessRedirectUri", uri)?;
        }
        if let Some(uri) = given(self.default_failure_redirect_uri.as_deref()) {
            check_uri("defaultFailureRedirectUri", uri)?;
        }
        self.webhook_config.as_ref().map_or(Ok(()), WebhookBody::check)
    }

    /// The profile after this, and the names of what was given.
    pub(super) fn apply(&self, profile: &mut Profile) -> Vec<String> {
        let mut changed = Vec::new();
        if self.name.is_some() {
            changed.push("name".to_owned());
        }
        set_absent(&mut profile.logo, self.logo.as_deref(), "logo", &mut changed);
        if let Some(uris) = &self.redirect_uris {
            profile.redirect_uris.clone_from(uris);
            changed.push("redirectUris".to_owned());
        }
        if let Some(webhook) = &self.webhook_config {
            webhook.apply(&mut profile.webhook_config);
            changed.push("webhookConfig".to_owned());
        }
        let (success, failure) = (&self.default_success_redirect_uri, &self.default_failure_redirect_uri);
        let field = "defaultSuccessRedirectUri";
        set_absent(&mut profile.default_success_redirect_uri, success.as_deref(), field, &mut changed);
        let field = "defaultFailureRedirectUri";
        set_absent(&mut profile.default_failure_redirect_uri, failure.as_deref(), field, &mut changed);
        changed
    }

    /// The change that this asks of a credential with such a profile.
    pub(super) fn change(&self, map: &Map<String, Value>) -> Result<Change, Failure> {
        let mut profile = Profile::of(map);
        let changed = self.apply(&mut profile);
        let mut map = map.clone();
        profile.write(&mut map)?;
        Ok(Change::Describe { name: self.name.clone(), profile: Some(map), changed })
    }
}

impl WebhookBody {
    fn check(&self) -> Result<(), Failure> {
        if let Some(url) = given(self.url.as_deref()) {
            check_uri("webhookConfig.url", url)?;
        }
        if self.retry_attempts.is_some_and(|n| n > RETRY_ATTEMPTS_MAX) {
            let reason = format!("must be between 0 and {RETRY_ATTEMPTS_MAX}");
            return Err(Failure::invalid("webhookConfig.retryAttempts", reason));
        }
        if self.timeout_seconds.is_some_and(|n| n == 0 || n > TIMEOUT_SECONDS_MAX) {
            let reason = format!("must be between 1 and {TIMEOUT_SECONDS_MAX}");
            return Err(Failure::invalid("webhookConfig.timeoutSeconds", reason));
        }
        let Some(events) = &self.events else { return Ok(()) };
        let name =
            |e: &String| (1..=EVENT_BYTES_MAX).contains(&e.len()) && e.bytes().all(|b| b.is_ascii_graphic());
        if events.len() > EVENTS_MAX || !events.iter().all(name) {
            let reason = format!("must be at most {EVENTS_MAX} names of 1 to {EVENT_BYTES_MAX} characters");
            return Err(Failure::invalid("webhookConfig.events", reason));
        }
        Ok(())
    }

    fn apply(&self, config: &mut WebhookConfig) {
        if let Some(url) = &self.url {
            config.url = given(Some(url)).map(str::to_owned);
        }
        config.enabled = self.enabled.unwrap_or(config.enabled);
        config.retry_attempts = self.retry_attempts.unwrap_or(config.retry_attempts);
        config.timeout_seconds = self.timeout_seconds.unwrap_or(config.timeout_seconds);
        if let Some(events) = &self.events {
            config.events.clone_from(events);
        }
    }
}

/// A text that was given and does not mean that there is to be none.
fn given(member: Option<&str>) -> Option<&str> {
    member.filter(|text| !text.is_empty())
}

fn set_absent(place: &mut Option<String>, member: Option<&str>, name: &str, changed: &mut Vec<String>) {
    if member.is_some() {
        *place = given(member).map(str::to_owned);
        changed.push(name.to_owned());
    }
}

/// An absolute http or https URI without a fragment or a user in it.
fn check_uri(field: &str, text: &str) -> Result<(), Failure> {
    if text.len() > URI_BYTES_MAX {
        return Err(Failure::invalid(field, format!("must have at most {URI_BYTES_MAX} characters")));
    }
    let absolute = text.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    });
    if absolute && !text.contains('#') && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Failure::invalid(field, "must be an absolute http or https URI without a fragment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_http_uris_pass() {
        for good in ["https://a.example/cb?x=1", "http://127.0.0.1:8080", "https://[::1]/"] {
            assert!(check_uri("u", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/cb",
            "a.example",
            "ftp://a/",
            "https://",
            "https://a/#f",
            "https://u:p@a/",
            "https://a b/",
            "javascript:alert(1)",
            "https://a/\r\nX: y",
            "https://\u{e4}.example/",
        ] {
            assert!(check_uri("u", bad).is_err(), "{bad}");
        }
    }
}
