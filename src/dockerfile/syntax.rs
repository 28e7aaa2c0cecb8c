//! Instructions before they have types: name, flags, arguments, heredocs.

use crate::diagnostic::{Diagnostic, Diagnostics, FileId, Span, nearest};

use super::lines::{Lines, LogicalLine, Positions, directives};
use super::shell::Expander;
use super::words::{Cut, Json, Word, is_blank, json_list, split_blanks, split_flags, split_quoted};

/// The names of all instructions.
pub(super) const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// An instruction as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// As written.
    pub name: Word,
    /// `--name[=value]`, quotes removed.
    pub flags: Vec<Word>,
    /// What follows the flags. ENV and LABEL: key, value, separator (`=` or nothing) for each pair. ONBUILD: none.
    pub args: Vec<Word>,
    /// The arguments were a JSON list.
    pub is_json: bool,
    /// The instruction with its lines joined, without heredoc bodies.
    pub original: String,
    /// First and last line, heredocs included; 1-based; zero for a text that is not of a file.
    pub lines: (usize, usize),
    /// All of it, heredocs included.
    pub span: Span,
    /// The comment lines between the instruction before and this one, trimmed.
    pub comments: Vec<String>,
    /// In order.
    pub heredocs: Vec<Heredoc>,
    /// ONBUILD: the instruction that it holds back.
    pub trigger: Option<Box<Node>>,
}

/// An inline document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes.
    pub name: String,
    /// The number before `<<`; 0 where there is none.
    pub descriptor: u32,
    /// `<<-`: leading tabs are dropped.
    pub is_chomped: bool,
    /// No part of the delimiter is quoted.
    pub expands: bool,
    /// The lines with their line breaks, tabs kept.
    pub text: String,
}

impl Heredoc {
    /// Reads a word such as `<<EOF`; `None` if it is something else. The text is empty.
    pub fn parse(word: &str) -> Option<Heredoc> {
        let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let rest = word[digits..].strip_prefix("<<")?;
        let (delimiter, is_chomped) = match rest.strip_prefix('-') {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let delimiter = delimiter.trim_start();
        if delimiter.is_empty() || delimiter.contains('<') {
            return None;
        }
        let plain = Expander { keep_unset: true, ..Expander::new('\\') };
        let raw = Expander { keep_quotes: true, keep_escapes: true, ..plain };
        let [name] = <[String; 1]>::try_from(plain.expand(delimiter, &|_| None).ok()?.words).ok()?;
        let [written] = <[String; 1]>::try_from(raw.expand(delimiter, &|_| None).ok()?.words).ok()?;
        let expands = name == written;
        let descriptor = word[..digits].parse().unwrap_or(0);
        Some(Heredoc { name, descriptor, is_chomped, expands, text: String::new() })
    }

    /// Returns the text as the step sees it: without leading tabs for `<<-`.
    pub fn content(&self) -> String {
        if !self.is_chomped {
            return self.text.clone();
        }
        self.text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// Cuts a file into instructions.
pub(super) fn nodes(text: &str, file: FileId, escape: char, found: &mut Diagnostics) -> Vec<Node> {
    let mut lines = Lines::new(text, file, escape).after_directives(directives(text, file).len());
    let mut nodes = Vec::new();
    while let Some(logical) = lines.next_logical() {
        if let Some(range) = logical.empty_continuation.clone() {
            let span = Span::new(file, range.start, range.end);
            let warning = Diagnostic::warning(span, "a blank line inside a continued instruction");
            found.push(warning.hint("remove the blank line, or start it with `#`"));
        }
        let start = logical.start;
        let (first_line, comments) = (logical.first_line, logical.comments.clone());
        let Some(mut node) = node(&logical, escape, found) else { continue };
        node.comments = comments;
        for mut heredoc in heredoc_words(&node) {
            let body = lines.heredoc_body(&heredoc.name, heredoc.is_chomped);
            if !body.is_terminated {
                let message = format!("heredoc `{}` is not closed", heredoc.name);
                let error = Diagnostic::error(node.name.span, message);
                found.push(error.hint(format!("end it with a line that holds only `{}`", heredoc.name)));
            }
            heredoc.text = body.text;
            node.heredocs.push(heredoc);
        }
        node.lines = (first_line, lines.n_read());
        node.span = Span::new(file, start, lines.end());
        if let Some(trigger) = &mut node.trigger {
            trigger.heredocs.clone_from(&node.heredocs);
            trigger.span = node.span;
        }
        nodes.push(node);
    }
    nodes
}

/// Reads one instruction that is not of a file, with its heredoc bodies on the lines after it.
pub(super) fn fragment(text: &str, at: Span, found: &mut Diagnostics) -> Option<Node> {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let positions = Positions::Fixed(at);
    let (text, comments) = (line.to_owned(), Vec::new());
    let logical = LogicalLine { text, positions, first_line: 0, start: 0, comments, empty_continuation: None };
    let mut node = node(&logical, '\\', found)?;
    let mut lines = Lines::new(rest, at.file, '\\');
    for mut heredoc in heredoc_words(&node) {
        heredoc.text = lines.heredoc_body(&heredoc.name, heredoc.is_chomped).text;
        node.heredocs.push(heredoc);
    }
    Some(node)
}

fn node(logical: &LogicalLine, escape: char, found: &mut Diagnostics) -> Option<Node> {
    let text = logical.text.trim_end();
    let from = text.len() - text.trim_start().len();
    node_at(logical, text, from, escape, found)
}

/// Reads the instruction that starts at `text[from..]`.
fn node_at(logical: &LogicalLine, text: &str, from: usize, escape: char, found: &mut Diagnostics) -> Option<Node> {
    let positions = &logical.positions;
    let name_end = text[from..].find(is_blank).map_or(text.len(), |at| from + at);
    let name = Cut { text: text[from..name_end].to_owned(), range: from..name_end }.at(positions);
    let upper = name.text.to_uppercase();
    if !INSTRUCTIONS.contains(&upper.as_str()) {
        let error = Diagnostic::error(name.span, format!("unknown instruction `{}`", name.text));
        found.push(match nearest(&upper, INSTRUCTIONS.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        });
        return None;
    }
    let (flags, args_at) = split_flags(text, name_end);
    let args_at = args_at + text[args_at..].len() - text[args_at..].trim_start().len();
    let mut node = Node {
        span: positions.span(from..text.len()),
        name,
        flags: flags.into_iter().map(|cut| cut.at(positions)).collect(),
        args: Vec::new(),
        is_json: false,
        original: if from == 0 { logical.text.clone() } else { text[from..].to_owned() },
        lines: (0, 0),
        comments: Vec::new(),
        heredocs: Vec::new(),
        trigger: None,
    };
    if upper == "ONBUILD" {
        if args_at < text.len() {
            node.trigger = Some(Box::new(node_at(logical, text, args_at, escape, found)?));
        }
        return Some(node);
    }
    match arguments(&upper, text, args_at, escape, positions) {
        Ok((args, is_json)) => (node.args, node.is_json) = (args, is_json),
        Err(error) => {
            found.push(error);
            return None;
        }
    }
    Some(node)
}

fn arguments(
    name: &str,
    text: &str,
    from: usize,
    escape: char,
    positions: &Positions,
) -> Result<(Vec<Word>, bool), Diagnostic> {
    let rest = &text[from..];
    let words = |cuts: Vec<Cut>| cuts.into_iter().map(|cut| cut.at(positions)).collect::<Vec<Word>>();
    let whole = || words(vec![Cut { text: rest.to_owned(), range: from..text.len() }]);
    if rest.is_empty() {
        return Ok((Vec::new(), false));
    }
    match name {
        "FROM" | "EXPOSE" => Ok((words(split_blanks(text, from)), false)),
        "ARG" => Ok((words(split_quoted(text, from, escape)), false)),
        "ENV" | "LABEL" => pairs(name, text, from, escape, positions).map(|words| (words, false)),
        "MAINTAINER" | "STOPSIGNAL" | "USER" | "WORKDIR" => Ok((whole(), false)),
        "HEALTHCHECK" => {
            let end = rest.find(char::is_whitespace).map_or(text.len(), |at| from + at);
            let kind = Cut { text: text[from..end].to_owned(), range: from..end }.at(positions);
            let after = end + text[end..].len() - text[end..].trim_start().len();
            let (mut args, is_json) = json_or(text, after, positions, |from| {
                let cut = Cut { text: text[from..].to_owned(), range: from..text.len() };
                if cut.text.is_empty() { Vec::new() } else { vec![cut] }
            })?;
            args.insert(0, kind);
            Ok((args, is_json))
        }
        "ADD" | "COPY" | "VOLUME" => json_or(text, from, positions, |from| split_blanks(text, from)),
        _ => {
            json_or(text, from, positions, |from| vec![Cut { text: text[from..].to_owned(), range: from..text.len() }])
        }
    }
}

fn json_or(
    text: &str,
    from: usize,
    positions: &Positions,
    otherwise: impl FnOnce(usize) -> Vec<Cut>,
) -> Result<(Vec<Word>, bool), Diagnostic> {
    let span = positions.span(from..text.len());
    match json_list(&text[from..]) {
        Json::List(list) => Ok((list.into_iter().map(|text| Word { text, span }).collect(), true)),
        Json::NotStrings => Err(Diagnostic::error(span, "a JSON list of arguments may hold only strings")),
        Json::No => Ok((otherwise(from).into_iter().map(|cut| cut.at(positions)).collect(), false)),
    }
}

/// Cuts `key=value …`, or the old `key value with blanks`.
fn pairs(name: &str, text: &str, from: usize, escape: char, positions: &Positions) -> Result<Vec<Word>, Diagnostic> {
    let words = split_quoted(text, from, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.text.contains('=') {
        let rest = &text[from..];
        let Some(at) = rest.find(is_blank) else {
            let error = Diagnostic::error(positions.span(first.range.clone()), format!("{name} needs a value"));
            return Err(error.hint(format!("write `{name} {}=value`", first.text)));
        };
        let value_at = from + at + (rest[at..].len() - rest[at..].trim_start_matches(is_blank).len());
        let key = Cut { text: text[from..from + at].to_owned(), range: from..from + at };
        let value = Cut { text: text[value_at..].to_owned(), range: value_at..text.len() };
        let separator = Cut { text: String::new(), range: value_at..value_at };
        return Ok([key, value, separator].into_iter().map(|cut| cut.at(positions)).collect());
    }
    let mut triples = Vec::new();
    for word in words {
        let span = positions.span(word.range);
        let Some((key, value)) = word.text.split_once('=') else {
            let error = Diagnostic::error(span, format!("`{}` is no `name=value`", word.text));
            return Err(error.hint("put a value with blanks in double quotes"));
        };
        triples.extend([key, value, "="].map(|text| Word { text: text.to_owned(), span }));
    }
    Ok(triples)
}

/// Returns the heredocs that a line announces, in order.
fn heredoc_words(node: &Node) -> Vec<Heredoc> {
    let node = node.trigger.as_deref().unwrap_or(node);
    let may_have = ["ADD", "COPY", "RUN"].contains(&node.name.text.to_ascii_uppercase().as_str());
    if !may_have || node.is_json || !node.original.contains("<<") {
        return Vec::new();
    }
    let raw = Expander { keep_quotes: true, keep_escapes: true, keep_unset: true, ..Expander::new('\\') };
    let Ok(expanded) = raw.expand(&node.original, &|_| None) else { return Vec::new() };
    join_openers(expanded.words).iter().filter_map(|word| Heredoc::parse(word)).collect()
}

/// Puts `<<` and the delimiter that a blank parts from it into one word.
pub(super) fn join_openers(words: Vec<String>) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for word in words {
        match joined.last_mut() {
            Some(last) if is_opener(last) => last.push_str(&word),
            _ => joined.push(word),
        }
    }
    joined
}

/// Says whether `word` is `<<` or `<<-` without a delimiter, perhaps with a number before it.
pub(super) fn is_opener(word: &str) -> bool {
    matches!(word.trim_start_matches(|c: char| c.is_ascii_digit()), "<<" | "<<-")
}
