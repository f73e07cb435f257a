//! Who is let in by a signature, and what an integrator sees.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::signer::{Signer, path_with_query};
use crate::spritz::{REGENERATE, Spritz, refused, refused_for};
use crate::support::{As, Reply, members, send};

const SELF: &str = "/v1/integrator/";

#[tokio::test]
async fn an_integrator_sees_itself_and_never_its_secret() {
    let spritz = Spritz::new().await;
    let reply = spritz.call(&spritz.signer, Method::GET, SELF, "").await;
    let body = reply.json();
    assert_eq!(members(&body), ["createdAt", "email", "id", "integratorKey", "name", "updatedAt"]);
    assert_eq!((&body["integratorKey"], &body["name"]), (&json!(spritz.signer.key), &json!("shop")));
    assert!(!reply.text.contains(&spritz.signer.secret));
}

/// One answer to whatever is wrong, byte for byte but for the instant.
#[tokio::test]
async fn all_that_is_wrong_gets_one_answer() {
    let spritz = Spritz::new().await;
    let good = &spritz.signer;
    let now = spritz.millis();
    let unknown = Signer::new("int_0000000000000000000000", &good.secret);
    let no_key = Signer::new("nobody", &good.secret);
    let wrong = Signer::new(&good.key, "sk_live_wrong");
    let cases: Vec<(&str, Vec<(String, String)>)> = vec![
        ("nothing", vec![]),
        ("unknown key", unknown.headers(now, "GET", SELF, "")),
        ("no key at all", no_key.headers(now, "GET", SELF, "")),
        ("wrong secret", wrong.headers(now, "GET", SELF, "")),
        ("too old", good.headers(now - 300_001, "GET", SELF, "")),
        ("too new", good.headers(now + 300_001, "GET", SELF, "")),
        ("another method", good.headers(now, "POST", SELF, "")),
        ("another path", good.headers(now, "GET", "/v1/integrator", "")),
        ("another body", good.headers(now, "GET", SELF, "{}")),
        ("half", good.headers(now, "GET", SELF, "").split_off(2)),
    ];
    let events = spritz.server.events();
    let mut seen: Option<Value> = None;
    for (what, headers) in cases {
        let mut request = spritz.server.request(&As::Nobody, Method::GET, SELF);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let reply = send(request).await;
        refused(&reply, 401, "auth:unauthorized");
        let body = reply.json();
        assert_eq!(seen.get_or_insert_with(|| body.clone()), &body, "{what}");
    }
    assert_eq!(spritz.server.events(), events);
}

#[tokio::test]
async fn five_minutes_either_way_are_near_enough() {
    let spritz = Spritz::new().await;
    let now = spritz.millis();
    for (offset, status) in [(-300_001, 401), (-300_000, 200), (0, 200), (300_000, 200), (300_001, 401)] {
        let mut request = spritz.server.request(&As::Nobody, Method::GET, SELF);
        for (name, value) in spritz.signer.headers(now + offset, "GET", SELF, "") {
            request = request.header(name, value);
        }
        assert_eq!(send(request).await.status, status, "{offset}");
    }
}

#[tokio::test]
async fn a_query_is_part_of_the_signature_in_any_order() {
    let spritz = Spritz::new().await;
    let signed = path_with_query(SELF, &[("b", "x y"), ("a", "ü")]);
    let headers = spritz.signer.headers(spritz.millis(), "GET", &signed, "");
    let ask = async |target: &str| -> Reply {
        let mut request = spritz.server.request(&As::Nobody, Method::GET, target);
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        send(request).await
    };
    assert_eq!(ask("/v1/integrator/?a=%C3%BC&b=x%20y").await.status, 200);
    assert_eq!(ask("/v1/integrator/?b=x+y&a=%c3%bc").await.status, 200);
    refused(&ask("/v1/integrator/?b=x+y&a=u").await, 401, "auth:unauthorized");
    refused(&ask("/v1/integrator/?b=x+y").await, 401, "auth:unauthorized");
    refused(&ask("/v1/integrator/?a=%C3%BC&b=x%20y&a=2").await, 400, "validation:invalid-request");
}

#[tokio::test]
async fn a_message_signature_opens_the_same() {
    let spritz = Spritz::new().await;
    let sign = |method: &str, path: &str, body: &str, nonce: &str| {
        let uri = format!("{}{path}", spritz.server.url());
        spritz.signer.message_headers(spritz.millis() / 1_000, nonce, method, &uri, body)
    };
    let ask = async |method: Method, path: &str, body: &'static str, headers: Vec<(String, String)>| {
        let mut request = spritz.server.request(&As::Nobody, method, path).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        send(request).await
    };
    assert_eq!(ask(Method::GET, SELF, "", sign("GET", SELF, "", "1")).await.status, 200);
    // Behind a proxy that ended TLS the client saw another scheme.
    let uri = format!("{}{SELF}", spritz.server.url().replace("http:", "https:"));
    let headers = spritz.signer.message_headers(spritz.millis() / 1_000, "2", "GET", &uri, "");
    assert_eq!(ask(Method::GET, SELF, "", headers).await.status, 200);
    refused(&ask(Method::GET, SELF, "", sign("POST", SELF, "", "3")).await, 401, "auth:unauthorized");

    let grace = r#"{"oldSecretValidForSeconds":60}"#;
    let headers = sign("POST", REGENERATE, grace, "4");
    refused(&ask(Method::POST, REGENERATE, "{}", headers.clone()).await, 401, "auth:unauthorized");
    let regenerated = ask(Method::POST, REGENERATE, grace, headers.clone()).await;
    assert_eq!(members(&regenerated.json()), ["oldSecretExpiresAt", "secret"]);
    refused(&ask(Method::POST, REGENERATE, grace, headers).await, 401, "auth:unauthorized");
}

#[tokio::test]
async fn which_version_signed_is_recorded() {
    let spritz = Spritz::new().await;
    let old = spritz.signer.clone();
    let new = spritz.with_secret_of(&spritz.regenerate(&old, r#"{"oldSecretValidForSeconds":60}"#).await);
    assert_eq!(spritz.regenerate(&new, "{}").await.status, 200);
    let path = format!("/v1/credentials/{}/history?limit=100", spritz.id);
    let history = spritz.server.get(&As::Bearer(crate::support::OPERATOR), &path).await.json();
    let items = history["items"].as_array().unwrap();
    let rotated: Vec<_> = items.iter().filter(|e| e["type"] == "rota.credential.secret-rotated.v1").collect();
    assert!(rotated.iter().all(|e| e["proof"] == "signature" && e["dialect"] == "spritz"));
    let versions: Vec<_> = rotated.iter().map(|e| e["data"]["replaced"]["version"].clone()).collect();
    assert_eq!(versions, [json!(1), json!(2)]);
}

#[tokio::test]
async fn api_keys_are_workspace_keys() {
    let spritz = Spritz::new().await;
    let admin = spritz.server.key(&spritz.workspace, &["admin"]).await;
    let admin = As::Bearer(&admin);
    let body = json!({ "permissions": ["verifier"], "name": "checker" });
    let created = spritz.server.post(&admin, "/v1/api-keys/", &body).await;
    assert_eq!(created.status, 200, "{created:?}");
    let made = created.json();
    assert_eq!(members(&made), ["id", "keyPrefix", "rawKey", "warning"]);
    let (id, raw) = (made["id"].as_str().unwrap(), made["rawKey"].as_str().unwrap());
    assert!(raw.starts_with(made["keyPrefix"].as_str().unwrap()));
    let check = json!({ "publicId": "x", "secret": "y" });
    assert_eq!(spritz.server.post(&As::Bearer(raw), "/v1/verify", &check).await.status, 200);
    let listed = spritz.server.get(&admin, "/v1/api-keys/").await;
    assert!(!listed.text.contains(raw));
    let of = |listed: &Reply| {
        let keys = listed.json();
        keys.as_array().unwrap().iter().find(|key| key["id"] == id).cloned().unwrap()
    };
    assert_eq!(
        (&of(&listed)["status"], &of(&listed)["permissions"]),
        (&json!("active"), &json!(["verifier"]))
    );
    let path = format!("/v1/api-keys/{id}");
    assert_eq!(spritz.server.delete(&admin, &path).await.json(), json!({ "success": true }));
    assert_eq!(of(&spritz.server.get(&admin, "/v1/api-keys/").await)["status"], "revoked");
    assert_eq!(spritz.server.post(&As::Bearer(raw), "/v1/verify", &check).await.status, 401);

    let missing = spritz.server.delete(&admin, &format!("/v1/api-keys/{}", spritz.id)).await;
    refused(&missing, 404, "resource:not-found");
    assert_eq!(missing.json()["resourceType"], "api-key");
    let nowhere = spritz.server.get(&admin, "/v1/integrator/nowhere").await;
    refused(&nowhere, 404, "resource:not-found");
    for (body, field) in [
        (json!({ "permissions": [] }), "permissions"),
        (json!({ "permissions": ["god"] }), "permissions[0]"),
        (json!({ "permissions": ["verifier"], "expiresAt": "2030-01-01T00:00:00Z" }), "expiresAt"),
        (json!({ "permissions": ["verifier"], "name": "" }), "name"),
        (json!({}), "permissions"),
    ] {
        refused_for(&spritz.server.post(&admin, "/v1/api-keys/", &body).await, field);
    }
    // An integrator without a role makes none.
    let body = r#"{"permissions":["verifier"]}"#;
    let reply = spritz.call(&spritz.signer, Method::POST, "/v1/api-keys/", body).await;
    refused(&reply, 403, "auth:forbidden");
}

#[tokio::test]
async fn guessing_is_limited_and_a_right_signature_never() {
    let mut home = crate::support::Home::new();
    home.failed_logins = 5;
    let spritz = Spritz::on(home).await;
    let wrong = Signer::new(&spritz.signer.key, "sk_live_wrong");
    for _ in 0..5 {
        refused(&spritz.call(&wrong, Method::GET, SELF, "").await, 401, "auth:unauthorized");
    }
    let limited = spritz.call(&wrong, Method::GET, SELF, "").await;
    refused(&limited, 429, "system:rate-limited");
    assert!(!limited.header("retry-after").is_empty());
    assert_eq!(limited.json()["retryable"], true);
    assert!(spritz.opens(&spritz.signer).await);
    spritz.home.clock.advance(Duration::from_mins(1));
    refused(&spritz.call(&wrong, Method::GET, SELF, "").await, 401, "auth:unauthorized");
}
