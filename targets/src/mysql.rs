//! MySQL and MariaDB: two users take turns. One driver, two grammars: which it is, the server says.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, IoError, OptsBuilder, SslOpts};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rota_aggregates::secret::Secret;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::chosen::{Turns, account, copy, intended};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::parameters::Parameters;
use crate::reach::{CONNECT, Effect, Place, STEP, Tls, reason, tls_failure};
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

/// Two users of a server.
pub(crate) struct Mysql {
    server: Server,
    turns: Turns,
    script: Option<Script>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grammar {
    Mysql,
    Mariadb,
}

/// One of the accounts that a name has: where it comes from, and how it logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    host: String,
    plugin: String,
}

/// Errors that mean that user or password are not good: wrong, without access, expired, locked.
const REFUSED: [u16; 7] = [1045, 1698, 1862, 1820, 3118, 4151, 1130];

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

    async fn own_session(&self) -> Result<Conn, Failure> {
        self.session(&self.username, &self.password, Some(&self.database)).await?.ok_or_else(|| {
            let Self { username, place, .. } = self;
            Failure::refused(format!(
                "{place} refuses the connection's user {username}: its password is wrong or it may not log in"
            ))
        })
    }

    /// None where the server refuses the user or the password.
    async fn session(
        &self,
        username: &str,
        password: &Secret,
        database: Option<&str>,
    ) -> Result<Option<Conn>, Failure> {
        let resolved = timeout(CONNECT, self.network.resolve(&self.place.host, self.place.port)).await;
        let addresses =
            resolved.unwrap_or_else(|_| Err(self.place.unreachable("its name is not resolved")))?;
        let addresses: Vec<_> = addresses.iter().map(std::net::SocketAddr::ip).collect();
        let tls = self.tls.enabled.then(|| {
            // It is told the authorities in its own way.
            let roots = self.tls.authorities.iter().map(|pem| pem.clone().into_bytes().into()).collect();
            SslOpts::default()
                .with_root_certs(roots)
                .with_disable_built_in_roots(self.tls.authorities.is_some())
                .with_danger_accept_invalid_certs(!self.tls.verify)
                .with_danger_skip_domain_validation(!self.tls.verify)
        });
        let options = OptsBuilder::default()
            .ip_or_hostname(self.place.host.clone())
            .tcp_port(self.place.port)
            .resolved_ips(Some(addresses))
            .prefer_socket(false)
            .user(Some(username))
            .pass(Some(password.expose()))
            .db_name(database)
            .ssl_opts(tls)
            .enable_cleartext_plugin(false)
            .stmt_cache_size(0);
        // The client ends its task where a server asks for a proof that it does not know.
        let mut connecting = tokio::spawn(Conn::new(options));
        match timeout(STEP, &mut connecting).await {
            Ok(Ok(Ok(session))) => Ok(Some(session)),
            Ok(Ok(Err(Error::Server(error)))) if REFUSED.contains(&error.code) => Ok(None),
            Ok(Ok(Err(error))) => Err(self.failure(&error, Effect::Reads)),
            Ok(Err(_)) => Err(Failure::refused(format!(
                "{} wants {username} to log in by a plugin that rota does not know; give it the server's default plugin",
                self.place
            ))),
            Err(_) => {
                connecting.abort();
                Err(self.place.unreachable("it does not answer"))
            }
        }
    }

    async fn run(&self, session: &mut Conn, sql: &str, effect: Effect) -> Result<(), Failure> {
        match timeout(STEP, session.query_drop(sql)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failure(&error, effect)),
            Err(_) => Err(self.place.silent(effect)),
        }
    }

    /// The rows of a query, as texts.
    async fn rows(&self, session: &mut Conn, sql: &str) -> Result<Vec<Vec<String>>, Error> {
        let rows = timeout(STEP, session.query::<mysql_async::Row, _>(sql)).await;
        let rows = rows.unwrap_or_else(|_| Err(IoError::Io(std::io::ErrorKind::TimedOut.into()).into()))?;
        let texts = |row: mysql_async::Row| {
            let text = |value| mysql_async::from_value_opt::<String>(value).unwrap_or_default();
            row.unwrap().into_iter().map(text).collect()
        };
        Ok(rows.into_iter().map(texts).collect())
    }

    async fn grammar(&self, session: &mut Conn) -> Result<Grammar, Failure> {
        let rows = self.rows(session, "SELECT VERSION()").await;
        let rows = rows.map_err(|error| self.failure(&error, Effect::Reads))?;
        let version = rows.first().and_then(|row| row.first()).map(String::as_str).unwrap_or_default();
        Ok(if version.to_lowercase().contains("mariadb") { Grammar::Mariadb } else { Grammar::Mysql })
    }

    /// The accounts of a name. Nothing where the connection may not look.
    async fn accounts(&self, session: &mut Conn, username: &str) -> Result<Option<Vec<Account>>, Failure> {
        let name = Dialect::Mysql.literal(username);
        let sql = format!("SELECT Host, plugin FROM mysql.user WHERE User = {} ORDER BY Host", *name);
        match self.rows(session, &sql).await {
            Ok(rows) => Ok(Some(
                rows.into_iter()
                    .filter_map(|row| <[String; 2]>::try_from(row).ok())
                    .map(|[host, plugin]| Account { host, plugin })
                    .collect(),
            )),
            Err(Error::Server(error)) if [1142, 1143, 1044].contains(&error.code) => Ok(None),
            Err(error) => Err(self.failure(&error, Effect::Reads)),
        }
    }

    /// Only what the code of an error says: its text may quote the statement.
    fn failure(&self, error: &Error, effect: Effect) -> Failure {
        let place = &self.place;
        let code = match error {
            Error::Server(error) => error.code,
            Error::Driver(DriverError::NoClientSslFlagFromServer) => {
                return Failure::refused(format!(
                    "{place} has TLS switched off; switch it on there, or off in the connection"
                ));
            }
            Error::Io(IoError::Tls(error)) => return self.tls_failure(error),
            Error::Io(IoError::Io(error))
                if error
                    .get_ref()
                    .is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) =>
            {
                return tls_failure(place, error);
            }
            Error::Io(IoError::Io(error)) if effect == Effect::Reads => {
                return place.unreachable(reason(error.kind()));
            }
            _ => return place.broken(effect),
        };
        let refused = |why: &str| Failure::refused(format!("{place} refuses: {why} (error {code})"));
        match code {
            1045 | 1698 => refused("the user or its password"),
            1227 | 1142 | 1044 | 1370 => refused(
                "the connection's user lacks a right; changing a password takes CREATE USER, and ending sessions PROCESS \
                 and CONNECTION_ADMIN",
            ),
            1049 => refused("there is no such database"),
            1396 => refused("there is no such user, or only SYSTEM_USER may change it"),
            1819 => refused("its password policy; ask for a stronger one in passwordRequirements"),
            1290 | 1836 => refused("it takes no changes; connect to the primary"),
            1064 => refused("the statement is wrong"),
            // Ended while it was at work.
            1053 | 1317 | 1927 | 3169 if effect == Effect::Writes => {
                Failure::unclear(format!("{place} ended the connection before it answered (error {code})"))
            }
            1040 | 1053 | 1129 | 1203 | 1205 | 1213 | 1226 | 1317 | 1927 | 3169 => {
                Failure::unreachable(format!("{place} is busy (error {code})"))
            }
            _ => refused("the statement failed"),
        }
    }

    fn tls_failure(&self, error: &mysql_async::TlsError) -> Failure {
        match error {
            mysql_async::TlsError::Tls(error) => {
                tls_failure(&self.place, &std::io::Error::new(std::io::ErrorKind::InvalidData, error.clone()))
            }
            _ => Failure::refused("the CA certificate of the connection can't be read: give it in PEM"),
        }
    }
}

/// What MariaDB keeps of a password of its oldest kind.
fn native_hash(password: &str) -> String {
    let once = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let twice = digest(&SHA1_FOR_LEGACY_USE_ONLY, once.as_ref());
    twice.as_ref().iter().fold(String::from("*"), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// The statement that sets the password of all accounts of a name. MySQL keeps passwords out of its logs by itself;
/// MariaDB does not, so it gets the hash where there is one to be made.
fn alter_user(
    grammar: Grammar,
    username: &str,
    accounts: &[Account],
    password: &str,
) -> Result<Zeroizing<String>, Failure> {
    let literal = |text: &str| Dialect::Mysql.literal(text);
    let mut sql = Zeroizing::new(String::with_capacity(16 + accounts.len() * (256 + 2 * password.len())));
    sql.push_str("ALTER USER ");
    for (at, account) in accounts.iter().enumerate() {
        if at > 0 {
            sql.push_str(", ");
        }
        sql.push_str(&literal(username));
        sql.push('@');
        sql.push_str(&literal(&account.host));
        match (grammar, account.plugin.as_str()) {
            (Grammar::Mysql, "" | "caching_sha2_password" | "mysql_native_password" | "sha256_password") => {
                sql.push_str(" IDENTIFIED BY ");
                sql.push_str(&literal(password));
            }
            (Grammar::Mariadb, "" | "mysql_native_password") => {
                sql.push_str(" IDENTIFIED VIA mysql_native_password USING ");
                sql.push_str(&literal(&native_hash(password)));
            }
            (_, plugin) => {
                return Err(Failure::refused(format!(
                    "{username} logs in by {plugin}, by which rota can't try a password; give it the server's default plugin, or \
                     use another user"
                )));
            }
        }
    }
    Ok(sql)
}

impl Mysql {
    pub(crate) fn open(connection: &Connection, parameters: &Parameters, network: &Arc<dyn Network>) -> Self {
        Self {
            server: Server::new(connection, network),
            turns: Turns::new(parameters),
            script: parameters.script().cloned(),
        }
    }

    /// Where the connection may not look, the account is taken to be for every host.
    async fn accounts(&self, session: &mut Conn, username: &str) -> Result<Vec<Account>, Failure> {
        let anywhere = || vec![Account { host: "%".to_owned(), plugin: String::new() }];
        Ok(self.server.accounts(session, username).await?.unwrap_or_else(anywhere))
    }

    async fn set_password(
        &self,
        session: &mut Conn,
        username: &str,
        password: &Secret,
    ) -> Result<(), Failure> {
        // Quoting counts on it.
        self.server.run(session, "SET SESSION sql_mode = ''", Effect::Reads).await?;
        if let Some(script) = &self.script {
            let values = Values {
                username,
                password: password.expose(),
                verifier: None,
                database: &self.server.database,
            };
            let statements = script.render(values).map_err(|error| Failure::refused(error.to_string()))?;
            for (at, statement) in statements.iter().enumerate() {
                let done = self.server.run(session, statement, Effect::Writes).await;
                // What came before stands, whatever this one says.
                done.map_err(|failure| if at == 0 { failure } else { Failure::unclear(failure.text()) })?;
            }
            return Ok(());
        }
        let grammar = self.server.grammar(session).await?;
        let accounts = self.accounts(session, username).await?;
        if accounts.is_empty() {
            return Err(Failure::refused(format!("{} has no user {username}", self.server.place)));
        }
        let sql = alter_user(grammar, username, &accounts, password.expose())?;
        let done = self.server.run(session, &sql, Effect::Writes).await;
        // MariaDB changes those that it can and then says no.
        done.map_err(|failure| if accounts.len() == 1 { failure } else { Failure::unclear(failure.text()) })
    }
}

#[async_trait]
impl Target for Mysql {
    async fn check(&self) -> Result<(), Failure> {
        self.server.check().await
    }

    async fn plan(&self, slot: Slot) -> Result<Plan, Failure> {
        let user = self.turns.user(slot);
        let mut session = self.server.own_session().await?;
        let grammar = self.server.grammar(&mut session).await?;
        let seen = self.server.accounts(&mut session, user).await?;
        if seen.as_ref().is_some_and(Vec::is_empty) {
            return Err(Failure::refused(format!("{} has no user {user}", self.server.place)));
        }
        let may_look = seen.is_some();
        let accounts = match seen {
            Some(accounts) => accounts,
            None => self.accounts(&mut session, user).await?,
        };
        let hosts: Vec<_> = accounts.iter().map(|account| format!("{user}@{}", account.host)).collect();
        if self.script.is_none() {
            alter_user(grammar, user, &accounts, "")?;
        }
        let grants = self.server.rows(&mut session, "SHOW GRANTS FOR CURRENT_USER").await;
        let grants = grants.map_err(|error| self.server.failure(&error, Effect::Reads))?;
        let grants: Vec<_> = grants.into_iter().flatten().map(|grant| grant.to_uppercase()).collect();
        let everywhere = |right: &str| {
            grants.iter().any(|grant| {
                let rights = grant.split_once(" ON *.* TO ").map_or("", |(rights, _)| rights);
                rights.contains("ALL PRIVILEGES") || rights.contains(right)
            })
        };
        let step = match &self.script {
            None => format!("ALTER USER {} with a new password", hosts.join(", ")),
            Some(_) => format!("run the rotation statement for {user} with a new password"),
        };
        Ok(Plan {
            steps: vec![step, format!("log in as {user}")],
            rights: vec![
                Right { name: "CREATE USER".to_owned(), held: Some(everywhere("CREATE USER")) },
                Right {
                    name: "SELECT on mysql.user, to find the accounts' hosts".to_owned(),
                    held: Some(may_look),
                },
                Right {
                    name: "PROCESS and CONNECTION_ADMIN, to end sessions where that is asked for".to_owned(),
                    held: Some(
                        everywhere("PROCESS")
                            && (everywhere("CONNECTION_ADMIN")
                                || everywhere("CONNECTION ADMIN")
                                || everywhere("SUPER")),
                    ),
                },
            ],
        })
    }

    async fn intend(&self, slot: Slot, _: Option<&Credential>, random: [u8; 32]) -> Result<Intent, Failure> {
        Ok(self.turns.intend(slot, &random))
    }

    async fn set(&self, intent: &Intent, _: Option<&Credential>) -> Result<Credential, Failure> {
        let credential = intended(intent)?;
        let mut session = self.server.own_session().await?;
        self.set_password(&mut session, account(credential, "username")?, &credential.secret).await?;
        Ok(copy(credential))
    }

    async fn log_in(&self, credential: &Credential) -> Result<Login, Failure> {
        let username = account(credential, "username")?;
        match self.server.session(username, &credential.secret, None).await? {
            Some(mut session) => {
                self.server.run(&mut session, "SELECT 1", Effect::Reads).await?;
                Ok(Login::Accepted)
            }
            None => Ok(Login::Refused),
        }
    }

    /// The user's own next turn ends its password; until then it is the overlap. Sessions end here.
    async fn retire(&self, old: &Credential, _: &Credential, end_sessions: bool) -> Result<(), Failure> {
        if !end_sessions {
            return Ok(());
        }
        let mut session = self.server.own_session().await?;
        let name = Dialect::Mysql.literal(account(old, "username")?);
        let sql = format!(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = {} AND ID <> CONNECTION_ID()",
            *name
        );
        let rows = self.server.rows(&mut session, &sql).await;
        let rows = rows.map_err(|error| self.server.failure(&error, Effect::Reads))?;
        for id in rows.into_iter().flatten().filter_map(|id| id.parse::<u64>().ok()) {
            match timeout(STEP, session.query_drop(format!("KILL {id}"))).await {
                // It ended by itself.
                Ok(Err(Error::Server(error))) if error.code == 1094 => {}
                Ok(done) => done.map_err(|error| self.server.failure(&error, Effect::Reads))?,
                Err(_) => return Err(self.server.place.silent(Effect::Reads)),
            }
        }
        Ok(())
    }

    async fn revoke(&self, credential: &Credential, random: [u8; 32]) -> Result<(), Failure> {
        let username = account(credential, "username")?;
        let mut session = self.server.own_session().await?;
        if self.server.accounts(&mut session, username).await?.is_some_and(|accounts| accounts.is_empty()) {
            return Ok(());
        }
        self.set_password(&mut session, username, &self.turns.unknown(&random)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(host: &str, plugin: &str) -> Account {
        Account { host: host.to_owned(), plugin: plugin.to_owned() }
    }

    #[test]
    fn each_server_gets_its_own_grammar() {
        let accounts = [account("%", "caching_sha2_password"), account("10.%", "mysql_native_password")];
        assert_eq!(
            *alter_user(Grammar::Mysql, "a'b", &accounts, "p\\'w").unwrap(),
            r"ALTER USER 'a''b'@'%' IDENTIFIED BY 'p\\''w', 'a''b'@'10.%' IDENTIFIED BY 'p\\''w'"
        );
        let accounts = [account("%", "mysql_native_password"), account("h", "")];
        let hash = "IDENTIFIED VIA mysql_native_password USING '*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19'";
        assert_eq!(
            *alter_user(Grammar::Mariadb, "u", &accounts, "password").unwrap(),
            format!("ALTER USER 'u'@'%' {hash}, 'u'@'h' {hash}")
        );
        assert!(alter_user(Grammar::Mariadb, "u", &[account("h", "ed25519")], "p").is_err());
        assert!(alter_user(Grammar::Mariadb, "u", &[account("localhost", "unix_socket")], "p").is_err());
        assert!(alter_user(Grammar::Mysql, "u", &[account("%", "authentication_ldap_simple")], "p").is_err());
    }
}
