//! The kinds of targets that have a real server, each with a way to it that stops where it is told to.

use std::process::Output;
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};

use testbed::active_directory::{ActiveDirectory, DOMAIN};
use testbed::mariadb::Mariadb;
use testbed::mongodb::Mongodb;
use testbed::openldap::{BASE, Openldap};
use testbed::postgres::Postgres;
use testbed::process::is_root;
use testbed::redis::{Kept, Redis};
use testbed::ssh::Ssh;
use testbed::{Proxy, Server};

type LogIn = Arc<dyn Fn(&str, &str) -> Output + Send + Sync>;

/// What rota is to rotate at a server, and who else is there.
pub struct Stand {
    /// What rotation and connection are called.
    pub name: &'static str,
    pub kind: &'static str,
    pub app: &'static str,
    pub method: &'static str,
    /// How rota gets there: over [`Stand::way`].
    pub credentials: Value,
    pub parameters: Value,
    /// The password that an account has which changes its own.
    pub temporary: Option<Value>,
    /// The field that is no secret.
    pub user: &'static str,
    /// Whether the credential before stays valid.
    pub overlap: bool,
    pub way: Proxy,
    /// The system's own client, past the way.
    log_in: LogIn,
    /// Somebody whom nobody asked rota to change.
    bystander: (String, String),
    /// What there is beside what rota was asked to rotate.
    foreign: Arc<dyn Fn(&str) -> String + Send + Sync>,
}

impl Stand {
    pub fn lets_in(&self, user: &str, password: &str) -> bool {
        (self.log_in)(user, password).status.success()
    }

    pub fn lets_bystanders_in(&self) -> bool {
        self.lets_in(&self.bystander.0, &self.bystander.1)
    }

    /// Everything there that is none of this user's.
    pub fn foreign(&self, user: &str) -> String {
        (self.foreign)(user)
    }

    /// All that this machine can have and that start soon. What can't be fetched or takes root is left out, and said so.
    pub fn soon() -> Vec<Arc<Self>> {
        start(&[redis, mariadb, mongodb, postgres, directory, machine])
    }

    /// The two besides that take their time: MySQL and Active Directory, which are spoken to as MariaDB and OpenLDAP are.
    pub fn late() -> Vec<Arc<Self>> {
        start(&[mysql, active_directory])
    }
}

fn start(starts: &[fn() -> Vec<Stand>]) -> Vec<Arc<Stand>> {
    let started: Vec<_> = starts.iter().copied().map(thread::spawn).collect();
    started.into_iter().flat_map(|stands| stands.join().unwrap()).map(Arc::new).collect()
}

/// What is said of a server with TLS that is a database.
fn database(server: &Server, port: u16, password: &str, tls: &str) -> Value {
    let mut credentials = json!({
        "host": "localhost", "port": port, "database": "appdb", "username": "rota_admin", "password": password,
    });
    for (name, value) in [
        ("Enabled", json!(true)),
        ("RejectUnauthorized", json!(true)),
        ("Certificate", json!(server.authority())),
    ] {
        credentials[format!("{tls}{name}")] = value;
    }
    credentials
}

/// A stand of two users that take turns, at a database.
fn taking_turns(name: &'static str, way: Proxy, credentials: Value, password: &str, log_in: LogIn) -> Stand {
    let kind = match name {
        "mariadb" | "mysql" => "mysql-credentials",
        "postgres" => "postgres-credentials",
        _ => "mongodb-credentials",
    };
    Stand {
        name,
        kind,
        app: kind.trim_end_matches("-credentials"),
        method: "username-and-password",
        credentials,
        parameters: json!({ "username1": "app_a", "username2": "app_b" }),
        temporary: None,
        user: "username",
        overlap: true,
        way,
        log_in,
        bystander: ("outsider".to_owned(), password.to_owned()),
        foreign: Arc::new(|_| String::new()),
    }
}

fn without<'a>(lines: &'a str, has: impl Fn(&&'a str) -> bool) -> String {
    lines.lines().filter(|line| !has(line)).collect::<Vec<_>>().join("\n")
}

fn redis() -> Vec<Stand> {
    let bed = Arc::new(Redis::start(Kept::AclFile));
    let way = Proxy::start(bed.tls_port);
    let (asked, listed) = (Arc::clone(&bed), Arc::clone(&bed));
    vec![Stand {
        name: "redis",
        kind: "redis-credentials",
        app: "redis",
        method: "username-and-password",
        credentials: database(&bed.server, way.port, &bed.admin_password, "ssl"),
        parameters: json!({ "permissionScope": "~app:* +@all -@dangerous" }),
        temporary: None,
        user: "username",
        overlap: true,
        way,
        log_in: Arc::new(move |user, password| asked.cli(user, password, &["PING"])),
        bystander: ("outsider".to_owned(), bed.admin_password.clone()),
        foreign: Arc::new(move |user| without(&listed.admin(&["ACL", "LIST"]), |line| line.contains(user))),
    }]
}

fn mariadb() -> Vec<Stand> {
    vec![of_mysql("mariadb", Mariadb::start())]
}

fn mysql() -> Vec<Stand> {
    Mariadb::start_mysql().map(|bed| of_mysql("mysql", bed)).into_iter().collect()
}

fn of_mysql(name: &'static str, bed: Mariadb) -> Stand {
    let bed = Arc::new(bed);
    let way = Proxy::start(bed.server.port);
    let credentials = database(&bed.server, way.port, &bed.admin_password, "ssl");
    let asked = Arc::clone(&bed);
    let log_in = Arc::new(move |user: &str, password: &str| asked.client(user, password));
    let users = "SELECT user, host, plugin, authentication_string FROM mysql.user WHERE user NOT LIKE 'app%'";
    let stand = taking_turns(name, way, credentials, &bed.admin_password, log_in);
    Stand { foreign: Arc::new(move |_| bed.admin(users)), ..stand }
}

fn mongodb() -> Vec<Stand> {
    let Some(bed) = Mongodb::start() else { return Vec::new() };
    let (way, bed) = (Proxy::start(bed.server.port), Arc::new(bed));
    let credentials = database(&bed.server, way.port, &bed.admin_password, "tls");
    let asked = Arc::clone(&bed);
    let log_in = Arc::new(move |user: &str, password: &str| {
        asked.log_in(user, password, if user == "outsider" { "admin" } else { "appdb" })
    });
    vec![taking_turns("mongodb", way, credentials, &bed.admin_password, log_in)]
}

fn postgres() -> Vec<Stand> {
    let bed = Arc::new(Postgres::start());
    let way = Proxy::start(bed.server.port);
    let credentials = database(&bed.server, way.port, &bed.admin_password, "ssl");
    let asked = Arc::clone(&bed);
    let log_in = Arc::new(move |user: &str, password: &str| asked.psql(user, password));
    let roles = "SELECT * FROM pg_authid WHERE rolname NOT LIKE 'app%' ORDER BY rolname";
    let stand = taking_turns("postgres", way, credentials, &bed.admin_password, log_in);
    vec![Stand { foreign: Arc::new(move |_| bed.admin(roles)), ..stand }]
}

/// An account whose password is dead as soon as another one is set.
struct Account {
    name: &'static str,
    /// What it is in the parameters: `dn`, `username`.
    user: &'static str,
    parameters: Value,
    /// Its first password, if it changes its own.
    first: Option<String>,
    way: Proxy,
    credentials: Value,
    log_in: LogIn,
    bystander: (String, String),
}

impl Account {
    fn stand(self) -> Stand {
        let ssh = self.user == "username";
        Stand {
            name: self.name,
            kind: if ssh { "unix-linux-local-account" } else { "ldap-password" },
            app: if ssh { "ssh" } else { "ldap" },
            method: if ssh { "ssh-key" } else { "simple-bind" },
            credentials: self.credentials,
            parameters: self.parameters,
            temporary: self.first.map(|password| json!({ "password": password })),
            user: self.user,
            overlap: false,
            way: self.way,
            log_in: self.log_in,
            bystander: self.bystander,
            foreign: Arc::new(|_| String::new()),
        }
    }
}

fn directory() -> Vec<Stand> {
    let bed = Arc::new(Openldap::start());
    let dn = |user: &str| format!("uid={user},ou=people,{BASE}");
    let stand = |name, scheme: &str, port, user, method, first| {
        let (way, asked) = (Proxy::start(port), Arc::clone(&bed));
        let credentials = json!({
            "provider": "openldap", "url": format!("{scheme}://localhost:{}", way.port),
            "dn": format!("cn=rota_admin,{BASE}"), "password": bed.admin_password,
            "sslRejectUnauthorized": true, "sslCertificate": bed.server.authority(),
        });
        let parameters = json!({ "dn": dn(user), "rotationMethod": method });
        let bystander = (dn("outsider"), bed.app_password.clone());
        let log_in = Arc::new(move |dn: &str, password: &str| asked.whoami(dn, password));
        Account { name, user: "dn", parameters, first, way, credentials, log_in, bystander }.stand()
    };
    vec![
        stand("openldap", "ldaps", bed.tls_port, "app_a", "connection-principal", None),
        stand(
            "openldap-own",
            "ldap",
            bed.server.port,
            "app_b",
            "target-principal",
            Some(bed.app_password.clone()),
        ),
    ]
}

fn active_directory() -> Vec<Stand> {
    if !is_root() {
        eprintln!("SKIPPED: only root can make a domain controller");
        return Vec::new();
    }
    let bed = Arc::new(ActiveDirectory::start());
    let stand = |name, scheme: &str, at, user: &str, method, first| {
        let (way, asked) = (Proxy::to(at), Arc::clone(&bed));
        let credentials = json!({
            "provider": "active-directory", "url": format!("{scheme}://localhost:{}", way.port),
            "dn": format!("rota_admin@{DOMAIN}"), "password": bed.admin_password,
            "sslRejectUnauthorized": true, "sslCertificate": bed.server.authority(),
        });
        let parameters = json!({ "dn": bed.dn(user), "rotationMethod": method });
        let bystander = (bed.dn("outsider"), bed.app_password.clone());
        let log_in = Arc::new(move |dn: &str, password: &str| asked.client(dn, password));
        Account { name, user: "dn", parameters, first, way, credentials, log_in, bystander }.stand()
    };
    let own = Some(bed.app_password.clone());
    vec![
        stand("active-directory", "ldaps", bed.secure(), "twenty_a", "connection-principal", None),
        stand("active-directory-own", "ldap", bed.plain(), "twenty_b", "target-principal", own),
    ]
}

fn machine() -> Vec<Stand> {
    if !is_root() {
        eprintln!("SKIPPED: only root can make a machine with accounts of its own");
        return Vec::new();
    }
    let bed = Arc::new(Ssh::start());
    let stand = |name, user: &str, method, first| {
        let (way, asked, shadow) = (Proxy::start(bed.server.port), Arc::clone(&bed), Arc::clone(&bed));
        let credentials = json!({
            "host": "127.0.0.1", "port": way.port, "username": "rota_admin", "authMethod": "ssh-key",
            "privateKey": bed.admin_key, "hostKey": bed.host_key,
        });
        let parameters =
            json!({ "username": user, "rotationMethod": method, "useSudo": method == "login-as-root" });
        let bystander = ("outsider".to_owned(), bed.admin_password.clone());
        let log_in = Arc::new(move |user: &str, password: &str| asked.client(user, password));
        let stand =
            Account { name, user: "username", parameters, first, way, credentials, log_in, bystander };
        let foreign = Arc::new(move |_: &str| {
            let shadow = std::fs::read_to_string(shadow.server.path("etc/shadow")).unwrap();
            without(&shadow, |line| line.starts_with("app_"))
        });
        Stand { foreign, ..stand.stand() }
    };
    vec![
        stand("ssh", "app_a", "login-as-root", None),
        stand("ssh-own", "app_b", "login-as-target", Some(bed.app_password.clone())),
    ]
}
