//! Folds the feed into the views: into rows at once, and into the tail, which becomes a run when it is long enough.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use rota_aggregates::credential::{CredentialEvent, Replaced};
use rota_aggregates::observation::{ObservationEvent, SealedPart};
use rota_aggregates::record::Record;
use rota_aggregates::{CredentialId, Event, Position, Timestamp, WorkspaceId};
use rota_projections::Fact;
use rota_projections::audit::{self, DIMENSIONS};
use sqlx::{Arguments, Executor, SqliteConnection, sqlite::SqliteArguments};
use uuid::Uuid;

use super::Views;
use super::run::pack;
use super::runs::write_pages;
use super::tail::Ended;
use crate::log::sqlite::begin;
use crate::log::{LogError, reading::decode};

/// A run has at least so many events, but the last one before rota stops.
const RUN_EVENTS: usize = 16_384;
/// Events taken at once.
const PAGE: usize = 2_048;
/// Events read from the log that are folded before others get a turn.
const YIELD_EVERY: u64 = 64;
/// Rows in one statement.
const CHUNK: usize = 512;
/// Ended versions in one row.
const ENDED_CHUNK: usize = 1_024;
/// Bytes of an ended version in its row.
const ENDED_BYTES: usize = 8 + 16 + 4;
/// The checkpoint of the audit index and the ended versions.
pub(super) const FOLDED: &str = "views";
/// The checkpoint of the rows that are written at once, and so ahead of the other.
pub(super) const ROWS: &str = "rows";

/// What a page of the feed brings.
#[derive(Default)]
struct Folded {
    keys: Vec<[i64; DIMENSIONS]>,
    issued: Vec<(i64, CredentialId, WorkspaceId, &'static str, Option<CredentialId>)>,
    revoked: Vec<(CredentialId, i64)>,
    ended: Vec<Ended>,
    /// Positions of the events whose digests were destroyed, by workspace.
    shredded: Vec<(WorkspaceId, Position)>,
}

impl Folded {
    fn add(&mut self, fact: &Fact<'_>) {
        self.keys.push(audit::keys(fact));
        match fact.event {
            Event::Credential(event) => self.add_credential(fact, event),
            Event::Observation(ObservationEvent::SealedPartsShredded(e)) => {
                let digests = e.parts.iter().filter(|p| p.part == SealedPart::Digest);
                self.shredded.extend(digests.map(|p| (fact.context.workspace, p.position)));
            }
            _ => {}
        }
    }

    fn add_credential(&mut self, fact: &Fact<'_>, event: &CredentialEvent) {
        let (workspace, credential) = (fact.context.workspace, CredentialId(fact.stream.id));
        let position = fact.position.0 as i64;
        let mut end = |version: u32, at: Timestamp| {
            self.ended.push(Ended { workspace, at: at.seconds(), credential, version });
        };
        let at_once = |replaced: &Option<Replaced>| {
            replaced.as_ref().filter(|r| r.expires_at.is_none()).map(|r| r.version)
        };
        match event {
            CredentialEvent::CredentialIssued(e) => {
                self.issued.push((position, credential, workspace, e.kind.name(), e.parent));
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
                self.revoked.push((credential, position));
            }
            CredentialEvent::RotationPrepared(_)
            | CredentialEvent::CredentialDescribed(_)
            | CredentialEvent::ReplayEnded(_)
            | CredentialEvent::GraceHeld(_) => {}
        }
    }
}

impl Views {
    /// Folds what is recorded and not folded yet. `progress` is told the next position after each page.
    pub async fn catch_up(&self, mut progress: impl FnMut(Position)) -> Result<(), LogError> {
        loop {
            let _folding = self.folding.lock().await;
            let from = self.projected();
            let mut folded = self.fold(from).await?;
            if folded.keys.is_empty() {
                return Ok(());
            }
            let next = Position(from.0 + folded.keys.len() as u64);
            self.write_rows(&mut folded, next).await?;
            let full = {
                let mut tail = self.tail.write();
                for keys in folded.keys {
                    tail.push(keys);
                }
                tail.ended.extend(folded.ended);
                tail.len() >= RUN_EVENTS
            };
            if full {
                self.write_tail().await?;
            }
            self.projected.send_replace(next);
            progress(next);
        }
    }

    /// Folds the next events: those that the committer has kept, or else a page of the log.
    async fn fold(&self, from: Position) -> Result<Folded, LogError> {
        let mut folded = Folded::default();
        for kept in self.tip.take_recent(from, PAGE) {
            folded.add(&kept.fact());
        }
        if folded.keys.is_empty() {
            for recorded in decode(self.log.read(from, PAGE).await?) {
                let recorded = recorded?;
                folded.add(&recorded.fact());
                // A page takes milliseconds, and requests are answered on the same threads.
                if recorded.position.0.is_multiple_of(YIELD_EVERY) {
                    tokio::task::yield_now().await;
                }
            }
        }
        Ok(folded)
    }

    /// Writes what is in memory only, so that the next start need not fold it again.
    pub async fn flush(&self) -> Result<(), LogError> {
        let _folding = self.folding.lock().await;
        self.write_tail().await
    }

    /// Makes a run of the tail. To be called by whoever folds.
    async fn write_tail(&self) -> Result<(), LogError> {
        let (entries, ended, base, events) = {
            let tail = self.tail.read();
            (tail.entries(), tail.ended.clone(), tail.base(), tail.len())
        };
        if events == 0 {
            return Ok(());
        }
        let ended_count = ended.len();
        let packed = tokio::task::spawn_blocking(move || (pack(entries), pack_ended(ended))).await;
        let (pages, ended) = packed.map_err(LogError::unavailable)?;
        let run = self.next_run.fetch_add(1, Ordering::Relaxed);
        let next = base + events as u64;
        let write = async {
            let mut writer = self.writer.lock().await;
            // Rolled back by the next one to begin, if it fails.
            begin(&mut writer).await?;
            write_pages(&mut writer, run, 0, pages).await?;
            // In the place of one whose commit was not heard of.
            sqlx::query("INSERT OR REPLACE INTO runs (first, next, run, level) VALUES (?, ?, ?, 0)")
                .bind(base as i64)
                .bind(next as i64)
                .bind(run)
                .execute(&mut *writer)
                .await?;
            write_ended(&mut writer, ended).await?;
            set_position(&mut writer, FOLDED, next).await?;
            writer.execute("COMMIT").await?;
            Ok(())
        };
        write.await.map_err(|error: sqlx::Error| LogError::unavailable(error))?;
        self.tail.write().forget(events, ended_count);
        self.written.notify_one();
        Ok(())
    }

    /// Writes what goes into the file at once: which credentials there are, and what was destroyed.
    async fn write_rows(&self, folded: &mut Folded, next: Position) -> Result<(), LogError> {
        if folded.issued.is_empty() && folded.revoked.is_empty() && folded.shredded.is_empty() {
            return Ok(());
        }
        let shredded = self.versions_at(&folded.shredded).await?;
        let write = async {
            let mut writer = self.writer.lock().await;
            begin(&mut writer).await?;
            write_credentials(&mut writer, &*folded).await?;
            for (workspace, versions) in &shredded {
                forget_ended(&mut writer, *workspace, versions).await?;
            }
            set_position(&mut writer, ROWS, next.0).await?;
            writer.execute("COMMIT").await?;
            Ok(())
        };
        write.await.map_err(|error: sqlx::Error| LogError::unavailable(error))?;
        if !shredded.is_empty() {
            let gone = |e: &Ended| {
                shredded.get(&e.workspace).is_some_and(|all| all.contains(&(e.credential, e.version)))
            };
            self.tail.write().ended.retain(|e| !gone(e));
            folded.ended.retain(|e| !gone(e));
        }
        Ok(())
    }

    /// Which versions the events at these positions brought, by workspace.
    async fn versions_at(&self, positions: &[(WorkspaceId, Position)]) -> Result<Versions, LogError> {
        let workspaces: HashMap<Position, WorkspaceId> = positions.iter().map(|(w, p)| (*p, *w)).collect();
        let positions: Vec<Position> = workspaces.keys().copied().collect();
        let mut versions = Versions::new();
        for stored in self.log.read_at(&positions).await? {
            let record = Record::decode(&stored.leaf)
                .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
            if let Event::Credential(event) = &record.event
                && let Some(secret) = event.secret()
                && let Some(workspace) = workspaces.get(&stored.position)
            {
                let version = (CredentialId(record.stream.id), secret.version);
                versions.entry(*workspace).or_default().insert(version);
            }
        }
        Ok(versions)
    }
}

type Versions = HashMap<WorkspaceId, HashSet<(CredentialId, u32)>>;

async fn write_credentials(writer: &mut SqliteConnection, folded: &Folded) -> Result<(), sqlx::Error> {
    insert(
        writer,
        "INSERT OR REPLACE INTO credentials (position, id, workspace, kind, parent, revoked) VALUES",
        6,
        folded.issued.clone(),
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
    for (id, position) in &folded.revoked {
        sqlx::query("UPDATE credentials SET revoked = ? WHERE id = ?")
            .bind(position)
            .bind(id.0.as_bytes().as_slice())
            .execute(&mut *writer)
            .await?;
    }
    Ok(())
}

/// Takes back what went ahead of the index before rota was stopped: it is folded again, from a ledger that may be
/// another one by now.
pub(super) async fn take_back(writer: &mut SqliteConnection, folded: Position) -> Result<(), sqlx::Error> {
    begin(writer).await?;
    for sql in [
        "DELETE FROM credentials WHERE position >= ?",
        "UPDATE credentials SET revoked = -1 WHERE revoked >= ?",
    ] {
        sqlx::query(sql).bind(folded.0 as i64).execute(&mut *writer).await?;
    }
    set_position(writer, ROWS, folded.0).await?;
    writer.execute("COMMIT").await?;
    Ok(())
}

/// A row of ended versions: workspace, when the first of them ended, and all of them.
type EndedRow = (WorkspaceId, i64, Vec<u8>);

fn pack_ended(mut ended: Vec<Ended>) -> Vec<EndedRow> {
    ended.sort_unstable();
    let by_workspace = ended.chunk_by(|a, b| a.workspace == b.workspace);
    by_workspace.flat_map(|all| all.chunks(ENDED_CHUNK)).filter_map(ended_row).collect()
}

fn ended_row(chunk: &[Ended]) -> Option<EndedRow> {
    let first = chunk.first()?;
    let mut entries = Vec::with_capacity(chunk.len() * ENDED_BYTES);
    for Ended { at, credential, version, .. } in chunk {
        entries.extend_from_slice(&at.to_le_bytes());
        entries.extend_from_slice(credential.0.as_bytes());
        entries.extend_from_slice(&version.to_le_bytes());
    }
    Some((first.workspace, first.at, entries))
}

/// The ended versions of a row, oldest first.
pub(super) fn unpack_ended(workspace: WorkspaceId, entries: &[u8]) -> impl Iterator<Item = Ended> {
    entries.chunks_exact(ENDED_BYTES).filter_map(move |entry| {
        let (at, rest) = entry.split_first_chunk::<8>()?;
        let (credential, rest) = rest.split_first_chunk::<16>()?;
        Some(Ended {
            workspace,
            at: i64::from_le_bytes(*at),
            credential: CredentialId(Uuid::from_bytes(*credential)),
            version: u32::from_le_bytes(rest.try_into().ok()?),
        })
    })
}

async fn write_ended(writer: &mut SqliteConnection, rows: Vec<EndedRow>) -> Result<(), sqlx::Error> {
    const INSERT: &str = "INSERT INTO ended_versions (workspace, oldest, entries) VALUES";
    insert(writer, INSERT, 3, rows, |(workspace, oldest, entries), arguments| {
        arguments.add(workspace.0.as_bytes().to_vec())?;
        arguments.add(oldest)?;
        arguments.add(entries)
    })
    .await
}

/// Takes versions out of the rows of their workspace. They are among the oldest, and so in the first ones.
async fn forget_ended(
    writer: &mut SqliteConnection,
    workspace: WorkspaceId,
    versions: &HashSet<(CredentialId, u32)>,
) -> Result<(), sqlx::Error> {
    let (mut left, mut after) = (versions.len(), (i64::MIN, i64::MIN));
    while left > 0 {
        let row: Option<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT id, oldest, entries FROM ended_versions WHERE workspace = ? AND (oldest, id) > (?, ?) \
             ORDER BY oldest, id LIMIT 1",
        )
        .bind(workspace.0.as_bytes().as_slice())
        .bind(after.0)
        .bind(after.1)
        .fetch_optional(&mut *writer)
        .await?;
        let Some((id, oldest, entries)) = row else { break };
        after = (oldest, id);
        let all: Vec<Ended> = unpack_ended(workspace, &entries).collect();
        let kept: Vec<Ended> =
            all.iter().filter(|e| !versions.contains(&(e.credential, e.version))).copied().collect();
        if kept.len() == all.len() {
            continue;
        }
        left = left.saturating_sub(all.len() - kept.len());
        let query = match ended_row(&kept) {
            // It stays in its place, so that the walk goes on from there.
            Some((_, _, entries)) => {
                sqlx::query("UPDATE ended_versions SET entries = ? WHERE id = ?").bind(entries).bind(id)
            }
            None => sqlx::query("DELETE FROM ended_versions WHERE id = ?").bind(id),
        };
        query.execute(&mut *writer).await?;
    }
    Ok(())
}

/// How far a checkpoint has got.
pub(super) async fn position(writer: &mut SqliteConnection, name: &str) -> Result<Position, LogError> {
    let position: Option<i64> = sqlx::query_scalar("SELECT position FROM checkpoint WHERE name = ?")
        .bind(name)
        .fetch_optional(writer)
        .await
        .map_err(LogError::unavailable)?;
    Ok(Position(position.unwrap_or(0) as u64))
}

async fn set_position(writer: &mut SqliteConnection, name: &str, next: u64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO checkpoint VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position",
    )
    .bind(name)
    .bind(next as i64)
    .execute(writer)
    .await
    .map(drop)
}

/// Inserts rows, many to a statement.
pub(super) async fn insert<T: Send>(
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
