//! The patterns of `${NAME#…}`, `${NAME%…}` and `${NAME/…/…}`: `*`, `?` and escaped characters.

use std::fmt::Write as _;

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
    pub(super) fn cut_prefix(&self, value: &str, is_greedy: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        match match_length(&self.0, &chars, is_greedy) {
            Some(length) => chars[length..].iter().collect(),
            None => value.to_owned(),
        }
    }

    /// Returns `value` without the shortest or longest suffix that matches.
    pub(super) fn cut_suffix(&self, value: &str, is_greedy: bool) -> String {
        let chars: Vec<char> = value.chars().rev().collect();
        let pieces: Vec<Piece> = self.0.iter().rev().copied().collect();
        match match_length(&pieces, &chars, is_greedy) {
            Some(length) => chars[length..].iter().rev().collect(),
            None => value.to_owned(),
        }
    }

    /// Returns `value` with the first or every longest match replaced. As in the peer, `$1` in the replacement of every
    /// match is a (always empty) group, and is plain text in the replacement of the first.
    pub(super) fn replace(&self, value: &str, replacement: &str, is_every: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let mut text = String::new();
        let mut at = 0;
        let mut last_end = None;
        while at <= chars.len() {
            let length = match_length(&self.0, &chars[at..], true);
            match length {
                // An empty match right after a match is none.
                Some(length) if length > 0 || last_end != Some(at) => {
                    let matched: String = chars[at..at + length].iter().collect();
                    text.push_str(&if is_every { template(replacement, &matched) } else { replacement.to_owned() });
                    at += length;
                    last_end = Some(at);
                    if !is_every {
                        break;
                    }
                    if length > 0 {
                        continue;
                    }
                }
                _ => {}
            }
            text.extend(chars.get(at));
            at += 1;
        }
        text.extend(chars.iter().skip(at));
        text
    }
}

/// Returns the length of the shortest or longest prefix of `chars` that matches all of `pieces`.
fn match_length(pieces: &[Piece], chars: &[char], is_greedy: bool) -> Option<usize> {
    // ends[n]: the pieces so far can match the first n characters.
    let mut ends = vec![false; chars.len() + 1];
    ends[0] = true;
    for piece in pieces {
        let mut next = vec![false; chars.len() + 1];
        for at in 0..=chars.len() {
            next[at] = match piece {
                Piece::Many => ends[at] || (at > 0 && next[at - 1]),
                Piece::One => at > 0 && ends[at - 1],
                Piece::Char(c) => at > 0 && ends[at - 1] && chars[at - 1] == *c,
            };
        }
        ends = next;
    }
    if is_greedy { ends.iter().rposition(|end| *end) } else { ends.iter().position(|end| *end) }
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
