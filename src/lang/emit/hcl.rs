//! HCL's native syntax. The layout is left to the formatter; only lines are broken here.

use super::{Emitter, Meaning, expr, meaning, quote};
use crate::lang::ast::{Attribute, Block, Body, Expr, ExprKind, TemplatePart};

const WIDTH: usize = 100;

pub(super) fn emit(emitter: &mut Emitter, body: &Body) -> String {
    let mut out = String::new();
    body_lines(emitter, body, None, &mut out);
    let closing = emitter.comments.take_closing(body.span);
    comment_lines(&closing, &mut out);
    out
}

fn body_lines(emitter: &mut Emitter, body: &Body, block: Option<&str>, out: &mut String) {
    enum Item<'a> {
        Attribute(&'a Attribute),
        Block(&'a Block),
    }
    let mut items: Vec<(u32, Item<'_>)> =
        body.attributes.iter().map(|a| (a.name.span.start, Item::Attribute(a))).collect();
    items.extend(body.blocks.iter().map(|b| (emitter.anchor(b).span.start, Item::Block(b))));
    items.sort_by_key(|(start, _)| *start);
    for (i, (_, item)) in items.into_iter().enumerate() {
        match item {
            Item::Attribute(attribute) => attribute_line(emitter, attribute, block, out),
            Item::Block(nested) => {
                if i > 0 {
                    out.push('\n');
                }
                block_lines(emitter, nested, out);
            }
        }
    }
}

fn comment_lines(lines: &[String], out: &mut String) {
    for line in lines {
        out.push_str(format!("# {line}").trim_end());
        out.push('\n');
    }
}

fn block_lines(emitter: &mut Emitter, block: &Block, out: &mut String) {
    let anchor = emitter.anchor(block);
    let leading = emitter.comments.take_leading(anchor.span);
    comment_lines(&leading, out);
    out.push_str(&block.kind.text);
    for label in &block.labels {
        out.push_str(&format!(" \"{}\"", quote::hcl_content(&label.text)));
    }
    let trailing = emitter.comments.take_trailing(anchor.span);
    out.push_str(" {");
    if let Some(comment) = trailing {
        out.push_str(&format!(" # {comment}"));
    }
    out.push('\n');
    body_lines(emitter, &block.body, Some(&block.kind.text), out);
    let closing = emitter.comments.take_closing(block.body.span);
    comment_lines(&closing, out);
    out.push_str("}\n");
}

fn attribute_line(emitter: &mut Emitter, attribute: &Attribute, block: Option<&str>, out: &mut String) {
    let name = &attribute.name;
    if !quote::is_identifier(&name.text) {
        emitter.lose(name.span, format!("the name \"{}\": names are letters, digits, `_` and `-`", name.text));
        return;
    }
    let leading = emitter.comments.take_leading(name.span);
    comment_lines(&leading, out);
    out.push_str(&format!("{} = ", name.text));
    match (meaning(block, &name.text), &attribute.value.kind) {
        (Meaning::Type, ExprKind::String(text)) => out.push_str(text),
        (Meaning::Names, _) => out.push_str(&words(&attribute.value)),
        _ => value(emitter, &attribute.value, 2, out),
    }
    if let Some(comment) = emitter.comments.take_trailing(name.span) {
        out.push_str(&format!(" # {comment}"));
    }
    out.push('\n');
}

fn words(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::String(text) if quote::is_identifier(text) => text.clone(),
        ExprKind::Tuple(items) => format!("[{}]", items.iter().map(words).collect::<Vec<_>>().join(", ")),
        _ => expr::to_hcl(expr),
    }
}

/// Writes a value: in one line if it fits and no comment is in it.
fn value(emitter: &mut Emitter, expr: &Expr, indent: usize, out: &mut String) {
    // What JSON and TOML hold in a string that is one interpolation needs no string here.
    let expr = &bare(expr);
    let line = expr::to_hcl(expr);
    let is_short = line.len() + indent <= WIDTH && !emitter.comments.is_about(expr.span);
    match &expr.kind {
        ExprKind::String(text) if is_lines(text) => heredoc(&quote::escape_markers(text), out),
        ExprKind::Template(parts) if is_lines(&expr::template(parts, expr::Inside::Text)) => {
            heredoc(&expr::template(parts, expr::Inside::Text), out);
        }
        ExprKind::Tuple(items) if !is_short && !items.is_empty() => {
            out.push_str("[\n");
            for item in items {
                let leading = emitter.comments.take_leading(item.span);
                comment_lines(&leading, out);
                inner_value(emitter, item, indent, out);
                out.push(',');
                let trailing = emitter.comments.take_trailing(item.span);
                out.push_str(&trailing.map(|comment| format!(" # {comment}")).unwrap_or_default());
                out.push('\n');
            }
            out.push(']');
        }
        ExprKind::Object(entries) if !entries.is_empty() && (!is_short || entries.len() > 2) => {
            out.push_str("{\n");
            for (key, item) in entries {
                let leading = emitter.comments.take_leading(key.span);
                comment_lines(&leading, out);
                out.push_str(&format!("{} = ", expr::key(key)));
                inner_value(emitter, item, indent, out);
                let trailing = emitter.comments.take_trailing(key.span);
                out.push_str(&trailing.map(|comment| format!(" # {comment}")).unwrap_or_default());
                out.push('\n');
            }
            out.push('}');
        }
        _ => out.push_str(&line),
    }
}

/// A heredoc stands at the top of an attribute alone: what follows it needs its own line.
fn inner_value(emitter: &mut Emitter, expr: &Expr, indent: usize, out: &mut String) {
    match &bare(expr).kind {
        ExprKind::String(_) | ExprKind::Template(_) => out.push_str(&expr::to_hcl(expr)),
        _ => value(emitter, expr, indent + 2, out),
    }
}

/// Returns the expression without the strings that JSON and TOML need around it; places stay.
fn bare(expr: &Expr) -> Expr {
    let kind = match &expr.kind {
        ExprKind::Template(parts) => match &parts[..] {
            [TemplatePart::Interpolation(inner)] => inner.kind.clone(),
            _ => expr.kind.clone(),
        },
        ExprKind::Tuple(items) => ExprKind::Tuple(items.iter().map(bare).collect()),
        ExprKind::Object(entries) => {
            ExprKind::Object(entries.iter().map(|(key, value)| (key.clone(), bare(value))).collect())
        }
        _ => expr.kind.clone(),
    };
    Expr { kind, span: expr.span }
}

fn is_lines(text: &str) -> bool {
    let is_plain = !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    is_plain && text.ends_with('\n') && text.lines().count() > 1 && !text.lines().any(|line| line.trim() == "EOT")
}

fn heredoc(content: &str, out: &mut String) {
    out.push_str(&format!("<<EOT\n{content}EOT"));
}
