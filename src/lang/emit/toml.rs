//! TOML: blocks are tables, expressions are templates.

use super::{Emitter, Meaning, as_words, expr, literal_number, meaning, quote, template_text};
use crate::lang::ast::{Block, Body, Expr, ExprKind, Name};
use crate::lang::data_syntax::BlockSchema;

const WIDTH: usize = 100;

pub(super) fn emit(emitter: &mut Emitter, body: &Body, schema: &[BlockSchema]) -> String {
    let mut out = String::new();
    table(emitter, body, None, (&mut String::new(), schema), &mut out);
    let closing = emitter.comments.take_closing(body.span);
    comment_lines(&closing, &mut out);
    out
}

fn comment_lines(lines: &[String], out: &mut String) {
    for line in lines {
        out.push_str(format!("# {line}").trim_end());
        out.push('\n');
    }
}

/// Writes a body's attributes, then what has headers of its own: large objects and blocks.
fn table(
    emitter: &mut Emitter,
    body: &Body,
    block: Option<&str>,
    (path, schema): (&mut String, &[BlockSchema]),
    out: &mut String,
) {
    emitter.refuse_strangers(body, schema);
    let mut later = Vec::new();
    for attribute in body.attributes.iter().filter(|a| !schema.iter().any(|known| known.kind == a.name.text)) {
        let meaning = meaning(block, &attribute.name.text);
        let words = as_words(&attribute.value, meaning);
        match &words.kind {
            ExprKind::Object(entries) if needs_header(emitter, &words, entries) => later.push((&attribute.name, words)),
            _ => entry(emitter, &attribute.name, &words, meaning, out),
        }
    }
    let n_path = path.len();
    for (name, words) in later {
        path.push_str(&segment(path, &name.text));
        object_table(emitter, name, &words, path, out);
        path.truncate(n_path);
    }
    let closing = if block.is_some() { emitter.comments.take_closing(body.span) } else { Vec::new() };
    comment_lines(&closing, out);
    for kind in emitter.kinds(body, schema) {
        blocks(emitter, &body.blocks, kind, path, out);
    }
}

fn segment(path: &str, name: &str) -> String {
    format!("{}{}", if path.is_empty() { "" } else { "." }, quote::toml_key(name))
}

/// An object gets a header of its own where its keys are plain and a line would be long or lose comments.
fn needs_header(emitter: &Emitter, expr: &Expr, entries: &[(Expr, Expr)]) -> bool {
    let is_long = entries.len() > 3 || inline(expr, Meaning::Value).len() > WIDTH - 20;
    has_plain_keys(entries) && (is_long || emitter.comments.is_about(expr.span)) && !entries.is_empty()
}

/// TOML's keys are no templates, and none may come twice.
fn has_plain_keys(entries: &[(Expr, Expr)]) -> bool {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in entries {
        match &key.kind {
            ExprKind::String(text) if !keys.contains(&text.as_str()) => keys.push(text),
            _ => return false,
        }
    }
    true
}

fn header(emitter: &mut Emitter, anchor: &Name, text: &str, out: &mut String) {
    if !out.is_empty() {
        out.push('\n');
    }
    let leading = emitter.comments.take_leading(anchor.span);
    comment_lines(&leading, out);
    out.push_str(text);
    if let Some(comment) = emitter.comments.take_trailing(anchor.span) {
        out.push_str(&format!(" # {comment}"));
    }
    out.push('\n');
}

fn object_table(emitter: &mut Emitter, name: &Name, object: &Expr, path: &mut String, out: &mut String) {
    header(emitter, name, &format!("[{path}]"), out);
    let ExprKind::Object(entries) = &object.kind else { return };
    for (key, value) in entries {
        let ExprKind::String(text) = &key.kind else { continue };
        let name = Name { text: text.clone(), span: key.span };
        entry(emitter, &name, value, Meaning::Value, out);
    }
}

fn entry(emitter: &mut Emitter, name: &Name, value: &Expr, meaning: Meaning, out: &mut String) {
    let leading = emitter.comments.take_leading(name.span);
    comment_lines(&leading, out);
    let key = quote::toml_key(&name.text);
    let line = inline(value, meaning);
    match &value.kind {
        ExprKind::Tuple(items)
            if !items.is_empty() && (line.len() + key.len() > WIDTH || emitter.comments.is_about(value.span)) =>
        {
            out.push_str(&format!("{key} = [\n"));
            for item in items {
                let leading = emitter.comments.take_leading(item.span);
                leading.iter().for_each(|line| out.push_str(&format!("  # {line}\n")));
                out.push_str(&format!("  {},", inline(item, meaning)));
                let trailing = emitter.comments.take_trailing(item.span);
                out.push_str(&trailing.map(|comment| format!(" # {comment}\n")).unwrap_or("\n".to_owned()));
            }
            out.push(']');
        }
        _ => out.push_str(&format!("{key} = {line}")),
    }
    if let Some(comment) = emitter.comments.take_trailing(name.span) {
        out.push_str(&format!(" # {comment}"));
    }
    out.push('\n');
}

fn inline(value: &Expr, meaning: Meaning) -> String {
    match &value.kind {
        ExprKind::Null => "\"${null}\"".to_owned(),
        ExprKind::Bool(flag) => flag.to_string(),
        ExprKind::String(text) if meaning != Meaning::Value => quote::toml(text),
        ExprKind::Tuple(items) => {
            format!("[{}]", items.iter().map(|item| inline(item, meaning)).collect::<Vec<_>>().join(", "))
        }
        ExprKind::Object(entries) if entries.is_empty() => "{}".to_owned(),
        ExprKind::Object(entries) if has_plain_keys(entries) => {
            let entries = entries.iter().filter_map(|(key, item)| match &key.kind {
                ExprKind::String(text) => Some(format!("{} = {}", quote::toml_key(text), inline(item, meaning))),
                _ => None,
            });
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        ExprKind::Object(_) => quote::toml(&format!("${{{}}}", expr::to_hcl(value))),
        _ => match literal_number(value) {
            Some(number) => number_text(&number),
            None => quote::toml(&template_text(value)),
        },
    }
}

/// TOML's whole numbers have 64 bits and its fractions are machine floats: others are expressions.
fn number_text(number: &crate::lang::Number) -> String {
    let text = number.to_string();
    let is_exact = match number.to_i64() {
        Some(whole) => whole.to_string() == text,
        None => !number.is_whole() && number.to_f64().to_string() == text,
    };
    if is_exact { text } else { format!("\"${{{text}}}\"") }
}

fn blocks(emitter: &mut Emitter, all: &[Block], schema: &BlockSchema, path: &mut String, out: &mut String) {
    let generations = emitter.generations(all, schema);
    let n_path = path.len();
    let is_many = generations.len() > 1;
    for generation in &generations {
        path.push_str(&segment(path, schema.kind));
        if is_many && schema.n_labels > 0 {
            out.push_str(if out.is_empty() { "" } else { "\n" });
            out.push_str(&format!("[[{path}]]\n"));
        }
        for block in generation {
            let n_kind = path.len();
            if let Some(label) = block.labels.first() {
                path.push_str(&segment(path, &label.text));
            }
            let text = if is_many && schema.n_labels == 0 { format!("[[{path}]]") } else { format!("[{path}]") };
            header(emitter, emitter.anchor(block), &text, out);
            table(emitter, &block.body, Some(&block.kind.text), (path, schema.nested), out);
            path.truncate(n_kind);
        }
        path.truncate(n_path);
    }
}
