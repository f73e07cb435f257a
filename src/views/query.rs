//! What can be asked of the views.

use futures_util::TryStreamExt;
use rota_aggregates::credential::Kind;
use rota_aggregates::record::Record;
use rota_aggregates::{CredentialId, Position, Timestamp, WorkspaceId};
use rota_projections::audit::Facet;
use sqlx::{QueryBuilder, Row, Sqlite};
use uuid::Uuid;

use super::Views;
use super::project::unpack_ended;
use super::run::Entries;
use super::search::Search;
use super::tail::Ended;
use crate::log::{LogError, StoredEvent};

/// Events read at once.
const READ_MAX: usize = 1_000;

/// A question to the audit trail. Everything that is named must hold.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// The facets that an event must have.
    pub facets: Vec<Facet>,
    /// Events after this position.
    pub after: Option<Position>,
    /// Events before this position, exclusive.
    pub before: Option<Position>,
    /// From this instant on.
    pub from: Option<Timestamp>,
    /// Up to this instant, exclusive.
    pub to: Option<Timestamp>,
    /// At most so many.
    pub limit: usize,
}

/// Which credentials are to be listed.
#[derive(Clone, Copy, Debug)]
pub struct ListQuery<'a> {
    /// Of this workspace.
    pub workspace: WorkspaceId,
    /// Of these kinds.
    pub kinds: &'a [Kind],
    /// Issued after this position.
    pub after: Option<Position>,
    /// As it was before this position.
    pub before: Option<Position>,
    /// Only those that were not revoked then.
    pub living: bool,
    /// At most so many.
    pub limit: usize,
    /// Skip so many.
    pub offset: usize,
}

/// A credential as it is listed: enough to fold it and to go on from it.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// The event that issued it, which orders the list.
    pub position: Position,
    /// Its id.
    pub id: CredentialId,
}

impl Views {
    /// The first position that can answer a question, and the one after the last.
    async fn span(&self, query: &AuditQuery) -> Result<(Position, Position), LogError> {
        let first = match query.from {
            Some(from) => self.first_at(from).await?,
            None => Position(0),
        };
        let first = first.max(query.after.map_or(Position(0), |p| Position(p.0 + 1)));
        let mut end = query.before.unwrap_or(Position(u64::MAX >> 1));
        if let Some(to) = query.to {
            end = end.min(self.first_at(to).await?);
        }
        Ok((first, end))
    }

    /// The leaves that answer a question, oldest first.
    pub async fn leaves(&self, query: &AuditQuery) -> Result<Vec<(Position, Vec<u8>)>, LogError> {
        if !query.facets.is_empty() {
            let found = self.audit(query).await?.into_iter();
            return Ok(found.map(|(_, stored)| (stored.position, stored.leaf)).collect());
        }
        let (first, end) = self.span(query).await?;
        let limit = query.limit.min(end.0.saturating_sub(first.0) as usize);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let page = self.log.read(first, limit).await?;
        Ok((page.first.0..).map(Position).zip(page.leaves.into_iter().map(|(leaf, _)| leaf)).collect())
    }

    /// The events that answer a question, oldest first.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Vec<(Record, StoredEvent)>, LogError> {
        let (first, end) = self.span(query).await?;
        if first >= end {
            return Ok(Vec::new());
        }
        if query.facets.is_empty() {
            let last = self.log.next().await?.min(end);
            let positions: Vec<_> = (first.0..last.0).take(query.limit).map(Position).collect();
            return self.log.read_at(&positions).await?.into_iter().map(decode).collect();
        }
        let mut search = Search::new(self, &query.facets, first, end).await?;
        let mut found = Vec::new();
        while found.len() < query.limit {
            let positions = search.more().await?;
            if positions.is_empty() {
                break;
            }
            for portion in positions.chunks(query.limit.clamp(1, READ_MAX)) {
                for stored in self.log.read_at(portion).await? {
                    let (record, stored) = decode(stored)?;
                    // The index only points; what the event says decides.
                    if found.len() < query.limit && query.facets.iter().all(|facet| facet.matches(&record)) {
                        found.push((record, stored));
                    }
                }
                if found.len() == query.limit {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// The positions before `end` of the events that have all facets of one of some lists, in order; `None` if there are
    /// more than `most`. The index only points: an event there may lack a facet.
    pub async fn positions(
        &self,
        lists: &[Vec<Facet>],
        end: Position,
        most: usize,
    ) -> Result<Option<Vec<Position>>, LogError> {
        let mut all = Vec::new();
        for facets in lists {
            let mut search = Search::new(self, facets, Position(0), end).await?;
            loop {
                let found = search.more().await?;
                if found.is_empty() {
                    break;
                }
                all.extend(found);
                if all.len() > most {
                    return Ok(None);
                }
            }
        }
        all.sort_unstable();
        all.dedup();
        Ok(Some(all))
    }

    /// The position of the first event at or after an instant. The ledger's time never goes back, so it can be
    /// searched for.
    pub async fn first_at(&self, time: Timestamp) -> Result<Position, LogError> {
        let (mut low, mut high) = (0, self.log.next().await?.0);
        while low < high {
            let middle = low + (high - low) / 2;
            let page = self.log.read(Position(middle), 1).await?;
            let Some((leaf, _)) = page.leaves.first() else { break };
            let record = Record::decode(leaf)
                .map_err(|source| LogError::BadLeaf { position: Position(middle), source })?;
            if record.time < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Position(low))
    }

    /// Credentials of a workspace by order of issue.
    pub async fn list(&self, query: &ListQuery<'_>) -> Result<Vec<Listed>, LogError> {
        let ListQuery { workspace, kinds, after, before, living, limit, offset } = *query;
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT position, id FROM credentials WHERE workspace = ");
        sql.push_bind(workspace.0.as_bytes().to_vec()).push(" AND kind IN (");
        let mut list = sql.separated(", ");
        for kind in kinds {
            list.push_bind(kind.name());
        }
        sql.push(") AND position > ").push_bind(after.map_or(-1, |p| p.0 as i64));
        if let Some(before) = before {
            sql.push(" AND position < ").push_bind(before.0 as i64);
        }
        if living {
            sql.push(" AND (revoked = -1");
            if let Some(before) = before {
                sql.push(" OR revoked >= ").push_bind(before.0 as i64);
            }
            sql.push(")");
        }
        sql.push(" ORDER BY position LIMIT ").push_bind(limit as i64);
        sql.push(" OFFSET ").push_bind(offset as i64);
        let rows = sql.build().fetch_all(&self.readers).await.map_err(LogError::unavailable)?;
        let listed = rows.iter().map(|row| {
            let id: Vec<u8> = row.try_get(1)?;
            let id = Uuid::from_slice(&id).map_err(|e| sqlx::Error::Decode(e.into()))?;
            Ok(Listed { position: Position(row.try_get::<i64, _>(0)? as u64), id: CredentialId(id) })
        });
        listed.collect::<Result<_, sqlx::Error>>().map_err(LogError::unavailable)
    }

    /// The credentials that belong to another one.
    pub async fn children(&self, parent: CredentialId) -> Result<Vec<CredentialId>, LogError> {
        let rows: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT id FROM credentials WHERE parent = ? ORDER BY position")
                .bind(parent.0.as_bytes().as_slice())
                .fetch_all(&self.readers)
                .await
                .map_err(LogError::unavailable)?;
        Ok(rows.iter().filter_map(|id| Uuid::from_slice(id).ok()).map(CredentialId).collect())
    }

    /// Ended versions of a workspace whose digests are kept and that ended before an instant.
    pub async fn ended_before(
        &self,
        workspace: WorkspaceId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(CredentialId, u32)>, LogError> {
        // First the tail: what goes from there into the file meanwhile is found there.
        let newest: Vec<Ended> = {
            let tail = self.tail.read();
            let ended = tail.ended.iter().filter(|e| e.workspace == workspace);
            ended.filter(|e| e.at < before.seconds()).take(limit).copied().collect()
        };
        let mut found = Vec::new();
        let mut rows = sqlx::query_scalar::<_, Vec<u8>>(
            "SELECT entries FROM ended_versions WHERE workspace = ? AND oldest < ? ORDER BY oldest",
        )
        .bind(workspace.0.as_bytes().as_slice())
        .bind(before.seconds())
        .fetch(&self.readers);
        while found.len() < limit
            && let Some(entries) = rows.try_next().await.map_err(LogError::unavailable)?
        {
            let ended = unpack_ended(workspace, &entries).take_while(|e| e.at < before.seconds());
            found.extend(ended);
        }
        found.extend(newest);
        found.sort_unstable();
        found.dedup();
        Ok(found.into_iter().take(limit).map(|e| (e.credential, e.version)).collect())
    }

    /// Everything that every view holds as text, in a fixed order: what two foldings of one ledger must agree on.
    pub async fn dump(&self) -> Result<Vec<String>, LogError> {
        let _folding = self.folding.lock().await;
        let mut lines = vec![format!("checkpoint {}", self.projected())];
        let (mut entries, mut ended) = {
            let tail = self.tail.read();
            (tail.entries(), tail.ended.clone())
        };
        let pages: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT data FROM pages WHERE run IN (SELECT run FROM runs)")
                .fetch_all(&self.readers)
                .await
                .map_err(LogError::unavailable)?;
        entries.extend(pages.iter().flat_map(|data| Entries::of(data)));
        entries.sort_unstable();
        entries.dedup();
        lines.extend(entries.iter().map(|(key, position)| format!("audit {key:016x} {position}")));
        let credentials: Vec<String> = sqlx::query_scalar(
            "SELECT 'credential ' || position || ' ' || hex(id) || ' ' || hex(workspace) || ' ' || kind || ' ' \
             || coalesce(hex(parent), '-') || ' ' || revoked FROM credentials ORDER BY position",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(LogError::unavailable)?;
        lines.extend(credentials);
        let rows: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as("SELECT workspace, entries FROM ended_versions")
            .fetch_all(&self.readers)
            .await
            .map_err(LogError::unavailable)?;
        for (workspace, entries) in rows {
            let workspace = WorkspaceId(Uuid::from_slice(&workspace).map_err(LogError::unavailable)?);
            ended.extend(unpack_ended(workspace, &entries));
        }
        ended.sort_unstable();
        lines.extend(ended.iter().map(|e| {
            let Ended { workspace, at, credential, version } = e;
            format!("ended {workspace} {at} {credential} {version}")
        }));
        Ok(lines)
    }
}

fn decode(stored: StoredEvent) -> Result<(Record, StoredEvent), LogError> {
    let record = Record::decode(&stored.leaf)
        .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
    Ok((record, stored))
}
