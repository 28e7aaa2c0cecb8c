//! HCL text → [`Body`], through hcl-edit's parser. No type of that crate leaves this file.

use hcl::edit::Span as _;
use hcl::edit::expr as edit;
use hcl::edit::structure as shape;
use hcl::edit::template::{Directive, Element, Template};

use super::ast::{
    Attribute, BinaryOperator, Block, Body, Call, Conditional, Expr, ExprKind, ForExpr, Name, Step, StepKind,
    TemplateFor, TemplateIf, TemplatePart, Traversal, UnaryOperator,
};
use super::number::Number;
use crate::diagnostic::{Diagnostic, Diagnostics, FileId, SourceMap, Span};

/// Parses HCL. The body is empty where the text is no HCL.
pub fn parse_hcl(file: FileId, sources: &SourceMap) -> (Body, Diagnostics) {
    let text = sources.text(file);
    // The peer accepts a byte order mark; hcl-edit does not.
    let stripped = text.strip_prefix('\u{feff}').unwrap_or(text);
    let offsets = Offsets::Plain(text.len() - stripped.len());
    let mut lower = Lower { file, text: stripped, offsets: &offsets, findings: Diagnostics::default() };
    let whole = lower.span(Some(0..stripped.len()));
    let empty = Body { attributes: Vec::new(), blocks: Vec::new(), span: whole };
    let body = match stripped.parse::<shape::Body>() {
        Ok(body) => lower.body(&body, whole),
        Err(error) => {
            let at = error.location().offset();
            lower.findings.push(syntax_error(lower.span(Some(at..at)), error.message()));
            empty
        }
    };
    (body, lower.findings)
}

/// Parses a template that stands in another notation's string. `text` is the string's content, and `offsets` says where
/// its bytes are in the file. A string without interpolation gives a literal.
pub(super) fn parse_template(file: FileId, text: &str, offsets: &Offsets, whole: Span) -> Result<Expr, Diagnostic> {
    if !text.contains("${") && !text.contains("%{") {
        return Ok(Expr { kind: ExprKind::String(text.to_owned()), span: whole });
    }
    let mut lower = Lower { file, text, offsets, findings: Diagnostics::default() };
    match text.parse::<Template>() {
        Ok(template) => Ok(Expr { kind: lower.template(&template), span: whole }),
        Err(error) => {
            let at = error.location().offset();
            Err(syntax_error(lower.span(Some(at..at)), error.message()))
        }
    }
}

/// Where the bytes of a parsed text are in its file.
pub(super) enum Offsets {
    /// At a constant distance.
    Plain(usize),
    /// Each byte, and the end, has its place.
    Table(Vec<u32>),
}

impl Offsets {
    fn at(&self, offset: usize) -> usize {
        match self {
            Offsets::Plain(base) => base + offset,
            Offsets::Table(places) => places.get(offset).or(places.last()).map_or(0, |place| *place as usize),
        }
    }
}

fn syntax_error(span: Span, message: &str) -> Diagnostic {
    let (what, expected) = message.split_once("; expected ").unwrap_or((message, ""));
    if expected.contains("redefined attribute") {
        return Diagnostic::error(span, "this attribute is set twice in the same block");
    }
    if expected.contains("redefined object key") {
        return Diagnostic::error(span, "this key is in the object twice");
    }
    let diagnostic = Diagnostic::error(span, what.to_owned());
    if expected.is_empty() { diagnostic } else { diagnostic.note(format!("expected {expected}")) }
}

struct Lower<'a> {
    file: FileId,
    text: &'a str,
    offsets: &'a Offsets,
    findings: Diagnostics,
}

type Range = std::ops::Range<usize>;

impl Lower<'_> {
    fn span(&self, range: Option<Range>) -> Span {
        let range = range.unwrap_or(0..0);
        Span::new(self.file, self.offsets.at(range.start), self.offsets.at(range.end))
    }

    fn name(&self, text: &str, range: Option<Range>) -> Name {
        Name { text: text.to_owned(), span: self.span(range) }
    }

    fn body(&mut self, body: &shape::Body, span: Span) -> Body {
        let mut lowered = Body { attributes: Vec::new(), blocks: Vec::new(), span };
        for structure in body {
            match structure {
                shape::Structure::Attribute(attribute) => lowered.attributes.push(Attribute {
                    name: self.name(attribute.key.as_str(), attribute.key.span()),
                    value: self.expr(&attribute.value),
                }),
                shape::Structure::Block(block) => {
                    let labels = block.labels.iter().map(|l| self.name(l.as_str(), l.span())).collect();
                    let span = self.span(block.span());
                    lowered.blocks.push(Block {
                        kind: self.name(block.ident.as_str(), block.ident.span()),
                        labels,
                        body: self.body(&block.body, span),
                    });
                }
            }
        }
        lowered
    }

    fn expr(&mut self, expr: &edit::Expression) -> Expr {
        let span = self.span(expr.span());
        Expr { kind: self.kind(expr, span), span }
    }

    fn kind(&mut self, expr: &edit::Expression, span: Span) -> ExprKind {
        use edit::Expression as E;
        match expr {
            E::Null(_) => ExprKind::Null,
            E::Bool(flag) => ExprKind::Bool(*flag.value()),
            E::Number(number) => self.number(number.span(), span),
            E::String(text) => {
                self.refuse_newlines(expr.span());
                ExprKind::String(text.value().clone())
            }
            E::StringTemplate(template) => {
                for element in template.iter().filter(|e| e.is_literal()) {
                    self.refuse_newlines(element.span());
                }
                self.template(template)
            }
            E::HeredocTemplate(heredoc) => self.template(&heredoc.template),
            E::Array(items) => ExprKind::Tuple(items.iter().map(|item| self.expr(item)).collect()),
            E::Object(object) => {
                ExprKind::Object(object.iter().map(|(key, value)| (self.key(key), self.expr(value.expr()))).collect())
            }
            E::Parenthesis(inner) => ExprKind::Parens(Box::new(self.expr(inner.inner()))),
            E::Variable(name) => ExprKind::Variable(name.as_str().to_owned()),
            E::Conditional(c) => ExprKind::Conditional(Box::new(Conditional {
                condition: self.expr(&c.cond_expr),
                yes: self.expr(&c.true_expr),
                no: self.expr(&c.false_expr),
            })),
            E::FuncCall(call) => self.call(call),
            E::Traversal(traversal) => ExprKind::Traversal(Box::new(Traversal {
                base: self.expr(&traversal.expr),
                steps: traversal.operators.iter().map(|operator| self.step(operator)).collect(),
            })),
            E::UnaryOp(operation) => {
                let operator = match operation.operator.value() {
                    edit::UnaryOperator::Neg => UnaryOperator::Negate,
                    edit::UnaryOperator::Not => UnaryOperator::Not,
                };
                ExprKind::Unary(operator, Box::new(self.expr(&operation.expr)))
            }
            E::BinaryOp(operation) => {
                let sides = Box::new((self.expr(&operation.lhs_expr), self.expr(&operation.rhs_expr)));
                ExprKind::Binary(binary(*operation.operator.value()), sides)
            }
            E::ForExpr(each) => self.for_expr(each),
        }
    }

    /// Reads the number again from the text: the parser keeps a machine float only.
    fn number(&mut self, range: Option<Range>, span: Span) -> ExprKind {
        let text = range.and_then(|range| self.text.get(range)).unwrap_or("");
        match Number::parse(text.trim()) {
            Some(number) => ExprKind::Number(number),
            None => {
                self.findings.push(Diagnostic::error(span, format!("`{text}` is no number that bake can hold")));
                ExprKind::Null
            }
        }
    }

    fn refuse_newlines(&mut self, range: Option<Range>) {
        let Some(range) = range else { return };
        let text = self.text.get(range.clone()).unwrap_or("");
        if let Some(at) = text.find('\n') {
            let span = self.span(Some(range.start..range.start + at));
            let finding = Diagnostic::error(span, "a quoted string ends on the line it starts on");
            self.findings.push(finding.hint("write `\\n`, or use a heredoc (`<<EOT`)"));
        }
    }

    fn key(&mut self, key: &edit::ObjectKey) -> Expr {
        match key {
            edit::ObjectKey::Ident(name) => {
                Expr { kind: ExprKind::String(name.as_str().to_owned()), span: self.span(name.span()) }
            }
            edit::ObjectKey::Expression(expr) => self.expr(expr),
        }
    }

    fn call(&mut self, call: &edit::FuncCall) -> ExprKind {
        let namespace: String = call.name.namespace.iter().map(|part| format!("{}::", part.as_str())).collect();
        let name = self.name(&format!("{namespace}{}", call.name.name.as_str()), call.name.name.span());
        let arguments = call.args.iter().map(|argument| self.expr(argument)).collect();
        ExprKind::Call(Box::new(Call { name, arguments, is_spread: call.args.expand_final() }))
    }

    fn step(&mut self, operator: &hcl::edit::Decorated<edit::TraversalOperator>) -> Step {
        use edit::TraversalOperator as T;
        let kind = match operator.value() {
            T::AttrSplat(_) => StepKind::AttributeSplat,
            T::FullSplat(_) => StepKind::FullSplat,
            T::GetAttr(name) => StepKind::Attribute(name.as_str().to_owned()),
            T::Index(index) => StepKind::Index(self.expr(index)),
            T::LegacyIndex(index) => {
                let number = i64::try_from(*index.value()).unwrap_or(i64::MAX);
                let span = self.span(index.span());
                StepKind::Index(Expr { kind: ExprKind::Number(Number::from(number)), span })
            }
        };
        Step { kind, span: self.span(operator.span()) }
    }

    fn for_expr(&mut self, each: &edit::ForExpr) -> ExprKind {
        let ident = |this: &Self, name: &hcl::edit::Decorated<hcl::edit::Ident>| this.name(name.as_str(), name.span());
        ExprKind::For(Box::new(ForExpr {
            key: each.intro.key_var.as_ref().map(|name| ident(self, name)),
            element: ident(self, &each.intro.value_var),
            collection: self.expr(&each.intro.collection_expr),
            result_key: each.key_expr.as_ref().map(|key| self.expr(key)),
            result: self.expr(&each.value_expr),
            condition: each.cond.as_ref().map(|condition| self.expr(&condition.expr)),
            is_grouping: each.grouping,
        }))
    }

    fn template(&mut self, template: &Template) -> ExprKind {
        let mut parts = self.parts(template, false, false);
        // Strip markers leave empty literals behind; they must not hide that an interpolation stands alone.
        match &parts[..] {
            [] => ExprKind::String(String::new()),
            [TemplatePart::Literal(_)] => match parts.pop() {
                Some(TemplatePart::Literal(text)) => ExprKind::String(text),
                _ => ExprKind::Template(parts),
            },
            _ => ExprKind::Template(parts),
        }
    }

    /// Lowers a template; the flags say that a marker around it strips the blanks at its start or end.
    fn parts(&mut self, template: &Template, strip_start: bool, strip_end: bool) -> Vec<TemplatePart> {
        let elements: Vec<&Element> = template.iter().collect();
        let mut parts = Vec::with_capacity(elements.len());
        for (i, element) in elements.iter().enumerate() {
            match element {
                Element::Literal(text) => {
                    let before = i.checked_sub(1).map_or(strip_start, |i| strips(elements[i]).1);
                    let after = elements.get(i + 1).map_or(strip_end, |next| strips(next).0);
                    let mut text = text.as_str();
                    text = if before { text.trim_start() } else { text };
                    text = if after { text.trim_end() } else { text };
                    parts.push(TemplatePart::Literal(text.to_owned()));
                }
                Element::Interpolation(interpolation) => {
                    parts.push(TemplatePart::Interpolation(self.expr(&interpolation.expr)));
                }
                Element::Directive(directive) => parts.push(self.directive(directive, element.span())),
            }
        }
        parts
    }

    fn directive(&mut self, directive: &Directive, range: Option<Range>) -> TemplatePart {
        let span = self.span(range);
        match directive {
            Directive::If(directive) => {
                let (first, last) = (&directive.if_expr, &directive.endif_expr);
                let middle = directive.else_expr.as_ref();
                let yes_end = middle.map_or(last.strip.strip_start(), |e| e.strip.strip_start());
                let yes = self.parts(&first.template, first.strip.strip_end(), yes_end);
                let no = middle.map(|e| self.parts(&e.template, e.strip.strip_end(), last.strip.strip_start()));
                let condition = self.expr(&first.cond_expr);
                TemplatePart::If(Box::new(TemplateIf { condition, yes, no: no.unwrap_or_default(), span }))
            }
            Directive::For(directive) => {
                let (first, last) = (&directive.for_expr, &directive.endfor_expr);
                TemplatePart::For(Box::new(TemplateFor {
                    key: first.key_var.as_ref().map(|name| self.name(name.as_str(), name.span())),
                    element: self.name(first.value_var.as_str(), first.value_var.span()),
                    collection: self.expr(&first.collection_expr),
                    parts: self.parts(&first.template, first.strip.strip_end(), last.strip.strip_start()),
                    span,
                }))
            }
        }
    }
}

/// Says whether an element strips the blanks before it and after it.
fn strips(element: &Element) -> (bool, bool) {
    match element {
        Element::Literal(_) => (false, false),
        Element::Interpolation(i) => (i.strip.strip_start(), i.strip.strip_end()),
        Element::Directive(directive) => match &**directive {
            Directive::If(d) => (d.if_expr.strip.strip_start(), d.endif_expr.strip.strip_end()),
            Directive::For(d) => (d.for_expr.strip.strip_start(), d.endfor_expr.strip.strip_end()),
        },
    }
}

fn binary(operator: edit::BinaryOperator) -> BinaryOperator {
    use edit::BinaryOperator as B;
    match operator {
        B::Eq => BinaryOperator::Equal,
        B::NotEq => BinaryOperator::NotEqual,
        B::LessEq => BinaryOperator::LessOrEqual,
        B::GreaterEq => BinaryOperator::GreaterOrEqual,
        B::Less => BinaryOperator::Less,
        B::Greater => BinaryOperator::Greater,
        B::Plus => BinaryOperator::Add,
        B::Minus => BinaryOperator::Subtract,
        B::Mul => BinaryOperator::Multiply,
        B::Div => BinaryOperator::Divide,
        B::Mod => BinaryOperator::Modulo,
        B::And => BinaryOperator::And,
        B::Or => BinaryOperator::Or,
    }
}

/// Parses an expression that stands in a string of another notation, whose first byte is at `start`.
///
/// # Errors
/// What in it is no HCL.
pub fn parse_expr(file: FileId, text: &str, start: usize) -> Result<Expr, Box<Diagnostic>> {
    let offsets = Offsets::Plain(start);
    let mut lower = Lower { file, text, offsets: &offsets, findings: Diagnostics::default() };
    match text.parse::<edit::Expression>() {
        Ok(expr) => Ok(lower.expr(&expr)),
        Err(error) => {
            let at = error.location().offset();
            Err(Box::new(syntax_error(lower.span(Some(at..at)), error.message())))
        }
    }
}
