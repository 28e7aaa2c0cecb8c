//! Functions of strings.

use std::collections::BTreeSet;

use regex::{Captures, Regex, RegexBuilder};

use unicode_segmentation::UnicodeSegmentation;

use super::Parameter::{Any, Number as N, Text, Texts};
use super::pattern::{expand, translated};
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

/// Spaces that `indent` puts before a line at most; the peer knows no limit.
const MAX_INDENT: usize = 4096;

fn indent(_: &World, v: &[Value]) -> Result<Value, String> {
    let n = usize::try_from(whole_at(v, 0)?).ok().filter(|n| *n <= MAX_INDENT);
    let n = n.ok_or_else(|| format!("indentation is from 0 to {MAX_INDENT}"))?;
    replaced(text_at(v, 1), "\n", &format!("\n{}", " ".repeat(n))).map(Value::string)
}

fn replaced(text: &str, from: &str, to: &str) -> Result<String, String> {
    let n_found = text.matches(from).count();
    text_fits(n_found.checked_mul(to.len()).and_then(|added| added.checked_add(text.len() - n_found * from.len())))?;
    Ok(text.replace(from, to))
}

fn join(_: &World, v: &[Value]) -> Result<Value, String> {
    let lists = v.get(1..).filter(|lists| !lists.is_empty()).ok_or("at least one list is needed")?;
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
    // The peer takes a length of 0 for none where the offset counts from the end.
    let end = if length < 0 || (offset < 0 && length == 0) { n } else { start.saturating_add(length).min(n) };
    Ok(Value::string(graphemes(text).skip(start as usize).take((end - start).max(0) as usize).collect::<String>()))
}

fn title(text: &str) -> String {
    let mut is_start = true;
    let mut titled = String::with_capacity(text.len());
    for c in text.chars() {
        match is_start {
            true => titled.push(single_title(c)),
            false => titled.push(c),
        }
        // Go's strings.Title: past ASCII, only blanks separate.
        is_start = if c.is_ascii() { !(c.is_ascii_alphanumeric() || c == '_') } else { c.is_whitespace() };
    }
    titled
}

fn parseint(_: &World, v: &[Value]) -> Result<Value, String> {
    let Some(Value::String(text)) = v.first() else { return Err("string required".into()) };
    let base = number_at(v, 1).to_i64().and_then(|b| u32::try_from(b).ok()).filter(|b| (2..=62).contains(b));
    let base = base.ok_or("the base is from 2 to 62")?;
    let number =
        Number::parse_radix(text, base).ok_or_else(|| format!("\"{text}\" is no whole number of base {base}"))?;
    Ok(Value::Number(number.to_counted()))
}

/// Bytes that a compiled pattern may take, and of the text that it may look at: the more states it has, the longer each
/// byte takes. The first pair that the pattern fits counts.
const PATTERN_SIZES: [(usize, usize); 3] = [(64 << 10, MAX_TEXT), (1 << 20, 1 << 20), (10 << 20, 64 << 10)];

/// What the states of a compiled pattern count for, in bytes handled for each byte of text.
const BYTES_PER_STATES: usize = 16 << 10;

/// Compiles a pattern for a text; `world` is told what the two take together.
fn compiled(world: &World, pattern: &str, text: &str) -> Result<Regex, String> {
    let pattern = translated(pattern)?;
    let mut refusal = String::new();
    for (size, max_text) in PATTERN_SIZES {
        // What is not small takes several milliseconds to compile, and was tried as a small one before.
        let effort = if size > PATTERN_SIZES[0].0 { 3 * size } else { size };
        match RegexBuilder::new(&pattern).size_limit(size).build() {
            Ok(_) if text.len() > max_text => {
                return Err(format!("this pattern is too large for a text of more than {max_text} bytes"));
            }
            Ok(regex) => {
                let states = size / BYTES_PER_STATES;
                world.add_effort(text.len().saturating_mul(states).saturating_add(effort));
                return Ok(regex);
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

/// What a match makes is a tuple or an object, so groups have names all or none.
fn groups_agree(regex: &Regex) -> Result<(), String> {
    let n_named = regex.capture_names().flatten().count();
    match n_named == 0 || n_named + 1 == regex.captures_len() {
        true => Ok(()),
        false => Err("some groups of the pattern have names, others have none".into()),
    }
}

fn captured(regex: &Regex, captures: &Captures<'_>) -> Value {
    let value = |found: Option<regex::Match<'_>>| found.map_or(Value::NULL, |m| Value::string(m.as_str()));
    let names: Vec<&str> = regex.capture_names().flatten().collect();
    match (captures.len(), names.is_empty()) {
        (1, _) => value(captures.get(0)),
        (_, true) => Value::tuple((1..captures.len()).map(|i| value(captures.get(i))).collect()),
        (_, false) => {
            Value::object(names.iter().map(|name| ((*name).to_owned(), value(captures.name(name)))).collect())
        }
    }
}

/// Bytes of what [`captured`] makes, about.
fn captured_size(regex: &Regex, captures: &Captures<'_>) -> usize {
    let names: usize = regex.capture_names().flatten().map(str::len).sum();
    names + captures.iter().map(|found| 2 * ELEMENT + found.map_or(0, |m| m.len())).sum::<usize>()
}

fn regex(world: &World, v: &[Value]) -> Result<Value, String> {
    let regex = compiled(world, text_at(v, 0), text_at(v, 1))?;
    groups_agree(&regex)?;
    let captures = regex.captures(text_at(v, 1)).ok_or("the pattern did not match any part of the string")?;
    value_fits(Some(captured_size(&regex, &captures)))?;
    Ok(captured(&regex, &captures))
}

fn regexall(world: &World, v: &[Value]) -> Result<Value, String> {
    let regex = compiled(world, text_at(v, 0), text_at(v, 1))?;
    groups_agree(&regex)?;
    let (mut found, mut size) = (Vec::new(), 0usize);
    for captures in regex.captures_iter(text_at(v, 1)) {
        size += captured_size(&regex, &captures);
        value_fits(Some(size))?;
        found.push(captured(&regex, &captures));
    }
    Ok(Value::list(found))
}

fn regex_replace(world: &World, v: &[Value]) -> Result<Value, String> {
    let (text, to) = (text_at(v, 0), text_at(v, 2));
    let regex = compiled(world, text_at(v, 1), text)?;
    let n_references = to.matches('$').count();
    let (mut replaced, mut end) = (String::new(), 0);
    for captures in regex.captures_iter(text) {
        let found = captures.get_match();
        // No reference is longer than the whole match.
        text_fits(n_references.checked_mul(found.len()).and_then(|n| n.checked_add(replaced.len() + to.len())))?;
        replaced.push_str(&text[end..found.start()]);
        expand(to, &captures, &mut replaced);
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

/// The form that a letter has at the start of a title, where Unicode has one of its own: ǅ for ǆ.
fn single_title(c: char) -> char {
    match c {
        'Ǆ'..='ǆ' => 'ǅ',
        'Ǉ'..='ǉ' => 'ǈ',
        'Ǌ'..='ǌ' => 'ǋ',
        'Ǳ'..='ǳ' => 'ǲ',
        // Georgian has capitals, but no titles.
        '\u{10d0}'..='\u{10ff}' => c,
        c => single_upper(c).unwrap_or(c),
    }
}

fn single_upper(c: char) -> Option<char> {
    // Greek letters with a small iota below have a capital of their own, though their full one is two letters.
    let code = c as u32;
    match code {
        0x1f80..=0x1faf if code & 8 == 0 => return char::from_u32(code + 8),
        0x1fb3 | 0x1fc3 | 0x1ff3 => return char::from_u32(code + 9),
        _ => {}
    }
    let mut upper = c.to_uppercase();
    upper.next().filter(|_| upper.next().is_none())
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
