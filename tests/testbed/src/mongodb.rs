//! MongoDB, which takes TLS only.

use std::path::PathBuf;
use std::process::{Command, Output};

use super::process::{Folder, Server, Signal, as_user, listens, output, run};
use super::{certificates, random_word};

/// A server with the users `rota_admin` of `admin`, who may manage users, `outsider` of `admin`, who may read, and
/// `app_a` and `app_b` of `appdb`.
#[derive(Debug)]
pub struct Mongodb {
    /// The server.
    pub server: Server,
    /// Of `rota_admin` and `outsider`.
    pub admin_password: String,
    /// The first password of `app_a` and `app_b`.
    pub app_password: String,
    packages: PathBuf,
}

/// Another's client, run as `python - PORT CA USER PASSWORD DATABASE`.
const LOG_IN: &str = "
import sys
from pymongo import MongoClient
port, ca, user, password, database = sys.argv[1:]
c = MongoClient('localhost', int(port), tls=True, tlsCAFile=ca, username=user, password=password,
                authSource=database, serverSelectionTimeoutMS=20000)
print(c.admin.command('connectionStatus')['authInfo']['authenticatedUsers'][0]['user'])
";

const MAKE_USERS: &str = "
import sys
from pymongo import MongoClient
port, ca, admin, app = sys.argv[1:]
k = dict(host='localhost', port=int(port), tls=True, tlsCAFile=ca, serverSelectionTimeoutMS=60000)
MongoClient(**k).admin.command('createUser', 'rota_admin', pwd=admin, roles=['userAdminAnyDatabase', 'clusterAdmin'])
c = MongoClient(username='rota_admin', password=admin, **k)
c.admin.command('createUser', 'outsider', pwd=admin, roles=[{'role': 'read', 'db': 'appdb'}])
for user in 'app_a', 'app_b':
    c.appdb.command('createUser', user, pwd=app, roles=['readWrite'])
";

const MAKE_MORE: &str = "
import sys
from pymongo import MongoClient
port, ca, admin, *names = sys.argv[1:]
c = MongoClient('localhost', int(port), tls=True, tlsCAFile=ca, username='rota_admin', password=admin)
for user in names:
    c.appdb.command('createUser', user, pwd='x', roles=['readWrite'])
";

impl Mongodb {
    /// A new one, where there is one to be had.
    pub fn start() -> Option<Self> {
        let packages = super::process::packages("mongodb")?;
        let folder = Folder::make();
        certificates::make(&folder);
        let both =
            ["server.pem", "server.key"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap());
        folder.write("both.pem", &both.concat());
        run(Command::new("chmod").arg("600").arg(folder.join("both.pem")));
        std::fs::create_dir(folder.join("data")).unwrap();
        folder.give_to("nobody");
        let here = folder.path().display().to_string();
        // Whoever runs it may not pass through the folders above it.
        let program = folder.join("mongod");
        run(Command::new("cp").arg(packages.join("mongod")).arg(&program));
        let words = |port: u16| {
            let words = format!(
                "{} --dbpath {here}/data --port {port} --bind_ip 127.0.0.1 --auth --tlsMode requireTLS \
                 --tlsCertificateKeyFile {here}/both.pem --tlsCAFile {here}/ca.pem --tlsAllowConnectionsWithoutCertificates \
                 --nounixsocket --wiredTigerCacheSizeGB 0.25 --setParameter diagnosticDataCollectionEnabled=false -vv",
                program.display()
            );
            let mut all = as_user("nobody");
            all.extend(words.split_whitespace().map(ToOwned::to_owned));
            all
        };
        let server = Server::start(&folder, Signal::Kill, words, listens);
        let this = Self { server, packages, admin_password: random_word(), app_password: random_word() };
        let out = this.python(MAKE_USERS, &[&this.admin_password, &this.app_password]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Some(this)
    }

    /// Makes users of `appdb`.
    pub fn make_users(&self, names: &[String]) {
        let arguments: Vec<_> =
            [self.admin_password.as_str()].into_iter().chain(names.iter().map(String::as_str)).collect();
        let out = self.python(MAKE_MORE, &arguments);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// Logs in with another's client.
    pub fn log_in(&self, username: &str, password: &str, database: &str) -> Output {
        self.python(LOG_IN, &[username, password, database])
    }

    fn python(&self, script: &str, arguments: &[&str]) -> Output {
        let mut python = Command::new(self.packages.join("mongodb-venv/bin/python"));
        python.args(["-c", script]).arg(self.server.port.to_string()).arg(self.server.path("ca.pem"));
        output(python.args(arguments))
    }
}
