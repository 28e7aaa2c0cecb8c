//! Types as they are written: `string`, `list(number)`, `object({name = string})`.

use std::collections::BTreeMap;

use super::ast::{Expr, ExprKind};
use super::eval::EvalError;
use super::value::{Field, Type};
use crate::diagnostic::{Diagnostic, Span, nearest};

fn error(span: Span, message: impl Into<String>) -> EvalError {
    Box::new(Diagnostic::error(span, message))
}

/// Reads a type: `string`, `list(number)`, `object({name = string, port = optional(number)})`.
///
/// # Errors
/// What in it is no type.
pub fn type_from_expr(expr: &Expr) -> Result<Type, EvalError> {
    match &expr.kind {
        ExprKind::Parens(inner) => type_from_expr(inner),
        ExprKind::Variable(name) => match name.as_str() {
            "string" => Ok(Type::String),
            "number" => Ok(Type::Number),
            "bool" => Ok(Type::Bool),
            "any" => Ok(Type::Dynamic),
            "list" | "set" | "map" | "object" | "tuple" => {
                Err(error(expr.span, format!("the type `{name}` needs an argument, as in `{name}({})`", example(name))))
            }
            _ => Err(unknown_type(expr.span, name)),
        },
        ExprKind::Call(call) => match (call.name.text.as_str(), &call.arguments[..]) {
            ("list", [element]) => type_from_expr(element).map(|t| Type::List(Box::new(t))),
            ("set", [element]) => type_from_expr(element).map(|t| Type::Set(Box::new(t))),
            ("map", [element]) => type_from_expr(element).map(|t| Type::Map(Box::new(t))),
            ("tuple", [Expr { kind: ExprKind::Tuple(items), .. }]) => {
                items.iter().map(type_from_expr).collect::<Result<_, _>>().map(Type::Tuple)
            }
            ("object", [Expr { kind: ExprKind::Object(items), .. }]) => object_type(items),
            ("list" | "set" | "map" | "tuple" | "object", _) => {
                let name = &call.name.text;
                Err(error(expr.span, format!("the type `{name}` is written `{name}({})`", example(name))))
            }
            (name @ ("string" | "number" | "bool" | "any"), _) => {
                Err(error(expr.span, format!("the type `{name}` takes no argument")))
            }
            (name, _) => Err(unknown_type(call.name.span, name)),
        },
        _ => Err(error(expr.span, "this is no type")),
    }
}

/// Returns the type with every attribute required: `convert` knows `optional`, but an absent attribute is an error to it.
pub fn all_required(kind: Type) -> Type {
    let boxed = |element: Box<Type>| Box::new(all_required(*element));
    match kind {
        Type::List(element) => Type::List(boxed(element)),
        Type::Set(element) => Type::Set(boxed(element)),
        Type::Map(element) => Type::Map(boxed(element)),
        Type::Tuple(items) => Type::Tuple(items.into_iter().map(all_required).collect()),
        Type::Object(fields) => {
            let required = |field: Field| Field { kind: all_required(field.kind), is_optional: false };
            Type::Object(fields.into_iter().map(|(name, field)| (name, required(field))).collect())
        }
        Type::Dynamic | Type::Bool | Type::Number | Type::String => kind,
    }
}

fn object_type(items: &[(Expr, Expr)]) -> Result<Type, EvalError> {
    let mut fields = BTreeMap::new();
    for (key, value) in items {
        let ExprKind::String(name) = &key.kind else {
            return Err(error(key.span, "the names of an object type are plain words"));
        };
        let (kind, is_optional) = match &value.kind {
            ExprKind::Call(call) if call.name.text == "optional" => match &call.arguments[..] {
                [kind] => (type_from_expr(kind)?, true),
                _ => return Err(error(value.span, "`optional` takes a type and nothing else")),
            },
            _ => (type_from_expr(value)?, false),
        };
        fields.insert(name.clone(), Field { kind, is_optional });
    }
    Ok(Type::Object(fields))
}

fn example(kind: &str) -> &'static str {
    match kind {
        "object" => "{name = string}",
        "tuple" => "[string, number]",
        _ => "string",
    }
}

fn unknown_type(span: Span, name: &str) -> EvalError {
    let finding = Diagnostic::error(span, format!("no type named `{name}`"));
    let known = ["string", "number", "bool", "any", "list", "set", "map", "object", "tuple"];
    Box::new(match nearest(name, known) {
        Some(near) => finding.hint(format!("did you mean `{near}`?")),
        None => finding.note("the types are string, number, bool, any, list, set, map, object and tuple"),
    })
}
