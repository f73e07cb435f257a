//! The guard file: what was signed last, kept outside the store.
//!
//! Whoever puts an older copy of the store back, or loses the end of it, would sign another history for events that
//! were signed for already; the store alone can't tell. So the last signed note lies in a file beside the master key
//! too, written before the note is given to anybody.
//!
//! It has two places, written in turn, each in one write with a checksum: a torn one leaves the other. A write is in
//! the system's hands at once, and so survives the process; it is flushed to the disk once a second, so that a power
//! cut costs the guard at most that second.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ring::digest::{SHA256, digest};

use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::note::SignedNote;
use crate::log::sqlite::private_file;
use crate::log::{LogError, sqlite};

/// Begins each place.
const MAGIC: &[u8; 16] = b"rota ledger v1 \n";
/// How far the two places are apart.
const PLACE: u64 = 4_096;
/// Magic, number, length and checksum.
const HEAD: usize = 16 + 8 + 4 + 32;
/// The file is flushed this often.
const FLUSH: Duration = Duration::from_secs(1);

/// What a guard file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guarded {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Its signed note.
    pub note: String,
}

/// A guard file.
pub struct Guard {
    path: PathBuf,
    file: Arc<File>,
    state: Mutex<State>,
}

struct State {
    /// Grows with each write.
    number: u64,
    flushed: Option<Instant>,
}

fn encode(number: u64, note: &str) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&(note.len() as u32).to_le_bytes());
    let sum = digest(&SHA256, &[&bytes, note.as_bytes()].concat());
    bytes.extend_from_slice(sum.as_ref());
    bytes.extend_from_slice(note.as_bytes());
    bytes
}

/// The number of a place and its note; `None` if nothing whole is there.
fn decode(place: &[u8]) -> Option<(u64, Guarded)> {
    let rest = place.strip_prefix(MAGIC)?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<32>()?;
    let note = rest.get(..u32::from_le_bytes(*length) as usize)?;
    let expected = digest(&SHA256, &[&place[..HEAD - 32], note].concat());
    if expected.as_ref() != sum {
        return None;
    }
    let note = std::str::from_utf8(note).ok()?;
    let signed = SignedNote::parse(note).ok()?;
    let checkpoint = Checkpoint::parse(signed.text()).ok()?;
    Some((u64::from_le_bytes(*number), Guarded { checkpoint, note: note.to_owned() }))
}

impl Guard {
    /// Opens a guard file, or makes it, and reads what it holds. One that holds something else is refused.
    pub fn open(path: &Path) -> Result<(Self, Option<Guarded>), LogError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            sqlite::make_private_folder(folder)?;
        }
        let file = private_file(path)?;
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(LogError::unavailable(format!("can't read {}: {error}", path.display())));
            }
        };
        let (first, second) = bytes.split_at(bytes.len().min(PLACE as usize));
        let newest = [first, second].into_iter().filter_map(decode).max_by_key(|(number, _)| *number);
        if newest.is_none() && !bytes.is_empty() {
            return Err(LogError::Corrupt(format!(
                "{} is no guard file of rota's, or is damaged: compare the ledger with a checkpoint that somebody \
                 else kept (`rota verify`), and then move the file away",
                path.display()
            )));
        }
        let number = newest.as_ref().map_or(0, |(number, _)| *number);
        let state = Mutex::new(State { number, flushed: None });
        let guard = Self { path: path.to_owned(), file: Arc::new(file), state };
        Ok((guard, newest.map(|(_, guarded)| guarded)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a note, which survives the process when this returns.
    pub fn write(&self, note: &str) -> std::io::Result<()> {
        let mut state = self.state.lock();
        let number = state.number + 1;
        let bytes = encode(number, note);
        if bytes.len() as u64 > PLACE {
            return Err(std::io::Error::other("the note is too long for the guard file"));
        }
        self.file.write_all_at(&bytes, number % 2 * PLACE)?;
        state.number = number;
        if state.flushed.is_none_or(|flushed| flushed.elapsed() >= FLUSH) {
            state.flushed = Some(Instant::now());
            let file = Arc::clone(&self.file);
            // Nobody waits for the disk; what fails here fails at the next flush again.
            std::thread::spawn(move || {
                if let Err(error) = file.sync_data() {
                    tracing::error!(%error, "the guard file could not be flushed");
                }
            });
        }
        Ok(())
    }

    /// Flushes what was written.
    pub fn flush(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }

    /// Puts a file that guards another ledger aside, under another name.
    pub fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
        let mut name = path.as_os_str().to_owned();
        name.push(".former");
        let former = PathBuf::from(name);
        std::fs::rename(path, &former)?;
        Ok(former)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::note::SigningKey;
    use crate::ledger::rfc6962::leaf_hash;

    fn note(size: u64) -> String {
        let key = SigningKey::of_log("log.example", &[1; 32]).unwrap_or_else(|error| panic!("{error}"));
        let root = leaf_hash(&size.to_be_bytes());
        Checkpoint { origin: "log.example".into(), size, root }.sign(&[&key])
    }

    fn open(path: &Path) -> (Guard, Option<u64>) {
        let (guard, held) = Guard::open(path).unwrap_or_else(|error| panic!("{error}"));
        (guard, held.map(|held| held.checkpoint.size))
    }

    #[test]
    fn the_last_note_is_found_again() {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let path = folder.path().join("guard");
        assert_eq!(open(&path).1, None);
        for size in 1..6 {
            let (guard, held) = open(&path);
            assert_eq!(held, (size > 1).then_some(size - 1));
            assert!(guard.write(&note(size)).is_ok());
        }
        assert_eq!(open(&path).1, Some(5));
    }

    #[test]
    fn a_torn_write_leaves_the_note_before() {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let path = folder.path().join("guard");
        let (guard, _) = open(&path);
        assert!(guard.write(&note(1)).is_ok() && guard.write(&note(2)).is_ok());
        let whole = std::fs::read(&path).unwrap_or_else(|error| panic!("{error}"));
        // The second one is at the front.
        for cut in 0..encode(2, &note(2)).len() {
            let mut torn = whole.clone();
            torn[cut] ^= 1;
            std::fs::write(&path, &torn).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(open(&path).1, Some(1), "byte {cut}");
        }
    }

    #[test]
    fn something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let path = folder.path().join("guard");
        std::fs::write(&path, "something else").unwrap_or_else(|error| panic!("{error}"));
        assert!(Guard::open(&path).is_err());
    }
}
