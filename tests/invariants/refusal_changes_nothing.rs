//! Bad input gets its documented error, names the field, and leaves the ledger as it was.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::Service;

/// If this fails, somebody's mistake becomes part of the history, or they are not told what it was.
#[tokio::test(flavor = "multi_thread")]
async fn refusal_changes_nothing() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("bad").await;
    let (id, ..) = operator.issue(&workspace, "client").await;
    let rotate = format!("/v1/credentials/{id}/rotate");
    let before = operator.events().await;

    let cases: Vec<(Method, String, Vec<u8>, u16, &str, Option<&str>)> = vec![
        (Method::POST, rotate.clone(), br#"{"grace":1}"#.to_vec(), 400, "invalid-input", Some("grace")),
        (
            Method::POST,
            rotate.clone(),
            br#"{"gracePeriodSeconds":-1}"#.to_vec(),
            400,
            "invalid-input",
            Some("gracePeriodSeconds"),
        ),
        (
            Method::POST,
            rotate.clone(),
            br#"{"gracePeriodSeconds":1e300}"#.to_vec(),
            400,
            "invalid-input",
            Some("gracePeriodSeconds"),
        ),
        (
            Method::POST,
            rotate.clone(),
            br#"{"gracePeriodSeconds":"60"}"#.to_vec(),
            400,
            "invalid-input",
            Some("gracePeriodSeconds"),
        ),
        (
            Method::POST,
            rotate.clone(),
            br#"{"gracePeriodSeconds":604801}"#.to_vec(),
            400,
            "grace-too-long",
            Some("gracePeriodSeconds"),
        ),
        (
            Method::POST,
            rotate.clone(),
            br#"{"reason":"compromised","gracePeriodSeconds":1}"#.to_vec(),
            400,
            "grace-too-long",
            Some("gracePeriodSeconds"),
        ),
        (
            Method::POST,
            rotate.clone(),
            format!(r#"{{"reason":"{}"}}"#, "r".repeat(501)).into_bytes(),
            400,
            "invalid-input",
            Some("reason"),
        ),
        (
            Method::POST,
            rotate.clone(),
            br#"{"gracePeriodSeconds":60"#.to_vec(),
            400,
            "invalid-input",
            Some("body"),
        ),
        (Method::POST, rotate.clone(), b"{} {}".to_vec(), 400, "invalid-input", Some("body")),
        (Method::POST, rotate.clone(), b"{\"reason\":\"\xff\xfe\"}".to_vec(), 400, "invalid-input", None),
        (Method::POST, rotate.clone(), vec![b' '; 64 * 1_024 + 1], 413, "too-large", None),
        (
            Method::POST,
            "/v1/credentials".into(),
            br#"{"kind":"client","name":"x"}"#.to_vec(),
            400,
            "invalid-input",
            Some("workspaceId"),
        ),
        (
            Method::POST,
            "/v1/credentials".into(),
            json!({"kind":"password","name":"x","workspaceId":workspace}).to_string().into_bytes(),
            400,
            "invalid-input",
            Some("kind"),
        ),
        (
            Method::POST,
            "/v1/credentials".into(),
            json!({"kind":"workspace-key","name":"x","workspaceId":workspace}).to_string().into_bytes(),
            400,
            "invalid-input",
            Some("kind"),
        ),
        (
            Method::POST,
            "/v1/credentials".into(),
            json!({"kind":"client","name":"","workspaceId":workspace}).to_string().into_bytes(),
            400,
            "invalid-input",
            Some("name"),
        ),
        (
            Method::POST,
            "/v1/credentials".into(),
            json!({"kind":"client","name":"n".repeat(201),"workspaceId":workspace}).to_string().into_bytes(),
            400,
            "invalid-input",
            Some("name"),
        ),
        (
            Method::POST,
            "/v1/credentials".into(),
            json!({"kind":"client","name":"x","roles":["god"],"workspaceId":workspace})
                .to_string()
                .into_bytes(),
            400,
            "invalid-input",
            Some("roles[0]"),
        ),
        (
            Method::POST,
            "/v1/credentials".into(),
            json!({"kind":"client","name":"x","workspaceId":id}).to_string().into_bytes(),
            404,
            "not-found",
            None,
        ),
        (
            Method::POST,
            format!("/v1/workspaces/{workspace}/keys"),
            br#"{"name":"k","roles":[],"mode":"test"}"#.to_vec(),
            400,
            "invalid-input",
            Some("roles"),
        ),
        (Method::POST, "/v1/workspaces".into(), b"{}".to_vec(), 400, "invalid-input", Some("name")),
        (
            Method::PUT,
            format!("/v1/workspaces/{workspace}/policy"),
            br#"{"maxGraceSeconds":99999999999}"#.to_vec(),
            400,
            "invalid-input",
            Some("maxGraceSeconds"),
        ),
        (
            Method::PUT,
            format!("/v1/workspaces/{workspace}/policy"),
            br#"{"maxSecretAgeDays":0}"#.to_vec(),
            400,
            "invalid-input",
            Some("maxSecretAgeDays"),
        ),
        (Method::POST, format!("/v1/credentials/{workspace}/rotate"), vec![], 404, "not-found", None),
        (Method::POST, "/v1/credentials/nonsense/rotate".into(), vec![], 404, "not-found", None),
        (
            Method::POST,
            format!("/v1/credentials/{id}/rotations/commit"),
            vec![],
            409,
            "nothing-prepared",
            None,
        ),
        (
            Method::POST,
            format!("/v1/credentials/{id}/rotations"),
            br#"{"deadlineSeconds":0}"#.to_vec(),
            400,
            "deadline-out-of-range",
            Some("deadlineSeconds"),
        ),
        (Method::POST, format!("/v1/credentials/{id}/expire-old"), vec![], 409, "nothing-retiring", None),
        (
            Method::POST,
            format!("/v1/credentials/{id}/versions/7/revoke"),
            vec![],
            404,
            "unknown-version",
            Some("version"),
        ),
        (Method::GET, "/v1/events?limit=0".into(), vec![], 400, "invalid-input", Some("limit")),
        (Method::GET, "/v1/events?after=x".into(), vec![], 400, "invalid-input", Some("after")),
        (Method::GET, "/v1/events?typ=x".into(), vec![], 400, "invalid-input", Some("typ")),
        (Method::GET, "/v1/events?from=yesterday".into(), vec![], 400, "invalid-input", Some("from")),
        (Method::GET, "/v1/nothing".into(), vec![], 404, "not-found", None),
    ];
    for (method, path, body, status, code, field) in cases {
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
