//! JSON texts as the peer reads them: numbers of any size, halves of surrogate pairs as U+FFFD, and a name twice in an object
//! only where both values are of one type.

use std::collections::BTreeMap;

use crate::lang::number::Number;
use crate::lang::value::Value;

/// How deep arrays and objects may nest; the peer's limit is 10,000.
const MAX_DEPTH: usize = 128;

/// Returns the value of a JSON text: arrays are tuples, objects are objects.
///
/// # Errors
/// What is wrong with it, and at which byte.
pub(super) fn decode(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.unexpected("the end")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn unexpected(&self, wanted: &str) -> String {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(c) => format!("{wanted} is expected at byte {}, but {c:?} stands there", self.at),
            None => format!("{wanted} is expected, but the text ends"),
        }
    }

    /// Takes `sign`, with spaces before it.
    fn take(&mut self, sign: u8) -> bool {
        self.skip_space();
        let is_there = self.peek() == Some(sign);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, sign: u8) -> Result<(), String> {
        match self.take(sign) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("`{}`", char::from(sign)))),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} levels are nested"));
        }
        self.skip_space();
        let rest = &self.text[self.at..];
        for (word, value) in [("null", Value::NULL), ("true", Value::Bool(true)), ("false", Value::Bool(false))] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        match self.peek() {
            Some(b'"') => self.string().map(Value::string),
            Some(b'[') => self.array(depth),
            Some(b'{') => self.object(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        self.expect(b'[')?;
        if self.take(b']') {
            return Ok(Value::tuple(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if !self.take(b',') {
                self.expect(b']')?;
                return Ok(Value::tuple(items));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        let mut entries = BTreeMap::<String, (String, Value)>::new();
        self.expect(b'{')?;
        if !self.take(b'}') {
            loop {
                self.skip_space();
                let written = self.string()?;
                self.expect(b':')?;
                let value = self.value(depth + 1)?;
                let name = Value::string(&written).as_str().unwrap_or("").to_owned();
                let is_other =
                    |(before, other): &(String, Value)| *before != written || other.type_of() != value.type_of();
                if entries.get(&name).is_some_and(is_other) {
                    return Err(format!("\"{name}\" is there twice, with values of different types"));
                }
                entries.insert(name, (written, value));
                if !self.take(b',') {
                    self.expect(b'}')?;
                    break;
                }
            }
        }
        Ok(Value::object(entries.into_iter().map(|(name, (_, value))| (name, value)).collect()))
    }

    fn digits(&mut self) -> Result<usize, String> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected("a digit")) } else { Ok(self.at - start) }
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let is_zero = self.peek() == Some(b'0');
        if self.digits()? > 1 && is_zero {
            return Err("a number begins with 0".into());
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        Number::parse(text).map(Value::Number).ok_or_else(|| Number::refusal(text, "a number is too large"))
    }

    fn string(&mut self) -> Result<String, String> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("`\"`"));
        }
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find(|c: char| matches!(c, '"' | '\\' | '\0'..='\u{1f}'));
            let end = end.ok_or("a string is not closed")?;
            string.push_str(&rest[..end]);
            self.at += end + 1;
            match rest.as_bytes()[end] {
                b'"' => return Ok(string),
                b'\\' => string.push(self.escaped()?),
                _ => return Err(format!("a control character stands in a string, at byte {}", self.at - 1)),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        let escape = self.peek();
        self.at += 1;
        Ok(match escape {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.unit()?;
                if let Some(c) = char::from_u32(first) {
                    return Ok(c);
                }
                let start = self.at;
                let second = if self.text[self.at..].starts_with("\\u") {
                    self.at += 2;
                    self.unit()?
                } else {
                    0
                };
                match char::decode_utf16([first as u16, second as u16]).next() {
                    Some(Ok(c)) if second != 0 => c,
                    // Half of a pair; what follows stands for itself.
                    _ => {
                        self.at = start;
                        char::REPLACEMENT_CHARACTER
                    }
                }
            }
            _ => return Err(format!("there is no such escape in a string, at byte {}", self.at - 1)),
        })
    }

    /// Reads four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let digits = digits.ok_or_else(|| self.unexpected("four hexadecimal digits"))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decoded() {
        let cases = [
            (r#" {"a" : [1, -2.50e1, true, null, "x"], "b":{}} "#, r#"{"a":[1,-25,true,null,"x"],"b":{}}"#),
            (r#""\ud83d\ude00\u0041\/\n""#, "\"😀A/\\n\""),
            (r#""\ud800x\udc00""#, "\"\u{fffd}x\u{fffd}\""),
            ("12345678901234567890123", "12345678901234567890123"),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ];
        for (text, json) in cases {
            let decoded = decode(text).and_then(|value| super::super::encoding::json_text(&value));
            assert_eq!(decoded.as_deref(), Ok(json), "{text}");
        }
        let wrong = [
            "",
            "[1,]",
            "{a:1}",
            "01",
            "1.",
            "1e",
            "-",
            "\"\t\"",
            "\"",
            "nul",
            "1 2",
            r#""\u12""#,
            r#""\x""#,
            "[",
            "\"\\",
        ];
        for text in wrong.into_iter().chain([r#"{"a":1,"a":"x"}"#]) {
            assert!(decode(text).is_err(), "{text}");
        }
        assert!(decode(&"[".repeat(100_000)).is_err());
    }
}
