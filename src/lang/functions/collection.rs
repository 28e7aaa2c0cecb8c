//! Functions of lists, sets, maps and objects.

use std::collections::{BTreeMap, BTreeSet};

use super::Parameter::{Any, Items, Listed, Nullable, Number as N, Sequence, Text, Texts, Unique};
use super::{Function, World, fixed, items_at, text_at, texts, variadic, whole_at};
use crate::lang::convert::{convert, primitive_text, unify};
use crate::lang::limits::{items_fit, value_fits};
use crate::lang::number::Number;
use crate::lang::value::{Type, Value};

pub(super) const TABLE: &[Function] = &[
    fixed("chunklist", &[Listed, N], chunklist),
    variadic("coalesce", &[], Nullable, coalesce),
    variadic("coalescelist", &[], Nullable, coalescelist),
    fixed("compact", &[Texts], |_, v| {
        Ok(Value::list(items_at(v, 0).iter().filter(|t| t.as_str().is_some_and(|t| !t.is_empty())).cloned().collect()))
    }),
    variadic("concat", &[], Sequence, concat),
    fixed("contains", &[Items, Any], |_, v| Ok(Value::Bool(position(items_at(v, 0), &v[1]).is_some()))),
    fixed("distinct", &[Listed], |_, v| Ok(Value::list(distinct(items_at(v, 0))))),
    fixed("element", &[Sequence, N], element),
    fixed("flatten", &[Items], |_, v| Ok(Value::tuple(flatten(&v[0])))),
    fixed("hasindex", &[Any, Any], |_, v| Ok(Value::Bool(index(&v[0], &v[1])?.is_some()))),
    fixed("index", &[Any, Any], |_, v| index(&v[0], &v[1])?.ok_or_else(|| "no such element".into())),
    fixed("indexof", &[Sequence, Any], |_, v| {
        position(items_at(v, 0), &v[1]).map(|i| Value::Number(Number::from(i))).ok_or_else(|| "item not found".into())
    }),
    fixed("keys", &[Any], |_, v| Ok(of_entries(&v[0], entries(&v[0])?.keys().map(Value::string).collect()))),
    fixed("length", &[Any], length),
    fixed("lookup", &[Any, Text, Any], lookup),
    variadic("merge", &[], Nullable, merge),
    fixed("reverselist", &[Items], |_, v| Ok(of_items(&v[0], items_at(v, 0).iter().rev().cloned().collect()))),
    fixed("sethaselement", &[Unique, Any], |_, v| Ok(Value::Bool(position(items_at(v, 0), &v[1]).is_some()))),
    variadic("setintersection", &[Unique], Unique, |_, v| sets(v, |a, b| a.retain(|x| b.contains(x)))),
    variadic("setproduct", &[], Items, setproduct),
    fixed("setsubtract", &[Unique, Unique], |_, v| sets(v, |a, b| a.retain(|x| !b.contains(x)))),
    variadic("setsymmetricdifference", &[Unique], Unique, |_, v| {
        sets(v, |a, b| *a = a.symmetric_difference(&b).cloned().collect())
    }),
    variadic("setunion", &[Unique], Unique, |_, v| sets(v, |a, b| a.extend(b))),
    fixed("slice", &[Sequence, N, N], slice),
    fixed("sort", &[Texts], sort),
    fixed("values", &[Any], |_, v| Ok(of_entries(&v[0], entries(&v[0])?.values().cloned().collect()))),
    fixed("zipmap", &[Texts, Sequence], zipmap),
];

fn entries(value: &Value) -> Result<&BTreeMap<String, Value>, String> {
    value.as_entries().ok_or_else(|| format!("map or object required, but have {}", value.type_of()))
}

/// Makes what comes from a map a list, what comes from an object a tuple.
fn of_entries(original: &Value, items: Vec<Value>) -> Value {
    if matches!(original, Value::Map(_)) { Value::list(items) } else { Value::tuple(items) }
}

/// Makes what comes from a tuple a tuple, what comes from a list or set a list.
fn of_items(original: &Value, items: Vec<Value>) -> Value {
    if matches!(original, Value::Tuple(_)) { Value::tuple(items) } else { Value::list(items) }
}

fn position(items: &[Value], wanted: &Value) -> Option<usize> {
    items.iter().position(|item| item == wanted)
}

/// Returns the element at `key`, if there is one.
///
/// # Errors
/// `value` is no list, tuple or map; an object has attributes, not elements.
fn index(value: &Value, key: &Value) -> Result<Option<Value>, String> {
    match value {
        Value::List(items) | Value::Tuple(items) => Ok(match key {
            Value::Number(n) => n.to_i64().and_then(|i| usize::try_from(i).ok()).and_then(|i| items.get(i)).cloned(),
            _ => None,
        }),
        Value::Map(entries) => Ok(key.as_str().and_then(|name| entries.get(name)).cloned()),
        _ => Err(format!("list, map or tuple required, but have {}", value.type_of())),
    }
}

fn lookup(_: &World, v: &[Value]) -> Result<Value, String> {
    let (entries, key, default) = (entries(&v[0])?, text_at(v, 1), &v[2]);
    if let Value::Map(_) = v[0] {
        let kind = unify(entries.values()).unwrap_or(Type::Dynamic);
        let default = convert(default, &kind).map_err(|why| format!("the default is no element of this map: {why}"))?;
        return Ok(entries.get(key).cloned().unwrap_or(default));
    }
    Ok(entries.get(key).cloned().unwrap_or_else(|| default.clone()))
}

/// Makes the items one list if they have a common type, a tuple if not.
fn listed(items: Vec<Value>) -> Value {
    match unify(&items) {
        Some(common) => {
            let converted: Result<Vec<Value>, String> = items.iter().map(|item| convert(item, &common)).collect();
            converted.map_or_else(|_| Value::tuple(items), Value::list)
        }
        None => Value::tuple(items),
    }
}

fn chunklist(_: &World, v: &[Value]) -> Result<Value, String> {
    let items = items_at(v, 0);
    let size = usize::try_from(whole_at(v, 1)?).map_err(|_| "the size is below zero")?;
    let size = if size == 0 { items.len().max(1) } else { size };
    Ok(Value::list(items.chunks(size).map(|chunk| Value::list(chunk.to_vec())).collect()))
}

fn coalesce(_: &World, v: &[Value]) -> Result<Value, String> {
    let common = unify(v).ok_or("all arguments must have the same type")?;
    let first = v.iter().find(|value| !value.is_null()).ok_or("no argument is other than null")?;
    // Beside a null of no type, the peer leaves lists and objects as they are.
    if v.iter().any(|value| matches!(value, Value::Null(Type::Dynamic))) && primitive_text(first).is_none() {
        return Ok(first.clone());
    }
    convert(first, &common)
}

fn coalescelist(_: &World, v: &[Value]) -> Result<Value, String> {
    let is_sequence = |value: &Value| matches!(value.type_of(), Type::List(_) | Type::Tuple(_));
    if let Some(other) = v.iter().find(|value| !is_sequence(value)) {
        return Err(format!("list or tuple required, but have {}", other.type_of()));
    }
    let found = v.iter().find(|value| value.as_items().is_some_and(|items| !items.is_empty()));
    found.cloned().ok_or_else(|| "no list has an element".into())
}

fn concat(_: &World, v: &[Value]) -> Result<Value, String> {
    if v.is_empty() {
        return Err("at least one list is needed".into());
    }
    items_fit(total(v))?;
    let items = v.iter().flat_map(|list| list.as_items().unwrap_or(&[])).cloned().collect();
    let is_list = v.iter().all(|list| matches!(list, Value::List(_)));
    Ok(if is_list { listed(items) } else { Value::tuple(items) })
}

/// The elements of all lists, counted.
fn total(lists: &[Value]) -> Option<usize> {
    let mut counts = lists.iter().map(|list| list.as_items().map_or(0, <[Value]>::len));
    counts.try_fold(0usize, usize::checked_add)
}

fn distinct(items: &[Value]) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    items.iter().filter(|item| seen.insert(*item)).cloned().collect()
}

fn element(_: &World, v: &[Value]) -> Result<Value, String> {
    let items = items_at(v, 0);
    if items.is_empty() {
        return Err("the list is empty".into());
    }
    Ok(items[whole_at(v, 1)?.rem_euclid(items.len() as i64) as usize].clone())
}

fn flatten(value: &Value) -> Vec<Value> {
    match value.as_items() {
        Some(items) => items.iter().flat_map(flatten).collect(),
        None => vec![value.clone()],
    }
}

fn length(_: &World, v: &[Value]) -> Result<Value, String> {
    let n = match (v[0].as_items(), v[0].as_entries()) {
        (Some(items), _) => items.len(),
        (_, Some(entries)) if matches!(v[0], Value::Map(_)) => entries.len(),
        _ => return Err(format!("list or map required, but have {}", v[0].type_of())),
    };
    Ok(Value::Number(Number::from(n)))
}

fn merge(_: &World, v: &[Value]) -> Result<Value, String> {
    items_fit(v.iter().map(|value| value.as_entries().map_or(0, BTreeMap::len)).try_fold(0usize, usize::checked_add))?;
    let mut merged = BTreeMap::new();
    for value in v.iter().filter(|value| !matches!(value, Value::Null(Type::Dynamic | Type::Map(_) | Type::Object(_))))
    {
        merged.extend(entries(value)?.clone());
    }
    if !v.iter().all(|value| matches!(value, Value::Map(_))) {
        return Ok(Value::object(merged));
    }
    // A map that is empty fits any other.
    let types = v.iter().map(Value::type_of).filter(|kind| *kind != Type::Map(Box::new(Type::Dynamic)));
    let types: Vec<Type> = types.collect();
    Ok(if types.windows(2).all(|pair| pair[0] == pair[1]) { Value::map(merged) } else { Value::object(merged) })
}

fn sets(v: &[Value], combine: fn(&mut BTreeSet<Value>, BTreeSet<Value>)) -> Result<Value, String> {
    items_fit(total(v))?;
    let common =
        unify(v.iter().flat_map(|list| list.as_items().unwrap_or(&[]))).ok_or("the elements have different types")?;
    let converted = |list: &Value| -> Result<BTreeSet<Value>, String> {
        list.as_items().unwrap_or(&[]).iter().map(|item| convert(item, &common)).collect()
    };
    let mut result = converted(&v[0])?;
    for list in &v[1..] {
        combine(&mut result, converted(list)?);
    }
    Ok(Value::set(result.into_iter().collect()))
}

/// Rows of a `setproduct`.
const MAX_COMBINATIONS: usize = 100_000;

fn setproduct(_: &World, v: &[Value]) -> Result<Value, String> {
    let mut columns = Vec::with_capacity(v.len());
    for (i, list) in v.iter().enumerate() {
        let common = unify(items_at(v, i)).ok_or("the elements of a list have different types")?;
        let column: Result<Vec<Value>, String> = items_at(v, i).iter().map(|item| convert(item, &common)).collect();
        columns.push((column?, matches!(list, Value::Set(_))));
    }
    let lists: Vec<&[Value]> = columns.iter().map(|(column, _)| &column[..]).collect();
    if lists.len() < 2 {
        return Err("at least two sets are needed".into());
    }
    let n_rows = lists.iter().map(|list| list.len()).try_fold(1usize, usize::checked_mul);
    let n_rows = n_rows.filter(|n| *n <= MAX_COMBINATIONS);
    let n_rows = n_rows.ok_or_else(|| format!("more than {MAX_COMBINATIONS} combinations"))?;
    value_fits(
        lists
            .iter()
            .flat_map(|list| list.iter().map(|item| (list.len(), item.size())))
            .try_fold(0usize, |sum, (n_items, size)| sum.checked_add(size.checked_mul(n_rows / n_items)?)),
    )?;
    let row = |mut index: usize| {
        let mut row: Vec<Value> = Vec::with_capacity(lists.len());
        for list in lists.iter().rev() {
            row.push(list[index % list.len()].clone());
            index /= list.len();
        }
        row.reverse();
        row
    };
    let rows = (0..n_rows).map(row);
    let is_set = columns.iter().any(|(_, is_set)| *is_set);
    let rows = rows.map(Value::tuple).collect();
    Ok(if is_set { Value::set(rows) } else { Value::list(rows) })
}

fn slice(_: &World, v: &[Value]) -> Result<Value, String> {
    let (items, start, end) = (items_at(v, 0), whole_at(v, 1)?, whole_at(v, 2)?);
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    let cut = range.and_then(|(start, end)| items.get(start..end));
    let cut = cut.ok_or_else(|| format!("no elements from {start} to {end} in a list of {}", items.len()))?.to_vec();
    Ok(of_items(&v[0], cut))
}

fn sort(_: &World, v: &[Value]) -> Result<Value, String> {
    let texts_of = items_at(v, 0).iter().map(Value::as_str).collect::<Option<Vec<&str>>>();
    let mut items = texts_of.ok_or("an element is null")?;
    items.sort_unstable();
    Ok(texts(items))
}

fn zipmap(_: &World, v: &[Value]) -> Result<Value, String> {
    let (keys, values) = (items_at(v, 0), items_at(v, 1));
    if keys.len() != values.len() {
        return Err(format!("{} keys, but {} values", keys.len(), values.len()));
    }
    let pairs = keys.iter().zip(values).map(|(key, value)| Some((key.as_str()?.to_owned(), value.clone())));
    let pairs = pairs.collect::<Option<BTreeMap<String, Value>>>().ok_or("a key is null")?;
    Ok(if matches!(v[1], Value::List(_)) { Value::map(pairs) } else { Value::object(pairs) })
}
