//! Receipts (c2sp.org/tlog-proof): what proves offline that an event is in the ledger, to whoever has the event's
//! bytes and the ledger's verifier key.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rota_aggregates::ids::Hash;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::note::VerifierKey;
use super::proof::{BadProof, check_inclusion};
use super::rfc6962::leaf_hash;

/// The first line of a receipt.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// No proof has more hashes: a tree has less than 2^63 leaves.
const HASHES_MAX: usize = 63;

/// Why a receipt is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReceiptError {
    /// It is no receipt.
    #[error("not a receipt of the form {HEADER}")]
    NotAReceipt,
    /// Its checkpoint does not hold.
    #[error("the receipt's checkpoint does not hold")]
    Checkpoint(#[from] CheckpointError),
    /// The event is not where it says.
    #[error("the event is not at the receipt's position under the receipt's checkpoint")]
    Proof(#[from] BadProof),
}

/// A receipt with its event's bytes in the line that the format leaves to whoever writes it, so that one file is
/// all that is needed. Nobody signs that line: what it says counts only once it is held against the proof. `None` if
/// the text is no receipt, or has such a line already.
pub fn with_entry(receipt: &str, entry: &[u8]) -> Option<String> {
    let rest = receipt.strip_prefix(HEADER)?.strip_prefix('\n').filter(|rest| rest.starts_with("index "))?;
    Some(format!("{HEADER}\nextra {}\n{rest}", STANDARD.encode(entry)))
}

/// The bytes that [`with_entry`] put into a receipt.
pub fn entry_of(receipt: &str) -> Option<Vec<u8>> {
    let line = receipt.strip_prefix(HEADER)?.strip_prefix("\nextra ")?.split('\n').next()?;
    STANDARD.decode(line).ok()
}

/// That an event is at a position of the ledger that a checkpoint signs for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The event's position.
    pub index: u64,
    /// The inclusion proof, the leaf's sibling first.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, as it was published.
    pub checkpoint: String,
}

impl Receipt {
    /// The receipt as text.
    pub fn text(&self) -> String {
        let mut text = format!("{HEADER}\nindex {}\n", self.index);
        for hash in &self.hashes {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", STANDARD.encode(hash.0));
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads a receipt, checking nothing of what it says yet.
    pub fn parse(text: &str) -> Result<Self, ReceiptError> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(ReceiptError::NotAReceipt)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(ReceiptError::NotAReceipt);
        }
        // Not authenticated, so it says nothing here.
        lines.next_if(|line| line.starts_with("extra "));
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(|digits| {
            let plain = digits == "0" || !digits.starts_with('0');
            digits.parse().ok().filter(|_| plain && digits.bytes().all(|b| b.is_ascii_digit()))
        });
        let hash = |line: &str| STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok()).map(Hash);
        let hashes: Option<Vec<Hash>> = lines.map(hash).collect();
        match (index, hashes) {
            (Some(index), Some(hashes)) if hashes.len() <= HASHES_MAX => {
                Ok(Self { index, hashes, checkpoint: checkpoint.to_owned() })
            }
            _ => Err(ReceiptError::NotAReceipt),
        }
    }

    /// Checks that `leaf`, an event's bytes, is in the ledger of `key`, and gives the checkpoint that says so.
    pub fn check(&self, leaf: &[u8], key: &VerifierKey) -> Result<Checkpoint, ReceiptError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, key)?;
        check_inclusion(&leaf_hash(leaf), self.index, checkpoint.size, &checkpoint.root, &self.hashes)?;
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::note::SigningKey;
    use crate::ledger::proof::Plan;
    use crate::ledger::rfc6962::node_hash;

    fn key() -> SigningKey {
        SigningKey::of_log("ledger.example", &[1; 32]).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Of the second of two events.
    fn receipt() -> Receipt {
        let (first, second) = (leaf_hash(b"first"), leaf_hash(b"second"));
        let checkpoint =
            Checkpoint { origin: "ledger.example".into(), size: 2, root: node_hash(&first, &second) };
        Receipt { index: 1, hashes: vec![first], checkpoint: checkpoint.sign(&[&key()]) }
    }

    #[test]
    fn a_receipt_proves_its_event_and_no_other() {
        let read = Receipt::parse(&receipt().text());
        assert_eq!(read, Ok(receipt()));
        assert_eq!(receipt().check(b"second", key().verifier()).map(|c| c.size), Ok(2));
        assert_eq!(receipt().check(b"first", key().verifier()), Err(ReceiptError::Proof(BadProof)));
        let moved = Receipt { index: 0, ..receipt() };
        assert_eq!(moved.check(b"second", key().verifier()), Err(ReceiptError::Proof(BadProof)));
    }

    #[test]
    fn a_receipt_carries_its_event() {
        let text = with_entry(&receipt().text(), b"second").unwrap_or_default();
        assert_eq!(Receipt::parse(&text), Ok(receipt()));
        assert_eq!(entry_of(&text), Some(b"second".to_vec()));
        assert_eq!(entry_of(&receipt().text()), None);
        assert_eq!(with_entry(&text, b"second"), None);
        assert_eq!(with_entry("index 1", b"second"), None);
    }

    /// Goals: at most 1.4 KB among ten million events, 1.6 KB among a thousand million; a QR code has room for 2 953 bytes.
    #[test]
    fn a_receipt_stays_small() {
        let origin = "ledger.rota.example/prod";
        let key = SigningKey::of_log(origin, &[1; 32]).unwrap_or_else(|error| panic!("{error}"));
        let any = [leaf_hash(b"any"); 256];
        for (size, most) in [(10_000_000, 1_400), (1_000_000_000, 1_600)] {
            let checkpoint = Checkpoint { origin: origin.into(), size, root: any[0] }.sign(&[&key]);
            let bytes = |index| {
                let plan = Plan::inclusion(index, size).unwrap_or_default();
                let hashes = plan.assemble(|_| Some(any.as_slice())).unwrap_or_default();
                Receipt { index, hashes, checkpoint: checkpoint.clone() }.text().len()
            };
            let largest = (0..size).step_by(1_234_567).chain([size - 1]).map(bytes).max();
            assert!(largest.is_some_and(|largest| (most - 100..=most).contains(&largest)), "{largest:?}");
        }
    }

    #[test]
    fn every_changed_bit_is_found() {
        let text = receipt().text();
        for bit in 0..text.len() * 8 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let holds = String::from_utf8(bytes)
                .ok()
                .and_then(|text| Receipt::parse(&text).ok())
                .is_some_and(|receipt| receipt.check(b"second", key().verifier()).is_ok());
            assert!(!holds, "bit {bit}");
        }
    }

    #[test]
    fn other_texts_are_no_receipts() {
        let note = &receipt().checkpoint;
        assert!(Receipt::parse(&format!("{HEADER}\nextra AAAA\nindex 0\n\n{note}")).is_ok());
        for bad in [
            String::new(),
            format!("{HEADER}\n\n{note}"),
            format!("{HEADER}\nindex 01\n\n{note}"),
            format!("{HEADER}\nindex -1\n\n{note}"),
            format!("{HEADER}\nindex 1\nAAAA\n\n{note}"),
            format!("c2sp.org/tlog-proof@v2\nindex 1\n\n{note}"),
            format!("{HEADER}\nindex 1\n{}\n{note}", format!("{}\n", STANDARD.encode([0; 32])).repeat(64)),
        ] {
            assert_eq!(Receipt::parse(&bad), Err(ReceiptError::NotAReceipt), "{bad:?}");
        }
    }
}
