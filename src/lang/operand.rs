//! What operators take: numbers and bools, converted from what stands there.

use super::convert::convert;
use super::eval::{EvalError, error};
use super::number::Number;
use super::value::{Type, Value};
use crate::diagnostic::Span;

/// Returns the number that a value is or converts to.
pub(super) fn number(value: &Value, span: Span) -> Result<Number, EvalError> {
    match convert(value, &Type::Number) {
        Ok(Value::Number(number)) => Ok(number),
        Ok(_) => Err(error(span, "this is null, where a number is needed")),
        Err(_) => Err(error(span, format!("number required, but have {}", described(value)))),
    }
}

/// `&&` and `||`: a side that is `controlling` decides, even over a null on the other. Null counts as false for `&&`, as in
/// the peer; where it would decide `||`, it is an error.
pub(super) fn logical(controlling: bool, left: (&Value, Span), right: (&Value, Span)) -> Result<Value, EvalError> {
    let converted =
        |(value, span): (&Value, Span)| convert(value, &Type::Bool).or_else(|_| boolean(value, span).map(Value::Bool));
    let (a, b) = (converted(left)?, converted(right)?);
    let decides = |value: &Value| match value {
        Value::Bool(flag) => *flag == controlling,
        _ => !controlling,
    };
    if decides(&a) || decides(&b) {
        return Ok(Value::Bool(controlling));
    }
    Ok(Value::Bool(boolean(&a, left.1)? & boolean(&b, right.1)?))
}

/// Returns the bool that a value is or converts to.
pub(super) fn boolean(value: &Value, span: Span) -> Result<bool, EvalError> {
    match convert(value, &Type::Bool) {
        Ok(Value::Bool(flag)) => Ok(flag),
        Ok(_) => Err(error(span, "this is null, where true or false is needed")),
        Err(_) => Err(error(span, format!("bool required, but have {}", described(value)))),
    }
}

fn described(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the string \"{text}\""),
        other => format!("{}", other.type_of()),
    }
}
