//! Values and their types, with cty's distinctions: list, set and tuple; map and object; null of a type.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::limits::ELEMENT;
use super::number::Number;

/// A value. Cloning is cheap.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, of a type; `Type::Dynamic` where none is known.
    Null(Type),
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(Arc<str>),
    /// Elements of one type.
    List(Arc<Measured<Vec<Value>>>),
    /// Elements of one type, each once, sorted.
    Set(Arc<Measured<Vec<Value>>>),
    /// Elements of any types: what `[…]` makes.
    Tuple(Arc<Measured<Vec<Value>>>),
    /// Values of one type by key.
    Map(Arc<Measured<BTreeMap<String, Value>>>),
    /// Values of any types by name: what `{…}` makes.
    Object(Arc<Measured<BTreeMap<String, Value>>>),
}

/// Elements with what they come to. Values share elements, so a few lines can hold more than anybody could go through:
/// this says so without going through them.
#[derive(Clone, Debug)]
pub struct Measured<T> {
    elements: T,
    size: usize,
    depth: usize,
}

impl<T> Deref for Measured<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.elements
    }
}

fn measured_items(elements: Vec<Value>) -> Arc<Measured<Vec<Value>>> {
    let size = elements.iter().map(Value::size).fold(ELEMENT, usize::saturating_add);
    let depth = elements.iter().map(Value::depth).max().unwrap_or(0) + 1;
    Arc::new(Measured { elements, size, depth })
}

fn measured_entries(elements: BTreeMap<String, Value>) -> Arc<Measured<BTreeMap<String, Value>>> {
    let sizes = elements.iter().map(|(key, value)| value.size().saturating_add(ELEMENT + key.len()));
    let size = sizes.fold(ELEMENT, usize::saturating_add);
    let depth = elements.values().map(Value::depth).max().unwrap_or(0) + 1;
    Arc::new(Measured { elements, size, depth })
}

/// The type of a value, or what a value is to be converted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Any type.
    Dynamic,
    /// `bool`
    Bool,
    /// `number`
    Number,
    /// `string`
    String,
    /// `list(T)`
    List(Box<Type>),
    /// `set(T)`
    Set(Box<Type>),
    /// `map(T)`
    Map(Box<Type>),
    /// `tuple([T, …])`
    Tuple(Vec<Type>),
    /// `object({name = T, …})`
    Object(BTreeMap<String, Field>),
}

/// One name of an object type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The type of its value.
    pub kind: Type,
    /// It may be absent; null stands for it then.
    pub is_optional: bool,
}

impl Value {
    /// The null of no known type.
    pub const NULL: Value = Value::Null(Type::Dynamic);

    /// Returns a text, in Unicode's normal form C as all texts of the language are.
    pub fn string(text: impl AsRef<str>) -> Value {
        let text = text.as_ref();
        match text.is_ascii() || is_nfc(text) {
            true => Value::String(Arc::from(text)),
            false => Value::String(text.nfc().collect::<String>().into()),
        }
    }

    /// Returns a tuple.
    pub fn tuple(items: Vec<Value>) -> Value {
        Value::Tuple(measured_items(items))
    }

    /// Returns a list; the items must be of one type.
    pub fn list(items: Vec<Value>) -> Value {
        Value::List(measured_items(items))
    }

    /// Returns a set of the items, which must be of one type.
    pub fn set(mut items: Vec<Value>) -> Value {
        match items.iter().all(|item| item.as_items().is_none() && item.as_entries().is_none()) {
            true => items.sort(),
            false => items.sort_by_cached_key(set_key),
        }
        items.dedup();
        Value::Set(measured_items(items))
    }

    /// Returns an object.
    pub fn object(items: BTreeMap<String, Value>) -> Value {
        Value::Object(measured_entries(items))
    }

    /// Returns a map; the values must be of one type.
    pub fn map(items: BTreeMap<String, Value>) -> Value {
        Value::Map(measured_entries(items))
    }

    /// Returns about how many bytes it is, written out: 64 for each value in it, however often one and the same is
    /// in it, and the bytes of texts, keys and digits.
    pub fn size(&self) -> usize {
        match self {
            Value::Null(kind) => ELEMENT + kind.size(),
            Value::Bool(_) => ELEMENT,
            Value::Number(number) => ELEMENT + number.writing_effort(),
            Value::String(text) => ELEMENT + text.len(),
            Value::List(items) | Value::Set(items) | Value::Tuple(items) => items.size,
            Value::Map(entries) | Value::Object(entries) => entries.size,
        }
    }

    /// Returns how deep values nest in it; 0 for one that has no elements.
    pub fn depth(&self) -> usize {
        match self {
            Value::Null(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
            Value::List(items) | Value::Set(items) | Value::Tuple(items) => items.depth,
            Value::Map(entries) | Value::Object(entries) => entries.depth,
        }
    }

    /// Says whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null(_))
    }

    /// Returns the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the elements of a list, set or tuple.
    pub fn as_items(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) | Value::Set(items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the entries of a map or object.
    pub fn as_entries(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Value::Map(entries) | Value::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns the value's type. A list's is that of its first element that is not null.
    pub fn type_of(&self) -> Type {
        let element = |mut items: Box<dyn Iterator<Item = &Value> + '_>| {
            let first = items.find(|v| !matches!(v, Value::Null(Type::Dynamic)));
            Box::new(first.map_or(Type::Dynamic, Value::type_of))
        };
        match self {
            Value::Null(kind) => kind.clone(),
            Value::Bool(_) => Type::Bool,
            Value::Number(_) => Type::Number,
            Value::String(_) => Type::String,
            Value::List(items) => Type::List(element(Box::new(items.iter()))),
            Value::Set(items) => Type::Set(element(Box::new(items.iter()))),
            Value::Map(entries) => Type::Map(element(Box::new(entries.values()))),
            Value::Tuple(items) => Type::Tuple(items.iter().map(Value::type_of).collect()),
            Value::Object(entries) => {
                let field = |value: &Value| Field { kind: value.type_of(), is_optional: false };
                Type::Object(entries.iter().map(|(name, value)| (name.clone(), field(value))).collect())
            }
        }
    }

    /// A total order, used for sets: by kind, then by content.
    pub fn compare(&self, other: &Value) -> Ordering {
        let first_difference = |mut orders: Box<dyn Iterator<Item = Ordering> + '_>| orders.find(|order| order.is_ne());
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => a.cmp(b),
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (a, b) if a.rank() != b.rank() => a.rank().cmp(&b.rank()),
            (a, b) => match (a.as_items(), b.as_items(), a.as_entries(), b.as_entries()) {
                (Some(a), Some(b), ..) if std::ptr::eq(a, b) => Ordering::Equal,
                (Some(a), Some(b), ..) => {
                    let orders = a.iter().zip(b).map(|(a, b)| a.compare(b));
                    first_difference(Box::new(orders)).unwrap_or_else(|| a.len().cmp(&b.len()))
                }
                (_, _, Some(a), Some(b)) if std::ptr::eq(a, b) => Ordering::Equal,
                (_, _, Some(a), Some(b)) => a.keys().cmp(b.keys()).then_with(|| {
                    let orders = a.values().zip(b.values()).map(|(a, b)| a.compare(b));
                    first_difference(Box::new(orders)).unwrap_or(Ordering::Equal)
                }),
                _ => Ordering::Equal,
            },
        }
    }

    fn rank(&self) -> u8 {
        match self {
            // Last, as in the peer.
            Value::Null(_) => 9,
            Value::Bool(_) => 1,
            Value::Number(_) => 2,
            Value::String(_) => 3,
            Value::List(_) => 4,
            Value::Set(_) => 5,
            Value::Tuple(_) => 6,
            Value::Map(_) => 7,
            Value::Object(_) => 8,
        }
    }
}

/// What elements of a set are sorted by that have elements themselves: the text that the peer makes of them for its hash.
fn set_key(value: &Value) -> Vec<u8> {
    fn append(value: &Value, text: &mut String) {
        match value {
            Value::Null(_) => text.push('~'),
            Value::Bool(flag) => text.push(if *flag { 'T' } else { 'F' }),
            Value::Number(number) => text.push_str(&number.to_string()),
            Value::String(string) => text.push_str(&format!("{string:?}")),
            Value::List(items) | Value::Set(items) | Value::Tuple(items) => {
                let (open, close) = if matches!(value, Value::Tuple(_)) { ('<', '>') } else { ('[', ']') };
                text.push(open);
                for item in items.iter() {
                    append(item, text);
                    text.push(';');
                }
                text.push(close);
            }
            Value::Map(entries) | Value::Object(entries) => {
                let is_map = matches!(value, Value::Map(_));
                text.push(if is_map { '{' } else { '<' });
                for (key, item) in entries.iter() {
                    if is_map {
                        text.push_str(&format!("{key:?}:"));
                    }
                    append(item, text);
                    text.push(';');
                }
                text.push(if is_map { '}' } else { '>' });
            }
        }
    }
    // Nulls come last.
    let mut text = String::from(if value.is_null() { "1" } else { "0" });
    append(value, &mut text);
    text.into_bytes()
}

impl Type {
    /// Returns about how many bytes it takes beside its own struct: a null holds its type.
    pub fn size(&self) -> usize {
        let inside = |kind: &Type| ELEMENT + kind.size();
        match self {
            Type::Dynamic | Type::Bool | Type::Number | Type::String => 0,
            Type::List(element) | Type::Set(element) | Type::Map(element) => inside(element),
            Type::Tuple(items) => items.iter().map(inside).sum(),
            Type::Object(fields) => fields.iter().map(|(name, field)| name.len() + inside(&field.kind)).sum(),
        }
    }
}

impl PartialEq for Value {
    /// Equal content of one kind; nulls are equal whatever their types are.
    fn eq(&self, other: &Value) -> bool {
        self.rank() == other.rank() && self.compare(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    /// As [`Value::compare`].
    fn cmp(&self, other: &Value) -> Ordering {
        self.compare(other)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<Number> for Value {
    fn from(value: Number) -> Value {
        Value::Number(value)
    }
}

impl fmt::Display for Type {
    /// Says the type as people do: "list of string".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dynamic => f.write_str("dynamic"),
            Type::Bool => f.write_str("bool"),
            Type::Number => f.write_str("number"),
            Type::String => f.write_str("string"),
            Type::List(element) => write!(f, "list of {element}"),
            Type::Set(element) => write!(f, "set of {element}"),
            Type::Map(element) => write!(f, "map of {element}"),
            Type::Tuple(_) => f.write_str("tuple"),
            Type::Object(_) => f.write_str("object"),
        }
    }
}
