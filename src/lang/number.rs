//! Numbers as the peer computes them: binary floating point with 512 bits, so that whole numbers stay whole and
//! `0.1 + 0.2` prints `0.3`. Text from outside may have fewer bits (53), as the peer's has.

use std::cmp::Ordering;
use std::fmt;

use super::natural::Natural;

/// A number: ± mantissa × 2^exponent, or infinity. Zero has a sign, as in the peer.
#[derive(Clone, Debug)]
pub struct Number {
    is_negative: bool,
    /// Odd or zero, at most `precision` bits. `None` for infinity.
    mantissa: Option<Natural>,
    exponent: i64,
    /// Bits of mantissa that results are rounded to.
    precision: u32,
}

/// Bits of a literal's mantissa.
const FULL: u32 = 512;
/// Bits of a whole number that a function counted.
const COUNTED: u32 = 64;
/// Bits of a number that came through a machine float.
const MACHINE: u32 = 53;
const MAX_EXPONENT: i64 = Number::MAX_EXPONENT;
/// Digits that a machine word holds.
const SHORT: usize = 19;

impl Number {
    /// More digits, and decimal exponents past this, are refused: nobody counts tags with them, and they would fill the
    /// memory.
    pub const MAX_EXPONENT: i64 = 5_000;

    /// Parses a decimal number: digits, a fraction, an exponent, a sign.
    pub fn parse(text: &str) -> Option<Number> {
        let (is_negative, rest) = match text.strip_prefix(['-', '+']) {
            Some(rest) => (text.starts_with('-'), rest),
            None => (false, text),
        };
        let (digits, exponent) = match rest.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i64>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if exponent == 0 && fraction.is_empty() && (1..=SHORT).contains(&whole.len()) {
            let value = whole.bytes().all(|b| b.is_ascii_digit()).then(|| whole.parse::<u64>().ok())??;
            return Some(rounded(is_negative, Natural::from_u64(value), 0, FULL));
        }
        let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let n_digits = whole.len() + fraction.len();
        if n_digits == 0 || n_digits as i64 > MAX_EXPONENT || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        if exponent.abs() > MAX_EXPONENT {
            return None;
        }
        let mantissa = Natural::from_digits(&format!("{whole}{fraction}"), 10);
        let exponent = exponent - fraction.len() as i64;
        let power = Natural::power_of_five(exponent.unsigned_abs() as usize);
        let number = match exponent {
            0.. => rounded(is_negative, mantissa.multiply(&power), exponent, FULL),
            _ => quotient(is_negative, &mantissa, &power, exponent, FULL),
        };
        Some(number)
    }

    /// Says why [`Number::parse`] has no number for a text, which `otherwise` says if it is not for its size.
    pub fn refusal(text: &str, otherwise: &str) -> String {
        let is_digit_like =
            |b: u8| b.is_ascii_hexdigit() || matches!(b, b'.' | b'+' | b'-' | b'_' | b'x' | b'o' | b'E');
        let is_number_like = text.bytes().all(is_digit_like) && text.ends_with(|c: char| c.is_ascii_hexdigit());
        match is_number_like && (text.len() as i64 > MAX_EXPONENT || text.contains(['e', 'E'])) {
            true => format!("bake holds numbers of up to {MAX_EXPONENT} digits, and exponents up to {MAX_EXPONENT}"),
            false => otherwise.to_owned(),
        }
    }

    /// Parses whole digits of a base from 2 to 62; a sign is allowed. Past 36, small letters come before capitals.
    pub fn parse_radix(text: &str, radix: u32) -> Option<Number> {
        let is_negative = text.starts_with('-');
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || digits.len() > MAX_EXPONENT as usize {
            return None;
        }
        let value = |c: char| match c {
            'A'..='Z' if radix > 36 => Some(c as u32 - 'A' as u32 + 36),
            _ => c.to_digit(36),
        };
        let values: Option<Vec<u32>> = digits.chars().map(|c| value(c).filter(|value| *value < radix)).collect();
        let whole = Natural::from_values(values?, radix);
        // Not rounded to the bits of a literal: all digits stay.
        let precision = u32::try_from(whole.bits()).unwrap_or(FULL).max(FULL);
        Some(rounded(is_negative && !whole.is_zero(), whole, 0, precision))
    }

    /// Returns the same number with the precision of a machine float, as text from the environment gets.
    #[must_use]
    pub fn to_machine(&self) -> Number {
        match &self.mantissa {
            Some(mantissa) => rounded(self.is_negative, mantissa.clone(), self.exponent, MACHINE),
            None => self.clone(),
        }
    }

    /// Returns a whole number with the precision that one has which a function made: 64 bits, or as many as it needs. What
    /// is divided by it is rounded to that.
    #[must_use]
    pub fn to_counted(&self) -> Number {
        let exponent = usize::try_from(self.exponent).unwrap_or(0);
        let n_bits = self.mantissa.as_ref().map_or(0, |mantissa| mantissa.bits() + exponent);
        Number { precision: u32::try_from(n_bits).unwrap_or(FULL).max(COUNTED), ..self.clone() }
    }

    /// Returns a machine float's exact value; `None` for not-a-number.
    pub fn from_f64(value: f64) -> Option<Number> {
        if value.is_nan() {
            return None;
        }
        if value.is_infinite() {
            return Some(infinity(value < 0.0));
        }
        let bits = value.to_bits();
        let (raw_exponent, fraction) = ((bits >> 52 & 0x7ff) as i64, bits & ((1 << 52) - 1));
        let (mantissa, exponent) =
            if raw_exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, raw_exponent - 1075) };
        Some(rounded(value.is_sign_negative(), Natural::from_u64(mantissa), exponent, MACHINE))
    }

    /// Returns the nearest machine float.
    pub fn to_f64(&self) -> f64 {
        self.to_machine().to_string().parse().unwrap_or(f64::NAN)
    }

    /// Returns the number if it is whole and fits.
    pub fn to_i64(&self) -> Option<i64> {
        let mantissa = self.mantissa.as_ref()?;
        if mantissa.is_zero() {
            return Some(0);
        }
        let shift = usize::try_from(self.exponent).ok().filter(|shift| *shift < 64)?;
        let magnitude = i128::from(mantissa.shift_left(shift).to_u64()?);
        i64::try_from(if self.is_negative { -magnitude } else { magnitude }).ok()
    }

    /// Returns what it takes to write it, in bytes handled: its digits, and for long ones their square, because each is
    /// divided out of all that follow.
    pub fn writing_effort(&self) -> usize {
        const BYTES_PER_SQUARE: usize = 64;
        let n_digits = self.max_digits();
        n_digits + n_digits * n_digits / BYTES_PER_SQUARE
    }

    /// Returns how many characters it has at most, written out.
    pub fn max_digits(&self) -> usize {
        const BITS_PER_DIGIT: usize = 3;
        let n_bits = self.mantissa.as_ref().map_or(0, Natural::bits);
        (n_bits + self.exponent.unsigned_abs() as usize) / BITS_PER_DIGIT + 4
    }

    /// Returns a whole number that its precision holds to the last digit.
    fn as_exact_whole(&self) -> Option<Natural> {
        let (mantissa, shift) = (self.mantissa.as_ref()?, usize::try_from(self.exponent).ok()?);
        (mantissa.bits() + shift <= self.precision as usize).then(|| mantissa.shift_left(shift))
    }

    /// Says whether it is a whole number.
    pub fn is_whole(&self) -> bool {
        self.mantissa.as_ref().is_some_and(|m| m.is_zero() || self.exponent >= 0)
    }

    /// Says whether it is 0 or -0.
    pub fn is_zero(&self) -> bool {
        self.mantissa.as_ref().is_some_and(Natural::is_zero)
    }

    /// Says whether its sign is minus.
    pub fn is_negative(&self) -> bool {
        self.is_negative
    }

    /// Returns the digits d₀d₁… of its magnitude 0.d₀d₁… × 10^point and that point, all of them and none for zero; `None`
    /// for infinity.
    pub fn decimal(&self) -> Option<(Vec<u8>, i64)> {
        self.mantissa.as_ref().map(|m| if m.is_zero() { (Vec::new(), 0) } else { exact(m, self.exponent) })
    }

    /// As [`Number::decimal`], but the fewest digits that mean this number at its precision.
    pub fn shortest_decimal(&self) -> Option<(Vec<u8>, i64)> {
        let precision = self.precision as usize;
        let of = |m: &Natural| if m.is_zero() { (Vec::new(), 0) } else { shortest(m, self.exponent, precision) };
        self.mantissa.as_ref().map(of)
    }

    /// Returns the digits of its magnitude to base 2, 8, 10 or 16, in lower case; `None` if it is not whole.
    pub fn whole_digits(&self, radix: u32) -> Option<String> {
        let mantissa = self.mantissa.as_ref().filter(|_| self.is_whole())?;
        let whole = mantissa.shift_left(usize::try_from(self.exponent).unwrap_or(0));
        Some(whole.digits(radix))
    }

    /// Returns it with the other sign.
    #[must_use]
    pub fn negate(&self) -> Number {
        Number { is_negative: !self.is_negative, ..self.clone() }
    }

    /// `self + other`; `None` for ∞ − ∞.
    pub fn add(&self, other: &Number) -> Option<Number> {
        let precision = self.precision.max(other.precision);
        let (Some(a), Some(b)) = (&self.mantissa, &other.mantissa) else {
            let is_lost = self.mantissa.is_none() && other.mantissa.is_none() && self.is_negative != other.is_negative;
            let infinite = if self.mantissa.is_none() { self } else { other };
            return (!is_lost).then(|| infinite.clone());
        };
        let exponent = self.exponent.min(other.exponent);
        let a = a.shift_left((self.exponent - exponent) as usize);
        let b = b.shift_left((other.exponent - exponent) as usize);
        let (is_negative, sum) = match (self.is_negative == other.is_negative, a.cmp(&b)) {
            (true, _) => (self.is_negative, a.add(&b)),
            (false, Ordering::Greater) => (self.is_negative, a.subtract(&b)),
            (false, Ordering::Less) => (other.is_negative, b.subtract(&a)),
            (false, Ordering::Equal) => (false, Natural::default()),
        };
        Some(rounded(is_negative, sum, exponent, precision))
    }

    /// `self - other`; `None` for ∞ − ∞.
    pub fn subtract(&self, other: &Number) -> Option<Number> {
        self.add(&other.negate())
    }

    /// `self × other`; `None` for 0 × ∞.
    pub fn multiply(&self, other: &Number) -> Option<Number> {
        let is_negative = self.is_negative != other.is_negative;
        match (&self.mantissa, &other.mantissa) {
            (Some(a), Some(b)) => Some(limited(rounded(
                is_negative,
                a.multiply(b),
                self.exponent + other.exponent,
                self.precision.max(other.precision),
            ))),
            _ if self.is_zero() || other.is_zero() => None,
            _ => Some(infinity(is_negative)),
        }
    }

    /// `self ÷ other`; a number other than 0 divided by 0 is infinite, as in the peer; `None` for 0 ÷ 0 and ∞ ÷ ∞.
    pub fn divide(&self, other: &Number) -> Option<Number> {
        let is_negative = self.is_negative != other.is_negative;
        let precision = self.precision.max(other.precision);
        match (&self.mantissa, &other.mantissa) {
            (None, None) => None,
            (None, Some(_)) => Some(infinity(is_negative)),
            (Some(_), None) => Some(rounded(is_negative, Natural::default(), 0, precision)),
            (Some(a), Some(b)) if b.is_zero() => (!a.is_zero()).then(|| infinity(is_negative)),
            (Some(a), Some(b)) => Some(limited(quotient(is_negative, a, b, self.exponent - other.exponent, precision))),
        }
    }

    /// The rest of dividing toward zero; the number itself for a division by zero, infinity where one of the two is
    /// infinite, as in the peer; `None` for 0 and ∞.
    pub fn modulo(&self, other: &Number) -> Option<Number> {
        if self.mantissa.is_none() || other.mantissa.is_none() {
            return self.multiply(other);
        }
        if other.is_zero() {
            return Some(self.clone());
        }
        let quotient = self.divide(other)?;
        quotient.mantissa.as_ref()?;
        self.subtract(&quotient.truncate().multiply(other)?)
    }

    /// Returns the whole number nearest to zero's side.
    #[must_use]
    pub fn truncate(&self) -> Number {
        match &self.mantissa {
            Some(mantissa) if self.exponent < 0 => {
                let shift = usize::try_from(-self.exponent).unwrap_or(usize::MAX).min(mantissa.bits());
                rounded(self.is_negative, mantissa.shift_right(shift), 0, self.precision)
            }
            _ => self.clone(),
        }
    }

    /// Returns the largest whole number that is not above it.
    #[must_use]
    pub fn floor(&self) -> Number {
        let whole = self.truncate();
        if !self.is_negative || self.is_whole() {
            return whole;
        }
        whole.subtract(&Number::from(1i64)).unwrap_or(whole)
    }

    /// Returns the smallest whole number that is not below it.
    #[must_use]
    pub fn ceil(&self) -> Number {
        self.negate().floor().negate()
    }

    /// Returns it with a plus sign if it is -0.
    #[must_use]
    pub fn without_minus_zero(self) -> Number {
        Number { is_negative: self.is_negative && !self.is_zero(), ..self }
    }
}

fn infinity(is_negative: bool) -> Number {
    Number { is_negative, mantissa: None, exponent: 0, precision: FULL }
}

/// Brings a mantissa to its odd form, rounding half to even where it has too many bits.
fn rounded(is_negative: bool, mantissa: Natural, exponent: i64, precision: u32) -> Number {
    let (mut mantissa, mut exponent) = (mantissa, exponent);
    if let Some(excess) = mantissa.bits().checked_sub(precision as usize).filter(|excess| *excess > 0) {
        let is_half = mantissa.bit(excess - 1);
        let is_exactly_half = mantissa.trailing_zeros() == excess - 1;
        mantissa = mantissa.shift_right(excess);
        exponent += excess as i64;
        if is_half && (!is_exactly_half || !mantissa.is_even()) {
            mantissa = mantissa.add(&Natural::from_u64(1));
        }
    }
    let zeros = mantissa.trailing_zeros();
    mantissa = mantissa.shift_right(zeros);
    exponent = if mantissa.is_zero() { 0 } else { exponent + zeros as i64 };
    Number { is_negative, mantissa: Some(mantissa), exponent, precision }
}

/// Replaces a number whose digits would fill the memory by infinity or zero.
fn limited(number: Number) -> Number {
    match number.exponent {
        ..=-40_000 => rounded(number.is_negative, Natural::default(), 0, number.precision),
        40_000.. => infinity(number.is_negative),
        _ => number,
    }
}

/// `a ÷ b × 2^exponent` with enough bits, the last of them telling whether something was cut off.
fn quotient(is_negative: bool, a: &Natural, b: &Natural, exponent: i64, precision: u32) -> Number {
    let shift = (precision as usize + 2 + b.bits()).saturating_sub(a.bits());
    let Some((quotient, rest)) = a.shift_left(shift).divide(b) else { return infinity(is_negative) };
    let sticky = Natural::from_u64(u64::from(!rest.is_zero()));
    rounded(is_negative, quotient.shift_left(1).add(&sticky), exponent - shift as i64 - 1, precision)
}

impl From<i64> for Number {
    fn from(value: i64) -> Number {
        rounded(value < 0, Natural::from_u64(value.unsigned_abs()), 0, COUNTED)
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Number {
        rounded(false, Natural::from_u64(value as u64), 0, COUNTED)
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    /// By value: 0 and -0 are equal.
    fn cmp(&self, other: &Number) -> Ordering {
        let sign = |n: &Number| match (n.is_zero(), n.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let magnitude = match (&self.mantissa, &other.mantissa) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) if self.exponent == other.exponent => a.cmp(b),
            (Some(a), Some(b)) => {
                let exponent = self.exponent.min(other.exponent);
                let align = |m: &Natural, e: i64| m.shift_left((e - exponent) as usize);
                align(a, self.exponent).cmp(&align(b, other.exponent))
            }
        };
        match (sign(self), sign(other)) {
            (a, b) if a != b => a.cmp(&b),
            (-1, _) => magnitude.reverse(),
            (0, _) => Ordering::Equal,
            _ => magnitude,
        }
    }
}

impl fmt::Display for Number {
    /// Prints the fewest digits that mean this number at its precision, never with an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_negative { "-" } else { "" };
        match &self.mantissa {
            None => write!(f, "{}Inf", if self.is_negative { "-" } else { "+" }),
            Some(mantissa) if mantissa.is_zero() => write!(f, "{sign}0"),
            Some(mantissa) => {
                // Most numbers are small and whole; the search for few digits is long.
                if let Some(whole) = self.as_exact_whole().and_then(|whole| whole.to_u64()) {
                    return write!(f, "{sign}{whole}");
                }
                let (digits, point) = shortest(mantissa, self.exponent, self.precision as usize);
                let digit =
                    |i: i64| usize::try_from(i).ok().and_then(|i| digits.get(i)).map_or('0', |d| char::from(b'0' + d));
                f.write_str(sign)?;
                if point <= 0 {
                    f.write_str("0")?;
                }
                (0..point).try_for_each(|i| write!(f, "{}", digit(i)))?;
                if digits.len() as i64 > point {
                    f.write_str(".")?;
                    (point..digits.len() as i64).try_for_each(|i| write!(f, "{}", digit(i)))?;
                }
                Ok(())
            }
        }
    }
}

/// A decimal fraction 0.d₀d₁… × 10^point.
type Decimal = (Vec<u8>, i64);

fn exact(mantissa: &Natural, exponent: i64) -> Decimal {
    let n = exponent.unsigned_abs() as usize;
    // m × 2^-n = m × 5^n × 10^-n.
    let (digits, shift) = match exponent {
        0.. => (mantissa.shift_left(n).decimal(), 0),
        _ => (mantissa.multiply(&Natural::power_of_five(n)).decimal(), exponent),
    };
    let point = digits.len() as i64 + shift;
    (without_zeros(digits), point)
}

/// Like [`exact`], but of a long expansion the first digits alone, and one more that is not zero where others follow:
/// enough to tell two numbers apart that differ in the last of `precision` bits.
fn leading(mantissa: &Natural, exponent: i64, precision: usize) -> Decimal {
    let n_kept = precision * 302 / 1000 + 16;
    let n = exponent.unsigned_abs() as usize;
    let (whole, shift) = match exponent {
        0.. => (mantissa.shift_left(n), 0),
        _ => (mantissa.multiply(&Natural::power_of_five(n)), exponent),
    };
    // At least so many digits: 0.301 is a little less than the logarithm of 2.
    let n_cut = (whole.bits() * 301 / 1000).saturating_sub(n_kept);
    let Some((top, rest)) = whole.divide(&Natural::power_of_five(n_cut).shift_left(n_cut)) else {
        return exact(mantissa, exponent);
    };
    let mut digits = top.decimal();
    let point = (digits.len() + n_cut) as i64 + shift;
    if !rest.is_zero() {
        digits.push(1);
    }
    (without_zeros(digits), point)
}

fn without_zeros(mut digits: Vec<u8>) -> Vec<u8> {
    while digits.last() == Some(&0) {
        digits.pop();
    }
    digits
}

/// Returns the shortest decimal between the midpoints to the number's two neighbors (Steele and White's criterion).
fn shortest(mantissa: &Natural, exponent: i64, precision: usize) -> Decimal {
    let precision = precision.max(mantissa.bits());
    let (digits, point) = leading(mantissa, exponent, precision);
    let spread = precision - mantissa.bits();
    let (full, exponent) = (mantissa.shift_left(spread), exponent - spread as i64);
    let one = Natural::from_u64(1);
    // Below a power of two the neighbor is half as far away; the peer's library does not see to that.
    let lower = leading(&full.shift_left(1).subtract(&one), exponent - 1, precision);
    let upper = leading(&full.shift_left(1).add(&one), exponent - 1, precision);
    let at = |decimal: &Decimal, i: usize| {
        let index = i as i64 - (point - decimal.1);
        usize::try_from(index).ok().and_then(|i| decimal.0.get(i).copied()).unwrap_or(0)
    };
    let is_last = |decimal: &Decimal, i: usize| i as i64 + 1 - (point - decimal.1) >= decimal.0.len() as i64;
    // A tie rounds to the even mantissa, so the midpoints themselves belong to an even one.
    let is_inclusive = full.is_even();
    // Where the upper midpoint has one more digit before the point, it differs from the start.
    let mut is_below_upper = upper.1 > point;
    for (i, digit) in digits.iter().copied().enumerate() {
        let may_cut = at(&lower, i) != digit || lower.1 != point || (is_inclusive && is_last(&lower, i));
        let above = at(&upper, i);
        let may_raise =
            is_below_upper || (digit != above && (is_inclusive || digit + 1 < above || !is_last(&upper, i)));
        is_below_upper |= digit + 1 < above;
        let round_up = match (may_cut, may_raise) {
            (false, false) => continue,
            (true, true) => digits.get(i + 1).is_some_and(|next| *next >= 5),
            (true, false) => false,
            (false, true) => true,
        };
        return if round_up { raised(&digits[..=i], point) } else { (without_zeros(digits[..=i].to_vec()), point) };
    }
    (digits, point)
}

fn raised(digits: &[u8], point: i64) -> Decimal {
    let mut digits = digits.to_vec();
    while digits.last() == Some(&9) {
        digits.pop();
    }
    match digits.last_mut() {
        Some(last) => *last += 1,
        None => return (vec![1], point + 1),
    }
    (digits, point)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(text: &str) -> Number {
        Number::parse(text).expect("a number")
    }

    #[test]
    fn numbers_print_as_the_peer_prints_them() {
        let third = n("1").divide(&n("3")).expect("finite");
        let cases = [
            (n("12345678901234567890"), "12345678901234567890"),
            (n("1e21"), "1000000000000000000000"),
            (n("0.0000001"), "0.0000001"),
            (n("2.50"), "2.5"),
            (n("-0"), "-0"),
            (n("1.5"), "1.5"),
            (n("9.99"), "9.99"),
            (n("0.1").add(&n("0.2")).expect("finite"), "0.3"),
            (n("1").divide(&n("0")).expect("infinite"), "+Inf"),
            (n("7").modulo(&n("3")).expect("finite"), "1"),
            (n("-7").modulo(&n("3")).expect("finite"), "-1"),
            (n("-1.5").floor(), "-2"),
            (n("1.2").ceil(), "2"),
            (n("1024"), "1024"),
            (Number::from_f64(0.1).expect("finite"), "0.1"),
            (Number::from_f64(2f64.powi(100)).expect("finite"), "1267650600228229400000000000000"),
        ];
        for (number, text) in cases {
            assert_eq!(number.to_string(), text);
        }
        assert_eq!(third.to_string(), format!("0.{}5", "3".repeat(154)));
        assert!(n("0").divide(&n("0")).is_none());
    }

    #[test]
    fn numbers_compare_by_value() {
        assert_eq!(n("1.0"), n("1"));
        assert_eq!(n("-0"), n("0"));
        assert!(n("-2") < n("-1") && n("0.1") < n("0.2") && n("10") > n("9.99"));
        assert_eq!(n("1e3").to_i64(), Some(1000));
        assert_eq!(n("1.5").to_i64(), None);
        assert_eq!(n("-3").to_i64(), Some(-3));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", ".", "1e", "0x1", "1_0", "nan", "1e99999999999", "１"] {
            assert!(Number::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn long_numbers_are_written_as_their_whole_expansion_says() {
        // The first digits of the exact expansion, as far as a rounded one repeats them, and the number itself when read.
        for text in ["1e4999", "1e-4800", "7e300", "123456789e-321", "0.1", "1e22", "3e-170"] {
            for divisor in ["1", "3", "7", "1e17", "9999999999999999999999"] {
                let number = n(text).divide(&n(divisor)).expect("finite");
                let written = number.to_string();
                assert_eq!(n(&written), number, "{text} / {divisor}");
                let (digits, point) = number.decimal().expect("finite");
                let (short, short_point) = number.shortest_decimal().expect("finite");
                let n_same = short.iter().zip(&digits).take_while(|(a, b)| a == b).count();
                assert!(short_point == point && n_same + 1 >= short.len(), "{text} / {divisor}: {written}");
            }
        }
    }
}
