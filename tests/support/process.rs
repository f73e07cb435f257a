//! The built program as a process of its own: started on a scratch folder, asked over HTTP, killed at will.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The operator key that every such process is given.
pub const OPERATOR: &str = "operator-key-for-tests-0123456789abcdef";

/// A running `rota serve`.
pub struct Process {
    child: Child,
    /// Where it serves.
    pub url: String,
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
    /// Starts `rota serve` on `folder/rota.db` and waits until it serves.
    pub fn start(folder: &Path, listen: &str) -> Self {
        Self::start_with(folder, listen, &[])
    }

    /// As [`Process::start`], with more of an environment.
    pub fn start_with(folder: &Path, listen: &str, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rota"))
            .args(["serve", "--listen", listen, "--store"])
            .arg(format!("sqlite:{}", folder.join("rota.db").display()))
            .env("ROTA_OPERATOR_KEY", OPERATOR)
            .env("RUST_LOG", "debug")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built program starts");
        let output = Arc::new(Mutex::new(Vec::new()));
        let mut readers = vec![collect(child.stderr.take().unwrap(), Arc::clone(&output))];
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut url = None;
        let mut line = String::new();
        while url.is_none() {
            line.clear();
            if stdout.read_line(&mut line).unwrap_or(0) == 0 {
                let said = String::from_utf8_lossy(&output.lock().unwrap()).into_owned();
                panic!("rota did not serve: {said}");
            }
            output.lock().unwrap().extend_from_slice(line.as_bytes());
            url = line.split_whitespace().last().filter(|word| word.starts_with("http")).map(str::to_owned);
        }
        readers.push(collect(stdout, Arc::clone(&output)));
        Self { child, url: url.unwrap(), output, readers }
    }

    /// Kills it as a power cut would: no signal that it could handle.
    pub fn kill(mut self) -> Vec<u8> {
        self.child.kill().unwrap();
        self.end()
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self) -> Vec<u8> {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "rota did not stop cleanly: {status}");
        self.end()
    }

    fn end(&mut self) -> Vec<u8> {
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        self.output.lock().unwrap().clone()
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

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
