//! `/v1/campaigns`: many credentials rotated by one plan, each new secret sealed to its owner's key.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use rota_aggregates::campaign::{Selector, Settings, Stage, Standing, WithoutRecipient};
use rota_aggregates::credential::Kind;
use rota_aggregates::ids::Hash;
use rota_aggregates::{CampaignId, CredentialId, Position, Timestamp, WorkspaceId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::body::{self, Given};
use super::super::request::Request;
use super::{Outcome, builder, changed, credential_id, limit, ok, with};
use crate::app::campaigns::{CampaignView, ItemPage, ItemView, NewCampaign};
use crate::app::custody::recipient;
use crate::app::{Caller, Failure};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PlanBody {
    workspace_id: Option<WorkspaceId>,
    #[serde(default)]
    all_workspaces: bool,
    kind: Option<Kind>,
    owner_id: Option<CredentialId>,
    rotated_before: Option<Timestamp>,
    #[serde(default)]
    credential_ids: Vec<CredentialId>,
    grace_period_seconds: Option<u64>,
    reason: Option<String>,
    wave_size: Option<u32>,
    wave_pause_seconds: Option<u64>,
    max_failures: Option<u32>,
    without_recipient: Option<WithoutRecipient>,
    keep_days: Option<u32>,
}

impl PlanBody {
    fn campaign(self, caller: &Caller) -> Result<NewCampaign, Failure> {
        let workspace = match (self.all_workspaces, self.workspace_id) {
            (true, Some(_)) => {
                return Err(Failure::invalid("allWorkspaces", "and workspaceId exclude each other"));
            }
            (true, None) => None,
            (false, named) => Some(caller.resolve_workspace(named)?),
        };
        let defaults = Settings::default();
        Ok(NewCampaign {
            workspace,
            selector: Selector {
                kind: self.kind,
                owner: self.owner_id,
                rotated_before: self.rotated_before,
                credentials: self.credential_ids,
            },
            settings: Settings {
                grace_seconds: self.grace_period_seconds,
                compromised: false,
                wave_size: self.wave_size.unwrap_or(defaults.wave_size),
                wave_pause_seconds: self.wave_pause_seconds.unwrap_or(defaults.wave_pause_seconds),
                failures_max: self.max_failures.unwrap_or(defaults.failures_max),
                without_recipient: self.without_recipient.unwrap_or(defaults.without_recipient),
                keep_days: self.keep_days.unwrap_or(defaults.keep_days),
            },
            reason: self.reason,
        })
    }
}

fn campaign(view: &CampaignView) -> Value {
    let state = &view.state;
    let cause = match state.stage {
        Stage::Paused(cause) => Some(cause.name()),
        Stage::Ended(cause) => Some(cause.name()),
        Stage::Absent | Stage::Planned | Stage::Running => None,
    };
    let next = (state.stage == Stage::Running && state.tally.waiting > 0).then_some(state.not_before);
    json!({
        "id": state.id,
        "workspaceId": state.workspace,
        "status": state.stage.name(),
        "cause": cause,
        "reason": view.reason,
        "selector": {
            "kind": state.selector.kind,
            "ownerId": state.selector.owner,
            "rotatedBefore": state.selector.rotated_before,
            "credentialIds": state.selector.credentials,
        },
        "settings": {
            "gracePeriodSeconds": state.settings.grace_seconds,
            "compromised": state.settings.compromised,
            "waveSize": state.settings.wave_size,
            "wavePauseSeconds": state.settings.wave_pause_seconds,
            "maxFailures": state.settings.failures_max,
            "withoutRecipient": state.settings.without_recipient,
            "keepDays": state.settings.keep_days,
        },
        "planHash": state.plan,
        "counts": {
            "items": view.items,
            "waiting": state.tally.waiting,
            "done": state.tally.done,
            "failed": state.tally.failed,
            "skipped": state.tally.skipped,
            "secretsKept": view.kept,
        },
        "obstacles": view.obstacles,
        "wave": state.wave.number,
        "nextItemAt": next,
        "createdAt": state.created_at,
        "appliedAt": state.applied_at,
        "endedAt": state.ended_at,
    })
}

fn item(campaign: CampaignId, view: &ItemView) -> Value {
    let planned = &view.item.planned;
    let id = planned.credential;
    let (version, at, reason) = match &view.item.standing {
        Standing::Waiting => (None, None, None),
        Standing::Done { version, at } => (Some(*version), Some(*at), None),
        Standing::Failed { reason, at } => (None, Some(*at), Some(reason)),
        Standing::Skipped { reason } => (None, None, Some(reason)),
    };
    let secret = view.kept.then(|| format!("/v1/campaigns/{campaign}/items/{id}/secret"));
    json!({
        "credentialId": id,
        "kind": view.kind,
        "publicId": view.public_id,
        "name": view.name,
        "version": planned.version,
        "ownerId": planned.owner,
        "recipient": planned.recipient,
        "obstacle": planned.obstacle,
        "outcome": view.item.standing.name(),
        "outcomeReason": reason,
        "newVersion": version,
        "at": at,
        "secret": secret,
    })
}

fn with_items(view: &CampaignView, page: &ItemPage) -> Value {
    let mut document = campaign(view);
    document["items"] = page.items.iter().map(|one| item(view.state.id, one)).collect();
    document["next"] = json!(page.next.map(|next| next.to_string()));
    document
}

/// Items that a change shows.
const SHOWN: usize = 1_000;

/// Shows a campaign after a change. Whoever may change it may see what came of it.
async fn shown(request: &Request, caller: &Caller, id: CampaignId, position: Option<Position>) -> Outcome {
    let (view, page) = request.app().campaign(caller, id, None, 0, SHOWN, false).await?;
    Ok(changed(request, position, &with_items(&view, &page)))
}

fn campaign_id(request: &Request) -> Result<CampaignId, Failure> {
    let text = request.http.match_info().get("campaign").unwrap_or_default();
    text.parse().map_err(|_| Failure::NotFound("campaign"))
}

/// `POST /v1/campaigns`: records a plan; nothing is rotated.
pub(super) async fn plan(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let body: PlanBody = body::json(&body::bytes(payload).await?)?;
        let new = body.campaign(&caller)?;
        let (id, position) = request.app().plan_campaign(&caller, &new).await?;
        let (view, page) = request.app().campaign(&caller, id, None, 0, SHOWN, false).await?;
        Ok(builder(request, StatusCode::CREATED)
            .insert_header(("Location", format!("/v1/campaigns/{id}")))
            .insert_header(("Rota-Position", position.to_string()))
            .insert_header((CACHE_CONTROL, "no-store"))
            .json(with_items(&view, &page)))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ListQuery {
    workspace_id: Option<WorkspaceId>,
    plan_hash: Option<Hash>,
    limit: Option<usize>,
    after: Option<String>,
}

/// `GET /v1/campaigns`
pub(super) async fn list(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: ListQuery = body::query(request.http.query_string())?;
        let wrong = || Failure::invalid("after", "must be `next` of an earlier page");
        let after = query.after.as_deref().map(|text| text.parse().map_err(|_| wrong())).transpose()?;
        let limit = limit(query.limit)?;
        let app = request.app();
        let (views, next) = app.campaigns(&caller, query.workspace_id, query.plan_hash, after, limit).await?;
        let items: Vec<_> = views.iter().map(campaign).collect();
        Ok(ok(request, &json!({ "items": items, "next": next })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemQuery {
    outcome: Option<String>,
    #[serde(default)]
    names: bool,
    limit: Option<usize>,
    after: Option<String>,
}

/// `GET /v1/campaigns/{campaign}`
pub(super) async fn get(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let query: ItemQuery = body::query(request.http.query_string())?;
        let wrong = || Failure::invalid("after", "must be `next` of an earlier page");
        let from = query.after.as_deref().map(|text| text.parse().map_err(|_| wrong())).transpose()?;
        let outcome = query.outcome.as_deref();
        if outcome.is_some_and(|name| !["waiting", "done", "failed", "skipped"].contains(&name)) {
            return Err(Failure::invalid("outcome", "must be waiting, done, failed or skipped"));
        }
        let limit = limit(query.limit)?;
        let id = campaign_id(request)?;
        let (from, app) = (from.unwrap_or(0), request.app());
        let (view, page) = app.campaign(&caller, id, outcome, from, limit, query.names).await?;
        Ok(ok(request, &with_items(&view, &page)))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ApplyBody {
    plan_hash: Hash,
}

/// `POST /v1/campaigns/{campaign}/apply`
pub(super) async fn apply(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let body: ApplyBody = body::json(&body::bytes(payload).await?)?;
        let id = campaign_id(request)?;
        let position = request.app().apply_campaign(&caller, id, body.plan_hash).await?;
        shown(request, &caller, id, position).await
    })
    .await
}

/// `POST /v1/campaigns/{campaign}/pause`
pub(super) async fn pause(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        body::nothing(payload).await?;
        let id = campaign_id(request)?;
        let position = request.app().pause_campaign(&caller, id).await?;
        shown(request, &caller, id, position).await
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ResumeBody {
    #[serde(default)]
    retry_failed: bool,
}

/// `POST /v1/campaigns/{campaign}/resume`
pub(super) async fn resume(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let body: ResumeBody = body::json(&body::bytes(payload).await?)?;
        let id = campaign_id(request)?;
        let position = request.app().resume_campaign(&caller, id, body.retry_failed).await?;
        shown(request, &caller, id, position).await
    })
    .await
}

/// `POST /v1/campaigns/{campaign}/end`
pub(super) async fn end(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        body::nothing(payload).await?;
        let id = campaign_id(request)?;
        let position = request.app().end_campaign(&caller, id).await?;
        shown(request, &caller, id, position).await
    })
    .await
}

/// `GET /v1/campaigns/{campaign}/items/{id}/secret`: an age file for the owner's private key.
pub(super) async fn secret(request: Request) -> HttpResponse {
    with(request, async |request, caller| {
        let campaign = request.http.match_info().get("campaign").unwrap_or_default();
        let campaign = campaign.parse().map_err(|_| Failure::NotFound("hand-over"))?;
        let id = credential_id(request).map_err(|_| Failure::NotFound("hand-over"))?;
        let file = request.app().hand_over(&caller, campaign, id).await?;
        Ok(builder(request, StatusCode::OK)
            .insert_header((CONTENT_TYPE, "application/octet-stream"))
            .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.age\"")))
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(file.to_vec()))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OwnerBody {
    #[serde(default)]
    owner_id: Given<CredentialId>,
}

fn given<T>(field: &str, given: Given<T>) -> Result<Option<T>, Failure> {
    match given {
        Given::Absent => Err(Failure::invalid(field, "is missing; null takes it away")),
        Given::Null => Ok(None),
        Given::Value(value) => Ok(Some(value)),
    }
}

/// `PUT /v1/credentials/{id}/owner`
pub(super) async fn set_owner(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let body: OwnerBody = body::json(&body::bytes(payload).await?)?;
        let id = credential_id(request)?;
        let owner = given("ownerId", body.owner_id)?;
        let position = request.app().set_owner(&caller, id, owner).await?;
        Ok(changed(request, position, &json!({ "credentialId": id, "ownerId": owner.unwrap_or(id) })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipientBody {
    #[serde(default)]
    recipient: Given<String>,
}

/// `PUT /v1/credentials/{id}/recipient`
pub(super) async fn set_recipient(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller| {
        let body: RecipientBody = body::json(&body::bytes(payload).await?)?;
        let id = credential_id(request)?;
        let key = given("recipient", body.recipient)?;
        let key = key.map(|text| recipient("recipient", &text)).transpose()?;
        let position = request.app().set_recipient(&caller, id, key.as_ref()).await?;
        Ok(changed(request, position, &json!({ "credentialId": id, "recipient": key })))
    })
    .await
}
