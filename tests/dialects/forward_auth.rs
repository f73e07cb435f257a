//! What a proxy is told when it asks whether to let a request through.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use rota::app::clock::Clock;
use serde_json::{Value, json};

use crate::signer::Signer;
use crate::support::{As, Home, Reply, Server, pair, send, text};

pub const ASK: &str = "/v1/forward-auth";
pub const IDENTITY: [&str; 10] = [
    "rota-workspace",
    "rota-credential",
    "rota-public-id",
    "rota-kind",
    "rota-version",
    "rota-roles",
    "rota-proof",
    "rota-user",
    "rota-expires-at",
    "rota-content-digest",
];

/// A credential with its newest secret.
#[derive(Clone, Debug)]
pub struct Held {
    pub id: String,
    pub public: String,
    pub secret: String,
}

impl Held {
    pub fn basic(&self) -> As<'_> {
        As::Basic(&self.public, &self.secret)
    }

    pub fn signer(&self) -> Signer {
        Signer::new(&self.public, &self.secret)
    }
}

/// A service whose door rota guards.
pub struct Guarded {
    pub home: Home,
    pub server: Server,
    pub workspace: String,
}

impl Guarded {
    pub async fn new() -> Self {
        Self::on(Home::new()).await
    }

    pub async fn on(home: Home) -> Self {
        let server = home.serve().await;
        let workspace = server.workspace("Acme").await;
        Self { home, server, workspace }
    }

    /// Issues a credential in a workspace.
    pub async fn issue_in(&self, workspace: &str, kind: &str, roles: &[&str]) -> Held {
        let body = json!({ "kind": kind, "name": "caller", "workspaceId": workspace, "roles": roles });
        let made = self.server.operator().post("/v1/credentials", body).await.expect(201).json();
        let (public, secret) = pair(&made["secrets"]);
        Held { id: text(&made["credential"]["id"]), public, secret }
    }

    pub async fn issue(&self, kind: &str) -> Held {
        self.issue_in(&self.workspace, kind, &[]).await
    }

    /// Rotates; the same credential with its new secret.
    pub async fn rotate(&self, held: &Held, body: Value) -> Held {
        Held { secret: self.server.operator().rotate(&held.id, body).await, ..held.clone() }
    }

    /// A session token for an exchange credential.
    pub async fn token(&self, held: &Held) -> String {
        let request = self.server.request(&As::Nobody, Method::POST, crate::fluide::TOKEN);
        let request =
            request.header("X-Fluide-Api-Key", &held.public).header("X-Fluide-Api-Secret", &held.secret);
        let reply = send(request.header("X-Fluide-Client-Id", crate::fluide::CLIENT)).await.expect(201);
        text(&reply.json()["accessToken"])
    }

    /// What is answered about a request with a session and a key.
    pub async fn with_session(&self, token: &str, key: &str, query: &str) -> Reply {
        let request = self.ask(&As::Bearer(token), "GET", "/", query).header("X-Fluide-Api-Key", key);
        send(request.header("X-Fluide-Client-Id", crate::fluide::CLIENT)).await
    }

    pub fn millis(&self) -> i64 {
        self.home.clock.now().micros() / 1_000
    }

    /// A question as a proxy puts it about a request.
    pub fn ask(&self, who: &As<'_>, method: &str, uri: &str, query: &str) -> RequestBuilder {
        let request = self.server.request(who, Method::GET, &format!("{ASK}{query}"));
        request
            .header("X-Forwarded-Method", method)
            .header("X-Forwarded-Uri", uri)
            .header("X-Forwarded-Host", "shop.example")
            .header("X-Forwarded-Proto", "https")
    }

    pub async fn answer(&self, who: &As<'_>) -> Reply {
        send(self.ask(who, "GET", "/", "")).await
    }

    /// What is answered about a request that was signed now, and to which `said` is what the proxy says.
    pub async fn signed(
        &self,
        signer: &Signer,
        signed: (&str, &str, &str),
        said: (&str, &str),
        query: &str,
    ) -> Reply {
        let (method, path, body) = signed;
        let headers = signer.headers(self.millis(), method, path, body);
        send(with(self.ask(&As::Nobody, said.0, said.1, query), &headers)).await
    }
}

pub fn with(request: RequestBuilder, headers: &[(String, String)]) -> RequestBuilder {
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// Let through, as this credential.
#[track_caller]
pub fn passed(reply: &Reply, guarded: &Guarded, held: &Held, kind: &str, proof: &str) {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.text, "");
    assert_eq!(reply.header("cache-control"), "no-store");
    let said: Vec<_> = IDENTITY.iter().map(|name| reply.header(name)).collect();
    assert_eq!(said[..4], [&guarded.workspace[..], &held.id, &held.public, kind]);
    assert_eq!(said[6], proof);
    assert!(said.iter().all(|value| !value.is_empty()), "{said:?}");
}

/// Kept out, in the words of a format.
#[track_caller]
pub fn kept_out(reply: &Reply, status: u16, challenge: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert!(reply.header("www-authenticate").starts_with(challenge), "{reply:?}");
    assert!(IDENTITY.iter().all(|name| reply.header(name).is_empty()), "{reply:?}");
}

const FLUIDE: &str = "Bearer realm=\"fluide\"";
const HOPAE: &str = "Basic realm=\"hopae\"";
const SPRITZ: &str = "Spritz-HMAC realm=\"API\"";
const NATIVE: &str = "Bearer realm=\"rota\"";

#[tokio::test]
async fn each_kind_of_credential_passes_in_its_own_way() {
    let guarded = Guarded::new().await;
    let client = guarded.issue_in(&guarded.workspace, "client", &["auditor", "rotator"]).await;
    let reply = guarded.answer(&client.basic()).await;
    passed(&reply, &guarded, &client, "client", "secret");
    assert_eq!(reply.header("rota-roles"), "rotator,auditor");
    assert_eq!((reply.header("rota-version"), reply.header("rota-expires-at")), ("1", "none"));

    let (id, key, _) = guarded.server.operator().workspace_key(&guarded.workspace, &["verifier"]).await;
    let public = key[.."sk_workspace_test_".len() + 12].to_owned();
    let held = Held { id, public, secret: key.clone() };
    passed(&guarded.answer(&As::Bearer(&key)).await, &guarded, &held, "workspace-key", "workspace-key");

    let signing = guarded.issue("signing").await;
    let request = ("POST", "/orders?a=1", "");
    let reply = guarded.signed(&signing.signer(), request, ("POST", "/orders?a=1"), "").await;
    passed(&reply, &guarded, &signing, "signing", "signature");
    assert_eq!((reply.header("rota-roles"), reply.header("rota-content-digest")), ("none", "none"));

    let uri = "https://shop.example/orders";
    let headers = signing.signer().message_headers(guarded.millis() / 1_000, "n", "DELETE", uri, "");
    let reply = send(with(guarded.ask(&As::Nobody, "DELETE", "/orders", ""), &headers)).await;
    passed(&reply, &guarded, &signing, "signing", "signature");
    // A signature decides alone, whatever is shown beside it.
    let reply = send(with(guarded.ask(&client.basic(), "DELETE", "/orders", ""), &headers)).await;
    passed(&reply, &guarded, &signing, "signing", "signature");
}

#[tokio::test]
async fn proxies_may_ask_with_any_method() {
    let guarded = Guarded::new().await;
    let client = guarded.issue("client").await;
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for path in [ASK, "/v1/forward-auth/", "/v1/forward-auth/a/b?c=d"] {
            let reply = send(guarded.server.request(&client.basic(), method.clone(), path)).await;
            passed(&reply, &guarded, &client, "client", "secret");
            assert_eq!(send(guarded.server.request(&As::Nobody, method.clone(), path)).await.status, 401);
        }
    }
    for nowhere in ["/v1/forward-authority", "/v1/forward-aut"] {
        assert_eq!(guarded.server.get(&client.basic(), nowhere).await.status, 404);
    }
}

/// Each wrong thing gets the answer of the format that was spoken, and changes nothing.
#[tokio::test]
async fn whoever_is_kept_out_is_told_so_in_their_own_format() {
    let guarded = Guarded::new().await;
    let (client, signing, exchange) =
        (guarded.issue("client").await, guarded.issue("signing").await, guarded.issue("exchange").await);
    let events = guarded.server.events();
    for wrong in [
        As::Basic(&client.public, "wrong"),
        As::Basic("0000000a", &client.secret),
        As::Basic("", ""),
        // Shown as they are, these secrets open no door.
        As::Basic(&signing.public, &signing.secret),
        As::Basic(&exchange.public, &exchange.secret),
    ] {
        let reply = guarded.answer(&wrong).await;
        kept_out(&reply, 401, HOPAE);
        assert_eq!(reply.json()["title"], "AUTH_INVALID_CREDENTIALS", "{reply:?}");
    }
    let key = guarded.server.key(&guarded.workspace, &["admin"]).await;
    let typo = key.replace("sk_workspace_test_", "sk_workspace_prod_");
    for wrong in [typo.as_str(), "nonsense", &client.secret, crate::support::OPERATOR] {
        let reply = guarded.answer(&As::Bearer(wrong)).await;
        kept_out(&reply, 401, NATIVE);
        assert_eq!(reply.code(), "unauthenticated");
    }
    for odd in ["Basic", "Basic !!!", "Bearer", "Digest x", ""] {
        let request = guarded.ask(&As::Nobody, "GET", "/", "").header("authorization", odd);
        assert_eq!(send(request).await.status, 401, "{odd}");
    }
    let wrong = Signer::new(&signing.public, "sk_live_wrong");
    let reply = guarded.signed(&wrong, ("GET", "/", ""), ("GET", "/"), "").await;
    kept_out(&reply, 401, SPRITZ);
    assert_eq!(
        (&reply.json()["type"], &reply.json()["realm"]),
        (&json!("urn:problem-type:auth:unauthorized"), &json!("API"))
    );

    let all = guarded.answer(&As::Nobody).await;
    kept_out(&all, 401, "Basic realm=\"rota\", charset=\"UTF-8\", Bearer realm=\"rota\", Spritz-HMAC");
    for (kind, challenge) in
        [("client", HOPAE), ("exchange", FLUIDE), ("signing", SPRITZ), ("workspace-key", NATIVE)]
    {
        kept_out(&send(guarded.ask(&As::Nobody, "GET", "/", &format!("?kind={kind}"))).await, 401, challenge);
    }
    assert_eq!(guarded.server.events(), events + 1, "the key alone");
}

#[tokio::test]
async fn a_session_passes_with_its_key_while_it_lives() {
    let guarded = Guarded::new().await;
    let exchange = guarded.issue_in(&guarded.workspace, "exchange", &["analyst"]).await;
    let token = guarded.token(&exchange).await;
    let reply = guarded.with_session(&token, &exchange.public, "?kind=exchange&role=analyst").await;
    passed(&reply, &guarded, &exchange, "exchange", "session");
    assert_eq!(reply.header("rota-roles"), "analyst");
    assert_eq!(reply.header("rota-expires-at"), "2027-01-15T09:00:00.000000Z");

    // The token, its key and the client id, or nothing.
    let key = &exchange.public;
    let client = crate::fluide::CLIENT;
    let other = guarded.issue("exchange").await;
    let ask = async |headers: &[(&str, &str)], query: &str| {
        let request = guarded.ask(&As::Nobody, "GET", "/", query);
        send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    };
    let bearer = format!("Bearer {token}");
    let wrong = format!("Bearer {token}x");
    for (headers, code) in [
        (&[("authorization", bearer.as_str())][..], "GATEWAY_AUTH_REQUIRED"),
        (&[("authorization", &bearer), ("x-fluide-client-id", client)], "GATEWAY_AUTH_REQUIRED"),
        (&[("authorization", &bearer), ("x-fluide-api-key", key)], "GATEWAY_AUTH_REQUIRED"),
        (&[("x-fluide-client-id", client), ("x-fluide-api-key", key)], "GATEWAY_AUTH_REQUIRED"),
        (
            &[
                ("authorization", &bearer),
                ("x-fluide-client-id", client),
                ("x-fluide-api-key", &other.public),
            ],
            "DEVELOPER_KEYS_INVALID",
        ),
        (
            &[("authorization", &bearer), ("x-fluide-client-id", "another"), ("x-fluide-api-key", key)],
            "GATEWAY_AUTH_INVALID",
        ),
        (
            &[("authorization", &wrong), ("x-fluide-client-id", client), ("x-fluide-api-key", key)],
            "GATEWAY_AUTH_INVALID",
        ),
    ] {
        let reply = ask(headers, "").await;
        kept_out(&reply, 401, FLUIDE);
        crate::fluide::refused(&reply, 401, code);
    }
    crate::fluide::refused(&guarded.with_session(&token, key, "?role=rotator").await, 403, "HTTP_ERROR");
    let foreign = guarded.server.workspace("Other").await;
    let foreign = guarded.issue_in(&foreign, "exchange", &["admin"]).await;
    let own = format!("?workspaceId={}", guarded.workspace);
    let kept = guarded.with_session(&guarded.token(&foreign).await, &foreign.public, &own).await;
    let nonsense = guarded.with_session("a.b.c", &foreign.public, &own).await;
    for reply in [&kept, &nonsense] {
        crate::fluide::refused(reply, 401, "GATEWAY_AUTH_INVALID");
    }
    assert_eq!(kept.json()["message"], nonsense.json()["message"]);

    // A rotation leaves it its hour, a revocation does not.
    let new = guarded.rotate(&exchange, json!({})).await;
    assert_eq!(guarded.with_session(&token, key, "").await.status, 200);
    guarded.home.clock.advance(Duration::from_micros(3_599_999_999));
    assert_eq!(guarded.with_session(&token, key, "").await.status, 200);
    guarded.home.clock.advance(Duration::from_micros(1));
    kept_out(&guarded.with_session(&token, key, "").await, 401, FLUIDE);
    let token = guarded.token(&new).await;
    assert_eq!(guarded.with_session(&token, key, "").await.header("rota-version"), "2");
    guarded
        .server
        .operator()
        .post(&format!("/v1/credentials/{}/revoke", new.id), json!({}))
        .await
        .expect(200);
    kept_out(&guarded.with_session(&token, key, "").await, 401, FLUIDE);
}

/// The signature is over what the proxy says was asked for, and over nothing that the client says.
#[tokio::test]
async fn a_signature_is_good_for_the_request_that_was_signed() {
    let guarded = Guarded::new().await;
    let signing = guarded.issue("signing").await;
    let signer = signing.signer();
    let signed = ("GET", "/orders/1?full=yes", "");
    for (method, uri) in [
        ("DELETE", "/orders/1?full=yes"),
        ("get", "/orders/1?full=yes"),
        ("GET", "/orders/1"),
        ("GET", "/orders/1?full=no"),
        ("GET", "/orders/2?full=yes"),
        ("GET", "//orders/1?full=yes"),
    ] {
        kept_out(&guarded.signed(&signer, signed, (method, uri), "").await, 401, SPRITZ);
    }
    passed(
        &guarded.signed(&signer, signed, ("GET", signed.1), "").await,
        &guarded,
        &signing,
        "signing",
        "signature",
    );
    // What was signed for rota's own address is not what the proxy asks about.
    kept_out(&guarded.signed(&signer, ("GET", ASK, ""), ("GET", "/"), "").await, 401, SPRITZ);
    for offset in [-300_001, 300_001] {
        let headers = signer.headers(guarded.millis() + offset, "GET", "/", "");
        kept_out(&send(with(guarded.ask(&As::Nobody, "GET", "/", ""), &headers)).await, 401, SPRITZ);
    }
    // A message signature may be over the host as well.
    let headers = signer.message_headers(guarded.millis() / 1_000, "n", "GET", "https://other.example/", "");
    kept_out(&send(with(guarded.ask(&As::Nobody, "GET", "/", ""), &headers)).await, 401, SPRITZ);
    // Reading is not limited to once: the 300 seconds are the bound.
    let headers = signer.headers(guarded.millis(), "GET", "/", "");
    for _ in 0..2 {
        let reply = send(with(guarded.ask(&As::Nobody, "GET", "/", ""), &headers)).await;
        passed(&reply, &guarded, &signing, "signing", "signature");
    }
}

/// Envoy asks below the path, with the original's own method, path and host.
#[tokio::test]
async fn a_signature_is_checked_below_the_path_as_well() {
    let guarded = Guarded::new().await;
    let signing = guarded.issue("signing").await;
    let ask = async |method: Method, path: &str, signed: (&str, &str, &str), body: &'static str| {
        let headers = signing.signer().headers(guarded.millis(), signed.0, signed.1, signed.2);
        let path = format!("{ASK}{path}");
        send(with(guarded.server.request(&As::Nobody, method, &path), &headers).body(body)).await
    };
    let good = ask(Method::PUT, "/a/b?x=1&y=2", ("PUT", "/a/b?x=1&y=2", ""), "").await;
    passed(&good, &guarded, &signing, "signing", "signature");
    let root = ask(Method::GET, "/", ("GET", "/", ""), "").await;
    passed(&root, &guarded, &signing, "signing", "signature");
    // A body that the proxy passes on is checked itself.
    let whole = ask(Method::PUT, "/a", ("PUT", "/a", "[1]"), "[1]").await;
    passed(&whole, &guarded, &signing, "signing", "signature");
    for (signed, body) in [("[1]", "[2]"), ("[1]", ""), ("", "[1]")] {
        kept_out(&ask(Method::PUT, "/a", ("PUT", "/a", signed), body).await, 401, SPRITZ);
    }
    kept_out(&ask(Method::GET, "/a", ("PUT", "/a", ""), "").await, 401, SPRITZ);
    kept_out(&ask(Method::GET, "/a", ("GET", "/v1/forward-auth/a", ""), "").await, 401, SPRITZ);
    // What the client says of the original counts for nothing here, and its query asks for nothing.
    let headers = signing.signer().headers(guarded.millis(), "GET", "/open", "");
    let request = guarded.ask(&As::Nobody, "GET", "/open", "/secret?kind=client");
    kept_out(&send(with(request, &headers)).await, 401, SPRITZ);
    let client = guarded.issue("client").await;
    let request = guarded.ask(&client.basic(), "GET", "/", "/a?kind=signing&workspaceId=x");
    passed(&send(request).await, &guarded, &client, "client", "secret");
}

/// Of a body that the proxy keeps, nothing is believed, unless whoever gets it compares it.
#[tokio::test]
async fn a_signed_body_that_is_not_seen_is_no_proof() {
    let guarded = Guarded::new().await;
    let signing = guarded.issue("signing").await;
    let signer = signing.signer();
    let body = r#"{"amount":1}"#;
    let ask = async |headers: &[(String, String)], query: &str, digest: Option<&str>| {
        let request = with(guarded.ask(&As::Nobody, "POST", "/pay", query), headers);
        send(match digest {
            Some(digest) => request.header("Content-Digest", digest),
            None => request,
        })
        .await
    };
    let uri = "https://shop.example/pay";
    let message = signer.message_headers(guarded.millis() / 1_000, "n", "POST", uri, body);
    let digest = message.iter().find(|(name, _)| name == "Content-Digest").map(|(_, v)| v.clone()).unwrap();
    let legacy = signer.headers(guarded.millis(), "POST", "/pay", body);
    for (headers, given) in [(&legacy, Some(digest.as_str())), (&legacy, None), (&message, None)] {
        kept_out(&ask(headers, "", given).await, 401, SPRITZ);
    }
    for (headers, given) in [(&legacy, Some(digest.as_str())), (&message, None)] {
        let reply = ask(headers, "?body=digest", given).await;
        passed(&reply, &guarded, &signing, "signing", "signature");
        assert_eq!(reply.header("rota-content-digest"), digest);
    }
    // Another digest is not what was signed, and neither is none.
    let other = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
    for given in [Some(other), Some("sha-256=:AAAA:"), Some("nonsense"), None] {
        kept_out(&ask(&legacy, "?body=digest", given).await, 401, SPRITZ);
    }
    // No body is no body, with its digest or without.
    let empty = signer.headers(guarded.millis(), "POST", "/pay", "");
    let of_nothing = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
    for given in [Some(of_nothing), None] {
        let reply = ask(&empty, "?body=digest", given).await;
        passed(&reply, &guarded, &signing, "signing", "signature");
        assert_eq!(reply.header("rota-content-digest"), "none");
    }
    kept_out(&ask(&empty, "?body=digest", Some(other)).await, 401, SPRITZ);
}

#[tokio::test]
async fn a_door_is_one_workspaces_one_kinds_and_one_roles() {
    let guarded = Guarded::new().await;
    let other = guarded.server.workspace("Other").await;
    let client = guarded.issue_in(&guarded.workspace, "client", &["verifier"]).await;
    let foreign = guarded.issue_in(&other, "client", &["admin"]).await;
    let ask = async |held: &Held, query: &str| send(guarded.ask(&held.basic(), "GET", "/", query)).await;
    let own = format!("?workspaceId={}", guarded.workspace);
    passed(&ask(&client, &own).await, &guarded, &client, "client", "secret");
    passed(
        &ask(&client, &format!("{own}&kind=client&role=verifier")).await,
        &guarded,
        &client,
        "client",
        "secret",
    );
    let unknown = Held { public: "0000000a".to_owned(), ..foreign.clone() };
    let (kept, nobody) = (ask(&foreign, &own).await, ask(&unknown, &own).await);
    kept_out(&kept, 401, HOPAE);
    kept_out(&nobody, 401, HOPAE);
    assert_eq!(kept.json(), nobody.json());
    kept_out(&ask(&client, "?kind=signing").await, 401, HOPAE);
    // Known, and not allowed.
    let reply = ask(&client, "?role=rotator").await;
    kept_out(&reply, 403, "");
    assert_eq!(reply.json()["title"], "AUTH_FORBIDDEN");
    let admin = guarded.issue_in(&guarded.workspace, "client", &["admin"]).await;
    passed(&ask(&admin, "?role=rotator").await, &guarded, &admin, "client", "secret");

    let signing = guarded.issue_in(&other, "signing", &[]).await;
    kept_out(&guarded.signed(&signing.signer(), ("GET", "/", ""), ("GET", "/"), &own).await, 401, SPRITZ);
    let key = guarded.server.key(&other, &["admin"]).await;
    kept_out(&send(guarded.ask(&As::Bearer(&key), "GET", "/", &own)).await, 401, NATIVE);

    // Below the path the header says it, and a client's own could only ask for more.
    let below = |held: &Held, require: &str| {
        let request = guarded.server.request(&held.basic(), Method::GET, "/v1/forward-auth/a");
        send(request.header("Rota-Require", require))
    };
    passed(&below(&client, &own[1..]).await, &guarded, &client, "client", "secret");
    kept_out(&below(&foreign, &own[1..]).await, 401, HOPAE);
    assert_eq!(below(&client, "body=digest").await.json()["field"], "Rota-Require");
    assert_eq!(below(&client, "kinds=client").await.json()["field"], "kinds");
}

/// A credential that is kept out because it is another workspace's leaves no trace: a prepared secret stays prepared.
#[tokio::test]
async fn a_foreign_credential_leaves_no_trace() {
    let guarded = Guarded::new().await;
    let other = guarded.server.workspace("Other").await;
    let foreign = guarded.issue_in(&other, "client", &[]).await;
    let path = format!("/v1/credentials/{}/rotations", foreign.id);
    let prepared = guarded.server.operator().post(&path, json!({})).await.expect(200);
    let (public, secret) = pair(&prepared.json()["secrets"]);
    let events = guarded.server.events();
    let own = format!("?workspaceId={}", guarded.workspace);
    let new = As::Basic(&public, &secret);
    kept_out(&send(guarded.ask(&new, "GET", "/", &own)).await, 401, HOPAE);
    kept_out(&send(guarded.ask(&new, "GET", "/", "?kind=signing")).await, 401, HOPAE);
    assert_eq!(guarded.server.events(), events);
    // At its own door it is the first use, which commits.
    assert_eq!(guarded.answer(&new).await.status, 200);
    assert_eq!(guarded.server.events(), events + 1);
    kept_out(&guarded.answer(&foreign.basic()).await, 401, HOPAE);
}

#[tokio::test]
async fn what_is_dead_opens_no_door_from_the_answer_on() {
    let guarded = Guarded::new().await;
    let client = guarded.issue("client").await;
    let new = guarded.rotate(&client, json!({})).await;
    kept_out(&guarded.answer(&client.basic()).await, 401, HOPAE);
    let reply = guarded.answer(&new.basic()).await;
    passed(&reply, &guarded, &new, "client", "secret");
    assert_eq!(reply.header("rota-version"), "2");

    // In a grace period the old one passes up to the last microsecond, and it is said until when.
    let newer = guarded.rotate(&new, json!({ "gracePeriodSeconds": 60 })).await;
    let reply = guarded.answer(&new.basic()).await;
    passed(&reply, &guarded, &new, "client", "secret");
    assert_eq!(reply.header("rota-expires-at"), "2027-01-15T08:01:00.000000Z");
    guarded.home.clock.advance(Duration::from_micros(59_999_999));
    assert_eq!(guarded.answer(&new.basic()).await.status, 200);
    guarded.home.clock.advance(Duration::from_micros(1));
    kept_out(&guarded.answer(&new.basic()).await, 401, HOPAE);
    assert_eq!(guarded.answer(&newer.basic()).await.status, 200);

    let signing = guarded.issue("signing").await;
    let request = ("GET", "/", "");
    assert_eq!(guarded.signed(&signing.signer(), request, ("GET", "/"), "").await.status, 200);
    let new = guarded.rotate(&signing, json!({})).await;
    kept_out(&guarded.signed(&signing.signer(), request, ("GET", "/"), "").await, 401, SPRITZ);
    assert_eq!(guarded.signed(&new.signer(), request, ("GET", "/"), "").await.status, 200);
    for held in [&newer, &new] {
        let path = format!("/v1/credentials/{}/revoke", held.id);
        guarded.server.operator().post(&path, json!({})).await.expect(200);
    }
    kept_out(&guarded.answer(&newer.basic()).await, 401, HOPAE);
    kept_out(&guarded.signed(&new.signer(), request, ("GET", "/"), "").await, 401, SPRITZ);
}

#[tokio::test]
async fn a_proxy_that_is_set_up_wrongly_is_told_what_is_wrong() {
    let guarded = Guarded::new().await;
    let client = guarded.issue("client").await;
    for (query, field) in [
        ("?workspaceId=acme", "workspaceId"),
        ("?kind=robot", "kind"),
        ("?role=god", "role"),
        ("?body=any", "body"),
        ("?workspace=x", "workspace"),
        ("?kind=client&kind=signing", "kind"),
    ] {
        let reply = send(guarded.ask(&client.basic(), "GET", "/", query)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["field"]),
            (400, &json!(field)),
            "{query} {reply:?}"
        );
    }
    let signer = guarded.issue("signing").await.signer();
    let headers = signer.headers(guarded.millis(), "GET", "/", "");
    for (method, uri, field) in [
        (None, Some("/"), "X-Forwarded-Method"),
        (Some(""), Some("/"), "X-Forwarded-Method"),
        (Some("GET /"), Some("/"), "X-Forwarded-Method"),
        (Some("GET"), None, "X-Forwarded-Uri"),
        (Some("GET"), Some(""), "X-Forwarded-Uri"),
        (Some("GET"), Some("https://shop.example/"), "X-Forwarded-Uri"),
        (Some("GET"), Some("/ü"), "X-Forwarded-Uri"),
    ] {
        let mut request = guarded.server.request(&As::Nobody, Method::GET, ASK);
        for (name, value) in [("X-Forwarded-Method", method), ("X-Forwarded-Uri", uri)] {
            if let Some(value) = value {
                request = request.header(name, value.as_bytes());
            }
        }
        let reply = send(with(request, &headers)).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["field"]), (400, &json!(field)), "{reply:?}");
    }
    let twice = guarded.ask(&As::Nobody, "GET", "/", "").header("X-Forwarded-Method", "GET");
    assert_eq!(send(with(twice, &headers)).await.json()["field"], "X-Forwarded-Method");
}

#[tokio::test]
async fn guessing_at_a_door_is_limited_and_a_right_secret_never() {
    let mut home = Home::new();
    home.failed_logins = 4;
    let guarded = Guarded::on(home).await;
    let (client, signing) = (guarded.issue("client").await, guarded.issue("signing").await);
    let wrong = Signer::new(&signing.public, "sk_live_wrong");
    for _ in 0..2 {
        kept_out(&guarded.answer(&As::Basic(&client.public, "wrong")).await, 401, HOPAE);
        kept_out(&guarded.signed(&wrong, ("GET", "/", ""), ("GET", "/"), "").await, 401, SPRITZ);
    }
    let limited = [
        guarded.answer(&As::Basic(&client.public, "wrong")).await,
        guarded.answer(&As::Bearer("wrong")).await,
        guarded.signed(&wrong, ("GET", "/", ""), ("GET", "/"), "").await,
    ];
    for reply in &limited {
        assert_eq!(reply.status, 429, "{reply:?}");
        assert!(!reply.header("retry-after").is_empty());
    }
    // Showing nothing is no guess.
    assert_eq!(guarded.answer(&As::Nobody).await.status, 401);
    assert_eq!(guarded.answer(&client.basic()).await.status, 200);
    guarded.home.clock.advance(Duration::from_mins(1));
    kept_out(&guarded.answer(&As::Basic(&client.public, "wrong")).await, 401, HOPAE);
}
