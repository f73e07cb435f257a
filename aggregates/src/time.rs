//! Instants and grace periods: plain arithmetic on given instants, never a clock.
//!
//! An instant is a whole number of microseconds since 1970 in UTC. Intervals are half-open: a secret that
//! expires at `e` is valid while `now < e` and refused from `e` on.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The first instant after the last one that can be written with a four-digit year.
const YEAR_10000: i64 = 253_402_300_800_000_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// An instant in microseconds since 1970-01-01T00:00:00Z, written `2026-11-21T03:31:18.123456Z`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The length of every written instant, in bytes.
    pub const TEXT_LEN: usize = 27;

    /// The instant so many microseconds after 1970, held within the years 1970 to 9999.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(0, YEAR_10000 - 1))
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// This instant, so many seconds later. Saturates at the end of the year 9999.
    #[must_use]
    pub fn plus_seconds(self, seconds: u64) -> Self {
        let micros = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// This instant, so many seconds earlier. Saturates at 1970.
    #[must_use]
    pub fn minus_seconds(self, seconds: u64) -> Self {
        let micros = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        Self::from_micros(self.0.saturating_sub(micros))
    }

    /// The whole minute that this instant lies in, counted from 1970.
    pub fn minute(self) -> u64 {
        (self.0 / 60_000_000) as u64
    }

    /// Whole seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.0 / 1_000_000
    }

    /// The same instant for chrono.
    pub fn datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }

    /// Writes the instant as text. It is on the path of every event, hence not left to a formatter:
    /// `writing_agrees_with_chrono` compares the two.
    pub fn write(self, out: &mut [u8; Self::TEXT_LEN]) {
        let days = self.0 / MICROS_PER_DAY;
        let mut rest = self.0 % MICROS_PER_DAY;
        // Days to a civil date, with years that begin in March (Howard Hinnant's algorithm).
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);

        out.copy_from_slice(b"0000-00-00T00:00:00.000000Z");
        let mut digits = |start: usize, count: usize, mut value: i64| {
            for at in (start..start + count).rev() {
                out[at] = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        digits(20, 6, rest % 1_000_000);
        rest /= 1_000_000;
        digits(17, 2, rest % 60);
        digits(14, 2, rest / 60 % 60);
        digits(11, 2, rest / 3_600);
        digits(8, 2, day);
        digits(5, 2, month);
        digits(0, 4, year);
    }

    /// Reads what [`Timestamp::write`] wrote; `None` for any other form, and for a date that does not exist.
    fn read(text: &[u8]) -> Option<Self> {
        let text: &[u8; Self::TEXT_LEN] = text.try_into().ok()?;
        let number = |start: usize, count: usize| {
            text[start..start + count]
                .iter()
                .try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
        };
        let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        // The way back of `write`.
        let year_from_march = year - i64::from(month <= 2);
        let (era, year_of_era) = (year_from_march / 400, year_from_march % 400);
        let month_from_march = (month + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        let micros = ((days * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000 + number(20, 6)?;
        let time = Self((0..YEAR_10000).contains(&micros).then_some(micros)?);
        let mut again = [0u8; Self::TEXT_LEN];
        time.write(&mut again);
        (again == *text).then_some(time)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; Self::TEXT_LEN];
        self.write(&mut text);
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no RFC 3339 instant between 1970 and 9999.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a time is written as in RFC 3339, such as 2026-11-21T03:31:18.123456Z")]
pub struct NotATime;

impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(s: &str) -> Result<Self, NotATime> {
        if let Some(time) = Self::read(s.as_bytes()) {
            return Ok(time);
        }
        let micros = DateTime::parse_from_rfc3339(s).map_err(|_| NotATime)?.timestamp_micros();
        if (0..YEAR_10000).contains(&micros) { Ok(Self(micros)) } else { Err(NotATime) }
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self::from_micros(time.timestamp_micros())
    }
}

impl Timestamp {
    /// The form with milliseconds that some dialects use.
    pub fn to_millis_text(self) -> String {
        self.datetime().to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut text = [0u8; Self::TEXT_LEN];
        self.write(&mut text);
        s.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        crate::ids::from_text(d)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "format": "date-time",
            "pattern": "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}\\.\\d{6}Z$"
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn writing_agrees_with_chrono(micros in 0..YEAR_10000) {
            let time = Timestamp::from_micros(micros);
            let expected = time.datetime().to_rfc3339_opts(SecondsFormat::Micros, true);
            prop_assert_eq!(time.to_string(), expected);
            prop_assert_eq!(time.to_string().parse::<Timestamp>(), Ok(time));
        }
    }

    #[test]
    fn the_ends_of_the_range_are_held() {
        assert_eq!(Timestamp::from_micros(-1).micros(), 0);
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9999-12-31T23:59:59.999999Z");
        assert_eq!(
            Timestamp::from_micros(0).plus_seconds(u64::MAX).to_string(),
            "9999-12-31T23:59:59.999999Z"
        );
        assert_eq!("1969-12-31T23:59:59Z".parse::<Timestamp>(), Err(NotATime));
    }
}
