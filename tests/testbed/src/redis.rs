//! Redis with an ACL file, and with TLS on a second port.

use std::process::{Command, Output};

use super::process::{Folder, Server, Signal, as_user, free_port, output, program, run};
use super::{certificates, random_word};

/// A server with the user `rota_admin`, who may do everything, `outsider`, who may only read keys, and no default user.
#[derive(Debug)]
pub struct Redis {
    /// The server.
    pub server: Server,
    /// The port that speaks TLS.
    pub tls_port: u16,
    /// Of `rota_admin` and `outsider`.
    pub admin_password: String,
}

/// Where users are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In an ACL file.
    AclFile,
    /// In the configuration file.
    Configuration,
    /// In memory alone.
    Nowhere,
}

impl Redis {
    /// A new one.
    pub fn start(kept: Kept) -> Self {
        let folder = Folder::make();
        certificates::make(&folder);
        let admin = random_word();
        let users = [
            "user default off".to_owned(),
            format!("user rota_admin on ~* &* +@all >{admin}"),
            format!("user outsider on ~* +@read +@connection >{admin}"),
        ];
        let here = folder.path().display().to_string();
        let file = match kept {
            Kept::AclFile => {
                folder.write("users.acl", &format!("{}\n", users.join("\n")));
                "aclfile users.acl\n".to_owned()
            }
            Kept::Configuration | Kept::Nowhere => format!("{}\n", users.join("\n")),
        };
        let settings = format!(
            "dir {here}\nbind 127.0.0.1\ntls-cert-file server.pem\ntls-key-file server.key\ntls-ca-cert-file ca.pem\n\
             tls-auth-clients no\nsave \"\"\nappendonly no\nloglevel debug\n{file}"
        );
        folder.write("redis.conf", &settings);
        folder.give_to("redis");
        let tls_port = free_port();
        let server = program(&["/usr/bin/redis-server"]).display().to_string();
        let words = |port: u16| {
            let mut words = as_user("redis");
            let conf = format!("{here}/redis.conf");
            let (port, tls) = (port.to_string(), tls_port.to_string());
            if kept == Kept::Nowhere {
                // Without a file there is nothing to write to.
                let script = format!("cd {here}; exec {server} - --port {port} --tls-port {tls} < {conf}");
                words.extend(["sh", "-c", &script].map(ToOwned::to_owned));
            } else {
                let all = [&server, &conf, "--port", &port, "--tls-port", &tls];
                words.extend(all.map(ToOwned::to_owned));
            }
            words
        };
        let ready = |port| super::process::listens(port) && super::process::listens(tls_port);
        let server = Server::start(&folder, Signal::Term, words, ready);
        Self { server, tls_port, admin_password: admin }
    }

    /// Runs a command as `rota_admin`.
    pub fn admin(&self, arguments: &[&str]) -> String {
        let mut cli = self.command("rota_admin", &self.admin_password);
        run(cli.args(arguments))
    }

    /// Logs in with the system's own client and runs a command.
    pub fn cli(&self, username: &str, password: &str, arguments: &[&str]) -> Output {
        output(self.command(username, password).args(arguments))
    }

    fn command(&self, username: &str, password: &str) -> Command {
        let mut cli = Command::new("redis-cli");
        let port = self.server.port.to_string();
        cli.env("REDISCLI_AUTH", password).args(["-h", "127.0.0.1", "-p", &port, "-e", "--no-auth-warning"]);
        cli.args(["--user", username]);
        cli
    }
}
