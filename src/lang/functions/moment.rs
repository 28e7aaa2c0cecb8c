//! A point in time with an offset from UTC, of any year: what the functions of time count with. Go's `time` knows years past
//! 9999, so a bakefile may meet them.

/// Seconds since 1970 (UTC), nanoseconds on top, and the offset that it is written with, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub seconds: i64,
    pub nanoseconds: u32,
    pub offset: i32,
}

/// A moment's date and time of day where its offset holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub year: i64,
    /// From 1.
    pub month: u32,
    pub day: u32,
    /// From 1.
    pub day_of_year: u32,
    /// From 0, Sunday.
    pub weekday: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
}

const DAY: i64 = 86_400;

impl Moment {
    /// Returns a moment in UTC.
    pub fn utc(seconds: i64) -> Moment {
        Moment { seconds, nanoseconds: 0, offset: 0 }
    }

    /// Parses RFC 3339, as strictly as the peer: `2006-01-02T15:04:05Z`, with a fraction or an offset.
    pub fn parse(text: &str) -> Option<Moment> {
        let number = |range: std::ops::Range<usize>, most: u32| {
            let digits = text.get(range).filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
            digits.parse::<u32>().ok().filter(|n| *n <= most)
        };
        let bytes = text.as_bytes();
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if marks.iter().any(|(at, mark)| bytes.get(*at) != Some(mark)) {
            return None;
        }
        let (year, month, day) = (i64::from(number(0..4, 9999)?), number(5..7, 12)?, number(8..10, 31)?);
        if month == 0 || day == 0 || day > days_in(year, month) {
            return None;
        }
        let of_day = number(11..13, 23)? * 3600 + number(14..16, 59)? * 60 + number(17..19, 59)?;
        let mut at = 19;
        let mut nanoseconds = 0;
        if bytes.get(at) == Some(&b'.') {
            let n_digits = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
            let kept = text.get(at + 1..at + 1 + n_digits.min(9)).filter(|kept| !kept.is_empty())?;
            nanoseconds = format!("{kept:0<9}").parse().ok()?;
            at += 1 + n_digits;
        }
        let offset = match (bytes.get(at), text.len() - at) {
            (Some(b'Z'), 1) => 0,
            (Some(sign @ (b'+' | b'-')), 6) if bytes[at + 3] == b':' => {
                let seconds = (number(at + 1..at + 3, 23)? * 3600 + number(at + 4..at + 6, 59)? * 60) as i32;
                if *sign == b'-' { -seconds } else { seconds }
            }
            _ => return None,
        };
        let seconds = days_before(year, month, day) * DAY + i64::from(of_day) - i64::from(offset);
        Some(Moment { seconds, nanoseconds, offset })
    }

    /// Returns the moment this many nanoseconds later.
    pub fn add(self, nanoseconds: i64) -> Moment {
        let total = i128::from(self.nanoseconds) + i128::from(nanoseconds);
        let seconds = i128::from(self.seconds) + total.div_euclid(1_000_000_000);
        let nanoseconds = total.rem_euclid(1_000_000_000) as u32;
        let seconds = i64::try_from(seconds).unwrap_or(if seconds < 0 { i64::MIN } else { i64::MAX });
        Moment { seconds, nanoseconds, ..self }
    }

    pub fn fields(&self) -> Fields {
        let local = i128::from(self.seconds) + i128::from(self.offset);
        let (days, of_day) = (local.div_euclid(i128::from(DAY)) as i64, local.rem_euclid(i128::from(DAY)) as u32);
        let (year, month, day) = date(days);
        Fields {
            year,
            month,
            day,
            day_of_year: (days - days_before(year, 1, 1)) as u32 + 1,
            // 1970 began on a Thursday.
            weekday: (days + 4).rem_euclid(7) as u32,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
        }
    }

    /// Returns the year and number of its ISO 8601 week.
    pub fn iso_week(&self) -> (i64, u32) {
        let fields = self.fields();
        let from_monday = (fields.weekday + 6) % 7;
        // A week belongs to the year that its Thursday is in.
        let thursday = days_before(fields.year, fields.month, fields.day) - i64::from(from_monday) + 3;
        let (year, ..) = date(thursday);
        (year, ((thursday - days_before(year, 1, 1)) / 7) as u32 + 1)
    }

    /// Returns the offset as `+02:00`, with `separator` in its middle.
    pub fn zone(&self, separator: &str) -> String {
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.abs() / 60;
        format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
    }

    /// Returns it as RFC 3339 writes it, to the second.
    pub fn rfc3339(&self) -> String {
        let f = self.fields();
        let sign = if f.year < 0 { "-" } else { "" };
        let zone = if self.offset == 0 { "Z".into() } else { self.zone(":") };
        let date = format!("{sign}{:04}-{:02}-{:02}", f.year.abs(), f.month, f.day);
        format!("{date}T{:02}:{:02}:{:02}{zone}", f.hour, f.minute, f.second)
    }
}

fn days_in(year: i64, month: u32) -> u32 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days in the 400 years after which the calendar repeats.
const ERA: i64 = 146_097;
/// Days from the first of March of year 0 to 1970.
const EPOCH: i64 = 719_468;

/// Returns the days from 1970 to a date, in years that start in March, so that a leap day is the last of its year.
fn days_before(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let months = i64::from((month + 9) % 12);
    let of_year = (153 * months + 2) / 5 + i64::from(day) - 1;
    era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH
}

/// Returns year, month and day of the day this many days after the first of 1970.
fn date(days: i64) -> (i64, u32, u32) {
    let days = days + EPOCH;
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let months = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * months + 2) / 5 + 1) as u32;
    let month = if months < 10 { months + 3 } else { months - 9 } as u32;
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        for (year, month, day, days) in [(1970, 1, 1, 0), (2000, 2, 29, 11_016), (1969, 12, 31, -1), (0, 3, 1, -EPOCH)]
        {
            assert_eq!((days_before(year, month, day), date(days)), (days, (year, month, day)));
        }
        for days in (-900_000..4_000_000).step_by(37) {
            let (year, month, day) = date(days);
            assert_eq!(days_before(year, month, day), days);
        }
    }

    #[test]
    fn moments_are_parsed_strictly() {
        assert_eq!(
            Moment::parse("1970-01-02T00:00:00.5+01:00").map(|m| (m.seconds, m.nanoseconds)),
            Some((82_800, 500_000_000))
        );
        for text in [
            "2023-02-29T00:00:00Z",
            "2020-01-01 00:00:00Z",
            "2020-01-01T24:00:00Z",
            "2020-01-01T00:00:60Z",
            "2020-01-01T00:00:00",
            "2020-01-01T00:00:00.Z",
            "2020-01-01T00:00:00+24:00",
            "2020-01-01T00:00:00z",
            "é",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
        assert_eq!(Moment::parse("2021-01-03T00:00:00Z").map(|m| m.iso_week()), Some((2020, 53)));
    }
}
