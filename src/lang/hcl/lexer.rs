//! HCL's tokens outside of templates (hclsyntax, `scan_tokens.rl`).

use unicode_ident::{is_xid_continue, is_xid_start};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name; `-` may be in it.
    Word,
    /// Digits, points and exponents, not looked at further.
    Number,
    Newline,
    End,
    /// `"`, after which a template begins.
    Quote,
    /// `<<WORD` or `<<-WORD` and the end of its line.
    Heredoc,
    /// One of `[ ] ( ) { } . , * / % + - = < > ! ? :`.
    Sign(u8),
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>=`
    GreaterOrEqual,
    /// `<=`
    LessOrEqual,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `::`
    Colons,
    /// `...`
    Ellipsis,
    /// `=>`
    Arrow,
    /// `~}`
    StripBrace,
    /// `/*` without its end.
    OpenComment,
    /// A character that means nothing here.
    Unknown,
}

/// A token and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    /// Says whether this is the sign `sign`.
    pub(super) fn is(self, sign: u8) -> bool {
        self.kind == Kind::Sign(sign)
    }
}

/// Reads the first token at or after `at`. A line's comment ends before its newline.
pub(super) fn token(text: &str, at: usize) -> Token {
    let start = skip_blanks(text.as_bytes(), at);
    let (kind, length) = kind_and_length(&text[start..]);
    Token { kind, start, end: start + length }
}

/// Returns where blanks and comments end.
fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match bytes.get(at..) {
            Some([b' ' | b'\t', ..]) => at += 1,
            Some([b'\r', b'\n', ..]) => return at,
            Some([b'#', ..] | [b'/', b'/', ..]) => {
                let length = bytes[at..].iter().position(|byte| *byte == b'\n');
                at = length.map_or(bytes.len(), |length| at + length);
            }
            Some([b'/', b'*', rest @ ..]) => match rest.windows(2).position(|pair| pair == b"*/") {
                Some(length) => at += length + 4,
                None => return at,
            },
            _ => return at,
        }
    }
}

fn kind_and_length(rest: &str) -> (Kind, usize) {
    match rest.as_bytes() {
        [] => (Kind::End, 0),
        [b'\n', ..] => (Kind::Newline, 1),
        [b'\r', b'\n', ..] => (Kind::Newline, 2),
        [b'"', ..] => (Kind::Quote, 1),
        [b'/', b'*', ..] => (Kind::OpenComment, 2),
        [b'=', b'=', ..] => (Kind::Equal, 2),
        [b'!', b'=', ..] => (Kind::NotEqual, 2),
        [b'>', b'=', ..] => (Kind::GreaterOrEqual, 2),
        [b'<', b'=', ..] => (Kind::LessOrEqual, 2),
        [b'&', b'&', ..] => (Kind::And, 2),
        [b'|', b'|', ..] => (Kind::Or, 2),
        [b':', b':', ..] => (Kind::Colons, 2),
        [b'.', b'.', b'.', ..] => (Kind::Ellipsis, 3),
        [b'=', b'>', ..] => (Kind::Arrow, 2),
        [b'~', b'}', ..] => (Kind::StripBrace, 2),
        [b'<', b'<', ..] => match heredoc(rest) {
            Some(length) => (Kind::Heredoc, length),
            None => (Kind::Sign(b'<'), 1),
        },
        [b'0'..=b'9', ..] => (Kind::Number, number(rest.as_bytes())),
        [sign, ..] if b"[](){}.,*/%+-=<>!?:".contains(sign) => (Kind::Sign(*sign), 1),
        _ => match word(rest) {
            0 => (Kind::Unknown, rest.chars().next().map_or(0, char::len_utf8)),
            length => (Kind::Word, length),
        },
    }
}

/// Returns the length of the word that `text` begins with; 0 if it begins with none.
fn word(text: &str) -> usize {
    let mut chars = text.char_indices();
    match chars.next() {
        Some((_, first)) if first == '_' || is_xid_start(first) => {}
        _ => return 0,
    }
    chars.find(|(_, c)| *c != '-' && !is_xid_continue(*c)).map_or(text.len(), |(end, _)| end)
}

/// Returns the length of a number: it takes points and exponents as they come, but does not end with a point.
fn number(bytes: &[u8]) -> usize {
    let (mut at, mut end) = (1, 1);
    loop {
        match &bytes[at..] {
            [b'0'..=b'9', ..] => at += 1,
            [b'.', ..] => {
                at += 1;
                continue;
            }
            [b'e' | b'E', b'+' | b'-', b'0'..=b'9', ..] => at += 3,
            [b'e' | b'E', b'0'..=b'9', ..] => at += 2,
            _ => return end,
        }
        end = at;
    }
}

/// Returns the length of `<<WORD` with the end of its line.
fn heredoc(rest: &str) -> Option<usize> {
    let start = if rest.as_bytes().get(2) == Some(&b'-') { 3 } else { 2 };
    let end = start + word(&rest[start..]);
    let newline = match rest.as_bytes().get(end..)? {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => return None,
    };
    (end > start).then_some(end + newline)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(Kind, &str)> {
        let mut tokens = Vec::new();
        let mut at = 0;
        loop {
            let token = token(text, at);
            if token.kind == Kind::End {
                return tokens;
            }
            tokens.push((token.kind, &text[token.start..token.end]));
            at = token.end;
        }
    }

    #[test]
    fn numbers_do_not_end_with_a_point() {
        use Kind::*;
        assert_eq!(kinds("0.*"), [(Number, "0"), (Sign(b'.'), "."), (Sign(b'*'), "*")]);
        assert_eq!(kinds("1..."), [(Number, "1"), (Ellipsis, "...")]);
        assert_eq!(kinds("1.5e-3e"), [(Number, "1.5e-3"), (Word, "e")]);
        assert_eq!(kinds("1.2.3"), [(Number, "1.2.3")]);
    }

    #[test]
    fn comments_end_before_their_newline() {
        use Kind::*;
        assert_eq!(kinds("a # b\n/* c\n */ d // e"), [(Word, "a"), (Newline, "\n"), (Word, "d")]);
        assert_eq!(kinds("a\r\nb-c"), [(Word, "a"), (Newline, "\r\n"), (Word, "b-c")]);
        assert_eq!(kinds("/* a"), [(OpenComment, "/*"), (Word, "a")]);
    }

    #[test]
    fn a_heredoc_begins_with_its_word_and_the_end_of_the_line() {
        use Kind::*;
        assert_eq!(kinds("<<-A\n"), [(Heredoc, "<<-A\n")]);
        assert_eq!(kinds("<<A \n")[0], (Sign(b'<'), "<"));
        assert_eq!(kinds("é ÿ-1"), [(Word, "é"), (Word, "ÿ-1")]);
    }
}
