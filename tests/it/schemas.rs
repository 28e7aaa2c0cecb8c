//! Does the schema describe what bakefiles say, and is it the one that the language's vocabulary gives?

use std::path::{Path, PathBuf};

use bake::bakefile::{self, InputFile};
use bake::diagnostic::SourceMap;
use bake::lang::Notation;
use boon::{Compiler, SchemaIndex, Schemas, ValidationError};
use serde_json::{Value, json};

const PATH: &str = "schemas/build.schema.json";

/// `UPDATE=1` writes it.
#[test]
fn the_schema_is_made_of_the_vocabulary() {
    let path = root().join(PATH);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, bakefile::schema()).expect("written");
    }
    let text = std::fs::read_to_string(path).expect("the schema is in the repository");
    assert!(text == bakefile::schema(), "{PATH} is out of date: run this test with UPDATE=1");
}

#[test]
fn every_example_and_fixture_matches_in_toml_and_json() {
    let judge = Judge::new();
    let mut paths = Vec::new();
    for directory in ["examples", "tests/fixtures/bakefile"] {
        crate::convert::bakefiles(&root().join(directory), &mut paths);
    }
    let mut n = 0;
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("readable");
        let name = path.display().to_string();
        if !name.ends_with(".hcl") {
            assert_eq!(judge.wrong(&parse(&name, &text)), [""; 0], "{name}");
        }
        for (to, ending) in [(Notation::Json, "json"), (Notation::Toml, "toml")] {
            let input = InputFile { name: name.clone(), text: text.clone() };
            let emitted = bakefile::convert(&input, to, &mut SourceMap::default()).expect("it is a bakefile");
            assert_eq!(judge.wrong(&parse(ending, &emitted.text)), [""; 0], "{name} as\n{}", emitted.text);
            n += 1;
        }
    }
    assert!(n >= 10, "only {n} conversions");
}

#[test]
fn wrong_bakefiles_are_wrong_at_their_place() {
    let judge = Judge::new();
    let target = |attribute: &str, value: Value| json!({ "target": { "a": { attribute: value } } });
    let cases = [
        (target("tag", json!(["x"])), "/target/a"),
        (target("tags", json!("x")), "/target/a/tags"),
        (target("tags", json!([["x"]])), "/target/a/tags/0"),
        (target("context", json!(["."])), "/target/a/context"),
        (target("args", json!({ "A": [1] })), "/target/a/args/A"),
        (target("args", json!(["A=1"])), "/target/a/args"),
        (target("no-cache", json!("often")), "/target/a/no-cache"),
        (target("resources", json!({ "ram": "1g" })), "/target/a/resources"),
        (target("secret", json!([{ "name": "x" }])), "/target/a/secret/0"),
        (target("output", json!([1])), "/target/a/output/0"),
        (target("matrix", json!({ "os": 1 })), "/target/a/matrix/os"),
        (json!({ "target": [{ "a": [{ "pull": 1 }] }] }), "/target/0/a/0/pull"),
        (json!({ "target": 1 }), "/target"),
        (json!({ "group": { "default": {} } }), "/group/default"),
        (json!({ "variable": { "TAG": { "defualt": "x" } } }), "/variable/TAG"),
        (json!({ "variable": { "T": { "validation": [{ "condition": 1 }] } } }), "/variable/T/validation/0/condition"),
        (json!({ "function": { "f": { "params": "x", "result": 1 } } }), "/function/f/params"),
        (json!({ "function": { "f": { "params": [] } } }), "/function/f"),
    ];
    for (value, expected) in cases {
        assert_eq!(judge.wrong(&value), [expected], "{value}");
    }
}

#[test]
fn every_form_of_a_block_and_templates_anywhere_match() {
    let judge = Judge::new();
    let right = [
        json!({ "release": "1.0", "//": "a comment", "target": { "a": { "//": 1, "tags": ["${release}"] } } }),
        json!({ "target": [{ "a": {} }, { "a": [{ "context": "x" }, { "context": null }] }] }),
        json!({ "variable": { "T": { "type": "object({a = string})", "validation": { "condition": "${T.a != 1}" } } } }),
        json!({ "target": { "a": { "tags": "${t}", "args": "${a}", "no-cache": "%{if x}true%{endif}", "output": "${o}",
            "matrix": { "os": "${os}" }, "resources": "${r}", "ssh": [{ "id": "a", "paths": ["x", "y"] }], "pull": true } } }),
    ];
    for value in right {
        assert_eq!(judge.wrong(&value), [""; 0], "{value}");
    }
}

#[test]
fn every_attribute_of_the_schema_is_described() {
    let schema: Value = serde_json::from_str(&bakefile::schema()).expect("the schema is JSON");
    for definition in ["target", "group", "variable", "function", "validation"] {
        let properties = schema["definitions"][definition]["properties"].as_object().expect("a block has properties");
        for (name, property) in properties {
            assert!(property["description"].is_string(), "{definition}.{name} has no description");
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn parse(name: &str, text: &str) -> Value {
    match PathBuf::from(name).extension().is_some_and(|ending| ending == "toml") || name == "toml" {
        true => toml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}")),
        false => serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}")),
    }
}

struct Judge {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Judge {
    fn new() -> Judge {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        let schema = serde_json::from_str(&bakefile::schema()).expect("the schema is JSON");
        compiler.add_resource("build.schema.json", schema).expect("a resource");
        let index = compiler.compile("build.schema.json", &mut schemas).unwrap_or_else(|error| panic!("{error}"));
        Judge { schemas, index }
    }

    /// Returns the places that are wrong, each once, the innermost ones.
    fn wrong(&self, value: &Value) -> Vec<String> {
        let mut places = Vec::new();
        if let Err(error) = self.schemas.validate(value, self.index) {
            innermost(&error, &mut places);
        }
        places.dedup();
        places
    }
}

fn innermost(error: &ValidationError<'_, '_>, places: &mut Vec<String>) {
    if error.causes.is_empty() {
        places.push(error.instance_location.to_string());
    }
    error.causes.iter().for_each(|cause| innermost(cause, places));
}
