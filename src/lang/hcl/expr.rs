//! Expressions.

use std::collections::BTreeMap;

use super::lexer::{Kind, Token};
use super::{Failed, MAX_NESTING, Parsed, Parser};
use crate::diagnostic::{Diagnostic, Span};
use crate::lang::Number;
use crate::lang::ast::{
    BinaryOperator, Call, Conditional, Expr, ExprKind, ForExpr, Name, Step, StepKind, Traversal, UnaryOperator,
};

/// The strongest binary operators.
const STRONGEST: u8 = 6;

/// Returns a binary operator and how strongly it binds, from 1; of equal strength the left one is first.
fn binary(kind: Kind) -> Option<(BinaryOperator, u8)> {
    Some(match kind {
        Kind::Or => (BinaryOperator::Or, 1),
        Kind::And => (BinaryOperator::And, 2),
        Kind::Equal => (BinaryOperator::Equal, 3),
        Kind::NotEqual => (BinaryOperator::NotEqual, 3),
        Kind::Sign(b'>') => (BinaryOperator::Greater, 4),
        Kind::GreaterOrEqual => (BinaryOperator::GreaterOrEqual, 4),
        Kind::Sign(b'<') => (BinaryOperator::Less, 4),
        Kind::LessOrEqual => (BinaryOperator::LessOrEqual, 4),
        Kind::Sign(b'+') => (BinaryOperator::Add, 5),
        Kind::Sign(b'-') => (BinaryOperator::Subtract, 5),
        Kind::Sign(b'*') => (BinaryOperator::Multiply, STRONGEST),
        Kind::Sign(b'/') => (BinaryOperator::Divide, STRONGEST),
        Kind::Sign(b'%') => (BinaryOperator::Modulo, STRONGEST),
        _ => return None,
    })
}

fn joined(start: Span, end: Span) -> Span {
    Span { end: end.end, ..start }
}

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Parsed<Expr> {
        self.nested(Self::conditional)
    }

    fn conditional(&mut self) -> Parsed<Expr> {
        let condition = self.operation(1)?;
        if self.take_sign(b'?').is_none() {
            return Ok(condition);
        }
        let yes = self.expr()?;
        if self.take_sign(b':').is_none() {
            let token = self.peek();
            let finding = self.expected(token, "`:`").label(condition.span, "after this condition's `?`");
            return Err(self.fail(finding.hint("write `CONDITION ? VALUE : OTHER_VALUE`")));
        }
        let no = self.expr()?;
        let span = joined(condition.span, no.span);
        Ok(Expr { kind: ExprKind::Conditional(Box::new(Conditional { condition, yes, no })), span })
    }

    /// Reads operands and the operators between them that bind at least as strongly as `weakest`.
    fn operation(&mut self, weakest: u8) -> Parsed<Expr> {
        let mut left = self.operand()?;
        let mut n_operators = 0;
        loop {
            let token = self.peek();
            let Some((operator, strength)) = binary(token.kind).filter(|(_, strength)| *strength >= weakest) else {
                return Ok(left);
            };
            n_operators += 1;
            if n_operators > MAX_NESTING {
                let message = format!("more than {MAX_NESTING} operators stand in a row");
                return Err(self.fail(Diagnostic::error(self.span_of(token), message)));
            }
            self.take(token);
            let right = if strength == STRONGEST { self.operand()? } else { self.operation(strength + 1)? };
            let span = joined(left.span, right.span);
            left = Expr { kind: ExprKind::Binary(operator, Box::new((left, right))), span };
        }
    }

    fn operand(&mut self) -> Parsed<Expr> {
        let token = self.peek();
        let operator = match token.kind {
            Kind::Sign(b'-') => UnaryOperator::Negate,
            Kind::Sign(b'!') => UnaryOperator::Not,
            _ => {
                let term = self.term(token)?;
                return self.steps(term);
            }
        };
        self.take(token);
        let operand = self.nested(Self::operand)?;
        let span = joined(self.span_of(token), operand.span);
        let kind = match (operator, operand.kind) {
            (UnaryOperator::Negate, ExprKind::Number(number)) => ExprKind::Number(number.negate()),
            (_, kind) => ExprKind::Unary(operator, Box::new(Expr { kind, ..operand })),
        };
        Ok(Expr { kind, span })
    }

    fn term(&mut self, token: Token) -> Parsed<Expr> {
        match token.kind {
            Kind::Word => self.word(token),
            Kind::Number => self.number(token),
            Kind::Quote => {
                self.take(token);
                let kind = self.quoted()?;
                Ok(Expr { kind, span: self.span(token.start, self.at) })
            }
            Kind::Heredoc => {
                self.take(token);
                let kind = self.heredoc(token)?;
                Ok(Expr { kind, span: self.span(token.start, self.at) })
            }
            Kind::Sign(b'(') => self.parens(token),
            Kind::Sign(b'[') => self.tuple(token),
            Kind::Sign(b'{') => self.object(token),
            _ => Err(self.no_value(token)),
        }
    }

    fn no_value(&mut self, token: Token) -> Failed {
        let finding = self.expected(token, "a value");
        let finding = match token.kind {
            Kind::Unknown if self.text[token.start..].starts_with('\'') => {
                finding.hint("a string stands in double quotes")
            }
            Kind::Sign(b'<') if self.text[token.start..].starts_with("<<") => {
                finding.hint("a heredoc begins with `<<WORD`, and nothing follows on that line")
            }
            _ => finding,
        };
        self.fail(finding)
    }

    fn word(&mut self, token: Token) -> Parsed<Expr> {
        self.take(token);
        let next = self.peek();
        if next.is(b'(') || next.kind == Kind::Colons {
            return self.call(token);
        }
        let kind = match &self.text[token.start..token.end] {
            "true" => ExprKind::Bool(true),
            "false" => ExprKind::Bool(false),
            "null" => ExprKind::Null,
            name => ExprKind::Variable(name.to_owned()),
        };
        Ok(Expr { kind, span: self.span_of(token) })
    }

    fn number(&mut self, token: Token) -> Parsed<Expr> {
        self.take(token);
        let text = &self.text[token.start..token.end];
        let span = self.span_of(token);
        let Some(number) = Number::parse(text) else {
            let finding = Diagnostic::error(span, format!("`{}` is no number that bake can hold", super::cut(text)));
            let limit = Number::MAX_EXPONENT;
            return Err(self.fail(finding.note(format!(
                "a number has one point and one exponent at most, up to {limit} digits, and an exponent up to {limit}"
            ))));
        };
        Ok(Expr { kind: ExprKind::Number(number), span })
    }

    fn parens(&mut self, open: Token) -> Parsed<Expr> {
        self.take(open);
        let inner = self.with_newlines(false, |this| {
            let inner = this.expr().and_then(|inner| this.close(open, "`)`", b')').map(|()| inner));
            this.or_recover(inner, b')')
        })?;
        Ok(Expr { kind: ExprKind::Parens(Box::new(inner)), span: self.span(open.start, self.at) })
    }

    /// Takes the bracket that closes `open`.
    fn close(&mut self, open: Token, expected: &str, closer: u8) -> Parsed<()> {
        match self.take_sign(closer) {
            Some(_) => Ok(()),
            None => {
                let token = self.peek();
                Err(self.not_closed(token, open, expected))
            }
        }
    }

    fn not_closed(&mut self, token: Token, open: Token, expected: &str) -> Failed {
        let finding = self.expected(token, expected);
        let opened = format!("to close this `{}`", self.text[open.start..open.end].trim_end());
        let finding = finding.label(self.span_of(open), opened);
        let finding = match token.kind {
            Kind::Sign(b'=') => finding.hint("equality is `==`"),
            Kind::Unknown if self.text[token.start..].starts_with(';') => finding.hint("elements are parted by `,`"),
            _ => finding,
        };
        self.fail(finding)
    }

    /// Where `result` is an error, goes behind the bracket `closer`.
    fn or_recover<T>(&mut self, result: Parsed<T>, closer: u8) -> Parsed<T> {
        if result.is_err() {
            self.recover_to(closer);
        }
        result
    }

    fn tuple(&mut self, open: Token) -> Parsed<Expr> {
        self.take(open);
        let kind = self.with_newlines(false, |this| {
            let kind = if this.is_word("for") {
                this.for_expr(open, b']')
            } else {
                this.items(open, "`,` or `]`", b']').map(|(items, _)| ExprKind::Tuple(items))
            };
            this.or_recover(kind, b']')
        })?;
        Ok(Expr { kind, span: self.span(open.start, self.at) })
    }

    /// Reads values up to `closer`, with whether `...` stands behind the last one, as it may before a `)`.
    fn items(&mut self, open: Token, expected: &str, closer: u8) -> Parsed<(Vec<Expr>, bool)> {
        let mut items = Vec::new();
        loop {
            if self.take_sign(closer).is_some() {
                return Ok((items, false));
            }
            items.push(self.expr()?);
            let token = self.peek();
            match token.kind {
                Kind::Sign(b',') => self.take(token),
                Kind::Ellipsis if closer == b')' => {
                    self.take(token);
                    self.close(open, "`)` after `...`", closer)?;
                    return Ok((items, true));
                }
                _ => {
                    self.close(open, expected, closer)?;
                    return Ok((items, false));
                }
            }
        }
    }

    fn call(&mut self, first: Token) -> Parsed<Expr> {
        let mut name = self.name(first);
        while self.peek().kind == Kind::Colons {
            let colons = self.peek();
            self.take(colons);
            let part = self.peek();
            if part.kind != Kind::Word {
                return Err(self.unexpected(part, "the name of a function after `::`"));
            }
            self.take(part);
            name.text.push_str("::");
            name.text.push_str(&self.text[part.start..part.end]);
            name.span = joined(name.span, self.span_of(part));
        }
        let open = self.peek();
        if !open.is(b'(') {
            return Err(self.unexpected(open, "`(` after the name of a function"));
        }
        self.take(open);
        let (arguments, is_spread) = self.with_newlines(false, |this| {
            let arguments = this.items(open, "`,` or `)`", b')');
            this.or_recover(arguments, b')')
        })?;
        let span = self.span(first.start, self.at);
        Ok(Expr { kind: ExprKind::Call(Box::new(Call { name, arguments, is_spread })), span })
    }

    fn object(&mut self, open: Token) -> Parsed<Expr> {
        self.take(open);
        let start = self.at;
        let is_for = self.with_newlines(false, |this| Ok(this.is_word("for"))).is_ok_and(|is_for| is_for);
        let kind = if is_for {
            self.with_newlines(false, |this| {
                let kind = this.for_expr(open, b'}');
                this.or_recover(kind, b'}')
            })
        } else {
            // Looking for the word went over newlines, which count here.
            self.at = start;
            self.with_newlines(true, |this| {
                let kind = this.object_items(open).map(ExprKind::Object);
                this.or_recover(kind, b'}')
            })
        }?;
        Ok(Expr { kind, span: self.span(open.start, self.at) })
    }

    fn object_items(&mut self, open: Token) -> Parsed<Vec<(Expr, Expr)>> {
        let mut items: Vec<(Expr, Expr)> = Vec::new();
        let mut places: BTreeMap<String, Span> = BTreeMap::new();
        loop {
            let token = self.peek();
            match token.kind {
                Kind::Newline => {
                    self.take(token);
                    continue;
                }
                Kind::Sign(b'}') => {
                    self.take(token);
                    return Ok(items);
                }
                Kind::End => return Err(self.not_closed(token, open, "`}`")),
                _ => {}
            }
            let key = self.object_key()?;
            let separator = self.peek();
            if !separator.is(b'=') && !separator.is(b':') {
                let finding = self.expected(separator, "`=` and a value");
                let finding = finding.label(key.span, "after this key");
                return Err(self.fail(match separator.kind {
                    Kind::Sign(b'.') | Kind::Word => finding.hint("a key that is more than one word stands in quotes"),
                    _ => finding,
                }));
            }
            self.take(separator);
            let value = self.expr()?;
            if let ExprKind::String(name) = &key.kind
                && let Some(first) = places.insert(name.clone(), key.span)
            {
                let finding = Diagnostic::warning(key.span, "this key is in the object twice; the last one counts");
                self.findings.push(finding.label(first, "this one does not"));
            }
            items.push((key, value));
            let token = self.peek();
            match token.kind {
                Kind::Newline | Kind::Sign(b',') => self.take(token),
                Kind::Sign(b'}') => {}
                _ => return Err(self.not_closed(token, open, "`,`, a new line or `}`")),
            }
        }
    }

    /// Reads a key: a word stands for itself.
    fn object_key(&mut self) -> Parsed<Expr> {
        let key = self.expr()?;
        Ok(match key.kind {
            ExprKind::Variable(word) => Expr { kind: ExprKind::String(word), span: key.span },
            ExprKind::Bool(flag) => Expr { kind: ExprKind::String(flag.to_string()), span: key.span },
            ExprKind::Null => Expr { kind: ExprKind::String("null".to_owned()), span: key.span },
            ExprKind::Traversal(ref traversal) if matches!(traversal.base.kind, ExprKind::Variable(_)) => {
                let finding = Diagnostic::error(key.span, "is this key a text, or the value of something?");
                return Err(self.fail(finding.hint("put it in quotes, or in parentheses if it refers to something")));
            }
            _ => key,
        })
    }

    /// Reads a `for` expression from its first word to the bracket that closes it.
    fn for_expr(&mut self, open: Token, closer: u8) -> Parsed<ExprKind> {
        let word = self.peek();
        self.take(word);
        let (key, element, collection) = self.for_intro()?;
        if self.take_sign(b':').is_none() {
            let token = self.peek();
            return Err(self.unexpected(token, "`:` after what `for` goes through"));
        }
        let mut result = self.expr()?;
        let mut result_key = None;
        let arrow = self.peek();
        if arrow.kind == Kind::Arrow {
            if closer == b']' {
                let finding = Diagnostic::error(self.span_of(arrow), "a tuple's elements have no keys");
                return Err(self.fail(finding.hint("an object is made with `{for … : KEY => VALUE}`")));
            }
            self.take(arrow);
            result_key = Some(std::mem::replace(&mut result, self.expr()?));
        } else if closer == b'}' {
            let finding = self.expected(arrow, "`=>` and a value");
            return Err(self.fail(finding.hint("a tuple is made with `[for … : VALUE]`")));
        }
        let ellipsis = self.peek();
        let is_grouping = ellipsis.kind == Kind::Ellipsis;
        if is_grouping {
            if closer == b']' {
                let finding = Diagnostic::error(self.span_of(ellipsis), "`...` gathers values of equal keys");
                return Err(self.fail(finding.note("a tuple's elements have no keys")));
            }
            self.take(ellipsis);
        }
        let condition = if self.is_word("if") {
            let word = self.peek();
            self.take(word);
            Some(self.expr()?)
        } else {
            None
        };
        self.close(open, "the end of the `for`", closer)?;
        let each = ForExpr { key, element, collection, result_key, result, condition, is_grouping };
        Ok(ExprKind::For(Box::new(each)))
    }

    /// Reads `NAME in COLLECTION` or `KEY, NAME in COLLECTION`.
    pub(super) fn for_intro(&mut self) -> Parsed<(Option<Name>, Name, Expr)> {
        let mut element = self.variable()?;
        let mut key = None;
        if self.take_sign(b',').is_some() {
            key = Some(std::mem::replace(&mut element, self.variable()?));
        }
        let word = self.peek();
        if !self.is_word("in") {
            return Err(self.unexpected(word, "`in`"));
        }
        self.take(word);
        Ok((key, element, self.expr()?))
    }

    fn variable(&mut self) -> Parsed<Name> {
        let token = self.peek();
        if token.kind != Kind::Word {
            return Err(self.unexpected(token, "a name for the element"));
        }
        self.take(token);
        Ok(self.name(token))
    }

    /// Reads the steps into `base`.
    fn steps(&mut self, base: Expr) -> Parsed<Expr> {
        let mut steps = Vec::new();
        let mut n_splats = 0;
        loop {
            let token = self.peek();
            let kind = match token.kind {
                Kind::Sign(b'.') => self.attribute_step(token)?,
                Kind::Sign(b'[') => self.index_step(token)?,
                _ => break,
            };
            n_splats += usize::from(matches!(kind, StepKind::AttributeSplat | StepKind::FullSplat));
            if n_splats > MAX_NESTING {
                let message = format!("more than {MAX_NESTING} splats stand in a row");
                return Err(self.fail(Diagnostic::error(self.span_of(token), message)));
            }
            steps.push(Step { kind, span: self.span(token.start, self.at) });
        }
        if steps.is_empty() {
            return Ok(base);
        }
        let span = Span { end: self.span(self.at, self.at).end, ..base.span };
        Ok(Expr { kind: ExprKind::Traversal(Box::new(Traversal { base, steps })), span })
    }

    fn attribute_step(&mut self, dot: Token) -> Parsed<StepKind> {
        self.take(dot);
        let token = self.peek();
        match token.kind {
            Kind::Word => {
                self.take(token);
                Ok(StepKind::Attribute(self.text[token.start..token.end].to_owned()))
            }
            Kind::Sign(b'*') => {
                self.take(token);
                Ok(StepKind::AttributeSplat)
            }
            Kind::Number => {
                let text = &self.text[token.start..token.end];
                if let Some((first, second)) = text.split_once('.') {
                    let finding = Diagnostic::error(self.span_of(token), "two indexes after points read as one number");
                    let hint = format!("write `[{}][{}]`", super::cut(first), super::cut(second));
                    return Err(self.fail(finding.hint(hint)));
                }
                Ok(StepKind::DottedIndex(self.number(token)?))
            }
            _ => {
                let finding = self.expected(token, "a name after `.`");
                Err(self.fail(finding))
            }
        }
    }

    fn index_step(&mut self, open: Token) -> Parsed<StepKind> {
        self.take(open);
        self.with_newlines(false, |this| {
            let index = if this.take_sign(b'*').is_some() {
                this.close(open, "`]`", b']').map(|()| StepKind::FullSplat)
            } else {
                let index = this.expr();
                index.and_then(|index| this.close(open, "`]`", b']').map(|()| StepKind::Index(index)))
            };
            this.or_recover(index, b']')
        })
    }
}
