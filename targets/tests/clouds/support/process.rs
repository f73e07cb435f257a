//! Servers of others, for the length of a test.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A process that ends with the test.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn packages() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    target.join("test-packages")
}

/// A program out of a registry of packages, fetched if it is not there. Where a registry can't be reached this says so, and the
/// test has nothing to run against.
pub fn program(package: &str, path: &str) -> Option<PathBuf> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages");
    let fetched = Command::new(fetch).arg(package).stdin(Stdio::null()).status().expect("bash is there");
    match fetched.code() {
        Some(0) => Some(packages().join(path)),
        Some(75) => {
            eprintln!(
                "SKIPPED: {package} could not be fetched, so there is nothing to run this test against"
            );
            None
        }
        _ => panic!("targets/tests/packages {package} failed"),
    }
}

/// A port of this machine that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Starts a server that listens on a port of its own, and waits until it does.
pub async fn serve(command: impl Fn(u16) -> Command) -> (Process, u16) {
    // Somebody else may take a port that was free.
    for _ in 0..5 {
        let port = free_port();
        let child = command(port).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut process = Process(child.expect("the program was fetched"));
        let end = Instant::now() + Duration::from_secs(90);
        while Instant::now() < end && process.0.try_wait().unwrap().is_none() {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return (process, port);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    panic!("the server never listened");
}
