//! `/v1/events`: the feed, in pages and as a stream.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use futures_util::stream;
use rota_aggregates::authority::{Actor, ActorKind};
use rota_aggregates::credential::Kind;
use rota_aggregates::{CredentialId, Position, RequestId, WorkspaceId};
use serde::Deserialize;
use tokio::sync::watch;
use uuid::Uuid;

use super::super::body;
use super::super::request::Request;
use super::query::time;
use super::{builder, cursor, limit, ok, wire, with};
use crate::app::read::{EventQuery, Paging};
use crate::app::{App, Caller, Failure};

/// A comment is sent so often when nothing happens, so that proxies keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Leaves asked for at once, at most.
const LEAVES_MAX: usize = 10_000;
/// A page of leaves ends when it has so many bytes.
const LEAVES_BYTES: usize = 4 << 20;
/// Events sent at once.
const PORTION: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EventsQuery {
    after: Option<String>,
    limit: Option<usize>,
    r#type: Option<String>,
    subject: Option<String>,
    actor: Option<String>,
    request_id: Option<RequestId>,
    workspace_id: Option<WorkspaceId>,
    from: Option<String>,
    to: Option<String>,
}

impl EventsQuery {
    fn question(&self, app: &App) -> Result<EventQuery, Failure> {
        let credential = self.subject.as_deref().map(subject).transpose()?;
        Ok(EventQuery {
            workspace: self.workspace_id,
            credential,
            actor: self.actor.as_deref().map(|text| actor(app, text)).transpose()?,
            event_type: self.r#type.clone(),
            request: self.request_id,
            from: time("from", self.from.as_deref())?,
            to: time("to", self.to.as_deref())?,
        })
    }
}

/// A credential's id, with or without `credential/` before it.
fn subject(text: &str) -> Result<CredentialId, Failure> {
    let id = text.rsplit('/').next().unwrap_or_default();
    id.parse().map_err(|_| Failure::invalid("subject", "must be a credential's id"))
}

/// `operator`, `scheduler`, or the id of a workspace key or credential.
pub(super) fn actor(app: &App, text: &str) -> Result<Actor, Failure> {
    match text {
        "operator" => return Ok(Actor::OPERATOR),
        "scheduler" => return Ok(Actor::SCHEDULER),
        _ => {}
    }
    let wrong = || Failure::invalid("actor", "must be operator, scheduler, or a credential's id");
    let id: Uuid = text.parse().map_err(|_| wrong())?;
    if id.is_nil() {
        return Ok(Actor::OPERATOR);
    }
    let kind = app.tip().tip.read().live.credential(CredentialId(id)).map(|c| c.state.kind);
    let kind = if kind == Some(Kind::WorkspaceKey) { ActorKind::WorkspaceKey } else { ActorKind::Credential };
    Ok(Actor { kind, id })
}

/// `GET /v1/events`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: EventsQuery = body::query(request.http.query_string())?;
        let question = query.question(request.app())?;
        let paging = Paging { after: cursor(query.after.as_deref())?, limit: limit(query.limit)?, offset: 0 };
        let page = request.app().events(&caller, &question, paging).await?;
        Ok(ok(request, &wire::events(&page)?))
    })
    .await
}

/// `GET /v1/events/leaves`: the events as the ledger keeps them, in a frame for each: its position in 8 bytes and
/// its length in 2, both big-endian, and the bytes that its leaf hash is over.
pub(super) async fn leaves(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: EventsQuery = body::query(request.http.query_string())?;
        let question = query.question(request.app())?;
        let limit @ 1..=LEAVES_MAX = query.limit.unwrap_or(1_000) else {
            return Err(Failure::invalid("limit", "must be between 1 and 10000"));
        };
        let paging = Paging { after: cursor(query.after.as_deref())?, limit, offset: 0 };
        let page = request.app().events(&caller, &question, paging).await?;
        let (mut frames, mut next) = (Vec::new(), page.next);
        for kept in &page.items {
            // A leaf that is recorded fits.
            let Ok(length) = u16::try_from(kept.leaf.len()) else { continue };
            frames.extend_from_slice(&kept.position.0.to_be_bytes());
            frames.extend_from_slice(&length.to_be_bytes());
            frames.extend_from_slice(&kept.leaf);
            if frames.len() >= LEAVES_BYTES && page.items.last().is_some_and(|l| l.position != kept.position)
            {
                next = Some(kept.position);
                break;
            }
        }
        let mut answer = builder(request, StatusCode::OK);
        answer
            .insert_header((CONTENT_TYPE, "application/octet-stream"))
            .insert_header((CACHE_CONTROL, "no-store"));
        // How long the ledger is concerns whoever may read all of it.
        if caller.workspace().is_none() {
            answer.insert_header(("Rota-Head", request.app().head().borrow().to_string()));
        }
        if let Some(next) = next {
            answer.insert_header(("Rota-Next", next.to_string()));
        }
        Ok(answer.body(frames))
    })
    .await
}

/// What a stream goes on with.
struct Feed {
    app: Arc<App>,
    caller: Caller,
    question: EventQuery,
    after: Option<Position>,
    head: watch::Receiver<Position>,
    stopping: watch::Receiver<bool>,
    begun: bool,
}

/// `GET /v1/events/stream`: server-sent events. `Last-Event-ID`, or `after`, resumes: no gap, no repeat.
pub(super) async fn stream(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: EventsQuery = body::query(request.http.query_string())?;
        let resume = request.header("last-event-id").filter(|text| !text.is_empty());
        let after = cursor(resume.or(query.after.as_deref()))?;
        let question = query.question(request.app())?;
        // Refused now, while there is a status to say so.
        request.app().may_read_events(&caller, question.workspace)?;
        let feed = Feed {
            app: Arc::clone(&request.server.app),
            caller,
            question,
            after,
            head: request.app().head(),
            stopping: request.server.stopping.clone(),
            begun: false,
        };
        Ok(builder(request, StatusCode::OK)
            .insert_header((CONTENT_TYPE, "text/event-stream"))
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header(("X-Accel-Buffering", "no"))
            .streaming(stream::unfold(feed, next)))
    })
    .await
}

/// The next portion of a stream; `None` ends it: rota is stopping, or the caller may not read any more.
async fn next(mut feed: Feed) -> Option<(Result<web::Bytes, actix_web::Error>, Feed)> {
    if !feed.begun {
        feed.begun = true;
        return Some((Ok(web::Bytes::from_static(b"retry: 1000\n\n")), feed));
    }
    loop {
        let stopping = *feed.stopping.borrow();
        if stopping || !matches!(feed.app.is_still_valid(&feed.caller).await, Ok(true)) {
            return None;
        }
        feed.head.mark_unchanged();
        let paging = Paging { after: feed.after, limit: PORTION, offset: 0 };
        let page = match feed.app.events(&feed.caller, &feed.question, paging).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an event stream ends");
                return None;
            }
        };
        if let Some(last) = page.items.last() {
            feed.after = Some(last.position);
            let text = page.items.iter().map(|kept| {
                let entry = kept.entry().ok()?;
                let event = wire::cloud_event(&entry).ok()?;
                Some(format!("id: {}\nevent: {}\ndata: {event}\n\n", kept.position, entry.leaf.r#type))
            });
            let text: Option<String> = text.collect();
            return text.map(|text| (Ok(web::Bytes::from(text)), feed));
        }
        tokio::select! {
            changed = feed.head.changed() => changed.ok()?,
            _ = feed.stopping.changed() => return None,
            () = tokio::time::sleep(HEARTBEAT) => {
                return Some((Ok(web::Bytes::from_static(b": still here\n\n")), feed));
            }
        }
    }
}
