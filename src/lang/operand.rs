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

/// `&&` and `||`: a side that is `controlling` decides, even over a null or a failure on the other, so that a file can say
/// `v != null && length(v) > 0`. Null counts as false for `&&`, as in the peer; where it would decide `||`, it is an error.
pub(super) fn logical(
    controlling: bool,
    (left, left_span): (Result<Value, EvalError>, Span),
    (right, right_span): (Result<Value, EvalError>, Span),
) -> Result<Value, EvalError> {
    // A value that is no bool is an error whatever the other side is.
    let converted = |side: Result<Value, EvalError>, span| match side {
        Ok(value) if value.is_null() => Ok(Ok(None)),
        Ok(value) => boolean(&value, span).map(|flag| Ok(Some(flag))),
        Err(why) => Ok(Err(why)),
    };
    let (a, b) = (converted(left, left_span)?, converted(right, right_span)?);
    let decides = |side: &Result<Option<bool>, EvalError>| match side {
        Ok(Some(flag)) => *flag == controlling,
        Ok(None) => !controlling,
        Err(_) => false,
    };
    match (a, b) {
        (a, b) if decides(&a) || decides(&b) => Ok(Value::Bool(controlling)),
        (Err(mut first), Err(second)) => {
            first.and(*second);
            Err(first)
        }
        (Err(why), _) | (_, Err(why)) => Err(why),
        (Ok(None), _) => boolean(&Value::NULL, left_span).map(Value::Bool),
        (_, Ok(None)) => boolean(&Value::NULL, right_span).map(Value::Bool),
        _ => Ok(Value::Bool(!controlling)),
    }
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
