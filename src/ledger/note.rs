//! Signed notes (c2sp.org/signed-note): a text and signature lines below it, each by a named key.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

/// A note has at most this many bytes.
pub const NOTE_BYTES_MAX: usize = 64 * 1_024;
/// Signature lines that are read of a note; the format asks for at least 16.
const SIGNATURES_MAX: usize = 64;
/// The type byte of an Ed25519 signature over the text.
const ED25519_TYPE: u8 = 0x01;
/// The type byte of an Ed25519 cosignature, which names its time (c2sp.org/tlog-cosignature).
const COSIGNATURE_TYPE: u8 = 0x04;

/// Why a note or a key is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoteError {
    /// Not a signed note.
    #[error("not a signed note")]
    NotANote,
    /// Not a verifier key.
    #[error("not a verifier key, such as NAME+HEX+BASE64")]
    NotAKey,
    /// A key's name has a space or a plus sign, or is empty.
    #[error("a key's name has no spaces and no plus sign and is not empty")]
    BadName,
    /// No signature of the key is there.
    #[error("the note is not signed by this key")]
    NotSigned,
    /// A signature of the key does not fit the text.
    #[error("the note's signature does not fit its text")]
    BadSignature,
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

fn key_id(name: &str, kind: u8, public: &[u8]) -> [u8; 4] {
    let mut bytes = name.as_bytes().to_vec();
    bytes.extend_from_slice(&[b'\n', kind]);
    bytes.extend_from_slice(public);
    let mut id = [0; 4];
    id.copy_from_slice(&digest(&SHA256, &bytes).as_ref()[..4]);
    id
}

/// A key that notes are checked with, written `NAME+HEX OF ITS ID+BASE64`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierKey {
    name: String,
    kind: u8,
    public: [u8; 32],
}

impl VerifierKey {
    /// Of a log: it signs the text itself.
    pub fn of_log(name: &str, public: [u8; 32]) -> Result<Self, NoteError> {
        Self::new(name, ED25519_TYPE, public)
    }

    /// Of a witness: it cosigns a text with the time.
    pub fn of_witness(name: &str, public: [u8; 32]) -> Result<Self, NoteError> {
        Self::new(name, COSIGNATURE_TYPE, public)
    }

    fn new(name: &str, kind: u8, public: [u8; 32]) -> Result<Self, NoteError> {
        if is_name(name) { Ok(Self { name: name.to_owned(), kind, public }) } else { Err(NoteError::BadName) }
    }

    /// The key's name: a log's is its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is the same key as another, whatever they are called.
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.public == other.public
    }

    /// Whether it is a witness's.
    pub fn is_witness(&self) -> bool {
        self.kind == COSIGNATURE_TYPE
    }

    /// The four bytes that a signature line names it by.
    pub fn id(&self) -> [u8; 4] {
        key_id(&self.name, self.kind, &self.public)
    }

    fn check(&self, text: &str, signature: &[u8]) -> Result<Option<u64>, NoteError> {
        let key = UnparsedPublicKey::new(&ED25519, self.public);
        if !self.is_witness() {
            key.verify(text.as_bytes(), signature).map_err(|_| NoteError::BadSignature)?;
            return Ok(None);
        }
        let (time, signature) = signature.split_first_chunk::<8>().ok_or(NoteError::BadSignature)?;
        let time = u64::from_be_bytes(*time);
        let signed = cosigned_bytes(text, time);
        key.verify(&signed, signature).map_err(|_| NoteError::BadSignature)?;
        Ok(Some(time))
    }
}

fn cosigned_bytes(text: &str, time: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.kind];
        key.extend_from_slice(&self.public);
        let id = u32::from_be_bytes(self.id());
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::NotAKey);
        };
        let bytes = STANDARD.decode(key).map_err(|_| NoteError::NotAKey)?;
        let (kind, public) = bytes.split_first().ok_or(NoteError::NotAKey)?;
        let public = public.try_into().map_err(|_| NoteError::NotAKey)?;
        if *kind != ED25519_TYPE && *kind != COSIGNATURE_TYPE {
            return Err(NoteError::NotAKey);
        }
        let found = Self::new(name, *kind, public)?;
        if format!("{:08x}", u32::from_be_bytes(found.id())) == id {
            Ok(found)
        } else {
            Err(NoteError::NotAKey)
        }
    }
}

/// A key that signs. Its `Debug` prints no more than its verifier key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl SigningKey {
    /// The log key of this name from 32 secret random bytes.
    pub fn of_log(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        Self::new(name, ED25519_TYPE, seed)
    }

    /// The witness key of this name from 32 secret random bytes.
    pub fn of_witness(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        Self::new(name, COSIGNATURE_TYPE, seed)
    }

    fn new(name: &str, kind: u8, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::NotAKey)?;
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Ok(Self { pair, verifier: VerifierKey::new(name, kind, public)? })
    }

    /// The key that its signatures are checked with.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The signature line of a log for a text that ends in a line feed.
    pub fn sign(&self, text: &str) -> String {
        self.line(&[], self.pair.sign(text.as_bytes()).as_ref())
    }

    /// The signature line of a witness for a text that ends in a line feed, at a time in seconds since 1970.
    pub fn cosign(&self, text: &str, time: u64) -> String {
        self.line(&time.to_be_bytes(), self.pair.sign(&cosigned_bytes(text, time)).as_ref())
    }

    fn line(&self, time: &[u8], signature: &[u8]) -> String {
        signature_line(&self.verifier.name, self.verifier.id(), &[time, signature].concat())
    }
}

fn signature_line(name: &str, id: [u8; 4], signature: &[u8]) -> String {
    format!("\u{2014} {name} {}\n", STANDARD.encode([&id[..], signature].concat()))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifier)
    }
}

/// A signature line.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// A text with signatures below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedNote {
    text: String,
    signatures: Vec<Signature>,
}

impl SignedNote {
    /// Reads a note, checking no signature yet.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX || note.contains(|c: char| c.is_control() && c != '\n') {
            return Err(NoteError::NotANote);
        }
        let end = note.rfind("\n\n").ok_or(NoteError::NotANote)? + 1;
        let (text, below) = note.split_at(end);
        let lines = below[1..].strip_suffix('\n').ok_or(NoteError::NotANote)?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            let line = line.strip_prefix("\u{2014} ").ok_or(NoteError::NotANote)?;
            let (name, payload) = line.split_once(' ').ok_or(NoteError::NotANote)?;
            let payload = STANDARD.decode(payload).map_err(|_| NoteError::NotANote)?;
            let (id, signature) = payload.split_first_chunk::<4>().ok_or(NoteError::NotANote)?;
            if !is_name(name) || signature.is_empty() || signatures.len() == SIGNATURES_MAX {
                return Err(NoteError::NotANote);
            }
            signatures.push(Signature { name: name.to_owned(), id: *id, bytes: signature.to_vec() });
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// What is signed: it ends in a line feed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature line of a key, if it signed the text.
    pub fn line_of(&self, key: &VerifierKey) -> Option<String> {
        self.check(key).ok()?;
        let id = key.id();
        let line = self.signatures.iter().rfind(|line| line.id == id && line.name == key.name)?;
        Some(signature_line(&line.name, line.id, &line.bytes))
    }

    /// The note with the signature line of another key added, or in place of the one that it has.
    pub fn with_line_of(&self, key: &VerifierKey, line: &str) -> String {
        let id = key.id();
        let others = self.signatures.iter().filter(|line| line.id != id || line.name != key.name);
        let lines: String = others.map(|line| signature_line(&line.name, line.id, &line.bytes)).collect();
        format!("{}\n{lines}{line}", self.text)
    }

    /// Checks that this key signed the text. A cosignature's time, in seconds since 1970, is given back.
    /// Signatures by other keys say nothing.
    pub fn check(&self, key: &VerifierKey) -> Result<Option<u64>, NoteError> {
        let id = key.id();
        let mut found = Err(NoteError::NotSigned);
        for line in self.signatures.iter().filter(|line| line.id == id && line.name == key.name) {
            found = Ok(key.check(&self.text, &line.bytes)?);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    /// A checkpoint that six other programs accept.
    const CHECKPOINT: &str = "ledger.rota.example/prod\n1000\naVcttaeyF0L4211ChaTnDBsMMKoH4kMPt9cS5iOVxnE=\n\n\u{2014} ledger.rota.example/prod 4vJo5RXRSgVu+YqiCl5Et/EMp5J4g7B9eVBozKupqlrfkF5QkUBXxsABqBFxvrh2POkFIxV03G64WEoTp9FoHJb49ws=\n";
    const CHECKPOINT_KEY: &str =
        "ledger.rota.example/prod+e2f268e5+AdkmKQw617WnLlXGtM34msYovLEL9C92nDubYmqutCUu";

    fn key(text: &str) -> VerifierKey {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn keys_are_read_and_written() {
        assert_eq!(key(KEY).to_string(), KEY);
        assert_eq!(key(KEY).name(), "example.com/foo");
        for bad in [
            "",
            "name",
            "name+530d903a",
            "example.com/fo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U0=",
            " +530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        ] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_foreign_checkpoint_verifies() {
        let note = SignedNote::parse(CHECKPOINT).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(note.check(&key(CHECKPOINT_KEY)), Ok(None));
        assert_eq!(note.check(&key(KEY)), Err(NoteError::NotSigned));
    }

    #[test]
    fn a_changed_note_does_not_verify() {
        for bit in 0..CHECKPOINT.len() * 8 {
            let mut bytes = CHECKPOINT.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let verified = String::from_utf8(bytes)
                .ok()
                .and_then(|text| SignedNote::parse(&text).ok())
                .is_some_and(|note| note.check(&key(CHECKPOINT_KEY)).is_ok());
            assert!(!verified, "bit {bit}");
        }
    }

    #[test]
    fn what_is_signed_here_verifies_here() {
        let log = SigningKey::of_log("log.example", &[1; 32]).unwrap_or_else(|error| panic!("{error}"));
        let witness = SigningKey::of_witness("witness.example", &[2; 32]).unwrap_or_else(|e| panic!("{e}"));
        let text = "log.example\n1\nAAAA\n";
        let note = format!("{text}\n{}{}", log.sign(text), witness.cosign(text, 1_800_000_000));
        let note = SignedNote::parse(&note).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(note.text(), text);
        assert_eq!(note.check(log.verifier()), Ok(None));
        assert_eq!(note.check(witness.verifier()), Ok(Some(1_800_000_000)));
        assert_eq!(key(&witness.verifier().to_string()), *witness.verifier());
        assert!(!format!("{log:?}").contains("seed"));
        assert_eq!(SigningKey::of_log("a b", &[1; 32]).err(), Some(NoteError::BadName));
    }

    #[test]
    fn a_line_is_added_once() {
        let log = SigningKey::of_log("log.example", &[1; 32]).unwrap_or_else(|error| panic!("{error}"));
        let witness = SigningKey::of_witness("witness.example", &[2; 32]).unwrap_or_else(|e| panic!("{e}"));
        let text = "log.example\n1\nAAAA\n";
        let mut note = format!("{text}\n{}", log.sign(text));
        for time in [1_800_000_000, 1_800_000_010] {
            let line = witness.cosign(text, time);
            let parsed = SignedNote::parse(&note).unwrap_or_else(|error| panic!("{error}"));
            note = parsed.with_line_of(witness.verifier(), &line);
            let parsed = SignedNote::parse(&note).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(parsed.line_of(witness.verifier()), Some(line));
            assert_eq!(parsed.check(witness.verifier()), Ok(Some(time)));
            assert_eq!(parsed.check(log.verifier()), Ok(None));
        }
        assert_eq!(note.lines().count(), 6);
    }

    #[test]
    fn other_texts_are_no_notes() {
        let line = "\u{2014} name AAAAAAA=\n";
        assert!(SignedNote::parse(&format!("text\n\n{line}")).is_ok());
        for bad in [
            String::new(),
            "text\n".into(),
            "text\n\n".into(),
            format!("text\n{line}"),
            format!("text\n\n{}", line.trim_end()),
            format!("text\r\n\n{line}"),
            format!("text\n\n{line}\n"),
            "text\n\n- name AAAAAAA=\n".into(),
            "text\n\n\u{2014} name AAAA\n".into(),
            "text\n\n\u{2014} name AAAAAAA\n".into(),
            "text\n\n\u{2014} na+me AAAAAAA=\n".into(),
            format!("text\n\n{}", line.repeat(SIGNATURES_MAX + 1)),
        ] {
            assert_eq!(SignedNote::parse(&bad), Err(NoteError::NotANote), "{bad:?}");
        }
    }
}
