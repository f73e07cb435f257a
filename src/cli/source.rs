//! Where events are read from: a store at rest, or a server.

use std::sync::Arc;

use bytes::Buf as _;
use rota::app::at_rest::AtRest;
use rota::log::EventLog;
use rota::telemetry::{self, LogFormat};
use rota_aggregates::Position;
use rota_exports::Filter;
use tokio::sync::mpsc;

use super::client::{Remote, ServerArgs};
use super::error::Stop;
use super::progress::Progress;
use super::store::StoreArgs;

/// Events read at once.
const PAGE: usize = 2_048;
/// Events asked of a server at once.
const ASKED: &str = "10000";

/// Pages that wait to be taken in.
const PAGES_MAX: usize = 2;

/// A position and the bytes of its event.
pub type Leaf = (Position, Vec<u8>);

/// Where events are read from.
pub enum Source {
    /// A store that is opened for this alone.
    Store(Arc<dyn EventLog>),
    /// A server.
    Server(Remote),
}

/// Events in a row, and where the next ones begin.
pub struct Page {
    pub leaves: Vec<Leaf>,
    /// Where to go on; `None` at the end.
    pub next: Option<Position>,
    /// Where the ledger ends, if the reader may know.
    pub head: Option<Position>,
}

impl Source {
    /// The server, if one was named, else the store.
    pub async fn open(server: ServerArgs, store: &StoreArgs) -> Result<Self, Stop> {
        if let Some(remote) = server.named()? {
            return Ok(Self::Server(remote));
        }
        telemetry::init_quiet(LogFormat::Text, "error");
        store.kept()?;
        Ok(Self::Store(AtRest::open(store.options()?).await?.log))
    }

    /// Events from a position on. A server gives those alone that the filter takes; a store gives all.
    pub async fn page(&self, filter: &Filter, from: Position) -> Result<Page, Stop> {
        match self {
            Self::Store(log) => {
                let head = log.next().await?;
                let page = log.read(from, PAGE).await?;
                let leaves: Vec<_> = (page.first.0..)
                    .map(Position)
                    .zip(page.leaves.into_iter().map(|(leaf, _)| leaf))
                    .collect();
                let next = leaves.last().map(|(last, _)| Position(last.0 + 1)).filter(|next| *next < head);
                Ok(Page { leaves, next, head: Some(head) })
            }
            Self::Server(remote) => asked(remote, filter, from).await,
        }
    }
}

/// Reads pages and has them taken in on another thread, a few pages apart, until `take` has enough or there are no
/// more: from one position to another, exclusive, or to where the ledger ended when this began.
pub async fn stream<T: Send + 'static>(
    source: &Source,
    what: &'static str,
    filter: &Filter,
    (from, end): (Position, Option<Position>),
    mut taker: T,
    take: impl Fn(&mut T, Vec<Leaf>) -> Result<bool, Stop> + Send + 'static,
) -> Result<T, Stop> {
    let progress = Progress::new(what);
    let (pages, mut waiting) = mpsc::channel::<Vec<Leaf>>(PAGES_MAX);
    let taking = tokio::task::spawn_blocking(move || {
        while let Some(page) = waiting.blocking_recv() {
            if !take(&mut taker, page)? {
                break;
            }
        }
        Ok(taker)
    });
    let (mut next, mut bound) = (Some(from), end);
    while let Some(at) = next.filter(|at| bound.is_none_or(|bound| *at < bound)) {
        let mut page = source.page(filter, at).await?;
        // What is recorded from now on is for the next time.
        bound = bound.or(page.head);
        if let Some(bound) = bound {
            page.leaves.retain(|(position, _)| *position < bound);
        }
        next = page.next;
        let done = page.leaves.last().map_or(at.0, |(position, _)| position.0 + 1) - from.0;
        match bound {
            Some(bound) => progress.at(done, bound.0.saturating_sub(from.0)),
            None => progress.counted(done),
        }
        // Who takes no more has ended, well or not.
        if pages.send(page.leaves).await.is_err() {
            break;
        }
    }
    drop(pages);
    taking.await.map_err(|error| Stop::failed("it broke off", error))?
}

async fn asked(remote: &Remote, filter: &Filter, from: Position) -> Result<Page, Stop> {
    let after = from.0.checked_sub(1).map(|after| after.to_string());
    let named = [
        ("after", after),
        ("type", filter.r#type.clone()),
        ("subject", filter.subject.map(|id| id.to_string())),
        ("workspaceId", filter.workspace.map(|id| id.to_string())),
        ("actor", filter.actor.clone()),
        ("requestId", filter.request.map(|id| id.to_string())),
        ("from", filter.from.map(|time| time.to_string())),
        ("to", filter.to.map(|time| time.to_string())),
    ];
    let mut query = vec![("limit", ASKED)];
    query.extend(named.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
    let mut raw = remote.get_raw("/v1/events/leaves", &query).await?;
    let header = |name| raw.headers.get(name)?.to_str().ok()?.parse().ok().map(Position);
    let (head, last) = (header("rota-head"), header("rota-next"));
    let mut leaves = Vec::new();
    while raw.body.remaining() >= 10 {
        let (position, length) = (Position(raw.body.get_u64()), usize::from(raw.body.get_u16()));
        if raw.body.remaining() < length || leaves.last().is_some_and(|(before, _)| *before >= position) {
            break;
        }
        leaves.push((position, raw.body.split_to(length).to_vec()));
    }
    if raw.body.has_remaining() {
        return Err(Stop::refused(format!("{} answered something that is no page of events", remote.url())));
    }
    Ok(Page { leaves, next: last.map(|last| Position(last.0 + 1)), head })
}
