//! [`Body`] → text in one of the three notations.
//!
//! In: a body and the text that it was parsed from. Out: text that evaluates to the same, and what it could not say: a
//! finding for each comment, block or name without a form in that notation. In TOML and JSON, expressions are templates
//! in strings (`"${…}"`).

mod comments;
mod expr;
mod hcl;
mod json;
mod quote;
mod toml;

use super::ast::{Block, Body, Expr, ExprKind, Name, UnaryOperator};
use super::data_syntax::BlockSchema;
use super::number::Number;
use crate::diagnostic::{Diagnostic, Diagnostics, SourceMap};
use comments::Comments;

/// A way to write a bakefile down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// HCL's native syntax.
    Hcl,
    /// HCL's JSON syntax.
    Json,
    /// TOML tables, with HCL's templates in strings.
    Toml,
}

impl Notation {
    /// Returns the name that people know.
    pub fn name(self) -> &'static str {
        match self {
            Notation::Hcl => "HCL",
            Notation::Json => "JSON",
            Notation::Toml => "TOML",
        }
    }
}

/// A body's text in another notation.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// The text; it ends with a newline unless it is empty.
    pub text: String,
    /// What the text does not say: errors, in source order. Empty where nothing is lost.
    pub losses: Diagnostics,
}

/// Writes a body of one file down; `from` is the notation that it was parsed from, and `schema` says which blocks TOML
/// and JSON have.
pub fn emit(body: &Body, from: Notation, to: Notation, sources: &SourceMap, schema: &[BlockSchema]) -> Emitted {
    let comments = Comments::collect(body, from, sources.text(body.span.file));
    let mut emitter = Emitter { from, to, comments, losses: Vec::new() };
    let text = match to {
        Notation::Hcl => hcl::emit(&mut emitter, body),
        Notation::Json => json::emit(&mut emitter, body, schema),
        Notation::Toml => toml::emit(&mut emitter, body, schema),
    };
    let Emitter { comments, mut losses, .. } = emitter;
    losses.extend(comments.left().map(|span| {
        let message = match to {
            Notation::Json => "JSON has no comments; this one would be lost".to_owned(),
            _ => format!("{} has no place for this comment; it would be lost", to.name()),
        };
        Diagnostic::error(span, message)
    }));
    losses.sort_by_key(|loss| loss.labels.first().map_or(0, |label| label.span.start));
    let mut found = Diagnostics::default();
    losses.into_iter().for_each(|loss| found.push(loss));
    Emitted { text, losses: found }
}

/// What the printers share: the comments that are still to be written, and what was lost.
struct Emitter {
    from: Notation,
    to: Notation,
    comments: Comments,
    losses: Vec<Diagnostic>,
}

impl Emitter {
    /// Returns what comments about a block are found by: tables share the word before the label.
    fn anchor<'a>(&self, block: &'a Block) -> &'a Name {
        match self.from {
            Notation::Hcl => &block.kind,
            Notation::Json | Notation::Toml => block.labels.last().unwrap_or(&block.kind),
        }
    }

    fn lose(&mut self, span: crate::diagnostic::Span, what: impl std::fmt::Display) {
        self.losses
            .push(Diagnostic::error(span, format!("{} has no form for {what}; it would be lost", self.to.name())));
    }

    /// Returns the kinds of blocks in the order in which the body begins with them.
    fn kinds<'a>(&self, body: &Body, schema: &'a [BlockSchema]) -> Vec<&'a BlockSchema> {
        let first = |kind: &BlockSchema| body.blocks.iter().position(|block| block.kind.text == kind.kind);
        let mut kinds: Vec<&BlockSchema> = schema.iter().filter(|kind| first(kind).is_some()).collect();
        kinds.sort_by_key(|kind| first(kind));
        kinds
    }

    /// Returns the blocks of one kind as TOML and JSON hold them: objects by label, more than one where a label comes
    /// back after others, so that the order of definition stays.
    fn generations<'a>(&mut self, blocks: &'a [Block], schema: &BlockSchema) -> Vec<Vec<&'a Block>> {
        let mut generations: Vec<Vec<&Block>> = Vec::new();
        for block in blocks.iter().filter(|block| block.kind.text == schema.kind) {
            if block.labels.len() != schema.n_labels {
                let n = schema.n_labels;
                self.lose(block.kind.span, format!("a `{}` block that has not {n} label(s)", block.kind.text));
                continue;
            }
            let labels = |block: &Block| block.labels.iter().map(|label| label.text.clone()).collect::<Vec<_>>();
            match generations.last_mut() {
                Some(last) if !last.iter().any(|known| labels(known) == labels(block)) => last.push(block),
                _ => generations.push(vec![block]),
            }
        }
        generations
    }

    /// Reports what a table cannot hold: blocks that the schema does not know, and attributes with the name of a block.
    fn refuse_strangers(&mut self, body: &Body, schema: &[BlockSchema]) {
        for block in &body.blocks {
            if !schema.iter().any(|known| known.kind == block.kind.text) {
                self.lose(block.kind.span, format!("a block `{}`", block.kind.text));
            }
        }
        for attribute in &body.attributes {
            if schema.iter().any(|known| known.kind == attribute.name.text) {
                self.lose(
                    attribute.name.span,
                    format!("an attribute with the name of a block, `{}`", attribute.name.text),
                );
            }
        }
    }
}

/// Which attributes hold words rather than values: HCL writes them bare, JSON and TOML as plain strings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Value,
    /// A type, such as `list(string)`.
    Type,
    /// A name or a list of names.
    Names,
}

fn meaning(block: Option<&str>, attribute: &str) -> Meaning {
    match (block, attribute) {
        (Some("variable"), "type") => Meaning::Type,
        (Some("function"), "params" | "variadic_params") => Meaning::Names,
        _ => Meaning::Value,
    }
}

/// Returns the expression with its words as strings.
fn as_words(expr: &Expr, meaning: Meaning) -> Expr {
    let text = |text: String| Expr { kind: ExprKind::String(text), span: expr.span };
    match (&expr.kind, meaning) {
        (ExprKind::Variable(name), Meaning::Names) => text(name.clone()),
        (ExprKind::Tuple(items), Meaning::Names) => {
            let items = items.iter().map(|item| as_words(item, meaning)).collect();
            Expr { kind: ExprKind::Tuple(items), span: expr.span }
        }
        (ExprKind::String(_), _) | (_, Meaning::Value | Meaning::Names) => expr.clone(),
        (_, Meaning::Type) => text(expr::to_hcl(expr)),
    }
}

/// Returns the number that an expression is written as; a minus before it belongs to it.
fn literal_number(expr: &Expr) -> Option<Number> {
    match &expr.kind {
        ExprKind::Number(number) => Some(number.clone()),
        ExprKind::Unary(UnaryOperator::Negate, inner) => match &inner.kind {
            ExprKind::Number(number) if !number.is_zero() => Some(number.negate()),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the template text of an expression that JSON and TOML have no form for: what stands in their string.
fn template_text(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::String(text) => quote::escape_markers(text),
        ExprKind::Template(parts) => expr::template(parts, expr::Inside::Text),
        ExprKind::Parens(inner) => template_text(inner),
        _ => format!("${{{}}}", expr::to_hcl(expr)),
    }
}
