//! Oracle Database: two users take turns. The client is Oracle's own, which blocks its thread and has no way to be given
//! a stream: [`door`] stands between. It has never met a database here: `docs/targets.md`.

mod door;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use oracledb::{Config, Connection as Session, ErrorKind};
use rota_aggregates::secret::Secret;
use tokio::time::timeout;
use zeroize::Zeroizing;

use self::door::Door;
use crate::chosen::{Turns, account, copy, copy_secret, intended};
use crate::connection::Connection;
use crate::failure::{Certainty, Failure};
use crate::parameters::Parameters;
use crate::reach::{CONNECT, Effect, Place, STEP, Tls};
use crate::statement::{Dialect, Script, Values};
use crate::target::{Credential, Intent, Login, Network, Plan, Right, Slot, Target};

/// Where the database is, and whom rota is there.
pub(crate) struct Server {
    network: Arc<dyn Network>,
    place: Place,
    tls: Tls,
    service: String,
    username: String,
    password: Secret,
}

/// Two users of a database.
pub(crate) struct Oracle {
    server: Server,
    turns: Turns,
    script: Option<Script>,
}

/// Why there is no session.
enum Stop {
    /// The database refuses the user or the password.
    Login,
    Failed(Failure),
}

/// An error, told apart as far as it matters: its text may quote the statement.
enum Said {
    /// By the database: `ORA-01017` is 1017.
    Number(usize),
    /// By the listener in front of it.
    Listener(usize),
    Silent,
    Broken,
}

impl From<&oracledb::Error> for Said {
    fn from(error: &oracledb::Error) -> Self {
        match error.kind() {
            ErrorKind::DbError(error) => Self::Number(error.code()),
            ErrorKind::InvalidServiceName(..) => Self::Listener(12_514),
            ErrorKind::InvalidSid(..) => Self::Listener(12_505),
            ErrorKind::ListenerRefusedConnection(_, _, _, number) => Self::Listener(*number),
            ErrorKind::UnexpectedRefuse(_) => Self::Listener(0),
            ErrorKind::CallTimeoutExceeded => Self::Silent,
            _ => Self::Broken,
        }
    }
}

/// Wrong, locked, expired, or with a verifier that this database has no more.
const REFUSED: [usize; 5] = [1_017, 1_005, 28_000, 28_001, 28_040];

impl Server {
    pub(crate) fn new(connection: &Connection, network: &Arc<dyn Network>) -> Self {
        Self {
            network: Arc::clone(network),
            place: Place::of(connection),
            tls: Tls::of(connection, "ssl"),
            service: connection.required("database"),
            username: connection.required("username"),
            password: connection.required_secret("password"),
        }
    }

    /// Logs in as rota and asks for nothing.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        self.own(Effect::Reads, |_| Ok(())).await
    }

    /// Does something as the connection's user.
    async fn own<T: Send + 'static>(
        &self,
        effect: Effect,
        work: impl FnOnce(&Session) -> Result<T, oracledb::Error> + Send + 'static,
    ) -> Result<T, Failure> {
        match self.within(&self.username, &self.password, effect, work).await {
            Ok(done) => Ok(done),
            Err(Stop::Failed(failure)) => Err(failure),
            Err(Stop::Login) => Err(Failure::refused(format!(
                "{} refuses the connection's user {}: its password is wrong, or it is locked or expired",
                self.place, self.username
            ))),
        }
    }

    /// What the client is to do. It is told an address of this machine and no name.
    fn config(&self, door: &Door, username: &str, password: &Secret) -> Result<Config, Failure> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'$' | b'#');
        if self.service.is_empty() || !self.service.bytes().all(plain) {
            return Err(Failure::refused(
                "the database of the connection is no name of a service: letters, digits, . _ - $ and #",
            ));
        }
        let descriptor = format!(
            "(DESCRIPTION=(RETRY_DELAY=0)(ADDRESS=(PROTOCOL=tcp)(HOST=127.0.0.1)(PORT={}))(CONNECT_DATA=(SERVICE_NAME={})\
             (CONNECTION_ID_PREFIX={})))",
            door.port, self.service, door.word
        );
        let config = || {
            let config = Config::default().set_connect_string(&descriptor)?;
            let config = config.set_program("rota")?.set_machine("rota")?.set_osuser("rota")?;
            Ok::<_, oracledb::Error>(config.set_transport_connect_timeout(Some(CONNECT)).set_stmtcachesize(0))
        };
        let config =
            config().map_err(|_| Failure::refused("the connection can't be described to its client"))?;
        Ok(config.set_credentials(username, password.expose()))
    }

    /// Logs in as somebody and does something there.
    async fn within<T: Send + 'static>(
        &self,
        username: &str,
        password: &Secret,
        effect: Effect,
        work: impl FnOnce(&Session) -> Result<T, oracledb::Error> + Send + 'static,
    ) -> Result<T, Stop> {
        let door = Door::open(self.place.clone(), self.tls.clone(), Arc::clone(&self.network));
        let door = door.await.map_err(Stop::Failed)?;
        let config = self.config(&door, username, password).map_err(Stop::Failed)?;
        let is_in = Arc::new(AtomicBool::new(false));
        let enters = Arc::clone(&is_in);
        let worker = tokio::task::spawn_blocking(move || {
            let session = oracledb::connect(config).map_err(|error| Said::from(&error))?;
            enters.store(true, Ordering::SeqCst);
            let done = session.set_call_timeout(Some(STEP)).and_then(|()| work(&session));
            done.map_err(|error| Said::from(&error))
        });
        let done = timeout(CONNECT + CONNECT + STEP, worker).await;
        // Whoever is still at work in there finds the door shut.
        let found = door.failure();
        drop(door);
        let is_in = is_in.load(Ordering::SeqCst);
        let said = match done {
            Ok(Ok(Ok(done))) => return Ok(done),
            Ok(Ok(Err(Said::Number(number)))) if !is_in && REFUSED.contains(&number) => {
                return Err(Stop::Login);
            }
            Ok(Ok(Err(said))) => said,
            // It ends its thread over an answer that it does not expect.
            Ok(Err(_)) => Said::Broken,
            Err(_) => Said::Silent,
        };
        let effect = if is_in { effect } else { Effect::Reads };
        Err(Stop::Failed(found.filter(|_| !is_in).unwrap_or_else(|| self.failure(&said, effect))))
    }

    fn failure(&self, said: &Said, effect: Effect) -> Failure {
        let place = &self.place;
        let number = match said {
            Said::Number(number) => *number,
            Said::Listener(12_514 | 12_505) => {
                return Failure::refused(format!(
                    "the listener at {place} knows no service {}; the database of the connection is the name of one",
                    self.service
                ));
            }
            Said::Listener(number @ (12_516 | 12_518 | 12_519 | 12_520 | 12_526 | 12_527 | 12_528)) => {
                return Failure::unreachable(format!("the listener at {place} is busy (ORA-{number})"));
            }
            Said::Listener(number) => {
                return Failure::refused(format!(
                    "the listener at {place} refuses the connection (ORA-{number:05})"
                ));
            }
            Said::Silent => return place.silent(effect),
            Said::Broken => return place.broken(effect),
        };
        let refused = |why: &str| Failure::refused(format!("{place} refuses: {why} (ORA-{number:05})"));
        match number {
            1_031 => refused(
                "the connection's user lacks a right; changing a password takes ALTER USER, ending sessions ALTER SYSTEM and \
                 SELECT on GV_$SESSION",
            ),
            1_045 => refused("the user lacks CREATE SESSION"),
            1_918 => refused("there is no such user"),
            942 => refused(
                "a table or view of the statement is not there, or the connection's user may not see it",
            ),
            988 | 28_003 | 28_007 => refused(
                "its password policy; ask for another one in passwordRequirements, or change the profile",
            ),
            900..=987 | 989..=999 | 1_756 => refused("the statement is wrong"),
            16_000 => refused("it is open for reading alone; connect to the primary"),
            n if REFUSED.contains(&n) => refused("the user or its password"),
            // It went away while it was at work.
            28 | 603 | 1_012 | 1_013 | 1_089 | 1_092 | 3_113 | 3_114 | 3_135 if effect == Effect::Writes => {
                Failure::unclear(format!("{place} ended the session before it answered (ORA-{number:05})"))
            }
            18 | 20 | 28 | 54 | 60 | 603 | 1_012 | 1_013 | 1_033 | 1_034 | 1_089 | 1_090 | 1_092 | 3_113
            | 3_114 | 3_135 | 4_021 | 4_031 => {
                Failure::unreachable(format!("{place} is busy (ORA-{number:05})"))
            }
            _ => refused("the statement failed"),
        }
    }
}

/// As the database reads a name that has its case from here.
fn quoted(username: &str) -> Result<String, Failure> {
    let quoted = Dialect::Oracle.identifier(username);
    quoted.ok_or_else(|| Failure::refused("the name of the user can't be quoted"))
}

fn alter_user(username: &str, password: &Secret) -> Result<Zeroizing<String>, Failure> {
    let name = quoted(username)?;
    let password = Dialect::Oracle.identifier(password.expose()).map(Zeroizing::new);
    let password = password.ok_or_else(|| Failure::refused("the password can't be quoted"))?;
    // Of its final size from the start: growing would leave a copy behind.
    let mut statement = Zeroizing::new(String::with_capacity(name.len() + password.len() + 32));
    for part in ["ALTER USER ", &name, " IDENTIFIED BY ", &password] {
        statement.push_str(part);
    }
    Ok(statement)
}

impl Oracle {
    pub(crate) fn open(connection: &Connection, parameters: &Parameters, network: &Arc<dyn Network>) -> Self {
        Self {
            server: Server::new(connection, network),
            turns: Turns::new(parameters),
            script: parameters.script().cloned(),
        }
    }

    fn statements(&self, username: &str, password: &Secret) -> Result<Vec<Zeroizing<String>>, Failure> {
        let Some(script) = &self.script else { return Ok(vec![alter_user(username, password)?]) };
        let database = &self.server.service;
        let values = Values { username, password: password.expose(), verifier: None, database };
        script.render(values).map_err(|error| Failure::refused(error.to_string()))
    }

    async fn set_password(&self, username: &str, password: &Secret) -> Result<(), Failure> {
        let statements = self.statements(username, password)?;
        let stands = Arc::new(AtomicBool::new(false));
        let stood = Arc::clone(&stands);
        let done = self.server.own(Effect::Writes, move |session| {
            for statement in &statements {
                session.execute(statement, &[])?;
                stood.store(true, Ordering::SeqCst);
            }
            session.commit()
        });
        done.await.map_err(|failure| {
            // What came before stands, whatever the last one says.
            let unclear = failure.certainty == Certainty::Unclear || stands.load(Ordering::SeqCst);
            if unclear { Failure::unclear(failure.text()) } else { failure }
        })
    }

    async fn is_there(&self, username: &str) -> Result<bool, Failure> {
        let name = username.to_owned();
        let count = self.server.own(Effect::Reads, move |session| {
            session.query_row("SELECT COUNT(*) FROM all_users WHERE username = :1", &[&name])?.get::<i64>(0)
        });
        Ok(count.await? > 0)
    }
}

#[async_trait]
impl Target for Oracle {
    async fn check(&self) -> Result<(), Failure> {
        self.server.check().await
    }

    async fn plan(&self, slot: Slot) -> Result<Plan, Failure> {
        let user = self.turns.user(slot);
        if !self.is_there(user).await? {
            return Err(Failure::refused(format!(
                "{} has no user {user}; mind the case: names that were made without quotes are in capitals",
                self.server.place
            )));
        }
        let held = self.server.own(Effect::Reads, |session| {
            let sql = "SELECT COUNT(*) FROM session_privs WHERE privilege = :1";
            let holds = |right: &str| session.query_row(sql, &[&right])?.get::<i64>(0).map(|count| count > 0);
            Ok([holds("ALTER USER")?, holds("ALTER SYSTEM")?])
        });
        let [alter, end] = held.await?;
        let step = match &self.script {
            None => format!("ALTER USER {user} with a new password"),
            Some(_) => format!("run the rotation statement for {user} with a new password"),
        };
        Ok(Plan {
            steps: vec![step, format!("log in to the service {} as {user}", self.server.service)],
            rights: vec![
                Right { name: "ALTER USER".to_owned(), held: Some(alter) },
                Right {
                    name: "ALTER SYSTEM, to end sessions where that is asked for".to_owned(),
                    held: Some(end),
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
        let username = quoted(account(credential, "username")?)?;
        let password = copy_secret(&credential.secret);
        match self.server.within(&username, &password, Effect::Reads, |_| Ok(())).await {
            Ok(()) => Ok(Login::Accepted),
            Err(Stop::Login) => Ok(Login::Refused),
            Err(Stop::Failed(failure)) => Err(failure),
        }
    }

    /// The user's own next turn ends its password; until then it is the overlap. Sessions end here.
    async fn retire(&self, old: &Credential, _: &Credential, end_sessions: bool) -> Result<(), Failure> {
        if !end_sessions {
            return Ok(());
        }
        let username = account(old, "username")?.to_owned();
        let ended = self.server.own(Effect::Reads, move |session| {
            let sql = "SELECT sid, serial#, inst_id FROM gv$session WHERE username = :1";
            let mut open = Vec::new();
            for row in session.query(sql, &[&username])? {
                let row = row?;
                open.push([row.get::<i64>(0)?, row.get::<i64>(1)?, row.get::<i64>(2)?]);
            }
            for [id, serial, instance] in open {
                let sql = format!("ALTER SYSTEM KILL SESSION '{id},{serial},@{instance}' IMMEDIATE");
                match session.execute(&sql, &[]) {
                    // It has ended by itself meanwhile, or is about to.
                    Err(error) if matches!(Said::from(&error), Said::Number(30 | 31)) => {}
                    done => drop(done?),
                }
            }
            Ok(())
        });
        ended.await
    }

    async fn revoke(&self, credential: &Credential, random: [u8; 32]) -> Result<(), Failure> {
        let username = account(credential, "username")?;
        if !self.is_there(username).await? {
            return Ok(());
        }
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
            alter_user(name, &Secret::new(password.to_owned())).map(|statement| statement.to_string())
        };
        assert_eq!(statement("APP", "pw").unwrap(), "ALTER USER \"APP\" IDENTIFIED BY \"pw\"");
        assert_eq!(
            statement("a'; DROP USER b; --", "x' ; --").unwrap(),
            "ALTER USER \"a'; DROP USER b; --\" IDENTIFIED BY \"x' ; --\""
        );
        // There is no way to write a quote.
        assert!(statement("a\"b", "pw").is_err());
        assert!(statement("a", "p\"w").is_err());
        assert!(statement("a\0", "pw").is_err());
    }
}
