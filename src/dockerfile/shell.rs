//! Word expansion: `$NAME`, `${NAME…}`, quotes and escapes, as a Dockerfile has them.
//!
//! In: a word and the variables' values. Out: the expanded text, or words. The rules are a shell's in shape only: see the
//! Dockerfile reference, *Environment replacement*.

mod pattern;

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

/// Says why a word cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpandError(String);

/// The values of variables by name; `None` where it is not set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How words are expanded.
#[derive(Clone, Copy, Debug)]
pub struct Expander {
    /// The escape character, `\` or a backtick.
    pub escape: char,
    /// Quotes stay in the result.
    pub keep_quotes: bool,
    /// Escape characters stay in the result.
    pub keep_escapes: bool,
    /// A variable that is not set stays as it is written.
    pub keep_unset: bool,
    /// Quotes mean nothing.
    pub ignore_quotes: bool,
}

/// An expanded word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// All of it, blanks included.
    pub text: String,
    /// Cut at blanks that are not quoted; blanks in a variable's value cut too.
    pub words: Vec<String>,
    /// Variables that were read and are not set.
    pub unset: BTreeSet<String>,
    /// Bytes of variables' values that were gone through for it.
    pub n_inserted: usize,
}

/// The most that values of variables add to one word or heredoc, in bytes. No variable of a process is so large; nested
/// `${NAME//…/…}` could make any length of a short text.
pub const MAX_INSERTED: usize = 1 << 20;

/// How deep `${NAME-${NAME-…}}` nests: deeper would overflow the stack.
const MAX_NESTING: usize = 100;

impl Expander {
    /// Expands, and removes quotes and escapes.
    pub fn new(escape: char) -> Expander {
        Expander { escape, keep_quotes: false, keep_escapes: false, keep_unset: false, ignore_quotes: false }
    }

    /// Expands `word`.
    ///
    /// # Errors
    /// A quote or brace is not closed, a modifier is unknown, `${NAME?text}` finds no value, or the text is too large.
    pub fn expand(self, word: &str, lookup: Lookup<'_>) -> Result<Expanded, ExpandError> {
        let chars = word.chars().peekable();
        let mut lexer = Lexer { how: self, chars, lookup, unset: BTreeSet::new(), n_inserted: 0, depth: 0 };
        let mut words = Words::default();
        let text = lexer.until(None, self.keep_escapes, &mut words)?;
        Ok(Expanded { text, words: words.finish(), unset: lexer.unset, n_inserted: lexer.n_inserted })
    }
}

#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    fn push(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

struct Lexer<'a> {
    how: Expander,
    chars: Peekable<Chars<'a>>,
    lookup: Lookup<'a>,
    unset: BTreeSet<String>,
    n_inserted: usize,
    depth: usize,
}

fn too_large() -> ExpandError {
    error(format!("its variables make more than {} KiB of text", MAX_INSERTED >> 10))
}

fn error(message: impl Into<String>) -> ExpandError {
    ExpandError(message.into())
}

impl Lexer<'_> {
    /// Reads up to `stop`, which is read too, or to the end.
    fn until(&mut self, stop: Option<char>, keep_escapes: bool, words: &mut Words) -> Result<String, ExpandError> {
        let outer = std::mem::replace(&mut self.how.keep_escapes, keep_escapes);
        let result = self.until_inner(stop, words);
        self.how.keep_escapes = outer;
        result
    }

    fn until_inner(&mut self, stop: Option<char>, words: &mut Words) -> Result<String, ExpandError> {
        let mut text = String::new();
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                return Ok(text);
            }
            match c {
                '\'' | '"' if !self.how.ignore_quotes => {
                    let quoted = if c == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    words.word.push_str(&quoted);
                    text.push_str(&quoted);
                }
                '$' => {
                    let value = self.dollar()?;
                    self.insert(value.len())?;
                    value.chars().for_each(|c| words.push(c));
                    text.push_str(&value);
                }
                _ => {
                    self.chars.next();
                    self.plain(c, &mut text, words);
                }
            }
        }
        match stop {
            None => Ok(text),
            Some(stop) => Err(error(format!("unexpected end of text, `{stop}` is missing"))),
        }
    }

    fn plain(&mut self, c: char, text: &mut String, words: &mut Words) {
        if c != self.how.escape {
            words.push(c);
            text.push(c);
            return;
        }
        if self.how.keep_escapes {
            words.word.push(c);
            text.push(c);
        }
        if let Some(next) = self.chars.next() {
            words.word.push(next);
            text.push(next);
        }
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        let open = self.chars.next().filter(|_| self.how.keep_quotes);
        text.extend(open);
        loop {
            match self.chars.next() {
                None => return Err(error("a single quote is not closed")),
                Some('\'') => break,
                Some(c) => text.push(c),
            }
        }
        text.extend(open);
        Ok(text)
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        let open = self.chars.next().filter(|_| self.how.keep_quotes);
        text.extend(open);
        loop {
            match self.chars.peek().copied() {
                None => return Err(error("a double quote is not closed")),
                Some('"') => break,
                Some('$') => {
                    let value = self.dollar()?;
                    self.insert(value.len())?;
                    text.push_str(&value);
                }
                Some(c) if c == self.how.escape => {
                    self.chars.next();
                    if self.how.keep_escapes {
                        text.push(c);
                    }
                    match self.chars.peek().copied() {
                        None => continue,
                        Some(next) if next == '"' || next == '$' || next == self.how.escape => {
                            self.chars.next();
                            text.push(next);
                        }
                        Some(_) => text.push(c),
                    }
                }
                Some(c) => {
                    self.chars.next();
                    text.push(c);
                }
            }
        }
        self.chars.next();
        text.extend(open);
        Ok(text)
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.chars.next();
        if self.chars.next_if_eq(&'{').is_some() {
            self.depth += 1;
            if self.depth > MAX_NESTING {
                return Err(error(format!("`${{…}}` is nested more than {MAX_NESTING} deep")));
            }
            let value = self.braced();
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(match self.value(&name) {
            None if self.how.keep_unset => format!("${name}"),
            value => value.unwrap_or_default(),
        })
    }

    fn braced(&mut self) -> Result<String, ExpandError> {
        match self.chars.peek() {
            None => return Err(error("`}` is missing after `${`")),
            Some('{' | '}' | ':') => return Err(error("`${` is not followed by a name")),
            _ => {}
        }
        let name = self.name();
        match self.chars.next() {
            None => Err(error("`}` is missing after `${`")),
            Some('}') => Ok(match self.value(&name) {
                None if self.how.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(':') => match self.chars.next() {
                Some(modifier @ ('+' | '-' | '?')) => self.modified(&name, modifier, true),
                Some(other) if self.how.keep_unset && !"#%".contains(other) && self.value(&name).is_none() => {
                    self.modified(&name, other, true)
                }
                Some(other) => Err(error(format!("unsupported modifier `:{other}` in `${{{name}…}}`"))),
                None => Err(error("`}` is missing after `${`")),
            },
            Some(modifier @ ('+' | '-' | '?' | '#' | '%')) => self.modified(&name, modifier, false),
            Some('/') => self.replaced(&name),
            Some(other) => Err(error(format!("unsupported modifier `{other}` in `${{{name}…}}`"))),
        }
    }

    fn modified(&mut self, name: &str, modifier: char, null_is_unset: bool) -> Result<String, ExpandError> {
        let word = self.braced_word('}', matches!(modifier, '#' | '%'))?;
        let value = self.value(name);
        if value.is_none() && self.how.keep_unset {
            let colon = if null_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let usable = value.clone().filter(|value| !(null_is_unset && value.is_empty()));
        match modifier {
            '-' => Ok(usable.unwrap_or(word)),
            '+' => Ok(usable.map(|_| word).unwrap_or_default()),
            '?' => usable.ok_or_else(|| {
                let state = if value.is_none() { "unset" } else { "empty" };
                let reason = if word.is_empty() { format!("is not allowed to be {state}") } else { word };
                error(format!("{name}: {reason}"))
            }),
            _ => {
                let (pattern, is_greedy) = match word.strip_prefix(modifier) {
                    Some(pattern) => (pattern, true),
                    None => (word.as_str(), false),
                };
                let value = value.unwrap_or_default();
                let pattern = pattern::Pattern::parse(pattern).map_err(ExpandError)?;
                self.insert(value.len())?;
                let cut = if modifier == '#' {
                    pattern.cut_prefix(&value, is_greedy)
                } else {
                    pattern.cut_suffix(&value, is_greedy)
                };
                cut.map_err(ExpandError)
            }
        }
    }

    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let is_every = self.chars.next_if_eq(&'/').is_some();
        let pattern = self.braced_word('/', true)?;
        let replacement = self.braced_word('}', true)?;
        let value = self.value(name);
        if value.is_none() && self.how.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        let pattern = pattern::Pattern::parse(&pattern).map_err(ExpandError)?;
        let value = value.unwrap_or_default();
        self.insert(value.len())?;
        let replaced = pattern.replace(&value, &replacement, is_every, MAX_INSERTED).map_err(ExpandError)?;
        replaced.ok_or_else(too_large)
    }

    /// Counts what a value adds, or what is gone through for it.
    fn insert(&mut self, n_bytes: usize) -> Result<(), ExpandError> {
        self.n_inserted = self.n_inserted.saturating_add(n_bytes);
        if self.n_inserted > MAX_INSERTED { Err(too_large()) } else { Ok(()) }
    }

    fn braced_word(&mut self, stop: char, keep_escapes: bool) -> Result<String, ExpandError> {
        let result = self.until(Some(stop), keep_escapes, &mut Words::default());
        match result {
            Err(_) if self.chars.peek().is_none() => Err(error(format!("`{stop}` is missing after `${{`"))),
            other => other,
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek() {
            Some(c) if c.is_numeric() => {
                while let Some(digit) = self.chars.next_if(|c| c.is_numeric()) {
                    name.push(digit);
                }
                return name;
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                name.extend(self.chars.next());
                return name;
            }
            _ => {}
        }
        while let Some(c) = self.chars.next_if(|c| c.is_alphabetic() || c.is_numeric() || *c == '_') {
            name.push(c);
        }
        name
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        if value.is_none() {
            self.unset.insert(name.to_owned());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(word: &str) -> Result<Expanded, String> {
        let lookup = |name: &str| match name {
            "X" => Some("a.b.c/d".to_owned()),
            "BLANKS" => Some("one two".to_owned()),
            "LINES" => Some("line 1\nline 2".to_owned()),
            "LONG" => Some("l".repeat(19)),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        Expander::new('\\').expand(word, &lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn words_are_expanded_and_unquoted() {
        let cases = [
            ("$X/${X}", "a.b.c/d/a.b.c/d"),
            ("'$X' \"$X\" \\$X", "$X a.b.c/d $X"),
            ("\"a\\b\\\"\\$\"", "a\\b\"$"),
            ("$N", ""),
            ("$", "$"),
            ("$$", ""),
            ("$(cmd)", "$(cmd)"),
            ("$12x", "x"),
            ("${N:-d}${N-d}${EMPTY:-d}${EMPTY-d}", "ddd"),
            ("${X:+y}${N:+y}${EMPTY:+y}${EMPTY+y}", "yy"),
            ("${N:-${M:-\"in ner\"}}", "in ner"),
            ("${X%%.*} ${X%.*} ${X#*.} ${X##*.}", "a a.b b.c/d c/d"),
            ("${X//./-} ${X/./-} ${X/?b/Z}", "a-b-c/d a-b.c/d aZ.c/d"),
            ("${X//./$Ny}", "abc/d"),
            ("${X/c\\/d/e}", "a.b.e"),
            ("${LINES#*e} ${LINES##*e} ${LINES%?o*}", " 1\nline 2  1\nline 2 line 1\nline 2"),
        ];
        for (word, expected) in cases {
            assert_eq!(expand(word).map(|expanded| expanded.text), Ok(expected.to_owned()), "{word}");
        }
    }

    #[test]
    fn a_value_with_blanks_is_cut_into_words_unless_it_is_quoted() {
        assert_eq!(expand("a $BLANKS b").map(|e| e.words), Ok(["a", "one", "two", "b"].map(str::to_owned).to_vec()));
        assert_eq!(expand("\"$BLANKS\"").map(|e| e.words), Ok(vec!["one two".to_owned()]));
        assert_eq!(expand("$A$B").map(|e| e.unset), Ok(["A", "B"].map(str::to_owned).into()));
    }

    /// Opens a replacement of each letter of nineteen.
    const LONG: &str = "${LONG//l/";

    #[test]
    fn malformed_words_say_what_is_wrong() {
        let cases = [
            ("'a", "a single quote is not closed"),
            ("\"a", "a double quote is not closed"),
            ("${X", "`}` is missing after `${`"),
            ("${X:-a", "`}` is missing after `${`"),
            ("${}", "`${` is not followed by a name"),
            ("${X:#a}", "unsupported modifier `:#` in `${X…}`"),
            ("${X!a}", "unsupported modifier `!` in `${X…}`"),
            ("${N?}", "N: is not allowed to be unset"),
            ("${EMPTY:?say it}", "EMPTY: say it"),
            ("${X#\\a}", "invalid escape `\\a` in a pattern"),
            (&("${N:-".repeat(101) + &"}".repeat(101)), "`${…}` is nested more than 100 deep"),
            // Each level makes 19 letters of one.
            (&(LONG.repeat(8) + "x" + &"}".repeat(8)), "its variables make more than 1024 KiB of text"),
        ];
        for (word, message) in cases {
            assert_eq!(expand(word), Err(message.to_owned()), "{word}");
        }
    }
}
