//! `/connect/v1/apps/{id}/redirect-uris` and `…/webhook-config`: parts of an app by themselves.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::super::body;
use super::super::request::Request;
use super::profile::{AppBody, Profile, WebhookBody};
use super::{app_id, apps, ok, wire, with_key};

/// `GET /connect/v1/apps/{id}/redirect-uris`
pub(super) async fn redirect_uris(request: Request) -> HttpResponse {
    with_key(request, async |request, asker| {
        let id = app_id(request, asker.workspace)?;
        let seen = request.app().credential(&asker.caller, id, None).await?;
        let profile = Profile::of(&seen.view.profile);
        Ok(ok(request, None, &json!({ "redirectUris": profile.redirect_uris })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct UrisBody {
    redirect_uris: Vec<String>,
}

/// `PUT /connect/v1/apps/{id}/redirect-uris`
pub(super) async fn put_redirect_uris(request: Request, payload: web::Payload) -> HttpResponse {
    with_key(request, async |request, asker| {
        let body: UrisBody = body::json(&body::bytes(payload).await?)?;
        let body = AppBody { redirect_uris: Some(body.redirect_uris), ..AppBody::default() };
        apps::edit(request, &asker, &body).await
    })
    .await
}

/// `GET /connect/v1/apps/{id}/webhook-config`
pub(super) async fn webhook_config(request: Request) -> HttpResponse {
    with_key(request, async |request, asker| {
        let id = app_id(request, asker.workspace)?;
        let seen = request.app().credential(&asker.caller, id, None).await?;
        let webhook = apps::webhook(request, id).await?;
        let config = Profile::of(&seen.view.profile).webhook_config;
        Ok(ok(request, None, &wire::WebhookAnswer::of(config, webhook.as_ref())))
    })
    .await
}

/// `PATCH /connect/v1/apps/{id}/webhook-config`: what is left out stays as it is.
pub(super) async fn patch_webhook_config(request: Request, payload: web::Payload) -> HttpResponse {
    with_key(request, async |request, asker| {
        let body: WebhookBody = body::json(&body::bytes(payload).await?)?;
        let body = AppBody { webhook_config: Some(body), ..AppBody::default() };
        apps::edit(request, &asker, &body).await
    })
    .await
}
