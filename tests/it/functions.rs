//! Functions, operators and conversions say what the peer's say: `functions/answers.json` has expressions with the JSON that
//! it makes of each, `null` where it fails. `functions/differences.json` has those of which bake makes something else on
//! purpose, each with the heading in the book that says why.

use bake::diagnostic::SourceMap;
use serde::de::DeserializeOwned;

use crate::support::evaluated as evaluated_file;

/// Returns the JSON text of an expression's value; `None` where it has none.
fn evaluated(expression: &str) -> Option<String> {
    let text = format!("target \"default\" {{\n  args = {{ A = jsonencode({expression}) }}\n}}\n");
    let (bakefile, _) = evaluated_file(&text, &mut SourceMap::default());
    bakefile?.targets()[0].args["A"].value.clone()
}

fn cases<T: DeserializeOwned>(text: &str) -> Vec<T> {
    serde_json::from_str(text).expect("a list of cases")
}

#[test]
fn the_peers_answers_are_ours() {
    let answers: Vec<(String, Option<String>)> = cases(include_str!("functions/answers.json"));
    let mut different = String::new();
    for (expression, answer) in &answers {
        let ours = evaluated(expression);
        if ours != *answer {
            different.push_str(&format!("{expression}\n  peer {answer:?}\n  ours {ours:?}\n"));
        }
    }
    assert!(different.is_empty(), "{different}");
    assert!(answers.len() > 2_500);
}

#[test]
fn other_answers_are_given_on_purpose() {
    type Case = (String, String, Option<String>, Option<String>);
    let differences: Vec<Case> = cases(include_str!("functions/differences.json"));
    let book = include_str!("../../book/src/reference/functions.md");
    for (reason, expression, peer, ours) in &differences {
        assert_ne!(peer, ours, "{expression}");
        assert_eq!(evaluated(expression), *ours, "{expression}");
        assert!(book.contains(&format!("\n| {reason} |")), "the book has no reason \"{reason}\"");
    }
}

/// A row of the book's tables of functions.
struct Row<'a> {
    name: &'a str,
    example: &'a str,
    result: &'a str,
}

fn rows() -> Vec<Row<'static>> {
    let book = include_str!("../../book/src/reference/functions.md");
    let cells = |line: &'static str| -> Option<Vec<&'static str>> {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").map(|cell| cell.trim_matches('`'));
        Some(cells.collect()).filter(|cells: &Vec<&str>| cells.len() == 4 && cells[0].ends_with(')'))
    };
    let row = |line| {
        let cells = cells(line)?;
        Some(Row { name: cells[0].split_once('(')?.0, example: cells[2], result: cells[3] })
    };
    book.lines().filter_map(row).collect()
}

#[test]
fn the_book_lists_all_functions() {
    let mut listed: Vec<&str> = rows().into_iter().map(|row| row.name).collect();
    listed.sort_unstable();
    let mut known: Vec<&str> = bake::lang::functions::names().chain(["try", "can", "convert"]).collect();
    known.sort_unstable();
    assert_eq!(listed, known);
}

#[test]
fn examples_of_the_book_have_the_results_that_it_says() {
    for Row { name, example, result } in rows() {
        assert!(example.contains(&format!("{name}(")), "{example} is no example of {name}");
        assert_eq!(evaluated(example).as_deref(), Some(result), "{example}");
    }
}
