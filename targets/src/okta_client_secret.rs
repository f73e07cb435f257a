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
use crate::keys::{self, Listed, Vendor};
use crate::parameters::Parameters;
use crate::rest::{Answer, Effect, Request, Rest, below, client_credentials};
use crate::surroundings::{Clock, Surroundings};
use crate::target::{Credential, Login, Plan, Right};

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
struct Found {
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

    async fn make_one(&self) -> Result<Made, Failure> {
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
}

fn settings(connection: &Connection, client_id: String) -> Settings {
    Settings {
        instance_url: connection.required("instanceUrl"),
        api_token: connection.required_secret("apiToken"),
        client_id,
    }
}

#[async_trait]
impl Vendor for OktaClientSecret {
    const VENDOR: &'static str = "Okta";
    const ID: &'static str = "secretId";
    const NOUN: &'static str = "secret";
    const MAX: usize = 2;
    const YOUNG_SECONDS: i64 = 60;
    const PATIENCE: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_secs(1);

    fn owner(&self) -> String {
        format!("application {}", self.client_id)
    }

    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    async fn list(&self) -> Result<Vec<Listed>, Failure> {
        let request = self.request(Method::GET, &[], Effect::Reads, "to list the secrets")?;
        let found: Vec<Found> = self.rest.read(request).await?;
        let listed = found.into_iter().map(|one| Listed {
            active: one.status == "ACTIVE",
            label: None,
            made_at: one.created.as_deref().and_then(keys::seconds),
            id: one.id,
        });
        Ok(listed.collect())
    }

    async fn make(&self, _label: &str) -> Result<Credential, Failure> {
        let Made { id, client_secret } = self.make_one().await?;
        Ok(keys::credential(&[("clientId", &self.client_id), (Self::ID, &id)], client_secret))
    }

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

    async fn end(&self, id: &str) -> Result<(), Failure> {
        let Some(found) = self.list().await?.into_iter().find(|secret| secret.id == id) else {
            return Ok(());
        };
        if found.active {
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

    async fn end_last(&self, id: &str) -> Result<(), Failure> {
        let listed = self.list().await?;
        let others = listed.iter().filter(|one| one.id != id && one.active).count();
        if others == 0 && listed.iter().any(|one| one.id == id) {
            // Nobody ever sees this one.
            drop(self.make_one().await?);
        }
        self.end(id).await
    }

    async fn foresee(&self, count: usize) -> Result<Plan, Failure> {
        let steps = vec![
            format!("make a secret for application {}, which has {count}", self.client_id),
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
}
