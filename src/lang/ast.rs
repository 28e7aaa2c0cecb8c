//! The syntax tree that all three notations lower to. Every node knows the bytes it came from.

use super::number::Number;
use crate::diagnostic::Span;

/// What is between two braces, or in a whole file.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// In source order.
    pub attributes: Vec<Attribute>,
    /// In source order.
    pub blocks: Vec<Block>,
    /// The whole body.
    pub span: Span,
}

impl Body {
    /// Returns the attribute called `name`.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|a| a.name.text == name)
    }
}

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// The word.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// `name = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// The left side.
    pub name: Name,
    /// The right side.
    pub value: Expr,
}

/// `kind "label" { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The first word.
    pub kind: Name,
    /// What follows it; mostly one.
    pub labels: Vec<Name>,
    /// What is in it.
    pub body: Body,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// The forms of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number, as exact as it was written.
    Number(Number),
    /// A quoted string without interpolation, or a bare object key.
    String(String),
    /// A quoted string or heredoc with interpolation or directives.
    Template(Vec<TemplatePart>),
    /// `[a, b]`
    Tuple(Vec<Expr>),
    /// `{ key = value }`
    Object(Vec<(Expr, Expr)>),
    /// `(a)`
    Parens(Box<Expr>),
    /// A name that stands alone: the root of a traversal without steps.
    Variable(String),
    /// `a.b`, `a[0]`, `a[*].b`
    Traversal(Box<Traversal>),
    /// `f(a, b...)`
    Call(Box<Call>),
    /// `a ? b : c`
    Conditional(Box<Conditional>),
    /// `!a`, `-a`
    Unary(UnaryOperator, Box<Expr>),
    /// `a + b`
    Binary(BinaryOperator, Box<(Expr, Expr)>),
    /// `[for …]`, `{for …}`
    For(Box<ForExpr>),
}

/// A value and the steps into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Traversal {
    /// Where it starts.
    pub base: Expr,
    /// Non-empty.
    pub steps: Vec<Step>,
}

/// One step of a traversal.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it is.
    pub kind: StepKind,
    /// Where it stands.
    pub span: Span,
}

/// The forms of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum StepKind {
    /// `.name`
    Attribute(String),
    /// `[expr]`
    Index(Expr),
    /// `.0`: an index that is written as an attribute.
    DottedIndex(Expr),
    /// `.*`: takes the following attributes and dotted indexes only.
    AttributeSplat,
    /// `[*]`: takes all following steps.
    FullSplat,
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub name: Name,
    /// What it is given.
    pub arguments: Vec<Expr>,
    /// The last argument is a list that stands for several arguments.
    pub is_spread: bool,
}

/// `condition ? yes : no`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditional {
    /// What decides.
    pub condition: Expr,
    /// The value if it is true.
    pub yes: Expr,
    /// The value if it is false.
    pub no: Expr,
}

/// A `for` expression.
#[derive(Clone, Debug, PartialEq)]
pub struct ForExpr {
    /// Name of the key or index.
    pub key: Option<Name>,
    /// Name of the element.
    pub element: Name,
    /// What is gone through.
    pub collection: Expr,
    /// The key of the result; an object is made where present, a tuple where not.
    pub result_key: Option<Expr>,
    /// The value of the result.
    pub result: Expr,
    /// Which elements count.
    pub condition: Option<Expr>,
    /// `...`: values of equal keys are gathered in tuples.
    pub is_grouping: bool,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum TemplatePart {
    /// Text as it is, strip markers applied.
    Literal(String),
    /// `${expr}`
    Interpolation(Expr),
    /// `%{if expr} … %{else} … %{endif}`
    If(Box<TemplateIf>),
    /// `%{for key, element in expr} … %{endfor}`
    For(Box<TemplateFor>),
}

/// A template's `if`.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplateIf {
    /// What decides.
    pub condition: Expr,
    /// The text if it is true.
    pub yes: Vec<TemplatePart>,
    /// The text if it is false.
    pub no: Vec<TemplatePart>,
    /// The whole directive.
    pub span: Span,
}

/// A template's `for`.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplateFor {
    /// Name of the key or index.
    pub key: Option<Name>,
    /// Name of the element.
    pub element: Name,
    /// What is gone through.
    pub collection: Expr,
    /// The text for each element.
    pub parts: Vec<TemplatePart>,
    /// The whole directive.
    pub span: Span,
}

/// An operator before its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOperator {
    /// `-`
    Negate,
    /// `!`
    Not,
}

/// An operator between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOperator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `&&`
    And,
    /// `||`
    Or,
}

impl Expr {
    /// Calls `visit` with each function call in the expression, at any depth, in no promised order.
    pub fn for_each_call<'a>(&'a self, visit: &mut dyn FnMut(&'a Call)) {
        self.for_each(&mut |expr| {
            if let ExprKind::Call(call) = &expr.kind {
                visit(call);
            }
        });
    }

    /// Calls `visit` with the expression and each that is in it, at any depth, in no promised order.
    pub fn for_each<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        visit(self);
        match &self.kind {
            ExprKind::Null | ExprKind::Bool(_) | ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Variable(_) => {}
            ExprKind::Template(parts) => each_in_parts(parts, visit),
            ExprKind::Tuple(items) => items.iter().for_each(|item| item.for_each(visit)),
            ExprKind::Object(items) => items.iter().for_each(|(key, value)| {
                key.for_each(visit);
                value.for_each(visit);
            }),
            ExprKind::Parens(inner) | ExprKind::Unary(_, inner) => inner.for_each(visit),
            ExprKind::Traversal(traversal) => {
                traversal.base.for_each(visit);
                for step in &traversal.steps {
                    if let StepKind::Index(index) | StepKind::DottedIndex(index) = &step.kind {
                        index.for_each(visit);
                    }
                }
            }
            ExprKind::Call(call) => call.arguments.iter().for_each(|argument| argument.for_each(visit)),
            ExprKind::Conditional(conditional) => {
                for part in [&conditional.condition, &conditional.yes, &conditional.no] {
                    part.for_each(visit);
                }
            }
            ExprKind::Binary(_, sides) => {
                sides.0.for_each(visit);
                sides.1.for_each(visit);
            }
            ExprKind::For(each) => {
                let parts =
                    [Some(&each.collection), each.result_key.as_ref(), Some(&each.result), each.condition.as_ref()];
                parts.into_iter().flatten().for_each(|part| part.for_each(visit));
            }
        }
    }
}

fn each_in_parts<'a>(parts: &'a [TemplatePart], visit: &mut dyn FnMut(&'a Expr)) {
    for part in parts {
        match part {
            TemplatePart::Literal(_) => {}
            TemplatePart::Interpolation(expr) => expr.for_each(visit),
            TemplatePart::If(directive) => {
                directive.condition.for_each(visit);
                each_in_parts(&directive.yes, visit);
                each_in_parts(&directive.no, visit);
            }
            TemplatePart::For(directive) => {
                directive.collection.for_each(visit);
                each_in_parts(&directive.parts, visit);
            }
        }
    }
}
