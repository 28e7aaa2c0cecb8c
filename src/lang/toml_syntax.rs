//! TOML → [`Body`]. Tables below `target`, `group`, `variable` and `function` are blocks; strings are templates, as in
//! HCL's JSON form.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::ast::{Body, Expr, ExprKind};
use super::data_syntax::{BlockSchema, body_from_object, decode, string_expr};
use super::number::Number;
use crate::diagnostic::{Diagnostic, Diagnostics, FileId, SourceMap, Span};

/// What the parser allows.
const MAX_NESTING: usize = 80;

/// Parses TOML; `schema` says which tables mean blocks.
pub fn parse_toml(file: FileId, sources: &SourceMap, schema: &[BlockSchema]) -> (Body, Diagnostics) {
    let text = sources.text(file);
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut lower = Lower { file, text, findings: Diagnostics::default() };
    for error in errors {
        let range = error.span().unwrap_or(0..0);
        let message = match error.message() {
            text if text.contains("recursion") => format!("this is nested more than {MAX_NESTING} levels deep"),
            text => text.lines().collect::<Vec<_>>().join(", "),
        };
        lower.findings.push(Diagnostic::error(Span::new(file, range.start, range.end), message));
    }
    let object = lower.table(table.get_ref(), Span::new(file, 0, text.len()));
    let mut findings = lower.findings;
    let body = body_from_object(object, schema, &mut findings);
    (body, findings)
}

struct Lower<'a> {
    file: FileId,
    text: &'a str,
    findings: Diagnostics,
}

impl Lower<'_> {
    fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span::new(self.file, range.start, range.end)
    }

    fn table(&mut self, table: &DeTable<'_>, span: Span) -> Expr {
        let mut entries: Vec<(Expr, Expr)> = Vec::with_capacity(table.len());
        for (key, value) in table {
            let key_span = self.span(key.span());
            let key = Expr { kind: ExprKind::String(key.get_ref().to_string()), span: key_span };
            entries.push((key, self.value(value)));
        }
        // The table is sorted by name; the order of the file is that of definition.
        entries.sort_by_key(|(key, _)| key.span.start);
        Expr { kind: ExprKind::Object(entries), span }
    }

    fn array(&mut self, array: &DeArray<'_>, span: Span) -> Expr {
        Expr { kind: ExprKind::Tuple(array.iter().map(|item| self.value(item)).collect()), span }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>) -> Expr {
        let span = self.span(value.span());
        let kind = match value.get_ref() {
            DeValue::String(text) => return self.string(text, span),
            DeValue::Integer(integer) => {
                self.number(Number::parse_radix(&bare(integer.as_str()), integer.radix()), span)
            }
            DeValue::Float(float) => self.number(Number::parse(&bare(float.as_str())), span),
            DeValue::Boolean(flag) => ExprKind::Bool(*flag),
            DeValue::Datetime(time) => ExprKind::String(time.to_string()),
            DeValue::Array(array) => return self.array(array, span),
            DeValue::Table(table) => return self.table(table, span),
        };
        Expr { kind, span }
    }

    fn number(&mut self, number: Option<Number>, span: Span) -> ExprKind {
        number.map(ExprKind::Number).unwrap_or_else(|| {
            let literal = self.text.get(span.start as usize..span.end as usize).unwrap_or("");
            self.findings
                .push(Diagnostic::error(span, Number::refusal(literal, "this is no number that bake can hold")));
            ExprKind::Null
        })
    }

    /// Finds the string's content in the source again, so that what is inside it has its own place.
    fn string(&mut self, text: &str, span: Span) -> Expr {
        let raw = self.text.get(span.start as usize..span.end as usize).unwrap_or("");
        let places = places(raw, span.start as usize, text).unwrap_or_else(|| vec![span.start; text.len() + 1]);
        string_expr(self.file, text, places, span, &mut self.findings)
    }
}

fn bare(literal: &str) -> String {
    literal.replace('_', "").trim_start_matches('+').to_owned()
}

/// Returns the place of each byte of `text`, which the literal `raw` at `start` means.
fn places(raw: &str, start: usize, text: &str) -> Option<Vec<u32>> {
    let n_quotes = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
    let inner = raw.get(n_quotes..raw.len().checked_sub(n_quotes)?)?;
    // The newline right after three quotes does not count.
    let is_long = n_quotes == 3;
    let trimmed =
        if is_long { inner.strip_prefix("\r\n").or(inner.strip_prefix('\n')).unwrap_or(inner) } else { inner };
    let start = start + n_quotes + (inner.len() - trimmed.len());
    let (decoded, places) = match raw.starts_with('\'') {
        true => (
            trimmed.to_owned(),
            (start..=start + trimmed.len()).map(|at| u32::try_from(at).unwrap_or(u32::MAX)).collect(),
        ),
        false => decode(trimmed, start)?,
    };
    (decoded == text).then_some(places)
}
