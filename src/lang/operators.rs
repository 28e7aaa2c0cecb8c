//! What operators make of values.

use super::ast::{BinaryOperator, UnaryOperator};
use super::convert::convert;
use super::eval::{EvalError, error};
use super::number::Number;
use super::value::{Type, Value};
use crate::diagnostic::Span;

/// Returns `operator value`.
pub(super) fn unary(operator: UnaryOperator, value: &Value, span: Span) -> Result<Value, EvalError> {
    match operator {
        UnaryOperator::Negate => Ok(Value::Number(number(value, span)?.negate())),
        UnaryOperator::Not => Ok(Value::Bool(!boolean(value, span)?)),
    }
}

/// Returns `a operator b` of an operator that is neither `&&` nor `||`.
pub(super) fn binary(
    operator: BinaryOperator,
    (a, left): (&Value, Span),
    (b, right): (&Value, Span),
    span: Span,
) -> Result<Value, EvalError> {
    use BinaryOperator as B;
    match operator {
        // Of one type and content; a tuple equals no list.
        B::Equal => return Ok(Value::Bool(a == b)),
        B::NotEqual => return Ok(Value::Bool(a != b)),
        _ => {}
    }
    let (a, b) = (number(a, left)?, number(b, right)?);
    let result = match operator {
        B::Add => a.add(&b),
        B::Subtract => a.subtract(&b),
        B::Multiply => a.multiply(&b),
        B::Divide => a.divide(&b),
        B::Modulo => a.modulo(&b),
        B::Less => return Ok(Value::Bool(a < b)),
        B::LessOrEqual => return Ok(Value::Bool(a <= b)),
        B::Greater => return Ok(Value::Bool(a > b)),
        _ => return Ok(Value::Bool(a >= b)),
    };
    result.map(Value::Number).ok_or_else(|| error(span, "this division has no result"))
}

/// Returns `a && b` or `a || b`, as the peer does: where one side decides, whichever it is, the other may fail. So a file
/// can say `v != null && length(v) > 0`. A null decides `&&` as false does.
pub(super) fn logical(
    operator: BinaryOperator,
    (a, left): (Result<Value, EvalError>, Span),
    (b, right): (Result<Value, EvalError>, Span),
) -> Result<Value, EvalError> {
    let is_or = operator == BinaryOperator::Or;
    let converted = |side: Result<Value, EvalError>, span| match side {
        Ok(Value::Null(_)) => Ok(Ok(None)),
        Ok(value) => boolean(&value, span).map(|flag| Ok(Some(flag))),
        Err(why) => Ok(Err(why)),
    };
    let (a, b) = (converted(a, left)?, converted(b, right)?);
    let decides = |side: &Result<Option<bool>, EvalError>| match side {
        Ok(Some(flag)) => *flag == is_or,
        Ok(None) => !is_or,
        Err(_) => false,
    };
    match (a, b) {
        (a, b) if decides(&a) || decides(&b) => Ok(Value::Bool(is_or)),
        (Err(mut first), Err(second)) => {
            first.and(*second);
            Err(first)
        }
        (Err(why), _) | (_, Err(why)) => Err(why),
        (Ok(None), _) => Err(null_flag(left)),
        (_, Ok(None)) => Err(null_flag(right)),
        _ => Ok(Value::Bool(!is_or)),
    }
}

pub(super) fn number(value: &Value, span: Span) -> Result<Number, EvalError> {
    match convert(value, &Type::Number) {
        Ok(Value::Number(number)) => Ok(number),
        Ok(_) => Err(error(span, "this is null, where a number is needed")),
        Err(_) => Err(error(span, format!("number required, but have {}", described(value)))),
    }
}

fn boolean(value: &Value, span: Span) -> Result<bool, EvalError> {
    match convert(value, &Type::Bool) {
        Ok(Value::Bool(flag)) => Ok(flag),
        Ok(_) => Err(null_flag(span)),
        Err(_) => Err(error(span, format!("bool required, but have {}", described(value)))),
    }
}

fn null_flag(span: Span) -> EvalError {
    error(span, "this is null, where true or false is needed")
}

fn described(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the string \"{text}\""),
        other => format!("{}", other.type_of()),
    }
}
