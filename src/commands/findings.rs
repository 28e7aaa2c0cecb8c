//! Findings as JSON, for editors and CI. The shape is a promise: fields are added, never changed or taken away.

use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Diagnostics, Severity, SourceMap, Span};

/// Returns an array of findings, a line for each; `[]` if there are none.
pub(super) fn json(objects: &[Value]) -> String {
    let lines: Vec<String> = objects.iter().map(Value::to_string).collect();
    match lines.is_empty() {
        true => "[]\n".to_owned(),
        false => format!("[\n{}\n]\n", lines.join(",\n")),
    }
}

/// Findings that are listed: the place of each is counted from the start of its line, which may be the whole file.
const MAX_LISTED: usize = 1_000;

/// Returns findings by place, the first [`MAX_LISTED`] of them.
pub(super) fn objects(found: &Diagnostics, sources: &SourceMap) -> Vec<Value> {
    found.sorted(sources).into_iter().take(MAX_LISTED).map(|finding| object(finding, sources)).collect()
}

fn object(finding: &Diagnostic, sources: &SourceMap) -> Value {
    let severity = match finding.severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let place = |span: Option<Span>| {
        let (start, end) = (span.map(|span| sources.place(span)), span.map(|span| sources.end(span)));
        json!({
            "file": start.as_ref().map(|place| &place.file),
            "line": start.as_ref().map(|place| place.line),
            "column": start.as_ref().map(|place| place.column),
            "endLine": end.as_ref().map(|place| place.line),
            "endColumn": end.as_ref().map(|place| place.column),
        })
    };
    let mut object = place(finding.labels.first().map(|label| label.span));
    object["severity"] = json!(severity);
    object["message"] = json!(finding.message);
    object["notes"] = json!(finding.notes);
    object["help"] = json!(finding.hints);
    let related = finding.labels.iter().skip(1).map(|label| {
        let mut related = place(Some(label.span));
        related["message"] = json!(label.text);
        related
    });
    object["related"] = Value::Array(related.collect());
    object
}
