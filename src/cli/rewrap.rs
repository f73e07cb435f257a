//! `rota rewrap`.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use rota::app::master_key_file::NotRewrapped;
use rota::app::{App, Failure};
use rota::sealing::{MasterKey, SealError};
use rota::telemetry::{self, LogFormat};
use serde_json::json;
use zeroize::Zeroizing;

use super::client::ServerArgs;
use super::error::Stop;
use super::jobs;
use super::progress::Progress;
use super::store::{self, StoreArgs};

const EXAMPLES: &str = "\
No event is touched and no secret changes. The new key takes the old one's place in its file; a
crash at any point leaves a ledger that starts, and `rota rewrap --resume` finishes the work.
Where the key comes from ROTA_MASTER_KEY, set that to the new key afterwards (and, after a
crash, ROTA_MASTER_KEY_PREVIOUS to the old one).

Backups made before need the old key still: keep it as long as them.

Examples:
  rota rewrap --generate
  openssl rand -base64 32 > new.key && chmod 600 new.key && rota rewrap --new-master-key-file new.key
  rota rewrap --resume
  rota rewrap --url http://127.0.0.1:8700 --new-master-key-file /etc/rota/new.key";

/// Put everything that is sealed under a new master key
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, group(clap::ArgGroup::new("which").required(true)))]
pub struct Rewrap {
    /// The new key: a file of mode 0600 with base64 of 32 bytes; with --url, on the server's machine
    #[arg(long, value_name = "PATH", group = "which")]
    new_master_key_file: Option<PathBuf>,
    /// Make a new key
    #[arg(long, group = "which")]
    generate: bool,
    /// Finish a rewrapping that was cut short
    #[arg(long, group = "which")]
    resume: bool,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl Rewrap {
    pub async fn run(self) -> Result<(), Stop> {
        if let Some(remote) = self.server.clone().named()? {
            if self.generate {
                return Err(Stop::usage("a server makes no key").advise(
                    "make one on its machine with `openssl rand -base64 32`, and name it in --new-master-key-file",
                ));
            }
            let body = match self.new_master_key_file {
                None => json!({}),
                Some(file) => {
                    let file = std::path::absolute(&file).map_err(|error| {
                        Stop::failed(format!("can't tell where {} is", file.display()), error)
                    })?;
                    json!({ "newMasterKeyFile": file })
                }
            };
            jobs::run(&remote, "rewrap", "Rewrapping", &body).await?;
            say!("everything is under the new master key");
            return Ok(());
        }
        telemetry::init_quiet(LogFormat::Text, "error");
        self.store.existing()?;
        let new = self.new_key()?;
        let opened = store::open(self.store.options()?).await?;
        let wrapped = self.rewrap(&opened.app, new).await;
        opened.close().await;
        say!("everything is under the new master key; {} data keys were wrapped anew", wrapped?);
        Ok(())
    }

    fn new_key(&self) -> Result<Option<MasterKey>, Stop> {
        if let Some(path) = &self.new_master_key_file {
            let key = MasterKey::from_file(path);
            return key.map(Some).map_err(|error| Stop::failed("can't use the new master key", error));
        }
        if self.resume {
            return Ok(None);
        }
        let mut bytes = Zeroizing::new([0u8; 32]);
        let filled = SystemRandom::new().fill(&mut *bytes);
        filled.map_err(|error| Stop::failed("the system gave no random bytes", error))?;
        let text = Zeroizing::new(STANDARD.encode(*bytes));
        MasterKey::from_base64(&text).map(Some).map_err(|error| Stop::failed("can't make a key", error))
    }

    async fn rewrap(&self, app: &App, new: Option<MasterKey>) -> Result<u64, Stop> {
        let progress = Progress::new("Rewrapping");
        let at = |done, total| progress.at(done, total);
        let wrapped = match new {
            None => app.resume_master_key(at).await,
            // A key that is in no file would be lost with this process.
            Some(_) if self.generate && app.master_key_file().is_none() => {
                return Err(Stop::usage(
                    "the master key comes from ROTA_MASTER_KEY, so there is no file to put a new one",
                )
                .advise("make one with `openssl rand -base64 32`, and name it in --new-master-key-file"));
            }
            Some(new) => app.change_master_key(new, at).await,
        };
        wrapped.map_err(|error| match error {
            NotRewrapped::Failed(Failure::Sealed(SealError::SameMasterKey)) => {
                Stop::failed("the master key was not changed", error)
            }
            NotRewrapped::Failed(_) => Stop::failed("the rewrapping is not finished", error)
                .advise("`rota rewrap --resume` goes on with it"),
            other => Stop::failed("the master key was not changed", other),
        })
    }
}
