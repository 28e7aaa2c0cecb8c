//! Expressions as HCL text, in one line.

use super::quote;
use crate::lang::ast::{
    BinaryOperator, Expr, ExprKind, ForExpr, Name, StepKind, TemplatePart, Traversal, UnaryOperator,
};

/// Returns an expression as HCL.
pub(super) fn to_hcl(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Null => "null".to_owned(),
        ExprKind::Bool(flag) => flag.to_string(),
        ExprKind::Number(number) => number.to_string(),
        ExprKind::String(text) => quote::hcl(text),
        ExprKind::Template(parts) => format!("\"{}\"", template(parts, Inside::Quotes)),
        ExprKind::Tuple(items) => format!("[{}]", list(items)),
        ExprKind::Object(entries) if entries.is_empty() => "{}".to_owned(),
        ExprKind::Object(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(name, value)| format!("{} = {}", key(name), to_hcl(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        ExprKind::Parens(inner) => format!("({})", to_hcl(inner)),
        ExprKind::Variable(name) => name.clone(),
        ExprKind::Traversal(traversal) => steps(traversal),
        ExprKind::Call(call) => {
            format!("{}({}{})", call.name.text, list(&call.arguments), if call.is_spread { "..." } else { "" })
        }
        ExprKind::Conditional(c) => format!("{} ? {} : {}", to_hcl(&c.condition), to_hcl(&c.yes), to_hcl(&c.no)),
        ExprKind::Unary(operator, inner) => format!("{}{}", unary(*operator), to_hcl(inner)),
        ExprKind::Binary(operator, sides) => {
            format!("{} {} {}", to_hcl(&sides.0), binary(*operator), to_hcl(&sides.1))
        }
        ExprKind::For(each) => for_expr(each),
    }
}

fn list(items: &[Expr]) -> String {
    items.iter().map(to_hcl).collect::<Vec<_>>().join(", ")
}

/// Returns an object's key: a bare word where it is one.
pub(super) fn key(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::String(text) if quote::is_identifier(text) => text.clone(),
        ExprKind::String(_) | ExprKind::Template(_) | ExprKind::Parens(_) | ExprKind::Number(_) => to_hcl(expr),
        _ => format!("({})", to_hcl(expr)),
    }
}

fn steps(traversal: &Traversal) -> String {
    let mut out = to_hcl(&traversal.base);
    for step in &traversal.steps {
        out += &match &step.kind {
            StepKind::Attribute(name) => format!(".{name}"),
            StepKind::DottedIndex(index) => format!(".{}", to_hcl(index)),
            StepKind::Index(index) => format!("[{}]", to_hcl(index)),
            StepKind::AttributeSplat => ".*".to_owned(),
            StepKind::FullSplat => "[*]".to_owned(),
        };
    }
    out
}

fn intro(key: Option<&Name>, element: &Name) -> String {
    key.map(|key| format!("{}, ", key.text)).unwrap_or_default() + &element.text
}

fn for_expr(each: &ForExpr) -> String {
    let intro = format!("for {} in {} :", intro(each.key.as_ref(), &each.element), to_hcl(&each.collection));
    let condition = each.condition.as_ref().map(|c| format!(" if {}", to_hcl(c))).unwrap_or_default();
    let result = to_hcl(&each.result);
    match &each.result_key {
        Some(key) => {
            let grouping = if each.is_grouping { "..." } else { "" };
            format!("{{ {intro} {} => {result}{grouping}{condition} }}", to_hcl(key))
        }
        None => format!("[{intro} {result}{condition}]"),
    }
}

/// What a template stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Inside {
    /// A quoted HCL string, in which backslashes escape.
    Quotes,
    /// A heredoc, or the decoded string of another notation.
    Text,
}

/// Returns a template's content.
pub(super) fn template(parts: &[TemplatePart], inside: Inside) -> String {
    let mut out = String::new();
    for (i, part) in parts.iter().enumerate() {
        match part {
            TemplatePart::Literal(text) => {
                // `$` right before `${` would escape it.
                let is_last = i + 1 == parts.len();
                let marker = text.chars().last().filter(|c| matches!(c, '$' | '%') && !is_last);
                let text = marker.map_or(text.as_str(), |_| &text[..text.len() - 1]);
                let text = if inside == Inside::Quotes { quote::hcl_content(text) } else { text.to_owned() };
                out += &quote::escape_markers(&text);
                out += &marker.map(|marker| format!("${{\"{marker}\"}}")).unwrap_or_default();
            }
            TemplatePart::Interpolation(expr) => out += &format!("${{{}}}", to_hcl(expr)),
            TemplatePart::If(directive) => {
                out += &format!("%{{if {}}}{}", to_hcl(&directive.condition), template(&directive.yes, inside));
                if !directive.no.is_empty() {
                    out += &format!("%{{else}}{}", template(&directive.no, inside));
                }
                out += "%{endif}";
            }
            TemplatePart::For(directive) => {
                let intro = intro(directive.key.as_ref(), &directive.element);
                let parts = template(&directive.parts, inside);
                out += &format!("%{{for {intro} in {}}}{parts}%{{endfor}}", to_hcl(&directive.collection));
            }
        }
    }
    out
}

fn unary(operator: UnaryOperator) -> &'static str {
    match operator {
        UnaryOperator::Negate => "-",
        UnaryOperator::Not => "!",
    }
}

fn binary(operator: BinaryOperator) -> &'static str {
    match operator {
        BinaryOperator::Add => "+",
        BinaryOperator::Subtract => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::Modulo => "%",
        BinaryOperator::Equal => "==",
        BinaryOperator::NotEqual => "!=",
        BinaryOperator::Less => "<",
        BinaryOperator::LessOrEqual => "<=",
        BinaryOperator::Greater => ">",
        BinaryOperator::GreaterOrEqual => ">=",
        BinaryOperator::And => "&&",
        BinaryOperator::Or => "||",
    }
}
