//! `databricks-service-principal-secret`: OAuth secrets of a service principal, of which there can be five, each with a
//! lifetime.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, Url};
use rota_aggregates::secret::Secret;
use serde::Deserialize;
use serde_json::json;

use crate::connection::Connection;
use crate::failure::Failure;
use crate::keys::{self, Listed, Vendor};
use crate::parameters::Parameters;
use crate::rest::{Answer, Effect, Request, Rest, Tokens, below, client_credentials};
use crate::surroundings::{Clock, Surroundings};
use crate::target::{Credential, Login, Plan, Right};

/// Databricks' limit for a lifetime.
const LIFETIME_DAYS_MAX: u32 = 730;
/// More pages than five secrets fill.
const PAGES_MAX: usize = 4;

/// What the user of a rotation sets.
#[derive(Debug)]
pub struct Settings {
    /// `https://dbc-0123.cloud.databricks.com`.
    pub workspace_url: String,
    /// The service principal of the connection.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// The number of the service principal that is rotated.
    pub service_principal_id: String,
    /// What it logs in as.
    pub application_id: String,
    /// How long a secret lives: it must be replaced and out of its overlap by then. Databricks' longest if nothing.
    pub lifetime_days: Option<u32>,
}

/// The secrets of one service principal.
pub struct DatabricksServicePrincipalSecret {
    rest: Rest,
    tokens: Tokens,
    base: Url,
    client_id: String,
    client_secret: Secret,
    principal: String,
    application_id: String,
    lifetime_days: u32,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    secrets: Vec<Found>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Found {
    id: String,
    status: Option<String>,
    create_time: Option<String>,
}

#[derive(Deserialize)]
struct Made {
    id: String,
    secret: Secret,
}

impl DatabricksServicePrincipalSecret {
    /// Makes it; nothing is reached yet.
    pub fn new(settings: Settings, around: &Surroundings) -> Result<Self, Failure> {
        let Settings {
            workspace_url,
            client_id,
            client_secret,
            service_principal_id,
            application_id,
            lifetime_days,
        } = settings;
        let base = Url::parse(&workspace_url).map_err(|_| Failure::refused("workspaceUrl must be a URL"))?;
        if service_principal_id.is_empty() || !service_principal_id.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Failure::refused(
                "servicePrincipalId must be the number of the service principal, not its application id",
            ));
        }
        Ok(Self {
            rest: Rest::new("Databricks", Arc::clone(&around.network)),
            tokens: Tokens::default(),
            base,
            client_id,
            client_secret,
            principal: service_principal_id,
            application_id,
            lifetime_days: lifetime_days.unwrap_or(LIFETIME_DAYS_MAX).clamp(1, LIFETIME_DAYS_MAX),
            clock: Arc::clone(&around.clock),
        })
    }

    /// Of a connection and parameters.
    pub(crate) fn open(
        connection: &Connection,
        parameters: &Parameters,
        around: &Surroundings,
    ) -> Result<Self, Failure> {
        let principal = parameters.required("servicePrincipalId");
        Self::new(settings(connection, principal, parameters.required("clientId")), around)
    }

    /// Asks for a token of the connection's own.
    pub(crate) async fn check_connection(
        connection: &Connection,
        around: &Surroundings,
    ) -> Result<(), Failure> {
        let databricks = Self::new(settings(connection, "0".to_owned(), String::new()), around)?;
        let answer = databricks.token(&databricks.client_id, &databricks.client_secret).await?;
        if answer.ok() { Ok(()) } else { Err(databricks.rest.failure(&answer, Effect::Reads, "to log in")) }
    }

    fn secrets(&self, more: &[&str]) -> Url {
        let mut path =
            vec!["api", "2.0", "accounts", "servicePrincipals", &self.principal, "credentials", "secrets"];
        path.extend_from_slice(more);
        below(&self.base, &path)
    }

    async fn token(&self, client_id: &str, secret: &Secret) -> Result<Answer, Failure> {
        let url = below(&self.base, &["oidc", "v1", "token"]);
        client_credentials(&self.rest, url, Some((client_id, secret)), &[("scope", "all-apis")]).await
    }

    async fn ask(&self, request: impl Fn() -> Request) -> Result<Answer, Failure> {
        self.tokens.ask(&self.rest, request, || self.token(&self.client_id, &self.client_secret)).await
    }

    fn failure(&self, answer: &Answer, effect: Effect, purpose: &str) -> Failure {
        match answer.status {
            403 => Failure::refused(format!(
                "Databricks does not allow the connection {purpose}: its service principal must be a manager of this \
                 one, or an account administrator"
            )),
            404 => Failure::refused(format!("Databricks has no such service principal {purpose}")),
            _ => self.rest.failure(answer, effect, purpose),
        }
    }
}

fn settings(connection: &Connection, service_principal_id: String, application_id: String) -> Settings {
    Settings {
        workspace_url: connection.required("workspaceUrl"),
        client_id: connection.required("clientId"),
        client_secret: connection.required_secret("clientSecret"),
        service_principal_id,
        application_id,
        lifetime_days: None,
    }
}

#[async_trait]
impl Vendor for DatabricksServicePrincipalSecret {
    const VENDOR: &'static str = "Databricks";
    const ID: &'static str = "secretId";
    const NOUN: &'static str = "secret";
    const MAX: usize = 5;
    const YOUNG_SECONDS: i64 = 60;
    const PATIENCE: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_secs(1);

    fn owner(&self) -> String {
        format!("service principal {}", self.principal)
    }

    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    async fn list(&self) -> Result<Vec<Listed>, Failure> {
        const PURPOSE: &str = "to list the secrets";
        let mut all = Vec::new();
        let mut url = self.secrets(&[]);
        for _ in 0..PAGES_MAX {
            let answer = self.ask(|| Request::new(Method::GET, url.clone(), Effect::Reads, PURPOSE)).await?;
            if !answer.ok() {
                return Err(self.failure(&answer, Effect::Reads, PURPOSE));
            }
            let page: Page = answer.read().ok_or_else(|| self.rest.not_understood(Effect::Reads, PURPOSE))?;
            all.extend(page.secrets.into_iter().map(|one| Listed {
                active: one.status.as_deref() != Some("INACTIVE"),
                label: None,
                made_at: one.create_time.as_deref().and_then(keys::seconds),
                id: one.id,
            }));
            let Some(next) = page.next_page_token.filter(|token| !token.is_empty()) else { return Ok(all) };
            url = self.secrets(&[]);
            url.query_pairs_mut().append_pair("page_token", &next);
        }
        Err(self.rest.not_understood(Effect::Reads, PURPOSE))
    }

    async fn make(&self, _label: &str) -> Result<Credential, Failure> {
        const PURPOSE: &str = "to make a secret";
        let url = self.secrets(&[]);
        let lifetime = format!("{}s", u64::from(self.lifetime_days) * 86_400);
        let body = json!({ "lifetime": lifetime });
        let answer = self
            .ask(|| Request::new(Method::POST, url.clone(), Effect::Changes, PURPOSE).json(&body))
            .await?;
        if !answer.ok() {
            return Err(self.failure(&answer, Effect::Changes, PURPOSE));
        }
        let Made { id, secret } =
            answer.read().ok_or_else(|| self.rest.not_understood(Effect::Changes, PURPOSE))?;
        Ok(keys::credential(&[("clientId", &self.application_id), (Self::ID, &id)], secret))
    }

    async fn try_log_in(&self, credential: &Credential) -> Result<Option<Login>, Failure> {
        let answer = self.token(&self.application_id, &credential.secret).await?;
        match (answer.status, answer.code().as_deref()) {
            _ if answer.ok() => Ok(Some(Login::Accepted)),
            (401, _) | (_, Some("invalid_client")) => Ok(None),
            _ => Err(self.rest.failure(&answer, Effect::Reads, "to log in with the secret")),
        }
    }

    async fn end(&self, id: &str) -> Result<(), Failure> {
        const PURPOSE: &str = "to delete a secret";
        let url = self.secrets(&[id]);
        let answer = self.ask(|| Request::new(Method::DELETE, url.clone(), Effect::Changes, PURPOSE)).await?;
        if answer.ok() {
            return Ok(());
        }
        // A principal that is gone answers the same way, and its secrets are gone with it.
        if answer.status == 404 {
            return Ok(());
        }
        Err(self.failure(&answer, Effect::Changes, PURPOSE))
    }

    async fn foresee(&self, count: usize) -> Result<Plan, Failure> {
        let steps = vec![
            format!(
                "make a secret for service principal {}, which has {count}, that lives for {} days",
                self.principal, self.lifetime_days
            ),
            "log in with it".to_owned(),
            "publish it".to_owned(),
            "when the secret before has ended its overlap: delete it".to_owned(),
        ];
        let right = |name: &str, held| Right { name: name.to_owned(), held };
        let rights = vec![
            right("read the service principal's secrets", Some(true)),
            right("manage the service principal (servicePrincipal.manager)", None),
        ];
        Ok(Plan { steps, rights })
    }
}
