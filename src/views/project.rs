//! Writes the views: a page of the feed becomes rows, sorted by key, in one transaction.

use rota_aggregates::credential::{CredentialEvent, Replaced};
use rota_aggregates::observation::{ObservationEvent, SealedPart};
use rota_aggregates::record::Record;
use rota_aggregates::{CredentialId, Event, Position, Timestamp, WorkspaceId};
use rota_projections::{Recorded, audit};
use sqlx::{Arguments, Executor, SqliteConnection, sqlite::SqliteArguments};

use super::Views;
use crate::log::sqlite::begin;
use crate::log::{LogError, committer::decode};

/// Events folded in one transaction: the more there are, the more of them share a page of the index.
pub(super) const BATCH: u64 = 8_192;
/// Events read at once.
const PAGE: usize = 2_048;
/// Events folded before others get a turn.
const YIELD_EVERY: u64 = 64;
/// Rows in one statement.
const CHUNK: usize = 512;

/// The rows of one page.
#[derive(Default)]
struct Rows {
    audit: Vec<(i64, Vec<u8>, i64)>,
    issued: Vec<(i64, CredentialId, WorkspaceId, &'static str, Option<CredentialId>)>,
    revoked: Vec<(CredentialId, i64)>,
    ended: Vec<(WorkspaceId, i64, CredentialId, u32)>,
    /// Positions of the events whose digests were destroyed.
    shredded: Vec<Position>,
}

impl Rows {
    fn add(&mut self, recorded: &Recorded) {
        let record = &recorded.record;
        let position = recorded.position.0 as i64;
        for facet in audit::facets(record) {
            self.audit.push((facet.dimension(), facet.key(), position));
        }
        match &record.event {
            Event::Credential(event) => self.add_credential(record, event, position),
            Event::Observation(ObservationEvent::SealedPartsShredded(e)) => {
                let digests = e.parts.iter().filter(|p| p.part == SealedPart::Digest);
                self.shredded.extend(digests.map(|p| p.position));
            }
            _ => {}
        }
    }

    fn add_credential(&mut self, record: &Record, event: &CredentialEvent, position: i64) {
        let (workspace, id) = (record.context.workspace, CredentialId(record.stream.id));
        let mut end = |version: u32, at: Timestamp| self.ended.push((workspace, at.seconds(), id, version));
        let at_once = |replaced: &Option<Replaced>| {
            replaced.as_ref().filter(|r| r.expires_at.is_none()).map(|r| r.version)
        };
        match event {
            CredentialEvent::CredentialIssued(e) => {
                self.issued.push((position, id, workspace, e.kind.name(), e.parent));
            }
            CredentialEvent::SecretRotated(e) => {
                if let Some(version) = at_once(&e.replaced) {
                    end(version, e.at);
                }
            }
            CredentialEvent::PreparedSecretRotated(e) => {
                if let Some(version) = at_once(&e.replaced) {
                    end(version, e.at);
                }
            }
            CredentialEvent::RotationCancelled(e) => end(e.version, e.cancelled_at),
            CredentialEvent::OldSecretExpired(e) => end(e.version, e.expired_at),
            CredentialEvent::SecretRevoked(e) => end(e.version, e.at),
            CredentialEvent::CredentialRevoked(e) => {
                for version in &e.versions {
                    end(*version, e.at);
                }
                self.revoked.push((id, position));
            }
            CredentialEvent::RotationPrepared(_)
            | CredentialEvent::CredentialDescribed(_)
            | CredentialEvent::ReplayEnded(_) => {}
        }
    }
}

impl Views {
    /// Folds what is recorded and not folded yet. `progress` is told the next position after each page.
    pub async fn catch_up(&self, mut progress: impl FnMut(Position)) -> Result<(), LogError> {
        loop {
            // Held from reading to writing: two who fold at once, or one who clears, would fold events twice or
            // leave a gap.
            let mut writer = self.writer.lock().await;
            let from = self.projected();
            let mut rows = Rows::default();
            let mut next = from;
            while next.0 - from.0 < BATCH {
                let page = self.log.read(next, PAGE).await?;
                let last = page.leaves.len() < PAGE;
                for recorded in decode(page) {
                    let recorded = recorded?;
                    next = Position(recorded.position.0 + 1);
                    rows.add(&recorded);
                    // A page takes milliseconds, and requests are answered on the same threads.
                    if next.0.is_multiple_of(YIELD_EVERY) {
                        tokio::task::yield_now().await;
                    }
                }
                if last {
                    break;
                }
            }
            if next == from {
                return Ok(());
            }
            rows.audit.sort_unstable();
            let shredded = self.versions_at(&rows.shredded).await?;
            write(&mut writer, rows, &shredded, next).await.map_err(LogError::unavailable)?;
            self.projected.send_replace(next);
            progress(next);
        }
    }

    /// Which versions the events at these positions brought.
    async fn versions_at(&self, positions: &[Position]) -> Result<Vec<(CredentialId, u32)>, LogError> {
        let mut versions = Vec::new();
        for stored in self.log.read_at(positions).await? {
            let record = Record::decode(&stored.leaf)
                .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
            if let Event::Credential(event) = &record.event
                && let Some(secret) = event.secret()
            {
                versions.push((CredentialId(record.stream.id), secret.version));
            }
        }
        Ok(versions)
    }
}

async fn write(
    writer: &mut SqliteConnection,
    rows: Rows,
    shredded: &[(CredentialId, u32)],
    next: Position,
) -> Result<(), sqlx::Error> {
    // Rolled back by the next one to begin, if it fails.
    begin(writer).await?;
    insert(writer, "INSERT INTO audit VALUES", 3, rows.audit, |row, arguments| {
        arguments.add(row.0)?;
        arguments.add(row.1)?;
        arguments.add(row.2)
    })
    .await?;
    insert(
        writer,
        "INSERT INTO credentials (position, id, workspace, kind, parent, revoked) VALUES",
        6,
        rows.issued,
        |(position, id, workspace, kind, parent), arguments| {
            arguments.add(position)?;
            arguments.add(id.0.as_bytes().to_vec())?;
            arguments.add(workspace.0.as_bytes().to_vec())?;
            arguments.add(kind)?;
            arguments.add(parent.map(|p| p.0.as_bytes().to_vec()))?;
            arguments.add(-1i64)
        },
    )
    .await?;
    for (id, position) in &rows.revoked {
        sqlx::query("UPDATE credentials SET revoked = ? WHERE id = ?")
            .bind(position)
            .bind(id.0.as_bytes().as_slice())
            .execute(&mut *writer)
            .await?;
    }
    insert(
        writer,
        "INSERT OR IGNORE INTO ended_versions VALUES",
        4,
        rows.ended,
        |(workspace, ended, credential, version), arguments| {
            arguments.add(workspace.0.as_bytes().to_vec())?;
            arguments.add(ended)?;
            arguments.add(credential.0.as_bytes().to_vec())?;
            arguments.add(version)
        },
    )
    .await?;
    for (credential, version) in shredded {
        sqlx::query("DELETE FROM ended_versions WHERE credential = ? AND version = ?")
            .bind(credential.0.as_bytes().as_slice())
            .bind(version)
            .execute(&mut *writer)
            .await?;
    }
    sqlx::query(
        "INSERT INTO checkpoint VALUES ('views', ?) \
         ON CONFLICT (name) DO UPDATE SET position = excluded.position",
    )
    .bind(next.0 as i64)
    .execute(&mut *writer)
    .await?;
    writer.execute("COMMIT").await?;
    Ok(())
}

/// Inserts rows, many to a statement.
async fn insert<T: Send>(
    connection: &mut SqliteConnection,
    head: &str,
    columns: usize,
    rows: Vec<T>,
    bind: impl Fn(T, &mut SqliteArguments<'_>) -> Result<(), sqlx::error::BoxDynError>,
) -> Result<(), sqlx::Error> {
    let row = format!("({})", vec!["?"; columns].join(","));
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        let count = rows.len().min(CHUNK);
        let sql = format!("{head} {}", vec![row.as_str(); count].join(","));
        let mut arguments = SqliteArguments::default();
        arguments.reserve(count * columns, 0);
        for row in rows.by_ref().take(count) {
            bind(row, &mut arguments).map_err(sqlx::Error::Encode)?;
        }
        // Only the full chunk is worth keeping prepared.
        sqlx::query_with(&sql, arguments).persistent(count == CHUNK).execute(&mut *connection).await?;
    }
    Ok(())
}
