//! The built-in functions: one table, by name.
//!
//! `try`, `can` and `convert` are not here: their arguments are not plain values, so the evaluator knows them itself.

mod cipher;
mod collection;
mod digest;
pub(super) mod encoding;
pub mod files;
mod float;
mod format;
mod json;
mod math;
mod moment;
mod network;
mod pattern;
pub(super) mod text;
mod time;
mod verb;
mod version;

use std::cell::Cell;

use super::convert::convert;
use super::eval::EvalError;
use super::value::{Type, Value};
use crate::diagnostic::{Diagnostic, Span};
use crate::digest::FieldHasher;

/// What functions may know of the world; all of it is passed in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// What `timestamp()` says, in seconds since 1970 (UTC).
    pub now: i64,
    /// What `homedir()` says.
    pub home: Option<String>,
    /// Where `uuidv4()` and the salt of `bcrypt()` come from: random, and another in each run.
    pub seed: [u8; 32],
    /// How often the seed was drawn from.
    pub n_drawn: Cell<u64>,
    /// What functions did beyond looking at their arguments once, in bytes handled, since that was last counted.
    pub effort: Cell<usize>,
}

impl World {
    fn add_effort(&self, n_bytes: usize) {
        self.effort.set(self.effort.get().saturating_add(n_bytes));
    }

    /// Returns the bytes that functions handled since this was last asked, arguments looked at once apart.
    pub fn take_effort(&self) -> usize {
        self.effort.take()
    }

    /// Returns sixteen random bytes, other ones at each call.
    fn draw(&self) -> [u8; 16] {
        self.n_drawn.set(self.n_drawn.get() + 1);
        let mut hasher = FieldHasher::new("bake.random.v1");
        hasher.field("seed", self.seed).field("n", self.n_drawn.get().to_le_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finish().as_bytes()[..16]);
        bytes
    }
}

/// A value given to a function.
#[derive(Clone, Debug)]
pub struct Argument {
    /// The value.
    pub value: Value,
    /// The expression it came from.
    pub span: Span,
}

/// What a function takes at one place.
#[derive(Clone, Copy, Debug)]
enum Parameter {
    /// Anything but null.
    Any,
    /// Anything.
    Nullable,
    Text,
    Number,
    Bool,
    /// A list, set or tuple.
    Items,
    /// A list or tuple.
    Sequence,
    /// Anything that converts to a list of elements of one type.
    Listed,
    /// Anything that converts to a set.
    Unique,
    /// A list of texts.
    Texts,
}

/// A built-in function.
pub struct Function {
    name: &'static str,
    parameters: &'static [Parameter],
    /// What further arguments are.
    rest: Option<Parameter>,
    body: fn(&World, &[Value]) -> Result<Value, String>,
}

const fn fixed(
    name: &'static str,
    parameters: &'static [Parameter],
    body: fn(&World, &[Value]) -> Result<Value, String>,
) -> Function {
    Function { name, parameters, rest: None, body }
}

const fn variadic(
    name: &'static str,
    parameters: &'static [Parameter],
    rest: Parameter,
    body: fn(&World, &[Value]) -> Result<Value, String>,
) -> Function {
    Function { name, parameters, rest: Some(rest), body }
}

const TABLES: [&[Function]; 9] = [
    text::TABLE,
    collection::TABLE,
    math::TABLE,
    encoding::TABLE,
    format::TABLE,
    digest::TABLE,
    time::TABLE,
    network::TABLE,
    version::TABLE,
];

/// The functions that take as long for large lists as for small ones, and give back what is there already.
const PICKING: [&str; 6] = ["coalescelist", "element", "hasindex", "index", "length", "lookup"];

/// The functions that take much longer than going through their arguments, and how many times: what they do with a text is
/// counted as so many times its bytes. Measured, to a power of two.
const SLOW: [(&str, usize); 8] = [
    ("md5", 8),
    ("reverse", 32),
    ("sha1", 4),
    ("sha512", 2),
    ("strlen", 32),
    ("substr", 32),
    ("title", 4),
    ("trim", 2),
];

/// Returns the built-in function called `name`.
pub fn find(name: &str) -> Option<&'static Function> {
    TABLES.iter().copied().flatten().find(|function| function.name == name)
}

/// Returns the names of all built-in functions but `try`, `can` and `convert`.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().copied().flatten().map(|function| function.name)
}

/// Says that a function of `n_wanted` parameters is given `n_given` arguments; `is_open` if it takes more too.
pub fn wrong_count(name: &str, n_wanted: usize, is_open: bool, n_given: usize) -> String {
    let least = if is_open { "at least " } else { "" };
    let noun = if n_wanted == 1 { "argument" } else { "arguments" };
    let verb = if n_given == 1 { "is" } else { "are" };
    format!("`{name}` takes {least}{n_wanted} {noun}, but {n_given} {verb} given")
}

impl Function {
    /// Returns how many times as long as going through its arguments it takes.
    pub fn slowness(&self) -> usize {
        SLOW.iter().find(|(name, _)| *name == self.name).map_or(1, |(_, times)| *times)
    }

    /// Says whether it goes through all of its arguments, and its result is new.
    pub fn looks_at_all(&self) -> bool {
        !PICKING.contains(&self.name)
    }

    /// Calls it; `span` is the place of its name.
    ///
    /// # Errors
    /// Too few or too many arguments, one of another type, or what the function itself refuses.
    pub fn call(&self, world: &World, span: Span, arguments: &[Argument]) -> Result<Value, EvalError> {
        let values = converted(self.name, self.parameters, self.rest, span, arguments)?;
        (self.body)(world, &values).map_err(|why| Box::new(Diagnostic::error(span, format!("`{}`: {why}", self.name))))
    }
}

/// Returns the values of the arguments of `name` as its parameters have them.
fn converted(
    name: &str,
    parameters: &[Parameter],
    rest: Option<Parameter>,
    span: Span,
    arguments: &[Argument],
) -> Result<Vec<Value>, EvalError> {
    let n_wanted = parameters.len();
    let is_enough = arguments.len() >= n_wanted && (rest.is_some() || arguments.len() == n_wanted);
    if !is_enough {
        let message = wrong_count(name, n_wanted, rest.is_some(), arguments.len());
        return Err(Box::new(Diagnostic::error(span, message)));
    }
    let mut values = Vec::with_capacity(arguments.len());
    for (i, argument) in arguments.iter().enumerate() {
        let parameter = parameters.get(i).copied().or(rest).unwrap_or(Parameter::Nullable);
        let value = parameter.convert(&argument.value);
        values.push(value.map_err(|why| Box::new(Diagnostic::error(argument.span, format!("`{name}`: {why}"))))?);
    }
    Ok(values)
}

impl Parameter {
    fn convert(self, value: &Value) -> Result<Value, String> {
        if value.is_null() && !matches!(self, Parameter::Nullable) {
            return Err("argument is null".into());
        }
        match self {
            Parameter::Any | Parameter::Nullable => Ok(value.clone()),
            Parameter::Text => convert(value, &Type::String),
            Parameter::Number => convert(value, &Type::Number),
            Parameter::Bool => convert(value, &Type::Bool),
            Parameter::Texts => convert(value, &Type::List(Box::new(Type::String))),
            Parameter::Unique if value.as_items().is_some() => convert(value, &Type::Set(Box::new(Type::Dynamic))),
            Parameter::Listed if value.as_items().is_some() => convert(value, &Type::List(Box::new(Type::Dynamic))),
            Parameter::Sequence if matches!(value, Value::List(_) | Value::Tuple(_)) => Ok(value.clone()),
            Parameter::Sequence => Err(format!("list or tuple required, but have {}", value.type_of())),
            Parameter::Items if value.as_items().is_some() => Ok(value.clone()),
            Parameter::Items | Parameter::Listed | Parameter::Unique => {
                Err(format!("list required, but have {}", value.type_of()))
            }
        }
    }
}

/// The text at a place that the parameter list declares as text; empty for null.
fn text_at(values: &[Value], index: usize) -> &str {
    values.get(index).and_then(Value::as_str).unwrap_or("")
}

fn number_at(values: &[Value], index: usize) -> super::number::Number {
    match values.get(index) {
        Some(Value::Number(number)) => number.clone(),
        _ => super::number::Number::from(0i64),
    }
}

fn whole_at(values: &[Value], index: usize) -> Result<i64, String> {
    let number = number_at(values, index);
    number.to_i64().ok_or_else(|| format!("a whole number is required, but have {number}"))
}

fn items_at(values: &[Value], index: usize) -> &[Value] {
    values.get(index).and_then(Value::as_items).unwrap_or(&[])
}

fn texts(items: impl IntoIterator<Item = impl AsRef<str>>) -> Value {
    Value::list(items.into_iter().map(Value::string).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn each_name_is_in_the_tables_once() {
        let names: Vec<&str> = super::names().collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
}
