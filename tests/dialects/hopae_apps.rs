//! Apps: making, listing, changing and deleting them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::hopae::{Hopae, refused, refused_for, text};
use crate::support::{As, OPERATOR, members, send};

/// The members of an app.
pub const MEMBERS: [&str; 14] = [
    "clientId",
    "clientSecret",
    "createdAt",
    "defaultFailureRedirectUri",
    "defaultSuccessRedirectUri",
    "defaultWorkflowId",
    "logo",
    "name",
    "organizationId",
    "providers",
    "redirectUris",
    "updatedAt",
    "webhookConfig",
    "workflows",
];

#[tokio::test]
async fn a_new_app_comes_with_its_secret_and_where_it_is() {
    let hopae = Hopae::new().await;
    let reply = hopae.call(Method::POST, "/apps", &json!({ "name": "My App" })).await;
    assert_eq!(reply.status, 201);
    let app = reply.json();
    assert_eq!(members(&app), MEMBERS);
    assert_eq!(reply.header("location"), format!("/connect/v1/apps/{}", text(&app, "clientId")));
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(text(&app, "clientId").len(), 8);
    let secret = text(&app, "clientSecret");
    assert!(secret.len() == 64 && secret.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
    assert_eq!(app["organizationId"], hopae.workspace);
    assert_eq!(app["createdAt"], "2027-01-15T08:00:00.000Z");
    assert_eq!((&app["providers"], &app["workflows"]), (&json!({}), &json!([])));
    let webhook = json!({
        "url": null, "enabled": true, "retryAttempts": 3, "timeoutSeconds": 10, "secret": null, "events": []
    });
    assert_eq!(app["webhookConfig"], webhook);
}

#[tokio::test]
async fn later_answers_show_the_last_four_characters_of_the_secret() {
    let hopae = Hopae::new().await;
    let app = hopae.app("one").await;
    let path = format!("/apps/{}", text(&app, "clientId"));
    let secret = text(&app, "clientSecret");
    let redacted = format!("****{}", &secret[60..]);
    let got = hopae.get(&path).await;
    assert_eq!(members(&got.json()), MEMBERS);
    assert_eq!(got.json()["clientSecret"], redacted);
    let patched = hopae.call(Method::PATCH, &path, &json!({ "name": "two" })).await;
    let listed = hopae.get("/apps").await;
    assert_eq!(patched.json()["clientSecret"], redacted);
    assert_eq!(listed.json()["data"][0], patched.json());
    for reply in [got, patched, listed] {
        assert!(!reply.text.contains(&secret));
    }
}

#[tokio::test]
async fn a_repeated_creation_is_answered_as_the_first_was() {
    let hopae = Hopae::new().await;
    let create = |name: &str| {
        let body = json!({ "name": name });
        send(hopae.request(Method::POST, "/apps").header("Idempotency-Key", "create-1").json(&body))
    };
    let first = create("one").await;
    let events = hopae.server.events();
    let again = create("one").await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
    assert_eq!(first.text, again.text);
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    refused(&create("other").await, 409, "IDEMPOTENCY_KEY_CONFLICT");
    assert_eq!(hopae.server.events(), events);
}

#[tokio::test]
async fn the_list_counts_live_apps_and_goes_by_limit_and_offset() {
    let hopae = Hopae::new().await;
    let mut apps = Vec::new();
    for name in ["a", "b", "c", "d"] {
        apps.push(text(&hopae.app(name).await, "clientId"));
    }
    let deleted = hopae.call(Method::DELETE, &format!("/apps/{}", apps[1]), &json!({})).await;
    assert_eq!(deleted.status, 200);
    let all = hopae.get("/apps").await.json();
    assert_eq!(members(&all), ["data", "limit", "offset", "total"]);
    assert_eq!((&all["total"], &all["limit"], &all["offset"]), (&json!(3), &json!(20), &json!(0)));
    let page = hopae.get("/apps?limit=1&offset=1").await.json();
    assert_eq!((&page["total"], &page["limit"], &page["offset"]), (&json!(3), &json!(1), &json!(1)));
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
    assert_eq!(page["data"][0]["clientId"], apps[2]);
    assert_eq!(hopae.get("/apps?offset=9").await.json()["data"], json!([]));
    assert_eq!(hopae.get("/apps?limit=100").await.status, 200);
    for (query, parameter) in [("limit=0", "limit"), ("limit=101", "limit"), ("sort=name", "sort")] {
        refused_for(&hopae.get(&format!("/apps?{query}")).await, "VALIDATION_INVALID_PARAMETER", parameter);
    }
    for query in ["limit=-1", "limit=x", "offset=-1", "offset=99999999999999999999"] {
        refused(&hopae.get(&format!("/apps?{query}")).await, 400, "VALIDATION_INVALID_PARAMETER");
    }
}

#[tokio::test]
async fn a_patch_merges_the_webhook_and_replaces_the_redirect_uris() {
    let hopae = Hopae::new().await;
    let path = format!("/apps/{}", text(&hopae.app("one").await, "clientId"));
    let patch = async |body: Value| {
        let reply = hopae.call(Method::PATCH, &path, &body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    };
    patch(json!({ "redirectUris": ["https://a.example/1", "https://a.example/2"] })).await;
    patch(json!({ "webhookConfig": { "retryAttempts": 5, "events": ["verification.completed"] } })).await;
    patch(json!({ "webhookConfig": { "timeoutSeconds": 60 }, "logo": "data:image/png;base64,AA==" })).await;
    let app = patch(json!({
        "name": "two",
        "redirectUris": ["https://b.example/"],
        "defaultSuccessRedirectUri": "https://b.example/ok",
        "defaultFailureRedirectUri": "https://b.example/no",
    }))
    .await;
    assert_eq!(app["name"], "two");
    assert_eq!(app["redirectUris"], json!(["https://b.example/"]));
    assert_eq!(app["logo"], "data:image/png;base64,AA==");
    assert_eq!(app["defaultSuccessRedirectUri"], "https://b.example/ok");
    assert_eq!(app["defaultFailureRedirectUri"], "https://b.example/no");
    assert_eq!(app["webhookConfig"]["retryAttempts"], 5);
    assert_eq!(app["webhookConfig"]["timeoutSeconds"], 60);
    assert_eq!(app["webhookConfig"]["events"], json!(["verification.completed"]));
    let app = patch(json!({ "logo": "", "defaultSuccessRedirectUri": null })).await;
    assert_eq!((&app["logo"], &app["defaultSuccessRedirectUri"]), (&Value::Null, &Value::Null));
    assert_eq!(hopae.get(&path).await.json(), app);
    let events = hopae.server.events();
    assert_eq!(patch(json!({})).await, app);
    assert_eq!(hopae.server.events(), events);
}

#[tokio::test]
async fn patches_at_the_same_time_lose_nothing() {
    let hopae = Hopae::new().await;
    let path = format!("/apps/{}", text(&hopae.app("one").await, "clientId"));
    let bodies = [
        json!({ "redirectUris": ["https://a.example/"] }),
        json!({ "webhookConfig": { "retryAttempts": 7 } }),
        json!({ "webhookConfig": { "timeoutSeconds": 7 } }),
        json!({ "defaultFailureRedirectUri": "https://a.example/no" }),
    ];
    let replies = futures_util::future::join_all(bodies.iter().map(|b| hopae.call(Method::PATCH, &path, b)));
    assert!(replies.await.iter().all(|reply| reply.status == 200));
    let app = hopae.get(&path).await.json();
    assert_eq!(app["redirectUris"], json!(["https://a.example/"]));
    assert_eq!(app["webhookConfig"]["retryAttempts"], 7);
    assert_eq!(app["webhookConfig"]["timeoutSeconds"], 7);
    assert_eq!(app["defaultFailureRedirectUri"], "https://a.example/no");
}

#[tokio::test]
async fn bad_members_are_refused_by_name_and_change_nothing() {
    let hopae = Hopae::new().await;
    let app = hopae.app("one").await;
    let path = format!("/apps/{}", text(&app, "clientId"));
    let events = hopae.server.events();
    let long = "x".repeat(201);
    let far = format!("https://a.example/{}", "x".repeat(2_048));
    let many = vec!["https://a.example/"; 51];
    let names = vec!["e"; 51];
    for (body, parameter) in [
        (json!({ "clientId": "AAAAAAAA" }), "clientId"),
        (json!({ "clientSecret": "x" }), "clientSecret"),
        (json!({ "surprise": 1 }), "surprise"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": long }), "name"),
        (json!({ "name": "a\r\nb" }), "name"),
        (json!({ "name": null }), "name"),
        (json!({ "name": 7 }), "name"),
        (json!({ "logo": "javascript:alert(1)" }), "logo"),
        (json!({ "redirectUris": "https://a.example/" }), "redirectUris"),
        (json!({ "redirectUris": ["https://a.example/", "/b"] }), "redirectUris[1]"),
        (json!({ "redirectUris": [far] }), "redirectUris[0]"),
        (json!({ "redirectUris": many }), "redirectUris"),
        (json!({ "defaultSuccessRedirectUri": "ftp://a" }), "defaultSuccessRedirectUri"),
        (json!({ "defaultFailureRedirectUri": "a" }), "defaultFailureRedirectUri"),
        (json!({ "webhookConfig": { "url": "mailto:a" } }), "webhookConfig.url"),
        (json!({ "webhookConfig": { "retryAttempts": 11 } }), "webhookConfig.retryAttempts"),
        (json!({ "webhookConfig": { "retryAttempts": -1 } }), "webhookConfig.retryAttempts"),
        (json!({ "webhookConfig": { "timeoutSeconds": 0 } }), "webhookConfig.timeoutSeconds"),
        (json!({ "webhookConfig": { "timeoutSeconds": 61 } }), "webhookConfig.timeoutSeconds"),
        (json!({ "webhookConfig": { "enabled": "yes" } }), "webhookConfig.enabled"),
        (json!({ "webhookConfig": { "events": names } }), "webhookConfig.events"),
        (json!({ "webhookConfig": { "secret": "whsec_x" } }), "secret"),
    ] {
        let reply = hopae.call(Method::PATCH, &path, &body).await;
        refused_for(&reply, "VALIDATION_INVALID_PARAMETER", parameter);
    }
    refused_for(&hopae.call(Method::POST, "/apps", &json!({})).await, "VALIDATION_MISSING_PARAMETER", "name");
    let put = hopae.call(Method::PUT, &format!("{path}/redirect-uris"), &json!({})).await;
    refused_for(&put, "VALIDATION_MISSING_PARAMETER", "redirectUris");
    assert_eq!(hopae.server.events(), events);
}

#[tokio::test]
async fn redirect_uris_and_webhook_have_routes_of_their_own() {
    let hopae = Hopae::new().await;
    let path = format!("/apps/{}", text(&hopae.app("one").await, "clientId"));
    let uris = json!({ "redirectUris": ["https://a.example/cb"] });
    let put = hopae.call(Method::PUT, &format!("{path}/redirect-uris"), &uris).await;
    assert_eq!((put.status.as_u16(), members(&put.json())), (200, MEMBERS.to_vec()));
    assert_eq!(hopae.get(&format!("{path}/redirect-uris")).await.json(), uris);

    let webhook = json!({ "url": "https://a.example/hook", "enabled": false });
    let patched = hopae.call(Method::PATCH, &format!("{path}/webhook-config"), &webhook).await;
    assert_eq!((patched.status.as_u16(), members(&patched.json())), (200, MEMBERS.to_vec()));
    let config = hopae.get(&format!("{path}/webhook-config")).await.json();
    let names = ["enabled", "events", "retryAttempts", "secret", "timeoutSeconds", "url"];
    assert_eq!(members(&config), names);
    assert_eq!((&config["url"], &config["enabled"]), (&webhook["url"], &webhook["enabled"]));
    // A webhook has a secret from its first url on.
    assert!(text(&config, "secret").starts_with("whsec_****"));
}

#[tokio::test]
async fn a_deleted_app_is_gone_with_its_secrets() {
    let hopae = Hopae::new().await;
    let app = hopae.app("one").await;
    let (id, secret) = (text(&app, "clientId"), text(&app, "clientSecret"));
    let path = format!("/apps/{id}");
    hopae.call(Method::POST, &format!("{path}/webhook-config/rotate-secret"), &json!({})).await;
    assert_eq!(hopae.userinfo(&id, &secret).await.status, 200);
    let before = hopae.server.events();
    let deleted = hopae.call(Method::DELETE, &path, &json!({})).await;
    assert_eq!((deleted.status.as_u16(), deleted.header("rota-position")), (200, &*(before + 1).to_string()));
    assert_eq!(hopae.userinfo(&id, &secret).await.status, 401);
    // Webhook secret and app end together: nobody ever sees the one without the other.
    let page = format!("/v1/events?after={}", before - 1);
    let page = hopae.server.get(&As::Bearer(OPERATOR), &page).await.json();
    let ends = page["items"].as_array().unwrap();
    assert_eq!(ends.len(), 2);
    for end in ends {
        assert_eq!(end["type"], "rota.credential.revoked.v1");
        assert_eq!((&end["requestid"], &end["time"]), (&ends[0]["requestid"], &ends[0]["time"]));
    }
    assert_ne!(ends[0]["subject"], ends[1]["subject"]);
    let events = hopae.server.events();
    for (method, tail) in [
        (Method::GET, ""),
        (Method::PATCH, ""),
        (Method::DELETE, ""),
        (Method::GET, "/redirect-uris"),
        (Method::GET, "/webhook-config"),
        (Method::POST, "/rotate-client-secret"),
        (Method::POST, "/webhook-config/rotate-secret"),
    ] {
        let reply = hopae.call(method, &format!("{path}{tail}"), &json!({})).await;
        refused(&reply, 404, "RESOURCE_NOT_FOUND");
    }
    assert_eq!(hopae.server.events(), events);
    assert_eq!(hopae.get("/workspace").await.json()["apps_count"], 0);
}
