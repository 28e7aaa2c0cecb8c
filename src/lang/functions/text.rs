//! Functions of strings.

use std::collections::BTreeSet;

use regex::{Captures, Regex, RegexBuilder};

use unicode_segmentation::UnicodeSegmentation;

use super::Parameter::{Any, Number as N, Text, Texts};
use super::re2::{self, Translated};
use super::{Function, World, fixed, number_at, text_at, texts, variadic, whole_at};
use crate::lang::limits::{ELEMENT, MAX_TEXT, items_fit, text_fits, value_fits};
use crate::lang::number::Number;
use crate::lang::value::Value;

pub(super) const TABLE: &[Function] = &[
    fixed("basename", &[Text], |_, v| Ok(Value::string(basename(text_at(v, 0))))),
    fixed("chomp", &[Text], |_, v| Ok(Value::string(text_at(v, 0).trim_end_matches(['\n', '\r'])))),
    fixed("dirname", &[Text], |_, v| Ok(Value::string(dirname(text_at(v, 0))))),
    fixed("homedir", &[], |world, _| world.home.as_ref().map(Value::string).ok_or_else(|| "HOME is not set".into())),
    fixed("indent", &[N, Text], indent),
    variadic("join", &[Text], Texts, join),
    fixed("lower", &[Text], |_, v| Ok(Value::string(cased(text_at(v, 0), |c| c.to_lowercase().next())))),
    fixed("parseint", &[Any, N], parseint),
    fixed("regex", &[Text, Text], regex),
    fixed("regex_replace", &[Text, Text, Text], regex_replace),
    fixed("regexall", &[Text, Text], regexall),
    fixed("replace", &[Text, Text, Text], |_, v| {
        replaced(text_at(v, 0), text_at(v, 1), text_at(v, 2)).map(Value::string)
    }),
    fixed("reverse", &[Text], |_, v| Ok(Value::string(graphemes(text_at(v, 0)).rev().collect::<String>()))),
    fixed("sanitize", &[Text], |_, v| Ok(Value::string(sanitize(text_at(v, 0))))),
    fixed("split", &[Text, Text], split),
    fixed("strlen", &[Text], |_, v| Ok(Value::Number(Number::from(graphemes(text_at(v, 0)).count())))),
    fixed("substr", &[Text, N, N], substr),
    fixed("title", &[Text], |_, v| Ok(Value::string(title(text_at(v, 0))))),
    fixed("trim", &[Text, Text], |_, v| {
        let cut: BTreeSet<char> = text_at(v, 1).chars().collect();
        Ok(Value::string(text_at(v, 0).trim_matches(|c| cut.contains(&c))))
    }),
    fixed("trimprefix", &[Text, Text], |_, v| {
        Ok(Value::string(text_at(v, 0).strip_prefix(text_at(v, 1)).unwrap_or(text_at(v, 0))))
    }),
    fixed("trimspace", &[Text], |_, v| Ok(Value::string(text_at(v, 0).trim()))),
    fixed("trimsuffix", &[Text, Text], |_, v| {
        Ok(Value::string(text_at(v, 0).strip_suffix(text_at(v, 1)).unwrap_or(text_at(v, 0))))
    }),
    fixed("upper", &[Text], |_, v| Ok(Value::string(cased(text_at(v, 0), single_upper)))),
];

/// Replaces what a target name cannot hold by `_`.
pub(crate) fn sanitize(text: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    text.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect()
}

fn basename(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    match (path, trimmed.rsplit('/').next()) {
        ("", _) => ".".into(),
        (_, Some("") | None) => "/".into(),
        (_, Some(last)) => last.into(),
    }
}

fn dirname(path: &str) -> String {
    match path.rfind('/') {
        Some(at) => clean(&path[..=at]),
        None => ".".into(),
    }
}

/// Cleans a path by words alone: no `.`, no `//`, `..` undone where possible; "." for nothing (Go, path.Clean).
pub fn clean(path: &str) -> String {
    let is_rooted = path.starts_with('/');
    let mut words: Vec<&str> = Vec::new();
    for word in path.split('/') {
        match word {
            "" | "." => {}
            ".." if words.last().is_some_and(|last| *last != "..") => _ = words.pop(),
            ".." if is_rooted => {}
            _ => words.push(word),
        }
    }
    match (is_rooted, words.join("/")) {
        (true, rest) => format!("/{rest}"),
        (false, rest) if rest.is_empty() => ".".into(),
        (false, rest) => rest,
    }
}

fn indent(_: &World, v: &[Value]) -> Result<Value, String> {
    let n = usize::try_from(whole_at(v, 0)?).map_err(|_| "the indentation is below zero")?;
    text_fits(Some(n))?;
    let text = text_at(v, 1);
    // Nothing is made where there is no second line.
    let margin = if text.contains('\n') { " ".repeat(n) } else { String::new() };
    replaced(text, "\n", &format!("\n{margin}")).map(Value::string)
}

fn replaced(text: &str, from: &str, to: &str) -> Result<String, String> {
    let n_found = text.matches(from).count();
    text_fits(n_found.checked_mul(to.len()).and_then(|added| added.checked_add(text.len() - n_found * from.len())))?;
    Ok(text.replace(from, to))
}

fn join(_: &World, v: &[Value]) -> Result<Value, String> {
    let lists = v.get(1..).unwrap_or(&[]);
    if lists.is_empty() {
        return Err("at least one list is needed".into());
    }
    let mut pieces = Vec::new();
    for item in lists.iter().flat_map(|list| list.as_items().unwrap_or(&[])) {
        pieces.push(item.as_str().ok_or("an element is null")?);
    }
    let n_separators = pieces.len().saturating_sub(1);
    let size = pieces.iter().map(|piece| piece.len()).try_fold(0usize, usize::checked_add);
    text_fits(size.zip(n_separators.checked_mul(text_at(v, 0).len())).and_then(|(a, b)| a.checked_add(b)))?;
    Ok(Value::string(pieces.join(text_at(v, 0))))
}

fn split(_: &World, v: &[Value]) -> Result<Value, String> {
    let (separator, text) = (text_at(v, 0), text_at(v, 1));
    match (separator, text) {
        // The standard library gives a lone empty piece, the peer too; by characters there is none.
        ("", text) => {
            items_fit(Some(text.chars().count()))?;
            Ok(texts(text.chars().map(|c| c.to_string())))
        }
        _ => {
            items_fit(Some(text.matches(separator).count() + 1))?;
            Ok(texts(text.split(separator)))
        }
    }
}

fn substr(_: &World, v: &[Value]) -> Result<Value, String> {
    let text = text_at(v, 0);
    let (offset, length, n) = (whole_at(v, 1)?, whole_at(v, 2)?, graphemes(text).count() as i64);
    let start = if offset < 0 { n.saturating_add(offset).max(0) } else { offset.min(n) };
    let end = if length < 0 { n } else { start.saturating_add(length).min(n) };
    Ok(Value::string(graphemes(text).skip(start as usize).take((end - start).max(0) as usize).collect::<String>()))
}

/// Gives each word its title case. A word begins after what is no letter, digit or underscore; of signs beyond ASCII only
/// spaces end one (Go, strings.Title).
fn title(text: &str) -> String {
    let mut is_start = true;
    let mut titled = String::with_capacity(text.len());
    for c in text.chars() {
        titled.push(if is_start { title_case(c) } else { c });
        is_start = match c.is_ascii() {
            true => !c.is_ascii_alphanumeric() && c != '_',
            false => c.is_whitespace(),
        };
    }
    titled
}

/// The letters of which the title case is not the upper case: two letters in one, and Georgian, which has none.
fn title_case(c: char) -> char {
    match c {
        'Ǆ'..='ǆ' => 'ǅ',
        'Ǉ'..='ǉ' => 'ǈ',
        'Ǌ'..='ǌ' => 'ǋ',
        'Ǳ'..='ǳ' => 'ǲ',
        '\u{10d0}'..='\u{10ff}' => c,
        _ => single_upper(c).unwrap_or(c),
    }
}

fn parseint(_: &World, v: &[Value]) -> Result<Value, String> {
    let text = v.first().and_then(Value::as_str).ok_or("the number is a string")?;
    let base = number_at(v, 1).to_i64().and_then(|b| u32::try_from(b).ok()).filter(|b| (2..=62).contains(b));
    let base = base.ok_or("the base is from 2 to 62")?;
    let digits = text.strip_prefix('+').filter(|digits| !digits.starts_with('-')).unwrap_or(text);
    let number =
        Number::parse_radix(digits, base).ok_or_else(|| format!("\"{text}\" is no whole number of base {base}"))?;
    Ok(Value::Number(number.to_counted()))
}

/// Bytes that a compiled pattern may take, and of the text that it may look at: the more states it has, the longer each
/// byte takes. The first pair that the pattern fits counts.
const PATTERN_SIZES: [(usize, usize); 3] = [(64 << 10, MAX_TEXT), (1 << 20, 1 << 20), (10 << 20, 64 << 10)];

/// What the states of a compiled pattern count for, in bytes handled for each byte of text.
const BYTES_PER_STATES: usize = 16 << 10;

/// A compiled pattern and the names of its groups, of which two may be equal.
struct Pattern {
    regex: Regex,
    names: Vec<Option<String>>,
}

/// Compiles a pattern for a text; `world` is told what the two take together.
fn compiled(world: &World, pattern: &str, text: &str) -> Result<Pattern, String> {
    let Translated { pattern, names } =
        re2::translate(pattern).map_err(|why| format!("invalid regular expression: {why}"))?;
    let mut refusal = String::new();
    for (size, max_text) in PATTERN_SIZES {
        match RegexBuilder::new(&pattern).size_limit(size).build() {
            Ok(_) if text.len() > max_text => {
                return Err(format!("this pattern is too large for a text of more than {max_text} bytes"));
            }
            Ok(regex) => {
                let states = size / BYTES_PER_STATES;
                world.add_effort(text.len().saturating_mul(states).saturating_add(size));
                return Ok(Pattern { regex, names });
            }
            Err(regex::Error::CompiledTooBig(limit)) => {
                refusal = format!("the pattern takes more than {} MiB, compiled", limit >> 20);
            }
            Err(error) => {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or("").trim_start_matches("error: ");
                return Err(format!("invalid regular expression: {last}"));
            }
        }
    }
    Err(refusal)
}

impl Pattern {
    /// Refuses groups of which only some have names: there would be no type for what they find.
    fn checked(self) -> Result<Pattern, String> {
        let n_named = self.names.iter().flatten().count();
        match n_named == 0 || n_named + 1 == self.names.len() {
            true => Ok(self),
            false => Err("either all groups of a pattern have names, or none".into()),
        }
    }

    /// Returns what the group of that name or number found, the first of several that found something; empty for none.
    fn group<'a>(&self, captures: &Captures<'a>, name: &str) -> &'a str {
        let found = match re2::index_of(name) {
            Some(index) => captures.get(index),
            None => {
                let named =
                    |(i, own): (usize, &Option<String>)| captures.get(i).filter(|_| own.as_deref() == Some(name));
                self.names.iter().enumerate().find_map(named)
            }
        };
        found.map_or("", |found| found.as_str())
    }
}

fn captured(pattern: &Pattern, captures: &Captures<'_>) -> Value {
    let value = |i: usize| captures.get(i).map_or(Value::NULL, |m| Value::string(m.as_str()));
    let names: Vec<(usize, &String)> =
        pattern.names.iter().enumerate().filter_map(|(i, name)| Some((i, name.as_ref()?))).collect();
    match (captures.len(), names.is_empty()) {
        (1, _) => value(0),
        (_, true) => Value::tuple((1..captures.len()).map(value).collect()),
        (_, false) => Value::object(names.into_iter().map(|(i, name)| (name.clone(), value(i))).collect()),
    }
}

/// Bytes of what [`captured`] makes, about.
fn captured_size(pattern: &Pattern, captures: &Captures<'_>) -> usize {
    let names: usize = pattern.names.iter().flatten().map(String::len).sum();
    names + captures.iter().map(|found| 2 * ELEMENT + found.map_or(0, |m| m.len())).sum::<usize>()
}

fn regex(world: &World, v: &[Value]) -> Result<Value, String> {
    let pattern = compiled(world, text_at(v, 0), text_at(v, 1))?.checked()?;
    let captures = pattern.regex.captures(text_at(v, 1)).ok_or("the pattern did not match any part of the string")?;
    value_fits(Some(captured_size(&pattern, &captures)))?;
    Ok(captured(&pattern, &captures))
}

fn regexall(world: &World, v: &[Value]) -> Result<Value, String> {
    let pattern = compiled(world, text_at(v, 0), text_at(v, 1))?.checked()?;
    let (mut found, mut size) = (Vec::new(), 0usize);
    for captures in pattern.regex.captures_iter(text_at(v, 1)) {
        size += captured_size(&pattern, &captures);
        value_fits(Some(size))?;
        found.push(captured(&pattern, &captures));
    }
    Ok(Value::list(found))
}

fn regex_replace(world: &World, v: &[Value]) -> Result<Value, String> {
    let (text, to) = (text_at(v, 0), text_at(v, 2));
    let pattern = compiled(world, text_at(v, 1), text)?;
    let n_references = to.matches('$').count();
    let (mut replaced, mut end) = (String::new(), 0);
    for captures in pattern.regex.captures_iter(text) {
        let found = captures.get_match();
        // No reference is longer than the whole match.
        text_fits(n_references.checked_mul(found.len()).and_then(|n| n.checked_add(replaced.len() + to.len())))?;
        replaced.push_str(&text[end..found.start()]);
        re2::expand(to, |name| pattern.group(&captures, name), &mut replaced);
        end = found.end();
    }
    replaced.push_str(&text[end..]);
    text_fits(Some(replaced.len()))?;
    Ok(Value::string(replaced))
}

/// Gives each letter its other case as Go does, letter for letter: no letter becomes two.
fn cased(text: &str, other: impl Fn(char) -> Option<char>) -> String {
    text.chars().map(|c| other(c).unwrap_or(c)).collect()
}

fn single_upper(c: char) -> Option<char> {
    // Greek letters with an iota below are one letter in both cases, and only written out two.
    let with_iota = match c as u32 {
        code @ (0x1f80..=0x1f87 | 0x1f90..=0x1f97 | 0x1fa0..=0x1fa7) => Some(code + 8),
        code @ (0x1fb3 | 0x1fc3 | 0x1ff3) => Some(code + 9),
        _ => None,
    };
    let mut upper = c.to_uppercase();
    with_iota.and_then(char::from_u32).or_else(|| upper.next().filter(|_| upper.next().is_none()))
}

/// Cuts a text where a reader sees one sign end and the next begin (UAX #29, extended grapheme clusters).
pub(super) fn graphemes(text: &str) -> Box<dyn DoubleEndedIterator<Item = &str> + '_> {
    match text.is_ascii() && !text.contains('\r') {
        true => Box::new(text.split_inclusive(|_: char| true)),
        false => Box::new(text.graphemes(true).flat_map(conjuncts)),
    }
}

/// Cuts a cluster before each consonant of an Indic script that stands inside of it: only since Unicode 15.1 (rule GB9c)
/// does one that is joined to the consonant before it belong to that, and the peer is of 15.0.
fn conjuncts(cluster: &str) -> std::vec::IntoIter<&str> {
    let starts = cluster.char_indices().filter(|(at, c)| *at > 0 && is_joining_consonant(*c)).map(|(at, _)| at);
    let ends: Vec<usize> = starts.chain([cluster.len()]).collect();
    let pieces = ends.iter().scan(0, |start, end| Some(&cluster[std::mem::replace(start, *end)..*end]));
    pieces.collect::<Vec<_>>().into_iter()
}

/// Says whether a letter is `InCB=Consonant` (Unicode 15.1, DerivedCoreProperties).
fn is_joining_consonant(c: char) -> bool {
    matches!(c,
        '\u{915}'..='\u{939}' | '\u{958}'..='\u{95f}' | '\u{978}'..='\u{97f}'
        | '\u{995}'..='\u{9b9}' | '\u{9dc}'..='\u{9df}' | '\u{9f0}'..='\u{9f1}'
        | '\u{a95}'..='\u{ab9}' | '\u{af9}'
        | '\u{b15}'..='\u{b39}' | '\u{b5c}'..='\u{b5f}' | '\u{b71}'
        | '\u{c15}'..='\u{c39}' | '\u{c58}'..='\u{c5a}'
        | '\u{d15}'..='\u{d3a}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_counted_as_people_see_them() {
        assert_eq!(graphemes("e\u{301}a").collect::<Vec<_>>(), ["e\u{301}", "a"]);
        assert_eq!(graphemes("👨‍👩‍👧🇩🇪🇫🇷").count(), 3);
        assert_eq!(graphemes("").count(), 0);
    }

    #[test]
    fn paths_are_cleaned_by_words() {
        for (path, cleaned) in [("./a//b/../c", "a/c"), ("", "."), ("/..", "/"), ("../x", "../x"), ("a/..", ".")] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
        assert_eq!((basename("/a/b/"), dirname("/a/b"), dirname("x")), ("b".into(), "/a".into(), ".".into()));
    }
}
