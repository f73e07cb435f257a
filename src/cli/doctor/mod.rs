//! `rota doctor`.

mod anchors;
#[cfg(feature = "esdb")]
mod esdb;
mod machine;
mod postgres;

use std::path::{Path, PathBuf};

use rota::anchors::copies::Place;
use rota::app::StoreUrl;
use rota::app::at_rest::AtRest;
use rota::app::snapshot::Snapshots;
use rota::log::sqlite::beside;
use rota::log::sqlite::inspect::{self, Inspection};
use rota::sealing::MasterKey;
use rota::telemetry::{self, LogFormat};
use serde_json::{Value, json};

use self::machine::{clock, disk_space, flush, folder_mode, mode};
use super::error::{Stop, chain};
use super::output::{self, Format, FormatArgs};
use super::store::StoreArgs;

const EXAMPLES: &str = "\
Looks and changes nothing. Works while the ledger is served, too; what only the serving process
can tell is left out.

Examples:
  rota doctor
  rota doctor --store sqlite:/var/lib/rota/rota.db --format json";

/// Find out what is wrong with this installation, and how to mend it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Doctor {
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// The file that names the witnesses, as `rota serve` has it
    #[arg(long, env = "ROTA_WITNESSES", value_name = "FILE")]
    witnesses: Option<PathBuf>,
    /// Where checkpoints are copied to, as `rota serve` has it
    #[arg(long, env = "ROTA_CHECKPOINT_COPIES", value_name = "FOLDER|URL", value_delimiter = ',')]
    checkpoint_copies: Vec<Place>,
    #[command(flatten)]
    output: FormatArgs,
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// Worth knowing; nothing has to be done.
    Note,
    Bad,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Bad => "bad",
        }
    }
}

struct Finding {
    check: &'static str,
    state: State,
    says: String,
    mend: String,
}

fn good(check: &'static str, says: impl Into<String>) -> Finding {
    Finding { check, state: State::Good, says: says.into(), mend: String::new() }
}

fn note(check: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { check, state: State::Note, says: says.into(), mend: mend.into() }
}

fn bad(check: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { check, state: State::Bad, says: says.into(), mend: mend.into() }
}

impl Doctor {
    pub async fn run(self) -> Result<(), Stop> {
        telemetry::init_quiet(LogFormat::Text, "off");
        self.store.kept()?;
        let path = match &self.store.store {
            StoreUrl::Sqlite(path) => path.to_owned(),
            _ => return self.shared().await,
        };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let mut findings = Vec::new();
        if folder.is_dir() {
            findings.push(folder_mode(&folder));
            findings.push(disk_space(&folder));
            findings.push(flush(&folder));
        } else {
            let mend = "name the right store with --store, or start with `rota serve` or `rota quickstart`";
            findings.push(bad("folder", format!("{} is not there", folder.display()), mend));
        }
        let locked = inspect::is_locked(&path);
        findings.push(match &locked {
            Ok(true) => good("lock", "held: a rota process has the ledger open"),
            Ok(false) => good("lock", "free: nobody has the ledger open"),
            Err(error) => bad("lock", chain(error), "make the lock file readable for this user"),
        });
        findings.push(self.master_key()?);
        self.anchors(&mut findings);
        if path.exists() {
            match inspect::inspect(&path).await {
                Ok(seen) => {
                    let free = matches!(locked, Ok(false));
                    self.ledger(&path, &seen, free, &mut findings).await?;
                }
                Err(error) => findings.push(bad(
                    "database",
                    format!("{} can't be read: {}", path.display(), chain(&error)),
                    "if it is no ledger of rota's or is damaged, restore a backup",
                )),
            }
        } else if folder.is_dir() {
            let mend = "name the right store with --store, or start with `rota serve` or `rota quickstart`";
            findings.push(bad("database", format!("{} is not there", path.display()), mend));
        }
        self.tell(&findings)
    }

    fn tell(&self, findings: &[Finding]) -> Result<(), Stop> {
        print(self.output.format, findings);
        if findings.iter().any(|f| f.state == State::Bad) { Err(Stop::bad()) } else { Ok(()) }
    }

    async fn shared(&self) -> Result<(), Stop> {
        let mut findings = vec![self.master_key()?];
        self.anchors(&mut findings);
        match &self.store.store {
            StoreUrl::Postgres(url) => postgres::look(url, &mut findings).await,
            #[cfg(feature = "esdb")]
            StoreUrl::Esdb(url) => self.cluster(url, &mut findings).await?,
            StoreUrl::Sqlite(_) | StoreUrl::Memory => {}
        }
        self.tell(&findings)
    }

    fn master_key(&self) -> Result<Finding, Stop> {
        if std::env::var_os("ROTA_MASTER_KEY").is_some() {
            return Ok(match self.store.options() {
                Ok(_) => good("master key", "given in ROTA_MASTER_KEY"),
                Err(_) => {
                    bad("master key", "ROTA_MASTER_KEY holds no key", "it must be base64 of exactly 32 bytes")
                }
            });
        }
        let path = self.store.options()?.master_key_path();
        Ok(match MasterKey::from_file(&path) {
            Ok(_) if rota::app::previous_key_path(&path).exists() => bad(
                "master key",
                format!("a rewrapping under {} was not finished", path.display()),
                "run `rota rewrap --resume`",
            ),
            Ok(_) => good("master key", format!("in {}", path.display())),
            Err(error) => bad("master key", chain(&error), "without it nothing in the ledger can be opened"),
        })
    }

    async fn ledger(
        &self,
        path: &Path,
        seen: &Inspection,
        free: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Stop> {
        let (schema, known) = (seen.schema, seen.schema_known);
        findings.push(if schema > known {
            let says = format!("schema {schema}, and this rota knows schemas up to {known}");
            bad("database", says, "start the newer rota, or restore a backup from before the upgrade")
        } else {
            good("database", format!("schema {schema}, {} events", seen.next))
        });
        findings.push(clock(seen));
        findings.push(operator_key(self.store.operator_key_path(), seen));
        findings.push(match inspect::views_position(&beside(path, "views")).await {
            Ok(None) => note("views", "not there", "nothing: they are folded at the next start"),
            Ok(Some(at)) if at > seen.next => note(
                "views",
                format!("they hold {at} events and the ledger {}: it was restored from a backup", seen.next),
                "nothing: they are folded anew at the next start",
            ),
            Ok(Some(at)) => good("views", format!("folded up to {at} of {}", seen.next)),
            Err(error) => {
                bad("views", chain(&error), "delete the views' file: it is folded again at the next start")
            }
        });
        let snapshots = Snapshots::beside(path).list();
        if !free || schema > known {
            findings.push(good("snapshot", format!("{} there, not opened", snapshots.len())));
            return Ok(());
        }
        let ledger = match AtRest::open(self.store.options()?).await {
            Ok(ledger) => ledger,
            Err(error) => {
                findings.push(bad("ledger", chain(&error), "see above"));
                return Ok(());
            }
        };
        self.anchored(&ledger, seen.next.0, findings).await;
        match &ledger.keys {
            Err(error) => findings.push(bad(
                "ledger",
                chain(error),
                "put the right master key in its place; a backup of it opens the ledger as well",
            )),
            Ok(_) if snapshots.is_empty() => {
                findings.push(good("ledger", "the master key opens it"));
                findings.push(note("snapshot", "none", "nothing: every event is folded at the next start"));
            }
            Ok(keys) => {
                findings.push(good("ledger", "the master key opens it"));
                findings.push(match ledger.snapshots.newest(keys) {
                    Some((_, held)) if held.end > seen.next => bad(
                        "snapshot",
                        format!(
                            "it holds {} events, and the ledger {}: events are missing at the end",
                            held.end, seen.next
                        ),
                        "if the ledger was restored from an older backup on purpose, delete the snapshots; \
                         else find the right database file",
                    ),
                    Some((_, held)) => {
                        good("snapshot", format!("whole, up to {} of {}", held.end, seen.next))
                    }
                    None => bad(
                        "snapshot",
                        "none of those that are there is whole",
                        "delete them: every event is folded at the next start. Then run `rota verify`",
                    ),
                });
            }
        }
        Ok(())
    }
}

fn operator_key(file: Option<PathBuf>, seen: &Inspection) -> Finding {
    if !seen.names.iter().any(|name| name == "operator-key") {
        return note("operator key", "none yet", "the first `rota serve` makes one");
    }
    let there = file.filter(|path| path.exists());
    match there.as_deref().map(|path| (path, mode(path))) {
        Some((path, Ok(mode))) if mode & 0o077 != 0 => bad(
            "operator key",
            format!("{} has mode {mode:04o}: others could read it", path.display()),
            format!(
                "run `chmod 600 {}`, and set another key with ROTA_OPERATOR_KEY at the next start",
                path.display()
            ),
        ),
        Some((path, _)) => good("operator key", format!("set; in {}", path.display())),
        None => {
            good("operator key", "set; if it is lost, set another with ROTA_OPERATOR_KEY at the next start")
        }
    }
}

fn print(format: Format, findings: &[Finding]) {
    let documents: Vec<Value> = findings
        .iter()
        .map(|f| json!({ "check": f.check, "state": f.state.name(), "says": f.says, "mend": f.mend }))
        .collect();
    let rows: Vec<_> = findings
        .iter()
        .map(|f| vec![f.state.name().to_owned(), f.check.to_owned(), f.says.clone(), f.mend.clone()])
        .collect();
    if format == Format::Table {
        for f in findings {
            say!("{:4}  {:13} {}", f.state.name(), f.check, f.says);
            if !f.mend.is_empty() {
                say!("      {:13} → {}", "", f.mend);
            }
        }
    } else {
        output::many(format, &documents, &["state", "check", "says", "mend"], &rows);
    }
}
