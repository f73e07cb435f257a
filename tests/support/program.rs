//! The built program as a process of its own: run to its end, or serving until it is stopped or killed.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::OPERATOR;

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

/// A program that serves. It ends with the test.
pub struct Process {
    child: Child,
    /// Where it serves.
    pub url: String,
    /// What it printed until it served.
    pub lines: Vec<String>,
    output: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

fn collect(mut from: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0u8; 4_096];
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 {
                break;
            }
            into.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    })
}

impl Process {
    /// Starts a command that serves, and waits until it says so.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Arc::default();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let readers = vec![collect(child.stderr.take().unwrap(), Arc::clone(&output))];
        let mut process = Self { child, url: String::new(), lines: Vec::new(), output, readers };
        while process.url.is_empty() {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap_or(0) == 0 {
                let lines = std::mem::take(&mut process.lines);
                panic!("it never served: {lines:?} {}", String::from_utf8_lossy(&process.end()));
            }
            process.output.lock().unwrap().extend_from_slice(line.as_bytes());
            let line = line.trim_end().to_owned();
            let serves = ["rota is serving on ", "rota is witnessing on "];
            if let Some(url) = serves.iter().find_map(|says| line.strip_prefix(says)) {
                url.clone_into(&mut process.url);
            }
            process.lines.push(line);
        }
        process.readers.push(collect(stdout, Arc::clone(&process.output)));
        process
    }

    /// `rota serve` in a folder, as somebody starts it for the first time.
    pub fn serve(folder: &Path) -> Self {
        let mut command = rota(folder);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        Self::start(command)
    }

    /// `rota serve` on `folder/rota.db` with the operator key of tests, saying all that it can.
    pub fn serve_at(folder: &Path, listen: &str) -> Self {
        let mut command = rota(folder);
        command.args(["serve", "--listen", listen, "--store"]);
        command.arg(format!("sqlite:{}", folder.join("rota.db").display()));
        command.env("ROTA_OPERATOR_KEY", OPERATOR).env("RUST_LOG", "debug");
        Self::start(command)
    }

    /// Kills it as a power cut would: no signal that it could handle. What it said.
    pub fn kill(mut self) -> Vec<u8> {
        self.child.kill().unwrap();
        self.end()
    }

    /// Asks it to stop, and waits until it has. What it said.
    pub fn stop(mut self) -> Vec<u8> {
        assert_eq!(self.signal("-TERM"), 0, "it stops cleanly");
        self.end()
    }

    /// Sends a signal and waits for the end. The exit code.
    pub fn signal(&mut self, name: &str) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(started.elapsed() < PATIENCE, "it does not stop");
            std::thread::yield_now();
        }
    }

    fn end(&mut self) -> Vec<u8> {
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        self.output.lock().unwrap().clone()
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

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free now, for a server that must come back to the same one.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
