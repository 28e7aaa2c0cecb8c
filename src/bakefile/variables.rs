//! Variables: declared type, default, and what the environment and `--var` say.

use std::collections::BTreeMap;

use super::program::Program;
use super::spec::parse_bool;
use crate::diagnostic::{Diagnostic, Diagnostics, SourceMap, Span};
use crate::lang::ast::{Block, Expr, ExprKind};
use crate::lang::text::csv_records;
use crate::lang::{EvalContext, EvalError, Number, Scope, Type, Value, convert, parse_expr, type_from_expr};

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
                Some(kind) => {
                    let converted = convert(&value, kind).map_err(|why| {
                        error(attribute.value.span, format!("the default of \"{name}\" is not its type: {why}"))
                    })?;
                    program.made(converted.size(), attribute.value.span)?;
                    converted
                }
                None => value,
            })
        }
        None => None,
    };
    let Some(outside) = outside(program, name, kind.is_some()) else {
        return Ok(match kind {
            Some(kind) => default.unwrap_or(Value::Null(kind)),
            None => default.unwrap_or_else(|| Value::string("")),
        });
    };
    let value = match (&kind, outside.is_json) {
        (Some(kind), true) => from_json(&outside.text, kind, name),
        (Some(kind), false) => from_text(&outside.text, kind, name),
        (None, _) => like_default(&outside.text, default.as_ref(), name),
    };
    value.map_err(|why| match outside.origin {
        Origin::Flag(place) => Box::new(Diagnostic::error(place, why).label(span, "it is declared here")),
        Origin::Environment(variable) => {
            Box::new(Diagnostic::error(span, why).note(format!("the value comes from the environment: {variable}")))
        }
    })
}

/// A default may use variables, functions and global attributes, but no target: targets come later.
fn default_value(program: &Program<'_>, expr: &Expr) -> Result<Value, EvalError> {
    EvalContext::new(program).eval(expr)
}

/// What was said outside the bakefile.
struct Outside {
    text: String,
    /// It is `NAME_JSON`'s.
    is_json: bool,
    origin: Origin,
}

/// Who said it.
enum Origin {
    /// A `--var`; its value's place.
    Flag(Span),
    /// The environment variable of this name.
    Environment(String),
}

/// Adds each `--var` to the texts that messages show; returns their places.
pub(super) fn place(vars: &[(String, String)], sources: &mut SourceMap) -> Vec<Span> {
    let place = |(name, value): &(String, String)| {
        let text = format!("{name}={value}");
        Span::new(sources.add("--var", text.as_str()), 0, text.len())
    };
    vars.iter().map(place).collect()
}

/// Returns the names that `--var` gives values to, with their places.
pub(super) fn var_names<'a>(program: &Program<'a>) -> Vec<(&'a str, Span)> {
    let name = |(index, (name, _)): (usize, &'a (String, String))| {
        let whole = program.var_places.get(index)?;
        Some((name.as_str(), Span::new(whole.file, 0, name.len())))
    };
    program.options.vars.iter().enumerate().filter_map(name).collect()
}

fn outside(program: &Program<'_>, name: &str, is_typed: bool) -> Option<Outside> {
    let options = program.options;
    let json_name = format!("{name}_JSON");
    let var = |wanted: &str| {
        let index = options.vars.iter().rposition(|(name, _)| name == wanted)?;
        let place = program.var_places.get(index)?;
        let origin = Origin::Flag(Span { start: place.end.min(wanted.len() as u32 + 1), ..*place });
        Some(Outside { text: options.vars[index].1.clone(), is_json: false, origin })
    };
    let is_off = (options.env)("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP").and_then(|text| parse_bool(&text)) == Some(true);
    let env = |name: &str| {
        let text = if is_off { None } else { (options.env)(name) };
        Some(Outside { text: text?, is_json: false, origin: Origin::Environment(name.to_owned()) })
    };
    let json = || {
        let is_variable = program.variables.contains_key(json_name.as_str());
        let found = if is_variable { None } else { var(&json_name).or_else(|| env(&json_name)) };
        found.map(|outside| Outside { is_json: true, ..outside })
    };
    var(name).or_else(|| if is_typed { json().or_else(|| env(name)) } else { env(name).or_else(json) })
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
