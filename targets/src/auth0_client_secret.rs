//! `auth0-client-secret`: the one secret of an application in Auth0. rota chooses it, so that setting it twice is
//! setting it once; the one before is dead as soon as the new one is set.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::{Method, Url};
use rota_aggregates::secret::Secret;
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use crate::chosen::{copy, credential, intended};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::parameters::Parameters;
use crate::password::Requirements;
use crate::rest::{Answer, Effect, Request, Rest, Tokens, below, client_credentials};
use crate::surroundings::Surroundings;
use crate::target::{Credential, Intent, Login, Plan, Right, Slot, Target};

/// What the user of a rotation sets.
#[derive(Debug)]
pub struct Settings {
    /// `example.eu.auth0.com`.
    pub domain: String,
    /// The connection's machine-to-machine application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// The Management API: `https://example.eu.auth0.com/api/v2/`.
    pub audience: String,
    /// The application that is rotated.
    pub application_id: String,
}

/// The secret of one application.
pub struct Auth0ClientSecret {
    rest: Rest,
    tokens: Tokens,
    token_url: Url,
    client_id: String,
    client_secret: Secret,
    audience: String,
    application: Url,
    application_id: String,
}

#[derive(Deserialize)]
struct Client {
    client_secret: Option<Secret>,
}

impl Auth0ClientSecret {
    /// Makes it; nothing is reached yet.
    pub fn new(settings: Settings, around: &Surroundings) -> Result<Self, Failure> {
        let Settings { domain, client_id, client_secret, audience, application_id } = settings;
        let domain = if domain.contains("://") { domain } else { format!("https://{domain}") };
        let domain = Url::parse(&domain)
            .map_err(|_| Failure::refused("domain must be a name such as example.eu.auth0.com"))?;
        let management = Url::parse(&audience)
            .map_err(|_| Failure::refused("audience must be the URL of the Management API"))?;
        Ok(Self {
            rest: Rest::new("Auth0", Arc::clone(&around.network)),
            tokens: Tokens::default(),
            token_url: below(&domain, &["oauth", "token"]),
            client_id,
            client_secret,
            audience,
            application: below(&management, &["clients", &application_id]),
            application_id,
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

    /// Asks for a token of the connection's own.
    pub(crate) async fn check_connection(
        connection: &Connection,
        around: &Surroundings,
    ) -> Result<(), Failure> {
        let auth0 = Self::new(settings(connection, String::new()), around)?;
        let answer = auth0.token(&auth0.client_id, &auth0.client_secret).await?;
        if answer.ok() { Ok(()) } else { Err(auth0.rest.failure(&answer, Effect::Reads, "to log in")) }
    }

    async fn token(&self, client_id: &str, secret: &Secret) -> Result<Answer, Failure> {
        let fields =
            [("client_id", client_id), ("client_secret", secret.expose()), ("audience", &*self.audience)];
        client_credentials(&self.rest, self.token_url.clone(), None, &fields).await
    }

    async fn ask(&self, request: impl Fn() -> Request) -> Result<Answer, Failure> {
        self.tokens.ask(&self.rest, request, || self.token(&self.client_id, &self.client_secret)).await
    }

    async fn get(&self, fields: &str, purpose: &'static str) -> Result<Answer, Failure> {
        let mut url = self.application.clone();
        url.query_pairs_mut().append_pair("fields", fields).append_pair("include_fields", "true");
        self.ask(|| Request::new(Method::GET, url.clone(), Effect::Reads, purpose)).await
    }

    async fn put(&self, secret: &Secret) -> Result<(), Failure> {
        const PURPOSE: &str = "to set the secret";
        let answer = self
            .ask(|| {
                Request::new(Method::PATCH, self.application.clone(), Effect::Changes, PURPOSE)
                    .json(&json!({"client_secret": secret.expose()}))
            })
            .await?;
        if answer.ok() { Ok(()) } else { Err(self.failure(&answer, Effect::Changes, PURPOSE)) }
    }

    fn failure(&self, answer: &Answer, effect: Effect, purpose: &str) -> Failure {
        match answer.status {
            403 => Failure::refused(format!(
                "Auth0 does not allow the connection {purpose}: authorise its application for the Management API with \
                 read:clients, update:clients and update:client_keys"
            )),
            404 => Failure::refused(format!("Auth0 has no application {}", self.application_id)),
            _ => self.rest.failure(answer, effect, purpose),
        }
    }

    /// Whether it is the secret that Auth0 has, for applications that may not ask for tokens of their own.
    async fn compare(&self, secret: &Secret) -> Result<Login, Failure> {
        const PURPOSE: &str = "to compare the secret";
        let answer = self.get("client_id,client_secret", PURPOSE).await?;
        let client = if answer.ok() { answer.read::<Client>() } else { None };
        match client.and_then(|client| client.client_secret) {
            Some(found) => {
                let same = found.expose().as_bytes().ct_eq(secret.expose().as_bytes());
                Ok(if bool::from(same) { Login::Accepted } else { Login::Refused })
            }
            None if answer.ok() || answer.status == 403 => Err(Failure::refused(
                "the application may not log in by itself, so its secret can only be compared with Auth0's: authorise \
                 the connection for read:client_keys, or allow the application client_credentials",
            )),
            None => Err(self.failure(&answer, Effect::Reads, PURPOSE)),
        }
    }
}

fn choose(random: &[u8; 32]) -> Secret {
    Requirements::of(Kind::Auth0ClientSecret).generate(random)
}

fn settings(connection: &Connection, application_id: String) -> Settings {
    Settings {
        domain: connection.required("domain"),
        client_id: connection.required("clientId"),
        client_secret: connection.required_secret("clientSecret"),
        audience: connection.required("audience"),
        application_id,
    }
}

#[async_trait]
impl Target for Auth0ClientSecret {
    async fn check(&self) -> Result<(), Failure> {
        const PURPOSE: &str = "to read the application";
        let answer = self.get("client_id,name", PURPOSE).await?;
        if answer.ok() { Ok(()) } else { Err(self.failure(&answer, Effect::Reads, PURPOSE)) }
    }

    async fn plan(&self, _slot: Slot) -> Result<Plan, Failure> {
        self.check().await?;
        let steps = vec![
            format!(
                "set a new secret of application {}; the one before is dead at once",
                self.application_id
            ),
            "log in with it".to_owned(),
            "publish it".to_owned(),
        ];
        let right = |name: &str, held| Right { name: name.to_owned(), held };
        let rights = vec![
            right("read:clients", Some(true)),
            right("update:clients", None),
            right("update:client_keys", None),
        ];
        Ok(Plan { steps, rights })
    }

    async fn intend(
        &self,
        slot: Slot,
        _current: Option<&Credential>,
        random: [u8; 32],
    ) -> Result<Intent, Failure> {
        let credential = credential("clientId", &self.application_id, choose(&random));
        Ok(Intent::Set { slot, credential })
    }

    async fn set(&self, intent: &Intent, _current: Option<&Credential>) -> Result<Credential, Failure> {
        let credential = intended(intent)?;
        self.put(&credential.secret).await?;
        Ok(copy(credential))
    }

    async fn log_in(&self, credential: &Credential) -> Result<Login, Failure> {
        let answer = self.token(&self.application_id, &credential.secret).await?;
        match (answer.status, answer.code().as_deref()) {
            _ if answer.ok() => Ok(Login::Accepted),
            (401, _) => Ok(Login::Refused),
            // Known, and not allowed the Management API.
            (403, Some("access_denied")) => Ok(Login::Accepted),
            // Not allowed to ask for tokens of its own; whether the secret was looked at is not said.
            (403, Some("unauthorized_client")) => self.compare(&credential.secret).await,
            _ => Err(self.rest.failure(&answer, Effect::Reads, "to log in with the secret")),
        }
    }

    /// An interrupted attempt leaves nothing that setting the secret again does not heal.
    /// It ended when the next one was set.
    async fn retire(&self, _old: &Credential, _active: &Credential, _end: bool) -> Result<(), Failure> {
        Ok(())
    }

    async fn revoke(&self, _credential: &Credential, random: [u8; 32]) -> Result<(), Failure> {
        self.put(&choose(&random)).await
    }
}
