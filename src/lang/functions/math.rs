//! Functions of numbers and bools.

use std::cmp::Ordering;

use super::Parameter::{Bool, Nullable, Number as N};
use super::{Function, World, fixed, number_at, variadic, whole_at};
use crate::lang::number::Number;
use crate::lang::value::Value;

pub(super) const TABLE: &[Function] = &[
    fixed("absolute", &[N], |_, v| {
        let n = number_at(v, 0);
        Ok(Value::Number(if n.is_negative() { n.negate() } else { n }))
    }),
    fixed("add", &[N, N], |_, v| arithmetic(v, Number::add)),
    fixed("and", &[Bool, Bool], |_, v| Ok(Value::Bool(is_true(v, 0) && is_true(v, 1)))),
    fixed("ceil", &[N], |_, v| Ok(Value::Number(number_at(v, 0).ceil()))),
    fixed("divide", &[N, N], |_, v| arithmetic(v, Number::divide)),
    fixed("equal", &[Nullable, Nullable], |_, v| Ok(Value::Bool(is_equal(v)))),
    fixed("floor", &[N], |_, v| Ok(Value::Number(number_at(v, 0).floor()))),
    fixed("greaterthan", &[N, N], |_, v| Ok(Value::Bool(order(v).is_gt()))),
    fixed("greaterthanorequalto", &[N, N], |_, v| Ok(Value::Bool(order(v).is_ge()))),
    fixed("int", &[N], |_, v| Ok(Value::Number(number_at(v, 0).truncate()))),
    fixed("lessthan", &[N, N], |_, v| Ok(Value::Bool(order(v).is_lt()))),
    fixed("lessthanorequalto", &[N, N], |_, v| Ok(Value::Bool(order(v).is_le()))),
    fixed("log", &[N, N], |_, v| machine(number_at(v, 0).to_f64().ln() / number_at(v, 1).to_f64().ln())),
    variadic("max", &[], N, |_, v| extreme(v, Ordering::Greater)),
    variadic("min", &[], N, |_, v| extreme(v, Ordering::Less)),
    fixed("modulo", &[N, N], |_, v| arithmetic(v, Number::modulo)),
    fixed("multiply", &[N, N], |_, v| arithmetic(v, Number::multiply)),
    fixed("negate", &[N], |_, v| Ok(Value::Number(number_at(v, 0).negate()))),
    fixed("not", &[Bool], |_, v| Ok(Value::Bool(!is_true(v, 0)))),
    fixed("notequal", &[Nullable, Nullable], |_, v| Ok(Value::Bool(!is_equal(v)))),
    fixed("or", &[Bool, Bool], |_, v| Ok(Value::Bool(is_true(v, 0) || is_true(v, 1)))),
    fixed("pow", &[N, N], |_, v| machine(number_at(v, 0).to_f64().powf(number_at(v, 1).to_f64()))),
    variadic("range", &[N], N, range),
    fixed("signum", &[N], |_, v| {
        let n = number_at(v, 0);
        Ok(Value::Number(Number::from(if n.is_zero() {
            0i64
        } else if n.is_negative() {
            -1
        } else {
            1
        })))
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

fn range(_: &World, v: &[Value]) -> Result<Value, String> {
    let (start, end) = match v.len() {
        1 => (0, whole_at(v, 0)?),
        _ => (whole_at(v, 0)?, whole_at(v, 1)?),
    };
    let step = match v.len() {
        0..=2 => {
            if end < start {
                -1
            } else {
                1
            }
        }
        3 => whole_at(v, 2)?,
        _ => return Err("at most three numbers are taken".into()),
    };
    if step == 0 || (step > 0) != (end >= start) && start != end {
        return Err("the step leads away from the end".into());
    }
    let n = (end as i128 - start as i128).unsigned_abs().div_ceil(u128::from(step.unsigned_abs()));
    if n > 1024 {
        return Err("more than 1024 values".into());
    }
    let value = |i: u128| i64::try_from(i128::from(start) + i as i128 * i128::from(step)).map(Number::from);
    let values: Result<Vec<Number>, _> = (0..n).map(value).collect();
    let values = values.map_err(|_| "a value is too large")?;
    Ok(Value::list(values.into_iter().map(Value::Number).collect()))
}
