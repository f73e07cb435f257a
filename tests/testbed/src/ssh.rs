//! OpenSSH with PAM, on accounts of its own.

use std::process::{Command, Output};

use super::process::{Folder, Server, Signal, greets, in_private_etc, output, program, run};
use super::random_word;

/// A machine with the accounts `rota_admin`, who may run `chpasswd` by `sudo` and logs in by key or password,
/// `outsider`, who may not, and `app_a` and `app_b`.
#[derive(Debug)]
pub struct Ssh {
    /// The server.
    pub server: Server,
    /// Its host key, as in `known_hosts`.
    pub host_key: String,
    /// A host key of nobody.
    pub other_host_key: String,
    /// The private key of `rota_admin`.
    pub admin_key: String,
    /// Of `rota_admin` and `outsider`.
    pub admin_password: String,
    /// The first password of `app_a` and `app_b`.
    pub app_password: String,
}

impl Ssh {
    /// A new one.
    pub fn start() -> Self {
        let folder = Folder::make();
        let keygen = |name: &str| {
            let mut keygen = Command::new(program(&["/usr/bin/ssh-keygen"]));
            run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(folder.join(name)));
            let public = std::fs::read_to_string(folder.join(&format!("{name}.pub"))).unwrap();
            public.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
        };
        let (host_key, other_host_key, public) = (keygen("host"), keygen("other"), keygen("admin"));
        folder.write("rota_admin.keys", &format!("{public}\n"));
        let admin_key = std::fs::read_to_string(folder.join("admin")).unwrap();
        let (admin, app) = (random_word(), random_word());
        let here = folder.path().display().to_string();
        folder.write(
            "sshd_config",
            &format!(
                "ListenAddress 127.0.0.1\nHostKey {here}/host\nPidFile none\nAuthorizedKeysFile {here}/%u.keys\n\
                 StrictModes no\nUsePAM yes\nPasswordAuthentication yes\nKbdInteractiveAuthentication no\n\
                 PermitRootLogin no\nAllowUsers rota_admin outsider app_a app_b\nUseDNS no\nX11Forwarding no\n\
                 MaxStartups 100\nLogLevel VERBOSE\n"
            ),
        );
        let accounts = format!(
            "sed -i 's/pam_unix.so nullok/& nodelay/' /etc/pam.d/common-auth\n\
             for u in rota_admin outsider app_a app_b; do useradd -m -d '{here}/home-'$u -s /bin/bash $u || true; done\n\
             chpasswd <<P\nrota_admin:{admin}\noutsider:{admin}\napp_a:{app}\napp_b:{app}\nP\n\
             echo 'rota_admin ALL=(root) NOPASSWD: /usr/sbin/chpasswd' > /etc/sudoers.d/rota_admin\n\
             chmod 440 /etc/sudoers.d/rota_admin\n\
             exec /usr/sbin/sshd -D -e -f {here}/sshd_config -p $(cat {here}/port)\n"
        );
        std::fs::create_dir_all("/run/sshd").unwrap();
        let script = in_private_etc(&folder, &accounts);
        let words = |port: u16| {
            std::fs::write(format!("{here}/port"), port.to_string()).unwrap();
            script.clone()
        };
        let ready = |port| greets(port, b"SSH-2.0-");
        let server = Server::start(&folder, Signal::Kill, words, ready);
        Self { server, host_key, other_host_key, admin_key, admin_password: admin, app_password: app }
    }

    /// Logs in by password with the system's own client.
    pub fn client(&self, username: &str, password: &str) -> Output {
        let known = format!("[127.0.0.1]:{} {}\n", self.server.port, self.host_key);
        let folder = tempfile::tempdir().unwrap();
        let (hosts, ask) = (folder.path().join("known_hosts"), folder.path().join("ask"));
        std::fs::write(&hosts, known).unwrap();
        std::fs::write(&ask, "#!/bin/sh\nprintf '%s\\n' \"$PASSWORD\"\n").unwrap();
        run(Command::new("chmod").arg("700").arg(&ask));
        let mut ssh = Command::new("ssh");
        ssh.env("SSH_ASKPASS", &ask).env("SSH_ASKPASS_REQUIRE", "force").env("PASSWORD", password);
        ssh.args(["-F", "none", "-p", &self.server.port.to_string(), "-o", "StrictHostKeyChecking=yes"]);
        ssh.args(["-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1"]);
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", hosts.display()));
        output(ssh.arg(format!("{username}@127.0.0.1")).arg("whoami"))
    }
}
