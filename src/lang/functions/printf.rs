//! How a printf verb prints a number or pads a text, as Go's `fmt` does with `big.Int` and `big.Float`.

use super::text::graphemes;
use crate::lang::number::{Decimal, Number};

/// Flags, width and precision of a verb.
#[derive(Default)]
pub(super) struct Verb {
    pub(super) is_left: bool,
    pub(super) has_plus: bool,
    pub(super) has_space: bool,
    pub(super) has_zero: bool,
    pub(super) has_sharp: bool,
    pub(super) width: usize,
    pub(super) precision: Option<usize>,
}

/// Digits of a mantissa from which on `%g` has an exponent, where no precision is given.
const SHORT_DIGITS: i64 = 6;

impl Verb {
    /// Returns as many signs of a text as the precision says; all for none or 0.
    pub(super) fn cut(&self, text: &str) -> String {
        match self.precision {
            Some(n @ 1..) => graphemes(text).take(n).collect(),
            _ => text.to_owned(),
        }
    }

    /// Pads a text to the width, with zeros on either side where the flag is given.
    pub(super) fn padded(&self, text: String) -> String {
        let missing = self.width.saturating_sub(graphemes(&text).take(self.width).count());
        let padding = if self.has_zero { "0" } else { " " }.repeat(missing);
        if self.is_left { text + &padding } else { padding + &text }
    }

    /// Prints a number as `%v` does.
    pub(super) fn plain(&self, number: &Number) -> String {
        let sign = match (number.is_negative(), number.is_infinite()) {
            (true, _) => "-",
            (false, true) => "+",
            _ => "",
        };
        format!("{sign}{}", magnitude('g', None, number))
    }

    /// Prints a number for one of the verbs `b d o x X e E f g G`.
    ///
    /// # Errors
    /// It is not whole, where the verb prints whole ones.
    pub(super) fn number(&self, letter: char, number: &Number) -> Result<String, String> {
        match letter {
            'b' | 'd' | 'o' | 'x' | 'X' => self.whole(letter, number),
            _ => Ok(self.fraction(letter, number)),
        }
    }

    fn whole(&self, letter: char, number: &Number) -> Result<String, String> {
        let (n_bits, prefix) = match letter {
            'b' => (1, "0b"),
            'o' => (3, "0"),
            'X' => (4, "0X"),
            _ => (4, "0x"),
        };
        let digits = number.bit_digits(n_bits).ok_or_else(|| format!("`%{letter}` needs a whole number"))?;
        let mut digits: String = match letter {
            'd' => fixed(&number.exact_digits(), 0),
            _ => digits.iter().filter_map(|digit| char::from_digit(u32::from(*digit), 16)).collect(),
        };
        if letter == 'X' {
            digits.make_ascii_uppercase();
        }
        let is_zero = number.is_zero();
        if is_zero && self.precision == Some(0) {
            return Ok(String::new());
        }
        let sign = self.sign(number.is_negative() && !is_zero);
        let prefix = if self.has_sharp && letter != 'd' { prefix } else { "" };
        let n_written = sign.len() + prefix.len() + digits.len();
        let n_zeros = match self.precision {
            Some(precision) => precision.saturating_sub(digits.len()),
            None if self.has_zero && !self.is_left => self.width.saturating_sub(n_written),
            None => 0,
        };
        Ok(self.spaced(&format!("{sign}{prefix}{}{digits}", "0".repeat(n_zeros))))
    }

    fn fraction(&self, letter: char, number: &Number) -> String {
        let sign = match (number.is_infinite(), number.is_negative()) {
            (true, false) if self.has_space => " ",
            (true, false) => "+",
            (_, is_negative) => self.sign(is_negative),
        };
        let precision = self.precision.or(if matches!(letter, 'e' | 'E' | 'f') { Some(6) } else { None });
        let text = magnitude(letter, precision, number);
        if self.has_zero && !number.is_infinite() {
            return format!("{sign}{}{text}", "0".repeat(self.width.saturating_sub(sign.len() + text.len())));
        }
        self.spaced(&format!("{sign}{text}"))
    }

    fn sign(&self, is_negative: bool) -> &'static str {
        match (is_negative, self.has_plus, self.has_space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        }
    }

    fn spaced(&self, text: &str) -> String {
        let spaces = " ".repeat(self.width.saturating_sub(text.len()));
        if self.is_left { format!("{text}{spaces}") } else { format!("{spaces}{text}") }
    }
}

/// Prints a number without its sign; `None` is as many digits as it takes.
fn magnitude(letter: char, precision: Option<usize>, number: &Number) -> String {
    if number.is_infinite() {
        return "Inf".to_owned();
    }
    let precision = precision.map(|n| n as i64);
    let e = if letter.is_ascii_uppercase() { 'E' } else { 'e' };
    match (letter, precision) {
        ('e' | 'E', Some(n)) => exponential(&rounded(number.exact_digits(), n + 1), n, e),
        ('f', Some(n)) => {
            let decimal = number.exact_digits();
            let n_digits = decimal.1 + n;
            fixed(&rounded(decimal, n_digits), n)
        }
        (_, Some(n)) => general(&rounded(number.exact_digits(), n.max(1)), Some(n.max(1)), e),
        (_, None) => general(&number.shortest_digits(), None, e),
    }
}

/// Rounds to `n` digits, halves to the even one.
fn rounded((mut digits, point): Decimal, n: i64) -> Decimal {
    let Some(n) = usize::try_from(n).ok().filter(|n| *n < digits.len()) else { return (digits, point) };
    let is_half = digits[n] == 5 && n + 1 == digits.len();
    let is_up = if is_half { n > 0 && digits[n - 1] % 2 == 1 } else { digits[n] >= 5 };
    digits.truncate(n);
    let unwanted = if is_up { 9 } else { 0 };
    while digits.last() == Some(&unwanted) {
        digits.pop();
    }
    match digits.last_mut() {
        Some(last) => *last += u8::from(is_up),
        None if is_up => return (vec![1], point + 1),
        None => return (digits, 0),
    }
    (digits, point)
}

/// `%e` or `%f`, as the exponent is; `None` is as many digits as it takes.
fn general(decimal: &Decimal, precision: Option<i64>, e: char) -> String {
    let (n_given, point) = (decimal.0.len() as i64, decimal.1);
    let least = match precision {
        None => SHORT_DIGITS,
        Some(n) if n > n_given && n_given >= point => n_given,
        Some(n) => n,
    };
    let n_digits = precision.unwrap_or(n_given);
    match point - 1 < -4 || point > least {
        true => exponential(decimal, n_digits.min(n_given) - 1, e),
        false => fixed(decimal, (n_digits.min(n_given.max(point)) - point).max(0)),
    }
}

fn digit(decimal: &Decimal, index: i64) -> char {
    let digit = usize::try_from(index).ok().and_then(|i| decimal.0.get(i));
    digit.map_or('0', |digit| char::from(b'0' + digit))
}

fn exponential(decimal: &Decimal, n_decimals: i64, e: char) -> String {
    let exponent = if decimal.0.is_empty() { 0 } else { decimal.1 - 1 };
    let fraction: String = (1..=n_decimals).map(|i| digit(decimal, i)).collect();
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}{point}{fraction}{e}{sign}{:02}", digit(decimal, 0), exponent.abs())
}

fn fixed(decimal: &Decimal, n_decimals: i64) -> String {
    let point = decimal.1;
    let whole: String = (0..point).map(|i| digit(decimal, i)).collect();
    let fraction: String = (0..n_decimals).map(|i| digit(decimal, point + i)).collect();
    let whole = if whole.is_empty() { "0" } else { &whole };
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}
