//! What goes to the server for an append: the columns of a batch, or one item as the library writes it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cqrs_es::Aggregate;
use cqrs_es::persist::{PersistedEventRepository, PersistenceError, SerializedEvent};
use postgres_es::PostgresEventRepository;
use rota_aggregates::credential::Credential;
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::record::Claim;
use rota_aggregates::workspace::Workspace;
use rota_aggregates::{Sequence, StreamId, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::{Postgres, query_scalar};

use super::tree;
use crate::log::{Batch, LogError, Row};
use crate::sealing::Sealed;

/// A name for one attempt to append, which the server can be told to refuse.
pub type Attempt = [u8; 16];

/// What the columns of an event say, read from its leaf.
#[derive(Deserialize)]
struct Head<'a> {
    time: Timestamp,
    sequence: Sequence,
    stream: StreamId,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(default)]
    claim: Option<Claim>,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl<'a> Head<'a> {
    fn read(row: &'a Row) -> Result<Self, LogError> {
        let head: Self = serde_json::from_slice(&row.leaf).map_err(LogError::unavailable)?;
        // The library binds a sequence as an i32, and would store another number than it was given.
        if i32::try_from(head.sequence.0).is_err() {
            return Err(LogError::unavailable("the stream has as many events as this store can number"));
        }
        Ok(head)
    }

    /// Kind and id of the stream.
    fn aggregate(&self) -> (String, String) {
        let name = self.stream.to_string();
        name.split_once('/').map(|(kind, id)| (kind.to_owned(), id.to_owned())).unwrap_or_default()
    }

    fn version(&self) -> String {
        self.r#type.rsplit_once(".v").map_or_else(String::new, |(_, version)| format!("{version}.0.0"))
    }

    /// The event as the library's serde form has it.
    fn payload(&self) -> String {
        format!("{{\"type\":{},\"data\":{}}}", Value::from(self.r#type.as_ref()), self.data)
    }
}

/// Positions of the parts to be destroyed: digests, secrets, answers, details.
fn shredded(parts: &[PartRef]) -> [Vec<i64>; 4] {
    [SealedPart::Digest, SealedPart::Secret, SealedPart::Answer, SealedPart::Details]
        .map(|part| parts.iter().filter(|p| p.part == part).map(|p| p.position.0 as i64).collect())
}

fn ciphertext(sealed: Option<&Sealed>) -> Option<&[u8]> {
    sealed.map(|s| s.ciphertext.as_slice())
}

fn key(sealed: Option<&Sealed>) -> Option<&[u8]> {
    sealed.map(|s| s.wrapped_key.as_slice())
}

/// The one statement that writes a batch. It gives the position at which the log stood.
pub fn batch<'q>(
    batch: &'q Batch,
    attempt: &'q Attempt,
) -> Result<QueryScalar<'q, Postgres, i64, PgArguments>, LogError> {
    const APPEND: &str = "SELECT append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
        $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)";
    const APPEND_WITH_TILES: &str = "SELECT append_batch_with_tiles($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
        $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30)";
    let heads = batch.rows.iter().map(Head::read).collect::<Result<Vec<_>, _>>()?;
    let (types, ids): (Vec<_>, Vec<_>) = heads.iter().map(Head::aggregate).unzip();
    let rows = || batch.rows.iter();
    let claims: Vec<_> = (batch.at.0 as i64..)
        .zip(&heads)
        .filter_map(|(position, head)| Some((head.claim?.key.0, position, head.time.micros())))
        .collect();
    let [digests, secrets, answers, details] = shredded(&batch.shred);
    let marks = || batch.marks.iter();
    let tiles = !batch.tiles.is_empty();
    let query = query_scalar(if tiles { APPEND_WITH_TILES } else { APPEND })
        .bind(batch.at.0 as i64)
        .bind(attempt.as_slice())
        .bind(types)
        .bind(ids)
        .bind(heads.iter().map(|head| i64::from(head.sequence.0)).collect::<Vec<_>>())
        .bind(heads.iter().map(|head| head.r#type.to_string()).collect::<Vec<_>>())
        .bind(heads.iter().map(Head::version).collect::<Vec<_>>())
        .bind(heads.iter().map(Head::payload).collect::<Vec<_>>())
        .bind(rows().map(|row| row.leaf.as_slice()).collect::<Vec<_>>())
        .bind(rows().map(|row| row.side.digest.as_ref().map(<[u8; 32]>::as_slice)).collect::<Vec<_>>())
        .bind(rows().map(|row| ciphertext(row.side.secret.as_ref())).collect::<Vec<_>>())
        .bind(rows().map(|row| key(row.side.secret.as_ref())).collect::<Vec<_>>())
        .bind(rows().map(|row| ciphertext(row.side.answer.as_ref())).collect::<Vec<_>>())
        .bind(rows().map(|row| key(row.side.answer.as_ref())).collect::<Vec<_>>())
        .bind(rows().map(|row| ciphertext(row.side.details.as_ref())).collect::<Vec<_>>())
        .bind(rows().map(|row| key(row.side.details.as_ref())).collect::<Vec<_>>())
        .bind(claims.iter().map(|(key, ..)| key.to_vec()).collect::<Vec<_>>())
        .bind(claims.iter().map(|(_, position, _)| *position).collect::<Vec<_>>())
        .bind(claims.iter().map(|(.., time)| *time).collect::<Vec<_>>())
        .bind(digests)
        .bind(secrets)
        .bind(answers)
        .bind(details)
        .bind(marks().map(|mark| mark.credential.0.as_bytes().to_vec()).collect::<Vec<_>>())
        .bind(marks().map(|mark| i64::from(mark.version)).collect::<Vec<_>>())
        .bind(marks().map(|mark| i64::from(mark.first)).collect::<Vec<_>>())
        .bind(marks().map(|mark| i64::from(mark.last)).collect::<Vec<_>>());
    if !tiles {
        return Ok(query);
    }
    let (levels, indexes, hashes) = tree::columns(&batch.tiles);
    Ok(query.bind(levels).bind(indexes).bind(hashes))
}

/// Whether the library can write the one event of a batch: it has a type for it, and it binds payloads as `jsonb`,
/// which has no U+0000. One that fills a tile goes with that.
pub fn is_single(batch: &Batch) -> bool {
    let [row] = batch.rows.as_slice() else { return false };
    batch.tiles.is_empty()
        && Head::read(row).is_ok_and(|head| {
            let known = [Credential::TYPE, Workspace::TYPE].contains(&head.aggregate().0.as_str());
            known && !head.data.get().contains("\\u0000")
        })
}

/// The one event of a batch as the library takes it: everything that belongs to it travels in its metadata.
fn item(batch: &Batch, row: &Row, attempt: &Attempt) -> Result<SerializedEvent, LogError> {
    let head = Head::read(row)?;
    let (kind, id) = head.aggregate();
    let base64 = |bytes: Option<&[u8]>| bytes.map(|bytes| STANDARD.encode(bytes));
    let side = &row.side;
    let [digests, secrets, answers, details] = shredded(&batch.shred);
    let marks: Vec<_> = batch
        .marks
        .iter()
        .map(|mark| json!([hex(mark.credential.0.as_bytes()), mark.version, mark.first, mark.last]))
        .collect();
    let metadata = json!({
        "at": batch.at.0,
        "attempt": hex(attempt),
        "leaf": base64(Some(&row.leaf)),
        "digest": base64(side.digest.as_ref().map(<[u8; 32]>::as_slice)),
        "secret": base64(ciphertext(side.secret.as_ref())),
        "secretKey": base64(key(side.secret.as_ref())),
        "answer": base64(ciphertext(side.answer.as_ref())),
        "answerKey": base64(key(side.answer.as_ref())),
        "details": base64(ciphertext(side.details.as_ref())),
        "detailsKey": base64(key(side.details.as_ref())),
        "claim": head.claim.map(|claim| claim.key.to_string()),
        "claimedAt": head.time.micros(),
        "shred": { "digest": digests, "secret": secrets, "answer": answers, "details": details },
        "marks": marks,
    });
    let payload = serde_json::from_str(&head.payload()).map_err(LogError::unavailable)?;
    Ok(SerializedEvent::new(
        id,
        head.sequence.0 as usize,
        kind,
        head.r#type.to_string(),
        head.version(),
        payload,
        metadata,
    ))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // A string takes whatever is written to it.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Has the library write the one event of a batch.
pub async fn persist(
    repository: &PostgresEventRepository,
    batch: &Batch,
    row: &Row,
    attempt: &Attempt,
) -> Result<Result<(), PersistenceError>, LogError> {
    let item = item(batch, row, attempt)?;
    Ok(if item.aggregate_type == Credential::TYPE {
        repository.persist::<Credential>(&[item], None).await
    } else {
        repository.persist::<Workspace>(&[item], None).await
    })
}

/// What the library finds at the place in the stream that the one event of a batch was to have.
pub async fn in_its_place(
    repository: &PostgresEventRepository,
    row: &Row,
) -> Result<Option<SerializedEvent>, PersistenceError> {
    let Ok(head) = Head::read(row) else { return Ok(None) };
    let (kind, id) = head.aggregate();
    let before = (head.sequence.0 as usize).saturating_sub(1);
    let found = if kind == Credential::TYPE {
        repository.get_last_events::<Credential>(&id, before).await?
    } else {
        repository.get_last_events::<Workspace>(&id, before).await?
    };
    Ok(found.into_iter().next())
}
