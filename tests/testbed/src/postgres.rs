//! PostgreSQL, with TLS and SCRAM; it logs every statement that changes something.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::process::{Folder, Server, Signal, command_as, feed, output, run};
use super::{certificates, random_word};

/// A cluster with the database `appdb`, the role `rota_admin`, which may alter roles and administers `app_a` and `app_b`,
/// those two, and `outsider`, who may do nothing.
#[derive(Debug)]
pub struct Postgres {
    /// The server.
    pub server: Server,
    /// The password of `rota_admin` and `outsider`.
    pub admin_password: String,
    /// The first password of `app_a` and `app_b`.
    pub app_password: String,
}

/// The folder of the newest server that is installed.
fn programs() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = installed.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()).max();
    let version = newest.expect("PostgreSQL is installed: ./test does it");
    format!("/usr/lib/postgresql/{version}/bin").into()
}

impl Postgres {
    /// A new one.
    pub fn start() -> Self {
        let (folder, bin) = (Folder::make(), programs());
        certificates::make(&folder);
        folder.give_to("postgres");
        let settings =
            "-U postgres -E UTF8 --locale=C --auth-local=trust --auth-host=scram-sha-256 --no-sync -D";
        let mut initdb = command_as("postgres", bin.join("initdb"));
        run(initdb.args(settings.split(' ')).arg(folder.join("data")).current_dir(folder.path()));
        let here = folder.path().display().to_string();
        let words = |port: u16| {
            let settings = format!(
                "-D {here}/data -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={here} -c fsync=off \
                 -c ssl=on -c ssl_cert_file={here}/server.pem -c ssl_key_file={here}/server.key \
                 -c log_statement=all -c shared_buffers=32MB -c log_min_messages=info"
            );
            let mut words = super::process::as_user("postgres");
            words.push(bin.join("postgres").display().to_string());
            words.extend(settings.split_whitespace().map(ToOwned::to_owned));
            words
        };
        let ready = |port: u16| {
            let mut asked = Command::new(bin.join("pg_isready"));
            output(asked.args(["-q", "-h", &here, "-p", &port.to_string()])).status.success()
        };
        let server = Server::start(&folder, Signal::Quit, words, ready);
        let this = Self { server, admin_password: random_word(), app_password: random_word() };
        let (admin, app) = (&this.admin_password, &this.app_password);
        this.admin(&format!(
            "SET log_statement = 'none';
             CREATE ROLE rota_admin LOGIN CREATEROLE PASSWORD '{admin}';
             CREATE ROLE outsider LOGIN PASSWORD '{admin}';
             CREATE ROLE app_a LOGIN PASSWORD '{app}'; CREATE ROLE app_b LOGIN PASSWORD '{app}';
             GRANT app_a, app_b TO rota_admin WITH ADMIN OPTION;"
        ));
        this.admin("CREATE DATABASE appdb");
        this
    }

    /// Runs SQL as the superuser; what it printed.
    pub fn admin(&self, sql: &str) -> String {
        let socket = self.server.path("");
        let port = self.server.port.to_string();
        let mut psql = command_as("postgres", "psql");
        psql.arg("-h").arg(&socket).args(["-p", &port, "-U", "postgres", "-qXAt", "-v", "ON_ERROR_STOP=1"]);
        feed(psql.current_dir(socket), sql)
    }

    /// Logs in over TLS with the system's own client, on this port.
    pub fn psql(&self, username: &str, password: &str) -> Output {
        let authority = self.server.path("ca.pem");
        let place = format!("host=localhost port={} dbname=appdb user={username}", self.server.port);
        let place = format!("{place} sslmode=verify-full sslrootcert={}", Path::new(&authority).display());
        output(Command::new("psql").env("PGPASSWORD", password).args([
            &place,
            "-qXAtc",
            "SELECT current_user",
        ]))
    }
}
