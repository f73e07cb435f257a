//! MariaDB, and MySQL where it can be fetched: both with TLS and a log of every statement.

use std::path::Path;
use std::process::{Command, Output};

use super::process::{Folder, Server, Signal, as_user, command_as, feed, output, program, run};
use super::{certificates, random_word};

/// A server with the database `appdb`, the user `rota_admin`, who may make users, `outsider`, who may do nothing,
/// `app_a` from everywhere and `app_b` from two networks.
#[derive(Debug)]
pub struct Mariadb {
    /// The server.
    pub server: Server,
    /// Of `rota_admin` and `outsider`.
    pub admin_password: String,
    /// The first password of `app_a` and `app_b`.
    pub app_password: String,
}

impl Mariadb {
    /// A new MariaDB.
    pub fn start() -> Self {
        let folder = prepare();
        let mut install = Command::new(program(&["/usr/bin/mariadb-install-db"]));
        install.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=socket"]);
        if super::process::is_root() {
            install.arg("--user=mysql");
        }
        run(install.arg(format!("--datadir={}", folder.join("data").display())));
        let server = program(&["/usr/sbin/mariadbd"]);
        let words = move |here: &str| {
            format!("{} --no-defaults --plugin-load-add=auth_ed25519 {}", server.display(), common(here))
        };
        Self::serve(&folder, "mysql", words, "CONNECTION ADMIN")
    }

    /// A new MySQL, where there is one.
    pub fn start_mysql() -> Option<Self> {
        let packages = super::process::packages("mysql")?.canonicalize().unwrap().join("mysql");
        let (mysqld, usr) = (packages.join("mysqld").display().to_string(), packages.join("root/usr"));
        let folder = prepare();
        // Others may not pass through the folders above it.
        let user = if super::process::is_root() { "--user=root" } else { "" };
        let usr = usr.display();
        let all = format!(
            "--no-defaults {user} --basedir={usr} --lc-messages-dir={usr}/share/mysql \
             --character-sets-dir={usr}/share/mysql/charsets --plugin-dir={usr}/lib/mysql/plugin --secure-file-priv=NULL"
        );
        let mut install = Command::new(&mysqld);
        install
            .args(all.split_whitespace())
            .arg("--initialize-insecure")
            .arg(format!("--datadir={}", folder.join("data").display()));
        run(&mut install);
        let words =
            move |here: &str| format!("{mysqld} {all} --mysqlx=OFF --disable-log-bin {}", common(here));
        Some(Self::serve(&folder, "root", words, "CONNECTION_ADMIN, APPLICATION_PASSWORD_ADMIN"))
    }

    fn serve(folder: &Folder, user: &str, words: impl Fn(&str) -> String, grant: &str) -> Self {
        let here = folder.path().display().to_string();
        let command = |port: u16| {
            let mut all = as_user(user);
            let words = format!("{} --port={port}", words(&here));
            all.extend(words.split_whitespace().map(ToOwned::to_owned));
            all
        };
        let socket = format!("--socket={here}/s.sock");
        let ready = |_| {
            let mut asked =
                command_as(if super::process::is_root() { "root" } else { "mysql" }, "mariadb-admin");
            output(asked.args(["--no-defaults", "-uroot", &socket, "ping"])).status.success()
        };
        let server = Server::start(folder, Signal::Term, command, ready);
        let this = Self { server, admin_password: random_word(), app_password: random_word() };
        let (admin, app) = (&this.admin_password, &this.app_password);
        this.admin(&format!(
            "SET SESSION sql_log_off = 1;
             CREATE USER 'rota_admin'@'%' IDENTIFIED BY '{admin}';
             GRANT CREATE USER, {grant} ON *.* TO 'rota_admin'@'%' WITH GRANT OPTION;
             GRANT PROCESS ON *.* TO 'rota_admin'@'%';
             GRANT SELECT ON mysql.user TO 'rota_admin'@'%';
             CREATE USER 'outsider'@'%' IDENTIFIED BY '{admin}';
             CREATE USER 'app_a'@'%' IDENTIFIED BY '{app}';
             CREATE USER 'app_b'@'127.0.0.1' IDENTIFIED BY '{app}', 'app_b'@'10.%' IDENTIFIED BY '{app}';
             CREATE DATABASE appdb;
             GRANT SELECT, INSERT ON appdb.* TO 'app_a'@'%', 'app_b'@'127.0.0.1', 'rota_admin'@'%', 'outsider'@'%';"
        ));
        this
    }

    /// Runs SQL as root; what it printed.
    pub fn admin(&self, sql: &str) -> String {
        let socket = format!("--socket={}", self.server.path("s.sock").display());
        let mut client = Command::new("mariadb");
        feed(client.args(["--no-defaults", "-uroot", "-N", &socket]), sql)
    }

    /// Every statement that the server has logged.
    pub fn statements(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.server.path("data/general.log")).unwrap_or_default())
            .into_owned()
    }

    /// Logs in over TLS with the system's own client.
    pub fn client(&self, username: &str, password: &str) -> Output {
        let authority = format!("--ssl-ca={}", Path::new(&self.server.path("ca.pem")).display());
        let (port, user) = (format!("--port={}", self.server.port), format!("--user={username}"));
        let mut client = Command::new("mariadb");
        client.env("MYSQL_PWD", password).args([
            "--no-defaults",
            "--protocol=tcp",
            "--host=127.0.0.1",
            &port,
            &user,
        ]);
        output(client.args([&authority, "--ssl-verify-server-cert", "-Ne", "SELECT CURRENT_USER()"]))
    }
}

fn prepare() -> Folder {
    let folder = Folder::make();
    certificates::make(&folder);
    folder.give_to("mysql");
    folder
}

fn common(here: &str) -> String {
    format!(
        "--datadir={here}/data --bind-address=127.0.0.1 --socket={here}/s.sock --pid-file={here}/mysqld.pid \
         --ssl-ca={here}/ca.pem --ssl-cert={here}/server.pem --ssl-key={here}/server.key \
         --innodb-buffer-pool-size=32M --innodb-flush-log-at-trx-commit=0 --skip-name-resolve \
         --general-log=1 --general-log-file={here}/data/general.log"
    )
}
