//! A line's text to words, flags, pairs and JSON lists.

use std::ops::Range;

use crate::diagnostic::Span;

use super::lines::Positions;

/// A word with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// As written, or as JSON has it; not expanded.
    pub text: String,
    /// Where it is.
    pub span: Span,
}

/// A word as a range of the text that it was cut from.
pub(super) struct Cut {
    pub(super) text: String,
    pub(super) range: Range<usize>,
}

impl Cut {
    pub(super) fn at(self, positions: &Positions) -> Word {
        Word { text: self.text, span: positions.span(self.range) }
    }
}

/// Says whether `c` separates words of an instruction.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Cuts `text[from..]` at blanks.
pub(super) fn split_blanks(text: &str, from: usize) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let mut at = from;
    for piece in text[from..].split(is_blank) {
        if !piece.is_empty() {
            cuts.push(Cut { text: piece.to_owned(), range: at..at + piece.len() });
        }
        at += piece.len() + 1;
    }
    cuts
}

/// Cuts `text[from..]` at blanks outside quotes; quotes and escapes stay as they are.
pub(super) fn split_quoted(text: &str, from: usize, escape: char) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let mut chars = text[from..].char_indices().map(|(at, c)| (from + at, c)).peekable();
    while let Some(&(start, c)) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let mut word = String::new();
        let mut quote = None;
        let mut end = start;
        while let Some(&(at, c)) = chars.peek() {
            if quote.is_none() && c.is_whitespace() {
                break;
            }
            chars.next();
            end = at + c.len_utf8();
            match quote {
                None if c == '\'' || c == '"' => quote = Some(c),
                Some(open) if c == open => quote = None,
                _ => {}
            }
            if c != escape || quote == Some('\'') {
                word.push(c);
            } else if let Some((at, next)) = chars.next() {
                // What follows is not looked at: a quote or blank there does not count. A lone one at the end is dropped.
                word.extend([c, next]);
                end = at + next.len_utf8();
            }
        }
        cuts.push(Cut { text: word, range: start..end });
    }
    cuts
}

/// Cuts the `--flag` words off the front of `text[from..]`, quotes and backslashes removed; returns them and where the
/// rest starts.
pub(super) fn split_flags(text: &str, from: usize) -> (Vec<Cut>, usize) {
    let mut flags = Vec::new();
    let mut at = from;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if !text[at..].starts_with("--") {
            return (flags, at);
        }
        let (word, end) = flag_word(text, at);
        if word == "--" {
            return (flags, end);
        }
        flags.push(Cut { text: word, range: at..end });
        at = end;
    }
}

fn flag_word(text: &str, start: usize) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text[start..].char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => return (word, start + at),
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('\\', _) => word.extend(chars.next().map(|(_, next)| next)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}

/// What a text is as JSON.
pub(super) enum Json {
    /// A list of strings.
    List(Vec<String>),
    /// A list with something else in it.
    NotStrings,
    /// No list, or malformed: the text is in shell form.
    No,
}

/// Reads `text` as a JSON list.
pub(super) fn json_list(text: &str) -> Json {
    if !text.trim_start().starts_with('[') {
        return Json::No;
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Json::No };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    });
    strings.collect::<Option<Vec<String>>>().map_or(Json::NotStrings, Json::List)
}

/// Cuts a line of comma-separated values (RFC 4180: a field in double quotes may hold commas, `""` is a quote in it).
///
/// `None` where a quote is not closed or stands inside a bare field.
pub(super) fn split_csv(text: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut is_quoted = false;
    let mut is_closed = false;
    while let Some(c) = chars.next() {
        let field = fields.last_mut()?;
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if is_quoted => (is_quoted, is_closed) = (false, true),
            '"' if field.is_empty() && !is_closed => is_quoted = true,
            ',' if !is_quoted => {
                is_closed = false;
                fields.push(String::new());
            }
            '"' => return None,
            _ if is_closed => return None,
            _ => field.push(c),
        }
    }
    (!is_quoted).then_some(fields)
}
