//! What stands in a value: an attribute by its name, an element by its index or key.

use std::collections::BTreeMap;

use super::convert::primitive_text;
use super::eval::{EvalError, error};
use super::operand::number;
use super::value::Value;
use crate::diagnostic::{Diagnostic, Span};

/// The names that may have been meant. Of a large map only some: a missing name may be looked up many times.
fn names(entries: &BTreeMap<String, Value>) -> impl Iterator<Item = &str> {
    entries.keys().map(String::as_str).take(1_000)
}

/// Returns `value.name`.
pub(super) fn attribute(value: &Value, name: &str, span: Span) -> Result<Value, EvalError> {
    match value {
        Value::Map(entries) | Value::Object(entries) => entries.get(name).cloned().ok_or_else(|| {
            let finding = Diagnostic::error(span, format!("no attribute \"{name}\" in this {}", value.type_of()));
            Box::new(finding.suggest(name, names(entries)))
        }),
        Value::Null(_) => Err(error(span, format!("this is null and has no attribute \"{name}\""))),
        _ => Err(error(span, format!("a {} has no attributes", value.type_of()))),
    }
}

/// Returns `value[key]`.
pub(super) fn element(value: &Value, key: &Value, span: Span) -> Result<Value, EvalError> {
    match value {
        Value::List(items) | Value::Tuple(items) => {
            let number = number(key, span)?;
            let index = number.to_i64().and_then(|i| usize::try_from(i).ok());
            index.and_then(|i| items.get(i)).cloned().ok_or_else(|| {
                error(span, format!("no element {number} in this {} of {}", short_type(value), items.len()))
            })
        }
        Value::Map(entries) | Value::Object(entries) => {
            let name = primitive_text(key).ok_or_else(|| error(span, "the key is not a string"))?;
            entries.get(&name).cloned().ok_or_else(|| {
                let finding = Diagnostic::error(span, format!("no element \"{name}\" in this {}", short_type(value)));
                Box::new(finding.suggest(&name, names(entries)))
            })
        }
        Value::Null(_) => Err(error(span, "this is null and has no elements")),
        _ => Err(error(span, format!("a {} has no elements", value.type_of()))),
    }
}

fn short_type(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "list",
        Value::Map(_) => "map",
        Value::Tuple(_) => "tuple",
        Value::Set(_) => "set",
        _ => "object",
    }
}
