//! Sealed parts: one stream for each, with a random id in its name, found only through the event that names it.
//!
//! A part is written, and its write acknowledged, before the event that names it. To destroy it is to delete its
//! stream for ever: nothing can be written to it again, so that a rewrapping that comes late revives nothing. The
//! server keeps the deleted bytes until it scavenges.

use eventstore::{AppendToStreamOptions, EventData, ExpectedRevision, TombstoneStreamOptions};
use futures_util::{StreamExt, stream};
use ring::digest::{SHA256, digest};
use rota_aggregates::observation::SealedPart;
use serde::Serialize;
use uuid::Uuid;

use super::connection::{Fault, WRITE};
use super::note::Pointer;
use super::{Inner, anywhere, exactly};
use crate::log::{LogError, Side};
use crate::sealing::Sealed;

/// Calls that are under way at once.
pub(super) const PARALLEL: usize = 64;
/// Answers are destroyed after 24 hours. Should that fail for long, the server lets them vanish after this.
const ANSWER_SECONDS: u64 = 25 * 3_600;
/// The first byte of a sealed part's content.
const FORMAT: u8 = 1;

/// A part that is to be written.
#[derive(Clone, Debug)]
pub(super) struct NewPart {
    pub(super) part: SealedPart,
    pub(super) pointer: Pointer,
    pub(super) content: Vec<u8>,
}

/// A part as it is read.
pub(super) enum Content {
    Digest([u8; 32]),
    Sealed(Sealed),
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

fn encode(sealed: &Sealed) -> Vec<u8> {
    let mut content = Vec::with_capacity(3 + sealed.wrapped_key.len() + sealed.ciphertext.len());
    content.push(FORMAT);
    content.extend_from_slice(&(sealed.wrapped_key.len() as u16).to_le_bytes());
    content.extend_from_slice(&sealed.wrapped_key);
    content.extend_from_slice(&sealed.ciphertext);
    content
}

fn decode(content: &[u8]) -> Option<Sealed> {
    let rest = content.strip_prefix(&[FORMAT])?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (wrapped_key, ciphertext) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some(Sealed { wrapped_key: wrapped_key.to_vec(), ciphertext: ciphertext.to_vec() })
}

fn event_type(part: SealedPart) -> &'static str {
    match part {
        SealedPart::Digest => "rota.part.digest",
        SealedPart::Secret => "rota.part.secret",
        SealedPart::Answer => "rota.part.answer",
        SealedPart::Details => "rota.part.details",
    }
}

/// The parts that a row brings, each under an id from `new_id`.
pub(super) fn parts_of(
    side: &Side,
    mut new_id: impl FnMut() -> Result<Uuid, LogError>,
) -> Result<Vec<NewPart>, LogError> {
    let mut parts = Vec::new();
    if let Some(bytes) = side.digest {
        let pointer = Pointer(new_id()?, sha256(&bytes));
        parts.push(NewPart { part: SealedPart::Digest, pointer, content: bytes.to_vec() });
    }
    let sealed = [
        (SealedPart::Secret, &side.secret),
        (SealedPart::Answer, &side.answer),
        (SealedPart::Details, &side.details),
    ];
    for (part, sealed) in sealed {
        if let Some(sealed) = sealed {
            let pointer = Pointer(new_id()?, sealed.sha256());
            parts.push(NewPart { part, pointer, content: encode(sealed) });
        }
    }
    Ok(parts)
}

/// What a stream says of itself to the server. The client has a type for it, which writes ages in milliseconds where
/// the server reads seconds.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Limits {
    /// Events that are older vanish, in seconds.
    #[serde(rename = "$maxAge", skip_serializing_if = "Option::is_none")]
    pub(super) age: Option<u64>,
    /// Only so many events stay.
    #[serde(rename = "$maxCount", skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
    /// Events before this revision vanish.
    #[serde(rename = "$tb", skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<u64>,
}

fn limits(part: SealedPart) -> Limits {
    let age = (part == SealedPart::Answer).then_some(ANSWER_SECONDS);
    Limits { age, ..Limits::default() }
}

impl Inner {
    fn part_stream(&self, id: Uuid) -> String {
        format!("{}{}", self.names.parts, id.simple())
    }

    /// Writes parts; `Ok` when the server has every one of them.
    pub(super) async fn write_parts(&self, parts: &[NewPart]) -> Result<(), LogError> {
        let mut all = Vec::with_capacity(parts.len());
        for part in parts {
            all.push(self.write_part(part));
        }
        let mut writes = stream::iter(all).buffer_unordered(PARALLEL);
        while let Some(written) = writes.next().await {
            written.map_err(Fault::unavailable)?;
        }
        Ok(())
    }

    async fn write_part(&self, part: &NewPart) -> Result<(), Fault> {
        let id = part.pointer.0;
        let name = self.part_stream(id);
        let event = EventData::binary(event_type(part.part), part.content.clone().into()).id(id);
        let limits = limits(part.part);
        let aged = async {
            match limits.age {
                Some(_) => self.set_limits(&name, &limits, &exactly(0)).await,
                None => Ok(()),
            }
        };
        let (aged, appended) = tokio::join!(aged, self.append(&name, 0, vec![event]));
        aged.and(appended.result)
    }

    /// Sets what a stream says of itself to the server.
    pub(super) async fn set_limits(
        &self,
        stream: &str,
        limits: &Limits,
        options: &AppendToStreamOptions,
    ) -> Result<(), Fault> {
        // One id for all attempts, so that the server knows a repetition.
        let id = self.new_id().map_err(|error| Fault::Refused { cause: error.into(), again: false })?;
        let event = EventData::json("$metadata", limits).map_err(|error| Fault::Doubt(error.into()))?;
        let (event, name) = (event.id(id), format!("$${stream}"));
        let write = |client: eventstore::Client| {
            let (name, options, event) = (name.clone(), options.clone(), event.clone());
            async move { client.append_to_stream(name, &options, event).await.map(|_| ()) }
        };
        self.connection.call(WRITE, write).await.result
    }

    /// Reads a part; `None` if it was destroyed, or is not what its event says.
    pub(super) async fn read_part(
        &self,
        part: SealedPart,
        pointer: Pointer,
    ) -> Result<Option<Content>, LogError> {
        let Pointer(id, hash) = pointer;
        if self.destroyed.lock().contains(&id) {
            return Ok(None);
        }
        let event = match self.read_last(&self.part_stream(id)).await {
            Ok(Some(event)) => event,
            Ok(None) | Err(Fault::Deleted) => return Ok(None),
            Err(fault) => return Err(fault.unavailable()),
        };
        let content = if part == SealedPart::Digest {
            let bytes = <[u8; 32]>::try_from(&event.data[..]).ok();
            bytes.filter(|bytes| sha256(bytes) == hash).map(Content::Digest)
        } else {
            decode(&event.data).filter(|sealed| sealed.sha256() == hash).map(Content::Sealed)
        };
        if content.is_none() {
            // Nobody is let in by it, and a check of the ledger finds that the part is missing.
            tracing::error!(
                stream = self.part_stream(id),
                "a sealed part is not what its event says; it is ignored"
            );
        }
        Ok(content)
    }

    /// Everything that is kept beside the events with these notes, in their order.
    pub(super) async fn read_sides(
        &self,
        pointers: Vec<Vec<(SealedPart, Pointer)>>,
    ) -> Result<Vec<Side>, LogError> {
        let mut sides = vec![Side::default(); pointers.len()];
        let mut wanted = Vec::new();
        for (at, parts) in pointers.into_iter().enumerate() {
            for (part, pointer) in parts {
                wanted
                    .push(async move { Ok::<_, LogError>((at, part, self.read_part(part, pointer).await?)) });
            }
        }
        let mut reads = stream::iter(wanted).buffer_unordered(PARALLEL);
        while let Some(read) = reads.next().await {
            let (at, part, content) = read?;
            let Some(side) = sides.get_mut(at) else { continue };
            match (part, content) {
                (SealedPart::Digest, Some(Content::Digest(digest))) => side.digest = Some(digest),
                (SealedPart::Secret, Some(Content::Sealed(sealed))) => side.secret = Some(sealed),
                (SealedPart::Answer, Some(Content::Sealed(sealed))) => side.answer = Some(sealed),
                (SealedPart::Details, Some(Content::Sealed(sealed))) => side.details = Some(sealed),
                _ => {}
            }
        }
        Ok(sides)
    }

    /// Deletes the streams of parts for ever. The error is why the last one of those that could not be deleted could
    /// not.
    pub(super) async fn delete_parts(&self, ids: Vec<Uuid>) -> Result<(), LogError> {
        self.digests.lock().forget(&ids);
        let deletions: Vec<_> =
            ids.into_iter().map(|id| async move { (id, self.delete_part(id).await) }).collect();
        let mut deletions = stream::iter(deletions).buffer_unordered(PARALLEL);
        let mut failed = Ok(());
        while let Some((id, deleted)) = deletions.next().await {
            match deleted {
                Ok(()) => drop(self.destroyed.lock().remove(&id)),
                Err(fault) => failed = Err(fault.unavailable()),
            }
        }
        failed
    }

    async fn delete_part(&self, id: Uuid) -> Result<(), Fault> {
        let name = self.part_stream(id);
        let options = TombstoneStreamOptions::default()
            .expected_revision(ExpectedRevision::Any)
            .requires_leader(true)
            .deadline(WRITE);
        let delete = |client: eventstore::Client| {
            let (name, options) = (name.clone(), options.clone());
            async move { client.tombstone_stream(name, &options).await }
        };
        match self.connection.call(WRITE, delete).await.result {
            Ok(_) | Err(Fault::Deleted) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Gives a sealed part another wrapped key. One that was destroyed stays so.
    pub(super) async fn rewrap_part(
        &self,
        part: SealedPart,
        pointer: Pointer,
        wrapped_key: &[u8],
    ) -> Result<(), LogError> {
        let name = self.part_stream(pointer.0);
        let gone = |fault: Fault| match fault {
            Fault::Deleted | Fault::Missing => Ok(()),
            fault => Err(fault.unavailable()),
        };
        // First, so that whatever happens the old wrapped key does not outlive the new one's arrival.
        let limits = Limits { count: Some(1), ..limits(part) };
        if let Err(fault) = self.set_limits(&name, &limits, &anywhere()).await {
            return gone(fault);
        }
        loop {
            let last = match self.read_last(&name).await {
                Ok(Some(last)) => last,
                Ok(None) => return Ok(()),
                Err(fault) => return gone(fault),
            };
            let Some(sealed) = decode(&last.data) else {
                return Err(LogError::Corrupt(format!("the stream {name} holds no sealed part")));
            };
            if sealed.wrapped_key == wrapped_key {
                return Ok(());
            }
            let content = encode(&Sealed { wrapped_key: wrapped_key.to_vec(), ..sealed });
            let event = EventData::binary(event_type(part), content.into()).id(self.new_id()?);
            match self.append(&name, last.revision + 1, vec![event]).await.result {
                Ok(()) => return Ok(()),
                // Somebody else was first; what they wrote decides.
                Err(Fault::Elsewhere(_)) => {}
                Err(fault) => return gone(fault),
            }
        }
    }
}
