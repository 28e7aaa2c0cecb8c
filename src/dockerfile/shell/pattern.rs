//! The patterns of `${NAME#…}`, `${NAME%…}` and `${NAME/…/…}`: `*`, `?` and escaped characters.

use std::fmt::Write as _;

use regex::Regex;

/// A pattern.
pub(super) struct Pattern(Vec<Piece>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Char(char),
    One,
    Many,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, String> {
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' => Piece::Many,
                '?' => Piece::One,
                '\\' => match chars.next() {
                    Some(next @ ('*' | '?' | '\\' | '}' | '/')) => Piece::Char(next),
                    Some(next) => return Err(format!("invalid escape `\\{next}` in a pattern")),
                    None => return Err("a pattern ends with a lone `\\`".to_owned()),
                },
                _ => Piece::Char(c),
            });
        }
        Ok(Pattern(pieces))
    }

    /// Returns `value` without the shortest or longest prefix that matches.
    pub(super) fn cut_prefix(&self, value: &str, is_greedy: bool) -> Result<String, String> {
        let found = regex("^", &self.0, is_greedy)?.find(value);
        Ok(value[found.map_or(0, |found| found.end())..].to_owned())
    }

    /// Returns `value` without the shortest or longest suffix that matches.
    pub(super) fn cut_suffix(&self, value: &str, is_greedy: bool) -> Result<String, String> {
        let reversed = |text: &str| text.chars().rev().collect::<String>();
        let pieces: Vec<Piece> = self.0.iter().rev().copied().collect();
        Ok(reversed(&Pattern(pieces).cut_prefix(&reversed(value), is_greedy)?))
    }

    /// Returns `value` with the first or every longest match replaced; `None` where that has more than `max_len` bytes. As
    /// in the peer, `$1` in the replacement of every match is a (always empty) group, and is plain text in the replacement
    /// of the first.
    pub(super) fn replace(
        &self,
        value: &str,
        replacement: &str,
        is_every: bool,
        max_len: usize,
    ) -> Result<Option<String>, String> {
        let regex = regex("", &self.0, true)?;
        let mut text = String::new();
        let mut at = 0;
        for found in regex.find_iter(value).take(if is_every { usize::MAX } else { 1 }) {
            text.push_str(&value[at..found.start()]);
            match is_every {
                true => text.push_str(&template(replacement, found.as_str())),
                false => text.push_str(replacement),
            }
            if text.len() > max_len {
                return Ok(None);
            }
            at = found.end();
        }
        text.push_str(&value[at..]);
        Ok(Some(text).filter(|text| text.len() <= max_len))
    }
}

/// Returns the peer's regular expression for a pattern: `*` and `?` match no newline.
fn regex(start: &str, pieces: &[Piece], is_greedy: bool) -> Result<Regex, String> {
    let mut text = start.to_owned();
    for piece in pieces {
        match piece {
            Piece::Char(c) => text.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            Piece::One => text.push('.'),
            Piece::Many => text.push_str(if is_greedy { ".*" } else { ".*?" }),
        }
    }
    Regex::new(&text).map_err(|_| "a pattern is too large".to_owned())
}

/// Fills in `$name` and `${name}`: `0` is the match, others are empty; `$$` is a dollar.
fn template(replacement: &str, matched: &str) -> String {
    let mut text = String::new();
    let mut rest = replacement;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
            continue;
        }
        let braced = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, after) = braced.unwrap_or((&rest[..length], &rest[length..]));
        match name {
            "" => text.push('$'),
            "0" => _ = write!(text, "{matched}"),
            _ => {}
        }
        rest = after;
    }
    text.push_str(rest);
    text
}
