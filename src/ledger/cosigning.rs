//! What a log says to a witness, and what a witness makes of it (c2sp.org/tlog-witness): it cosigns a checkpoint if
//! that goes on from the last one that it cosigned, and never another history.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rota_aggregates::ids::Hash;

use super::checkpoint::Checkpoint;
use super::note::{NOTE_BYTES_MAX, SignedNote, VerifierKey};
use super::proof::check_consistency;
use super::rfc6962::empty_root;

/// A proof of consistency has at most so many hashes.
const HASHES_MAX: usize = 63;
/// A request has at most this many bytes: the note, the proof and the line above.
pub const REQUEST_BYTES_MAX: usize = NOTE_BYTES_MAX + HASHES_MAX * 45 + 32;
/// The content type of the size that a witness answers with.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// A checkpoint that somebody asks a witness to cosign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddCheckpoint {
    /// The size of the one that the witness cosigned last, as far as the log knows.
    pub old: u64,
    /// That the old one is the beginning of the new one.
    pub proof: Vec<Hash>,
    /// The new one, signed by the log.
    pub note: String,
}

/// A size as it is written: decimal, without a sign or leading zeroes.
pub fn parse_size(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| plain && text.bytes().all(|b| b.is_ascii_digit()))
}

impl AddCheckpoint {
    /// The request's body.
    pub fn text(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", STANDARD.encode(hash.0));
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Reads a request's body, checking nothing of what it says yet.
    pub fn parse(body: &str) -> Option<Self> {
        let (head, note) = body.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = parse_size(lines.next()?.strip_prefix("old ")?)?;
        let hash = |line: &str| STANDARD.decode(line).ok()?.try_into().ok().map(Hash);
        let proof: Vec<Hash> = lines.map(hash).collect::<Option<_>>()?;
        (proof.len() <= HASHES_MAX).then(|| Self { old, proof, note: note.to_owned() })
    }
}

/// Why a witness does not cosign.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotCosigned {
    /// It is no request.
    #[error("not a request to cosign: `old SIZE`, a proof, an empty line and a checkpoint")]
    Malformed,
    /// A log that the witness does not know.
    #[error("this witness does not know the log")]
    UnknownLog,
    /// Not signed by a key of the log.
    #[error("the checkpoint is not signed by a key that this witness knows of the log")]
    NotSigned,
    /// The old size is more than the new one.
    #[error("the old size is more than the checkpoint's")]
    Backwards,
    /// The witness cosigned another size last.
    #[error("the checkpoint that was cosigned last is of {has} events")]
    Elsewhere {
        /// Of how many events.
        has: u64,
    },
    /// Another history, or no proof that it is not.
    #[error("the checkpoint is not proved to go on from the one that was cosigned last")]
    Inconsistent,
}

/// The checkpoint of a request, if it is one of a log with these keys: each key is named after its log.
pub fn read<'a>(
    request: &AddCheckpoint,
    keys: impl Iterator<Item = &'a VerifierKey>,
) -> Result<(Checkpoint, SignedNote), NotCosigned> {
    let note = SignedNote::parse(&request.note).map_err(|_| NotCosigned::Malformed)?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|_| NotCosigned::Malformed)?;
    let mut keys = keys.filter(|key| key.name() == checkpoint.origin).peekable();
    if keys.peek().is_none() {
        return Err(NotCosigned::UnknownLog);
    }
    if !keys.any(|key| note.check(key).is_ok()) {
        return Err(NotCosigned::NotSigned);
    }
    Ok((checkpoint, note))
}

/// Whether a witness that cosigned `last` may cosign a checkpoint that was [`read`].
pub fn judge(
    request: &AddCheckpoint,
    checkpoint: &Checkpoint,
    last: Option<&Checkpoint>,
) -> Result<(), NotCosigned> {
    if request.old > checkpoint.size {
        return Err(NotCosigned::Backwards);
    }
    let has = last.map_or(0, |last| last.size);
    if request.old != has {
        return Err(NotCosigned::Elsewhere { has });
    }
    let root = last.map_or_else(empty_root, |last| last.root);
    let holds = match has {
        // Every tree goes on from the empty one, whose root is known.
        0 => request.proof.is_empty() && (checkpoint.size > 0 || checkpoint.root == root),
        _ => check_consistency(has, &root, checkpoint.size, &checkpoint.root, &request.proof).is_ok(),
    };
    if holds { Ok(()) } else { Err(NotCosigned::Inconsistent) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::note::SigningKey;
    use crate::ledger::rfc6962::{leaf_hash, node_hash};

    fn log() -> SigningKey {
        SigningKey::of_log("log.example", &[1; 32]).unwrap()
    }

    /// Checkpoints of one and of two events, and the proof from one to the other.
    fn history() -> (Checkpoint, Checkpoint, Vec<Hash>) {
        let (first, second) = (leaf_hash(b"first"), leaf_hash(b"second"));
        let of = |size, root| Checkpoint { origin: "log.example".to_owned(), size, root };
        (of(1, first), of(2, node_hash(&first, &second)), vec![second])
    }

    fn request(old: u64, proof: &[Hash], checkpoint: &Checkpoint) -> AddCheckpoint {
        AddCheckpoint { old, proof: proof.to_vec(), note: checkpoint.sign(&[&log()]) }
    }

    #[test]
    fn requests_are_read_as_they_were_written() {
        let (_, second, proof) = history();
        let request = request(1, &proof, &second);
        assert_eq!(AddCheckpoint::parse(&request.text()).as_ref(), Some(&request));
        let note = &request.note;
        let hash = STANDARD.encode([7; 32]);
        assert!(
            AddCheckpoint::parse(&format!("old 1\n{}\n{note}", format!("{hash}\n").repeat(63))).is_some()
        );
        for bad in [
            String::new(),
            format!("old 1\n{note}"),
            format!("old 01\n\n{note}"),
            format!("old -1\n\n{note}"),
            format!("old +1\n\n{note}"),
            format!("old 18446744073709551616\n\n{note}"),
            format!("1\n\n{note}"),
            format!("old 1\nAAAA\n\n{note}"),
            format!("old 1\n{}\n\n{note}", &hash[..43]),
            format!("old 1\n{}\n{note}", format!("{hash}\n").repeat(64)),
        ] {
            let parsed = AddCheckpoint::parse(&bad);
            let refused = parsed.is_none_or(|parsed| read(&parsed, [log().verifier()].into_iter()).is_err());
            assert!(refused, "{bad}");
        }
    }

    #[test]
    fn a_witness_goes_forward_alone() {
        let (first, second, proof) = history();
        let forked = Checkpoint { root: leaf_hash(b"another history"), ..second.clone() };
        let other = [leaf_hash(b"another")];
        for (request, last, verdict) in [
            (request(0, &[], &first), None, Ok(())),
            (request(0, &[], &second), None, Ok(())),
            (request(1, &proof, &second), Some(&first), Ok(())),
            // Again, as after a lost answer.
            (request(2, &[], &second), Some(&second), Ok(())),
            (request(0, &proof, &second), None, Err(NotCosigned::Inconsistent)),
            (request(1, &[], &second), Some(&first), Err(NotCosigned::Inconsistent)),
            (request(1, &other, &second), Some(&first), Err(NotCosigned::Inconsistent)),
            (request(1, &proof, &forked), Some(&first), Err(NotCosigned::Inconsistent)),
            (request(2, &[], &forked), Some(&second), Err(NotCosigned::Inconsistent)),
            // Back, and from somewhere else.
            (request(2, &[], &first), Some(&second), Err(NotCosigned::Backwards)),
            (request(1, &[], &first), Some(&second), Err(NotCosigned::Elsewhere { has: 2 })),
            (request(0, &[], &first), Some(&second), Err(NotCosigned::Elsewhere { has: 2 })),
            (request(1, &proof, &second), None, Err(NotCosigned::Elsewhere { has: 0 })),
        ] {
            let checkpoint = read(&request, [log().verifier()].into_iter()).unwrap().0;
            assert_eq!(judge(&request, &checkpoint, last), verdict, "{request:?}");
        }
    }

    #[test]
    fn only_a_log_that_is_known_is_read() {
        let (first, ..) = history();
        let request = request(0, &[], &first);
        let other = SigningKey::of_log("other.example", &[1; 32]).unwrap();
        let stranger = SigningKey::of_log("log.example", &[2; 32]).unwrap();
        let read =
            |key: &SigningKey| read(&request, [key.verifier()].into_iter()).map(|(checkpoint, _)| checkpoint);
        assert_eq!(read(&log()), Ok(first.clone()));
        assert_eq!(read(&other), Err(NotCosigned::UnknownLog));
        assert_eq!(read(&stranger), Err(NotCosigned::NotSigned));
    }
}
