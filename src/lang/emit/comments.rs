//! Comments and what they are about.
//!
//! A comment belongs to what follows it, to what stands before it on its line, or to the end of the block that it closes.
//! A printer takes the comments of what it writes; what is left at the end had no place.

use std::collections::BTreeMap;

use super::Notation;
use crate::diagnostic::{FileId, Span};
use crate::lang::ast::{Body, Expr, ExprKind};
use crate::lang::format::tokens;

/// A comment's lines, without their marks.
#[derive(Debug)]
struct Comment {
    span: Span,
    lines: Vec<String>,
}

/// Comments by the place of what they are about.
#[derive(Debug, Default)]
pub(super) struct Comments {
    /// By the offset at which the thing starts.
    leading: BTreeMap<u32, Vec<Comment>>,
    /// By the offset at which the thing starts.
    trailing: BTreeMap<u32, Comment>,
    /// By the offset at which the body ends.
    closing: BTreeMap<u32, Vec<Comment>>,
}

/// A thing that comments can be about.
struct Anchor {
    start: u32,
    /// Where it ends, for comments that follow on the line.
    end: u32,
    is_closing: bool,
}

impl Comments {
    /// Finds the comments of a text and what each is about.
    pub(super) fn collect(body: &Body, from: Notation, text: &str) -> Comments {
        let file = body.span.file;
        let found = match from {
            Notation::Hcl => hcl_comments(file, text),
            Notation::Toml => toml_comments(file, text),
            Notation::Json => json_comments(body, text),
        };
        let mut anchors = Vec::new();
        body_anchors(body, from, &mut anchors);
        anchors.sort_by_key(|anchor| anchor.start);
        let end = body.span.end;
        anchors.retain(|anchor| !(anchor.is_closing && anchor.start >= end));
        let mut comments = Comments::default();
        for comment in found {
            let at = comment.span.start;
            let next = anchors.partition_point(|anchor| anchor.start < at);
            let on_line = |end: u32| text.get(end as usize..at as usize).is_some_and(|between| !between.contains('\n'));
            let before = anchors[..next].iter().rev().find(|anchor| !anchor.is_closing && anchor.end <= at);
            match (before.filter(|anchor| on_line(anchor.end)), anchors.get(next)) {
                (Some(anchor), _) if !comments.trailing.contains_key(&anchor.start) && comment.lines.len() == 1 => {
                    comments.trailing.insert(anchor.start, comment);
                }
                (_, Some(anchor)) if anchor.is_closing => {
                    comments.closing.entry(anchor.start).or_default().push(comment)
                }
                (_, Some(anchor)) => comments.leading.entry(anchor.start).or_default().push(comment),
                (_, None) => comments.closing.entry(end).or_default().push(comment),
            }
        }
        comments
    }

    /// Takes the lines before the thing at `start`.
    pub(super) fn take_leading(&mut self, start: Span) -> Vec<String> {
        self.leading.remove(&start.start).into_iter().flatten().flat_map(|comment| comment.lines).collect()
    }

    /// Takes what stands behind the thing that starts there.
    pub(super) fn take_trailing(&mut self, start: Span) -> Option<String> {
        self.trailing.remove(&start.start).and_then(|mut comment| comment.lines.pop())
    }

    /// Takes the lines before the end of a body.
    pub(super) fn take_closing(&mut self, body: Span) -> Vec<String> {
        self.closing.remove(&body.end).into_iter().flatten().flat_map(|comment| comment.lines).collect()
    }

    /// Says whether there are comments inside a value.
    pub(super) fn is_about(&self, value: Span) -> bool {
        let inside = value.start..value.end;
        self.leading.range(inside.clone()).next().is_some() || self.trailing.range(inside).next().is_some()
    }

    /// Returns the places of the comments that nobody took.
    pub(super) fn left(self) -> impl Iterator<Item = Span> {
        let many = self.leading.into_values().chain(self.closing.into_values()).flatten();
        many.chain(self.trailing.into_values()).map(|comment| comment.span)
    }
}

fn body_anchors(body: &Body, from: Notation, anchors: &mut Vec<Anchor>) {
    for attribute in &body.attributes {
        let (start, end) = (attribute.name.span.start, attribute.value.span.end);
        anchors.push(Anchor { start, end: end.max(attribute.name.span.end), is_closing: false });
        value_anchors(&attribute.value, anchors);
    }
    for block in &body.blocks {
        let label = block.labels.last().unwrap_or(&block.kind);
        let start = if from == Notation::Hcl { block.kind.span } else { label.span };
        anchors.push(Anchor { start: start.start, end: label.span.end, is_closing: false });
        if from == Notation::Hcl {
            anchors.push(Anchor { start: block.body.span.end, end: block.body.span.end, is_closing: true });
        }
        body_anchors(&block.body, from, anchors);
    }
}

fn value_anchors(expr: &Expr, anchors: &mut Vec<Anchor>) {
    let mut add = |start: Span, end: Span| anchors.push(Anchor { start: start.start, end: end.end, is_closing: false });
    match &expr.kind {
        ExprKind::Tuple(items) => items.iter().for_each(|item| {
            add(item.span, item.span);
        }),
        ExprKind::Object(entries) => entries.iter().for_each(|(key, value)| add(key.span, value.span)),
        _ => {}
    }
    match &expr.kind {
        ExprKind::Tuple(items) => items.iter().for_each(|item| value_anchors(item, anchors)),
        ExprKind::Object(entries) => entries.iter().for_each(|(_, value)| value_anchors(value, anchors)),
        _ => {}
    }
}

fn comment(file: FileId, start: usize, text: &str) -> Comment {
    let inner = match text.strip_prefix("/*") {
        Some(long) => long.strip_suffix("*/").unwrap_or(long).trim(),
        None => text.trim_start_matches('#').strip_prefix("//").unwrap_or(text.strip_prefix('#').unwrap_or(text)),
    };
    let lines = inner.lines().map(|line| line.trim().trim_start_matches("* ").to_owned()).collect::<Vec<_>>();
    let lines = if lines.is_empty() { vec![String::new()] } else { lines };
    Comment { span: Span::new(file, start, start + text.len()), lines }
}

fn hcl_comments(file: FileId, text: &str) -> Vec<Comment> {
    let offset = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
    let tokens = tokens::tokens(text);
    let comments = tokens.iter().filter(|token| token.kind == tokens::Kind::Comment);
    comments.map(|token| comment(file, offset(token.text), token.text)).collect()
}

fn toml_comments(file: FileId, text: &str) -> Vec<Comment> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        at += match first {
            '#' => {
                let line = rest.lines().next().unwrap_or(rest);
                found.push(comment(file, at, line));
                line.len()
            }
            '"' | '\'' => string_length(rest),
            c => c.len_utf8(),
        };
    }
    found
}

/// Returns the length of the TOML string that `text` begins with.
fn string_length(text: &str) -> usize {
    let mark = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|mark| text.starts_with(mark)).unwrap_or("\"");
    let mut at = mark.len();
    while let Some(c) = text[at..].chars().next() {
        if text[at..].starts_with(mark) {
            // Up to two quotes may stand right before the closing three.
            let n_more =
                text[at + mark.len()..].chars().take_while(|c| mark.len() == 3 && mark.starts_with(*c)).count();
            return at + mark.len() + n_more.min(2);
        }
        at += c.len_utf8();
        if c == '\\' && mark.starts_with('"') {
            at += text[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    text.len()
}

/// HCL's JSON form has a key for comments, `"//"`, where a body is; in a value it is a key like any other.
fn json_comments(body: &Body, text: &str) -> Vec<Comment> {
    fn values(body: &Body, spans: &mut Vec<Span>) {
        spans.extend(body.attributes.iter().map(|attribute| attribute.value.span));
        body.blocks.iter().for_each(|block| values(&block.body, spans));
    }
    let mut spans = Vec::new();
    values(body, &mut spans);
    let keys = text.match_indices("\"//\"").filter(|(at, key)| text[at + key.len()..].trim_start().starts_with(':'));
    let is_in_value = |at: usize| spans.iter().any(|span| (span.start as usize..span.end as usize).contains(&at));
    let file = body.span.file;
    let keys = keys.filter(|(at, _)| !is_in_value(*at));
    // Its value may be anything: it has no form elsewhere, and being about nothing it is never taken.
    keys.map(|(at, key)| Comment { span: Span::new(file, at, at + key.len()), lines: Vec::new() }).collect()
}
