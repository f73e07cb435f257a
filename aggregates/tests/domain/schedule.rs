//! When a managed rotation is due.

use proptest::prelude::*;
use rota_aggregates::managed_rotation::schedule::{Missed, Schedule, Success, TimeOfDay, Weekday, Window};
use rota_aggregates::time::Timestamp;

use crate::managed::schedule;

fn t(text: &str) -> Timestamp {
    serde_json::from_str(&format!("\"{text}.000000Z\"")).unwrap()
}

fn manual(at: &str) -> Success {
    Success { at: t(at), due_at: None }
}

fn scheduled(at: &str, due: &str) -> Success {
    Success { at: t(at), due_at: Some(t(due)) }
}

#[test]
fn next_times_are_those_of_the_wire_format_in_ordinary_cases() {
    for (last, interval, (hours, minutes), next) in [
        (manual("2025-01-10T15:30:00"), 30, (0, 0), "2025-02-10T00:00:00"),
        (manual("2025-01-10T15:30:00"), 30, (18, 0), "2025-02-09T18:00:00"),
        (manual("2025-01-10T18:00:00"), 30, (18, 0), "2025-02-10T18:00:00"),
        (scheduled("2025-02-10T00:00:05", "2025-02-10T00:00:00"), 30, (0, 0), "2025-03-12T00:00:00"),
        (scheduled("2024-02-28T06:00:01", "2024-02-28T06:00:00"), 1, (6, 0), "2024-02-29T06:00:00"),
    ] {
        let schedule = schedule(interval, hours, minutes);
        assert_eq!(schedule.after_success(last), Some(t(next)), "{last:?}");
        assert_eq!(Schedule { auto: false, ..schedule }.after_success(last), None);
    }
}

#[test]
fn what_runs_late_does_not_make_the_next_one_late() {
    // A job of 23:55 that slipped past midnight.
    let slipped = scheduled("2025-03-02T00:10:00", "2025-03-01T23:55:00");
    assert_eq!(schedule(1, 23, 55).after_success(slipped), Some(t("2025-03-02T23:55:00")));
    // Down for ten days: once, and then as it would have been.
    let late = scheduled("2025-03-11T09:00:00", "2025-03-01T06:00:00");
    assert_eq!(schedule(7, 6, 0).after_success(late), Some(t("2025-03-15T06:00:00")));
    assert_eq!(schedule(1, 6, 0).after_success(late), Some(t("2025-03-12T06:00:00")));
    assert_eq!(schedule(1, 10, 0).after_success(late), Some(t("2025-03-11T10:00:00")));
}

#[test]
fn what_failed_is_tried_again_tomorrow() {
    let schedule = schedule(30, 18, 30);
    assert_eq!(schedule.after_failure(t("2025-01-10T15:30:00")), Some(t("2025-01-11T18:30:00")));
    assert_eq!(schedule.after_failure(t("2025-12-31T23:59:59")), Some(t("2026-01-01T18:30:00")));
    assert_eq!(Schedule { auto: false, ..schedule }.after_failure(t("2025-01-10T15:30:00")), None);
}

fn weekend(missed: Missed) -> Schedule {
    let start = TimeOfDay { hours: 22, minutes: 0 };
    let days = vec![Weekday::Saturday, Weekday::Sunday];
    Schedule { window: Some(Window { start, minutes: 240, days, missed }), ..schedule(30, 0, 0) }
}

#[test]
fn what_is_due_waits_for_its_window() {
    // 2025-03-01 is a Saturday.
    for missed in [Missed::Wait, Missed::CatchUp] {
        let schedule = weekend(missed);
        let due = t("2025-02-27T00:00:00");
        assert_eq!(schedule.runs_at(due, due), t("2025-03-01T22:00:00"));
        assert!(!schedule.may_run(due, t("2025-03-01T21:59:59")));
        assert!(schedule.may_run(due, t("2025-03-01T22:00:00")));
        assert!(schedule.may_run(due, t("2025-03-02T01:59:59")), "it reaches into the next day");
        let inside = t("2025-03-02T01:00:00");
        assert!(schedule.may_run(inside, inside));
        assert!(!schedule.may_run(t("2025-03-02T01:30:00"), inside), "it is not due yet");
    }
}

#[test]
fn a_window_that_was_missed_is_waited_for_or_caught_up_with() {
    let (due, late) = (t("2025-02-27T00:00:00"), t("2025-03-04T12:00:00"));
    assert_eq!(weekend(Missed::Wait).runs_at(due, late), t("2025-03-08T22:00:00"));
    assert_eq!(weekend(Missed::CatchUp).runs_at(due, late), late);
}

proptest! {
    /// The next time is in the future, at the hour that was asked for, and no more than an interval and a day away.
    #[test]
    fn the_next_time_is_the_first_of_its_row_in_the_future(
        interval in 1_u32..400,
        hours in 0_u8..24,
        minutes in 0_u8..60,
        at in 1_600_000_000_i64..2_000_000_000,
        late in prop::option::of(0_i64..40_000_000),
    ) {
        let schedule = schedule(interval, hours, minutes);
        let day = 86_400_000_000;
        let of_day = (i64::from(hours) * 60 + i64::from(minutes)) * 60_000_000;
        let at = Timestamp::from_micros(at * 1_000_000);
        let due_at = late.map(|late| {
            let due = at.micros() - late * 1_000_000;
            Timestamp::from_micros((due - of_day).div_euclid(day) * day + of_day)
        });
        let next = schedule.after_success(Success { at, due_at }).unwrap();
        prop_assert!(next > at);
        prop_assert_eq!(next.micros().rem_euclid(day), of_day);
        let row = i64::from(interval) * day;
        prop_assert!(next.micros() - at.micros() <= row + day);
        if let Some(due) = due_at {
            prop_assert_eq!((next.micros() - due.micros()).rem_euclid(row), 0);
            prop_assert!(next.micros() - row <= at.micros().max(due.micros()));
        }
    }

    /// Whatever window is asked for, what is due runs in it.
    #[test]
    fn what_waits_for_a_window_runs_in_one(
        hours in 0_u8..24,
        length in 1_u16..=1_440,
        days in prop::collection::vec(0_usize..7, 0..4),
        due in 1_600_000_000_i64..2_000_000_000,
        late in 0_i64..2_000_000,
    ) {
        let all = [
            Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday,
            Weekday::Saturday, Weekday::Sunday,
        ];
        let days = days.into_iter().map(|day| all[day]).collect();
        let start = TimeOfDay { hours, minutes: 0 };
        let window = Some(Window { start, minutes: length, days, missed: Missed::Wait });
        let schedule = Schedule { window, ..schedule(30, 0, 0) };
        let due = Timestamp::from_micros(due * 1_000_000);
        let now = due.plus_seconds(late as u64);
        let runs = schedule.runs_at(due, now);
        prop_assert!(runs >= now);
        prop_assert!(schedule.may_run(due, runs));
        prop_assert!(runs.micros() - now.micros() <= 8 * 86_400_000_000);
        prop_assert_eq!(schedule.runs_at(due, runs), runs);
    }
}
