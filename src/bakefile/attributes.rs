//! The attributes of a target: their names, types, and how a value becomes a part of [`Target`].

use std::collections::BTreeMap;

use super::model::{Nullables, Spanned, Target};
use super::spec::{AttestSpec, CacheSpec, OutputSpec, PolicySpec, SecretSpec, SshSpec, Written};
use super::vocabulary::{Attribute, Shape, TARGET};
use crate::diagnostic::{Diagnostic, Span};
use crate::lang::ast::{Expr, ExprKind};
use crate::lang::{EvalError, Field, Type, Value, convert, primitive_text};

/// What an attribute holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Flag,
    Texts,
    TextMap,
    /// Maps of texts by name.
    TextMaps,
    /// Records as CSV or objects.
    Specs,
    Resources,
}

/// Limits that `resources` knows.
pub(super) const RESOURCES: [&str; 7] =
    ["memory", "memory-swap", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems"];

/// Returns the attribute called `name`, with a name that lives as long as the program; `matrix` and `name`, which shape
/// the block itself, are none.
pub(super) fn find(name: &str) -> Option<(&'static str, Kind)> {
    let index = TARGET.binary_search_by(|attribute| attribute.name.cmp(name)).ok()?;
    evaluated(&TARGET[index])
}

/// Returns all attributes that `find` finds, sorted by name.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Kind)> {
    TARGET.iter().filter_map(evaluated)
}

fn evaluated(attribute: &Attribute) -> Option<(&'static str, Kind)> {
    match (attribute.name, attribute.shape) {
        ("name", _) => None,
        (name, Shape::Value(kind)) => Some((name, kind)),
        _ => None,
    }
}

/// Converts an evaluated value to the attribute's type.
pub(super) fn converted(kind: Kind, value: &Value, expr: &Expr) -> Result<Value, EvalError> {
    let wanted = match kind {
        Kind::Text => Type::String,
        Kind::Flag => Type::Bool,
        Kind::Texts => Type::List(Box::new(Type::String)),
        Kind::TextMap => Type::Map(Box::new(Type::String)),
        Kind::TextMaps => Type::Map(Box::new(Type::Map(Box::new(Type::String)))),
        Kind::Resources => {
            let field = |name: &&str| ((*name).to_owned(), Field { kind: Type::String, is_optional: true });
            Type::Object(RESOURCES.iter().map(field).collect())
        }
        Kind::Specs => return specs(value, expr),
    };
    let converted = convert(value, &wanted).map_err(|why| not_converted(kind, value, expr, why))?;
    if kind == Kind::Texts
        && let Some(index) = converted.as_items().and_then(|items| items.iter().position(Value::is_null))
    {
        return Err(error(
            item_span(expr, index, converted.as_items().map_or(0, <[Value]>::len)),
            "null is not allowed in this list",
        ));
    }
    Ok(converted)
}

/// Says why a value is no attribute's, at the element that is to blame where the expression shows it.
fn not_converted(kind: Kind, value: &Value, expr: &Expr, why: String) -> EvalError {
    let is_text = |value: &Value| value.is_null() || primitive_text(value).is_some();
    let place = match (kind, value.as_items(), value.as_entries()) {
        (Kind::Texts, Some(items), _) => {
            items.iter().position(|item| !is_text(item)).map(|index| item_span(expr, index, items.len()))
        }
        (Kind::TextMap, _, Some(entries)) => {
            entries.iter().find(|(_, value)| !is_text(value)).map(|(key, _)| entry_span(expr, key))
        }
        _ => None,
    };
    let finding = Diagnostic::error(place.unwrap_or(expr.span), why);
    Box::new(match (kind, value) {
        (Kind::Texts, Value::String(_)) => finding.hint("put it in brackets: `[…]`"),
        (Kind::TextMap, Value::List(_) | Value::Tuple(_)) => finding.hint("write `{ NAME = VALUE }`"),
        (Kind::TextMaps, _) => finding.hint("write `{ \"PLATFORM\" = { NAME = VALUE } }`"),
        _ => finding,
    })
}

fn error(span: Span, message: impl Into<String>) -> EvalError {
    Box::new(Diagnostic::error(span, message))
}

/// Checks a list of texts and objects; the values in an object become texts.
fn specs(value: &Value, expr: &Expr) -> Result<Value, EvalError> {
    if value.is_null() {
        return Ok(Value::NULL);
    }
    let items = value.as_items().ok_or_else(|| {
        let finding =
            Diagnostic::error(expr.span, format!("list of strings or objects required, but have {}", value.type_of()));
        Box::new(finding.hint("put it in brackets: `[…]`"))
    })?;
    let mut checked = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let span = item_span(expr, i, items.len());
        match item {
            Value::String(text) if text.is_empty() => {}
            Value::String(_) => checked.push(item.clone()),
            Value::Null(_) => return Err(error(span, "null is not allowed in this list")),
            _ => {
                let entries = item
                    .as_entries()
                    .ok_or_else(|| error(span, format!("string or object required, but have {}", item.type_of())))?;
                let mut texts = BTreeMap::new();
                for (key, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
                    let paths = || {
                        let items = value.as_items()?;
                        items.iter().map(primitive_text).collect::<Option<Vec<_>>>().map(|texts| texts.join(","))
                    };
                    let text = primitive_text(value).or_else(paths);
                    let text = text.ok_or_else(|| {
                        error(span, format!("`{key}`: string required, but have {}", value.type_of()))
                    })?;
                    texts.insert(key.clone(), Value::string(text));
                }
                checked.push(Value::map(texts));
            }
        }
    }
    Ok(Value::tuple(checked))
}

/// Returns the place of element `index` of `n`, or of the whole expression if it is no plain list.
pub(super) fn item_span(expr: &Expr, index: usize, n: usize) -> Span {
    match &expr.kind {
        ExprKind::Tuple(items) if items.len() == n => items.get(index).map_or(expr.span, |item| item.span),
        ExprKind::Parens(inner) => item_span(inner, index, n),
        _ => expr.span,
    }
}

fn entry_span(expr: &Expr, key: &str) -> Span {
    match &expr.kind {
        ExprKind::Object(entries) => {
            let found = entries.iter().find(|(name, _)| matches!(&name.kind, ExprKind::String(text) if text == key));
            found.map_or(expr.span, |(_, value)| value.span)
        }
        ExprKind::Parens(inner) => entry_span(inner, key),
        _ => expr.span,
    }
}

/// Returns the places of all entries that an object shows; none for what is no plain object.
fn entry_spans(expr: &Expr) -> BTreeMap<&str, Span> {
    match &expr.kind {
        ExprKind::Object(entries) => {
            let mut spans = BTreeMap::new();
            for (name, value) in entries {
                if let ExprKind::String(text) = &name.kind {
                    spans.entry(text.as_str()).or_insert(value.span);
                }
            }
            spans
        }
        ExprKind::Parens(inner) => entry_spans(inner),
        _ => BTreeMap::new(),
    }
}

/// Puts a converted value into the target. Null means: not set.
pub(super) fn assign(target: &mut Target, name: &'static str, value: &Value, expr: &Expr) -> Result<(), EvalError> {
    if value.is_null() {
        return Ok(());
    }
    target.is_set.insert(name);
    match value {
        Value::String(text) => assign_text(target, name, Spanned::new(text.to_string(), expr.span)),
        Value::Bool(flag) => match name {
            "pull" => target.pull = Some(*flag),
            _ => target.no_cache = Some(*flag),
        },
        Value::List(items) => {
            let text = |(i, item): (usize, &Value)| {
                item.as_str().map(|text| Spanned::new(text.to_owned(), item_span(expr, i, items.len())))
            };
            let texts = items.iter().enumerate().filter_map(text).filter(|t| !t.value.is_empty()).collect();
            assign_texts(target, name, texts);
        }
        Value::Tuple(items) => {
            for (i, item) in items.iter().enumerate() {
                let span = item_span(expr, i, items.len());
                add_spec(target, name, &written(item), span).map_err(|why| error(span, why))?;
            }
        }
        Value::Map(entries) | Value::Object(entries) => assign_map(target, name, entries, expr),
        _ => {}
    }
    Ok(())
}

fn assign_text(target: &mut Target, name: &str, text: Spanned<String>) {
    match name {
        "call" => target.call = Some(text),
        "context" => target.context = Some(text),
        "description" => target.description = Some(text.value),
        "dockerfile" => target.dockerfile = Some(text),
        "dockerfile-inline" => target.dockerfile_inline = Some(text),
        "network" => target.network = Some(text),
        "shm-size" => target.shm_size = Some(text),
        _ => target.target = Some(text),
    }
}

fn assign_texts(target: &mut Target, name: &str, texts: Vec<Spanned<String>>) {
    match name {
        "annotations" => target.annotations = texts,
        "entitlements" => target.entitlements = texts,
        "inherits" => target.inherits = texts,
        "no-cache-filter" => target.no_cache_filter = texts,
        "platforms" => target.platforms = texts,
        "tags" => target.tags = texts,
        _ => target.ulimits = texts,
    }
}

fn assign_map(target: &mut Target, name: &str, entries: &BTreeMap<String, Value>, expr: &Expr) {
    let places = entry_spans(expr);
    let span = |key: &str| places.get(key).copied().unwrap_or(expr.span);
    let nullable =
        entries.iter().map(|(key, value)| (key.clone(), Spanned::new(value.as_str().map(str::to_owned), span(key))));
    let set = entries
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), Spanned::new(value.as_str()?.to_owned(), span(key)))));
    match name {
        "args" => target.args = nullable.collect(),
        "labels" => target.labels = nullable.collect(),
        "extra-hosts" => target.extra_hosts = nullable.collect(),
        "resources" => target.resources = set.collect(),
        "platform-args" => target.platform_args = nested(entries, expr),
        _ => target.contexts = set.collect(),
    }
}

/// Returns maps of texts by name, with their places.
fn nested(entries: &BTreeMap<String, Value>, expr: &Expr) -> BTreeMap<String, Spanned<Nullables>> {
    let places = entry_spans(expr);
    let map = |(key, value): (&String, &Value)| {
        let span = places.get(key.as_str()).copied().unwrap_or(expr.span);
        let texts = value.as_entries()?.iter();
        let texts = texts.map(|(name, text)| (name.clone(), Spanned::new(text.as_str().map(str::to_owned), span)));
        Some((key.clone(), Spanned::new(texts.collect(), span)))
    };
    entries.iter().filter_map(map).collect()
}

fn written(value: &Value) -> Written {
    match value.as_entries() {
        Some(entries) => {
            let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
            Written::Object(entries.iter().filter_map(text).collect())
        }
        None => Written::Text(value.as_str().unwrap_or("").to_owned()),
    }
}

/// Adds one record to the list attribute `name`.
pub(super) fn add_spec(target: &mut Target, name: &str, written: &Written, span: Span) -> Result<(), String> {
    match name {
        "attest" => target.attest.push(AttestSpec::parse(written, span)?),
        "cache-from" => target.cache_from.extend(CacheSpec::parse(written, span)?),
        "cache-to" => target.cache_to.extend(CacheSpec::parse(written, span)?),
        "output" => target.output.push(OutputSpec::parse(written, span)?),
        "policy" => target.policy.push(PolicySpec::parse(written, span)?),
        "secret" => target.secret.push(SecretSpec::parse(written, span)?),
        _ => target.ssh.push(SshSpec::parse(written, span)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_by_name() {
        assert_eq!(find("tags"), Some(("tags", Kind::Texts)));
        assert_eq!((find("tag"), find("name"), find("matrix")), (None, None, None));
    }
}
