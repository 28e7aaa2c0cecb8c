//! What compiling a Dockerfile found, as JSON for editors, linters and tests. The book's page *Compiled Dockerfiles* is
//! the format; its words are those of BuildKit's LLB and of its Dockerfile parser.
//!
//! In: a file, or the steps and config of a lowered target. Out: JSON values. `syntax` has the file as it is written,
//! `typed` its instructions, `steps` the graph.

mod steps;
mod syntax;
mod typed;

use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Diagnostics, Severity, SourceMap, Span};
use crate::graph::Definition;

use super::LoweredTarget;

pub use syntax::parse;

/// Returns a target's image config and steps.
pub fn target(definition: &Definition, lowered: &LoweredTarget, sources: &SourceMap) -> Value {
    let config = serde_json::from_slice(&lowered.config.to_bytes()).unwrap_or(Value::Null);
    let mut value = json!({ "image": config, "llb": steps::steps(definition, lowered, sources) });
    if let Some(epoch) = lowered.epoch {
        value["epoch"] = json!(epoch);
    }
    value
}

/// Returns the first error of `found` with the lines that it points at, and the others.
pub fn error(found: &Diagnostics, sources: &SourceMap) -> Option<Value> {
    let mut errors = found.iter().filter(|finding| finding.severity == Severity::Error);
    let mut first = error_value(errors.next()?, sources);
    let others: Vec<Value> = errors.map(|finding| error_value(finding, sources)).collect();
    if !others.is_empty() {
        first["others"] = Value::Array(others);
    }
    Some(first)
}

fn error_value(finding: &Diagnostic, sources: &SourceMap) -> Value {
    let lines: Vec<Value> =
        finding.labels.first().map(|label| json!([line_pairs(label.span, sources)])).into_iter().collect();
    let lines = lines.into_iter().next().unwrap_or_else(|| json!([]));
    json!({ "message": finding.message, "lines": lines, "notes": finding.notes, "hints": finding.hints })
}

/// Returns `[[n, n], …]`: a pair for each line of a span, 1-based.
fn line_pairs(span: Span, sources: &SourceMap) -> Vec<[usize; 2]> {
    let (first, last) = lines(span, sources);
    (first..=last).map(|line| [line, line]).collect()
}

/// Returns the first and last line of a span, 1-based.
fn lines(span: Span, sources: &SourceMap) -> (usize, usize) {
    let first = sources.place(span).line;
    let text = sources.snippet(span).trim_end_matches(['\n', '\r']);
    (first, first + text.matches('\n').count())
}

/// Puts `value` under `key` unless it is null, an empty text or an empty list.
fn put(object: &mut Value, key: &str, value: Value) {
    let is_empty = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    if !is_empty {
        object[key] = value;
    }
}
