//! `rota serve`.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rota::anchors::copies::Place;
use rota::app::Opened;
use rota::app::ledger::anchor::{AnchorOptions, PAUSE_SECONDS_DEFAULT};
use rota::app::ledger::keys::check_origin;
use rota::app::sessions::{self, SessionOptions};
use rota::egress::Egress;
use rota::http::fluide::TokenAnswer;
use rota::http::{ServeOptions, TlsFiles};
use rota::ledger::policy::Policy;
use rota::telemetry::{self, LogFormat};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::Stop;
use super::store::{self, StoreArgs};

const EXAMPLES: &str = "\
Environment only, never flags: ROTA_MASTER_KEY (base64 of 32 bytes), ROTA_MASTER_KEY_PREVIOUS
(while a rewrapping is unfinished), ROTA_OPERATOR_KEY (at least 32 characters).

On an empty store an operator key is made: shown once on a terminal, else written to
operator.key beside the database.

Examples:
  rota serve
  rota serve --listen 0.0.0.0:8700 --tls-cert cert.pem --tls-key key.pem
  rota serve --store sqlite:/var/lib/rota/rota.db --log-format json
  ROTA_OPERATOR_KEY=$(openssl rand -hex 32) rota serve";

/// A longer staleness than this helps nobody.
const MAX_STALENESS_MS: u64 = 60_000;

/// Serve a ledger over HTTP, until SIGTERM or SIGINT
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Serve {
    /// Where to listen
    #[arg(long, env = "ROTA_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8700")]
    listen: SocketAddr,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// A certificate chain in PEM, to speak TLS
    #[arg(long, env = "ROTA_TLS_CERT", value_name = "PATH", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM
    #[arg(long, env = "ROTA_TLS_KEY", value_name = "PATH", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Worker threads [default: one a core]
    #[arg(long, env = "ROTA_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Failed authentications that one address may have in a minute
    #[arg(long, env = "ROTA_FAILED_LOGINS_PER_MINUTE", value_name = "N", default_value_t = 100)]
    failed_logins_per_minute: u32,
    /// Believe X-Forwarded-For: only behind a proxy that sets it
    #[arg(long, env = "ROTA_TRUST_FORWARDED_FOR")]
    trust_forwarded_for: bool,
    /// Let webhooks lead to private and loopback addresses
    #[arg(long, env = "ROTA_ALLOW_PRIVATE_NETWORKS")]
    allow_private_networks: bool,
    /// How Fluide's token exchange answers
    #[arg(long, env = "ROTA_FLUIDE_TOKEN_ANSWER", value_enum, default_value_t)]
    fluide_token_answer: TokenAnswer,
    /// The issuer that session tokens name; those of another are refused
    #[arg(long, env = "ROTA_ISSUER", value_name = "NAME", default_value = sessions::ISSUER_DEFAULT, value_parser = issuer)]
    issuer: String,
    /// How long a session token lives
    #[arg(long, env = "ROTA_TOKEN_SECONDS", value_name = "N", default_value_t = sessions::TOKEN_SECONDS_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(sessions::TOKEN_SECONDS_MAX)))]
    token_seconds: u32,
    /// After so many days the key that signs session tokens is replaced
    #[arg(long, env = "ROTA_TOKEN_KEY_DAYS", value_name = "N", default_value_t = sessions::KEY_DAYS_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=3650))]
    token_key_days: u32,
    /// Answer from memory for so long after this replica was last known to be current, instead of asking the store
    /// for each request: a secret that was ended elsewhere may then be accepted for that long. Of consequence only
    /// where several replicas share a store
    #[arg(long, env = "ROTA_MAX_STALENESS_MS", value_name = "MILLISECONDS", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(0..=MAX_STALENESS_MS))]
    max_staleness_ms: u64,
    /// The name of the log that checkpoints carry, such as ledger.example.com/prod: fixed at the first start, after
    /// which another one is refused [default: one of rota's own making]
    #[arg(long, env = "ROTA_LEDGER_ORIGIN", value_name = "NAME", value_parser = origin)]
    ledger_origin: Option<String>,
    /// Where what was signed last is kept outside the store, so that an older copy of that is known for one
    /// [default: beside the master key]
    #[arg(long, env = "ROTA_LEDGER_GUARD", value_name = "PATH")]
    ledger_guard: Option<PathBuf>,
    /// Record who reads events, histories, reports and handed-over secrets: an event a minute at most for each
    #[arg(long, env = "ROTA_RECORD_READS")]
    record_reads: bool,
    #[command(flatten)]
    anchors: Anchors,
    /// How log lines are written to stderr
    #[arg(long, env = "ROTA_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// Who else has the checkpoints.
#[derive(clap::Args)]
struct Anchors {
    /// A file that names the witnesses which cosign checkpoints, with their keys and URLs, and how many of them are
    /// enough (c2sp.org/tlog-policy)
    #[arg(long, env = "ROTA_WITNESSES", value_name = "FILE")]
    witnesses: Option<PathBuf>,
    /// Where checkpoints are copied to: a folder, or an address that takes them by PUT and gives the last one back by
    /// GET. Several, separated by commas
    #[arg(long, env = "ROTA_CHECKPOINT_COPIES", value_name = "FOLDER|URL", value_delimiter = ',')]
    checkpoint_copies: Vec<Place>,
    /// A file with the bearer token for copies at addresses
    #[arg(long, env = "ROTA_CHECKPOINT_COPIES_TOKEN_FILE", value_name = "PATH")]
    checkpoint_copies_token_file: Option<PathBuf>,
    /// How often witnesses and copies get a checkpoint, if the ledger has grown
    #[arg(long, env = "ROTA_ANCHOR_SECONDS", value_name = "N", default_value_t = PAUSE_SECONDS_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=86_400))]
    anchor_seconds: u32,
}

impl Anchors {
    fn options(&self) -> Result<AnchorOptions, Stop> {
        let policy = self.witnesses.as_deref().map(witnesses).transpose()?;
        Ok(AnchorOptions {
            policy,
            copies: self.checkpoint_copies.clone(),
            bearer: self.checkpoint_copies_token_file.clone(),
            pause: Duration::from_secs(u64::from(self.anchor_seconds)),
        })
    }
}

/// Reads the file that names the witnesses.
pub fn witnesses(path: &std::path::Path) -> Result<Policy, Stop> {
    let failed = |error| Stop::failed(format!("can't read {}", path.display()), error);
    let policy: Policy = std::fs::read_to_string(path)
        .map_err(failed)?
        .parse()
        .map_err(|error| Stop::failed(format!("{}", path.display()), error))?;
    let bad = policy.witnesses.iter().find(|witness| {
        let url = witness.url.as_deref().map(reqwest::Url::parse);
        !matches!(url, Some(Ok(url)) if matches!(url.scheme(), "http" | "https"))
    });
    match bad {
        None => Ok(policy),
        Some(witness) => {
            Err(Stop::refused(format!("{}: the witness {} has no URL", path.display(), witness.name)).advise(
                "its line is `witness NAME KEY URL`, with the http(s) URL below which it takes checkpoints",
            ))
        }
    }
}

impl Serve {
    pub async fn run(self) -> Result<(), Stop> {
        telemetry::init(self.log_format);
        telemetry::metrics();
        let mut signals = Signals::new()?;
        let mut options = self.store.options()?;
        options.operator_key = store::operator_key()?;
        options.egress = Egress::new(self.allow_private_networks);
        options.sessions = SessionOptions {
            issuer: self.issuer.clone(),
            token_seconds: self.token_seconds,
            key_days: self.token_key_days,
        };
        options.max_staleness = Duration::from_millis(self.max_staleness_ms);
        options.ledger_origin.clone_from(&self.ledger_origin);
        options.ledger_guard.clone_from(&self.ledger_guard);
        options.record_reads = self.record_reads;
        options.anchors = self.anchors.options()?;
        let opened = tokio::select! {
            opened = store::open(options) => opened?,
            () = signals.wait() => return Ok(()),
        };
        self.show_operator_key(&opened)?;
        let tls = self.tls_cert.zip(self.tls_key);
        let options = ServeOptions {
            listen: self.listen,
            tls: tls.map(|(certificate, key)| TlsFiles { certificate, key }),
            workers: self.workers.map(usize::from),
            failed_logins_per_minute: self.failed_logins_per_minute,
            trust_forwarded_for: self.trust_forwarded_for,
            fluide_token_answer: self.fluide_token_answer,
        };
        let running = match rota::http::start(Arc::clone(&opened.app), options).await {
            Ok(running) => running,
            Err(error) => {
                opened.close().await;
                return Err(not_listening(self.listen, error));
            }
        };
        announce(&format!("rota is serving on {}", running.url))?;
        signals.wait().await;
        tracing::info!("stopping");
        running.stop().await;
        opened.close().await;
        Ok(())
    }

    fn show_operator_key(&self, opened: &Opened) -> Result<(), Stop> {
        let Some(key) = &opened.operator_key else { return Ok(()) };
        let shown = "the operator key, shown this once and kept nowhere:";
        match self.store.operator_key_path() {
            // Of the two streams this is the one that is surely a screen, and no file.
            _ if std::io::stdout().is_terminal() => say!("{shown}\n\n  {}\n", key.expose()),
            Some(path) => {
                store::write_operator_key(&path, key).map_err(|error| {
                    let what = format!("can't write the operator key to {}", path.display());
                    Stop::failed(what, error).advise("set another one in ROTA_OPERATOR_KEY at the next start")
                })?;
                eprintln!("rota: the operator key is in {}", path.display());
            }
            None => eprintln!("rota: {shown} {}", key.expose()),
        }
        Ok(())
    }
}

/// A name that fits into every token.
fn issuer(text: &str) -> Result<String, String> {
    if (1..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err("an issuer has 1 to 200 visible ASCII characters".to_owned())
}

/// A log's name.
fn origin(text: &str) -> Result<String, String> {
    check_origin(text).map(|()| text.to_owned())
}

/// Why the address can't be had, and what to do.
pub fn not_listening(listen: SocketAddr, error: std::io::Error) -> Stop {
    let stop = Stop::failed(format!("can't listen on {listen}"), error);
    stop.advise("name another address with --listen; port 0 takes any free port")
}

/// Prints a line that somebody may be waiting for.
pub fn announce(line: &str) -> Result<(), Stop> {
    let mut out = std::io::stdout().lock();
    let printed = writeln!(out, "{line}").and_then(|()| out.flush());
    printed.map_err(|error| Stop::failed("can't write to stdout", error))
}

/// SIGTERM and SIGINT. Caught from the moment that this is made.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn new() -> Result<Self, Stop> {
        let catch = |kind| signal(kind).map_err(|error| Stop::failed("can't catch signals", error));
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    /// Returns at the first of either.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
