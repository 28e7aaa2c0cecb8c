//! Natural numbers of any size: the few operations that [`super::number`] needs, written for clarity, not speed.

use std::cmp::Ordering;

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
        values.into_iter().fold(Natural::default(), |mut n, digit| {
            n.multiply_add(radix, digit);
            n
        })
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

    /// Quotient and remainder; `None` for a division by zero.
    pub(super) fn divide(&self, divisor: &Natural) -> Option<(Natural, Natural)> {
        if divisor.is_zero() {
            return None;
        }
        let mut quotient = vec![0u32; self.0.len()];
        let mut rest = Natural::default();
        for index in (0..self.bits()).rev() {
            rest = rest.shift_left(1);
            if self.bit(index) {
                rest = rest.add(&Natural::from_u64(1));
            }
            if rest >= *divisor {
                rest = rest.subtract(divisor);
                quotient[index / 32] |= 1 << (index % 32);
            }
        }
        Some((Natural(quotient).trimmed(), rest))
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
