//! One verb of `format`, such as `%-8.3s`: its flags, and how values are printed with it. The rules are cty's, which leaves
//! numbers to Go's `fmt` and `math/big`.

use super::encoding::json_text;
use super::text::graphemes;
use crate::lang::convert::convert;
use crate::lang::number::Number;
use crate::lang::value::{Type, Value};

/// What stands between `%` and the letter.
#[derive(Default)]
pub(super) struct Verb {
    pub is_left: bool,
    pub has_plus: bool,
    pub has_space: bool,
    pub has_zero: bool,
    pub has_sharp: bool,
    pub width: usize,
    pub precision: Option<usize>,
}

impl Verb {
    /// Prints a value with the verb's letter.
    ///
    /// # Errors
    /// There is no such letter, or the value is of no kind that it prints.
    pub fn print(&self, letter: char, argument: &Value) -> Result<String, String> {
        if argument.is_null() && letter != 'v' {
            return Err(format!("`%{letter}` cannot print null"));
        }
        match letter {
            'v' => self.as_is(argument).map(|text| self.padded(text)),
            's' | 'q' => {
                let Value::String(text) = convert(argument, &Type::String)? else { return Ok(String::new()) };
                let cut = self.cut(&text);
                Ok(self.padded(if letter == 'q' { json_text(&Value::string(cut))? } else { cut }))
            }
            // Neither width nor precision counts.
            't' => match convert(argument, &Type::Bool) {
                Ok(Value::Bool(flag)) => Ok(flag.to_string()),
                _ => Err("`%t` needs true or false".into()),
            },
            'b' | 'd' | 'o' | 'x' | 'X' => self.integer(letter, &number(letter, argument)?),
            'e' | 'E' | 'f' | 'g' | 'G' => Ok(self.float(letter, &number(letter, argument)?)),
            _ => Err(format!("no verb `%{letter}`")),
        }
    }

    fn as_is(&self, argument: &Value) -> Result<String, String> {
        match argument {
            Value::String(text) if !self.has_sharp => Ok(text.to_string()),
            Value::Number(number) if !self.has_sharp => Ok(match number.shortest_decimal() {
                Some(decimal) => format!("{}{}", minus(number), general(&decimal, None, 'g')),
                None => number.to_string(),
            }),
            _ => json_text(argument),
        }
    }

    /// A precision of 0 counts as none.
    fn cut(&self, text: &str) -> String {
        match self.precision.filter(|n| *n > 0) {
            Some(n) => graphemes(text).take(n).collect(),
            None => text.to_owned(),
        }
    }

    /// Pads a text by what a reader sees as signs; with the zero flag by zeros, on either side.
    fn padded(&self, text: String) -> String {
        if self.width == 0 {
            return text;
        }
        let missing = self.width.saturating_sub(graphemes(&text).take(self.width).count());
        let padding = if self.has_zero { "0" } else { " " }.repeat(missing);
        if self.is_left { text + &padding } else { padding + &text }
    }

    fn sign(&self, number: &Number) -> &'static str {
        match number {
            number if number.is_negative() => "-",
            _ if self.has_plus => "+",
            _ if self.has_space => " ",
            _ => "",
        }
    }

    /// As Go's `big.Int` prints itself: the precision is the least number of digits.
    fn integer(&self, letter: char, number: &Number) -> Result<String, String> {
        let radix = match letter {
            'b' => 2,
            'o' => 8,
            'd' => 10,
            _ => 16,
        };
        let digits = number.whole_digits(radix).ok_or_else(|| format!("`%{letter}` needs a whole number"))?;
        let digits = if letter == 'X' { digits.to_uppercase() } else { digits };
        if self.precision == Some(0) && digits == "0" {
            return Ok(String::new());
        }
        let prefix = match letter {
            _ if !self.has_sharp => "",
            'b' => "0b",
            'o' => "0",
            'x' => "0x",
            'X' => "0X",
            _ => "",
        };
        // Zero has no sign here.
        let sign =
            if number.is_zero() && number.is_negative() { self.sign(&Number::from(0i64)) } else { self.sign(number) };
        let mut zeros = self.precision.unwrap_or(0).saturating_sub(digits.len());
        let missing = self.width.saturating_sub(sign.len() + prefix.len() + zeros + digits.len());
        let (mut left, mut right) = (0, 0);
        match (self.is_left, self.has_zero && self.precision.is_none()) {
            (true, _) => right = missing,
            (false, true) => zeros = missing,
            (false, false) => left = missing,
        }
        let spaces = |n: usize| " ".repeat(n);
        Ok(format!("{}{sign}{prefix}{}{digits}{}", spaces(left), "0".repeat(zeros), spaces(right)))
    }

    /// As Go's `big.Float` prints itself.
    fn float(&self, letter: char, number: &Number) -> String {
        let sign = self.sign(number);
        let (text, sign, is_finite) = match number.decimal().zip(number.shortest_decimal()) {
            Some((exact, shortest)) => (self.finite(letter, exact, &shortest), sign, true),
            None => ("Inf".to_owned(), if sign.is_empty() { "+" } else { sign }, false),
        };
        let missing = self.width.saturating_sub(sign.len() + text.len());
        match (self.has_zero && is_finite, self.is_left) {
            (true, _) => format!("{sign}{}{text}", "0".repeat(missing)),
            (false, true) => format!("{sign}{text}{}", " ".repeat(missing)),
            (false, false) => format!("{}{sign}{text}", " ".repeat(missing)),
        }
    }

    fn finite(&self, letter: char, exact: Decimal, shortest: &Decimal) -> String {
        /// Digits after the point where none are asked for.
        const DECIMALS: usize = 6;
        match (letter, self.precision) {
            ('f', n) => {
                let n = n.unwrap_or(DECIMALS);
                let n_digits = exact.1.saturating_add(n as i64);
                fixed_point(&rounded(exact, n_digits), n)
            }
            ('e' | 'E', n) => {
                let n = n.unwrap_or(DECIMALS);
                exponential(&rounded(exact, n as i64 + 1), n, letter)
            }
            (_, None) => general(shortest, None, letter),
            (_, Some(n)) => {
                let n = n.max(1);
                general(&rounded(exact, n as i64), Some(n), letter)
            }
        }
    }
}

/// 0.d₀d₁… × 10^point; no digits for zero.
type Decimal = (Vec<u8>, i64);

fn minus(number: &Number) -> &'static str {
    if number.is_negative() { "-" } else { "" }
}

fn number(letter: char, argument: &Value) -> Result<Number, String> {
    match convert(argument, &Type::Number) {
        Ok(Value::Number(number)) => Ok(number),
        _ => Err(format!("`%{letter}` needs a number")),
    }
}

/// Keeps the first `n_digits` digits, rounding half to even.
fn rounded((mut digits, mut point): Decimal, n_digits: i64) -> Decimal {
    let Some(n) = usize::try_from(n_digits).ok().filter(|n| *n < digits.len()) else {
        return if n_digits < 0 { (Vec::new(), 0) } else { (digits, point) };
    };
    let is_half = digits[n] == 5 && n + 1 == digits.len();
    let is_up = if is_half { n > 0 && digits[n - 1] % 2 == 1 } else { digits[n] >= 5 };
    digits.truncate(n);
    if is_up {
        while digits.last() == Some(&9) {
            digits.pop();
        }
        match digits.last_mut() {
            Some(last) => *last += 1,
            None => {
                digits.push(1);
                point += 1;
            }
        }
    }
    while digits.last() == Some(&0) {
        digits.pop();
    }
    if digits.is_empty() {
        point = 0;
    }
    (digits, point)
}

fn digit((digits, _): &Decimal, index: i64) -> char {
    usize::try_from(index).ok().and_then(|i| digits.get(i)).map_or('0', |digit| char::from(b'0' + digit))
}

fn fixed_point(decimal: &Decimal, decimals: usize) -> String {
    let point = decimal.1;
    let mut text: String = if point > 0 { (0..point).map(|i| digit(decimal, i)).collect() } else { "0".into() };
    if decimals > 0 {
        text.push('.');
        text.extend((point..point + decimals as i64).map(|i| digit(decimal, i)));
    }
    text
}

/// `1.5e+03`: two digits of exponent at least.
fn exponential(decimal: &Decimal, decimals: usize, letter: char) -> String {
    let mut text = String::from(digit(decimal, 0));
    if decimals > 0 {
        text.push('.');
        text.extend((1..=decimals as i64).map(|i| digit(decimal, i)));
    }
    let exponent = if decimal.0.is_empty() { 0 } else { decimal.1 - 1 };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{text}{letter}{sign}{:02}", exponent.abs())
}

/// Without an exponent where that is shorter; `n_digits` are those asked for, none for as few as say the number.
fn general(decimal: &Decimal, n_digits: Option<usize>, letter: char) -> String {
    /// From this exponent on, a number of as few digits as say it is written with one.
    const LARGE: i64 = 6;
    let n_has = decimal.0.len();
    let limit = match n_digits {
        Some(n) if n > n_has && n_has as i64 >= decimal.1 => n_has as i64,
        Some(n) => n as i64,
        None => LARGE,
    };
    let n = n_digits.unwrap_or(n_has);
    let exponent = decimal.1 - 1;
    if exponent < -4 || exponent >= limit {
        let letter = if letter == 'g' { 'e' } else { 'E' };
        return exponential(decimal, n.min(n_has).saturating_sub(1), letter);
    }
    let n = if n as i64 > decimal.1 { n_has } else { n };
    fixed_point(decimal, usize::try_from(n as i64 - decimal.1).unwrap_or(0))
}
