//! A Dockerfile as it is written: directives, instructions without types, then [`typed`](super::typed).

use serde_json::{Value, json};

use super::{error, line_pairs, put, typed};
use crate::diagnostic::{FileId, Severity, SourceMap};
use crate::dockerfile::{self, Node};

/// Returns all that parsing `file` finds. Where it fails, `error.stage` is `parse` if the text could not be cut into
/// instructions and `instructions` if one of them is wrong; what was found before that is there.
pub fn parse(file: FileId, sources: &SourceMap) -> Value {
    let (dockerfile, found) = dockerfile::parse(file, sources);
    let (nodes, cut) = dockerfile::parse_nodes(file, sources);
    let directives = dockerfile.directives.iter().map(|directive| {
        let line = sources.place(directive.span).line;
        json!({ "line": line, "name": directive.name, "value": directive.value })
    });
    let mut value = json!({ "directives": directives.collect::<Value>() });
    let syntax = dockerfile.directives.iter().find(|directive| directive.name == "syntax");
    if let Some(syntax) = syntax {
        let reference = syntax.value.split_whitespace().next().unwrap_or("");
        value["syntax"] =
            json!({ "cmdline": syntax.value, "lines": line_pairs(syntax.span, sources), "ref": reference });
    }
    if nodes.is_empty() || cut.has_errors() {
        let found = if cut.has_errors() { &cut } else { &found };
        value["error"] = with_stage(error(found, sources), "parse");
        return value;
    }
    value["escape"] = json!(dockerfile.escape.to_string());
    value["warnings"] = found
        .iter()
        .filter(|finding| finding.severity == Severity::Warning)
        .map(|finding| {
            let place = finding.labels.first().map(|label| sources.place(label.span).line);
            // The peer notices at the end of the instruction.
            let ends = |line: usize| {
                nodes.iter().map(|node| node.lines).find(|(first, last)| (*first..=*last).contains(&line))
            };
            let line = place.map(|line| ends(line).map_or(line, |(_, last)| last));
            json!({ "lines": line.map(|line| [line, line]), "short": finding.message })
        })
        .collect();
    value["nodes"] = nodes.iter().map(node).collect();
    if found.has_errors() {
        value["error"] = with_stage(error(&found, sources), "instructions");
        return value;
    }
    value["meta_args"] = typed::global_args(&nodes, &dockerfile);
    value["stages"] = dockerfile.stages.iter().map(|stage| typed::stage(stage, sources)).collect();
    value
}

fn with_stage(error: Option<Value>, stage: &str) -> Value {
    let mut error = error.unwrap_or_else(|| json!({ "message": "nothing could be read", "lines": [] }));
    error["stage"] = json!(stage);
    error
}

fn node(node: &Node) -> Value {
    let args = match &node.trigger {
        Some(trigger) => json!([{ "node": trigger_node(trigger) }]),
        None => node.args.iter().map(|arg| json!(arg.text)).collect(),
    };
    let mut value = json!({
        "args": args,
        "flags": node.flags.iter().map(|flag| json!(flag.text)).collect::<Value>(),
        "lines": [node.lines.0, node.lines.1],
        "name": node.name.text,
        "original": node.original,
    });
    if node.is_json {
        value["attributes"] = json!({ "json": true });
    }
    put(&mut value, "comments", json!(node.comments));
    let heredocs = node.heredocs.iter().map(|heredoc| {
        json!({ "chomp": heredoc.is_chomped, "content": heredoc.text, "expand": heredoc.expands,
            "fd": heredoc.descriptor, "name": heredoc.name })
    });
    put(&mut value, "heredocs", heredocs.collect());
    value
}

/// An instruction that is held back stands on no line of its own; its heredocs are those of ONBUILD.
fn trigger_node(trigger: &Node) -> Value {
    let mut value = node(&Node { lines: (0, 0), heredocs: Vec::new(), ..trigger.clone() });
    value["lines"] = json!([0, 0]);
    value
}
