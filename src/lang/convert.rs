//! Conversions between types and the common type of several values, by cty's rules.

use std::collections::BTreeMap;

use super::limits::{ELEMENT, MAX_VALUE, value_fits};
use super::number::Number;
use super::value::{Field, Type, Value};

/// Converts a value.
///
/// # Errors
/// A phrase that names the wanted type: "list of string required, but have string". The nulls for what is absent would be
/// larger than a value may be.
pub fn convert(value: &Value, wanted: &Type) -> Result<Value, String> {
    if has_optional(wanted) {
        value_fits(filled_size(value, wanted, value.size()))?;
    }
    converted(value, wanted)
}

/// Says whether a conversion to it may add something that the value does not have.
fn has_optional(kind: &Type) -> bool {
    match kind {
        Type::Dynamic | Type::Bool | Type::Number | Type::String => false,
        Type::List(element) | Type::Set(element) | Type::Map(element) => has_optional(element),
        Type::Tuple(items) => items.iter().any(has_optional),
        Type::Object(fields) => fields.values().any(|field| field.is_optional || has_optional(&field.kind)),
    }
}

/// Returns `size` and what nulls for absent attributes add to it; a few lines of types and elements can ask for any amount.
/// `None` as soon as it is more than a value may be.
fn filled_size(value: &Value, wanted: &Type, size: usize) -> Option<usize> {
    let (items, entries) = (value.as_items().unwrap_or(&[]), value.as_entries());
    let size = match wanted {
        _ if value.is_null() => size.checked_add(wanted.size())?,
        Type::List(element) | Type::Set(element) => {
            items.iter().try_fold(size, |size, item| filled_size(item, element, size))?
        }
        Type::Tuple(kinds) => {
            items.iter().zip(kinds).try_fold(size, |size, (item, kind)| filled_size(item, kind, size))?
        }
        Type::Map(element) => {
            let mut items = entries.into_iter().flat_map(BTreeMap::values);
            items.try_fold(size, |size, item| filled_size(item, element, size))?
        }
        Type::Object(fields) => {
            let added = |name: &str, field: &Field| 2 * ELEMENT + name.len() + field.kind.size();
            fields.iter().try_fold(size, |size, (name, field)| match entries.and_then(|entries| entries.get(name)) {
                Some(item) => filled_size(item, &field.kind, size),
                None => size.checked_add(added(name, field)).filter(|size| *size <= MAX_VALUE),
            })?
        }
        _ => size,
    };
    Some(size).filter(|size| *size <= MAX_VALUE)
}

fn converted(value: &Value, wanted: &Type) -> Result<Value, String> {
    if let Value::Null(kind) = value {
        return match converts(kind, wanted, Safety::AnyValue) {
            true => Ok(Value::Null(wanted.clone())),
            false => Err(mismatch(wanted, value)),
        };
    }
    match (wanted, value) {
        (Type::Dynamic, _) => Ok(value.clone()),
        (Type::Bool, Value::Bool(_)) | (Type::Number, Value::Number(_)) | (Type::String, Value::String(_)) => {
            Ok(value.clone())
        }
        (Type::String, _) => primitive_text(value).map(Value::string).ok_or_else(|| mismatch(wanted, value)),
        (Type::Number, Value::String(text)) => {
            Number::parse(text).map(Value::Number).ok_or_else(|| "a number is required".into())
        }
        (Type::Bool, Value::String(text)) => match &**text {
            "true" | "1" => Ok(Value::Bool(true)),
            "false" | "0" => Ok(Value::Bool(false)),
            "True" | "TRUE" | "False" | "FALSE" => {
                Err(format!("a bool is required; to convert from string, use lowercase \"{}\"", text.to_lowercase()))
            }
            _ => Err("a bool is required".into()),
        },
        (Type::List(element), _) => elements(value, element, wanted).map(Value::list),
        (Type::Set(element), _) => elements(value, element, wanted).map(Value::set),
        (Type::Map(element), _) => entries(value, element, wanted).map(Value::map),
        (Type::Tuple(types), _) => match value {
            Value::Tuple(items) if items.len() == types.len() => {
                items.iter().zip(types).map(|(v, t)| converted(v, t)).collect::<Result<_, _>>().map(Value::tuple)
            }
            _ => Err(mismatch(wanted, value)),
        },
        (Type::Object(fields), _) => object(value, fields, wanted),
        _ => Err(mismatch(wanted, value)),
    }
}

fn mismatch(wanted: &Type, value: &Value) -> String {
    format!("{wanted} required, but have {}", value.type_of())
}

/// Returns the text that a string, number or bool is in a template.
pub fn primitive_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn elements(value: &Value, element: &Type, wanted: &Type) -> Result<Vec<Value>, String> {
    let items = value.as_items().ok_or_else(|| mismatch(wanted, value))?;
    let convert_at = |(i, item): (usize, &Value)| converted(item, element).map_err(|e| format!("element {i}: {e}"));
    let items: Vec<Value> = items.iter().enumerate().map(convert_at).collect::<Result<_, _>>()?;
    if !is_open(element) {
        return Ok(items);
    }
    let common = unify(&items).ok_or_else(|| format!("{wanted} required, but the elements have different types"))?;
    items.iter().map(|item| converted(item, &common)).collect()
}

/// Says whether a type leaves any part of it to the value.
fn is_open(kind: &Type) -> bool {
    match kind {
        Type::Dynamic => true,
        Type::Bool | Type::Number | Type::String => false,
        Type::List(element) | Type::Set(element) | Type::Map(element) => is_open(element),
        Type::Tuple(items) => items.iter().any(is_open),
        Type::Object(fields) => fields.values().any(|field| is_open(&field.kind)),
    }
}

fn entries(value: &Value, element: &Type, wanted: &Type) -> Result<BTreeMap<String, Value>, String> {
    let items = value.as_entries().ok_or_else(|| mismatch(wanted, value))?;
    let common = match element {
        Type::Dynamic => unify(items.values()),
        _ => Some(element.clone()),
    };
    let common = common.ok_or_else(|| format!("{wanted} required, but the values have different types"))?;
    let convert_at = |(key, item): (&String, &Value)| match converted(item, &common) {
        Ok(item) => Ok((key.clone(), item)),
        Err(e) => Err(format!("element \"{key}\": {e}")),
    };
    items.iter().map(convert_at).collect()
}

fn object(value: &Value, fields: &BTreeMap<String, Field>, wanted: &Type) -> Result<Value, String> {
    let items = value.as_entries().ok_or_else(|| mismatch(wanted, value))?;
    let mut attributes = BTreeMap::new();
    for (name, field) in fields {
        let item = match items.get(name) {
            Some(item) => converted(item, &field.kind).map_err(|e| format!("attribute \"{name}\": {e}"))?,
            None if field.is_optional => Value::Null(field.kind.clone()),
            None => return Err(format!("attribute \"{name}\" is required")),
        };
        attributes.insert(name.clone(), item);
    }
    Ok(Value::object(attributes))
}

/// Returns a type that all values convert to; `None` where there is none. Nulls of no type fit every type.
pub fn unify<'a>(values: impl IntoIterator<Item = &'a Value>) -> Option<Type> {
    unify_all(values.into_iter().map(Value::type_of).filter(|t| *t != Type::Dynamic))
}

fn unify_two(a: Type, b: Type) -> Option<Type> {
    let boxed = |a: Box<Type>, b: Box<Type>| unify_two(*a, *b).map(Box::new);
    match (a, b) {
        (a, b) if a == b => Some(a),
        (Type::Dynamic, other) | (other, Type::Dynamic) => Some(other),
        (Type::List(a), Type::List(b)) => boxed(a, b).map(Type::List),
        (Type::Set(a), Type::Set(b)) => boxed(a, b).map(Type::Set),
        (Type::Map(a), Type::Map(b)) => boxed(a, b).map(Type::Map),
        (Type::Tuple(a), Type::Tuple(b)) if a.len() == b.len() => {
            a.into_iter().zip(b).map(|(a, b)| unify_two(a, b)).collect::<Option<_>>().map(Type::Tuple)
        }
        (Type::Tuple(a), Type::Tuple(b)) => unify_all(a.into_iter().chain(b)).map(|t| Type::List(Box::new(t))),
        (Type::Tuple(items), Type::List(element)) | (Type::List(element), Type::Tuple(items)) => {
            let common = unify_all(items.iter().cloned().chain([(*element).clone()]));
            common.map(|t| Type::List(Box::new(t))).or_else(|| preferred(Type::Tuple(items), Type::List(element)))
        }
        (Type::Object(a), Type::Object(b)) => unify_objects(a, b),
        (Type::Object(fields), Type::Map(element)) | (Type::Map(element), Type::Object(fields)) => {
            unify_all(fields.into_values().map(|f| f.kind).chain([*element])).map(|t| Type::Map(Box::new(t)))
        }
        (a, b) => preferred(a, b),
    }
}

/// Which values a conversion must do for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Safety {
    /// All of the type.
    EveryValue,
    /// Some of the type: a text may be a number.
    AnyValue,
}

/// Returns the one of two types that the other converts to: the more general, or else the first.
fn preferred(a: Type, b: Type) -> Option<Type> {
    let is_second = converts(&a, &b, Safety::EveryValue) && !converts(&b, &a, Safety::EveryValue);
    let (first, second) = if is_second { (b, a) } else { (a, b) };
    match converts(&second, &first, Safety::AnyValue) {
        true => Some(first),
        false => converts(&first, &second, Safety::AnyValue).then_some(second),
    }
}

/// Says whether values of type `from` convert to `to` at all.
fn converts(from: &Type, to: &Type, safety: Safety) -> bool {
    let is_loose = safety == Safety::AnyValue;
    let all = |mut types: Box<dyn Iterator<Item = (&Type, &Type)> + '_>| types.all(|(a, b)| converts(a, b, safety));
    match (from, to) {
        (_, Type::Dynamic) => true,
        (Type::Dynamic, _) => is_loose,
        (a, b) if a == b => true,
        (Type::Number | Type::Bool, Type::String) => true,
        (Type::String, Type::Number | Type::Bool) => is_loose,
        (Type::List(a) | Type::Set(a), Type::List(b)) | (Type::Set(a), Type::Set(b)) | (Type::Map(a), Type::Map(b)) => {
            converts(a, b, safety)
        }
        (Type::List(a), Type::Set(b)) => is_loose && converts(a, b, safety),
        (Type::Tuple(items), Type::List(b) | Type::Set(b)) => all(Box::new(items.iter().map(|a| (a, &**b)))),
        (Type::Tuple(a), Type::Tuple(b)) => a.len() == b.len() && all(Box::new(a.iter().zip(b))),
        (Type::Object(fields), Type::Map(b)) => all(Box::new(fields.values().map(|a| (&a.kind, &**b)))),
        (Type::Map(a), Type::Object(fields)) => is_loose && all(Box::new(fields.values().map(|b| (&**a, &b.kind)))),
        (Type::Object(a), Type::Object(b)) => b.iter().all(|(name, field)| match a.get(name) {
            Some(own) => converts(&own.kind, &field.kind, safety),
            None => field.is_optional,
        }),
        _ => false,
    }
}

fn unify_objects(a: BTreeMap<String, Field>, mut b: BTreeMap<String, Field>) -> Option<Type> {
    if !a.keys().eq(b.keys()) {
        let kinds = a.into_values().chain(b.into_values()).map(|f| f.kind);
        return unify_all(kinds).map(|t| Type::Map(Box::new(t)));
    }
    let fields = a.into_iter().map(|(name, field)| {
        let kind = unify_two(field.kind, b.remove(&name)?.kind)?;
        Some((name, Field { kind, is_optional: false }))
    });
    fields.collect::<Option<_>>().map(Type::Object)
}

fn unify_all(types: impl Iterator<Item = Type>) -> Option<Type> {
    let mut kinds: Vec<Type> = Vec::new();
    for kind in types {
        // The elements of a long list are mostly of one type.
        if kinds.last() != Some(&kind) {
            kinds.push(kind);
        }
    }
    // Numbers and bools have nothing in common, unless there is a string among them.
    kinds.sort_by_key(|kind| *kind != Type::String);
    kinds.into_iter().try_fold(Type::Dynamic, unify_two)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Value {
        Value::tuple(texts.iter().map(Value::string).collect())
    }

    #[test]
    fn primitives_convert_to_text_and_back() {
        let number = Value::Number(Number::from(5i64));
        assert_eq!(convert(&number, &Type::String), Ok(Value::string("5")));
        assert_eq!(convert(&Value::string("5"), &Type::Number), Ok(number));
        assert_eq!(convert(&Value::string("true"), &Type::Bool), Ok(Value::Bool(true)));
        assert!(convert(&Value::string("yes"), &Type::Bool).is_err());
    }

    #[test]
    fn a_bare_string_is_no_list() {
        let wanted = Type::List(Box::new(Type::String));
        assert_eq!(convert(&Value::string("a"), &wanted), Err("list of string required, but have string".into()));
        assert_eq!(convert(&strings(&["a"]), &wanted), Ok(Value::list(vec![Value::string("a")])));
    }

    #[test]
    fn branches_of_different_kinds_meet_at_string_or_not_at_all() {
        let number = Value::Number(Number::from(1i64));
        assert_eq!(unify([&number, &Value::string("x")]), Some(Type::String));
        assert_eq!(unify([&number, &Value::Bool(true)]), None);
        assert_eq!(unify([&strings(&["a"]), &strings(&[])]), Some(Type::List(Box::new(Type::String))));
        assert_eq!(unify([&strings(&["a"]), &Value::object(BTreeMap::new())]), None);
    }
}
