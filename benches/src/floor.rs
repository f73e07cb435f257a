//! The floor of everything that goes through all events: their bytes in one file, read and decoded without a copy.

use std::io::Write;
use std::path::Path;

use rota::log::{EventLog, Page};
use rota_aggregates::Position;
use serde::Deserialize;

use crate::Outcome;

const PAGE: usize = 2_048;

/// A leaf without a copy of anything in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "what counts is that it was decoded")]
struct Borrowed<'a> {
    v: u32,
    time: &'a str,
    sequence: u32,
    id: &'a str,
    stream: &'a str,
    r#type: &'a str,
    workspace: &'a str,
    #[serde(borrow)]
    actor: Who<'a>,
    dialect: &'a str,
    #[serde(borrow)]
    proof: Who<'a>,
    request: &'a str,
    causation: &'a str,
    correlation: &'a str,
    #[serde(borrow)]
    data: BorrowedData<'a>,
}

/// Who acted, and with which proof: the fields of both.
#[derive(Deserialize)]
#[expect(dead_code, reason = "what counts is that it was decoded")]
struct Who<'a> {
    kind: &'a str,
    id: Option<&'a str>,
    credential: Option<&'a str>,
    version: Option<u32>,
}

/// The data of an issue, a rotation or a workspace's opening.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "what counts is that it was decoded")]
struct BorrowedData<'a> {
    credential: Option<&'a str>,
    public_id: Option<&'a str>,
    #[serde(borrow)]
    secret: Option<BorrowedSecret<'a>>,
    grace_seconds: Option<u64>,
    at: &'a str,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "what counts is that it was decoded")]
struct BorrowedSecret<'a> {
    version: u32,
    hint: &'a str,
    digest: &'a str,
}

/// Writes every leaf to a flat file, behind its length.
pub async fn write_flat(log: &dyn EventLog, path: &Path) -> Outcome<u64> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let mut next = 0;
    loop {
        let Page { leaves, .. } = log.read(Position(next), PAGE).await?;
        for (leaf, _) in &leaves {
            file.write_all(&(leaf.len() as u32).to_le_bytes())?;
            file.write_all(leaf)?;
        }
        next += leaves.len() as u64;
        if leaves.len() < PAGE {
            file.flush()?;
            return Ok(next);
        }
    }
}

/// Calls `take` with each leaf of a flat file. How many there were.
pub fn read_flat(path: &Path, mut take: impl FnMut(&[u8]) -> Outcome) -> Outcome<u64> {
    let bytes = std::fs::read(path)?;
    let (mut rest, mut count) = (bytes.as_slice(), 0);
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (leaf, behind) = behind.split_at_checked(length).ok_or("the file ends early")?;
        take(leaf)?;
        (rest, count) = (behind, count + 1);
    }
    Ok(count)
}

/// Reads and decodes a flat file. How many leaves there were.
pub fn read_floor(path: &Path) -> Outcome<u64> {
    read_flat(path, |leaf| {
        std::hint::black_box(serde_json::from_slice::<Borrowed<'_>>(leaf)?);
        Ok(())
    })
}
