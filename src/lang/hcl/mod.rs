//! HCL text → [`Body`]: the native syntax as hclsyntax reads it (HashiCorp's `hclsyntax/spec.md`), with spans.
//!
//! In: a text and where its bytes are in its file. Out: a tree and findings. A reader of one token ahead descends by the
//! grammar. What is wrong is told once, and reading goes on behind the bracket, the line or the block that it is in, so that
//! one run reports several mistakes.

mod body;
mod expr;
mod lexer;
mod recover;
mod template;

use super::ast::{Body, Expr, ExprKind, Name};
use crate::diagnostic::{Diagnostic, Diagnostics, FileId, Severity, SourceMap, Span};
use lexer::{Kind, Token};

/// How deep blocks, expressions and templates nest, and how long a chain of operators is: deeper would overflow the stack
/// of whoever goes through the tree.
const MAX_NESTING: usize = 200;

/// Characters of the user's text that a message repeats.
const N_SHOWN: usize = 40;

/// Parses HCL. The body is empty where the text is no HCL.
pub fn parse_hcl(file: FileId, sources: &SourceMap) -> (Body, Diagnostics) {
    let text = sources.text(file);
    // The peer accepts a byte order mark.
    let stripped = text.strip_prefix('\u{feff}').unwrap_or(text);
    let offsets = Offsets::Plain(text.len() - stripped.len());
    let mut parser = Parser::new(file, stripped, &offsets);
    let mut body = parser.file();
    if parser.findings.has_errors() {
        (body.attributes, body.blocks) = (Vec::new(), Vec::new());
    }
    (body, parser.findings)
}

/// Parses a template that stands in another notation's string. `text` is the string's content, and `offsets` says where
/// its bytes are in the file. A string without interpolation gives a literal.
pub(super) fn parse_template(file: FileId, text: &str, offsets: &Offsets, whole: Span) -> Result<Expr, Diagnostic> {
    if !text.contains("${") && !text.contains("%{") {
        return Ok(Expr { kind: ExprKind::String(text.to_owned()), span: whole });
    }
    let mut parser = Parser::new(file, text, offsets);
    let kind = parser.bare_template();
    parser.finish(kind.map(|kind| Expr { kind, span: whole }))
}

/// Parses an expression that stands in a string of another notation, whose first byte is at `start`.
///
/// # Errors
/// What in it is no HCL.
pub fn parse_expr(file: FileId, text: &str, start: usize) -> Result<Expr, Box<Diagnostic>> {
    let offsets = Offsets::Plain(start);
    let mut parser = Parser::new(file, text, &offsets);
    parser.takes_newlines = false;
    let expr = parser.expr().and_then(|expr| match parser.peek() {
        Token { kind: Kind::End, .. } => Ok(expr),
        token => Err(parser.unexpected(token, "the end of the expression")),
    });
    parser.finish(expr).map_err(Box::new)
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

/// What was read is wrong, and that is told.
struct Failed;

type Parsed<T> = Result<T, Failed>;

struct Parser<'a> {
    file: FileId,
    text: &'a str,
    offsets: &'a Offsets,
    /// Where reading goes on.
    at: usize,
    /// The token that was read last from a place.
    peeked: Option<(usize, Token)>,
    /// Newlines are tokens; in parentheses and brackets they are blanks.
    takes_newlines: bool,
    depth: usize,
    /// The end came while the end of something wrong was looked for: what follows from that is not told.
    is_lost: bool,
    findings: Diagnostics,
}

impl<'a> Parser<'a> {
    fn new(file: FileId, text: &'a str, offsets: &'a Offsets) -> Parser<'a> {
        let findings = Diagnostics::default();
        Parser { file, text, offsets, at: 0, peeked: None, takes_newlines: true, depth: 0, is_lost: false, findings }
    }

    /// Returns what was read, or the first error.
    fn finish<T>(self, result: Parsed<T>) -> Result<T, Diagnostic> {
        match self.findings.iter().find(|finding| finding.severity == Severity::Error) {
            Some(error) => Err(error.clone()),
            None => result.map_err(|Failed| {
                let end = Token { kind: Kind::End, start: self.at, end: self.at };
                self.expected(end, "the end of the expression")
            }),
        }
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.file, self.offsets.at(start), self.offsets.at(end))
    }

    fn span_of(&self, token: Token) -> Span {
        self.span(token.start, token.end)
    }

    fn name(&self, token: Token) -> Name {
        Name { text: self.text[token.start..token.end].to_owned(), span: self.span_of(token) }
    }

    /// Returns the next token without taking it.
    fn peek(&mut self) -> Token {
        loop {
            let known = self.peeked.filter(|(at, _)| *at == self.at);
            let token = known.map_or_else(|| lexer::token(self.text, self.at), |(_, token)| token);
            self.peeked = Some((self.at, token));
            if token.kind == Kind::OpenComment {
                let finding = Diagnostic::error(self.span_of(token), "this comment is not closed");
                _ = self.fail(finding.hint("add `*/`"));
                (self.at, self.is_lost) = (self.text.len(), true);
                continue;
            }
            if token.kind != Kind::Newline || self.takes_newlines {
                return token;
            }
            self.at = token.end;
        }
    }

    /// Takes a token that was peeked.
    fn take(&mut self, token: Token) {
        self.at = token.end;
    }

    /// Takes the next token if it is the sign `sign`.
    fn take_sign(&mut self, sign: u8) -> Option<Token> {
        let token = Some(self.peek()).filter(|token| token.is(sign))?;
        self.take(token);
        Some(token)
    }

    /// Says whether the next token is the word `word`.
    fn is_word(&mut self, word: &str) -> bool {
        let token = self.peek();
        token.kind == Kind::Word && &self.text[token.start..token.end] == word
    }

    /// Runs `read` with newlines as tokens, or as blanks.
    fn with_newlines<T>(&mut self, takes_newlines: bool, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let outer = std::mem::replace(&mut self.takes_newlines, takes_newlines);
        let result = read(self);
        self.takes_newlines = outer;
        result
    }

    /// Runs `read` one level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_NESTING {
            let token = self.peek();
            return Err(self.fail(Diagnostic::error(
                self.span_of(token),
                format!("this is nested more than {MAX_NESTING} levels deep"),
            )));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn fail(&mut self, finding: Diagnostic) -> Failed {
        if !self.is_lost {
            self.findings.push(finding);
        }
        Failed
    }

    /// Tells that `expected` should stand where `token` is.
    fn unexpected(&mut self, token: Token, expected: &str) -> Failed {
        let finding = self.expected(token, expected);
        self.fail(finding)
    }

    fn expected(&self, token: Token, expected: &str) -> Diagnostic {
        Diagnostic::error(self.span_of(token), format!("expected {expected}, found {}", self.shown(token)))
    }

    /// Names a token for people.
    fn shown(&self, token: Token) -> String {
        match token.kind {
            Kind::End => "the end of the text".to_owned(),
            Kind::Newline => "the end of the line".to_owned(),
            Kind::Heredoc => "a heredoc".to_owned(),
            Kind::Quote => "a string".to_owned(),
            _ => format!("`{}`", cut(&self.text[token.start..token.end])),
        }
    }
}

/// Returns as much of a text as a message repeats.
fn cut(text: &str) -> String {
    match text.char_indices().nth(N_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Expr, String> {
        let mut sources = SourceMap::default();
        let file = sources.add("a.hcl", text);
        parse_expr(file, text, 0).map_err(|why| why.message)
    }

    /// Tests run with two MiB of stack, a quarter of what the program has.
    #[test]
    fn what_nests_deeply_is_read_or_refused_within_a_small_stack() {
        let rounds = [("(", "1", ")"), ("[", "", "]"), ("{a=", "1", "}"), ("f(", "", ")"), ("\"${", "1", "}\"")];
        for (open, inner, close) in rounds.into_iter().chain([("!", "a", ""), ("a[", "0", "]"), ("a ? b : ", "c", "")])
        {
            let text = |n: usize| open.repeat(n) + inner + &close.repeat(n);
            assert!(read(&text(90)).is_ok(), "{open}");
            for n in [1_000, 100_000] {
                assert_eq!(
                    read(&text(n)).map(|_| ()),
                    Err("this is nested more than 200 levels deep".to_owned()),
                    "{open}"
                );
            }
        }
        let body = "a {\n".repeat(100_000);
        let mut sources = SourceMap::default();
        let file = sources.add("a.hcl", body.as_str());
        assert!(parse_hcl(file, &sources).1.has_errors());
    }

    #[test]
    fn operators_bind_as_in_the_peer() {
        fn shown(expr: &Expr) -> String {
            match &expr.kind {
                ExprKind::Number(number) => number.to_string(),
                ExprKind::Variable(name) => name.clone(),
                ExprKind::Parens(inner) => shown(inner),
                ExprKind::Unary(_, inner) => format!("!{}", shown(inner)),
                ExprKind::Binary(_, sides) => format!("({} {})", shown(&sides.0), shown(&sides.1)),
                other => format!("{other:?}"),
            }
        }
        for (text, expected) in [
            ("1 - 2 - 3", "((1 2) 3)"),
            ("1 + 2 * 3", "(1 (2 3))"),
            ("1 * 2 + 3", "((1 2) 3)"),
            ("a || b && c == d > e + f * g", "(a (b (c (d (e (f g))))))"),
            ("a == b != c", "((a b) c)"),
            ("!a == b", "(!a b)"),
            ("1 - -2", "(1 -2)"),
        ] {
            assert_eq!(read(text).map(|expr| shown(&expr)), Ok(expected.to_owned()), "{text}");
        }
    }
}
