//! What webhooks are told of managed rotations.

use serde_json::json;

use crate::bench::{Bench, Desk};
use crate::double::Fault;
use crate::support::{Receiver, Seen, text, until};

const UPCOMING: &str = "managed_rotation.upcoming";
const PUBLISHED: &str = "managed_rotation.published";
const FAILED: &str = "managed_rotation.failed";
const OVERDUE: &str = "managed_rotation.overdue";

/// If this fails, nobody learns that a rotation fails night after night, or everybody does all the time.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_to_run_failed_or_is_overdue_is_told_once() {
    let mut bench = Bench::new();
    let desk = Desk::new(&mut bench).await;
    let receiver = Receiver::start();
    let hook = json!({ "url": receiver.url, "workspaceId": desk.workspace });
    desk.operator.post("/v1/webhooks", hook).await.expect(201);
    let mut body = desk.body("very-private-name");
    body["schedule"]["intervalDays"] = 7.into();
    let made = desk.operator.post("/v1/managed-rotations", body).await.expect(201).json();
    let one = format!("/v1/managed-rotations/{}", text(&made["id"]));
    let told = |name: &str| -> Vec<Seen> {
        receiver.seen().into_iter().filter(|seen| seen.name() == name).collect()
    };
    let wait = async |name: &str, count: usize| {
        until(name, async || told(name).len() >= count).await;
        let seen = told(name);
        assert_eq!(seen.len(), count, "{name}: {seen:?}");
        seen[count - 1].json()
    };
    let at = |time: &str| bench.clock.set(time.parse().unwrap());
    let published = wait(PUBLISHED, 1).await;
    assert_eq!(published["data"]["rotationId"], made["id"]);
    assert_eq!(
        (&published["data"]["kind"], &published["data"]["version"]),
        (&json!("postgres-credentials"), &json!(1))
    );

    // An hour before, and not earlier.
    at("2027-01-23T02:29:59Z");
    assert_eq!(desk.waiting(UPCOMING).await, 1);
    assert!(told(UPCOMING).is_empty());
    at("2027-01-23T02:30:00Z");
    let upcoming = wait(UPCOMING, 1).await;
    assert_eq!(upcoming["data"]["runsAt"], "2027-01-23T03:30:00.000000Z");
    assert_eq!(upcoming["timestamp"], "2027-01-23T02:30:00.000000Z");

    bench.target.fail(0, usize::MAX / 2, Fault::Refused);
    at("2027-01-23T03:30:00Z");
    let failed = wait(FAILED, 1).await;
    assert_eq!((&failed["data"]["step"], &failed["data"]["cause"]), (&json!("intend"), &json!("schedule")));
    assert_eq!(
        (&failed["data"]["aftermath"], &failed["data"]["nextAt"]),
        (&json!("intact"), &json!("2027-01-24T03:30:00.000000Z"))
    );
    assert_eq!(desk.operator.get(&one).await.json()["overdue"], false);
    at("2027-01-23T04:30:00Z");
    let overdue = wait(OVERDUE, 1).await;
    assert_eq!(overdue["data"]["overdueAt"], "2027-01-23T04:30:00.000000Z");
    assert_eq!(desk.operator.get(&one).await.json()["overdue"], true);

    // The next night it fails again: another attempt, the same delay.
    at("2027-01-24T02:30:00Z");
    wait(UPCOMING, 2).await;
    at("2027-01-24T03:30:00Z");
    wait(FAILED, 2).await;
    at("2027-01-24T05:00:00Z");
    bench.target.heal();
    desk.operator.post(&format!("{one}/rotate"), json!({})).await.expect(200);
    let published = wait(PUBLISHED, 2).await;
    assert_eq!(
        (&published["data"]["version"], &published["data"]["actor"]["kind"]),
        (&json!(2), &json!("scheduler"))
    );
    assert_eq!(desk.operator.get(&one).await.json()["overdue"], false);
    assert_eq!(told(OVERDUE).len(), 1);
    // What was foretold for a night that does not come is not told.
    at("2027-01-25T05:00:00Z");
    until("what is of no use is dropped", async || desk.waiting(UPCOMING).await == 1).await;
    assert_eq!(told(UPCOMING).len(), 2);
    for seen in receiver.seen() {
        for hidden in ["very-private-name", "permission denied", "app_a"] {
            assert!(!seen.body.contains(hidden), "{}", seen.body);
        }
        assert!(!bench.target.every_password().iter().any(|password| seen.body.contains(password)));
    }
    desk.close().await;
}
