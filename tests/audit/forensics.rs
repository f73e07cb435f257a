//! Whose secret leaked, for every kind, and what is said of it.

use serde_json::{Value, json};

use crate::support::{Caller, Service, pair, text};

/// Asks whose a string is.
async fn whose(caller: &Caller, leaked: &str) -> Value {
    let reply = caller.post("/v1/forensics/leaked", json!({ "leaked": leaked })).await.expect(200);
    assert!(!reply.text.contains(leaked.trim()), "the answer echoes the string: {}", reply.text);
    reply.json()
}

/// If this fails, nobody can tell whose a leaked secret is, or a search leaks it further.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_secret_is_found_and_contained_by_one_call() {
    let service = Service::start().await;
    let operator = &service.operator;
    let workspace = operator.open_workspace("leaks").await;
    let (_, _, auditor) = operator.workspace_key(&workspace, &["auditor"]).await;
    let (key_id, key, _) = operator.workspace_key(&workspace, &["rotator"]).await;
    let mut all = vec![(key_id, String::new(), key, "workspace-key")];
    for kind in ["client", "exchange", "signing"] {
        let (id, public, secret) = operator.issue(&workspace, kind).await;
        all.push((id, public, secret, kind));
    }
    for (id, _, secret, kind) in &all {
        for shown in [secret.clone(), format!("  {secret}\n"), format!("SECRET={secret}")] {
            let found = whose(&auditor, &shown).await;
            let one = &found["matches"][0];
            assert_eq!(found["matches"].as_array().unwrap().len(), 1, "{kind}: {found}");
            assert_eq!(one["credentialId"], *id);
            assert_eq!(
                (&one["kind"], &one["version"], &one["accepted"]),
                (&json!(kind), &json!(1), &json!(true))
            );
        }
    }
    let (id, public, secret, _) = &all[1];
    assert!(operator.verifies(public, secret).await);
    let one = &whose(&auditor, secret).await["matches"][0];
    assert_eq!(text(&one["lastUsedAt"]), "2027-01-01T00:00:00.000000Z");
    let fingerprint = text(&one["fingerprint"]);

    // The one further call that it names makes it worthless; it is found still, with what came after it.
    let rotate = &one["contain"]["rotate"];
    let made = operator.post(&text(&rotate["path"]), rotate["body"].clone()).await.expect(200).json();
    assert!(!operator.verifies(public, secret).await);
    let one = whose(&auditor, secret).await["matches"][0].clone();
    assert_eq!(
        (&one["status"], &one["accepted"], &one["contain"]),
        (&json!("expired"), &json!(false), &Value::Null)
    );
    assert_eq!(one["liveUntil"], made["credential"]["versions"][0]["endedAt"]);
    assert_eq!(one["successors"].as_array().unwrap().len(), 1);
    assert_eq!(whose(&auditor, &pair(&made["secrets"]).1).await["matches"][0]["version"], 2);

    // It is on record once a minute for each version, and no more.
    let reported = "rota.credential.leak-reported.v1";
    let history = operator.history(id).await;
    assert_eq!(history.iter().filter(|name| *name == reported).count(), 2, "{history:?}");
    let report = auditor.get("/v1/reports/compromises?targetSeconds=5").await.expect(200).json();
    let row = report["rows"].as_array().unwrap().iter().find(|row| row["credentialId"] == **id).unwrap();
    assert_eq!(
        (&row["reportedAs"], &row["met"], &row["secondsToDeath"]),
        (&json!("leak"), &json!(true), &json!(0))
    );

    // By its fingerprint it is found without being shown, also after its digest was destroyed.
    let by_fingerprint = json!({ "fingerprint": fingerprint });
    let found = operator.post("/v1/forensics/leaked", by_fingerprint.clone()).await.expect(200).json();
    assert_eq!(found["matches"][0]["credentialId"], **id);
    let path = format!("/v1/workspaces/{workspace}/policy");
    let body = json!({ "digestRetentionDays": 0 }).to_string().into_bytes();
    operator.send(reqwest::Method::PUT, &path, &[], Some(body)).await.unwrap().expect(200);
    service.clock.advance(std::time::Duration::from_secs(2));
    service.app().shred_digests().await.unwrap();
    let gone = whose(&auditor, secret).await;
    assert_eq!((&gone["found"], &gone["digestsDestroyed"]), (&json!(false), &json!(1)));
    let found = operator.post("/v1/forensics/leaked", by_fingerprint).await.expect(200).json();
    assert_eq!(found["matches"][0]["version"], 1);
}

/// If this fails, somebody learns of another workspace's secrets, or a wrong question is answered.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_ask_whose_a_secret_is() {
    let service = Service::start().await;
    let operator = &service.operator;
    let (own, other) = (operator.open_workspace("own").await, operator.open_workspace("other").await);
    let (_, _, auditor) = operator.workspace_key(&own, &["auditor"]).await;
    let (_, _, rotator) = operator.workspace_key(&own, &["rotator", "verifier", "analyst"]).await;
    let (_, _, secret) = operator.issue(&other, "client").await;
    let events = service.app().head().borrow().0;
    assert_eq!(whose(&auditor, &secret).await["found"], false);
    assert_eq!(service.app().head().borrow().0, events, "nothing is recorded of what is not found");
    assert_eq!(whose(&auditor, "nobody's").await["matches"], json!([]));
    assert_eq!(whose(operator, &secret).await["found"], true);
    let ask = async |caller: &Caller, body| caller.post("/v1/forensics/leaked", body).await;
    ask(&rotator, json!({ "leaked": secret })).await.expect(403);
    ask(&Caller::nobody(&operator.url), json!({ "leaked": secret })).await.expect(401);
    ask(&auditor, json!({ "leaked": secret, "workspaceId": other })).await.expect(404);
    let long = "x".repeat(4_097);
    for body in [
        json!({}),
        json!({ "leaked": "" }),
        json!({ "leaked": "  " }),
        json!({ "leaked": long }),
        json!({ "leaked": secret, "fingerprint": "00".repeat(32) }),
    ] {
        let refused = ask(operator, body).await.expect(400);
        assert_eq!(refused.json()["field"], "leaked");
        assert!(!refused.text.contains(&secret));
    }
    let refused = ask(operator, json!({ "fingerprint": "abc" })).await.expect(400);
    assert_eq!(refused.json()["field"], "fingerprint");
}
