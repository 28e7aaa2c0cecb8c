//! The JSON Schema of bakefiles in TOML and JSON, made from the language's vocabulary.
//!
//! Draft 7: the latest that the editors' TOML and JSON servers all read. There, what stands beside `$ref` does not count,
//! so descriptions stand beside `allOf`. A template (`"${…}"`) is allowed wherever its value is.

use serde_json::{Map, Value, json};

use super::attributes::{Kind, RESOURCES};
use super::vocabulary::{Attribute, BLOCKS, Shape, TOP, VALIDATION, record_fields};

/// Returns the schema, as it is in `schemas/build.schema.json`.
pub fn schema() -> String {
    let mut properties: Map<String, Value> =
        TOP.iter().map(|attribute| (attribute.name.to_owned(), property(attribute))).collect();
    let mut definitions = shapes();
    for block in &BLOCKS {
        let kind = block.kind;
        let nested =
            if kind == "variable" { Some(("validation", "Conditions that the value must meet.")) } else { None };
        definitions.insert(kind.to_owned(), body(block.attributes, nested));
        let labelled = json!({ "type": "object", "additionalProperties": one_or_many(&reference(kind)) });
        let Value::Object(mut property) = one_or_many(&labelled) else { continue };
        property.insert("description".to_owned(), block.description.into());
        properties.insert(kind.to_owned(), Value::Object(property));
    }
    definitions.insert("validation".to_owned(), body(VALIDATION, None));
    properties.insert("//".to_owned(), json!({ "description": "A comment." }));
    let document = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "bakefile",
        "description": "A bakefile in TOML or JSON. A string may hold `${…}` expressions wherever their value may stand.",
        "type": "object",
        "properties": properties,
        "additionalProperties": { "description": "A global value, for use in expressions." },
        "definitions": definitions,
    });
    format!("{document:#}\n")
}

fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{definition}") })
}

/// HCL's JSON form has a block, or an array of them.
fn one_or_many(block: &Value) -> Value {
    // No `anyOf`: a mistake in the block should be reported where it is, not as "none of these".
    json!({
        "if": { "type": "array" },
        "then": { "type": "array", "items": block },
        "else": block,
    })
}

fn body(attributes: &[Attribute], nested: Option<(&str, &str)>) -> Value {
    let mut properties: Map<String, Value> =
        attributes.iter().map(|attribute| (attribute.name.to_owned(), property(attribute))).collect();
    if let Some((kind, description)) = nested
        && let Value::Object(mut property) = one_or_many(&reference(kind))
    {
        property.insert("description".to_owned(), description.into());
        properties.insert(kind.to_owned(), Value::Object(property));
    }
    properties.insert("//".to_owned(), json!({ "description": "A comment." }));
    let required: Vec<&str> = attributes.iter().filter(|a| a.is_required).map(|a| a.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn property(attribute: &Attribute) -> Value {
    let mut all = vec![match attribute.shape {
        Shape::Any => json!({}),
        Shape::Matrix => reference("matrix"),
        Shape::Word => json!({ "type": "string" }),
        Shape::Words => json!({ "type": "array", "items": { "type": "string" } }),
        Shape::Value(Kind::Text) => reference("text"),
        Shape::Value(Kind::Flag) => reference("flag"),
        Shape::Value(Kind::Texts) => reference("texts"),
        Shape::Value(Kind::TextMap) => reference("textMap"),
        Shape::Value(Kind::TextMaps) => reference("textMaps"),
        Shape::Value(Kind::Resources) => reference("resources"),
        Shape::Value(Kind::Specs) => records(attribute.name),
    }];
    if !attribute.values.is_empty() {
        let offered = json!({ "anyOf": [{ "enum": attribute.values }, {}] });
        let is_list = attribute.shape == Shape::Value(Kind::Texts);
        all.push(if is_list { json!({ "items": offered }) } else { offered });
    }
    json!({ "description": attribute.description, "allOf": all })
}

/// A list, a template that gives one, or null, which means that nothing is set.
fn list_of(item: Value) -> Value {
    json!({
        "type": ["array", "string", "null"],
        "items": item,
        "pattern": TEMPLATE,
    })
}

/// A map, a template that gives one, or null.
fn map_with(mut keywords: Map<String, Value>) -> Value {
    keywords.insert("type".to_owned(), json!(["object", "string", "null"]));
    keywords.insert("pattern".to_owned(), TEMPLATE.into());
    Value::Object(keywords)
}

/// What begins an interpolation or a directive.
const TEMPLATE: &str = "[$%]\\{";

fn records(attribute: &str) -> Value {
    let fields = record_fields(attribute);
    let mut properties = Map::new();
    for name in fields.names {
        let is_list = *name == "paths";
        let shape = match *name {
            "type" => json!({ "type": "string", "anyOf": [{ "enum": fields.types }, {}] }),
            _ if is_list => json!({ "type": ["array", "string", "null"] }),
            _ => reference("text"),
        };
        properties.insert((*name).to_owned(), shape);
    }
    list_of(json!({
        "type": ["string", "object"],
        "properties": properties,
        "additionalProperties": !fields.is_closed,
    }))
}

/// The shapes that many attributes share.
fn shapes() -> Map<String, Value> {
    let keywords = |value: Value| if let Value::Object(map) = value { map } else { Map::new() };
    let limits: Map<String, Value> = RESOURCES.iter().map(|name| ((*name).to_owned(), reference("text"))).collect();
    let shapes = json!({
        "text": {
            "description": "A string; numbers and booleans are converted.",
            "type": ["string", "number", "boolean", "null"],
        },
        "flag": {
            "description": "`true`, `false` or an expression.",
            "type": ["boolean", "string", "null"],
            "pattern": format!("{TEMPLATE}|^(true|false|1|0)$"),
        },
        "texts": list_of(json!({ "type": ["string", "number", "boolean"] })),
        "textMap": map_with(keywords(json!({ "additionalProperties": reference("text") }))),
        "textMaps": map_with(keywords(json!({ "additionalProperties": reference("textMap") }))),
        "resources": map_with(keywords(json!({ "properties": limits, "additionalProperties": false }))),
        "matrix": map_with(keywords(json!({
            "additionalProperties": { "type": ["array", "object", "string"], "pattern": TEMPLATE },
        }))),
    });
    keywords(shapes)
}
