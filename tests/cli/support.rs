//! Runs the program and looks at what it leaves behind.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection};
use tempfile::TempDir;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// The program in a folder, without this process' own settings.
pub fn rota(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rota"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ROTA_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// What a run gave.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }

    /// Must have ended so.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs a verb to its end.
pub fn run(folder: &Path, arguments: &[&str]) -> Ran {
    rota(folder).args(arguments).output().unwrap().into()
}

/// A server that ends with the test.
pub struct Server {
    child: Child,
    pub url: String,
    pub lines: Vec<String>,
    out: BufReader<std::process::ChildStdout>,
}

impl Server {
    /// Starts a command that serves, and waits until it says so.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self { child, url: String::new(), lines: Vec::new(), out };
        while server.url.is_empty() {
            let mut line = String::new();
            if server.out.read_line(&mut line).unwrap() == 0 {
                let mut said = String::new();
                server.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("it never served: {:?} {said}", server.lines);
            }
            let line = line.trim_end().to_owned();
            if let Some(url) = line.strip_prefix("rota is serving on ") {
                url.clone_into(&mut server.url);
            }
            server.lines.push(line);
        }
        server
    }

    /// `rota serve` on a free port.
    pub fn serve(folder: &Path) -> Self {
        let mut command = rota(folder);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        Self::start(command)
    }

    /// Sends a signal and waits for the end. The exit code.
    pub fn signal(&mut self, name: &str) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
        // A pipe that nobody reads could keep it from ending.
        std::io::copy(&mut self.out, &mut std::io::sink()).unwrap();
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(started.elapsed() < PATIENCE, "it does not stop");
            std::thread::yield_now();
        }
    }

    /// A client verb, as the operator.
    pub fn verb(&self, folder: &Path, arguments: &[&str]) -> Ran {
        let key = std::fs::read_to_string(folder.join("rota-data/operator.key")).unwrap();
        self.verb_as(folder, key.trim(), arguments)
    }

    pub fn verb_as(&self, folder: &Path, key: &str, arguments: &[&str]) -> Ran {
        rota(folder).args(arguments).env("ROTA_URL", &self.url).env("ROTA_KEY", key).output().unwrap().into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with a ledger in `rota-data` that has been used and is not served.
pub fn ledger() -> TempDir {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &["quickstart", "--once", "--listen", "127.0.0.1:0"]).exits(0);
        folder
    });
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-a").arg(made.path().join("rota-data")).arg(folder.path()).status();
    assert!(copied.unwrap().success());
    folder
}

/// The database of a folder that [`ledger`] gave.
pub fn database(folder: &Path) -> PathBuf {
    folder.join("rota-data/rota.db")
}

/// Does to a database what nobody may.
pub async fn tamper(path: &Path, sql: &str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection: SqliteConnection = options.connect().await.unwrap();
    connection
        .execute("DROP TRIGGER events_are_never_changed; DROP TRIGGER events_are_never_deleted")
        .await
        .unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
}

/// Permission bits.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
