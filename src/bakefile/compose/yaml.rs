//! YAML as Compose reads it: a tree of nodes with their places, aliases and merge keys resolved.
//!
//! Plain scalars mean what the peer's YAML library takes them for: YAML 1.2's words for null and bools, but numbers as in
//! Go, so that `0755` is 493 and `1_000` is 1000. Keys are strings and each stands once in its mapping.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

use crate::diagnostic::{Diagnostic, FileId, SourceMap, Span};

/// How many nodes a file may have once its aliases are written out; the peer's bound.
const MAX_NODES: usize = 100_000;
/// How deep nodes may be nested.
const MAX_DEPTH: usize = 128;

/// What a later file does to the node that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Merge,
    /// `!reset`: the node goes, here and in the files before.
    Reset,
    /// `!override`: the node replaces what the files before say.
    Replace,
}

/// A part of a document.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Yaml,
    pub(super) span: Span,
    /// Its key's place, where it is in a mapping.
    pub(super) key: Span,
    pub(super) action: Action,
}

pub(super) type Map = BTreeMap<String, Node>;

/// A node's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Yaml {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// Equal by content, wherever they stand.
impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.value == other.value
    }
}

impl Node {
    pub(super) fn new(value: Yaml, span: Span) -> Node {
        Node { value, span, key: span, action: Action::Merge }
    }

    pub(super) fn as_map(&self) -> Option<&Map> {
        if let Yaml::Map(map) = &self.value { Some(map) } else { None }
    }

    pub(super) fn as_map_mut(&mut self) -> Option<&mut Map> {
        if let Yaml::Map(map) = &mut self.value { Some(map) } else { None }
    }

    pub(super) fn as_list(&self) -> Option<&[Node]> {
        if let Yaml::List(items) = &self.value { Some(items) } else { None }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        if let Yaml::Text(text) = &self.value { Some(text) } else { None }
    }

    /// Returns a mapping's entries as they stand in the file.
    pub(super) fn entries(&self) -> Vec<(&String, &Node)> {
        let mut entries: Vec<_> = self.as_map().into_iter().flatten().collect();
        entries.sort_by_key(|(_, node)| node.key);
        entries
    }

    /// Returns the node under `key` of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    pub(super) fn is_null(&self) -> bool {
        self.value == Yaml::Null
    }

    /// Returns a scalar as text, numbers as Go prints them; `None` for null, lists and mappings.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.value {
            Yaml::Text(text) => Some(text.clone()),
            Yaml::Bool(flag) => Some(flag.to_string()),
            Yaml::Int(number) => Some(number.to_string()),
            Yaml::Float(number) => Some(float_text(*number)),
            Yaml::Null | Yaml::List(_) | Yaml::Map(_) => None,
        }
    }

    /// Returns how many nodes it is made of.
    pub(super) fn size(&self) -> usize {
        1 + match &self.value {
            Yaml::List(items) => items.iter().map(Node::size).sum(),
            Yaml::Map(map) => map.values().map(Node::size).sum(),
            _ => 0,
        }
    }

    /// Returns the word for what the node is.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Yaml::Null => "null",
            Yaml::Bool(_) => "a boolean",
            Yaml::Int(_) | Yaml::Float(_) => "a number",
            Yaml::Text(_) => "a string",
            Yaml::List(_) => "a list",
            Yaml::Map(_) => "a mapping",
        }
    }
}

/// Go's shortest form: an exponent below 1e-4 and from 1e21 on.
fn float_text(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |exponent| ("-", exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    number.to_string()
}

/// Reads all documents of a file.
///
/// # Errors
/// The first place that is no YAML, or a limit that is passed.
pub(super) fn parse(file: FileId, sources: &SourceMap) -> Result<Vec<Node>, Box<Diagnostic>> {
    let text = sources.text(file);
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let offsets = Offsets::new(body, text.len() - body.len());
    let parser = Parser::new_from_str(body);
    let mut reader = Reader { parser, offsets, file, anchors: BTreeMap::new(), n_nodes: 0 };
    let mut documents = Vec::new();
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::DocumentStart(_) => reader.anchors.clear(),
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => {}
            event => documents.push(reader.node(event, span, 0)?),
        }
    }
    Ok(documents)
}

/// Byte offsets of characters.
struct Offsets {
    /// Bytes before the first character.
    before: usize,
    /// By character; empty for an ASCII text, where both counts agree.
    bytes: Vec<usize>,
}

impl Offsets {
    fn new(text: &str, before: usize) -> Offsets {
        let bytes = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().map(|(at, _)| at).chain([text.len()]).collect(),
        };
        Offsets { before, bytes }
    }

    fn byte(&self, character: usize) -> usize {
        let byte = match self.bytes.last() {
            Some(end) => self.bytes.get(character).unwrap_or(end),
            None => &character,
        };
        self.before + byte
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    offsets: Offsets,
    file: FileId,
    /// Finished nodes by anchor, with how many nodes each has.
    anchors: BTreeMap<usize, (Node, usize)>,
    n_nodes: usize,
}

type Found<T> = Result<T, Box<Diagnostic>>;

fn wrong<T>(span: Span, message: impl Into<String>) -> Found<T> {
    Err(Box::new(Diagnostic::error(span, message)))
}

fn too_deep() -> String {
    format!("this is nested more than {MAX_DEPTH} levels deep")
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Found<Option<(Event<'a>, Span)>> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                let (start, end) = (self.offsets.byte(span.start.index()), self.offsets.byte(span.end.index()));
                Ok(Some((event, Span::new(self.file, start, end))))
            }
            Some(Err(error)) => {
                let at = self.offsets.byte(error.marker().index());
                if error.info().contains("recursion") {
                    return wrong(Span::new(self.file, at, at), too_deep());
                }
                wrong(Span::new(self.file, at, at), format!("this is no YAML: {}", error.info()))
            }
        }
    }

    fn count(&mut self, n: usize, span: Span) -> Found<()> {
        self.n_nodes = self.n_nodes.saturating_add(n);
        if self.n_nodes > MAX_NODES {
            return wrong(span, format!("this file has more than {MAX_NODES} nodes, aliases written out"));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Found<Node> {
        if depth > MAX_DEPTH {
            return wrong(span, too_deep());
        }
        self.count(1, span)?;
        let n_before = self.n_nodes;
        let (node, anchor) = match event {
            Event::Alias(anchor) => {
                let Some((node, n_inside)) = self.anchors.get(&anchor).cloned() else {
                    return wrong(span, "this alias stands inside the node that it means");
                };
                self.count(n_inside, span)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                // Long texts weigh more: an alias copies them.
                self.count(text.len() / 1024, span)?;
                let mut node = Node::new(scalar(&text, style, tag.as_deref()), span);
                node.action = action(tag.as_deref());
                (node, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                let mut node = self.list(span, depth)?;
                node.action = action(tag.as_deref());
                (node, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                let mut node = self.map(span, depth)?;
                node.action = action(tag.as_deref());
                (node, anchor)
            }
            _ => return wrong(span, "this is no YAML: a value is missing"),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.n_nodes - n_before + 1));
        }
        Ok(node)
    }

    fn list(&mut self, start: Span, depth: usize) -> Found<Node> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Some((Event::SequenceEnd, end)) => {
                    let span = Span { end: end.end.max(start.end), ..start };
                    return Ok(Node::new(Yaml::List(items), span));
                }
                Some((event, span)) => {
                    let item = self.node(event, span, depth + 1)?;
                    if item.action != Action::Reset {
                        items.push(item);
                    }
                }
                None => return wrong(start, "this list does not end"),
            }
        }
    }

    fn map(&mut self, start: Span, depth: usize) -> Found<Node> {
        let mut map = Map::new();
        let mut merged: Option<Node> = None;
        loop {
            let (event, span) = match self.next()? {
                Some((Event::MappingEnd, end)) => {
                    let span = Span { end: end.end.max(start.end), ..start };
                    merge_under(&mut map, merged)?;
                    return Ok(Node::new(Yaml::Map(map), span));
                }
                Some(event) => event,
                None => return wrong(start, "this mapping does not end"),
            };
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.node(event, span, depth + 1)?;
            let Some(name) = key.as_text().map(str::to_owned) else {
                return Err(Box::new(
                    Diagnostic::error(span, format!("a key is a string, not {}", key.kind())).hint("put it in quotes"),
                ));
            };
            let Some((event, span)) = self.next()? else { return wrong(key.span, "this key has no value") };
            let mut value = self.node(event, span, depth + 1)?;
            value.key = key.span;
            let earlier = if is_merge { merged.as_ref() } else { map.get(&name) };
            if let Some(earlier) = earlier {
                let finding = Diagnostic::error(key.span, format!("the key `{name}` stands here twice"));
                return Err(Box::new(finding.label(earlier.key, "the first")));
            }
            match is_merge {
                true => merged = Some(value),
                false => _ = map.insert(name, value),
            }
        }
    }
}

/// Adds what `<<` brings: keys that the mapping has itself stay, and of several mappings the first counts.
fn merge_under(map: &mut Map, merged: Option<Node>) -> Found<()> {
    let Some(merged) = merged else { return Ok(()) };
    let sources = match merged.value {
        Yaml::List(items) => items,
        _ => vec![merged],
    };
    for source in sources {
        let Yaml::Map(entries) = source.value else {
            return wrong(source.span, "`<<` takes a mapping or a list of mappings");
        };
        for (key, node) in entries {
            map.entry(key).or_insert(node);
        }
    }
    Ok(())
}

fn action(tag: Option<&Tag>) -> Action {
    match tag {
        Some(tag) if tag.handle == "!" && tag.suffix == "reset" => Action::Reset,
        Some(tag) if tag.handle == "!" && tag.suffix == "override" => Action::Replace,
        _ => Action::Merge,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Yaml {
    let is_plain = style == ScalarStyle::Plain;
    match tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str()) {
        Some("str") => Yaml::Text(text.to_owned()),
        Some("float") => match plain(text) {
            Yaml::Int(number) => Yaml::Float(number as f64),
            value => value,
        },
        Some(_) => plain(text),
        None if is_plain => plain(text),
        None => Yaml::Text(text.to_owned()),
    }
}

fn plain(text: &str) -> Yaml {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Yaml::Null,
        "true" | "True" | "TRUE" => return Yaml::Bool(true),
        "false" | "False" | "FALSE" => return Yaml::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Yaml::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Yaml::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Yaml::Float(f64::NAN),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return Yaml::Text(text.to_owned());
    }
    let digits = text.replace('_', "");
    match integer(&digits).map(Yaml::Int).or_else(|| float(&digits).map(Yaml::Float)) {
        Some(number) => number,
        None => Yaml::Text(text.to_owned()),
    }
}

/// Reads an integer as Go's `ParseInt` with base 0: `0x`, `0o`, `0b`, and a leading zero is octal.
fn integer(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let size = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if is_negative { -size } else { size }).ok()
}

fn float(text: &str) -> Option<f64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if is_number && text.bytes().any(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Node>, String> {
        let mut sources = SourceMap::default();
        let file = sources.add("f.yaml", text);
        parse(file, &sources).map_err(|found| found.render(&sources))
    }

    #[test]
    fn plain_scalars_are_what_go_takes_them_for() {
        let shown = |text| Node::new(plain(text), Span::new(SourceMap::default().add("", ""), 0, 0)).scalar();
        for (written, meant) in [
            ("0755", "493"),
            ("1_000", "1000"),
            ("0x1F", "31"),
            ("08", "8"),
            ("1.10", "1.1"),
            ("1e21", "1e+21"),
            ("1.2.3", "1.2.3"),
            ("yes", "yes"),
            ("-", "-"),
            ("+", "+"),
            ("True", "true"),
        ] {
            assert_eq!(shown(written).as_deref(), Some(meant), "{written}");
        }
    }

    #[test]
    fn merge_keys_give_what_the_mapping_does_not_say() {
        let read = read("x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], a: 0}\n").unwrap_or_default();
        let z = read[0].get("z").map(|z| ["a", "b", "c"].map(|key| z.get(key).and_then(Node::scalar)));
        assert_eq!(z, Some(["0", "1", "2"].map(|text| Some(text.to_owned()))));
    }

    #[test]
    fn aliases_that_multiply_are_stopped() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        let why = read(&text).expect_err("it is too large");
        assert!(why.contains("more than 100000 nodes"), "{why}");
    }

    #[test]
    fn spans_count_bytes_after_wide_characters() {
        let why = read("ä: 'ö'\nb: 1\nb: 2\n").expect_err("b stands twice");
        assert!(why.starts_with("error: f.yaml:3:1: the key `b` stands here twice"), "{why}");
    }
}
