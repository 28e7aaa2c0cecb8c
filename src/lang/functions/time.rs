//! Functions of time. The clock is not read here: `timestamp()` says what the caller passed in.

use std::collections::BTreeMap;

use super::Parameter::{Any, Number as N, Text};
use super::moment::Moment;
use super::{Function, World, fixed, text_at, whole_at};
use crate::lang::number::Number;
use crate::lang::value::Value;

pub(super) const TABLE: &[Function] = &[
    fixed("formatdate", &[Text, Text], |_, v| formatted(text_at(v, 0), &parsed(text_at(v, 1))?).map(Value::string)),
    fixed("formattimestamp", &[Text, Any], |_, v| {
        let time = match &v[1] {
            Value::Number(_) => Moment::utc(whole_at(v, 1)?),
            Value::String(text) => parsed(text)?,
            other => return Err(format!("a time or a number of seconds is required, but have {}", other.type_of())),
        };
        match text_at(v, 0) {
            "X" => Ok(Value::string(time.seconds.to_string())),
            // The peer writes the time out and reads it again, which goes up to the year 9999.
            pattern => formatted(pattern, &parsed(&time.rfc3339())?).map(Value::string),
        }
    }),
    fixed("timeadd", &[Text, Text], |_, v| {
        let text = text_at(v, 1);
        let duration = nanoseconds(text).ok_or_else(|| format!("\"{text}\" is no duration such as 1h30m"))?;
        Ok(Value::string(parsed(text_at(v, 0))?.add(duration).rfc3339()))
    }),
    fixed("timestamp", &[], |world, _| Ok(Value::string(Moment::utc(world.now).rfc3339()))),
    fixed("unixtimestampparse", &[N], unixtimestampparse),
];

fn parsed(text: &str) -> Result<Moment, String> {
    Moment::parse(text).ok_or_else(|| format!("\"{text}\" is no time such as 2006-01-02T15:04:05Z"))
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

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

fn month(time: &Moment) -> &'static str {
    MONTHS[time.fields().month as usize - 1]
}

fn weekday(time: &Moment) -> &'static str {
    WEEKDAYS[time.fields().weekday as usize]
}

/// Formats by runs of letters (`YYYY`, `hh`, …); text in single quotes stands as it is.
fn formatted(pattern: &str, time: &Moment) -> Result<String, String> {
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

fn field(word: &str, time: &Moment) -> Result<String, String> {
    let fields = time.fields();
    let twelve = if fields.hour.is_multiple_of(12) { 12 } else { fields.hour % 12 };
    let is_utc = time.offset == 0;
    Ok(match word {
        "YYYY" => format!("{:04}", fields.year),
        "YY" => format!("{:02}", fields.year.rem_euclid(100)),
        "MMMM" => month(time).to_owned(),
        "MMM" => month(time)[..3].to_owned(),
        "MM" => format!("{:02}", fields.month),
        "M" => fields.month.to_string(),
        "DD" => format!("{:02}", fields.day),
        "D" => fields.day.to_string(),
        "EEEE" => weekday(time).to_owned(),
        "EEE" => weekday(time)[..3].to_owned(),
        "hh" => format!("{:02}", fields.hour),
        "h" => fields.hour.to_string(),
        "HH" => format!("{twelve:02}"),
        "H" => twelve.to_string(),
        "AA" => if fields.hour < 12 { "AM" } else { "PM" }.to_owned(),
        "aa" => if fields.hour < 12 { "am" } else { "pm" }.to_owned(),
        "mm" => format!("{:02}", fields.minute),
        "m" => fields.minute.to_string(),
        "ss" => format!("{:02}", fields.second),
        "s" => fields.second.to_string(),
        "ZZZZZ" => time.zone(":"),
        "ZZZZ" => time.zone(""),
        "ZZZ" if is_utc => "UTC".to_owned(),
        "ZZZ" => time.zone(""),
        "Z" if is_utc => "Z".to_owned(),
        "Z" => time.zone(":"),
        _ => return Err(format!("`{word}` is no part of a date format; put other text in single quotes")),
    })
}

/// Reads a duration such as `-1h30m0.5s`, in nanoseconds (Go, `time.ParseDuration`).
fn nanoseconds(text: &str) -> Option<i64> {
    let is_negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0i128;
    while {
        let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(n_digits);
        let after_point = after.strip_prefix('.').unwrap_or(after);
        let n_decimals =
            if after.starts_with('.') { after_point.bytes().take_while(u8::is_ascii_digit).count() } else { 0 };
        let (decimals, after) = after_point.split_at(n_decimals);
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        if whole.is_empty() && decimals.is_empty() {
            return None;
        }
        // Further digits are below a nanosecond.
        let decimals = &decimals[..decimals.len().min(18)];
        let scale = 10i128.pow(decimals.len() as u32);
        let fraction = decimals.parse::<i128>().unwrap_or(0) * unit / scale;
        let whole = if whole.is_empty() { 0 } else { i128::from(whole.parse::<u64>().ok()?) };
        total = total.checked_add(whole * unit + fraction).filter(|total| *total <= 1 << 63)?;
        rest = after;
        !rest.is_empty()
    } {}
    i64::try_from(if is_negative { -total } else { total }).ok()
}

fn unixtimestampparse(_: &World, v: &[Value]) -> Result<Value, String> {
    let time = Moment::utc(whole_at(v, 0)?);
    let (fields, (iso_year, iso_week)) = (time.fields(), time.iso_week());
    let number = |n: i64| Value::Number(Number::from(n));
    let entries = [
        ("year", number(fields.year)),
        ("year_day", number(fields.day_of_year.into())),
        ("day", number(fields.day.into())),
        ("month", number(fields.month.into())),
        ("month_name", Value::string(month(&time))),
        ("weekday", number(fields.weekday.into())),
        ("weekday_name", Value::string(weekday(&time))),
        ("hour", number(fields.hour.into())),
        ("minute", number(fields.minute.into())),
        ("second", number(fields.second.into())),
        ("rfc3339", Value::string(time.rfc3339())),
        ("iso_year", number(iso_year)),
        ("iso_week", number(iso_week.into())),
    ];
    Ok(Value::object(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>()))
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
        assert_eq!(nanoseconds("-1h0.5m1.5s"), Some(-3_631_500_000_000));
        for text in ["", "1", "1h0", ".s", "1d", "-", "9999999h", "1h-1m"] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
        assert!(parsed("yesterday").is_err());
    }
}
