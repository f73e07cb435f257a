//! `POST /connect/v1/apps/batch`

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::request::Request;
use super::super::{answer, body};
use super::profile::AppChange;
use super::{apps, error, json, with};
use crate::app::Failure;
use crate::app::idempotency::Idempotency;

/// Apps in one request.
const ITEMS_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Batch {
    items: Vec<Map<String, Value>>,
    #[serde(default)]
    continue_on_error: bool,
}

/// Makes apps one after the other. Each may have an `idempotencyKey` of its own, which is then the same key as one
/// in the header of a single creation with the same members.
pub(super) async fn create(request: Request, payload: web::Payload) -> HttpResponse {
    with(request, async |request, caller, workspace| {
        let batch: Batch = body::json(&body::bytes(payload).await?)?;
        if batch.items.is_empty() || batch.items.len() > ITEMS_MAX {
            return Err(Failure::invalid("items", format!("must be 1 to {ITEMS_MAX}")));
        }
        // Refused as a whole before anything is made.
        caller.allow(workspace, &[rota_aggregates::authority::Role::Admin], "workspace")?;
        let (mut results, mut made, mut failed) = (Vec::new(), 0, 0);
        for (index, mut item) in batch.items.into_iter().enumerate() {
            let one = async {
                let key = item.remove("idempotencyKey");
                let bytes = serde_json::to_vec(&item).map_err(|e| Failure::NotRecordable(e.into()))?;
                let app: AppChange = body::json(&bytes)?;
                let issue = apps::issue(workspace, app)?;
                let idempotency = match &key {
                    None | Some(Value::Null) => None,
                    Some(Value::String(key)) => {
                        Some(Idempotency::new(key.as_bytes(), &[b"POST", b"/connect/v1/apps/batch", &bytes])?)
                    }
                    Some(_) => return Err(Failure::invalid("idempotencyKey", "must be a string")),
                };
                let answer = request.app().issue(&caller, &issue, idempotency.as_ref(), apps::render).await?;
                answer::body(&answer)
            };
            match one.await {
                Ok(app) => {
                    made += 1;
                    results.push(json!({ "index": index, "success": true, "data": app }));
                }
                Err(failure) => {
                    failed += 1;
                    let member = error::member(&failure);
                    results.push(json!({ "index": index, "success": false, "error": member }));
                    if !batch.continue_on_error {
                        break;
                    }
                }
            }
        }
        let body = json!({ "results": results, "successCount": made, "errorCount": failed });
        Ok(json(request, StatusCode::CREATED, &body))
    })
    .await
}
