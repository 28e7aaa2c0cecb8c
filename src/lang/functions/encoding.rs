//! Functions that encode and decode: JSON, CSV, base64, URLs.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use super::Parameter::{Nullable, Text};
use super::json::decoded;
use super::{Function, World, fixed, text_at};
use crate::lang::limits::{ELEMENT, items_fit, text_fits, value_fits};
use crate::lang::number::Number;
use crate::lang::value::{Type, Value};

/// Bits past the last whole byte count for nothing, as in the peer.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

pub(super) const TABLE: &[Function] = &[
    fixed("base64decode", &[Text], |_, v| {
        let text = text_at(v, 0).replace(['\n', '\r'], "");
        let bytes = LENIENT.decode(text).map_err(|_| "this is no base64")?;
        String::from_utf8(bytes).map(Value::string).map_err(|_| "the decoded bytes are no UTF-8".into())
    }),
    fixed("base64encode", &[Text], |_, v| Ok(Value::string(STANDARD.encode(text_at(v, 0))))),
    fixed("csvdecode", &[Text], csvdecode),
    fixed("jsondecode", &[Text], |_, v| {
        items_fit(Some(text_at(v, 0).matches([',', '[', '{', ':']).count()))?;
        decoded(text_at(v, 0))
    }),
    fixed("jsonencode", &[Nullable], |_, v| json_text(&v[0]).map(Value::string)),
    fixed("urlencode", &[Text], |_, v| Ok(Value::string(urlencode(text_at(v, 0))))),
];

/// Returns the value of a JSON document: arrays are tuples, objects are objects.
pub fn from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::NULL,
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::Number(number) => {
            Number::parse(&number.to_string()).map_or(Value::Null(Type::Number), Value::Number)
        }
        serde_json::Value::String(text) => Value::string(text),
        serde_json::Value::Array(items) => Value::tuple(items.iter().map(from_json).collect()),
        serde_json::Value::Object(entries) => {
            Value::object(entries.iter().map(|(key, value)| (key.clone(), from_json(value))).collect())
        }
    }
}

/// Returns compact JSON, keys sorted.
///
/// # Errors
/// It is too long for a text, or an infinite number is in it.
pub fn json_text(value: &Value) -> Result<String, String> {
    let mut text = String::new();
    write_json(value, &mut text)?;
    Ok(text)
}

fn write_json(value: &Value, text: &mut String) -> Result<(), String> {
    let separate = |text: &mut String, i: usize| {
        if i > 0 {
            text.push(',')
        }
    };
    match value {
        Value::Null(_) => text.push_str("null"),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) if number.decimal().is_none() => return Err("JSON has no infinite numbers".into()),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::String(string) => write_json_string(string, text),
        Value::List(items) | Value::Set(items) | Value::Tuple(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                separate(text, i);
                write_json(item, text)?;
            }
            text.push(']');
        }
        Value::Map(entries) | Value::Object(entries) => {
            text.push('{');
            for (i, (key, item)) in entries.iter().enumerate() {
                separate(text, i);
                write_json_string(key, text);
                text.push(':');
                write_json(item, text)?;
            }
            text.push('}');
        }
    }
    text_fits(Some(text.len()))
}

/// Writes a JSON string as the peer does: `<`, `>`, `&` and the two line separators are escaped.
pub fn write_json_string(string: &str, text: &mut String) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                text.push_str(&format!("\\u{:04x}", c as u32));
            }
            _ => text.push(c),
        }
    }
    text.push('"');
}

fn urlencode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn csvdecode(_: &World, v: &[Value]) -> Result<Value, String> {
    items_fit(Some(text_at(v, 0).matches([',', '\n']).count()))?;
    let mut lines = csv_records(text_at(v, 0))?.into_iter();
    let header = lines.next().ok_or("the header line is missing")?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = header.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(format!("two columns are called \"{twice}\""));
    }
    // Each record holds the names of all columns.
    value_fits(lines.len().checked_mul(header.iter().map(|name| ELEMENT + name.len()).sum()))?;
    let mut rows = Vec::new();
    for (i, line) in lines.enumerate() {
        if line.len() != header.len() {
            return Err(format!("record {} has {} fields, the header {}", i + 1, line.len(), header.len()));
        }
        let row: BTreeMap<String, Value> = header.iter().cloned().zip(line.iter().map(Value::string)).collect();
        rows.push(Value::object(row));
    }
    Ok(Value::list(rows))
}

/// Reads RFC 4180 records; empty lines are skipped.
///
/// # Errors
/// A quote in a field that does not start with one, or one that is not closed.
pub fn csv_records(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut records = Vec::new();
    let mut chars = text.chars().peekable();
    while chars.peek().is_some() {
        let (mut record, mut is_empty_line) = (Vec::new(), true);
        loop {
            let mut field = String::new();
            if chars.next_if_eq(&'"').is_some() {
                is_empty_line = false;
                loop {
                    match chars.next() {
                        Some('"') if chars.next_if_eq(&'"').is_some() => field.push('"'),
                        Some('"') => break,
                        // A line ends in one sign, whatever the file has.
                        Some('\r') if chars.peek() == Some(&'\n') => {}
                        Some(c) => field.push(c),
                        None => return Err("a quoted field is not closed".into()),
                    }
                }
                if chars.peek().is_some_and(|c| !matches!(c, ',' | '\n' | '\r')) {
                    return Err("text after the closing quote of a field".into());
                }
            } else {
                while let Some(c) = chars.next_if(|c| !matches!(c, ',' | '\n')) {
                    if c == '"' {
                        return Err("a quote in a field that does not start with one".into());
                    }
                    field.push(c);
                }
                if field.ends_with('\r') && chars.peek() != Some(&',') {
                    field.pop();
                }
            }
            chars.next_if_eq(&'\r');
            is_empty_line &= field.is_empty();
            record.push(field);
            match chars.next() {
                Some(',') => is_empty_line = false,
                _ => break,
            }
        }
        if !is_empty_line {
            records.push(record);
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_hold_commas_and_quotes() {
        let records = csv_records("a,\"b,\"\"c\"\"\",\r\n\n1,2,3").expect("valid");
        assert_eq!(records, [vec!["a", "b,\"c\"", ""], vec!["1", "2", "3"]]);
        assert!(csv_records("a\"b").is_err() && csv_records("\"a").is_err());
    }
}
