//! When a rotation is due: arithmetic on UTC days, never a clock.
//!
//! The times are those of Infisical's wire format wherever that does not drift: after a rotation by hand counted from
//! the day of that, after a scheduled one from the day for which it was scheduled, and after a failure tomorrow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The longest interval: 10 years.
pub const INTERVAL_DAYS_MAX: u32 = 3_650;
/// The longest window: a day.
pub const WINDOW_MINUTES_MAX: u16 = 1_440;

const DAY: i64 = 86_400_000_000;
const MINUTE: i64 = 60_000_000;

/// A time of the day, in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TimeOfDay {
    /// 0 to 23.
    pub hours: u8,
    /// 0 to 59.
    pub minutes: u8,
}

impl TimeOfDay {
    fn micros(self) -> i64 {
        (i64::from(self.hours) * 60 + i64::from(self.minutes)) * MINUTE
    }

    fn is_valid(self) -> bool {
        self.hours < 24 && self.minutes < 60
    }
}

/// A day of the week, in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the days have names")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// 1970-01-01 was a Thursday.
    fn of(day: i64) -> Self {
        Self::ALL[(day + 3).rem_euclid(7) as usize]
    }
}

/// What becomes of a rotation that was due and whose window has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// It waits for the next window.
    #[default]
    Wait,
    /// It runs as soon as it can.
    CatchUp,
}

/// When rotations may run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// When it opens.
    pub start: TimeOfDay,
    /// How long it stays open.
    pub minutes: u16,
    /// The days on which it opens; none for every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Weekday>,
    /// What becomes of what missed it.
    #[serde(default)]
    pub missed: Missed,
}

impl Window {
    fn opens_on(&self, day: i64) -> bool {
        self.days.is_empty() || self.days.contains(&Weekday::of(day))
    }

    fn on(&self, day: i64) -> (i64, i64) {
        let opens = day * DAY + self.start.micros();
        (opens, opens + i64::from(self.minutes) * MINUTE)
    }

    /// The window that is open at an instant, or the next one: when it opens and when it has closed.
    fn at_or_after(&self, time: Timestamp) -> (Timestamp, Timestamp) {
        let micros = time.micros();
        let today = micros / DAY;
        // Yesterday's may reach into today; some day of a week is one of its days.
        for day in today - 1..=today + 7 {
            let (opens, closes) = self.on(day);
            if self.opens_on(day) && closes > micros {
                return (Timestamp::from_micros(opens), Timestamp::from_micros(closes));
            }
        }
        (time, time)
    }
}

/// When a rotation is due.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Whether it is ever due by itself.
    pub auto: bool,
    /// After how many days.
    pub interval_days: u32,
    /// At what time of the day.
    pub at: TimeOfDay,
    /// When it may run; without one, at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// The last rotation that succeeded, as far as the next time follows from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Success {
    /// When it was.
    pub at: Timestamp,
    /// The instant at which it was due; nothing if somebody asked for it.
    pub due_at: Option<Timestamp>,
}

impl Schedule {
    /// The field that is out of bounds, and what is wrong with it.
    pub(super) fn fault(&self) -> Option<(&'static str, &'static str)> {
        if !(1..=INTERVAL_DAYS_MAX).contains(&self.interval_days) {
            return Some(("rotationInterval", "must be between 1 and 3650 days"));
        }
        if !self.at.is_valid() {
            return Some(("rotateAtUtc", "must have hours from 0 to 23 and minutes from 0 to 59"));
        }
        match &self.window {
            Some(window) if !window.start.is_valid() => {
                Some(("window", "must start at hours from 0 to 23 and minutes from 0 to 59"))
            }
            Some(window) if !(1..=WINDOW_MINUTES_MAX).contains(&window.minutes) => {
                Some(("window", "must be open for 1 to 1440 minutes"))
            }
            Some(window) if window.days.len() > 7 => Some(("window", "must name each day once")),
            _ => None,
        }
    }

    fn on(&self, day: i64) -> Timestamp {
        Timestamp::from_micros(day * DAY + self.at.micros())
    }

    /// The next time after a rotation that succeeded.
    pub fn after_success(&self, last: Success) -> Option<Timestamp> {
        if !self.auto {
            return None;
        }
        let interval = i64::from(self.interval_days.max(1));
        let day = last.at.micros() / DAY;
        let Some(due_at) = last.due_at else {
            let late = last.at.micros() % DAY >= self.at.micros();
            return Some(self.on(day + interval + i64::from(late)));
        };
        // From the day for which it was scheduled, so that what runs late does not make the next ones late.
        let due = due_at.micros() / DAY;
        let next = self.on(due + interval);
        if next > last.at {
            return Some(next);
        }
        let passed = (day - due) / interval;
        let next = self.on(due + passed * interval);
        Some(if next > last.at { next } else { self.on(due + (passed + 1) * interval) })
    }

    /// The next time after an attempt that failed then: tomorrow.
    pub fn after_failure(&self, at: Timestamp) -> Option<Timestamp> {
        self.auto.then(|| self.on(at.micros() / DAY + 1))
    }

    /// Whether what was due at `next` may run now.
    pub fn may_run(&self, next: Timestamp, now: Timestamp) -> bool {
        now >= next && self.runs_at(next, now) <= now
    }

    /// The first instant from now on at which what is due at `next` may run.
    pub fn runs_at(&self, next: Timestamp, now: Timestamp) -> Timestamp {
        let Some(window) = &self.window else { return next.max(now) };
        let (opens, closes) = window.at_or_after(next);
        if now < closes {
            return opens.max(next).max(now);
        }
        match window.missed {
            Missed::CatchUp => now,
            Missed::Wait => window.at_or_after(now).0.max(now),
        }
    }
}
