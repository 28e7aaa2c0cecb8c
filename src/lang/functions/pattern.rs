//! Regular expressions as the peer writes them (Go's `regexp/syntax`, a dialect of RE2), said in the `regex` crate's dialect.
//!
//! The two agree on meaning, leftmost and greedy first; they differ in writing. There, `\d \w \s \b` are ASCII, `\Q…\E` is a
//! literal, a `{` that repeats nothing stands for itself, and `[a&&b]` is four characters; `(?x)`, `\u`, `a**` and sets inside
//! sets are unknown. What is unknown there is refused here, not given a meaning of our own.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use regex::{Captures, Regex};

/// The most repetitions that `{n,m}` may ask for.
const MAX_REPEAT: u32 = 1000;
/// More than the longest name of a class, such as `[:^xdigit:]`, has characters.
const MAX_CLASS_NAME: usize = 16;

/// Returns the pattern in the `regex` crate's dialect.
///
/// # Errors
/// What the peer's dialect does not have. Some mistakes are left for the crate to find.
pub(super) fn translated(pattern: &str) -> Result<String, String> {
    let mut translation = Translation {
        rest: pattern.chars().peekable(),
        text: String::new(),
        repeats: Repeats::Nothing,
        classes: BTreeMap::new(),
    };
    while let Some(c) = translation.rest.next() {
        translation.item(c)?;
    }
    Ok(translation.text)
}

/// What a repetition operator would follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeats {
    /// The start, a bar or an opening bracket.
    Nothing,
    /// Something that may be repeated.
    Item,
    /// A repetition: another is an error, not a double one.
    Repetition,
}

struct Translation<'a> {
    rest: Peekable<Chars<'a>>,
    text: String,
    repeats: Repeats,
    /// What names of Unicode classes were found to be: each is tried out once.
    classes: BTreeMap<(bool, String), String>,
}

impl Translation<'_> {
    fn item(&mut self, c: char) -> Result<(), String> {
        match c {
            '*' | '+' | '?' => return self.repetition(&c.to_string()),
            '{' => match self.counted()? {
                Some(operator) => return self.repetition(&operator),
                None => self.text.push_str("\\{"),
            },
            '(' => return self.group(),
            '|' => {
                self.text.push('|');
                self.repeats = Repeats::Nothing;
                return Ok(());
            }
            '[' => self.class()?,
            '\\' => self.escape()?,
            '.' | '^' | '$' | ')' => self.text.push(c),
            c => push_literal(c, &mut self.text),
        }
        self.repeats = Repeats::Item;
        Ok(())
    }

    fn repetition(&mut self, operator: &str) -> Result<(), String> {
        match self.repeats {
            Repeats::Nothing => return Err(format!("`{operator}` repeats nothing")),
            Repeats::Repetition => return Err(format!("`{operator}` follows another repetition; use brackets")),
            Repeats::Item => self.text.push_str(operator),
        }
        if self.rest.next_if_eq(&'?').is_some() {
            self.text.push('?');
        }
        self.repeats = Repeats::Repetition;
        Ok(())
    }

    /// Takes `n}`, `n,}` or `n,m}`; takes nothing where this is none of them.
    fn counted(&mut self) -> Result<Option<String>, String> {
        let text: String = self.rest.clone().take_while(|c| *c != '}').take(32).collect();
        let (least, most) = text.split_once(',').unwrap_or((&text, &text));
        let is_count = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
        };
        let is_closed = self.rest.clone().nth(text.chars().count()) == Some('}');
        if !is_closed || !is_count(least) || !(most.is_empty() || is_count(most)) {
            return Ok(None);
        }
        self.rest.nth(text.len());
        let count = |text: &str| text.parse::<u32>().ok().filter(|n| *n <= MAX_REPEAT);
        let is_ordered = match (count(least), count(most)) {
            (Some(_), None) => most.is_empty(),
            (Some(least), Some(most)) => least <= most,
            _ => false,
        };
        is_ordered
            .then(|| Some(format!("{{{text}}}")))
            .ok_or_else(|| format!("`{{{text}}}` is no count up to {MAX_REPEAT}"))
    }

    fn group(&mut self) -> Result<(), String> {
        self.repeats = Repeats::Nothing;
        self.text.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.text.push('?');
        let mut flags = String::new();
        while let Some(flag) = self.rest.next_if(|c| !matches!(c, ':' | ')' | '<')) {
            match flag {
                'i' | 'm' | 's' | 'U' | '-' => flags.push(flag),
                'P' if flags.is_empty() && self.rest.peek() == Some(&'<') => {}
                _ => return Err(format!("`(?{flags}{flag}` is no group; the flags are i, m, s and U")),
            }
        }
        self.text.push_str(&flags);
        match self.rest.next() {
            Some(')') => {
                // `(?)` sets no flags.
                self.text.push_str(if flags.is_empty() { ":" } else { "" });
                self.text.push(')');
                self.repeats = Repeats::Item;
            }
            Some('<') => {
                let name: String = self.rest.clone().take_while(|c| *c != '>').collect();
                if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                    return Err(format!("`{name}` is no name of a group"));
                }
                self.rest.nth(name.len()).ok_or("the name of a group is not closed")?;
                self.text.push_str(&format!("<{name}>"));
            }
            Some(end) => self.text.push(end),
            None => return Err("a group is not closed".into()),
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.rest.next() {
            Some('Q') => {
                while let Some(c) = self.rest.next() {
                    let is_end = c == '\\' && self.rest.next_if_eq(&'E').is_some();
                    if is_end {
                        break;
                    }
                    push_literal(c, &mut self.text);
                }
            }
            // Without `\Q` before it, it ends nothing.
            Some('b') => self.text.push_str("(?-u:\\b)"),
            Some('B') => self.text.push_str("(?-u:\\B)"),
            Some(c @ ('A' | 'z')) => self.text.extend(['\\', c]),
            Some(c) => {
                if let Some(set) = self.set_escape(c)? {
                    self.text.push_str(&format!("[{set}]"));
                } else {
                    let literal = self.char_escape(c)?;
                    push_literal(literal, &mut self.text);
                }
            }
            None => return Err("the pattern ends in a backslash".into()),
        }
        Ok(())
    }

    /// Returns the inside of a set for `\d` and its like, and for `\p{…}`.
    fn set_escape(&mut self, c: char) -> Result<Option<String>, String> {
        let set = match c {
            'd' => "0-9",
            'D' => "[^0-9]",
            'w' => "0-9A-Za-z_",
            'W' => "[^0-9A-Za-z_]",
            's' => "\\t\\n\\f\\r ",
            'S' => "[^\\t\\n\\f\\r ]",
            'p' | 'P' => return self.unicode_class(c == 'P').map(Some),
            _ => return Ok(None),
        };
        Ok(Some(set.into()))
    }

    /// Takes the name of a Unicode category or script: one letter, or a name in braces.
    fn unicode_class(&mut self, is_capital: bool) -> Result<String, String> {
        let name: String = match self.rest.next() {
            Some('{') => {
                let name: String = self.rest.clone().take_while(|c| *c != '}').collect();
                self.rest.nth(name.chars().count()).ok_or("`\\p{` is not closed")?;
                name
            }
            Some(letter) => letter.into(),
            None => return Err("`\\p` names no class".into()),
        };
        let (is_negated, plain) = match name.strip_prefix('^') {
            Some(plain) => (!is_capital, plain),
            None => (is_capital, &*name),
        };
        let letter = if is_negated { 'P' } else { 'p' };
        // A category or a script; the crate knows other properties too, the peer does not.
        let known = ["gc", "sc"].into_iter().map(|property| format!("\\{letter}{{{property}={plain}}}"));
        let is_name = plain.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_') && !plain.starts_with("Is");
        let key = (is_negated, plain.to_owned());
        let mut class = self.classes.get(&key).cloned();
        if class.is_none() && is_name {
            class = known.into_iter().find(|class| Regex::new(class).is_ok());
        }
        let class = class.ok_or_else(|| format!("no Unicode class `{name}`"))?;
        self.classes.insert(key, class.clone());
        Ok(class)
    }

    /// Returns the character that `\c` stands for.
    fn char_escape(&mut self, c: char) -> Result<char, String> {
        let octal = |c: &char| c.is_digit(8);
        Ok(match c {
            'a' => '\x07',
            'f' => '\x0c',
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'v' => '\x0b',
            '0'..='7' if c == '0' || self.rest.peek().is_some_and(octal) => {
                let mut code = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let digit = self.rest.next_if(octal).and_then(|c| c.to_digit(8));
                    code = digit.map_or(code, |digit| code * 8 + digit);
                }
                char::from_u32(code).unwrap_or('\0')
            }
            'x' => self.hexadecimal()?,
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            c => return Err(format!("no escape `\\{c}`")),
        })
    }

    fn hexadecimal(&mut self) -> Result<char, String> {
        let is_braced = self.rest.next_if_eq(&'{').is_some();
        let digits: String = if is_braced {
            let digits: String = self.rest.clone().take_while(char::is_ascii_hexdigit).collect();
            (self.rest.nth(digits.len()) == Some('}')).then_some(digits).ok_or("`\\x{` is not closed")?
        } else {
            (0..2).filter_map(|_| self.rest.next_if(char::is_ascii_hexdigit)).collect()
        };
        let is_whole = (is_braced && !digits.is_empty() && digits.len() <= 8) || digits.len() == 2;
        let code = u32::from_str_radix(&digits, 16).ok().filter(|_| is_whole).and_then(char::from_u32);
        code.ok_or_else(|| format!("`\\x{digits}` is no character"))
    }

    /// Takes a set, after its opening bracket.
    fn class(&mut self) -> Result<(), String> {
        self.text.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.text.push('^');
        }
        let mut is_first = true;
        loop {
            let c = self.rest.next().ok_or("a set is not closed with `]`")?;
            match c {
                ']' if !is_first => break,
                '[' if self.rest.peek() == Some(&':') && self.named_class()? => {}
                c => self.class_item(c)?,
            }
            is_first = false;
        }
        self.text.push(']');
        Ok(())
    }

    /// Takes `:name:]`, if it is there.
    fn named_class(&mut self) -> Result<bool, String> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
            "word", "xdigit",
        ];
        let text: String = self.rest.clone().skip(1).take(MAX_CLASS_NAME).collect();
        let Some((name, _)) = text.split_once(":]") else { return Ok(false) };
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(format!("no class `[:{name}:]`"));
        }
        self.text.push_str(&format!("[:{name}:]"));
        self.rest.nth(name.chars().count() + 2);
        Ok(true)
    }

    fn class_item(&mut self, c: char) -> Result<(), String> {
        let escaped = if c == '\\' { self.rest.peek().copied() } else { None };
        if let Some(c @ ('d' | 'D' | 'w' | 'W' | 's' | 'S' | 'p' | 'P')) = escaped {
            self.rest.next();
            let set = self.set_escape(c)?.unwrap_or_default();
            self.text.push_str(&set);
            return Ok(());
        }
        let low = self.class_char(c)?;
        push_code(low, &mut self.text);
        let mut ahead = self.rest.clone();
        if ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']') {
            self.rest.next();
            let c = self.rest.next().ok_or("a set is not closed with `]`")?;
            let high = self.class_char(c)?;
            if high < low {
                return Err(format!("`{low}-{high}` is no range: its end comes before its start"));
            }
            self.text.push('-');
            push_code(high, &mut self.text);
        }
        Ok(())
    }

    fn class_char(&mut self, c: char) -> Result<char, String> {
        if c != '\\' {
            return Ok(c);
        }
        let escaped = self.rest.next().ok_or("the pattern ends in a backslash")?;
        self.char_escape(escaped)
    }
}

fn push_literal(c: char, text: &mut String) {
    match c.is_alphanumeric() || c == '_' {
        true => text.push(c),
        false => push_code(c, text),
    }
}

fn push_code(c: char, text: &mut String) {
    text.push_str(&format!("\\x{{{:X}}}", c as u32));
}

/// Appends a replacement: `$1`, `$name`, `${name}` are what the groups hold, `$$` is a dollar sign; another one stands for
/// itself. A name is as long as it can be: `$1x` is the group `1x`.
pub(super) fn expand(template: &str, captures: &Captures<'_>, text: &mut String) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let braced = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let (name, after) = match braced {
            _ if after.starts_with('$') => {
                text.push('$');
                rest = &after[1..];
                continue;
            }
            Some((name, after)) => (name, after),
            None => after.split_at(after.find(|c| !is_word(c)).unwrap_or(after.len())),
        };
        if name.is_empty() || !name.chars().all(is_word) {
            text.push('$');
            rest = &template[template.len() - (rest.len() - before.len() - 1)..];
            continue;
        }
        let has_sign = name.starts_with('0') && name.len() > 1;
        let group = match name.parse::<usize>() {
            Ok(index) if !has_sign => captures.get(index),
            _ => captures.name(name),
        };
        text.push_str(group.map_or("", |group| group.as_str()));
        rest = after;
    }
    text.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_dialects_have_means_the_same() {
        for (pattern, text, found) in [
            (r"\d+", "١2", "2"),
            (r"\Qa.b\E+", "a.bb", "a.bb"),
            ("[a&&b]+", "&a&", "&a&"),
            ("a{,2}", "a{,2}", "a{,2}"),
            (r"\12", "\n", "\n"),
            (r"[]\]a-c-]+", "x]b-", "]b-"),
            ("[[:^alpha:]x]+", "ax1", "x1"),
            (r"(?i)\bX\b", "éx", "x"),
            (r"[^\D1]", "123", "2"),
            (r"(?P<n>α)(?<m>b)", "αb", "αb"),
            (r"\p{^Greek}\PL", "αb1", "b1"),
        ] {
            let regex = Regex::new(&translated(pattern).expect(pattern)).expect(pattern);
            assert_eq!(regex.find(text).map(|found| found.as_str()), Some(found), "{pattern}");
        }
    }

    #[test]
    fn what_the_peers_dialect_lacks_is_refused() {
        for pattern in
            ["(?x)a", "a**", "*a", "a{1001}", "a{2,1}", "[b-a]", r"\u0041", r"\C", r"\1", r"\e", "[a", "[[:x:]]", r"\é"]
        {
            assert!(translated(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn replacements_name_groups() {
        let captures = Regex::new("(?P<x>b)(c)").expect("valid").captures("abc").expect("a match");
        let expanded = |template: &str| {
            let mut text = String::new();
            expand(template, &captures, &mut text);
            text
        };
        assert_eq!(expanded("$x-${2}-$2x-$$-$ -${x y}-$"), "b-c--$-$ -${x y}-$");
    }
}
