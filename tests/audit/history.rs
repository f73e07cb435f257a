//! A scripted history of 35 events over 30 days, with the clock in the test's hand. The positions here leave out that the
//! ledger's own key was added, which comes second.
//!
//! | day | positions | |
//! |---|---|---|
//! | 0 | 0–7 | token key; workspaces A, B; auditor's key; A's secrets may be 10 days old; c1, e1 in A, b1 in B |
//! | 1 | 8–11 | c1: version 2, grace 1 h; version 1 used after 10 and 20 min; its grace ends |
//! | 5 | 12–16 | e1: version 2 prepared, not committed in 10 min; version 3 prepared, committed; grace ended early |
//! | 12 | 17 | A's secrets may be 20 days old |
//! | 14 | 18–24 | c1: version 3, compromised; the auditor may not rotate; s1: version 2, at once version 3, grace over |
//! | 20 | 25–26 | e1: version 3 revoked; version 4 |
//! | 30 | 27–34 | c1 revoked; no most age in A; b2; b1: version 2, version 1 used, ended; c2; c1's details erased |
//!
//! What a few reports ask about comes in a sequel:
//!
//! | day | positions | |
//! |---|---|---|
//! | 32 | 35–37 | the auditor's key gets an age key, and answers for s1 and c2 |
//! | 33 | 38–46 | a campaign over s1 and c2, without grace |
//! | 34 | 47–49 | c2 is its own again; the next keys of session tokens and of the ledger, which has both for a day |
//! | 36 | 50–51 | the private parts of the keys before are destroyed |

use std::time::Duration;

use rota_aggregates::Timestamp;
use serde_json::json;

use crate::support::{Caller, Service};

/// The history's first instant.
const START: &str = "2027-01-01T00:00:00Z";
const DAY: u64 = 86_400;

/// The history, and who is who in it.
pub struct History {
    pub service: Service,
    pub a: String,
    pub b: String,
    pub auditor: Caller,
    /// What ids stand for.
    pub names: Vec<(String, &'static str)>,
    /// The last positions of the changes that were answered.
    pub ids: Ids,
}

#[derive(Default)]
pub struct Ids {
    pub c1: String,
    pub e1: String,
    pub b1: String,
    pub s1: String,
    pub c2: String,
    pub key: String,
}

/// An instant, as days and seconds after the start.
pub fn at(day: u64, seconds: u64) -> String {
    START.parse::<Timestamp>().unwrap().plus_seconds(day * DAY + seconds).to_string()
}

/// A time as `D<days>+<seconds>`; anything else as it is.
fn short(cell: &str) -> String {
    let start: Timestamp = START.parse().unwrap();
    match cell.parse::<Timestamp>() {
        Ok(time) => {
            let seconds = (time.micros() - start.micros()) / 1_000_000;
            format!("D{}+{}", seconds / DAY as i64, seconds % DAY as i64)
        }
        Err(_) => cell.to_owned(),
    }
}

impl History {
    /// A cell of a report, with names for ids and short times.
    pub fn told(&self, cell: &str) -> String {
        match self.names.iter().find(|(id, _)| id == cell) {
            Some((_, name)) => (*name).to_owned(),
            None => short(cell),
        }
    }

    fn to(&self, day: u64, seconds: u64) {
        self.service.clock.set(at(day, seconds).parse().unwrap());
    }

    /// Waits until upkeep has recorded as many events as there should be, beside the one that adds the ledger's own key.
    async fn until(&self, events: u64) {
        let (app, events) = (self.service.app(), events + 1);
        Service::until(|| async { app.head().borrow().0 >= events }).await;
        assert_eq!(app.head().borrow().0, events, "the script says which events there are");
    }

    pub async fn write() -> Self {
        let service = Service::start().await;
        let operator = service.operator.clone();
        let post = async |path: String, body| operator.post(&path, body).await.expect(200);
        let a = operator.open_workspace("A").await;
        let b = operator.open_workspace("B").await;
        let (key, _, auditor) = operator.workspace_key(&a, &["auditor"]).await;
        let policy = async |days: serde_json::Value| {
            let body = json!({ "maxSecretAgeDays": days }).to_string().into_bytes();
            let path = format!("/v1/workspaces/{a}/policy");
            operator.send(reqwest::Method::PUT, &path, &[], Some(body)).await.unwrap().expect(200);
        };
        policy(json!(10)).await;
        let (c1, c1_public, c1_first) = operator.issue(&a, "client").await;
        let (e1, ..) = operator.issue(&a, "exchange").await;
        let (b1, b1_public, b1_first) = operator.issue(&b, "client").await;
        let mut history = Self {
            names: vec![
                (a.clone(), "A"),
                (b.clone(), "B"),
                (key.clone(), "key"),
                (c1.clone(), "c1"),
                (e1.clone(), "e1"),
                (b1.clone(), "b1"),
            ],
            service,
            a: a.clone(),
            b: b.clone(),
            auditor: auditor.clone(),
            ids: Ids { c1: c1.clone(), e1: e1.clone(), b1: b1.clone(), key, ..Ids::default() },
        };
        history.until(8).await;

        history.to(1, 0);
        operator.rotate(&c1, json!({ "gracePeriodSeconds": 3_600 })).await;
        for seconds in [600, 1_200] {
            history.to(1, seconds);
            assert!(operator.verifies(&c1_public, &c1_first).await);
        }
        history.to(1, 3_600);
        history.until(12).await;

        history.to(5, 0);
        let prepare = format!("/v1/credentials/{e1}/rotations");
        post(prepare.clone(), json!({ "deadlineSeconds": 600 })).await;
        history.to(5, 600);
        history.until(14).await;
        post(prepare.clone(), json!({ "gracePeriodSeconds": 7_200 })).await;
        post(format!("{prepare}/commit"), json!({})).await;
        post(format!("/v1/credentials/{e1}/expire-old"), json!({})).await;
        history.until(17).await;

        history.to(12, 0);
        policy(json!(20)).await;

        history.to(14, 0);
        operator.rotate(&c1, json!({ "reason": "compromised" })).await;
        auditor.post(&format!("/v1/credentials/{c1}/rotate"), json!({})).await.expect(403);
        let (s1, ..) = operator.issue(&a, "signing").await;
        operator.rotate(&s1, json!({ "gracePeriodSeconds": DAY })).await;
        operator.rotate(&s1, json!({ "gracePeriodSeconds": 100 })).await;
        history.until(24).await;
        history.to(14, 100);
        history.until(25).await;

        history.to(20, 0);
        post(format!("/v1/credentials/{e1}/versions/3/revoke"), json!({})).await;
        operator.rotate(&e1, json!({})).await;

        history.to(30, 0);
        post(format!("/v1/credentials/{c1}/revoke"), json!({})).await;
        policy(json!(null)).await;
        let (b2, ..) = operator.issue(&b, "client").await;
        operator.rotate(&b1, json!({ "gracePeriodSeconds": 1_000 })).await;
        assert!(operator.verifies(&b1_public, &b1_first).await);
        post(format!("/v1/credentials/{b1}/expire-old"), json!({})).await;
        let (c2, ..) = operator.issue(&a, "client").await;
        post(format!("/v1/credentials/{c1}/erase-details"), json!({})).await;
        history.until(35).await;
        history.to(31, 0);
        history.names.extend([(s1.clone(), "s1"), (b2, "b2"), (c2.clone(), "c2")]);
        (history.ids.s1, history.ids.c2) = (s1, c2);
        history
    }

    /// The history with its sequel.
    pub async fn write_with_sequel() -> Self {
        let mut history = Self::write().await;
        let operator = history.service.operator.clone();
        let Ids { key, s1, c2, .. } = &history.ids;
        let put = async |path: &str, body: serde_json::Value| {
            let body = Some(body.to_string().into_bytes());
            operator.send(reqwest::Method::PUT, path, &[], body).await.unwrap().expect(200);
        };
        let owner = async |of: &str, owner: Option<&str>| {
            put(&format!("/v1/credentials/{of}/owner"), json!({ "ownerId": owner })).await;
        };
        history.to(32, 0);
        let recipient = age::x25519::Identity::generate().to_public().to_string();
        put(&format!("/v1/credentials/{key}/recipient"), json!({ "recipient": recipient })).await;
        owner(s1, Some(key.as_str())).await;
        owner(c2, Some(key.as_str())).await;

        history.to(33, 0);
        let selected =
            json!({ "workspaceId": history.a, "credentialIds": [s1, c2], "gracePeriodSeconds": 0 });
        let plan = operator.post("/v1/campaigns", selected).await.expect(201).json();
        let apply = format!("/v1/campaigns/{}/apply", plan["id"].as_str().unwrap());
        operator.post(&apply, json!({ "planHash": plan["planHash"] })).await.expect(200);
        history.until(47).await;

        history.to(34, 0);
        owner(c2, None).await;
        operator.post("/v1/admin/token-keys", json!({})).await.expect(200);
        operator.post("/v1/ledger/keys", json!({ "overlapSeconds": DAY })).await.expect(200);
        history.until(50).await;
        history.to(36, 0);
        history.until(52).await;
        history.names.push((recipient, "age"));
        history
    }

    /// What happens afterwards, of which nothing may be in an answer as of before.
    pub async fn goes_on(&self) {
        let operator = &self.service.operator;
        self.service.clock.advance(Duration::from_hours(1));
        operator.rotate(&self.ids.b1, json!({})).await;
        operator.rotate(&self.ids.e1, json!({ "gracePeriodSeconds": 60 })).await;
    }
}
