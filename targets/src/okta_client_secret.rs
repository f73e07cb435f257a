//! `okta-client-secret`: client secrets of an application in Okta, of which there can be two.
//!
//! Okta removes inactive secrets only, and never the only one. So a retired secret is first made inactive, and the very
//! last one is revoked by putting one in its place whose value is forgotten.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, Url};
use rota_aggregates::secret::Secret;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::connection::Connection;
use crate::failure::Failure;
use crate::keys::{self, SlowToKnow};
use crate::parameters::Parameters;
use crate::rest::{Answer, Effect, Request, Rest, below, client_credentials};
use crate::surroundings::{Clock, Surroundings};
use crate::target::{Credential, Intent, Login, Plan, Right, Slot, Target};

/// Okta's limit for an application.
const SECRETS_MAX: usize = 2;
const ID: &str = "secretId";

/// What the user of a rotation sets.
#[derive(Debug)]
pub struct Settings {
    /// `https://example.okta.com`.
    pub instance_url: String,
    /// Of an administrator who manages applications.
    pub api_token: Secret,
    /// The application, which logs in by this id too.
    pub client_id: String,
}

/// The secrets of one application.
pub struct OktaClientSecret {
    rest: Rest,
    base: Url,
    authorization: Zeroizing<String>,
    client_id: String,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    status: String,
    created: Option<String>,
}

#[derive(Deserialize)]
struct Made {
    id: String,
    client_secret: Secret,
}

impl OktaClientSecret {
    /// Makes it; nothing is reached yet.
    pub fn new(settings: Settings, around: &Surroundings) -> Result<Self, Failure> {
        let Settings { instance_url, api_token, client_id } = settings;
        let base = Url::parse(&instance_url)
            .map_err(|_| Failure::refused("instanceUrl must be a URL such as https://example.okta.com"))?;
        Ok(Self {
            rest: Rest::new("Okta", Arc::clone(&around.network)),
            base,
            authorization: Zeroizing::new(format!("SSWS {}", api_token.expose())),
            client_id,
            clock: Arc::clone(&around.clock),
        })
    }

    /// Of a connection and parameters.
    pub(crate) fn open(
        connection: &Connection,
        parameters: &Parameters,
        around: &Surroundings,
    ) -> Result<Self, Failure> {
        Self::new(settings(connection, parameters.required("clientId")), around)
    }

    /// Asks who the connection's token is.
    pub(crate) async fn check_connection(
        connection: &Connection,
        around: &Surroundings,
    ) -> Result<(), Failure> {
        let okta = Self::new(settings(connection, String::new()), around)?;
        let url = below(&okta.base, &["api", "v1", "users", "me"]);
        let request = Request::new(Method::GET, url, Effect::Reads, "to log in")
            .header(AUTHORIZATION, &okta.authorization)?;
        okta.rest.done(request).await.map(|_| ())
    }

    fn secrets(&self, more: &[&str]) -> Url {
        let mut path = vec!["api", "v1", "apps", &self.client_id, "credentials", "secrets"];
        path.extend_from_slice(more);
        below(&self.base, &path)
    }

    fn request(
        &self,
        method: Method,
        more: &[&str],
        effect: Effect,
        purpose: &'static str,
    ) -> Result<Request, Failure> {
        Request::new(method, self.secrets(more), effect, purpose).header(AUTHORIZATION, &self.authorization)
    }

    async fn list(&self) -> Result<Vec<Listed>, Failure> {
        let request = self.request(Method::GET, &[], Effect::Reads, "to list the secrets")?;
        self.rest.read(request).await
    }

    async fn make(&self) -> Result<Made, Failure> {
        const PURPOSE: &str = "to make a secret";
        let request = self.request(Method::POST, &[], Effect::Changes, PURPOSE)?.json(&json!({}));
        let answer = self.rest.ask(request).await?;
        if answer.status == 400 {
            return Err(Failure::refused(
                "Okta makes no further secret for the application: it may have two, or log in by a key of its own \
                 (private_key_jwt)",
            ));
        }
        if !answer.ok() {
            return Err(self.rest.failure(&answer, Effect::Changes, PURPOSE));
        }
        answer.read().ok_or_else(|| self.rest.not_understood(Effect::Changes, PURPOSE))
    }

    async fn deactivate(&self, id: &str) -> Result<Answer, Failure> {
        let more = [id, "lifecycle", "deactivate"];
        self.rest.ask(self.request(Method::POST, &more, Effect::Changes, "to make a secret inactive")?).await
    }

    /// Ends a secret. What is not there is ended.
    async fn remove(&self, id: &str) -> Result<(), Failure> {
        let Some(found) = self.list().await?.into_iter().find(|secret| secret.id == id) else {
            return Ok(());
        };
        if found.status == "ACTIVE" {
            let answer = self.deactivate(id).await?;
            if !answer.ok() && answer.status != 404 {
                return Err(self.rest.failure(&answer, Effect::Changes, "to make a secret inactive"));
            }
        }
        let request = self.request(Method::DELETE, &[id], Effect::Changes, "to delete a secret")?;
        let answer = self.rest.ask(request).await?;
        if answer.ok() || answer.status == 404 {
            return Ok(());
        }
        Err(self.rest.failure(&answer, Effect::Changes, "to delete a secret"))
    }

    fn room(&self, listed: &[Listed]) -> Result<(), Failure> {
        if listed.len() < SECRETS_MAX {
            return Ok(());
        }
        let ids: Vec<_> =
            listed.iter().map(|one| format!("{} ({})", one.id, one.status.to_lowercase())).collect();
        Err(Failure::refused(format!(
            "application {} has two secrets, and Okta allows no third: {}; rota deletes none that it did not make: \
             delete the one that nobody uses",
            self.client_id,
            ids.join(", ")
        )))
    }

    async fn clean(&self, intent: &Intent, keep: &[&Credential]) -> Result<usize, Failure> {
        let (existing, _) = keys::minting(intent)?;
        let listed = self.list().await?;
        let left = keys::left(&listed, |one| &one.id, existing, keep, ID);
        let Some(orphan) = keys::at_most_one(&left, |one| &one.id, "secret")? else { return Ok(0) };
        self.remove(&orphan.id).await?;
        Ok(1)
    }
}

fn settings(connection: &Connection, client_id: String) -> Settings {
    Settings {
        instance_url: connection.required("instanceUrl"),
        api_token: connection.required_secret("apiToken"),
        client_id,
    }
}

#[async_trait]
impl SlowToKnow for OktaClientSecret {
    const VENDOR: &'static str = "Okta";
    const YOUNG_SECONDS: i64 = 60;
    const PATIENCE: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_secs(1);

    async fn try_log_in(&self, credential: &Credential) -> Result<Option<Login>, Failure> {
        let url = below(&self.base, &["oauth2", "v1", "token"]);
        let basic = Some((&*self.client_id, &credential.secret));
        let answer = client_credentials(&self.rest, url, basic, &[("scope", "okta.apps.read")]).await?;
        match answer.code().as_deref() {
            _ if answer.ok() => Ok(Some(Login::Accepted)),
            Some("invalid_client") => Ok(None),
            // Who the client is was found right before anything else was found wrong.
            Some("invalid_scope" | "unauthorized_client" | "invalid_dpop_proof" | "access_denied") => {
                Ok(Some(Login::Accepted))
            }
            _ => Err(self.rest.failure(&answer, Effect::Reads, "to log in with the secret")),
        }
    }

    async fn made_at(&self, id: &str) -> Result<Option<i64>, Failure> {
        let listed = self.list().await?;
        let one = listed.iter().find(|one| one.id == id && one.status == "ACTIVE");
        Ok(one.and_then(|one| one.created.as_deref()).and_then(keys::seconds))
    }

    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }
}

#[async_trait]
impl Target for OktaClientSecret {
    async fn check(&self) -> Result<(), Failure> {
        self.list().await.map(|_| ())
    }

    async fn plan(&self, _slot: Slot) -> Result<Plan, Failure> {
        let listed = self.list().await?;
        self.room(&listed)?;
        let steps = vec![
            format!("make a secret for application {}, which has {}", self.client_id, listed.len()),
            "log in with it".to_owned(),
            "publish it".to_owned(),
            "when the secret before has ended its overlap: make it inactive and delete it".to_owned(),
        ];
        let right = |name: &str, held| Right { name: name.to_owned(), held };
        let rights = vec![
            right("read the application's secrets", Some(true)),
            right("manage the application (okta.apps.manage)", None),
        ];
        Ok(Plan { steps, rights })
    }

    async fn intend(
        &self,
        slot: Slot,
        _current: Option<&Credential>,
        random: [u8; 32],
    ) -> Result<Intent, Failure> {
        let listed = self.list().await?;
        self.room(&listed)?;
        Ok(keys::mint(slot, listed.into_iter().map(|one| one.id).collect(), &random))
    }

    async fn set(&self, intent: &Intent, current: Option<&Credential>) -> Result<Credential, Failure> {
        let keep: Vec<_> = current.into_iter().collect();
        self.clean(intent, &keep).await?;
        self.room(&self.list().await?)?;
        let Made { id, client_secret } = self.make().await?;
        Ok(keys::credential(&[("clientId", &self.client_id), (ID, &id)], client_secret))
    }

    async fn log_in(&self, credential: &Credential) -> Result<Login, Failure> {
        keys::log_in(self, credential, keys::id_of(credential, ID)?).await
    }

    async fn undo(&self, intent: &Intent, keep: &[&Credential]) -> Result<usize, Failure> {
        self.clean(intent, keep).await
    }

    async fn retire(
        &self,
        old: &Credential,
        active: &Credential,
        _end_sessions: bool,
    ) -> Result<(), Failure> {
        let id = keys::id_of(old, ID)?;
        keys::not_the_active(id, keys::id_of(active, ID)?, "secret")?;
        self.remove(id).await
    }

    async fn revoke(&self, credential: &Credential, _random: [u8; 32]) -> Result<(), Failure> {
        let id = keys::id_of(credential, ID)?;
        let listed = self.list().await?;
        let others = listed.iter().filter(|one| one.id != id && one.status == "ACTIVE").count();
        if others == 0 && listed.iter().any(|one| one.id == id) {
            // Nobody ever sees this one.
            drop(self.make().await?);
        }
        self.remove(id).await
    }
}
