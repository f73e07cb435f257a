//! rota's own routes for managed rotations.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::bench::{Bench, Desk};
use crate::double::Fault;
use crate::support::{Caller, Reply, members, text};

const PATH: &str = "/v1/managed-rotations";

async fn send(caller: &Caller, method: Method, path: &str, body: Value) -> Reply {
    caller.send(method, path, &[], Some(body.to_string().into_bytes())).await.unwrap()
}

/// If this fails, what Infisical's format has no words for can't be asked for, or is not what was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_made_changed_rotated_and_ended() {
    let mut bench = Bench::new();
    let desk = Desk::new(&mut bench).await;
    let made = desk.operator.post(PATH, desk.body("orders-db")).await.expect(201);
    assert_eq!(made.header("location"), format!("{PATH}/{}", text(&made.json()["id"])));
    assert!(!made.header("rota-position").is_empty());
    let made = made.json();
    let one = format!("{PATH}/{}", text(&made["id"]));
    assert_eq!(made["version"], 1);
    assert_eq!((&made["status"], &made["experimental"]), (&json!("ok"), &json!(false)));
    assert_eq!((&made["environment"], &made["path"]), (&json!("dev"), &json!("/")));
    assert_eq!(made["connection"]["name"], "orders");
    assert_eq!(
        made["mapping"],
        json!({ "username": "POSTGRES_DB_USERNAME", "password": "POSTGRES_DB_PASSWORD" })
    );
    // The 15th at 8 o'clock, in 30 days at 3:30: the 15th is over by then.
    assert_eq!(made["nextAt"], "2027-02-15T03:30:00.000000Z");
    assert_eq!(desk.operator.get(&one).await.expect(200).json(), made);

    // A window on Sundays: what is due on a Monday waits for it.
    let window = json!({ "start": { "hours": 1, "minutes": 0 }, "minutes": 120, "days": ["sunday"] });
    let edit = json!({ "description": null, "schedule": { "window": window }, "endSessions": true });
    let edited = send(&desk.operator, Method::PATCH, &one, edit).await.expect(200).json();
    assert_eq!(edited["nextAt"], "2027-02-21T01:00:00.000000Z");
    assert_eq!((&edited["description"], &edited["endSessions"]), (&Value::Null, &json!(true)));
    assert_eq!(edited["schedule"]["intervalDays"], 30, "what is not given stays");
    let edit = json!({ "schedule": { "window": null, "intervalDays": 7 }, "mapping": { "username": "U", "password": "P" } });
    let edited = send(&desk.operator, Method::PATCH, &one, edit).await.expect(200).json();
    assert_eq!(edited["nextAt"], "2027-01-23T03:30:00.000000Z");
    assert_eq!(edited["mapping"]["password"], "P");

    let calls = bench.target.calls();
    let plan = desk.operator.get(&format!("{one}/plan")).await.expect(200).json();
    assert_eq!(members(&plan), ["notBefore", "refused", "rights", "slot", "steps"]);
    assert_eq!(
        (&plan["slot"], &plan["steps"][0]),
        (&json!(1), &json!("set the password of the user of place 1"))
    );
    assert_eq!(bench.target.calls_since(calls), ["plan"], "a plan changes nothing");

    // Under a name it happens once, however often it is sent.
    let rotate = format!("{one}/rotate");
    let headers = [("idempotency-key", "rotate-the-orders-today")];
    let body = || Some(br#"{"reason":"the yearly one"}"#.to_vec());
    let first = desk.operator.send(Method::POST, &rotate, &headers, body()).await.unwrap().expect(200);
    let again = desk.operator.send(Method::POST, &rotate, &headers, body()).await.unwrap().expect(200);
    assert_eq!((first.json()["version"].as_u64(), again.json()["version"].as_u64()), (Some(2), Some(2)));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    assert_eq!(again.json()["slots"][0]["valid"], true, "the one before is the overlap");

    let settled = desk.operator.post(&format!("{one}/reconcile"), json!({})).await.expect(200).json();
    assert_eq!(settled["outcome"], "in-step");
    let path = format!("{one}?deleteSecrets=true&revokeCredentials=true");
    let (user, password) = desk.published(&bench, "U", "P").await;
    assert!(bench.target.accepts(&user, &password));
    desk.operator.send(Method::DELETE, &path, &[], None).await.unwrap().expect(200);
    assert!(!bench.target.accepts(&user, &password), "revoked");
    desk.operator.get(&one).await.expect(404);
    desk.close().await;
}

/// If this fails, a long list can't be read whole, or is not cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_page_by_page() {
    let mut bench = Bench::new();
    let desk = Desk::new(&mut bench).await;
    for n in 0..5 {
        bench.clock.advance(Duration::from_millis(1));
        let mut body = desk.body(&format!("db-{n}"));
        body["mapping"] = json!({ "username": format!("U{n}"), "password": format!("P{n}") });
        desk.operator.post(PATH, body).await.expect(201);
    }
    let mut names = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("{PATH}?workspaceId={}&limit=2{after}", desk.workspace);
        let page = desk.operator.get(&path).await.expect(200).json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        names.extend(items.iter().map(|item| text(&item["name"])));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["db-0", "db-1", "db-2", "db-3", "db-4"]);
    desk.close().await;
}

/// If this fails, bad input gets in, or whoever sent it does not learn what is wrong with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_and_changes_nothing() {
    let mut bench = Bench::new();
    let desk = Desk::new(&mut bench).await;
    let made = desk.operator.post(PATH, desk.body("orders-db")).await.expect(201).json();
    let one = format!("{PATH}/{}", text(&made["id"]));
    let (calls, before) = (bench.target.calls(), desk.operator.events().await);
    let with = |name: &str, value: Value| {
        let mut body = desk.body("other");
        body[name] = value;
        body
    };
    let same = json!({ "username1": "app_a", "username2": "app_a" });
    for (body, field) in [
        (with("kind", json!("postgres")), "kind"),
        (with("name", json!("No Slug")), "name"),
        (with("colour", json!("red")), "colour"),
        (with("parameters", json!({ "username1": "app_a" })), "parameters.username2"),
        (with("parameters", same), "parameters"),
        (with("mapping", json!({ "username": "U" })), "secretsMapping"),
        (with("schedule", json!({})), "schedule.intervalDays"),
        (with("schedule", json!({ "intervalDays": 0 })), "rotationInterval"),
    ] {
        let refused = desk.operator.post(PATH, body).await.expect(400);
        assert_eq!(refused.code(), "invalid-input", "{}", refused.text);
        let named = text(&refused.json()["field"]);
        assert!(named.starts_with(field), "{named} instead of {field}: {}", refused.text);
    }
    desk.operator.post(PATH, with("environment", json!("nowhere"))).await.expect(404);
    let taken = desk.operator.post(PATH, desk.body("orders-db")).await.expect(409);
    assert_eq!(taken.code(), "name-taken");
    desk.operator.get(&format!("{PATH}?workspaceId={}&limit=0", desk.workspace)).await.expect(400);
    let wrong = desk.operator.post(&format!("{one}/rotate"), json!({ "why": "x" })).await.expect(400);
    assert_eq!(wrong.json()["field"], "why");
    let window = json!({ "start": { "hours": 25, "minutes": 0 }, "minutes": 1 });
    let edit = json!({ "schedule": { "window": window } });
    assert_eq!(send(&desk.operator, Method::PATCH, &one, edit).await.expect(400).json()["field"], "window");

    // Others may look, and another workspace does not know of it.
    let (.., auditor) = desk.operator.workspace_key(&desk.workspace, &["auditor"]).await;
    auditor.get(&one).await.expect(200);
    assert_eq!(auditor.post(&format!("{one}/rotate"), json!({})).await.expect(403).code(), "forbidden");
    auditor.get(&format!("{one}/plan")).await.expect(403);
    auditor.post(PATH, desk.body("other")).await.expect(403);
    let elsewhere = desk.operator.open_workspace("elsewhere").await;
    let (.., stranger) = desk.operator.workspace_key(&elsewhere, &["admin"]).await;
    stranger.get(&one).await.expect(404);
    stranger.post(&format!("{one}/rotate"), json!({})).await.expect(404);
    stranger.send(Method::DELETE, &one, &[], None).await.unwrap().expect(404);
    let (.., rotator) = desk.operator.workspace_key(&desk.workspace, &["rotator"]).await;
    assert_eq!(bench.target.calls_since(calls), [""; 0], "nothing was asked of the target");
    // Two workspace keys, a workspace and its key, and two refusals that are recorded.
    let of_others = desk.operator.events().await - before;
    assert!(of_others <= 7, "{of_others}");
    rotator.post(&format!("{one}/rotate"), json!({})).await.expect(200);

    bench.target.fail(0, usize::MAX / 2, Fault::Refused);
    let failed = rotator.post(&format!("{one}/rotate"), json!({})).await.expect(502);
    assert_eq!(
        (failed.code(), text(&failed.json()["detail"])),
        ("target-failed".to_owned(), "permission denied".to_owned())
    );
    bench.target.heal();
    let state = desk.operator.get(&one).await.expect(200).json();
    assert_eq!(
        (&state["status"], &state["fault"]["reason"]),
        (&json!("failed"), &json!("permission denied"))
    );
    assert_eq!((&state["fault"]["aftermath"], &state["version"]), (&json!("intact"), &json!(2)));
    desk.close().await;
}
