//! `POST /connect/v1/apps/batch`: several apps in one request, each for itself.

use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::request::{REQUEST_ID, Request};
use super::super::{answer, body, problem};
use super::profile::AppBody;
use super::{Asker, apps, error, with_key};
use crate::app::idempotency::Idempotency;
use crate::app::{Answer, Failure};

const ITEMS_MAX: usize = 50;
/// The member by which an item is named for a retry.
const KEY: &str = "idempotencyKey";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BatchBody {
    items: Vec<Value>,
    #[serde(default)]
    continue_on_error: bool,
}

/// What became of an item.
#[derive(Serialize)]
struct ItemResult {
    index: usize,
    success: bool,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<error::Body>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchAnswer {
    results: Vec<ItemResult>,
    success_count: usize,
    error_count: usize,
}

/// Makes one app. A repeat must have the item's other members in common.
async fn item(request: &Request, asker: &Asker, mut item: Value) -> Result<Answer, Failure> {
    let key = item.as_object_mut().and_then(|members| members.remove(KEY));
    let bytes = serde_json::to_vec(&item).map_err(|e| Failure::NotRecordable(e.into()))?;
    let body: AppBody = body::json(&bytes)?;
    let wrong = || Failure::invalid(KEY, "must be 1 to 255 visible ASCII characters");
    let idempotency = match key {
        None => None,
        Some(key) => {
            let key = key.as_str().ok_or_else(wrong)?;
            let common: [&[u8]; 3] = [b"POST", request.http.uri().path().as_bytes(), &bytes];
            Some(Idempotency::new(key.as_bytes(), &common).map_err(|_| wrong())?)
        }
    };
    apps::make(request, asker, &body, idempotency.as_ref()).await
}

fn shown(index: usize, answer: &Answer) -> Result<ItemResult, Failure> {
    let kept = answer::decode(answer)?;
    let app = serde_json::from_slice(kept.body).map_err(|e| Failure::NotRecordable(e.into()))?;
    let (status, replayed) = (kept.status.as_u16(), answer.replayed);
    Ok(ItemResult { index, success: true, status, app: Some(app), error: None, replayed })
}

/// `POST /connect/v1/apps/batch`
pub(super) async fn create(request: Request, payload: web::Payload) -> HttpResponse {
    with_key(request, async |request, asker| {
        if request.http.headers().contains_key("idempotency-key") {
            let reason = format!("names no batch: give each item an {KEY} of its own");
            return Err(Failure::invalid("Idempotency-Key", reason));
        }
        let body: BatchBody = body::json(&body::bytes(payload).await?)?;
        if !(1..=ITEMS_MAX).contains(&body.items.len()) {
            return Err(Failure::invalid("items", format!("must have 1 to {ITEMS_MAX} entries")));
        }
        let mut results = Vec::with_capacity(body.items.len());
        for (index, value) in body.items.into_iter().enumerate() {
            let outcome = item(request, &asker, value).await.and_then(|answer| shown(index, &answer));
            let result = outcome.unwrap_or_else(|failure| {
                problem::log(request, &failure);
                let (status, error) = (error::kind(&failure).0.as_u16(), Some(error::body(&failure)));
                ItemResult { index, success: false, status, app: None, error, replayed: false }
            });
            let failed = !result.success;
            results.push(result);
            if failed && !body.continue_on_error {
                break;
            }
        }
        let success_count = results.iter().filter(|r| r.success).count();
        let error_count = results.len() - success_count;
        Ok(HttpResponse::build(StatusCode::CREATED)
            .insert_header((REQUEST_ID, request.id.to_string()))
            .insert_header((CACHE_CONTROL, "no-store"))
            .json(BatchAnswer { results, success_count, error_count }))
    })
    .await
}
