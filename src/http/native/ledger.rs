//! `/ledger` and `/v1/ledger`: what auditors read, in the C2SP formats, and what the operator sets.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rota_aggregates::authority::Dialect;
use rota_aggregates::{Position, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::body;
use super::super::problem;
use super::super::request::Request;
use super::{Outcome, builder, changed, limit, ok, with};
use crate::app::Failure;
use crate::app::ledger::anchor::{Anchored, Progress};
use crate::app::ledger::keys::OVERLAP_SECONDS_DEFAULT;
use crate::log::tree::SignedRoot;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/ledger/checkpoint", web::get().to(checkpoint))
        .route("/ledger/tile/{path:.*}", web::get().to(tile))
        .route("/ledger/cosigned/checkpoint", web::get().to(cosigned))
        .route("/ledger/cosigned/tile/{path:.*}", web::get().to(tile))
        .route("/ledger/~{token}/cosigned/checkpoint", web::get().to(cosigned))
        .route("/ledger/~{token}/cosigned/tile/{path:.*}", web::get().to(tile))
        .route("/ledger/~{token}/checkpoint", web::get().to(checkpoint))
        .route("/ledger/~{token}/tile/{path:.*}", web::get().to(tile))
        .route("/v1/ledger/key", web::get().to(key))
        .route("/v1/ledger/keys", web::post().to(add_key))
        .route("/v1/ledger/policy", web::get().to(policy))
        .route("/v1/ledger/anchor", web::post().to(anchor))
        .route("/v1/ledger/checkpoints", web::get().to(checkpoints))
        .route("/v1/ledger/proof/{position}", web::get().to(proof))
        .route("/v1/ledger/entries/{position}", web::get().to(entry))
        .route("/v1/ledger/consistency", web::get().to(consistency))
        .route("/v1/ledger/auditors", web::post().to(name_auditor))
        .route("/v1/ledger/auditors", web::get().to(auditors))
        .route("/v1/ledger/auditors/{id}", web::delete().to(dismiss_auditor))
        .route("/v1/ledger/state", web::get().to(state))
        .route("/v1/ledger/restored", web::post().to(restored));
}

/// Lets in whoever may read the tiles: by the path, or as the operator.
async fn with_tiles<F>(request: Request, handler: F) -> HttpResponse
where
    F: AsyncFnOnce(&Request) -> Outcome,
{
    let may = match request.http.match_info().get("token") {
        Some(token) => request.app().may_read_tiles_by(token).await,
        None => match request.bearer_or_basic(Dialect::Native).await {
            Ok(caller) => caller.operator_only(),
            Err(not) => return problem::of_entry(&request, &not),
        },
    };
    let done = match may {
        Ok(()) => handler(&request).await,
        Err(failure) => Err(failure),
    };
    done.unwrap_or_else(|failure| problem::of_failure(&request, &failure))
}

fn text(request: &Request, body: String) -> HttpResponse {
    builder(request, StatusCode::OK)
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(body)
}

/// `GET …/checkpoint`
async fn checkpoint(request: Request) -> HttpResponse {
    with_tiles(request, async |request| {
        let published = request.app().newest_checkpoint().await?;
        Ok(text(request, published.note.clone()))
    })
    .await
}

/// `GET …/cosigned/checkpoint`: the newest one that the quorum of witnesses cosigned. The tiles beside it are those of
/// the whole tree, of which it signs for the beginning.
async fn cosigned(request: Request) -> HttpResponse {
    with_tiles(request, async |request| {
        let cosigned = request.app().cosigned_checkpoint().await?;
        Ok(text(request, cosigned.note))
    })
    .await
}

/// `GET …/tile/…`: what a path names never changes.
async fn tile(request: Request) -> HttpResponse {
    with_tiles(request, async |request| {
        let path = request.http.match_info().get("path").unwrap_or_default();
        let path = path.parse().map_err(|_| Failure::NotFound("tile"))?;
        let bytes = request.app().tile(&path).await?;
        Ok(builder(request, StatusCode::OK)
            .insert_header((CONTENT_TYPE, "application/octet-stream"))
            .insert_header((CACHE_CONTROL, "private, max-age=31536000, immutable"))
            .body(bytes))
    })
    .await
}

fn key_body(request: &Request, caller: &crate::app::Caller) -> Result<Value, Failure> {
    let keys = request.app().ledger_keys(caller)?;
    let items: Vec<_> = keys
        .keys
        .iter()
        .map(|key| json!({ "vkey": key.verifier_key, "from": key.from, "to": key.until }))
        .collect();
    Ok(json!({ "origin": keys.origin, "keys": items, "prefix": keys.prefix }))
}

/// `GET /v1/ledger/key`
async fn key(request: Request) -> HttpResponse {
    with(request, async |request, caller| Ok(ok(request, &key_body(request, &caller)?))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KeyBody {
    overlap_seconds: Option<u64>,
}

/// `POST /v1/ledger/keys`: a key that takes over, beside those before it for a while.
async fn add_key(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        caller.operator_only()?;
        let body: KeyBody = body::json(&body::bytes(payload).await?)?;
        let overlap = body.overlap_seconds.unwrap_or(OVERLAP_SECONDS_DEFAULT);
        let position = request.app().add_ledger_key(&caller, overlap).await?;
        Ok(changed(request, position, &key_body(request, &caller)?))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointsQuery {
    at: Option<String>,
    after: Option<u64>,
    limit: Option<usize>,
}

fn signed(root: &SignedRoot) -> Value {
    json!({ "size": root.size, "root": STANDARD.encode(root.root.0), "time": root.time, "note": root.note })
}

/// `GET /v1/ledger/checkpoints`: with `at` the newest one of that instant, else a page of those that are kept.
async fn checkpoints(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: CheckpointsQuery = body::query(request.http.query_string())?;
        if let Some(at) = &query.at {
            let at: Result<Timestamp, _> = at.replace(' ', "+").parse();
            let at = at.map_err(|_| Failure::invalid("at", "must be a time such as 2026-11-21T03:31:18Z"))?;
            let found = request.app().checkpoint_at(&caller, at).await?;
            let items: Vec<_> = found.iter().map(signed).collect();
            return Ok(ok(request, &json!({ "items": items, "next": null })));
        }
        let limit = limit(query.limit)?;
        let after = query.after.unwrap_or(0).min(1 << 62);
        let mut found = request.app().checkpoints(&caller, after, limit + 1).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| last.size.to_string());
        let items: Vec<_> = found.iter().map(signed).collect();
        Ok(ok(request, &json!({ "items": items, "next": next })))
    })
    .await
}

/// `GET /v1/ledger/policy`: the log's keys, the witnesses' and the quorum, as c2sp.org/tlog-policy.
async fn policy(request: Request) -> HttpResponse {
    with(request, async |request, caller| Ok(text(request, request.app().witness_policy(&caller)?))).await
}

/// A position in the path. What is none names nothing.
fn position(request: &Request) -> Result<Position, Failure> {
    let text = request.http.match_info().get("position").unwrap_or_default();
    let position = text.parse::<u64>().ok().filter(|position| *position < 1 << 62);
    position.map(Position).ok_or(Failure::NotFound("event"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofQuery {
    size: Option<u64>,
    cosigned: Option<bool>,
}

/// `GET /v1/ledger/proof/{position}`
async fn proof(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let position = position(request)?;
        let query: ProofQuery = body::query(request.http.query_string())?;
        let size = match query.cosigned {
            Some(true) if query.size.is_some() => {
                return Err(Failure::invalid(
                    "cosigned",
                    "names a checkpoint, as `size` does: give one of them",
                ));
            }
            Some(true) => {
                let cosigned = request.app().cosigned_checkpoint().await?.size;
                let covered = Some(cosigned).filter(|size| *size > position.0);
                Some(covered.ok_or(Failure::NotFound("cosigned checkpoint with this event"))?)
            }
            _ => query.size,
        };
        let proof = request.app().proof(&caller, position, size).await?;
        Ok(text(request, proof))
    })
    .await
}

/// `GET /v1/ledger/entries/{position}`: an event's bytes, as they are hashed.
async fn entry(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let leaf = request.app().entry(&caller, position(request)?).await?;
        Ok(builder(request, StatusCode::OK)
            .insert_header((CONTENT_TYPE, "application/octet-stream"))
            .insert_header((CACHE_CONTROL, "private, max-age=31536000, immutable"))
            .body(leaf))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsistencyQuery {
    from: Option<u64>,
    to: Option<u64>,
}

/// `GET /v1/ledger/consistency`
async fn consistency(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: ConsistencyQuery = body::query(request.http.query_string())?;
        let from = query
            .from
            .ok_or_else(|| Failure::invalid("from", "must be the size of the earlier checkpoint"))?;
        let hashes = request.app().consistency(&caller, from, query.to).await?;
        let lines: String = hashes.iter().map(|hash| STANDARD.encode(hash.0) + "\n").collect();
        Ok(text(request, lines))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditorBody {
    name: String,
}

/// `POST /v1/ledger/auditors`
async fn name_auditor(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        caller.operator_only()?;
        let body: AuditorBody = body::json(&body::bytes(payload).await?)?;
        let (id, prefix, position) = request.app().name_auditor(&caller, &body.name).await?;
        let body = json!({ "id": id, "name": body.name, "prefix": prefix });
        let mut answer = changed(request, position, &body);
        *answer.status_mut() = StatusCode::CREATED;
        Ok(answer)
    })
    .await
}

/// `GET /v1/ledger/auditors`
async fn auditors(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let items = request.app().auditors(&caller).await?;
        let items: Vec<_> = items
            .iter()
            .map(|a| json!({ "id": a.id, "name": a.name, "since": a.since, "prefix": a.prefix }))
            .collect();
        Ok(ok(request, &json!({ "items": items, "next": null })))
    })
    .await
}

/// `DELETE /v1/ledger/auditors/{id}`
async fn dismiss_auditor(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        caller.operator_only()?;
        let id = request.http.match_info().get("id").unwrap_or_default();
        let id: Uuid = id.parse().map_err(|_| Failure::NotFound("auditor"))?;
        let position = request.app().dismiss_auditor(&caller, id).await?;
        Ok(changed(request, position, &json!({ "id": id })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RestoredBody {
    lost_from: Option<u64>,
    origin: Option<String>,
}

/// How far somebody is who is to have checkpoints.
fn progress((name, progress): &(String, Progress), newest: Option<u64>) -> Value {
    json!({
        "name": name, "size": progress.size, "at": progress.at, "trouble": progress.trouble,
        "behind": newest.map(|newest| newest.saturating_sub(progress.size.unwrap_or(0))),
    })
}

/// `POST /v1/ledger/anchor`: brings witnesses and copies what is recorded now.
async fn anchor(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        request.app().anchor(&caller).await?;
        Ok(ok(request, &state_body(request).await?))
    })
    .await
}

/// `GET /v1/ledger/state`: what is signed, and whether the store is that; how far witnesses and copies are.
async fn state(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        caller.operator_only()?;
        Ok(ok(request, &state_body(request).await?))
    })
    .await
}

async fn state_body(request: &Request) -> Result<Value, Failure> {
    let app = request.app();
    let (origin, events) = {
        let tip = app.tip().tip.read();
        (tip.live.ledger().origin().map(str::to_owned), tip.live.next_position().0)
    };
    let signed = app.last_checkpoint();
    let lost = app.bar().map(|bar| {
        json!({
            "origin": bar.signed.origin, "size": bar.signed.size, "root": STANDARD.encode(bar.signed.root.0),
            "reason": bar.to_string(),
        })
    });
    let Anchored { witnesses, copies } = app.anchored();
    let newest = signed.as_deref().map(|p| p.checkpoint.size);
    let cosigned = match app.cosigned_checkpoint().await {
        Ok(cosigned) => Some(json!({ "size": cosigned.size, "time": cosigned.time })),
        Err(Failure::NotFound(_) | Failure::NotWhole(_)) => None,
        Err(failure) => return Err(failure),
    };
    Ok(json!({
        "origin": origin, "events": events, "whole": lost.is_none(), "lost": lost,
        "signed": signed.as_deref().map(|p| json!({ "size": p.checkpoint.size, "time": p.time })),
        "cosigned": cosigned,
        "witnesses": witnesses.iter().map(|to| progress(to, newest)).collect::<Vec<_>>(),
        "copies": copies.iter().map(|to| progress(to, newest)).collect::<Vec<_>>(),
    }))
}

/// `POST /v1/ledger/restored`: events were lost that had been signed for; the ledger goes on under another origin.
async fn restored(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        caller.operator_only()?;
        let body: RestoredBody = body::json(&body::bytes(payload).await?)?;
        let lost_from = body.lost_from.map(|position| Position(position.min(1 << 62)));
        let position = request.app().record_loss(&caller, lost_from, body.origin.as_deref()).await?;
        Ok(changed(request, position, &key_body(request, &caller)?))
    })
    .await
}
