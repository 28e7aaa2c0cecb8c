//! Functions of numbers and bools.

use std::cmp::Ordering;

use super::Parameter::{Bool, Nullable, Number as N};
use super::{Function, World, fixed, float, number_at, variadic, whole_at};
use crate::lang::number::Number;
use crate::lang::value::Value;

pub(super) const TABLE: &[Function] = &[
    fixed("absolute", &[N], |_, v| {
        let n = number_at(v, 0);
        Ok(Value::Number(if n.is_negative() { n.negate() } else { n }))
    }),
    fixed("add", &[N, N], |_, v| arithmetic(v, Number::add)),
    fixed("and", &[Bool, Bool], |_, v| Ok(Value::Bool(is_true(v, 0) && is_true(v, 1)))),
    fixed("ceil", &[N], |_, v| Ok(Value::Number(number_at(v, 0).ceil().without_minus_zero()))),
    fixed("divide", &[N, N], |_, v| arithmetic(v, Number::divide)),
    fixed("equal", &[Nullable, Nullable], |_, v| Ok(Value::Bool(is_equal(v)))),
    fixed("floor", &[N], |_, v| Ok(Value::Number(number_at(v, 0).floor().without_minus_zero()))),
    fixed("greaterthan", &[N, N], |_, v| Ok(Value::Bool(order(v).is_gt()))),
    fixed("greaterthanorequalto", &[N, N], |_, v| Ok(Value::Bool(order(v).is_ge()))),
    fixed("int", &[N], |_, v| {
        let n = number_at(v, 0);
        Ok(Value::Number(if n.is_whole() { n } else { n.truncate().without_minus_zero().to_counted() }))
    }),
    fixed("lessthan", &[N, N], |_, v| Ok(Value::Bool(order(v).is_lt()))),
    fixed("lessthanorequalto", &[N, N], |_, v| Ok(Value::Bool(order(v).is_le()))),
    fixed("log", &[N, N], |_, v| machine(float::ln(number_at(v, 0).to_f64()) / float::ln(number_at(v, 1).to_f64()))),
    variadic("max", &[], N, |_, v| extreme(v, Ordering::Greater)),
    variadic("min", &[], N, |_, v| extreme(v, Ordering::Less)),
    fixed("modulo", &[N, N], |_, v| arithmetic(v, Number::modulo)),
    fixed("multiply", &[N, N], |_, v| arithmetic(v, Number::multiply)),
    fixed("negate", &[N], |_, v| Ok(Value::Number(number_at(v, 0).negate()))),
    fixed("not", &[Bool], |_, v| Ok(Value::Bool(!is_true(v, 0)))),
    fixed("notequal", &[Nullable, Nullable], |_, v| Ok(Value::Bool(!is_equal(v)))),
    fixed("or", &[Bool, Bool], |_, v| Ok(Value::Bool(is_true(v, 0) || is_true(v, 1)))),
    fixed("pow", &[N, N], |_, v| machine(float::pow(number_at(v, 0).to_f64(), number_at(v, 1).to_f64()))),
    variadic("range", &[N], N, range),
    fixed("signum", &[N], |_, v| {
        // The peer has no sign of a fraction.
        Ok(Value::Number(Number::from(whole_at(v, 0)?.signum())))
    }),
    fixed("subtract", &[N, N], |_, v| arithmetic(v, Number::subtract)),
];

fn is_true(v: &[Value], index: usize) -> bool {
    matches!(v.get(index), Some(Value::Bool(true)))
}

fn is_equal(v: &[Value]) -> bool {
    v.first() == v.get(1)
}

fn order(v: &[Value]) -> Ordering {
    number_at(v, 0).cmp(&number_at(v, 1))
}

fn arithmetic(v: &[Value], operation: fn(&Number, &Number) -> Option<Number>) -> Result<Value, String> {
    operation(&number_at(v, 0), &number_at(v, 1)).map(Value::Number).ok_or_else(|| "this has no result".into())
}

fn machine(value: f64) -> Result<Value, String> {
    Number::from_f64(value).map(Value::Number).ok_or_else(|| "this has no result".into())
}

fn extreme(v: &[Value], wanted: Ordering) -> Result<Value, String> {
    let mut numbers = (0..v.len()).map(|i| number_at(v, i));
    let first = numbers.next().ok_or("at least one number is needed")?;
    Ok(Value::Number(numbers.fold(first, |best, n| if n.cmp(&best) == wanted { n } else { best })))
}

/// Values that `range` makes at most, as in the peer.
const MAX_RANGE: usize = 1024;

fn range(_: &World, v: &[Value]) -> Result<Value, String> {
    let zero = Number::from(0i64);
    let (start, end) = match v.len() {
        1 => (zero.clone(), number_at(v, 0)),
        2 | 3 => (number_at(v, 0), number_at(v, 1)),
        _ => return Err("one, two or three numbers are taken".into()),
    };
    let step = match v.len() {
        3 => number_at(v, 2),
        _ => Number::from(if end < start { -1i64 } else { 1 }),
    };
    let is_down = step < zero;
    if (step.is_zero() && start != end) || (is_down && end > start) || (!is_down && end < start) {
        return Err("the step leads away from the end".into());
    }
    let (mut values, mut n) = (Vec::new(), start);
    while if is_down { n > end } else { n < end } {
        if values.len() == MAX_RANGE {
            return Err(format!("more than {MAX_RANGE} values"));
        }
        values.push(Value::Number(n.clone()));
        n = n.add(&step).ok_or("this has no end")?;
    }
    Ok(Value::list(values))
}
