//! Campaigns over HTTP: planned, applied, stopped, gone on with, and handed over to owners.

use age::x25519::Identity;
use base64::Engine;
use reqwest::Method;
use rota_aggregates::Timestamp;
use serde_json::{Value, json};

use crate::support::{Caller, Reply, Service, text, until};

const HANDED: &str = "rota.campaign.secret-handed-over.v1";

/// A workspace with a team that answers for some of its credentials.
struct Team {
    service: Service,
    workspace: String,
    /// The team's own key.
    id: String,
    caller: Caller,
    identity: Identity,
}

/// A credential that was issued.
struct App {
    id: String,
    public: String,
    secret: String,
}

fn path_of(id: &str, what: &str) -> String {
    format!("/v1/credentials/{id}/{what}")
}

async fn put(caller: &Caller, path: &str, body: Value) -> Reply {
    caller.send(Method::PUT, path, &[], Some(body.to_string().into_bytes())).await.unwrap()
}

impl Team {
    async fn new() -> Self {
        let service = Service::start().await;
        let workspace = service.operator.open_workspace("w").await;
        let (id, _, caller) = service.operator.workspace_key(&workspace, &["analyst"]).await;
        let identity = Identity::generate();
        let team = Self { service, workspace, id, caller, identity };
        let key = team.identity.to_public().to_string();
        // A team registers its key itself.
        put(&team.caller, &path_of(&team.id, "recipient"), json!({ "recipient": key })).await.expect(200);
        team
    }

    fn operator(&self) -> &Caller {
        &self.service.operator
    }

    async fn app(&self, kind: &str) -> App {
        let (id, public, secret) = self.operator().issue(&self.workspace, kind).await;
        put(self.operator(), &path_of(&id, "owner"), json!({ "ownerId": self.id })).await.expect(200);
        App { id, public, secret }
    }

    /// Plans a campaign for what the team answers for, but not its own key.
    async fn plan(&self, apps: &[&App], more: Value) -> Value {
        let ids: Vec<_> = apps.iter().map(|app| app.id.as_str()).collect();
        let mut body = json!({ "workspaceId": self.workspace, "credentialIds": ids });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.operator().post("/v1/campaigns", body).await.expect(201).json()
    }

    async fn apply(&self, plan: &Value) -> Reply {
        let path = format!("/v1/campaigns/{}/apply", text(&plan["id"]));
        self.operator().post(&path, json!({ "planHash": plan["planHash"] })).await
    }

    async fn campaign(&self, plan: &Value) -> Value {
        self.operator().get(&format!("/v1/campaigns/{}", text(&plan["id"]))).await.expect(200).json()
    }

    async fn until(&self, plan: &Value, status: &str) -> Value {
        until(status, async || self.campaign(plan).await["status"] == status).await;
        self.campaign(plan).await
    }

    async fn until_waiting(&self, plan: &Value, waiting: u64) {
        until("an item had its turn", async || self.campaign(plan).await["counts"]["waiting"] == waiting)
            .await;
    }

    /// The bytes of a sealed secret.
    async fn file(&self, caller: &Caller, plan: &Value, app: &App) -> Vec<u8> {
        let path = format!("/v1/campaigns/{}/items/{}/secret", text(&plan["id"]), app.id);
        let response = caller.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        response.bytes().await.unwrap().to_vec()
    }

    async fn opened(&self, plan: &Value, app: &App) -> Value {
        let file = self.file(&self.caller, plan, app).await;
        serde_json::from_slice(&age::decrypt(&self.identity, &file).unwrap()).unwrap()
    }

    /// The data of the events of a type.
    async fn events(&self, name: &str) -> Vec<Value> {
        let page =
            self.operator().get(&format!("/v1/events?type={name}&limit=1000")).await.expect(200).json();
        page["items"].as_array().unwrap().clone()
    }
}

fn outcome(campaign: &Value, app: &App) -> (String, String) {
    let items = campaign["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["credentialId"] == app.id.as_str()).unwrap();
    (text(&item["outcome"]), item["outcomeReason"].as_str().unwrap_or_default().to_owned())
}

fn is(outcome: &str, reason: &str) -> (String, String) {
    (outcome.to_owned(), reason.to_owned())
}

/// If this fails, a campaign locks owners out, or shows their secrets to whoever ran it.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_rotates_what_was_planned_and_its_owner_alone_can_open_the_new_secrets() {
    let team = Team::new().await;
    let apps = [
        team.app("client").await,
        team.app("exchange").await,
        team.app("signing").await,
        team.app("client").await,
    ];
    let plan = team.plan(&apps.each_ref(), json!({ "reason": "compromised", "waveSize": 2 })).await;
    assert_eq!(
        (plan["status"].as_str(), plan["settings"]["compromised"].as_bool()),
        (Some("planned"), Some(true))
    );
    assert_eq!(plan["counts"]["items"], 4);
    let first = &plan["items"][0];
    assert_eq!(
        (
            text(&first["credentialId"]),
            text(&first["ownerId"]),
            first["version"].as_u64(),
            text(&first["recipient"])
        ),
        (apps[0].id.clone(), team.id.clone(), Some(1), team.identity.to_public().to_string())
    );
    assert!(team.operator().verifies(&apps[0].public, &apps[0].secret).await, "a plan rotates nothing");
    team.apply(&plan).await.expect(200);
    let ended = team.until(&plan, "ended").await;
    assert_eq!((text(&ended["cause"]), ended["counts"]["done"].as_u64()), ("finished".to_owned(), Some(4)));
    let stranger = Identity::generate();
    for app in &apps {
        let document = team.opened(&plan, app).await;
        assert_eq!(
            (text(&document["credentialId"]), text(&document["publicId"]), document["version"].as_u64()),
            (app.id.clone(), app.public.clone(), Some(2))
        );
        let secret = text(&document["secret"]);
        if document["kind"] != "signing" {
            assert!(team.operator().verifies(&app.public, &secret).await);
            assert!(!team.operator().verifies(&app.public, &app.secret).await, "compromised is dead at once");
        }
        // Who runs it has the same file, and can do nothing with it.
        let file = team.file(team.operator(), &plan, app).await;
        assert!(age::decrypt(&stranger, &file).is_err());
        assert!(!String::from_utf8_lossy(&file).contains(&secret));
        let read = std::fs::read(team.service.path()).unwrap();
        assert!(!read.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    let rotations = team.events("rota.credential.secret-rotated.v1").await;
    assert_eq!(rotations.len(), 4);
    let handed = team.events(HANDED).await;
    assert_eq!(handed.len(), 4);
    // Applied again by the same hash it does nothing twice.
    assert_eq!(team.apply(&plan).await.expect(409).code(), "campaign-not-there");
    assert_eq!(team.events(HANDED).await.len(), 4);
}

/// If this fails, something else is carried out than what somebody looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_refused_with_what_has_moved_since() {
    let team = Team::new().await;
    let apps = [team.app("client").await, team.app("client").await, team.app("client").await];
    let body = json!({ "workspaceId": team.workspace, "ownerId": team.id, "kind": "client" });
    let plan = team.operator().post("/v1/campaigns", body.clone()).await.expect(201).json();
    let again = team.operator().post("/v1/campaigns", body).await.expect(201).json();
    assert_eq!(plan["planHash"], again["planHash"], "the same of the same things");
    team.operator().rotate(&apps[0].id, json!({})).await;
    let path = format!("/v1/credentials/{}/revoke", apps[1].id);
    team.operator().post(&path, json!({})).await.expect(200);
    put(team.operator(), &path_of(&apps[2].id, "owner"), json!({ "ownerId": null })).await.expect(200);
    let late = team.app("client").await;
    let before = team.operator().events().await;
    let refused = team.apply(&plan).await.expect(409);
    assert_eq!(
        (refused.code(), refused.header("content-type")),
        ("plan-moved".to_owned(), "application/problem+json")
    );
    let problem = refused.json();
    let moved = |app: &App| {
        let all = problem["moved"].as_array().unwrap();
        let found = all.iter().find(|moved| moved["credentialId"] == app.id.as_str()).unwrap();
        (
            text(&found["what"]),
            found["planned"].as_str().map(str::to_owned),
            found["now"].as_str().map(str::to_owned),
        )
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(moved(&apps[0]), ("version".to_owned(), some("1"), some("2")));
    assert_eq!(moved(&apps[1]), ("selection".to_owned(), some("selected"), None));
    assert_eq!(moved(&apps[2]), ("selection".to_owned(), some("selected"), None));
    assert_eq!(moved(&late), ("selection".to_owned(), None, some("selected")));
    let mut other = plan.clone();
    other["planHash"] = json!("0".repeat(64));
    assert_eq!(team.apply(&other).await.expect(409).code(), "plan-differs");
    assert_eq!(team.operator().events().await, before, "a refusal changes nothing");
    assert_eq!(team.campaign(&plan).await["status"], "planned");
    // The key that secrets are sealed to is part of the plan.
    let plan = team.plan(&[&late], json!({})).await;
    let key = Identity::generate().to_public().to_string();
    put(team.operator(), &path_of(&team.id, "recipient"), json!({ "recipient": key })).await.expect(200);
    let refused = team.apply(&plan).await.expect(409).json();
    assert_eq!(
        (text(&refused["moved"][0]["what"]), text(&refused["moved"][0]["now"])),
        ("recipient".to_owned(), key)
    );
}

/// If this fails, a secret is made for an owner who can't be given it.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_owners_without_a_key_are_named_and_refused_or_passed_over() {
    let team = Team::new().await;
    let app = team.app("client").await;
    let (id, public, secret) = team.operator().issue(&team.workspace, "client").await;
    let alone = App { id, public, secret };
    let plan = team.plan(&[&app, &alone], json!({})).await;
    assert_eq!(plan["obstacles"], json!({ "no-recipient": 1 }));
    // Whoever reads a plan sees what it is about.
    let path = format!("/v1/campaigns/{}?names=true", text(&plan["id"]));
    let named = team.operator().get(&path).await.expect(200).json();
    assert_eq!(
        (&named["items"][0]["name"], &named["items"][0]["kind"], &plan["items"][0]["name"]),
        (&json!("app"), &json!("client"), &Value::Null)
    );
    assert_eq!(team.apply(&plan).await.expect(409).code(), "owners-without-key");
    let plan = team.plan(&[&app, &alone], json!({ "withoutRecipient": "skip" })).await;
    team.apply(&plan).await.expect(200);
    let ended = team.until(&plan, "ended").await;
    assert_eq!(outcome(&ended, &app), is("done", ""));
    assert_eq!(outcome(&ended, &alone), is("skipped", "no-recipient"));
    assert!(team.operator().verifies(&alone.public, &alone.secret).await);
    let path = format!("/v1/campaigns/{}/items/{}/secret", text(&plan["id"]), alone.id);
    team.operator().get(&path).await.expect(404);
    let body = json!({ "workspaceId": team.workspace, "kind": "exchange" });
    assert_eq!(team.operator().post("/v1/campaigns", body).await.expect(409).code(), "nothing-selected");
}

/// If this fails, a campaign that breaks what it touches can't be stopped, or one that was stopped can't go on.
#[tokio::test(flavor = "multi_thread")]
async fn waves_pauses_failures_and_what_others_do_meanwhile() {
    let team = Team::new().await;
    let (operator, clock) = (team.operator(), &team.service.clock);
    let apps = [
        team.app("client").await,
        team.app("client").await,
        team.app("client").await,
        team.app("client").await,
        team.app("client").await,
    ];
    let [first, second, third, fourth, fifth] = &apps;
    let plan = team
        .plan(
            &apps.each_ref(),
            json!({ "waveSize": 1, "wavePauseSeconds": 600, "gracePeriodSeconds": 3_600 }),
        )
        .await;
    let id = text(&plan["id"]);
    team.apply(&plan).await.expect(200);
    team.until_waiting(&plan, 4).await;
    let seen = team.campaign(&plan).await;
    assert_eq!(outcome(&seen, first), is("done", ""));
    assert_eq!(
        (seen["wave"].as_u64(), text(&seen["nextItemAt"])),
        (Some(2), "2027-01-01T00:10:00.000000Z".to_owned())
    );
    // During the pause somebody prepares a rotation of the second, and rotates the third.
    operator.post(&path_of(&second.id, "rotations"), json!({})).await.expect(200);
    operator.rotate(&third.id, json!({})).await;
    let start: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    clock.set(start.plus_seconds(600));
    let paused = team.until(&plan, "paused").await;
    assert_eq!(text(&paused["cause"]), "failures");
    assert_eq!(outcome(&paused, second), is("failed", "rotation-pending"));
    let failed = operator.get(&format!("/v1/campaigns/{id}?outcome=failed")).await.expect(200).json();
    assert_eq!(failed["items"].as_array().unwrap().len(), 1);
    operator.post(&path_of(&second.id, "rotations/cancel"), json!({})).await.expect(200);
    let resume = format!("/v1/campaigns/{id}/resume");
    operator.post(&resume, json!({ "retryFailed": true })).await.expect(200);
    team.until_waiting(&plan, 3).await;
    assert_eq!(outcome(&team.campaign(&plan).await, second), is("done", ""));
    clock.set(start.plus_seconds(1_200));
    team.until_waiting(&plan, 2).await;
    assert_eq!(outcome(&team.campaign(&plan).await, third), is("skipped", "overtaken"));
    // Stopped by hand it waits, whatever the time is.
    operator.post(&format!("/v1/campaigns/{id}/pause"), json!({})).await.expect(200);
    clock.set(start.plus_seconds(3_000));
    assert_eq!(team.campaign(&plan).await["counts"]["waiting"], 2);
    // A key that is changed now was seen by nobody who applied the plan.
    let key = Identity::generate().to_public().to_string();
    put(operator, &path_of(&team.id, "recipient"), json!({ "recipient": key })).await.expect(200);
    operator.post(&resume, json!({})).await.expect(200);
    let paused = team.until(&plan, "paused").await;
    assert_eq!(outcome(&paused, fourth), is("failed", "recipient-changed"));
    assert!(operator.verifies(&fourth.public, &fourth.secret).await);
    operator.post(&format!("/v1/campaigns/{id}/end"), json!({})).await.expect(200);
    let ended = team.campaign(&plan).await;
    assert_eq!((text(&ended["status"]), text(&ended["cause"])), ("ended".to_owned(), "call".to_owned()));
    assert_eq!(outcome(&ended, fifth), is("waiting", ""));
    assert_eq!(operator.post(&resume, json!({})).await.expect(409).code(), "campaign-not-there");
    // The grace period that was asked for.
    assert_eq!(text(&team.opened(&plan, first).await["oldSecretExpiresAt"]), "2027-01-01T01:00:00.000000Z");
}

/// If this fails, whoever is let into a workspace, or stole an application's secret, gets its new secrets.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_plan_see_fetch_and_say_where_secrets_go() {
    let team = Team::new().await;
    let operator = team.operator();
    let app = team.app("client").await;
    let plan = team.plan(&[&app], json!({})).await;
    team.apply(&plan).await.expect(200);
    team.until(&plan, "ended").await;
    let path = format!("/v1/campaigns/{}", text(&plan["id"]));
    let secret = format!("{path}/items/{}/secret", app.id);
    let (_, _, admin) = operator.workspace_key(&team.workspace, &["admin"]).await;
    let (_, _, auditor) = operator.workspace_key(&team.workspace, &["auditor"]).await;
    let (_, _, verifier) = operator.workspace_key(&team.workspace, &["verifier"]).await;
    let elsewhere = operator.open_workspace("elsewhere").await;
    let (_, _, stranger) = operator.workspace_key(&elsewhere, &["admin"]).await;
    admin.get(&secret).await.expect(200);
    auditor.get(&path).await.expect(200);
    auditor.get(&secret).await.expect(403);
    verifier.get(&path).await.expect(403);
    for hidden in [&path, &secret] {
        stranger.get(hidden).await.expect(404);
    }
    assert_eq!(stranger.get("/v1/campaigns").await.expect(200).json()["items"], json!([]));
    let body = json!({ "reason": "x" });
    auditor.post("/v1/campaigns", body.clone()).await.expect(403);
    auditor.post(&format!("{path}/end"), json!({})).await.expect(403);
    stranger.post(&format!("{path}/apply"), json!({ "planHash": plan["planHash"] })).await.expect(404);
    admin.post("/v1/campaigns", json!({ "allWorkspaces": true })).await.expect(403);
    operator.post("/v1/campaigns", body).await.expect(400);
    // An application's own secret does not say where the next one goes.
    let fresh = text(&team.opened(&plan, &app).await["secret"]);
    let itself = operator.with_basic(&app.public, &fresh);
    let key = json!({ "recipient": Identity::generate().to_public().to_string() });
    put(&itself, &path_of(&app.id, "recipient"), key.clone()).await.expect(403);
    put(&team.caller, &path_of(&app.id, "recipient"), key.clone()).await.expect(403);
    put(&stranger, &path_of(&app.id, "recipient"), key.clone()).await.expect(404);
    put(&admin, &path_of(&app.id, "recipient"), key).await.expect(200);
    let before = operator.events().await;
    let mistyped = team.identity.to_public().to_string().replace("age1", "age1q");
    let swapped = format!("{}q", &team.identity.to_public().to_string()[..61]);
    for (what, body, field) in [
        ("recipient", json!({ "recipient": mistyped }), "recipient"),
        ("recipient", json!({ "recipient": swapped }), "recipient"),
        (
            "recipient",
            json!({ "recipient": team.identity.to_public().to_string().to_uppercase() }),
            "recipient",
        ),
        ("recipient", json!({}), "recipient"),
        ("owner", json!({}), "ownerId"),
        ("owner", json!({ "ownerId": uuid_of_nobody() }), "ownerId"),
    ] {
        // One in 32 swaps is none.
        if body["recipient"] == team.identity.to_public().to_string() {
            continue;
        }
        let refused = put(operator, &path_of(&app.id, what), body).await.expect(400);
        assert_eq!(refused.json()["field"], field);
    }
    for (body, field) in [
        (json!({ "workspaceId": team.workspace, "waveSize": 0 }), "waveSize"),
        (json!({ "workspaceId": team.workspace, "keepDays": 366 }), "keepDays"),
        (json!({ "workspaceId": team.workspace, "colour": "red" }), "colour"),
        (json!({ "workspaceId": team.workspace, "credentialIds": [uuid_of_nobody()] }), "credentialIds[0]"),
        (json!({ "workspaceId": team.workspace, "ownerId": uuid_of_nobody() }), "ownerId"),
        (json!({ "workspaceId": team.workspace, "allWorkspaces": true }), "allWorkspaces"),
    ] {
        assert_eq!(operator.post("/v1/campaigns", body).await.expect(400).json()["field"], field);
    }
    assert_eq!(operator.events().await, before);
    // One of the whole deployment is the operator's alone.
    let all = operator.post("/v1/campaigns", json!({ "allWorkspaces": true })).await.expect(201).json();
    assert_eq!(all["workspaceId"], Value::Null);
    admin.get(&format!("/v1/campaigns/{}", text(&all["id"]))).await.expect(404);
}

fn uuid_of_nobody() -> &'static str {
    "01997c4e-0000-7000-8000-00000000dead"
}

/// If this fails, sealed secrets lie about for ever, or are gone before their owner could fetch them.
#[tokio::test(flavor = "multi_thread")]
async fn sealed_secrets_are_kept_as_long_as_was_asked_for_and_as_they_are_of_use() {
    let team = Team::new().await;
    let (operator, clock) = (team.operator(), &team.service.clock);
    let apps = [team.app("client").await, team.app("client").await];
    let plan = team.plan(&apps.each_ref(), json!({ "keepDays": 2 })).await;
    team.apply(&plan).await.expect(200);
    team.until(&plan, "ended").await;
    let start: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    // The second is rotated once more, by its owner: what was handed over is of no use.
    operator.rotate(&apps[1].id, json!({})).await;
    clock.set(start.plus_seconds(120));
    until("what is of no use is destroyed", async || {
        team.campaign(&plan).await["counts"]["secretsKept"] == 1
    })
    .await;
    let path = |app: &App| format!("/v1/campaigns/{}/items/{}/secret", text(&plan["id"]), app.id);
    operator.get(&path(&apps[1])).await.expect(404);
    clock.set(start.plus_seconds(2 * 86_400 - 1));
    team.opened(&plan, &apps[0]).await;
    clock.set(start.plus_seconds(2 * 86_400 + 120));
    until("what had its time is destroyed", async || {
        team.campaign(&plan).await["counts"]["secretsKept"] == 0
    })
    .await;
    operator.get(&path(&apps[0])).await.expect(404);
    let destroyed = team.events("rota.campaign.hand-overs-destroyed.v1").await;
    assert_eq!(destroyed.len(), 2);
    assert_eq!(destroyed[1]["data"]["credentials"], json!([apps[0].id]));
}

/// If this fails, a restart forgets a campaign, its owners or their keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_what_it_was_after_a_restart_from_a_snapshot() {
    let mut team = Team::new().await;
    let apps = [team.app("client").await, team.app("client").await];
    let plan = team.plan(&apps.each_ref(), json!({ "waveSize": 1, "wavePauseSeconds": 60 })).await;
    team.apply(&plan).await.expect(200);
    team.until_waiting(&plan, 1).await;
    let before = team.campaign(&plan).await;
    team.service.restart(|_| ()).await;
    assert_eq!(team.campaign(&plan).await, before);
    let token = team.operator().clone();
    let seen = token.get(&format!("/v1/credentials/{}", apps[0].id)).await.expect(200).json();
    assert_eq!(seen["ownerId"], team.id.as_str());
    let start: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    team.service.clock.set(start.plus_seconds(60));
    let ended = team.until(&plan, "ended").await;
    assert_eq!(ended["counts"]["done"], 2);
}

/// If this fails, whoever looked at twenty plans in an emergency can't make the one that is right.
#[tokio::test(flavor = "multi_thread")]
async fn plans_that_were_never_applied_make_room_and_what_goes_on_does_not() {
    let team = Team::new().await;
    let operator = team.operator();
    let app = team.app("client").await;
    let waits = team.plan(&[&app], json!({ "waveSize": 1, "wavePauseSeconds": 60 })).await;
    let status = async |plan: &Value| text(&team.campaign(plan).await["status"]);
    let mut plans = Vec::new();
    for _ in 0..19 {
        plans.push(team.plan(&[&app], json!({})).await);
    }
    assert_eq!(status(&waits).await, "planned");
    plans.push(team.plan(&[&app], json!({})).await);
    assert_eq!((status(&waits).await, status(&plans[0]).await), ("ended".to_owned(), "planned".to_owned()));
    // Twenty that are paused are kept.
    let more: Vec<_> = futures_util::future::join_all((0..20).map(|_| team.app("client"))).await;
    for (one, plan) in more.iter().zip(&plans) {
        let path = format!("/v1/campaigns/{}/end", text(&plan["id"]));
        operator.post(&path, json!({})).await.expect(200);
        let apps = [one, &app];
        let plan = team.plan(&apps, json!({ "waveSize": 1, "wavePauseSeconds": 86_400 })).await;
        team.apply(&plan).await.expect(200);
        let path = format!("/v1/campaigns/{}/pause", text(&plan["id"]));
        operator.post(&path, json!({})).await.expect(200);
    }
    let body = json!({ "workspaceId": team.workspace, "credentialIds": [app.id] });
    let refused = operator.post("/v1/campaigns", body).await.expect(409);
    assert_eq!(refused.code(), "too-many");
}

/// If this fails, an auditor is not told who was given which secret, by whose plan, sealed to whose key.
#[tokio::test(flavor = "multi_thread")]
async fn reports_tell_of_campaigns_owners_and_keys_and_ask_by_owner() {
    let team = Team::new().await;
    let operator = team.operator();
    let (first, second) = (team.app("client").await, team.app("signing").await);
    let (_, before, _) = operator.issue(&team.workspace, "client").await;
    let ask = async |path: String| operator.get(&format!("/v1/reports/{path}")).await.expect(200).json();
    let then = ask(format!("credentials?ownerId={}", team.id)).await["position"].clone();
    let ids = |report: &Value, column: &str| {
        let rows = report["rows"].as_array().unwrap();
        rows.iter().map(|row| text(&row[column])).collect::<std::collections::BTreeSet<_>>()
    };
    let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<std::collections::BTreeSet<_>>();
    let plan = team.plan(&[&first, &second], json!({ "waveSize": 1 })).await;
    team.apply(&plan).await.expect(200);
    team.until(&plan, "ended").await;
    // The owner itself is among what it owns, as long as nobody else answers for it.
    let owned = ask(format!("credentials?ownerId={}", team.id)).await;
    assert_eq!(ids(&owned, "credentialId"), set(&[&team.id, &first.id, &second.id]));
    put(operator, &path_of(&second.id, "owner"), json!({ "ownerId": null })).await.expect(200);
    let owned = ask(format!("rotations?ownerId={}", team.id)).await;
    assert_eq!(ids(&owned, "credentialId"), set(&[&first.id]));
    let owned = ask(format!("credentials?ownerId={}&asOf={then}", team.id)).await;
    assert_eq!(ids(&owned, "credentialId"), set(&[&team.id, &first.id, &second.id]), "as it was known then");
    let owned = ask(format!("rotations?ownerId={}", second.id)).await;
    assert_eq!(ids(&owned, "credentialId"), set(&[&second.id]), "its own owner again");
    assert!(!before.is_empty());

    let campaigns = ask(format!("campaigns?ownerId={}", team.id)).await;
    assert_eq!(ids(&campaigns, "credentialId"), set(&[&first.id, &second.id]));
    let row = &campaigns["rows"][0];
    assert_eq!(
        (
            text(&row["campaignId"]),
            text(&row["outcome"]),
            row["plannedVersion"].as_u64(),
            row["newVersion"].as_u64()
        ),
        (text(&plan["id"]), "done".to_owned(), Some(1), Some(2))
    );
    assert_eq!(row["planHash"], plan["planHash"]);
    let custody = ask(format!("custody?workspaceId={}", team.workspace)).await;
    let told: Vec<_> = custody["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (text(&row["credentialId"]), text(&row["what"])))
        .collect();
    let owner = |app: &App| (app.id.clone(), "owner".to_owned());
    assert_eq!(
        told,
        [(team.id.clone(), "recipient".to_owned()), owner(&first), owner(&second), owner(&second)]
    );
    assert_eq!(custody["rows"][0]["actorId"], team.id.as_str(), "it said so itself");
    let keys = ask("ledger-keys".to_owned()).await;
    assert_eq!((keys["rowCount"].as_u64(), keys["rows"][0]["signsAt"].as_bool()), (Some(1), Some(true)));
    assert_eq!(ask("managed-rotations".to_owned()).await["rowCount"], 0);

    // The checkpoint is over what the answer rests on, and no more.
    let lines: Vec<_> = keys["checkpoint"].as_str().unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines[1], keys["treeSize"].to_string());
    let earlier = ask("ledger-keys?asOf=3".to_owned()).await;
    assert_eq!(earlier["checkpoint"].as_str().unwrap().lines().nth(1), Some("4"));
    let csv = operator.get("/v1/reports/ledger-keys?asOf=3&format=csv").await.expect(200);
    let note = base64::engine::general_purpose::STANDARD.decode(csv.header("rota-checkpoint")).unwrap();
    assert_eq!(earlier["checkpoint"], String::from_utf8(note).unwrap());
    let (_, _, auditor) = operator.workspace_key(&team.workspace, &["auditor"]).await;
    auditor.get(&format!("/v1/reports/rotations?ownerId={}", team.id)).await.expect(200);
    let elsewhere = operator.open_workspace("elsewhere").await;
    let (_, _, stranger) = operator.workspace_key(&elsewhere, &["auditor"]).await;
    stranger.get(&format!("/v1/reports/rotations?ownerId={}", team.id)).await.expect(404);
}
