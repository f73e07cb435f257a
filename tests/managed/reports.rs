//! What auditors are told of managed rotations, at three instants of a scripted history.

use std::time::Duration;

use rota::app::App;
use rota::app::read::AsOf;
use rota::app::reports::Ask;
use rota_aggregates::authority::Actor;
use rota_aggregates::{Position, RotationId, Timestamp};
use rota_projections::reports::Question;

use crate::bench::{Bench, operator, schedule};
use crate::double::Fault;

const COLUMNS: [&str; 7] = ["what", "cause", "step", "outcome", "reason", "version", "actorKind"];

/// The report's rows, in a few columns, without what is empty.
async fn told(app: &App, as_of: Option<AsOf>, question: Question) -> Vec<String> {
    let name = "managed-rotations".to_owned();
    let ask = Ask { name, question, as_of, at: None, after: None, limit: 1_000 };
    let reported = app.report(&operator(), ask).await.unwrap();
    assert_eq!(reported.count, reported.rows.len() as u64);
    let columns = reported.definition.columns;
    let cell = |row: &[serde_json::Value], name: &str| match &row
        [columns.iter().position(|c| *c == name).unwrap()]
    {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let line = |row: &Vec<_>| COLUMNS.iter().filter_map(|c| cell(row, c)).collect::<Vec<_>>().join(" ");
    reported.rows.iter().map(line).collect()
}

/// If this fails, an auditor is not told which rotations failed and why, or is told of what came later.
#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_told_as_of_any_instant() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    let app = &opened.app;
    let day = Duration::from_hours(24);
    bench.create(app, schedule(false, 30)).await;
    let first = bench.clock_now();
    bench.clock.advance(day);
    bench.rotate(app).await.unwrap();
    let second = bench.clock_now();
    bench.clock.advance(day);
    bench.target.fail(0, usize::MAX / 2, Fault::Refused);
    bench.rotate(app).await.unwrap_err();
    bench.target.heal();
    bench.settled(app).await;
    for _ in 0..3 {
        bench.clock.advance(day);
        bench.rotate(app).await.unwrap();
    }
    let last = app.head().borrow().0;
    assert!(last >= 30, "{last} events");
    let made = ["created operator", "attempt-started create operator", "credential-set scheduler"];
    let made = [&made[..], &["verified scheduler", "promoted 1 scheduler"]].concat();
    // Of two users that take turns the one before stays valid until its own turn.
    let rotated = |version: u32| {
        let steps = ["attempt-started call operator", "credential-set scheduler", "verified scheduler"];
        let mut rows: Vec<_> = steps.map(str::to_owned).into();
        rows.push(format!("promoted {version} scheduler"));
        rows.extend((version > 2).then(|| format!("previous-retired {} scheduler", version - 2)));
        rows
    };
    let refused = "attempt-failed call intend intact permission denied operator".to_owned();
    let time = |at: Timestamp| Some(AsOf::Time(at));
    assert_eq!(told(app, time(first), Question::default()).await, made);
    let made: Vec<_> = made.into_iter().map(str::to_owned).collect();
    assert_eq!(told(app, time(second), Question::default()).await, [made.clone(), rotated(2)].concat());
    let whole = [made, rotated(2), vec![refused], rotated(3), rotated(4), rotated(5)].concat();
    assert_eq!(told(app, None, Question::default()).await, whole);
    let position = Some(AsOf::Position(Position(last - 1)));
    assert_eq!(told(app, position, Question::default()).await, whole);

    let of = |rotation| Question { rotation: Some(rotation), ..Question::default() };
    assert_eq!(told(app, None, of(bench.rotation)).await, whole);
    assert!(told(app, None, of(RotationId::default())).await.is_empty());
    let by_operator = Question { actor: Some(Actor::OPERATOR), ..Question::default() };
    assert_eq!(told(app, None, by_operator).await.len(), 7);
    let period = Question { from: Some(second), ..Question::default() };
    assert_eq!(told(app, None, period).await, whole[5..]);
    opened.close().await;
}
