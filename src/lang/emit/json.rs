//! HCL's JSON form: blocks are objects by label, expressions are templates.

use super::{Emitter, Meaning, as_words, literal_number, meaning, quote, template_text};
use crate::lang::ast::{Block, Body, Expr, ExprKind};
use crate::lang::data_syntax::BlockSchema;

/// A JSON document, to be laid out.
enum Node {
    /// Written as it is.
    Scalar(String),
    Array(Vec<Node>),
    /// Keys are quoted already.
    Object(Vec<(String, Node)>),
}

const WIDTH: usize = 100;

pub(super) fn emit(emitter: &mut Emitter, body: &Body, schema: &[BlockSchema]) -> String {
    let mut out = String::new();
    layout(&body_node(emitter, body, None, schema), 0, &mut out);
    out + "\n"
}

fn body_node(emitter: &mut Emitter, body: &Body, block: Option<&str>, schema: &[BlockSchema]) -> Node {
    emitter.refuse_strangers(body, schema);
    let mut entries = Vec::new();
    for attribute in body.attributes.iter().filter(|a| !schema.iter().any(|known| known.kind == a.name.text)) {
        let words = as_words(&attribute.value, meaning(block, &attribute.name.text));
        entries.push((quote::json(&attribute.name.text), value(&words, meaning(block, &attribute.name.text))));
    }
    for kind in emitter.kinds(body, schema) {
        let generations = emitter.generations(&body.blocks, kind);
        let mut nodes: Vec<Node> = generations.iter().map(|blocks| labelled(emitter, blocks, kind)).collect();
        let node = if nodes.len() == 1 { nodes.pop() } else { Some(Node::Array(nodes)) };
        if let Some(node) = node.filter(|_| !generations.is_empty()) {
            entries.push((quote::json(kind.kind), node));
        }
    }
    Node::Object(entries)
}

fn labelled(emitter: &mut Emitter, blocks: &[&Block], schema: &BlockSchema) -> Node {
    let mut entries = Vec::new();
    for block in blocks {
        let node = body_node(emitter, &block.body, Some(&block.kind.text), schema.nested);
        match block.labels.first() {
            Some(label) => entries.push((quote::json(&quote::escape_markers(&label.text)), node)),
            None => return node,
        }
    }
    Node::Object(entries)
}

fn value(expr: &Expr, meaning: Meaning) -> Node {
    match &expr.kind {
        ExprKind::Null => Node::Scalar("null".to_owned()),
        ExprKind::Bool(flag) => Node::Scalar(flag.to_string()),
        ExprKind::String(text) if meaning != Meaning::Value => Node::Scalar(quote::json(text)),
        ExprKind::Tuple(items) => Node::Array(items.iter().map(|item| value(item, meaning)).collect()),
        ExprKind::Object(entries) if has_distinct_keys(entries) => Node::Object(
            entries.iter().map(|(key, item)| (quote::json(&template_text(key)), value(item, meaning))).collect(),
        ),
        _ => Node::Scalar(match literal_number(expr) {
            Some(number) => number.to_string(),
            None => quote::json(&template_text(expr)),
        }),
    }
}

/// JSON refuses a key that comes twice; HCL tells `a` from `"a"`.
fn has_distinct_keys(entries: &[(Expr, Expr)]) -> bool {
    let mut keys: Vec<String> = entries.iter().map(|(key, _)| template_text(key)).collect();
    keys.sort();
    keys.windows(2).all(|pair| pair[0] != pair[1])
}

fn layout(node: &Node, indent: usize, out: &mut String) {
    let is_scalar = matches!(node, Node::Scalar(_));
    if let Some(line) = in_a_line(node).filter(|line| is_scalar || line.len() + indent <= WIDTH) {
        out.push_str(&line);
        return;
    }
    let inner = "  ".repeat(indent / 2 + 1);
    let (open, close) = if matches!(node, Node::Array(_)) { ("[", "]") } else { ("{", "}") };
    out.push_str(open);
    let items: Vec<(String, &Node)> = match node {
        Node::Scalar(_) => Vec::new(),
        Node::Array(items) => items.iter().map(|item| (String::new(), item)).collect(),
        Node::Object(entries) => entries.iter().map(|(key, item)| (format!("{key}: "), item)).collect(),
    };
    for (i, (key, item)) in items.iter().enumerate() {
        out.push_str(if i == 0 { "\n" } else { ",\n" });
        out.push_str(&inner);
        out.push_str(key);
        layout(item, indent + 2, out);
    }
    out.push('\n');
    out.push_str(&" ".repeat(indent));
    out.push_str(close);
}

/// Returns scalars, and lists of scalars, in one line; objects that are not empty have a line for each entry.
fn in_a_line(node: &Node) -> Option<String> {
    match node {
        // A line that is too long cannot be broken anyhow.
        Node::Scalar(text) => Some(text.clone()),
        Node::Array(items) => {
            let items = items.iter().map(|item| match item {
                Node::Scalar(text) => Some(text.clone()),
                _ => None,
            });
            items.collect::<Option<Vec<_>>>().map(|items| format!("[{}]", items.join(", ")))
        }
        Node::Object(entries) => entries.is_empty().then(|| "{}".to_owned()),
    }
}
