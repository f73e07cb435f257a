//! Checkpoints (c2sp.org/tlog-checkpoint): the signed root of the ledger's first events. They name no time:
//! that is in cosignatures and events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rota_aggregates::ids::Hash;

use super::note::{NoteError, SignedNote, SigningKey, VerifierKey};

/// Why a checkpoint is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It is no checkpoint.
    #[error("not a checkpoint: three lines with origin, size and root")]
    NotACheckpoint,
    /// It is that of another log.
    #[error("a checkpoint of another log")]
    OtherOrigin,
    /// Its signatures do not hold.
    #[error(transparent)]
    Note(#[from] NoteError),
}

/// The root of a log's first events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Which log: a URL without scheme and trailing slash, which never changes.
    pub origin: String,
    /// How many events.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// The signed note, with one line for each key, in order.
    pub fn sign(&self, keys: &[&SigningKey]) -> String {
        let text = self.text();
        let lines: String = keys.iter().map(|key| key.sign(&text)).collect();
        format!("{text}\n{lines}")
    }

    /// Reads the text of a checkpoint. Lines after the third are an extension's and say nothing here.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::NotACheckpoint)?.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::NotACheckpoint);
        };
        let plain = size == "0" || !size.starts_with('0');
        let size = size.parse().ok().filter(|_| plain && size.bytes().all(|b| b.is_ascii_digit()));
        let root = STANDARD.decode(root).ok().and_then(|root| root.try_into().ok());
        match (origin, size, root) {
            ("", _, _) | (_, None, _) | (_, _, None) => Err(CheckpointError::NotACheckpoint),
            (origin, Some(size), Some(root)) => {
                Ok(Self { origin: origin.to_owned(), size, root: Hash(root) })
            }
        }
    }

    /// Reads a signed checkpoint that must be signed by `key`, whose name is the log's origin.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        let note = SignedNote::parse(note)?;
        note.check(key)?;
        let checkpoint = Self::parse(note.text())?;
        if checkpoint.origin == key.name() { Ok(checkpoint) } else { Err(CheckpointError::OtherOrigin) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::of_log("ledger.example/a", &[seed; 32]).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_checkpoint_opens_under_each_of_its_keys() {
        let checkpoint = Checkpoint { origin: "ledger.example/a".into(), size: 1000, root: Hash([7; 32]) };
        let (old, new, other) = (key(1), key(2), key(3));
        let note = checkpoint.sign(&[&old, &new]);
        assert_eq!(Checkpoint::open(&note, old.verifier()), Ok(checkpoint.clone()));
        assert_eq!(Checkpoint::open(&note, new.verifier()), Ok(checkpoint));
        assert_eq!(
            Checkpoint::open(&note, other.verifier()),
            Err(CheckpointError::Note(NoteError::NotSigned))
        );
    }

    #[test]
    fn a_key_speaks_for_its_own_log_only() {
        let checkpoint = Checkpoint { origin: "ledger.example/b".into(), size: 1, root: Hash([7; 32]) };
        let note = checkpoint.sign(&[&key(1)]);
        assert_eq!(Checkpoint::open(&note, key(1).verifier()), Err(CheckpointError::OtherOrigin));
    }

    #[test]
    fn other_texts_are_no_checkpoints() {
        let root = STANDARD.encode([7; 32]);
        assert!(Checkpoint::parse(&format!("log\n12\n{root}\nextension\n")).is_ok());
        for bad in [
            String::new(),
            "log\n12\n".into(),
            format!("log\n12\n{root}"),
            format!("\n12\n{root}\n"),
            format!("log\n012\n{root}\n"),
            format!("log\n+12\n{root}\n"),
            format!("log\n-1\n{root}\n"),
            format!("log\n18446744073709551616\n{root}\n"),
            "log\n12\nAAAA\n".into(),
            format!("log\n12\n{}\n", root.trim_end_matches('=')),
        ] {
            assert_eq!(Checkpoint::parse(&bad), Err(CheckpointError::NotACheckpoint), "{bad:?}");
        }
    }
}
