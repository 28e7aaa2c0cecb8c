//! Variables: declared type, default, and what the environment and `--var` say.

use std::collections::BTreeMap;

use super::program::Program;
use super::spec::parse_bool;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::lang::ast::{Block, Expr, ExprKind};
use crate::lang::text::csv_records;
use crate::lang::{EvalContext, EvalError, Number, Type, Value, convert, parse_expr, type_from_expr};

fn error(span: Span, message: impl Into<String>) -> EvalError {
    Box::new(Diagnostic::error(span, message))
}

/// Returns the declared type; `None` where there is none.
pub(super) fn declared_type(block: &Block) -> Result<Option<Type>, EvalError> {
    let Some(attribute) = block.body.attribute("type") else { return Ok(None) };
    let kind = match &attribute.value {
        // JSON and TOML hold the type in a string.
        Expr { kind: ExprKind::String(text), span } => {
            type_from_expr(&parse_expr(span.file, text, span.start as usize + 1)?)?
        }
        expr => type_from_expr(expr)?,
    };
    Ok(Some(kind))
}

/// Computes a variable: `--var` beats the environment beats the default.
pub(super) fn value(program: &Program<'_>, name: &str, block: &Block) -> Result<Value, EvalError> {
    let span = block.labels.first().map_or(block.kind.span, |label| label.span);
    let kind = declared_type(block)?;
    let default = match block.body.attribute("default") {
        Some(attribute) => {
            let value = default_value(program, &attribute.value)?;
            Some(match &kind {
                Some(kind) => convert(&value, kind).map_err(|why| {
                    error(attribute.value.span, format!("the default of \"{name}\" is not its type: {why}"))
                })?,
                None => value,
            })
        }
        None => None,
    };
    match (outside(program, name, kind.is_some()), kind) {
        (Some(Outside::Json(text)), Some(kind)) => from_json(&text, &kind, name).map_err(|why| error(span, why)),
        (Some(Outside::Text(text)), Some(kind)) => from_text(&text, &kind, name).map_err(|why| error(span, why)),
        (Some(Outside::Text(text) | Outside::Json(text)), None) => {
            like_default(&text, default.as_ref(), name).map_err(|why| error(span, why))
        }
        (None, Some(kind)) => Ok(default.unwrap_or(Value::Null(kind))),
        (None, None) => Ok(default.unwrap_or_else(|| Value::string(""))),
    }
}

/// A default may use variables, functions and global attributes, but no target: targets come later.
fn default_value(program: &Program<'_>, expr: &Expr) -> Result<Value, EvalError> {
    EvalContext::new(program).eval(expr)
}

/// What was said outside the bakefile.
enum Outside {
    Text(String),
    /// From `NAME_JSON`.
    Json(String),
}

fn outside(program: &Program<'_>, name: &str, is_typed: bool) -> Option<Outside> {
    let options = program.options;
    let json_name = format!("{name}_JSON");
    let var = |name: &str| options.vars.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let is_off = (options.env)("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP").and_then(|text| parse_bool(&text)) == Some(true);
    let env = |name: &str| if is_off { None } else { (options.env)(name) };
    let json = || {
        let is_variable = program.variables.contains_key(json_name.as_str());
        if is_variable { None } else { var(&json_name).or_else(|| env(&json_name)).map(Outside::Json) }
    };
    let text = || env(name).map(Outside::Text);
    match (var(name), is_typed) {
        (Some(value), _) => Some(Outside::Text(value)),
        (None, true) => json().or_else(text),
        (None, false) => text().or_else(json),
    }
}

/// Reads text as the type of the default.
fn like_default(text: &str, default: Option<&Value>, name: &str) -> Result<Value, String> {
    match default {
        None | Some(Value::String(_) | Value::Null(_)) => Ok(Value::string(text)),
        Some(Value::Bool(_)) => from_text(text, &Type::Bool, name),
        Some(Value::Number(_)) => from_text(text, &Type::Number, name),
        Some(other) => Err(format!(
            "\"{name}\" holds a value of type {} and declares no `type`, so it cannot be set from outside",
            other.type_of()
        )),
    }
}

fn from_text(text: &str, kind: &Type, name: &str) -> Result<Value, String> {
    let wrong = |what: &str| format!("\"{name}\" is a {what}, but it is set to \"{text}\"");
    match kind {
        Type::String => Ok(Value::string(text)),
        Type::Bool => parse_bool(text).map(Value::Bool).ok_or_else(|| wrong("bool")),
        // The peer reads a machine float here, which shows in long numbers.
        Type::Number => {
            let number = Number::parse(text).ok_or_else(|| wrong("number"))?;
            Ok(Value::Number(number.to_machine()))
        }
        Type::List(element) | Type::Set(element) if is_primitive(element) => {
            let items: Result<Vec<Value>, String> =
                fields(text, name)?.iter().map(|f| from_text(f, element, name)).collect();
            Ok(if matches!(kind, Type::Set(_)) { Value::set(items?) } else { Value::list(items?) })
        }
        Type::Tuple(kinds) if kinds.iter().all(is_primitive) => {
            let fields = fields(text, name)?;
            if fields.len() != kinds.len() {
                return Err(format!("\"{name}\" has {} elements, but it is set to {}", kinds.len(), fields.len()));
            }
            fields
                .iter()
                .zip(kinds)
                .map(|(field, kind)| from_text(field, kind, name))
                .collect::<Result<_, _>>()
                .map(Value::tuple)
        }
        Type::Map(element) if is_primitive(element) => {
            let mut entries = BTreeMap::new();
            for field in fields(text, name)? {
                let (key, value) =
                    field.split_once(':').ok_or_else(|| format!("\"{name}\" needs KEY:VALUE, but has \"{field}\""))?;
                entries.insert(key.to_owned(), from_text(value, element, name)?);
            }
            Ok(Value::map(entries))
        }
        _ => Err(format!("\"{name}\" has the type {kind}, which cannot be set from text; set {name}_JSON")),
    }
}

fn is_primitive(kind: &Type) -> bool {
    matches!(kind, Type::String | Type::Number | Type::Bool)
}

fn fields(text: &str, name: &str) -> Result<Vec<String>, String> {
    let mut records = csv_records(text).map_err(|why| format!("\"{name}\" is not comma-separated text: {why}"))?;
    if records.len() != 1 {
        return Err(format!("\"{name}\" is a list, but it is set to \"{text}\"; leave it unset for its default"));
    }
    Ok(records.remove(0))
}

fn from_json(text: &str, kind: &Type, name: &str) -> Result<Value, String> {
    let json: serde_json::Value = serde_json::from_str(text).map_err(|why| format!("{name}_JSON is no JSON: {why}"))?;
    convert(&crate::lang::text::from_json(&json), kind).map_err(|why| format!("{name}_JSON: {why}"))
}

/// Checks the `validation` blocks of all variables; every variable has its value by now.
pub(super) fn validate(program: &Program<'_>, findings: &mut Diagnostics) {
    for (name, variable) in &program.variables {
        let Some(block) = variable.block else { continue };
        for validation in block.body.blocks.iter().filter(|block| block.kind.text == "validation") {
            if let Err(why) = check(program, name, validation) {
                findings.push(*why);
            }
        }
    }
}

fn check(program: &Program<'_>, name: &str, validation: &Block) -> Result<(), EvalError> {
    let context = EvalContext::new(program);
    let condition = validation.body.attribute("condition");
    let condition = condition.ok_or_else(|| error(validation.kind.span, "this validation has no `condition`"))?;
    let span = condition.value.span;
    match convert(&context.eval(&condition.value)?, &Type::Bool) {
        Ok(Value::Bool(true)) => Ok(()),
        Ok(Value::Bool(false)) => {
            let message = match validation.body.attribute("error_message") {
                Some(attribute) => context.eval(&attribute.value)?.as_str().unwrap_or("").to_owned(),
                None => format!("\"{name}\" does not meet this condition"),
            };
            Err(error(span, format!("validation of \"{name}\" failed: {message}")))
        }
        Ok(_) => Err(error(span, "this condition is null")),
        Err(_) => Err(error(span, "this condition is not true or false")),
    }
}
