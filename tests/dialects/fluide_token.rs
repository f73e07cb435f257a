//! A key and its secret for a token.

use std::time::Duration;

use reqwest::Method;
use rota::http::fluide::TokenAnswer;
use serde_json::json;

use crate::fluide::{CLIENT, Fluide, INVALID, NOTHING, PRODUCTS, TOKEN, claims, refused, refused_for};
use crate::hopae::text;
use crate::support::{Home, members, send};

#[tokio::test]
async fn the_answer_is_bare_and_says_whose_and_how_long() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    assert!(keys.key.starts_with("fl_dev_") && keys.key.len() == 29, "{}", keys.key);
    assert!(keys.secret.starts_with("fl_sec_"));
    let reply = fluide.exchange(&keys.key, &keys.secret).await;
    assert_eq!((reply.status.as_u16(), reply.header("cache-control")), (201, "no-store"));
    let body = reply.json();
    assert_eq!(members(&body), ["accessToken", "authContextPath", "exp", "fluideClientId", "tenantId"]);
    assert_eq!(body["tenantId"], fluide.workspace.as_str());
    assert_eq!(body["fluideClientId"], CLIENT);
    assert_eq!(body["exp"], 1_800_000_000 + 3_600);
    let token = text(&body, "accessToken");
    assert!(token.starts_with("eyJ") && !reply.text.contains(&keys.secret));
    let said = claims(&token);
    assert_eq!(body["authContextPath"], format!("/api/v1/auth-context/{}", text(&said, "jti")));
    let expected = json!({
        "iss": "rota", "sub": keys.id, "aud": CLIENT, "iat": 1_800_000_000, "nbf": 1_800_000_000,
        "exp": 1_800_003_600, "jti": said["jti"], "fluide_client_id": CLIENT, "tenant_id": fluide.workspace,
        "api_key": keys.key, "secret_version": 1, "epoch": 0,
    });
    assert_eq!(said, expected);
}

#[tokio::test]
async fn the_answer_can_be_in_the_envelope_too() {
    for answer in [TokenAnswer::Enveloped, TokenAnswer::Both] {
        let mut home = Home::new();
        home.token_answer = answer;
        let fluide = Fluide::on(home).await;
        let keys = fluide.issue(&[]).await;
        let reply = fluide.exchange(&keys.key, &keys.secret).await;
        assert_eq!(reply.status, 201);
        let body = reply.json();
        assert_eq!(body["success"], true);
        let bare = ["accessToken", "authContextPath", "exp", "fluideClientId", "tenantId"];
        assert_eq!(members(&body["data"]), bare);
        match answer {
            TokenAnswer::Both => assert!(bare.iter().all(|name| body[name] == body["data"][name])),
            _ => assert_eq!(members(&body), ["data", "message", "success"]),
        }
    }
}

#[tokio::test]
async fn what_is_wrong_or_missing_is_told_apart_as_far_as_it_may_be() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let other = fluide.issue(&[]).await;
    let events = fluide.server.events();
    let key = ("X-Fluide-Api-Key", keys.key.as_str());
    let secret = ("X-Fluide-Api-Secret", keys.secret.as_str());
    let client = ("X-Fluide-Client-Id", CLIENT);
    let unknown = "fl_dev_0000000000000000000000".to_owned();
    let cases = [
        (vec![key, client], "DEVELOPER_KEYS_INVALID", NOTHING),
        (vec![secret, client], "DEVELOPER_KEYS_INVALID", NOTHING),
        (vec![key, secret], "GATEWAY_AUTH_REQUIRED", NOTHING),
        (vec![], "GATEWAY_AUTH_REQUIRED", NOTHING),
        (vec![key, secret, ("X-Fluide-Client-Id", "another")], "GATEWAY_AUTH_INVALID", INVALID),
        (vec![key, client, ("X-Fluide-Api-Secret", &other.secret)], "DEVELOPER_KEYS_INVALID", INVALID),
        (vec![("X-Fluide-Api-Key", &unknown), client, secret], "DEVELOPER_KEYS_INVALID", INVALID),
        (vec![("X-Fluide-Api-Key", "nonsense"), client, secret], "DEVELOPER_KEYS_INVALID", INVALID),
    ];
    for (headers, code, challenge) in &cases {
        let reply = send(fluide.request(Method::POST, TOKEN, headers)).await;
        refused(&reply, 401, code);
        assert_eq!(reply.header("www-authenticate"), *challenge);
        assert!(!reply.text.contains(&keys.secret) && !reply.text.contains(&other.secret));
    }
    let twice = [key, key, secret, client];
    refused_for(&send(fluide.request(Method::POST, TOKEN, &twice)).await, "X-Fluide-Api-Key");
    let good = [key, secret, client];
    let body = fluide.request(Method::POST, TOKEN, &good).body(r#"{"grant":"x"}"#);
    refused_for(&send(body).await, "grant");
    let array = fluide.request(Method::POST, TOKEN, &good).body("[1]");
    refused_for(&send(array).await, "body");
    let empty = fluide.request(Method::POST, TOKEN, &good).body("{}");
    assert_eq!(send(empty).await.status, 201);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        refused(&send(fluide.request(method, TOKEN, &good)).await, 404, "HTTP_ERROR");
    }
    assert_eq!(fluide.server.events(), events);
}

#[tokio::test]
async fn other_kinds_of_credential_are_not_exchanged() {
    let fluide = Fluide::new().await;
    for (kind, id, secret) in [("client", "clientId", "clientSecret"), ("signing", "integratorKey", "secret")]
    {
        let body = json!({ "kind": kind, "name": "n", "workspaceId": fluide.workspace });
        let made = fluide.operator(Method::POST, "/v1/credentials", body).await.json()["secrets"].clone();
        let reply = fluide.exchange(&text(&made, id), &text(&made, secret)).await;
        refused(&reply, 401, "DEVELOPER_KEYS_INVALID");
    }
}

#[tokio::test]
async fn failed_exchanges_are_limited_and_right_ones_are_not() {
    let mut home = Home::new();
    home.failed_logins = 3;
    let fluide = Fluide::on(home).await;
    let keys = fluide.issue(&[]).await;
    for _ in 0..3 {
        refused(&fluide.exchange(&keys.key, "wrong").await, 401, "DEVELOPER_KEYS_INVALID");
    }
    let limited = fluide.exchange(&keys.key, "wrong").await;
    refused(&limited, 429, "HTTP_ERROR");
    assert!(limited.header("retry-after").parse::<u64>().unwrap() <= 60);
    refused(&fluide.current("a.b.c").await, 429, "HTTP_ERROR");
    assert_eq!(fluide.exchange(&keys.key, &keys.secret).await.status, 201);
}

#[tokio::test]
async fn a_token_opens_the_products_with_its_own_key_and_client_alone() {
    let fluide = Fluide::new().await;
    let (keys, other) = (fluide.issue(&[]).await, fluide.issue(&[]).await);
    let token = fluide.token(&keys).await;
    for product in PRODUCTS {
        let path = format!("/api/v1/{product}/health");
        let good = send(fluide.with(Method::GET, &path, &token, Some(&keys.key))).await;
        assert_eq!(crate::fluide::data(&good, 200), json!({ "service": product, "status": "ok" }));

        let bearer = format!("Bearer {token}");
        let authorization = ("Authorization", bearer.as_str());
        let key = ("X-Fluide-Api-Key", keys.key.as_str());
        let client = ("X-Fluide-Client-Id", CLIENT);
        let cases = [
            (vec![key, client], "GATEWAY_AUTH_REQUIRED", NOTHING),
            (vec![authorization, client], "GATEWAY_AUTH_REQUIRED", NOTHING),
            (vec![authorization, key], "GATEWAY_AUTH_REQUIRED", NOTHING),
            (vec![], "GATEWAY_AUTH_REQUIRED", NOTHING),
            (
                vec![authorization, client, ("X-Fluide-Api-Key", &other.key)],
                "DEVELOPER_KEYS_INVALID",
                INVALID,
            ),
            (vec![authorization, key, ("X-Fluide-Client-Id", "other")], "GATEWAY_AUTH_INVALID", INVALID),
            (vec![("Authorization", "Bearer a.b.c"), key, client], "GATEWAY_AUTH_INVALID", INVALID),
            (vec![("Authorization", "Basic YTpi"), key, client], "GATEWAY_AUTH_INVALID", INVALID),
            (vec![("Authorization", &token), key, client], "GATEWAY_AUTH_REQUIRED", NOTHING),
        ];
        for (headers, code, challenge) in &cases {
            let reply = send(fluide.request(Method::GET, &path, headers)).await;
            refused(&reply, 401, code);
            assert_eq!(reply.header("www-authenticate"), *challenge);
        }
        let nothing = send(fluide.request(Method::GET, &path, &[])).await;
        assert_eq!(nothing.json()["message"], "Authorization field missing");
        // A workspace's key is no session.
        let admin = send(fluide.with(Method::GET, &path, &fluide.admin, Some(&keys.key))).await;
        refused(&admin, 401, "GATEWAY_AUTH_INVALID");
        // The secret has no business here.
        let secret = fluide.with(Method::GET, &path, &token, Some(&keys.key));
        refused_for(&send(secret.header("X-Fluide-Api-Secret", &keys.secret)).await, "X-Fluide-Api-Secret");
        // What the products do is not here, and nobody unknown hears even that.
        let elsewhere = format!("/api/v1/{product}/employees");
        refused(
            &send(fluide.with(Method::GET, &elsewhere, &token, Some(&keys.key))).await,
            404,
            "HTTP_ERROR",
        );
        refused(&send(fluide.request(Method::POST, &elsewhere, &[])).await, 401, "GATEWAY_AUTH_REQUIRED");
    }
}

#[tokio::test]
async fn a_token_ends_with_the_second_that_it_names() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let token = fluide.token(&keys).await;
    fluide.home.clock.advance(Duration::from_millis(3_599_999));
    assert_eq!(fluide.current(&token).await.status, 200);
    fluide.home.clock.advance(Duration::from_millis(1));
    let reply = fluide.current(&token).await;
    refused(&reply, 401, "GATEWAY_AUTH_INVALID");
    assert_eq!(reply.header("www-authenticate"), INVALID);
    assert_eq!(fluide.current(&fluide.token(&keys).await).await.status, 200);
}

#[tokio::test]
async fn a_token_outlives_a_restart() {
    let fluide = Fluide::new().await;
    let keys = fluide.issue(&[]).await;
    let token = fluide.token(&keys).await;
    let fluide = fluide.restart().await;
    assert_eq!(fluide.current(&token).await.status, 200);
    assert_eq!(fluide.count("rota.token-keys.key-made.v1").await, 1);
}
