//! Functions of time. The clock is not read here: `timestamp()` says what the caller passed in.
//!
//! Any second that 64 bits count has a date, as in the peer; a text has a year of four digits.

use std::collections::BTreeMap;

use super::Parameter::{Any, Number as N, Text};
use super::{Function, World, fixed, text_at, whole_at};
use crate::lang::number::Number;
use crate::lang::value::Value;

pub(super) const TABLE: &[Function] = &[
    fixed("formatdate", &[Text, Text], |_, v| formatted(text_at(v, 0), &parsed(text_at(v, 1))?).map(Value::string)),
    fixed("formattimestamp", &[Text, Any], formattimestamp),
    fixed("timeadd", &[Text, Text], timeadd),
    fixed("timestamp", &[], |world, _| Ok(Value::string(Time::utc(world.now).rfc3339()))),
    fixed("unixtimestampparse", &[N], unixtimestampparse),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const DAY: i64 = 86_400;
/// Days of 400 years: the calendar repeats itself.
const DAYS_OF_CYCLE: i64 = 146_097;

/// A second, and where on earth it is told.
#[derive(Clone, Copy, Debug)]
struct Time {
    /// Seconds since 1970 (UTC).
    unix: i64,
    nanoseconds: i64,
    /// Minutes that the clock is ahead of UTC.
    offset: i64,
}

/// A date and time of day as the clock shows it.
struct Clock {
    year: i64,
    /// From 1.
    month: i64,
    day: i64,
    /// From 1.
    day_of_year: i64,
    /// From Sunday, 0.
    weekday: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

/// Returns the days from 1970-01-01 to a date.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    // Years from March on: the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    cycle * DAYS_OF_CYCLE + year * 365 + year / 4 - year / 100 + day_of_year - 719_468
}

/// Returns year, month and day of a day that is counted from 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (cycle, day) = (days.div_euclid(DAYS_OF_CYCLE), days.rem_euclid(DAYS_OF_CYCLE));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (cycle * 400 + year + i64::from(month <= 2), month, day)
}

impl Time {
    fn utc(unix: i64) -> Time {
        Time { unix, nanoseconds: 0, offset: 0 }
    }

    fn clock(&self) -> Clock {
        let seconds = i128::from(self.unix) + i128::from(self.offset) * 60;
        let days = i64::try_from(seconds.div_euclid(i128::from(DAY))).unwrap_or(0);
        let second = i64::try_from(seconds.rem_euclid(i128::from(DAY))).unwrap_or(0);
        let (year, month, day) = date_of(days);
        Clock {
            year,
            month,
            day,
            day_of_year: days - days_of(year, 1, 1) + 1,
            weekday: (days + 4).rem_euclid(7),
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }

    fn zone(&self, separator: &str) -> String {
        let (sign, minutes) = (if self.offset < 0 { '-' } else { '+' }, self.offset.abs());
        format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
    }

    fn rfc3339(&self) -> String {
        let zone = if self.offset == 0 { "Z".into() } else { self.zone(":") };
        let Clock { year, month, day, hour, minute, second, .. } = self.clock();
        let sign = if year < 0 { "-" } else { "" };
        format!("{sign}{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}", year.abs())
    }
}

/// Reads `2006-01-02T15:04:05Z` (RFC 3339), with a fraction of a second or an offset; large letters only.
fn parsed(text: &str) -> Result<Time, String> {
    parsed_time(text).ok_or_else(|| format!("\"{text}\" is no time such as 2006-01-02T15:04:05Z"))
}

fn parsed_time(text: &str) -> Option<Time> {
    let shape = text.as_bytes().get(..19)?;
    let is_shaped =
        [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')].iter().all(|(at, sign)| shape[*at] == *sign);
    let number = |from: usize, to: usize, least: i64, most: i64| {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<i64>().ok().filter(|n| (least..=most).contains(n))
    };
    let (year, month, day) = (number(0, 4, 0, 9_999)?, number(5, 7, 1, 12)?, number(8, 10, 1, 31)?);
    let (hour, minute, second) = (number(11, 13, 0, 23)?, number(14, 16, 0, 59)?, number(17, 19, 0, 59)?);
    let days = days_of(year, month, day);
    let mut zone = text.get(19..).filter(|_| is_shaped && date_of(days) == (year, month, day))?;
    let mut nanoseconds = 0;
    if let Some(rest) = zone.strip_prefix('.') {
        let end = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
        nanoseconds = format!("{:0<9.9}", &rest[..end]).parse().ok()?;
        zone = &rest[end..];
    }
    let start = text.len() - zone.len();
    let offset = match zone.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let minutes = number(start + 1, start + 3, 0, 23)? * 60 + number(start + 4, start + 6, 0, 59)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let unix = days * DAY + hour * 3_600 + minute * 60 + second - offset * 60;
    Some(Time { unix, nanoseconds, offset })
}

fn month(month: i64) -> &'static str {
    usize::try_from(month - 1).ok().and_then(|i| MONTHS.get(i)).copied().unwrap_or("January")
}

fn weekday(weekday: i64) -> &'static str {
    usize::try_from(weekday).ok().and_then(|i| WEEKDAYS.get(i)).copied().unwrap_or("Sunday")
}

fn formattimestamp(_: &World, v: &[Value]) -> Result<Value, String> {
    let time = match &v[1] {
        Value::String(text) => parsed(text)?,
        Value::Number(_) => Time::utc(whole_at(v, 1)?),
        other => return Err(format!("a time or the seconds since 1970 required, but have {}", other.type_of())),
    };
    match text_at(v, 0) {
        "X" => Ok(Value::string(time.unix.to_string())),
        // A time that cannot be written in four digits of year has no other format.
        pattern => formatted(pattern, &parsed(&time.rfc3339())?).map(Value::string),
    }
}

/// Formats by runs of letters (`YYYY`, `hh`, …); text in single quotes stands as it is, and two of them are one.
fn formatted(pattern: &str, time: &Time) -> Result<String, String> {
    let mut text = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' if chars.next_if_eq(&'\'').is_some() => text.push('\''),
            '\'' => {
                let mut is_closed = false;
                while let Some(c) = chars.next() {
                    match c {
                        '\'' if chars.next_if_eq(&'\'').is_some() => text.push('\''),
                        '\'' => {
                            is_closed = true;
                            break;
                        }
                        c => text.push(c),
                    }
                }
                if !is_closed {
                    return Err("a quoted text in the format is not closed".into());
                }
            }
            c if c.is_ascii_alphabetic() => {
                let mut word = String::from(c);
                while let Some(same) = chars.next_if_eq(&c) {
                    word.push(same);
                }
                text.push_str(&field(&word, time)?);
            }
            c => text.push(c),
        }
    }
    Ok(text)
}

fn field(word: &str, time: &Time) -> Result<String, String> {
    let clock = time.clock();
    let twelve = if clock.hour % 12 == 0 { 12 } else { clock.hour % 12 };
    Ok(match word {
        "YYYY" => format!("{:04}", clock.year),
        "YY" => format!("{:02}", clock.year % 100),
        "MMMM" => month(clock.month).to_owned(),
        "MMM" => month(clock.month)[..3].to_owned(),
        "MM" => format!("{:02}", clock.month),
        "M" => clock.month.to_string(),
        "DD" => format!("{:02}", clock.day),
        "D" => clock.day.to_string(),
        "EEEE" => weekday(clock.weekday).to_owned(),
        "EEE" => weekday(clock.weekday)[..3].to_owned(),
        "hh" => format!("{:02}", clock.hour),
        "h" => clock.hour.to_string(),
        "HH" => format!("{twelve:02}"),
        "H" => twelve.to_string(),
        "AA" => if clock.hour < 12 { "AM" } else { "PM" }.to_owned(),
        "aa" => if clock.hour < 12 { "am" } else { "pm" }.to_owned(),
        "mm" => format!("{:02}", clock.minute),
        "m" => clock.minute.to_string(),
        "ss" => format!("{:02}", clock.second),
        "s" => clock.second.to_string(),
        "ZZZZZ" => time.zone(":"),
        "ZZZZ" => time.zone(""),
        "ZZZ" if time.offset == 0 => "UTC".to_owned(),
        "ZZZ" => time.zone(""),
        "Z" if time.offset == 0 => "Z".to_owned(),
        "Z" => time.zone(":"),
        _ => return Err(format!("`{word}` is no part of a date format; put other text in single quotes")),
    })
}

const SECOND: i128 = 1_000_000_000;

/// Reads `-1h30m` to nanoseconds, of which 64 bits can hold as many (Go, time.ParseDuration).
fn duration(text: &str) -> Option<i128> {
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    let (mut total, mut rest) = (0i128, Some(rest).filter(|rest| !rest.is_empty())?);
    while !rest.is_empty() {
        let (amount, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        let scale = match unit {
            "h" => 3_600 * SECOND,
            "m" => 60 * SECOND,
            "s" => SECOND,
            "ms" => 1_000_000,
            "us" | "µs" | "μs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { i128::from(whole.parse::<i64>().ok()?) };
        // Nothing is left of the digits after these, whatever the unit.
        let (mut part, mut power) = (0i128, 1i128);
        for digit in fraction.bytes().take(18) {
            part = part * 10 + i128::from(digit - b'0');
            power *= 10;
        }
        total = total.checked_add(whole * scale + part * scale / power)?;
        rest = after;
    }
    let total = if text.starts_with('-') { -total } else { total };
    i64::try_from(total).is_ok().then_some(total)
}

fn timeadd(_: &World, v: &[Value]) -> Result<Value, String> {
    let (time, text) = (parsed(text_at(v, 0))?, text_at(v, 1));
    let invalid = || format!("\"{text}\" is no duration such as 1h30m, of up to 292 years");
    let nanoseconds = i128::from(time.nanoseconds) + duration(text).ok_or_else(invalid)?;
    let unix = i128::from(time.unix) + nanoseconds.div_euclid(SECOND);
    Ok(Value::string(Time { unix: i64::try_from(unix).map_err(|_| invalid())?, ..time }.rfc3339()))
}

/// Returns the ISO 8601 year and week: the one that has the week's Thursday.
fn iso_week(clock: &Clock) -> (i64, i64) {
    let days = days_of(clock.year, clock.month, clock.day);
    let thursday = days - (clock.weekday + 6) % 7 + 3;
    let (year, ..) = date_of(thursday);
    (year, (thursday - days_of(year, 1, 1)) / 7 + 1)
}

fn unixtimestampparse(_: &World, v: &[Value]) -> Result<Value, String> {
    let time = Time::utc(whole_at(v, 0)?);
    let clock = time.clock();
    let (iso_year, iso_week) = iso_week(&clock);
    let number = |n: i64| Value::Number(Number::from(n));
    let fields = [
        ("year", number(clock.year)),
        ("year_day", number(clock.day_of_year)),
        ("day", number(clock.day)),
        ("month", number(clock.month)),
        ("month_name", Value::string(month(clock.month))),
        ("weekday", number(clock.weekday)),
        ("weekday_name", Value::string(weekday(clock.weekday))),
        ("hour", number(clock.hour)),
        ("minute", number(clock.minute)),
        ("second", number(clock.second)),
        ("rfc3339", Value::string(time.rfc3339())),
        ("iso_year", number(iso_year)),
        ("iso_week", number(iso_week)),
    ];
    Ok(Value::object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_formatted_and_moved() {
        let time = parsed("2026-01-02T15:04:05+02:00").expect("a time");
        let text = formatted("YYYY-MM-DD'T'hh:mm:ssZ EEE MMM D H aa 'o''clock'", &time);
        assert_eq!(text.as_deref(), Ok("2026-01-02T15:04:05+02:00 Fri Jan 2 3 pm o'clock"));
        assert!(formatted("QQ", &time).is_err());
        let moved = timeadd(&World::default(), &[Value::string("2026-01-31T23:30:00Z"), Value::string("1h30m")]);
        assert_eq!(moved, Ok(Value::string("2026-02-01T01:00:00Z")));
        assert!(parsed("yesterday").is_err());
    }
}
