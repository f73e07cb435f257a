//! rota as a witness of other logs: it cosigns what goes on from the last checkpoint that it cosigned, and remembers
//! that before anybody gets the cosignature.
//!
//! All of it is in one folder, which one process at a time may work on:
//!
//! | | |
//! |---|---|
//! | `witness.key` | the key's name and its secret, in one line; mode 0600 |
//! | `logs` | the verifier keys of the logs that are known, one a line |
//! | `state/HASH` | by the SHA-256 of the log's origin: the checkpoint that was cosigned last, with the cosignature; empty before the first |
//! | `evidence/HASH-…` | two checkpoints that a log signed and that contradict each other |
//!
//! A log whose state is gone is not cosigned for any more: whoever forgets what it cosigned could cosign another
//! history. Such a witness is to be retired.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use rota_aggregates::ids::Hash;
use zeroize::Zeroizing;

use crate::app::clock::Clock;
use crate::file::{sync_folder, write_whole};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::cosigning::{AddCheckpoint, NotCosigned, judge, read};
use crate::ledger::note::{SignedNote, SigningKey, VerifierKey};
use crate::log::sqlite::{make_private_folder, private_file};

/// Pairs of checkpoints that are kept as evidence; those that come later are refused all the same.
const EVIDENCE_MAX: usize = 1_000;

/// Why a witness can't do its work.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// A file.
    #[error("can't use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file that holds something else.
    #[error("{path} holds something else: {what}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// There is a witness already.
    #[error("there is a witness in {0} already")]
    Exists(PathBuf),
    /// There is none.
    #[error("there is no witness in {0}: `rota witness init` makes one")]
    NoWitness(PathBuf),
    /// Another process works on it.
    #[error("another process serves the witness in {0}")]
    InUse(PathBuf),
    /// What was cosigned last for a log is gone.
    #[error(
        "what was cosigned last for {origin} is gone: a witness that forgot could cosign another history, and so \
         it cosigns nothing more for this log"
    )]
    StateLost {
        /// The log.
        origin: String,
    },
    /// The key's name can't be one.
    #[error("a key's name has no spaces and no plus sign and is not empty")]
    BadName,
    /// A key of a witness where a log's is needed.
    #[error("this key cosigns, and signs for no log")]
    NoLogKey,
    /// The system gives no randomness.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> WitnessError {
    let path = path.to_owned();
    move |source| WitnessError::File { path, source }
}

/// The SHA-256 of an origin, in hex: where its checkpoints are found.
pub fn origin_hash(origin: &str) -> String {
    let mut hash = Hash([0; 32]);
    hash.0.copy_from_slice(digest(&SHA256, origin.as_bytes()).as_ref());
    hash.to_string()
}

/// What became of a request to cosign.
#[derive(Debug)]
pub enum Answer {
    /// The cosignature, as a signature line.
    Cosigned(String),
    /// Refused.
    Refused(NotCosigned),
}

/// A log that is known.
#[derive(Debug)]
pub struct KnownLog {
    /// Its name.
    pub origin: String,
    /// Its keys.
    pub keys: Vec<VerifierKey>,
    /// What was cosigned last.
    pub last: Option<Checkpoint>,
    /// Pairs of checkpoints of it that contradict each other.
    pub evidence: Vec<PathBuf>,
}

/// A folder with a witness in it.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn key_path(&self) -> PathBuf {
        self.0.join("witness.key")
    }

    fn logs_path(&self) -> PathBuf {
        self.0.join("logs")
    }

    fn state_path(&self, origin: &str) -> PathBuf {
        self.0.join("state").join(origin_hash(origin))
    }

    fn evidence_path(&self) -> PathBuf {
        self.0.join("evidence")
    }

    /// Makes a witness: its key. What checks its cosignatures.
    pub fn init(&self, name: &str) -> Result<VerifierKey, WitnessError> {
        let unavailable = |path: &Path, error: crate::log::LogError| WitnessError::File {
            path: path.to_owned(),
            source: io::Error::other(error),
        };
        for folder in [&self.0, &self.0.join("state"), &self.evidence_path()] {
            make_private_folder(folder).map_err(|error| unavailable(folder, error))?;
        }
        let path = self.key_path();
        if path.exists() {
            return Err(WitnessError::Exists(self.0.clone()));
        }
        let mut seed = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *seed).map_err(|_| WitnessError::NoRandomness)?;
        let key = SigningKey::of_witness(name, &seed).map_err(|_| WitnessError::BadName)?;
        // Made with its mode before anything secret is in it.
        let next = self.0.join("witness.key.next");
        private_file(&next).map_err(|error| unavailable(&next, error))?;
        let line = Zeroizing::new(format!("{name} {}\n", Zeroizing::new(STANDARD.encode(*seed)).as_str()));
        let written = || -> io::Result<()> {
            fs::write(&next, line.as_bytes())?;
            File::open(&next)?.sync_all()?;
            fs::rename(&next, &path)?;
            sync_folder(&path)
        };
        written().map_err(at(&path))?;
        Ok(key.verifier().clone())
    }

    /// The key.
    pub fn key(&self) -> Result<SigningKey, WitnessError> {
        let path = self.key_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(WitnessError::NoWitness(self.0.clone()));
            }
            Err(error) => return Err(at(&path)(error)),
        };
        let wrong = || WitnessError::Content { path: path.clone(), what: "no key of a witness".to_owned() };
        let (name, seed) = text.trim_end().split_once(' ').ok_or_else(wrong)?;
        let seed = Zeroizing::new(STANDARD.decode(seed).map_err(|_| wrong())?);
        let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| wrong())?;
        SigningKey::of_witness(name, seed).map_err(|_| wrong())
    }

    /// The keys of the logs that are known.
    pub fn keys(&self) -> Result<Vec<VerifierKey>, WitnessError> {
        let path = self.logs_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at(&path)(error)),
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|line| {
                let key: Result<VerifierKey, _> = line.parse();
                key.ok().filter(|key| !key.is_witness()).ok_or_else(|| WitnessError::Content {
                    path: path.clone(),
                    what: format!("{line} is no verifier key of a log"),
                })
            })
            .collect()
    }

    /// Makes a log known by a key of it, which is named after the log.
    pub fn add(&self, key: &VerifierKey) -> Result<(), WitnessError> {
        self.key()?;
        if key.is_witness() {
            return Err(WitnessError::NoLogKey);
        }
        let mut keys = self.keys()?;
        if keys.contains(key) {
            return Ok(());
        }
        // From here on there must be a state: one that is gone is told from one that never was.
        let state = self.state_path(key.name());
        if !keys.iter().any(|known| known.name() == key.name()) && !state.exists() {
            write_whole(&state, b"").map_err(at(&state))?;
        }
        keys.push(key.clone());
        let lines: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let path = self.logs_path();
        write_whole(&path, (lines.join("\n") + "\n").as_bytes()).map_err(at(&path))
    }

    /// The note that was cosigned last for a log that is known.
    pub fn last(&self, origin: &str) -> Result<Option<(Checkpoint, String)>, WitnessError> {
        let path = self.state_path(origin);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(WitnessError::StateLost { origin: origin.to_owned() });
            }
            Err(error) => return Err(at(&path)(error)),
        };
        if text.is_empty() {
            return Ok(None);
        }
        let parsed = SignedNote::parse(&text).ok().and_then(|note| Checkpoint::parse(note.text()).ok());
        match parsed.filter(|checkpoint| checkpoint.origin == origin) {
            Some(checkpoint) => Ok(Some((checkpoint, text))),
            None => Err(WitnessError::Content { path, what: format!("no checkpoint of {origin}") }),
        }
    }

    /// The logs that are known, and how each stands.
    pub fn logs(&self) -> Result<Vec<KnownLog>, WitnessError> {
        let mut logs: Vec<KnownLog> = Vec::new();
        for key in self.keys()? {
            match logs.iter_mut().find(|log| log.origin == key.name()) {
                Some(log) => log.keys.push(key),
                None => logs.push(KnownLog {
                    origin: key.name().to_owned(),
                    last: self.last(key.name())?.map(|(checkpoint, _)| checkpoint),
                    evidence: self.evidence(key.name())?,
                    keys: vec![key],
                }),
            }
        }
        Ok(logs)
    }

    fn evidence(&self, origin: &str) -> Result<Vec<PathBuf>, WitnessError> {
        let folder = self.evidence_path();
        let hash = origin_hash(origin);
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let path = entry.map_err(at(&folder))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&hash)) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}

/// A witness at work.
pub struct Witness {
    folder: Folder,
    key: SigningKey,
    clock: Arc<dyn Clock>,
    /// What was cosigned last is compared and replaced by one at a time.
    turn: Mutex<()>,
    /// What keeps another process out.
    _held: File,
}

impl Witness {
    /// Takes up the witness in a folder.
    pub fn open(folder: Folder, clock: Arc<dyn Clock>) -> Result<Self, WitnessError> {
        let key = folder.key()?;
        let path = folder.0.join("lock");
        let held = private_file(&path)
            .map_err(|error| WitnessError::File { path: path.clone(), source: io::Error::other(error) })?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WitnessError::InUse(folder.0)),
            Err(TryLockError::Error(error)) => return Err(at(&path)(error)),
        }
        // What can't be read is told now, and not at the first request.
        folder.logs()?;
        Ok(Self { folder, key, clock, turn: Mutex::new(()), _held: held })
    }

    /// What its cosignatures are checked with.
    pub fn verifier(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// Cosigns a checkpoint, or says why not. What was cosigned is on disk when this returns.
    pub fn add_checkpoint(&self, body: &str) -> Result<Answer, WitnessError> {
        let Some(request) = AddCheckpoint::parse(body) else {
            return Ok(Answer::Refused(NotCosigned::Malformed));
        };
        let keys = self.folder.keys()?;
        let (checkpoint, note) = match read(&request, keys.iter()) {
            Ok(read) => read,
            Err(refused) => return Ok(Answer::Refused(refused)),
        };
        let _turn = self.turn.lock();
        let last = self.folder.last(&checkpoint.origin)?;
        if let Err(refused) = judge(&request, &checkpoint, last.as_ref().map(|(last, _)| last)) {
            if refused == NotCosigned::Inconsistent
                && let Some((_, last)) = &last
            {
                self.keep_evidence(&checkpoint, last, &request)?;
            }
            return Ok(Answer::Refused(refused));
        }
        let time = self.clock.now().seconds().max(1) as u64;
        let line = self.key.cosign(note.text(), time);
        // Of others' signatures those alone that were checked.
        let of_log: String = keys.iter().filter_map(|key| note.line_of(key)).collect();
        let kept = format!("{}\n{of_log}{line}", note.text());
        let path = self.folder.state_path(&checkpoint.origin);
        write_whole(&path, kept.as_bytes()).map_err(at(&path))?;
        Ok(Answer::Cosigned(line))
    }

    /// The checkpoint that was cosigned last for the log with this hash.
    pub fn latest(&self, hash: &str) -> Result<Option<String>, WitnessError> {
        let keys = self.folder.keys()?;
        let Some(key) = keys.iter().find(|key| origin_hash(key.name()) == hash) else { return Ok(None) };
        Ok(self.folder.last(key.name())?.map(|(_, note)| note))
    }

    /// Keeps two checkpoints that a log signed. Where the sizes differ it may have been a proof that was wrong and
    /// nothing more: whoever looks at it asks the log for another one.
    fn keep_evidence(
        &self,
        checkpoint: &Checkpoint,
        last: &str,
        request: &AddCheckpoint,
    ) -> Result<(), WitnessError> {
        let known = self.folder.evidence(&checkpoint.origin)?.len();
        tracing::error!(
            origin = %checkpoint.origin, size = checkpoint.size, known,
            "a checkpoint is not proved to go on from the one that was cosigned last"
        );
        let root = &checkpoint.root.to_string()[..16];
        let name = format!("{}-{}-{root}", origin_hash(&checkpoint.origin), checkpoint.size);
        let path = self.folder.evidence_path().join(name);
        if known >= EVIDENCE_MAX || path.exists() {
            return Ok(());
        }
        let content = format!("cosigned:\n{last}\nrefused:\n{}", request.text());
        write_whole(&path, content.as_bytes()).map_err(at(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::clock::SystemClock;
    use crate::ledger::rfc6962::{leaf_hash, node_hash};

    const ORIGIN: &str = "log.example/a";

    fn log() -> SigningKey {
        SigningKey::of_log(ORIGIN, &[1; 32]).unwrap()
    }

    fn request(old: u64, proof: Vec<Hash>, size: u64, root: Hash) -> String {
        let note = Checkpoint { origin: ORIGIN.to_owned(), size, root }.sign(&[&log()]);
        AddCheckpoint { old, proof, note }.text()
    }

    fn open(path: &Path) -> Witness {
        Witness::open(Folder::new(path), Arc::new(SystemClock)).unwrap()
    }

    fn cosigned(answer: Answer) -> String {
        match answer {
            Answer::Cosigned(line) => line,
            Answer::Refused(refused) => panic!("{refused}"),
        }
    }

    #[test]
    fn what_was_cosigned_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w");
        let made = Folder::new(&path).init("w.example").unwrap();
        assert!(Folder::new(&path).init("w.example").is_err());
        let (first, second) = (leaf_hash(b"first"), leaf_hash(b"second"));
        let root = node_hash(&first, &second);
        let witness = open(&path);
        assert_eq!(*witness.verifier(), made);
        assert!(Witness::open(Folder::new(&path), Arc::new(SystemClock)).is_err(), "one process at a time");
        let unknown = witness.add_checkpoint(&request(0, vec![], 1, first)).unwrap();
        assert!(matches!(unknown, Answer::Refused(NotCosigned::UnknownLog)));
        // A log that is added while it is served is known at once.
        Folder::new(&path).add(log().verifier()).unwrap();
        let line = cosigned(witness.add_checkpoint(&request(0, vec![], 1, first)).unwrap());
        let note = witness.latest(&origin_hash(ORIGIN)).unwrap().unwrap();
        assert!(note.ends_with(&line));
        assert!(SignedNote::parse(&note).unwrap().check(&made).unwrap().is_some());
        drop(witness);

        let witness = open(&path);
        for (body, refused) in [
            (request(0, vec![], 2, root), NotCosigned::Elsewhere { has: 1 }),
            (request(1, vec![], 1, second), NotCosigned::Inconsistent),
            (request(1, vec![first], 2, root), NotCosigned::Inconsistent),
            ("old 1\n".to_owned(), NotCosigned::Malformed),
        ] {
            let answer = witness.add_checkpoint(&body).unwrap();
            assert!(matches!(&answer, Answer::Refused(why) if *why == refused), "{answer:?}");
        }
        cosigned(witness.add_checkpoint(&request(1, vec![second], 2, root)).unwrap());
        let logs = Folder::new(&path).logs().unwrap();
        assert_eq!((logs.len(), logs[0].last.as_ref().map(|last| last.size)), (1, Some(2)));
        assert_eq!(logs[0].evidence.len(), 2, "another root of one size, and a proof that is none");
    }

    #[test]
    fn a_witness_that_forgot_cosigns_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w");
        let made = Folder::new(&path);
        made.init("w.example").unwrap();
        made.add(log().verifier()).unwrap();
        let witness = open(&path);
        cosigned(witness.add_checkpoint(&request(0, vec![], 1, leaf_hash(b"first"))).unwrap());
        fs::remove_file(made.state_path(ORIGIN)).unwrap();
        let forgot = witness.add_checkpoint(&request(0, vec![], 1, leaf_hash(b"another")));
        assert!(matches!(forgot, Err(WitnessError::StateLost { .. })));
        // Nor does adding the log again help.
        made.add(log().verifier()).unwrap();
        assert!(witness.add_checkpoint(&request(0, vec![], 1, leaf_hash(b"another"))).is_err());
    }
}
