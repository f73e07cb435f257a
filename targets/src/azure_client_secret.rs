//! `azure-client-secret`: password credentials of an application in Entra ID, through Microsoft Graph.
//!
//! Each attempt's own label is the display name of what it makes, so that what an interrupted one left is known for
//! certain. A new secret takes seconds to minutes until every token endpoint knows it.

mod assertion;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::SecondsFormat;
use reqwest::{Method, Url};
use rota_aggregates::secret::Secret;
use serde::Deserialize;
use serde_json::json;

use self::assertion::Certificate;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::keys::{self, Listed, Vendor};
use crate::parameters::Parameters;
use crate::rest::{Answer, Effect, Request, Rest, Tokens, below, client_credentials};
use crate::surroundings::{Clock, Surroundings};
use crate::target::{Credential, Login, Plan, Right};

/// Two years: the longest that Microsoft's own portal offers.
const LIFETIME_SECONDS: u64 = 730 * 86_400;
/// When others change the application all the time, it is worth asking again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// How often a change is tried while another one of the same application is under way, and what a list of an
/// application is given to show what was just made.
const TRIES: u32 = 4;
const TRY_PAUSE: Duration = Duration::from_millis(500);

/// As whom the connection acts.
#[derive(Debug)]
pub enum Authority {
    /// With an application's secret.
    ClientSecret(Secret),
    /// With an application's certificate and its private key, both PEM.
    Certificate {
        /// The certificate.
        certificate: String,
        /// Its RSA key, PKCS #8 or PKCS #1.
        key: Secret,
    },
}

/// What the user of a rotation sets.
#[derive(Debug)]
pub struct Settings {
    /// With what the connection's application logs in.
    pub authority: Authority,
    /// The connection's application.
    pub client_id: String,
    /// The directory.
    pub tenant_id: String,
    /// The application that is rotated: its object.
    pub object_id: String,
    /// The same: what it logs in as.
    pub application_id: String,
}

/// The password credentials of one application.
pub struct AzureClientSecret {
    rest: Rest,
    tokens: Tokens,
    authority: Own,
    client_id: String,
    token_url: Url,
    scope: String,
    application: Url,
    application_id: String,
    clock: Arc<dyn Clock>,
}

enum Own {
    Secret(Secret),
    Certificate(Box<Certificate>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Application {
    app_id: String,
    #[serde(default)]
    password_credentials: Vec<Password>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Password {
    key_id: String,
    display_name: Option<String>,
    start_date_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Added {
    key_id: String,
    secret_text: Secret,
}

impl AzureClientSecret {
    /// Makes it; nothing is reached yet.
    pub fn new(settings: Settings, around: &Surroundings) -> Result<Self, Failure> {
        let Settings { authority, client_id, tenant_id, object_id, application_id } = settings;
        let Surroundings { network, clock, endpoints, .. } = around;
        let address = |text: &str| {
            Url::parse(text).map_err(|_| Failure::refused("the address of Microsoft's cloud is not a URL"))
        };
        let authority = match authority {
            Authority::ClientSecret(secret) => Own::Secret(secret),
            Authority::Certificate { certificate, key } => {
                Own::Certificate(Box::new(Certificate::read(&certificate, &key)?))
            }
        };
        let graph = address(&endpoints.microsoft_graph)?;
        Ok(Self {
            rest: Rest::new("Microsoft", Arc::clone(network)),
            tokens: Tokens::default(),
            authority,
            client_id,
            token_url: below(&address(&endpoints.microsoft_login)?, &[&tenant_id, "oauth2", "v2.0", "token"]),
            scope: format!("{}/.default", endpoints.microsoft_graph.trim_end_matches('/')),
            application: below(&graph, &["v1.0", "applications", &object_id]),
            application_id,
            clock: Arc::clone(clock),
        })
    }

    /// Of a connection and parameters.
    pub(crate) fn open(
        connection: &Connection,
        parameters: &Parameters,
        around: &Surroundings,
    ) -> Result<Self, Failure> {
        let (object, application) = (parameters.required("objectId"), parameters.required("clientId"));
        Self::new(settings(connection, object, application)?, around)
    }

    /// Asks for a token of the connection's own.
    pub(crate) async fn check_connection(
        connection: &Connection,
        around: &Surroundings,
    ) -> Result<(), Failure> {
        let azure = Self::new(settings(connection, String::new(), String::new())?, around)?;
        let answer = azure.token().await?;
        if answer.ok() { Ok(()) } else { Err(azure.rest.failure(&answer, Effect::Reads, "to log in")) }
    }

    async fn token(&self) -> Result<Answer, Failure> {
        let id = ("client_id", &*self.client_id);
        let scope = ("scope", &*self.scope);
        match &self.authority {
            Own::Secret(secret) => {
                let fields = [id, scope, ("client_secret", secret.expose())];
                client_credentials(&self.rest, self.token_url.clone(), None, &fields).await
            }
            Own::Certificate(certificate) => {
                let assertion =
                    certificate.assertion(self.token_url.as_str(), &self.client_id, self.clock.now())?;
                let fields = [
                    id,
                    scope,
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ("client_assertion", assertion.expose()),
                ];
                client_credentials(&self.rest, self.token_url.clone(), None, &fields).await
            }
        }
    }

    async fn ask(&self, request: impl Fn() -> Request) -> Result<Answer, Failure> {
        self.tokens.ask(&self.rest, request, || self.token()).await
    }

    /// A change of the application, tried again while another change is under way.
    async fn change(
        &self,
        action: &str,
        body: &serde_json::Value,
        purpose: &'static str,
    ) -> Result<Answer, Failure> {
        let url = below(&self.application, &[action]);
        let mut pause = TRY_PAUSE;
        for attempt in 1.. {
            let answer = self
                .ask(|| Request::new(Method::POST, url.clone(), Effect::Changes, purpose).json(body))
                .await?;
            if !is_concurrent(&answer) {
                return Ok(answer);
            }
            if attempt == TRIES {
                let text =
                    format!("Microsoft refuses a request {purpose}: others are changing the application");
                return Err(Failure::unreachable(text).after(ASK_AGAIN));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    fn failure(&self, answer: &Answer, effect: Effect, purpose: &str) -> Failure {
        match (answer.status, answer.code().as_deref()) {
            (403, Some(code)) => Failure::refused(format!(
                "Microsoft does not allow the connection {purpose} ({code}): grant its application \
                 Application.ReadWrite.OwnedBy and make it an owner of this one, or Application.ReadWrite.All"
            )),
            (404, _) => Failure::refused(format!(
                "Microsoft has no such application {purpose}: objectId must be the object id of the application itself"
            )),
            (400, Some(code)) if code.starts_with("CredentialLifetime") => Failure::refused(format!(
                "a policy of the directory forbids secrets that live for two years ({code})"
            )),
            _ => self.rest.failure(answer, effect, purpose),
        }
    }
}

fn settings(connection: &Connection, object_id: String, application_id: String) -> Result<Settings, Failure> {
    let authority = match connection.method() {
        "client-secret" => Authority::ClientSecret(connection.required_secret("clientSecret")),
        "certificate" => Authority::Certificate {
            certificate: connection.required("certificateBody"),
            key: connection.required_secret("privateKey"),
        },
        _ => {
            return Err(Failure::refused(
                "the method oauth needs an application registered for this rota, and somebody to log in there through a \
                 browser; use a connection of the method client-secret or certificate",
            ));
        }
    };
    let (client_id, tenant_id) = (connection.required("clientId"), connection.required("tenantId"));
    Ok(Settings { authority, client_id, tenant_id, object_id, application_id })
}

fn is_concurrent(answer: &Answer) -> bool {
    #[derive(Deserialize)]
    struct Body {
        error: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        code: String,
        message: String,
    }
    let said = |body: Body| {
        body.error.code == "Directory_ConcurrencyViolation"
            || body.error.message.to_ascii_lowercase().contains("concurrent")
    };
    matches!(answer.status, 400 | 409) && answer.read().is_some_and(said)
}

#[async_trait]
impl Vendor for AzureClientSecret {
    const VENDOR: &'static str = "Microsoft";
    const ID: &'static str = "keyId";
    const NOUN: &'static str = "secret";
    /// It names no limit.
    const MAX: usize = usize::MAX;
    const HAS_LABELS: bool = true;
    const YOUNG_SECONDS: i64 = 300;
    const PATIENCE: Duration = Duration::from_secs(20);
    const PAUSE: Duration = Duration::from_secs(2);

    fn owner(&self) -> String {
        format!("application {}", self.application_id)
    }

    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    async fn list(&self) -> Result<Vec<Listed>, Failure> {
        const PURPOSE: &str = "to read the application";
        let mut url = self.application.clone();
        url.query_pairs_mut().append_pair("$select", "id,appId,displayName,passwordCredentials");
        let answer = self.ask(|| Request::new(Method::GET, url.clone(), Effect::Reads, PURPOSE)).await?;
        if !answer.ok() {
            return Err(self.failure(&answer, Effect::Reads, PURPOSE));
        }
        let application: Application =
            answer.read().ok_or_else(|| self.rest.not_understood(Effect::Reads, PURPOSE))?;
        if !application.app_id.eq_ignore_ascii_case(&self.application_id) {
            return Err(Failure::refused(format!(
                "objectId is an application whose clientId is {}, not {}: correct one of the two parameters",
                application.app_id, self.application_id
            )));
        }
        let listed = application.password_credentials.into_iter().map(|key| Listed {
            id: key.key_id,
            active: true,
            label: key.display_name,
            made_at: key.start_date_time.as_deref().and_then(keys::seconds),
        });
        Ok(listed.collect())
    }

    async fn list_patiently(&self, label: &str) -> Result<Vec<Listed>, Failure> {
        let mut pause = TRY_PAUSE;
        for attempt in 1.. {
            let listed = self.list().await?;
            if attempt == TRIES || listed.iter().any(|key| key.label.as_deref() == Some(label)) {
                return Ok(listed);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    async fn make(&self, label: &str) -> Result<Credential, Failure> {
        const PURPOSE: &str = "to add a secret";
        let end = self.clock.now().plus_seconds(LIFETIME_SECONDS).datetime();
        let end = end.to_rfc3339_opts(SecondsFormat::Secs, true);
        let body = json!({"passwordCredential": {"displayName": label, "endDateTime": end}});
        let answer = self.change("addPassword", &body, PURPOSE).await?;
        if !answer.ok() {
            return Err(self.failure(&answer, Effect::Changes, PURPOSE));
        }
        let Added { key_id, secret_text } =
            answer.read().ok_or_else(|| self.rest.not_understood(Effect::Changes, PURPOSE))?;
        Ok(keys::credential(&[("clientId", &self.application_id), (Self::ID, &key_id)], secret_text))
    }

    async fn try_log_in(&self, credential: &Credential) -> Result<Option<Login>, Failure> {
        let fields = [
            ("client_id", &*self.application_id),
            ("scope", &*self.scope),
            ("client_secret", credential.secret.expose()),
        ];
        let answer = client_credentials(&self.rest, self.token_url.clone(), None, &fields).await?;
        match answer.code().as_deref() {
            _ if answer.ok() => Ok(Some(Login::Accepted)),
            Some("invalid_client") => Ok(None),
            _ => Err(self.rest.failure(&answer, Effect::Reads, "to log in with the secret")),
        }
    }

    async fn end(&self, id: &str) -> Result<(), Failure> {
        const PURPOSE: &str = "to remove a secret";
        let answer = self.change("removePassword", &json!({"keyId": id}), PURPOSE).await?;
        if answer.ok() {
            return Ok(());
        }
        // What is not there is removed; Graph has no name of its own for this.
        if matches!(answer.status, 400 | 404) && !self.list().await?.iter().any(|key| key.id == id) {
            return Ok(());
        }
        Err(self.failure(&answer, Effect::Changes, PURPOSE))
    }

    async fn foresee(&self, count: usize) -> Result<Plan, Failure> {
        let steps = vec![
            format!("add a secret to application {}, which has {count}", self.application_id),
            "log in with it, for as long as it takes to be known".to_owned(),
            "publish it".to_owned(),
            "when the secret before has ended its overlap: remove it".to_owned(),
        ];
        let right = |name: &str, held| Right { name: name.to_owned(), held };
        let rights = vec![
            right("read the application", Some(true)),
            right("Application.ReadWrite.OwnedBy, or Application.ReadWrite.All", None),
        ];
        Ok(Plan { steps, rights })
    }
}
