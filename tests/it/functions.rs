//! Functions and operators say what the peer's say: `functions/answers.json` has expressions with the JSON that it makes of
//! each, `null` where it fails.

use bake::diagnostic::SourceMap;
use serde_json::Value;

use crate::support::evaluated as evaluated_file;

/// Returns the JSON text of an expression's value; `None` where it has none.
fn evaluated(expression: &str) -> Option<String> {
    let text = format!("target \"default\" {{\n  args = {{ A = jsonencode({expression}) }}\n}}\n");
    let (bakefile, _) = evaluated_file(&text, &mut SourceMap::default());
    bakefile?.targets()[0].args["A"].value.clone()
}

#[test]
fn the_peers_answers_are_ours() {
    let text = include_str!("functions/answers.json");
    let answers: Vec<Value> = serde_json::from_str(text).expect("JSON");
    let mut different = String::new();
    for answer in &answers {
        let expression = answer["expression"].as_str().expect("a text");
        let ours = evaluated(expression);
        if ours.as_deref() != answer["answer"].as_str() {
            different.push_str(&format!("{expression}\n  peer {}\n  ours {ours:?}\n", answer["answer"]));
        }
    }
    assert!(different.is_empty(), "{different}");
    assert!(answers.len() > 180);
}
