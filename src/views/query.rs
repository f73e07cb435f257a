//! What can be asked of the views.

use rota_aggregates::credential::Kind;
use rota_aggregates::record::Record;
use rota_aggregates::{CredentialId, Position, Timestamp, WorkspaceId};
use rota_projections::audit::Facet;
use sqlx::{QueryBuilder, Row, Sqlite};
use uuid::Uuid;

use super::Views;
use crate::log::{LogError, StoredEvent};

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
    /// The events that answer a question, oldest first.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Vec<(Record, StoredEvent)>, LogError> {
        let first = match query.from {
            Some(from) => self.first_at(from).await?,
            None => Position(0),
        };
        let first = first.max(query.after.map_or(Position(0), |p| Position(p.0 + 1)));
        let mut end = query.before.unwrap_or(Position(u64::MAX >> 1));
        if let Some(to) = query.to {
            end = end.min(self.first_at(to).await?);
        }
        if first >= end {
            return Ok(Vec::new());
        }
        let positions = if query.facets.is_empty() {
            let last = self.log.next().await?.min(end);
            (first.0..last.0).take(query.limit).map(Position).collect()
        } else {
            self.positions(query, first, end).await?
        };
        let mut found = Vec::with_capacity(positions.len());
        for stored in self.log.read_at(&positions).await? {
            let record = Record::decode(&stored.leaf)
                .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
            // The index only points; what the event says decides.
            if query.facets.iter().all(|facet| facet.matches(&record)) {
                found.push((record, stored));
            }
        }
        Ok(found)
    }

    async fn positions(
        &self,
        query: &AuditQuery,
        first: Position,
        end: Position,
    ) -> Result<Vec<Position>, LogError> {
        let mut facets = query.facets.clone();
        // Drive from the rarest: what belongs to one request or credential, before what a whole workspace has.
        facets.sort_by_key(|facet| match facet {
            Facet::Request(_) => 0,
            Facet::Credential(_) => 1,
            Facet::Actor(_) => 2,
            Facet::Type(_) => 3,
            Facet::Workspace(_) => 4,
        });
        let Some((driver, others)) = facets.split_first() else { return Ok(Vec::new()) };
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT position FROM audit a WHERE dimension = ");
        sql.push_bind(driver.dimension()).push(" AND key = ").push_bind(driver.key());
        sql.push(" AND position >= ").push_bind(first.0 as i64);
        sql.push(" AND position < ").push_bind(end.0 as i64);
        for facet in others {
            sql.push(" AND EXISTS (SELECT 1 FROM audit b WHERE b.dimension = ").push_bind(facet.dimension());
            sql.push(" AND b.key = ").push_bind(facet.key()).push(" AND b.position = a.position)");
        }
        sql.push(" ORDER BY position LIMIT ").push_bind(query.limit as i64);
        let rows = sql.build().fetch_all(&self.readers).await.map_err(LogError::unavailable)?;
        let positions = rows.iter().map(|row| Ok(Position(row.try_get::<i64, _>(0)? as u64)));
        positions.collect::<Result<_, sqlx::Error>>().map_err(LogError::unavailable)
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

    /// Ended versions of a workspace whose digests are kept and that ended before an instant, oldest first.
    pub async fn ended_before(
        &self,
        workspace: WorkspaceId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(CredentialId, u32)>, LogError> {
        let rows = sqlx::query(
            "SELECT credential, version FROM ended_versions WHERE workspace = ? AND ended < ? \
             ORDER BY ended LIMIT ?",
        )
        .bind(workspace.0.as_bytes().as_slice())
        .bind(before.seconds())
        .bind(limit as i64)
        .fetch_all(&self.readers)
        .await
        .map_err(LogError::unavailable)?;
        let versions = rows.iter().filter_map(|row| {
            let id = Uuid::from_slice(row.try_get::<&[u8], _>(0).ok()?).ok()?;
            Some((CredentialId(id), row.try_get(1).ok()?))
        });
        Ok(versions.collect())
    }

    /// Every row of every view as text, in a fixed order: what two foldings of one ledger must agree on.
    pub async fn dump(&self) -> Result<Vec<String>, LogError> {
        let mut lines = Vec::new();
        for sql in [
            "SELECT 'checkpoint ' || name || ' ' || position FROM checkpoint ORDER BY name",
            "SELECT 'audit ' || dimension || ' ' || hex(key) || ' ' || position FROM audit \
             ORDER BY dimension, key, position",
            "SELECT 'credential ' || position || ' ' || hex(id) || ' ' || hex(workspace) || ' ' || kind || ' ' \
             || coalesce(hex(parent), '-') || ' ' || revoked FROM credentials ORDER BY position",
            "SELECT 'ended ' || hex(workspace) || ' ' || ended || ' ' || hex(credential) || ' ' || version \
             FROM ended_versions ORDER BY workspace, ended, credential, version",
        ] {
            let rows: Vec<String> =
                sqlx::query_scalar(sql).fetch_all(&self.readers).await.map_err(LogError::unavailable)?;
            lines.extend(rows);
        }
        Ok(lines)
    }
}
