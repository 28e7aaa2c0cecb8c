//! Natural numbers of any size: the few operations that [`super::number`] needs, written for clarity, not speed.

use std::cmp::Ordering;
use std::sync::OnceLock;

/// A natural number: base 2^32, least significant limb first, no zero limb at the top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Natural(Vec<u32>);

impl Natural {
    pub(super) fn from_u64(value: u64) -> Natural {
        Natural(vec![value as u32, (value >> 32) as u32]).trimmed()
    }

    /// Reads ASCII digits; anything else is skipped.
    pub(super) fn from_digits(digits: &str, radix: u32) -> Natural {
        Natural::from_values(digits.chars().filter_map(|c| c.to_digit(radix)), radix)
    }

    /// Reads the values of digits, the most significant first.
    pub(super) fn from_values(values: impl IntoIterator<Item = u32>, radix: u32) -> Natural {
        let mut n = Natural::default();
        // As many digits at once as a limb holds.
        let (mut factor, mut summand) = (1u32, 0u32);
        for digit in values {
            match factor.checked_mul(radix) {
                Some(next) => (factor, summand) = (next, summand * radix + digit),
                None => {
                    n.multiply_add(factor, summand);
                    (factor, summand) = (radix, digit);
                }
            }
        }
        n.multiply_add(factor, summand);
        n
    }

    /// Returns its digits to base 2, 8, 10 or 16.
    pub(super) fn digits(&self, radix: u32) -> String {
        let n_bits = match radix {
            2 => 1,
            8 => 3,
            16 => 4,
            _ if self.is_zero() => return "0".into(),
            _ => return self.decimal().into_iter().map(|digit| char::from(b'0' + digit)).collect(),
        };
        let digit =
            |place: usize| (0..n_bits).rev().fold(0, |sum, i| sum * 2 + u32::from(self.bit(place * n_bits + i)));
        let n_digits = self.bits().div_ceil(n_bits).max(1);
        (0..n_digits).rev().filter_map(|place| char::from_digit(digit(place), radix)).collect()
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_even(&self) -> bool {
        self.0.first().is_none_or(|limb| limb % 2 == 0)
    }

    /// Number of bits up to the highest one.
    pub(super) fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    pub(super) fn trailing_zeros(&self) -> usize {
        match self.0.iter().position(|limb| *limb != 0) {
            Some(index) => index * 32 + self.0[index].trailing_zeros() as usize,
            None => 0,
        }
    }

    pub(super) fn bit(&self, index: usize) -> bool {
        self.0.get(index / 32).is_some_and(|limb| limb >> (index % 32) & 1 == 1)
    }

    pub(super) fn to_u64(&self) -> Option<u64> {
        match self.0[..] {
            [] => Some(0),
            [low] => Some(u64::from(low)),
            [low, high] => Some(u64::from(low) | u64::from(high) << 32),
            _ => None,
        }
    }

    pub(super) fn add(&self, other: &Natural) -> Natural {
        let mut carry = 0u64;
        let n_limbs = self.0.len().max(other.0.len());
        let mut limbs: Vec<u32> = (0..n_limbs)
            .map(|i| {
                carry += u64::from(self.limb(i)) + u64::from(other.limb(i));
                let limb = carry as u32;
                carry >>= 32;
                limb
            })
            .collect();
        limbs.push(carry as u32);
        Natural(limbs).trimmed()
    }

    /// `self - other`, which must not be larger.
    pub(super) fn subtract(&self, other: &Natural) -> Natural {
        let mut borrow = 0i64;
        let limbs = (0..self.0.len())
            .map(|i| {
                let difference = i64::from(self.limb(i)) - i64::from(other.limb(i)) - borrow;
                borrow = i64::from(difference < 0);
                difference as u32
            })
            .collect();
        Natural(limbs).trimmed()
    }

    pub(super) fn multiply(&self, other: &Natural) -> Natural {
        let mut limbs = vec![0u32; self.0.len() + other.0.len() + 1];
        for (i, a) in self.0.iter().enumerate() {
            let mut carry = 0u64;
            for j in 0..=other.0.len() {
                carry += u64::from(limbs[i + j]) + u64::from(*a) * u64::from(other.limb(j));
                limbs[i + j] = carry as u32;
                carry >>= 32;
            }
        }
        Natural(limbs).trimmed()
    }

    pub(super) fn power(base: u32, exponent: usize) -> Natural {
        let (mut result, mut square, mut rest) = (Natural::from_u64(1), Natural::from_u64(u64::from(base)), exponent);
        while rest > 0 {
            if rest % 2 == 1 {
                result = result.multiply(&square);
            }
            rest /= 2;
            if rest > 0 {
                square = square.multiply(&square);
            }
        }
        result
    }

    pub(super) fn shift_left(&self, n: usize) -> Natural {
        if self.is_zero() {
            return Natural::default();
        }
        let mut limbs = vec![0u32; n / 32];
        let mut carry = 0u64;
        for limb in &self.0 {
            carry |= u64::from(*limb) << (n % 32);
            limbs.push(carry as u32);
            carry >>= 32;
        }
        limbs.push(carry as u32);
        Natural(limbs).trimmed()
    }

    pub(super) fn shift_right(&self, n: usize) -> Natural {
        let limb = |i: usize| u64::from(self.limb(i));
        let first = n / 32;
        let limbs = (first..self.0.len()).map(|i| ((limb(i) | limb(i + 1) << 32) >> (n % 32)) as u32).collect();
        Natural(limbs).trimmed()
    }

    /// Quotient and remainder; `None` for a division by zero. Limb by limb, as Knuth's algorithm D.
    pub(super) fn divide(&self, divisor: &Natural) -> Option<(Natural, Natural)> {
        let shift = divisor.0.last()?.leading_zeros() as usize;
        if self < divisor {
            return Some((Natural::default(), self.clone()));
        }
        // With the highest bit of the divisor set, a guess from two limbs is two too large at most.
        let divisor = divisor.shift_left(shift);
        let n = divisor.0.len();
        let mut rest = self.shift_left(shift).0;
        rest.push(0);
        let mut quotient = vec![0u32; rest.len() - n];
        for at in (0..quotient.len()).rev() {
            quotient[at] = subtract_multiple(&mut rest[at..=at + n], &divisor.0);
        }
        Some((Natural(quotient).trimmed(), Natural(rest).trimmed().shift_right(shift)))
    }

    /// 5 to the power `n`. Decimal exponents are powers of two and of this; the table makes a large one as cheap as a
    /// small one.
    pub(super) fn power_of_five(n: usize) -> Natural {
        const STRIDE: usize = 32;
        const MAX_TABLED: usize = 41_000;
        static TABLE: [OnceLock<Natural>; MAX_TABLED / STRIDE] = [const { OnceLock::new() }; MAX_TABLED / STRIDE];
        match TABLE.get(n / STRIDE) {
            Some(power) => {
                let power = power.get_or_init(|| Natural::power(5, n / STRIDE * STRIDE));
                power.multiply(&Natural::power(5, n % STRIDE))
            }
            None => Natural::power(5, n),
        }
    }

    /// Decimal digits, most significant first; empty for zero.
    pub(super) fn decimal(&self) -> Vec<u8> {
        const CHUNK: u64 = 1_000_000_000;
        let (mut limbs, mut digits) = (self.clone(), Vec::new());
        while !limbs.is_zero() {
            let mut rest = 0u64;
            for limb in limbs.0.iter_mut().rev() {
                rest = rest << 32 | u64::from(*limb);
                *limb = (rest / CHUNK) as u32;
                rest %= CHUNK;
            }
            limbs = limbs.trimmed();
            for _ in 0..9 {
                digits.push((rest % 10) as u8);
                rest /= 10;
            }
        }
        while digits.last() == Some(&0) {
            digits.pop();
        }
        digits.reverse();
        digits
    }

    fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn limb(&self, index: usize) -> u32 {
        self.0.get(index).copied().unwrap_or(0)
    }

    fn trimmed(mut self) -> Natural {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }
}

/// Takes the largest multiple of `divisor` that fits off `rest`, which has one limb more, and returns how often. `rest` is
/// less than the divisor one limb higher up, and the divisor's highest bit is set.
fn subtract_multiple(rest: &mut [u32], divisor: &[u32]) -> u32 {
    let n = divisor.len();
    let limb = |limbs: &[u32], below_top: usize| limbs.len().checked_sub(below_top).map_or(0, |i| u64::from(limbs[i]));
    let (top, second) = (limb(divisor, 1), limb(divisor, 2));
    let high = limb(rest, 1) << 32 | limb(rest, 2);
    let third = if n > 1 { limb(rest, 3) } else { 0 };
    let (mut times, mut left) = (high / top, high % top);
    while left <= u64::from(u32::MAX) && (times > u64::from(u32::MAX) || times * second > (left << 32 | third)) {
        times -= 1;
        left += top;
    }
    let (mut carry, mut borrow) = (0u64, 0i64);
    for (i, limb) in rest.iter_mut().enumerate() {
        carry += times * divisor.get(i).copied().map_or(0, u64::from);
        let difference = i64::from(*limb) - i64::from(carry as u32) - borrow;
        *limb = difference as u32;
        borrow = i64::from(difference < 0);
        carry >>= 32;
    }
    if borrow > 0 {
        times -= 1;
        let mut carry = 0u64;
        for (i, limb) in rest.iter_mut().enumerate() {
            carry += u64::from(*limb) + divisor.get(i).copied().map_or(0, u64::from);
            *limb = carry as u32;
            carry >>= 32;
        }
    }
    times as u32
}

impl Ord for Natural {
    fn cmp(&self, other: &Natural) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Natural) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of up to six limbs, of those that carries and guesses go wrong with.
    fn awkward(seed: u64) -> Natural {
        const LIMBS: [u32; 6] = [0, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let n_limbs = 1 + next(6);
        Natural((0..n_limbs).map(|_| LIMBS[next(6) as usize]).collect()).trimmed()
    }

    #[test]
    fn quotient_times_divisor_and_the_rest_are_the_number() {
        for seed in 0..20_000 {
            let (a, b) = (awkward(seed), awkward(seed + 1_000_000));
            match a.divide(&b) {
                Some((quotient, rest)) => {
                    assert!(rest < b, "{a:?} / {b:?}");
                    assert_eq!(quotient.multiply(&b).add(&rest), a, "{a:?} / {b:?}");
                }
                None => assert!(b.is_zero()),
            }
        }
    }

    #[test]
    fn digits_and_powers_are_exact() {
        let text = "1234567890".repeat(40);
        let digits: String = Natural::from_digits(&text, 10).decimal().iter().map(|d| char::from(b'0' + d)).collect();
        assert_eq!(digits, text);
        for n in [0, 1, 31, 32, 33, 1000, 40_999, 41_000, 41_001] {
            assert_eq!(Natural::power_of_five(n), Natural::power(5, n), "{n}");
        }
    }
}
