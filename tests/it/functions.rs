//! Functions, operators and conversions give what the peer's give: `functions/answers*.json` have expressions with the JSON that
//! it makes of each, `null` where it fails. `reference/functions.md` of the book lists all functions, and all differences.

use std::collections::{BTreeMap, BTreeSet};

use bake::diagnostic::SourceMap;

use crate::support::evaluated as evaluated_file;

/// Returns the JSON text of an expression's value; `None` where it has none.
fn evaluated(expression: &str) -> Option<String> {
    let text = format!("target \"default\" {{\n  args = {{ A = jsonencode({expression}) }}\n}}\n");
    let (bakefile, _) = evaluated_file(&text, &mut SourceMap::default());
    bakefile?.targets()[0].args["A"].value.clone()
}

/// The rows of all tables of the book's page below a heading, or of those before it; a cell's code without its quotes.
fn rows(is_wanted: impl Fn(&str) -> bool) -> Vec<Vec<String>> {
    let page = include_str!("../../book/src/reference/functions.md");
    let cell = |text: &str| text.trim().trim_matches('`').replace("\\|", "|");
    let mut heading = "";
    let mut rows = Vec::new();
    for line in page.lines() {
        heading = line.strip_prefix("## ").unwrap_or(heading);
        let row = line.strip_prefix("| `").and_then(|row| row.strip_suffix(" |"));
        if let Some(row) = row.filter(|_| is_wanted(heading)) {
            // A bar inside of a cell is escaped.
            let marked = row.replace("\\|", "\0");
            rows.push(marked.split(" | ").map(|text| cell(&text.replace('\0', "|"))).collect());
        }
    }
    rows
}

const DIFFERENCES: &str = "Where results differ from the peer's";

#[test]
fn the_peers_answers_are_ours() {
    let mut different = String::new();
    let files = [
        include_str!("functions/answers.json"),
        include_str!("functions/answers-crossed.json"),
        include_str!("functions/answers-corners.json"),
    ];
    for text in files {
        let answers: BTreeMap<String, Option<String>> = serde_json::from_str(text).expect("JSON");
        assert!(answers.len() > 1500);
        for (expression, answer) in answers {
            let ours = evaluated(&expression);
            if ours != answer {
                different.push_str(&format!("{expression}\n  peer {answer:?}\n  ours {ours:?}\n"));
            }
        }
    }
    assert!(different.is_empty(), "{different}");
}

#[test]
fn the_book_lists_all_functions() {
    let rows = rows(|heading| heading != DIFFERENCES);
    let listed: Vec<&str> = rows.iter().filter_map(|row| row[0].split('(').next()).collect();
    let known: BTreeSet<&str> = bake::lang::function_names().collect();
    assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), known);
    assert_eq!(listed.len(), known.len(), "a function is listed twice");
}

#[test]
fn the_examples_of_the_book_have_their_results() {
    let mut n_examples = 0;
    for row in rows(|heading| heading != DIFFERENCES) {
        let [signature, _, example, result] = &row[..] else { panic!("{row:?}") };
        let name = signature.split('(').next().expect("a name");
        if !example.is_empty() {
            assert!(example.starts_with(&format!("{name}(")), "{example}");
            assert_eq!(evaluated(example).as_deref(), Some(result.as_str()), "{example}");
            n_examples += 1;
        }
    }
    assert!(n_examples > 90, "{n_examples}");
}

#[test]
fn the_differences_of_the_book_are_ours() {
    let rows = rows(|heading| heading == DIFFERENCES);
    assert!(rows.len() > 8);
    for row in rows {
        let [expression, peer, ours, _why] = &row[..] else { panic!("{row:?}") };
        let expected = (ours != "an error").then_some(ours.as_str());
        assert_eq!(evaluated(expression).as_deref(), expected, "{expression}");
        assert_ne!(peer, ours, "{expression}");
    }
}
