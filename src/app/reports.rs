//! The auditors' questions: which events a report is folded from, up to which position, for whom.
//!
//! A report is folded from the ledger each time it is asked for, page by page: the events about a credential, or those
//! of the types that it folds, by the audit index; where most of the ledger is needed all of it, decoding only those
//! types. What is kept in memory is the fold, one page of rows, and the positions that the index names.

use std::sync::Arc;

use rota_aggregates::record::Record;
use rota_aggregates::{CredentialId, Position, Timestamp, WorkspaceId};
use rota_projections::Recorded;
use rota_projections::audit::Facet;
use rota_projections::reports::{Definition, Owned, Parameter, Question, Row, Rows, Run, find};

use super::read::{AsOf, decode};
use super::sweep::Sweeper;
use super::{App, Caller, Failure};
use crate::log::{LogError, StoredEvent};
use crate::views::AuditQuery;

/// Events read at once.
const PAGE: usize = 1_000;

/// Of the whole ledger at most one event in so many is looked up: what is read in order is read faster.
const SPARSE: u64 = 8;

/// A report that is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its name.
    pub name: String,
    /// What is asked. The instant is filled in from `at` and `as_of`.
    pub question: Question,
    /// What the ledger knew.
    pub as_of: Option<AsOf>,
    /// The instant that is asked about, if it is another.
    pub at: Option<Timestamp>,
    /// Where a page before ended.
    pub after: Option<Cursor>,
    /// At most so many rows.
    pub limit: usize,
}

/// Where the next page of an answer begins: it is of the same point in history, whatever was recorded since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// The first position that the answer knows nothing of.
    pub end: Position,
    /// The instant that was asked about.
    pub at: Timestamp,
    /// Rows before it.
    pub rows: u64,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.end, self.at.micros(), self.rows)
    }
}

impl std::str::FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(());
        let end: u64 = part()?.parse().map_err(drop)?;
        let at = part()?.parse().map_err(drop)?;
        let rows: u64 = part()?.parse().map_err(drop)?;
        if parts.next().is_some() || end >= 1 << 62 {
            return Err(());
        }
        Ok(Self { end: Position(end), at: Timestamp::from_micros(at), rows })
    }
}

/// A page of a report.
#[derive(Debug)]
pub struct Reported {
    /// Which report.
    pub definition: &'static Definition,
    /// What was asked, filled in.
    pub question: Question,
    /// How many events the ledger had: the answer rests on all before this position and on none after.
    pub end: Position,
    /// The page.
    pub rows: Vec<Row>,
    /// How many rows the whole answer has.
    pub count: u64,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
    /// The signed note over the events that it rests on; `None` while nothing is signed.
    pub checkpoint: Option<String>,
}

impl App {
    /// Answers one of the auditors' questions.
    pub async fn report(&self, caller: &Caller, ask: Ask) -> Result<Reported, Failure> {
        let definition = find(&ask.name).ok_or(Failure::NotFound("report"))?;
        let mut question = ask.question;
        question.workspace = self.may_read_events(caller, question.workspace)?;
        if let Some(id) = question.credential {
            let workspace = self.workspace_of(id)?;
            if question.workspace.is_some_and(|own| own != workspace) {
                return Err(Failure::NotFound("credential"));
            }
            question.workspace = Some(workspace);
        }
        self.settled().await?;
        let (end, at) = self.point(caller, ask.as_of, ask.after).await?;
        question.at = ask.at.or(ask.after.map(|cursor| cursor.at)).unwrap_or(at);
        if ask.after.is_some_and(|cursor| cursor.at != question.at) {
            return Err(Failure::invalid("at", "is not that of the answer that `after` goes on with"));
        }
        if let Some(owner) = question.owner {
            let workspace = self.workspace_of(owner)?;
            if question.workspace.is_some_and(|own| own != workspace) {
                return Err(Failure::NotFound("credential"));
            }
            // An owner's credentials are all in its workspace.
            question.workspace = Some(workspace);
            if definition.parameters.contains(&Parameter::Owner) {
                question.owned = Some(self.owned(owner, workspace, end).await?);
            }
        }
        let skip = ask.after.map_or(0, |cursor| cursor.rows);
        let run = Run::new(definition, question.clone(), Rows::page(skip, ask.limit));
        let run = match lists(definition, &question) {
            Some(lists) => {
                // In one workspace the index names no more than is there to be read anyway.
                let most = if question.workspace.is_some() { usize::MAX } else { (end.0 / SPARSE) as usize };
                match self.views.positions(&lists, end, most).await? {
                    Some(positions) => self.look_up(lists, run, &positions).await?,
                    None => self.sweep(run, definition.types, end).await?,
                }
            }
            None => self.sweep(run, definition.types, end).await?,
        };
        let rows = run.finish();
        let count = rows.count();
        let rows = rows.into_kept();
        let reached = skip + rows.len() as u64;
        let next = (reached < count).then_some(Cursor { end, at: question.at, rows: reached });
        let checkpoint = self.checkpoint_over(end.0).await?;
        self.note_read(caller, question.workspace, &format!("report/{}", definition.name)).await;
        Ok(Reported { definition, question, end, rows, count, next, checkpoint })
    }

    /// The first position that is not known, and the instant that belongs to it.
    async fn point(
        &self,
        caller: &Caller,
        as_of: Option<AsOf>,
        after: Option<Cursor>,
    ) -> Result<(Position, Timestamp), Failure> {
        let head = self.tip.tip.read().live.next_position();
        let (before, at) = match (as_of, after) {
            (None, Some(cursor)) => (Some(cursor.end), cursor.at),
            (as_of, _) => self.cut(caller, as_of).await?,
        };
        let end = before.unwrap_or(head);
        if end > head || after.is_some_and(|cursor| cursor.end != end) {
            return Err(Failure::invalid("after", "is not of this answer: take `next` of its page before"));
        }
        Ok((end, at))
    }

    /// The credentials of an owner, as of a position.
    async fn owned(
        &self,
        owner: CredentialId,
        workspace: WorkspaceId,
        end: Position,
    ) -> Result<Owned, Failure> {
        let of_type = Facet::Type("rota.custody.owner-set.v1".to_owned());
        let facets = vec![Facet::Workspace(workspace), of_type];
        let mut query = AuditQuery { facets, before: Some(end), limit: PAGE, ..AuditQuery::default() };
        let mut owned = Owned::by(owner);
        loop {
            let page = self.views.audit(&query).await?;
            for (record, _) in &page {
                owned.take(&record.event);
            }
            query.after = page.last().map(|(_, stored)| stored.position);
            if page.len() < PAGE {
                return Ok(owned);
            }
        }
    }

    /// Feeds to a report the events at these positions that have all facets of one of the lists.
    async fn look_up(
        &self,
        lists: Vec<Vec<Facet>>,
        mut run: Run,
        positions: &[Position],
    ) -> Result<Run, Failure> {
        let lists = Arc::new(lists);
        let mut portions = positions.chunks(PAGE);
        let mut page = self.log.read_at(portions.next().unwrap_or_default()).await?;
        while !page.is_empty() {
            let lists = Arc::clone(&lists);
            let folding = tokio::task::spawn_blocking(move || fold(run, &page, &lists));
            // The next page is read meanwhile.
            let reading = self.log.read_at(portions.next().unwrap_or_default());
            let (folded, read) = tokio::join!(folding, reading);
            run = folded.map_err(|error| LogError::unavailable(error.to_string()))??;
            page = read?;
        }
        Ok(run)
    }
}

fn fold(mut run: Run, page: &[StoredEvent], lists: &[Vec<Facet>]) -> Result<Run, Failure> {
    for stored in page {
        let record = decode(stored)?;
        if lists.iter().any(|facets| facets.iter().all(|facet| facet.matches(&record))) {
            Sweeper::take(&mut run, stored.position, record, None);
        }
    }
    Ok(run)
}

impl Sweeper for Run {
    fn take(&mut self, position: Position, record: Record, _: Option<[u8; 32]>) {
        Self::take(self, &Recorded { position, record, digest: None, details: None }.fact());
    }
}

/// The lists of facets by which the events of a question can be looked up: those that have all of one of them. `None`
/// if all are to be read.
fn lists(definition: &Definition, question: &Question) -> Option<Vec<Vec<Facet>>> {
    let of_type = |name: &&str| {
        let mut facets = vec![Facet::Type((*name).to_owned())];
        facets.extend(question.workspace.map(Facet::Workspace));
        facets
    };
    if let Some((id, beside)) = question.credential.zip(definition.beside_credential) {
        let about = std::iter::once(vec![Facet::Credential(id)]);
        return Some(about.chain(beside.iter().map(of_type)).collect());
    }
    match (definition.types, question.workspace) {
        (Some(types), _) => Some(types.iter().map(of_type).collect()),
        (None, Some(id)) => Some(vec![vec![Facet::Workspace(id)]]),
        (None, None) => None,
    }
}
