//! Functions and operators say what the peer's say: `functions/answers.json` has expressions with the JSON that it makes of
//! each, `null` where it fails.

use bake::bakefile::{InputFile, Options, load};
use bake::diagnostic::SourceMap;
use bake::sys::files::DiskFiles;
use serde_json::Value;

/// Returns the JSON text of an expression's value; `None` where it has none.
fn evaluated(expression: &str) -> Option<String> {
    let options = Options {
        env: &|_| None,
        vars: &[],
        overrides: &[],
        local_platform: "linux/amd64".parse().expect("a platform"),
        cmd_context: "cwd://",
        seed: [0; 32],
        home: None,
        now: 0,
        files: &DiskFiles::new("/nowhere"),
    };
    let text = format!("target \"default\" {{\n  args = {{ A = jsonencode({expression}) }}\n}}\n");
    let inputs = [InputFile { name: "build.hcl".to_owned(), text }];
    let (bakefile, _) = load(&inputs, &options, &mut SourceMap::default());
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
