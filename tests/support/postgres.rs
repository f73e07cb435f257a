//! A throwaway PostgreSQL: one cluster for a test binary, a schema for each test (a database costs a thousand files,
//! and the tests' machines feel that). It is started on a free port of
//! the loopback as another user than root, and it ends with this process, however that ends: a shell beside it
//! waits for the end of a pipe, then kills the server and removes its folder.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, PgConnection};

/// A running cluster.
pub struct Cluster {
    pub port: u16,
    folder: PathBuf,
    made: AtomicU32,
    /// Its end is the server's end.
    _pipe: ChildStdin,
}

/// A folder in memory, if there is that.
fn scratch() -> PathBuf {
    let mut builder = tempfile::Builder::new();
    builder.prefix("rota-pg-");
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap().keep()
}

/// How to run a server that refuses root: in front of its command.
pub fn unprivileged() -> Vec<&'static str> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.starts_with(b"0\n"));
    if root { vec!["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] } else { vec!["env"] }
}

/// The folder of the newest server that is installed.
pub fn programs() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = installed.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()).max();
    if let Some(version) = newest {
        return format!("/usr/lib/postgresql/{version}/bin").into();
    }
    let asked =
        Command::new("pg_config").arg("--bindir").output().expect("PostgreSQL is installed: ./test does it");
    String::from_utf8(asked.stdout).unwrap().trim().into()
}

fn run(command: &mut Command) {
    let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&out.stdout));
}

/// A certificate for `localhost`, by an authority of its own.
fn certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        run(Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder));
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority");
    openssl("req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost");
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names",
    );
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -days 2 -subj /CN=other");
}

/// A cluster that takes longer does not start.
const STARTING: Duration = Duration::from_mins(1);
const ACCESS: &str = "\
hostnossl only_tls all all reject
hostssl only_tls all all trust
host with_password all all scram-sha-256
host all all 127.0.0.1/32 trust
local all all trust
";

impl Cluster {
    /// One that nobody else uses, so that it may be crashed.
    pub fn start() -> Self {
        let folder = scratch();
        let (data, user) = (folder.join("data"), unprivileged());
        let tool = |program: &Path| {
            let mut command = Command::new(user[0]);
            command.args(&user[1..]).arg(program).current_dir(&folder);
            command
        };
        certificates(&folder);
        if user.len() > 1 {
            run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(&folder));
        }
        let bin = programs();
        let settings = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"];
        run(tool(&bin.join("initdb")).args(settings).arg(&data));
        std::fs::write(data.join("pg_hba.conf"), ACCESS).unwrap();
        run(Command::new("chmod").arg("600").arg(folder.join("server.key")));
        let began = Instant::now();
        loop {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let pipe = serve(&folder, &user, &bin, port);
            let lock = data.join("postmaster.pid");
            let ready = || std::fs::read_to_string(&lock).is_ok_and(|text| text.contains("ready"));
            let failed =
                || std::fs::read_to_string(folder.join("log")).is_ok_and(|log| log.contains("FATAL"));
            while !ready() && !failed() {
                assert!(began.elapsed() < STARTING, "PostgreSQL starts");
                std::thread::park_timeout(Duration::from_millis(20));
            }
            // Somebody may have taken the port in between.
            if ready() {
                return Self { port, folder, made: AtomicU32::new(0), _pipe: pipe };
            }
        }
    }

    /// The cluster of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// The authority that signed the server's certificate, and one that did not.
    pub fn authorities(&self) -> [PathBuf; 2] {
        [self.folder.join("ca.pem"), self.folder.join("other.pem")]
    }

    /// The address of a schema, or of a database by name.
    pub fn url(&self, schema: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?options[search_path]={schema}", self.port)
    }

    /// A database that nobody else uses, for what can't be told apart by schema. Its name.
    pub async fn database(&self) -> String {
        let name = format!("test_{}", self.made.fetch_add(1, Ordering::SeqCst));
        let mut admin = self.connect("public").await;
        admin.execute(format!("CREATE DATABASE {name}").as_str()).await.unwrap();
        name
    }

    /// Connects past rota, as the superuser.
    pub async fn connect(&self, schema: &str) -> PgConnection {
        let options: PgConnectOptions = self.url(schema).parse().unwrap();
        options.disable_statement_logging().connect().await.unwrap()
    }

    /// The name of a schema that nobody else uses, and which is there.
    pub async fn schema(&self) -> String {
        let name = format!("test_{}", self.made.fetch_add(1, Ordering::SeqCst));
        let mut admin = self.connect("public").await;
        admin.execute(format!("CREATE SCHEMA {name}").as_str()).await.unwrap();
        name
    }

    /// Ends connections with this name, as a fail-over or an administrator does. How many.
    pub async fn cut(&self, admin: &mut PgConnection, application: &str) -> i64 {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
        sqlx::query_scalar(sql).bind(application).fetch_one(admin).await.unwrap()
    }
}

fn serve(folder: &Path, user: &[&str], bin: &Path, port: u16) -> ChildStdin {
    let script = format!(
        "{} {bin}/postgres -D {folder}/data -p {port} -k {folder} -h 127.0.0.1 -c fsync=off \
         -c max_connections=300 -c ssl=on -c ssl_cert_file={folder}/server.pem -c ssl_key_file={folder}/server.key \
         >{folder}/log 2>&1 & \
         read -r _; kill -QUIT $!; wait; rm -rf {folder}",
        user.join(" "),
        bin = bin.display(),
        folder = folder.display(),
    );
    let mut command = Command::new("sh");
    // In a group of its own, so that an interrupt of the tests leaves it its work.
    command
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .current_dir(folder);
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.flush().unwrap();
    // Nobody waits for it: it outlives this process by a moment.
    drop(child);
    pipe
}
