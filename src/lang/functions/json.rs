//! `jsondecode`: JSON text (RFC 8259) to a value. Numbers keep all their digits, and half of a surrogate pair is U+FFFD, as in
//! the peer.

use std::collections::BTreeMap;

use crate::lang::number::Number;
use crate::lang::value::Value;

/// How deep arrays and objects may nest: what holds them is gone through by recursion.
const MAX_DEPTH: usize = 256;

/// Returns the value of a document: arrays are tuples, objects are objects.
///
/// # Errors
/// Where the text stops being JSON.
pub(super) fn decoded(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = reader.value()?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.wrong("the end")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn wrong(&self, wanted: &str) -> String {
        format!("this is no JSON: {wanted} is expected at offset {}", self.at)
    }

    /// Returns the byte after blanks.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Value::string),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Result<Value, String>) -> Result<Value, String> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("this JSON nests more than {MAX_DEPTH} levels deep"));
        }
        let value = inside(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Result<Value, String> {
        // By normal form: as it is written, and the value.
        let mut entries = BTreeMap::<String, (String, Value)>::new();
        while !self.take(b'}') {
            if !entries.is_empty() && !self.take(b',') {
                return Err(self.wrong("`,` or `}`"));
            }
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a key"));
            }
            let key = self.string()?;
            if !self.take(b':') {
                return Err(self.wrong("`:`"));
            }
            let value = self.value()?;
            let name = Value::string(&key).as_str().unwrap_or("").to_owned();
            let differs = |(before, other): &(String, Value)| *before != key || other.type_of() != value.type_of();
            if entries.get(&name).is_some_and(differs) {
                return Err(format!("`{name}` stands there twice, with values of different types"));
            }
            entries.insert(name, (key, value));
        }
        Ok(Value::object(entries.into_iter().map(|(name, (_, value))| (name, value)).collect()))
    }

    fn array(&mut self) -> Result<Value, String> {
        let mut items = Vec::new();
        while !self.take(b']') {
            if !items.is_empty() && !self.take(b',') {
                return Err(self.wrong("`,` or `]`"));
            }
            items.push(self.value()?);
        }
        Ok(Value::tuple(items))
    }

    fn word(&mut self) -> Result<Value, String> {
        for (word, value) in [("null", Value::NULL), ("true", Value::Bool(true)), ("false", Value::Bool(false))] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.wrong("a value"))
    }

    fn number(&mut self) -> Result<Value, String> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let text = &rest[..end];
        let digits = text.trim_start_matches('-');
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let has_digits = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let is_long = whole.len() > 1 && whole.starts_with('0') && !whole.starts_with(['e', 'E']);
        let is_padded = is_long && whole[1..].starts_with(|c: char| c.is_ascii_digit());
        let number = Number::parse(text).filter(|_| has_digits(whole) && has_digits(fraction) && !is_padded);
        let number = number.ok_or_else(|| self.wrong("a number"))?;
        self.at += end;
        Ok(Value::Number(number))
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find(|c: char| c == '"' || c == '\\' || c < ' ').ok_or_else(|| self.wrong("`\"`"))?;
            string.push_str(&rest[..end]);
            self.at += end + 1;
            match rest.as_bytes()[end] {
                b'"' => return Ok(string),
                b'\\' => string.push(self.escape()?),
                _ => return Err(self.wrong("an escaped control character")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let escape = self.text.as_bytes().get(self.at).copied();
        self.at += 1;
        Ok(match escape {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => self.unicode()?,
            _ => {
                self.at -= 1;
                return Err(self.wrong("an escape such as `\\n`"));
            }
        })
    }

    fn unicode(&mut self) -> Result<char, String> {
        let first = self.code_unit().ok_or_else(|| self.wrong("four hexadecimal digits"))?;
        if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            let start = self.at;
            self.at += 2;
            if let Some(second) = self.code_unit().filter(|second| (0xdc00..0xe000).contains(second)) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = start;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn code_unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "", "[1,]", "[,1]", "{\"a\"}", "{a:1}", "01", "1.", ".5", "-", "+1", "\"\\x\"", "\"\n\"", "1 2", "nul",
            "\"é",
        ] {
            assert!(decoded(text).is_err(), "{text}");
        }
        assert!(decoded(&"[".repeat(MAX_DEPTH + 1)).is_err());
        assert_eq!(decoded(" \"\\ud83d\\ude00\\ud800\\u00e9\" "), Ok(Value::string("😀\u{fffd}é")));
    }
}
