//! Machine identities: login, renewal, the end of a login, and what a token is worth.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::fluide::claims;
use crate::hopae::text;
use crate::infisical::{DETAILS, Infisical, LOGIN, RENEW, REVOKE, ok, refused, refused_for};
use crate::support::{As, Home, OPERATOR, members, send};

const MEMBERS: [&str; 4] = ["accessToken", "accessTokenMaxTTL", "expiresIn", "tokenType"];

#[tokio::test]
async fn a_machine_logs_in_and_is_somebody() {
    let infisical = Infisical::new().await;
    let identity = infisical.identity(&[]).await;
    let body = json!({
        "clientId": format!(" {} ", identity.client_id), "clientSecret": identity.secret,
        "organizationSlug": "acme", "unknown": { "more": 1 },
    });
    for path in [LOGIN.to_owned(), format!("{LOGIN}/")] {
        let reply = infisical.server.post(&As::Nobody, &path, &body).await;
        let token = ok(&reply);
        assert_eq!(members(&token), MEMBERS);
        assert_eq!(
            (&token["expiresIn"], &token["accessTokenMaxTTL"], &token["tokenType"]),
            (&json!(3_600), &json!(86_400), &json!("Bearer"))
        );
        assert!(!reply.text.contains(&identity.secret));
        let details = ok(&infisical.get(&text(&token, "accessToken"), DETAILS).await);
        let organization = &details["identityDetails"]["organization"];
        assert_eq!(
            organization,
            &json!({
                "id": infisical.project, "name": "Acme & Co",
                "slug": format!("acme-co-{}", &infisical.project[28..]),
            })
        );
    }
}

#[tokio::test]
async fn a_login_is_refused_alike_for_a_wrong_id_a_wrong_secret_and_another_kind() {
    let infisical = Infisical::new().await;
    let identity = infisical.identity(&[]).await;
    let made = json!({ "kind": "exchange", "name": "crm" });
    let made = infisical.server.post(&As::Bearer(&infisical.admin), "/v1/credentials", &made).await.json();
    let (key, secret) = (text(&made["secrets"], "apiKey"), text(&made["secrets"], "apiSecret"));
    let pairs = [
        (identity.client_id.as_str(), "wrong"),
        ("zzzzzzzz", identity.secret.as_str()),
        ("", ""),
        (key.as_str(), secret.as_str()),
    ];
    let mut messages = Vec::new();
    for (id, secret) in pairs {
        let body = refused(&infisical.log_in(id, secret).await, 401, "UnauthorizedError");
        messages.push(text(&body, "message"));
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");

    let revoke = format!("/v1/credentials/{}/revoke", identity.id);
    infisical.post(&infisical.admin, &revoke, json!({})).await.expect(200);
    refused(&infisical.log_in(&identity.client_id, &identity.secret).await, 401, "UnauthorizedError");
}

#[tokio::test]
async fn what_is_wrong_with_the_input_is_told_all_at_once() {
    let infisical = Infisical::new().await;
    let ask = async |body: Value| infisical.server.post(&As::Nobody, LOGIN, &body).await;
    refused_for(&ask(json!({})).await, &["clientId", "clientSecret"]);
    refused_for(&ask(json!({ "clientId": 1, "clientSecret": "s" })).await, &["clientId"]);
    let secret = json!({ "clientId": "c", "clientSecret": ["hush-hush"] });
    let reply = ask(secret).await;
    refused_for(&reply, &["clientSecret"]);
    assert!(!reply.text.contains("hush-hush"));
    refused_for(&ask(json!([])).await, &[""]);
    let request = infisical.server.request(&As::Nobody, Method::POST, LOGIN);
    refused(&send(request.body("{")).await, 400, "BadRequest");
    let request = infisical.server.request(&As::Nobody, Method::POST, LOGIN);
    refused(&send(request.body("x".repeat(70_000))).await, 413, "PayloadTooLarge");
    for path in [RENEW, REVOKE] {
        let reply = infisical.server.post(&As::Nobody, path, &json!({ "accessToken": null })).await;
        refused_for(&reply, &["accessToken"]);
    }
}

#[tokio::test]
async fn nothing_shown_is_401_and_a_wrong_token_is_403() {
    let infisical = Infisical::new().await;
    let reply = infisical.server.get(&As::Nobody, DETAILS).await;
    refused(&reply, 401, "UnauthorizedError");
    let good = infisical.token_with(&[]).await;
    let mut broken = good.clone();
    broken.replace_range(good.len() - 6..good.len() - 5, if good.ends_with('A') { "B" } else { "A" });
    for wrong in [broken.as_str(), "nonsense", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        refused(&infisical.get(wrong, DETAILS).await, 403, "TokenError");
        let body = json!({ "accessToken": wrong });
        refused(&infisical.server.post(&As::Nobody, RENEW, &body).await, 403, "TokenError");
        refused(&infisical.server.post(&As::Nobody, REVOKE, &body).await, 403, "TokenError");
    }
    infisical.home.clock.advance(Duration::from_secs(3_599));
    ok(&infisical.get(&good, DETAILS).await);
    infisical.home.clock.advance(Duration::from_secs(1));
    refused(&infisical.get(&good, DETAILS).await, 403, "TokenError");
}

#[tokio::test]
async fn a_token_opens_this_door_and_no_other() {
    let infisical = Infisical::new().await;
    let token = infisical.token_with(&["admin"]).await;
    assert_eq!(infisical.get(&token, "/v1/credentials").await.status, 401);
    let request = infisical.server.request(&As::Bearer(&token), Method::GET, "/api/v1/authorize/current");
    let reply = send(request.header("X-Fluide-Client-Id", "fluide-developer")).await;
    assert_eq!(reply.status, 401);
    let made = json!({ "kind": "exchange", "name": "crm", "roles": ["admin"] });
    let made = infisical.post(&infisical.admin, "/v1/credentials", made).await.expect(201).json();
    let caller = infisical.server.caller(&As::Nobody);
    let secrets = &made["secrets"];
    let given = caller.exchange(&text(secrets, "apiKey"), &text(secrets, "apiSecret")).await.expect(201);
    let fluide = text(&given.json(), "accessToken");
    refused(&infisical.get(&fluide, DETAILS).await, 403, "TokenError");
    // What a token is worth can be asked by whoever may ask that.
    let form = [("token", token.as_str())];
    let request = infisical.server.request(&As::Bearer(&infisical.admin), Method::POST, "/v1/introspect");
    let worth = send(request.form(&form)).await.expect(200).json();
    assert_eq!((&worth["active"], &worth["aud"]), (&json!(true), &json!("infisical")));
    // A workspace key and the operator's work here, as everywhere.
    ok(&infisical.get(&infisical.admin, "/api/v1/workspace").await);
    ok(&infisical.get(OPERATOR, "/api/v1/workspace").await);
}

#[tokio::test]
async fn a_login_is_renewed_for_a_day_and_no_longer() {
    let infisical = Infisical::new().await;
    let identity = infisical.identity(&[]).await;
    let first = infisical.token(&identity).await;
    let renew =
        async |token: &str| infisical.server.post(&As::Nobody, RENEW, &json!({ "accessToken": token })).await;
    let mut token = first.clone();
    for _ in 0..30 {
        infisical.home.clock.advance(Duration::from_mins(45));
        let renewed = ok(&renew(&token).await);
        assert_eq!(members(&renewed), MEMBERS);
        assert_eq!(renewed["expiresIn"], 3_600);
        token = text(&renewed, "accessToken");
        assert_eq!(claims(&token)["login"]["id"], claims(&first)["jti"]);
    }
    // After 23 hours and a quarter there is less than an hour left.
    infisical.home.clock.advance(Duration::from_mins(45));
    let last = ok(&renew(&token).await);
    assert_eq!(last["expiresIn"], 45 * 60);
    let last = text(&last, "accessToken");
    infisical.home.clock.advance(Duration::from_mins(40));
    let last = ok(&renew(&last).await);
    assert_eq!(last["expiresIn"], 5 * 60);
    let last = text(&last, "accessToken");
    infisical.home.clock.advance(Duration::from_secs(5 * 60 - 1));
    ok(&infisical.get(&last, DETAILS).await);
    infisical.home.clock.advance(Duration::from_secs(1));
    refused(&infisical.get(&last, DETAILS).await, 403, "TokenError");
    refused(&renew(&last).await, 403, "TokenError");
    refused(&renew(&first).await, 403, "TokenError");
}

#[tokio::test]
async fn a_token_of_a_replaced_secret_reads_and_is_not_renewed() {
    let infisical = Infisical::new().await;
    let identity = infisical.identity(&["admin"]).await;
    let token = infisical.token(&identity).await;
    let rotate = format!("/v1/credentials/{}/rotate", identity.id);
    infisical.post(&infisical.admin, &rotate, json!({})).await.expect(200);
    ok(&infisical.get(&token, DETAILS).await);
    let renewed = infisical.server.post(&As::Nobody, RENEW, &json!({ "accessToken": token })).await;
    let body = refused(&renewed, 403, "ForbiddenError");
    assert_eq!(body["details"], json!({ "code": "session-superseded" }));
    let folder = json!({ "workspaceId": infisical.project, "environment": "dev", "name": "apps" });
    let body = refused(&infisical.post(&token, "/api/v1/folders", folder).await, 403, "ForbiddenError");
    assert_eq!(body["details"], json!({ "code": "session-superseded" }));
    let revoke = format!("/v1/credentials/{}/revoke", identity.id);
    infisical.post(&infisical.admin, &revoke, json!({})).await.expect(200);
    refused(&infisical.get(&token, DETAILS).await, 403, "TokenError");
}

#[tokio::test]
async fn the_end_of_a_login_ends_all_its_tokens_and_nobody_elses_also_after_a_restart() {
    let infisical = Infisical::new().await;
    let identity = infisical.identity(&[]).await;
    let (first, other) = (infisical.token(&identity).await, infisical.token(&identity).await);
    let body = json!({ "accessToken": first });
    let renewed = ok(&infisical.server.post(&As::Nobody, RENEW, &body).await);
    let renewed = text(&renewed, "accessToken");
    let ended = ok(&infisical.server.post(&As::Nobody, REVOKE, &json!({ "accessToken": renewed })).await);
    assert_eq!(members(&ended), ["message"]);
    let infisical = infisical.restart().await;
    for token in [&first, &renewed] {
        refused(&infisical.get(token, DETAILS).await, 403, "TokenError");
        let body = json!({ "accessToken": token });
        refused(&infisical.server.post(&As::Nobody, RENEW, &body).await, 403, "TokenError");
        refused(&infisical.server.post(&As::Nobody, REVOKE, &body).await, 403, "TokenError");
    }
    ok(&infisical.get(&other, DETAILS).await);
    assert_eq!(infisical.count("rota.credential.session-ended.v1").await, 1);
    let history = format!("/v1/credentials/{}/history", identity.id);
    let history = infisical.get(&infisical.admin, &history).await.expect(200).json();
    let last = history["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["type"], "rota.credential.session-ended.v1");
    assert_eq!(last["data"]["until"], "2027-01-16T08:00:00.000000Z");
    assert_eq!(last["actorid"], identity.id.as_str());
}

#[tokio::test]
async fn too_many_failures_of_an_address_are_told_when_to_come_again() {
    let mut home = Home::new();
    home.failed_logins = 3;
    let infisical = Infisical::on(home).await;
    let identity = infisical.identity(&[]).await;
    for _ in 0..3 {
        refused(&infisical.log_in(&identity.client_id, "wrong").await, 401, "UnauthorizedError");
    }
    let reply = infisical.log_in(&identity.client_id, "wrong").await;
    refused(&reply, 429, "RateLimitExceeded");
    assert_eq!(reply.header("retry-after"), "60");
    refused(&infisical.get("nonsense", DETAILS).await, 429, "RateLimitExceeded");
    // A right secret is never limited.
    infisical.token(&identity).await;
}
