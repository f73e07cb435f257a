//! Whose signatures count, and checkpoints that were kept: `--vkey`, `--from`, `--save`.

use std::fs;
use std::path::{Path, PathBuf};

use rota::file::write_whole;
use rota::ledger::checkpoint::Checkpoint;
use rota::ledger::note::{SignedNote, VerifierKey};
use rota::ledger::policy::Policy;

use crate::cli::error::Stop;

/// Files that are read here have at most so many bytes.
const BYTES_MAX: u64 = 64 * 1_024;

/// Whose signatures count, and from which checkpoint on.
#[derive(clap::Args, Clone)]
pub struct TrustArgs {
    /// A verifier key that you got from the operator in another way, or a file with some, one a line. Without any, the
    /// keys that the ledger itself names are taken
    #[arg(long, value_name = "KEY|FILE", env = "ROTA_VKEY")]
    vkey: Vec<String>,
    /// A policy (c2sp.org/tlog-policy): the checkpoint must be cosigned by its quorum of witnesses, too. The keys of logs
    /// in it count as those of --vkey do
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A checkpoint that was kept before: what it signed for must still be there
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Keep the checkpoint in this file if all is well, for --from the next time
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// A checkpoint as it was kept.
pub struct Kept {
    pub note: String,
    pub checkpoint: Checkpoint,
}

/// Reads a small file.
pub fn read(path: &Path) -> Result<String, Stop> {
    let failed = |error| Stop::failed(format!("can't read {}", path.display()), error);
    if fs::metadata(path).map_err(failed)?.len() > BYTES_MAX {
        return Err(Stop::refused(format!("{} is too large to be what is asked for", path.display())));
    }
    fs::read_to_string(path).map_err(failed)
}

impl TrustArgs {
    /// The keys that were given.
    pub fn keys(&self) -> Result<Vec<VerifierKey>, Stop> {
        let mut keys = Vec::new();
        for given in &self.vkey {
            let key = |text: &str| {
                text.parse().map_err(|error| Stop::failed(format!("{text} is no verifier key"), error))
            };
            if given.contains('+') && !Path::new(given).exists() {
                keys.push(key(given)?);
            } else {
                let file = read(Path::new(given))?;
                for line in file.lines().map(str::trim).filter(|line| !line.is_empty()) {
                    keys.push(key(line)?);
                }
            }
        }
        keys.extend(self.policy()?.into_iter().flat_map(|policy| policy.logs));
        Ok(keys)
    }

    /// The policy, if one is named.
    pub fn policy(&self) -> Result<Option<Policy>, Stop> {
        let Some(path) = &self.policy else { return Ok(None) };
        let wrong = |error| Stop::failed(path.display().to_string(), error);
        read(path)?.parse().map_err(wrong).map(Some)
    }

    /// The checkpoint that was kept, if one is named.
    pub fn kept(&self) -> Result<Option<Kept>, Stop> {
        let Some(path) = &self.from else { return Ok(None) };
        let note = read(path)?;
        let parsed = SignedNote::parse(&note).ok().and_then(|n| Checkpoint::parse(n.text()).ok());
        let checkpoint =
            parsed.ok_or_else(|| Stop::refused(format!("{} holds no checkpoint", path.display())))?;
        Ok(Some(Kept { note, checkpoint }))
    }

    /// Keeps a checkpoint.
    pub fn save(&self, note: Option<&str>) -> Result<(), Stop> {
        let (Some(path), Some(note)) = (&self.save, note) else { return Ok(()) };
        write_whole(path, note.as_bytes())
            .map_err(|error| Stop::failed(format!("can't write {}", path.display()), error))
    }
}

/// Whether the quorum of a policy cosigned a note.
pub fn cosigned_by(note: &str, policy: &Policy) -> bool {
    SignedNote::parse(note).is_ok_and(|note| policy.is_satisfied(&note))
}

/// Whether one of these keys signed a note.
pub fn signed_by(note: &str, keys: &[VerifierKey]) -> bool {
    keys.iter().any(|key| Checkpoint::open(note, key).is_ok())
}
