//! Chance that can be repeated.

use std::ops::Range;

use bake::digest::Digest;

/// A sequence of numbers that its seed decides (splitmix64).
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { seed, state: seed }
    }

    /// Returns the sequence of one event, whatever was drawn before.
    pub fn of(&self, name: &str, index: u32) -> Random {
        let digest = Digest::of(format!("{} {name} {index}", self.seed).as_bytes());
        Random::new(u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap()))
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    pub fn is_one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(0..of.len() as u64) as usize]
    }
}
