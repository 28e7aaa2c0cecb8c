//! Logarithm and power of machine floats, to the last bit as Go's `math` package has them: its results are in the peer's
//! values. The logarithm is FreeBSD's `e_log.c`, the power a product of squares.

use std::f64::consts::FRAC_1_SQRT_2;

/// ln 2 in two parts, of which the first has zeros at its end.
const LN2: (f64, f64) = (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10);
/// The odd and the even terms of the polynomial for ln((1+s)/(1-s)).
const ODD: [f64; 4] =
    [6.666_666_666_666_735e-1, 2.857_142_874_366_239e-1, 1.818_357_216_161_805e-1, 1.479_819_860_511_658_6e-1];
const EVEN: [f64; 3] = [3.999_999_999_940_942e-1, 2.222_219_843_214_978_4e-1, 1.531_383_769_920_937_3e-1];

/// Splits a finite number other than zero into a fraction from 1/2 up to 1 and an exponent of two.
fn split(x: f64) -> (f64, i32) {
    const SCALE: i32 = 54;
    match (x.to_bits() >> 52 & 0x7ff) as i32 {
        0 => {
            let (fraction, exponent) = split(x * 2f64.powi(SCALE));
            (fraction, exponent - SCALE)
        }
        exponent => (f64::from_bits(x.to_bits() & !(0x7ff << 52) | 1022 << 52), exponent - 1022),
    }
}

/// Returns `fraction × 2^exponent`, rounded once.
fn joined(fraction: f64, exponent: i64) -> f64 {
    let (fraction, own) = match fraction == 0.0 || !fraction.is_finite() {
        true => return fraction,
        false => split(fraction),
    };
    match i64::from(own) + exponent {
        1025.. => f64::INFINITY.copysign(fraction),
        ..-1080 => 0f64.copysign(fraction),
        // In two steps: the second may lead to a number of fewer bits.
        total @ ..-1000 => fraction * 2f64.powi(-900) * 2f64.powi(total as i32 + 900),
        total => fraction * 2.0 * 2f64.powi(total as i32 - 1),
    }
}

/// Returns the natural logarithm.
pub(super) fn ln(x: f64) -> f64 {
    if !x.is_finite() || x <= 0.0 {
        return x.ln();
    }
    let (mut fraction, mut exponent) = split(x);
    if fraction < FRAC_1_SQRT_2 {
        (fraction, exponent) = (fraction * 2.0, exponent - 1);
    }
    let (f, k) = (fraction - 1.0, f64::from(exponent));
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let odd = s2 * (ODD[0] + s4 * (ODD[1] + s4 * (ODD[2] + s4 * ODD[3])));
    let even = s4 * (EVEN[0] + s4 * (EVEN[1] + s4 * EVEN[2]));
    let half_square = 0.5 * f * f;
    k * LN2.0 - ((half_square - (s * (half_square + (odd + even)) + k * LN2.1)) - f)
}

/// 1/ln 2, and ln 2 in two parts, as [`exp`] has them.
const LOG2_E: f64 = std::f64::consts::LOG2_E;
const LN2_OF_EXP: (f64, f64) = (6.931_471_805_596_63e-1, 2.823_529_056_303_157_7e-13);
/// 1/8!, 1/7!, … 1/1!.
const TERMS: [f64; 8] = [1.0 / 40_320.0, 1.0 / 5_040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];

/// Returns e to the power of a number that is not large, as Go does on amd64: the series for a sixteenth of it, doubled four
/// times. Its roundings are those of a processor that multiplies and adds in one, as all have since 2013.
fn exp(x: f64) -> f64 {
    let n = (x * LOG2_E).round_ties_even();
    let r = (-n).mul_add(LN2_OF_EXP.1, (-n).mul_add(LN2_OF_EXP.0, x)) * 0.0625;
    let series = TERMS.into_iter().reduce(|sum, term| sum.mul_add(r, term)).unwrap_or(1.0);
    let less_one = (0..3).fold(series * r, |y, _| y * (y + 2.0));
    joined((less_one + 2.0).mul_add(less_one, 1.0), n as i64)
}

/// Returns `x` to the power of `y`; no number where `x` is below zero and `y` is no whole number.
pub(super) fn pow(x: f64, y: f64) -> f64 {
    let is_plain = x.is_finite() && y.is_finite() && x != 0.0 && x != 1.0 && y != 0.0 && y != 1.0;
    if !is_plain || y.abs() >= 9e18 || (x < 0.0 && y.fract() != 0.0) {
        return x.powf(y);
    }
    if y.abs() == 0.5 {
        return if y > 0.0 { x.sqrt() } else { 1.0 / x.sqrt() };
    }
    let (mut whole, mut rest) = (y.abs().trunc(), y.abs().fract());
    if rest > 0.5 {
        (whole, rest) = (whole + 1.0, rest - 1.0);
    }
    let (mut product, mut exponent) = (if rest == 0.0 { 1.0 } else { exp(rest * ln(x)) }, 0i64);
    let (square, square_exponent) = split(x);
    let (mut square, mut square_exponent, mut bits) = (square, i64::from(square_exponent), whole as i64);
    while bits != 0 {
        if square_exponent.abs() > 1 << 12 {
            // The product overflows, or is zero, whatever follows.
            exponent += square_exponent;
            break;
        }
        if bits & 1 == 1 {
            product *= square;
            exponent += square_exponent;
        }
        square *= square;
        square_exponent *= 2;
        if square < 0.5 {
            (square, square_exponent) = (square * 2.0, square_exponent - 1);
        }
        bits >>= 1;
    }
    match y < 0.0 {
        true => joined(1.0 / product, -exponent),
        false => joined(product, exponent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_digit_is_that_of_the_peer() {
        assert_eq!(ln(81.0) / ln(3.0), 4.000000000000001);
        assert_eq!(ln(7.0) / ln(3.0), 1.7712437491614224);
        assert_eq!(pow(9.0, 1.5), 27.000000000000004);
        assert_eq!(pow(1.5, 2.5), 2.7556759606310757);
        assert_eq!(pow(0.5, 1.5), 0.3535533905932738);
        assert_eq!((pow(0.5, 1074.0), pow(0.5, 1075.0)), (f64::from_bits(1), 0.0));
        assert_eq!((pow(2.0, 1023.0), pow(2.0, 1024.0)), (2f64.powi(1023), f64::INFINITY));
        assert_eq!((pow(-2.0, 3.0), pow(0.0, -1.0), pow(2.0, -1.0)), (-8.0, f64::INFINITY, 0.5));
    }
}
