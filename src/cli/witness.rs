//! `rota witness`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rota::app::clock::SystemClock;
use rota::http::TlsFiles;
use rota::ledger::note::VerifierKey;
use rota::telemetry::{self, LogFormat};
use rota::witness::{Folder, Witness as Serving, WitnessError};
use serde_json::{Value, json};

use super::error::Stop;
use super::output::{self, Format};
use super::serve::{Signals, announce, not_listening};

const EXAMPLES: &str = "\
A witness keeps, for each log that it knows, the last checkpoint that it cosigned, and cosigns none that does
not go on from it: whoever wants two cosignatures on two histories has to find another one. Run it on another
machine than the log's, by other people. Any log that speaks C2SP's tlog-witness can use it.

Examples:
  rota witness init --name witness.example.org/w1
  rota witness add 'ledger.example.com/prod+1a2b3c4d+AQ…'
  rota witness serve --listen 0.0.0.0:8701 --tls-cert cert.pem --tls-key key.pem
  rota witness list

Its folder is never restored from a backup: what it cosigned last is in there, and an older state could be made
to cosign another history. When the folder is lost, make a witness with another name.";

/// Cosign what other ledgers sign, so that none can show two histories
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Witness {
    #[command(subcommand)]
    what: What,
    /// The folder with its key and what it remembers
    #[arg(
        long,
        env = "ROTA_WITNESS_DIR",
        value_name = "PATH",
        default_value = "rota-witness",
        global = true
    )]
    dir: PathBuf,
    /// How to print it
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table", global = true)]
    format: Format,
}

#[derive(clap::Subcommand)]
enum What {
    /// Make a witness, and print the key that its cosignatures are checked with
    Init {
        /// Its name: a URL without scheme, such as witness.example.org/w1
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Make a log known by its verifier key; a further key of a known log counts beside the others
    Add {
        /// The log's verifier key, which you got from its operator
        #[arg(value_name = "VKEY")]
        vkey: VerifierKey,
    },
    /// List the logs that are known, what was cosigned last, and evidence against them
    List,
    /// Serve it, until SIGTERM or SIGINT
    Serve {
        /// Where to listen
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8701")]
        listen: SocketAddr,
        /// A certificate chain in PEM, to speak TLS
        #[arg(long, value_name = "PATH", requires = "tls_key")]
        tls_cert: Option<PathBuf>,
        /// The certificate's private key in PEM
        #[arg(long, value_name = "PATH", requires = "tls_cert")]
        tls_key: Option<PathBuf>,
        /// How log lines are written to stderr
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        log_format: LogFormat,
    },
}

impl Witness {
    pub async fn run(self) -> Result<(), Stop> {
        let folder = Folder::new(&self.dir);
        let failed = |error: WitnessError| Stop::failed("the witness", error);
        match self.what {
            What::Init { name } => {
                let key = folder.init(&name).map_err(failed)?;
                let fields = [("vkey", key.to_string())];
                output::one(self.format, &json!({ "vkey": key.to_string() }), &fields);
            }
            What::Add { vkey } => {
                folder.add(&vkey).map_err(failed)?;
                say!("{} is known from now on", vkey.name());
            }
            What::List => {
                let logs = folder.logs().map_err(failed)?;
                let documents: Vec<Value> = logs
                    .iter()
                    .map(|log| {
                        json!({
                            "origin": log.origin,
                            "size": log.last.as_ref().map(|last| last.size),
                            "root": log.last.as_ref().map(|last| last.root.to_string()),
                            "keys": log.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
                            "evidence": log.evidence,
                        })
                    })
                    .collect();
                let row = |log: &Value| {
                    let evidence = log["evidence"].as_array().map_or(0, Vec::len).to_string();
                    vec![output::text(&log["origin"]), output::text(&log["size"]), evidence]
                };
                let rows: Vec<_> = documents.iter().map(row).collect();
                output::many(self.format, &documents, &["origin", "size", "evidence"], &rows);
            }
            What::Serve { listen, tls_cert, tls_key, log_format } => {
                telemetry::init(log_format);
                let mut signals = Signals::new()?;
                let witness = Arc::new(Serving::open(folder, Arc::new(SystemClock)).map_err(failed)?);
                let tls = tls_cert.zip(tls_key).map(|(certificate, key)| TlsFiles { certificate, key });
                let running = rota::http::witness::start(witness, listen, tls)
                    .await
                    .map_err(|error| not_listening(listen, error))?;
                announce(&format!("rota is witnessing on {}", running.url))?;
                signals.wait().await;
                running.stop().await;
            }
        }
        Ok(())
    }
}
