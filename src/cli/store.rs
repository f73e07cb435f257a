//! Which ledger, and the keys to it. Secrets come from the environment or from files of mode 0600, never from flags,
//! which other users of the machine can read.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use rota::app::clock::SystemClock;
use rota::app::{App, DATA, OpenError, Opened, OperatorKey, Options, StoreUrl};
use rota::sealing::MasterKey;
use rota_aggregates::secret::Secret;
use zeroize::Zeroizing;

use super::error::Stop;
use super::progress::Progress;

/// An operator key's file is not read beyond this.
const KEY_BYTES_MAX: u64 = 4_096;

/// Which ledger.
#[derive(clap::Args, Clone)]
pub struct StoreArgs {
    /// The store.
    #[arg(
        long,
        help = "The store: sqlite:PATH, postgres://USER@HOST/DATABASE, esdb://HOST:PORT, or memory: to try things \
                out. Give an address with a password in ROTA_STORE: command lines can be read by others",
        env = "ROTA_STORE",
        hide_env_values = true,
        value_name = "URL",
        value_parser = Address,
        default_value = "sqlite:rota-data/rota.db"
    )]
    pub store: StoreUrl,
    /// The master key's file, mode 0600 [default: master.key beside the database]
    #[arg(long, env = "ROTA_MASTER_KEY_FILE", value_name = "PATH")]
    pub master_key_file: Option<PathBuf>,
    /// Where a replica on a shared store keeps its own views and snapshots; one folder for each
    #[arg(long, env = "ROTA_DATA_DIR", value_name = "PATH", default_value = DATA)]
    pub data_dir: PathBuf,
}

/// Reads a store's address. What is wrong with it is said without repeating it, since it may have a password in it.
#[derive(Clone)]
pub struct Address;

impl TypedValueParser for Address {
    type Value = StoreUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<StoreUrl, clap::Error> {
        let parsed = value.to_str().ok_or("it is not UTF-8".to_owned()).and_then(str::parse);
        let wrong = |problem| {
            let names = argument.and_then(|a| Some((a.get_long()?, a.get_env()?.to_str()?)));
            let (flag, variable) = names.unwrap_or(("store", "ROTA_STORE"));
            let problem = format!("the address in --{flag} or {variable} is of no use: {problem}\n");
            clap::Error::raw(ErrorKind::ValueValidation, problem).with_cmd(command)
        };
        parsed.map_err(wrong)
    }
}

impl StoreArgs {
    /// Refuses a store that keeps nothing.
    pub fn kept(&self) -> Result<(), Stop> {
        match &self.store {
            StoreUrl::Memory => Err(Stop::usage("a store in memory keeps nothing that this could work on")
                .advise("name one with --store sqlite:PATH")),
            _ => Ok(()),
        }
    }

    /// Refuses where there is no ledger yet: only `serve` and `quickstart` make one.
    pub fn existing(&self) -> Result<(), Stop> {
        self.kept()?;
        match &self.store {
            StoreUrl::Sqlite(path) if !path.exists() => {
                Err(OpenError::NoLedger { store: self.store.to_string() }.into())
            }
            _ => Ok(()),
        }
    }

    /// What is needed to open it.
    pub fn options(&self) -> Result<Options, Stop> {
        let mut options = Options::new(self.store.clone(), Arc::new(SystemClock));
        options.master_key_file.clone_from(&self.master_key_file);
        options.data.clone_from(&self.data_dir);
        options.master_key = master_key("ROTA_MASTER_KEY")?;
        options.previous_master_key = master_key("ROTA_MASTER_KEY_PREVIOUS")?;
        Ok(options)
    }

    /// Where the operator key's file is, or would be made.
    pub fn operator_key_path(&self) -> Option<PathBuf> {
        match &self.store {
            StoreUrl::Sqlite(path) => Some(path.with_file_name("operator.key")),
            StoreUrl::Memory => None,
            _ => Some(self.data_dir.join("operator.key")),
        }
    }
}

/// A secret from the environment. The copy is zeroized; the environment itself, which only the same user can read,
/// stays as it is.
fn secret(name: &'static str) -> Result<Option<Zeroizing<String>>, Stop> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(Zeroizing::new(value))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Stop::usage(format!("{name} is not UTF-8"))),
    }
}

fn master_key(name: &'static str) -> Result<Option<MasterKey>, Stop> {
    let Some(text) = secret(name)? else { return Ok(None) };
    MasterKey::from_base64(&text).map(Some).map_err(|error| Stop::failed(name, error))
}

/// The operator key that the environment gives.
pub fn operator_key() -> Result<OperatorKey, Stop> {
    Ok(match secret("ROTA_OPERATOR_KEY")? {
        Some(key) => OperatorKey::Given(Secret::new((*key).clone())),
        None => OperatorKey::Kept,
    })
}

/// Opens the service, with a progress bar while events are folded.
pub async fn open(options: Options) -> Result<Opened, Stop> {
    let progress = Progress::new("Reading the ledger");
    Ok(App::open(options, |done, total| progress.at(done, total)).await?)
}

/// Writes the operator key to its file, for its owner alone. An older file in its place is replaced.
pub fn write_operator_key(path: &Path, key: &Secret) -> std::io::Result<()> {
    let next = path.with_extension("key.next");
    let _ = std::fs::remove_file(&next);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&next)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(key.expose().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Reads the operator key from its file; `None` if there is no such file.
pub fn read_operator_key(path: &Path) -> Result<Option<Secret>, Stop> {
    let failed = |error| Stop::failed(format!("can't read the operator key in {}", path.display()), error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let what = format!("{} has mode {mode:04o}, and others could read the operator key", path.display());
        return Err(Stop::refused(what).advise(format!("run `chmod 600 {}`", path.display())));
    }
    let mut text = Zeroizing::new(String::with_capacity(KEY_BYTES_MAX as usize));
    file.take(KEY_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(Secret::new(text.trim_end().to_owned())))
}
