//! Regular expressions in Go's dialect (RE2's syntax), as the `regex` crate takes them.
//!
//! The engines are of one family: the same matches, in linear time. What a pattern may say differs: `\d`, `\w`, `\s` and
//! `\b` are ASCII here, `\Q…\E` and octal escapes are known, `x` and `u` are no flags, nothing is repeated twice, a set
//! of characters holds no sets but `[:alpha:]`, and two groups may have one name.

/// A pattern of Go's, in the words of the `regex` crate.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) pattern: String,
    /// The names of the groups, `None` for one without; the first is that of the whole match.
    pub(super) names: Vec<Option<String>>,
}

/// Most repetitions that are written as a number.
const MAX_REPEAT: u32 = 1000;

const DIGITS: &str = "0-9";
const WORDS: &str = "0-9A-Za-z_";
const SPACES: &str = r"\t\n\f\r ";

/// The sets that may stand in a set: `[[:alpha:]]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Translates a pattern.
///
/// # Errors
/// What Go's syntax does not have. The rest is the crate's to refuse.
pub(super) fn translate(pattern: &str) -> Result<Translated, String> {
    let mut translator = Translator {
        rest: pattern,
        last_close: pattern.rfind(":]").map_or(0, |at| pattern.len() - at),
        out: Translated { pattern: String::with_capacity(pattern.len()), names: vec![None] },
        is_repeated: false,
    };
    translator.expression()?;
    Ok(translator.out)
}

struct Translator<'a> {
    rest: &'a str,
    /// How much is left where the last `:]` stands.
    last_close: usize,
    out: Translated,
    /// What was read last is a repetition.
    is_repeated: bool,
}

impl Translator<'_> {
    fn expression(&mut self) -> Result<(), String> {
        while let Some(c) = self.take() {
            let was_repeated = std::mem::take(&mut self.is_repeated);
            match c {
                '*' | '+' | '?' => self.repeat(c.to_string(), was_repeated)?,
                '{' => match self.counts() {
                    Some(counts) => self.repeat(counts?, was_repeated)?,
                    None => self.literal('{'),
                },
                '[' => self.set()?,
                '(' => self.group()?,
                '\\' => self.escape()?,
                '^' | '$' | '.' | '|' | ')' => self.out.pattern.push(c),
                c => self.literal(c),
            }
        }
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn take_if(&mut self, wanted: char) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Takes what stands before `end`, and that.
    fn take_until(&mut self, end: char) -> Option<&str> {
        let (text, rest) = self.rest.split_once(end)?;
        self.rest = rest;
        Some(text)
    }

    fn literal(&mut self, c: char) {
        self.out.pattern.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }

    fn repeat(&mut self, operator: String, was_repeated: bool) -> Result<(), String> {
        if was_repeated {
            return Err(format!("`{operator}` repeats what is repeated already"));
        }
        self.out.pattern.push_str(&operator);
        if self.take_if('?') {
            self.out.pattern.push('?');
        }
        self.is_repeated = true;
        Ok(())
    }

    /// Reads `{2}`, `{2,}` or `{2,3}`; `None`, with nothing read, if it is none of them: the brace is a character then.
    fn counts(&mut self) -> Option<Result<String, String>> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != ',')?;
        let text = &self.rest[..end];
        let (least, most) = text.split_once(',').map_or((text, None), |(least, most)| (least, Some(most)));
        let is_number = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
        };
        let is_count = is_number(least) && most.is_none_or(|most| most.is_empty() || is_number(most));
        if !is_count || !self.rest[end..].starts_with('}') {
            return None;
        }
        self.rest = &self.rest[end + 1..];
        let value = |text: &str| text.parse::<u32>().ok().filter(|n| *n <= MAX_REPEAT);
        let numbers = value(least).zip(most.filter(|most| !most.is_empty()).map_or(value(least), value));
        Some(match numbers {
            Some((least, most)) if least <= most => Ok(format!("{{{text}}}")),
            _ => Err(format!("{{{text}}} is no number of times: from 0 to {MAX_REPEAT}, the lower one first")),
        })
    }

    /// Reads what follows `(`.
    fn group(&mut self) -> Result<(), String> {
        if !self.take_if('?') {
            self.out.names.push(None);
            self.out.pattern.push('(');
            return Ok(());
        }
        let Some(named) = self.rest.strip_prefix("P<").or_else(|| self.rest.strip_prefix('<')) else {
            return self.flags();
        };
        let is_word = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let (name, rest) = named
            .split_once('>')
            .filter(|(name, _)| is_word(name))
            .ok_or("the name of a group is letters, digits and underscores")?;
        self.rest = rest;
        self.out.names.push(Some(name.to_owned()));
        self.out.pattern.push('(');
        Ok(())
    }

    /// Reads `i-s:` or `i)` after `(?`.
    fn flags(&mut self) -> Result<(), String> {
        let rest = self.rest;
        let end = rest.find([':', ')']).ok_or("`(?` is followed by flags and `:` or `)`")?;
        let flags = &rest[..end];
        let (on, off) = flags.split_once('-').map_or((flags, None), |(on, off)| (on, Some(off)));
        let is_known = |flags: &str| flags.chars().all(|c| "imsU".contains(c));
        if !is_known(on) || off.is_some_and(|off| off.is_empty() || !is_known(off)) {
            return Err(format!("`(?{flags}` is none of the flags i, m, s and U, and no group"));
        }
        self.rest = &rest[end + 1..];
        let is_group = rest[end..].starts_with(':');
        // The crate refuses a flag that is given twice.
        let once = |flags: &str| "imsU".chars().filter(|c| flags.contains(*c)).collect::<String>();
        let off = off.map(once).unwrap_or_default();
        let on: String = once(on).chars().filter(|c| !off.contains(*c)).collect();
        match (is_group, on.is_empty() && off.is_empty()) {
            (true, true) => self.out.pattern.push_str("(?:"),
            (false, true) => self.out.pattern.push_str("(?:)"),
            _ => {
                let off = if off.is_empty() { off } else { format!("-{off}") };
                self.out.pattern.push_str(&format!("(?{on}{off}{}", if is_group { ':' } else { ')' }));
            }
        }
        Ok(())
    }

    /// Reads what follows a backslash outside of a set.
    fn escape(&mut self) -> Result<(), String> {
        if self.take_if('Q') {
            self.quoted();
            return Ok(());
        }
        let anchor = match self.peek() {
            Some('A') => r"\A",
            Some('z') => r"\z",
            Some('b') => r"(?-u:\b)",
            Some('B') => r"(?-u:\B)",
            _ => {
                match self.class()? {
                    Some(class) => self.out.pattern.push_str(&format!("[{class}]")),
                    None => {
                        let c = self.escaped()?;
                        self.literal(c);
                    }
                }
                return Ok(());
            }
        };
        self.take();
        self.out.pattern.push_str(anchor);
        Ok(())
    }

    /// Reads characters that stand for themselves, up to `\E` or the end.
    fn quoted(&mut self) {
        while let Some(c) = self.take() {
            if c == '\\' && self.take_if('E') {
                return;
            }
            self.literal(c);
        }
    }

    /// Reads `d` or `pL` after a backslash, as it stands in a set; `None`, with nothing read, if it is none of them.
    fn class(&mut self) -> Result<Option<String>, String> {
        let class = match self.peek() {
            Some('d') => DIGITS.to_owned(),
            Some('D') => format!("[^{DIGITS}]"),
            Some('w') => WORDS.to_owned(),
            Some('W') => format!("[^{WORDS}]"),
            Some('s') => SPACES.to_owned(),
            Some('S') => format!("[^{SPACES}]"),
            Some(sign @ ('p' | 'P')) => {
                self.take();
                return self.property(sign == 'P').map(Some);
            }
            _ => return Ok(None),
        };
        self.take();
        Ok(Some(class))
    }

    /// Reads `L`, `{Greek}` or `{^Greek}` after `\p`: a category or script.
    fn property(&mut self, is_negated: bool) -> Result<String, String> {
        let missing = || "`\\p` is followed by a category or script, as in `\\pL` and `\\p{Greek}`".to_owned();
        let name = match self.take().ok_or_else(missing)? {
            '{' => self.take_until('}').ok_or_else(missing)?.to_owned(),
            c => c.to_string(),
        };
        let (name, is_negated) = name.strip_prefix('^').map_or((&*name, is_negated), |name| (name, !is_negated));
        let is_name = name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_') && !name.is_empty();
        // A category has one letter or two, and the words for some; what else the crate knows are binary properties.
        let is_binary = ["alphabetic", "lowercase", "uppercase", "emoji"].iter().any(|p| name.eq_ignore_ascii_case(p));
        if !is_name || is_binary || name.starts_with("Is") {
            return Err(format!("`\\p{{{name}}}` is no category or script"));
        }
        Ok(format!("\\{}{{{name}}}", if is_negated { 'P' } else { 'p' }))
    }

    /// Reads one escaped character after a backslash.
    fn escaped(&mut self) -> Result<char, String> {
        let c = self.take().ok_or("the pattern ends in a backslash")?;
        let octal = |this: &mut Self, first: u32| {
            let mut value = first;
            for _ in 0..2 {
                match this.peek().and_then(|c| c.to_digit(8)) {
                    Some(digit) => value = value * 8 + digit,
                    None => break,
                }
                this.take();
            }
            char::from_u32(value).ok_or_else(|| "this is no character".to_owned())
        };
        match c {
            'a' => Ok('\u{7}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\u{b}'),
            'x' => self.hexadecimal(),
            '0' => octal(self, 0),
            '1'..='7' if self.peek().is_some_and(|next| next.is_digit(8)) => octal(self, c as u32 - '0' as u32),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            c => Err(format!("`\\{c}` is no escape")),
        }
    }

    fn hexadecimal(&mut self) -> Result<char, String> {
        let digits: String = match self.take_if('{') {
            true => self.take_until('}').unwrap_or("").to_owned(),
            false => self.take().into_iter().chain(self.take()).collect(),
        };
        let is_hexadecimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let value = is_hexadecimal.then(|| u32::from_str_radix(&digits, 16).ok()).flatten();
        value.and_then(char::from_u32).ok_or_else(|| format!("`\\x{digits}` is no character"))
    }

    /// Reads what follows `[`.
    fn set(&mut self) -> Result<(), String> {
        let mut set = String::from("[");
        if self.take_if('^') {
            set.push('^');
        }
        let mut is_first = true;
        loop {
            let c = self.take().ok_or("a set of characters is not closed by `]`")?;
            match c {
                ']' if !is_first => break,
                '[' if self.posix(&mut set)? => {}
                '\\' => match self.class()? {
                    Some(class) => set.push_str(&class),
                    None => {
                        let low = self.escaped()?;
                        self.range(low, &mut set)?;
                    }
                },
                low => self.range(low, &mut set)?,
            }
            is_first = false;
        }
        set.push(']');
        self.out.pattern.push_str(&set);
        Ok(())
    }

    /// Reads `:alpha:]` after `[`; false, with nothing read, where it is not closed.
    fn posix(&mut self, set: &mut String) -> Result<bool, String> {
        let Some(rest) = self.rest.strip_prefix(':').filter(|rest| rest.len() >= self.last_close) else {
            return Ok(false);
        };
        let Some((name, rest)) = rest.split_once(":]") else { return Ok(false) };
        if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(format!("`[:{name}:]` is no set of characters"));
        }
        set.push_str(&format!("[:{name}:]"));
        self.rest = rest;
        Ok(true)
    }

    /// Reads what follows a character of a set: a range, if there is `-` and another one.
    fn range(&mut self, low: char, set: &mut String) -> Result<(), String> {
        let is_range = self.rest.strip_prefix('-').is_some_and(|rest| !rest.is_empty() && !rest.starts_with(']'));
        let mut push = |c: char| set.push_str(&format!("\\x{{{:x}}}", c as u32));
        push(low);
        if !is_range {
            return Ok(());
        }
        self.take();
        let high = match self.take() {
            Some('\\') => self.escaped()?,
            Some(c) => c,
            None => low,
        };
        if high < low {
            return Err(format!("the range `{low}-{high}` goes down"));
        }
        set.push('-');
        set.push_str(&format!("\\x{{{:x}}}", high as u32));
        Ok(())
    }
}

/// Appends `template` to `text`: `$1`, `${1}`, `$name` and `${name}` are what `group` has for that name, `$$` is `$`.
pub(super) fn expand<'a>(template: &str, group: impl Fn(&str) -> &'a str, text: &mut String) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let word_end = after.find(|c| !is_word(c)).unwrap_or(after.len());
        rest = match braced {
            _ if after.starts_with('$') => {
                text.push('$');
                &after[1..]
            }
            Some((name, after)) if !name.is_empty() && name.chars().all(is_word) => {
                text.push_str(group(name));
                after
            }
            _ if word_end > 0 => {
                text.push_str(group(&after[..word_end]));
                &after[word_end..]
            }
            _ => {
                text.push('$');
                after
            }
        };
    }
    text.push_str(rest);
}

/// Returns the index of the group that `name` in a replacement means: a number, without zeros before it.
pub(super) fn index_of(name: &str) -> Option<usize> {
    let is_number = name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    is_number.then(|| name.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_translated() {
        let cases = [
            (r"\d\W", "[0-9][[^0-9A-Za-z_]]"),
            (r"\Qa.b\E+", r"a\.b+"),
            ("a{,2}{", r"a\{,2\}\{"),
            (r"[]a-c\d-]", r"[\x{5d}\x{61}-\x{63}0-9\x{2d}]"),
            ("[a&&[b]", r"[\x{61}\x{26}\x{26}\x{5b}\x{62}]"),
            (r"\101\0", "A\0"),
            ("(?i-s:a)(?)", "(?i-s:a)(?:)"),
            (r"\p{^Greek}", r"[\P{Greek}]"),
        ];
        for (pattern, translated) in cases {
            assert_eq!(translate(pattern).map(|t| t.pattern).as_deref(), Ok(translated), "{pattern}");
        }
        assert_eq!(translate("(?P<n>a)(b)").map(|t| t.names), Ok(vec![None, Some("n".into()), None]));
        for pattern in
            ["a**", "a+{2}", "(?x)a", "(?u)a", r"\1", r"\u0041", "(?P<a-b>a)", "a{2,1}", "[z-a]", "[a", r"\Z"]
        {
            assert!(translate(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn replacements_are_expanded() {
        let group = |name: &str| if name == "1" || name == "n" { "X" } else { "" };
        for (template, expanded) in
            [("$1-${1}$n", "X-XX"), ("$1x|", "|"), ("$$1", "$1"), ("${1 }$", "${1 }$"), ("$é.", "."), ("${}", "${}")]
        {
            let mut text = String::new();
            expand(template, group, &mut text);
            assert_eq!(text, expanded, "{template}");
        }
        assert_eq!((index_of("10"), index_of("0"), index_of("01"), index_of("n")), (Some(10), Some(0), None, None));
    }
}
