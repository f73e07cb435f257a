//! The built program as replicas: processes on one PostgreSQL, killed, stopped and resumed at will.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use crate::client::Caller;

/// The operator key of every replica.
pub const OPERATOR: &str = "operator-key-for-tests-0123456789abcdef";
const MASTER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A running replica. It ends with this value.
pub struct Process {
    child: Child,
    pub operator: Caller,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Process {
    /// Starts a replica on the store at `url`, and waits until it serves. Port 0 takes any.
    pub async fn start(url: &str, port: u16) -> Self {
        let url = url.to_owned();
        tokio::task::spawn_blocking(move || Self::spawn(&url, port, &[])).await.unwrap()
    }

    /// The same with settings of its own.
    pub async fn start_with(url: &str, settings: &[(&'static str, String)]) -> Self {
        let (url, settings) = (url.to_owned(), settings.to_vec());
        tokio::task::spawn_blocking(move || Self::spawn(&url, 0, &settings)).await.unwrap()
    }

    fn spawn(url: &str, port: u16, settings: &[(&'static str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rota"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ROTA_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--store", url, "--workers", "1"])
            .env("ROTA_OPERATOR_KEY", OPERATOR)
            .env("ROTA_MASTER_KEY", MASTER)
            .env("ROTA_ALLOW_PRIVATE_NETWORKS", "true")
            .env("RUST_LOG", "info")
            .envs(settings.iter().map(|(name, value)| (*name, value)))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built program starts");
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let errors = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            let mut errors = BufReader::new(errors);
            let loud = std::env::var_os("REPLICA_LOGS").is_some();
            let mut line = String::new();
            while errors.read_line(&mut line).unwrap_or(0) > 0 {
                if loud {
                    eprint!("{line}");
                }
                text.push_str(&line);
                line.clear();
            }
            text
        });
        let mut line = String::new();
        if said.read_line(&mut line).unwrap() == 0 {
            line = log.join().unwrap();
        }
        let url = line
            .trim()
            .strip_prefix("rota is serving on ")
            .unwrap_or_else(|| panic!("it never served: {line}"))
            .to_owned();
        // A pipe that nobody reads could block it.
        std::thread::spawn(move || std::io::copy(&mut said as &mut dyn Read, &mut std::io::sink()));
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        Self { child, operator: Caller::bearer(&url, OPERATOR), port, _folder: folder }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Kills it as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
