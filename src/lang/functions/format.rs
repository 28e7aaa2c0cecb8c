//! `format` and `formatlist`: printf verbs as cty has them.

use super::Parameter::{Nullable, Text};
use std::iter::Peekable;
use std::str::Chars;

use super::verb::Verb;
use super::{Function, World, text_at, variadic};
use crate::lang::limits::{items_fit, text_fits, value_fits};
use crate::lang::value::Value;

/// The most that a width or a precision may be.
const MAX_WIDTH: usize = 1_000_000;

pub(super) const TABLE: &[Function] = &[
    variadic("format", &[Text], Nullable, |world, v| {
        format(world, text_at(v, 0), v.get(1..).unwrap_or(&[])).map(Value::string)
    }),
    variadic("formatlist", &[Text], Nullable, formatlist),
];

fn formatlist(world: &World, v: &[Value]) -> Result<Value, String> {
    let arguments = v.get(1..).unwrap_or(&[]);
    let lengths: Vec<usize> = arguments.iter().filter_map(|a| a.as_items().map(<[Value]>::len)).collect();
    let n = lengths.first().copied().unwrap_or(1);
    if lengths.iter().any(|length| *length != n) {
        return Err("the lists have different lengths".into());
    }
    items_fit(n.checked_mul(arguments.len()))?;
    let row = |i: usize| -> Vec<Value> {
        arguments.iter().map(|a| a.as_items().map_or_else(|| a.clone(), |items| items[i].clone())).collect()
    };
    let (mut rows, mut size) = (Vec::with_capacity(n), 0usize);
    for i in 0..n {
        let text = Value::string(format(world, text_at(v, 0), &row(i))?);
        size = size.saturating_add(text.size());
        value_fits(Some(size))?;
        rows.push(text);
    }
    Ok(Value::list(rows))
}

fn format(world: &World, pattern: &str, arguments: &[Value]) -> Result<String, String> {
    let mut handled = pattern.len();
    let (mut text, mut next, mut highest) = (String::new(), 0usize, 0usize);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            text.push('%');
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = chars.next_if(|c| "-+ 0#".contains(*c)) {
            match flag {
                '-' => verb.is_left = true,
                '+' => verb.has_plus = true,
                ' ' => verb.has_space = true,
                '0' => verb.has_zero = true,
                _ => verb.has_sharp = true,
            }
        }
        verb.width = if chars.peek() == Some(&'0') { 0 } else { size(&mut chars)? };
        if chars.next_if_eq(&'.').is_some() {
            verb.precision = Some(size(&mut chars)?);
        }
        if chars.next_if_eq(&'[').is_some() {
            let mut number = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                number.push(digit);
            }
            let index = number.parse::<usize>().ok().filter(|_| chars.next() == Some(']') && !number.starts_with('0'));
            next = index.and_then(|n| n.checked_sub(1)).ok_or("an argument index is a number from 1 up")?;
        }
        let letter = chars.next().ok_or("the format ends inside a verb")?;
        let argument =
            arguments.get(next).ok_or_else(|| format!("there is no argument {} for `%{letter}`", next + 1))?;
        next += 1;
        highest = highest.max(next);
        // An argument may be printed by any number of verbs, even where they cut it to nothing.
        handled = handled.saturating_add(argument.size());
        value_fits(Some(handled))?;
        let piece = verb.print(letter, argument)?;
        text_fits(text.len().checked_add(piece.len()))?;
        text.push_str(&piece);
    }
    world.add_effort(handled);
    if highest < arguments.len() {
        return Err(format!("{} arguments are given, but the format uses {highest}", arguments.len()));
    }
    Ok(text)
}

/// Takes the digits of a width or a precision; 0 where there are none.
fn size(chars: &mut Peekable<Chars<'_>>) -> Result<usize, String> {
    let mut size = 0usize;
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        size = size * 10 + digit.to_digit(10).unwrap_or(0) as usize;
        if size > MAX_WIDTH {
            return Err(format!("a width or precision is {MAX_WIDTH} at most"));
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::number::Number;

    #[test]
    fn verbs_print_as_printf_does() {
        let n = |text: &str| Value::Number(Number::parse(text).expect("a number"));
        let (s, world) = (Value::string, World::default());
        let cases = [
            ("%05.2f", vec![n("3.14159")], "03.14"),
            ("%-5s|", vec![s("ab")], "ab   |"),
            ("%03d", vec![n("-7")], "-07"),
            ("%x %X", vec![n("255"), n("255")], "ff FF"),
            ("%[2]s%[1]s", vec![s("a"), s("b")], "ba"),
            ("%q%%", vec![s("a\"b")], "\"a\\\"b\"%"),
            ("%v", vec![Value::tuple(vec![n("1"), s("b")])], "[1,\"b\"]"),
            ("%.2e", vec![n("1500")], "1.50e+03"),
            ("%.1f", vec![n("-0.26")], "-0.3"),
        ];
        for (pattern, arguments, text) in cases {
            assert_eq!(format(&world, pattern, &arguments), Ok(text.to_owned()), "{pattern}");
        }
        for (pattern, arguments) in [("%s", vec![]), ("x", vec![s("a")]), ("%", vec![])] {
            assert!(format(&world, pattern, &arguments).is_err(), "{pattern}");
        }
    }
}
