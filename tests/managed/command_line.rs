//! `rota rotations`.

use serde_json::json;

use crate::bench::{Bench, Desk};
use crate::double::Fault;
use crate::support::text;

const PATH: &str = "/v1/managed-rotations";

/// If this fails, an operator at a shell can't see what is rotated, or rotate it.
#[tokio::test(flavor = "multi_thread")]
async fn rotations_are_listed_planned_rotated_and_reconciled() {
    let mut bench = Bench::new();
    let desk = Desk::new(&mut bench).await;
    let made = desk.operator.post(PATH, desk.body("orders-db")).await.expect(201).json();
    let id = text(&made["id"]);
    bench.clock.advance(std::time::Duration::from_millis(1));
    desk.make_experimental().await;

    let listed = desk.run(&["list", "--workspace", &desk.workspace]).exits(0).out;
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 3, "{listed}");
    assert!(lines[1].contains("orders-db") && lines[1].contains("2027-02-15T03:30:00"), "{listed}");
    assert!(!lines[1].contains("experimental") && lines[2].contains("(experimental)"), "{listed}");
    let items = desk.run(&["list", "--workspace", &desk.workspace, "--format", "json"]).exits(0).json();
    assert_eq!((&items[0]["experimental"], &items[1]["experimental"]), (&json!(false), &json!(true)));
    let csv = desk.run(&["list", "--workspace", &desk.workspace, "--format", "csv"]).exits(0).out;
    assert_eq!(csv.lines().next(), Some("id,name,kind,place,status,lastSuccessAt,nextAt"));

    let plan = desk.run(&["plan", &id]).exits(0).out;
    assert_eq!(plan.trim(), "1. set the password of the user of place 1");
    let again = ["rotate", &id, "--idempotency-key", "tonight", "--format", "json"];
    assert_eq!(desk.run(&again).exits(0).json()["version"], 2);
    assert_eq!(desk.run(&again).exits(0).json()["version"], 2, "the same request again");
    let shown = desk.run(&["show", &id]).exits(0).out;
    assert!(shown.contains("dev:/") && shown.contains("orders"), "{shown}");
    assert!(desk.run(&["reconcile", &id]).exits(0).out.contains("in-step"));

    // A refusal of the target's is told at once and with its reason, and is not asked for again and again.
    bench.target.fail(0, usize::MAX / 2, Fault::Refused);
    let calls = bench.target.calls();
    let refused = desk.run(&["rotate", &id]).exits(1);
    assert!(refused.err.contains("permission denied (target-failed)"), "{}", refused.err);
    assert_eq!(bench.target.calls_since(calls), ["intend"]);
    bench.target.heal();
    let shown = desk.run(&["show", &id]).exits(0).out;
    assert!(shown.contains("failed") && shown.contains("permission denied"), "{shown}");
    let nobody = desk.run(&["show", "0199c0de-0000-7000-8000-000000000000"]).exits(1);
    assert!(nobody.err.contains("no such rotation"), "{}", nobody.err);
    desk.run(&["rotate", "../admin/rebuild"]).exits(2);
    desk.close().await;
}
