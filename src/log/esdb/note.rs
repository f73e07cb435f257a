//! What an event of the ledger carries beside its leaf, as its metadata: where its sealed parts lie, and which
//! parts of earlier events its commit destroys. Written once, never changed; it names things and holds no secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rota_aggregates::Position;
use rota_aggregates::observation::SealedPart;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::log::LogError;

/// The version of this schema.
const SCHEMA: u32 = 1;

/// Where a sealed part lies, and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Pointer(
    /// The random id in its stream's name.
    #[serde(with = "uuid::serde::simple")]
    pub(super) Uuid,
    /// The SHA-256 of its content: of the digest, or of the ciphertext.
    #[serde(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub(super) [u8; 32],
);

/// A part that is destroyed: the event, the part, and the random id in its stream's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Destroyed(
    pub(super) Position,
    pub(super) SealedPart,
    #[serde(with = "uuid::serde::simple")] pub(super) Uuid,
);

/// The metadata of an event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Pointer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Pointer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Pointer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<Pointer>,
    /// On the first event of a commit, all that the commit destroys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) destroys: Vec<Destroyed>,
}

impl Default for Note {
    fn default() -> Self {
        Self { v: SCHEMA, digest: None, secret: None, answer: None, details: None, destroys: Vec::new() }
    }
}

impl Note {
    /// Where a part lies.
    pub(super) fn part(&self, part: SealedPart) -> Option<Pointer> {
        match part {
            SealedPart::Digest => self.digest,
            SealedPart::Secret => self.secret,
            SealedPart::Answer => self.answer,
            SealedPart::Details => self.details,
        }
    }

    /// Says where a part lies.
    pub(super) fn put(&mut self, part: SealedPart, pointer: Pointer) {
        let place = match part {
            SealedPart::Digest => &mut self.digest,
            SealedPart::Secret => &mut self.secret,
            SealedPart::Answer => &mut self.answer,
            SealedPart::Details => &mut self.details,
        };
        *place = Some(pointer);
    }

    /// Every part and where it lies.
    pub(super) fn parts(&self) -> impl Iterator<Item = (SealedPart, Pointer)> {
        PARTS.into_iter().filter_map(|part| Some((part, self.part(part)?)))
    }

    /// The bytes that are stored.
    pub(super) fn encode(&self) -> Result<Vec<u8>, LogError> {
        serde_json::to_vec(self).map_err(LogError::unavailable)
    }

    /// Reads the metadata of the event at a position.
    pub(super) fn decode(bytes: &[u8], at: u64) -> Result<Self, LogError> {
        match serde_json::from_slice::<Self>(bytes) {
            Ok(note) if note.v == SCHEMA => Ok(note),
            Ok(note) => Err(LogError::Corrupt(format!(
                "the metadata of the event at position {at} has schema {}: it was written by a newer rota than \
                 this one",
                note.v
            ))),
            Err(error) => Err(LogError::Corrupt(format!(
                "the event at position {at} has metadata that rota did not write ({error})"
            ))),
        }
    }
}

/// Every part that there can be.
pub(super) const PARTS: [SealedPart; 4] =
    [SealedPart::Digest, SealedPart::Secret, SealedPart::Answer, SealedPart::Details];

fn write_hash<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&URL_SAFE_NO_PAD.encode(hash))
}

fn read_hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(serde::de::Error::custom)?;
    bytes.try_into().map_err(|_| serde::de::Error::custom("a hash has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let mut note = Note::default();
        assert_eq!(String::from_utf8(note.encode().unwrap()).unwrap(), r#"{"v":1}"#);
        note.put(SealedPart::Answer, Pointer(Uuid::from_u128(7), [9; 32]));
        note.destroys.push(Destroyed(Position(3), SealedPart::Secret, Uuid::from_u128(8)));
        let text = String::from_utf8(note.encode().unwrap()).unwrap();
        let expected = r#"{"v":1,"answer":["00000000000000000000000000000007","CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk"],"destroys":[[3,"secret","00000000000000000000000000000008"]]}"#;
        assert_eq!(text, expected);
        assert_eq!(Note::decode(text.as_bytes(), 0).unwrap(), note);
        assert!(Note::decode(br#"{"v":2}"#, 0).is_err());
        assert!(Note::decode(b"", 0).is_err());
    }
}
