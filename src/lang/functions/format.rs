//! `format` and `formatlist`: printf verbs as cty has them.

use super::Parameter::{Nullable, Text};
use super::encoding::json_text;
use super::text::graphemes;
use super::{Function, World, text_at, variadic};
use crate::lang::convert::{convert, primitive_text};
use crate::lang::limits::{items_fit, text_fits, value_fits};
use crate::lang::number::Number;
use crate::lang::value::{Type, Value};

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

#[derive(Default)]
struct Verb {
    is_left: bool,
    has_plus: bool,
    has_space: bool,
    has_zero: bool,
    has_sharp: bool,
    width: usize,
    precision: Option<usize>,
}

fn format(world: &World, pattern: &str, arguments: &[Value]) -> Result<String, String> {
    let mut handled = pattern.len();
    let (mut text, mut next, mut highest) = (String::new(), 0usize, 0usize);
    let mut has_index = false;
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
        let mut digits = || {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse::<usize>().ok().map(|n| n.min(10_000))
        };
        verb.width = digits().unwrap_or(0);
        if chars.next_if_eq(&'.').is_some() {
            let mut precision = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                precision.push(digit);
            }
            verb.precision = Some(precision.parse::<usize>().unwrap_or(0).min(10_000));
        }
        if chars.next_if_eq(&'[').is_some() {
            let mut index = String::new();
            while let Some(digit) = chars.next_if(|c| *c != ']') {
                index.push(digit);
            }
            chars.next();
            next =
                index.parse::<usize>().ok().and_then(|n| n.checked_sub(1)).ok_or("an argument index is from 1 up")?;
            has_index = true;
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
    if highest < arguments.len() && !has_index {
        return Err(format!("{} arguments are given, but the format uses {highest}", arguments.len()));
    }
    Ok(text)
}

impl Verb {
    fn print(&self, letter: char, argument: &Value) -> Result<String, String> {
        let number = || match convert(argument, &Type::Number) {
            Ok(Value::Number(number)) => Ok(number),
            _ => Err(format!("`%{letter}` needs a number")),
        };
        let whole = || number().map(|n| n.truncate().to_i64().unwrap_or(0));
        let text = match letter {
            'v' if !self.has_sharp => self.cut(primitive_text(argument).map_or_else(|| json_text(argument), Ok)?),
            'v' => json_text(argument)?,
            's' | 'q' => {
                let text = match convert(argument, &Type::String) {
                    Ok(Value::String(text)) => text.to_string(),
                    Ok(_) => return Err(format!("`%{letter}` cannot print null")),
                    Err(why) => return Err(why),
                };
                if letter == 'q' { json_text(&Value::string(self.cut(text)))? } else { self.cut(text) }
            }
            't' => match convert(argument, &Type::Bool) {
                Ok(Value::Bool(flag)) => flag.to_string(),
                _ => return Err("`%t` needs true or false".into()),
            },
            'd' => self.signed(whole_text(&number()?)?),
            'b' => self.signed(signed_radix(whole()?, |n| format!("{n:b}"))),
            'o' => self.signed(signed_radix(whole()?, |n| format!("{n:o}"))),
            'x' | 'X' => match argument {
                Value::String(text) => {
                    text.bytes().map(|b| if letter == 'x' { format!("{b:02x}") } else { format!("{b:02X}") }).collect()
                }
                _ if letter == 'x' => self.signed(signed_radix(whole()?, |n| format!("{n:x}"))),
                _ => self.signed(signed_radix(whole()?, |n| format!("{n:X}"))),
            },
            'f' => self.signed(fixed_point(&number()?, self.precision.unwrap_or(6))),
            'e' | 'E' => self.signed(exponential(number()?.to_f64(), self.precision.unwrap_or(6), letter)),
            'g' | 'G' => self.signed(shortest(&number()?, letter)),
            _ => return Err(format!("no verb `%{letter}`")),
        };
        Ok(self.padded(text, matches!(letter, 'd' | 'b' | 'o' | 'x' | 'X' | 'f' | 'e' | 'E' | 'g' | 'G')))
    }

    fn cut(&self, text: String) -> String {
        match self.precision {
            Some(n) => graphemes(&text).take(n).collect(),
            None => text,
        }
    }

    fn signed(&self, text: String) -> String {
        match text.starts_with('-') {
            false if self.has_plus => format!("+{text}"),
            false if self.has_space => format!(" {text}"),
            _ => text,
        }
    }

    fn padded(&self, text: String, is_number: bool) -> String {
        let missing = self.width.saturating_sub(graphemes(&text).take(self.width).count());
        let (sign, digits) = match text.strip_prefix(['-', '+']) {
            Some(digits) if is_number => (&text[..1], digits),
            _ => ("", text.as_str()),
        };
        match (self.is_left, self.has_zero) {
            (true, _) => format!("{text}{}", " ".repeat(missing)),
            (false, true) => format!("{sign}{}{digits}", "0".repeat(missing)),
            (false, false) => format!("{}{text}", " ".repeat(missing)),
        }
    }
}

fn signed_radix(number: i64, print: impl Fn(u64) -> String) -> String {
    format!("{}{}", if number < 0 { "-" } else { "" }, print(number.unsigned_abs()))
}

/// Prints with a fixed number of decimals, rounding half away from zero on the exact value.
fn fixed_point(number: &Number, decimals: usize) -> String {
    let scale = Number::parse(&format!("1e{decimals}")).unwrap_or_else(|| Number::from(1i64));
    let magnitude = if number.is_negative() { number.negate() } else { number.clone() };
    let half = Number::parse("0.5").unwrap_or_else(|| Number::from(0i64));
    let scaled =
        magnitude.multiply(&scale).and_then(|n| n.add(&half)).map(|n| n.floor().to_string()).unwrap_or_default();
    let digits = format!("{scaled:0>width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let sign = if number.is_negative() { "-" } else { "" };
    if decimals == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// `1.5e+03`: two digits of exponent at least, as C prints it.
fn exponential(number: f64, decimals: usize, letter: char) -> String {
    let text = format!("{number:.decimals$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}{letter}{sign}{digits:0>2}")
}

/// The digits of a whole number.
fn whole_text(number: &Number) -> Result<String, String> {
    match number.is_whole() {
        true => Ok(number.to_string()),
        false => Err("`%d` needs a whole number".into()),
    }
}

/// As few digits as say the number, with an exponent where it is below -4 or above 20 (Go's `%g`).
fn shortest(number: &Number, letter: char) -> String {
    let value = number.to_f64();
    let scientific = format!("{value:e}");
    match scientific.split_once('e').and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?))) {
        Some((digits, exponent)) if !(-4..=20).contains(&exponent) && value.is_finite() => {
            let (e, sign) = (if letter == 'g' { 'e' } else { 'E' }, if exponent < 0 { '-' } else { '+' });
            format!("{digits}{e}{sign}{:02}", exponent.abs())
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
