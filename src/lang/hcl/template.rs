//! Templates: quoted strings, heredocs, and the strings of other notations.
//!
//! Read in two goes, as hclsyntax does: first a flat row of literals, interpolations and directives, in which markers strip
//! blanks and a heredoc loses its indentation; then directives take what is between them.

use super::lexer::{Kind, Token};
use super::{Failed, Parsed, Parser};
use crate::diagnostic::{Diagnostic, Span};
use crate::lang::ast::{Expr, ExprKind, Name, TemplateFor, TemplateIf, TemplatePart};

/// A piece of the flat row.
enum Piece {
    /// At most one line.
    Literal(String),
    Interpolation(Expr),
    If(Expr, Span),
    For(Option<Name>, Name, Expr, Span),
    /// `else`, `endif` or `endfor`.
    End(&'static str, Span),
}

/// The notation that a template stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form<'t> {
    Quoted,
    Heredoc { word: &'t str },
    Bare,
}

/// The row while it is read.
#[derive(Default)]
struct Row {
    pieces: Vec<Piece>,
    literal: String,
    /// A marker strips the blanks that the next literal begins with.
    strips_next: bool,
}

impl Row {
    /// Ends a literal where the peer's lexer ends one: markers strip no further.
    fn end_literal(&mut self) {
        if self.literal.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.literal);
        let text = if std::mem::take(&mut self.strips_next) { text.trim_start().to_owned() } else { text };
        self.pieces.push(Piece::Literal(text));
    }

    fn strip_last(&mut self) {
        if let Some(Piece::Literal(text)) = self.pieces.last_mut() {
            text.truncate(text.trim_end().len());
        }
    }
}

impl Parser<'_> {
    /// Reads a quoted string from behind its first quote.
    pub(super) fn quoted(&mut self) -> Parsed<ExprKind> {
        let start = self.at;
        // Most strings are as they stand.
        let length = self.text[start..].find(['"', '\\', '$', '%', '\n']);
        if let Some(length) = length.filter(|length| self.text.as_bytes()[start + length] == b'"') {
            self.at = start + length + 1;
            return Ok(ExprKind::String(self.text[start..start + length].to_owned()));
        }
        match self.row(Form::Quoted) {
            Ok(row) => self.assembled(row.pieces),
            Err(Failed) => {
                self.at = self.behind_string(start).max(self.at);
                // The rest of a string that goes on in the next line is no mistake of its own.
                let rest = &self.text[self.at..];
                let line = rest.strip_prefix('\n').and_then(|next| next.lines().next()).unwrap_or("");
                if line.matches('"').count() % 2 == 1 {
                    self.at += 1 + line.find('"').map_or(0, |quote| quote + 1);
                }
                Err(Failed)
            }
        }
    }

    /// Reads the label of a block from behind its first quote.
    pub(super) fn label(&mut self, quote: Token) -> Parsed<String> {
        match self.quoted()? {
            ExprKind::String(text) => Ok(text),
            _ => {
                let finding = Diagnostic::error(self.span(quote.start, self.at), "a label is a plain string");
                Err(self.fail(finding.hint("write `$${` for the characters `${` themselves")))
            }
        }
    }

    /// Reads a heredoc from behind its first line.
    pub(super) fn heredoc(&mut self, opening: Token) -> Parsed<ExprKind> {
        let opener = &self.text[opening.start..opening.end];
        let is_flush = opener.starts_with("<<-");
        let word = opener.trim_start_matches("<<").trim_start_matches('-').trim_end();
        let mut row = self.row(Form::Heredoc { word }).map_err(|failed| self.lose(failed))?;
        if is_flush {
            flush(&mut row.pieces);
        }
        self.assembled(row.pieces)
    }

    /// Where a heredoc ends after a mistake in it is not known.
    fn lose(&mut self, failed: Failed) -> Failed {
        self.is_lost = true;
        self.at = self.text.len();
        failed
    }

    /// Reads the whole text as a template without quotes.
    pub(super) fn bare_template(&mut self) -> Parsed<ExprKind> {
        let row = self.row(Form::Bare)?;
        self.assembled(row.pieces)
    }

    /// Reads the flat row, and what ends the template.
    fn row(&mut self, form: Form<'_>) -> Parsed<Row> {
        let start = self.at;
        let mut row = Row::default();
        let mut is_line_start = true;
        loop {
            if let (Form::Heredoc { word }, true) = (form, is_line_start)
                && let Some(end) = self.heredoc_end(word)
            {
                row.end_literal();
                self.at = end;
                return Ok(row);
            }
            let rest = &self.text[self.at..];
            let plain =
                rest.find(|c| matches!(c, '$' | '%' | '\n') || (form == Form::Quoted && matches!(c, '"' | '\\')));
            let plain = plain.unwrap_or(rest.len());
            row.literal.push_str(&rest[..plain]);
            self.at += plain;
            match &rest.as_bytes()[plain..] {
                [] => return self.text_end(form, start, row),
                [b'\n', ..] if form == Form::Quoted => return Err(self.newline_in_quotes(start)),
                [b'\n', ..] => {
                    row.literal.push('\n');
                    self.at += 1;
                    row.end_literal();
                    is_line_start = true;
                    continue;
                }
                [b'"', ..] => {
                    row.end_literal();
                    self.at += 1;
                    return Ok(row);
                }
                [b'\\', ..] => self.escape(&mut row.literal)?,
                [sign, b'{', ..] => {
                    row.end_literal();
                    let opening = self.at;
                    let (is_directive, strips_last) = (*sign == b'%', rest[plain + 2..].starts_with('~'));
                    self.at += if strips_last { 3 } else { 2 };
                    // Nothing but a literal right before the marker is stripped.
                    if strips_last {
                        row.strip_last();
                    }
                    row.strips_next = false;
                    let piece = self.with_newlines(false, |this| match is_directive {
                        true => this.directive(opening, form),
                        false => this.interpolation(opening, form),
                    });
                    let (piece, strips_next) = piece?;
                    row.pieces.push(piece);
                    row.strips_next = strips_next;
                }
                [sign, again, b'{', ..] if sign == again => {
                    row.literal.push(*sign as char);
                    row.literal.push('{');
                    self.at += 3;
                }
                [sign, ..] => {
                    row.end_literal();
                    row.literal.push(*sign as char);
                    self.at += 1;
                }
            }
            is_line_start = false;
        }
    }

    /// Returns where the heredoc's last line ends, if it is the one that begins here.
    fn heredoc_end(&self, word: &str) -> Option<usize> {
        let rest = &self.text[self.at..];
        let line = rest.split_inclusive('\n').next()?;
        let content = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
        (content.trim() == word).then_some(self.at + content.len())
    }

    fn text_end(&mut self, form: Form<'_>, start: usize, mut row: Row) -> Parsed<Row> {
        row.end_literal();
        let finding = match form {
            Form::Bare => return Ok(row),
            Form::Quoted => Diagnostic::error(self.span(start.saturating_sub(1), self.at), "this string has no end")
                .hint("add a `\"`"),
            Form::Heredoc { word } => {
                let opening = self.text[..start].trim_end().len();
                let begin = self.text[..opening].rfind("<<").unwrap_or(opening);
                Diagnostic::error(self.span(begin, opening), "this heredoc has no end")
                    .hint(format!("end it with a line that holds `{}` alone", super::cut(word)))
            }
        };
        Err(self.fail(finding))
    }

    fn newline_in_quotes(&mut self, start: usize) -> Failed {
        let line = self.text[..self.at].trim_end_matches('\r').len();
        let finding = Diagnostic::error(
            self.span(start.saturating_sub(1), line.max(start)),
            "a quoted string ends on the line it starts on",
        );
        self.fail(finding.hint("write `\\n`, or use a heredoc (`<<EOT`)"))
    }

    /// Reads an escape of a quoted string.
    fn escape(&mut self, literal: &mut String) -> Parsed<()> {
        let rest = &self.text[self.at + 1..];
        let c = match rest.as_bytes() {
            [b'n', ..] => '\n',
            [b'r', ..] => '\r',
            [b't', ..] => '\t',
            [b'"', ..] => '"',
            [b'\\', ..] => '\\',
            [b'u', ..] => return self.unicode_escape(4, literal),
            [b'U', ..] => return self.unicode_escape(8, literal),
            _ => {
                let length = rest.chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
                let escape = &self.text[self.at..self.at + 1 + length];
                let finding =
                    Diagnostic::error(self.span(self.at, self.at + 1 + length), format!("`{escape}` is no escape"));
                return Err(self.fail(
                    finding
                        .note("the escapes are \\n \\r \\t \\\" \\\\ \\uXXXX \\UXXXXXXXX")
                        .hint("write `\\\\` for a backslash"),
                ));
            }
        };
        literal.push(c);
        self.at += 2;
        Ok(())
    }

    fn unicode_escape(&mut self, n_digits: usize, literal: &mut String) -> Parsed<()> {
        let digits = self.text.get(self.at + 2..self.at + 2 + n_digits);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let c = digits.and_then(|digits| char::from_u32(u32::from_str_radix(digits, 16).ok()?));
        let Some(c) = c else {
            let message = match digits {
                Some(digits) => format!("U+{digits} is no character"),
                None => format!("{n_digits} hexadecimal digits follow `{}`", &self.text[self.at..self.at + 2]),
            };
            return Err(self.fail(Diagnostic::error(self.span(self.at, self.at + 2), message)));
        };
        literal.push(c);
        self.at += 2 + n_digits;
        Ok(())
    }

    /// Reads what is in `${…}`, and whether it strips what follows.
    fn interpolation(&mut self, opening: usize, form: Form<'_>) -> Parsed<(Piece, bool)> {
        let expr = self.expr()?;
        let strips_next = self.close_marker(opening, form)?;
        Ok((Piece::Interpolation(expr), strips_next))
    }

    /// Takes the `}` or `~}` of the marker that begins at `opening`.
    fn close_marker(&mut self, opening: usize, form: Form<'_>) -> Parsed<bool> {
        let token = self.peek();
        match token.kind {
            Kind::Sign(b'}') => self.take(token),
            Kind::StripBrace => self.take(token),
            _ => {
                let marker = &self.text[opening..opening + 2];
                let expected = format!("`}}` to close `{marker}`");
                let finding = match (token.kind, form) {
                    // The string's own last quote looks like the first of another one.
                    (Kind::Quote, Form::Quoted) => {
                        Diagnostic::error(self.span(opening, opening + 2), format!("this `{marker}` is not closed"))
                    }
                    _ => self.expected(token, &expected).label(self.span(opening, opening + 2), "it begins here"),
                };
                let doubled = &marker[..1];
                let hint = format!("write `{doubled}{marker}` for the characters `{marker}` themselves");
                return Err(self.fail(finding.hint(hint)));
            }
        }
        Ok(token.kind == Kind::StripBrace)
    }

    /// Reads what is in `%{…}`, and whether it strips what follows.
    fn directive(&mut self, opening: usize, form: Form<'_>) -> Parsed<(Piece, bool)> {
        const WORDS: [&str; 5] = ["if", "else", "endif", "for", "endfor"];
        let token = self.peek();
        let word = &self.text[token.start..token.end];
        let Some(word) = WORDS.into_iter().find(|known| token.kind == Kind::Word && *known == word) else {
            let finding = self.expected(token, "`if`, `else`, `endif`, `for` or `endfor`");
            let finding = finding.suggest(word, WORDS);
            return Err(self.fail(finding.hint("write `%%{` for the characters `%{` themselves")));
        };
        self.take(token);
        let begin = self.span(opening, opening);
        let piece = match word {
            "if" => Piece::If(self.expr()?, begin),
            "for" => {
                let (key, element, collection) = self.for_intro()?;
                Piece::For(key, element, collection, begin)
            }
            word => Piece::End(word, begin),
        };
        let strips_next = self.close_marker(opening, form)?;
        let end = self.span(self.at, self.at).end;
        let span = |begin: Span| Span { end, ..begin };
        let piece = match piece {
            Piece::If(condition, begin) => Piece::If(condition, span(begin)),
            Piece::For(key, element, collection, begin) => Piece::For(key, element, collection, span(begin)),
            Piece::End(word, begin) => Piece::End(word, span(begin)),
            other => other,
        };
        Ok((piece, strips_next))
    }

    /// Gives directives what is between them.
    fn assembled(&mut self, pieces: Vec<Piece>) -> Parsed<ExprKind> {
        let mut pieces = pieces.into_iter();
        let (mut parts, end) = self.parts(&mut pieces)?;
        if let Some((word, span)) = end {
            return Err(self.fail(Diagnostic::error(span, format!("this `{word}` ends nothing"))));
        }
        Ok(match &mut parts[..] {
            [] => ExprKind::String(String::new()),
            [TemplatePart::Literal(text)] => ExprKind::String(std::mem::take(text)),
            _ => ExprKind::Template(parts),
        })
    }

    /// Returns parts up to an `else`, `endif` or `endfor`, or to the end.
    #[expect(clippy::type_complexity, reason = "the end is looked at by the one who called")]
    fn parts(
        &mut self,
        pieces: &mut std::vec::IntoIter<Piece>,
    ) -> Parsed<(Vec<TemplatePart>, Option<(&'static str, Span)>)> {
        let mut parts: Vec<TemplatePart> = Vec::new();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Literal(text) => match parts.last_mut() {
                    Some(TemplatePart::Literal(before)) => before.push_str(&text),
                    _ => parts.push(TemplatePart::Literal(text)),
                },
                Piece::Interpolation(expr) => parts.push(TemplatePart::Interpolation(expr)),
                Piece::If(condition, span) => {
                    let part = self.nested(|this| this.if_part(condition, span, pieces))?;
                    parts.push(part);
                }
                Piece::For(key, element, collection, span) => {
                    let (inner, end) = self.nested(|this| this.parts(pieces))?;
                    let span = self.directive_end("for", &["endfor"], end, span)?.1;
                    let directive = TemplateFor { key, element, collection, parts: inner, span };
                    parts.push(TemplatePart::For(Box::new(directive)));
                }
                Piece::End(word, span) => return Ok((parts, Some((word, span)))),
            }
        }
        Ok((parts, None))
    }

    fn if_part(&mut self, condition: Expr, span: Span, pieces: &mut std::vec::IntoIter<Piece>) -> Parsed<TemplatePart> {
        let (yes, end) = self.parts(pieces)?;
        let (word, mut whole) = self.directive_end("if", &["else", "endif"], end, span)?;
        let mut no = Vec::new();
        if word == "else" {
            let (parts, end) = self.parts(pieces)?;
            no = parts;
            whole = self.directive_end("if", &["endif"], end, span)?.1;
        }
        Ok(TemplatePart::If(Box::new(TemplateIf { condition, yes, no, span: whole })))
    }

    /// Checks what ends a directive; returns its word, and the span of the whole directive.
    fn directive_end(
        &mut self,
        directive: &str,
        expected: &[&str],
        end: Option<(&'static str, Span)>,
        begin: Span,
    ) -> Parsed<(&'static str, Span)> {
        match end {
            Some((word, span)) if expected.contains(&word) => Ok((word, Span { end: span.end, ..begin })),
            Some((word, span)) => {
                let finding = Diagnostic::error(span, format!("`{word}` does not belong to this `{directive}`"));
                Err(self.fail(finding.label(begin, format!("expected `%{{{}}}` for this", expected.join("}` or `%{")))))
            }
            None => {
                let finding = Diagnostic::error(begin, format!("this `{directive}` has no end"));
                Err(self.fail(finding.hint(format!("add `%{{end{directive}}}`"))))
            }
        }
    }
}

/// Takes away the indentation that all lines of a heredoc have. Lines of blanks alone do not count.
fn flush(pieces: &mut [Piece]) {
    let mut least = usize::MAX;
    let mut indented = Vec::new();
    let mut is_line_start = true;
    for (i, piece) in pieces.iter().enumerate() {
        let literal = if let Piece::Literal(text) = piece { Some(text.as_str()) } else { None };
        if is_line_start {
            let n_blanks = match literal {
                Some(text) if text.trim_start().is_empty() && text.ends_with('\n') => None,
                Some(text) => {
                    indented.push(i);
                    Some(text.chars().take_while(|c| c.is_whitespace()).count())
                }
                None => Some(0),
            };
            least = least.min(n_blanks.unwrap_or(usize::MAX));
        }
        is_line_start = literal.is_some_and(|text| text.ends_with('\n'));
    }
    for i in indented {
        if let Piece::Literal(text) = &mut pieces[i] {
            *text = text.chars().skip(least).collect();
        }
    }
}
