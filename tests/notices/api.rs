//! `/v1/webhooks`: who may do what, and what is refused.

use reqwest::Method;
use serde_json::{Value, json};

use crate::receiver::{Desk, Receiver};
use crate::support::{As, OPERATOR, send, until};

#[tokio::test]
async fn a_webhook_is_made_listed_changed_and_ended() {
    let desk = Desk::new().await;
    let body = json!({
        "url": "https://hooks.example/a?token=t", "description": "to the pager",
        "types": ["secret.rotated"], "expiryLeadSeconds": 60,
    });
    let made = desk.server.post(&desk.admin(), "/v1/webhooks", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("cache-control"), "no-store");
    let webhook = made.json()["webhook"].clone();
    let id = webhook["id"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), format!("/v1/webhooks/{id}"));
    assert!(made.json()["secret"].as_str().unwrap().starts_with("whsec_"));
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(&webhook[name], value, "{name}");
    }
    assert_eq!(desk.webhook(&id).await, webhook);
    let (second, _) = desk.register(json!({ "url": "https://hooks.example/b" })).await;
    let list =
        async |query: &str| desk.server.get(&desk.admin(), &format!("/v1/webhooks{query}")).await.json();
    let page = list("?limit=1").await;
    assert_eq!((&page["items"][0]["id"], &page["next"]), (&json!(id), &json!(id)));
    let page = list(&format!("?limit=1&after={id}")).await;
    assert_eq!((&page["items"][0]["id"], &page["next"]), (&json!(second), &Value::Null));

    let path = format!("/v1/webhooks/{id}");
    let edit = json!({ "url": "https://hooks.example/c", "description": null, "types": ["*"] });
    let edited = desk.server.patch(&desk.admin(), &path, &edit).await;
    assert_eq!(edited.status, 200, "{edited:?}");
    let shown = edited.json();
    assert_eq!((&shown["url"], &shown["description"]), (&json!("https://hooks.example/c"), &Value::Null));
    assert_eq!((&shown["types"], &shown["expiryLeadSeconds"]), (&json!(["*"]), &json!(60)));
    let events = desk.server.events();
    assert_eq!(desk.server.patch(&desk.admin(), &path, &edit).await.json(), shown);
    assert_eq!(desk.server.events(), events, "what changes nothing is not recorded");

    let deleted = desk.server.delete(&desk.admin(), &path).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    assert_eq!(desk.server.get(&desk.admin(), &path).await.status, 404);
    assert_eq!(desk.server.delete(&desk.admin(), &path).await.status, 404);
    assert_eq!(list("").await["items"].as_array().unwrap().len(), 1);
    // Its secret ended with it.
    let secret = desk.server.get(&desk.admin(), &format!("/v1/credentials/{id}")).await.json();
    assert_eq!(secret["status"], "revoked");
}

#[tokio::test]
async fn the_address_is_in_no_event() {
    let desk = Desk::new().await;
    let (id, secret) = desk.register(json!({ "url": "https://hooks.example/?token=hidden" })).await;
    let path = format!("/v1/webhooks/{id}");
    desk.server.patch(&desk.admin(), &path, &json!({ "url": "https://hooks.example/?token=later" })).await;
    let events = desk.server.get(&As::Bearer(OPERATOR), "/v1/events?limit=1000").await;
    assert!(events.text.contains("rota.webhook.changed.v1"));
    for hidden in ["hooks.example", "hidden", "later", secret.as_str()] {
        assert!(!events.text.contains(hidden), "{hidden}");
    }
}

#[tokio::test]
async fn a_retry_gets_the_same_webhook_and_the_same_secret() {
    let desk = Desk::new().await;
    let make = |url: &str| {
        let request = desk.server.request(&desk.admin(), Method::POST, "/v1/webhooks");
        send(request.header("Idempotency-Key", "one").json(&json!({ "url": url })))
    };
    let first = make("https://hooks.example/").await;
    let again = make("https://hooks.example/").await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
    assert_eq!((&first.text, again.header("idempotency-replayed")), (&again.text, "true"));
    assert_eq!(make("https://hooks.example/other").await.status, 422);
    assert_eq!(
        desk.server.get(&desk.admin(), "/v1/webhooks").await.json()["items"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_changes_nothing() {
    let desk = Desk::new().await;
    let (id, _) = desk.register(json!({ "url": "https://hooks.example/" })).await;
    let path = format!("/v1/webhooks/{id}");
    let events = desk.server.events();
    let long = format!("https://hooks.example/{}", "x".repeat(2_048));
    for (member, value, field) in [
        ("url", json!("ftp://hooks.example/"), "url"),
        ("url", json!("https://u:p@hooks.example/"), "url"),
        ("url", json!("https://hooks.example:22/"), "url"),
        ("url", json!("hooks.example"), "url"),
        ("url", json!(7), "url"),
        ("url", json!(long), "url"),
        ("types", json!([]), "types"),
        ("types", json!(["secret.rotated", "secret.rotatd"]), "types[1]"),
        ("types", json!("secret.rotated"), "types"),
        ("expiryLeadSeconds", json!(30 * 86_400 + 1), "expiryLeadSeconds"),
        ("expiryLeadSeconds", json!(-1), "expiryLeadSeconds"),
        ("description", json!("x".repeat(501)), "description"),
        ("description", json!("a\u{7}b"), "description"),
        ("surprise", json!(1), "surprise"),
    ] {
        let mut body = json!({ "url": "https://hooks.example/" });
        body[member] = value.clone();
        for reply in [
            desk.server.post(&desk.admin(), "/v1/webhooks", &body).await,
            desk.server.patch(&desk.admin(), &path, &json!({ member: value })).await,
        ] {
            assert_eq!((reply.status.as_u16(), &reply.json()["field"]), (400, &json!(field)), "{reply:?}");
        }
    }
    for (query, field) in [("limit=0", "limit"), ("state=lost", "state"), ("sort=x", "sort")] {
        let reply = desk.server.get(&desk.admin(), &format!("{path}/deliveries?{query}")).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["field"]), (400, &json!(field)), "{reply:?}");
    }
    let missing = desk.server.post(&desk.admin(), "/v1/webhooks", &json!({})).await;
    assert_eq!((missing.status.as_u16(), &missing.json()["field"]), (400, &json!("url")));
    assert_eq!(desk.server.events(), events);
}

#[tokio::test]
async fn roles_decide_and_other_workspaces_webhooks_do_not_exist() {
    let desk = Desk::new().await;
    let (id, _) = desk.register(json!({ "url": "https://hooks.example/" })).await;
    let auditor = desk.server.key(&desk.workspace, &["auditor"]).await;
    let rotator = desk.server.key(&desk.workspace, &["rotator"]).await;
    let other = desk.server.workspace("other").await;
    let stranger = desk.server.key(&other, &["admin"]).await;
    let path = format!("/v1/webhooks/{id}");
    let nowhere = format!("/v1/webhooks/{}", "01997c4e-0000-7000-8000-000000000001");
    let notice = "01997c4e-0000-7000-8000-000000000001";
    for (key, read, manage, rotate) in
        [(&auditor, 200, 403, 403), (&rotator, 403, 403, 200), (&stranger, 404, 404, 404)]
    {
        let who = As::Bearer(key);
        assert_eq!(desk.server.get(&who, &path).await.status, read);
        assert_eq!(desk.server.get(&who, &format!("{path}/deliveries")).await.status, read);
        assert_eq!(desk.server.patch(&who, &path, &json!({ "types": ["*"] })).await.status, manage);
        assert_eq!(desk.server.post(&who, &format!("{path}/test"), &json!({})).await.status, manage);
        let again = format!("{path}/deliveries/{notice}/redeliver");
        assert_eq!(desk.server.post(&who, &again, &json!({})).await.status, manage);
        assert_eq!(desk.server.delete(&who, &path).await.status, manage);
        assert_eq!(desk.server.post(&who, &format!("{path}/rotate-secret"), &json!({})).await.status, rotate);
        let body = json!({ "url": "https://hooks.example/", "workspaceId": desk.workspace });
        assert_eq!(desk.server.post(&who, "/v1/webhooks", &body).await.status, manage);
    }
    let who = As::Bearer(&stranger);
    let foreign = desk.server.get(&who, &path).await.json();
    let unknown = desk.server.get(&who, &nowhere).await.json();
    for member in ["status", "code", "detail"] {
        assert_eq!(foreign[member], unknown[member]);
    }
    assert_eq!(desk.server.get(&As::Nobody, &path).await.status, 401);
    assert_eq!(desk.server.get(&As::Bearer(OPERATOR), &path).await.status, 200);
}

#[tokio::test]
async fn a_test_notice_arrives_and_the_log_goes_by_pages_and_state() {
    let (desk, receiver) = (Desk::new().await, Receiver::start());
    let (id, secret) = desk.register(json!({ "url": receiver.url })).await;
    let path = format!("/v1/webhooks/{id}");
    for _ in 0..3 {
        let made = desk.server.post(&desk.admin(), &format!("{path}/test"), &json!({})).await;
        assert_eq!((made.status.as_u16(), &made.json()["type"]), (202, &json!("webhook.test")));
    }
    assert!(receiver.wait(3).await.iter().all(|seen| seen.is_signed_with(&secret)));
    let delivered = async || {
        let reply = desk.server.get(&desk.admin(), &format!("{path}/deliveries?state=delivered")).await;
        reply.json()["items"].as_array().unwrap().len()
    };
    until("all are delivered", async || delivered().await == 3).await;
    let mut ids = Vec::new();
    let mut after = String::new();
    loop {
        let page = desk.server.get(&desk.admin(), &format!("{path}/deliveries?limit=2{after}")).await.json();
        ids.extend(page["items"].as_array().unwrap().iter().map(|item| item["createdAt"].clone()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(ids.len(), 3);
    let waiting = desk.server.get(&desk.admin(), &format!("{path}/deliveries?state=waiting")).await.json();
    assert_eq!(waiting["items"], json!([]));
}
