//! A user's API key becomes a token that stands for that user for a while.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::fluide::claims;
use crate::signer::Signer;
use crate::spritz::{REGENERATE, Spritz, refused, refused_for};
use crate::support::{As, Home, OPERATOR, Reply, send, text};

const TOKENS: &str = "/v1/integrator/tokens";
const ITSELF: &str = "/v1/integrator/";
const HOUR: Duration = Duration::from_hours(1);

/// A workspace with an integrator and the key of one of its users.
struct Users {
    spritz: Spritz,
    user: String,
    key: String,
}

impl Users {
    async fn new() -> Self {
        Self::with_roles(&["analyst"]).await
    }

    async fn with_roles(roles: &[&str]) -> Self {
        let spritz = Spritz::new().await;
        let (user, key, _) = spritz.server.operator().workspace_key(&spritz.workspace, roles).await;
        Self { spritz, user, key }
    }

    async fn ask(&self, signer: &Signer, body: &Value) -> Reply {
        self.spritz.tick();
        self.spritz.call(signer, Method::POST, TOKENS, &body.to_string()).await
    }

    async fn given(&self, signer: &Signer, key: &str) -> Value {
        self.ask(signer, &json!({ "userApiKey": key })).await.expect(200).json()
    }

    async fn token(&self) -> String {
        text(&self.given(&self.spritz.signer, &self.key).await["accessToken"])
    }

    async fn show(&self, token: &str, method: Method, path: &str) -> Reply {
        let request = self.spritz.server.request(&As::Bearer(token), method, path);
        send(request.header("content-type", "application/json").body("{}")).await
    }

    async fn lives(&self, token: &str) -> bool {
        let reply = self.show(token, Method::GET, ITSELF).await;
        if reply.status != 200 {
            refused(&reply, 401, "auth:unauthorized");
        }
        reply.status == 200
    }

    async fn worth(&self, token: &str) -> Value {
        let request = self.spritz.server.request(&As::Bearer(OPERATOR), Method::POST, "/v1/introspect");
        send(request.form(&[("token", token)])).await.expect(200).json()
    }

    async fn at_the_door(&self, token: &str, query: &str) -> Reply {
        let path = format!("/v1/forward-auth{query}");
        let request = self.spritz.server.request(&As::Bearer(token), Method::GET, &path);
        send(request.header("X-Forwarded-Method", "GET").header("X-Forwarded-Uri", "/")).await
    }

    async fn operator(&self, path: &str, body: Value) -> Value {
        self.spritz.server.operator().post(path, body).await.expect(200).json()
    }
}

#[tokio::test]
async fn a_users_key_becomes_a_token_for_an_hour_at_most() {
    let users = Users::new().await;
    let events = users.spritz.server.events();
    let reply = users.ask(&users.spritz.signer, &json!({ "userApiKey": users.key })).await.expect(200);
    assert_eq!(reply.header("cache-control"), "no-store");
    let given = reply.json();
    let token = text(&given["accessToken"]);
    let expected = json!({
        "accessToken": token, "userId": users.user, "tokenType": "Bearer", "expiresIn": 3_600,
        "expiresAt": "2027-01-15T09:00:00.000000Z",
    });
    assert_eq!(given, expected);
    let said = claims(token.strip_prefix("spr_").unwrap());
    assert_eq!((&said["aud"], &said["iss"]), (&json!("spritz-user"), &json!("rota")));
    assert_eq!((&said["sub"], &said["user"]["id"]), (&json!(users.spritz.id), &json!(users.user)));
    assert_eq!((&said["api_key"], &said["secret_version"]), (&json!(users.spritz.signer.key), &json!(1)));
    assert!(said.get("fluide_client_id").is_none(), "{said}");
    assert!(!reply.text.contains(&users.key));
    assert_eq!(users.spritz.server.events(), events, "a token is no event");

    // The time that was asked for, to the second.
    let body = json!({ "userApiKey": users.key, "expiresIn": 60 });
    let given = users.ask(&users.spritz.signer, &body).await.expect(200).json();
    assert_eq!(
        (&given["expiresIn"], &given["expiresAt"]),
        (&json!(60), &json!("2027-01-15T08:01:00.000000Z"))
    );
    let short = text(&given["accessToken"]);
    assert!(users.lives(&short).await && users.lives(&token).await);
    users.spritz.home.clock.advance(Duration::from_mins(1));
    assert!(!users.lives(&short).await && users.lives(&token).await);
    users.spritz.home.clock.advance(HOUR);
    assert!(!users.lives(&token).await);
}

#[tokio::test]
async fn a_wrong_body_is_named_and_gives_nothing() {
    let users = Users::new().await;
    let signer = &users.spritz.signer;
    let key = &users.key;
    for (body, field) in [
        (json!({}), "userApiKey"),
        (json!({ "userApiKey": 7 }), "userApiKey"),
        (json!({ "userApiKey": null }), "userApiKey"),
        (json!({ "userApiKey": key, "expiresIn": 0 }), "expiresIn"),
        (json!({ "userApiKey": key, "expiresIn": 3_601 }), "expiresIn"),
        (json!({ "userApiKey": key, "expiresIn": -1 }), "expiresIn"),
        (json!({ "userApiKey": key, "expiresIn": 1.5 }), "expiresIn"),
        (json!({ "userApiKey": key, "expiresIn": "60" }), "expiresIn"),
        (json!({ "userApiKey": key, "expiresin": 60 }), "expiresin"),
        (json!([key]), "body"),
    ] {
        let reply = users.ask(signer, &body).await;
        refused_for(&reply, field);
        assert!(!reply.text.contains(key.as_str()));
    }
    refused_for(&users.spritz.call(signer, Method::POST, TOKENS, "{").await, "body");
    let long = json!({ "userApiKey": "x".repeat(70_000) });
    refused(&users.ask(signer, &long).await, 413, "validation:invalid-request");
    let elsewhere = users.spritz.call(signer, Method::GET, TOKENS, "").await;
    refused(&elsewhere, 404, "resource:not-found");
}

/// Only a signature opens this: no bearer, whoever's, and no signature twice.
#[tokio::test]
async fn nobody_gets_one_without_a_signature_of_their_own() {
    let users = Users::new().await;
    let spritz = &users.spritz;
    let body = json!({ "userApiKey": users.key }).to_string();
    let admin = spritz.server.key(&spritz.workspace, &["admin"]).await;
    let token = users.token().await;
    for who in
        [As::Nobody, As::Bearer(OPERATOR), As::Bearer(&admin), As::Bearer(&users.key), As::Bearer(&token)]
    {
        let request = spritz.server.request(&who, Method::POST, TOKENS).body(body.clone());
        let reply = send(request.header("X-Integrator-Key", &spritz.signer.key)).await;
        refused(&reply, 401, "auth:unauthorized");
    }
    let stranger = Signer::new(&spritz.signer.key, "not-the-secret");
    refused(&users.ask(&stranger, &json!({ "userApiKey": users.key })).await, 401, "auth:unauthorized");
    spritz.tick();
    assert_eq!(spritz.call(&spritz.signer, Method::POST, TOKENS, &body).await.status, 200);
    let captured = spritz.call(&spritz.signer, Method::POST, TOKENS, &body).await;
    refused(&captured, 401, "auth:unauthorized");
    assert!(captured.json().get("accessToken").is_none());
}

#[tokio::test]
async fn a_key_that_is_not_a_users_of_this_workspace_is_refused() {
    let users = Users::new().await;
    let spritz = &users.spritz;
    let other = spritz.server.workspace("Other").await;
    let foreign = spritz.server.key(&other, &["admin"]).await;
    let typo = users.key.replace("_test_", "_prod_");
    let (id, revoked, _) = spritz.server.operator().workspace_key(&spritz.workspace, &["analyst"]).await;
    users.operator(&format!("/v1/credentials/{id}/revoke"), json!({})).await;
    let events = spritz.server.events();
    let mut answers = Vec::new();
    for key in [foreign.as_str(), &typo, &revoked, OPERATOR, "nonsense", &spritz.signer.secret, ""] {
        let reply = users.ask(&spritz.signer, &json!({ "userApiKey": key })).await;
        refused(&reply, 401, "auth:unauthorized");
        let problem = reply.json();
        assert_eq!((&problem["field"], &problem["code"]), (&json!("userApiKey"), &json!("unauthenticated")));
        answers.push((problem["detail"].clone(), problem["title"].clone()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(spritz.server.events(), events);
}

#[tokio::test]
async fn guessing_keys_is_limited_as_any_failed_login_is() {
    let mut home = Home::new();
    home.failed_logins = 3;
    let users = Users { spritz: Spritz::on(home).await, user: String::new(), key: String::new() };
    for _ in 0..3 {
        let reply = users.ask(&users.spritz.signer, &json!({ "userApiKey": "guess" })).await;
        refused(&reply, 401, "auth:unauthorized");
    }
    let reply = users.ask(&users.spritz.signer, &json!({ "userApiKey": "guess" })).await;
    refused(&reply, 429, "system:rate-limited");
    assert_eq!(reply.json()["retryable"], true);
}

#[tokio::test]
async fn an_integrator_gets_a_hundred_a_minute() {
    let users = Users::new().await;
    for _ in 0..100 {
        users.given(&users.spritz.signer, &users.key).await;
    }
    let reply = users.ask(&users.spritz.signer, &json!({ "userApiKey": users.key })).await;
    refused(&reply, 429, "system:rate-limited");
    assert_eq!(
        (&reply.json()["code"], &reply.json()["retryable"]),
        (&json!("too-many-exchanges"), &json!(true))
    );
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    // Another integrator is not held up, and what else this one asks is not either.
    let body = json!({ "kind": "signing", "name": "other", "workspaceId": users.spritz.workspace });
    let made = users.spritz.server.operator().post("/v1/credentials", body).await.expect(201).json();
    let other = Signer::new(&text(&made["secrets"]["integratorKey"]), &text(&made["secrets"]["secret"]));
    users.given(&other, &users.key).await;
    assert!(users.spritz.opens(&users.spritz.signer).await);
    users.spritz.home.clock.advance(Duration::from_secs(wait));
    users.given(&users.spritz.signer, &users.key).await;
}

/// It says who somebody is and reads. Whatever it may be shown to, it changes nothing.
#[tokio::test]
async fn a_token_reads_and_changes_nothing() {
    let users = Users::with_roles(&["admin"]).await;
    let spritz = &users.spritz;
    // An integrator that may do everything, too.
    let body =
        json!({ "kind": "signing", "name": "all", "workspaceId": spritz.workspace, "roles": ["admin"] });
    let made = spritz.server.operator().post("/v1/credentials", body).await.expect(201).json();
    let all = Signer::new(&text(&made["secrets"]["integratorKey"]), &text(&made["secrets"]["secret"]));
    let token = text(&users.given(&all, &users.key).await["accessToken"]);
    let seen = users.show(&token, Method::GET, ITSELF).await;
    assert_eq!((seen.status.as_u16(), &seen.json()["integratorKey"]), (200, &json!(all.key)));
    assert_eq!(users.show(&token, Method::GET, "/v1/api-keys/").await.status, 200);
    let events = spritz.server.events();
    for (method, path) in [
        (Method::POST, REGENERATE),
        (Method::POST, "/v1/integrator/webhook-secret"),
        (Method::POST, "/v1/integrator/webhooks"),
        (Method::DELETE, "/v1/integrator/webhooks/01a10000-0000-7000-8000-000000000000"),
        (Method::POST, "/v1/api-keys/"),
    ] {
        let reply = users.show(&token, method, path).await;
        refused(&reply, 403, "auth:forbidden");
        assert_eq!(reply.json()["code"], "signature-required", "{path}");
    }
    let path = format!("/v1/api-keys/{}", users.user);
    refused(&users.show(&token, Method::DELETE, &path).await, 403, "auth:forbidden");
    assert_eq!(spritz.server.events(), events);

    // Without roles of its own, the integrator lends none.
    let token = users.token().await;
    assert!(users.lives(&token).await);
    refused(&users.show(&token, Method::GET, "/v1/api-keys/").await, 403, "auth:forbidden");
}

#[tokio::test]
async fn a_token_is_good_at_its_own_door_alone() {
    let users = Users::with_roles(&["admin"]).await;
    let spritz = &users.spritz;
    let token = users.token().await;
    for path in ["/v1/credentials", "/v1/events", &format!("/v1/credentials/{}", spritz.id)] {
        assert_eq!(users.show(&token, Method::GET, path).await.status, 401, "{path}");
    }
    assert_eq!(users.show(&token, Method::GET, "/connect/v1/apps").await.status, 401);
    let at_fluide = async |token: &str, key: &str| {
        let request = spritz.server.request(&As::Bearer(token), Method::GET, crate::fluide::CURRENT);
        send(request.header("X-Fluide-Client-Id", crate::fluide::CLIENT).header("X-Fluide-Api-Key", key))
            .await
    };
    let bare = token.strip_prefix("spr_").unwrap();
    for token in [token.as_str(), bare] {
        crate::fluide::refused(&at_fluide(token, &spritz.signer.key).await, 401, "GATEWAY_AUTH_INVALID");
    }
    assert!(!users.lives(bare).await, "without what stands before it, it is another audience's");

    let operator = spritz.server.operator();
    let (_, public, secret) = operator.issue(&spritz.workspace, "exchange").await;
    let (given, _) = operator.session(&public, &secret).await;
    let fluide = text(&given["accessToken"]);
    assert_eq!(at_fluide(&fluide, &public).await.status, 200);
    for token in [&fluide, &format!("spr_{fluide}")] {
        let request = spritz.server.request(&As::Bearer(token), Method::GET, ITSELF);
        let reply = send(request.header("X-Integrator-Key", &spritz.signer.key)).await;
        refused(&reply, 401, "auth:unauthorized");
    }
}

#[tokio::test]
async fn a_door_and_who_asks_about_it_know_it() {
    let users = Users::with_roles(&["analyst", "auditor"]).await;
    let spritz = &users.spritz;
    let body =
        json!({ "kind": "signing", "name": "some", "workspaceId": spritz.workspace, "roles": ["auditor"] });
    let made = spritz.server.operator().post("/v1/credentials", body).await.expect(201).json();
    let id = text(&made["credential"]["id"]);
    let signer = Signer::new(&text(&made["secrets"]["integratorKey"]), &text(&made["secrets"]["secret"]));
    let token = text(&users.given(&signer, &users.key).await["accessToken"]);

    let reply = users.at_the_door(&token, "?kind=signing&role=auditor").await.expect(200);
    for (name, value) in [
        ("rota-credential", id.as_str()),
        ("rota-workspace", &spritz.workspace),
        ("rota-public-id", &signer.key),
        ("rota-kind", "signing"),
        ("rota-version", "1"),
        ("rota-roles", "auditor"),
        ("rota-proof", "session"),
        ("rota-user", &users.user),
        ("rota-expires-at", "2027-01-15T09:00:00.000000Z"),
    ] {
        assert_eq!(reply.header(name), value, "{name}");
    }
    refused(&users.at_the_door(&token, "?role=analyst").await, 403, "auth:forbidden");
    for query in ["?kind=exchange", "?kind=workspace-key", &format!("?workspaceId={}", users.user)] {
        refused(&users.at_the_door(&token, query).await, 401, "auth:unauthorized");
    }
    refused(&users.at_the_door(&format!("{token}x"), "").await, 401, "auth:unauthorized");

    let worth = users.worth(&token).await;
    let expected = json!({
        "active": true, "scope": "auditor", "client_id": signer.key, "sub": id, "token_type": "Bearer",
        "iat": 1_800_000_000, "nbf": 1_800_000_000, "exp": 1_800_003_600, "iss": "rota",
        "aud": "spritz-user", "jti": worth["jti"], "userId": users.user, "credentialId": id,
        "workspaceId": spritz.workspace, "kind": "signing", "version": 1,
    });
    assert_eq!(worth, expected);
    users.operator(&format!("/v1/credentials/{}/revoke", users.user), json!({})).await;
    assert_eq!(users.worth(&token).await, json!({ "active": false }));
    refused(&users.at_the_door(&token, "").await, 401, "auth:unauthorized");
}

/// A token ends with the integrator and with the user's key; a rotation of either leaves it what it reads.
#[tokio::test]
async fn a_token_ends_with_either_key() {
    for of_user in [false, true] {
        let users = Users::new().await;
        let id = if of_user { &users.user } else { &users.spritz.id };
        let (token, path) = (users.token().await, format!("/v1/credentials/{id}"));
        users.operator(&format!("{path}/rotate"), json!({})).await;
        assert!(users.lives(&token).await, "an ordinary rotation");
        users.operator(&format!("{path}/rotate"), json!({ "reason": "compromised" })).await;
        assert!(!users.lives(&token).await, "a compromised secret");
    }
    for of_user in [false, true] {
        let users = Users::new().await;
        let id = if of_user { &users.user } else { &users.spritz.id };
        let token = users.token().await;
        users.operator(&format!("/v1/credentials/{id}/revoke"), json!({})).await;
        assert!(!users.lives(&token).await, "a revocation");
    }
}

/// One of a secret in its grace period ends with that, whichever of the two it is.
#[tokio::test]
async fn a_token_of_a_retiring_key_ends_with_it() {
    for of_user in [false, true] {
        let users = Users::new().await;
        let id = if of_user { &users.user } else { &users.spritz.id };
        let before = users.token().await;
        users.operator(&format!("/v1/credentials/{id}/rotate"), json!({ "gracePeriodSeconds": 600 })).await;
        let given = users.given(&users.spritz.signer, &users.key).await;
        assert_eq!(given["expiresAt"], "2027-01-15T08:10:00.000000Z");
        let retiring = text(&given["accessToken"]);
        assert!(users.lives(&retiring).await);
        users.operator(&format!("/v1/credentials/{id}/expire-old"), json!({})).await;
        assert!(!users.lives(&retiring).await, "an early end of the grace period");
        assert!(users.lives(&before).await, "it was given for a secret that was not retiring");
    }
}
