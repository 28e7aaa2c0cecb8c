//! Dockerfiles as values: fixtures, errors as people see them, and the peer's own answers.

use bake::diagnostic::SourceMap;
use bake::dockerfile::shell::Expander;
use bake::dockerfile::{Node, parse, parse_nodes};
use serde_json::Value;

use crate::support::conformance;

/// Puts a node in the shape of the golden data.
fn golden_node(node: &Node) -> Value {
    let mut map = serde_json::Map::new();
    let text = |text: &str| Value::String(text.to_owned());
    map.insert("name".to_owned(), text(&node.name.text));
    map.insert("flags".to_owned(), node.flags.iter().map(|flag| text(&flag.text)).collect());
    map.insert("original".to_owned(), text(&node.original));
    map.insert("lines".to_owned(), serde_json::json!([node.lines.0, node.lines.1]));
    if node.is_json {
        map.insert("attributes".to_owned(), serde_json::json!({ "json": true }));
    }
    if !node.comments.is_empty() {
        map.insert("comments".to_owned(), node.comments.iter().map(|comment| text(comment)).collect());
    }
    let heredocs = node.heredocs.iter().map(|heredoc| {
        serde_json::json!({ "name": heredoc.name, "fd": heredoc.descriptor, "chomp": heredoc.is_chomped,
            "expand": heredoc.expands, "content": heredoc.text })
    });
    let heredocs: Value = heredocs.collect();
    if heredocs.as_array().is_some_and(|list| !list.is_empty()) {
        map.insert("heredocs".to_owned(), heredocs);
    }
    let args = match &node.trigger {
        Some(trigger) => serde_json::json!([{ "node": golden_node(trigger) }]),
        None => node.args.iter().map(|arg| text(&arg.text)).collect(),
    };
    map.insert("args".to_owned(), args);
    Value::Object(map)
}

/// A trigger has no lines or heredocs of its own in the golden data.
fn without_trigger_place(mut node: Value) -> Value {
    if let Some(inner) = node.pointer_mut("/args/0/node").and_then(Value::as_object_mut) {
        inner.shift_remove("lines");
        inner.shift_remove("heredocs");
    }
    node
}

fn check_nodes(text: &str, golden: &Value) -> Result<(), String> {
    let mut sources = SourceMap::default();
    let file = sources.add("Dockerfile", text);
    let (_, found) = parse(file, &sources);
    match golden.pointer("/error/message") {
        Some(_) if found.has_errors() => return Ok(()),
        Some(message) => return Err(format!("no error; the peer says {message}")),
        None if found.has_errors() => return Err(found.render(&sources)),
        None => {}
    }
    let nodes: Vec<Value> =
        parse_nodes(file, &sources).0.iter().map(|node| without_trigger_place(golden_node(node))).collect();
    let wanted = golden["nodes"].as_array().ok_or("no nodes in the golden data")?;
    for (node, wanted) in nodes.iter().zip(wanted) {
        let wanted = without_trigger_place(wanted.clone());
        if *node != wanted {
            return Err(format!("ours   {node}\ntheirs {wanted}"));
        }
    }
    if nodes.len() == wanted.len() { Ok(()) } else { Err(format!("{} nodes, not {}", nodes.len(), wanted.len())) }
}

#[test]
fn real_files_parse_into_the_peers_nodes() {
    let Some(corpus) = conformance::dockerfiles() else { return };
    let mut failures = Vec::new();
    let cases = corpus.cases();
    for case in &cases {
        if let Err(difference) = check_nodes(&case.text, &case.golden["parse"]) {
            failures.push(format!("{}: {difference}", case.name));
        }
    }
    println!("{} of {} files parse as the peer's", cases.len() - failures.len(), cases.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn words_expand_as_the_peers_do() {
    let Some(corpus) = conformance::dockerfiles() else { return };
    let mut failures = Vec::new();
    let mut n_cases = 0;
    for name in ["env-var-test.json", "words-test.json"] {
        let data = corpus.dataset(name);
        for case in data["cases"].as_array().expect("cases") {
            let platform = case["platform"].as_str().unwrap_or("A");
            if platform == "W" {
                continue;
            }
            n_cases += 1;
            let env = case.get("env").or(data.get("env")).cloned().unwrap_or_default();
            let lookup = |name: &str| {
                let entries = env.as_array()?.iter().filter_map(Value::as_str);
                let mut values = entries.filter_map(|entry| entry.split_once('=')).filter(|(key, _)| *key == name);
                values.next_back().map(|(_, value)| value.to_owned())
            };
            let input = case["input"].as_str().expect("input");
            let ours = Expander::new('\\').expand(input, &lookup);
            let actual = &case["actual"];
            let is_equal = match (&ours, actual.get("error")) {
                (Err(_), Some(_)) => true,
                (Ok(ours), None) => {
                    let is_same = actual["words"] == serde_json::json!(ours.words);
                    // The peer loses what stands before `${NAME:-…}` when it cuts words (EXPOSE); we keep it.
                    let loses_prefix = || input.contains("${") && !ours.words.is_empty();
                    actual["word"] == ours.text && (is_same || loses_prefix())
                }
                _ => false,
            };
            if !is_equal {
                failures.push(format!("{input}: {ours:?}, not {actual}"));
            }
        }
    }
    println!("{} of {n_cases} words expand as the peer's", n_cases - failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
