//! Bad input gets its documented error, names the field, and leaves the ledger as it was.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::Service;

/// A request that is refused, and how.
struct Case {
    method: Method,
    path: String,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
    field: Option<&'static str>,
}

fn post(path: &str, body: impl AsRef<[u8]>, status: u16, code: &'static str) -> Case {
    let (path, body) = (path.to_owned(), body.as_ref().to_vec());
    Case { method: Method::POST, path, body, status, code, field: None }
}

fn get(path: &str, field: &'static str) -> Case {
    let path = path.to_owned();
    Case { method: Method::GET, path, body: vec![], status: 400, code: INVALID, field: Some(field) }
}

impl Case {
    fn field(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }
}

const INVALID: &str = "invalid-input";
const GRACE: &str = "gracePeriodSeconds";

fn of_rotations(id: &str, workspace: &str) -> Vec<Case> {
    let of = |route: &str| format!("/v1/credentials/{id}/{route}");
    let rotate = of("rotate");
    let reason = json!({ "reason": "r".repeat(501) }).to_string();
    let compromised = json!({ "reason": "compromised", "gracePeriodSeconds": 1 }).to_string();
    vec![
        post(&rotate, r#"{"grace":1}"#, 400, INVALID).field("grace"),
        post(&rotate, r#"{"gracePeriodSeconds":-1}"#, 400, INVALID).field(GRACE),
        post(&rotate, r#"{"gracePeriodSeconds":1e300}"#, 400, INVALID).field(GRACE),
        post(&rotate, r#"{"gracePeriodSeconds":"60"}"#, 400, INVALID).field(GRACE),
        post(&rotate, r#"{"gracePeriodSeconds":604801}"#, 400, "grace-too-long").field(GRACE),
        post(&rotate, compromised, 400, "grace-too-long").field(GRACE),
        post(&rotate, reason, 400, INVALID).field("reason"),
        post(&rotate, r#"{"gracePeriodSeconds":60"#, 400, INVALID).field("body"),
        post(&rotate, "{} {}", 400, INVALID).field("body"),
        post(&rotate, b"{\"reason\":\"\xff\xfe\"}", 400, INVALID),
        post(&rotate, vec![b' '; 64 * 1_024 + 1], 413, "too-large"),
        post(&format!("/v1/credentials/{workspace}/rotate"), "", 404, "not-found"),
        post("/v1/credentials/nonsense/rotate", "", 404, "not-found"),
        post(&of("rotations/commit"), "", 409, "nothing-prepared"),
        post(&of("rotations/cancel"), "", 409, "nothing-prepared"),
        post(&of("rotations"), r#"{"deadlineSeconds":0}"#, 400, "deadline-out-of-range")
            .field("deadlineSeconds"),
        post(&of("expire-old"), "", 409, "nothing-retiring"),
        post(&of("versions/7/revoke"), "", 404, "unknown-version").field("version"),
    ]
}

fn of_creations(id: &str, workspace: &str) -> Vec<Case> {
    let make = |kind: &str, name: &str, workspace: &str, roles: &[&str]| {
        json!({ "kind": kind, "name": name, "workspaceId": workspace, "roles": roles }).to_string()
    };
    let path = "/v1/credentials";
    let keys = format!("/v1/workspaces/{workspace}/keys");
    vec![
        post(path, r#"{"kind":"client","name":"x"}"#, 400, INVALID).field("workspaceId"),
        post(path, make("password", "x", workspace, &[]), 400, INVALID).field("kind"),
        post(path, make("workspace-key", "x", workspace, &[]), 400, INVALID).field("kind"),
        post(path, make("client", "", workspace, &[]), 400, INVALID).field("name"),
        post(path, make("client", &"n".repeat(201), workspace, &[]), 400, INVALID).field("name"),
        post(path, make("client", "x", workspace, &["god"]), 400, INVALID).field("roles[0]"),
        post(path, make("client", "x", id, &[]), 404, "not-found"),
        post(&keys, r#"{"name":"k","roles":[],"mode":"test"}"#, 400, INVALID).field("roles"),
        post("/v1/workspaces", "{}", 400, INVALID).field("name"),
    ]
}

fn of_policies_and_reading(workspace: &str) -> Vec<Case> {
    let policy = |body: &str, field: &'static str| Case {
        method: Method::PUT,
        ..post(&format!("/v1/workspaces/{workspace}/policy"), body, 400, INVALID).field(field)
    };
    vec![
        policy(r#"{"maxGraceSeconds":99999999999}"#, "maxGraceSeconds"),
        policy(r#"{"maxSecretAgeDays":0}"#, "maxSecretAgeDays"),
        get("/v1/events?limit=0", "limit"),
        get("/v1/events?limit=1001", "limit"),
        get("/v1/events?after=x", "after"),
        get("/v1/events?typ=x", "typ"),
        get("/v1/events?from=yesterday", "from"),
        post("/v1/verify", r#"["id","secret"]"#, 400, INVALID).field("body"),
        post("/v1/verify", r#"{"publicId":"x"}"#, 400, INVALID).field("secret"),
        post("/v1/verify", r#"{"publicId":"x","secret":1}"#, 400, INVALID).field("secret"),
        post("/v1/nothing", "", 404, "not-found"),
    ]
}

/// If this fails, somebody's mistake becomes part of the history, or they are not told what it was.
#[tokio::test(flavor = "multi_thread")]
async fn refusal_changes_nothing() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("bad").await;
    let (id, ..) = operator.issue(&workspace, "client").await;
    let rotate = format!("/v1/credentials/{id}/rotate");
    let before = operator.events().await;

    let cases = [of_rotations(&id, &workspace), of_creations(&id, &workspace)];
    for case in cases.into_iter().flatten().chain(of_policies_and_reading(&workspace)) {
        let Case { method, path, body, status, code, field } = case;
        let sent = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let reply = operator.send(method, &path, &[], Some(body)).await.unwrap();
        let problem = reply.json();
        assert_eq!(reply.status, StatusCode::from_u16(status).unwrap(), "{path} {sent}: {}", reply.text);
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{path} {sent}");
        assert_eq!(problem["code"], code, "{path} {sent}: {}", reply.text);
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].is_string() && problem["requestId"].is_string());
        if let Some(field) = field {
            assert_eq!(problem["field"], field, "{path} {sent}: {}", reply.text);
        }
    }
    let too_long = "k".repeat(256);
    for key in [too_long.as_str(), "a b", "\"open"] {
        let reply = operator.send(Method::POST, &rotate, &[("idempotency-key", key)], None).await.unwrap();
        assert_eq!(reply.expect(400).json()["field"], "Idempotency-Key");
    }
    assert_eq!(operator.events().await, before);
}

/// If this fails, somebody without the right gets something done, or leaves a mark by guessing.
#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_roles_change_nothing() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("roles").await;
    let (id, ..) = operator.issue(&workspace, "client").await;
    let body = |value: Value| Some(value.to_string().into_bytes());
    let requests: Vec<(&str, Method, String, Option<Vec<u8>>)> = vec![
        ("operator", Method::POST, "/v1/workspaces".into(), body(json!({"name":"x"}))),
        ("operator", Method::POST, "/v1/admin/rebuild".into(), None),
        (
            "admin",
            Method::POST,
            format!("/v1/workspaces/{workspace}/keys"),
            body(json!({"name":"k","roles":["admin"],"mode":"test"})),
        ),
        (
            "admin",
            Method::PUT,
            format!("/v1/workspaces/{workspace}/policy"),
            body(json!({"maxGraceSeconds":1})),
        ),
        ("admin", Method::POST, "/v1/credentials".into(), body(json!({"kind":"client","name":"x"}))),
        ("rotator", Method::POST, format!("/v1/credentials/{id}/rotate"), None),
        ("rotator", Method::POST, format!("/v1/credentials/{id}/rotations"), None),
        ("verifier", Method::POST, "/v1/verify".into(), body(json!({"publicId":"x","secret":"y"}))),
        ("auditor", Method::GET, "/v1/events".into(), None),
        ("auditor", Method::GET, format!("/v1/credentials/{id}/history"), None),
        ("admin", Method::POST, format!("/v1/credentials/{id}/revoke"), None),
    ];
    for role in ["rotator", "verifier", "auditor", "analyst"] {
        let (.., caller) = operator.workspace_key(&workspace, &[role]).await;
        for (needs, method, path, body) in &requests {
            let allowed = *needs == role || (*needs == "auditor" && role == "analyst");
            if allowed {
                continue;
            }
            let reply = caller.send(method.clone(), path, &[], body.clone()).await.unwrap();
            assert_eq!(reply.status, 403, "{role} {method} {path}: {}", reply.text);
            assert_eq!(reply.code(), "forbidden");
        }
    }
    // What a role may do is done.
    let (.., rotator) = operator.workspace_key(&workspace, &["rotator"]).await;
    rotator.rotate(&id, json!({})).await;
    // Only refused changes of a credential are recorded, once a minute for each who was refused.
    let history = operator.history(&id).await;
    assert_eq!(history.iter().filter(|t| t.contains("secret-rotated")).count(), 1);
    assert_eq!(history.iter().filter(|t| t.contains("rotation-refused")).count(), 4);
    assert_eq!(history.len(), 6);
}

/// If this fails, guessing costs the ledger something, or locks out who has the right secret.
#[tokio::test(flavor = "multi_thread")]
async fn guessing_appends_nothing_and_is_limited() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("guess").await;
    let (id, public, secret) = operator.issue(&workspace, "client").await;
    let (.., verifier) = operator.workspace_key(&workspace, &["verifier"]).await;
    let before = operator.events().await;
    // An authenticated caller may ask about as many unknown credentials as it likes.
    for number in 0..2_000 {
        assert!(!verifier.verifies(&format!("{number:08}"), "guess").await);
    }
    let stranger = operator.with_basic(&public, "guess");
    let mut statuses = Vec::new();
    for _ in 0..150 {
        statuses.push(stranger.get(&format!("/v1/credentials/{id}")).await);
    }
    assert!(statuses[..100].iter().all(|r| r.status == 401));
    assert!(statuses[101..].iter().all(|r| r.status == 429 && r.headers.contains_key("retry-after")));
    // From the same address, the right secret opens all the same.
    operator.with_basic(&public, &secret).get(&format!("/v1/credentials/{id}")).await.expect(200);
    assert_eq!(operator.events().await, before);
}

/// If this fails, a header can carry a second one, or break the answer.
#[tokio::test(flavor = "multi_thread")]
async fn headers_are_not_believed() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("headers").await;
    let (id, ..) = operator.issue(&workspace, "client").await;
    let path = format!("/v1/credentials/{id}");
    for value in ["not-a-uuid", "x\t\"y", "01a1fc7a-a32d-7135-bec6-8ab4251616c7"] {
        let reply = operator.send(Method::GET, &path, &[("x-request-id", value)], None).await.unwrap();
        let given = reply.expect(200).headers["x-request-id"].to_str().unwrap().to_owned();
        assert_ne!(given, value, "the request's id is rota's own");
    }
    let two = [("authorization", "Bearer second")];
    operator.send(Method::GET, &path, &two, None).await.unwrap().expect(401);
}
