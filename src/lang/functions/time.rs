//! Functions of time. The clock is not read here: `timestamp()` says what the caller passed in.

use std::collections::BTreeMap;

use jiff::civil::Weekday;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::Parameter::{Number as N, Text};
use super::{Function, World, fixed, text_at, whole_at};
use crate::lang::number::Number;
use crate::lang::value::Value;

pub(super) const TABLE: &[Function] = &[
    fixed("formatdate", &[Text, Text], |_, v| formatted(text_at(v, 0), &parsed(text_at(v, 1))?).map(Value::string)),
    fixed("formattimestamp", &[Text, Text], |_, v| {
        let time = match text_at(v, 1).parse::<i64>() {
            Ok(seconds) => utc(seconds)?,
            Err(_) => parsed(text_at(v, 1))?,
        };
        match text_at(v, 0) {
            "X" => Ok(Value::string(time.timestamp().as_second().to_string())),
            pattern => formatted(pattern, &time).map(Value::string),
        }
    }),
    fixed("timeadd", &[Text, Text], timeadd),
    fixed("timestamp", &[], |world, _| Ok(Value::string(rfc3339(&utc(world.now)?)))),
    fixed("unixtimestampparse", &[N], unixtimestampparse),
];

fn utc(seconds: i64) -> Result<Zoned, String> {
    let timestamp = Timestamp::from_second(seconds).map_err(|_| format!("{seconds} is no time that can be written"))?;
    Ok(timestamp.to_zoned(TimeZone::UTC))
}

fn parsed(text: &str) -> Result<Zoned, String> {
    const PARSER: DateTimeParser = DateTimeParser::new();
    let invalid = || format!("\"{text}\" is no time such as 2006-01-02T15:04:05Z");
    let timestamp = PARSER.parse_timestamp(text).map_err(|_| invalid())?;
    let offset = match text.rfind(['+', '-']).filter(|at| *at > 10) {
        Some(at) => {
            let (hours, minutes) = text[at + 1..].split_once(':').ok_or_else(invalid)?;
            let seconds = hours.parse::<i32>().map_err(|_| invalid())? * 3600
                + minutes.parse::<i32>().map_err(|_| invalid())? * 60;
            Offset::from_seconds(if text[at..].starts_with('-') { -seconds } else { seconds }).map_err(|_| invalid())?
        }
        None => Offset::UTC,
    };
    Ok(timestamp.to_zoned(TimeZone::fixed(offset)))
}

fn zone(time: &Zoned, separator: &str) -> String {
    let seconds = time.offset().seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
}

fn rfc3339(time: &Zoned) -> String {
    let zone = if time.offset() == Offset::UTC { "Z".into() } else { zone(time, ":") };
    format!("{}{zone}", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

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

fn weekday(time: &Zoned) -> &'static str {
    match time.weekday() {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

fn month(time: &Zoned) -> &'static str {
    MONTHS.get(usize::try_from(time.month() - 1).unwrap_or(0)).copied().unwrap_or("January")
}

/// Formats by runs of letters (`YYYY`, `hh`, …); text in single quotes stands as it is.
fn formatted(pattern: &str, time: &Zoned) -> Result<String, String> {
    let mut text = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
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

fn field(word: &str, time: &Zoned) -> Result<String, String> {
    let twelve = if time.hour() % 12 == 0 { 12 } else { time.hour() % 12 };
    let is_utc = time.offset() == Offset::UTC;
    Ok(match word {
        "YYYY" => format!("{:04}", time.year()),
        "YY" => format!("{:02}", time.year().rem_euclid(100)),
        "MMMM" => month(time).to_owned(),
        "MMM" => month(time)[..3].to_owned(),
        "MM" => format!("{:02}", time.month()),
        "M" => time.month().to_string(),
        "DD" => format!("{:02}", time.day()),
        "D" => time.day().to_string(),
        "EEEE" => weekday(time).to_owned(),
        "EEE" => weekday(time)[..3].to_owned(),
        "hh" => format!("{:02}", time.hour()),
        "h" => time.hour().to_string(),
        "HH" => format!("{twelve:02}"),
        "H" => twelve.to_string(),
        "AA" => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        "aa" => if time.hour() < 12 { "am" } else { "pm" }.to_owned(),
        "mm" => format!("{:02}", time.minute()),
        "m" => time.minute().to_string(),
        "ss" => format!("{:02}", time.second()),
        "s" => time.second().to_string(),
        "ZZZZZ" => zone(time, ":"),
        "ZZZZ" => zone(time, ""),
        "ZZZ" if is_utc => "UTC".to_owned(),
        "ZZZ" => zone(time, ""),
        "Z" if is_utc => "Z".to_owned(),
        "Z" => zone(time, ":"),
        _ => return Err(format!("`{word}` is no part of a date format; put other text in single quotes")),
    })
}

fn timeadd(_: &World, v: &[Value]) -> Result<Value, String> {
    let (time, text) = (parsed(text_at(v, 0))?, text_at(v, 1));
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let invalid = || format!("\"{text}\" is no duration such as 1h30m");
    let mut seconds = 0f64;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() && rest != "0" {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let (amount, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(invalid()),
        };
        seconds += amount.parse::<f64>().map_err(|_| invalid())? * scale;
        rest = after;
    }
    let duration =
        SignedDuration::try_from_secs_f64(if is_negative { -seconds } else { seconds }).map_err(|_| invalid())?;
    time.checked_add(duration).map(|time| Value::string(rfc3339(&time))).map_err(|_| invalid())
}

fn unixtimestampparse(_: &World, v: &[Value]) -> Result<Value, String> {
    let time = utc(whole_at(v, 0)?)?;
    let iso = time.date().iso_week_date();
    let number = |n: i64| Value::Number(Number::from(n));
    let fields = [
        ("year", number(time.year().into())),
        ("year_day", number(time.day_of_year().into())),
        ("day", number(time.day().into())),
        ("month", number(time.month().into())),
        ("month_name", Value::string(month(&time))),
        ("weekday", number(time.weekday().to_sunday_zero_offset().into())),
        ("weekday_name", Value::string(weekday(&time))),
        ("hour", number(time.hour().into())),
        ("minute", number(time.minute().into())),
        ("second", number(time.second().into())),
        ("rfc3339", Value::string(rfc3339(&time))),
        ("iso_year", number(iso.year().into())),
        ("iso_week", number(iso.week().into())),
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
