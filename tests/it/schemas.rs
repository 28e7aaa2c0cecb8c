//! Do the schemas describe what the examples say?
//!
//! Judges by the part of JSON Schema that ours use: `type`, `properties`, `additionalProperties`, `required`, `items`,
//! `anyOf`, `$ref`; any other keyword in them is an error here, so that none is passed over silently.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

#[test]
fn the_toml_bakefiles_of_the_examples_match_the_schema() {
    let schema = schema();
    let bakefiles = toml_bakefiles();
    assert!(!bakefiles.is_empty(), "no examples/*/build.toml");
    for path in bakefiles {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let value: Value = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(findings(&schema, &value), [""; 0], "{}", path.display());
    }
}

#[test]
fn a_wrong_bakefile_does_not_match_the_schema() {
    let cases = [
        (json!({"target": {"a": {"tag": ["x"]}}}), "/target/a: unknown key `tag`"),
        (json!({"target": {"a": {"tags": {"x": "y"}}}}), "/target/a/tags: matches none of the alternatives"),
        (json!({"target": {"a": {"context": ["."]}}}), "/target/a/context: has the wrong type"),
        (json!({"group": {"default": {}}}), "/group/default: lacks `targets`"),
        (json!({"variable": {"TAG": {"defualt": "x"}}}), "/variable/TAG: unknown key `defualt`"),
    ];
    for (value, expected) in cases {
        assert_eq!(findings(&schema(), &value), [expected], "{value}");
    }
    assert_eq!(findings(&schema(), &json!({"release": "1.0", "target": {"a": {"tags": ["${release}"]}}})), [""; 0]);
}

#[test]
fn every_property_of_the_schema_is_described() {
    let schema = schema();
    for definition in ["target", "group", "variable", "function", "validation"] {
        let properties = schema["$defs"][definition]["properties"].as_object().expect("a block has properties");
        for (name, property) in properties {
            assert!(property["description"].is_string(), "{definition}.{name} has no description");
        }
    }
}

fn schema() -> Value {
    let text = fs::read_to_string(root().join("schemas/build.schema.json")).expect("the schema is in the repository");
    serde_json::from_str(&text).expect("the schema is JSON")
}

fn toml_bakefiles() -> Vec<PathBuf> {
    let examples = fs::read_dir(root().join("examples")).expect("examples can be listed");
    let mut paths: Vec<PathBuf> = examples
        .map(|entry| entry.expect("examples can be listed").path().join("build.toml"))
        .filter(|path| path.exists())
        .collect();
    paths.sort();
    paths
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns what is wrong with `value`, as `/path: what`.
fn findings(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    judge(schema, schema, value, "", &mut found);
    found
}

fn judge(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let keywords = schema.as_object().expect("a schema is an object");
    for (keyword, rule) in keywords {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "properties" => {}
            "$ref" => {
                let path = rule.as_str().and_then(|path| path.strip_prefix('#')).expect("a reference is local");
                let target = root.pointer(path).unwrap_or_else(|| panic!("{path} is not in the schema"));
                judge(root, target, value, at, found);
            }
            "anyOf" => {
                let alternatives = rule.as_array().expect("anyOf is a list");
                let mut attempts: Vec<Vec<String>> = alternatives
                    .iter()
                    .map(|alternative| {
                        let mut attempt = Vec::new();
                        judge(root, alternative, value, at, &mut attempt);
                        attempt
                    })
                    .collect();
                attempts.sort_by_key(Vec::len);
                if !attempts[0].is_empty() {
                    found.push(format!("{at}: matches none of the alternatives"));
                }
            }
            "type" if !has_type(rule, value) => found.push(format!("{at}: has the wrong type")),
            "type" => {}
            "required" => {
                let names = rule.as_array().into_iter().flatten().filter_map(Value::as_str);
                found
                    .extend(names.filter(|name| value.get(name).is_none()).map(|name| format!("{at}: lacks `{name}`")));
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    judge(root, rule, item, &format!("{at}/{index}"), found);
                }
            }
            "additionalProperties" => {}
            other => panic!("the schema uses `{other}`, which this test does not know"),
        }
    }
    judge_members(root, keywords, value, at, found);
}

fn judge_members(root: &Value, schema: &Map<String, Value>, value: &Value, at: &str, found: &mut Vec<String>) {
    for (key, member) in value.as_object().into_iter().flatten() {
        let own = schema.get("properties").and_then(|properties| properties.get(key));
        match own.or_else(|| schema.get("additionalProperties")) {
            Some(Value::Bool(false)) => found.push(format!("{at}: unknown key `{key}`")),
            Some(rule) => judge(root, rule, member, &format!("{at}/{key}"), found),
            None => {}
        }
    }
}

fn has_type(rule: &Value, value: &Value) -> bool {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    rule == name || rule.as_array().is_some_and(|names| names.iter().any(|allowed| allowed == name))
}
