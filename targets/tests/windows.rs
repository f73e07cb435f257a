//! `windows-local-account` on Samba: real calls (SAMR) over real SMB 3 with encryption, and Samba's own accounts. That
//! is not Windows: `docs/targets.md` says what it can't prove.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rota_aggregates::Timestamp;
use rota_aggregates::secret::Secret;
use rota_targets::surroundings::{Clock, Endpoints};
use rota_targets::target::Intent;
use rota_targets::{
    App, Certainty, Connection, Credential, Failure, Kind, Login, Network, Parameters, Slot, Surroundings,
    Target,
};
use serde_json::{Value, json};

const ADMIN: &str = "admin-Passw0rd-1";
const FIRST: &str = "first;of 'all\"-Passw0rd";

/// A server that ends with the test.
struct Samba {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Samba {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Samba {
    async fn start(settings: &[&str]) -> Option<Self> {
        if !is_root() {
            eprintln!("SKIPPED: smbd needs root, so there is nothing to run this test against");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smbd");
        let mut command = Command::new(script);
        command.arg(folder.path()).arg(port.to_string()).args([ADMIN, FIRST]).args(settings);
        let process = command.stdin(Stdio::null()).spawn().expect("bash is there");
        let mut samba = Self { process, port, folder };
        let end = Instant::now() + Duration::from_mins(1);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = samba.process.try_wait().unwrap().is_some();
            assert!(!ended && Instant::now() < end, "{}", samba.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(samba)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("out")).unwrap_or_default()
    }

    fn connection(&self, username: &str, password: &str) -> Connection {
        connection(self.port, username, password)
    }

    fn target(&self, parameters: &Value, current: Option<&str>) -> Box<dyn Target> {
        let temporary = current.map(|password| json!({ "password": password }));
        let kind = Kind::WindowsLocalAccount;
        let parameters = Parameters::check(kind, parameters, temporary.as_ref()).unwrap();
        rota_targets::open(kind, &self.connection("winadmin", ADMIN), &parameters, &around()).unwrap()
    }

    /// The login of Samba's own client.
    fn log_in(&self, user: &str, password: &str) -> bool {
        let file = self.folder.path().join("auth");
        std::fs::write(&file, format!("username = {user}\npassword = {password}\n")).unwrap();
        let mut command = Command::new("smbclient");
        command.arg("-A").arg(file).args(["-p", &self.port.to_string(), "-L", "//127.0.0.1"]);
        let output = command.output().expect("smbclient is installed: ./test does it");
        String::from_utf8_lossy(&output.stdout).contains("IPC$")
    }
}

fn connection(port: u16, username: &str, password: &str) -> Connection {
    let credentials = json!({"host": "127.0.0.1", "port": port, "username": username, "password": password});
    Connection::check(App::Smb, "credentials", &credentials).unwrap()
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:\t0\t0"))
}

struct Here;

#[async_trait]
impl Network for Here {
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        host.parse().map(|ip| vec![SocketAddr::new(ip, port)]).map_err(|_| Failure::refused("no such name"))
    }
}

impl Clock for Here {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }
}

fn around() -> Surroundings {
    Surroundings {
        network: Arc::new(Here),
        clock: Arc::new(Here),
        endpoints: Arc::new(Endpoints::default()),
        aws: None,
    }
}

fn random() -> [u8; 32] {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 32];
    ring::rand::SystemRandom::new().fill(&mut bytes).unwrap();
    bytes
}

fn credential(user: &str, password: &str) -> Credential {
    let public = BTreeMap::from([("username".to_owned(), user.to_owned())]);
    Credential { public, secret: Secret::new(password.to_owned()) }
}

async fn rotate(target: &dyn Target, current: Option<&Credential>) -> Credential {
    let intent = target.intend(Slot(0), current, random()).await.unwrap();
    let new = target.set(&intent, current).await.unwrap();
    assert_eq!(target.log_in(&new).await, Ok(Login::Accepted));
    // The same again does no harm: that is what happens after a crash.
    let again = target.set(&intent, current).await.unwrap();
    assert_eq!(again.secret.expose(), new.secret.expose());
    new
}

/// Ten passwords one after another by an administrator, and ten by the account itself: each logs in, with Samba's own
/// client too, and the one before does not.
#[tokio::test]
async fn passwords_are_set_tried_and_ended() {
    let Some(samba) = Samba::start(&[]).await else { return };
    rota_targets::check(samba.connection("winadmin", ADMIN), &around()).await.unwrap();
    let requirements = json!({"length": 30, "allowedSymbols": "!#%*+,-./:<=>?@[]^_{}~",
        "required": {"digits": 1, "lowercase": 1, "uppercase": 1, "symbols": 5}});
    let by_admin =
        samba.target(&json!({"username": "app_a", "passwordRequirements": requirements.clone()}), None);
    let by_itself = samba.target(
        &json!({"username": "app_b", "rotationMethod": "login-as-target", "passwordRequirements": requirements}),
        Some(FIRST),
    );
    for (target, user) in [(by_admin, "app_a"), (by_itself, "app_b")] {
        target.check().await.unwrap();
        assert!(!target.plan(Slot(0)).await.unwrap().steps.is_empty());
        let mut old = credential(user, FIRST);
        assert_eq!(target.log_in(&old).await, Ok(Login::Accepted));
        for _ in 0..10 {
            let new = rotate(&*target, Some(&old)).await;
            assert!(samba.log_in(user, new.secret.expose()));
            assert_eq!(target.log_in(&old).await, Ok(Login::Refused));
            assert!(!samba.log_in(user, old.secret.expose()));
            target.retire(&old, &new, true).await.unwrap();
            old = new;
        }
        target.revoke(&old, random()).await.unwrap();
        assert_eq!(target.log_in(&old).await, Ok(Login::Refused));
        target.revoke(&old, random()).await.unwrap();
        // Nobody knows the password now, and the connection sets one all the same.
        let intent = target.intend(Slot(0), None, random()).await.unwrap();
        let new = target.reset(&intent).await.unwrap();
        assert!(samba.log_in(user, new.secret.expose()));
    }
}

/// What the machine refuses is said, and the password that was good stays good.
#[tokio::test]
async fn refusals_are_told_apart() {
    let Some(samba) = Samba::start(&[]).await else { return };
    let refused = |failure: Failure, word: &str| {
        assert!(failure.text().contains(word), "{failure}");
        assert_eq!((failure.certainty, failure.may_pass), (Certainty::Unchanged, false), "{failure}");
    };
    let kind = Kind::WindowsLocalAccount;
    let parameters = |user: &str| Parameters::check(kind, &json!({ "username": user }), None).unwrap();

    // No administrator.
    let connection = samba.connection("app_b", "x");
    refused(rota_targets::check(connection, &around()).await.err().unwrap(), "does not accept");
    let weak = {
        let admin = samba.target(&json!({"username": "app_b"}), None);
        let new = rotate(&*admin, None).await;
        samba.connection("app_b", new.secret.expose())
    };
    let weak = rota_targets::open(kind, &weak, &parameters("app_a"), &around()).unwrap();
    let intent = weak.intend(Slot(0), None, random()).await.unwrap();
    refused(weak.set(&intent, None).await.unwrap_err(), "must be an administrator");
    assert!(samba.log_in("app_a", FIRST));

    // Nobody of this name; the connection's own account.
    let nobody = samba.target(&json!({"username": "nobody_23"}), None);
    let intent = nobody.intend(Slot(0), None, random()).await.unwrap();
    refused(nobody.set(&intent, None).await.unwrap_err(), "no account nobody_23");
    let own =
        rota_targets::open(kind, &samba.connection("winadmin", ADMIN), &parameters("WinAdmin"), &around());
    refused(own.err().unwrap(), "the connection's own");

    // The policy wants twelve characters.
    let short = json!({"username": "app_a", "rotationMethod": "login-as-target", "passwordRequirements":
        {"length": 8, "required": {"digits": 1, "lowercase": 1, "uppercase": 1, "symbols": 0}}});
    let short = samba.target(&short, Some(FIRST));
    let first = credential("app_a", FIRST);
    let intent = short.intend(Slot(0), Some(&first), random()).await.unwrap();
    refused(short.set(&intent, Some(&first)).await.unwrap_err(), "password policy");
    assert!(samba.log_in("app_a", FIRST));

    // A password that somebody else changed.
    let wrong = credential("app_a", "not-the-Passw0rd");
    refused(short.set(&intent, Some(&wrong)).await.unwrap_err(), "somebody else changed it");
    let Intent::Set { credential: intended, .. } = &intent else { panic!("rota chooses") };
    assert_eq!(short.log_in(intended).await, Ok(Login::Refused));
}

/// What can't encrypt is sent nothing; what demands encryption gets it; a server that lets everybody in as a guest has
/// accepted no password.
#[tokio::test]
async fn nothing_goes_over_the_wire_in_the_clear() {
    let Some(plain) = Samba::start(&["server smb encrypt = off"]).await else { return };
    let admin = plain.target(&json!({"username": "app_a"}), None);
    let intent = admin.intend(Slot(0), None, random()).await.unwrap();
    let failure = admin.set(&intent, None).await.unwrap_err();
    assert_eq!(failure.certainty, Certainty::Unchanged, "{failure}");
    assert!(failure.text().contains("does not encrypt"), "{failure}");
    assert!(plain.log_in("app_a", FIRST));

    let strict =
        Samba::start(&["server smb encrypt = required", "map to guest = bad password"]).await.unwrap();
    let admin = strict.target(&json!({"username": "app_a"}), None);
    rotate(&*admin, None).await;
    // A guest is let in without a password, and can't encrypt.
    assert_ne!(admin.log_in(&credential("app_a", FIRST)).await, Ok(Login::Accepted));
}

/// No secret is on a command line, nor in a file that others can read, nor left behind.
#[tokio::test]
async fn secrets_are_not_shown_to_other_users() {
    let Some(samba) = Samba::start(&[]).await else { return };
    let target = Arc::new(samba.target(&json!({"username": "app_a"}), None));
    let intent = target.intend(Slot(0), None, random()).await.unwrap();
    let Intent::Set { credential: intended, .. } = &intent else { panic!("rota chooses") };
    let secrets = [ADMIN.to_owned(), intended.secret.expose().to_owned()];
    let (sender, mut done) = tokio::sync::oneshot::channel();
    let setting = Arc::clone(&target);
    let set = tokio::spawn(async move {
        for _ in 0..5 {
            setting.set(&intent, None).await.unwrap();
        }
        let _ = sender.send(());
    });
    let mut seen = 0;
    while done.try_recv().is_err() {
        for arguments in arguments_of("rpcclient") {
            if arguments.contains(&format!("\0{}\0", samba.port)) {
                seen += 1;
                assert!(secrets.iter().all(|secret| !arguments.contains(secret)), "{arguments}");
                for file in files_of(&arguments) {
                    let mode = std::fs::metadata(&file).map_or(0o600, |data| {
                        use std::os::unix::fs::PermissionsExt as _;
                        data.permissions().mode() & 0o777
                    });
                    assert_eq!(mode, 0o600, "{}", file.display());
                }
            }
        }
        tokio::task::yield_now().await;
    }
    set.await.unwrap();
    assert!(seen > 0, "the process was never looked at");
}

fn arguments_of(program: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    lines.filter(|line| line.starts_with(program)).collect()
}

fn files_of(arguments: &str) -> Vec<PathBuf> {
    let parts: Vec<_> = arguments.split('\0').collect();
    let after = |name: &str| parts.iter().position(|part| *part == name).and_then(|at| parts.get(at + 1));
    ["--configfile", "--authentication-file"]
        .iter()
        .filter_map(|name| after(name))
        .map(PathBuf::from)
        .collect()
}

#[tokio::test]
async fn nobody_there_is_no_refusal() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let failure = rota_targets::check(connection(port, "winadmin", ADMIN), &around()).await.err().unwrap();
    assert_eq!((failure.certainty, failure.may_pass), (Certainty::Unchanged, true));
    assert!(failure.text().contains("can't be reached"), "{failure}");
}
