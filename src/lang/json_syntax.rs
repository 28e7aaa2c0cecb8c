//! HCL's JSON form → [`Body`]: strings are templates, keys in expressions too.

use super::ast::{Body, Expr, ExprKind};
use super::data_syntax::{BlockSchema, body_from_object, decode, string_expr};
use super::number::Number;
use crate::diagnostic::{Diagnostic, Diagnostics, FileId, SourceMap, Span};

const MAX_NESTING: usize = 64;

/// Parses JSON; `schema` says which keys mean blocks.
pub fn parse_json(file: FileId, sources: &SourceMap, schema: &[BlockSchema]) -> (Body, Diagnostics) {
    let text = sources.text(file);
    let start = text.len() - text.strip_prefix('\u{feff}').unwrap_or(text).len();
    let mut parser = Parser { file, text, at: start, depth: 0, findings: Diagnostics::default() };
    let whole = Span::new(file, 0, text.len());
    let object = parser.document().unwrap_or_else(|finding| {
        parser.findings.push(*finding);
        Expr { kind: ExprKind::Object(Vec::new()), span: whole }
    });
    let mut findings = parser.findings;
    let body = body_from_object(object, schema, &mut findings);
    (body, findings)
}

struct Parser<'a> {
    file: FileId,
    text: &'a str,
    at: usize,
    depth: usize,
    findings: Diagnostics,
}

type Parsed<T> = Result<T, Box<Diagnostic>>;

impl Parser<'_> {
    fn document(&mut self) -> Parsed<Expr> {
        let value = self.value()?;
        self.skip_blanks();
        if self.at < self.text.len() {
            return Err(self.wrong("the document ends before this"));
        }
        Ok(value)
    }

    fn wrong(&self, message: &str) -> Box<Diagnostic> {
        Box::new(Diagnostic::error(Span::new(self.file, self.at, self.at), message))
    }

    fn span(&self, start: usize) -> Span {
        Span::new(self.file, start, self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn value(&mut self) -> Parsed<Expr> {
        self.skip_blanks();
        let start = self.at;
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(self.wrong(&format!("this is nested more than {MAX_NESTING} levels deep")));
        }
        let kind = match self.peek() {
            Some(b'{') => self.object()?,
            Some(b'[') => self.array()?,
            Some(b'"') => self.string()?.kind,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z') => self.word()?,
            None => return Err(self.wrong("a value is missing")),
            Some(_) => return Err(self.wrong("this is no JSON value")),
        };
        self.depth -= 1;
        Ok(Expr { kind, span: self.span(start) })
    }

    fn object(&mut self) -> Parsed<ExprKind> {
        self.at += 1;
        let mut entries: Vec<(Expr, Expr)> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        self.skip_blanks();
        if self.take(b'}') {
            return Ok(ExprKind::Object(entries));
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a key in double quotes is missing"));
            }
            let key = self.string()?;
            if let ExprKind::String(name) = &key.kind
                && name != "//"
                && !seen.insert(name.clone())
            {
                self.findings.push(Diagnostic::error(key.span, format!("the key \"{name}\" is in the object twice")));
            }
            self.skip_blanks();
            if !self.take(b':') {
                return Err(self.wrong("a colon is missing"));
            }
            entries.push((key, self.value()?));
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(ExprKind::Object(entries));
                }
                _ => return Err(self.wrong("a comma or closing brace is missing")),
            }
        }
    }

    fn array(&mut self) -> Parsed<ExprKind> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.take(b']') {
            return Ok(ExprKind::Tuple(items));
        }
        loop {
            items.push(self.value()?);
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(ExprKind::Tuple(items));
                }
                _ => return Err(self.wrong("a comma or closing bracket is missing")),
            }
        }
    }

    fn string(&mut self) -> Parsed<Expr> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(0..=0x1f) | None => {
                    let at = start..start + 1;
                    return Err(Box::new(Diagnostic::error(
                        Span::new(self.file, at.start, at.end),
                        "this string is not closed",
                    )));
                }
                Some(_) => self.at += 1,
            }
        }
        let raw = self.text.get(start + 1..self.at).unwrap_or("");
        self.at += 1;
        let span = self.span(start);
        match decode(raw, start + 1) {
            Some((text, places)) => Ok(string_expr(self.file, &text, places, span, &mut self.findings)),
            None => Err(Box::new(Diagnostic::error(span, "this string has an unknown escape"))),
        }
    }

    fn number(&mut self) -> Parsed<ExprKind> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let number = Number::parse(&self.text[start..self.at]);
        let refusal = || Number::refusal(&self.text[start..self.at], "this is no number");
        number.map(ExprKind::Number).ok_or_else(|| Box::new(Diagnostic::error(self.span(start), refusal())))
    }

    fn word(&mut self) -> Parsed<ExprKind> {
        let start = self.at;
        while matches!(self.peek(), Some(b'a'..=b'z')) {
            self.at += 1;
        }
        match &self.text[start..self.at] {
            "null" => Ok(ExprKind::Null),
            "true" => Ok(ExprKind::Bool(true)),
            "false" => Ok(ExprKind::Bool(false)),
            _ => Err(Box::new(Diagnostic::error(self.span(start), "this is no JSON value"))),
        }
    }
}
