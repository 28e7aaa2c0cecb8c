//! Which paths of a build context are left out: `.dockerignore` and `--exclude`; and Go's `filepath.Match`, which the
//! wildcards of COPY and ADD follow.
//!
//! In: the lines of an ignore file. Out: a [`Matcher`] that says for a path, relative to the context and with `/`,
//! whether it is excluded. A pattern that matches a directory holds for all below it; the last pattern that matches
//! decides. As github.com/moby/patternmatcher does, including what it does not look at twice (see [`Verdict`]).
//!
//! A match costs at most pattern length × path length, whatever the pattern: states are followed side by side and
//! nothing is tried again.

use thiserror::Error;

/// Says why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("ignore pattern `{pattern}`: {reason}")]
pub struct InvalidPattern {
    /// The pattern as cleaned.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: &'static str,
    /// 0-based index of the line or pattern in what was given.
    pub line_index: usize,
}

/// The patterns of an ignore file, ready to match.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    effect: Effect,
    pattern: Pattern,
    /// The pattern's components, for [`Matcher::may_reinclude_below`].
    components: Vec<Component>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Exclude,
    Reinclude,
}

#[derive(Debug, Clone)]
enum Component {
    /// Holds `**` or a class, which may match a `/`: may stand for any number of components.
    Deep,
    /// Matches one component.
    One(Glob),
}

/// What the patterns say about one path; the verdict on an entry of a directory starts from the directory's.
///
/// A pattern that cannot change the outcome for a directory is not tried on it, and so does not count as one that
/// matched a parent: after `a/*` and `!a`, `a/x` stays excluded. The peer's walk does the same.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// The path is left out.
    pub is_excluded: bool,
    /// For each rule, whether it matched the path or a parent. Empty for the context's top.
    matched: Vec<bool>,
}

impl Matcher {
    /// Reads the lines of an ignore file: a byte order mark goes, `#` in column 0 starts a comment, blanks around the
    /// pattern and a leading `/` go, `!` takes a path back in.
    ///
    /// # Errors
    /// A lone `!`, an unclosed or empty class, a `\` at the end.
    pub fn new(lines: &[String]) -> Result<Matcher, InvalidPattern> {
        let mut rules = Vec::new();
        for (line_index, line) in lines.iter().enumerate() {
            let line = if line_index == 0 { line.trim_start_matches('\u{feff}') } else { line };
            if !line.starts_with('#') {
                rules.extend(Rule::parse(line, line_index)?);
            }
        }
        Ok(Matcher { rules })
    }

    /// Reads patterns that are no lines of a file (`--exclude`): `#` is a character like any other.
    ///
    /// # Errors
    /// As [`Matcher::new`].
    pub fn from_patterns(patterns: &[String]) -> Result<Matcher, InvalidPattern> {
        let rules = patterns.iter().enumerate().filter_map(|(index, text)| Rule::parse(text, index).transpose());
        Ok(Matcher { rules: rules.collect::<Result<_, _>>()? })
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether `path` (relative, cleaned, `/` between components) is left out.
    pub fn is_excluded(&self, path: &str) -> bool {
        self.verdict(path).is_excluded
    }

    /// Returns what the patterns say about `path` (relative, cleaned); the empty path is the context's top.
    pub fn verdict(&self, path: &str) -> Verdict {
        let mut verdict = Verdict::default();
        if path.is_empty() {
            return verdict;
        }
        for (at, _) in path.match_indices('/') {
            verdict = self.verdict_below(&verdict, &path[..at]);
        }
        self.verdict_below(&verdict, path)
    }

    /// Returns what the patterns say about `path`, whose parent directory got the verdict `parent`.
    pub fn verdict_below(&self, parent: &Verdict, path: &str) -> Verdict {
        let mut verdict = Verdict { is_excluded: false, matched: vec![false; self.rules.len()] };
        for (index, rule) in self.rules.iter().enumerate() {
            let inherited = parent.matched.get(index).copied().unwrap_or(false);
            let may_change = (rule.effect == Effect::Exclude) != verdict.is_excluded;
            if inherited || (may_change && rule.pattern.matches(path)) {
                verdict.matched[index] = true;
                verdict.is_excluded = rule.effect == Effect::Exclude;
            }
        }
        verdict
    }

    /// Whether a `!` pattern could match something below the directory `path`; if not, an excluded `path` need not be
    /// walked. May say yes too often, never no wrongly.
    pub fn may_reinclude_below(&self, path: &str) -> bool {
        self.may_match_below(path, Effect::Reinclude)
    }

    /// Whether a pattern without `!` could match something below the directory `path`. May say yes too often, never no
    /// wrongly.
    pub fn may_exclude_below(&self, path: &str) -> bool {
        self.may_match_below(path, Effect::Exclude)
    }

    fn may_match_below(&self, path: &str, effect: Effect) -> bool {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        self.rules.iter().filter(|rule| rule.effect == effect).any(|rule| {
            for (component, name) in rule.components.iter().zip(&names) {
                match component {
                    Component::Deep => return true,
                    Component::One(glob) if glob.matches(name) => {}
                    Component::One(_) => return false,
                }
            }
            true
        })
    }
}

impl Rule {
    fn parse(text: &str, line_index: usize) -> Result<Option<Rule>, InvalidPattern> {
        let text = text.trim();
        let (effect, text) = match text.strip_prefix('!') {
            Some(rest) => (Effect::Reinclude, rest.trim()),
            None => (Effect::Exclude, text),
        };
        let invalid = |pattern: &str, reason| InvalidPattern { pattern: pattern.to_owned(), reason, line_index };
        if text.is_empty() {
            return match effect {
                Effect::Exclude => Ok(None),
                Effect::Reinclude => Err(invalid("!", "nothing after the `!`")),
            };
        }
        let cleaned = clean(text);
        let cleaned = if cleaned.len() > 1 { cleaned.strip_prefix('/').unwrap_or(&cleaned) } else { &cleaned };
        let pattern = Pattern::compile(cleaned).map_err(|reason| invalid(cleaned, reason))?;
        let components = cleaned.split('/').map(|part| match Glob::compile(part) {
            Ok(glob) if !part.contains("**") && !part.contains('[') => Component::One(glob),
            _ => Component::Deep,
        });
        Ok(Some(Rule { effect, pattern, components: components.collect() }))
    }
}

/// Cleans a path as Go's `path.Clean` does: no empty, `.` or resolvable `..` component, no `/` at the end; `.` for nothing.
pub fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => _ = kept.pop(),
            ".." if is_absolute => {}
            _ => kept.push(name),
        }
    }
    let joined = kept.join("/");
    match (is_absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// An ignore pattern. The plain shapes, which most are, need no state machine.
#[derive(Debug, Clone)]
enum Pattern {
    Exact(String),
    /// `dir/**`: starts with.
    Prefix(String),
    /// `**/name` and `**name`: ends with.
    Suffix(String),
    Tokens(Tokens),
}

impl Pattern {
    fn compile(text: &str) -> Result<Pattern, &'static str> {
        let tokens = Tokens::compile(text, Dialect::Ignore)?;
        let is_plain = |text: &str| !text.contains(['*', '?', '[', ']', '\\']);
        if is_plain(text) {
            return Ok(Pattern::Exact(text.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("**").filter(|rest| is_plain(rest)) {
            return Ok(Pattern::Suffix(rest.to_owned()));
        }
        match text.strip_suffix("**").filter(|rest| is_plain(rest)) {
            Some(rest) => Ok(Pattern::Prefix(rest.to_owned())),
            None => Ok(Pattern::Tokens(tokens)),
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Pattern::Exact(text) => path == text,
            Pattern::Prefix(text) => path.starts_with(text),
            Pattern::Suffix(text) => path.ends_with(text) || text.strip_prefix('/') == Some(path),
            Pattern::Tokens(tokens) => tokens.matches(path),
        }
    }
}

/// A pattern of Go's `filepath.Match`: `*`, `?`, `[a-z]`, `[^a]`, `\` before a character; `*` and `?` match no `/`.
#[derive(Debug, Clone)]
pub struct Glob(Tokens);

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says what is wrong: an unclosed or empty class, a `\` at the end.
    pub fn compile(pattern: &str) -> Result<Glob, &'static str> {
        Tokens::compile(pattern, Dialect::Go).map(Glob)
    }

    /// Whether the whole of `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }
}

/// Whether `text` holds a wildcard that is not escaped.
pub fn has_wildcard(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => _ = chars.next(),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// `**` crosses directories.
    Ignore,
    /// `**` is `*` twice.
    Go,
}

#[derive(Debug, Clone)]
enum Token {
    Literal(char),
    /// `?`: one character but `/`.
    One,
    /// `*`: any number of characters but `/`.
    Star,
    /// `**` at the end: anything.
    Rest,
    /// `**/`: nothing, or anything that ends in `/`.
    Directories,
    Class {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// A pattern as a list, matched by following all positions at once.
#[derive(Debug, Clone)]
struct Tokens(Vec<Token>);

impl Tokens {
    fn compile(pattern: &str, dialect: Dialect) -> Result<Tokens, &'static str> {
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' if dialect == Dialect::Ignore && chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    if chars.peek().is_none() { Token::Rest } else { Token::Directories }
                }
                '*' => Token::Star,
                '?' => Token::One,
                '\\' => Token::Literal(chars.next().ok_or("ends in `\\`")?),
                '[' => class(&mut chars)?,
                c => Token::Literal(c),
            });
        }
        Ok(Tokens(tokens))
    }

    fn matches(&self, text: &str) -> bool {
        let mut positions = Positions::new(self.0.len());
        self.enter(0, &mut positions);
        let mut next = Positions::new(self.0.len());
        for c in text.chars() {
            next.clear();
            for &state in &positions.active {
                self.step(state, c, &mut next);
            }
            std::mem::swap(&mut positions, &mut next);
            if positions.active.is_empty() {
                return false;
            }
        }
        positions.active.contains(&(2 * self.0.len()))
    }

    /// Reaches token `at` and those behind it that may match nothing.
    fn enter(&self, mut at: usize, positions: &mut Positions) {
        while positions.add(2 * at) {
            match self.0.get(at) {
                Some(Token::Star | Token::Rest | Token::Directories) => at += 1,
                _ => return,
            }
        }
    }

    fn step(&self, state: usize, c: char, next: &mut Positions) {
        let at = state / 2;
        match self.0.get(at) {
            Some(Token::Literal(literal)) if *literal == c => self.enter(at + 1, next),
            Some(Token::One) if c != '/' => self.enter(at + 1, next),
            Some(Token::Star) if c != '/' => self.enter(at, next),
            Some(Token::Rest) => self.enter(at, next),
            Some(Token::Class { is_negated, ranges })
                if ranges.iter().any(|(low, high)| (low..=high).contains(&&c)) != *is_negated =>
            {
                self.enter(at + 1, next);
            }
            Some(Token::Directories) => {
                // Inside of a directory's name: only its `/` leads on.
                next.add(2 * at + 1);
                if c == '/' {
                    self.enter(at + 1, next);
                }
            }
            _ => {}
        }
    }
}

const UNCLOSED: &str = "a `[` is not closed";

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Reads a class behind its `[`.
fn class(chars: &mut Chars<'_>) -> Result<Token, &'static str> {
    let is_negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Token::Class { is_negated, ranges });
        }
        let low = class_bound(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { class_bound(chars)? } else { low };
        ranges.push((low, high));
    }
}

fn class_bound(chars: &mut Chars<'_>) -> Result<char, &'static str> {
    match chars.next().ok_or(UNCLOSED)? {
        '\\' => chars.next().ok_or(UNCLOSED),
        ']' => Err("a class or range ends too early"),
        '-' => Err("a `-` in a class has nothing before it"),
        c => Ok(c),
    }
}

/// A set of states: token `t` reached is `2 t`, inside of what `t` matches is `2 t + 1`.
struct Positions {
    active: Vec<usize>,
    is_active: Vec<bool>,
}

impl Positions {
    fn new(n_tokens: usize) -> Positions {
        Positions { active: Vec::new(), is_active: vec![false; 2 * n_tokens + 2] }
    }

    /// Whether the state is new.
    fn add(&mut self, state: usize) -> bool {
        let is_new = !std::mem::replace(&mut self.is_active[state], true);
        if is_new {
            self.active.push(state);
        }
        is_new
    }

    fn clear(&mut self) {
        for state in self.active.drain(..) {
            self.is_active[state] = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(lines: &[&str]) -> Matcher {
        Matcher::new(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()).expect("valid patterns")
    }

    #[test]
    fn patterns_exclude_as_the_peer_does() {
        let cases: &[(&[&str], &str, bool)] = &[
            (&["a"], "a", true),
            (&["a"], "a/b/c", true),
            (&["a"], "b/a", false),
            (&["/a"], "a", true),
            (&["a/"], "a/x", true),
            (&["./a/../b"], "b", true),
            (&["  a  "], "a", true),
            (&["#a"], "#a", false),
            (&[" #a"], "#a", true),
            (&["\u{feff}a"], "a", true),
            (&["*"], "a", true),
            (&["*"], ".git/x", true),
            (&["*.log"], "x.log", true),
            (&["*.log"], "d/x.log", false),
            (&["*/*.log"], "d/x.log", true),
            (&["?"], "a", true),
            (&["?"], "ab", false),
            (&["a?b"], "a/b", false),
            (&["**/x"], "x", true),
            (&["**/x"], "a/b/x", true),
            (&["**/x"], "a/bx", false),
            (&["**x"], "a/bx", true),
            (&["**/*.pyc"], "a/b.pyc", true),
            (&["**/*.pyc"], "b.pyc", true),
            (&["a/**"], "a/b", true),
            (&["a/**"], "a", false),
            (&["a/**/z"], "a/z", true),
            (&["a/**/z"], "a/b/c/z", true),
            (&["a/**/z"], "a/bz", false),
            (&["**"], "a/b", true),
            (&["[a-c]x"], "bx", true),
            (&["[^a-c]x"], "bx", false),
            (&["a\\*"], "a*", true),
            (&["a\\*"], "ab", false),
            (&["a.c"], "abc", false),
            (&["a+(b)|c{1}$"], "a+(b)|c{1}$", true),
            (&["*", "!a"], "a", false),
            (&["*", "!a"], "a/b", false),
            (&["*", "!a/b"], "a/b", false),
            (&["*", "!a/b"], "a/c", true),
            (&["*", "!a", "a/b"], "a/b", true),
            (&["!a", "*"], "a", true),
            (&["a/*", "!a"], "a/x", true),
            (&["ä?"], "äö", true),
        ];
        for (lines, path, is_excluded) in cases {
            assert_eq!(matcher(lines).is_excluded(path), *is_excluded, "{lines:?} on {path}");
        }
    }

    #[test]
    fn invalid_patterns_are_named() {
        for (line, text) in [
            ("!", "ignore pattern `!`: nothing after the `!`"),
            ("a[", "ignore pattern `a[`: a `[` is not closed"),
            ("[]a]", "ignore pattern `[]a]`: a class or range ends too early"),
            ("a\\", "ignore pattern `a\\`: ends in `\\`"),
        ] {
            assert_eq!(Matcher::new(&[line.to_owned()]).expect_err(line).to_string(), text);
        }
    }

    #[test]
    fn an_excluded_directory_is_walked_only_for_a_reason() {
        let cases: &[(&[&str], &str, bool)] = &[
            (&["*"], "a", false),
            (&["*", "!b"], "a", false),
            (&["*", "!a/b/c"], "a/b", true),
            (&["*", "!a/b/c"], "a/x", false),
            (&["*", "!**/c"], "a/x", true),
            (&["*", "!*/c"], "a", true),
            (&["*", "!a"], "a/b", true),
        ];
        for (lines, directory, is_walked) in cases {
            assert_eq!(matcher(lines).may_reinclude_below(directory), *is_walked, "{lines:?} on {directory}");
        }
    }

    #[test]
    fn hostile_patterns_cost_no_more_than_their_length() {
        let pattern = format!("{}b", "**/*a".repeat(200));
        assert!(!Pattern::compile(&pattern).expect("valid").matches(&"a/".repeat(2000)));
        let stars = Glob::compile(&format!("{}b", "*a".repeat(500))).expect("valid");
        assert!(!stars.matches(&"a".repeat(5000)));
    }

    #[test]
    fn globs_match_as_go_does() {
        for (pattern, name, is_match) in [
            ("abc", "abc", true),
            ("a*", "a", true),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("**", "a/b", false),
            ("a[!b]c", "a!c", true),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("*x", "xxx", true),
            ("a???b", "aäöüb", true),
        ] {
            assert_eq!(Glob::compile(pattern).expect(pattern).matches(name), is_match, "{pattern} on {name}");
        }
        assert!(Glob::compile("[-x]").is_err());
        assert!(has_wildcard("a[b]") && !has_wildcard("a\\*b"));
    }
}
