//! Microsoft SQL Server: two logins take turns. The password goes to the server in a statement, over TLS; SQL Server
//! keeps passwords out of its own traces of `ALTER LOGIN`.

use std::sync::Arc;

use async_trait::async_trait;
use rota_aggregates::secret::Secret;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, Row};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};
use zeroize::Zeroizing;

use crate::chosen::{Turns, account, copy, copy_secret, intended};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::parameters::Parameters;
use crate::reach::{CONNECT, Effect, Place, STEP, Tls};
use crate::statement::{Dialect, Script, Values};
use crate::target::{Credential, Intent, Login, Network, Plan, Right, Slot, Target};

type Session = Client<Compat<TcpStream>>;

/// Where the server is, and whom rota is there.
pub(crate) struct Server {
    network: Arc<dyn Network>,
    place: Place,
    tls: Tls,
    database: String,
    username: String,
    password: Secret,
}

/// Two logins of a server.
pub(crate) struct Mssql {
    server: Server,
    turns: Turns,
    script: Option<Script>,
}

impl Server {
    pub(crate) fn new(connection: &Connection, network: &Arc<dyn Network>) -> Self {
        Self {
            network: Arc::clone(network),
            place: Place::of(connection),
            tls: Tls::of(connection, "ssl"),
            database: connection.required("database"),
            username: connection.required("username"),
            password: connection.required_secret("password"),
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
                "{place} refuses the connection's login {username}: its password is wrong or it may not log in"
            ))
        })
    }

    fn config(&self, username: &str, password: &Secret) -> Config {
        let mut config = Config::new();
        // For the name in the certificate; the way there is the network's.
        config.host(&self.place.host);
        config.port(self.place.port);
        config.database(&self.database);
        config.application_name("rota");
        config.authentication(AuthMethod::sql_server(username, password.expose()));
        // Without TLS in the connection it is still used where the server can.
        config.encryption(if self.tls.enabled {
            EncryptionLevel::Required
        } else {
            EncryptionLevel::NotSupported
        });
        if self.tls.enabled && self.tls.verify {
            config.trust_webpki_roots();
            if let Some(authorities) = &self.tls.authorities {
                config.trust_cert_ca_bundle(authorities.as_bytes());
            }
        } else {
            config.trust_cert();
        }
        config
    }

    /// None where the server refuses the login or its password.
    async fn session(&self, username: &str, password: &Secret) -> Result<Option<Session>, Failure> {
        let stream = self.place.dial(&*self.network).await?;
        // It is large.
        let connect = Box::pin(Client::connect(self.config(username, password), stream.compat_write()));
        match timeout(CONNECT, connect).await {
            Ok(Ok(session)) => Ok(Some(session)),
            Ok(Err(error)) => match error.code() {
                // Wrong, disabled, locked, expired, to be changed at once.
                Some(18_456 | 18_470 | 18_486 | 18_487 | 18_488) => Ok(None),
                _ => Err(self.failure(&error, Effect::Reads)),
            },
            Err(_) => Err(self.place.unreachable("it does not answer")),
        }
    }

    /// Runs one statement, and gives the rows of it.
    async fn run(&self, session: &mut Session, sql: &str, effect: Effect) -> Result<Vec<Row>, Failure> {
        let asked = async { session.simple_query(sql).await?.into_first_result().await };
        match timeout(STEP, asked).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(self.failure(&error, effect)),
            Err(_) => Err(self.place.silent(effect)),
        }
    }

    /// One number, or nothing where there is none.
    async fn number(&self, session: &mut Session, sql: &str) -> Result<Option<i32>, Failure> {
        let rows = self.run(session, sql, Effect::Reads).await?;
        let number = rows.first().and_then(|row| row.try_get::<i32, _>(0).ok().flatten());
        Ok(number)
    }

    /// Only what the number of an error says: its text may quote the statement.
    fn failure(&self, error: &tiberius::error::Error, effect: Effect) -> Failure {
        use tiberius::error::Error;
        let place = &self.place;
        let server = match error {
            Error::Server(server) => server,
            Error::Tls(_) => {
                return Failure::refused(format!(
                    "{place} is not trusted: TLS could not be agreed on; give its CA certificate in the connection, and \
                     connect by a name that stands in its certificate"
                ));
            }
            Error::Protocol(_) if effect == Effect::Reads && self.tls.enabled => {
                return Failure::refused(format!(
                    "{place} does not speak as a SQL Server with encryption does"
                ));
            }
            Error::Routing { .. } => {
                return Failure::refused(format!(
                    "{place} sends its clients on to another address; connect to that one, or set the connection \
                     policy of the server to Proxy"
                ));
            }
            _ => return place.broken(effect),
        };
        let number = server.code();
        let refused = |why: &str| Failure::refused(format!("{place} refuses: {why} (error {number})"));
        match number {
            15_151 => refused(
                "there is no such login, or the connection's login lacks ALTER ANY LOGIN or ALTER on it",
            ),
            229 | 262 | 297 | 300 | 6_102 | 15_247 => refused(
                "the connection's login lacks a right; ending sessions takes VIEW SERVER STATE and ALTER ANY CONNECTION",
            ),
            15_113..=15_119 => {
                refused("its password policy; change passwordRequirements, or CHECK_POLICY of the login")
            }
            911 | 4_060 => refused("there is no such database, or the login may not use it"),
            3_906 | 3_908 => refused("it is a copy that takes no changes; connect to the primary"),
            102 | 105 | 156 | 170 => refused("the statement is wrong"),
            // Somebody is in the way, or there are too many: later it may go.
            1_204 | 1_205 | 1_222 | 10_928 | 10_929 | 17_809 | 40_197 | 40_501 | 40_613 | 49_918..=49_920 => {
                Failure::unreachable(format!("{place} is busy (error {number})"))
            }
            _ if server.class() >= 17 && effect == Effect::Writes => Failure::unclear(format!(
                "{place} is in trouble (error {number}), and may have obeyed all the same"
            )),
            _ if server.class() >= 17 => {
                Failure::unreachable(format!("{place} is in trouble (error {number})"))
            }
            _ => refused("the statement failed"),
        }
    }

    /// Ends every session of a login.
    async fn end_sessions(&self, session: &mut Session, username: &str) -> Result<(), Failure> {
        let name = Dialect::Mssql.literal(username);
        let sql = format!(
            "SELECT CAST(session_id AS int) FROM sys.dm_exec_sessions WHERE original_login_name = N{} AND session_id <> @@SPID",
            *name
        );
        for row in self.run(session, &sql, Effect::Reads).await? {
            if let Ok(Some(id)) = row.try_get::<i32, _>(0) {
                match self.run(session, &format!("KILL {id}"), Effect::Reads).await {
                    // It has ended by itself meanwhile.
                    Err(failure) if failure.text().contains("(error 6106)") => {}
                    done => drop(done?),
                }
            }
        }
        Ok(())
    }
}

impl Mssql {
    pub(crate) fn open(connection: &Connection, parameters: &Parameters, network: &Arc<dyn Network>) -> Self {
        Self {
            server: Server::new(connection, network),
            turns: Turns::new(parameters),
            script: parameters.script().cloned(),
        }
    }

    fn statements(&self, username: &str, password: &Secret) -> Result<Vec<Zeroizing<String>>, Failure> {
        let Some(script) = &self.script else {
            return Ok(vec![alter_login(username, password)?]);
        };
        let database = &self.server.database;
        let values = Values { username, password: password.expose(), verifier: None, database };
        script.render(values).map_err(|error| Failure::refused(error.to_string()))
    }

    async fn set_password(&self, username: &str, password: &Secret) -> Result<(), Failure> {
        let statements = self.statements(username, password)?;
        let mut session = self.server.own_session().await?;
        // Quoting counts on it.
        self.server.run(&mut session, "SET QUOTED_IDENTIFIER ON", Effect::Reads).await?;
        for (at, statement) in statements.iter().enumerate() {
            let done = self.server.run(&mut session, statement, Effect::Writes).await;
            // What came before stands, whatever this one says.
            done.map_err(|failure| if at == 0 { failure } else { Failure::unclear(failure.text()) })?;
        }
        Ok(())
    }
}

fn alter_login(username: &str, password: &Secret) -> Result<Zeroizing<String>, Failure> {
    let name = Dialect::Mssql.identifier(username);
    let name = name.ok_or_else(|| Failure::refused("the name of the login can't be quoted"))?;
    let password = Dialect::Mssql.literal(password.expose());
    // Of its final size from the start: growing would leave a copy behind.
    let mut statement = Zeroizing::new(String::with_capacity(name.len() + password.len() + 40));
    for part in ["ALTER LOGIN ", &name, " WITH PASSWORD = N", &password] {
        statement.push_str(part);
    }
    Ok(statement)
}

#[async_trait]
impl Target for Mssql {
    async fn check(&self) -> Result<(), Failure> {
        self.server.check().await
    }

    async fn plan(&self, slot: Slot) -> Result<Plan, Failure> {
        let user = self.turns.user(slot);
        let mut session = self.server.own_session().await?;
        let name = Dialect::Mssql.literal(user);
        if self.server.number(&mut session, &format!("SELECT SUSER_ID(N{})", *name)).await?.is_none() {
            return Err(Failure::refused(format!("{} has no login {user}", self.server.place)));
        }
        let quoted = Dialect::Mssql.identifier(user).unwrap_or_default();
        let quoted = Dialect::Mssql.literal(&quoted);
        let ask = |right: &str| format!("SELECT HAS_PERMS_BY_NAME(NULL, NULL, N'{right}')");
        let alter = format!("SELECT HAS_PERMS_BY_NAME(N{}, N'LOGIN', N'ALTER')", *quoted);
        let mut held = Vec::new();
        for sql in [alter, ask("VIEW SERVER STATE"), ask("ALTER ANY CONNECTION")] {
            held.push(self.server.number(&mut session, &sql).await?.map(|number| number == 1));
        }
        let step = match &self.script {
            None => format!("ALTER LOGIN {user} with a new password"),
            Some(_) => format!("run the rotation statement for {user} with a new password"),
        };
        let right = |name: String, at: usize| Right { name, held: held[at] };
        Ok(Plan {
            steps: vec![step, format!("log in to the database {} as {user}", self.server.database)],
            rights: vec![
                right(format!("ALTER on the login {user}"), 0),
                right("see sessions (VIEW SERVER STATE), where they are to be ended".to_owned(), 1),
                right("end sessions (ALTER ANY CONNECTION), where that is asked for".to_owned(), 2),
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
        match self.server.session(username, &copy_secret(&credential.secret)).await? {
            Some(mut session) => {
                self.server.run(&mut session, "SELECT 1", Effect::Reads).await?;
                Ok(Login::Accepted)
            }
            None => Ok(Login::Refused),
        }
    }

    /// The login's own next turn ends its password; until then it is the overlap. Sessions end here.
    async fn retire(&self, old: &Credential, _: &Credential, end_sessions: bool) -> Result<(), Failure> {
        if !end_sessions {
            return Ok(());
        }
        let mut session = self.server.own_session().await?;
        self.server.end_sessions(&mut session, account(old, "username")?).await
    }

    async fn revoke(&self, credential: &Credential, random: [u8; 32]) -> Result<(), Failure> {
        let username = account(credential, "username")?;
        let mut session = self.server.own_session().await?;
        let name = Dialect::Mssql.literal(username);
        if self.server.number(&mut session, &format!("SELECT SUSER_ID(N{})", *name)).await?.is_none() {
            return Ok(());
        }
        drop(session);
        self.set_password(username, &self.turns.unknown(&random)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name or a password can't become part of the statement.
    #[test]
    fn names_and_passwords_are_quoted() {
        let statement = |name: &str, password: &str| {
            alter_login(name, &Secret::new(password.to_owned())).map(|statement| statement.to_string())
        };
        assert_eq!(statement("app", "pw").unwrap(), "ALTER LOGIN [app] WITH PASSWORD = N'pw'");
        assert_eq!(
            statement("a]; DROP LOGIN b; --", "'; DROP LOGIN c; --").unwrap(),
            "ALTER LOGIN [a]]; DROP LOGIN b; --] WITH PASSWORD = N'''; DROP LOGIN c; --'"
        );
        assert_eq!(statement("a'b\"", "]\"").unwrap(), "ALTER LOGIN [a'b\"] WITH PASSWORD = N']\"'");
        assert!(statement("a\0b", "pw").is_err());
    }
}
