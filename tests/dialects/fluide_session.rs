//! What a session sees of its credential and of itself, and what anybody sees of the service.

use reqwest::Method;
use serde_json::json;

use crate::fluide::{CURRENT, Fluide, INVALID, claims, data, refused, refused_for};
use crate::hopae::text;
use crate::support::send;

#[tokio::test]
async fn a_credential_sees_itself_and_never_its_secret() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let token = fluide.token(&keys).await;
    // Fluide's pages show this with and without the key.
    for key in [None, Some(keys.key.as_str())] {
        let reply = send(fluide.with(Method::GET, CURRENT, &token, key)).await;
        let expected = json!({
            "apiKey": keys.key, "clientId": "fluide-developer", "tenantId": fluide.workspace,
            "status": "active", "secretLastFour": &keys.secret[keys.secret.len() - 4..],
            "createdAt": "2027-01-15T08:00:00.000Z", "rotatedAt": "2027-01-15T08:00:00.000Z",
            "lastUsedAt": "2027-01-15T08:00:00.000Z",
        });
        assert_eq!(data(&reply, 200), expected);
        assert!(!reply.text.contains(&keys.secret));
    }
    let other = fluide.issue(&[]).await;
    let reply = send(fluide.with(Method::GET, CURRENT, &token, Some(&other.key))).await;
    refused(&reply, 401, "DEVELOPER_KEYS_INVALID");
    let secret = fluide.with(Method::GET, CURRENT, &token, None).header("X-Fluide-Api-Secret", &keys.secret);
    refused_for(&send(secret).await, "X-Fluide-Api-Secret");
    refused(&send(fluide.request(Method::GET, CURRENT, &[])).await, 401, "GATEWAY_AUTH_REQUIRED");
    for wrong in ["a.b.c", "nonsense", "..", "eyJhbGciOiJub25lIn0.e30."] {
        let reply = fluide.current(wrong).await;
        refused(&reply, 401, "GATEWAY_AUTH_INVALID");
        assert_eq!(reply.header("www-authenticate"), INVALID);
    }
}

#[tokio::test]
async fn a_workspaces_key_looks_after_the_credentials_of_its_workspace_alone() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let reply = send(fluide.with(Method::GET, CURRENT, &fluide.admin, Some(&keys.key))).await;
    assert_eq!(data(&reply, 200)["apiKey"], keys.key.as_str());
    let stranger = fluide.server.workspace("Other").await;
    let stranger = fluide.server.key(&stranger, &["admin"]).await;
    let unknown = format!("fl_dev_{}", "0".repeat(22));
    let foreign = send(fluide.with(Method::GET, CURRENT, &stranger, Some(&keys.key))).await;
    let nobody = send(fluide.with(Method::GET, CURRENT, &stranger, Some(&unknown))).await;
    for reply in [&foreign, &nobody] {
        refused(reply, 404, "HTTP_ERROR");
    }
    assert_eq!(foreign.json()["message"], nobody.json()["message"]);
    let nameless = send(fluide.with(Method::GET, CURRENT, &fluide.admin, None)).await;
    refused(&nameless, 401, "GATEWAY_AUTH_REQUIRED");
    let path = "/api/v1/authorize/rotate-secret";
    refused(&send(fluide.with(Method::POST, path, &stranger, Some(&keys.key))).await, 404, "HTTP_ERROR");
    let verifier = fluide.server.key(&fluide.workspace, &["verifier"]).await;
    refused(&send(fluide.with(Method::POST, path, &verifier, Some(&keys.key))).await, 403, "HTTP_ERROR");
    let rotated = send(fluide.with(Method::POST, path, &fluide.admin, Some(&keys.key))).await;
    assert_eq!(data(&rotated, 201)["apiKey"], keys.key.as_str());
}

#[tokio::test]
async fn a_session_sees_itself_and_no_other() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&["verifier"]).await;
    let reply = fluide.exchange(&keys.key, &keys.secret).await.json();
    let (token, path) = (text(&reply, "accessToken"), text(&reply, "authContextPath"));
    let context = send(fluide.with(Method::GET, &path, &token, None)).await;
    let expected = json!({
        "tenantId": fluide.workspace, "fluideClientId": "fluide-developer", "apiKey": keys.key,
        "scopes": ["verifier"], "issuedAt": "2027-01-15T08:00:00.000Z", "exp": reply["exp"],
    });
    assert_eq!(data(&context, 200), expected);
    let other = fluide.token(&keys).await;
    assert_ne!(claims(&other)["jti"], claims(&token)["jti"]);
    refused(&send(fluide.with(Method::GET, &path, &other, None)).await, 404, "HTTP_ERROR");
    refused(
        &send(fluide.with(Method::GET, "/api/v1/auth-context/nonsense", &token, None)).await,
        404,
        "HTTP_ERROR",
    );
    refused(&send(fluide.with(Method::GET, "/api/v1/auth-context/", &token, None)).await, 404, "HTTP_ERROR");
    refused(&send(fluide.request(Method::GET, &path, &[])).await, 401, "GATEWAY_AUTH_REQUIRED");
}

#[tokio::test]
async fn anybody_sees_whether_the_service_is_there() {
    let fluide = Fluide::new().await;
    let root = send(fluide.request(Method::GET, "/api/v1", &[])).await;
    assert_eq!(data(&root, 200), json!({ "name": "rota", "version": env!("CARGO_PKG_VERSION") }));
    let health = send(fluide.request(Method::GET, "/api/v1/health", &[])).await;
    let parts = json!({ "commits": "ok", "database": "ok", "views": "ok" });
    assert_eq!(data(&health, 200), json!({ "status": "ok", "dependencies": parts }));
    assert_eq!(health.header("content-language"), "en");
    refused(&send(fluide.request(Method::GET, "/api/v1/authorize/nowhere", &[])).await, 404, "HTTP_ERROR");
}

#[tokio::test]
async fn a_session_has_its_credentials_roles_on_rotas_own_api() {
    let fluide = Fluide::new().await;
    let (plain, verifier) = (fluide.issue(&[]).await, fluide.issue(&["verifier"]).await);
    let pair = json!({ "publicId": plain.key, "secret": plain.secret });
    let ask =
        async |token: &str| fluide.server.post(&crate::support::As::Bearer(token), "/v1/verify", &pair).await;
    let token = fluide.token(&verifier).await;
    assert_eq!(ask(&token).await.json()["active"], true);
    assert_eq!(ask(&fluide.token(&plain).await).await.status, 403);
    let own = format!("/v1/credentials/{}", plain.id);
    let token = fluide.token(&plain).await;
    let seen = fluide.server.get(&crate::support::As::Bearer(&token), &own).await;
    assert_eq!((seen.status.as_u16(), &seen.json()["publicId"]), (200, &json!(plain.key)));
    let foreign = format!("/v1/credentials/{}", verifier.id);
    assert_eq!(fluide.server.get(&crate::support::As::Bearer(&token), &foreign).await.status, 403);
    assert_eq!(fluide.server.get(&crate::support::As::Bearer("a.b.c"), &own).await.status, 401);
}
