//! Several apps in one request, and the workspace that a request is about.

use reqwest::Method;
use serde_json::json;

use crate::hopae::{Hopae, refused, refused_for, text};
use crate::hopae_apps::MEMBERS;
use crate::support::{As, OPERATOR, members, send};

#[tokio::test]
async fn a_batch_makes_each_app_for_itself() {
    let hopae = Hopae::new().await;
    let items = json!([
        { "name": "a", "idempotencyKey": "item-a" },
        { "name": "" },
        { "name": "c", "redirectUris": ["https://c.example/"], "webhookConfig": { "url": "https://c.example/h" } },
    ]);
    let body = json!({ "items": items, "continueOnError": true });
    let first = hopae.call(Method::POST, "/apps/batch", &body).await;
    assert_eq!(first.status, 201);
    let answer = first.json();
    assert_eq!(members(&answer), ["errorCount", "results", "successCount"]);
    assert_eq!((&answer["successCount"], &answer["errorCount"]), (&json!(2), &json!(1)));
    let results = &answer["results"];
    assert_eq!(members(&results[0]), ["app", "index", "status", "success"]);
    assert_eq!(members(&results[0]["app"]), MEMBERS);
    assert_eq!(members(&results[1]), ["error", "index", "status", "success"]);
    assert_eq!(results[1]["error"]["code"], "VALIDATION_INVALID_PARAMETER");
    assert_eq!(results[1]["error"]["details"]["parameter"], "name");
    let (id, secret) = (text(&results[2]["app"], "clientId"), text(&results[2]["app"], "clientSecret"));
    assert_eq!(hopae.userinfo(&id, &secret).await.status, 200);

    let stopped = hopae.call(Method::POST, "/apps/batch", &json!({ "items": items })).await.json();
    assert_eq!((&stopped["successCount"], &stopped["errorCount"]), (&json!(1), &json!(1)));
    assert_eq!(stopped["results"][0]["app"], results[0]["app"]);
    assert_eq!(stopped["results"][0]["replayed"], true);
    let other = json!({ "items": [{ "name": "other", "idempotencyKey": "item-a" }] });
    let conflict = hopae.call(Method::POST, "/apps/batch", &other).await.json();
    assert_eq!(conflict["results"][0]["error"]["code"], "IDEMPOTENCY_KEY_CONFLICT");

    let events = hopae.server.events();
    let many = vec![json!({ "name": "x" }); 51];
    for (body, code, parameter) in [
        (json!({}), "VALIDATION_MISSING_PARAMETER", "items"),
        (json!({ "items": [] }), "VALIDATION_INVALID_PARAMETER", "items"),
        (json!({ "items": many }), "VALIDATION_INVALID_PARAMETER", "items"),
        (json!({ "items": [], "atomic": true }), "VALIDATION_INVALID_PARAMETER", "atomic"),
    ] {
        refused_for(&hopae.call(Method::POST, "/apps/batch", &body).await, code, parameter);
    }
    let named = hopae.request(Method::POST, "/apps/batch").header("Idempotency-Key", "k").json(&other);
    refused_for(&send(named).await, "VALIDATION_INVALID_PARAMETER", "Idempotency-Key");
    assert_eq!(hopae.server.events(), events);
}

#[tokio::test]
async fn the_operator_names_the_workspace() {
    let hopae = Hopae::new().await;
    hopae.app("one").await;
    let operator = As::Bearer(OPERATOR);
    let ask = |workspace: Option<&str>| {
        let request = hopae.server.request(&operator, Method::GET, "/connect/v1/apps");
        send(match workspace {
            Some(id) => request.header("X-Rota-Workspace", id),
            None => request,
        })
    };
    refused_for(&ask(None).await, "VALIDATION_MISSING_PARAMETER", "X-Rota-Workspace");
    refused_for(&ask(Some("x")).await, "VALIDATION_INVALID_PARAMETER", "X-Rota-Workspace");
    refused(&ask(Some("01997c4e-0000-7000-8000-000000000000")).await, 404, "RESOURCE_NOT_FOUND");
    assert_eq!(ask(Some(&hopae.workspace)).await.json()["total"], 1);
    let workspace = hopae.get("/workspace").await.json();
    assert_eq!(members(&workspace), ["apps_count", "createdAt", "created_at", "id", "name"]);
    assert_eq!((&workspace["id"], &workspace["apps_count"]), (&json!(hopae.workspace), &json!(1)));
    assert_eq!(workspace["created_at"], 1_800_000_000);
}
