use std::time::Duration;

use rota_aggregates::Timestamp;
use rota_aggregates::managed_rotation::{AttemptCause, ManagedRotationEvent as E};

use crate::bench::{Bench, schedule};
use crate::double::Fault;

const DAY: i64 = 86_400_000_000;

/// If this fails, a rotation that was due is left out, is done twice, or drifts, when the service is down for a while
/// or slow.
#[tokio::test(flavor = "multi_thread")]
async fn every_due_rotation_of_a_year_with_outages_runs_once_and_on_its_day() {
    let mut bench = Bench::new();
    let mut opened = Some(bench.open().await);
    bench.create(&opened.as_ref().unwrap().app, schedule(true, 7)).await;
    let begin = bench.clock_now();
    // Down on these days; the last outage is longer than an interval.
    let down = |day: i64| matches!(day, 20..=23 | 91 | 150..=153 | 200..=212);
    let mut expected = bench.state(&opened.as_ref().unwrap().app).next_at.unwrap();
    let mut due = Vec::new();
    let mut version = 1;
    for day in 1..=365 {
        let now = Timestamp::from_micros(begin.micros() + day * DAY);
        bench.clock.set(now);
        if down(day) {
            if let Some(opened) = opened.take() {
                opened.close().await;
            }
            continue;
        }
        if opened.is_none() {
            opened = Some(bench.open().await);
        }
        let app = &opened.as_ref().unwrap().app;
        if expected <= now {
            due.push(expected);
            version += 1;
            let on_time = async {
                while bench.state(app).version < version {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let in_time = tokio::time::timeout(Duration::from_secs(20), on_time).await;
            assert!(in_time.is_ok(), "day {day}: what was due at {expected} did not run");
            // From the row that was due, never from the day on which it ran.
            while expected <= now {
                expected = Timestamp::from_micros(expected.micros() + 7 * DAY);
            }
        }
        let state = bench.settled(app).await;
        assert_eq!((state.version, state.next_at), (version, Some(expected)), "day {day}");
    }
    let app = &opened.as_ref().unwrap().app;
    let scheduled: Vec<_> = bench
        .history(app)
        .await
        .into_iter()
        .filter_map(|event| match event {
            E::AttemptStarted(e) if e.cause == AttemptCause::Schedule => e.due_at,
            _ => None,
        })
        .collect();
    assert_eq!(scheduled, due, "each once, none twice");
    bench.assert_published_logs_in(app, "after a year").await;
    opened.unwrap().close().await;
}

/// If this fails, a target that is away for some nights moves every rotation after them, or gets a second one.
#[tokio::test(flavor = "multi_thread")]
async fn nights_without_the_target_put_a_rotation_off_and_move_none_after_it() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    let app = &opened.app;
    bench.create(app, schedule(true, 7)).await;
    let begin = bench.clock_now();
    let away = |day: i64| matches!(day, 8..=9 | 60..=75 | 120 | 300..=307);
    let mut due = bench.state(app).next_at.unwrap();
    let (mut next, mut version, mut failures) = (due, 1, 0);
    for day in 1..=365 {
        let now = Timestamp::from_micros(begin.micros() + day * DAY);
        if away(day) {
            bench.target.fail(0, usize::MAX / 2, Fault::Refused);
        } else {
            bench.target.heal();
        }
        bench.clock.set(now);
        if next <= now {
            if away(day) {
                failures += 1;
                // Tomorrow, at its time.
                next = Timestamp::from_micros((now.micros() / DAY + 1) * DAY + due.micros() % DAY);
            } else {
                version += 1;
                while due <= now {
                    due = Timestamp::from_micros(due.micros() + 7 * DAY);
                }
                next = due;
            }
            let over = async {
                while bench.state(app).next_at != Some(next) {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            let in_time = tokio::time::timeout(Duration::from_secs(20), over).await;
            assert!(in_time.is_ok(), "day {day}: {:?} instead of {next}", bench.state(app).next_at);
        }
        let state = bench.settled(app).await;
        assert_eq!((state.version, state.next_at), (version, Some(next)), "day {day}");
        assert_eq!(state.last.fault.is_some(), next != due, "day {day}");
    }
    let history = bench.history(app).await;
    assert_eq!(history.iter().filter(|event| matches!(event, E::AttemptFailed(_))).count(), failures);
    assert!(failures > 15);
    bench.assert_published_logs_in(app, "after a year").await;
    opened.close().await;
}
