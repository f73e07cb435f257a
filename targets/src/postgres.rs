//! PostgreSQL: two roles take turns. What is sent is the SCRAM verifier of the new password, so that the password
//! stands in no log and no statistics of the server.

use std::sync::Arc;

use async_trait::async_trait;
use rota_aggregates::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};
use zeroize::Zeroizing;

use crate::chosen::{Turns, account, copy, copy_secret, intended};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::parameters::Parameters;
use crate::reach::{CONNECT, Effect, Place, STEP, Stream, Tls};
use crate::statement::{Dialect, Script, Values};
use crate::target::{Credential, Intent, Login, Network, Plan, Right, Slot, Target};

/// Where the server is, and whom rota is there.
pub(crate) struct Server {
    network: Arc<dyn Network>,
    place: Place,
    tls: Tls,
    database: String,
    username: String,
    password: Secret,
}

/// Two roles of a server.
pub(crate) struct Postgres {
    server: Server,
    turns: Turns,
    script: Option<Script>,
}

/// A session; it ends when this is dropped.
struct Session {
    client: Client,
    connection: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Server {
    pub(crate) fn new(connection: &Connection, network: &Arc<dyn Network>) -> Self {
        let password = connection.secret("password").map(copy_secret);
        Self {
            network: Arc::clone(network),
            place: Place::of(connection),
            tls: Tls::of(connection, "ssl"),
            database: connection.text("database").unwrap_or_default().to_owned(),
            username: connection.text("username").unwrap_or_default().to_owned(),
            password: password.unwrap_or_else(|| Secret::new(String::new())),
        }
    }

    /// Logs in as rota and asks for nothing.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        self.own_session().await.map(drop)
    }

    async fn own_session(&self) -> Result<Session, Failure> {
        self.session(&self.username, &self.password).await?.ok_or_else(|| {
            let Self { username, place, .. } = self;
            Failure::refused(format!(
                "{place} refuses the connection's user {username}: its password is wrong or it may not log in"
            ))
        })
    }

    /// None where the server refuses the user or the password.
    async fn session(&self, username: &str, password: &Secret) -> Result<Option<Session>, Failure> {
        let stream = self.place.dial(&*self.network).await?;
        let stream: Box<dyn Stream> = if self.tls.enabled {
            let stream = timeout(CONNECT, self.ask_for_tls(stream)).await;
            let stream = stream.unwrap_or_else(|_| Err(self.place.unreachable("it does not answer")))?;
            self.tls.wrap(&self.place, stream).await?
        } else {
            Box::new(stream)
        };
        let mut config = Config::new();
        config.user(username).password(password.expose()).dbname(&self.database).application_name("rota");
        // TLS is there already.
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        match timeout(STEP, config.connect_raw(stream, NoTls)).await {
            Ok(Ok((client, connection))) => {
                let connection = tokio::spawn(async move {
                    // What breaks it, the next statement says.
                    let _ = connection.await;
                });
                Ok(Some(Session { client, connection }))
            }
            Ok(Err(error)) => match error.code() {
                Some(code) if *code == SqlState::INVALID_PASSWORD => Ok(None),
                Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => Ok(None),
                _ => Err(self.failure(&error, Effect::Reads)),
            },
            Err(_) => Err(self.place.unreachable("it does not answer")),
        }
    }

    /// The server's own way from plain text to TLS.
    async fn ask_for_tls(&self, mut stream: tokio::net::TcpStream) -> Result<tokio::net::TcpStream, Failure> {
        let broken = |error: std::io::Error| self.place.unreachable(crate::reach::reason(error.kind()));
        stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await.map_err(broken)?;
        let mut answer = [0];
        stream.read_exact(&mut answer).await.map_err(broken)?;
        if answer == *b"S" {
            return Ok(stream);
        }
        Err(Failure::refused(format!(
            "{} has TLS switched off; switch it on there, or off in the connection",
            self.place
        )))
    }

    /// Runs one statement.
    async fn run(&self, session: &Session, sql: &str, effect: Effect) -> Result<(), Failure> {
        match timeout(STEP, session.client.batch_execute(sql)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failure(&error, effect)),
            Err(_) => Err(self.place.silent(effect)),
        }
    }

    /// Runs one query for the first row of it, as texts.
    async fn row(&self, session: &Session, sql: &str) -> Result<Option<Vec<Option<String>>>, Failure> {
        use tokio_postgres::SimpleQueryMessage::Row;
        let answer = timeout(STEP, session.client.simple_query(sql))
            .await
            .map_err(|_| self.place.silent(Effect::Reads))?;
        let messages = answer.map_err(|error| self.failure(&error, Effect::Reads))?;
        Ok(messages.iter().find_map(|message| match message {
            Row(row) => Some((0..row.len()).map(|at| row.get(at).map(ToOwned::to_owned)).collect()),
            _ => None,
        }))
    }

    /// Only what the code of an error says: its text may quote the statement.
    fn failure(&self, error: &tokio_postgres::Error, effect: Effect) -> Failure {
        let place = &self.place;
        let Some(code) = error.code() else {
            return place.broken(effect);
        };
        let refused =
            |why: &str| Failure::refused(format!("{place} refuses: {why} (SQLSTATE {})", code.code()));
        match code.code() {
            "42501" => refused(
                "the connection's user lacks a right; altering a role takes CREATEROLE and, from PostgreSQL 16 on, \
                 ADMIN OPTION on it; ending sessions takes membership in pg_signal_backend",
            ),
            "42704" => refused("there is no such role"),
            "3D000" => refused("there is no such database"),
            "25006" => refused("it is a standby that takes no changes; connect to the primary"),
            "28000" | "28P01" => refused("the user or its password"),
            // The server is going down or coming up.
            "57P01" | "57P02" | "57P05" if effect == Effect::Writes => Failure::unclear(format!(
                "{place} ended the connection before it answered (SQLSTATE {})",
                code.code()
            )),
            // Somebody changes the same row, or there are too many: later it may go.
            "40001" | "40P01" | "XX000" | "55P03" | "53300" | "57P01" | "57P02" | "57P03" | "57P05" => {
                Failure::unreachable(format!("{place} is busy (SQLSTATE {})", code.code()))
            }
            other if other.starts_with("53") => {
                Failure::unreachable(format!("{place} is out of resources (SQLSTATE {other})"))
            }
            other if other.starts_with("42") => {
                refused("the statement is wrong, or something in it does not exist")
            }
            _ => refused("the statement failed"),
        }
    }

    /// Ends every session of a role.
    async fn end_sessions(&self, session: &Session, username: &str) -> Result<(), Failure> {
        let name = Dialect::Postgres.literal(username);
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {} AND pid <> pg_backend_pid()",
            *name
        );
        self.run(session, &sql, Effect::Reads).await
    }
}

impl Postgres {
    pub(crate) fn open(connection: &Connection, parameters: &Parameters, network: &Arc<dyn Network>) -> Self {
        Self {
            server: Server::new(connection, network),
            turns: Turns::new(parameters),
            script: parameters.script().cloned(),
        }
    }

    fn statements(&self, username: &str, password: &Secret) -> Result<Vec<Zeroizing<String>>, Failure> {
        let verifier = postgres_protocol::password::scram_sha_256(password.expose().as_bytes());
        let Some(script) = &self.script else {
            let name = Dialect::Postgres.identifier(username);
            let name = name.ok_or_else(|| Failure::refused("the name of the user can't be quoted"))?;
            return Ok(vec![Zeroizing::new(format!("ALTER ROLE {name} PASSWORD '{verifier}'"))]);
        };
        let values = Values {
            username,
            password: password.expose(),
            verifier: Some(&verifier),
            database: &self.server.database,
        };
        script.render(values).map_err(|error| Failure::refused(error.to_string()))
    }

    async fn set_password(&self, username: &str, password: &Secret) -> Result<(), Failure> {
        let statements = self.statements(username, password)?;
        let session = self.server.own_session().await?;
        // Quoting counts on it.
        self.server.run(&session, "SET standard_conforming_strings = on", Effect::Reads).await?;
        for (at, statement) in statements.iter().enumerate() {
            let done = self.server.run(&session, statement, Effect::Writes).await;
            // What came before stands, whatever this one says.
            done.map_err(|failure| if at == 0 { failure } else { Failure::unclear(failure.text()) })?;
        }
        Ok(())
    }
}

#[async_trait]
impl Target for Postgres {
    async fn check(&self) -> Result<(), Failure> {
        self.server.check().await
    }

    async fn plan(&self, slot: Slot) -> Result<Plan, Failure> {
        let user = self.turns.user(slot);
        let session = self.server.own_session().await?;
        let name = Dialect::Postgres.literal(user);
        let sql = format!(
            "SELECT r.rolcanlogin, r.rolvaliduntil < now(), \
             me.rolsuper OR r.rolname = me.rolname OR (me.rolcreaterole AND NOT r.rolsuper AND CASE \
             WHEN current_setting('server_version_num')::int < 160000 THEN true \
             ELSE pg_has_role(me.oid, r.oid, 'MEMBER WITH ADMIN OPTION') END), \
             me.rolsuper OR pg_has_role(me.oid, (SELECT oid FROM pg_roles WHERE rolname = 'pg_signal_backend'), 'USAGE') \
             FROM pg_roles r, pg_roles me WHERE r.rolname = {} AND me.rolname = current_user",
            *name
        );
        let Some(row) = self.server.row(&session, &sql).await? else {
            return Err(Failure::refused(format!("{} has no role {user}", self.server.place)));
        };
        let holds = |at: usize| row.get(at).cloned().flatten().map(|text| text == "t");
        let step = match &self.script {
            None => format!("ALTER ROLE {user} with the verifier of a new password"),
            Some(_) => format!("run the rotation statement for {user} with a new password"),
        };
        let mut steps = vec![step, format!("log in to the database {} as {user}", self.server.database)];
        if holds(1) == Some(true) {
            steps.push(format!("which will fail: the validity of {user} has ended (VALID UNTIL)"));
        }
        Ok(Plan {
            steps,
            rights: vec![
                Right { name: format!("ALTER ROLE {user}"), held: holds(2) },
                Right { name: format!("log in as {user} (LOGIN)"), held: holds(0) },
                Right {
                    name: "end sessions (pg_signal_backend), where that is asked for".to_owned(),
                    held: holds(3),
                },
            ],
        })
    }

    async fn intend(&self, slot: Slot, _: Option<&Credential>, random: [u8; 32]) -> Result<Intent, Failure> {
        Ok(self.turns.intend(slot, &random))
    }

    async fn set(&self, intent: &Intent, _: Option<&Credential>) -> Result<Credential, Failure> {
        let credential = intended(intent)?;
        self.set_password(account(credential, "username")?, &credential.secret).await?;
        Ok(copy(credential))
    }

    async fn log_in(&self, credential: &Credential) -> Result<Login, Failure> {
        let username = account(credential, "username")?;
        match self.server.session(username, &credential.secret).await? {
            Some(session) => {
                self.server.run(&session, "SELECT 1", Effect::Reads).await?;
                Ok(Login::Accepted)
            }
            None => Ok(Login::Refused),
        }
    }

    /// The role's own next turn ends its password; until then it is the overlap. Sessions end here.
    async fn retire(&self, old: &Credential, _: &Credential, end_sessions: bool) -> Result<(), Failure> {
        if !end_sessions {
            return Ok(());
        }
        let session = self.server.own_session().await?;
        self.server.end_sessions(&session, account(old, "username")?).await
    }

    async fn revoke(&self, credential: &Credential, random: [u8; 32]) -> Result<(), Failure> {
        let username = account(credential, "username")?;
        let session = self.server.own_session().await?;
        let name = Dialect::Postgres.literal(username);
        let sql = format!("SELECT 1 FROM pg_roles WHERE rolname = {}", *name);
        if self.server.row(&session, &sql).await?.is_none() {
            return Ok(());
        }
        self.set_password(username, &self.turns.unknown(&random)).await
    }
}
