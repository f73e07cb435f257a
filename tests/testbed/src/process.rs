//! Servers as processes: started in a folder of their own, ended with whoever started them.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What takes longer does not start.
const STARTING: Duration = Duration::from_mins(4);

/// A folder that others may pass through, in memory if there is that. It is removed with its server.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one.
    pub fn make() -> Self {
        let mut builder = tempfile::Builder::new();
        builder.prefix("rota-testbed-");
        let folder = builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap().keep();
        run(Command::new("chmod").arg("711").arg(&folder));
        Self(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Gives all of it to a user, if this process may.
    pub fn give_to(&self, user: &str) {
        if is_root() {
            run(Command::new("chown").arg("-R").arg(format!("{user}:")).arg(&self.0));
        }
    }
}

/// Whether this process may become others.
pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n")
}

/// A command that runs as this user, where this process is root; most servers refuse root.
pub fn as_user(user: &str) -> Vec<String> {
    if is_root() {
        let group = run(Command::new("id").args(["-gn", user]));
        let words =
            ["setpriv", &format!("--reuid={user}"), &format!("--regid={}", group.trim()), "--init-groups"];
        words.map(ToOwned::to_owned).to_vec()
    } else {
        vec!["env".to_owned()]
    }
}

/// [`as_user`] and more words, ready to run.
pub fn command_as(user: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let prefix = as_user(user);
    let mut command = Command::new(&prefix[0]);
    command.args(&prefix[1..]).arg(program);
    command
}

/// Runs a command that has to succeed; what it printed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let out = output(command);
    let (said, printed) = (String::from_utf8_lossy(&out.stderr), String::from_utf8_lossy(&out.stdout));
    assert!(out.status.success(), "{command:?}: {said}{printed}");
    printed.into_owned()
}

/// Runs a command that may fail, with nothing to read.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command that reads `input`, which may be a secret, and has to succeed.
#[track_caller]
pub fn feed(command: &mut Command, input: &str) -> String {
    use std::io::Write;
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A program that may be outside of the path.
pub fn program(names: &[&str]) -> PathBuf {
    let found = names.iter().find(|name| Path::new(name).exists());
    found.unwrap_or_else(|| panic!("{} is installed: ./test does it", names[0])).into()
}

/// The folder of what Debian's stable release has not, once this is in it: `targets/tests/packages`. None, and a word about
/// it, where it can't be fetched.
pub fn packages(name: &str) -> Option<PathBuf> {
    let script = "targets/tests/packages";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|root| root.join(script).exists());
    let root = root.expect("this is a part of rota's tree");
    let fetched = output(Command::new(root.join(script)).arg(name));
    match fetched.status.code() {
        Some(0) => {}
        Some(75) => {
            eprintln!("SKIPPED: {name} could not be fetched, so there is nothing to run this test against");
            return None;
        }
        _ => panic!("targets/tests/packages: {}", String::from_utf8_lossy(&fetched.stderr)),
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    Some(target.unwrap_or_else(|| root.join("target")).join("test-packages"))
}

/// A word that nobody knows.
pub fn random_word() -> String {
    use std::fmt::Write;
    use std::io::Read;
    let mut bytes = [0; 12];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    let mut word = String::from("Aa1");
    for byte in bytes {
        write!(word, "{byte:02x}").unwrap();
    }
    word
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Whether somebody listens.
pub fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Whether somebody listens who begins with these words.
pub fn greets(port: u16, words: &[u8]) -> bool {
    use std::io::Read;
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut read = vec![0; words.len()];
    stream.read_exact(&mut read).is_ok() && read == words
}

/// Waits until something is so.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < STARTING, "{what} takes too long");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Which signal ends a server.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// Finish.
    Term,
    /// At once, in PostgreSQL's words.
    Quit,
    /// For namespaces, whose first process takes all others along.
    Kill,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub port: u16,
    folder: Folder,
    /// Its end is the server's end.
    pipe: Option<ChildStdin>,
    shell: Child,
}

impl Server {
    /// Runs what `command` says for a port, until `ready` says that it serves. A server that ends before is started again
    /// on another port: somebody may have taken the port in between.
    pub fn start(
        folder: &Folder,
        signal: Signal,
        command: impl Fn(u16) -> Vec<String>,
        ready: impl Fn(u16) -> bool,
    ) -> Self {
        for _ in 0..5 {
            let port = free_port();
            let words = command(port);
            let (shell, pipe) = guard(folder, signal, &words);
            let mut server = Self { port, folder: Folder(folder.0.clone()), pipe: Some(pipe), shell };
            let began = Instant::now();
            let over = server.folder.join("over");
            while !over.exists() {
                if ready(port) {
                    return server;
                }
                assert!(began.elapsed() < STARTING, "{words:?} does not start: {}", server.log());
                std::thread::park_timeout(Duration::from_millis(20));
            }
            let log = server.log();
            assert!(log.to_lowercase().contains("in use"), "{words:?} ended: {log}");
            server.end(false);
        }
        panic!("no port is free");
    }

    /// Its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Everything that it printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// Ends it, and waits until it is gone.
    pub fn stop(mut self) {
        self.end(true);
    }

    fn end(&mut self, remove: bool) {
        if let Some(mut pipe) = self.pipe.take() {
            use std::io::Write;
            // The folder goes with the server, unless there is another try.
            let _ = pipe.write_all(if remove { b"" } else { b"keep\n" });
        }
        let _ = self.shell.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(true);
    }
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A shell that starts the server, and ends it when the pipe does.
fn guard(folder: &Folder, signal: Signal, words: &[String]) -> (Child, ChildStdin) {
    let signal = match signal {
        Signal::Term => "TERM",
        Signal::Quit => "QUIT",
        Signal::Kill => "KILL",
    };
    let script = format!(
        "rm -f over pid; ( {} </dev/null >>log 2>&1 & echo $! >pid; wait $!; echo $? >over ) & \
         read -r word; kill -{signal} $(cat pid) 2>/dev/null; wait; [ \"$word\" = keep ] || rm -rf {}",
        words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        quoted(&folder.path().display().to_string()),
    );
    let mut command = Command::new("sh");
    // In a group of its own, so that an interrupt of the tests leaves it its work.
    command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut shell = command.process_group(0).current_dir(folder.path()).spawn().unwrap();
    let pipe = shell.stdin.take().unwrap();
    (shell, pipe)
}

/// A server that sees a copy of `/etc` in the place of the machine's: what it does to accounts goes with it. The words
/// run a script in a mount and a process namespace of their own.
pub fn in_private_etc(folder: &Folder, script: &str) -> Vec<String> {
    assert!(is_root(), "namespaces with an /etc of their own take root");
    run(Command::new("cp").args(["-a", "/etc"]).arg(folder.join("etc")));
    let script = format!("set -e\nmount --bind {}/etc /etc\n{script}", folder.path().display());
    let script = folder.write("inside", &script);
    run(Command::new("chmod").arg("600").arg(&script));
    let words = "unshare --mount --propagation private --pid --fork --mount-proc --kill-child=KILL bash";
    words.split(' ').map(ToOwned::to_owned).chain([script.display().to_string()]).collect()
}
