//! A program of Debian's that stands in front of something, such as nginx: started in a folder of its own on a free
//! port. It ends with the test.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;

use super::free_port;

pub struct Front {
    child: Child,
    /// Where it listens, `127.0.0.1:PORT`.
    pub address: String,
    _folder: tempfile::TempDir,
}

/// Where a program is: Debian puts servers where the path of root alone leads.
pub fn program(name: &str) -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&folders).chain(["/usr/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is installed: ./test does it"))
}

/// nginx in the foreground, with a configuration in this folder.
pub fn nginx(folder: &Path, configuration: &str) -> Command {
    let mut command = Command::new(program("nginx"));
    command.arg("-p").arg(folder).arg("-c").arg(folder.join(configuration));
    command.args(["-e", "stderr", "-g", "daemon off; master_process off;"]);
    command
}

impl Front {
    /// `prepare` writes what the program needs into the folder and says how it is started to listen at the address.
    pub async fn start(prepare: impl Fn(&Path, &str) -> Command) -> Self {
        // Somebody else may take a port that was free.
        for _ in 0..10 {
            if let Some(front) = Self::try_start(&prepare).await {
                return front;
            }
        }
        panic!("it never served");
    }

    async fn try_start(prepare: impl Fn(&Path, &str) -> Command) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = prepare(folder.path(), &address);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut front = Self { child, address, _folder: folder };
        for _ in 0..6_000 {
            if front.child.try_wait().unwrap().is_some() {
                let mut said = String::new();
                front.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                assert!(said.contains("in use"), "{said}");
                return None;
            }
            if TcpStream::connect(&front.address).await.is_ok() {
                return Some(front);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not listen");
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
