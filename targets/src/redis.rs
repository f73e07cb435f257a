//! Redis: one user, whose next password is added beside the one before and whose old one is then taken away.

use std::sync::Arc;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, ServerErrorKind, Value};
use rota_aggregates::secret::Secret;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::chosen::{account, copy, copy_secret, credential, intended};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::parameters::Parameters;
use crate::password::{Requirements, generate_name};
use crate::reach::{Effect, Place, STEP, Tls};
use crate::target::{Credential, Intent, Login, Network, Plan, Right, Slot, Target};

/// As long as users' names are elsewhere.
const NAME: u16 = 32;

/// Where the server is, and whom rota is there.
pub(crate) struct Server {
    network: Arc<dyn Network>,
    place: Place,
    tls: Tls,
    username: String,
    password: Option<Secret>,
}

/// A user of a server.
pub(crate) struct Redis {
    server: Server,
    requirements: Requirements,
    rules: Vec<String>,
}

/// A session; it ends when this is dropped.
struct Session {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Server {
    pub(crate) fn new(connection: &Connection, network: &Arc<dyn Network>) -> Self {
        Self {
            network: Arc::clone(network),
            place: Place::of(connection),
            tls: Tls::of(connection, "ssl"),
            username: connection.text("username").unwrap_or_default().to_owned(),
            password: connection.secret("password").map(copy_secret),
        }
    }

    /// Logs in as rota and asks for nothing.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        self.own_session().await.map(drop)
    }

    async fn own_session(&self) -> Result<Session, Failure> {
        let session = self.session().await?;
        if let Some(password) = &self.password
            && self.log_in(&session, &self.username, password).await? == Login::Refused
        {
            let Self { place, username, .. } = self;
            return Err(Failure::refused(format!(
                "{place} refuses the connection's user {username} or its password"
            )));
        }
        // A server that wants a password says so here.
        self.run(&session, &["ACL", "WHOAMI"], Effect::Reads).await?;
        Ok(session)
    }

    async fn session(&self) -> Result<Session, Failure> {
        let stream = self.place.dial(&*self.network).await?;
        let stream = self.tls.wrap(&self.place, stream).await?;
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        // What limits it is around each request.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = MultiplexedConnection::new_with_config(&info, stream, config);
        match timeout(STEP, connection).await {
            Ok(Ok((connection, driver))) => Ok(Session { connection, driver: tokio::spawn(driver) }),
            Ok(Err(error)) => Err(self.failure(&error, Effect::Reads)),
            Err(_) => Err(self.place.unreachable("it does not answer")),
        }
    }

    async fn log_in(&self, session: &Session, username: &str, password: &Secret) -> Result<Login, Failure> {
        match self.ask(session, &["AUTH", username, password.expose()], Effect::Reads).await? {
            Ok(_) => Ok(Login::Accepted),
            Err(error) if error.code() == Some("WRONGPASS") => Ok(Login::Refused),
            Err(error) => Err(self.failure(&error, Effect::Reads)),
        }
    }

    async fn run(&self, session: &Session, words: &[&str], effect: Effect) -> Result<Value, Failure> {
        self.ask(session, words, effect).await?.map_err(|error| self.failure(&error, effect))
    }

    /// What the server says, be it no.
    async fn ask(
        &self,
        session: &Session,
        words: &[&str],
        effect: Effect,
    ) -> Result<Result<Value, RedisError>, Failure> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        let mut connection = session.connection.clone();
        match timeout(STEP, command.query_async::<Value>(&mut connection)).await {
            Ok(Err(error)) if error.code().is_none() => Err(self.failure(&error, effect)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.place.silent(effect)),
        }
    }

    /// Only what the code of an error says: its text may quote the command.
    fn failure(&self, error: &RedisError, effect: Effect) -> Failure {
        let place = &self.place;
        match error.code() {
            Some("NOPERM") => Failure::refused(format!(
                "{place} refuses: the connection's user may not do this; it takes the commands ACL, and CLIENT to end sessions"
            )),
            Some("NOAUTH") => {
                Failure::refused(format!("{place} wants a password; give one in the connection"))
            }
            Some("LOADING" | "BUSY" | "TRYAGAIN" | "MASTERDOWN") => {
                Failure::unreachable(format!("{place} is busy"))
            }
            Some("READONLY") => Failure::refused(format!("{place} is a replica; connect to the primary")),
            Some(_) => Failure::refused(format!("{place} refuses the command; rota needs Redis 6 or later")),
            None => place.broken(effect),
        }
    }

    /// Keeps the users over a restart, where the server has a file for that. It follows a change: once the connection
    /// breaks here, something has changed.
    async fn keep(&self, session: &Session) -> Result<bool, Failure> {
        if self.ask(session, &["ACL", "SAVE"], Effect::Writes).await?.is_ok() {
            return Ok(true);
        }
        Ok(self.ask(session, &["CONFIG", "REWRITE"], Effect::Writes).await?.is_ok())
    }

    /// Whether there is a file for that, and the right to write it. Nothing where it can't be told.
    async fn keeps(&self, session: &Session) -> Result<Option<bool>, Failure> {
        let Ok(answer) = self.ask(session, &["CONFIG", "GET", "aclfile"], Effect::Reads).await? else {
            return Ok(None);
        };
        if texts(&answer).get(1).is_some_and(|file| !file.is_empty()) {
            return Ok(Some(true));
        }
        let info = self.ask(session, &["INFO", "server"], Effect::Reads).await?;
        let info = info.map(|answer| texts(&answer).concat()).unwrap_or_default();
        let file = info.lines().find_map(|line| line.strip_prefix("config_file:"));
        Ok(file.map(|file| !file.trim().is_empty()))
    }

    async fn major_version(&self, session: &Session) -> Result<u32, Failure> {
        let info = self.ask(session, &["INFO", "server"], Effect::Reads).await?;
        let info = info.map(|answer| texts(&answer).concat()).unwrap_or_default();
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        // Who may not ask is taken to be with a server of today.
        Ok(version.and_then(|version| version.split('.').next()?.parse().ok()).unwrap_or(7))
    }
}

/// The texts in an answer, however deep.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::BulkString(bytes) => vec![String::from_utf8_lossy(bytes).into_owned()],
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => vec![text.clone()],
        Value::Array(values) | Value::Set(values) => values.iter().flat_map(texts).collect(),
        Value::Map(pairs) => {
            pairs.iter().flat_map(|(key, value)| [texts(key), texts(value)].concat()).collect()
        }
        _ => Vec::new(),
    }
}

impl Redis {
    pub(crate) fn open(connection: &Connection, parameters: &Parameters, network: &Arc<dyn Network>) -> Self {
        let rules = parameters.text("permissionScope").unwrap_or_default();
        Self {
            server: Server::new(connection, network),
            requirements: parameters.requirements(),
            rules: rules.split_whitespace().map(ToOwned::to_owned).collect(),
        }
    }

    async fn user_exists(&self, session: &Session, username: &str) -> Result<bool, Failure> {
        let answer = self.server.run(session, &["ACL", "GETUSER", username], Effect::Reads).await?;
        Ok(answer != Value::Nil)
    }

    async fn delete_user(&self, session: &Session, username: &str) -> Result<bool, Failure> {
        let answer = self.server.run(session, &["ACL", "DELUSER", username], Effect::Writes).await?;
        self.server.keep(session).await?;
        Ok(matches!(answer, Value::Int(1..)))
    }

    /// Takes one password away. Whether it was there.
    async fn remove_password(
        &self,
        session: &Session,
        username: &str,
        password: &Secret,
    ) -> Result<bool, Failure> {
        // An unknown user would be made by this.
        if !self.user_exists(session, username).await? {
            return Ok(false);
        }
        let rule = Zeroizing::new(format!("<{}", password.expose()));
        let answer = self.server.ask(session, &["ACL", "SETUSER", username, &rule], Effect::Writes).await?;
        match answer {
            Ok(_) => {
                self.server.keep(session).await?;
                Ok(true)
            }
            // The only thing that can be wrong with this rule is that there is no such password.
            Err(error) if error.kind() == redis::ErrorKind::Server(ServerErrorKind::ResponseError) => {
                Ok(false)
            }
            Err(error) => Err(self.server.failure(&error, Effect::Writes)),
        }
    }
}

#[async_trait]
impl Target for Redis {
    async fn check(&self) -> Result<(), Failure> {
        self.server.check().await
    }

    async fn plan(&self, _: Slot) -> Result<Plan, Failure> {
        let session = self.server.own_session().await?;
        let mut rights = Vec::new();
        // Reading the list takes the command that all the steps take.
        let acl = self.server.ask(&session, &["ACL", "USERS"], Effect::Reads).await?.is_ok();
        rights.push(Right { name: "ACL SETUSER, ACL DELUSER".to_owned(), held: Some(acl) });
        let keeps = self.server.keeps(&session).await?;
        rights.push(Right {
            name: "keep users over a restart (an ACL file, or a configuration file)".to_owned(),
            held: keeps,
        });
        let steps = vec![
            format!("ACL SETUSER with a password more, and the rules {}", self.rules.join(" ")),
            "log in with the new password".to_owned(),
            "ACL SAVE, or else CONFIG REWRITE".to_owned(),
            "take the password before away, when it is retired".to_owned(),
        ];
        Ok(Plan { steps, rights })
    }

    async fn intend(
        &self,
        slot: Slot,
        current: Option<&Credential>,
        random: [u8; 32],
    ) -> Result<Intent, Failure> {
        let username = match current {
            Some(current) => account(current, "username")?.to_owned(),
            None => generate_name(NAME, &random.map(|byte| !byte)),
        };
        Ok(Intent::Set {
            slot,
            credential: credential("username", &username, self.requirements.generate(&random)),
        })
    }

    async fn set(&self, intent: &Intent, _: Option<&Credential>) -> Result<Credential, Failure> {
        let credential = intended(intent)?;
        let username = account(credential, "username")?;
        let session = self.server.own_session().await?;
        let password = Zeroizing::new(format!(">{}", credential.secret.expose()));
        let mut words = vec!["ACL", "SETUSER", username, "on", password.as_str()];
        // The rules are those that are asked for now, and none that were before.
        words.extend(["resetkeys", "resetchannels", "nocommands"]);
        if self.server.major_version(&session).await? >= 7 {
            words.push("clearselectors");
        }
        words.extend(self.rules.iter().map(String::as_str));
        let answer = self.server.ask(&session, &words, Effect::Writes).await?;
        answer.map_err(|error| match error.kind() {
            redis::ErrorKind::Server(ServerErrorKind::ResponseError) => Failure::refused(format!(
                "{} does not know one of the rules in permissionScope",
                self.server.place
            )),
            _ => self.server.failure(&error, Effect::Writes),
        })?;
        self.server.keep(&session).await?;
        Ok(copy(credential))
    }

    async fn log_in(&self, credential: &Credential) -> Result<Login, Failure> {
        let session = self.server.session().await?;
        self.server.log_in(&session, account(credential, "username")?, &credential.secret).await
    }

    async fn undo(&self, intent: &Intent, keep: &[&Credential]) -> Result<usize, Failure> {
        let credential = intended(intent)?;
        let username = account(credential, "username")?;
        let of_user =
            |other: &&&Credential| other.public.get("username").map(String::as_str) == Some(username);
        if keep.iter().filter(of_user).any(|other| other.secret.expose() == credential.secret.expose()) {
            return Ok(0);
        }
        let session = self.server.own_session().await?;
        let undone = if keep.iter().any(|other| of_user(&other)) {
            self.remove_password(&session, username, &credential.secret).await?
        } else {
            self.delete_user(&session, username).await?
        };
        Ok(usize::from(undone))
    }

    async fn retire(&self, old: &Credential, active: &Credential, end_sessions: bool) -> Result<(), Failure> {
        let username = account(old, "username")?;
        let session = self.server.own_session().await?;
        if username == account(active, "username")? {
            if old.secret.expose() != active.secret.expose() {
                self.remove_password(&session, username, &old.secret).await?;
            }
        } else {
            self.delete_user(&session, username).await?;
        }
        if end_sessions {
            self.server.run(&session, &["CLIENT", "KILL", "USER", username], Effect::Reads).await?;
        }
        Ok(())
    }

    async fn revoke(&self, credential: &Credential, _: [u8; 32]) -> Result<(), Failure> {
        let session = self.server.own_session().await?;
        self.delete_user(&session, account(credential, "username")?).await.map(drop)
    }
}
