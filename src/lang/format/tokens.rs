//! Words of HCL text that is known to parse. Strings, heredocs and comments are one word each.

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lang) enum Kind {
    Newline,
    /// To the end of the line, or between `/*` and `*/`.
    Comment,
    /// A name, a number.
    Word,
    /// A quoted string with all that is in it.
    Text,
    /// From `<<` to the closing word.
    Heredoc,
    /// Brackets and operators.
    Mark,
}

/// A word and its text.
#[derive(Clone, Copy, Debug)]
pub(in crate::lang) struct Token<'a> {
    pub(in crate::lang) kind: Kind,
    pub(in crate::lang) text: &'a str,
}

/// Marks of more than one character, longest first.
const MARKS: [&str; 9] = ["...", "=>", "==", "!=", "<=", ">=", "&&", "||", "::"];

/// Splits a text into words; blanks are dropped.
pub(in crate::lang) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kind, n) = match first {
            '\n' => (Some(Kind::Newline), 1),
            c if c.is_whitespace() => (None, c.len_utf8()),
            '#' => (Some(Kind::Comment), line_end(rest)),
            '/' if rest.starts_with("//") => (Some(Kind::Comment), line_end(rest)),
            '/' if rest.starts_with("/*") => {
                (Some(Kind::Comment), rest.get(2..).and_then(|r| r.find("*/")).map_or(rest.len(), |at| at + 4))
            }
            '"' => (Some(Kind::Text), quoted(rest)),
            '<' if heredoc(rest).is_some() => (Some(Kind::Heredoc), heredoc(rest).unwrap_or(rest.len())),
            '0'..='9' => (Some(Kind::Word), number(rest)),
            c if c.is_alphanumeric() || c == '_' => {
                let is_in = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
                (Some(Kind::Word), rest.find(|c| !is_in(c)).unwrap_or(rest.len()))
            }
            c => {
                let long = MARKS.iter().find(|mark| rest.starts_with(**mark));
                (Some(Kind::Mark), long.map_or(c.len_utf8(), |mark| mark.len()))
            }
        };
        let (token, after) = rest.split_at(n.min(rest.len()));
        if let Some(kind) = kind {
            tokens.push(Token { kind, text: token });
        }
        rest = after;
    }
    tokens
}

fn line_end(text: &str) -> usize {
    let line = text.split('\n').next().unwrap_or(text);
    line.trim_end_matches('\r').len()
}

fn number(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') && is_digit(end + 1) {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let signed = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if is_digit(signed) {
            end = digits(signed);
        }
    }
    end
}

/// Returns the length of a quoted string; interpolations in it may hold strings again. A list of what is open stands in
/// for recursion.
fn quoted(text: &str) -> usize {
    #[derive(PartialEq)]
    enum Open {
        Quote,
        Brace,
    }
    let bytes = text.as_bytes();
    let mut open = vec![Open::Quote];
    let mut at = 1;
    while let (Some(byte), Some(inner)) = (bytes.get(at), open.last()) {
        let next = bytes.get(at + 1);
        let is_quote = *inner == Open::Quote;
        match byte {
            b'\\' if is_quote => at += 1,
            b'$' | b'%' if is_quote && next == Some(byte) && bytes.get(at + 2) == Some(&b'{') => at += 2,
            b'$' | b'%' if is_quote && next == Some(&b'{') => {
                open.push(Open::Brace);
                at += 1;
            }
            b'"' if is_quote => {
                open.pop();
            }
            b'"' => open.push(Open::Quote),
            b'{' if !is_quote => open.push(Open::Brace),
            b'}' if !is_quote => {
                open.pop();
            }
            _ => {}
        }
        at += 1;
        if open.is_empty() {
            return at;
        }
    }
    text.len()
}

/// Returns the length of a heredoc, the closing word included.
fn heredoc(text: &str) -> Option<usize> {
    let word = text.strip_prefix("<<")?;
    let word = word.strip_prefix('-').unwrap_or(word);
    let (word, _) = word.split_once('\n')?;
    let word = word.trim_end_matches('\r');
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    if word.is_empty() || !word.chars().all(is_name) {
        return None;
    }
    let mut at = text.find('\n')? + 1;
    for line in text[at..].split_inclusive('\n') {
        if line.trim() == word {
            return Some(at + line.trim_end().len());
        }
        at += line.len();
    }
    Some(text.len())
}
