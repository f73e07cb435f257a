//! MongoDB: two users take turns. A user lives in the database that it authenticates against, which is the connection's.

mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use bson::{Bson, Document, doc};
use rota_aggregates::secret::Secret;
use tokio::time::timeout;

use self::wire::{Broken, Refused, Wire, is_true};
use crate::chosen::{Turns, account, copy, intended};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::parameters::Parameters;
use crate::reach::{Effect, Place, STEP, Tls, reason};
use crate::target::{Credential, Intent, Login, Network, Plan, Right, Slot, Target};

/// Where the server is, and whom rota is there.
pub(crate) struct Server {
    network: Arc<dyn Network>,
    place: Place,
    /// By name in DNS alone.
    srv: bool,
    tls: Tls,
    database: String,
    username: String,
    password: Secret,
}

/// Two users of a server.
pub(crate) struct Mongodb {
    server: Server,
    turns: Turns,
}

const UNKNOWN_USER: i32 = 11;
const NOT_ALLOWED: i32 = 13;
const BAD_LOGIN: i32 = 18;
/// Not the primary, or on the way down.
const PASSING: [i32; 8] = [89, 91, 189, 10_058, 10_107, 11_600, 11_602, 13_435];

impl Server {
    pub(crate) fn new(connection: &Connection, network: &Arc<dyn Network>) -> Self {
        let host = connection.required("host");
        let bare =
            host.strip_prefix("mongodb+srv://").or_else(|| host.strip_prefix("mongodb://")).unwrap_or(&host);
        let port = connection.port();
        Self {
            network: Arc::clone(network),
            srv: host.starts_with("mongodb+srv://") || port == 0,
            place: Place::new(bare, port),
            tls: Tls::of(connection, "tls"),
            database: connection.required("database"),
            username: connection.required("username"),
            password: connection.required_secret("password"),
        }
    }

    /// Logs in as rota and asks for nothing.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        self.own_session().await.map(drop)
    }

    /// A session of rota's own. Administrators often live in `admin`, whatever database the others are of.
    async fn own_session(&self) -> Result<Wire, Failure> {
        for database in [self.database.as_str(), "admin"] {
            let mut wire = self.open().await?;
            if self.log_in(&mut wire, database, &self.username, &self.password).await? == Login::Accepted {
                return Ok(wire);
            }
        }
        let Self { username, place, database, .. } = self;
        Err(Failure::refused(format!(
            "{place} refuses the connection's user {username} in the databases {database} and admin"
        )))
    }

    /// A connection to the member that takes changes.
    async fn open(&self) -> Result<Wire, Failure> {
        if self.srv {
            return Err(Failure::refused(
                "names of replica sets in DNS (mongodb+srv, or no port) are not resolved; give the host and port of one member",
            ));
        }
        let (mut wire, hello) = self.greet(&self.place).await?;
        if is_true(&hello, "isWritablePrimary") {
            return Ok(wire);
        }
        let primary = hello.get_str("primary").ok().and_then(|text| text.rsplit_once(':'));
        let primary = primary.and_then(|(host, port)| Some(Place::new(host, port.parse().ok()?)));
        let Some(primary) = primary else {
            return Err(Failure::unreachable(format!("the replica set of {} has no primary", self.place)));
        };
        let hello;
        (wire, hello) = self.greet(&primary).await?;
        if is_true(&hello, "isWritablePrimary") {
            return Ok(wire);
        }
        Err(Failure::unreachable(format!("{primary} is not the primary any more")))
    }

    async fn greet(&self, place: &Place) -> Result<(Wire, Document), Failure> {
        let stream = place.dial(&*self.network).await?;
        let mut wire = Wire::new(self.tls.wrap(place, stream).await?);
        let hello = self.ask(&mut wire, "admin", doc! { "hello": 1 }, Effect::Reads).await?;
        let hello = hello
            .map_err(|_| Failure::refused(format!("{place} is too old; rota needs MongoDB 4.4 or later")))?;
        Ok((wire, hello))
    }

    async fn log_in(
        &self,
        wire: &mut Wire,
        database: &str,
        username: &str,
        password: &Secret,
    ) -> Result<Login, Failure> {
        let answer = timeout(STEP, wire.log_in(database, username, password.expose())).await;
        let answer = answer.map_err(|_| self.place.silent(Effect::Reads))?;
        match answer.map_err(|broken| self.broken(broken, Effect::Reads))? {
            Ok(()) => Ok(Login::Accepted),
            Err(Refused(BAD_LOGIN | UNKNOWN_USER)) => Ok(Login::Refused),
            Err(refused) => Err(self.failure(refused, Effect::Reads)),
        }
    }

    async fn run(
        &self,
        wire: &mut Wire,
        database: &str,
        command: Document,
        effect: Effect,
    ) -> Result<Document, Failure> {
        self.ask(wire, database, command, effect).await?.map_err(|refused| self.failure(refused, effect))
    }

    async fn ask(
        &self,
        wire: &mut Wire,
        database: &str,
        command: Document,
        effect: Effect,
    ) -> Result<Result<Document, Refused>, Failure> {
        let answer =
            timeout(STEP, wire.run(database, command)).await.map_err(|_| self.place.silent(effect))?;
        answer.map_err(|broken| self.broken(broken, effect))
    }

    fn broken(&self, Broken(kind): Broken, effect: Effect) -> Failure {
        match effect {
            Effect::Reads => self.place.unreachable(reason(kind)),
            Effect::Writes => self.place.broken(effect),
        }
    }

    /// Only what the code of an error says: its text may quote the command.
    fn failure(&self, Refused(code): Refused, effect: Effect) -> Failure {
        let place = &self.place;
        let refused = |why: &str| Failure::refused(format!("{place} refuses: {why} (code {code})"));
        match code {
            UNKNOWN_USER => refused("there is no such user in the connection's database"),
            NOT_ALLOWED => refused(
                "the connection's user lacks a right; changing a password takes changePassword (userAdmin) on the database \
                 of the user, and ending sessions killAnySession",
            ),
            BAD_LOGIN => refused("the user or its password"),
            _ if PASSING.contains(&code) => match effect {
                Effect::Reads => {
                    Failure::unreachable(format!("{place} is no primary at the moment (code {code})"))
                }
                Effect::Writes => Failure::unclear(format!(
                    "{place} stopped being the primary before it answered (code {code})"
                )),
            },
            _ => refused("the command failed"),
        }
    }

    async fn find(&self, wire: &mut Wire, username: &str) -> Result<bool, Failure> {
        let command = doc! { "usersInfo": { "user": username, "db": &self.database } };
        let answer = self.run(wire, &self.database, command, Effect::Reads).await?;
        Ok(answer.get_array("users").is_ok_and(|users| !users.is_empty()))
    }

    async fn set_password(&self, wire: &mut Wire, username: &str, password: &Secret) -> Result<(), Failure> {
        let command = doc! {
            "updateUser": username, "pwd": password.expose(),
            "writeConcern": { "w": "majority", "wtimeout": 10_000 },
        };
        let answer = self.run(wire, &self.database, command, Effect::Writes).await?;
        if answer.contains_key("writeConcernError") {
            return Err(Failure::unclear(format!(
                "{} has not got it to most of its replica set yet",
                self.place
            )));
        }
        Ok(())
    }

    /// Whether rota may do this in the database of the users.
    async fn may(&self, wire: &mut Wire) -> Result<[bool; 2], Failure> {
        let command = doc! { "connectionStatus": 1, "showPrivileges": true };
        let answer = self.run(wire, "admin", command, Effect::Reads).await?;
        let privileges =
            answer.get_document("authInfo").and_then(|info| info.get_array("authenticatedUserPrivileges"));
        let mut may = [false; 2];
        for privilege in privileges.into_iter().flatten().filter_map(Bson::as_document) {
            let Ok(resource) = privilege.get_document("resource") else { continue };
            let anything = is_true(resource, "anyResource");
            let here = resource.get_str("db").is_ok_and(|db| db.is_empty() || db == self.database);
            let has = |name: &str| {
                privilege.get_array("actions").is_ok_and(|all| all.iter().any(|a| a.as_str() == Some(name)))
            };
            may[0] |= (anything || here) && (has("changePassword") || has("anyAction"));
            may[1] |=
                (anything || is_true(resource, "cluster")) && (has("killAnySession") || has("anyAction"));
        }
        Ok(may)
    }
}

impl Mongodb {
    pub(crate) fn open(connection: &Connection, parameters: &Parameters, network: &Arc<dyn Network>) -> Self {
        Self { server: Server::new(connection, network), turns: Turns::new(parameters) }
    }
}

#[async_trait]
impl Target for Mongodb {
    async fn check(&self) -> Result<(), Failure> {
        self.server.check().await
    }

    async fn plan(&self, slot: Slot) -> Result<Plan, Failure> {
        let (user, server) = (self.turns.user(slot), &self.server);
        let mut wire = server.own_session().await?;
        let [change, kill] = server.may(&mut wire).await?;
        match server.find(&mut wire, user).await {
            Ok(true) => {}
            Ok(false) => {
                return Err(Failure::refused(format!(
                    "{} has no user {user} in {}",
                    server.place, server.database
                )));
            }
            // Who may not look may still be allowed to change.
            Err(failure) if !failure.may_pass => {}
            Err(failure) => return Err(failure),
        }
        Ok(Plan {
            steps: vec![
                format!("updateUser {user} in {} with a new password", server.database),
                format!("log in as {user}"),
            ],
            rights: vec![
                Right { name: format!("changePassword in {}", server.database), held: Some(change) },
                Right {
                    name: "killAnySession, to end sessions where that is asked for".to_owned(),
                    held: Some(kill),
                },
            ],
        })
    }

    async fn intend(&self, slot: Slot, _: Option<&Credential>, random: [u8; 32]) -> Result<Intent, Failure> {
        Ok(self.turns.intend(slot, &random))
    }

    async fn set(&self, intent: &Intent, _: Option<&Credential>) -> Result<Credential, Failure> {
        let credential = intended(intent)?;
        let mut wire = self.server.own_session().await?;
        self.server.set_password(&mut wire, account(credential, "username")?, &credential.secret).await?;
        Ok(copy(credential))
    }

    async fn log_in(&self, credential: &Credential) -> Result<Login, Failure> {
        let mut wire = self.server.open().await?;
        let username = account(credential, "username")?;
        self.server.log_in(&mut wire, &self.server.database, username, &credential.secret).await
    }

    /// The user's own next turn ends its password; until then it is the overlap. Sessions end here.
    async fn retire(&self, old: &Credential, _: &Credential, end_sessions: bool) -> Result<(), Failure> {
        if !end_sessions {
            return Ok(());
        }
        let mut wire = self.server.own_session().await?;
        let command = doc! {
            "killAllSessions": [{ "user": account(old, "username")?, "db": &self.server.database }],
        };
        self.server.run(&mut wire, "admin", command, Effect::Reads).await.map(drop)
    }

    async fn revoke(&self, credential: &Credential, random: [u8; 32]) -> Result<(), Failure> {
        let username = account(credential, "username")?;
        let mut wire = self.server.own_session().await?;
        let password = self.turns.unknown(&random);
        let command = doc! {
            "updateUser": username, "pwd": password.expose(),
            "writeConcern": { "w": "majority", "wtimeout": 10_000 },
        };
        match self.server.ask(&mut wire, &self.server.database, command, Effect::Writes).await? {
            // There is nobody to log in as.
            Ok(_) | Err(Refused(UNKNOWN_USER)) => Ok(()),
            Err(refused) => Err(self.server.failure(refused, Effect::Writes)),
        }
    }
}
